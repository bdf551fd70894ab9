# needs: prctl/PR_GET_SECUREBITS, prctl/PR_CAP_AMBIENT+PR_CAP_AMBIENT_IS_SET
setpriv --dump

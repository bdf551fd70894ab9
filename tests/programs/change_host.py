"""Calls that change the whole machine, with arguments that would do nothing where they were allowed."""
import sys
from verdicts import attempt, call

attempt("sethostname", lambda: call("sethostname", "changed", 7))
attempt("setdomainname", lambda: call("setdomainname", "changed", 7))
if "names" not in sys.argv:
    attempt("init_module", lambda: call("init_module", "", 0, ""))
    attempt("finit_module", lambda: call("finit_module", -1, "", 0))
    attempt("delete_module", lambda: call("delete_module", "brig_no_such_module", 0))
    attempt("kexec_load", lambda: call("kexec_load", 0, 0, 0, 0x80000000))
    attempt("reboot", lambda: call("reboot", 0xFEE1DEAD, 672274793, 0xDEADBEEF, 0))
    attempt("swapon", lambda: call("swapon", "/nothing/here", 0))
    attempt("swapoff", lambda: call("swapoff", "/nothing/here"))
    attempt("acct", lambda: call("acct", "/nothing/here"))
    attempt("settimeofday", lambda: call("settimeofday", 0, 1))
    attempt("clock_settime", lambda: call("clock_settime", 999, 0))
    attempt("quotactl", lambda: call("quotactl", 0, 0, 0, 0))

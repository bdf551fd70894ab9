# needs: rt_sigsuspend, vfork, dup2, fcntl/F_DUPFD
trap 'echo trapped' USR1
(sleep 0.05; kill -USR1 $$) &
wait
wait
/bin/true
echo done > out
cat out

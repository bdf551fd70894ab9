# needs: clone, wait4, waitid, kill, pidfd_open, pidfd_send_signal, pipe2
import os, signal, subprocess
print(subprocess.run(["echo", "hello"], capture_output=True).stdout)
def child():
    pid = os.fork()
    if pid == 0:
        while True: signal.pause()
    return pid
one = child()
os.kill(one, signal.SIGTERM)
print(os.waitid(os.P_PID, one, os.WEXITED).si_status)
two = child()
signal.pidfd_send_signal(os.pidfd_open(two), signal.SIGKILL)
print(os.waitpid(two, 0)[1] & 127)

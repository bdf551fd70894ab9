import faulthandler
import os
import signal
import threading
import time

seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(signal.Signals(number).name))
os.kill(os.getpid(), signal.SIGUSR1)
print(seen)
signal.signal(signal.SIGALRM, lambda number, frame: seen.append("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause()
print(seen)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR2)).start()
print(signal.sigwait([signal.SIGUSR2]).name)
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
faulthandler.enable()
print(faulthandler.is_enabled())
pid = os.fork()
if pid == 0:
    time.sleep(30)
os.kill(pid, signal.SIGSTOP)
print(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
os.kill(pid, signal.SIGCONT)
os.kill(pid, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

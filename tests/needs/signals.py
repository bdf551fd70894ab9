# needs: rt_sigaction, rt_sigprocmask, rt_sigreturn, rt_sigpending, rt_sigtimedwait, setitimer, alarm, pause
# needs: sigaltstack, tgkill
import faulthandler, signal
faulthandler.enable()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
signal.raise_signal(signal.SIGUSR1)
print(sorted(signal.sigpending()), signal.sigtimedwait([signal.SIGUSR1], 1).si_signo)
signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause()
print(signal.alarm(100), signal.alarm(0))

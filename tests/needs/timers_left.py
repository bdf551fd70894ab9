# needs: getitimer
import signal
signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
print(signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0)

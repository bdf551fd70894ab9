"""Ignores and blocks every signal that can be, and stays."""
import signal

blockable = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
for number in blockable:
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, blockable)
print("SAW partial output", flush=True)
while True:
    signal.pause()

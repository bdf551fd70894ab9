import os
import signal

print("until here", flush=True)
os.kill(os.getpid(), signal.SIGTERM)

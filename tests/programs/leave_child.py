"""Leaves a child in a session of its own, with its own stdio, that writes a heartbeat; then exits at once."""
import os
import subprocess
import sys

subprocess.Popen(
    ["sh", "-c", "while :; do date +%s.%N >> heartbeat; sleep 0.1; done", sys.argv[1]],
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        devnull = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(devnull, descriptor)
        os.execvp("sleep", ["sleep", "1000." + sys.argv[1]])
    os._exit(0)
print("SAW main leaves", flush=True)

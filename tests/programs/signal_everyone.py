"""Signals a process outside (its pid is the argument), pid 1, its parent and everyone."""
import os
import signal
import sys
from verdicts import attempt, saw

outsider = int(sys.argv[1])
attempt("kill_outsider", lambda: os.kill(outsider, signal.SIGKILL))
if len(sys.argv) > 2 and sys.argv[2] == "inside":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGINT", "SIGSTOP", "SIGKILL", "SIGHUP"):
        for target, pid in (("init", 1), ("parent", os.getppid())):
            try:
                os.kill(pid, getattr(signal, name))
                saw(f"{target}_{name}", "sent")
            except OSError as error:
                saw(f"{target}_{name}", error.errno)
    for name in ("SIGUSR1", "SIGKILL"):
        try:
            os.kill(-1, getattr(signal, name))
            saw(f"everyone_{name}", "sent")
        except OSError as error:
            saw(f"everyone_{name}", error.errno)
    saw("still", "here")
    sys.stdout.flush()

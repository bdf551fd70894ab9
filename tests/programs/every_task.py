"""Shows seccomp and no_new_privs of every task of every process: threads, children, what was executed."""
import glob
import os
import subprocess
import sys
import threading
from verdicts import saw

release = threading.Event()
threads = [threading.Thread(target=release.wait) for _ in range(4)]
for thread in threads:
    thread.start()
children = [subprocess.Popen(["sleep", "30"]), subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])]
for path in sorted(glob.glob("/proc/[0-9]*/task/*/status")):
    try:
        with open(path) as status:
            fields = dict(line.split(":", 1) for line in status)
    except OSError:
        continue
    saw("task", " ".join([path.split("/")[2]] + [fields.get(name, "-").strip() for name in ("Seccomp", "NoNewPrivs", "CapEff", "CapBnd")]))
release.set()
for child in children:
    child.kill()
    child.wait()

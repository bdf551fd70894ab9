"""Starts child processes (or, with the argument `threads`, threads) until one is refused. At most 300."""
import os
import signal
import sys
import threading
from verdicts import saw, word

if "threads" not in sys.argv:
    children = []
    try:
        while len(children) < 300:
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
        saw("process_refused", "never")
    except OSError as error:
        saw("process_refused", word(error))
    saw("processes", len(children) + 1)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)
else:
    release = threading.Event()
    threads = []
    try:
        while len(threads) < 300:
            thread = threading.Thread(target=release.wait)
            thread.start()
            threads.append(thread)
        saw("thread_refused", "never")
    except RuntimeError as error:
        saw("thread_refused", str(error).replace(" ", "_"))
    saw("threads", len(threads) + 1)
    release.set()
    for thread in threads:
        thread.join()
saw("finished", "cleanly")

"""Ends, or does not, in the way named in the argument."""
import ctypes
import os
import sys
import threading
import time

way = sys.argv[1]
print("SAW begun", way, flush=True)
if way == "close everything":
    os.closerange(0, 1024)
    time.sleep(0.2)
    os._exit(9)
elif way == "close output and go on":
    os.close(1)
    os.close(2)
    time.sleep(0.5)
    sys.exit(5)
elif way == "become another":
    os.execv("/bin/sh", ["sh", "-c", "echo another; exit 7"])
elif way == "leader exits":
    threading.Thread(target=lambda: (time.sleep(0.3), print("SAW last words", flush=True), os._exit(6))).start()
    ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
elif way == "leader exits and the rest stays":
    threading.Thread(target=lambda: time.sleep(600)).start()
    ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
elif way == "hold the pipes":
    # Its own pipes, opened again from the other side: whoever waits for their end must not wait for this.
    ends = [os.open("/proc/self/fd/0", os.O_WRONLY | os.O_NONBLOCK), os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)]
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    sys.exit(4)
elif way == "unwind forever":
    sys.setrecursionlimit(10**9)

    # Through C, so that the stack is used up and not the heap.
    def deeper(_):
        return list(map(deeper, [0]))

    deeper(0)
elif way == "abort in exit":
    import atexit
    atexit.register(os.abort)

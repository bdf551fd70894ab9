"""A system call through the x32 numbers: never legitimate, so the process dies of it. x86_64 only."""
import os
import platform
from verdicts import raw

if platform.machine() == "x86_64":
    print("SAW partial output", flush=True)
    try:
        raw(0x40000000 + 39)
        print("REACHED x32", flush=True)
    except OSError as error:
        print("REFUSED x32", error.errno, flush=True)
    os._exit(0)

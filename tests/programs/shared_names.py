"""Puts a mark wherever two processes can share a name, or (with `find`) looks for the marks of another; the name is the
first argument."""
import os
import socket
import sys
import time
from verdicts import attempt

name = sys.argv[1]
places = [f"/dev/shm/{name}", f"/tmp/{name}", f"/var/tmp/{name}", f"/run/{name}", f"/dev/mqueue/{name}"]
if "find" in sys.argv:
    for place in places:
        attempt("file " + place, lambda: open(place).read())
    caller = socket.socket(socket.AF_UNIX)
    attempt("abstract socket", lambda: caller.connect("\0" + name))
    attempt("tcp port", lambda: socket.create_connection(("127.0.0.1", 47_123), timeout=1))
    print("SAW looked everywhere")
else:
    for place in places:
        try:
            with open(place, "w") as mark:
                mark.write("a mark")
        except OSError:
            pass
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0" + name)
    listener.listen()
    server = socket.create_server(("127.0.0.1", 47_123))
    print("SAW marked everything", flush=True)
    time.sleep(float(sys.argv[2]))
    for place in places:
        try:
            os.unlink(place)
        except OSError:
            pass

"""Connects to services of the host: a TCP port on loopback, a unix socket by path, one in the abstract namespace."""
import socket
import sys
from verdicts import attempt


def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        connection.connect(address)
        return connection.recv(16)


port, path, abstract = int(sys.argv[1]), sys.argv[2], sys.argv[3]
attempt("loopback", lambda: connect(socket.AF_INET, ("127.0.0.1", port)))
attempt("any address", lambda: connect(socket.AF_INET, ("0.0.0.0", port)))
attempt("unix path", lambda: connect(socket.AF_UNIX, path))
attempt("abstract", lambda: connect(socket.AF_UNIX, "\0" + abstract))

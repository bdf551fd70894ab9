"""Looks for what belongs to the host; the arguments name files that the harness planted outside."""
import os
import sys
from verdicts import attempt, saw

saw("root", " ".join(sorted(os.listdir("/"))))
for path in sys.argv[1:]:
    attempt("read " + path, lambda: open(path, "rb").read(16))
for path in ("/etc/shadow", "/root", "/home", "/var/run/docker.sock", "/run/docker.sock", "/var/lib", "/boot",
             "/var/log", "/run/systemd", "/mnt", "/srv", "/opt", "/media"):
    attempt("open " + path, lambda: os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(16))

"""Leaves things in the workspace that are no regular files, and one good file, to be collected."""
import os
import socket

os.symlink("/etc/passwd", "link-to-file.out")
os.symlink("/dev/urandom", "link-to-device.out")
os.symlink("/proc/self/environ", "link-to-proc.out")
os.mkfifo("fifo.out")
os.mkdir("directory.out")
server = socket.socket(socket.AF_UNIX)
server.bind("socket.out")
with open("good.out", "w") as good:
    good.write("the good one\n")
try:
    os.link("good.out", "second-name.out")
except OSError:
    pass
with open("other.out", "w") as other:
    other.write("another good one\n")
os.symlink("/", "escape")
print("SAW outputs left")

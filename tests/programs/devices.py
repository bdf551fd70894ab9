"""Lists /dev and tries to make device nodes and to open dangerous ones."""
import os
import stat
from verdicts import attempt, saw

saw("dev", " ".join(sorted(os.listdir("/dev"))))
for name, number in (("null", (1, 3)), ("mem", (1, 1)), ("disk", (8, 0)), ("kmsg", (1, 11))):
    for directory in (".", "/tmp", "/dev/shm"):
        attempt(f"mknod {name} in {directory}",
                lambda: os.mknod(f"{directory}/node-{name}", 0o666 | stat.S_IFCHR, os.makedev(*number)))
for path in ("/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/loop0", "/dev/loop-control"):
    attempt("open " + path, lambda: os.close(os.open(path, os.O_RDONLY)))
for path in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"):
    saw("readable " + path, os.path.exists(path) and len(open(path, "rb").read(4)))

"""Tries to write where the image is."""
import os
import sysconfig
from verdicts import attempt


def write(path):
    with open(path, "w") as out:
        out.write("x")
    os.unlink(path)


for directory in ("/", "/etc", "/usr", "/usr/bin", "/usr/lib", sysconfig.get_paths()["stdlib"], "/dev", "/proc"):
    attempt("write " + directory, lambda: write(f"{directory}/brig-was-here"))
attempt("append /etc/passwd", lambda: os.close(os.open("/etc/passwd", os.O_WRONLY | os.O_APPEND)))
attempt("chmod /usr/bin/env", lambda: os.chmod("/usr/bin/env", os.stat("/usr/bin/env").st_mode & 0o7777))
attempt("remount", lambda: os.stat("/usr/bin/env").st_ino and os.rename("/etc/hostname", "/etc/hostname2") or
        os.rename("/etc/hostname2", "/etc/hostname"))

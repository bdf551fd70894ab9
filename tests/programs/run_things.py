"""Executes files in every place it can write, and files that are no programs."""
import os
import shutil
import subprocess
from verdicts import attempt, saw


def run(path, *arguments):
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=10)
    if done.returncode:
        raise OSError(done.returncode, done.stderr)
    return done.stdout.strip()


for place in ("/workspace", "/tmp", "/dev/shm"):
    try:
        shutil.copy("/usr/bin/id", f"{place}/copied")
        os.chmod(f"{place}/copied", 0o4755)
    except OSError as error:
        saw("copy", f"{place} {error.errno}")
    attempt("run in " + place, lambda: run(f"{place}/copied", "-u"))


def script(name, first, mode=0o755):
    with open(name, "w") as target:
        target.write(first + "\necho ran\n")
    os.chmod(name, mode)
    return f"./{name}"


attempt("script", lambda: run(script("plain.sh", "#!/bin/sh")))
chain = "/bin/sh"
for number in range(8):
    chain = os.path.abspath(script(f"chain-{number}.sh", "#!" + chain))
attempt("chain of eight", lambda: run(chain))
attempt("long first line", lambda: run(script("long.sh", "#!/" + "x" * 5000)))
attempt("missing interpreter", lambda: run(script("missing.sh", "#!/no/such/interpreter")))
attempt("itself as interpreter", lambda: run(script("loop.sh", "#!" + os.path.abspath("loop.sh"))))
with open("broken.elf", "wb") as target:
    target.write(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + b"\xff" * 200)
os.chmod("broken.elf", 0o755)
attempt("broken ELF", lambda: run("./broken.elf"))
attempt("directory", lambda: run("/workspace"))
attempt("not executable", lambda: run(script("closed.sh", "#!/bin/sh", 0o644)))
memory = os.memfd_create("program")
os.write(memory, open("/usr/bin/id", "rb").read())
attempt("memory file", lambda: subprocess.run([f"/proc/self/fd/{memory}", "-u"], pass_fds=[memory], capture_output=True, text=True).stdout.strip())
attempt("long argument", lambda: run("/bin/true", "x" * (1 << 20)))
attempt("many arguments", lambda: run("/bin/true", *["y" * 1000] * 20_000))

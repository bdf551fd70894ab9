"""Leaves a child that swaps a directory of outputs for a link to somewhere else, and a file for a link, as fast as it can."""
import os
import sys

os.mkdir("mine")
for number in range(20):
    with open(f"mine/{number}.out", "w") as target:
        target.write("mine\n")
os.symlink("/etc", "theirs")
for number in range(20):
    os.symlink("/etc/passwd", f"link-{number}.out")
    with open(f"file-{number}.out", "w") as target:
        target.write("mine\n")
if os.fork() == 0:
    os.setsid()
    while True:
        for first, second in [("mine", "theirs")] + [(f"file-{number}.out", f"link-{number}.out") for number in range(20)]:
            try:
                os.rename(first, "swap")
                os.rename(second, first)
                os.rename("swap", second)
            except OSError:
                pass
print("SAW swapping begun")

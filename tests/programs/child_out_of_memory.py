"""A child uses more memory than the cell has; the main process, small, waits for it and goes on."""
import subprocess
import sys

child = subprocess.run([sys.executable, "-c", "blocks = [bytearray(b'1' * (8 << 20)) for _ in range(int(%r) // 8)]" % sys.argv[1]])
if child.returncode == 0:
    print("REACHED child_memory")
else:
    print("SAW child_ended", child.returncode)

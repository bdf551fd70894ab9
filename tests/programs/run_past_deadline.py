"""A parent and a background child, each with a marker in its arguments, both past the deadline."""
import subprocess
import sys

child = subprocess.Popen(["sleep", "1000." + sys.argv[1]])
print("SAW partial output", flush=True)
child.wait()

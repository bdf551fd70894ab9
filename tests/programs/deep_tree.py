"""Makes directories in directories as deep as it can (3,000 at most), with a file at the bottom, and directories that nobody
may enter."""
import os
from verdicts import saw, word

depth = 0
try:
    while depth < 3_000:
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
        depth += 1
    with open("bottom.deep", "w") as target:
        target.write("bottom\n")
except OSError as error:
    saw("stopped", word(error))
saw("depth", depth)
with open("/workspace/top.deep", "w") as target:
    target.write("top\n")

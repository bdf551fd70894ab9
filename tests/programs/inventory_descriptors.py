"""Every descriptor that it was given: kind and number."""
import os
import stat
from verdicts import saw

# The C library's directory stream would be one more.
for number in range(1024):
    try:
        mode = os.fstat(number).st_mode
    except OSError:
        continue
    kinds = (("fifo", stat.S_ISFIFO), ("socket", stat.S_ISSOCK), ("file", stat.S_ISREG), ("directory", stat.S_ISDIR), ("character", stat.S_ISCHR))
    saw("descriptor", f"{number} {next((name for name, test in kinds if test(mode)), 'other')}")

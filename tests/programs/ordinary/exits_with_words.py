import sys

sys.exit("the reason, on stderr")

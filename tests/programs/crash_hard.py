"""Crashes after doing what it can to have a core taken; with an argument, only tries to change the limit on cores."""
import os
import resource
import sys
from verdicts import attempt, saw

before = resource.getrlimit(resource.RLIMIT_CORE)
attempt("core limit 0", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
attempt("core limit unlimited", lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)))
saw("limit", f"{before[0]} {before[1]}")
saw("files", len([name for name in os.listdir(".") if name.startswith("core")]))
if "limit" not in sys.argv:
    sys.stdout.flush()
    os.abort()

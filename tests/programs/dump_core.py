"""Asks for core dumps in every way that a program has.

Where `core_pattern` is a pipe the kernel starts the collector of core dumps for every crash, as root and outside of the
cell, whatever the limit is: unless that is 1.
"""
import resource
from verdicts import attempt, saw

saw("limits", "%d %d" % resource.getrlimit(resource.RLIMIT_CORE))
for limit in (0, 2, resource.RLIM_INFINITY):
    attempt(f"soft_{limit}", lambda: resource.setrlimit(resource.RLIMIT_CORE, (limit, 1)))
    attempt(f"both_{limit}", lambda: resource.setrlimit(resource.RLIMIT_CORE, (limit, limit)))
saw("limits_then", "%d %d" % resource.getrlimit(resource.RLIMIT_CORE))

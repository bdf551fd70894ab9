"""Prints its mount table: target, type, options, propagation."""
from verdicts import saw

with open("/proc/self/mountinfo") as table:
    for line in table:
        fields = line.split()
        dash = fields.index("-")
        propagation = ",".join(fields[6:dash]) or "private"
        saw("mount", " ".join([fields[4], fields[dash + 1], fields[5], propagation, fields[3], fields[dash + 2]]))

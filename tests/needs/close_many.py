# needs: close_range
# Without it closing takes a call for every number that a descriptor could have.
import os, time
def took(what):
    best = 9e9
    for _ in range(3):
        began = time.perf_counter()
        what()
        best = min(best, time.perf_counter() - began)
    return best
print("fast" if took(lambda: os.closerange(100, 1_000_000)) < took(lambda: [os.getppid() for _ in range(50_000)]) else "slow")

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

matrix = np.arange(640_000, dtype=float).reshape(800, 800) % 13
product = matrix @ matrix
print(product.sum())
# BLAS starts its threads by itself: as many as there are processors.
wanted = len(os.sched_getaffinity(0))
print(len(os.listdir("/proc/self/task")) >= wanted)
with ThreadPoolExecutor(16) as pool:
    powers = pool.map(lambda power: np.linalg.matrix_power(matrix[:60, :60] / 100, power).sum(), range(16))
    # Not to the last digit: in which order threads add is chance.
    print([f"{power:.9g}" for power in powers])
print(f"{np.linalg.eigvalsh(matrix @ matrix.T)[-1]:.9g}", threading.active_count())

import numpy as np

matrix = np.arange(250_000, dtype=float).reshape(500, 500) % 17 + np.eye(500) * 100
inverse = np.linalg.inv(matrix)
print(np.allclose(matrix @ inverse, np.eye(500)))
print(np.linalg.svd(matrix[:50, :50])[1].sum().round(6))
random = np.random.default_rng(1)
print(random.normal(size=1000).mean().round(12))
np.save("array.npy", matrix)
print(np.load("array.npy", mmap_mode="r").sum())
print(np.fft.fft(np.ones(8)).real)

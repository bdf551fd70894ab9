"""numpy: linear algebra on BLAS, random numbers with a seed, FFT, memory-mapped and packed arrays, text and back."""

import numpy as np

rng = np.random.default_rng(7)
a = rng.normal(size=(200, 200))
b = rng.normal(size=200)
x = np.linalg.solve(a, b)
assert np.allclose(a @ x, b)
q, r = np.linalg.qr(a)
assert np.allclose(q @ r, a) and np.allclose(q.T @ q, np.eye(200))
assert abs(np.linalg.svd(a, compute_uv=False).prod() / abs(np.linalg.det(a)) - 1) < 1e-6

signal = np.sin(2 * np.pi * 5 * np.arange(256) / 256)
assert int(np.abs(np.fft.rfft(signal)).argmax()) == 5

np.savez_compressed("arrays.npz", a=a, b=b)
with np.load("arrays.npz") as packed:
    assert np.array_equal(packed["a"], a)
mapped = np.lib.format.open_memmap("mapped.npy", mode="w+", dtype="int64", shape=(1000,))
mapped[:] = np.arange(1000)
mapped.flush()
assert np.load("mapped.npy", mmap_mode="r").sum() == 499500
np.savetxt("text.csv", a[:3, :3], delimiter=",")
assert np.allclose(np.loadtxt("text.csv", delimiter=","), a[:3, :3])
print("fine")

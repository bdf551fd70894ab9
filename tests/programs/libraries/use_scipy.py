"""scipy: optimisation, an ODE, integration, sparse systems, statistics, signals, interpolation, MATLAB files."""

import numpy as np
from scipy import integrate, interpolate, io, optimize, signal, sparse, stats
from scipy.sparse.linalg import spsolve

best = optimize.minimize(optimize.rosen, [1.3, 0.7, 0.8], method="BFGS")
assert np.allclose(best.x, 1, atol=1e-4)
assert abs(integrate.quad(lambda x: np.exp(-x * x), -np.inf, np.inf)[0] - np.sqrt(np.pi)) < 1e-8
path = integrate.solve_ivp(lambda t, y: -y, (0, 2), [1.0], rtol=1e-8)
assert abs(path.y[0, -1] - np.exp(-2)) < 1e-6
matrix = sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(2000, 2000), format="csc")
answer = spsolve(matrix, np.ones(2000))
assert np.allclose(matrix @ answer, 1)
rng = np.random.default_rng(3)
assert stats.ttest_ind(rng.normal(0, 1, 400), rng.normal(1, 1, 400)).pvalue < 1e-6
b, a = signal.butter(4, 0.2)
assert abs(signal.filtfilt(b, a, np.ones(100)).mean() - 1) < 1e-6
spline = interpolate.CubicSpline([0, 1, 2, 3], [0, 1, 8, 27])
assert abs(spline(1.5) - 3.375) < 1e-9
io.savemat("m.mat", {"a": np.eye(3)})
assert np.array_equal(io.loadmat("m.mat")["a"], np.eye(3))
print("fine")

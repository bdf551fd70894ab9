"""sympy: equations, integrals, limits, series, matrices, numbers of any precision, text for TeX."""

from sympy import (
    I,
    Function,
    Matrix,
    N,
    Symbol,
    diff,
    dsolve,
    exp,
    factor,
    factorint,
    integrate,
    lambdify,
    latex,
    limit,
    oo,
    pi,
    series,
    sin,
    solve,
    sqrt,
)

x = Symbol("x")
assert set(solve(x**2 - 2, x)) == {sqrt(2), -sqrt(2)}
assert integrate(exp(-(x**2)), (x, -oo, oo)) == sqrt(pi)
assert limit(sin(x) / x, x, 0) == 1
assert diff(sin(x) * exp(x), x).simplify() == (exp(x) * (sin(x) + sin(x).diff(x))).simplify()
assert factor(x**3 - 1) == (x - 1) * (x**2 + x + 1)
assert str(series(exp(x), x, 0, 4)) == "1 + x + x**2/2 + x**3/6 + O(x**4)"
assert set(Matrix([[0, -1], [1, 0]]).eigenvals()) == {I, -I}
f = Function("f")
assert dsolve(f(x).diff(x) - f(x), f(x)).rhs.subs("C1", 1) == exp(x)
assert str(N(pi, 50)).startswith("3.14159265358979323846264338327950288419716939937")
assert factorint(2**64 + 1) == {274177: 1, 67280421310721: 1}
assert latex(sqrt(x) / 2) == r"\frac{\sqrt{x}}{2}"
assert abs(lambdify(x, sin(x), "numpy")(1.0) - 0.8414709848) < 1e-9
print("fine")

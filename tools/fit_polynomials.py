#!/usr/bin/env python3
"""Fits the polynomial coefficients of src/loop/math_*.h and prints them as C++ arrays.

Each entry of FITS names a function g, the interval of its variable, a weight (so that weight * error is the
error that matters, usually relative to the final result), a degree and the precision of the coefficients.
The fit is a minimax fit (Remez exchange on a fine grid, 60 digits). Coefficients are rounded one at a time,
lowest power first, and the rest is fitted again, so the rounding of the large ones costs nothing.

usage: fit_polynomials.py [name ...]     (needs mpmath)
"""
import sys
from mpmath import mp, mpf, matrix, lu_solve
import mpmath as M

mp.dps = 60


def round_to(x, bits):
    """Nearest value with `bits` significant bits."""
    if x == 0:
        return mpf(0)
    m, e = M.frexp(x)
    return M.ldexp(M.nint(m * mpf(2) ** bits), int(e) - bits)


def exchange(gv, wv, pv, idx, iterations):
    """Remez exchange from the reference points idx: (largest weighted error, coefficients) of the best step."""
    n, N = len(pv[0]), len(gv)
    best = None
    for _ in range(iterations):
        A = matrix(n + 1, n + 1)
        b = matrix(n + 1, 1)
        for r, i in enumerate(idx):
            for j in range(n):
                A[r, j] = pv[i][j]
            A[r, n] = (-1) ** r / wv[i]
            b[r] = gv[i]
        try:
            c = lu_solve(A, b)
        except ZeroDivisionError:
            break
        err = [wv[i] * (gv[i] - sum(pv[i][j] * c[j] for j in range(n))) for i in range(N)]
        m = max(abs(e) for e in err)
        if best is None or m < best[0]:
            best = (m, [c[j] for j in range(n)])
        if m <= abs(c[n]) * mpf("1.001"):
            break
        # extrema: the largest of each run of equal sign
        ext = []
        for i, e in enumerate(err):
            if ext and (err[ext[-1]] > 0) == (e > 0):
                if abs(e) > abs(err[ext[-1]]):
                    ext[-1] = i
            else:
                ext.append(i)
        while len(ext) > n + 1:
            if len(ext) == n + 2:
                ext.pop(0 if abs(err[ext[0]]) < abs(err[ext[-1]]) else -1)
            else:  # drop the smallest together with its smaller neighbour
                k = min(range(len(ext) - 1), key=lambda k: abs(err[ext[k]]) + abs(err[ext[k + 1]]))
                del ext[k:k + 2]
        if len(ext) < n + 1:
            break
        idx = ext
    return best


def remez(g, w, grid, basis, iterations=30):
    """Coefficients c minimising max |w(x) (g(x) - sum c_j x^basis_j)| over the grid, and that maximum."""
    n, N = len(basis), len(grid)
    gv, wv = [g(x) for x in grid], [w(x) for x in grid]
    pv = [[x ** b for b in basis] for x in grid]
    # Two starts, since rounding noise stops the exchange early now and then.
    starts = [[i * (N - 1) // n for i in range(n + 1)],
              [int(round((1 - M.cos(M.pi * i / n)) / 2 * (N - 1))) for i in range(n + 1)]]
    found = [f for f in (exchange(gv, wv, pv, s, iterations) for s in starts) if f]
    error, c = min(found, key=lambda f: f[0])
    return c, error


def fit(name, g, lo, hi, degree, weight, bits, step=1, start=0, first=None, points=600, fixed=()):
    """Fits sum_{j<=degree} c_j x^(start + step j); `first` gives the precision of c_0 if it differs."""
    lo, hi = mpf(lo), mpf(hi)
    grid = [(lo + hi) / 2 - (hi - lo) / 2 * M.cos(M.pi * (i + mpf("0.5")) / points) for i in range(points)]
    basis = [start + step * j for j in range(degree + 1)]
    done = list(fixed or ())
    err = None
    if fixed is None:  # many coefficients: one fit, rounded at the end
        c, err = remez(g, weight, grid, basis)
        done = [round_to(x, bits) for x in c]
    while len(done) < len(basis):
        k = len(done)
        rest = lambda x: g(x) - sum(done[j] * x ** basis[j] for j in range(k))
        c, err = remez(rest, weight, grid, basis[k:])
        done.append(round_to(c[0], first if first and k == 0 else bits))
    final = max(abs(weight(x) * (g(x) - sum(d * x ** b for d, b in zip(done, basis)))) for x in grid)
    digits = 17 if bits > 24 else 9
    print(f"{name}: degree {degree} error 2^{float(M.log(final, 2)):.2f}")
    print("  {" + ", ".join(M.nstr(d, digits, strip_zeros=True) for d in done) + "}", flush=True)
    return done


def series_safe(f, small):
    """f(x), but through more digits near a removable singularity at 0."""
    def g(x):
        if abs(x) < small:
            with M.workdps(120):
                return f(x if x != 0 else mpf(10) ** -40)
        return f(x)
    return g


LN2_2 = mpf("0.34758")
S2 = M.sqrt(2)
FITS = {}


def entry(f):
    FITS[f.__name__] = f


@entry
def exp():
    q = series_safe(lambda r: (M.expm1(r) - r) / r ** 2, 1e-3)
    w = lambda r: r * r / M.exp(r)
    fit("exp f32: (e^r-1-r)/r^2", q, -LN2_2, LN2_2, 4, w, 24)
    fit("exp f64", q, -LN2_2, LN2_2, 9, w, 53)
    w1 = lambda r: r * r / abs(M.expm1(r)) if r != 0 else mpf(0)
    fit("expm1 f32", q, -LN2_2, LN2_2, 4, w1, 24)
    fit("expm1 f32+", q, -LN2_2, LN2_2, 5, w1, 24)
    fit("expm1 f64", q, -LN2_2, LN2_2, 10, w1, 53)


@entry
def pow():
    """2^r = 1 + r ln2 + r^2 q; atanh(s)/s = 1 + z/3 + z^2 Q."""
    q2 = series_safe(lambda r: ((mpf(2) ** r - 1) / r - M.log(2)) / r, 1e-3)
    Q = series_safe(lambda z: ((M.atanh(M.sqrt(z)) / M.sqrt(z) - 1) / z - mpf(1) / 3) / z, 1e-4)
    smax = (S2 - 1) / (S2 + 1)
    for bits, d2, d in ((24, 4, 2), (53, 10, 6)):
        fit(f"pow exp2 q {bits}", q2, -0.5001, 0.5001, d2, lambda r: r * r / mpf(2) ** r, bits)
        fit(f"pow log Q {bits}", Q, 0, smax ** 2, d, lambda z: z * z, bits)


@entry
def exp2():
    q = series_safe(lambda r: (M.mpf(2) ** r - 1) / r, 1e-3)
    w = lambda r: r / mpf(2) ** r
    fit("exp2 f32: (2^r-1)/r", q, -0.5001, 0.5001, 5, w, 24)
    fit("exp2 f64", q, -0.5001, 0.5001, 10, w, 53)
    fit("exp2 f64", q, -0.5001, 0.5001, 11, w, 53)


@entry
def log():
    q = series_safe(lambda f: (M.log1p(f) - f) / f ** 2, 1e-3)
    w = lambda f: f * f / M.log1p(f) if f != 0 else mpf(0)
    for d in (7, 8, 9):
        fit("log f32: (log1p(f)-f)/f^2", q, 1 / S2 - 1, S2 - 1, d, w, 24)
    # 2 atanh(s) = 2 s + s R(z), z = s^2: R(z)/z
    R = series_safe(lambda z: (2 * M.atanh(M.sqrt(z)) / M.sqrt(z) - 2) / z, 1e-4)
    smax = (S2 - 1) / (S2 + 1)
    fit("log f64: R(z)/z", R, 0, smax ** 2, 6, lambda z: z, 53)
    fit("log f64: R(z)/z", R, 0, smax ** 2, 7, lambda z: z, 53)


@entry
def erf():
    P = lambda z: M.erf(M.sqrt(z)) / M.sqrt(z) - 1 if z > 0 else 2 / M.sqrt(M.pi) - 1
    for d in (5, 6):
        fit("erf f32 small: erf(x)/x-1 in x^2", P, 0, 0.9216, d, lambda z: 1, 24)
    t = lambda x: -M.log(M.erfc(x))
    for d in (7, 8):
        fit("erf f32 large: -ln erfc(x)", t, 0.96, 3.93, d, lambda x: M.erfc(x) / M.erf(x), 24)


@entry
def phi():
    """Phi(-t) = e^(-t^2/2) (c/2 + u T) / (t + c), u = t / (t + a): T in u - 7/16."""
    c, shift = mpf("0.75"), mpf("0.4375")
    R = lambda t: M.erfc(t / S2) / 2 * M.exp(t * t / 2)
    for bits, a, tmax, d in ((24, mpf("2.5"), mpf("14.5"), 9), (53, mpf(5), mpf(39), 22)):
        t_of = lambda u: a * u / (1 - u)
        T = lambda v: (R(t_of(v + shift)) * (t_of(v + shift) + c) - c / 2) / (v + shift)
        w = lambda v: (v + shift) / (R(t_of(v + shift)) * (t_of(v + shift) + c))
        fit(f"phi f{64 if bits > 24 else 32}", T, mpf("1e-5") - shift, tmax / (tmax + a) - shift, d, w, bits,
            points=300 if bits == 24 else 160)


@entry
def trig():
    q = (M.pi / 4 * mpf("1.0001")) ** 2
    s = series_safe(lambda z: (M.sin(M.sqrt(z)) / M.sqrt(z) - 1) / z, 1e-6)
    c = series_safe(lambda z: (M.cos(M.sqrt(z)) - 1 + z / 2) / z ** 2, 1e-6)
    for bits, ds in ((53, (2, 3, 5, 6)),):
        for d in ds:
            fit(f"sin: (sin r/r-1)/z", s, 0, q, d, lambda z: z, bits)
            fit(f"cos: (cos r-1+z/2)/z^2", c, 0, q, d, lambda z: z * z, bits)


@entry
def inverse_trig():
    P = series_safe(lambda z: (M.asin(M.sqrt(z)) / M.sqrt(z) - 1) / z, 1e-6)
    A = series_safe(lambda z: (M.atan(M.sqrt(z)) / M.sqrt(z) - 1) / z, 1e-6)
    za = (S2 - 1) ** 2 * mpf("1.001")
    for bits, ds, da in ((24, 4, 4), (53, 11, 10)):
        fit(f"asin {bits}", P, 0, mpf("0.2501"), ds, lambda z: z, bits, points=300)
        fit(f"atan {bits}", A, 0, za, da, lambda z: z, bits, points=300)


@entry
def lgamma():
    """lgamma(2 + e) = e (1 + e) Q(e), |e| <= 1/2."""
    Q = series_safe(lambda e: M.loggamma(2 + e) / (e * (1 + e)), 1e-6)
    fit("lgamma Q", Q, mpf("-0.501"), mpf("0.501"), 18, lambda e: mpf(1), 53, points=201)


@entry
def erf64():
    P = lambda z: M.erf(M.sqrt(z)) / M.sqrt(z) - 1 if z > 0 else 2 / M.sqrt(M.pi) - 1
    for d in (11, 12):
        fit("erf f64 small: erf(x)/x-1 in x^2", P, 0, 1.0, d, lambda z: 1, 53)


if __name__ == "__main__":
    names = sys.argv[1:] or list(FITS)
    for n in names:
        FITS[n]()

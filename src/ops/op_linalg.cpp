// Linear algebra: solves, inverses, determinants, factorisations, ranks and norms, around op_linalg_factor.cpp.
// Every rule checks shapes and dtypes, which the host code below trusts.
#include <cmath>

#include "ops/composite.h"
#include "ops/complex.h"
#include "ops/linalg.h"

namespace phlox {

// --- checks

static Val matrix(const Args& a, Val x) {
  if (x.rank() < 2) a.error("not a matrix", cat(x.type()), "at least 2 dimensions");
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64 && !is_complex(x.dtype()))
    a.error("this dtype has no linear algebra", cat(x.dtype()), "float32, float64, complex64 or complex128");
  return x;
}
static Val matrix(const Args& a, int i) { return matrix(a, a[i]); }
// B goes with A: equal dtypes, because the host code reads both as one.
static void same_dtype(const Args& a, Val x, Val y) {
  if (x.dtype() != y.dtype()) a.error("the dtypes of the tensors differ", cat(x.dtype(), " and ", y.dtype()), "one dtype", "cast one of them with to()");
}
static void fit_rows(const Args& a, Val x, Val y, bool left = true) {
  same_dtype(a, x, y);
  require(a, y.rank() >= 2 && dim_eq(y.size(left ? -2 : -1), x.size(-1)), "the sizes of A and B do not fit", cat(x.type(), " and ", y.type()),
          left ? "as many rows in B as in A" : "as many columns in B as in A");
}
static Val square(const Args& a, int i) {
  const Val x = matrix(a, i);
  if (!dim_eq(x.size(-1), x.size(-2))) a.error("the matrix is not square", cat(x.type()), "equal last dimensions");
  return x;
}

struct Batched { Val a, b; };
static Batched same_batch(const Args& a, Val x, Val y) {
  auto batch = [](Val v) { return Dims(std::span<const Dim>(v.shape().data(), size_t(v.rank()) - 2)); };
  const Dims common = broadcast_shapes(a.name(), batch(x), batch(y));
  auto fit = [&](Val v) {
    Dims shape = common;
    shape.push_back(v.size(-2));
    shape.push_back(v.size(-1));
    return broadcast_to(v, shape);
  };
  return {fit(x), fit(y)};
}
// A X = B, or X A = B; b may be a batch of vectors.
static Vals solved(const Args& a, Val x, Val y, bool left) {
  const bool vectors = y.rank() == 1 || (y.rank() + 1 == x.rank() && [&] {
    for (int d = 0; d < y.rank(); ++d) if (!dim_eq(y.size(d), x.size(d))) return false;
    return true;
  }());
  if (vectors) y = unsqueeze(y, y.rank());
  fit_rows(a, x, y, left);
  const Batched p = same_batch(a, x, y);
  Val r, info;
  if (left) {
    const std::vector<Val> s = factor("solve", {p.a, p.b});
    r = s[0];
    info = s[1];
  } else {
    auto t = [](Val v) { return transpose(v, v.rank() - 2, v.rank() - 1); };
    const std::vector<Val> s = factor("solve", {t(p.a), t(p.b)});
    r = t(s[0]);
    info = s[1];
  }
  return {vectors ? squeeze(r, r.rank() - 1) : r, info};
}

// --- rules

static Vals solve_rule(const Args& a) { return {solved(a, square(a, 0), a[1], a.b(2, true))[0]}; }
static Vals solve_ex_rule(const Args& a) { return solved(a, square(a, 0), a[1], a.b(2, true)); }
static Val inverse(Val x) { return factor("solve", {x, identity_like(x)})[0]; }
static Vals inv_rule(const Args& a) { return {inverse(square(a, 0))}; }
static Vals inv_ex_rule(const Args& a) {
  const std::vector<Val> r = factor("solve", {square(a, 0), identity_like(a[0])});
  return {r[0], r[1]};
}
static Val cholesky_of(const Args& a, bool is_upper) {
  const Val l = factor("cholesky", {square(a, 0)})[0];
  return is_upper ? adjoint(l) : l;
}
static Vals linalg_cholesky_rule(const Args& a) { return {cholesky_of(a, a.b(1))}; }
static Vals cholesky_ex_rule(const Args& a) {
  const std::vector<Val> r = factor("cholesky", {square(a, 0)});
  return {a.b(1) ? adjoint(r[0]) : r[0], r[1]};
}
// Of the old op the upper form reads the upper half.
static Vals cholesky_rule(const Args& a) {
  const Val l = factor("cholesky", {square(a, 0)}, a.b(1))[0];
  return {a.b(1) ? adjoint(l) : l};
}
static Vals cholesky_solve_rule(const Args& a) {
  const Val x = square(a, 1), y = matrix(a, 0);
  fit_rows(a, x, y);
  const Batched p = same_batch(a, x, y);
  return {factor("cholesky_solve", {p.a, p.b}, a.b(2))[0]};
}
static Vals cholesky_inverse_rule(const Args& a) {
  const Val x = square(a, 0);
  return {factor("cholesky_solve", {x, identity_like(x)}, a.b(1))[0]};
}
static Val triangular_solution(const Args& a, Val x, Val y, bool is_upper, bool left, bool unit) {
  fit_rows(a, x, y, left);
  const Batched p = same_batch(a, x, y);
  if (left) return solve_upper(p.a, p.b, is_upper, unit);
  auto t = [](Val v) { return transpose(v, v.rank() - 2, v.rank() - 1); };
  return t(solve_upper(t(p.a), t(p.b), !is_upper, unit));
}
static Vals solve_triangular_rule(const Args& a) { return {triangular_solution(a, square(a, 0), matrix(a, 1), a.b(2), a.b(3, true), a.b(4))}; }
static Vals triangular_solve_rule(const Args& a) {
  const Val x = square(a, 1), y = matrix(a, 0);
  const bool up = a.b(2, true), turned = a.b(3);
  const Val r = triangular_solution(a, turned ? transpose(x, x.rank() - 2, x.rank() - 1) : x, y, turned ? !up : up, true, a.b(4));
  Dims shape(std::span<const Dim>(r.shape().data(), size_t(r.rank()) - 2));
  shape.push_back(x.size(-2));
  shape.push_back(x.size(-1));
  return {r, broadcast_to(x, shape)};
}
static Vals slogdet_rule(const Args& a) {
  const std::vector<Val> r = factor("slogdet", {square(a, 0)});
  return {r[0], r[1]};
}
static Vals det_rule(const Args& a) {
  const Vals r = slogdet_rule(a);
  return {r[0] * cast(map(Scalar::exp, r[1]), r[0].dtype())};
}
static Vals logdet_rule(const Args& a) {
  const Vals r = slogdet_rule(a);
  if (is_complex(r[0].dtype())) return {map(Scalar::log, r[0]) + cast(r[1], r[0].dtype())};
  const Val negative = map(Scalar::lt, r[0], constant_like(r[0], 0));
  return {select(negative, constant_like(r[1], NAN), r[1])};
}
// LU, pivots, info. What a matrix has beyond a square is solved for, which has a gradient.
static Vals lu_of(Val x) {
  const Dim m = x.size(-2), n = x.size(-1);
  if (dim_eq(m, n)) { const std::vector<Val> r = factor("lu", {x}); return {r[0], r[1], r[2]}; }
  const std::vector<Val> whole = factor("lu", {stop_gradient(x)});
  const Val swapped = factor("swap", {x, whole[1]})[0];
  const int rows = x.rank() - 2, cols = x.rank() - 1;
  if (dim_lt(m, n)) {
    const Val lu = factor("lu", {slice(swapped, cols, 0, m)})[0];
    return {concat({lu, solve_upper(lu, slice(swapped, cols, m, n - m), false, true)}, cols), whole[1], whole[2]};
  }
  const Val lu = factor("lu", {slice(swapped, rows, 0, n)})[0];
  const Val below = adjoint(solve_upper(adjoint(lu), adjoint(slice(swapped, rows, n, m - n)), false));
  return {concat({lu, below}, rows), whole[1], whole[2]};
}
static Vals lu_factor_rule(const Args& a) { const Vals r = lu_of(matrix(a, 0)); return {r[0], r[1]}; }
static Vals lu_factor_ex_rule(const Args& a) { return lu_of(matrix(a, 0)); }
static Vals qr_of(const Args& a, bool full, bool only_r) {
  const Val x = matrix(a, 0);
  const Dim m = x.size(-2), n = x.size(-1);
  std::vector<Val> r;
  if (dim_lt(m, n)) {  // the square in front has all of Q, and its gradient
    const int cols = x.rank() - 1;
    r = factor("qr", {slice(x, cols, 0, m)}, full);
    r[1] = concat({r[1], product(adjoint(r[0]), slice(x, cols, m, n - m))}, cols);
  } else {
    r = factor("qr", {x}, full);
  }
  if (only_r) return {full_int(a.builder(), {0}, a[0].dtype(), 0), r[1]};
  return {r[0], r[1]};
}
static Vals linalg_qr_rule(const Args& a) {
  if (a.s(1) != "reduced" && a.s(1) != "complete" && a.s(1) != "r") a.error("unknown mode", std::string(a.s(1)), "'reduced', 'complete' or 'r'");
  return qr_of(a, a.s(1) == "complete", a.s(1) == "r");
}
static Vals qr_rule(const Args& a) { return qr_of(a, !a.b(1, true), false); }
static Vals geqrf_rule(const Args& a) { const std::vector<Val> r = factor("geqrf", {matrix(a, 0)}); return {r[0], r[1]}; }
// The first columns of H_0 H_1 ...: few reflectors are applied one by one, which has a gradient.
static Vals householder_product_rule(const Args& a) {
  const Val x = matrix(a, 0), tau = a[1];
  same_dtype(a, x, tau);
  bool fits = tau.rank() == x.rank() - 1 && !dim_lt(x.size(-2), x.size(-1)) && !dim_lt(x.size(-1), tau.size(-1));
  for (int d = 0; fits && d + 2 < x.rank(); ++d) fits = dim_eq(x.size(d), tau.size(d));
  require(a, fits, "the reflectors do not fit their scales", cat(x.type(), " and ", tau.type()),
          "[..., m, n] with m >= n, and [..., k] with k <= n and the same batch");
  if (dim_lt(32, tau.size(-1))) return {factor("householder", {x, tau})[0]};
  Val q = identity_like(x);
  const Dims column = [&] { Dims s = x.shape(); s[size_t(x.rank()) - 1] = 1; return s; }();
  const Val row = iota(a.builder(), column, x.rank() - 2, DType::i64);
  for (int64_t j = dim_int(tau.size(-1), a.name()); j-- > 0;) {
    const Val part = slice(x, x.rank() - 1, j, 1), at = constant_like(row, double(j));
    const Val rest = select(map(Scalar::lt, at, row), part, cast(map(Scalar::eq, at, row), x.dtype()));
    const Val scale = unsqueeze(slice(tau, tau.rank() - 1, j, 1), tau.rank());
    q = q - product(rest, product(adjoint(rest), q)) * scale;
  }
  return {q};
}
static std::vector<Val> eigh_of(const Args& a) {
  const Val x = square(a, 0);
  // The upper half, mirrored, is the lower half of the adjoint.
  const Val h = a.s(1) == "U" || a.s(1) == "u" ? adjoint(x) : x;
  // The gradient is that of a function of the whole Hermitian matrix.
  return factor("eigh", {h});
}
static void check_triangle(const Args& a) {
  require(a, a.s(1) == "L" || a.s(1) == "U" || a.s(1) == "l" || a.s(1) == "u", "unknown triangle", std::string(a.s(1)), "'L' or 'U'");
}
static void check_driver(const Args& a, int arg) {
  if (a.has(arg)) require(a, a.s(arg) == "gesvd" || a.s(arg) == "gesvdj" || a.s(arg) == "gesvda", "unknown driver", std::string(a.s(arg)), "'gesvd', 'gesvdj' or 'gesvda'");
}
static Vals eigh_rule(const Args& a) { check_triangle(a); const std::vector<Val> r = eigh_of(a); return {r[0], r[1]}; }
static Vals eigvalsh_rule(const Args& a) { check_triangle(a); return {eigh_of(a)[0]}; }
static Vals linalg_svd_rule(const Args& a) {
  check_driver(a, 2);
  const std::vector<Val> r = factor("svd", {matrix(a, 0)}, a.b(1, true));
  return {r[0], r[1], r[2]};
}
static Vals svd_rule(const Args& a) {  // the old op: V instead of its adjoint, reduced unless some is false
  const std::vector<Val> r = factor("svd", {matrix(a, 0)}, !a.b(1, true));
  return {r[0], r[1], adjoint(r[2])};
}
static Val singular_values(Val x) { return factor("svd", {x})[1]; }
static Vals svdvals_rule(const Args& a) { check_driver(a, 1); return {singular_values(matrix(a, 0))}; }
static Vals eig_rule(const Args& a) { const std::vector<Val> r = factor("eig", {square(a, 0)}); return {r[0], r[1]}; }
static Vals eigvals_rule(const Args& a) { return {factor("eig", {square(a, 0)})[0]}; }
static Vals matrix_exp_rule(const Args& a) { return {factor("exp", {square(a, 0)})[0]}; }

// --- norms and ranks

static Val tolerance(const Args& a, Val x, Val s, Val atol, Val rtol) {
  // The default relative tolerance is the larger size times the spacing of numbers at 1.
  const DType d = s.dtype();
  const Val longest = reduce(s, {s.rank() - 1}, "max");
  const double eps = d == DType::f64 ? 0x1p-52 : 0x1p-23;
  auto fit = [&](Val v) { return broadcast_to(cast(v, d), longest.shape(), a.name()); };
  const Val usual = dim_value(*x.g, max(x.size(-1), x.size(-2)), d) * eps;
  Val r;
  if (rtol) r = fit(rtol);
  else if (!atol) r = fit(usual);
  else r = select(map(Scalar::lt, constant_like(longest, 0), fit(atol)), constant_like(longest, 0), fit(usual));
  const Val relative = r * longest;
  return atol ? maximum(fit(atol), relative) : relative;
}
static Val spectrum(const Args& a, Val x, bool hermitian) {
  return hermitian ? map(Scalar::abs, factor("eigh", {square(a, 0)})[0]) : singular_values(x);
}
static Vals matrix_rank_rule(const Args& a) {
  const Schema& sc = a.op().schema;
  const int atol = sc.find("atol"), rtol = sc.find("rtol"), tol = sc.find("tol"), hermitian = sc.find("hermitian");
  const Val x = matrix(a, 0);
  const Val s = stop_gradient(spectrum(a, x, a.b(hermitian)));
  const Val t = tol >= 0 ? tolerance(a, x, s, a.optional(tol), like(s, 0)) : tolerance(a, x, s, a.optional(atol), a.optional(rtol));
  const Val over = map(Scalar::lt, broadcast_to(unsqueeze(t, t.rank()), s.shape()), s);
  return {sum(cast(over, DType::i64), {s.rank() - 1})};
}
static Vals pinv_rule(const Args& a) {
  const Schema& sc = a.op().schema;
  const int atol = sc.find("atol"), rtol = sc.find("rtol"), rcond = sc.find("rcond"), hermitian = sc.find("hermitian");
  const Val x = matrix(a, 0);
  const bool herm = hermitian >= 0 && a.b(hermitian);  // pinverse has none
  std::vector<Val> f;
  Val s;
  if (herm) { f = factor("eigh", {square(a, 0)}); s = map(Scalar::abs, f[0]); }
  else { f = factor("svd", {x}); s = f[1]; }
  const Val fixed = stop_gradient(s);
  const Val t = rcond >= 0 ? tolerance(a, x, fixed, {}, a[rcond]) : tolerance(a, x, fixed, a.optional(atol), a.optional(rtol));
  const Val keep = map(Scalar::lt, broadcast_to(unsqueeze(t, t.rank()), s.shape()), fixed);
  const Val w = herm ? f[0] : s;
  const Val inv = select(keep, 1.0 / select(keep, w, constant_like(w, 1)), constant_like(w, 0));
  if (herm) return {product(scale_columns(f[1], inv), adjoint(f[1]))};
  return {product(scale_columns(adjoint(f[2]), inv), adjoint(f[0]))};
}

static Val safe_root(Val v) {
  const Val zero = map(Scalar::eq, v, constant_like(v, 0));
  return select(zero, constant_like(v, 0), map(Scalar::sqrt, select(zero, constant_like(v, 1), v)));
}
// The matrix norms along two dims: rows d0, columns d1.
static Val matrix_norm(const Args& a, Val x, double p, std::string_view name, int d0, int d1, bool keepdim) {
  const int rank = x.rank();
  if (d0 == d1) a.error("the two dimensions of a matrix norm are the same", cat(d0, " and ", d1), "two different dimensions");
  if (!is_float(x.dtype()) && !is_complex(x.dtype())) a.error("a norm takes floating point or complex numbers", cat(x.dtype()), {}, "cast the tensor, or pass dtype");
  auto finish = [&](Val r) {  // r is reduced over both
    if (!keepdim) return r;
    Dims shape;
    for (int k = 0; k < rank; ++k) shape.push_back(k == d0 || k == d1 ? Dim(1) : x.size(k));
    return reshape(r, shape);
  };
  if (name == "fro") return safe_root(sum(abs2(x), {d0, d1}, keepdim));
  if (name == "nuc" || p == 2 || p == -2) {
    Ints perm;
    for (int k = 0; k < rank; ++k) if (k != d0 && k != d1) perm.push_back(k);
    perm.push_back(d0);
    perm.push_back(d1);
    if (x.dtype() != DType::f32 && x.dtype() != DType::f64 && !is_complex(x.dtype()))
      a.error("this dtype has no singular values", cat(x.dtype()), "float32, float64, complex64 or complex128", "pass dtype");
    const Val s = singular_values(permute(x, perm));
    const int last = s.rank() - 1;
    return finish(name == "nuc" ? sum(s, {last}) : reduce(s, {last}, p > 0 ? "max" : "min"));
  }
  const double size = std::fabs(p);
  if (size != 1 && !std::isinf(size)) a.error("unknown matrix norm", cat(p), "'fro', 'nuc', 1, -1, 2, -2, inf or -inf");
  // 1: the largest column sum; inf: the largest row sum.
  const int add = size == 1 ? d0 : d1, then = size == 1 ? d1 : d0;
  const Val sums = sum(abs_of(x), {add}, true);
  const Val r = reduce(sums, {then}, p > 0 ? "max" : "min", true);
  if (keepdim) return r;
  Dims shape;
  for (int k = 0; k < rank; ++k) if (k != d0 && k != d1) shape.push_back(x.size(k));
  return reshape(r, shape);
}
static Val as_norm_dtype(const Args& a, Val x, int dtype) {
  if (!a.has(dtype)) return x;
  return cast(x, *a.dtype(dtype));
}
static Vals matrix_norm_rule(const Args& a) {  // (A, ord, dim, keepdim, *, dtype), ord a number or a string
  const Val x = as_norm_dtype(a, a[0], 4);
  const Ints dims = a.ints(2);
  if (dims.size() != 2) a.error("a matrix norm takes two dimensions", cat("[", join(dims), "]"), "2 dimensions");
  const int d0 = wrap_dim(dims[0], x.rank(), a.name()), d1 = wrap_dim(dims[1], x.rank(), a.name());
  const bool text = a.raw(1).kind == ArgKind::string;
  return {matrix_norm(a, x, text ? 0 : a.f(1), text ? a.s(1) : "", d0, d1, a.b(3))};
}
static Val vector_norm_call(const Args& a, Val x, const Arg& ord, const Arg& dim, bool keepdim) {
  const OpInfo* op = find_op("linalg_vector_norm");
  const Arg args[] = {Arg::of_value(x.id), ord, dim, Arg::of_bool(keepdim), Arg{}};
  return a.builder().call(*op, args)[0];
}
static Vals linalg_norm_rule(const Args& a) {  // (self, ord=None, dim=None, keepdim, *, dtype)
  Val x = as_norm_dtype(a, a[0], 4);
  const bool text = a.raw(1).kind == ArgKind::string;
  if (!a.has(1)) {
    if (a.has(2)) return {vector_norm_call(a, x, Arg::of_dim(2), a.raw(2), a.b(3))};
    Val r = vector_norm_call(a, reshape(x, {x.numel()}), Arg::of_dim(2), Arg{}, false);
    if (a.b(3)) r = reshape(r, Dims(size_t(x.rank()), 1));
    return {r};
  }
  Ints dims = a.has(2) ? a.ints(2) : all_dims(x.rank());
  if (dims.size() == 1 && !text) return {vector_norm_call(a, x, a.raw(1), a.raw(2), a.b(3))};
  if (dims.size() != 2) a.error("neither a vector nor a matrix", cat("[", join(dims), "]"), "1 or 2 dimensions");
  const int d0 = wrap_dim(dims[0], x.rank(), a.name()), d1 = wrap_dim(dims[1], x.rank(), a.name());
  return {matrix_norm(a, x, text ? 0 : a.f(1), text ? a.s(1) : "", d0, d1, a.b(3))};
}
static Vals cond_rule(const Args& a) {
  const Val x = matrix(a, 0);
  const double p = a.has(1) && a.raw(1).kind != ArgKind::string ? a.f(1) : 2;
  const bool text = a.raw(1).kind == ArgKind::string;
  if (!text && std::fabs(p) == 2) {
    const Val s = singular_values(x);
    const int last = s.rank() - 1;
    const Val hi = reduce(s, {last}, "max"), lo = reduce(s, {last}, "min");
    return {p > 0 ? hi / lo : lo / hi};
  }
  const std::string_view name = text ? a.s(1) : "";
  auto norm = [&](Val v) { return matrix_norm(a, v, text ? 0 : p, name, v.rank() - 2, v.rank() - 1, false); };
  return {norm(x) * norm(inverse(square(a, 0)))};
}
static Vals multi_solve_rule(const Args& a) {  // linalg_tensorsolve
  const Val x = a[0], y = a[1];
  same_dtype(a, x, y);
  Val m = x;
  if (a.has(2)) {
    std::vector<bool> listed(size_t(x.rank()), false);
    Ints perm, last;
    for (int64_t k : a.ints(2)) {
      const int d = wrap_dim(k, x.rank(), a.name());
      if (x.rank() == 0 || listed[size_t(d)]) a.error("dims names a dimension twice", cat(k), "different dimensions of the first tensor");
      listed[size_t(d)] = true;
      last.push_back(d);
    }
    for (int d = 0; d < x.rank(); ++d) if (!listed[size_t(d)]) perm.push_back(d);
    perm.append(last.begin(), last.end());
    m = permute(x, perm);
  }
  // The dims in front are other's, what follows is the result's; both hold as many numbers.
  Dims shape;
  Dim unknowns = 1, equations = 1;
  for (int d = 0; d < m.rank(); ++d) {
    if (d < y.rank()) { equations = equations * m.size(d); continue; }
    shape.push_back(m.size(d));
    unknowns = unknowns * m.size(d);
  }
  const Dim n = y.numel();
  require(a, m.rank() >= y.rank() && dim_eq(equations, n) && dim_eq(unknowns, n), "the tensors do not make a square system",
          cat(m.type(), " and ", y.type()), "the first tensor's leading dims hold as many numbers as other, and so do its trailing ones");
  const Val r = factor("solve", {matrix(a, reshape(m, {n, n})), reshape(y, {n, 1})})[0];
  return {reshape(r, shape)};
}
static Vals tensorinv_rule(const Args& a) {
  const Val x = a[0];
  const int64_t ind = a.i(1);
  if (ind <= 0 || ind > x.rank()) a.error("ind does not split the dimensions", cat(ind), cat("1 to ", x.rank()));
  Dims shape;
  Dim n = 1, rest = 1;
  for (int d = int(ind); d < x.rank(); ++d) { shape.push_back(x.size(d)); rest = rest * x.size(d); }
  for (int d = 0; d < int(ind); ++d) { shape.push_back(x.size(d)); n = n * x.size(d); }
  require(a, dim_eq(n, rest), "the tensor is not square when it is split", cat(x.type(), " at ", ind), "as many numbers in front of ind as behind it");
  return {reshape(inverse(matrix(a, reshape(x, {n, n}))), shape)};
}

static void samples(SampleBuilder& s);
#define LINALG(id, schema_text, text, rule, fixed) static constexpr Op op_##id{{.schema = schema_text, .doc = text, .expand = rule, .forms = Forms::out, .static_args = fixed, .sample = samples}};
#define EACH_LINALG(X)                                                                                                                       \
  X(linalg_solve, "linalg_solve(Tensor A, Tensor B, *, bool left=True) -> Tensor", "X with A X = B, or X A = B.", solve_rule, 0)             \
  X(linalg_solve_ex, "linalg_solve_ex(Tensor A, Tensor B, *, bool left=True, bool check_errors=False) -> (Tensor result, Tensor info)", "linalg_solve, with the place of the first zero pivot.", solve_ex_rule, 0) \
  X(linalg_inv, "linalg_inv(Tensor A) -> Tensor", "The inverse of a square matrix.", inv_rule, 0)                                            \
  X(inverse, "inverse(Tensor self) -> Tensor", "linalg_inv.", inv_rule, 0)                                                                   \
  X(linalg_inv_ex, "linalg_inv_ex(Tensor A, *, bool check_errors=False) -> (Tensor inverse, Tensor info)", "linalg_inv, with the place of the first zero pivot.", inv_ex_rule, 0) \
  X(linalg_cholesky, "linalg_cholesky(Tensor self, *, bool upper=False) -> Tensor", "The Cholesky factor of a positive definite matrix.", linalg_cholesky_rule, 0) \
  X(linalg_cholesky_ex, "linalg_cholesky_ex(Tensor self, *, bool upper=False, bool check_errors=False) -> (Tensor L, Tensor info)", "linalg_cholesky, with the order of the first minor that is not positive.", cholesky_ex_rule, 0) \
  X(cholesky, "cholesky(Tensor self, bool upper=False) -> Tensor", "The Cholesky factor of a positive definite matrix.", cholesky_rule, 0)   \
  X(cholesky_solve, "cholesky_solve(Tensor self, Tensor input2, bool upper=False) -> Tensor", "X with A X = self, A given by its Cholesky factor.", cholesky_solve_rule, 0) \
  X(cholesky_inverse, "cholesky_inverse(Tensor self, bool upper=False) -> Tensor", "The inverse of A, given by its Cholesky factor.", cholesky_inverse_rule, 0) \
  X(linalg_solve_triangular, "linalg_solve_triangular(Tensor self, Tensor B, *, bool upper, bool left=True, bool unitriangular=False) -> Tensor", "X with A X = B, A triangular.", solve_triangular_rule, 0) \
  X(triangular_solve, "triangular_solve(Tensor self, Tensor A, bool upper=True, bool transpose=False, bool unitriangular=False) -> (Tensor solution, Tensor cloned_coefficient)", "X with A X = self, A triangular.", triangular_solve_rule, 0) \
  X(linalg_slogdet, "linalg_slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet)", "Sign and logarithm of the absolute value of the determinant.", slogdet_rule, 0) \
  X(slogdet, "slogdet(Tensor self) -> (Tensor sign, Tensor logabsdet)", "linalg_slogdet.", slogdet_rule, 0)                                  \
  X(linalg_det, "linalg_det(Tensor A) -> Tensor", "The determinant.", det_rule, 0)                                                           \
  X(det, "det(Tensor self) -> Tensor", "linalg_det.", det_rule, 0)                                                                           \
  X(logdet, "logdet(Tensor self) -> Tensor", "The logarithm of the determinant; NaN where it is negative.", logdet_rule, 0)                  \
  X(linalg_lu_factor, "linalg_lu_factor(Tensor A, *, bool pivot=True) -> (Tensor LU, Tensor pivots)", "L and U in one matrix, and the row swaps.", lu_factor_rule, 0) \
  X(linalg_lu_factor_ex, "linalg_lu_factor_ex(Tensor A, *, bool pivot=True, bool check_errors=False) -> (Tensor LU, Tensor pivots, Tensor info)", "linalg_lu_factor, with the place of the first zero pivot.", lu_factor_ex_rule, 0) \
  X(lu_with_info, "_lu_with_info(Tensor self, bool pivot=True, bool check_errors=True) -> (Tensor LU, Tensor pivots, Tensor info)", "linalg_lu_factor_ex.", lu_factor_ex_rule, 0) \
  X(linalg_qr, "linalg_qr(Tensor A, str mode='reduced') -> (Tensor Q, Tensor R)", "Orthonormal columns times an upper triangle.", linalg_qr_rule, 0) \
  X(qr, "qr(Tensor self, bool some=True) -> (Tensor Q, Tensor R)", "linalg_qr.", qr_rule, 0)                                                 \
  X(geqrf, "geqrf(Tensor self) -> (Tensor a, Tensor tau)", "linalg_qr as Householder reflectors.", geqrf_rule, 0)                            \
  X(linalg_householder_product, "linalg_householder_product(Tensor input, Tensor tau) -> Tensor", "The first columns of a product of reflectors.", householder_product_rule, 0) \
  X(orgqr, "orgqr(Tensor self, Tensor input2) -> Tensor", "linalg_householder_product.", householder_product_rule, 0)                        \
  X(linalg_eigh, "linalg_eigh(Tensor self, str UPLO='L') -> (Tensor eigenvalues, Tensor eigenvectors)", "Eigenvalues, ascending, and eigenvectors of a Hermitian matrix.", eigh_rule, 0) \
  X(linalg_eigvalsh, "linalg_eigvalsh(Tensor self, str UPLO='L') -> Tensor", "Eigenvalues of a Hermitian matrix, ascending.", eigvalsh_rule, 0) \
  X(linalg_eig, "linalg_eig(Tensor self) -> (Tensor eigenvalues, Tensor eigenvectors)", "Eigenvalues and eigenvectors of a square matrix.", eig_rule, 0) \
  X(linalg_eigvals, "linalg_eigvals(Tensor self) -> Tensor", "Eigenvalues of a square matrix.", eigvals_rule, 0)                             \
  X(linalg_svd, "linalg_svd(Tensor A, bool full_matrices=True, *, str? driver=None) -> (Tensor U, Tensor S, Tensor Vh)", "Singular values, descending, and vectors.", linalg_svd_rule, 0) \
  X(svd, "svd(Tensor self, bool some=True, bool compute_uv=True) -> (Tensor U, Tensor S, Tensor V)", "linalg_svd, with V instead of its adjoint.", svd_rule, 0) \
  X(linalg_svdvals, "linalg_svdvals(Tensor A, *, str? driver=None) -> Tensor", "Singular values, descending.", svdvals_rule, 0)              \
  X(linalg_matrix_exp, "linalg_matrix_exp(Tensor self) -> Tensor", "The exponential of a square matrix.", matrix_exp_rule, 0)                \
  X(matrix_exp, "matrix_exp(Tensor self) -> Tensor", "linalg_matrix_exp.", matrix_exp_rule, 0)                                               \
  X(linalg_matrix_rank_tensor, "linalg_matrix_rank.atol_rtol_tensor(Tensor input, *, Tensor? atol=None, Tensor? rtol=None, bool hermitian=False) -> Tensor", "How many singular values count.", matrix_rank_rule, 0) \
  X(linalg_matrix_rank_float, "linalg_matrix_rank.atol_rtol_float(Tensor self, *, float? atol=None, float? rtol=None, bool hermitian=False) -> Tensor", "How many singular values count.", matrix_rank_rule, 0) \
  X(linalg_matrix_rank, "linalg_matrix_rank(Tensor self, float tol, bool hermitian=False) -> Tensor", "How many singular values are above tol.", matrix_rank_rule, 0) \
  X(linalg_pinv_tensor, "linalg_pinv.atol_rtol_tensor(Tensor self, *, Tensor? atol=None, Tensor? rtol=None, bool hermitian=False) -> Tensor", "The pseudo-inverse.", pinv_rule, 0) \
  X(linalg_pinv_float, "linalg_pinv.atol_rtol_float(Tensor self, *, float? atol=None, float? rtol=None, bool hermitian=False) -> Tensor", "The pseudo-inverse.", pinv_rule, 0) \
  X(linalg_pinv, "linalg_pinv(Tensor self, float rcond, bool hermitian=False) -> Tensor", "The pseudo-inverse.", pinv_rule, 0)               \
  X(pinverse, "pinverse(Tensor self, float rcond=1e-15) -> Tensor", "The pseudo-inverse.", pinv_rule, 0)                                     \
  X(linalg_matrix_norm, "linalg_matrix_norm(Tensor self, Scalar ord, int[] dim=[-2,-1], bool keepdim=False, *, ScalarType? dtype=None) -> Tensor", "A norm of matrices.", matrix_norm_rule, 2) \
  X(linalg_matrix_norm_text, "linalg_matrix_norm.str_ord(Tensor self, str ord='fro', int[] dim=[-2,-1], bool keepdim=False, *, ScalarType? dtype=None) -> Tensor", "A norm of matrices.", matrix_norm_rule, 0) \
  X(linalg_norm, "linalg_norm(Tensor self, Scalar? ord=None, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor", "A norm of vectors or matrices.", linalg_norm_rule, 2) \
  X(linalg_norm_text, "linalg_norm.ord_str(Tensor self, str ord, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor", "A norm of matrices.", linalg_norm_rule, 0) \
  X(linalg_cond, "linalg_cond(Tensor self, Scalar? p=None) -> Tensor", "The condition number.", cond_rule, 2)                                \
  X(linalg_cond_text, "linalg_cond.p_str(Tensor self, str p) -> Tensor", "The condition number.", cond_rule, 0)                              \
  X(linalg_tensorsolve, "linalg_tensorsolve(Tensor self, Tensor other, int[]? dims=None) -> Tensor", "X with tensordot(self, X) = other.", multi_solve_rule, 0) \
  X(linalg_tensorinv, "linalg_tensorinv(Tensor self, int ind=2) -> Tensor", "The inverse for tensordot.", tensorinv_rule, 0)
EACH_LINALG(LINALG)

// --- samples

static void samples(SampleBuilder& s) {
  s.of("linalg_norm.ord_str", {"[3,4], 'fro'", "[3,3], 'nuc'"}).of("linalg_cond.p_str", {"[3,3]:spd, 'fro'"}).of("linalg_tensorinv", {"[4,2,2], 1", "[2,3,6]"})
      .of("linalg_cholesky linalg_cholesky_ex cholesky", {"[3,3]:spd", "[2,3,3]:spd"}).of("linalg_inv inverse linalg_inv_ex linalg_det det linalg_slogdet slogdet logdet", {"[3,3]:spd", "[2,3,3]:spd"})
      .of("linalg_householder_product orgqr", {"[4,3], [3]", "[2,4,3], [2,2]", "[3,3], [1]"})
      .refuses("linalg_householder_product orgqr", {"[3,4], [3]", "[4,3], [4]", "[3], [3]"})
      // A factor's gradient covers the whole matrix, as ATen's does; differences see only the half that is read.
      .no_gradients("cholesky_solve cholesky_inverse")
      .no_gradients("linalg_cholesky linalg_cholesky_ex cholesky linalg_eigh linalg_eigvalsh linalg_eig linalg_svd svd linalg_qr qr geqrf linalg_householder_product");
}

static const Op* const linalg_ops[] = {
#define LIST(id, ...) &op_##id,
    EACH_LINALG(LIST)};
OpFamily linalg_family() { return linalg_ops; }

}  // namespace phlox

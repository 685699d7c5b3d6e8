// The one extern op of linear algebra: factorisations and solves on the host (linalg_host.h), with their gradients, and
// the graph functions around it. op_linalg.cpp has the public operators; it checks shapes and dtypes, this file trusts
// them.
#include <algorithm>
#include <cmath>

#include "ops/composite.h"
#include "ops/complex.h"
#include "ops/linalg.h"
#include "ops/linalg_host.h"

namespace phlox {

using Types = SmallVector<TensorType, 2>;

// --- the one extern op: WHAT of matrices, the last two dims, for every matrix of a batch. Complex ones come as pairs.
// Flags: triangular and cholesky_solve 1 upper, 2 unit diagonal; cholesky 1 reads the upper half; qr and svd 1 full.

struct Layout {
  Dims batch;
  Dim rows = 0, cols = 0;
};
static Layout layout_of(const TensorType& t, bool pairs) {
  Layout l;
  const size_t r = t.shape.size() - pairs;
  for (size_t d = 0; d + 2 < r; ++d) l.batch.push_back(t.shape[d]);
  l.rows = t.shape[r - 2];
  l.cols = t.shape[r - 1];
  return l;
}
static void factor_type(const Args& a, Types& out) {
  const std::vector<Val> in = a.vals(0);
  const std::string_view what = a.s(1);
  const bool pairs = a.b(2), full = a.i(3) & 1;
  const Layout l = layout_of(in[0].type(), pairs);
  const DType d = in[0].dtype();
  auto add = [&](std::initializer_list<Dim> tail, DType dtype, bool complex) {
    TensorType t;
    t.dtype = dtype;
    t.device = in[0].type().device;
    t.shape = l.batch;
    t.shape.append(tail.begin(), tail.end());
    if (complex) t.shape.push_back(2);
    out.push_back(t);
  };
  const Dim m = l.rows, n = l.cols, k = min(m, n);
  if (what == "solve" || what == "triangular" || what == "cholesky_solve") { add({n, layout_of(in[1].type(), pairs).cols}, d, pairs); if (what == "solve") add({}, DType::i32, false); }
  else if (what == "cholesky") { add({n, n}, d, pairs); add({}, DType::i32, false); }
  else if (what == "lu") { add({m, n}, d, pairs); add({k}, DType::i32, false); add({}, DType::i32, false); }
  else if (what == "slogdet") { add({}, d, pairs); add({}, d, false); }
  else if (what == "qr") { add({m, full ? m : k}, d, pairs); add({full ? m : k, n}, d, pairs); }
  else if (what == "geqrf") { add({m, n}, d, pairs); add({k}, d, pairs); }
  else if (what == "householder") add({m, n}, d, pairs);
  else if (what == "eigh") { add({n}, d, false); add({n, n}, d, pairs); }
  else if (what == "svd") { add({m, full ? m : k}, d, pairs); add({k}, d, false); add({full ? n : k, n}, d, pairs); }
  else if (what == "eig") { add({n}, d, true); add({n, n}, d, true); }
  else if (what == "swap" || what == "unswap") add({m, n}, d, pairs);
  else { PHLOX_CHECK(what == "exp", "linalg ", what); add({n, n}, d, pairs); }
}

namespace {

// The k-th matrix (or vector, as one column) of a batch.
class Batch {
 public:
  Batch(const HostTensor& t, bool pairs, bool vectors) : t_(t), pairs_(pairs) {
    const size_t r = t.shape.size() - pairs;
    cols = vectors ? 1 : t.shape[r - 1];
    rows = vectors ? (r ? t.shape[r - 1] : 1) : t.shape[r - 2];
  }
  Matrix get(int64_t k) const {
    Matrix m(rows, cols);
    for (int64_t i = 0; i < rows * cols; ++i) m.data[size_t(i)] = at(k * rows * cols + i);
    return m;
  }
  void set(int64_t k, const Matrix& m) const {
    if (int64_t(m.data.size()) != rows * cols) {  // of a matrix without elements: what is left is an identity
      for (int64_t i = 0; i < rows * cols; ++i) put(k * rows * cols + i, i / cols == i % cols ? 1.0 : 0.0);
      return;
    }
    for (int64_t i = 0; i < rows * cols; ++i) put(k * rows * cols + i, m.data[size_t(i)]);
  }
  void set(int64_t k, const std::vector<Matrix::C>& v) const { for (size_t i = 0; i < v.size(); ++i) put(k * rows * cols + int64_t(i), v[i]); }
  void set(int64_t k, const std::vector<double>& v) const { for (size_t i = 0; i < v.size(); ++i) put(k * rows * cols + int64_t(i), v[i]); }
  int64_t rows, cols;

 private:
  Matrix::C at(int64_t i) const {
    const int64_t j = pairs_ ? 2 * i : i;
    return {real(j), pairs_ ? real(j + 1) : 0};
  }
  double real(int64_t j) const { return t_.dtype == DType::f64 ? t_.as<double>()[j] : double(t_.as<float>()[j]); }
  void put(int64_t i, Matrix::C z) const {
    const int64_t j = pairs_ ? 2 * i : i;
    store(j, z.real());
    if (pairs_) store(j + 1, z.imag());
  }
  void store(int64_t j, double v) const { if (t_.dtype == DType::f64) t_.as<double>()[j] = v; else t_.as<float>()[j] = float(v); }
  const HostTensor& t_;
  bool pairs_;
};

void run_factor(HostCall& c) {
  const std::string& what = c.args[1].text;
  const bool pairs = c.i(2) != 0;
  const int64_t flag = c.i(3);
  const Batch a(c.in[0], pairs, false);
  const size_t batch_rank = c.in[0].shape.size() - 2 - size_t(pairs);
  int64_t count = 1;
  for (size_t d = 0; d < batch_rank; ++d) count *= c.in[0].shape[d];
  auto matrices = [&](size_t i) { return Batch(c.out[i], pairs, false); };
  auto info = [&](size_t i, int64_t k) -> int32_t& { return c.out[i].as<int32_t>()[k]; };
  for (int64_t k = 0; k < count; ++k) {
    Matrix m = a.get(k);
    if (what == "solve") {
      Matrix x;
      info(1, k) = solve(m, Batch(c.in[1], pairs, false).get(k), x);
      matrices(0).set(k, x);
    } else if (what == "triangular") {
      Matrix x = Batch(c.in[1], pairs, false).get(k);
      solve_triangular(m, x, flag & 1, flag & 2);
      matrices(0).set(k, x);
    } else if (what == "cholesky_solve") {
      const Matrix l = flag & 1 ? m.adjoint() : m;
      Matrix x = Batch(c.in[1], pairs, false).get(k);
      solve_triangular(l, x, false, false);
      solve_triangular(l.adjoint(), x, true, false);
      matrices(0).set(k, x);
    } else if (what == "cholesky") {
      Matrix l;
      info(1, k) = cholesky(flag & 1 ? m.adjoint() : m, l);
      matrices(0).set(k, l);
    } else if (what == "lu") {
      std::vector<int32_t> pivots;
      info(2, k) = lu_factor(m, pivots);
      matrices(0).set(k, m);
      for (size_t i = 0; i < pivots.size(); ++i) c.out[1].as<int32_t>()[k * int64_t(pivots.size()) + int64_t(i)] = pivots[i];
    } else if (what == "slogdet") {
      std::vector<int32_t> pivots;
      lu_factor(m, pivots);
      Matrix::C sign = 1;
      double log = 0;
      for (int64_t i = 0; i < m.rows; ++i) {
        const double size = std::abs(m(i, i));
        if (pivots[size_t(i)] != int32_t(i) + 1) sign = -sign;
        sign = size == 0 ? Matrix::C(0) : sign * (m(i, i) / size);
        log += std::log(size);
      }
      if (c.out[0].dtype == DType::f64) {
        c.out[0].as<double>()[pairs ? 2 * k : k] = sign.real();
        if (pairs) c.out[0].as<double>()[2 * k + 1] = sign.imag();
        c.out[1].as<double>()[k] = log;
      } else {
        c.out[0].as<float>()[pairs ? 2 * k : k] = float(sign.real());
        if (pairs) c.out[0].as<float>()[2 * k + 1] = float(sign.imag());
        c.out[1].as<float>()[k] = float(log);
      }
    } else if (what == "qr" || what == "geqrf") {
      std::vector<Matrix::C> tau;
      householder_qr(m, tau);
      if (what == "geqrf") {
        matrices(0).set(k, m);
        Batch(c.out[1], pairs, true).set(k, tau);
        continue;
      }
      const Batch q = matrices(0), r = matrices(1);
      q.set(k, householder_product(m, tau, q.cols));
      Matrix up(r.rows, r.cols);
      for (int64_t i = 0; i < up.rows; ++i) for (int64_t j = i; j < up.cols; ++j) up(i, j) = m(i, j);
      r.set(k, up);
    } else if (what == "householder") {
      const Matrix tau = Batch(c.in[1], pairs, true).get(k);
      matrices(0).set(k, householder_product(m, tau.data, m.cols));
    } else if (what == "eigh") {
      std::vector<double> w;
      Matrix v;
      eigh(m, w, v);
      Batch(c.out[0], false, true).set(k, w);
      matrices(1).set(k, v);
    } else if (what == "svd") {
      std::vector<double> s;
      Matrix u, vh;
      svd(m, flag & 1, u, s, vh);
      matrices(0).set(k, u);
      Batch(c.out[1], false, true).set(k, s);
      matrices(2).set(k, vh);
    } else if (what == "eig") {
      std::vector<Matrix::C> w;
      Matrix v;
      eig(m, w, v);
      Batch(c.out[0], true, true).set(k, w);
      Batch(c.out[1], true, false).set(k, v);
    } else if (what == "swap" || what == "unswap") {  // the rows as a factorisation swapped them, or as they were before
      const int64_t n = c.in[1].shape.back();
      const int32_t* p = c.in[1].as<int32_t>() + k * n;
      for (int64_t step = 0; step < n; ++step) {
        const int64_t i = what == "swap" ? step : n - 1 - step;
        for (int64_t j = 0; j < m.cols; ++j) std::swap(m(i, j), m(p[i] - 1, j));
      }
      matrices(0).set(k, m);
    } else {
      matrices(0).set(k, matrix_exp(m));
    }
  }
}

}  // namespace

// --- matrices of graph values

Val adjoint(Val a) { return conj(transpose(a, a.rank() - 2, a.rank() - 1)); }
Val product(Val a, Val b) {
  Ints batch;
  for (int d = 0; d + 2 < a.rank(); ++d) batch.push_back(d);
  return contract(a, b, batch, batch, {a.rank() - 1}, {b.rank() - 2});
}
static Val rows_minus_columns(Val a) {  // i - j at each place of the last two dims
  const Dims shape{a.size(-2), a.size(-1)};
  return broadcast_to(iota(*a.g, shape, 0, DType::i64) - iota(*a.g, shape, 1, DType::i64), a.shape());
}
static Val lower(Val a, int64_t below = 0) {  // the part with i - j >= below
  const Val d = rows_minus_columns(a);
  return select(map(Scalar::le, constant_like(d, double(below)), d), a, constant_like(a, 0));
}
static Val upper(Val a, int64_t above = 0) {
  const Val d = rows_minus_columns(a);
  return select(map(Scalar::le, d, constant_like(d, double(-above))), a, constant_like(a, 0));
}
static Val diagonal_part(Val a) { return lower(upper(a)); }
static Val as_diagonal(Val v) { return diag_embed(v, 0, v.rank() - 1, v.rank()); }
Val scale_columns(Val a, Val v) { return a * unsqueeze(cast(v, a.dtype()), v.rank() - 1); }
Val scale_rows(Val a, Val v) { return a * unsqueeze(cast(v, a.dtype()), v.rank()); }
Val identity_like(Val a) { return cast(map(Scalar::eq, rows_minus_columns(a), constant_like(rows_minus_columns(a), 0)), a.dtype()); }

// --- gradients

Val solve_upper(Val a, Val b, bool is_upper, bool unit) { return factor("triangular", {a, b}, is_upper | unit << 1)[0]; }

static void factor_vjp(Vjp& v) {
  const std::string_view what = v.args().s(1);
  const bool pairs = v.args().b(2);
  const int64_t flag = v.args().i(3);
  const std::vector<Val> in = v.args().vals(0);
  auto open = [&](Val x) { return x && pairs ? from_pairs(x) : x; };
  auto give = [&](int i, Val g) { v.set_item(0, i, pairs ? as_pairs(g) : g); };
  const Val a = open(in[0]);
  if (what == "solve" || what == "triangular") {
    const bool up = flag & 1, unit = flag & 2;
    const Val x = open(v.out(0)), ah = adjoint(a);
    const Val gb = what == "solve" ? factor("solve", {ah, open(v.grad(0))})[0] : solve_upper(ah, open(v.grad(0)), !up, unit);
    give(1, gb);
    Val ga = -product(gb, adjoint(x));
    if (what == "triangular") ga = up ? upper(ga, unit) : lower(ga, unit);
    give(0, ga);
  } else if (what == "cholesky_solve") {
    const Val x = open(v.out(0)), gb = factor("cholesky_solve", {a, open(v.grad(0))}, flag)[0];
    give(1, gb);
    const Val half = product(gb, adjoint(x)), both = -(half + adjoint(half));
    give(0, flag & 1 ? product(a, both) : product(both, a));
  } else if (what == "swap" || what == "unswap") {
    give(0, factor(what == "swap" ? "unswap" : "swap", {open(v.grad(0)), in[1]})[0]);
  } else if (what == "eig") {
    // V^-H (diag(gw) + (V^H gV - V^H V diag(Re(V^H gV))) / conj(w_j - w_i) off the diagonal) V^H
    const Val w = from_pairs(v.out(0)), x = from_pairs(v.out(1)), xh = adjoint(x);
    Val m = v.grad(0) ? as_diagonal(from_pairs(v.grad(0))) : Val{};
    if (v.grad(1)) {
      const Val t = product(xh, from_pairs(v.grad(1)));
      const Val along_diagonal = cast(real_part(diagonal(t, t.rank() - 2, t.rank() - 1, 0)), t.dtype());
      const Val gap = conj(unsqueeze(w, w.rank() - 1) - unsqueeze(w, w.rank()));
      const Val same = map(Scalar::eq, rows_minus_columns(t), constant_like(rows_minus_columns(t), 0));
      const Val off = (t - scale_columns(product(xh, x), along_diagonal)) / select(same, constant_like(t, 1), broadcast_to(gap, t.shape()));
      const Val part = select(same, constant_like(t, 0), off);
      m = m ? m + part : part;
    }
    if (m) {
      const Val g = factor("solve", {xh, product(m, xh)})[0];
      give(0, pairs ? g : real_part(g));
    }
  } else if (what == "cholesky") {
    const Val l = open(v.out(0)), lh = adjoint(l), m = product(lh, open(v.grad(0)));
    const Val s = (lower(m) + adjoint(lower(m, 1))) * 0.5;
    const Val left = solve_upper(lh, s, true);                                 // L^-H S
    give(0, adjoint(solve_upper(lh, adjoint(left), true)));                    // ... L^-1
  } else if (what == "lu") {
    if (!dim_eq(a.size(-1), a.size(-2))) fail(ErrorCode::not_implemented, {.op = "lu_factor", .fact = "only square matrices have this gradient here"});
    const Val lu = open(v.out(0)), g = open(v.grad(0)), l = lower(lu, 1) + identity_like(lu), u = upper(lu);
    const Val m = lower(product(adjoint(l), lower(g, 1)), 1) + upper(product(upper(g), adjoint(u)));
    const Val left = solve_upper(adjoint(l), m, true, true);                   // L^-H m
    const Val pga = adjoint(solve_upper(u, adjoint(left), true));              // ... U^-H
    give(0, factor("unswap", {pga, v.out(1)})[0]);
  } else if (what == "slogdet") {
    const Val inverse_h = factor("solve", {adjoint(a), identity_like(a)})[0];
    Val g = v.grad(1) ? cast(v.grad(1), a.dtype()) : Val{};
    if (pairs && v.grad(0)) {
      const Val turn = imag_part(conj(open(v.grad(0))) * open(v.out(0)));
      const Val t = make_complex(constant_like(turn, 0), -turn);
      g = g ? g + t : t;
    }
    if (g) give(0, unsqueeze(unsqueeze(g, g.rank()), g.rank() + 1) * inverse_h);
  } else if (what == "qr") {
    const Val q = open(v.out(0)), r = open(v.out(1));
    if (!dim_eq(r.size(-1), r.size(-2)) || (flag & 1 && !dim_eq(a.size(-1), a.size(-2))))
      fail(ErrorCode::not_implemented, {.op = "qr", .fact = "only the reduced form of tall matrices has a gradient here"});
    Val x;
    if (v.grad(1)) x = product(open(v.grad(1)), adjoint(r));
    if (v.grad(0)) { const Val y = product(adjoint(q), open(v.grad(0))); x = x ? adjoint(adjoint(x) - adjoint(y)) : -y; }
    x = upper(x);
    const Val half = cast(real_part(diagonal_part(x)), x.dtype());
    Val m = product(q, x + adjoint(x) - half);
    if (v.grad(0)) m = m + open(v.grad(0));
    give(0, adjoint(solve_upper(r, adjoint(m), true)));                        // m R^-H
  } else if (what == "eigh") {
    const Val w = v.out(0), q = open(v.out(1));
    Val m = v.grad(0) ? as_diagonal(cast(v.grad(0), q.dtype())) : Val{};
    if (v.grad(1)) {
      const Val gap = unsqueeze(w, w.rank() - 1) - unsqueeze(w, w.rank());
      const Val same = map(Scalar::eq, rows_minus_columns(gap), constant_like(rows_minus_columns(gap), 0));
      const Val t = product(adjoint(q), open(v.grad(1)));
      const Val part = select(same, constant_like(t, 0), t / cast(select(same, constant_like(gap, 1), gap), t.dtype()));
      m = m ? m + part : part;
    }
    if (m) give(0, product(product(q, m), adjoint(q)));
  } else if (what == "svd") {
    const Val u = open(v.out(0)), s = v.out(1), vh = open(v.out(2));
    if (flag & 1 && (v.grad(0) || v.grad(2)) && !dim_eq(a.size(-1), a.size(-2)))
      fail(ErrorCode::not_implemented, {.op = "svd", .fact = "full matrices of singular vectors have no gradient here", .remedy = "pass full_matrices=False"});
    const Dim k = s.size(-1);
    const Val uk = slice(u, u.rank() - 1, 0, k), vk = slice(vh, vh.rank() - 2, 0, k);
    Val m = v.grad(1) ? as_diagonal(cast(v.grad(1), a.dtype())) : Val{}, extra;
    auto add = [](Val& to, Val x) { to = to ? to + x : x; };
    const Val square = s * s, gap = unsqueeze(square, s.rank() - 1) - unsqueeze(square, s.rank());
    const Val same = map(Scalar::eq, rows_minus_columns(gap), constant_like(rows_minus_columns(gap), 0));
    const Val safe = cast(select(same, constant_like(gap, 1), gap), a.dtype());
    auto skew = [&](Val x) { const Val y = (x - adjoint(x)) / safe; return select(same, constant_like(y, 0), y); };
    if (v.grad(0)) {
      const Val gu = open(v.grad(0)), t = product(adjoint(uk), gu);
      add(m, scale_columns(skew(t), s));
      if (is_complex(a.dtype())) add(m, scale_columns(make_complex(constant_like(real_part(t), 0), imag_part(diagonal_part(t))), 1.0 / s));
      if (!dim_eq(u.size(-2), k)) add(extra, product(scale_columns(gu - product(uk, t), 1.0 / s), vk));
    }
    if (v.grad(2)) {
      const Val gv = adjoint(open(v.grad(2))), vv = adjoint(vk), t = product(vk, gv);
      add(m, scale_rows(skew(t), s));
      if (!dim_eq(vh.size(-1), k)) add(extra, product(uk, scale_rows(adjoint(gv - product(vv, t)), 1.0 / s)));
    }
    Val g = m ? product(product(uk, m), vk) : Val{};
    if (extra) g = g ? g + extra : extra;
    if (g) give(0, g);
  } else if (what == "exp") {
    // The exponential of [[A^H, G], [0, A^H]] holds the gradient in its upper right block.
    const Val ah = adjoint(a), g = open(v.grad(0)), zero = constant_like(ah, 0);
    const int r = a.rank();
    const Val block = concat({concat({ah, g}, r - 1), concat({zero, ah}, r - 1)}, r - 2);
    const Val e = factor("exp", {block})[0];
    const Dim n = a.size(-1);
    give(0, slice(slice(e, r - 2, 0, n), r - 1, n, n));
  } else {
    fail(ErrorCode::autograd, {.op = cat("linalg ", what), .fact = "this has no gradient here", .remedy = "detach its input"});
  }
}

static constexpr Op op_factor{{
    .schema = "prim::linalg(Tensor[] a, str what, bool pairs, int flag) -> Tensor[]",
    .doc = "A factorisation or solve of every matrix of a batch.",
    .type = factor_type,
    .reference = run_factor,
    .vjp = factor_vjp,
    .sample = [](SampleBuilder& s) {
      s.of("prim::linalg", {"{f64[4,3]}, 'lu', False, 0", "{f64[2,3,3]:spd, f64[2,3,2]}, 'solve', False, 0", "{f64[3,3]:spd}, 'cholesky', False, 0"})
          .no_gradients("prim::linalg");
    },
}};

// Results that stay real or integer when the input is complex, by name of the work.
static bool result_is_complex(std::string_view what, size_t i, const TensorType&) {
  if (what == "lu" || what == "cholesky" || what == "solve") return i == 0;
  if (what == "slogdet") return i == 0;
  if (what == "eigh") return i == 1;
  if (what == "svd") return i != 1;
  return true;
}
std::vector<Val> factor(std::string_view what, const std::vector<Val>& in, int64_t flag) {
  const bool pairs = is_complex(in[0].dtype());
  SmallVector<Arg, 6> list;
  for (Val x : in) list.push_back(Arg::of_value((is_complex(x.dtype()) ? as_pairs(x) : x).id));
  const Arg args[] = {Arg::of_list(list), Arg::of_string(what), Arg::of_bool(pairs), Arg::of_dim(flag)};
  const Vals out = in[0].g->call(op_info(op_factor), args);
  std::vector<Val> r;
  for (size_t i = 0; i < out.size(); ++i) {
    const bool complex = what == "eig" || (pairs && result_is_complex(what, i, out[i].type()));
    r.push_back(complex ? from_pairs(out[i]) : out[i]);
  }
  return r;
}

static const Op* const factor_ops[] = {&op_factor};
OpFamily linalg_factor_family() { return factor_ops; }

}  // namespace phlox

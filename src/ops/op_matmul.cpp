// Matrix products: matmul and its relatives, all as contractions.
#include "ops/complex.h"
#include "ops/composite.h"

namespace phlox {

static void samples(SampleBuilder& s);

static void same_dtype(const Args& a, Val x, Val y) {
  if (x.dtype() != y.dtype())
    a.error("operands have different dtypes", cat(x.dtype(), " and ", y.dtype()), "one dtype", "cast one of them");
  if (is_bool(x.dtype())) a.error("bool tensors cannot be multiplied as matrices", "bool", "numbers");
}
static void need_rank(const Args& a, Val x, const char* name, int rank) {
  if (x.rank() != rank) a.error(cat("'", name, "' must have rank ", rank), shape_of(x), cat("rank ", rank));
}
static void same_size(const Args& a, Val x, int dx, Val y, int dy, const char* fact) {
  if (!dim_eq(x.size(dx), y.size(dy))) a.error(fact, cat(shape_of(x), " and ", shape_of(y)), "equal sizes");
}

// Is `v` (a Scalar argument) known to be this number?
static bool known(const Args& a, int arg, double v) { return a.is_static_number(arg) && a.f(arg) == v; }
// x times a Scalar argument; integer tensors take its whole part, as in ATen.
static Val scaled(const Args& a, Val x, int arg) {
  if (known(a, arg, 1)) return x;
  if (is_int(x.dtype()) && a.is_static_number(arg)) {
    const double v = a.f(arg);
    if (!(v >= -0x1p63 && v < 0x1p63)) a.error("an integer tensor cannot be scaled by this number", cat(v), "a number in the range of int64");
    return x * full_int(a.builder(), {}, x.dtype(), int64_t(v));
  }
  return cast_like(x * a[arg], x);
}
// beta * self + alpha * product; self is not read where beta is 0, so that its NaNs do not count. `product` is of the
// dtype d or, unrounded, of the one that sums of d are taken in.
static Val blend(const Args& a, Val self, Val product, DType d, int beta, int alpha) {
  if (self.dtype() != d) a.error("operands have different dtypes", cat(self.dtype(), " and ", d), "one dtype", "cast one of them");
  const Val p = alpha < 0 ? product : scaled(a, product, alpha);
  const Val s = broadcast_to(cast_like(self, p), p.shape(), a.name());
  return cast(known(a, beta, 0) ? p : scaled(a, s, beta) + p, d);
}

static Val matrix_product(const Args& a, Val x, Val y, const char* fact = "inner sizes differ", bool unrounded = false) {
  same_dtype(a, x, y);
  same_size(a, x, -1, y, y.rank() > 1 ? -2 : -1, fact);
  return contract(x, y, {}, {}, {x.rank() - 1}, {y.rank() > 1 ? y.rank() - 2 : 0}, unrounded);
}

static bool all_ones(const Dims& d, int count) {
  for (int i = 0; i < count; ++i) if (!d[i].is(1)) return false;
  return true;
}

Val matmul(const Args& a, Val x, Val y) {
  if (x.rank() == 0 || y.rank() == 0)
    a.error("both operands need at least one dimension", cat(shape_of(x), " and ", shape_of(y)), "rank 1 or more", "use mul");
  if (x.rank() <= 2 && y.rank() <= 2) return matrix_product(a, x, y);
  if (y.rank() <= 2) return matrix_product(a, x, y);
  same_dtype(a, x, y);
  if (x.rank() == 1) {
    same_size(a, x, 0, y, -2, "inner sizes differ");
    return contract(x, y, {}, {}, {0}, {y.rank() - 2});
  }
  same_size(a, x, -1, y, -2, "inner sizes differ");
  // Batches of both, broadcast against each other.
  auto batch_of = [](Val v) { Dims d = v.shape(); d.resize(d.size() - 2); return d; };
  const Dims bx = batch_of(x), by = batch_of(y);
  const Dims batch = broadcast_shapes(a.name(), bx, by);
  if (all_ones(by, int(by.size())) && bx.size() >= by.size()) return matrix_product(a, x, reshape(y, {y.size(-2), y.size(-1)}));
  auto spread = [&](Val v) {
    Dims d = batch;
    d.push_back(v.size(-2));
    d.push_back(v.size(-1));
    return broadcast_to(v, d, a.name());
  };
  const int n = int(batch.size());
  return contract(spread(x), spread(y), all_dims(n), all_dims(n), {n + 1}, {n});
}

static constexpr Op op_matmul{{
    .schema = "matmul(Tensor self, Tensor other) -> Tensor",
    .doc = "Matrix product of the last two dimensions; leading dimensions are batches and broadcast.",
    .expand = [](const Args& a) -> Vals { return {matmul(a, a[0], a[1])}; },
    .forms = Forms::out,
    .autocast = Autocast::lower,
    .sample = samples,
}};
static constexpr Op op_linalg_matmul{{
    .schema = "linalg_matmul(Tensor self, Tensor other) -> Tensor",
    .doc = "Same as matmul.",
    .expand = [](const Args& a) -> Vals { return {matmul(a, a[0], a[1])}; },
    .forms = Forms::out,
    .autocast = Autocast::lower,
    .sample = samples,
}};
static constexpr Op op_mm{{
    .schema = "mm(Tensor self, Tensor mat2) -> Tensor",
    .doc = "Product of two matrices.",
    .expand = [](const Args& a) -> Vals {
      need_rank(a, a[0], "self", 2);
      need_rank(a, a[1], "mat2", 2);
      return {matrix_product(a, a[0], a[1])};
    },
    .forms = Forms::out,
    .autocast = Autocast::lower,
    .sample = samples,
}};

static Val batched(const Args& a, Val x, Val y, bool unrounded = false) {
  need_rank(a, x, "batch1", 3);
  need_rank(a, y, "batch2", 3);
  same_dtype(a, x, y);
  same_size(a, x, 0, y, 0, "batch sizes differ");
  same_size(a, x, 2, y, 1, "inner sizes differ");
  return contract(x, y, {0}, {0}, {2}, {1}, unrounded);
}
static constexpr Op op_bmm{{
    .schema = "bmm(Tensor self, Tensor mat2) -> Tensor",
    .doc = "Products of two equally long batches of matrices.",
    .expand = [](const Args& a) -> Vals { return {batched(a, a[0], a[1])}; },
    .forms = Forms::out,
    .autocast = Autocast::lower,
    .sample = samples,
}};
static constexpr Op op_mv{{
    .schema = "mv(Tensor self, Tensor vec) -> Tensor",
    .doc = "Product of a matrix and a vector.",
    .expand = [](const Args& a) -> Vals {
      need_rank(a, a[0], "self", 2);
      need_rank(a, a[1], "vec", 1);
      return {matrix_product(a, a[0], a[1])};
    },
    .forms = Forms::out,
    .autocast = Autocast::lower,
    .sample = samples,
}};
static Val dot(const Args& a, Val x, Val y) {
  need_rank(a, x, "self", 1);
  need_rank(a, y, "other", 1);
  return matrix_product(a, x, y, "vectors have different lengths");
}
static constexpr Op op_dot{{
    .schema = "dot(Tensor self, Tensor tensor) -> Tensor",
    .doc = "Inner product of two vectors.",
    .expand = [](const Args& a) -> Vals { return {dot(a, a[0], a[1])}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_vdot{{
    .schema = "vdot(Tensor self, Tensor other) -> Tensor",
    .doc = "Inner product of two vectors, the first one conjugated where it is complex.",
    .expand = [](const Args& a) -> Vals { return {dot(a, conj(a[0]), a[1])}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_addmm{{
    .schema = "addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
    .doc = "beta * self + alpha * (mat1 @ mat2); self broadcasts.",
    .expand = [](const Args& a) -> Vals {
      need_rank(a, a[1], "mat1", 2);
      need_rank(a, a[2], "mat2", 2);
      return {blend(a, a[0], matrix_product(a, a[1], a[2], "inner sizes differ", true), a[1].dtype(), 3, 4)};
    },
    .forms = Forms::both,
    .autocast = Autocast::lower,
    .static_args = 0x18,
    .sample = samples,
}};
static constexpr Op op_addmv{{
    .schema = "addmv(Tensor self, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
    .doc = "beta * self + alpha * (mat @ vec); self broadcasts.",
    .expand = [](const Args& a) -> Vals {
      need_rank(a, a[1], "mat", 2);
      need_rank(a, a[2], "vec", 1);
      return {blend(a, a[0], matrix_product(a, a[1], a[2], "inner sizes differ", true), a[1].dtype(), 3, 4)};
    },
    .forms = Forms::both,
    .autocast = Autocast::lower,
    .static_args = 0x18,
    .sample = samples,
}};
static constexpr Op op_baddbmm{{
    .schema = "baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
    .doc = "beta * self + alpha * (batch1 @ batch2), batch by batch; self broadcasts.",
    .expand = [](const Args& a) -> Vals { return {blend(a, a[0], batched(a, a[1], a[2], true), a[1].dtype(), 3, 4)}; },
    .forms = Forms::both,
    .autocast = Autocast::lower,
    .static_args = 0x18,
    .sample = samples,
}};
static constexpr Op op_addbmm{{
    .schema = "addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
    .doc = "beta * self + alpha * (the sum over the batch of batch1 @ batch2).",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[1], y = a[2];
      need_rank(a, x, "batch1", 3);
      need_rank(a, y, "batch2", 3);
      same_dtype(a, x, y);
      same_size(a, x, 0, y, 0, "batch sizes differ");
      same_size(a, x, 2, y, 1, "inner sizes differ");
      // ATen adds 16-bit products one by one to the result, which rounds every time.
      const bool narrow = is_reduced_float(x.dtype()) && dim_lt(x.size(0), 17);
      const int64_t batches = narrow ? dim_int(x.size(0), a.name()) : 0;
      if (batches < 2) return {blend(a, a[0], contract(x, y, {}, {}, {0, 2}, {0, 1}, true), x.dtype(), 3, 4)};
      Val r;
      for (int64_t i = 0; i < batches; ++i) {
        const Val p = contract(select_index(x, 0, i), select_index(y, 0, i), {}, {}, {1}, {0}, true);
        r = i ? cast(widen(r) + scaled(a, p, 4), x.dtype()) : blend(a, a[0], p, x.dtype(), 3, 4);
      }
      return {r};
    },
    .forms = Forms::both,
    .autocast = Autocast::lower,
    .static_args = 0x18,
    .sample = samples,
}};

static Val outer(const Args& a, Val x, Val y) {
  need_rank(a, x, "vec1", 1);
  need_rank(a, y, "vec2", 1);
  const Val v[] = {x, y};
  const DType d = result_dtype(v);
  const Val p = unsqueeze(cast(x, d), 1), q = unsqueeze(cast(y, d), 0);
  return binary(a.name(), is_bool(d) ? Scalar::band : Scalar::mul, p, q);
}
static constexpr Op op_outer{{
    .schema = "outer(Tensor self, Tensor vec2) -> Tensor",
    .doc = "Products of every element of self with every element of vec2.",
    .expand = [](const Args& a) -> Vals { return {outer(a, a[0], a[1])}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_ger{{
    .schema = "ger(Tensor self, Tensor vec2) -> Tensor",
    .doc = "Same as outer.",
    .expand = [](const Args& a) -> Vals { return {outer(a, a[0], a[1])}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_addr{{
    .schema = "addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
    .doc = "beta * self + alpha * outer(vec1, vec2); self broadcasts.",
    .expand = [](const Args& a) -> Vals {
      const Val all[] = {a[0], a[1], a[2]};
      const DType d = result_dtype(all);
      // The steps round 16-bit values.
      const DType wide = compute_dtype(d);
      auto vec = [&](int i) { return is_reduced_float(d) ? cast(cast(a[i], d), wide) : a[i]; };
      const Val p = rounded(cast(outer(a, vec(1), vec(2)), wide), d), self = broadcast_to(cast(a[0], d), p.shape(), a.name());
      if (is_bool(d)) {
        const Val gate_p = known(a, 4, 0) ? fill_like(p, 0) : p;
        return {known(a, 3, 0) ? gate_p : self | gate_p};
      }
      return {blend(a, self, rounded(scaled(a, p, 4), d), d, 3, -1)};
    },
    .forms = Forms::both,
    .static_args = 0x18,
    .sample = samples,
}};

static constexpr Op op_linear{{
    .schema = "linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
    .doc = "input @ weight^T + bias: weight is [out, in], or [in] for a single output.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], w = a[1], b = a.optional(2);
      require(a, x.rank() >= 1 && (w.rank() == 1 || w.rank() == 2), "weight must be a matrix or a vector", shape_of(w), "[out, in] or [in]");
      same_dtype(a, x, w);
      same_size(a, x, -1, w, -1, "the last size of input is not the number of input features");
      if (!b) return {contract(x, w, {}, {}, {x.rank() - 1}, {w.rank() - 1})};
      if (b.dtype() != x.dtype()) a.error("bias has another dtype", cat(b.dtype()), cat(x.dtype()), "cast it");
      if (b.rank() > 1) a.error("bias must be a vector", shape_of(b), "[out]");
      // Sums of 16-bit products take the bias before they are rounded.
      const Val y = contract(x, w, {}, {}, {x.rank() - 1}, {w.rank() - 1}, true);
      return {cast_like(y + broadcast_to(cast_like(b, y), y.shape(), a.name()), x)};
    },
    .autocast = Autocast::lower,
    .sample = samples,
}};
static constexpr Op op_inner{{
    .schema = "inner(Tensor self, Tensor other) -> Tensor",
    .doc = "Sums of products over the last dimension of both.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], y = a[1];
      same_dtype(a, x, y);
      if (x.rank() == 0 || y.rank() == 0) return {x * y};
      same_size(a, x, -1, y, -1, "last sizes differ");
      return {contract(x, y, {}, {}, {x.rank() - 1}, {y.rank() - 1})};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_tensordot{{
    .schema = "tensordot(Tensor self, Tensor other, int[] dims_self, int[] dims_other) -> Tensor",
    .doc = "Sums of products over pairs of dimensions; a size of 1 meets any size.",
    .expand = [](const Args& a) -> Vals {
      Val x = a[0], y = a[1];
      same_dtype(a, x, y);
      Ints dx = a.ints(2), dy = a.ints(3);
      require(a, dx.size() == dy.size(), "both lists of dimensions must have one length", cat(dx.size(), " and ", dy.size()));
      for (size_t i = 0; i < dx.size(); ++i) {
        dx[i] = wrap_dim(dx[i], x.rank(), a.name());
        dy[i] = wrap_dim(dy[i], y.rank(), a.name());
        const Dim n = x.shape()[dx[i]], m = y.shape()[dy[i]];
        if (n.is(1) && !m.is(1)) y = sum(y, {dy[i]}, true);
        else if (m.is(1) && !n.is(1)) x = sum(x, {dx[i]}, true);
        else same_size(a, x, int(dx[i]), y, int(dy[i]), "paired sizes differ");
      }
      return {contract(x, y, {}, {}, dx, dy)};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_bilinear{{
    .schema = "bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor",
    .doc = "y[k] = sum over i, j of input1[i] weight[k, i, j] input2[j] + bias[k].",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], y = a[1], w = a[2], b = a.optional(3);
      need_rank(a, w, "weight", 3);
      same_dtype(a, x, w);
      same_dtype(a, y, w);
      require(a, x.rank() == y.rank() && x.rank() >= 1, "both inputs must have one rank", cat(shape_of(x), " and ", shape_of(y)));
      same_size(a, x, -1, w, 1, "input1 does not fit weight");
      same_size(a, y, -1, w, 2, "input2 does not fit weight");
      const Val t = contract(x, w, {}, {}, {x.rank() - 1}, {1});  // [..., k, j]
      const int n = x.rank() - 1;
      const Val r = contract(t, y, all_dims(n), all_dims(n), {n + 1}, {n});
      return {b ? r + b : r};
    },
    .autocast = Autocast::lower,
    .sample = samples,
}};

// The cheapest order of a chain of products by dynamic programming, as in linalg.multi_dot.
static Val chain(const Args& a, const std::vector<Val>& m) {
  const size_t n = m.size();
  std::vector<std::vector<double>> cost(n, std::vector<double>(n, 0));
  std::vector<std::vector<size_t>> split(n, std::vector<size_t>(n, 0));
  auto rows = [&](size_t i) { return double(dim_hint(m[i].size(0))); };
  auto cols = [&](size_t i) { return double(dim_hint(m[i].size(1))); };
  for (size_t len = 1; len < n; ++len)
    for (size_t i = 0; i + len < n; ++i) {
      const size_t j = i + len;
      cost[i][j] = __builtin_inf();
      for (size_t k = i; k < j; ++k) {
        const double c = cost[i][k] + cost[k + 1][j] + rows(i) * cols(k) * cols(j);
        if (c < cost[i][j]) { cost[i][j] = c; split[i][j] = k; }
      }
    }
  auto build = [&](auto&& self, size_t i, size_t j) -> Val {
    if (i == j) return m[i];
    return matrix_product(a, self(self, i, split[i][j]), self(self, split[i][j] + 1, j));
  };
  return build(build, 0, n - 1);
}
static constexpr Op op_multi_dot{{
    .schema = "linalg_multi_dot(Tensor[] tensors) -> Tensor",
    .doc = "Product of a chain of matrices in the cheapest order; the first and the last may be vectors.",
    .expand = [](const Args& a) -> Vals {
      std::vector<Val> m = a.vals(0);
      require(a, m.size() >= 2, "at least two tensors are needed", cat(m.size()));
      const bool row = m.front().rank() == 1, column = m.back().rank() == 1;
      if (row) m.front() = unsqueeze(m.front(), 0);
      if (column) m.back() = unsqueeze(m.back(), 1);
      for (Val v : m) need_rank(a, v, "tensors", 2);
      Val r = chain(a, m);
      if (column) r = squeeze(r, 1);
      if (row) r = squeeze(r, 0);
      return {r};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_chain_matmul{{
    .schema = "chain_matmul(Tensor[] matrices) -> Tensor",
    .doc = "Product of a chain of matrices in the cheapest order.",
    .expand = [](const Args& a) -> Vals {
      const std::vector<Val> m = a.vals(0);
      require(a, !m.empty(), "at least one matrix is needed");
      for (Val v : m) need_rank(a, v, "matrices", 2);
      return {chain(a, m)};
    },
    .forms = Forms::out,
    .sample = samples,
}};

static Val identity(Val like, Dim n) {
  const Dims square{n, n};
  return cast_like(map(Scalar::eq, iota_like(square, 0, like), iota_like(square, 1, like)), like);
}
static Val power(const Args& a, Val x, int64_t n) {
  require(a, x.rank() >= 2 && dim_eq(x.size(-1), x.size(-2)), "a square matrix is needed", shape_of(x));
  if (n < 0) {
    x = call(*x.g, "linalg_inv", {arg_of(x)})[0];
    n = -n;
  }
  if (n == 0) return broadcast_to(identity(x, x.size(-1)), x.shape());
  Val r;
  for (Val square = x;; square = matmul(a, square, square)) {
    if (n & 1) r = r ? matmul(a, r, square) : square;
    if (!(n >>= 1)) return r;
  }
}
static constexpr Op op_matrix_power{{
    .schema = "matrix_power(Tensor self, int n) -> Tensor",
    .doc = "The n-th power of square matrices by repeated squaring; negative n inverts first.",
    .expand = [](const Args& a) -> Vals { return {power(a, a[0], a.i(1))}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_linalg_matrix_power{{
    .schema = "linalg_matrix_power(Tensor self, int n) -> Tensor",
    .doc = "Same as matrix_power.",
    .expand = [](const Args& a) -> Vals { return {power(a, a[0], a.i(1))}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_vecdot{{
    .schema = "linalg_vecdot(Tensor x, Tensor y, *, int dim=-1) -> Tensor",
    .doc = "Inner products along one dimension; the others broadcast.",
    .expand = [](const Args& a) -> Vals {
      same_dtype(a, a[0], a[1]);
      const Val p = conj(a[0]) * a[1];
      return {cast_like(sum(widen(p), {a.dim(2, p.rank())}), p)};
    },
    .forms = Forms::out,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("matmul linalg_matmul", {"[3,4], [4,2]", "[4], [4]", "[2,3,4], [4]", "[2,1,3,4], [3,4,2]"}).refuses("matmul linalg_matmul", {"[3,4], [3,4]", "[], [4]", "[2,3,4], [3,4,2]"})
      .of("mm", {"[3,4], [4,2]", "[1,5], [5,1]"}).of("bmm", {"[2,3,4], [2,4,5]"}).of("mv", {"[3,4], [4]"}).of("dot vdot", {"[5], [5]"}).refuses("mm", {"[3,4], [3,4]", "[4], [4,2]"}).refuses("bmm", {"[2,3,4], [3,4,5]", "[3,4], [4,5]"}).refuses("mv", {"[3,4], [3]"}).refuses("dot vdot", {"[5], [4]", "[2,2], [2,2]"})
      .of("addmm", {"[2], [3,4], [4,2]", "[3,2], [3,4], [4,2], beta=0.5, alpha=2"}).of("addmv", {"[3], [3,4], [4]", "[], [3,4], [4], beta=2, alpha=3"}).of("baddbmm", {"[2,3,5], [2,3,4], [2,4,5]", "[5], [2,3,4], [2,4,5], beta=2"})
      .of("addbmm", {"[3,5], [2,3,4], [2,4,5]", "[3,5], [2,3,4], [2,4,5], beta=2, alpha=3"}).of("outer ger", {"[3], [4]"}).of("addr", {"[3,4], [3], [4]", "[4], [3], [4], beta=2, alpha=3"})
      .refuses("addmm", {"[2], [3,4], [3,2]", "[3], [3,4], [4,2]"}).refuses("addmv", {"[3], [3,4], [3]"}).refuses("baddbmm addbmm", {"[2,3,5], [2,3,4], [2,3,5]"}).refuses("outer ger", {"[3,1], [4]"}).refuses("addr", {"[3,3], [3], [4]"})
      .of("linear", {"[2,4], [3,4], [3]", "[4], [3,4]", "[2,5,4], [3,4], [3]"}).refuses("linear", {"[2,4], [3,5]", "[2,4], [3,4], [2]"}).of("inner", {"[2,4], [3,4]", "[4], [4]"}).refuses("inner", {"[2,4], [3,5]"})
      .of("tensordot", {"[2,3,4], [4,3,5], [1,2], [1,0]", "[2,3], [3,2], [1], [0]"}).refuses("tensordot", {"[2,3], [3,2], [0], [0]", "[2,3], [3,2], [1], [0,1]", "[2,3], [3,2], [2], [0]"})
      .of("bilinear", {"[2,3], [2,4], [5,3,4], [5]"}).refuses("bilinear", {"[2,3], [2,4], [5,4,4]"}).of("linalg_multi_dot chain_matmul", {"{[2,3], [3,4], [4,2]}", "{[2,3], [3,4]}"}).refuses("linalg_multi_dot chain_matmul", {"{[2,3], [2,3]}"})
      .of("matrix_power linalg_matrix_power", {"[3,3]:-1..1, 3", "[2,3,3]:-1..1, 0", "[3,3], 1"}).refuses("matrix_power linalg_matrix_power", {"[2,3], 2", "[3], 2"}).of("linalg_vecdot", {"[2,3], [2,3]", "[3,2], [3,2], dim=0"});
}

static const Op* const matmul_ops[] = {
    &op_matmul, &op_linalg_matmul, &op_mm, &op_bmm, &op_mv, &op_dot, &op_vdot, &op_addmm, &op_addmv, &op_baddbmm, &op_addbmm,
    &op_outer, &op_ger, &op_addr, &op_linear, &op_inner, &op_tensordot, &op_bilinear, &op_multi_dot, &op_chain_matmul,
    &op_matrix_power, &op_linalg_matrix_power, &op_vecdot};
OpFamily matmul_family() { return matmul_ops; }

}  // namespace phlox

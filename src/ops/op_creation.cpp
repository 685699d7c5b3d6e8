// New tensors from sizes and numbers; casts and copies.
#include <algorithm>
#include <cmath>

#include "ops/arith.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- constants

static DType number_dtype(const Args& a, int i) {
  const Arg& n = a.raw(i);
  if (n.kind == ArgKind::value) return is_float(a[i].dtype()) ? default_float : is_complex(a[i].dtype()) ? DType::c64 : a[i].dtype();
  return n.kind == ArgKind::complex ? DType::c64 : n.kind == ArgKind::real ? default_float : n.kind == ArgKind::boolean ? DType::boolean : DType::i64;
}
static Val filled_with(const Args& a, const Dims& shape, DType d, int number) {
  for (Dim n : shape) if (n.is_const() && n.value() < 0) a.error("a size is negative", shape_text(shape), "sizes of at least 0");
  const Arg& n = a.raw(number);
  // A known number is written down as it is: an int64 would not survive the way through a double.
  if (n.kind == ArgKind::dim && !is_bool(d)) return full_int(a.builder(), shape, d, a.i(number));
  if (a.is_static_number(number)) return full(a.builder(), shape, d, is_bool(d) ? a.f(number) != 0 : a.f(number));
  return copy(broadcast_to(cast(a[number], d), shape));
}
static Val constant(const Args& a, const Dims& shape, DType d, int64_t v) {
  for (Dim n : shape) if (n.is_const() && n.value() < 0) a.error("a size is negative", shape_text(shape), "sizes of at least 0");
  return full_int(a.builder(), shape, d, v);
}

#define OPTIONS "*, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None"
#define LIKE_OPTIONS OPTIONS ", MemoryFormat? memory_format=None"

static Vals full_rule(const Args& a) { return {filled_with(a, a.dims(0), a.dtype(2).value_or(number_dtype(a, 1)), 1)}; }
template <int v> static Vals constant_rule(const Args& a) { return {constant(a, a.dims(0), a.dtype(1).value_or(default_float), v)}; }
template <int v> static Vals constant_like_rule(const Args& a) { return {constant(a, a[0].shape(), a.dtype(1).value_or(a[0].dtype()), v)}; }
template <int v> static Vals new_constant_rule(const Args& a) { return {constant(a, a.dims(1), a.dtype(2).value_or(a[0].dtype()), v)}; }
static Vals permuted_rule(const Args& a) {
  const Ints order = a.ints(1);
  std::vector<bool> seen(a.raw(0).count);
  for (int64_t d : order) {
    if (order.size() != seen.size() || d < 0 || d >= int64_t(seen.size()) || seen[size_t(d)])
      a.error("this is no order of the dimensions", cat("[", join(order), "]"), "every dimension once");
    seen[size_t(d)] = true;
  }
  if (order.size() != seen.size()) a.error("this is no order of the dimensions", cat("[", join(order), "]"), "every dimension once");
  return {constant(a, a.dims(0), a.dtype(2).value_or(default_float), 0)};
}
static Vals strided_rule(const Args& a) { return {constant(a, a.dims(0), a.dtype(2).value_or(default_float), 0)}; }
static Vals new_strided_rule(const Args& a) { return {constant(a, a.dims(1), a.dtype(3).value_or(a[0].dtype()), 0)}; }
static Vals full_like_rule(const Args& a) { return {filled_with(a, a[0].shape(), a.dtype(2).value_or(a[0].dtype()), 1)}; }
static Vals new_full_rule(const Args& a) { return {filled_with(a, a.dims(1), a.dtype(3).value_or(a[0].dtype()), 2)}; }
static Vals scalar_tensor_rule(const Args& a) { return {filled_with(a, {}, a.dtype(1).value_or(default_float), 0)}; }

// Contents of the empty_ forms are unspecified; they are zeros.
#define EACH_CONSTANT(X)                                                                                                   \
  X(full, "full(SymInt[] size, Scalar fill_value, " OPTIONS ")", "A tensor of one number.", full_rule)                     \
  X(zeros, "zeros(SymInt[] size, " OPTIONS ")", "A tensor of zeros.", constant_rule<0>)                                    \
  X(ones, "ones(SymInt[] size, " OPTIONS ")", "A tensor of ones.", constant_rule<1>)                                       \
  X(empty, "empty.memory_format(SymInt[] size, " LIKE_OPTIONS ")", "A tensor whose contents are unspecified.", constant_rule<0>) \
  X(empty_strided, "empty_strided(SymInt[] size, SymInt[] stride, " OPTIONS ")", "A tensor whose contents are unspecified.", strided_rule) \
  X(empty_permuted, "empty_permuted(SymInt[] size, int[] physical_layout, " OPTIONS ")", "A tensor whose contents are unspecified.", permuted_rule) \
  X(zeros_like, "zeros_like(Tensor self, " LIKE_OPTIONS ")", "Zeros in the shape of self.", constant_like_rule<0>)         \
  X(ones_like, "ones_like(Tensor self, " LIKE_OPTIONS ")", "Ones in the shape of self.", constant_like_rule<1>)            \
  X(empty_like, "empty_like(Tensor self, " LIKE_OPTIONS ")", "Unspecified contents in the shape of self.", constant_like_rule<0>) \
  X(full_like, "full_like(Tensor self, Scalar fill_value, " LIKE_OPTIONS ")", "One number in the shape of self.", full_like_rule) \
  X(new_full, "new_full(Tensor self, SymInt[] size, Scalar fill_value, " OPTIONS ")", "One number, in the dtype of self.", new_full_rule) \
  X(new_zeros, "new_zeros(Tensor self, SymInt[] size, " OPTIONS ")", "Zeros, in the dtype of self.", new_constant_rule<0>) \
  X(new_ones, "new_ones(Tensor self, SymInt[] size, " OPTIONS ")", "Ones, in the dtype of self.", new_constant_rule<1>)    \
  X(new_empty, "new_empty(Tensor self, SymInt[] size, " OPTIONS ")", "Unspecified contents, in the dtype of self.", new_constant_rule<0>) \
  X(new_empty_strided, "new_empty_strided(Tensor self, SymInt[] size, SymInt[] stride, " OPTIONS ")", "Unspecified contents, in the dtype of self.", new_strided_rule) \
  X(scalar_tensor, "scalar_tensor(Scalar s, " OPTIONS ")", "A number as a 0-d tensor.", scalar_tensor_rule)
#define CREATION(id, schema_text, text, rule) static constexpr Op op_##id{{.schema = schema_text " -> Tensor", .doc = text, .expand = rule, .sample = samples}};
EACH_CONSTANT(CREATION)

// --- sequences

// start, start + step, ... below end. Element i is computed in f64, as start + i * step, but for integers in i64.
static Val range(const Args& a, int start, int end, int step, std::optional<DType> dtype) {
  bool whole = true;
  for (int i : {start, end, step}) whole &= i < 0 || a.raw(i).kind != ArgKind::real;
  const DType d = dtype.value_or(whole ? DType::i64 : default_float);
  const double s = step < 0 ? 1 : a.f(step), from = start < 0 ? 0 : a.f(start), to = a.f(end);
  if (s == 0) a.error("the step is 0", "0", "a nonzero step");
  if ((s > 0 && to < from) || (s < 0 && to > from)) a.error("the step leads away from the end", cat(from, " to ", to, " by ", s), "a step of the other sign");
  if (!(std::isfinite(from) && std::isfinite(to) && std::isfinite(s) && std::abs((to - from) / s) < 0x1p60))
    a.error("the sequence has no length that can be", cat(from, " to ", to, " by ", s), "finite numbers, fewer than 2^60 elements");
  if (d == DType::i64 && !(std::abs(from) < 0x1p61 && std::abs(to) < 0x1p61 && std::abs(s) < 0x1p61))
    a.error("a bound is out of range for int64", cat(from, " to ", to, " by ", s), "bounds within 2^61");
  GraphBuilder& g = a.builder();
  if (d == DType::i64) {
    const int64_t f = int64_t(from), by = int64_t(s), last = int64_t(to);
    if (by == 0) a.error("the step is 0 as an integer", cat(s), "a nonzero step");
    const double count = std::ceil(double(last - f) / double(by));
    const Dims shape{int64_t(std::max(0.0, count))};
    return iota(g, shape, 0, d) * full_int(g, shape, d, by) + full_int(g, shape, d, f);
  }
  const Dims shape{int64_t(std::ceil((to - from) / s))};
  const DType at = is_int(d) ? DType::i64 : DType::f64;
  const double by = is_int(d) ? std::trunc(s) : s, first = is_int(d) ? std::trunc(from) : from;
  return cast(iota(g, shape, 0, at) * full(g, shape, at, by) + full(g, shape, at, first), d);
}
static Vals arange_end_rule(const Args& a) { return {range(a, -1, 0, -1, a.dtype(1))}; }
static Vals arange_start_rule(const Args& a) { return {range(a, 0, 1, -1, a.dtype(2))}; }
static Vals arange_step_rule(const Args& a) { return {range(a, 0, 1, 2, a.dtype(3))}; }

// `steps` values from start to end, both included: the first half counted from start, the second from end.
static Val even_steps(const Args& a, Val start, Val end, int64_t steps, DType at) {
  GraphBuilder& g = a.builder();
  if (steps < 0) a.error("the number of steps is negative", cat(steps), "at least 0");
  const Dims shape{steps};
  auto spread = [&](Val v) { return broadcast_to(cast(reshape(v, {}), at), shape); };
  const Val s = spread(start), e = spread(end), i = iota(g, shape, 0, at);
  if (steps <= 1) return s;
  const Val step = (e - s) / full(g, shape, at, double(steps - 1));
  const Val early = map(Scalar::lt, i, full(g, shape, at, double(steps / 2)));
  return select(early, s + step * i, e - step * (full(g, shape, at, double(steps - 1)) - i));
}
static DType step_dtype(DType d) { return is_float(d) ? compute_dtype(d) : DType::f64; }
static Val end_point(const Args& a, int i, DType d) {
  Val v = a[i];
  if (v.rank() != 0) a.error("a bound is not a single number", cat(v.type()), "a 0-d tensor");
  return is_float(d) ? v : cast(v, d);  // integer results truncate their bounds first
}
static Vals linspace_rule(const Args& a) {
  const DType d = a.dtype(3).value_or(default_float);
  return {stop_gradient(cast(even_steps(a, end_point(a, 0, d), end_point(a, 1, d), a.i(2), step_dtype(d)), d))};
}
static Vals logspace_rule(const Args& a) {
  const DType d = a.dtype(4).value_or(default_float), at = step_dtype(d);
  const Val e = even_steps(a, end_point(a, 0, d), end_point(a, 1, d), a.i(2), at);
  return {stop_gradient(cast(map(Scalar::pow, full(a.builder(), e.shape(), at, a.f(3)), e), d))};
}
static Val identity(const Args& a, Dim n, Dim m, DType d) {
  const Dims shape{n, m};
  return cast(map(Scalar::eq, iota(a.builder(), shape, 0, DType::i64), iota(a.builder(), shape, 1, DType::i64)), d);
}
static Vals eye_rule(const Args& a) { return {identity(a, a.d(0), a.d(0), a.dtype(1).value_or(default_float))}; }
static Vals eye_m_rule(const Args& a) { return {identity(a, a.d(0), a.d(1), a.dtype(2).value_or(default_float))}; }

// The positions of a triangle, row by row, as two rows of indices: known while building, so they become ranges.
template <bool upper>
static Vals triangle_indices_rule(const Args& a) {
  const int64_t rows = a.i(0), cols = a.i(1), offset = a.i(2);
  if (rows < 0 || cols < 0) a.error("a size is negative", cat(rows, " by ", cols), "0 or more");
  if (rows > 65536) a.error("too many rows", cat(rows), "at most 65536", "compare two ranges instead");
  GraphBuilder& g = a.builder();
  const DType d = a.dtype(3).value_or(DType::i64);
  std::vector<Val> row_parts, col_parts;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t from = upper ? std::clamp<int64_t>(r + offset, 0, cols) : 0;
    const int64_t to = upper ? cols : std::clamp<int64_t>(r + offset + 1, 0, cols);
    if (to <= from) continue;
    const Dims shape{to - from};
    row_parts.push_back(full_int(g, shape, d, r));
    col_parts.push_back(iota(g, shape, 0, d) + full_int(g, shape, d, from));
  }
  if (row_parts.empty()) return {full_int(g, {2, 0}, d, 0)};
  const Val r = concat(row_parts, 0), c = concat(col_parts, 0);
  return {concat({unsqueeze(r, 0), unsqueeze(c, 0)}, 0)};
}
static Vals vander_rule(const Args& a) {
  Val x = is_float(a[0].dtype()) || is_complex(a[0].dtype()) ? a[0] : cast(a[0], DType::i64);
  if (x.rank() == 0) x = reshape(x, {1});
  const Dim n = a.has(1) ? a.d(1) : x.size(-1);
  if (!dim_lt(1, n)) a.error("there must be at least two powers", cat(n), "N of 2 or more", "pass N");
  if (!dim_lt(n, 10000)) a.error("too many powers", cat(n), "below 10000");
  std::vector<Val> powers;
  Val p = constant_like(x, 1);
  for (int64_t k = 0; k < dim_int(n, a.name()); ++k) {
    powers.push_back(unsqueeze(p, x.rank()));
    p = map(Scalar::mul, p, x);
  }
  return {concat(powers, x.rank())};
}

#define EACH_SEQUENCE(X)                                                                                                     \
  X(arange, "arange(Scalar end, " OPTIONS ")", "0, 1, ... below end.", arange_end_rule, 1)                                   \
  X(arange_start, "arange.start(Scalar start, Scalar end, " OPTIONS ")", "start, start + 1, ... below end.", arange_start_rule, 3) \
  X(arange_step, "arange.start_step(Scalar start, Scalar end, Scalar step=1, " OPTIONS ")", "start, start + step, ... before end.", arange_step_rule, 7) \
  X(linspace, "linspace(Scalar start, Scalar end, int steps, " OPTIONS ")", "Evenly spaced numbers, both ends included.", linspace_rule, 0) \
  X(linspace_tt, "linspace.Tensor_Tensor(Tensor start, Tensor end, int steps, " OPTIONS ")", "linspace.", linspace_rule, 0)  \
  X(linspace_ts, "linspace.Tensor_Scalar(Tensor start, Scalar end, int steps, " OPTIONS ")", "linspace.", linspace_rule, 0)  \
  X(linspace_st, "linspace.Scalar_Tensor(Scalar start, Tensor end, int steps, " OPTIONS ")", "linspace.", linspace_rule, 0)  \
  X(logspace, "logspace(Scalar start, Scalar end, int steps, float base=10.0, " OPTIONS ")", "base to the power of evenly spaced numbers.", logspace_rule, 0) \
  X(logspace_tt, "logspace.Tensor_Tensor(Tensor start, Tensor end, int steps, float base=10.0, " OPTIONS ")", "logspace.", logspace_rule, 0) \
  X(logspace_ts, "logspace.Tensor_Scalar(Tensor start, Scalar end, int steps, float base=10.0, " OPTIONS ")", "logspace.", logspace_rule, 0) \
  X(logspace_st, "logspace.Scalar_Tensor(Scalar start, Tensor end, int steps, float base=10.0, " OPTIONS ")", "logspace.", logspace_rule, 0) \
  X(eye, "eye(SymInt n, " OPTIONS ")", "The identity matrix.", eye_rule, 0)                                                  \
  X(eye_m, "eye.m(SymInt n, SymInt m, " OPTIONS ")", "Ones on the diagonal of an n by m matrix.", eye_m_rule, 0)             \
  X(tril_indices, "tril_indices(int row, int col, int offset=0, *, ScalarType? dtype=long, Layout? layout=None, Device? device=None, bool? pin_memory=None)", \
    "The positions of a lower triangle.", triangle_indices_rule<false>, 0)                                                   \
  X(triu_indices, "triu_indices(int row, int col, int offset=0, *, ScalarType? dtype=long, Layout? layout=None, Device? device=None, bool? pin_memory=None)", \
    "The positions of an upper triangle.", triangle_indices_rule<true>, 0)                                                   \
  X(linalg_vander, "linalg_vander(Tensor x, *, SymInt? N=None)", "Powers 0, 1, ... of x as columns.", vander_rule, 0)
#define SEQUENCE(id, schema_text, text, rule, fixed) \
  static constexpr Op op_##id{{.schema = schema_text " -> Tensor", .doc = text, .expand = rule, .static_args = fixed, .sample = samples}};
EACH_SEQUENCE(SEQUENCE)

// --- casts and copies

static Val as_dtype(const Args& a, int i) { return a.has(i) ? cast(a[0], *a.dtype(i)) : a[0]; }
static Vals to_dtype_rule(const Args& a) {
  const Val r = as_dtype(a, 1);
  return {a.b(3) && r.id == a[0].id ? copy(r) : r};
}
static Vals to_device_rule(const Args& a) {
  const Val r = as_dtype(a, 2);
  return {a.b(4) && r.id == a[0].id ? copy(r) : r};
}
static Vals to_options_rule(const Args& a) {
  const Val r = as_dtype(a, 1);
  return {a.b(6) && r.id == a[0].id ? copy(r) : r};
}
static Vals to_other_rule(const Args& a) {
  const Val r = cast(a[0], a[1].dtype());
  return {a.b(3) && r.id == a[0].id ? copy(r) : r};
}
static Vals type_as_rule(const Args& a) { return {cast(a[0], a[1].dtype())}; }
static Vals to_copy_rule(const Args& a) { return {copy(as_dtype(a, 1))}; }
static Vals clone_rule(const Args& a) { return {copy(a[0])}; }
static Vals copy_rule(const Args& a) { return {copy(cast(broadcast_to(a[1], a[0].shape(), a.name()), a[0].dtype()))}; }
static Vals fill_rule(const Args& a) {
  if (a[1].rank() != 0) a.error("the value is not a single number", cat(a[1].type()), "a 0-d tensor");
  return {copy(broadcast_to(cast(a[1], a[0].dtype()), a[0].shape()))};
}
static Vals zero_rule(const Args& a) { return {full_int(a.builder(), a[0].shape(), a[0].dtype(), 0)}; }
// Contents beyond the old elements are unspecified; they are zeros.
static Val resized(Val x, const Dims& shape) {
  const Dim n = x.numel(), m = product(shape);
  const Val flat = reshape(x, {n});
  return reshape(n == m ? copy(flat) : pad(flat, {0}, {m - n}), shape);
}
static Vals resize_rule(const Args& a) { return {resized(a[0], a.dims(1))}; }
static Vals resize_as_rule(const Args& a) { return {resized(a[0], a[1].shape())}; }

#define TO_TAIL "bool non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)"
#define EACH_CAST(X)                                                                                                     \
  X(to_dtype, "to.dtype(Tensor(a) self, ScalarType dtype, " TO_TAIL, "self in another dtype.", to_dtype_rule)            \
  X(to_device, "to.device(Tensor(a) self, Device device, ScalarType dtype, " TO_TAIL, "self in another dtype.", to_device_rule) \
  X(to_options, "to.dtype_layout(Tensor(a) self, " OPTIONS ", " TO_TAIL, "self in another dtype.", to_options_rule)      \
  X(to_other, "to.other(Tensor(a) self, Tensor other, " TO_TAIL, "self in the dtype of other.", to_other_rule)           \
  X(type_as, "type_as(Tensor(a) self, Tensor other) -> Tensor(a)", "self in the dtype of other.", type_as_rule)          \
  X(lift_fresh, "lift_fresh(Tensor(a) self) -> Tensor(a)", "self.", [](const Args& a) -> Vals { return {a[0]}; })
#define CAST(id, schema_text, text, rule) static constexpr Op op_##id{{.schema = schema_text, .doc = text, .expand = rule, .view = true, .sample = samples}};
EACH_CAST(CAST)
#define EACH_COPY(X)                                                                                                    \
  X(to_copy, "_to_copy(Tensor self, " OPTIONS ", bool non_blocking=False, MemoryFormat? memory_format=None)", "self in another dtype, in new memory.", to_copy_rule) \
  X(clone, "clone(Tensor self, *, MemoryFormat? memory_format=None)", "self in new memory.", clone_rule)               \
  X(lift_fresh_copy, "lift_fresh_copy(Tensor self)", "clone.", clone_rule)                                             \
  X(copy, "copy(Tensor self, Tensor src, bool non_blocking=False)", "src in the shape and dtype of self.", copy_rule)  \
  X(fill_number, "fill.Scalar(Tensor self, Scalar value)", "One number in the shape of self.", fill_rule)              \
  X(fill_tensor, "fill.Tensor(Tensor self, Tensor value)", "One number in the shape of self.", fill_rule)              \
  X(zero, "zero(Tensor self)", "Zeros in the shape of self.", zero_rule)                                               \
  X(resize, "resize(Tensor self, SymInt[] size, *, MemoryFormat? memory_format=None)", "The elements of self, in order, in another shape.", resize_rule) \
  X(resize_as, "resize_as(Tensor self, Tensor the_template, *, MemoryFormat? memory_format=None)", "resize to the shape of another tensor.", resize_as_rule)
#define COPY(id, schema_text, text, rule) \
  static constexpr Op op_##id{{.schema = schema_text " -> Tensor", .doc = text, .expand = rule, .forms = Forms::in_place, .sample = samples}};
EACH_COPY(COPY)

// --- samples

static void samples(SampleBuilder& s) {
  s.of("full", {"[2,3], 1.5", "[], 2", "[4], True, dtype=float32", "[0,3], 1"}).of("zeros ones", {"[2,3]", "[]", "[4], dtype=int64", "[0]"})
      .refuses("full", {"[2,-3], 1"}).refuses("zeros ones empty.memory_format", {"[2,-3]"})
      .of("empty.memory_format", {"[2,3]", "[], dtype=float64"}).of("empty_strided", {"[2,3], [1,2]", "[4], [2]"})
      .refuses("empty_strided new_empty_strided", {})
      .of("empty_permuted", {"[2,3], [1,0]", "[2,3,4], [2,0,1]"}).refuses("empty_permuted", {"[2,3], [0,0]", "[2,3], [0]"})
      .of("new_full", {"[2,3], [4], 1.5", "[], [2,2], 3"}).of("new_zeros new_ones new_empty", {"[2,3], [4]", "[], [2,2], dtype=int32"})
      .refuses("new_full", {"[2,3], [-4], 1.5"}).refuses("new_zeros new_ones new_empty", {"[2,3], [-4]"})
      .of("new_empty_strided", {"[2,3], [2,2], [1,2]"})
      .of("full_like", {"[2,3], 1.5", "[], 3", "[4], 2, dtype=float64"}).of("zeros_like ones_like empty_like", {"[2,3]", "[]", "[4], dtype=int32"})
      .of("scalar_tensor", {"1.5", "2, dtype=float64", "True"})
      .of("arange", {"5", "3.5", "4, dtype=float64"}).of("arange.start", {"1, 5", "-0.5, 2"}).of("arange.start_step", {"1, 8, 3", "5, 0, -2", "0, 1, 0.25"})
      .refuses("arange", {"-1"}).refuses("arange.start", {"5, 1"}).refuses("arange.start_step", {"1, 5, 0", "1, 5, -1"})
      .of("linspace", {"0, 1, 5", "3, -3, 1", "1, 2, 0"}).refuses("linspace", {"0, 1, -1"}).refuses("logspace", {"0, 1, -1"})
      .of("linspace.Tensor_Tensor logspace.Tensor_Tensor", {"[], []:1..2, 4"}).refuses("linspace.Tensor_Tensor logspace.Tensor_Tensor", {"[2], [], 4", "[], [], -1"})
      .of("linspace.Tensor_Scalar logspace.Tensor_Scalar", {"[], 2, 4"}).of("linspace.Scalar_Tensor logspace.Scalar_Tensor", {"0, [], 4"})
      .of("logspace", {"0, 1, 5", "0, 3, 4, 2"}).of("eye", {"3", "0", "2, dtype=int64"}).of("eye.m", {"3, 2", "2, 4"})
      .refuses("eye", {"-1"}).refuses("eye.m", {"2, -1", "-1, 2"})
      .of("tril_indices triu_indices", {"3, 3", "3, 4, 1", "4, 2, -1"}).refuses("tril_indices triu_indices", {"-1, 3", "3, -1"})
      .of("linalg_vander", {"[4]", "[2,3], N=2"}).refuses("linalg_vander", {"[]", "[3], N=1"})
      .of("resize", {"[2,3], [3,2]", "[2,3], [2]"}).of("resize_as", {"[2,3], [3,2]"}).of("copy", {"[2,3], [3]", "[4], f64[4]"})
      .of("fill.Scalar", {"[2,3], 1.5", "[], 2"}).of("fill.Tensor", {"[2,3], []"}).refuses("fill.Tensor", {"[2,3], [3]"})
      .refuses("copy", {"[2,3], [4]"}).refuses("resize", {"[2,3], [-1]"})
      .no_values("empty.memory_format empty_strided empty_permuted empty_like new_empty new_empty_strided resize resize_as");
}

static const Op* const creation_ops[] = {
#define LIST(id, ...) &op_##id,
    EACH_CONSTANT(LIST) EACH_SEQUENCE(LIST) EACH_CAST(LIST) EACH_COPY(LIST)};
OpFamily creation_family() { return creation_ops; }

}  // namespace phlox

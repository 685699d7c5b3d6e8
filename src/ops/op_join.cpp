// New tensors from the elements of others: joins, repeats, turns, triangles and diagonals, differences.
#include <algorithm>

#include "ops/arith.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- joins

// ATen's old exception: an empty vector fits everything.
static bool is_legacy_empty(Val v) { return v.rank() == 1 && dim_eq(v.size(0), 0); }

static Val joined(const Args& a, std::vector<Val> v, int64_t dim) {
  if (v.empty()) a.error("nothing to join", "an empty list", "at least one tensor");
  const DType d = result_dtype(v);
  if (std::any_of(v.begin(), v.end(), [](Val x) { return !is_legacy_empty(x); }))
    v.erase(std::remove_if(v.begin(), v.end(), is_legacy_empty), v.end());
  for (Val& x : v) {
    if (x.rank() == 0) a.error("a 0-d tensor cannot be joined", cat(x.type()), "at least 1 dimension", "use stack");
    if (x.rank() != v[0].rank()) a.error("tensors of different ranks", cat(v[0].type(), " and ", x.type()), "one rank");
    x = cast(x, d);
  }
  const int at = wrap_dim(dim, v[0].rank(), a.name());
  for (Val x : v)
    for (int k = 0; k < x.rank(); ++k)
      if (k != at && !dim_eq(x.size(k), v[0].size(k)))
        a.error("sizes differ outside the joined dimension", cat(v[0].type(), " and ", x.type()), cat("equal sizes but in dimension ", at));
  return v.size() == 1 ? copy(v[0]) : concat(v, at);
}
static Vals cat_rule(const Args& a) { return {joined(a, a.vals(0), a.i(1))}; }
static Vals stack_rule(const Args& a) {
  std::vector<Val> v = a.vals(0);
  if (v.empty()) a.error("nothing to stack", "an empty list", "at least one tensor");
  const int d = wrap_dim(a.i(1), v[0].rank() + 1, a.name());
  const Dims shape = v[0].shape();
  for (Val& x : v) {
    bool fits = x.rank() == int(shape.size());
    for (int k = 0; fits && k < x.rank(); ++k) fits = dim_eq(x.size(k), shape[size_t(k)]);
    if (!fits) a.error("tensors of different shapes", cat(shape_text(shape), " and ", shape_text(x.shape())), "one shape");
    x = unsqueeze(x, d);
  }
  return {joined(a, v, d)};
}
static Val at_least_2d(Val x) { return x.rank() == 0 ? reshape(x, {1, 1}) : x.rank() == 1 ? unsqueeze(x, 0) : x; }
static Val at_least_3d(Val x) { return x.rank() >= 3 ? x : x.rank() == 2 ? unsqueeze(x, 2) : unsqueeze(at_least_2d(x), 2); }
static Vals hstack_rule(const Args& a) {
  std::vector<Val> v = a.vals(0);
  for (Val& x : v) if (x.rank() == 0) x = reshape(x, {1});
  return {joined(a, v, v.empty() || v[0].rank() == 1 ? 0 : 1)};
}
static Vals vstack_rule(const Args& a) {
  std::vector<Val> v = a.vals(0);
  for (Val& x : v) x = at_least_2d(x);
  return {joined(a, v, 0)};
}
static Vals dstack_rule(const Args& a) {
  std::vector<Val> v = a.vals(0);
  for (Val& x : v) x = at_least_3d(x);
  return {joined(a, v, 2)};
}
static Vals column_stack_rule(const Args& a) {
  std::vector<Val> v = a.vals(0);
  for (Val& x : v) if (x.rank() <= 1) x = reshape(x, {x.numel(), 1});
  return {joined(a, v, 1)};
}
static Vals block_diag_rule(const Args& a) {
  std::vector<Val> v = a.vals(0);
  if (v.empty()) return {full(a.builder(), {1, 0}, default_float, 0)};
  const DType d = result_dtype(v);
  Dim rows = 0, cols = 0, row = 0, col = 0;
  for (Val& x : v) {
    if (x.rank() > 2) a.error("too many dimensions", cat(x.type()), "at most 2");
    x = cast(at_least_2d(x), d);
    rows = rows + x.size(0);
    cols = cols + x.size(1);
  }
  std::vector<Val> strips;
  for (Val x : v) {
    strips.push_back(pad(x, {0, col}, {0, cols - col - x.size(1)}));
    row = row + x.size(0);
    col = col + x.size(1);
  }
  return {strips.size() == 1 ? copy(strips[0]) : concat(strips, 0)};
}
static Vals grid_of(const std::vector<Val>& v) {
  Dims shape;
  for (Val x : v) shape.push_back(x.size(0));
  Vals r;
  for (size_t i = 0; i < v.size(); ++i) r.push_back(broadcast_in(v[i], shape, {int64_t(i)}));
  return r;
}
static Vals cartesian_prod_rule(const Args& a) {
  const std::vector<Val> v = a.vals(0);
  for (Val x : v) if (x.rank() != 1) a.error("not a vector", cat(x.type()), "tensors of 1 dimension");
  if (v.size() == 1) return {copy(v[0])};
  std::vector<Val> columns;
  for (Val x : grid_of(v)) columns.push_back(reshape(x, {x.numel(), 1}));
  return {joined(a, columns, 1)};
}
// The choices of r positions are known while building: they become index lists.
static Vals combinations_rule(const Args& a) {
  const Val x = a[0];
  const int64_t r = a.i(1);
  const bool repeat = a.b(2);
  if (x.rank() != 1) a.error("not a vector", cat(x.type()), "a tensor of 1 dimension");
  if (r < 0) a.error("the number of elements is negative", cat(r), "at least 0");
  if (r == 0) return {full(a.builder(), {0}, x.dtype(), 0)};
  const int64_t n = dim_int(x.size(0), a.name());
  if (n == 0 || (!repeat && r > n)) return {full(a.builder(), {0, r}, x.dtype(), 0)};
  constexpr double most = 1 << 22;
  double choices = 1;
  for (int64_t k = 0; k < r && choices * double(r) <= most; ++k) choices *= double(repeat ? n + k : n - k) / double(k + 1);
  if (!(choices * double(r) <= most) || r > 4096)
    a.error("there are too many choices to list them", cat(r, " of ", n, " elements"), cat("at most ", int64_t(most), " elements of the result, 4096 a row"));
  // Count the choices, then take each column by comparing grid coordinates: keep the grid points that are in order.
  std::vector<std::vector<int64_t>> columns{size_t(r)};
  std::vector<int64_t> at(size_t(r), 0);
  if (!repeat) for (int64_t k = 0; k < r; ++k) at[size_t(k)] = k;
  const auto last = [&](int64_t k) { return repeat ? n - 1 : n - r + k; };
  for (bool more = n > 0 && (repeat || r <= n); more;) {
    for (size_t k = 0; k < size_t(r); ++k) columns[k].push_back(at[k]);
    int64_t k = r - 1;
    while (k >= 0 && at[size_t(k)] == last(k)) --k;
    more = k >= 0;
    if (more) {
      const int64_t base = ++at[size_t(k)];
      for (int64_t j = k + 1; j < r; ++j) at[size_t(j)] = repeat ? base : base + j - k;
    }
  }
  const int64_t count = int64_t(columns[0].size());
  if (count == 0) return {full(a.builder(), {0, r}, x.dtype(), 0)};
  std::vector<Val> parts;
  for (const auto& column : columns) {
    // Runs of equal or consecutive positions keep the pieces few.
    std::vector<Val> pieces;
    for (size_t i = 0; i < column.size();) {
      size_t j = i + 1;
      const int64_t step = j < column.size() ? column[j] - column[i] : 1;
      if (step != 0 && step != 1) { pieces.push_back(slice(x, 0, column[i], 1)); ++i; continue; }
      while (j < column.size() && column[j] - column[j - 1] == step) ++j;
      pieces.push_back(step == 0 ? broadcast_to(slice(x, 0, column[i], 1), {int64_t(j - i)}) : slice(x, 0, column[i], int64_t(j - i)));
      i = j;
    }
    parts.push_back(reshape(pieces.size() == 1 ? pieces[0] : concat(pieces, 0), {count, 1}));
  }
  return {joined(a, parts, 1)};
}

#define JOIN(id, schema_text, text, rule) static constexpr Op op_##id{{.schema = schema_text, .doc = text, .expand = rule, .forms = Forms::out, .sample = samples}};
#define EACH_JOIN(X)                                                                                             \
  X(cat, "cat(Tensor[] tensors, int dim=0) -> Tensor", "Tensors side by side along a dimension.", cat_rule)      \
  X(concat, "concat(Tensor[] tensors, int dim=0) -> Tensor", "cat.", cat_rule)                                   \
  X(concatenate, "concatenate(Tensor[] tensors, int dim=0) -> Tensor", "cat.", cat_rule)                         \
  X(stack, "stack(Tensor[] tensors, int dim=0) -> Tensor", "Tensors side by side along a new dimension.", stack_rule) \
  X(hstack, "hstack(Tensor[] tensors) -> Tensor", "cat along columns.", hstack_rule)                             \
  X(vstack, "vstack(Tensor[] tensors) -> Tensor", "cat along rows.", vstack_rule)                                \
  X(row_stack, "row_stack(Tensor[] tensors) -> Tensor", "vstack.", vstack_rule)                                  \
  X(dstack, "dstack(Tensor[] tensors) -> Tensor", "cat along the third dimension.", dstack_rule)                 \
  X(column_stack, "column_stack(Tensor[] tensors) -> Tensor", "cat of vectors as columns.", column_stack_rule)   \
  X(block_diag, "block_diag(Tensor[] tensors) -> Tensor", "A matrix with these blocks on its diagonal.", block_diag_rule) \
  X(cartesian_prod, "cartesian_prod(Tensor[] tensors) -> Tensor", "All tuples, as rows.", cartesian_prod_rule)   \
  X(combinations, "combinations(Tensor self, int r=2, bool with_replacement=False) -> Tensor", "All choices of r elements, as rows.", combinations_rule)
EACH_JOIN(JOIN)

// --- repeats and turns

static Val repeated(const Args& a, Val x, Dims repeats) {
  if (int(repeats.size()) < x.rank()) a.error("fewer repeats than dimensions", shape_text(repeats), cat("at least ", x.rank()));
  while (x.rank() < int(repeats.size())) x = unsqueeze(x, 0);
  // Each dim n becomes [r, n], broadcast, then joined.
  Dims grid, shape;
  Ints at;
  for (size_t d = 0; d < repeats.size(); ++d) {
    if (repeats[d].is_const() && repeats[d].value() < 0) a.error("a repeat is negative", shape_text(repeats), "at least 0");
    if (!repeats[d].is(1)) grid.push_back(repeats[d]);
    at.push_back(int64_t(grid.size()));
    grid.push_back(x.size(int(d)));
    shape.push_back(repeats[d] * x.size(int(d)));
  }
  const Val r = reshape(broadcast_in(x, grid, at), shape);
  return copy(r);
}
static Vals repeat_rule(const Args& a) { return {repeated(a, a[0], a.dims(1))}; }
static Vals tile_rule(const Args& a) {
  Dims r = a.dims(1);
  while (int(r.size()) < a[0].rank()) r.insert(0, 1);
  return {repeated(a, a[0], r)};
}
static Val flipped(Val x, const Ints& dims) {
  for (int64_t d : dims) x = flip(x, int(d));
  return copy(x);
}
static Vals flip_rule(const Args& a) { return {flipped(a[0], reduce_dims(a, 1, a[0].rank(), false))}; }
template <int dim>
static Vals flip_dim_rule(const Args& a) {
  if (a[0].rank() <= dim) a.error("too few dimensions", cat(a[0].type()), cat("at least ", dim + 1));
  return {flipped(a[0], {dim})};
}
static Vals rot90_rule(const Args& a) {
  const Val x = a[0];
  const Ints dims = a.ints(2);
  if (dims.size() != 2) a.error("a plane has two dimensions", cat("[", join(dims), "]"), "2 dimensions");
  const int d0 = wrap_dim(dims[0], x.rank(), a.name()), d1 = wrap_dim(dims[1], x.rank(), a.name());
  if (d0 == d1) a.error("a plane has two different dimensions", cat("[", join(dims), "]"));
  switch (((a.i(1) % 4) + 4) % 4) {
    case 1: return {transpose(flipped(x, {d1}), d0, d1)};
    case 2: return {flipped(x, {d0, d1})};
    case 3: return {transpose(flipped(x, {d0}), d0, d1)};
    default: return {copy(x)};
  }
}
static Val rolled(Val x, int d, Dim shift) {
  const Dim n = x.size(d);
  if (dim_eq(n, 0)) return x;
  const Dim back = mod(shift, n);
  if (back.is(0)) return x;
  return concat({slice(x, d, n - back, back), slice(x, d, 0, n - back)}, d);
}
static Vals roll_rule(const Args& a) {
  Val x = a[0];
  const Dims shifts = a.dims(1);
  const Ints dims = a.ints(2);
  if (dims.empty()) {
    if (shifts.size() != 1) a.error("several shifts need dimensions", shape_text(shifts), "one shift, or as many dimensions");
    return {copy(reshape(rolled(reshape(x, {x.numel()}), 0, shifts[0]), x.shape()))};
  }
  if (dims.size() != shifts.size()) a.error("shifts and dims differ in length", cat(shifts.size(), " and ", dims.size()), "equal lengths");
  for (size_t i = 0; i < dims.size() && x.rank() > 0; ++i) x = rolled(x, wrap_dim(dims[i], x.rank(), a.name()), shifts[i]);
  return {copy(x)};
}

// --- triangles and diagonals

// column - row compared with `diagonal` decides what stays.
template <bool upper>
static Vals triangle_rule(const Args& a) {
  const Val x = a[0];
  if (x.rank() < 2) a.error("too few dimensions", cat(x.type()), "at least 2");
  GraphBuilder& g = a.builder();
  const Dims shape{x.size(-2), x.size(-1)};
  const Val offset = iota(g, shape, 1, DType::i64) - iota(g, shape, 0, DType::i64);
  const Val edge = broadcast_to(dim_value(g, a.d(1), DType::i64), shape);
  const Val keep = upper ? map(Scalar::le, edge, offset) : map(Scalar::le, offset, edge);
  return {select(broadcast_to(keep, x.shape()), x, constant_like(x, 0))};
}
static Vals diag_embed_rule(const Args& a) {
  const Val x = a[0];
  const int d1 = wrap_dim(a.i(2), x.rank() + 1, a.name()), d2 = wrap_dim(a.i(3), x.rank() + 1, a.name());
  if (x.rank() == 0 || d1 == d2) a.error("a diagonal needs two different dimensions", cat(d1, " and ", d2, " for ", x.type()));
  // An offset counts from dim1 to dim2.
  return {copy(d1 < d2 ? diag_embed(x, a.i(1), d1, d2) : diag_embed(x, -a.i(1), d2, d1))};
}
static Vals diag_rule(const Args& a) {
  const Val x = a[0];
  if (x.rank() == 1) return {copy(diag_embed(x, a.i(1), 0, 1))};
  if (x.rank() != 2) a.error("neither vector nor matrix", cat(x.type()), "1 or 2 dimensions");
  return {copy(diagonal(x, 0, 1, a.i(1)))};
}
static Vals diagflat_rule(const Args& a) { return {copy(diag_embed(reshape(a[0], {a[0].numel()}), a.i(1), 0, 1))}; }
static Vals trace_rule(const Args& a) {
  if (a[0].rank() != 2) a.error("not a matrix", cat(a[0].type()), "2 dimensions");
  const Val d = diagonal(a[0], 0, 1, 0);
  return {sum(is_float(d.dtype()) || is_complex(d.dtype()) ? d : cast(d, DType::i64), {0})};
}

// --- padding by a constant, from the last dimension backwards

static Val padded(const Args& a, Val x, const Ints& amounts, Val value) {
  if (amounts.size() % 2 || int(amounts.size()) > 2 * x.rank())
    a.error("the amounts do not fit the dimensions", cat("[", join(amounts), "] for ", x.type()), "pairs, at most one for each dimension");
  Dims low(size_t(x.rank())), high(size_t(x.rank()));
  for (size_t k = 0; k < amounts.size() / 2; ++k) {
    low[size_t(x.rank()) - 1 - k] = amounts[2 * k];
    high[size_t(x.rank()) - 1 - k] = amounts[2 * k + 1];
  }
  const Val r = pad(x, low, high);
  for (int d = 0; d < x.rank(); ++d)
    if (r.size(d).is_const() && r.size(d).value() < 0) a.error("more is cropped than there is", cat("[", join(amounts), "] for ", x.type()));
  if (!value) return copy(r);
  const Val inside = pad(full_int(*x.g, x.shape(), DType::boolean, 1), low, high);
  return select(inside, r, broadcast_to(cast(value, x.dtype()), r.shape()));
}
static Vals constant_pad_rule(const Args& a) {
  const bool zero = a.is_static_number(2) && a.f(2) == 0;
  return {padded(a, a[0], a.ints(1), zero ? Val{} : a[2])};
}

// --- differences and areas

static Vals diff_rule(const Args& a) {
  Val x = a[0];
  const int64_t n = a.i(1);
  if (x.rank() == 0) a.error("a 0-d tensor has no differences", cat(x.type()), "at least 1 dimension");
  if (n < 0) a.error("the order is negative", cat(n), "at least 0");
  const int d = a.dim(2, x.rank());
  if (n == 0) return {copy(x)};
  std::vector<Val> parts;
  if (a.has(3)) parts.push_back(a[3]);
  parts.push_back(x);
  if (a.has(4)) parts.push_back(a[4]);
  if (parts.size() > 1) x = joined(a, parts, d);
  for (int64_t k = 0; k < n; ++k) {
    const Dim length = x.size(d);
    if (dim_lt(length, 1)) break;
    const Val hi = slice(x, d, 1, length - 1), lo = slice(x, d, 0, length - 1);
    x = is_bool(x.dtype()) ? map(Scalar::bxor, hi, lo) : hi - lo;
  }
  return {x};
}

static Val neighbours(Val y, int d, bool sum) {
  const Dim n = y.size(d);
  const Val lo = slice(y, d, 0, n - 1), hi = slice(y, d, 1, n - 1);
  return sum ? lo + hi : hi - lo;
}
// Widths from x, which may be a vector along dim d of y.
static Val widths_of(const Args& a, Val x, Val y, int d) {
  if (x.rank() == 1) {
    if (!dim_eq(x.size(0), y.size(d))) a.error("there are not as many x as y", cat(x.size(0), " and ", y.size(d)), "equal sizes");
    Dims shape(size_t(y.rank()), 1);
    shape[size_t(d)] = x.size(0);
    return neighbours(reshape(x, shape), d, false);
  }
  if (x.rank() < y.rank()) {
    Dims shape = x.shape();
    while (int(shape.size()) < y.rank()) shape.insert(0, 1);
    x = reshape(x, shape);
  }
  return neighbours(x, d - y.rank() + x.rank(), false);
}
template <bool with_x, bool running>
static Vals trapezoid_rule(const Args& a) {
  const Val y = a[0];
  const int d = a.dim(2, y.rank());
  if (y.rank() == 0) a.error("a 0-d tensor has no area", cat(y.type()), "at least 1 dimension");
  if (dim_eq(y.size(d), 0)) {
    Dims shape = y.shape();
    if (!running) shape.erase(size_t(d));
    return {full(a.builder(), shape, y.dtype(), 0)};
  }
  Val panels = neighbours(y, d, true);
  if (with_x) panels = panels * widths_of(a, a[1], y, d);
  else if (running) panels = panels * a[1] / 2.0;
  const int at = d - y.rank() + panels.rank();
  if (is_int(panels.dtype()) || is_bool(panels.dtype())) panels = cast(panels, DType::i64);
  if (running) return {with_x ? scan(panels, at, "sum") / 2.0 : scan(panels, at, "sum")};
  return {with_x ? sum(panels, {at}) / 2.0 : sum(panels, {at}) * a[1] / 2.0};
}

#define SIMPLE(id, schema_text, text, rule) static constexpr Op op_##id{{.schema = schema_text, .doc = text, .expand = rule, .sample = samples}};
#define EACH_SIMPLE(X)                                                                                                  \
  X(repeat, "repeat(Tensor self, SymInt[] repeats) -> Tensor", "self, so many times along each dimension.", repeat_rule) \
  X(tile, "tile(Tensor self, SymInt[] dims) -> Tensor", "repeat, with missing repeats 1.", tile_rule)                   \
  X(flip, "flip(Tensor self, int[] dims) -> Tensor", "The order along dimensions reversed.", flip_rule)                 \
  X(fliplr, "fliplr(Tensor self) -> Tensor", "flip of columns.", flip_dim_rule<1>)                                      \
  X(flipud, "flipud(Tensor self) -> Tensor", "flip of rows.", flip_dim_rule<0>)                                         \
  X(rot90, "rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor", "k quarter turns in a plane.", rot90_rule)       \
  X(roll, "roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor", "Elements moved along, those that leave come back.", roll_rule) \
  X(tril, "tril(Tensor self, int diagonal=0) -> Tensor", "The part on and below a diagonal, 0 elsewhere.", triangle_rule<false>) \
  X(triu, "triu(Tensor self, int diagonal=0) -> Tensor", "The part on and above a diagonal, 0 elsewhere.", triangle_rule<true>) \
  X(diag_embed, "diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor", "Matrices with self on a diagonal.", diag_embed_rule) \
  X(diag, "diag(Tensor self, int diagonal=0) -> Tensor", "The matrix with a diagonal, or the diagonal of a matrix.", diag_rule) \
  X(diagflat, "diagflat(Tensor self, int offset=0) -> Tensor", "A matrix with all elements of self on a diagonal.", diagflat_rule) \
  X(trace, "trace(Tensor self) -> Tensor", "The sum of the diagonal of a matrix.", trace_rule)                          \
  X(constant_pad_nd, "constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor", "self inside a frame of a constant; negative amounts crop.", constant_pad_rule) \
  X(diff, "diff(Tensor self, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None) -> Tensor", "Differences of neighbours, n times.", diff_rule) \
  X(trapezoid_x, "trapezoid.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor", "The area under y by trapezoids.", (trapezoid_rule<true, false>)) \
  X(trapezoid_dx, "trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor", "The area under y by trapezoids.", (trapezoid_rule<false, false>)) \
  X(trapz_x, "trapz.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor", "trapezoid.", (trapezoid_rule<true, false>))       \
  X(trapz_dx, "trapz.dx(Tensor y, *, float dx=1, int dim=-1) -> Tensor", "trapezoid.", (trapezoid_rule<false, false>))  \
  X(cumulative_trapezoid_x, "cumulative_trapezoid.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor", "Areas up to each point.", (trapezoid_rule<true, true>)) \
  X(cumulative_trapezoid_dx, "cumulative_trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor", "Areas up to each point.", (trapezoid_rule<false, true>))
EACH_SIMPLE(SIMPLE)

// --- samples

static void samples(SampleBuilder& s) {
  s.of("cat concat concatenate", {"{[2,3], [4,3]}", "{[2,3], [2,1]}, 1", "{[2], [0], [3]}", "{[2,3]}, -1"}).refuses("cat concat concatenate", {"{[2,3], [2,4]}", "{}", "{[2], [3]}, 1", "{[], []}"})
      .of("stack", {"{[2,3], [2,3]}", "{[2,3], [2,3]}, -1", "{[], []}"}).refuses("stack", {"{[2,3], [2,4]}", "{}", "{[2]}, 2"})
      .of("hstack", {"{[2,3], [2,1]}", "{[2], [3]}"}).of("vstack row_stack", {"{[2,3], [3]}", "{[3], [3]}"}).of("dstack", {"{[2,3], [2,3]}"}).of("column_stack", {"{[3], [3,2]}"})
      .refuses("hstack vstack row_stack dstack column_stack", {"{}", "{[2,3], [4,5]}"})
      .of("block_diag", {"{[2,3], [2], []}"}).of("cartesian_prod", {"{[2], [3]}", "{[4]}"}).of("combinations", {"[4]", "[4], 3", "[3], 2, True"})
      .refuses("combinations", {"[2,2]", "[4], -1", "[4], 9223372036854775807, True", "[60], 20"}).refuses("cartesian_prod", {"{[2,2]}"}).refuses("block_diag", {"{[2,2,2]}"})
      .of("repeat", {"[2,3], [2,1]", "[3], [2,2]"}).of("tile", {"[2,3], [2]", "[3], [2,2]"}).refuses("repeat", {"[2,3], [2]", "[2], [-1]"})
      .of("flip", {"[2,3], [0]", "[2,3], [0,1]"}).refuses("flip", {"[2,3], [0,0]", "[2,3], [2]"}).of("rot90", {"[2,3]", "[2,3,4], -1, [1,2]"}).refuses("rot90", {"[2]", "[2,3], 1, [0,0]"})
      .of("roll", {"[2,3], [1], [1]", "[2,3], [-1,2], [0,1]", "[2,3], [2]"}).refuses("roll", {"[2,3], [1,2], [0]", "[2,3], [1], [2]"})
      .of("tril triu", {"[3,4]", "[2,3,3], 1", "[3,3], -1"}).refuses("tril triu", {"[3]"}).of("diag", {"[3]", "[3,4], 1", "[3], -1"}).refuses("diag", {"[2,2,2]"})
      .of("diag_embed", {"[2,3]", "[2,3], 1, 0, 2"}).refuses("diag_embed", {"[3], 0, 1, 1"}).of("trace", {"[3,4]", "[2,2]"}).refuses("trace", {"[3]"})
      .of("constant_pad_nd", {"[2,3], [1,2]", "[2,3], [1,0,0,2], 1.5", "[2,5], [-1,-1]"}).refuses("constant_pad_nd", {"[2,3], [1]", "[2], [1,1,1,1]", "[2,3], [-4,0]"});
}

static const Op* const join_ops[] = {
#define LIST(id, ...) &op_##id,
    EACH_JOIN(LIST) EACH_SIMPLE(LIST)};
OpFamily join_family() { return join_ops; }

}  // namespace phlox

// Searching and counting: searchsorted, bucketize, isin, histograms, bincount, and the sets of distinct values.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/host_dispatch.h"
#include "ops/indexing.h"
#include "ops/search.h"
#include "ops/staged.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- searchsorted

// sequence[..., n] sorted, values[..., m] or any shape for a vector sequence; both of one dtype
static void searchsorted_reference(HostCall& c) {
  const HostTensor &s = c.tensor(0), &x = c.tensor(1);
  const bool right = c.i(2) != 0;
  int64_t* out = c.out[0].as<int64_t>();
  const int64_t n = s.shape.back(), rows = n ? s.numel() / n : 0, per_row = rows > 1 ? x.numel() / rows : x.numel();
  with_values(s, [&](auto* sv) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(sv)>>;
    with_values(x, [&](auto* xv) {
      auto less = [](T a, T b) {
        if constexpr (std::is_floating_point_v<T>) return std::isnan(b) ? !std::isnan(a) : a < b;
        else return a < b;
      };
      for (int64_t i = 0; i < x.numel(); ++i) {
        const T* row = rows > 1 ? sv + i / per_row * n : sv;
        const T v = T(xv[i]);
        out[i] = (right ? std::upper_bound(row, row + n, v, less) : std::lower_bound(row, row + n, v, less)) - row;
      }
    });
  });
}
static constexpr Op op_search{{
    .schema = "prim::search(Tensor sequence, Tensor values, bool right) -> Tensor",
    .doc = "Where each value would be put into a sorted sequence, before equal elements or (right) after them.",
    .type = [](const Args& a, Types& out) {
      TensorType t = a[1].type();
      t.strides.clear();
      t.weak = false;
      t.dtype = DType::i64;
      out.push_back(t);
    },
    .reference = searchsorted_reference,
    .sample = samples,
}};
Val search_sorted(Val sequence, Val values, bool right) {
  const Val both[] = {sequence, values};
  const DType d = result_dtype(both);
  const Arg args[] = {arg_of(copy(stop_gradient(cast(sequence, d)))), arg_of(copy(stop_gradient(cast(values, d)))), Arg::of_bool(right)};
  return values.g->call(op_info(op_search), args)[0];
}

static Val searched(const Args& a, Val sequence, Val values, bool out_i32, bool right) {
  require(a, sequence.rank() >= 1, "the sorted sequence needs a dimension", shape_of(sequence));
  if (sequence.rank() > 1) {
    Dims s = sequence.shape(), v = values.shape();
    bool fits = s.size() == v.size();
    for (size_t d = 0; fits && d + 1 < s.size(); ++d) fits = dim_eq(s[d], v[d]);
    require(a, fits, "the leading sizes of sequence and values differ", cat(shape_of(sequence), " and ", shape_of(values)));
  }
  const Val r = search_sorted(sequence, values, right);
  return out_i32 ? cast(r, DType::i32) : r;
}
// sequence, values, out_int32, right, side, sorter
static Vals searchsorted(const Args& a) {
  bool right = a.b(3);
  if (a.has(4)) {
    require(a, a.s(4) == "left" || a.s(4) == "right", "unknown side", std::string(a.s(4)), "'left' or 'right'");
    require(a, !(right && a.s(4) == "left"), "side and right contradict each other");
    right = a.s(4) == "right";
  }
  Val sequence = a[0];
  if (a.has(5)) sequence = gather_along(sequence, sequence.rank() - 1, index_values(a, 5));
  return {searched(a, sequence, a[1], a.b(2), right)};
}
static constexpr Op op_searchsorted{{
    .schema = "searchsorted.Tensor(Tensor sorted_sequence, Tensor self, *, bool out_int32=False, bool right=False, str? side=None, Tensor? sorter=None) -> Tensor",
    .doc = "Where each value would be put into the sorted last dimension of sorted_sequence.",
    .expand = searchsorted,
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_searchsorted_scalar{{
    .schema = "searchsorted.Scalar(Tensor sorted_sequence, Scalar self, *, bool out_int32=False, bool right=False, str? side=None, Tensor? sorter=None) -> Tensor",
    .doc = "Where a number would be put into a sorted vector.",
    .expand = searchsorted,
    .sample = samples,
}};
static constexpr Op op_bucketize{{
    .schema = "bucketize.Tensor(Tensor self, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor",
    .doc = "The number of the bucket between sorted boundaries that each value falls into.",
    .expand = [](const Args& a) -> Vals { return {searched(a, a[1], a[0], a.b(2), a.b(3))}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_bucketize_scalar{{
    .schema = "bucketize.Scalar(Scalar self, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor",
    .doc = "The number of the bucket between sorted boundaries that a number falls into.",
    .expand = [](const Args& a) -> Vals { return {searched(a, a[1], a[0], a.b(2), a.b(3))}; },
    .sample = samples,
}};

// --- isin

static Val is_in(Val elements, Val tests, bool invert) {
  const Val both[] = {elements, tests};
  const DType d = result_dtype(both);
  const Val t = reshape(cast(tests, d), {tests.numel()});
  const Val hit = equal(unsqueeze(cast(elements, d), elements.rank()), t);
  const Val r = reduce(hit, {hit.rank() - 1}, "or");
  return invert ? logical_not(r) : r;
}
static constexpr Op op_isin{{
    .schema = "isin.Tensor_Tensor(Tensor elements, Tensor test_elements, *, bool assume_unique=False, bool invert=False) -> Tensor",
    .doc = "Is each element among test_elements?",
    .expand = [](const Args& a) -> Vals { return {is_in(a[0], a[1], a.b(3))}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_isin_ts{{
    .schema = "isin.Tensor_Scalar(Tensor elements, Scalar test_element, *, bool assume_unique=False, bool invert=False) -> Tensor",
    .doc = "Is each element equal to test_element?",
    .expand = [](const Args& a) -> Vals { return {is_in(a[0], a[1], a.b(3))}; },
    .sample = samples,
}};
static constexpr Op op_isin_st{{
    .schema = "isin.Scalar_Tensor(Scalar element, Tensor test_elements, *, bool assume_unique=False, bool invert=False) -> Tensor",
    .doc = "Is a number among test_elements?",
    .expand = [](const Args& a) -> Vals { return {is_in(a[0], a[1], a.b(3))}; },
    .sample = samples,
}};

// --- histograms

// Counts (or weights) of x in equal bins from lo to hi, which are values without dimensions. Outside does not count.
static Val histogram(Val x, Val weight, int64_t bins, Val lo, Val hi) {
  const Val flat = reshape(x, {x.numel()});
  // An empty range is widened by one half on each side, as ATen does.
  const Val same = equal(lo, hi), low = where(same, lo - 0.5, lo), high = where(same, hi + 0.5, hi);
  const Val inside = (flat >= low) & (flat <= high);
  const Val position = (flat - low) * double(bins) / (high - low);
  Val bin = cast(where(inside, position, like(position, 0)), DType::i64);
  bin = minimum(bin, full_int(*x.g, {}, DType::i64, bins - 1));
  const Val w = weight ? reshape(weight, {weight.numel()}) : fill_like(flat, 1);
  return scatter(full(*x.g, {bins}, x.dtype(), 0), {bin}, {0}, where(inside, w, like(w, 0)), ScatterMode::add);
}
static std::pair<Val, Val> data_range(Val x, double lo, double hi) {
  if (lo != hi || dim_eq(x.numel(), 0)) return {like(x, lo), like(x, lo == hi ? lo + 1 : hi)};
  return {reduce(x, all_dims(x.rank()), "min"), reduce(x, all_dims(x.rank()), "max")};
}
static constexpr Op op_histc{{
    .schema = "histc(Tensor self, int bins=100, Scalar min=0, Scalar max=0) -> Tensor",
    .doc = "How many elements fall into each of equal bins from min to max, or from the least to the greatest where these are equal.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require(a, a.i(1) > 0, "bins must be positive", cat(a.i(1)));
      require(a, a.f(2) <= a.f(3), "max is below min", cat(a.f(2), " to ", a.f(3)));
      auto [lo, hi] = data_range(x, a.f(2), a.f(3));
      if (a.f(2) == a.f(3)) {
        const Val same = equal(lo, hi);
        lo = where(same, lo - 1.0, lo);
        hi = where(same, hi + 1.0, hi);
      }
      return {histogram(x, {}, a.i(1), cast_like(lo, x), cast_like(hi, x))};
    },
    .forms = Forms::out,
    .static_args = 0xc,
    .sample = samples,
}};
static constexpr Op op_histogram{{
    .schema = "histogram.bin_ct(Tensor self, int bins=100, *, float[]? range=None, Tensor? weight=None, bool density=False) -> (Tensor, Tensor)",
    .doc = "A histogram over equal bins and the edges of the bins; density scales it to an integral of 1.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require_float(a, x, "self");
      const int64_t bins = a.i(1);
      require(a, bins > 0, "bins must be positive", cat(bins));
      double range[2] = {0, 0};
      if (a.has(2)) require(a, a.raw(2).count == 2, "the range needs two ends", cat(a.raw(2).count), "2 numbers");
      if (a.has(2)) for (int k = 0; k < 2; ++k) range[k] = a.raw(2).list[k].kind == ArgKind::real ? a.raw(2).list[k].real : double(a.raw(2).list[k].as_dim().value());
      require(a, range[0] <= range[1], "the range ends before it begins", cat(range[0], " to ", range[1]));
      auto [lo, hi] = data_range(x, range[0], range[1]);
      const Val same = equal(lo, hi), low = where(same, lo - 0.5, lo), high = where(same, hi + 0.5, hi);
      Val h = histogram(x, a.optional(3), bins, low, high);
      const Val k = iota(a.builder(), {bins + 1}, 0, x.dtype()), width = (high - low) / double(bins);
      // Each half is counted from its own end, so that both ends are exact.
      const Val edges = where(k < like(k, double(bins + 1) / 2), low + k * width, high - (double(bins) - k) * width);
      if (a.b(4)) h = h / (sum(h, {0}) * width);
      return {h, edges};
    },
    .sample = samples,
}};

// --- sizes that depend on data

static constexpr Op op_bincount{{
    .schema = "bincount(Tensor self, Tensor? weights=None, SymInt minlength=0) -> Tensor",
    .doc = "How often each number from 0 on occurs in a vector, or the sums of its weights.",
    .type = [](const Args& a, Types& out) {
      TensorType t;
      t.dtype = a.has(1) ? (a[1].dtype() == DType::f32 ? DType::f32 : DType::f64) : DType::i64;
      t.shape = {0};
      out.push_back(t);
    },
    .reference = [](HostCall& c) {
      const HostTensor& x = c.tensor(0);
      if (x.shape.size() != 1 || is_float(x.dtype) || is_complex(x.dtype) || is_bool(x.dtype))
        fail(ErrorCode::invalid_argument, {.op = "bincount", .fact = "the input must be a vector of integers", .got = cat(x.dtype, " of rank ", x.shape.size()), .expected = "a vector of integers"});
      if (c.has(1) && c.tensor(1).shape != x.shape)
        fail(ErrorCode::invalid_argument, {.op = "bincount", .fact = "there must be a weight for every number", .got = cat("[", join(c.tensor(1).shape, ","), "]"), .expected = cat("[", join(x.shape, ","), "]")});
      if (c.i(2) < 0) fail(ErrorCode::invalid_argument, {.op = "bincount", .fact = "minlength is negative", .got = cat(c.i(2)), .expected = "0 or more"});
      std::vector<int64_t> v;
      with_values(x, [&](auto* p) { for (int64_t i = 0; i < x.numel(); ++i) v.push_back(int64_t(p[i])); });
      int64_t n = c.i(2);
      for (int64_t i : v) {
        if (i < 0) fail(ErrorCode::invalid_argument, {.op = "bincount", .fact = "the input has negative numbers", .got = cat(i), .expected = "0 or more"});
        n = std::max(n, i + 1);
      }
      const bool weighted = c.has(1);
      const DType d = weighted ? (c.tensor(1).dtype == DType::f32 ? DType::f32 : DType::f64) : DType::i64;
      HostTensor out = make_host_tensor(d, {n});
      std::memset(out.data, 0, size_t(out.bytes()));
      if (!weighted) for (int64_t i : v) ++out.as<int64_t>()[i];
      else with_values(c.tensor(1), [&](auto* w) {
        for (size_t i = 0; i < v.size(); ++i) {
          if (d == DType::f32) out.as<float>()[v[i]] += float(w[i]);
          else out.as<double>()[v[i]] += double(w[i]);
        }
      });
      c.out[0] = out;
    },
    .effects = Effects::host_read,
    .sample = samples,
}};

static void nonzero_reference(HostCall& c) {
  const HostTensor& x = c.tensor(0);
  std::vector<int64_t> at;
  auto find = [&](auto* v, int64_t parts) {
    for (int64_t i = 0; i < x.numel(); ++i) {
      bool any = false;
      for (int64_t p = 0; p < parts; ++p) any |= v[i * parts + p] != 0;
      if (any) at.push_back(i);
    }
  };
  if (x.dtype == DType::c64) find(x.as<float>(), 2);
  else if (x.dtype == DType::c128) find(x.as<double>(), 2);
  else with_values(x, [&](auto* v) { find(v, 1); });
  const int64_t rank = int64_t(x.shape.size());
  HostTensor out = make_host_tensor(DType::i64, {int64_t(at.size()), rank});
  for (size_t k = 0; k < at.size(); ++k)
    for (int64_t d = rank, rest = at[k]; d-- > 0; rest /= x.shape[d]) out.as<int64_t>()[int64_t(k) * rank + d] = rest % x.shape[d];
  c.out[0] = out;
}
static void positions_type(const Args& a, Types& out) {
  TensorType t;
  t.dtype = DType::i64;
  t.shape = {0, a[0].rank()};
  out.push_back(t);
}
static constexpr Op op_nonzero{{
    .schema = "nonzero(Tensor self) -> Tensor",
    .doc = "The positions of all elements that are not zero, one a row.",
    .type = positions_type,
    .reference = nonzero_reference,
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_argwhere{{
    .schema = "argwhere(Tensor self) -> Tensor",
    .doc = "Same as nonzero.",
    .type = positions_type,
    .reference = nonzero_reference,
    .effects = Effects::host_read,
    .sample = samples,
}};
static void nonzero_columns(HostCall& c) {
  HostCall rows;
  rows.args = c.args;
  rows.in = c.in;
  rows.out.resize(1);
  if (rows.in[0].shape.empty()) rows.in[0].shape = {1};
  nonzero_reference(rows);
  const int64_t n = rows.out[0].shape[0], rank = rows.out[0].shape[1];
  c.out.clear();
  for (int64_t d = 0; d < rank; ++d) {
    HostTensor column = make_host_tensor(DType::i64, {n});
    for (int64_t i = 0; i < n; ++i) column.as<int64_t>()[i] = rows.out[0].as<int64_t>()[i * rank + d];
    c.out.push_back(column);
  }
}
static void columns_type(const Args& a, Types& out) {
  TensorType t;
  t.dtype = DType::i64;
  t.shape = {0};
  for (int d = 0; d < std::max(a[0].rank(), 1); ++d) out.push_back(t);
}
static constexpr Op op_nonzero_numpy{{
    .schema = "nonzero_numpy(Tensor self) -> Tensor[]",
    .doc = "The positions of all elements that are not zero, one vector a dimension.",
    .type = columns_type,
    .reference = nonzero_columns,
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_where{{
    .schema = "where(Tensor condition) -> Tensor[]",
    .doc = "Same as nonzero_numpy.",
    .type = columns_type,
    .reference = nonzero_columns,
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_masked_select{{
    .schema = "masked_select(Tensor self, Tensor mask) -> Tensor",
    .doc = "The elements where mask holds, in order, as a vector.",
    .type = [](const Args& a, Types& out) {
      TensorType t = a[0].type();
      t.strides.clear();
      t.shape = {0};
      out.push_back(t);
    },
    // By index, which has a gradient.
    .staged = [](StagedCall& c) {
      const Ints x = c.sizes(c.args[0]), m = c.sizes(c.args[1]);
      if (c.dtype(c.args[1]) != DType::boolean) return false;
      Arg both[] = {c.args[0], c.args[1]};
      if (x.empty() && m.empty()) {  // a mask of no dimensions picks from a vector of one
        const Arg one = Arg::of_dim(1);
        for (Arg& t : both) {
          const Arg args[] = {t, Arg::of_list(std::span(&one, 1))};
          t = c.call("reshape", args)[0];
        }
      } else if (x != m) {
        const Arg pair = Arg::of_list(both);
        const std::vector<Arg> r = c.call("broadcast_tensors", std::span(&pair, 1));
        both[0] = r[0];
        both[1] = r[1];
      }
      const Arg args[] = {both[0], Arg::of_list(std::span(both + 1, 1))};
      c.results = c.call("index.Tensor", args);
      return true;
    },
    .reference = [](HostCall& c) {
      const HostTensor &x = c.tensor(0), &m = c.tensor(1);
      if (!is_bool(m.dtype)) fail(ErrorCode::invalid_argument, {.op = "masked_select", .fact = "the mask must be bool", .got = cat(m.dtype), .expected = "bool"});
      const size_t rank = std::max(x.shape.size(), m.shape.size());
      Ints shape(rank), sx(rank, 0), sm(rank, 0);
      int64_t nx = 1, nm = 1, total = 1;
      for (size_t d = rank; d-- > 0;) {
        const size_t from_end = rank - d;
        const int64_t a = from_end <= x.shape.size() ? x.shape[x.shape.size() - from_end] : 1;
        const int64_t b = from_end <= m.shape.size() ? m.shape[m.shape.size() - from_end] : 1;
        shape[d] = a == 1 ? b : a;
        sx[d] = a == 1 ? 0 : nx;
        sm[d] = b == 1 ? 0 : nm;
        nx *= a;
        nm *= b;
        total *= shape[d];
      }
      const int64_t size = dtype_bytes(x.dtype);
      std::vector<int64_t> picked;
      for (int64_t i = 0; i < total; ++i) {
        int64_t at_x = 0, at_m = 0, rest = i;
        for (size_t d = rank; d-- > 0; rest /= shape[d]) {
          at_x += rest % shape[d] * sx[d];
          at_m += rest % shape[d] * sm[d];
        }
        if (m.as<uint8_t>()[at_m]) picked.push_back(at_x);
      }
      HostTensor out = make_host_tensor(x.dtype, {int64_t(picked.size())});
      for (size_t i = 0; i < picked.size(); ++i)
        std::memcpy(static_cast<char*>(out.data) + int64_t(i) * size, static_cast<const char*>(x.data) + picked[i] * size, size_t(size));
      c.out[0] = out;
    },
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_repeats{{
    .schema = "repeat_interleave.Tensor(Tensor repeats, *, SymInt? output_size=None) -> Tensor",
    .doc = "Each position repeated as often as repeats says.",
    .type = [](const Args& a, Types& out) {
      TensorType t;
      t.dtype = a[0].dtype();
      t.shape = {0};
      out.push_back(t);
    },
    .reference = [](HostCall& c) {
      const HostTensor& r = c.tensor(0);
      if (r.shape.size() != 1 || (r.dtype != DType::i64 && r.dtype != DType::i32))
        fail(ErrorCode::invalid_argument, {.op = "repeat_interleave", .fact = "repeats must be a vector of int32 or int64", .got = cat(r.dtype, " of rank ", r.shape.size()), .expected = "a vector of integers"});
      std::vector<int64_t> v;
      with_values(r, [&](auto* p) {
        for (int64_t i = 0; i < r.numel(); ++i) {
          if (int64_t(p[i]) < 0) fail(ErrorCode::invalid_argument, {.op = "repeat_interleave", .fact = "repeats must not be negative", .got = cat(int64_t(p[i]))});
          v.insert(v.end(), size_t(p[i]), i);
        }
      });
      HostTensor out = make_host_tensor(r.dtype, {int64_t(v.size())});
      for (size_t i = 0; i < v.size(); ++i) {
        if (r.dtype == DType::i32) out.as<int32_t>()[i] = int32_t(v[i]);
        else out.as<int64_t>()[i] = v[i];
      }
      c.out[0] = out;
    },
    .effects = Effects::host_read,
    .sample = samples,
}};

static void repeat_reference(HostCall& c) {
  const HostTensor &x = c.tensor(0), &r = c.tensor(1);
  Ints shape = x.shape;
  if (!c.has(2)) shape = {x.numel()};
  const size_t d = c.has(2) ? size_t(wrap_dim(c.i(2), int(shape.size()), "repeat_interleave")) : 0;
  std::vector<int64_t> times, from;
  with_values(r, [&](auto* p) { for (int64_t i = 0; i < r.numel(); ++i) times.push_back(int64_t(p[i])); });
  for (int64_t i = 0; i < shape[d]; ++i) from.insert(from.end(), size_t(times[times.size() == 1 ? 0 : size_t(i)]), i);
  int64_t outer = 1, inner = dtype_bytes(x.dtype);
  for (size_t k = 0; k < shape.size(); ++k) (k < d ? outer : inner) *= k == d ? 1 : shape[k];
  const int64_t n = shape[d], m = int64_t(from.size());
  shape[d] = m;
  HostTensor out = make_host_tensor(x.dtype, shape);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < m; ++i)
      std::memcpy(static_cast<char*>(out.data) + (o * m + i) * inner, static_cast<const char*>(x.data) + (o * n + from[size_t(i)]) * inner, size_t(inner));
  c.out[0] = out;
}
// self, repeats, dim, output_size
static constexpr Op op_repeat_interleave{{
    .schema = "repeat_interleave.self_Tensor(Tensor self, Tensor repeats, int? dim=None, *, SymInt? output_size=None) -> Tensor",
    .doc = "Every slice along dim repeated as often as repeats says; without dim self counts as one-dimensional.",
    .type = [](const Args& a, Types& out) {
      TensorType t = a[0].type();
      t.strides.clear();
      if (!a.has(2)) t.shape = {0};
      out.push_back(t);
    },
    .staged = [](StagedCall& c) {
      Arg self = c.args[0], repeats = c.args[1], dim = c.args[2];
      if (dim.is_none()) {
        const Arg all[] = {Arg::of_dim(-1)};
        const Arg args[] = {self, Arg::of_list(all)};
        self = c.call("reshape", args)[0];
        dim = Arg::of_dim(0);
      }
      const Ints sizes = c.sizes(self), given = c.sizes(repeats);
      const int64_t d = wrap_dim(dim.as_dim().value(), int(sizes.size()), "repeat_interleave");
      if (given.empty() || given[0] == 1) {
        const Arg size[] = {Arg::of_dim(sizes[d])};
        const Arg flat[] = {repeats, Arg::of_list(size)};
        repeats = c.call("expand", flat)[0];
      } else if (given[0] != sizes[d]) {
        fail(ErrorCode::invalid_argument, {.op = "repeat_interleave", .fact = "repeats needs one number, or one for each slice",
                                           .got = cat(given[0], " numbers"), .expected = cat("1 or ", sizes[d])});
      }
      const Arg one[] = {repeats};
      const Arg args[] = {self, dim, c.call("repeat_interleave.Tensor", one)[0]};
      c.results = c.call("index_select", args);
      return true;
    },
    .reference = repeat_reference,
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_repeat_interleave_int{{
    .schema = "repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, SymInt? output_size=None) -> Tensor",
    .doc = "Every slice along dim repeated; without dim self counts as one-dimensional.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a.has(2) ? a[0] : reshape(a[0], {a[0].numel()});
      if (x.rank() == 0) return {broadcast_to(reshape(x, {1}), {a.d(1)})};
      const int d = a.has(2) ? a.dim(2, x.rank()) : 0;
      Dims shape = x.shape();
      shape[d] = shape[d] * a.d(1);
      return {reshape(expand_at(x, d + 1, a.d(1)), shape)};
    },
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("searchsorted.Tensor", {"[5]:sorted, [2,3]", "[2,5]:sorted, [2,3], right=True", "[5]:sorted, [4], out_int32=True, side='right'"}).of("searchsorted.Scalar", {"[5]:sorted, 1.5"}).of("bucketize.Tensor", {"[2,3], [5]:sorted", "[4], [3]:sorted, right=True"}).of("bucketize.Scalar", {"1.5, [5]:sorted"}).of("prim::search", {"f32[5]:sorted, f32[4], False"}).refuses("searchsorted.Tensor", {"[2,5]:sorted, [3,3]", "[5]:sorted, [2], side='best'", "[], [2]"}).refuses("bucketize.Tensor", {"[4], [2,2]"})
      .of("isin.Tensor_Tensor", {"[2,3]:0..3, [4]:0..3", "[5]:0..3, [2]:0..3, invert=True"}).of("isin.Tensor_Scalar", {"[5]:0..3, 2"}).of("isin.Scalar_Tensor", {"2, [5]:0..3"}).of("histc", {"[8], 4, -2, 2", "[8], 3"}).of("histogram.bin_ct", {"[8], 4", "[8], 3, range=[-2,2], weight=[8]:0..1, density=True"}).refuses("histc", {"[8], 0", "[8], 4, 2, -2"}).refuses("histogram.bin_ct", {"[8], 0", "[8], 3, range=[2,-2]"})
      .of("bincount", {"i64[6]:0..4", "i64[6]:0..4, [6]", "u8[4]:0..3, None, 8"}).refuses("bincount", {"i64[3]=1|-1|0", "[3]", "i64[2,2]:0..1", "i64[3]:0..2, [2]"}).of("nonzero argwhere nonzero_numpy", {"[2,3]:-1..1", "[5]:-1..1"}).of("where", {"[2,3]:-1..1"}).of("masked_select", {"[2,3], bool[2,3]", "[2,3], bool[3]"}).refuses("masked_select", {"[2,3], bool[4]", "[2,3], [2,3]"})
      .of("repeat_interleave.Tensor", {"i64[4]:0..3"}).of("repeat_interleave.self_Tensor", {"[4,2], i64[4]:0..3, 0", "[2,2], i64[4]:0..2"}).of("repeat_interleave.self_int", {"[2,3], 2", "[2,3], 3, 1"}).refuses("repeat_interleave.self_Tensor", {"[4,2], i64[3]:0..3, 0", "[4,2], i64[4]=-1, 0", "[4,2], [4], 0"}).refuses("repeat_interleave.self_int", {"[2,3], -1", "[2,3], 2, 2"}).refuses("repeat_interleave.Tensor", {"i64[2]=1|-1", "i64[2,2]:0..1", "[3]"})
      .no_gradients("histc histogram.bin_ct");
}

static const Op* const search_ops[] = {
    &op_search, &op_searchsorted, &op_searchsorted_scalar, &op_bucketize, &op_bucketize_scalar, &op_isin, &op_isin_ts, &op_isin_st,
    &op_histc, &op_histogram, &op_bincount, &op_nonzero, &op_argwhere, &op_nonzero_numpy, &op_where, &op_masked_select, &op_repeats,
    &op_repeat_interleave, &op_repeat_interleave_int};
OpFamily search_family() { return search_ops; }

}  // namespace phlox

// Sorting. The extern ops give positions only; values are read by them, so that gradients are those of a gather.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/small_float.h"
#include "ops/host_dispatch.h"
#include "ops/indexing.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- extern: positions along a dimension

namespace {
// NaN is the greatest.
template <class T>
bool less(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return false;
    if (std::isnan(b)) return true;
  }
  return a < b;
}

// Calls f(first element of the row, step, out row start, out step) for every row along dim.
template <class F>
void for_rows(const Ints& shape, int dim, int64_t out_length, F&& f) {
  int64_t outer = 1, inner = 1;
  for (size_t d = 0; d < shape.size(); ++d) (int(d) < dim ? outer : inner) *= int(d) == dim ? 1 : shape[d];
  const int64_t n = shape.empty() ? 1 : shape[dim];
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) f(o * n * inner + i, o * out_length * inner + i, n, inner);
}

// Values travel with their positions: sorting then reads memory in order.
template <class T>
struct Item { T value; int64_t at; };
template <class T>
void load_row(std::vector<Item<T>>& row, const T* first, int64_t n, int64_t step) {
  row.resize(size_t(n));
  for (int64_t i = 0; i < n; ++i) row[size_t(i)] = {first[i * step], i};
}

// Positions in a tensor like `a`, with `length` of them along dim.
TensorType positions_type(const Val& a, int dim, Dim length) {
  TensorType t = a.type();
  t.strides.clear();
  t.dtype = DType::i64;
  t.weak = false;
  if (t.rank()) t.shape[dim] = length;
  return t;
}
}  // namespace

// self, k, dim, descending: the positions of the first k in order.
static void topk_reference(HostCall& c) {
  const HostTensor& x = c.tensor(0);
  HostTensor& out = c.out[0];
  const int dim = int(c.i(2));
  const bool descending = c.i(3) != 0;
  const int64_t k = out.shape.empty() ? 1 : out.shape[dim];
  with_values(x, [&](auto* v) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(v)>>;
    std::vector<Item<T>> row;
    for_rows(x.shape, dim, k, [&](int64_t in, int64_t to, int64_t n, int64_t step) {
      load_row(row, v + in, n, step);
      auto before = [&](const Item<T>& a, const Item<T>& b) {
        if (descending ? less(b.value, a.value) : less(a.value, b.value)) return true;
        if (descending ? less(a.value, b.value) : less(b.value, a.value)) return false;
        return a.at < b.at;
      };
      if (k < n) std::partial_sort(row.begin(), row.begin() + k, row.end(), before);
      else std::sort(row.begin(), row.end(), before);
      for (int64_t i = 0; i < k; ++i) out.as<int64_t>()[to + i * step] = row[size_t(i)].at;
    });
  });
}
static constexpr Op op_positions{{
    .schema = "prim::sorted_positions(Tensor self, int k, int dim, bool descending) -> Tensor",
    .doc = "The positions along dim of the first k elements in order; NaN counts as the greatest, ties keep their order.",
    .type = [](const Args& a, Types& out) { out.push_back(positions_type(a[0], int(a.i(2)), a.raw(1).as_dim())); },
    .reference = topk_reference,
    .sample = samples,
}};
static Val positions(Val a, int dim, Dim k, bool descending) {
  const Arg args[] = {arg_of(a), Arg::of_dim(k), Arg::of_dim(dim), Arg::of_bool(descending)};
  return a.g->call(op_info(op_positions), args)[0];
}
Val sorted_positions(Val a, int dim, bool descending) {
  const Val x = stop_gradient(a);
  return positions(copy(x), dim, x.rank() ? x.shape()[dim] : Dim(1), descending);
}

// self, k, dim, largest, sorted: the positions of the first k. Where elements are equal, ATen's choice is that of the
// standard library's selection, which knows values only.
static void top_reference(HostCall& c) {
  const HostTensor& x = c.tensor(0);
  HostTensor& out = c.out[0];
  const int dim = int(c.i(2));
  const bool largest = c.i(3) != 0, in_order = c.i(4) != 0;
  const int64_t k = out.shape.empty() ? 1 : out.shape[dim];
  if (k == 0) return;
  with_values(x, [&](auto* v) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(v)>>;
    std::vector<Item<T>> row;
    for_rows(x.shape, dim, k, [&](int64_t in, int64_t to, int64_t n, int64_t step) {
      load_row(row, v + in, n, step);
      auto before = [&](const Item<T>& a, const Item<T>& b) { return largest ? less(b.value, a.value) : less(a.value, b.value); };
      if (k * 64 <= n) {
        std::partial_sort(row.begin(), row.begin() + k, row.end(), before);
      } else {
        std::nth_element(row.begin(), row.begin() + (k - 1), row.end(), before);
        if (in_order) std::sort(row.begin(), row.begin() + (k - 1), before);
      }
      for (int64_t i = 0; i < k; ++i) out.as<int64_t>()[to + i * step] = row[size_t(i)].at;
    });
  });
}
static constexpr Op op_top{{
    .schema = "prim::top_positions(Tensor self, int k, int dim, bool largest, bool sorted) -> Tensor",
    .doc = "The positions along dim of the k largest (or smallest) elements; NaN counts as the greatest.",
    .type = [](const Args& a, Types& out) { out.push_back(positions_type(a[0], int(a.i(2)), a.raw(1).as_dim())); },
    .reference = top_reference,
    .sample = samples,
}};

// Brings the k-th smallest of a row to place k by Hoare's selection with the median of three as pivot. Which of equal
// elements arrives there follows from this very sequence of swaps, which is ATen's.
template <class Entry, class Less>
void select_place(std::vector<Entry>& row, int64_t k, Less&& before) {
  auto swap = [&](int64_t i, int64_t j) { std::swap(row[size_t(i)], row[size_t(j)]); };
  auto greater = [&](int64_t i, int64_t j) { return before(row[size_t(j)], row[size_t(i)]); };
  int64_t left = 0, right = int64_t(row.size()) - 1;
  while (right > left + 1) {
    swap(left + (right - left) / 2, left + 1);
    if (greater(left + 1, right)) swap(left + 1, right);
    if (greater(left, right)) swap(left, right);
    if (greater(left + 1, left)) swap(left + 1, left);
    int64_t i = left + 1, j = right;
    for (;;) {
      do ++i; while (greater(left, i));
      do --j; while (greater(j, left));
      if (j < i) break;
      swap(i, j);
    }
    swap(left, j);
    if (j <= k) left = i;
    if (j >= k) right = j - 1;
  }
  if (right == left + 1 && greater(left, right)) swap(left, right);
}

// self, place (i64, size 1 along dim), dim, hoare
static void place_reference(HostCall& c) {
  const HostTensor &x = c.tensor(0), &place = c.tensor(1);
  int64_t* out = c.out[0].as<int64_t>();
  const bool hoare = c.i(3) != 0;
  with_values(x, [&](auto* v) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(v)>>;
    std::vector<Item<T>> row;
    for_rows(x.shape, int(c.i(2)), 1, [&](int64_t in, int64_t to, int64_t n, int64_t step) {
      const int64_t k = place.as<int64_t>()[to];
      PHLOX_CHECK(k >= 0 && k < n, "place ", k, " of ", n);
      load_row(row, v + in, n, step);
      auto before = [](const Item<T>& a, const Item<T>& b) { return less(a.value, b.value); };
      if (hoare) select_place(row, k, before);
      else std::nth_element(row.begin(), row.begin() + k, row.end(), before);
      int64_t at = row[size_t(k)].at;
      if constexpr (std::is_floating_point_v<T>)
        if (!hoare && std::isnan(row[size_t(k)].value)) for (at = 0; !std::isnan(v[in + at * step]);) ++at;  // the first one
      out[to] = at;
    });
  });
}
static constexpr Op op_place{{
    .schema = "prim::position_at_place(Tensor self, Tensor place, int dim, bool hoare) -> Tensor",
    .doc = "The position along dim of the element that sorting would put at `place`; NaN counts as the greatest.",
    .type = [](const Args& a, Types& out) { out.push_back(positions_type(a[0], int(a.i(2)), 1)); },
    .reference = place_reference,
    .sample = samples,
}};

// Most frequent value of a row, the smallest of them; the position of the last one in the order of std::sort.
static constexpr Op op_mode_position{{
    .schema = "prim::mode_position(Tensor self, int dim) -> Tensor",
    .doc = "The position along dim of the most frequent value (the smallest of several, its last occurrence).",
    .type = [](const Args& a, Types& out) { out.push_back(positions_type(a[0], int(a.i(1)), 1)); },
    .reference = [](HostCall& c) {
      const HostTensor& x = c.tensor(0);
      int64_t* out = c.out[0].as<int64_t>();
      with_values(x, [&](auto* v) {
        using T = std::remove_const_t<std::remove_pointer_t<decltype(v)>>;
        std::vector<Item<T>> row;
        for_rows(x.shape, int(c.i(1)), 1, [&](int64_t in, int64_t to, int64_t n, int64_t step) {
          load_row(row, v + in, n, step);
          std::sort(row.begin(), row.end(), [](const auto& a, const auto& b) { return less(a.value, b.value); });  // as ATen: not stable
          int64_t best = 0, run = 0;
          for (size_t i = 0; i < row.size(); ++i) {
            ++run;
            if (i + 1 < row.size() && row[i].value == row[i + 1].value) continue;
            if (run > best) { best = run; out[to] = row[i].at; }
            run = 0;
          }
        });
      });
    },
    .sample = samples,
}};

// --- ops

static Vals sorted(Val x, int dim, bool descending) {
  const Val p = sorted_positions(x, dim, descending);
  return {gather_along(x, dim, p), p};
}
static constexpr Op op_sort{{
    .schema = "sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor, Tensor)",
    .doc = "The elements in order along dim and where they came from; stable, NaN last.",
    .expand = [](const Args& a) { return sorted(a[0], a.dim(1, a[0].rank()), a.b(2)); },
    .sample = samples,
}};
static constexpr Op op_sort_stable{{
    .schema = "sort.stable(Tensor self, *, bool? stable, int dim=-1, bool descending=False) -> (Tensor, Tensor)",
    .doc = "The elements in order along dim and where they came from; stable, NaN last.",
    .expand = [](const Args& a) { return sorted(a[0], a.dim(2, a[0].rank()), a.b(3)); },
    .sample = samples,
}};
static constexpr Op op_argsort{{
    .schema = "argsort(Tensor self, int dim=-1, bool descending=False) -> Tensor",
    .doc = "The positions that sort self along dim.",
    .expand = [](const Args& a) -> Vals { return {sorted_positions(a[0], a.dim(1, a[0].rank()), a.b(2))}; },
    .sample = samples,
}};
static constexpr Op op_argsort_stable{{
    .schema = "argsort.stable(Tensor self, *, bool stable, int dim=-1, bool descending=False) -> Tensor",
    .doc = "The positions that sort self along dim.",
    .expand = [](const Args& a) -> Vals { return {sorted_positions(a[0], a.dim(2, a[0].rank()), a.b(3))}; },
    .sample = samples,
}};
static constexpr Op op_msort{{
    .schema = "msort(Tensor self) -> Tensor",
    .doc = "self in order along its first dimension.",
    .expand = [](const Args& a) -> Vals { return {sorted(a[0], 0, false)[0]}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_topk{{
    .schema = "topk(Tensor self, int k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor, Tensor)",
    .doc = "The k largest (or smallest) elements along dim, in order, and their positions.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      const int d = a.dim(2, x.rank());
      const int64_t k = a.i(1);
      require(a, k >= 0 && (x.rank() == 0 ? k <= 1 : !dim_lt(x.shape()[d], k)), "k is larger than the dimension", cat(k), shape_of(x));
      const Arg args[] = {arg_of(copy(stop_gradient(x))), Arg::of_dim(k), Arg::of_dim(d), Arg::of_bool(a.b(3)), Arg::of_bool(a.b(4))};
      const Val p = a.builder().call(op_info(op_top), args)[0];
      return {gather_along(x, d, p), p};
    },
    .sample = samples,
}};

// The element at `place` (i64, size 1 along dim) of the sorted order.
static Vals at_place(Val x, int dim, Val place, bool keepdim, bool hoare) {
  const bool scalar = x.rank() == 0;
  if (scalar) x = reshape(x, {1});
  if (place.rank() == 0) place = reshape(place, {1});
  const Arg args[] = {arg_of(copy(stop_gradient(x))), arg_of(copy(place)), Arg::of_dim(dim), Arg::of_bool(hoare)};
  const Val index = x.g->call(op_info(op_place), args)[0];
  const Val v = gather_along(x, dim, index);
  if (scalar) return {reshape(v, {}), reshape(index, {})};
  return {keepdim ? v : squeeze(v, dim), keepdim ? index : squeeze(index, dim)};
}
static Dims kept_shape(Val x, int dim) {
  Dims s = x.shape();
  if (s.empty()) return {1};
  s[dim] = 1;
  return s;
}
static constexpr Op op_kthvalue{{
    .schema = "kthvalue(Tensor self, int k, int dim=-1, bool keepdim=False) -> (Tensor, Tensor)",
    .doc = "The k-th smallest element along dim and its position.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      const int d = a.dim(2, x.rank());
      const int64_t k = a.i(1);
      require(a, k >= 1 && (x.rank() == 0 ? k <= 1 : !dim_lt(x.shape()[d], k)), "k is outside the dimension", cat(k), shape_of(x));
      return at_place(x, d, broadcast_to(full_int(a.builder(), {}, DType::i64, k - 1), kept_shape(x, d)), a.b(3), true);
    },
    .sample = samples,
}};

// The lower of the two middle elements. NaN wins over everything, or does not count.
static Vals median_of(const Args& a, Val x, int dim, bool keepdim, bool skip_nan) {
  if (x.rank() == 0) x = reshape(x, {1});
  require(a, !dim_eq(x.shape()[dim], 0), "the median of nothing is not defined", shape_of(x));
  const Val n = broadcast_to(dim_value(a.builder(), x.shape()[dim], DType::i64), kept_shape(x, dim));
  const Val zero = full_int(a.builder(), {}, DType::i64, 0);
  Val nans = broadcast_to(zero, n.shape());
  if (is_float(x.dtype())) nans = sum(cast(is_nan(x), DType::i64), {dim}, true);
  const Val middle = maximum(floor_div((skip_nan ? n - nans : n) - 1.0, 2), zero);
  Vals r = at_place(x, dim, skip_nan ? middle : where(nans > zero, n - nans, middle), keepdim, false);
  if (a[0].rank() == 0) for (Val& v : r) v = reshape(v, {});
  return r;
}
static Vals whole_median(const Args& a, bool skip_nan) {
  const Val x = a[0];
  if (dim_eq(x.numel(), 0)) return {full(a.builder(), {}, x.dtype(), is_float(x.dtype()) ? NAN : lowest_of(x.dtype()))};
  return {median_of(a, reshape(x, {x.numel()}), 0, false, skip_nan)[0]};
}
static constexpr Op op_median{{
    .schema = "median(Tensor self) -> Tensor",
    .doc = "The middle element, the lower one of two; NaN if there is any.",
    .expand = [](const Args& a) { return whole_median(a, false); },
    .sample = samples,
}};
static constexpr Op op_nanmedian{{
    .schema = "nanmedian(Tensor self) -> Tensor",
    .doc = "The middle element of those that are not NaN.",
    .expand = [](const Args& a) { return whole_median(a, true); },
    .sample = samples,
}};
static constexpr Op op_median_dim{{
    .schema = "median.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor, Tensor)",
    .doc = "The middle element along dim and its position.",
    .expand = [](const Args& a) { return median_of(a, a[0], a.dim(1, a[0].rank()), a.b(2), false); },
    .sample = samples,
}};
static constexpr Op op_nanmedian_dim{{
    .schema = "nanmedian.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor, Tensor)",
    .doc = "The middle element along dim of those that are not NaN, and its position.",
    .expand = [](const Args& a) { return median_of(a, a[0], a.dim(1, a[0].rank()), a.b(2), true); },
    .sample = samples,
}};
static constexpr Op op_mode{{
    .schema = "mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor, Tensor)",
    .doc = "The most frequent value along dim and a position of it.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      if (x.rank() == 0) return {copy(x), full_int(a.builder(), {}, DType::i64, 0)};
      const int d = a.dim(1, x.rank());
      require(a, !dim_eq(x.shape()[d], 0), "the mode of nothing is not defined", shape_of(x));
      const Arg args[] = {arg_of(copy(stop_gradient(x))), Arg::of_dim(d)};
      const Val index = a.builder().call(op_info(op_mode_position), args)[0], v = gather_along(x, d, index);
      return {a.b(2) ? v : squeeze(v, d), a.b(2) ? index : squeeze(index, d)};
    },
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::top_positions", {"f32[2,5]:distinct, 2, 1, True, True"}).of("prim::position_at_place", {"f32[2,5]:distinct, i64[2,1]=1|3, 1, False"});
  s.of("sort argsort", {"[2,5]:distinct", "[4,2]:distinct, 0, True", "[6]=1|0|1|2|0|1!", "[]"}).of("sort.stable", {"[2,5]:distinct, stable=True", "[6]=1|0|1|2|0|1!, stable=True, descending=True"}).of("argsort.stable", {"[2,5]:distinct, stable=True", "[6]=1|0|1|2|0|1!, stable=True, dim=0, descending=True"}).of("msort", {"[4,3]:distinct"}).of("topk", {"[2,5]:distinct, 2", "[5,2]:distinct, 3, 0, False"}).of("kthvalue", {"[2,5]:distinct, 2", "[5,2]:distinct, 3, 0, True"})
      .of("median nanmedian", {"[5]:distinct", "[2,3]:distinct"}).of("median.dim nanmedian.dim", {"[2,5]:distinct, 1", "[4,3]:distinct, 0, True"}).of("mode", {"[2,5]:0..2", "[6]=1|0|1|2|0|1!, 0, True"}).of("prim::sorted_positions", {"f32[2,5]:distinct, 5, 1, False"}).of("prim::mode_position", {"f32[2,5]:0..2, 1"})
      .refuses("sort argsort", {"[2,3], 2"}).refuses("topk", {"[5], 6", "[5], -1", "[5], 2, 1"}).refuses("kthvalue", {"[5], 6", "[5], 0", "[5], 2, 1"}).refuses("median.dim nanmedian.dim", {"[2,5], 2"}).refuses("mode", {"[2,5], 2"});
}

static const Op* const sort_ops[] = {&op_positions, &op_top, &op_place, &op_mode_position, &op_sort, &op_sort_stable, &op_argsort, &op_argsort_stable,
                                     &op_msort, &op_topk, &op_kthvalue, &op_median, &op_nanmedian, &op_median_dim, &op_nanmedian_dim,
                                     &op_mode};
OpFamily sort_family() { return sort_ops; }

}  // namespace phlox

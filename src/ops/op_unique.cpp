// Sets of distinct values: unique and its relatives. Host ops: their sizes depend on the data.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/host_dispatch.h"
#include "ops/indexing.h"

namespace phlox {

static void samples(SampleBuilder& s);

namespace {

// `n` items of `width` values each, compared as rows. Item i holds values at i * width.
template <class T>
bool row_less(const T* a, const T* b, int64_t width) {
  for (int64_t k = 0; k < width; ++k) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a[k]) || std::isnan(b[k])) {
        if (std::isnan(a[k]) && std::isnan(b[k])) continue;
        return std::isnan(b[k]);
      }
    }
    if (a[k] != b[k]) return a[k] < b[k];
  }
  return false;
}
template <class T>
bool row_equal(const T* a, const T* b, int64_t width) {
  for (int64_t k = 0; k < width; ++k) if (!(a[k] == b[k])) return false;
  return true;
}

struct Groups {
  std::vector<int64_t> first;    // an item of each group
  std::vector<int64_t> inverse;  // the group of each item
  std::vector<int64_t> count;
};
template <class T>
Groups group(const T* v, int64_t n, int64_t width, bool sort) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  if (sort) std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return row_less(v + a * width, v + b * width, width); });
  Groups g;
  g.inverse.resize(size_t(n));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = order[size_t(i)];
    if (i == 0 || !row_equal(v + at * width, v + order[size_t(i - 1)] * width, width)) {
      g.first.push_back(at);
      g.count.push_back(0);
    }
    ++g.count.back();
    g.inverse[size_t(at)] = int64_t(g.first.size()) - 1;
  }
  return g;
}

HostTensor i64_tensor(const std::vector<int64_t>& v, const Ints& shape) {
  HostTensor t = make_host_tensor(DType::i64, shape);
  std::copy(v.begin(), v.end(), t.as<int64_t>());
  return t;
}

// x with `dim` in front, as items of equal width; whole elements where dim < 0.
void distinct(HostCall& c, int dim, bool sort, bool inverse, bool counts) {
  const HostTensor& x = c.tensor(0);
  const int64_t bytes = dtype_bytes(x.dtype), total = x.numel();
  const int64_t n = dim < 0 ? total : x.shape[dim], width = dim < 0 ? 1 : n ? total / n : 0;
  HostTensor items = x;
  int64_t inner = 1;
  if (dim >= 0) {
    for (size_t d = size_t(dim) + 1; d < x.shape.size(); ++d) inner *= x.shape[d];
    items = make_host_tensor(x.dtype, x.shape);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t w = 0; w < width; ++w)
        std::memcpy(static_cast<char*>(items.data) + (i * width + w) * bytes,
                    static_cast<const char*>(x.data) + ((w / inner * n + i) * inner + w % inner) * bytes, size_t(bytes));
  }
  Groups g;
  with_values(items, [&](auto* v) { g = group(v, n, width, sort); });
  const int64_t m = int64_t(g.first.size());
  Ints shape{m};
  if (dim >= 0) {
    shape = x.shape;
    shape[dim] = m;
  }
  HostTensor out = make_host_tensor(x.dtype, shape);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t w = 0; w < width; ++w) {
      const int64_t to = dim < 0 ? i : (w / inner * m + i) * inner + w % inner;
      std::memcpy(static_cast<char*>(out.data) + to * bytes,
                  static_cast<const char*>(items.data) + (g.first[size_t(i)] * width + w) * bytes, size_t(bytes));
    }
  c.out[0] = out;
  c.out[1] = i64_tensor(inverse ? g.inverse : std::vector<int64_t>{}, inverse ? (dim < 0 ? x.shape : Ints{n}) : Ints{0});
  if (c.out.size() > 2) c.out[2] = i64_tensor(counts ? g.count : std::vector<int64_t>{}, {counts ? m : 0});
}

void three(const Args& a, Types& out) {
  TensorType t = a[0].type();
  t.strides.clear();
  t.shape = {0};
  out.push_back(t);
  t.dtype = DType::i64;
  out.push_back(t);
  out.push_back(t);
}
void two(const Args& a, Types& out) {
  three(a, out);
  out.pop_back();
}
int dim_of(HostCall& c, int arg) {
  if (c.tensor(0).shape.empty())
    fail(ErrorCode::invalid_argument, {.op = "unique", .fact = "a tensor without dimensions has no slices", .got = cat(c.tensor(0).dtype, "[]"), .expected = "at least 1 dimension"});
  return wrap_dim(c.i(arg), int(c.tensor(0).shape.size()), "unique");
}

}  // namespace

static constexpr Op op_unique2{{
    .schema = "_unique2(Tensor self, bool sorted=True, bool return_inverse=False, bool return_counts=False) -> (Tensor, Tensor, Tensor)",
    .doc = "The distinct values in order, the place of each element among them, and how often each occurs.",
    .type = three,
    .reference = [](HostCall& c) { distinct(c, -1, true, c.i(2) != 0, c.i(3) != 0); },
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_unique{{
    .schema = "_unique(Tensor self, bool sorted=True, bool return_inverse=False) -> (Tensor, Tensor)",
    .doc = "The distinct values in order and the place of each element among them.",
    .type = two,
    .reference = [](HostCall& c) { distinct(c, -1, true, c.i(2) != 0, false); },
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_unique_dim{{
    .schema = "unique_dim(Tensor self, int dim, bool sorted=True, bool return_inverse=False, bool return_counts=False) -> (Tensor, Tensor, Tensor)",
    .doc = "The distinct slices along dim in order, the place of each slice among them, and how often each occurs.",
    .type = three,
    .reference = [](HostCall& c) { distinct(c, dim_of(c, 1), true, c.i(3) != 0, c.i(4) != 0); },
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_unique_consecutive{{
    .schema = "unique_consecutive(Tensor self, bool return_inverse=False, bool return_counts=False, int? dim=None) -> (Tensor, Tensor, Tensor)",
    .doc = "The values without repetitions that follow each other, the run of each element, and the length of each run.",
    .type = three,
    .reference = [](HostCall& c) { distinct(c, c.has(3) ? dim_of(c, 3) : -1, false, c.i(1) != 0, c.i(2) != 0); },
    .effects = Effects::host_read,
    .sample = samples,
}};
static constexpr Op op_unique_dim_consecutive{{
    .schema = "unique_dim_consecutive(Tensor self, int dim, bool return_inverse=False, bool return_counts=False) -> (Tensor, Tensor, Tensor)",
    .doc = "The slices along dim without repetitions that follow each other.",
    .type = three,
    .reference = [](HostCall& c) { distinct(c, dim_of(c, 1), false, c.i(2) != 0, c.i(3) != 0); },
    .effects = Effects::host_read,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("_unique2", {"[8]:0..3, True, True, True", "[2,3]:0..2"}).of("_unique", {"[8]:0..3, True, True"}).of("unique_dim", {"[4,2]:0..1, 0, True, True, True"}).of("unique_consecutive", {"[8]:0..1, True, True", "[4,2]:0..1, True, True, 0"}).of("unique_dim_consecutive", {"[4,2]:0..1, 0, True, True"}).refuses("unique_dim unique_dim_consecutive", {"[4,2], 2"}).no_gradients("_unique2 _unique unique_dim unique_consecutive unique_dim_consecutive");
}

static const Op* const unique_ops[] = {&op_unique2, &op_unique, &op_unique_dim, &op_unique_consecutive, &op_unique_dim_consecutive};
OpFamily unique_family() { return unique_ops; }

}  // namespace phlox

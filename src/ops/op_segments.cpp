// Reductions of runs (segments, bags), sampling by weights, and the Kronecker product.
#include <cmath>

#include "ops/indexing.h"
#include "ops/random.h"
#include "ops/search.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- segment_reduce: data, reduce, lengths, indices, offsets, axis, unsafe, initial

static constexpr Op op_segment_reduce{{
    .schema = "segment_reduce(Tensor data, str reduce, *, Tensor? lengths=None, Tensor? indices=None, Tensor? offsets=None, "
              "int axis=0, bool unsafe=False, Scalar? initial=None) -> Tensor",
    .doc = "Runs along axis, given by their lengths or by offsets, reduced: sum, mean, max, min or prod.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require_float(a, x, "data");
      require(a, a.has(2) != a.has(4), "give either lengths or offsets");
      require(a, !a.has(3), "runs by indices are not defined");
      const int axis = a.dim(5, x.rank());
      Val ends, lengths;
      if (a.has(2)) {
        lengths = cast(a[2], DType::i64);
        ends = scan(lengths, axis, "sum");
      } else {
        const Val o = cast(a[4], DType::i64);
        const Dim n = o.size(axis) - 1;
        ends = slice(o, axis, 1, n);
        lengths = ends - slice(o, axis, 0, n);
      }
      require(a, ends.rank() == axis + 1, "lengths must have the dimensions of data up to axis", shape_of(ends));
      Dims at;
      for (int d = 0; d <= axis; ++d) at.push_back(x.shape()[d]);
      const Val id = search_sorted(ends, iota_like(at, axis, x), true);
      std::vector<Val> index;
      for (int d = 0; d < axis; ++d) index.push_back(iota_like(at, d, x));
      index.push_back(id);
      const std::string_view how = a.s(1);
      const double infinity = __builtin_inf();
      double start = how == "max" ? -infinity : how == "min" ? infinity : how == "prod" ? 1 : 0;
      ScatterMode mode = how == "max" ? ScatterMode::max : how == "min" ? ScatterMode::min : how == "prod" ? ScatterMode::mul : ScatterMode::add;
      require(a, mode != ScatterMode::add || how == "sum" || how == "mean", "unknown reduction", std::string(how), "sum, mean, max, min or prod");
      if (a.has(7)) start = a.f(7);
      // One more place takes what lies behind the last run.
      Dims shape = x.shape();
      const Dim runs = ends.size(axis);
      shape[axis] = runs + 1;
      const Val wide = widen(x);
      Val r = slice(scatter(full(a.builder(), shape, wide.dtype(), start), index, all_dims(axis + 1), wide, mode), axis, 0, runs);
      if (how == "mean") {
        Dims kept = lengths.shape();
        kept.resize(size_t(x.rank()), Dim(1));
        const Val n = reshape(cast(lengths, r.dtype()), kept), none = equal(n, like(n, 0));
        r = where(none, like(r, a.has(7) ? start : NAN), r / where(none, like(n, 1), n));
      }
      return {cast_like(r, x)};
    },
    .static_args = 1 << 7,
    .sample = samples,
}};

// --- embedding_bag: weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, padding_idx

static Vals embedding_bag(const Args& a) {
  const Val w = a[0], index = index_values(a, 1), offsets = index_values(a, 2);
  const int64_t mode = a.i(4);
  require(a, w.rank() == 2 && index.rank() == 1 && offsets.rank() == 1, "weight must be a matrix, indices and offsets vectors",
          cat(shape_of(w), ", ", shape_of(index), ", ", shape_of(offsets)));
  require(a, mode >= 0 && mode <= 2, "unknown mode", cat(mode), "0 (sum), 1 (mean) or 2 (max)");
  require(a, !a.has(6) || mode == 0, "per_sample_weights are defined for mode sum only");
  const Dim bags = a.b(7) ? offsets.size(0) - 1 : offsets.size(0);
  const Val starts = slice(offsets, 0, 0, bags), n = index.rank() ? iota_like(index.shape(), 0, w) : index;
  const Val bag = search_sorted(starts, n, true) - 1.0;
  Val rows = widen(gather(w, {index}, {0})), counts = fill_like(index, 1);
  if (a.b(3)) {
    const Val one = fill_like(rows, 1), used = scatter(full(*w.g, {w.size(0)}, rows.dtype(), 0), {index}, {0}, select_index(one, 1, 0), ScatterMode::add);
    const Val scaled = rows / unsqueeze(gather(used, {index}, {0}), 1);
    rows = stop_gradient(rows) + (scaled - stop_gradient(scaled));
  }
  if (a.has(6)) rows = rows * unsqueeze(widen(a[6]), 1);
  Val kept;
  if (a.size() > 8 && a.has(8)) {
    const Dim given = a.d(8), padding = dim_lt(given, 0) ? given + w.size(0) : given;
    kept = not_equal(index, dim_value(*w.g, padding, DType::i64));
    counts = cast(kept, DType::i64);
    rows = where(unsqueeze(kept, 1), rows, like(rows, mode == 2 ? -__builtin_inf() : 0));
  }
  const Val bag_size = scatter(full(*w.g, {bags}, DType::i64, 0), {bag}, {0}, counts, ScatterMode::add);
  const Val base = full(*w.g, {bags, w.size(1)}, rows.dtype(), mode == 2 ? -__builtin_inf() : 0);
  Val r = scatter(base, {bag}, {0}, rows, mode == 2 ? ScatterMode::max : ScatterMode::add);
  const Val size = unsqueeze(cast(bag_size, rows.dtype()), 1);
  if (mode == 1) r = r / maximum(size, like(size, 1));
  if (mode == 2) r = where(equal(size, like(size, 0)), like(r, 0), r);
  return {cast_like(r, w), bag, bag_size, full(*w.g, {0}, DType::i64, 0)};
}
static constexpr Op op_embedding_bag_padding{{
    .schema = "embedding_bag.padding_idx(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq, int mode, bool sparse, "
              "Tensor? per_sample_weights, bool include_last_offset, SymInt? padding_idx) -> (Tensor, Tensor, Tensor, Tensor)",
    .doc = "Rows of weight by index, each bag of them reduced (mode 0 sum, 1 mean, 2 max); also the bag of each index and the bags' sizes.",
    .expand = embedding_bag,
    .sample = samples,
}};
static constexpr Op op_embedding_bag{{
    .schema = "embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq=False, int mode=0, bool sparse=False, "
              "Tensor? per_sample_weights=None, bool include_last_offset=False) -> (Tensor, Tensor, Tensor, Tensor)",
    .doc = "Rows of weight by index, each bag of them reduced (mode 0 sum, 1 mean, 2 max); also the bag of each index and the bags' sizes.",
    .expand = embedding_bag,
    .sample = samples,
}};
static constexpr Op op_embedding_renorm{{
    .schema = "embedding_renorm(Tensor self, Tensor indices, float max_norm, float norm_type) -> Tensor",
    .doc = "The rows of self that indices name, scaled down to norm max_norm where they are longer.",
    .expand = [](const Args& a) -> Vals {
      require_real(a, a[0], "self");
      require(a, a[0].rank() == 2, "self must be a matrix", shape_of(a[0]));
      const Val w = widen(a[0]), index = index_values(a, 1);
      const double p = a.f(3);
      const Dim n = index.numel();
      const Val used = scatter(full_int(*w.g, {w.size(0)}, DType::boolean, 0), {reshape(index, {n})}, {0},
                               full_int(*w.g, {n}, DType::boolean, 1), ScatterMode::set);
      const Val r = abs_val(w);
      Val norm;
      if (std::isinf(p)) norm = reduce(r, {1}, "max", true);
      else norm = map(Scalar::pow, sum(map(Scalar::pow, r, fill_like(r, p)), {1}, true), full(*w.g, {w.size(0), 1}, w.dtype(), 1 / p));
      const Val too_long = unsqueeze(used, 1) & (norm > like(norm, a.f(2)));
      return {cast_like(where(too_long, w * (like(norm, a.f(2)) / (norm + 1e-7)), w), a[0])};
    },
    .forms = Forms::in_place,
    .sample = samples,
}};

// --- sampling

static constexpr Op op_multinomial{{
    .schema = "multinomial(Tensor self, SymInt num_samples, bool replacement=False, *, Generator? generator=None) -> Tensor",
    .doc = "Positions drawn from each row, with probabilities in proportion to its values.",
    .expand = [](const Args& a) -> Vals {
      const Val given = widen(a[0]);
      require_float(a, a[0], "self");
      require(a, given.rank() == 1 || given.rank() == 2, "weights must be a vector or a matrix", shape_of(given));
      if (!dim_lt(0, a.d(1))) a.error("there must be samples to draw", cat(a.d(1)), "1 or more");
      const Val p = given.rank() == 1 ? unsqueeze(given, 0) : given;
      const Dim rows = p.size(0), classes = p.size(1), n = a.d(1);
      Val r;
      if (a.b(2)) {
        const Val sums = scan(p, 1, "sum"), total = slice(sums, 1, classes - 1, 1);
        const Val u = uniform_values(a.random_state(), {rows, n}, p.dtype(), 0);
        r = minimum(search_sorted(sums, u * total, true), dim_value(*p.g, classes - 1, DType::i64));
      } else {
        if (dim_lt(classes, n)) a.error("there are fewer classes than samples without replacement", cat(n), cat("at most ", classes));
        // The n greatest of p / exponential numbers are such a sample.
        const Val u = uniform_values(a.random_state(), p.shape(), p.dtype(), 0), e = -log_val(1.0 - u);
        r = slice(sorted_positions(p / e, 1, true), 1, 0, n);
      }
      return {given.rank() == 1 ? squeeze(r, 0) : r};
    },
    .forms = Forms::out,
    .effects = Effects::random,
    .sample = samples,
}};

static constexpr Op op_kron{{
    .schema = "kron(Tensor self, Tensor other) -> Tensor",
    .doc = "The Kronecker product: every element of self times all of other.",
    .expand = [](const Args& a) -> Vals {
      Val x = a[0], y = a[1];
      const int n = std::max(x.rank(), y.rank());
      Dims sx, sy, joined;
      for (int d = 0; d < n; ++d) {
        const int i = d - (n - x.rank()), j = d - (n - y.rank());
        const Dim p = i < 0 ? Dim(1) : x.shape()[i], q = j < 0 ? Dim(1) : y.shape()[j];
        for (Dim k : {p, Dim(1)}) sx.push_back(k);
        for (Dim k : {Dim(1), q}) sy.push_back(k);
        joined.push_back(p * q);
      }
      const Val both[] = {x, y};
      const bool bools = is_bool(result_dtype(both));
      return {reshape(binary("kron", bools ? Scalar::band : Scalar::mul, reshape(x, sx), reshape(y, sy)), joined)};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_histogram_bins{{
    .schema = "histogram.bins_tensor(Tensor self, Tensor bins, *, Tensor? weight=None, bool density=False) -> (Tensor, Tensor)",
    .doc = "How many elements fall between the given edges; density scales the histogram to an integral of 1.",
    .expand = [](const Args& a) -> Vals {
      const Val x = reshape(a[0], {a[0].numel()}), edges = a[1];
      require_float(a, x, "self");
      require(a, edges.rank() == 1, "bins must be a vector of edges", shape_of(edges));
      const Dim n = edges.size(0) - 1;
      const Val low = select_index(edges, 0, 0), high = select_index(edges, 0, n);
      const Val inside = (x >= low) & (x <= high);
      const Val bin = minimum(search_sorted(edges, x, true) - 1.0, dim_value(*x.g, n - 1, DType::i64));
      const Val w = a.has(2) ? reshape(a[2], {x.numel()}) : fill_like(x, 1);
      const Val at = where(inside, bin, full_int(*x.g, {}, DType::i64, 0));
      Val h = scatter(full(*x.g, {n}, x.dtype(), 0), {at}, {0}, where(inside, w, like(w, 0)), ScatterMode::add);
      if (a.b(3)) h = h / (sum(h, {0}) * (slice(edges, 0, 1, n) - slice(edges, 0, 0, n)));
      return {h, copy(edges)};
    },
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("segment_reduce", {"[6,2], 'sum', lengths=i64[3]=2|1|3", "[6], 'mean', offsets=i64[4]=0|2|3|6", "[6]:distinct, 'max', lengths=i64[2]=4|2, initial=1"}).refuses("segment_reduce", {"[6], 'best', lengths=i64[2]=4|2", "[6], 'sum'", "[6], 'sum', lengths=i64[2]=4|2, axis=1"})
      .of("embedding_bag.padding_idx", {"[5,3], i64[4]:0..4, i64[2]=0|2, False, 0, False, None, False, None", "[5,3], i64[4]:0..4, i64[2]=0|1, False, 1, False, None, False, 1"}).of("embedding_bag", {"[5,3], i64[4]:0..4, i64[2]=0|2", "[5,3], i64[4]:0..4, i64[2]=0|2, False, 1", "[5,3], i64[4]:0..4, i64[2]=0|2, False, 0, False, [4]"}).refuses("embedding_bag", {"[5], i64[4]:0..4, i64[2]=0|2", "[5,3], i64[4]:0..4, i64[2]=0|2, False, 3", "[5,3], i64[4]:0..4, i64[2]=0|2, False, 1, False, [4]"})
      .of("embedding_renorm", {"[5,3], i64[3]=0|2|2, 1, 2"}).of("multinomial", {"[3,4]:0.1..1, 2", "[4]:0.1..1, 6, True"}).refuses("multinomial", {"[3,4]:0.1..1, 5", "[2,3,4]:0.1..1, 2", "[4]:0.1..1, 0"}).of("kron", {"[2,3], [3,2]", "[3], [2,2]"}).of("histogram.bins_tensor", {"[8], [4]=-2|-1|0.5|2!", "[8], [4]=-2|-1|0.5|2!, weight=[8]:0..1, density=True"}).refuses("histogram.bins_tensor", {"[8], [2,2]"})
      .no_gradients("histogram.bins_tensor embedding_renorm");
}

static const Op* const segments_ops[] = {&op_segment_reduce, &op_embedding_bag_padding, &op_embedding_bag, &op_embedding_renorm,
                                         &op_multinomial, &op_kron, &op_histogram_bins};
OpFamily segments_family() { return segments_ops; }

}  // namespace phlox

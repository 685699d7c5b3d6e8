// Running reductions along a dimension.
#include <cmath>

#include "ops/arith.h"
#include "ops/complex.h"

namespace phlox {

static void samples(SampleBuilder& s);

static DType running_dtype(const Args& a, int dtype, DType of) {
  return a.dtype(dtype).value_or(is_float(of) || is_complex(of) ? of : DType::i64);
}
static Vals cumsum_rule(const Args& a) {
  const Val x = cast(a[0], running_dtype(a, 2, a[0].dtype()));
  const int d = a.dim(1, x.rank());
  return {x.rank() == 0 ? copy(x) : scan(x, d, "sum")};
}
static Vals cumprod_rule(const Args& a) {
  const Val x = cast(a[0], running_dtype(a, 2, a[0].dtype()));
  const int d = a.dim(1, x.rank());
  return {x.rank() == 0 ? copy(x) : scan(x, d, "prod")};
}

// The running extreme and its latest position; from the first NaN on, NaN. The gradient goes to that position.
template <bool largest>
static Vals running_extreme(const Args& a) {
  const Val x = a[0];
  const int d = a.dim(1, x.rank());
  if (x.rank() == 0) return {copy(x), full_int(a.builder(), {}, DType::i64, 0)};
  const Val best = scan(stop_gradient(x), d, largest ? "max" : "min");
  Val hit = map(Scalar::eq, x, best);
  if (is_float(x.dtype())) hit = map(Scalar::bor, hit, is_nan(x));
  const Val at = iota(a.builder(), x.shape(), d, DType::i64);
  const Val index = scan(select(hit, at, constant_like(at, 0)), d, "max");
  return {take_along(x, index, d), index};
}

// Sums of exp(x - top) in f64, whose range holds differences of up to 700 from the largest element.
static Vals logcumsumexp_rule(const Args& a) {
  const Val x = cast(a[0], is_complex(a[0].dtype()) ? DType::c128 : DType::f64);
  const int d = a.dim(1, x.rank());
  if (x.rank() == 0 || dim_eq(x.size(d), 0)) return {copy(a[0])};
  Val top = stop_gradient(reduce(real_part(x), {d}, "max", true));
  const Val finite = map(Scalar::lt, map(Scalar::abs, top), constant_like(top, INFINITY));
  top = select(finite, top, constant_like(top, 0));
  return {cast(map(Scalar::log, scan(map(Scalar::exp, x - top), d, "sum")) + top, to_floating(a[0].dtype()))};
}

#define EACH_SCAN(X)                                                                                                          \
  X(cumsum, "cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor", "Running sums.", cumsum_rule, Forms::both)   \
  X(cumprod, "cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor", "Running products.", cumprod_rule, Forms::both) \
  X(cummax, "cummax(Tensor self, int dim) -> (Tensor values, Tensor indices)", "The largest so far and its latest position.", running_extreme<true>, Forms::out) \
  X(cummin, "cummin(Tensor self, int dim) -> (Tensor values, Tensor indices)", "The smallest so far and its latest position.", running_extreme<false>, Forms::out) \
  X(logcumsumexp, "logcumsumexp(Tensor self, int dim) -> Tensor", "The logarithm of running sums of exp.", logcumsumexp_rule, Forms::out)
#define SCAN(id, schema_text, text, rule, which) \
  static constexpr Op op_##id{{.schema = schema_text, .doc = text, .expand = rule, .forms = which, .sample = samples}};
EACH_SCAN(SCAN)

// --- samples

static void samples(SampleBuilder& s) {
  s.of("cumsum cumprod logcumsumexp", {"[2,3]:0.5..2, 1", "[2,3]:0.5..2, 0", "[]:1..2, 0"}).of("cummax cummin", {"[2,4]:distinct, 1", "[4,2]:distinct, 0"})
      .refuses("cumsum cumprod logcumsumexp cummax cummin", {"[2,3], 2", "[2,3], -3"});
}

static const Op* const scan_ops[] = {
#define LIST(id, ...) &op_##id,
    EACH_SCAN(LIST)};
OpFamily scan_family() { return scan_ops; }

}  // namespace phlox

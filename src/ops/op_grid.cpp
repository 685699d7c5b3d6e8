// Sampling of images at the positions of a grid.
#include "ops/indexing.h"

namespace phlox {

static void samples(SampleBuilder& s);

namespace {
enum class Border { zeros, border, reflection };
}  // namespace

// From [-1, 1] to element positions.
static Val unnormalize(Val g, Dim n, bool align) {
  const Val size = dim_value(*g.g, n, g.dtype());
  return align ? (g + 1.0) / 2.0 * (size - 1.0) : ((g + 1.0) * size - 1.0) / 2.0;
}
// Mirrored at twice_low / 2 and twice_high / 2 as often as needed.
static Val reflect(Val x, Val twice_low, Val twice_high) {
  const Val low = twice_low / 2.0, span = (twice_high - twice_low) / 2.0;
  const Val away = abs_val(x - low), safe = where(equal(span, like(span, 0)), like(span, 1), span);
  const Val turns = stop_gradient(map(Scalar::floor, away / broadcast_to(safe, away.shape()))), extra = away - turns * safe;
  const Val even = equal(turns - map(Scalar::floor, turns / 2.0) * 2.0, like(turns, 0));
  const Val r = where(even, extra + low, span - extra + low);
  return where(equal(span, like(span, 0)), x * 0.0, r);
}
static Val limit(Val x, Dim n) {
  const Val zero = like(x, 0), last = dim_value(*x.g, n - 1, x.dtype());
  // The gradient is 0 at and outside of the limits.
  return where(x <= zero, zero, where(x >= last, last, x));
}
static Val placed(Val x, Dim n, Border border, bool align) {
  if (border == Border::border) return limit(x, n);
  if (border == Border::reflection) {
    const Val size = dim_value(*x.g, n, x.dtype());
    x = align ? reflect(x, like(x, 0), (size - 1.0) * 2.0) : reflect(x, like(x, -1), size * 2.0 - 1.0);
    return limit(x, n);
  }
  return x;
}

// Elements of x[N, C, S...] at integer positions (as floats); 0 outside. at: [N, O...] a spatial dim.
static Val fetch(Val x, const std::vector<Val>& at) {
  const int n = int(at.size());
  Val inside;
  std::vector<Val> index{iota_like(at[0].shape(), 0, x)};
  Ints dims{0};
  for (int s = 0; s < n; ++s) {
    const Val zero = like(at[s], 0), size = dim_value(*x.g, x.shape()[2 + s], at[s].dtype());
    const Val ok = (at[s] >= zero) & (at[s] < size);
    inside = inside ? inside & ok : ok;
  }
  for (int s = 0; s < n; ++s) {
    index.push_back(cast(where(inside, at[s], like(at[s], 0)), DType::i64));
    dims.push_back(2 + s);
  }
  const Val v = gather(x, index, dims);  // [N, O..., C]
  const Val r = where(unsqueeze(inside, inside.rank()), v, like(v, 0));
  Ints perm{0, r.rank() - 1};
  for (int d = 1; d + 1 < r.rank(); ++d) perm.push_back(d);
  return permute(r, perm);
}

// The cubic convolution weights (a = -0.75) of the four neighbours at distance t from the second.
static Val cubic_weight(Val t, int k) {
  const Val d = k == 0 ? t + 1.0 : k == 1 ? t : k == 2 ? 1.0 - t : 2.0 - t;
  if (k == 1 || k == 2) return ((d * 1.25 - 2.25) * d) * d + 1.0;
  return ((d * -0.75 + 3.75) * d - 6.0) * d + 3.0;
}

// input[N, C, S...], grid[N, O..., n] with x first; interpolation 0 linear, 1 nearest, 2 cubic
static Vals sample(const Args& a) {
  const Val given = a[0], grid = widen(a[1]), x = widen(given);
  require_float(a, given, "input");
  const int n = x.rank() - 2;
  require(a, (n == 2 || n == 3) && grid.rank() == x.rank() && dim_eq(grid.size(-1), n), "grid must be [N, out sizes..., spatial dims]",
          cat(shape_of(given), " and ", shape_of(grid)));
  require(a, dim_eq(grid.size(0), x.size(0)), "input and grid have different batch sizes", cat(shape_of(given), " and ", shape_of(grid)));
  require(a, a.i(2) >= 0 && a.i(2) <= 2 && a.i(3) >= 0 && a.i(3) <= 2, "unknown interpolation or padding mode", cat(a.i(2), " and ", a.i(3)));
  require(a, !(a.i(2) == 2 && n == 3), "cubic interpolation is defined for images only");
  const Border border = Border(a.i(3));
  const bool align = a.b(4);
  std::vector<Val> raw, at;
  for (int s = 0; s < n; ++s) {
    raw.push_back(unnormalize(select_index(grid, grid.rank() - 1, n - 1 - s), x.shape()[2 + s], align));
    at.push_back(placed(raw.back(), x.shape()[2 + s], border, align));
  }
  auto weigh = [&](Val w) { return unsqueeze(w, 1); };
  if (a.i(2) == 1) {
    for (Val& p : at) p = map(Scalar::round, p);
    return {cast_like(fetch(x, at), given)};
  }
  Val total;
  auto add = [&](Val term) { total = total ? total + term : term; };
  if (a.i(2) == 0) {
    std::vector<Val> base, t;
    for (const Val& p : at) {
      base.push_back(stop_gradient(map(Scalar::floor, p)));
      t.push_back(p - base.back());
    }
    for (int corner = 0; corner < 1 << n; ++corner) {
      std::vector<Val> place;
      Val w;
      for (int s = 0; s < n; ++s) {
        const bool up = corner >> (n - 1 - s) & 1;
        place.push_back(up ? base[s] + 1.0 : base[s]);
        const Val part = up ? t[s] : 1.0 - t[s];
        w = w ? w * part : part;
      }
      add(fetch(x, place) * weigh(w));
    }
    return {cast_like(total, given)};
  }
  std::vector<Val> base, t;
  for (const Val& p : raw) {
    base.push_back(stop_gradient(map(Scalar::floor, p)));
    t.push_back(p - base.back());
  }
  for (int i = 0; i < 4; ++i) {
    Val row;
    for (int j = 0; j < 4; ++j) {
      const std::vector<Val> place{placed(base[0] + double(i - 1), x.size(2), border, align), placed(base[1] + double(j - 1), x.size(3), border, align)};
      const Val term = fetch(x, place) * weigh(cubic_weight(t[1], j));
      row = row ? row + term : term;
    }
    add(row * weigh(cubic_weight(t[0], i)));
  }
  return {cast_like(total, given)};
}
#define GRID_SAMPLER(name, text)                                                                                            \
  static constexpr Op op_##name{{                                                                                           \
      .schema = #name "(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners) -> Tensor", \
      .doc = text, .expand = sample, .autocast = Autocast::promote, .sample = samples}};
GRID_SAMPLER(grid_sampler, "input at the positions of grid (x first, from -1 to 1): interpolation 0 linear, 1 nearest, 2 cubic; padding 0 zeros, 1 border, 2 reflection.")
GRID_SAMPLER(grid_sampler_2d, "grid_sampler of images.")
GRID_SAMPLER(grid_sampler_3d, "grid_sampler of volumes.")

// --- samples

static void samples(SampleBuilder& s) {
  s.of("grid_sampler grid_sampler_2d", {"[2,3,4,5], [2,3,2,2]:-0.9..0.9, 0, 0, False", "[2,3,4,5], [2,3,2,2]:-1.4..1.4, 0, 1, True", "[1,2,4,4], [1,2,2,2]:-0.9..0.9, 2, 2, False", "[1,2,4,4], [1,2,2,2]:-0.9..0.9, 1, 0, False"}).of("grid_sampler grid_sampler_3d", {"[1,2,3,4,3], [1,2,2,2,3]:-0.9..0.9, 0, 0, False"})
      .refuses("grid_sampler grid_sampler_2d", {"[2,3,4,5], [1,3,2,2], 0, 0, False", "[2,3,4,5], [2,3,2,3], 0, 0, False", "[2,3,4,5], [2,3,2,2], 5, 0, False", "[2,3,4,5], [2,3,2,2], 0, 7, False", "[3,4], [2,2], 0, 0, False"});
}

static const Op* const grid_ops[] = {&op_grid_sampler, &op_grid_sampler_2d, &op_grid_sampler_3d};
OpFamily grid_family() { return grid_ops; }

}  // namespace phlox

#include "providers/gemm_plan.h"

#include <algorithm>

namespace phlox {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The widest panel (in vectors) for tiles of this height: rows * width sums, width of B and one broadcast in registers.
int widest(int registers, int height) {
  const int most = std::min((registers - 1) / (height + 1), 8);
  if (height > 6) return std::min(most, 3);
  if (height > 3) return std::min(most, std::max(3, registers / 2 / height));
  return most;
}

struct Shape {
  int64_t m, n, k, batch;
  int lanes, registers;
};

// Cycles of one k step of a tile: two multiply-adds and two loads a cycle, latency 4.
double step_cycles(int64_t h, int64_t w) { return std::max({double(h * w) / 2, double(h + w) / 2, 4.0}); }

double rows_cycles(const Shape& s, int64_t rows, int64_t columns, int mr, bool strided) {
  const int64_t tiles = ceil_div(rows, mr), low = rows / tiles, high = rows % tiles;
  const int64_t w_most = widest(s.registers, int(low + (high != 0)));
  double cost = 0;
  for (int64_t left = ceil_div(columns, s.lanes); left > 0;) {
    const int64_t w = left >= 2 * w_most ? w_most : left > w_most ? (left + 1) / 2 : left;
    const int64_t same = left >= 4 * w_most ? (left - 2 * w_most) / w_most : 1;
    for (int64_t q = 0; q < 2; ++q) {
      const int64_t h = low + q, count = q ? high : tiles - high;
      cost += double(same * count) * (step_cycles(h, w) * (strided && h > 9 ? 1.04 : 1.0) * double(s.k) +
                                      (30.0 + double(h * w)) * double(ceil_div(s.k, chain_chunk)));
    }
    left -= same * w;
  }
  return cost;
}

int best_height(const Shape& s, int64_t rows, int64_t columns, bool strided, double& cost) {
  int best = 1;
  cost = 1e300;
  const int most = s.registers == 32 ? 14 : 6, least = s.registers == 32 ? 8 : 4;
  for (int mr = most; mr >= least; --mr) {
    const double c = rows_cycles(s, rows, columns, mr, strided);
    if (c < cost * 0.985) cost = c, best = mr;
  }
  return best;
}

// The tiles that blocks of a fixed size need.
void collect_tiles(const Shape& s, GemmPlan& p) {
  std::vector<char> heights(64), widths(16);
  const int64_t blocks_m = p.row_blocks.value(), blocks_n = p.column_blocks.value(), vectors = ceil_div(s.n, s.lanes);
  int h_most = 1;
  for (int64_t i = 0; i < blocks_m; ++i) {
    const int64_t rows = s.m * (i + 1) / blocks_m - s.m * i / blocks_m;
    if (rows == 0) continue;
    const int64_t tiles = ceil_div(rows, p.mr), low = rows / tiles;
    heights[size_t(low)] = 1;
    if (rows % tiles) heights[size_t(low) + 1] = 1;
    h_most = std::max(h_most, int(low + (rows % tiles != 0)));
    p.most_rows = std::max(p.most_rows, rows);
  }
  p.width = widest(s.registers, h_most);
  for (int64_t i = 0; i < blocks_n; ++i) {
    const int64_t v = vectors * (i + 1) / blocks_n - vectors * i / blocks_n;
    if (v == 0) continue;
    const int64_t rest = v % p.width;
    if (v > p.width * (rest ? 2 : 1) || rest == 0) widths[size_t(p.width)] = 1;
    if (rest && v < p.width) widths[size_t(v)] = 1;
    if (rest && v > p.width) widths[size_t(p.width + rest + 1) / 2] = widths[size_t(p.width + rest) / 2] = 1;
    p.most_columns = std::max(p.most_columns, v * s.lanes);
  }
  for (int h = 1; h < 64; ++h) if (heights[size_t(h)]) p.heights.push_back(h);
  for (int w = 1; w < 16; ++w) if (widths[size_t(w)]) p.widths.push_back(w);
}

void plan_fixed(const Contraction& c, const Target& target, const Shape& s, GemmPlan& p) {
  const bool wide = s.registers == 32;
  const int64_t threads = std::max(1, target.threads);
  const int64_t want = s.batch >= 2 * threads || threads == 1 ? 1 : ceil_div(threads, std::max<int64_t>(s.batch, 1));
  const double cycles = double(s.m) * double(s.n) * double(s.k) * double(s.batch) / (2.0 * s.lanes);
  const int64_t goal = cycles < 6000 ? 1 : want;  // below some microseconds a fork costs more than it gives
  // Sums that are no results lie in scratch memory, a quarter of a million of them.
  const int64_t rows_most = c.in_place < 0 ? std::clamp<int64_t>(262144 / std::min<int64_t>(s.n, 1024), 256, 1024) : 1024, columns_most = c.in_place < 0 ? 1024 : s.m <= 256 ? 8192 : 1024;
  const int64_t pm0 = std::max<int64_t>(1, ceil_div(s.m, rows_most)), pn0 = std::max<int64_t>(1, ceil_div(s.n, columns_most));
  const bool a_rows = c.a.plain && c.a.step.is(1), a_columns = c.a.plain && c.a.row.is(1), b_unit = c.b.plain && c.b.row.is(1);
  const auto fixed = [](Dim d) { return d.is_const() ? d.value() : 1024; };
  const int64_t a_stride = fixed(a_rows ? c.a.row : c.a.step), b_stride = fixed(c.b.step), chunk = std::min(s.k, chain_chunk);
  const double bytes = (double(s.m) * double(s.k) + double(s.k) * double(s.n) + double(s.m) * double(s.n)) * double(s.batch) * (wide ? 64 : 32) / s.lanes;
  const bool far = bytes > double(target.l2_bytes) / 2;
  double best = 1e300;
  for (int64_t pm = pm0; pm <= std::max(pm0, goal); ++pm)
    for (int64_t pn = pn0; pn <= std::max(pn0, goal); ++pn) {
      if (pm * pn < goal || (pm > pm0 && pn > pn0 && (pm - 1) * pn >= goal && pm * (pn - 1) >= goal)) continue;
      const int64_t rows = ceil_div(s.m, pm), columns = std::min(s.n, ceil_div(ceil_div(s.n, s.lanes), pn) * s.lanes);
      // In place: A while its rows do not collide in L1 and few panels read it again; B while few tiles do.
      const bool collide = a_stride % 1024 == 0 && chunk > 32;
      const bool a_direct = (a_rows || a_columns) &&
                            (s.k <= 64 || (rows <= 32 && a_rows) ||
                             (columns <= (wide ? 384 : 256) && !collide && (a_rows || (a_stride * chunk <= 65536 && s.k <= 512))));
      const bool b_direct = b_unit && rows <= (wide ? 384 : 256) && !((b_stride % 512 == 0 || b_stride * chunk > 131072) && rows > 28);
      double cost;
      const int mr = best_height(s, rows, columns, a_direct && a_rows, cost);
      const double share = 16.0 / s.lanes;
      cost += (a_direct ? 0 : 0.36 * share * double(rows) * double(s.k)) +
              (b_direct ? 0 : (b_unit ? 0.3 : 0.5) * double(columns) * double(s.k));
      // What does not fit into a near cache comes from afar.
      if (far) cost += 0.3 * (double(rows + columns) * double(s.k) + double(rows) * double(columns));
      const double total = cost * double(ceil_div(pm * pn * s.batch, threads));
      if (total >= best * 0.995) continue;
      best = total;
      p.row_blocks = pm;
      p.column_blocks = pn;
      p.mr = mr;
      p.direct_a = a_direct;
      p.direct_b = b_direct;
    }
  collect_tiles(s, p);
  // Packed rows of A in an eighth of the near cache, in equal parts; all of them where they fit into a quarter: then B is
  // packed into the nearest cache and nowhere else.
  const int64_t tiles = ceil_div(p.most_rows, p.mr), part = std::max<int64_t>(1, std::max<int64_t>(96, std::min<int64_t>(256, target.l2_bytes / 8 / 1024)) / p.mr);
  p.sub_tiles = tiles * p.mr * 1024 <= target.l2_bytes / 4 ? std::max(part, tiles) : ceil_div(tiles, ceil_div(tiles, part));
  // What lies in a near cache as a whole needs no fetching ahead.
  p.prefetch = p.direct_a ? a_rows && far : true;
  p.item_cost = std::max<int64_t>(1, int64_t(best / 3 / double(std::max<int64_t>(1, ceil_div((p.row_blocks * p.column_blocks).value() * s.batch, threads)))));
}

// All sizes: full tiles and for what is left one of few heights (rows more are computed and not stored), one width, A
// always packed.
void plan_any(const Contraction& c, const Target& target, const Shape& s, GemmPlan& p) {
  p.any_size = true;
  p.mr = s.registers == 32 ? 14 : 6;
  p.width = 2;
  p.widths.push_back(2);
  for (int h : {2, 4, 6, 8, 11, 14})
    if (h <= p.mr && (p.mr == 14 ? h % 2 == 1 || h == 4 || h == 8 || h == 14 : true)) p.heights.push_back(h);
  p.direct_b = c.b.plain && c.b.row.is(1);
  // The more rows, the less often columns of B are packed again; but half a near cache of packed A was slower than a quarter.
  p.most_rows = p.mr * (target.l2_bytes >= 1 << 20 ? ceil_div(256, p.mr) : 252 / p.mr);
  p.most_columns = 1024;
  p.sub_tiles = p.most_rows / p.mr;
  // Enough blocks for the threads, but none of less than some microseconds; rows are cut first, because blocks side by side
  // would each pack the same rows.
  const Dim m = c.m_size, n = c.n_size, work = m * n * c.k_size;
  const Dim parts = max(Dim(1), min(Dim(std::max(1, target.threads)), floordiv(work, Dim(1 << 17))));
  const Dim along = max(ceildiv(parts * m, max(m + n, Dim(1))), min(parts, floordiv(m, Dim(32))));
  p.row_blocks = max(ceildiv(m, p.most_rows), min(along, ceildiv(m, Dim(16))));
  p.column_blocks = max(ceildiv(n, p.most_columns), min(ceildiv(parts, max(p.row_blocks, Dim(1))), ceildiv(n, Dim(2 * s.lanes))));
  // As many blocks for each thread: more blocks of rows where there are several, else more of columns.
  const auto share = [&](Dim mine, Dim others) { return ceildiv(ceildiv(mine * others, parts) * parts, max(others, Dim(1))); };
  const Dim several = min(max(p.row_blocks - Dim(1), Dim(0)), Dim(1));
  p.row_blocks = p.row_blocks + (share(p.row_blocks, p.column_blocks) - p.row_blocks) * several;
  p.column_blocks = share(p.column_blocks, p.row_blocks);
  p.item_cost = 4000;  // more than one block only where each is worth a thread
}

}  // namespace

bool plan_gemm(const Contraction& c, const Target& target, GemmPlan& p, std::string& refusal) {
  const int bytes = int(dtype_bytes(c.dtype));
  if (target.kind != DeviceKind::cpu) { refusal = "the target is no CPU"; return false; }
  const bool wide = target.vector_bits >= 512 && target.has("avx512f");
  if (!wide && !(target.vector_bits >= 256 && target.has("avx2") && target.has("fma"))) {
    refusal = "the target has neither AVX-512 nor AVX2 with FMA";
    return false;
  }
  p.lanes = (wide ? 64 : 32) / bytes;
  p.registers = wide ? 32 : 16;
  const bool fixed = c.m_size.is_const() && c.n_size.is_const() && c.k_size.is_const() && c.batch_size.is_const();
  const Shape s{size_hint(c.m_size), size_hint(c.n_size), size_hint(c.k_size), size_hint(c.batch_size), p.lanes, p.registers};
  if (fixed && (s.m == 0 || s.n == 0 || s.k == 0 || s.batch == 0)) { refusal = "it is empty"; return false; }
  // Columns that are computed while they are packed pay when several rows use them.
  if (c.m_size.is_const() && s.m < 2 && !c.b.plain) { refusal = "a single row for columns that are gathered"; return false; }
  if (fixed) plan_fixed(c, target, s, p);
  else plan_any(c, target, s, p);
  // A few rows: B is read once, so it is neither packed nor kept.
  const bool by_rows = c.b.plain && c.b.step.is(1) && c.a.plain && c.a.step.is(1), by_columns = c.b.plain && c.b.row.is(1) && c.a.plain;
  if (by_rows || by_columns) {
    p.few_rows_limit = p.any_size ? 2 : 4;
    p.few_rows = !fixed || s.m <= p.few_rows_limit;
  }
  return true;
}

}  // namespace phlox

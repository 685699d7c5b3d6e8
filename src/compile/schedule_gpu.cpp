#include "compile/schedule_gpu.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "compile/schedule.h"
#include "kernel/body.h"

namespace phlox {

int64_t gpu_size_hint(Dim d) {
  return std::max<int64_t>(1, d.is_const() ? d.value() : current_dim_env() ? dim_hint(d) : 1024);
}
static int chip(const Target& t) {
  int version = 0;
  if (t.arch.starts_with("sm_")) std::from_chars(t.arch.data() + 3, t.arch.data() + t.arch.size(), version);
  return version;
}
bool starts_early(const Target& t) { return chip(t) >= 90; }
static bool has_clusters(const Target& t) { return chip(t) >= 90; }
int gpu_processors(const Target& t) { return t.threads > 1 ? t.threads : 132; }

namespace {

int64_t points_hint(const Loop& loop, AxisMask axes) {
  int64_t n = 1;
  for (AxisMask m = axes; m; m &= m - 1)
    n = std::min<int64_t>(n * gpu_size_hint(loop.axes[size_t(std::countr_zero(m))].extent), int64_t(1) << 40);
  return n;
}

// How well threads that are neighbours along an axis meet memory.
int access_score(const Loop& loop, const std::vector<char>& live, int axis) {
  const auto one = [&](ValueId address) {
    const auto step = BodyLowering::step_along(loop, address, axis);
    return !step ? -8 : step->is(1) ? 8 : step->is(0) ? 1 : -8;
  };
  int score = 0;
  for (size_t v = 0; v < loop.insts.size(); ++v)
    if (live[v] && loop.insts[v].op == Scalar::load) score += one(loop.insts[v].operand[0]);
  for (const Store& s : loop.stores) score += one(s.address);
  return score;
}

// What must be a multiple of the lanes for address(first lane) to be one; false where that cannot be said.
bool multiples_of(const Loop& loop, ValueId v, int axis, Dim k, std::vector<Dim>& out) {
  const Inst& i = loop.insts[v];
  const auto constant_of = [&](ValueId o) -> std::optional<Dim> {
    const Inst& c = loop.insts[o];
    if (c.op == Scalar::constant) return Dim(c.imm);
    if (c.op == Scalar::dim) return Dim::from_raw(c.imm);
    return std::nullopt;
  };
  if (const auto c = constant_of(v)) {
    out.push_back(*c * k);
    return true;
  }
  if (i.op == Scalar::axis && i.imm == axis) return k.is(1);
  if ((i.op == Scalar::add || i.op == Scalar::sub) && i.dtype == DType::i64)
    return multiples_of(loop, i.operand[0], axis, k, out) && multiples_of(loop, i.operand[1], axis, k, out);
  if (i.op == Scalar::mul)
    for (int n = 0; n < 2; ++n)
      if (const auto c = constant_of(i.operand[n])) return multiples_of(loop, i.operand[1 - n], axis, k * *c, out);
  out.push_back(k);
  return !(loop.depends[v] >> axis & 1);
}

// Which accesses may be wide, how wide, and on what condition.
void choose_lanes(const Loop& loop, const std::vector<char>& live, GpuPlan& p) {
  p.by_lane.assign(loop.insts.size(), 0);
  p.lanes = 1;
  const int axis = p.vector_axis;
  if (axis < 0) return;
  struct Access { uint32_t param; ValueId address; std::vector<Dim> multiples; };
  std::vector<Access> wide;
  int narrowest = 8, math = 0;
  const auto add = [&](uint32_t param, ValueId address) {
    const auto step = BodyLowering::step_along(loop, address, axis);
    if (!step || !step->is(1)) return;
    Access a{param, address, {}};
    bool ok = multiples_of(loop, address, axis, 1, a.multiples);
    const int bytes = int(dtype_bytes(loop.params[param].dtype));
    for (Dim d : a.multiples) ok &= !d.is_const() || d.value() * bytes % 16 == 0;
    if (!ok) { p.by_lane[address] = 1; return; }
    narrowest = std::min(narrowest, bytes);
    wide.push_back(std::move(a));
  };
  for (size_t v = 0; v < loop.insts.size(); ++v) {
    const Inst& i = loop.insts[v];
    if (!live[v]) continue;
    if (i.op == Scalar::load) add(uint32_t(i.imm), i.operand[0]);
    math += i.op == Scalar::philox ? 4 : is_math(i.op);
  }
  for (const Store& s : loop.stores) add(s.param, s.address);
  if (wide.empty()) return;
  p.lanes = std::min(math > 6 ? 4 : 8, 16 / narrowest);
  for (const Access& a : wide) {
    const int64_t bytes = dtype_bytes(loop.params[a.param].dtype);
    for (Dim d : a.multiples)
      if (!d.is_const()) p.multiples.push_back(d * bytes);
    if (std::find(p.aligned_params.begin(), p.aligned_params.end(), a.param) == p.aligned_params.end()) p.aligned_params.push_back(a.param);
  }
}

int ceil_pow2(int64_t n) { return int(std::bit_ceil(uint64_t(std::clamp<int64_t>(n, 1, 1024)))); }

// Does something need the elements of a row again, after a reduction of them?
bool reads_twice(const Loop& loop, const std::vector<char>& live, int axis) {
  std::vector<int> depth(loop.insts.size());
  int most = 0;
  for (size_t v = 0; v < loop.insts.size(); ++v) {
    const Inst& i = loop.insts[v];
    if (!live[v]) continue;
    for (int n = 0; n < i.operand_count; ++n) depth[v] = std::max(depth[v], depth[i.operand[n]]);
    if (i.op == Scalar::reduce && (i.axes >> axis & 1)) most = std::max(most, ++depth[v]);
  }
  for (const Store& s : loop.stores) most = std::max(most, depth[s.value] + int(s.domain >> axis & 1));
  return most > 1;
}

void plan_rows(const Loop& loop, const std::vector<char>& live, GpuPlan& p, bool can_cluster) {
  const Dim extent = loop.axes[size_t(p.vector_axis)].extent;
  // A program serves all sizes of a magnitude.
  const int64_t hint = gpu_size_hint(extent), length = extent.is_const() ? hint : int64_t(std::bit_ceil(uint64_t(hint))), v = p.lanes;
  if (p.inner_points <= 1024) {
    p.group = p.inner_points <= length ? std::clamp(ceil_pow2(length / v), 4, 32) : 32;
    p.threads = 128;
  } else {
    // A thread holds 16 elements with ease, and a processor two blocks of 512 threads: one works while the other waits.
    constexpr int64_t of_thread = 16, of_block = 512 * of_thread;
    if (can_cluster && length > 2 * of_block && length <= 32 * of_block && reads_twice(loop, live, p.vector_axis))
      p.cluster = std::min(8, ceil_pow2((length + of_block - 1) / of_block));
    const int64_t part = (length + p.cluster - 1) / p.cluster;
    p.threads = std::clamp(ceil_pow2(part / of_thread), 128, p.cluster == 1 && part > 2 * of_block && part <= 4 * of_block ? 512 : 1024);
    p.group = p.threads * p.cluster;
  }
  int element = 4, loads = 0;
  for (size_t x = 0; x < loop.insts.size(); ++x)
    if (live[x] && loop.insts[x].op == Scalar::load && (loop.depends[x] >> p.vector_axis & 1)) {
      ++loads;
      element = std::max(element, int(dtype_bytes(loop.insts[x].dtype)));
    }
  const int64_t r = (length + v * p.group - 1) / (v * p.group), words = r * v * element / 4;
  p.resident = loads && words <= p.row_words() ? int(r) : 0;
}

void plan_threads(const Loop& loop, bool inner, GpuPlan& p, const Target& target, bool can_slice, bool spread, bool in_pieces) {
  if (p.vector_axis < 0) {
    p.linear = true;
    p.threads = 32;
    return;
  }
  const int64_t length = gpu_size_hint(loop.axes[size_t(p.vector_axis)].extent);
  if (!inner) {
    const int heavy = int(loop.insts.size()) > 60 ? 2 : 4;
    p.unroll = p.lanes > 4 ? std::min(2, heavy) : heavy;
    while (p.unroll > 1 && length < int64_t(p.threads) * p.lanes * p.unroll) p.unroll /= 2;
    // Tiles that lie half beyond the end of a row waste threads, and give up wide accesses.
    const int64_t tile = int64_t(p.threads) * p.lanes * p.unroll, covered = (length + tile - 1) / tile * tile;
    p.linear = length < int64_t(p.threads) * p.lanes || (length % p.lanes == 0 && (covered - length) * 16 > length);
    if (p.linear) p.unroll = 1;
    return;
  }
  const int64_t others = std::max<int64_t>(1, p.outer_points / std::max<int64_t>(1, length));
  int64_t wide = (length + p.lanes - 1) / p.lanes;
  int columns = std::clamp(ceil_pow2(wide), 32, 256);
  const auto blocks = [&] { return (wide + columns - 1) / columns * others; };
  if (can_slice) {
    // Few columns: small blocks, and several threads walk the rows of one column; then, unless there are pieces enough,
    // narrow accesses. No block should lie half beyond the end.
    const auto covered = [&](int64_t of) { return (wide + of - 1) / of * of; };
    while (columns > 32 && ((spread && blocks() < gpu_processors(target)) || covered(columns) * 8 > covered(columns / 2) * 9)) columns /= 2;
    while (spread && !in_pieces && p.lanes > 1 && blocks() < gpu_processors(target)) {
      p.lanes /= 2;
      wide = (length + p.lanes - 1) / p.lanes;
    }
    const int64_t want = int64_t(gpu_processors(target)) * 1024 / std::max<int64_t>(1, blocks() * columns);
    p.slices = int(std::bit_floor(uint64_t(std::clamp<int64_t>(std::min(want, p.inner_points / 4), 1, 512 / columns))));
    if (p.slices == 1 && columns < 128) p.slices = std::min(4, 512 / columns);
  }
  p.threads = columns * p.slices;
  p.linear = p.slices == 1 && length < int64_t(p.threads) * p.lanes;
}

// The axis of all scans, where threads can share them: nothing is reduced and every store is at all points; else -1.
int shared_scan_axis(const Loop& loop, const std::vector<char>& live, AxisMask outer) {
  AxisMask scanned = 0, full = 0;
  for (size_t v = 0; v < loop.insts.size(); ++v) {
    if (!live[v]) continue;
    if (loop.insts[v].op == Scalar::reduce) return -1;
    if (loop.insts[v].op == Scalar::scan) scanned |= loop.insts[v].axes;
    full |= loop.depends[v];
  }
  if (std::popcount(scanned) != 1) return -1;
  for (const Store& s : loop.stores)
    if (conflicting_axes(loop, s) || s.domain != (outer | scanned)) return -1;
  return full & ~(outer | scanned) ? -1 : std::countr_zero(scanned);
}

void plan_scan(const Loop& loop, GpuPlan& p, const Target& target) {
  const int64_t n = gpu_size_hint(loop.axes[size_t(p.scan_axis)].extent);
  if (p.scan_axis == p.vector_axis) {
    p.rows = true;
    p.group = p.outer_points >= int64_t(gpu_processors(target)) * 16 ? 32 : std::clamp(ceil_pow2(n / (p.lanes * 4)), 32, 512);
    p.threads = std::max(128, p.group);
    if (p.threads > p.group && p.group > 32) p.threads = p.group;
    return;
  }
  p.unroll = 4;
  const int64_t wide = (gpu_size_hint(loop.axes[size_t(p.vector_axis)].extent) + p.lanes - 1) / p.lanes;
  int columns = std::clamp(ceil_pow2(wide), 8, 32);
  const int64_t others = std::max<int64_t>(1, p.outer_points / (wide * p.lanes));
  // Blocks wait for each other often: a processor should have four.
  const int64_t cluster = has_clusters(target) ? std::clamp(ceil_pow2(n / 256), 1, 8) : 1;
  while (columns > 8 && (wide + columns - 1) / columns * others * cluster < 4 * gpu_processors(target)) columns /= 2;
  p.slices = std::clamp(ceil_pow2(n / p.unroll), 2, 256 / columns);
  p.threads = columns * p.slices;
  p.cluster = int(cluster);
}

}  // namespace

GpuPlan plan_gpu(const Loop& loop, const Target& target, const GpuSplit& split, bool spread) {
  GpuPlan p;
  const std::vector<char> live = live_values(loop);
  AxisMask outer = loop.axes.size() == 64 ? ~AxisMask(0) : (AxisMask(1) << loop.axes.size()) - 1, row = 0, all_inner = 0;
  const AxisMask block = split.block_axis >= 0 ? AxisMask(1) << split.block_axis : 0;
  bool shared = true;  // inner axes may be shared among threads
  for (const Store& s : loop.stores) {
    const AxisMask c = conflicting_axes(loop, s);
    outer &= s.domain & ~c;
    shared &= c == 0;
  }
  for (size_t v = 0; v < loop.insts.size(); ++v) {
    const Inst& i = loop.insts[v];
    if (!live[v]) continue;
    if (i.op == Scalar::reduce) {
      outer &= loop.depends[v] | block;
      if (i.order == Order::tree32) row |= std::bit_floor(i.axes);
    } else if (i.op == Scalar::scan) {
      outer &= ~i.axes;
      shared = false;
    }
  }
  p.outer = outer;
  for (size_t v = 0; v < loop.insts.size(); ++v)
    if (live[v]) all_inner |= loop.depends[v] & ~outer;
  for (const Store& s : loop.stores) all_inner |= s.domain & ~outer;
  p.outer_points = points_hint(loop, outer);
  p.inner_points = points_hint(loop, all_inner);
  if (split.axis >= 0) p.inner_points = std::min(p.inner_points, gpu_size_hint(split.size) * points_hint(loop, all_inner & ~(AxisMask(1) << split.axis)));

  int best = -100000, best_row = -100000, row_axis = -1;
  for (AxisMask m = outer & ~block; m; m &= m - 1)
    if (const int s = access_score(loop, live, std::countr_zero(m)); s >= best) { best = s; p.vector_axis = std::countr_zero(m); }
  for (AxisMask m = row & all_inner; m; m &= m - 1)
    if (const int s = access_score(loop, live, std::countr_zero(m)); s >= best_row) { best_row = s; row_axis = std::countr_zero(m); }
  if (const int scan = shared_scan_axis(loop, live, outer); scan >= 0 && (outer == 0 || p.vector_axis >= 0)) {
    p.scan_axis = scan;
    if (p.vector_axis < 0 || access_score(loop, live, scan) >= best) p.vector_axis = scan;
    choose_lanes(loop, live, p);
    plan_scan(loop, p, target);
    if (p.lanes == 1) { p.multiples.clear(); p.aligned_params.clear(); }
    return p;
  }
  p.rows = shared && row_axis >= 0 && best_row >= best && p.inner_points >= 32;
  if (!p.rows && row && shared && p.outer_points < 4096 && p.inner_points >= 256 && row_axis >= 0) p.rows = best_row > -8 || p.outer_points < 64;
  if (p.rows) p.vector_axis = row_axis;
  choose_lanes(loop, live, p);
  if (p.rows) {
    // Accesses are wide, and rows kept, where a row is one axis.
    if (all_inner & (all_inner - 1)) p.lanes = 1;
    plan_rows(loop, live, p, !(all_inner & (all_inner - 1)) && split.axis < 0 && has_clusters(target));
    if ((all_inner & (all_inner - 1)) || split.axis >= 0) p.resident = 0;
  } else {
    plan_threads(loop, all_inner != 0, p, target, shared && all_inner != 0, spread, split.axis >= 0);
  }
  if (p.lanes == 1) { p.multiples.clear(); p.aligned_params.clear(); }
  return p;
}

}  // namespace phlox

#include "compile/schedule.h"

#include <algorithm>
#include <bit>

#include "kernel/body.h"

namespace phlox {

namespace {

constexpr int64_t assumed_extent = 1024;  // of symbolic sizes
int64_t extent_hint(Dim d) {
  if (d.is_const()) return d.value();
  if (d.symbol_id() >= 0) return assumed_extent;
  std::vector<bool> symbols;
  collect_symbols(d, symbols);
  const Ints assumed(symbols.size(), assumed_extent);
  return std::clamp<int64_t>(evaluate(d, assumed), 1, int64_t(1) << 40);
}

// A sum of products with a constant: axes, and other values as a whole.
struct Linear {
  struct Term { int axis; ValueId value; Dim coefficient; };  // axis < 0: `value`
  SmallVector<Term, 6> terms;
};
void linear_terms(const Loop& loop, ValueId v, Dim k, Linear& out) {
  const Inst& i = loop.insts[v];
  const auto constant_of = [&](ValueId o) -> std::optional<Dim> {
    const Inst& c = loop.insts[o];
    if (c.op == Scalar::constant) return Dim(c.imm);
    if (c.op == Scalar::dim) return Dim::from_raw(c.imm);
    return std::nullopt;
  };
  switch (i.op) {
    case Scalar::constant: case Scalar::dim: return;
    case Scalar::axis: out.terms.push_back({int(i.imm), no_value, k}); return;
    case Scalar::add:
      linear_terms(loop, i.operand[0], k, out);
      linear_terms(loop, i.operand[1], k, out);
      return;
    case Scalar::mul:
      for (int n = 0; n < 2; ++n)
        if (const auto c = constant_of(i.operand[n])) return linear_terms(loop, i.operand[1 - n], k * *c, out);
      break;
    default: break;
  }
  out.terms.push_back({-1, v, k});
}

// What a kernel computes: from its roots back to what lies in memory.
std::vector<char> relevant_values(const Loop& loop, std::span<const ValueId> known, std::span<const ValueId> group) {
  std::vector<char> r(loop.insts.size());
  for (ValueId v : group) r[v] = 1;
  if (group.empty())
    for (const Store& s : loop.stores) {
      r[s.address] = r[s.value] = 1;
      if (s.predicate != no_value) r[s.predicate] = 1;
    }
  for (size_t v = loop.insts.size(); v-- > 0;) {
    if (!r[v] || std::find(known.begin(), known.end(), ValueId(v)) != known.end()) continue;
    for (int n = 0; n < loop.insts[v].operand_count; ++n) r[loop.insts[v].operand[n]] = 1;
  }
  return r;
}

int step_score(const Loop& loop, ValueId address, int axis) {
  const auto step = BodyLowering::step_along(loop, address, axis);
  if (!step) return -8;
  return step->is(1) ? 8 : step->is(0) ? 1 : -8;
}

// Two accesses of every other element that together take all of them are nearly as good as one that steps by one.
int load_score(const Loop& loop, const Inst& load, int axis) {
  const auto step = BodyLowering::step_along(loop, load.operand[0], axis);
  if (step && step->is(2) && BodyLowering::other_load(loop, load)) return 4;
  return step_score(loop, load.operand[0], axis);
}
int store_score(const Loop& loop, const Store& s, int axis) {
  const auto step = BodyLowering::step_along(loop, s.address, axis);
  if (step && step->is(2))
    for (const Store& t : loop.stores) {
      const auto d = &t != &s && t.param == s.param ? BodyLowering::distance(loop, s.address, t.address) : std::nullopt;
      if (d && (*d == 1 || *d == -1)) return 4;
    }
  return step_score(loop, s.address, axis);
}

int access_score(const Loop& loop, const std::vector<char>& relevant, bool stores, int axis) {
  int score = 0;
  for (size_t v = 0; v < loop.insts.size(); ++v)
    if (relevant[v] && loop.insts[v].op == Scalar::load) score += load_score(loop, loop.insts[v], axis);
  if (stores)
    for (const Store& s : loop.stores) score += store_score(loop, s, axis);
  return score;
}

// The bytes of the widest element that is computed with; address arithmetic does not count.
int widest_element(const Loop& loop, const std::vector<char>& relevant, std::span<const ValueId> group) {
  std::vector<char> data(loop.insts.size());
  for (ValueId v : group) data[v] = 1;
  for (const Store& s : loop.stores) {
    if (!group.empty()) break;
    data[s.value] = 1;
    if (s.predicate != no_value) data[s.predicate] = 1;
  }
  int widest = 1;
  for (size_t v = loop.insts.size(); v-- > 0;) {
    if (!data[v] || !relevant[v]) continue;
    const Inst& i = loop.insts[v];
    for (int n = i.op == Scalar::load; n < i.operand_count; ++n) data[i.operand[n]] = 1;
    if (loop.depends[v]) widest = std::max(widest, int(dtype_bytes(compute_dtype(i.dtype))));
  }
  return widest;
}

}  // namespace

AxisMask conflicting_axes(const Loop& loop, const Store& s) {
  if (s.conflict == Conflict::unique) return 0;
  Linear l;
  linear_terms(loop, s.address, 1, l);
  AxisMask free = 0;
  for (const auto& t : l.terms)
    if (t.axis >= 0) free |= AxisMask(1) << t.axis;
  free &= s.domain;
  // Two terms cannot disturb each other when one moves in multiples of the whole range of the other.
  const auto apart = [&](const Linear::Term& a, const Linear::Term& b) {
    if (a.axis < 0) return false;
    const Dim range = a.coefficient * loop.axes[size_t(a.axis)].extent;
    return range.is(0) || mod(b.coefficient, range).is(0);  // nothing is stored where an axis is empty
  };
  for (bool again = true; again;) {
    again = false;
    for (const auto& a : l.terms) {
      if (a.axis < 0 || !(free >> a.axis & 1)) continue;
      for (const auto& b : l.terms) {
        if (&a == &b) continue;
        const bool b_free = b.axis >= 0 && (free >> b.axis & 1);
        if (apart(a, b) || (b_free && apart(b, a))) continue;
        free &= ~(AxisMask(1) << a.axis);
        again = true;
        break;
      }
    }
  }
  return s.domain & ~free;
}

int store_vector_axis(const Loop& loop, std::span<const Store* const> stores, AxisMask axes, AxisMask forbidden) {
  int best = -1, best_score = 0;
  for (AxisMask m = axes & ~forbidden; m; m &= m - 1) {
    const int axis = std::countr_zero(m);
    int score = 0;
    for (const Store* s : stores) score += 2 * store_score(loop, *s, axis);
    for (const Inst& i : loop.insts)
      if (i.op == Scalar::load) score += load_score(loop, i, axis);
    if (score > best_score || (score == best_score && best >= 0)) { best = axis; best_score = score; }
  }
  return best;
}

namespace {
// Of the loads that jump along the vector axis: an outer axis along which they step by one; -1: none.
int streamed_axis(const Loop& loop, const std::vector<char>& relevant, AxisMask outer, int vector_axis) {
  for (size_t v = 0; v < loop.insts.size(); ++v) {
    const Inst& i = loop.insts[v];
    if (!relevant[v] || i.op != Scalar::load) continue;
    const auto jump = BodyLowering::step_along(loop, i.operand[0], vector_axis);
    if (!jump || jump->is(0) || jump->is(1)) continue;
    for (AxisMask m = outer & ~(AxisMask(1) << vector_axis); m; m &= m - 1) {
      const auto step = BodyLowering::step_along(loop, i.operand[0], std::countr_zero(m));
      if (step && step->is(1)) return std::countr_zero(m);
    }
  }
  return -1;
}
}  // namespace

namespace {
// Axes of every store that each reduction keeps: the loops around everything.
AxisMask outer_axes(const Loop& loop, std::span<const ValueId> known, const std::vector<char>& relevant) {
  AxisMask outer = loop.axes.size() == 64 ? ~AxisMask(0) : (AxisMask(1) << loop.axes.size()) - 1;
  for (const Store& s : loop.stores) outer &= s.domain & ~conflicting_axes(loop, s);
  for (ValueId v = 0; v < loop.insts.size(); ++v) {
    const Inst& i = loop.insts[v];
    if (!relevant[v]) continue;
    if (i.op == Scalar::reduce && std::find(known.begin(), known.end(), v) == known.end()) outer &= loop.depends[v];
    if (i.op == Scalar::scan) outer &= ~i.axes;
  }
  return outer;
}

// Whether nested loops can compute a value: `chain` are the axes bound by each loop nest from the outside in.
struct Nesting {
  const Loop& loop;
  ValueId bad = no_value;  // the first reduction or scan that cannot be computed where it is needed

  void walk(ValueId v, const std::vector<AxisMask>& chain, std::vector<char>& seen) {
    if (seen[v] || bad != no_value) return;
    seen[v] = 1;
    const Inst& i = loop.insts[v];
    size_t k = 0;
    while (k + 1 < chain.size() && (loop.depends[v] & ~chain[k])) ++k;
    if (i.op == Scalar::reduce) {
      // Its loops would run inside loops over the same axes.
      if ((i.axes & chain[k]) || (loop.depends[v] & ~chain[k])) { bad = v; return; }
      std::vector<AxisMask> inner(chain.begin(), chain.begin() + ptrdiff_t(k) + 1);
      inner.push_back(chain[k] | i.axes);
      std::vector<char> fresh(loop.insts.size());
      const bool outside = in_reduce;
      in_reduce = in_reduce || k == 0;
      walk(i.operand[0], inner, fresh);
      in_reduce = outside;
      return;
    }
    if (i.op == Scalar::scan) {
      // The pass that binds its axis must be the one that computes it, with no other scan's axis.
      size_t at = 0;
      while (at < chain.size() && !(i.axes & chain[at])) ++at;
      if (at == 0 || at == chain.size() || (loop.depends[v] & ~chain[at])) { bad = v; return; }
      const AxisMask pass = chain[at] & ~chain[at - 1];
      // Reductions go over their axes row-major, and a scan needs its own innermost.
      if ((in_reduce || at > 1) && i.axes != std::bit_floor(pass)) { bad = v; return; }
      for (auto& [axes, axis] : scanned)
        if (axes == pass && axis != i.axes) { bad = v; return; }
      scanned.push_back({pass, i.axes});
    }
    for (int n = 0; n < i.operand_count; ++n) walk(i.operand[n], chain, seen);
  }
  std::vector<std::pair<AxisMask, AxisMask>> scanned;
  bool in_reduce = false;  // the first pass of the chain is a reduction's
};
}  // namespace

ValueId tangled_value(const Loop& loop) {
  const std::vector<char> relevant = relevant_values(loop, {}, {});
  const AxisMask outer = outer_axes(loop, {}, relevant);
  Nesting nesting{loop};
  for (const Store& s : loop.stores) {
    std::vector<AxisMask> chain{outer};
    if (s.domain != outer) chain.push_back(s.domain | outer);
    std::vector<char> seen(loop.insts.size());
    nesting.walk(s.value, chain, seen);
    nesting.walk(s.address, chain, seen);
    if (s.predicate != no_value) nesting.walk(s.predicate, chain, seen);
  }
  return nesting.bad;
}

std::vector<ValueId> next_split(const Loop& loop, std::span<const ValueId> known) {
  const auto is_known = [&](ValueId v) { return std::find(known.begin(), known.end(), v) != known.end(); };
  const std::vector<char> relevant = relevant_values(loop, known, {});
  // waits[v]: the axes of unknown reductions that v needs, other than those nested in v's own loops.
  const auto ready = [&](ValueId r) {
    std::vector<char> seen(loop.insts.size());
    const auto walk = [&](auto& self, ValueId v) -> bool {
      if (seen[v] || is_known(v)) return true;
      seen[v] = 1;
      const Inst& i = loop.insts[v];
      if (i.op == Scalar::scan) return false;
      if (i.op == Scalar::reduce && v != r && !(loop.depends[v] & ~loop.depends[r])) return false;
      for (int n = 0; n < i.operand_count; ++n)
        if (!self(self, i.operand[n])) return false;
      return true;
    };
    return walk(walk, r);
  };
  std::vector<ValueId> group;
  for (ValueId v = 0; v < loop.insts.size(); ++v) {
    const Inst& i = loop.insts[v];
    if (!relevant[v] || i.op != Scalar::reduce || is_known(v) || i.order == Order::chain || !ready(v)) continue;
    if (group.empty()) group.push_back(v);
    else if (const Inst& g = loop.insts[group[0]]; g.axes == i.axes && g.order == i.order && loop.depends[group[0]] == loop.depends[v])
      group.push_back(v);
  }
  return group;
}

CpuPlan plan_cpu(const Loop& loop, const Target& target, const ScheduleOptions& options,
                 std::span<const ValueId> known, std::span<const ValueId> group) {
  CpuPlan p;
  const std::vector<char> relevant = relevant_values(loop, known, group);
  const auto is_known = [&](size_t v) { return std::find(known.begin(), known.end(), ValueId(v)) != known.end(); };
  const AxisMask outer = group.empty() ? outer_axes(loop, known, relevant) : loop.depends[group[0]];
  AxisMask inner_vector = 0;  // last axes of tree32 reductions
  int reduces = 0;
  if (!group.empty()) {
    const Inst& g = loop.insts[group[0]];
    if (g.order == Order::tree32) inner_vector = std::bit_floor(g.axes);
    reduces = int(group.size());
  } else {
    for (size_t v = 0; v < loop.insts.size(); ++v) {
      const Inst& i = loop.insts[v];
      if (!relevant[v] || i.op != Scalar::reduce || is_known(v)) continue;
      ++reduces;
      if (i.order == Order::tree32) inner_vector |= std::bit_floor(i.axes);
    }
  }
  p.outer = outer;

  // The vector axis: the last axis of a row reduction, else the outer axis that most accesses walk with step one.
  int inner_score = 0, best_score = 0;
  for (AxisMask m = inner_vector; m; m &= m - 1)
    inner_score = std::max(inner_score, access_score(loop, relevant, group.empty(), std::countr_zero(m)));
  for (AxisMask m = outer; m; m &= m - 1) {
    const int axis = std::countr_zero(m);
    const int score = access_score(loop, relevant, group.empty(), axis);
    if (score >= best_score) { p.vector_axis = axis; best_score = score; }
  }
  if (inner_score >= best_score && inner_vector) p.vector_axis = -1;

  // What one point of the outer axes costs.
  AxisMask inner = 0;
  int64_t ops = 0;
  for (size_t v = 0; v < loop.insts.size(); ++v) {
    if (!relevant[v]) continue;
    if (!is_known(v)) inner |= loop.depends[v] & ~outer;
    const Scalar op = loop.insts[v].op;
    ops += is_math(op) ? 24 : op == Scalar::load ? 4 : op == Scalar::axis || op == Scalar::constant || op == Scalar::dim ? 0 : 1;
  }
  if (group.empty())
    for (const Store& s : loop.stores) inner |= s.domain & ~outer;
  int64_t work = 1, results = 1;
  Dim inner_points = 1;
  for (AxisMask m = inner; m; m &= m - 1) {
    const Dim e = loop.axes[size_t(std::countr_zero(m))].extent;
    work = std::min<int64_t>(work * std::max<int64_t>(1, extent_hint(e)), int64_t(1) << 40);
    inner_points = inner_points * e;
  }
  if (!group.empty()) {
    const Inst& g = loop.insts[group[0]];
    Dim points = 1;
    for (AxisMask m = g.axes; m; m &= m - 1) points = points * loop.axes[size_t(std::countr_zero(m))].extent;
    const Dim block = tree_block(points, order_lanes(g.order));
    p.blocks = ceildiv(points, block);
    inner_points = block;
    work = std::min(work, extent_hint(block));
  }

  const int widest = widest_element(loop, relevant, group);
  p.register_lanes = std::clamp(target.vector_bits / 8 / widest, 2, 64);
  // Columns are walked in broad strips, since each row of a strip is a new place in memory.
  const bool strips = p.vector_axis >= 0 && reduces > 0 && ops <= 24 * reduces, half_strips = !strips && p.vector_axis >= 0 && reduces > 0 && ops <= 64 * reduces;
  const int unroll = strips ? std::max(options.unroll, 8 / reduces) : half_strips ? std::max(options.unroll, 4 / reduces) : options.unroll;
  p.lanes = 1;
  if (p.vector_axis >= 0) {
    const Dim e = loop.axes[size_t(p.vector_axis)].extent;
    p.lanes = int(std::bit_floor(unsigned(std::min(strips ? 256 : 64, p.register_lanes * unroll))));
    if (e.is_const())
      while (p.lanes > p.register_lanes && p.lanes > e.value()) p.lanes /= 2;
  }

  // Loops from the inside out: serial while an item is small, then one that is cut into pieces, then whole items.
  SmallVector<int, 6> order;
  for (AxisMask m = outer; m; m &= m - 1) {
    results = std::min<int64_t>(results * std::max<int64_t>(1, extent_hint(loop.axes[size_t(std::countr_zero(m))].extent)), int64_t(1) << 40);
    if (std::countr_zero(m) != p.vector_axis) order.push_back(std::countr_zero(m));
  }
  if (p.vector_axis >= 0) order.push_back(p.vector_axis);
  // A transposing access: the axis that it walks with step one goes inside of the vector, so that the lines which the
  // lanes touch are used whole before they leave the cache.
  const int streamed = reduces == 0 && p.vector_axis >= 0 ? streamed_axis(loop, relevant, outer, p.vector_axis) : -1;
  if (streamed >= 0) {
    size_t at = 0;
    while (order[at] != streamed) ++at;
    order.erase(at);
    order.push_back(streamed);
  }
  // Strips of columns reach through all rows: blocks of rows walk memory better than few broad strips.
  p.few_items = results / p.lanes < (strips ? 64 : half_strips ? 8 : 16) && work * results > options.split_points;
  p.too_few = reduces > 0 && p.few_items;
  SmallVector<NestLoop, 6> nest;
  bool cut = false;
  const int64_t points = std::max<int64_t>(options.item_points, p.lanes);
  Dim item_points = inner_points;
  for (size_t n = order.size(); n-- > 0;) {
    const int axis = order[n];
    const Dim e = loop.axes[size_t(axis)].extent;
    NestLoop l{axis};
    if (cut) {
      l.item = true;
      p.items = p.items * e;
    } else if (axis == streamed || (e.is_const() && work * e.value() <= points)) {
      if (!e.is_const()) p.items = p.items * min(e, 1);  // nothing may be touched where there is nothing to do
      work *= std::max<int64_t>(1, extent_hint(e));
      item_points = item_points * e;
    } else {
      cut = l.item = true;
      l.chunk = std::max<int64_t>(1, points / work);
      if (axis == p.vector_axis) l.chunk = (l.chunk + p.lanes - 1) / p.lanes * p.lanes;
      if (e.is_const() && l.chunk > 1) {  // pieces of equal size
        const int64_t pieces = (e.value() + l.chunk - 1) / l.chunk, unit = axis == p.vector_axis ? p.lanes : 1;
        l.chunk = ((e.value() + pieces - 1) / pieces + unit - 1) / unit * unit;
      }
      p.items = p.items * ceildiv(e, l.chunk);
      item_points = item_points * l.chunk;
    }
    nest.push_back(l);
  }
  if (!group.empty()) {
    nest.push_back({.axis = NestLoop::block_axis, .item = true});
    p.items = p.items * p.blocks;
  }
  if (group.empty() && loop.stores.empty()) p.items = 0;
  for (size_t n = nest.size(); n-- > 0;) p.nest.push_back(nest[n]);
  p.item_cost = floordiv(item_points * ops, 64) + 1;
  return p;
}

}  // namespace phlox

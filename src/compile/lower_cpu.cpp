#include "compile/lower_cpu.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace phlox {

CpuLowering::CpuLowering(const Loop& loop, const CpuPlan& plan, const ScheduleOptions& options,
                         const SplitReductions& split)
    : loop_(loop), plan_(plan), options_(options), split_(split), body_(b_, loop) {
  body_.join_pairs();
  b_.kernel().register_lanes = uint16_t(plan.register_lanes);
  b_.kernel().items = plan.items;
  b_.kernel().item_cost = plan.item_cost;
  body_.bypass_caches();
  body_.fetch_ahead();
}

Kernel CpuLowering::run() {
  items();
  return b_.finish();
}

// --- the loops over the outer axes

void CpuLowering::innermost() {
  if (!split_.group.empty()) return partial_block(block_);
  Stores all;
  for (const Store& s : loop_.stores) all.push_back(&s);
  scope(all, {});
}

void CpuLowering::nest(size_t n, Kv from, Kv to) {
  // [from, to) is the range of the loop before n where that is a chunk; null: it is bound already.
  const auto inside = [&](size_t next) {
    if (next < plan_.nest.size()) {
      const int axis = plan_.nest[next].axis;
      nest(next, b_.index(0), b_.dim(extent(axis)));
      return;
    }
    innermost();
  };
  const NestLoop& l = plan_.nest[n];
  if (l.axis != plan_.vector_axis) return serial_loop(l.axis, from, to, [&](Kv) { define_known(); inside(n + 1); });
  const Dim e = extent(l.axis);
  const bool whole = e.is_const() && e.value() % plan_.lanes == 0 && l.chunk % plan_.lanes == 0;
  vector_loop(l.axis, from, to, plan_.lanes, l.item ? whole : whole || (e.is_const() && e.value() % plan_.lanes == 0),
              [&] { define_known(); inside(n + 1); });
}

// The work item's place on the item axes by division, row-major; the last of them may be cut into chunks.
void CpuLowering::items() {
  const auto& nest_loops = plan_.nest;
  size_t item_loops = 0;
  while (item_loops < nest_loops.size() && nest_loops[item_loops].item) ++item_loops;
  const Kv begin = b_.item_begin(), end = b_.item_end();
  const auto everything = [&](size_t n) {
    if (n < nest_loops.size()) return nest(n, b_.index(0), b_.dim(extent(nest_loops[n].axis)));
    innermost();
  };
  if (item_loops == 0) {  // one item
    b_.begin_if(lt(begin, end));
    body_.open();
    define_known();
    everything(0);
    body_.close();
    b_.end();
    return;
  }
  const NestLoop& last = nest_loops[item_loops - 1];
  const auto extent_of = [&](const NestLoop& l) { return l.axis == NestLoop::block_axis ? plan_.blocks : extent(l.axis); };
  if (item_loops == 1 && last.axis != NestLoop::block_axis) {
    const Kv chunk = b_.index(last.chunk), limit = b_.dim(extent(last.axis));
    define_known();
    const Kv to = last.chunk == 1 ? end : b_.op(Scalar::min, end * chunk, limit);
    return nest(0, begin * chunk, to);
  }
  define_known();
  // The first item's place by division; then the places count up like the digits of a number.
  const Kv zero = b_.index(0), one = b_.index(1);
  SmallVector<Kv, 6> counts(item_loops, Kv{}), places(item_loops, Kv{});
  Kv rest = begin;
  for (size_t n = item_loops; n-- > 0;) {
    const NestLoop& l = nest_loops[n];
    Kv place = rest;
    if (n > 0) {
      counts[n] = b_.dim(l.chunk == 1 ? extent_of(l) : ceildiv(extent(l.axis), l.chunk));
      const Kv divisor = b_.op(Scalar::max, counts[n], one);  // there may be no items at all
      const Kv q = b_.op(Scalar::div, rest, divisor);
      place = rest - q * divisor;
      rest = q;
    }
    places[n] = b_.var(place);
  }
  b_.begin_for(begin, end, one);
  body_.open();
  Kv from, to;
  SmallVector<Kv, 6> now(item_loops, Kv{});
  for (size_t n = 0; n < item_loops; ++n) {
    const NestLoop& l = nest_loops[n];
    now[n] = b_.get(places[n]);
    if (l.axis == NestLoop::block_axis) {
      block_ = now[n];
    } else if (n == item_loops - 1 && (l.chunk > 1 || l.axis == plan_.vector_axis)) {
      from = now[n] * b_.index(l.chunk);
      to = b_.op(Scalar::min, from + b_.index(l.chunk), b_.dim(extent(l.axis)));
    } else {
      body_.bind(l.axis, now[n]);
    }
  }
  define_known();
  if (from) nest(item_loops - 1, from, to);
  else everything(item_loops);
  Kv carry = one;
  for (size_t n = item_loops; n-- > 0;) {
    const Kv next = now[n] + carry;
    if (n == 0) { b_.set(places[n], next); break; }
    const Kv wraps = eq(next, counts[n]);
    b_.set(places[n], b_.select(wraps, zero, next));
    carry = b_.select(wraps, one, zero);
  }
  body_.close();
  b_.end();
}

// --- scopes

// Reductions that this scope must compute: they vary only over bound axes and are not known yet.
void CpuLowering::collect(ValueId v, Values& reduces, std::vector<char>& seen) const {
  if (seen[v] || body_.is_defined(v)) return;
  seen[v] = 1;
  const Inst& i = loop_.insts[v];
  if (!split_.is_known(v) || i.op != Scalar::reduce)
    for (int n = 0; n < i.operand_count; ++n) collect(i.operand[n], reduces, seen);
  if (i.op == Scalar::reduce && !(loop_.depends[v] & ~body_.bound())) reduces.push_back(v);
}

// 0: needs none of the reductions; else one more than the last pass that it waits for.
int CpuLowering::stage_of(ValueId v, const Values& reduces, std::vector<int>& memo) const {
  if (body_.is_defined(v)) return 0;
  if (memo[v] >= 0) return memo[v];
  const Inst& i = loop_.insts[v];
  if (split_.is_known(v)) return memo[v] = 0;
  int s = 0;
  for (int n = 0; n < i.operand_count; ++n) s = std::max(s, stage_of(i.operand[n], reduces, memo));
  if (i.op == Scalar::reduce && std::find(reduces.begin(), reduces.end(), v) != reduces.end()) ++s;
  return memo[v] = s;
}

int CpuLowering::store_stage(const Store& s, const Values& reduces, std::vector<int>& memo) const {
  int stage = std::max(stage_of(s.value, reduces, memo), stage_of(s.address, reduces, memo));
  if (s.predicate != no_value) stage = std::max(stage, stage_of(s.predicate, reduces, memo));
  // What is written in place must have been read by every pass before.
  if (loop_.params[s.param].kind == Param::Kind::inout)
    for (ValueId r : reduces) stage = std::max(stage, stage_of(r, reduces, memo));
  return stage;
}

void CpuLowering::scope(const Stores& stores, const Values& wanted) {
  Values reduces;
  std::vector<char> seen(loop_.insts.size());
  for (const Store* s : stores) {
    collect(s->value, reduces, seen);
    collect(s->address, reduces, seen);
    if (s->predicate != no_value) collect(s->predicate, reduces, seen);
  }
  for (ValueId v : wanted) collect(v, reduces, seen);
  Values open;
  for (ValueId r : reduces) {
    if (split_.is_known(r)) from_blocks(r);
    else open.push_back(r);
  }
  std::vector<Stores> at_once;
  std::vector<std::vector<Pass>> stages = plan_passes(stores, open, at_once);
  mark_sweeps(stages);
  const Values keep = worth_keeping(stages);
  if (keep.empty()) return run_passes(stages, at_once);
  AxisMask axes = 0;
  for (const auto& passes : stages)
    for (const Pass& p : passes) axes |= p.axes;
  const Dim points = row_points(axes);
  std::vector<std::vector<Pass>> keeping = stages;
  const size_t kept_before = kept_.size();
  if (points.is_const()) {
    assign_kept(keeping, keep);
    run_passes(keeping, at_once);
    kept_.resize(kept_before);
    return;
  }
  // A row of unknown length may be too long to keep.
  b_.begin_if(le(b_.dim(points), b_.index(kept_elements)));
  body_.open();
  assign_kept(keeping, keep);
  run_passes(keeping, at_once);
  kept_.resize(kept_before);
  body_.close();
  b_.begin_else();
  body_.open();
  run_passes(stages, at_once);
  body_.close();
  b_.end();
}

// Loads that more than one pass over the same axes makes.
void CpuLowering::mark_sweeps(const std::vector<std::vector<Pass>>& stages) {
  std::vector<int> passes(loop_.insts.size());
  for (const auto& stage : stages)
    for (const Pass& p : stage)
      for (ValueId v : values_of(p))
        if (loop_.insts[v].op == Scalar::load && ++passes[v] == 2) body_.swept_again(v);
}

// Passes by stage: reductions that are ready and go over the same axes share one, with the stores that are ready there.
// Stores at a point of the scope itself are listed apart.
std::vector<std::vector<CpuLowering::Pass>> CpuLowering::plan_passes(const Stores& stores, const Values& reduces,
                                                                     std::vector<Stores>& at_once) {
  std::vector<int> memo(loop_.insts.size(), -1);
  int last = 0;
  std::vector<int> reduce_stage, stage_of_store;
  for (ValueId r : reduces) reduce_stage.push_back(stage_of(r, reduces, memo));
  for (const Store* s : stores) stage_of_store.push_back(store_stage(*s, reduces, memo));
  for (int s : reduce_stage) last = std::max(last, s);
  for (int s : stage_of_store) last = std::max(last, s);

  std::vector<std::vector<Pass>> stages(size_t(last) + 1);
  at_once.resize(size_t(last) + 1);
  for (int stage = 0; stage <= last; ++stage) {
    std::vector<Pass>& passes = stages[size_t(stage)];
    const auto with_axes = [&](AxisMask axes, const Inst* like) -> Pass& {
      for (Pass& p : passes)
        if (p.axes == axes && (!like || p.reduces.empty() || loop_.insts[p.reduces[0]].order == like->order)) return p;
      passes.push_back({.axes = axes});
      return passes.back();
    };
    for (size_t n = 0; n < reduces.size(); ++n) {
      const Inst& i = loop_.insts[reduces[n]];
      if (reduce_stage[n] == stage + 1) with_axes(i.axes, &i).reduces.push_back(reduces[n]);
    }
    // What overwrites an input comes last.
    for (size_t n = 0; n < 2 * stores.size(); ++n) {
      const size_t k = n % stores.size();
      if (stage_of_store[k] != stage || (n < stores.size()) == (loop_.params[stores[k]->param].kind == Param::Kind::inout)) continue;
      const AxisMask inner = stores[k]->domain & ~body_.bound();
      if (inner) {
        // A scan along another axis than the last needs an order of its own.
        Pass alone{.axes = inner, .stores = {stores[k]}};
        scans_of(alone);
        if (!alone.scans.empty() && loop_.insts[alone.scans[0]].axes != std::bit_floor(inner)) passes.push_back(std::move(alone));
        else with_axes(inner, nullptr).stores.push_back(stores[k]);
      } else at_once[size_t(stage)].push_back(stores[k]);
    }
    for (Pass& p : passes) {
      p.scans.clear();
      scans_of(p);
    }
  }
  return stages;
}

void CpuLowering::run_passes(std::vector<std::vector<Pass>>& stages, const std::vector<Stores>& at_once) {
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    emit_stores(at_once[stage]);
    for (Pass& p : stages[stage]) run_pass(p);
  }
}

// Everything is read before anything is written, so that a point may be updated in place.
void CpuLowering::emit_stores(const Stores& stores) {
  for (const Store* s : stores) {
    body_.value(s->value);
    if (s->predicate != no_value) body_.value(s->predicate);
  }
  body_.store_all(stores);
}

// --- passes

void CpuLowering::scans_of(Pass& p) const {
  std::vector<char> seen(loop_.insts.size());
  const auto walk = [&](auto& self, ValueId v) -> void {
    if (seen[v] || body_.is_defined(v)) return;
    seen[v] = 1;
    const Inst& i = loop_.insts[v];
    for (int n = 0; n < i.operand_count; ++n) self(self, i.operand[n]);
    if (i.op == Scalar::scan && (i.axes & p.axes)) p.scans.push_back(v);
  };
  for (const Store* s : p.stores) {
    walk(walk, s->value);
    walk(walk, s->address);
    if (s->predicate != no_value) walk(walk, s->predicate);
  }
  for (ValueId r : p.reduces) walk(walk, loop_.insts[r].operand[0]);
}

Dim CpuLowering::points_of(AxisMask axes) const {
  Dim n = 1;
  for (AxisMask m = axes; m; m &= m - 1) n = n * extent(std::countr_zero(m));
  return n;
}

// The axis that becomes the vector of a pass; -1: none, or one is bound already.
int CpuLowering::vector_axis_of(const Pass& p) const {
  if (body_.vector_axis() >= 0 || !p.axes) return -1;
  if (!p.reduces.empty())
    return loop_.insts[p.reduces[0]].order == Order::tree32 && p.scans.empty() ? 63 - std::countl_zero(p.axes) : -1;
  AxisMask fixed = 0;
  for (ValueId s : p.scans) fixed |= loop_.insts[s].axes;
  for (const Store* s : p.stores) fixed |= conflicting_axes(loop_, *s);
  return store_vector_axis(loop_, p.stores, p.axes, fixed);
}

void CpuLowering::run_pass(Pass& p) {
  const int v = vector_axis_of(p);
  if (p.reduces.empty() && v >= 0) return store_pass(p);
  prepare(p, v >= 0);
  if (v >= 0) row_pass(p);
  else serial_pass(p);
  finish(p);
}

// Stores only: order does not matter but along scans and conflicts, so the vector is inside of the other loops, or
// outside of theirs.
void CpuLowering::store_pass(Pass& p) {
  const int v = vector_axis_of(p);
  const int wide = std::min(64, plan_.register_lanes * options_.unroll);
  const Kv zero = b_.index(0), length = b_.dim(extent(v));
  bool in_order = !p.scans.empty();
  for (const Store* s : p.stores) in_order |= conflicting_axes(loop_, *s) != 0;
  if (in_order) {
    return vector_loop(v, zero, length, wide, false, [&] {
      Pass inner{.axes = p.axes & ~(AxisMask(1) << v), .stores = p.stores, .scans = p.scans};
      prepare(inner, false);
      serial_pass(inner);
    });
  }
  SmallVector<int, 6> loops;
  for (AxisMask m = p.axes & ~(AxisMask(1) << v); m; m &= m - 1) loops.push_back(std::countr_zero(m));
  p.last = v;
  const auto walk = [&](auto& self, size_t n) -> void {
    if (n < loops.size())
      return serial_loop(loops[n], zero, b_.dim(extent(loops[n])), [&](Kv) { self(self, n + 1); });
    vector_loop(v, zero, length, wide, false, [&] { point(p); });
  };
  walk(walk, 0);
}

}  // namespace phlox

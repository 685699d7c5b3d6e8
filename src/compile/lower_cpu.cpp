#include "compile/lower_cpu.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace phlox {

CpuLowering::CpuLowering(const Loop& loop, const CpuPlan& plan, const ScheduleOptions& options)
    : loop_(loop), plan_(plan), options_(options), body_(b_, loop) {
  b_.kernel().register_lanes = uint16_t(plan.register_lanes);
  b_.kernel().items = plan.items;
  b_.kernel().item_cost = plan.item_cost;
}

Kernel CpuLowering::run() {
  items();
  return b_.finish();
}

// --- the loops over the outer axes

void CpuLowering::nest(size_t n, Kv from, Kv to) {
  // [from, to) is the range of the loop before n where that is a chunk; null: it is bound already.
  const auto inside = [&](size_t next) {
    if (next < plan_.nest.size()) {
      const int axis = plan_.nest[next].axis;
      nest(next, b_.index(0), b_.dim(extent(axis)));
      return;
    }
    Stores all;
    for (const Store& s : loop_.stores) all.push_back(&s);
    scope(all, {});
  };
  const NestLoop& l = plan_.nest[n];
  if (l.axis != plan_.vector_axis) return serial_loop(l.axis, from, to, [&](Kv) { inside(n + 1); });
  const Dim e = extent(l.axis);
  const bool whole = e.is_const() && e.value() % plan_.lanes == 0 && l.chunk % plan_.lanes == 0;
  vector_loop(l.axis, from, to, plan_.lanes, l.item ? whole : whole || (e.is_const() && e.value() % plan_.lanes == 0),
              [&] { inside(n + 1); });
}

// The work item's place on the item axes by division, row-major; the last of them may be cut into chunks.
void CpuLowering::items() {
  const auto& nest_loops = plan_.nest;
  size_t item_loops = 0;
  while (item_loops < nest_loops.size() && nest_loops[item_loops].item) ++item_loops;
  const Kv begin = b_.item_begin(), end = b_.item_end();
  const auto everything = [&](size_t n) {
    if (n < nest_loops.size()) return nest(n, b_.index(0), b_.dim(extent(nest_loops[n].axis)));
    Stores all;
    for (const Store& s : loop_.stores) all.push_back(&s);
    scope(all, {});
  };
  if (item_loops == 0) {  // one item
    b_.begin_if(lt(begin, end));
    everything(0);
    b_.end();
    return;
  }
  const NestLoop& last = nest_loops[item_loops - 1];
  if (item_loops == 1) {
    const Kv chunk = b_.index(last.chunk), limit = b_.dim(extent(last.axis));
    const Kv to = last.chunk == 1 ? end : b_.op(Scalar::min, end * chunk, limit);
    return nest(0, begin * chunk, to);
  }
  const Kv item = b_.begin_for(begin, end, b_.index(1));
  body_.open();
  Kv rest = item, from, to;
  for (size_t n = item_loops; n-- > 0;) {
    const NestLoop& l = nest_loops[n];
    Kv place = rest;
    if (n > 0) {
      const Kv count = b_.dim(l.chunk == 1 ? extent(l.axis) : ceildiv(extent(l.axis), l.chunk));
      const Kv q = b_.op(Scalar::div, rest, count);  // neither is negative, and no item runs when one is empty
      place = rest - q * count;
      rest = q;
    }
    if (n == item_loops - 1 && (l.chunk > 1 || l.axis == plan_.vector_axis)) {
      from = place * b_.index(l.chunk);
      to = b_.op(Scalar::min, from + b_.index(l.chunk), b_.dim(extent(l.axis)));
    } else {
      body_.bind(l.axis, place);
    }
  }
  if (from) nest(item_loops - 1, from, to);
  else everything(item_loops);
  body_.close();
  b_.end();
}

// --- scopes

// Reductions that this scope must compute: they vary only over bound axes and are not known yet.
void CpuLowering::collect(ValueId v, Values& reduces, std::vector<char>& seen) const {
  if (seen[v] || body_.is_defined(v)) return;
  seen[v] = 1;
  const Inst& i = loop_.insts[v];
  for (int n = 0; n < i.operand_count; ++n) collect(i.operand[n], reduces, seen);
  if (i.op == Scalar::reduce && !(loop_.depends[v] & ~body_.bound())) reduces.push_back(v);
}

// 0: needs none of the reductions; else one more than the last pass that it waits for.
int CpuLowering::stage_of(ValueId v, const Values& reduces, std::vector<int>& memo) const {
  if (body_.is_defined(v)) return 0;
  if (memo[v] >= 0) return memo[v];
  const Inst& i = loop_.insts[v];
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

  std::vector<int> memo(loop_.insts.size(), -1);
  int last = 0;
  for (ValueId r : reduces) last = std::max(last, stage_of(r, reduces, memo));
  for (const Store* s : stores) last = std::max(last, store_stage(*s, reduces, memo));
  // Stages are fixed before any pass defines a reduction.
  std::vector<int> reduce_stage, stage_of_store;
  for (ValueId r : reduces) reduce_stage.push_back(stage_of(r, reduces, memo));
  for (const Store* s : stores) stage_of_store.push_back(store_stage(*s, reduces, memo));

  for (int stage = 0; stage <= last; ++stage) {
    std::vector<Pass> passes;
    for (size_t n = 0; n < reduces.size(); ++n) {
      if (reduce_stage[n] != stage + 1) continue;
      const Inst& i = loop_.insts[reduces[n]];
      auto p = std::find_if(passes.begin(), passes.end(), [&](const Pass& x) {
        return x.axes == i.axes && loop_.insts[x.reduces[0]].order == i.order;
      });
      if (p == passes.end()) { passes.push_back({i.axes, {}, {}}); p = passes.end() - 1; }
      p->reduces.push_back(reduces[n]);
    }
    Stores here;
    for (size_t n = 0; n < stores.size(); ++n) {
      if (stage_of_store[n] != stage) continue;
      const AxisMask inner = stores[n]->domain & ~body_.bound();
      if (!inner) { here.push_back(stores[n]); continue; }
      auto p = std::find_if(passes.begin(), passes.end(), [&](const Pass& x) { return x.axes == inner; });
      if (p == passes.end()) { passes.push_back({inner, {}, {}}); p = passes.end() - 1; }
      p->stores.push_back(stores[n]);
    }
    emit_stores(here);
    for (const Pass& p : passes) run_pass(p);
  }
}

// Everything is read before anything is written, so that a point may be updated in place.
void CpuLowering::emit_stores(const Stores& stores) {
  for (const Store* s : stores) {
    body_.value(s->value);
    if (s->predicate != no_value) body_.value(s->predicate);
  }
  for (const Store* s : stores) body_.store(*s);
}

// --- passes

void CpuLowering::scans_of(const Pass& p, Values& scans) const {
  std::vector<char> seen(loop_.insts.size());
  const auto walk = [&](auto& self, ValueId v) -> void {
    if (seen[v] || body_.is_defined(v)) return;
    seen[v] = 1;
    const Inst& i = loop_.insts[v];
    for (int n = 0; n < i.operand_count; ++n) self(self, i.operand[n]);
    if (i.op == Scalar::scan && (i.axes & p.axes)) scans.push_back(v);
  };
  for (const Store* s : p.stores) {
    walk(walk, s->value);
    walk(walk, s->address);
    if (s->predicate != no_value) walk(walk, s->predicate);
  }
  for (ValueId r : p.reduces) walk(walk, loop_.insts[r].operand[0]);
}

void CpuLowering::run_pass(const Pass& p) {
  Values scans;
  scans_of(p, scans);
  AxisMask scanned = 0;
  for (ValueId s : scans) scanned |= loop_.insts[s].axes;
  if (p.reduces.empty() && body_.vector_axis() < 0) return store_pass(p, scans);
  const AxisMask last = std::bit_floor(p.axes);
  if (!p.reduces.empty() && body_.vector_axis() < 0 && loop_.insts[p.reduces[0]].order == Order::tree32 &&
      !scanned && p.axes != 0)
    return row_pass(p);
  (void)last;
  serial_pass(p, scans);
}

Dim CpuLowering::points_of(AxisMask axes) const {
  Dim n = 1;
  for (AxisMask m = axes; m; m &= m - 1) n = n * extent(std::countr_zero(m));
  return n;
}

// Stores only: order does not matter but along scans and conflicts, so the best axis becomes the vector, outside of the
// scans' axis.
void CpuLowering::store_pass(const Pass& p, const Values& scans) {
  AxisMask fixed = 0;
  for (ValueId s : scans) fixed |= loop_.insts[s].axes;
  for (const Store* s : p.stores) fixed |= conflicting_axes(loop_, *s);
  const int v = store_vector_axis(loop_, p.stores, p.axes, fixed);
  if (v < 0) return serial_pass(p, scans);
  const Pass inner{p.axes & ~(AxisMask(1) << v), {}, p.stores};
  int lanes = std::min(64, plan_.register_lanes * options_.unroll);
  if (scans.empty() && fixed == 0) {  // the vector innermost
    SmallVector<int, 6> loops;
    for (AxisMask m = inner.axes; m; m &= m - 1) loops.push_back(std::countr_zero(m));
    const auto walk = [&](auto& self, size_t n) -> void {
      if (n < loops.size())
        return serial_loop(loops[n], b_.index(0), b_.dim(extent(loops[n])), [&](Kv) { self(self, n + 1); });
      vector_loop(v, b_.index(0), b_.dim(extent(v)), lanes, false, [&] { scope(p.stores, {}); });
    };
    return walk(walk, 0);
  }
  vector_loop(v, b_.index(0), b_.dim(extent(v)), lanes, false, [&] { serial_pass(inner, scans); });
}

CpuLowering::Acc CpuLowering::start(ValueId r) {
  Acc a{.id = r, .inst = loop_.insts[r], .type = compute_dtype(loop_.insts[r].dtype), .var = {}, .lanes32 = {}, .partials = {}, .total = {}};
  return a;
}

Kv CpuLowering::element(const Acc& a) {
  const Kv v = body_.value(a.inst.operand[0]);
  return is_reduced_float(v.dtype()) ? b_.cast(v, a.type) : v;
}

void CpuLowering::accumulate(Acc& a) {
  const Kv old = b_.get(a.var);
  Kv now;
  const Inst& x = loop_.insts[a.inst.operand[0]];
  if (a.inst.order == Order::chain && x.op == Scalar::mul && is_float(x.dtype)) {
    const auto factor = [&](int n) {
      const Kv f = body_.value(x.operand[n]);
      return is_reduced_float(f.dtype()) ? b_.cast(f, DType::f32) : f;
    };
    now = fma(factor(0), factor(1), old);
  } else {
    now = b_.combine(a.inst.combine, old, element(a));
  }
  // Lanes past the end of a row keep what they have.
  if (a.inst.order == Order::tree32 && body_.vector_axis() >= 0 && (a.inst.axes >> body_.vector_axis() & 1))
    if (Kv m = body_.guard_mask()) now = b_.select(m, now, old);
  b_.set(a.var, b_.splat(now, a.var.lanes()));
}

void CpuLowering::reset(Acc& a) {
  b_.set(a.var, b_.bits(a.type, combine_identity(a.inst.combine, a.type), a.var.lanes()));
}

// The value of the block that was accumulated last.
Kv CpuLowering::block_result(Acc& a) {
  const Kv v = b_.get(a.var);
  if (a.inst.order != Order::tree32 || v.lanes() == lanes()) return v;
  return b_.lane_fold(a.inst.combine, v);
}

void CpuLowering::push(Acc& a, Kv block) {
  const Kv r = block_result(a);
  if (a.inst.order != Order::chain) return b_.local_store(a.partials, block * b_.index(lanes()), r);
  // A chain adds its chunks as they come; the first is copied.
  const Kv total = b_.get(a.total);
  b_.set(a.total, b_.select(eq(block, b_.index(0)), r, b_.combine(a.inst.combine, total, r)));
}

// Neighbours first, in place: what was written holds fewer and fewer, and an odd last one moves along.
Kv CpuLowering::fold_blocks(Acc& a, Kv blocks) {
  const int n = lanes();
  const Kv width = b_.index(n), one = b_.index(1), count = b_.var(blocks);
  b_.begin_for(b_.index(0), b_.index(6), one);  // at most 64 blocks
  const Kv now = b_.get(count), half = b_.op(Scalar::shr, now, one);
  const Kv i = b_.begin_for(b_.index(0), half, one);
  const Kv x = b_.local_load(a.partials, (i + i) * width, n), y = b_.local_load(a.partials, (i + i + one) * width, n);
  b_.local_store(a.partials, i * width, b_.combine(a.inst.combine, x, y));
  b_.end();
  b_.begin_if(ne(now & one, b_.index(0)));
  b_.local_store(a.partials, half * width, b_.local_load(a.partials, (now - one) * width, n));
  b_.end();
  b_.set(count, half + (now & one));
  b_.end();
  return b_.local_load(a.partials, b_.index(0), n);
}

// Defines the result; `blocks` were pushed unless there was but one block, which is still in the variable.
void CpuLowering::finish(Acc& a, Kv blocks, bool one_block) {
  Kv r;
  if (one_block) r = block_result(a);
  else if (a.inst.order == Order::chain) r = b_.get(a.total);
  else r = fold_blocks(a, blocks);
  body_.define(a.id, b_.cast(r, a.inst.dtype));
}

// One point: deeper reductions first, then the accumulators and the stores.
void CpuLowering::point(const Pass& p, std::vector<Acc>& accs) {
  Values wanted;
  for (const Acc& a : accs) wanted.push_back(a.inst.operand[0]);
  scope(p.stores, wanted);
  for (Acc& a : accs) accumulate(a);
}

}  // namespace phlox

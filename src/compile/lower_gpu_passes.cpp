// Scopes and passes of GPU kernels: which reductions and stores go over the inner axes together, and how the threads
// that share a point share them.
#include <algorithm>
#include <bit>

#include "base/error.h"
#include "compile/lower_gpu.h"
#include "compile/schedule.h"

namespace phlox {

// --- scopes

// Reductions that this scope must compute: they vary only over bound axes and are not known yet.
void GpuLowering::collect(ValueId v, Values& reduces, std::vector<char>& seen) const {
  if (seen[v] || body_.is_defined(v)) return;
  seen[v] = 1;
  const Inst& i = loop_.insts[v];
  for (int n = 0; n < i.operand_count; ++n) collect(i.operand[n], reduces, seen);
  if (i.op == Scalar::reduce && !(loop_.depends[v] & ~body_.bound())) reduces.push_back(v);
}

// 0: needs none of the reductions; else one more than the last pass that it waits for.
int GpuLowering::stage_of(ValueId v, const Values& reduces, std::vector<int>& memo) const {
  if (body_.is_defined(v)) return 0;
  if (memo[v] >= 0) return memo[v];
  const Inst& i = loop_.insts[v];
  int s = 0;
  for (int n = 0; n < i.operand_count; ++n) s = std::max(s, stage_of(i.operand[n], reduces, memo));
  if (i.op == Scalar::reduce && std::find(reduces.begin(), reduces.end(), v) != reduces.end()) ++s;
  return memo[v] = s;
}

int GpuLowering::store_stage(const Store& s, const Values& reduces, std::vector<int>& memo) const {
  int stage = std::max(stage_of(s.value, reduces, memo), stage_of(s.address, reduces, memo));
  if (s.predicate != no_value) stage = std::max(stage, stage_of(s.predicate, reduces, memo));
  // What is written in place must have been read by every pass before.
  if (loop_.params[s.param].kind == Param::Kind::inout)
    for (ValueId r : reduces) stage = std::max(stage, stage_of(r, reduces, memo));
  return stage;
}

void GpuLowering::scope(const Stores& stores, const Values& wanted, bool shared) {
  Values reduces;
  std::vector<char> seen(loop_.insts.size());
  for (const Store* s : stores) {
    collect(s->value, reduces, seen);
    collect(s->address, reduces, seen);
    if (s->predicate != no_value) collect(s->predicate, reduces, seen);
  }
  for (ValueId v : wanted) collect(v, reduces, seen);
  std::vector<Stores> at_once;
  std::vector<std::vector<Pass>> stages = plan_passes(stores, reduces, at_once);
  if (shared && resident_) keep_rows(stages);
  const bool outside = sharing_;
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    sharing_ = shared;
    stores_of_point(at_once[stage]);
    sharing_ = false;
    for (Pass& p : stages[stage]) {
      if (shared) shared_pass(p);
      else serial_pass(p);
    }
  }
  sharing_ = outside;
}

// Passes by stage: reductions that are ready and go over the same axes share one, with the stores that are ready there.
// Stores at a point of the scope itself are listed apart.
std::vector<std::vector<GpuLowering::Pass>> GpuLowering::plan_passes(const Stores& stores, const Values& reduces,
                                                                     std::vector<Stores>& at_once) {
  std::vector<int> memo(loop_.insts.size(), -1), reduce_stage, stage_of_store;
  int last = 0;
  for (ValueId r : reduces) reduce_stage.push_back(stage_of(r, reduces, memo));
  for (const Store* s : stores) stage_of_store.push_back(store_stage(*s, reduces, memo));
  for (int s : reduce_stage) last = std::max(last, s);
  for (int s : stage_of_store) last = std::max(last, s);
  std::vector<std::vector<Pass>> stages(size_t(last) + 1);
  at_once.resize(size_t(last) + 1);
  for (int stage = 0; stage <= last; ++stage) {
    std::vector<Pass>& passes = stages[size_t(stage)];
    const auto with_axes = [&](AxisMask axes) -> Pass& {
      for (Pass& p : passes)
        if (p.axes == axes) return p;
      passes.push_back({.axes = axes});
      return passes.back();
    };
    for (size_t n = 0; n < reduces.size(); ++n)
      if (reduce_stage[n] == stage + 1) with_axes(loop_.insts[reduces[n]].axes).reduces.push_back(reduces[n]);
    for (size_t n = 0; n < stores.size(); ++n) {
      if (stage_of_store[n] != stage) continue;
      const AxisMask inner = stores[n]->domain & ~body_.bound();
      if (inner) with_axes(inner).stores.push_back(stores[n]);
      else at_once[size_t(stage)].push_back(stores[n]);
    }
    for (Pass& p : passes) scans_of(p);
  }
  return stages;
}

void GpuLowering::scans_of(Pass& p) const {
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

// Everything is read before anything is written, so that a point may be updated in place.
void GpuLowering::emit_stores(const Stores& stores) {
  for (const Store* s : stores) {
    body_.value(s->value);
    if (s->predicate != no_value) body_.value(s->predicate);
  }
  for (const Store* s : stores) body_.store(*s);
}

// Where threads share a point, one of them stores.
void GpuLowering::stores_of_point(const Stores& stores) {
  if (stores.empty()) return;
  Kv mine = sharing_ ? eq(part_, b_.index(0)) : Kv{};
  if (valid_ && sharing_) mine = mine & valid_;
  if (!mine) return emit_stores(stores);
  for (const Store* s : stores) body_.value(s->value);
  b_.begin_if(mine);
  body_.open();
  emit_stores(stores);
  body_.close();
  b_.end();
}

// --- passes

std::pair<Kv, Kv> GpuLowering::range(int axis) {
  if (split_.axis != axis) return {b_.index(0), length(axis)};
  const Kv from = body_.position(split_.block_axis) * b_.dim(split_.size);
  return {from, b_.op(Scalar::min, from + b_.dim(split_.size), length(axis))};
}

template <class F>
void GpuLowering::along(int axis, bool unroll, const F& body) {
  const auto [from, to] = range(axis);
  const Kv at = b_.begin_for(from, to, b_.index(1), unroll ? LoopHint::unroll : LoopHint::none);
  body_.open();
  body_.bind(axis, at);
  body();
  body_.close();
  b_.end();
}

void GpuLowering::begin_accs(Pass& p, int lanes) {
  for (ValueId r : p.reduces) {
    Acc a{r, loop_.insts[r], compute_dtype(loop_.insts[r].dtype), {}};
    a.var = b_.var(b_.bits(a.type, combine_identity(a.inst.combine, a.type), lanes));
    p.accs.push_back(a);
  }
}

// The loops of one thread: in order, each scan's axis innermost.
void GpuLowering::serial_pass(Pass& p) {
  AxisMask scanned = 0;
  for (ValueId s : p.scans) scanned |= loop_.insts[s].axes;
  PHLOX_CHECK((scanned & (scanned - 1)) == 0, "scans along two axes meet in one pass");
  const AxisMask last = scanned ? scanned : std::bit_floor(p.axes);
  begin_accs(p, body_.lanes());
  for (ValueId s : p.scans) {
    const DType d = compute_dtype(loop_.insts[s].dtype);
    p.scan_vars.push_back(b_.var(b_.bits(d, combine_identity(loop_.insts[s].combine, d), body_.lanes())));
  }
  const bool unroll = p.stores.empty() && p.scans.empty();
  const auto innermost = [&] {
    for (size_t k = 0; k < p.scans.size(); ++k) {
      const Kv v = p.scan_vars[k];
      b_.set(v, b_.bits(v.dtype(), combine_identity(loop_.insts[p.scans[k]].combine, v.dtype()), v.lanes()));
    }
    if (!p.axes) return point(p);
    along(std::countr_zero(last), unroll, [&] { point(p); });
  };
  const auto walk = [&](auto& self, AxisMask rest) -> void {
    if (!rest) return innermost();
    along(std::countr_zero(rest), false, [&] { self(self, rest & (rest - 1)); });
  };
  walk(walk, p.axes & ~last);
  finish(p);
}

// The points of a row that this thread computes: body(position, access number).
template <class F>
void GpuLowering::row_accesses(bool unroll, const F& body) {
  const int axis = plan_.vector_axis;
  const auto [from, to] = range(axis);
  const Kv step = b_.index(int64_t(lanes_) * plan_.group), first = from + part_ * b_.index(lanes_);
  if (!resident_) {
    const Kv at = b_.begin_for(first, to, step, unroll ? LoopHint::unroll : LoopHint::none);
    body_.open();
    body(at, Kv{});
    body_.close();
    b_.end();
    return;
  }
  const Kv u = b_.begin_for(b_.index(0), b_.index(resident_), b_.index(1), LoopHint::unroll);
  body_.open();
  const Kv at = first + u * step;
  b_.begin_if(lt(at, to));
  body_.open();
  body(at, u);
  body_.close();
  b_.end();
  body_.close();
  b_.end();
}

void GpuLowering::shared_pass(Pass& p) {
  PHLOX_CHECK(p.scans.empty(), "a scan in a pass that threads share");
  const bool reads_only = p.stores.empty();
  int axis = 63 - std::countl_zero(p.axes);
  if (plan_.rows && (p.axes & bit(plan_.vector_axis))) axis = plan_.vector_axis;
  const bool row = plan_.rows && axis == plan_.vector_axis;
  begin_accs(p, row ? lanes_ : body_.lanes());
  const auto guarded_point = [&](Kv u) {
    if (!valid_ || p.stores.empty()) return point(p, 0, u);
    b_.begin_if(valid_);
    body_.open();
    point(p, 0, u);
    body_.close();
    b_.end();
  };
  const auto innermost = [&] {
    if (row) {
      row_accesses(reads_only, [&](Kv at, Kv u) {
        body_.bind_vector(axis, at, lanes_);
        guarded_point(u);
      });
      return;
    }
    const auto [from, to] = range(axis);
    const Kv at = b_.begin_for(from + part_, to, parts_, reads_only ? LoopHint::unroll : LoopHint::none);
    body_.open();
    body_.bind(axis, at);
    guarded_point({});
    body_.close();
    b_.end();
  };
  const auto walk = [&](auto& self, AxisMask rest) -> void {
    if (!rest) return innermost();
    along(std::countr_zero(rest), false, [&] { self(self, rest & (rest - 1)); });
  };
  walk(walk, p.axes & ~bit(axis));
  if (p.accs.empty()) return;
  std::vector<Kv> x;
  for (Acc& a : p.accs) {
    const Kv v = b_.get(a.var);
    x.push_back(plan_.rows ? b_.lane_fold(a.inst.combine, v) : v);
  }
  if (plan_.rows) combine_group(p, x);
  else combine_slices(p, x);
  for (size_t n = 0; n < x.size(); ++n) body_.define(p.accs[n].id, b_.cast(x[n], p.accs[n].inst.dtype));
}

// Over the lanes of a warp, over the warps of the block, over the blocks of the cluster; every thread has the result.
void GpuLowering::combine_group(Pass& p, std::vector<Kv>& x) {
  const auto over_warp = [&](size_t n) {
    for (int m = std::min(32, plan_.group) / 2; m >= 1; m /= 2) x[n] = b_.combine(p.accs[n].inst.combine, x[n], b_.shuffle_xor(x[n], m));
  };
  for (size_t n = 0; n < x.size(); ++n) over_warp(n);
  const int warps = std::min(plan_.group, plan_.threads) / 32;
  if (warps <= 1) return;
  const Kv lane = part_ & b_.index(31), warp = b_.op(Scalar::shr, plan_.cluster > 1 ? b_.thread_id() : part_, b_.index(5));
  std::vector<Kv> arrays;
  for (const Acc& a : p.accs) arrays.push_back(b_.local(a.type, warps, Space::shared));
  b_.begin_if(eq(lane, b_.index(0)));
  for (size_t n = 0; n < x.size(); ++n) b_.local_store(arrays[n], warp, x[n]);
  b_.end();
  b_.barrier();
  for (size_t n = 0; n < x.size(); ++n) {
    const Kv identity = b_.bits(p.accs[n].type, combine_identity(p.accs[n].inst.combine, p.accs[n].type));
    const Kv y = b_.local_load(arrays[n], lane & b_.index(warps - 1), 1);
    x[n] = warps == 32 ? y : b_.select(lt(lane, b_.index(warps)), y, identity);
    over_warp(n);
  }
  if (plan_.cluster == 1) return;
  std::vector<Kv> sums;
  for (const Acc& a : p.accs) sums.push_back(b_.local(a.type, 1, Space::shared));
  b_.begin_if(eq(b_.thread_id(), b_.index(0)));
  for (size_t n = 0; n < x.size(); ++n) b_.local_store(sums[n], b_.index(0), x[n]);
  b_.end();
  b_.barrier(3);
  for (size_t n = 0; n < x.size(); ++n) {
    x[n] = b_.local_load(sums[n], b_.index(0), 1, lane & b_.index(plan_.cluster - 1));
    for (int m = plan_.cluster / 2; m >= 1; m /= 2) x[n] = b_.combine(p.accs[n].inst.combine, x[n], b_.shuffle_xor(x[n], m));
  }
}

// Over the threads that stand at the same columns.
void GpuLowering::combine_slices(Pass& p, std::vector<Kv>& x) {
  const int columns = plan_.threads / plan_.slices;
  const Kv column = b_.thread_id() & b_.index(columns - 1);
  for (size_t n = 0; n < x.size(); ++n) {
    const Acc& a = p.accs[n];
    const int lanes = x[n].lanes();
    const Kv array = b_.local(a.type, int64_t(plan_.slices) * columns * lanes, Space::shared);
    // [lane][slice][column]: neighbouring threads meet neighbouring banks.
    const auto at = [&](Kv slice, int lane) {
      return (b_.index(int64_t(lane) * plan_.slices) + slice) * b_.index(columns) + column;
    };
    b_.barrier();  // an earlier round may still be read
    for (int l = 0; l < lanes; ++l) b_.local_store(array, at(part_, l), b_.extract(x[n], l));
    b_.barrier();
    const Kv sum = b_.var(b_.bits(a.type, combine_identity(a.inst.combine, a.type), 1));
    std::vector<Kv> sums;
    for (int l = 0; l < lanes; ++l) {
      b_.set(sum, b_.bits(a.type, combine_identity(a.inst.combine, a.type), 1));
      const Kv s = b_.begin_for(b_.index(0), b_.index(plan_.slices), b_.index(1), LoopHint::unroll);
      b_.set(sum, b_.combine(a.inst.combine, b_.get(sum), b_.local_load(array, at(s, l), 1)));
      b_.end();
      sums.push_back(b_.get(sum));
    }
    if (lanes == 1) { x[n] = sums[0]; continue; }
    Kv all = b_.splat(sums[0], lanes);
    for (int l = 1; l < lanes; ++l) all = b_.select(eq(b_.iota(lanes), b_.index(l)), b_.splat(sums[size_t(l)], lanes), all);
    x[n] = all;
  }
}

void GpuLowering::accumulate(Acc& a) {
  const Kv old = b_.get(a.var);
  const Inst& x = loop_.insts[a.inst.operand[0]];
  const auto wide = [&](ValueId v) {
    const Kv f = body_.value(v);
    return is_reduced_float(f.dtype()) ? b_.cast(f, DType::f32) : f;
  };
  Kv now;
  if (a.inst.order == Order::chain && x.op == Scalar::mul && is_float(x.dtype)) {
    const Kv f = wide(x.operand[0]), g = wide(x.operand[1]);
    now = fma(f, g, old);
  } else {
    now = b_.combine(a.inst.combine, old, wide(a.inst.operand[0]));
  }
  b_.set(a.var, b_.splat(now, a.var.lanes()));
}

void GpuLowering::finish(Pass& p) {
  for (Acc& a : p.accs) body_.define(a.id, b_.cast(b_.get(a.var), a.inst.dtype));
}

// One point: what scans reach, deeper reductions, then the accumulators and the stores. `access` >= 0: of a shared pass.
void GpuLowering::point(Pass& p, int access, Kv u) {
  const int n = body_.lanes();
  for (size_t k = 0; k < p.scans.size(); ++k) {
    const Inst& i = loop_.insts[p.scans[k]];
    scope({}, {i.operand[0]}, false);
    const Kv x = b_.cast(body_.value(i.operand[0]), p.scan_vars[k].dtype());
    const Kv now = b_.splat(b_.combine(i.combine, b_.get(p.scan_vars[k]), x), n);
    b_.set(p.scan_vars[k], now);
    body_.define(p.scans[k], b_.cast(now, i.dtype));
  }
  const bool row = access >= 0 && u;
  const Kv place = row ? u * b_.index(lanes_) : Kv{};
  if (row)
    for (ValueId v : p.kept) body_.define(v, b_.local_load(kept_array(v), place, n));
  Values wanted;
  for (const Acc& a : p.accs) wanted.push_back(a.inst.operand[0]);
  scope(p.stores, wanted, false);
  if (row)
    for (ValueId v : p.keep) b_.local_store(kept_array(v), place, b_.splat(body_.value(v), n));
  for (Acc& a : p.accs) accumulate(a);
}

// --- rows in registers

// What a pass computes at each of its points.
GpuLowering::Values GpuLowering::values_of(const Pass& p) const {
  Values out;
  std::vector<char> seen(loop_.insts.size());
  const auto walk = [&](auto& self, ValueId v) -> void {
    if (seen[v] || body_.is_defined(v)) return;
    seen[v] = 1;
    const Inst& i = loop_.insts[v];
    if (!(loop_.depends[v] & p.axes)) return;
    out.push_back(v);
    if (i.op == Scalar::reduce || i.op == Scalar::scan) return;
    for (int n = 0; n < i.operand_count; ++n) self(self, i.operand[n]);
  };
  for (const Store* s : p.stores) {
    walk(walk, s->value);
    if (s->predicate != no_value) walk(walk, s->predicate);
  }
  for (ValueId r : p.reduces) walk(walk, loop_.insts[r].operand[0]);
  return out;
}

Kv GpuLowering::kept_array(ValueId v) const {
  for (const Kept& k : kept_)
    if (k.value == v) return k.array;
  PHLOX_CHECK(false, "a row value that was not kept");
  return {};
}

// Reads of the row start before anything waits for them; what several passes need is read, or computed, once.
void GpuLowering::keep_rows(std::vector<std::vector<Pass>>& stages) {
  std::vector<Pass*> passes;
  for (auto& stage : stages)
    for (Pass& p : stage) {
      if (p.axes != bit(plan_.vector_axis)) { resident_ = 0; return; }
      passes.push_back(&p);
    }
  const size_t count = loop_.insts.size();
  std::vector<uint32_t> uses(count), cost(count);  // by which passes
  for (size_t n = 0; n < passes.size() && n < 32; ++n)
    for (ValueId v : values_of(*passes[n])) uses[v] |= 1u << n;
  const auto waits = [&](ValueId v) {  // for a reduction or a pass of its own
    std::vector<char> seen(count);
    const auto walk = [&](auto& self, ValueId x) -> bool {
      if (seen[x] || body_.is_defined(x)) return false;
      seen[x] = 1;
      const Inst& i = loop_.insts[x];
      if (i.op == Scalar::reduce) return true;
      for (int n = 0; n < i.operand_count; ++n) if (self(self, i.operand[n])) return true;
      return false;
    };
    return walk(walk, v);
  };
  Values loads, values;
  int words = 0;
  const auto room = [&](ValueId v) {
    const int n = resident_ * lanes_ * std::max(1, int(dtype_bytes(loop_.insts[v].dtype)) / 4);
    if (words + n > plan_.row_words()) return false;
    words += n;
    return true;
  };
  for (int several = 1; several >= 0; --several)
    for (ValueId v = 0; v < count; ++v)
      if (loop_.insts[v].op == Scalar::load && uses[v] && (std::popcount(uses[v]) > 1) == bool(several) && !waits(v) && room(v)) loads.push_back(v);
  for (ValueId v = 0; v < count; ++v) {
    const Inst& i = loop_.insts[v];
    if (!uses[v]) continue;
    uint32_t c = is_math(i.op) ? 16 : i.op == Scalar::philox ? 40 : i.op == Scalar::div || i.op == Scalar::sqrt ? 6 : 1;
    if (i.op != Scalar::load && i.op != Scalar::axis && i.op != Scalar::reduce)
      for (int n = 0; n < i.operand_count; ++n) c += cost[i.operand[n]];
    cost[v] = std::min(c, 1000u);
    if (i.op == Scalar::load || std::popcount(uses[v]) < 2 || c < 8 || is_bool(i.dtype)) continue;
    bool inside_another = false;  // that the same passes need
    for (ValueId u = v + 1; u < count && !inside_another; ++u)
      for (int n = 0; n < loop_.insts[u].operand_count; ++n)
        inside_another |= loop_.insts[u].operand[n] == v && uses[u] == uses[v] && loop_.insts[u].op != Scalar::reduce;
    if (!inside_another) values.push_back(v);
  }
  if (values.size() > 1) values.resize(1);
  for (const Values* list : {&loads, &values})
    for (ValueId v : *list) kept_.push_back({v, b_.local(loop_.insts[v].dtype, int64_t(resident_) * lanes_)});
  for (ValueId v : loads)
    for (size_t n = 0; n < passes.size(); ++n)
      if (uses[v] >> n & 1) passes[n]->kept.push_back(v);
  for (ValueId v : values) {
    bool there = false;
    for (size_t n = 0; n < passes.size(); ++n) {
      if (!(uses[v] >> n & 1)) continue;
      (there ? passes[n]->kept : passes[n]->keep).push_back(v);
      there = true;
    }
  }
  if (loads.empty()) return;
  row_accesses(true, [&](Kv at, Kv u) {
    body_.bind_vector(plan_.vector_axis, at, lanes_);
    for (ValueId v : loads) b_.local_store(kept_array(v), u * b_.index(lanes_), b_.splat(body_.value(v), body_.lanes()));
  });
}

}  // namespace phlox

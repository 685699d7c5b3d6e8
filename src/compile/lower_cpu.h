// CpuLowering: one Loop as one CPU kernel, following a CpuPlan.
//
// The loops over the outer axes are opened first. Inside, a `scope` is a point of the axes bound so far: it runs passes
// over further axes for the reductions that are ready and the stores that need them, in stages; a pass is a scope of its
// own at each of its points, so reductions nest as deep as the loop says.
#pragma once
#include <algorithm>

#include "compile/lower.h"
#include "kernel/body.h"

namespace phlox {

class CpuLowering {
 public:
  CpuLowering(const Loop& loop, const CpuPlan& plan, const ScheduleOptions& options);
  Kernel run();

 private:
  struct Acc {                     // a reduction under way
    ValueId id;
    Inst inst;
    DType type;                    // that it accumulates in
    Kv var, lanes32, partials;     // running value; 32 lanes of it; results of blocks
    Kv total;                      // chain: sum of the finished chunks
  };
  struct Pass {
    AxisMask axes;
    std::vector<ValueId> reduces;
    std::vector<const Store*> stores;
  };
  using Stores = std::vector<const Store*>;
  using Values = std::vector<ValueId>;

  void nest(size_t n, Kv from, Kv to);
  void items();
  template <class F> void serial_loop(int axis, Kv from, Kv to, const F& body);
  template <class F> void vector_loop(int axis, Kv from, Kv to, int lanes, bool whole, const F& body);

  void scope(const Stores& stores, const Values& wanted);
  void collect(ValueId v, Values& reduces, std::vector<char>& seen) const;
  int stage_of(ValueId v, const Values& reduces, std::vector<int>& memo) const;
  int store_stage(const Store& s, const Values& reduces, std::vector<int>& memo) const;
  void emit_stores(const Stores& stores);

  void run_pass(const Pass& p);
  void scans_of(const Pass& p, std::vector<ValueId>& scans) const;
  void store_pass(const Pass& p, const Values& scans);
  void row_pass(const Pass& p);        // tree32 with the vector along the last axis
  void serial_pass(const Pass& p, const Values& scans);
  void point(const Pass& p, std::vector<Acc>& accs);
  void accumulate(Acc& a);
  Kv element(const Acc& a);

  Acc start(ValueId r);
  void reset(Acc& a);
  void push(Acc& a, Kv block);         // a finished block
  Kv block_result(Acc& a);
  void finish(Acc& a, Kv blocks, bool one_block);
  Kv fold_blocks(Acc& a, Kv blocks);
  Dim points_of(AxisMask axes) const;
  Dim extent(int axis) const { return loop_.axes[size_t(axis)].extent; }
  int lanes() const { return body_.lanes(); }

  const Loop& loop_;
  const CpuPlan& plan_;
  const ScheduleOptions& options_;
  KernelBuilder b_;
  BodyLowering body_;
  std::vector<std::pair<ValueId, Kv>> scan_vars_;
};

template <class F>
void CpuLowering::serial_loop(int axis, Kv from, Kv to, const F& body) {
  const Kv at = b_.begin_for(from, to, b_.index(1));
  body_.open();
  body_.bind(axis, at);
  body(at);
  body_.close();
  b_.end();
}

// Whole vectors, then what is left with a guard. `whole`: nothing is left.
template <class F>
void CpuLowering::vector_loop(int axis, Kv from, Kv to, int lanes, bool whole, const F& body) {
  const Kv n = to - from, step = b_.index(lanes);
  const bool is_short = b_.inst(n).op == KOp::constant && b_.inst(n).imm < lanes;
  if (b_.inst(n).op == KOp::constant && b_.inst(n).imm % lanes == 0) whole = true;
  Kv rest = from;
  if (!is_short) {
    const Kv main_to = whole ? to : from + (n & b_.index(-int64_t(lanes)));
    const Kv at = b_.begin_for(from, main_to, step);
    body_.open();
    body_.bind_vector(axis, at, lanes);
    body();
    body_.close();
    b_.end();
    rest = main_to;
  }
  if (whole) return;
  const int tail = std::min(lanes, plan_.register_lanes);
  const bool once = tail == lanes || (b_.inst(n).op == KOp::constant && b_.inst(n).imm % lanes <= tail);
  Kv at = rest;
  if (once && b_.inst(n).op != KOp::constant) b_.begin_if(lt(rest, to));
  if (!once) at = b_.begin_for(rest, to, b_.index(tail));
  body_.open();
  const Kv left = to - at;
  body_.bind_vector(axis, at, tail, {.count = once ? left : b_.op(Scalar::min, left, b_.index(tail))});
  body();
  body_.close();
  if (!once || b_.inst(n).op != KOp::constant) b_.end();
}

}  // namespace phlox

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

// Reductions that are computed by several kernels: one leaves the results of blocks in temporaries, a later one combines
// them. The temporaries are parameters past the loop's own.
struct SplitReductions {
  // The layout of a temporary: [block][axes of the reduction in order, but `last_axis` last].
  struct Known { ValueId reduce; uint32_t temp; int last_axis; };
  std::vector<Known> known;        // results of blocks lie in a temporary, or will when this kernel has run
  std::vector<ValueId> group;      // what this kernel computes, a block an item; empty: the kernel does the stores
  const Known* find(ValueId r) const {
    for (const Known& k : known)
      if (k.reduce == r) return &k;
    return nullptr;
  }
  bool is_known(ValueId r) const {  // before this kernel
    return find(r) && std::find(group.begin(), group.end(), r) == group.end();
  }
};

class CpuLowering {
 public:
  CpuLowering(const Loop& loop, const CpuPlan& plan, const ScheduleOptions& options, const SplitReductions& split);
  Kernel run();

 private:
  struct Acc {                     // a reduction under way
    ValueId id;
    Inst inst;
    DType type;                    // that it accumulates in
    Kv var, lanes32, partials;     // running value; 32 lanes of it in memory; results of blocks
    Kv total;                      // chain: sum of the finished chunks
  };
  struct Pass {
    AxisMask axes = 0;
    std::vector<ValueId> reduces = {};
    std::vector<const Store*> stores = {};
    // by prepare():
    std::vector<ValueId> scans = {};
    std::vector<Acc> accs = {};
    std::vector<Kv> scan_vars = {};
    Order order = Order::tree1;
    Dim points = 1, block = 1;
    int last = -1;                 // the innermost axis
    bool one_block = true, aligned = true, in_row = false;
    std::vector<ValueId> keep = {}, kept = {};  // row values to put aside, and those that are there
    Dim blocks() const { return ceildiv(points, block); }
    bool tree32() const { return order == Order::tree32 && !in_row && !accs.empty(); }
  };
  static constexpr int64_t kept_elements = 16384;  // of a row scratch
  using Stores = std::vector<const Store*>;
  using Values = std::vector<ValueId>;

  void nest(size_t n, Kv from, Kv to);
  void items();
  void innermost();
  template <class F> void serial_loop(int axis, Kv from, Kv to, const F& body);
  template <class F> void vector_loop(int axis, Kv from, Kv to, int lanes, bool whole, const F& body);

  void scope(const Stores& stores, const Values& wanted);
  void collect(ValueId v, Values& reduces, std::vector<char>& seen) const;
  int stage_of(ValueId v, const Values& reduces, std::vector<int>& memo) const;
  int store_stage(const Store& s, const Values& reduces, std::vector<int>& memo) const;
  std::vector<std::vector<Pass>> plan_passes(const Stores& stores, const Values& reduces, std::vector<Stores>& at_once);
  void run_passes(std::vector<std::vector<Pass>>& stages, const std::vector<Stores>& at_once);
  void emit_stores(const Stores& stores);

  // Values of a row that several passes need and that cost more than to keep them (lower_rows.cpp).
  Values values_of(const Pass& p) const;
  void mark_sweeps(const std::vector<std::vector<Pass>>& stages);
  Values worth_keeping(const std::vector<std::vector<Pass>>& stages) const;
  int vector_axis_of(const Pass& p) const;
  void assign_kept(std::vector<std::vector<Pass>>& stages, const Values& kept);
  void load_cached(Pass& p);
  void store_cached(Pass& p);
  Kv row_place(const Pass& p);
  Dim row_points(AxisMask axes) const;

  void run_pass(Pass& p);
  void scans_of(Pass& p) const;
  void store_pass(Pass& p);
  template <class Segment> void walk_blocks(Pass& p, Kv block, const Segment& segment);
  void prepare(Pass& p, bool in_row);
  void row_pass(Pass& p, Kv block = {});     // tree32 with the vector along the last axis
  void serial_pass(Pass& p, Kv block = {});
  void begin_scans(Pass& p);
  void serial_point(Pass& p, Kv place, int n);
  void point(Pass& p);
  void accumulate(Acc& a);
  Kv element(const Acc& a);
  void reset(Acc& a);
  void clear32(Acc& a);
  void push(Acc& a, Kv block);         // a finished block
  Kv block_result(Acc& a);
  void finish(Pass& p);
  Kv fold_blocks(const Inst& i, Kv partials, Kv blocks);
  void partial_block(Kv block);
  Kv temp_place(const SplitReductions::Known& k, Kv block);
  void define_known();                 // reductions in memory that vary over bound axes only
  void from_blocks(ValueId r);

  Dim points_of(AxisMask axes) const;
  Dim extent(int axis) const { return loop_.axes[size_t(axis)].extent; }
  int lanes() const { return body_.lanes(); }

  const Loop& loop_;
  const CpuPlan& plan_;
  const ScheduleOptions& options_;
  const SplitReductions& split_;
  KernelBuilder b_;
  BodyLowering body_;
  Kv block_;                                 // of the work item, in kernels that compute blocks
  struct Kept { ValueId value; Kv array; };
  std::vector<Kept> kept_;
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

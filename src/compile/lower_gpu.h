// GpuLowering: one Loop as one GPU kernel, following a GpuPlan.
//
// As on a CPU, a `scope` is a point of the axes bound so far: it runs passes over further axes for the reductions that
// are ready and the stores that need them. In the outermost scope the threads that share a point share each pass; deeper
// ones belong to one thread. Invariant: all threads of a block meet every barrier. The order in which shared passes
// combine depends on the plan, never on timing.
#pragma once
#include "compile/lower.h"
#include "compile/schedule_gpu.h"
#include "kernel/body.h"

namespace phlox {

// Adds the kernels of a simplified loop, and the temporaries between them; parameters past `own_params` are temporaries.
void lower_gpu(const Loop& loop, size_t own_params, const Target& target, const ScheduleOptions& options, Lowered& out);

class GpuLowering {
 public:
  GpuLowering(const Loop& loop, const GpuPlan& plan, const GpuSplit& split, bool early);
  Kernel run();

 private:
  struct Acc { ValueId id; Inst inst; DType type; Kv var; };
  struct Pass {
    AxisMask axes = 0;
    std::vector<ValueId> reduces = {};
    std::vector<const Store*> stores = {};
    std::vector<ValueId> scans = {};
    std::vector<Acc> accs = {};
    std::vector<Kv> scan_vars = {};
    std::vector<ValueId> keep = {}, kept = {};  // row values to put aside, and those that are there
  };
  using Stores = std::vector<const Store*>;
  using Values = std::vector<ValueId>;

  // Where a thread stands.
  void run_rows(void (GpuLowering::*variant)(int lanes, int resident));
  void row(int lanes, int resident);
  void run_tiles();
  void run_linear();
  void run_scans();
  void place(Kv at, const SmallVector<int, 6>& axes);  // binds outer axes from a row-major position
  Kv aligned(Kv length);                               // may wide accesses be used; null: they need no question
  // One of the two where `fast` is known as the code is written, both behind a question otherwise.
  template <class Wide, class Narrow>
  void by_alignment(Kv fast, const Wide& wide, const Narrow& narrow) {
    if (!fast || (b_.inst(fast).op == KOp::constant && b_.inst(fast).imm)) return wide();
    if (b_.inst(fast).op == KOp::constant) return narrow();
    b_.begin_if(fast);
    body_.open();
    wide();
    body_.close();
    b_.begin_else();
    body_.open();
    narrow();
    body_.close();
    b_.end();
  }
  void map_tile(Kv first);
  Kv tile_count(Kv length);

  void scope(const Stores& stores, const Values& wanted, bool shared);
  void collect(ValueId v, Values& reduces, std::vector<char>& seen) const;
  int stage_of(ValueId v, const Values& reduces, std::vector<int>& memo) const;
  int store_stage(const Store& s, const Values& reduces, std::vector<int>& memo) const;
  std::vector<std::vector<Pass>> plan_passes(const Stores& stores, const Values& reduces, std::vector<Stores>& at_once);
  void scans_of(Pass& p) const;
  void emit_stores(const Stores& stores);
  void stores_of_point(const Stores& stores);

  void shared_pass(Pass& p);
  void serial_pass(Pass& p);
  template <class F> void along(int axis, bool unroll, const F& body);
  void point(Pass& p, int access = -1, Kv u = {});
  void begin_accs(Pass& p, int lanes);
  void accumulate(Acc& a);
  void finish(Pass& p);
  void combine_group(Pass& p, std::vector<Kv>& x);
  void combine_slices(Pass& p, std::vector<Kv>& x);
  std::pair<Kv, Kv> range(int axis);

  // Shared scans.
  std::vector<Acc> scans();
  Kv identity(const Acc& a, int lanes);
  template <class F> std::pair<Kv, Kv> before_and_all(const Acc& a, int count, Kv mine, const F& partial);
  void scan_row(int lanes, int);
  void scan_columns(int lanes);

  // Rows in registers.
  Values values_of(const Pass& p) const;
  void keep_rows(std::vector<std::vector<Pass>>& stages);
  struct Kept { ValueId value; Kv array; };
  Kv kept_array(ValueId v) const;
  template <class F> void row_accesses(bool unroll, const F& body);

  Dim extent(int axis) const { return loop_.axes[size_t(axis)].extent; }
  Kv length(int axis) { return b_.dim(extent(axis)); }
  AxisMask bit(int axis) const { return AxisMask(1) << axis; }

  const Loop& loop_;
  const GpuPlan& plan_;
  GpuSplit split_;
  KernelBuilder b_;
  BodyLowering body_;
  Stores all_;
  int lanes_ = 1, resident_ = 0;     // of the variant that is being written
  Kv part_, parts_;                  // which of the threads that share a point this is, and how many there are
  bool sharing_ = false;
  Kv valid_;                         // tiles with slices, rows of parts of a warp: does the thread's point exist
  std::vector<Kept> kept_;
};

}  // namespace phlox

// BodyLowering: values of a Loop as instructions of a Kernel, at the point that the surrounding loops have reached.
//
// Whoever builds the loops (the general lowering, or a template with holes) binds axes to positions, level by level:
// open a level after each loop it opens, close it before the loop ends. A value is computed once, at the outermost
// level where all axes it depends on are bound, so invariant work leaves the loops by itself. At most one axis is bound
// to a vector of positions; values that vary over it have its lanes, all others are scalars.
// Reductions and scans are the caller's: it defines their results (`define`) before values that use them are asked for.
#pragma once
#include <optional>
#include <unordered_map>

#include "kernel/builder.h"

namespace phlox {

class BodyLowering {
 public:
  BodyLowering(KernelBuilder& b, const Loop& loop);

  // The lanes of a vector position that exist: all, the first `count`, or those of a mask.
  struct Guard {
    Kv count, mask;
    bool is_full() const { return !count && !mask; }
  };

  void open();
  void close();
  void bind(int axis, Kv position);                                    // in the innermost level
  void bind_vector(int axis, Kv first, int lanes, Guard guard = {});   // positions first, first + 1, ...
  AxisMask bound() const { return levels_.back().bound; }
  int vector_axis() const { return vector_axis_; }
  int lanes() const { return vector_axis_ < 0 ? 1 : lanes_; }
  Kv position(int axis) const { return positions_[axis]; }             // of lane 0
  const Guard& guard() const { return guard_; }
  Kv guard_mask();                                                     // null when all lanes exist

  Kv value(ValueId v);
  void define(ValueId v, Kv value);     // of a reduce or scan, until the innermost level closes
  bool is_defined(ValueId v) const;
  void store(const Store& s);           // at the point; every axis of its domain is bound
  void store_all(std::span<const Store* const> stores);
  // One of the loop's buffers is another: a temporary that stands in for a parameter.
  uint32_t buffer(uint32_t param, bool written);

  // Contiguous accesses by these addresses are written lane by lane: they cannot be aligned.
  void access_by_lane(std::vector<char> addresses) { by_lane_ = std::move(addresses); }

  // Results that are too large for caches are stored past them, where nothing reads them in the same kernel.
  void bypass_caches() { bypass_caches_ = true; }

  // What is read in one sweep is asked for some lines ahead, where an array may be larger than the near caches: stores and
  // arithmetic in between keep the processor's own prefetching short of memory's pace.
  void fetch_ahead() { fetch_ahead_ = true; }
  // A load that several sweeps over a row make: the second asks for the next row, while the processor computes.
  void swept_again(ValueId load) { swept_again_.emplace_back(uint32_t(loop_.insts[load].imm), loop_.insts[load].operand[0]); }

  // Functions may be an ulp further off where that makes them shorter: divisions in them are marked (imm 1 of the
  // instruction), 16-bit types have texts of their own. `narrow`: f32 values of the loop that end as 16 bits: they are
  // treated like these.
  void use_short_functions(std::vector<char> narrow) { short_functions_ = true; narrow_ = std::move(narrow); b_.forbid_tables(); }

  // Two accesses of every other element, side by side, become one of all: (on a CPU).
  void join_pairs() { pairs_ = true; }
  // The distance of two addresses where it is the same everywhere.
  static std::optional<int64_t> distance(const Loop& loop, ValueId from, ValueId to);
  // For an address that moves by two along an axis: how the other load of every other element is placed, +1 or -1; 0: none.
  static int other_load(const Loop& loop, const Inst& load);

  // How an address moves along an axis: address(axis + 1) - address(axis), where that is the same everywhere.
  static std::optional<Dim> step_along(const Loop& loop, ValueId address, int axis);

  KernelBuilder& builder() { return b_; }
  const Loop& loop() const { return loop_; }

 private:
  struct Level {
    AxisMask bound = 0, own = 0;
    int depth = 0;
    std::unordered_map<ValueId, Kv> values, first_lane;  // first_lane: of values that vary over the vector axis
    std::unordered_map<ValueId, size_t> levels;          // level_of, as seen from this level
    std::unordered_map<uint64_t, Kv> wide;               // two loads in one: by parameter and place of lane 0
  };
  bool varies(ValueId v) const { return vector_axis_ >= 0 && (loop_.depends[v] >> vector_axis_ & 1); }
  // The outermost level where v can be computed: its axes are bound and the reductions it uses are defined.
  size_t level_of(ValueId v);
  Kv compute(ValueId v);
  Kv scalar_op(ValueId v);
  Kv position_test(ValueId v);
  Kv load(const Inst& i);
  Kv first_lane(ValueId v);
  Kv affine_first_lane(ValueId v, const Affine& a);
  Kv masked(Kv predicate);
  Kv philox(const Inst& i);
  Kv checked_index(const Inst& i);
  void store_at(uint32_t p, ValueId address, Kv value, Kv predicate, Kv array_bytes = {});
  Kv array_bytes(const Store& s);  // null where the caches are not to be passed by
  Kv load_at(uint32_t p, ValueId address, Kv predicate);

  KernelBuilder& b_;
  const Loop& loop_;
  std::vector<Level> levels_;
  std::vector<Kv> positions_;
  std::vector<char> by_lane_, narrow_;
  void fetch_ahead(const Inst& load, uint32_t p);
  bool short_functions_ = false, bypass_caches_ = false, fetch_ahead_ = false, pairs_ = false;
  using Place = std::pair<uint32_t, ValueId>;  // a parameter of the loop and an address
  std::vector<Place> fetched_, swept_again_;
  Kv load_pair(const Inst& i);
  int vector_axis_ = -1, lanes_ = 1;
  size_t vector_level_ = 0;
  Guard guard_;
};

}  // namespace phlox

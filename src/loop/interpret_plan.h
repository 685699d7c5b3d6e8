// How the interpreter will walk one reduction, scan or store: the nest of axes, the axis that blocks run along, and for
// each depth of the nest the steps that become due when its index moves. Internal to the interpreter.
#pragma once
#include <memory>
#include <vector>

#include "base/small_vector.h"
#include "loop/block_ops.h"
#include "loop/interpret.h"

namespace phlox::interpreter {

// A reduction's or scan's results: row-major over its axes, in representation.
struct Temp {
  ValueId inst;
  Rep rep;
  SmallVector<std::pair<int, int64_t>, 6> strides;  // axis, stride
  int64_t points = 1;
  std::unique_ptr<std::byte[]> data;
};

enum class StepKind : uint8_t { constant, axis, add_i64, sub_i64, mul_i64, iota, block, load, temp, checked, bitcast };
enum class Count : uint8_t { one, block, width };  // of points: 1, those of the block, the most that a block has

constexpr uint32_t nowhere = ~0u;

// One step. Places are byte offsets in the scratch memory of the running thread.
struct Step {
  StepKind kind;
  Count count = Count::one;
  uint32_t out = nowhere, a = nowhere, b = nowhere, c = nowhere;
  int64_t imm = 0;              // constant: bits of the representation; axis: number; iota, load, temp: step along the block
  BlockFn fn = nullptr;
  BlockFn round = nullptr;      // to a 16-bit float, where results need it
  LoadFn load = nullptr;        // load, temp; bitcast: from memory to the result
  StoreFn store = nullptr;      // bitcast: from the operand to memory
  void* base = nullptr;         // load
  uint32_t index = nowhere;     // load: addresses of the block, where a (the first one) is not enough
  uint32_t predicate = nowhere; // load
  const Temp* source = nullptr; // temp
};

// A value that an item ends in: at one place for all points of a block, or a block.
struct Root { uint32_t at = nowhere; bool scalar = false; };

struct Item {
  enum class Kind : uint8_t { reduce, scan, store } kind;
  uint32_t index;               // of the instruction or store
  SmallVector<int, 8> nest;     // axes, outermost first
  int block_pos = -1;           // where in the nest the blocks are; -1: a single point
  int boundary = 0;             // reduce, scan: the first position whose axis is reduced or scanned
  int64_t width = 1;            // most points of a block
  std::vector<std::vector<Step>> levels;  // [0]: once; [p + 1]: when the index at position p has moved
  size_t scratch_bytes = 0;
  double point_cost = 1;        // rough nanoseconds of one point of the nest
  Root value, other;            // other: the second factor of a chain
  Root address;                 // store
  int64_t address_step = 0;
  Root predicate;
  Temp* result = nullptr;
  bool row() const { return block_pos >= boundary && block_pos >= 0; }  // blocks run along the reduced axis
};

struct Context {
  const Loop& loop;
  const LoopArgs& args;
  bool wide;
  const BlockOps& ops;
  std::vector<int64_t> extents;
  std::vector<std::unique_ptr<Temp>> temps;     // per instruction, null where it is not materialised
  std::vector<void*> loads;                     // per param: where it is read
  Rep rep(DType d) const;
  int64_t points(AxisMask axes) const;
};

Item plan_reduction(Context& c, ValueId inst);  // a reduce or scan
Item plan_store(Context& c, uint32_t store);
void run_item(const Context& c, const Item& item);

}  // namespace phlox::interpreter

// The interpreter of loops. It defines what a Loop means: the scalar ops (scalar_ops.def), the orders of reductions
// (Order in loop.h) and the order of conflicting stores. Every dialect is held against it, and programs run on it where
// there is no compiler.
//
// Every reduction and scan is computed in order of its instruction into an array over the axes that it varies over;
// then the stores run, one after the other. All work is done in blocks of up to 256 points along one axis; which axis,
// and the split over threads, cannot be seen in the results.
// Invariants: only elements that the loop's addresses name are touched; a loop with an empty domain touches nothing.
// Refuses: loads of elements that another point's store has changed (the result is then undefined).
#pragma once
#include <cstdint>
#include <span>

#include "loop/loop.h"

namespace phlox {

struct LoopArgs {
  std::span<void* const> pointers;   // per param: its first element; null for numbers
  std::span<const int64_t> numbers;  // per param: the bits of a number, as in a constant of its type
  std::span<const int64_t> symbols;  // sizes
  // checked_index reports the first bad index that it meets: `index + 1`, or `index` where that is negative, which is
  // never 0. Null: bad indices become 0 unseen.
  int64_t* status = nullptr;
};

enum class InterpretMode : uint8_t {
  exact,  // the meaning of the loop, bit for bit
  wide,   // every float is computed and held as f64: loads convert, only stores round. The oracle of accuracy
};

void interpret_loop(const Loop& loop, const LoopArgs& args, InterpretMode mode = InterpretMode::exact);

}  // namespace phlox

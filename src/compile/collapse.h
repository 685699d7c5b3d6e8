// Simplifies a Loop before it is scheduled, without changing what it computes: drops instructions that no store needs,
// lets axes of extent 1 vanish, and merges axes that every access walks as one.
#pragma once
#include "loop/loop.h"

namespace phlox {

Loop collapse_axes(const Loop& loop);
bool same_loop(const Loop& a, const Loop& b);  // the same text

// Which values the stores need, in any way.
std::vector<char> live_values(const Loop& loop);

// A copy of the live part of a loop in which some values are replaced: for each live instruction in order, `make`
// returns the new instruction (operands already renamed) after adding what it needs through `add`.
class LoopCopy {
 public:
  explicit LoopCopy(const Loop& from) : from_(from), renamed_(from.insts.size(), no_value) {}
  ValueId add(Inst i);                       // into the new loop; interned
  ValueId constant_index(int64_t v) { return add({.op = Scalar::constant, .dtype = DType::i64, .imm = v}); }
  ValueId affine(const Affine& a);
  ValueId renamed(ValueId old) const { return renamed_[old]; }
  void rename(ValueId old, ValueId now) { renamed_[old] = now; }
  Inst with_renamed_operands(Inst i) const;
  const Loop& from() const { return from_; }
  Loop to;

 private:
  const Loop& from_;
  std::vector<ValueId> renamed_;
  std::vector<std::pair<uint64_t, ValueId>> made_;
};

Loop without_dead_values(const Loop& loop);  // values that no store needs are left out

}  // namespace phlox

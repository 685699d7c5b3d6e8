// Printer: what all C-like dialects share: names, blocks, the order of statements, arithmetic on scalars, and helper
// functions that are printed only when used. A dialect supplies types, memory access and its vector spellings.
//
// A vector of more than register_lanes lanes is printed as several registers ("parts"). Consecutive instructions on
// such vectors are printed part by part, so that few registers are live at a time.
#pragma once
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/format.h"
#include "kernel/kernel.h"

namespace phlox {

class Printer {
 public:
  explicit Printer(const Kernel& k);
  virtual ~Printer() = default;

 protected:
  // --- what a dialect supplies
  virtual std::string type_name(KType t) = 0;  // of a value held in a register
  virtual void statement(KValue v, int part) = 0;

  // --- what it may use
  void body();                                                // the instructions of the kernel
  const KInst& inst(KValue v) const { return k_.insts[v]; }
  const KInst& operand(const KInst& i, int n) const { return k_.insts[i.operand[n]]; }
  int part_lanes(int lanes) const { return lanes < k_.register_lanes ? lanes : k_.register_lanes; }
  int parts(int lanes) const { return lanes / part_lanes(lanes); }
  bool is_uniform(const KInst& i) const { return i.op == KOp::constant || i.op == KOp::splat || i.type.lanes == 1; }
  std::string name(KValue v, int part) const;                 // "v3", "v3_1"; scalar constants are their literal
  static std::string literal(DType d, int64_t bits);
  void line(std::string_view text);
  template <class... P>
  void line_of(const P&... p) { line(cat(p...)); }
  // "const T name = " + text; the common form of a statement.
  void define(KValue v, int part, KType t, std::string_view text);
  // Prints a helper function once, before the kernel. Texts share translation units, so every definition but the
  // kernel itself is guarded by its name; equal names mean equal text.
  void helper(std::string_view name, std::string_view text);
  static std::string guarded(std::string_view name, std::string_view text);
  // The text of a scalar op on scalars (one part of a vector); empty where the dialect must spell it.
  std::string scalar_text(const KInst& i, int part = 0);
  // An instruction that can wait in a run to be printed part by part.
  virtual bool waits(const KInst& i) const;
  virtual std::string loop_hint(const KInst& i) const { return i.hint == LoopHint::none ? "NO_UNROLL" : ""; }
  static const char* scalar_type(DType d);                    // C name of a number in a register: "f32", "i64"
  static DType unsigned_of(DType d);

  const Kernel& k_;
  std::string types_, helpers_, out_;

 private:
  void block(BlockId b);
  void flush(std::vector<KValue>& run);
  std::unordered_set<std::string> seen_;
  int depth_ = 1;
};

}  // namespace phlox

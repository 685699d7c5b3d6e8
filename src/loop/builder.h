// LoopBuilder: writes a Loop. Interns values, folds integer arithmetic, and knows enough about index ranges to undo
// the divisions that reshapes bring.
#pragma once
#include <unordered_map>

#include "loop/loop.h"

namespace phlox {

class LoopBuilder;

// A value of the loop under construction.
struct Sv {
  LoopBuilder* b = nullptr;
  ValueId id = no_value;
  explicit operator bool() const { return b != nullptr; }
  DType dtype() const;
  AxisMask axes() const;
};

class LoopBuilder {
 public:
  LoopBuilder() = default;
  LoopBuilder(const LoopBuilder&) = delete;

  // An axis of this extent that is not in `used`: an existing one when there is one, so that loops over equal ranges
  // share their axis and thereby their values.
  int axis_for(Dim extent, AxisMask used);
  int new_axis(Dim extent);
  uint32_t param(Param::Kind kind, DType dtype);

  Sv axis(int a);
  Sv dim(Dim d);
  Sv constant(DType d, double v);
  Sv constant_int(DType d, int64_t v);
  Sv number(uint32_t param);
  Sv load(uint32_t param, Sv address, Sv predicate = {});
  Sv op(Scalar s, Sv a, Sv b = {}, Sv c = {});
  Sv cast(Sv a, DType d);
  Sv bitcast(Sv a, DType d);
  Sv select(Sv c, Sv a, Sv b) { return op(Scalar::select, c, a, b); }
  Sv checked_index(Sv index, Dim size);
  Sv philox(Sv seed, Sv offset, Sv counter, int word);
  Sv reduce(Combine c, Order o, Sv v, AxisMask axes);
  Sv scan(Combine c, Sv v, int axis);
  void store(uint32_t param, Sv address, Sv value, AxisMask domain, Conflict conflict = Conflict::unique,
             Sv predicate = {});

  // Index arithmetic (i64) that simplifies with the extents of the axes.
  Sv index_add(Sv a, Sv b);
  Sv index_mul(Sv a, Dim d);
  Sv index_div(Sv a, Dim d);
  Sv index_mod(Sv a, Dim d);
  Sv linear(std::span<const Sv> index, std::span<const Dim> strides);  // sum of index * stride
  Sv in_bounds(Sv index, Dim size);                                    // 0 <= index < size; constant where provable

  const Loop& loop() const { return loop_; }
  Loop take() { return std::move(loop_); }
  const Inst& inst(Sv v) const { return loop_.insts[v.id]; }

 private:
  Sv add(Inst i);
  Sv from_affine(const Affine& a);
  bool in_range(const Affine& a, Dim limit);  // 0 <= a < limit for every point
  struct Hash { size_t operator()(const Inst& i) const; };
  Loop loop_;
  std::unordered_map<Inst, ValueId, Hash> index_;
};

Sv operator+(Sv a, Sv b);
Sv operator-(Sv a, Sv b);
Sv operator*(Sv a, Sv b);
Sv operator/(Sv a, Sv b);
Sv operator-(Sv a);
Sv operator<(Sv a, Sv b);
Sv operator<=(Sv a, Sv b);
Sv operator&(Sv a, Sv b);
Sv operator|(Sv a, Sv b);

}  // namespace phlox

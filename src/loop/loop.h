// Loop: what one kernel computes, with no word about how.
//
// A loop is a list of axes with symbolic extents, parameters (buffers and numbers), and instructions in SSA order that
// compute scalars at a point of the axes. Every value depends on a set of axes; `reduce` removes axes from that set,
// `scan` keeps them. A store writes a value for every point of its domain. Values are interned: equal expressions are
// one value, which is what makes fused loops share work. Addresses are ordinary i64 arithmetic over axis positions,
// so views, gathers and padding need no special forms; analysis recovers affine addresses (affine_of).
// Stages are not written down: they follow from which axes each reduction removes.
//
// Invariants (verify.cpp): operands precede users; types as scalar_ops.def says; at most 64 axes; the value of a
// store does not depend on axes outside the store's domain. Refuses: control flow, side effects other than stores.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "type/dim.h"
#include "type/dtype.h"

namespace phlox {

enum class Scalar : uint8_t {
#define SCALAR_OP(name, operands, result) name,
#include "loop/scalar_ops.def"
#undef SCALAR_OP
};
constexpr int scalar_op_count = 0
#define SCALAR_OP(name, operands, result) +1
#include "loop/scalar_ops.def"
#undef SCALAR_OP
    ;
enum class ScalarResult : uint8_t { same, test, own };
struct ScalarInfo { const char* name; int operands; ScalarResult result; };
const ScalarInfo& scalar_info(Scalar op);
constexpr bool is_math(Scalar op) { return op >= Scalar::exp; }

enum class Combine : uint8_t { add, mul, min, max, band, bor };
const char* combine_name(Combine c);
// On bool, adding is "or" and multiplying "and", as the greater and the lesser of two are.
constexpr Combine combine_on(DType d, Combine c) {
  return !is_bool(d) ? c : c == Combine::add || c == Combine::max ? Combine::bor : c == Combine::mul || c == Combine::min ? Combine::band : c;
}
constexpr Scalar scalar_on(DType d, Scalar s) {
  return !is_bool(d) ? s : s == Scalar::add || s == Scalar::max ? Scalar::bor : s == Scalar::mul || s == Scalar::min ? Scalar::band : s;
}
constexpr Scalar combining_op(Combine c) {
  constexpr Scalar ops[] = {Scalar::add, Scalar::mul, Scalar::min, Scalar::max, Scalar::band, Scalar::bor};
  return ops[int(c)];
}

// The order in which a reduction combines, which is part of its meaning (docs/adr/0002): the same bits for every
// layout, schedule, thread count and instruction set.
//   tree: the n reduced points in row-major order are cut into blocks of tree_block(n, lanes) points; in a block point
//         p goes to lane p mod lanes, each lane combines in order starting from the identity; lanes combine pairwise
//         (l with l + half, half = 16, 8 ... 1), then blocks combine pairwise (neighbours first: i with i + 1 for even
//         i, and so on with the results). lanes is 32 where the innermost dimension is reduced (tree32), else 1 (tree1).
//   chain: adds only. In order within each 256 points from +0; chunk results added in order, the first one being the
//          start. Where the operand is a mul of floats, it is fused: acc = fma(a, b, acc), and the product is not
//          rounded (its other users see it rounded). For contractions.
// The identities: add +0 (so a sum of nothing but -0 is +0), mul 1, min and max the type's infinity or end, and all ones,
// or 0. A reduction over no points is the identity.
enum class Order : uint8_t { tree32, tree1, chain };
const char* order_name(Order o);
constexpr int order_lanes(Order o) { return o == Order::tree32 ? 32 : 1; }
constexpr int64_t chain_chunk = 256;
int64_t tree_block(int64_t n, int lanes);  // points in a block; there are at most 64 blocks
Dim tree_block(Dim n, int lanes);

using ValueId = uint32_t;
using AxisMask = uint64_t;
constexpr ValueId no_value = ~0u;

struct Axis { Dim extent; };

struct Param {
  enum class Kind : uint8_t { in, out, inout, number } kind;
  DType dtype;
};

struct Inst {
  Scalar op;
  DType dtype;
  Combine combine = Combine::add;    // reduce, scan
  Order order = Order::tree32;       // reduce, scan
  uint8_t operand_count = 0;
  ValueId operand[3] = {no_value, no_value, no_value};
  int64_t imm = 0;                   // constant: bits; dim: raw Dim; axis: number; load, number: param; philox: word
  AxisMask axes = 0;                 // reduce: removed axes; scan: the axis
  friend bool operator==(const Inst&, const Inst&) = default;
};

// How two stores to one element (through gathered addresses) are resolved. The order is that of the domain, row-major.
enum class Conflict : uint8_t { unique, last, ordered_add, ordered_mul, ordered_min, ordered_max };
const char* conflict_name(Conflict c);
constexpr Conflict conflict_on(DType d, Conflict c) {
  return !is_bool(d) ? c : c == Conflict::ordered_add ? Conflict::ordered_max : c == Conflict::ordered_mul ? Conflict::ordered_min : c;
}

struct Store {
  uint32_t param;
  ValueId address, value;
  ValueId predicate = no_value;  // stored only where true
  AxisMask domain;
  Conflict conflict = Conflict::unique;
  friend bool operator==(const Store&, const Store&) = default;
};

struct Loop {
  std::vector<Axis> axes;
  std::vector<Param> params;
  std::vector<Inst> insts;
  std::vector<AxisMask> depends;  // per value: the axes that it varies over
  std::vector<Store> stores;
};

// An address or index as base + sum of coefficient * axis; `ok` is false when it is not of that form.
struct Affine {
  bool ok = false;
  Dim base = 0;
  SmallVector<std::pair<int, Dim>, 4> terms;  // by axis number, no zero coefficients
  Dim coefficient(int axis) const;
};
Affine affine_of(const Loop& loop, ValueId v);

std::string print_loop(const Loop& loop);
Loop parse_loop(std::string_view text);   // throws Error(invalid_argument) with the line
void verify_loop(const Loop& loop);       // throws InternalError that names the instruction
uint64_t hash_of(const Loop& loop);      // in this process; on disk, hash the text
AxisMask depends_of(const Loop& loop, const Inst& i);  // from the depends of its operands

double constant_value(const Inst& i);       // of a constant, as double
int64_t constant_bits(DType d, double v);   // a value rounded to d, as the bits that a constant holds
int64_t constant_bits_int(DType d, int64_t v);

}  // namespace phlox

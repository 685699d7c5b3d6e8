// Scalar ops on blocks: the loops at the bottom of the interpreter, one function an op and representation, compiled for
// the baseline instruction set and for AVX2 with fused multiply-add; both give the same bits.
//
// A value of a loop is held in its representation: integers as they are, bool as u8 of 0 or 1, 16-bit floats as f32
// (always rounded to their own type), and in wide mode every float as f64.
// Invariant: out may be the same block as an operand of equal size, never overlap it otherwise.
// Refuses: blocks of more than block_points points.
#pragma once
#include <cstdint>

#include "loop/loop.h"

namespace phlox {

enum class Rep : uint8_t { u8, i8, i16, u16, i32, u32, i64, u64, f32, f64 };
constexpr int rep_bytes(Rep r) {
  constexpr uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
  return bytes[int(r)];
}
constexpr bool is_float(Rep r) { return r >= Rep::f32; }
constexpr int64_t block_points = 256;

// Elements base[index[i]], or base[first + i * step] where index is null; only those whose predicate is set.
struct BlockAccess {
  void* base;
  int64_t first = 0, step = 1;
  const int64_t* index = nullptr;
  const uint8_t* predicate = nullptr;
};

using BlockFn = void (*)(void* out, const void* a, const void* b, const void* c, int64_t n);
using LoadFn = void (*)(void* out, const BlockAccess& at, int64_t n);
using StoreFn = void (*)(const BlockAccess& at, const void* value, int64_t n);
using FoldFn = void (*)(void* acc, const void* x, int64_t lane, int64_t n);
using ScanFn = void (*)(void* out, const void* x, void* carry, int64_t n);
using ChainFn = void (*)(void* acc, const void* a, const void* b, int64_t n);

// Each returns null where the op has no meaning for the representation.
struct BlockOps {
  BlockFn (*op)(Scalar op, Rep r);         // arithmetic, tests, bits, select (a: condition); not math functions
  BlockFn (*cast)(Rep from, Rep to);
  BlockFn (*to_bool)(Rep from);
  BlockFn (*round)(DType d);               // f32 to the values of f16 or bf16; null for other types
  BlockFn (*fill)(int bytes);              // out[i] = a[0]
  BlockFn (*philox)(int word);             // seed, offset, counter
  LoadFn (*load)(DType d, bool wide);
  StoreFn (*store)(DType d, bool wide, Conflict c);
  FoldFn (*fold32)(Combine c, Rep r);      // point i into acc[(lane + i) % 32]
  FoldFn (*fold1)(Combine c, Rep r);       // point after point into acc[0]
  ScanFn (*scan)(Combine c, Rep r);        // out[i] = carry = carry combined with x[i]
  ChainFn (*chain_row)(Rep r);             // acc[0] = fma(a[i], b[i], acc[0]), in order
  ChainFn (*chain_column)(Rep r, bool scalar_a, bool scalar_b);  // acc[i] = fma(a[i], b[i], acc[i]); scalar: a[0]
};
bool has_avx2();              // and fused multiply-add
const BlockOps& block_ops();  // of this machine
const BlockOps& baseline_block_ops();
const BlockOps& avx2_block_ops();

}  // namespace phlox

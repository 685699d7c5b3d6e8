// Kernel: how one kernel computes its Loop. Every loop, lane, memory space, thread binding and barrier is explicit;
// printing a Kernel is spelling, never deciding. One Kernel serves all dialects.
//
// A kernel is a tree of blocks of instructions in SSA form. A value is a vector of `lanes` elements (1: a scalar);
// an instruction on vectors works lane by lane. A dialect spells a vector of more than `register_lanes` lanes as several
// registers. Mutable state is explicit: variables (var, get, set) and local arrays. Loop bodies' math functions are
// already expanded, and integer divisions already guarded: what is left are scalar ops below Scalar::exp that every
// dialect spells directly. Values of 16-bit floats are only loaded, stored and cast.
//
// The entry of every kernel is  void k(const uint64_t* words, int64_t begin, int64_t end)  where the word table says
// what each word is. A CPU kernel computes the work items [begin, end); a CUDA kernel finds its item from its block.
// Invariants (verify.cpp): operands are visible at their use (same or enclosing block, earlier); lanes agree;
// addresses are i64; only `set` and the stores have effects. Refuses: user text, unbounded nesting (64), recursion.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "loop/loop.h"
#include "type/dim.h"
#include "type/target.h"

namespace phlox {

// KERNEL_OP(name, least operands, most operands, result)   result: none | value (of `type`)
//   Memory operands are (address, [value,] [count | mask]); `imm` is the index into Kernel::params.
#define PHLOX_KERNEL_OPS(KERNEL_OP)                                                                        \
  KERNEL_OP(constant, 0, 0, value)       /* imm: bits, on every lane */                                    \
  KERNEL_OP(word, 0, 0, value)           /* words[imm] as dtype */                                         \
  KERNEL_OP(item_begin, 0, 0, value)     /* the range of work items (cuda: one item a block) */            \
  KERNEL_OP(item_end, 0, 0, value)                                                                         \
  KERNEL_OP(scalar, 1, 3, value)         /* `scalar` lane by lane */                                       \
  KERNEL_OP(splat, 1, 1, value)          /* a scalar on every lane */                                      \
  KERNEL_OP(iota, 0, 0, value)           /* 0, 1, 2, ... */                                                \
  KERNEL_OP(extract, 1, 1, value)        /* lane imm */                                                    \
  KERNEL_OP(lane_fold, 1, 1, value)      /* combines lane l with lane l + half until one is left */        \
  KERNEL_OP(interleave, 2, 2, value)     /* a0, b0, a1, b1, ...: twice the lanes */                        \
  KERNEL_OP(every_other, 1, 1, value)    /* lanes imm, imm + 2, ...: half of them; imm 0 or 1 */           \
  KERNEL_OP(lookup, 1, 1, value)         /* math::tables[imm][the low five bits], f32 by i32 */             \
  KERNEL_OP(scale_exponent, 3, 3, value) /* a 2^b, b integral or NaN, rounded once; c: b + 1.5 2^23 (f64: 2^52) */ \
  KERNEL_OP(any, 1, 1, value)            /* bool: is a lane true */                                        \
  KERNEL_OP(load, 1, 1, value)           /* param[address + l] */                                          \
  KERNEL_OP(load_partial, 2, 2, value)   /* the first `count` lanes, the others 0; touches nothing past */ \
  KERNEL_OP(load_masked, 2, 2, value)    /* lanes where the mask holds, the others 0 */                    \
  KERNEL_OP(load_strided, 2, 2, value)   /* param[address + l * stride] */                                 \
  KERNEL_OP(load_gather, 1, 2, value)    /* param[address_l], where the mask holds, else 0 */              \
  KERNEL_OP(store, 2, 3, none)           /* third: bytes of the whole array; large ones pass by the caches */ \
  KERNEL_OP(store_partial, 3, 3, none)                                                                     \
  KERNEL_OP(store_masked, 3, 3, none)                                                                      \
  KERNEL_OP(store_strided, 3, 3, none)   /* address, value, stride */                                      \
  KERNEL_OP(store_scatter, 2, 3, none)   /* lanes in order */                                              \
  KERNEL_OP(local, 0, 0, value)          /* an array of imm elements of `type` in `space`: its handle */   \
  KERNEL_OP(local_load, 2, 3, value)     /* handle, index: contiguous lanes; third: of which block of the cluster */                             \
  KERNEL_OP(local_store, 3, 3, none)     /* handle, index, value */                                        \
  KERNEL_OP(var, 1, 1, value)            /* a mutable variable with its initial value */                   \
  KERNEL_OP(get, 1, 1, value)                                                                              \
  KERNEL_OP(set, 2, 2, none)                                                                               \
  KERNEL_OP(for_range, 3, 3, value)      /* from, to, step > 0: body; the value is the position */         \
  KERNEL_OP(if_true, 1, 1, none)         /* a bool scalar: body, else other */                             \
  KERNEL_OP(report, 2, 2, none)          /* bad (bool scalar), index -> the status word (imm) */           \
  KERNEL_OP(prefetch, 1, 1, none)        /* param imm, address */                                          \
  KERNEL_OP(address, 1, 1, value)        /* the byte address of param imm [operand], as i64 */             \
  KERNEL_OP(tile, 0, 0, none)            /* the matrix leaf Kernel::tiles[imm] */                          \
  KERNEL_OP(thread_id, 0, 0, value)      /* GPU; imm: dimension */                                         \
  KERNEL_OP(block_id, 0, 0, value)                                                                         \
  KERNEL_OP(barrier, 0, 0, none)         /* imm 0: block, 1: warp, 2: until the launch before has ended, 3: cluster */ \
  KERNEL_OP(shuffle_xor, 1, 1, value)    /* lane exchange within a warp; imm: lane mask */                 \
  KERNEL_OP(shuffle_up, 1, 1, value)     /* that of the lane imm before, the own one where there is none */ \
  KERNEL_OP(shuffle_lane, 1, 1, value)   /* that of lane imm */                                            \
  KERNEL_OP(power2, 1, 1, value)         /* GPU; 2^x in f32, right to 2^-21 where that is a normal number */ \
  KERNEL_OP(atomic_add, 2, 2, none)      /* address, value */

enum class KOp : uint8_t {
#define KERNEL_OP(name, least, most, result) name,
  PHLOX_KERNEL_OPS(KERNEL_OP)
#undef KERNEL_OP
};
constexpr int kernel_op_count = 0
#define KERNEL_OP(name, least, most, result) +1
    PHLOX_KERNEL_OPS(KERNEL_OP)
#undef KERNEL_OP
    ;
struct KOpInfo { const char* name; uint8_t least, most; bool has_result; };
const KOpInfo& kernel_op_info(KOp op);

enum class Space : uint8_t { stack, shared };
enum class LoopHint : uint8_t { none, unroll };

struct KType { DType dtype = DType::i64; uint16_t lanes = 1; friend bool operator==(KType, KType) = default; };
void append(std::string& s, KType t);  // "f32x16", "i64"

using KValue = uint32_t;
using BlockId = uint32_t;
constexpr KValue no_kvalue = ~0u;
constexpr BlockId no_block = ~0u;

struct KInst {
  KOp op;
  KType type;                        // of the result; stores: of the value
  Scalar scalar = Scalar::constant;  // op == scalar
  Combine combine = Combine::add;    // lane_fold
  Space space = Space::stack;        // local
  LoopHint hint = LoopHint::none;    // for_range
  uint8_t operand_count = 0;
  KValue operand[3] = {no_kvalue, no_kvalue, no_kvalue};
  BlockId body = no_block, other = no_block;
  int64_t imm = 0;
};

struct KBlock { std::vector<KValue> insts; };

// A matrix leaf: work on memory that is too large to be written node by node, of a fixed meaning. A dialect prints it as
// a function. Operands are scalar i64: byte addresses (KOp::address), strides in elements, counts.
struct KTile {
  enum class Kind : uint8_t {
    // C[i][j] (first: =, else: +=) S, i < rows, j < cols; S is one chain of fused multiply-adds over k < count from +0.
    // a, a_stride, b, b_stride, c, c_stride, count, first, cols, next_c, next_b, next_b_stride, live rows
    // A[i][k] is a[k * a_stride + i], or a[i * a_stride + k] where row_major_a; B is b[k * b_stride + j] with
    // vectors * lanes readable elements a row. next_c and next_b only say what is read soon.
    multiply,
    pack_rows,     // src, stride, n, count, dst, width:   dst[k * width + i] = src[i * stride + k], i < n
    pack_columns,  // src, stride, n, count, dst, width:   dst[k * width + i] = src[k * stride + i]
    pack_any,      // src, stride i, stride k, n, count, dst, width
    // src, table, count, first, n, row, row_step, dst, width: position p = first + i, i < n, lies at
    // (p / row) * row_step + p % row, and dst[k * width + i] = src[table[k] + that]; table holds i64.
    pack_windows,
    // src, table, n, count, dst, dst_stride: dst[i * dst_stride + k] = src[table[i] + k], i < n, k < count; table holds i64. Up to
    // a vector more is read and written behind each row.
    copy_rows,
    // All of k at once, chunks of chain_chunk added in order, for few rows:
    row_dot,    // a, a_stride, b, b_stride, cols, c, c_stride, count:  B[k][j] = b[j * b_stride + k], cols <= lanes
    row_sweep,  // a, a_stride, a_step, b, b_stride, cols, c, c_stride, count, t, t_stride:  B[k][j] = b[k * b_stride + j];
                // t: `rows` rows of cols + lanes elements for its use
    // GPU, all threads of a block of `vectors` warps: w, w_step, n0, n, a, a_step, count, parts. Of the eight columns from n0,
    // parts[(warp * rows + i) * 8 + j] = what the warp has of the sum over k < count of a[i * a_step + k] * w[(n0 + j) * w_step + k].
    // Elements are f32 or of the flag's type; a is an address or a shared array, parts a shared array of f32.
    skinny,
  };
  // short_rows: only the first `live` rows exist in C; ahead_n: n rows of next_b come nearer every 16 steps instead of one
  enum Flags : uint8_t { row_major_a = 1, prefetch = 2, short_rows = 4, ahead_2 = 8, ahead_4 = 16, of_f16 = 32, of_bf16 = 64 };
  Kind kind;
  DType dtype = DType::f32;  // f32 or f64
  uint8_t rows = 1, vectors = 1, flags = 0;
  uint16_t lanes = 1;
  SmallVector<KValue, 13> operands;
};
const char* tile_name(KTile::Kind k);
int tile_operands(KTile::Kind k);

// What a word holds. The scratch word points to Kernel::scratch_bytes of memory that only this call uses, 64-byte aligned,
// with undefined contents. The status word points to an i64 that is 0 until a bad index is met: then index + 1, or index where
// that is negative.
struct Word {
  enum class Kind : uint8_t { pointer, dim, number, status, scratch } kind;
  uint32_t param = 0;  // pointer, number: the loop's parameter, or (pointers) the loop's parameter count + a temp
  Dim dim = 0;         // dim: its formula
  friend bool operator==(const Word&, const Word&) = default;
};

struct KParam { DType dtype; uint32_t word; bool written; };  // a buffer and the word that points to it

struct Kernel {
  std::vector<KParam> params;
  std::vector<Word> words;
  std::vector<KInst> insts;
  std::vector<KBlock> blocks;  // blocks[0] is the body
  std::vector<KTile> tiles;
  Dim items = 1;               // work items of a launch
  Dim item_cost = 1;           // rough nanoseconds of one item: decides the grain
  Dim scratch_bytes = 0;
  uint16_t register_lanes = 1;
  // cuda
  uint32_t threads = 1, shared_bytes = 0, cluster = 1;
  bool early = false;  // may start while the launch before it runs: what that writes is touched behind a barrier 2 only
};

constexpr bool has_effect(KOp op) { return op == KOp::set || op == KOp::report || op == KOp::barrier ||
    op == KOp::atomic_add || op == KOp::prefetch || op == KOp::tile || (op >= KOp::store && op <= KOp::store_scatter) ||
    op == KOp::local_store; }
constexpr bool opens_block(KOp op) { return op == KOp::for_range || op == KOp::if_true; }
constexpr bool is_shuffle(KOp op) { return op == KOp::shuffle_xor || op == KOp::shuffle_up || op == KOp::shuffle_lane; }
constexpr bool accesses_memory(KOp op) {
  return (op >= KOp::load && op <= KOp::store_scatter) || op == KOp::prefetch || op == KOp::address || op == KOp::atomic_add;
}

// Removes what nothing uses: pure instructions, variables that are never read.
void remove_dead(Kernel& k);
// The identity of a combination, as constant bits of the type.
int64_t combine_identity(Combine c, DType d);

std::string print_kernel(const Kernel& k);
Kernel parse_kernel(std::string_view text);  // throws Error(invalid_argument) with the line
void verify_kernel(const Kernel& k);         // throws InternalError that names the instruction

}  // namespace phlox

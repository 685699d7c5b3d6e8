// Kernel: how one kernel computes its Loop. Every loop, lane, memory space, thread binding and barrier is explicit;
// printing a Kernel is spelling, never deciding. One Kernel serves all dialects.
//
// A kernel is a tree of blocks of instructions in SSA form. A value is a vector of `lanes` elements (1: a scalar);
// an instruction on vectors works lane by lane. Mutable state is explicit: variables (var, get, set) and local arrays.
// Loop bodies' math functions are already expanded: what is left are the scalar ops below Scalar::exp.
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

enum class KOp : uint8_t {
  constant,       // imm: bits, on every lane
  word,           // words[imm] as dtype
  item_begin, item_end,  // the kernel's range of work items (cuda: one item per block, item_end = item_begin + 1)
  scalar,         // `scalar` lane by lane
  splat,          // a scalar on every lane
  iota,           // 0, 1, 2, ...
  extract,        // lane imm of a vector
  concat,         // two vectors of n lanes -> one of 2n
  low, high,      // half of a vector
  lane_fold,      // combines lane l with lane l + half until one is left (the tree order)
  load,           // param[address .. address+lanes): contiguous
  load_partial,   // as load, the first `count` lanes; the others are 0; touches nothing past count
  load_strided,   // param[address + l * stride]
  load_gather,    // param[address_l], address a vector
  store, store_partial, store_strided, store_scatter,  // likewise; the value is the last operand
  local,          // an array of imm elements in `space`; value: its handle
  local_load, local_store,  // handle, element index [, value]: contiguous lanes
  var,            // a mutable variable with an initial value
  get, set,
  for_range,      // from, to, step (operands): body block, induction value = this value (i64)
  if_true,        // condition (bool scalar): body block, else block (or none)
  report,         // bad index: condition (bool, any lane), writes the status word (param imm)
  prefetch,       // param imm, address
  // GPU
  thread_id, block_id, barrier,  // imm: dimension; barrier: imm 0 = block, 1 = warp
  shuffle_xor,    // lane exchange within a warp
  atomic_add,
};

enum class Space : uint8_t { stack, thread_scratch, shared };
enum class LoopHint : uint8_t { none, unroll, no_unroll };

struct KType { DType dtype = DType::i64; uint16_t lanes = 1; friend bool operator==(KType, KType) = default; };

using KValue = uint32_t;
using BlockId = uint32_t;
constexpr KValue no_kvalue = ~0u;
constexpr BlockId no_block = ~0u;

struct KInst {
  KOp op;
  KType type;
  Scalar scalar = Scalar::constant;  // op == scalar
  Combine combine = Combine::add;    // lane_fold, atomic
  Space space = Space::stack;
  LoopHint hint = LoopHint::none;
  uint8_t operand_count = 0;
  KValue operand[4] = {no_kvalue, no_kvalue, no_kvalue, no_kvalue};
  BlockId body = no_block, other = no_block;
  int64_t imm = 0;
};

struct KBlock { std::vector<KValue> insts; };

// What a word holds.
struct Word {
  enum class Kind : uint8_t { pointer, dim, number, status } kind;
  uint32_t param = 0;  // pointer, number: the loop's parameter
  Dim dim = 0;         // dim: its formula
};

struct KParam { DType dtype; uint32_t word; bool written; };  // a buffer and the word that points to it

struct Kernel {
  std::vector<KParam> params;
  std::vector<Word> words;
  std::vector<KInst> insts;
  std::vector<KBlock> blocks;  // blocks[0] is the body
  Dim items = 1;               // work items of a launch
  Dim item_cost = 1;           // rough nanoseconds of one item: decides the grain
  // cuda
  uint32_t threads = 1, shared_bytes = 0, cluster = 1;
};

std::string print_kernel(const Kernel& k);
Kernel parse_kernel(std::string_view text);
void verify_kernel(const Kernel& k);

}  // namespace phlox

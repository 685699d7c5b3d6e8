// Op: what a computation means, in one record. Everything else about an op (eager function, traced node, gradient,
// kernels on every device, bindings, documentation, tests) is derived from it.
//
// Kinds, by which rule is given:
//   composite  expand: builds the meaning from other ops
//   loop       loop:   the value of one result element, as loop-level scalars; views are loop ops that only move indices
//   extern     reference: a host function on whole tensors (sort, linear algebra); opaque to fusion
//   control    carries sub-graphs
// Records are constant-initialised and live in ops/; this header knows nothing of loops (LoopBuilder is declared only).
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "graph/arg.h"
#include "graph/schema.h"
#include "type/host_call.h"
#include "type/tensor_type.h"

namespace phlox {

class Graph;
class GraphBuilder;
class Args;
struct Val;
class Vjp;
class ElementContext;  // ops/element.h
struct Sv;             // loop/builder.h
struct Node;
class StagedCall;      // ops/staged.h

using Vals = SmallVector<Val, 2>;
using TypeRule = void (*)(const Args& a, SmallVector<TensorType, 2>& results);
using ExpandRule = Vals (*)(const Args& a);
using VjpRule = void (*)(Vjp& v);
using LoopRule = Sv (*)(ElementContext& c, std::span<const Sv> index);
using StoreRule = void (*)(ElementContext& c, uint32_t out_param);
using StagedRule = bool (*)(StagedCall& c);  // false: these arguments need no stages
using ReferenceRule = HostFunction;  // on whole tensors in host memory

enum class Effects : uint8_t {
  none = 0,
  random = 1,      // takes a hidden (seed, offset) operand
  host_read = 2,   // the result's shape depends on data: reads it on the host
  no_capture = 4,  // may not be part of a captured graph
};
constexpr Effects operator|(Effects a, Effects b) { return Effects(uint8_t(a) | uint8_t(b)); }
constexpr bool has(Effects a, Effects b) { return (uint8_t(a) & uint8_t(b)) != 0; }

// Which forms are derived from the functional op.
enum class Forms : uint8_t { none = 0, in_place = 1, out = 2, both = 3 };

enum class Autocast : uint8_t { none, lower, f32, promote };

class SampleBuilder;   // ops/sample.h
using SampleRule = void (*)(SampleBuilder& s);

struct OpRecord {
  const char* schema;              // may not be null
  const char* doc = "";
  TypeRule type = nullptr;         // loop and extern ops, and composites that stay nodes (those with a vjp)
  ExpandRule expand = nullptr;
  LoopRule loop = nullptr;
  StoreRule stores = nullptr;      // a loop op whose elements cannot be asked for one by one (scatter): its stores
  StagedRule staged = nullptr;     // eager calls that are several calls: sizes that depend on data, operands that change
  ReferenceRule reference = nullptr;
  const char* native = nullptr;    // extern: name of its entry in native/
  VjpRule vjp = nullptr;
  Forms forms = Forms::none;
  bool view = false;               // only moves indices: eager results alias the operand where strides can say it
  bool must_alias = false;         // a view that is an error where strides cannot say it
  Effects effects = Effects::none;
  Autocast autocast = Autocast::none;
  uint64_t static_args = 0;        // bit i: argument i is part of the key although its type is run-time
  SampleRule sample = nullptr;
};

struct Op {
  OpRecord record;
};

// A registered op: its record with the parsed schema. Addresses are stable for the life of the process.
struct OpInfo {
  const Op* op;
  Schema schema;
  uint32_t id;
};

}  // namespace phlox

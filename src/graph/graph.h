// Graph: a composition of ops on typed values, in SSA order. It knows nothing about execution and users never mutate
// it: builders append, passes write new graphs.
//
//   graph(%0: f32[s0,4], %1: f32[4]) {
//     %2 = prim::broadcast(%1, [s0, 4], [1])  : f32[s0,4]
//     %3 = prim::add(%0, %2)                  : f32[s0,4]
//     return %3
//   }
#pragma once
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "graph/op.h"

namespace phlox {

using NodeId = uint32_t;
using GraphValue = uint32_t;
constexpr NodeId no_node = ~0u;

struct Node {
  const OpInfo* op;
  SmallVector<Arg, 4> args;             // by schema; lists and strings in the graph's arena
  SmallVector<GraphValue, 1> results;
  uint32_t group = 0;                   // the user-level op call that it came from: rounding boundary in strict mode
  const char* location = nullptr;       // "file:line" of the user's call, interned
};

struct ValueInfo {
  TensorType type;
  NodeId node;       // no_node: a graph input
  uint32_t index;    // result or input number
};

class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;

  GraphValue add_input(TensorType type, bool number = false);
  // Appends a node whose result types are known. Args are copied into the arena.
  NodeId add_node(const OpInfo& op, std::span<const Arg> args, std::span<const TensorType> results);
  void set_outputs(std::span<const GraphValue> outputs) { outputs_.clear(); outputs_.append(outputs.begin(), outputs.end()); }

  const std::deque<Node>& nodes() const { return nodes_; }
  Node& node(NodeId n) { return nodes_[n]; }
  const Node& node(NodeId n) const { return nodes_[n]; }
  const ValueInfo& value(GraphValue v) const { return values_[v]; }
  const TensorType& type(GraphValue v) const { return values_[v].type; }
  size_t value_count() const { return values_.size(); }
  std::span<const GraphValue> inputs() const { return inputs_; }
  std::span<const GraphValue> outputs() const { return outputs_; }
  bool is_number(GraphValue v) const { return values_[v].node == no_node && numbers_[values_[v].index]; }

  void set_weak(GraphValue v) { values_[v].type.weak = true; }  // a wrapped number
  void set_strides(GraphValue v, Dims strides) { values_[v].type.strides = std::move(strides); }  // where it is stored
  Arg keep(const Arg& a);  // a copy whose lists and strings live in this graph
  uint32_t current_group = 0;
  const char* current_location = nullptr;

 private:
  std::deque<Node> nodes_;        // deques: references stay valid while a rule appends
  std::deque<ValueInfo> values_;
  SmallVector<GraphValue, 4> inputs_, outputs_;
  std::vector<bool> numbers_;
  std::deque<std::vector<Arg>> lists_;
  std::deque<std::string> strings_;
};

// Looks an op up by its full name, "add.Tensor" or "prim::add"; null when there is none.
using OpTable = const OpInfo* (*)(std::string_view full_name);

std::string print_graph(const Graph& g);
std::string print_arg(const Arg& a, ParamType type);
Graph parse_graph(std::string_view text, OpTable ops);  // throws Error(invalid_argument) with the line
void verify_graph(const Graph& g);                      // throws InternalError that names the node
uint64_t hash_of(const Graph& g);                       // structural: equal for equal text

// Copies `from` into `to` (inputs bound to `inputs`), keeping composites; returns the values of from's outputs.
// Symbols of `from` become `symbols`.
SmallVector<GraphValue, 2> inline_graph(Graph& to, const Graph& from, std::span<const GraphValue> inputs,
                                        std::span<const Dim> symbols);

// A graph without nodes that no output needs.
Graph prune(const Graph& g);

}  // namespace phlox

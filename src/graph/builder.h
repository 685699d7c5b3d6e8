// GraphBuilder, Val, Args, Vjp: how op records are written. A Val is a value of the graph being built; operators and
// the functions of ops/ append nodes to it.
#pragma once
#include <optional>

#include "base/error.h"
#include "graph/graph.h"

namespace phlox {

struct Val {
  GraphBuilder* g = nullptr;
  GraphValue id = 0;
  explicit operator bool() const { return g != nullptr; }
  const TensorType& type() const;
  DType dtype() const { return type().dtype; }
  const Dims& shape() const { return type().shape; }
  Dim size(int d) const;  // from the end where d is negative; Error when there is no such dimension
  int rank() const { return type().rank(); }
  Dim numel() const { return type().numel(); }
};

class GraphBuilder {
 public:
  explicit GraphBuilder(Graph& graph) : graph_(graph) {}
  GraphBuilder(const GraphBuilder&) = delete;
  Graph& graph() { return graph_; }

  Val input(TensorType type, bool number = false) { return {this, graph_.add_input(std::move(type), number)}; }
  // Appends a call: a composite without a vjp expands at once, others become a node typed by their rule.
  Vals call(const OpInfo& op, std::span<const Arg> args);
  Val wrap(GraphValue v) { return {this, v}; }
  void outputs(std::span<const Val> vals);
  Val random_state;  // i64[2], seed and offset: the hidden operand of random ops

 private:
  Graph& graph_;
};

// The arguments of a call as its rules read them, by position in the schema. Missing trailing arguments have been
// filled with the schema's defaults.
class Args {
 public:
  Args(GraphBuilder& g, const OpInfo& op, std::span<const Arg> args) : g_(g), op_(op), args_(args) {}
  GraphBuilder& builder() const { return g_; }
  const OpInfo& op() const { return op_; }
  const char* name() const { return op_.schema.name.c_str(); }
  size_t size() const { return args_.size(); }
  const Arg& raw(int i) const {  // past the end: the rule reads an argument that this overload does not have
    PHLOX_CHECK(i >= 0 && size_t(i) < args_.size(), op_.schema.name, " has no argument ", i);
    return args_[size_t(i)];
  }

  Val operator[](int i) const;          // a tensor; or a number argument as a weak 0-d value
  bool has(int i) const { return !raw(i).is_none(); }
  Val optional(int i) const { return has(i) ? (*this)[i] : Val{}; }
  std::vector<Val> vals(int i) const;   // Tensor[]; a missing Tensor? item is a null Val
  bool b(int i, bool absent = false) const;
  Dim d(int i) const;                   // int
  int64_t i(int i) const;               // int, fixed with a guard if symbolic
  double f(int i) const;                // float or Scalar, fixed
  bool is_static_number(int i) const;   // a Scalar whose value is known while building
  Dims dims(int i) const;               // int[]
  Ints ints(int i) const;               // int[], fixed with guards
  std::optional<DType> dtype(int i) const;
  std::string_view s(int i) const;
  Val random_state() const;             // the hidden operand of a random op
  int dim(int i, int rank) const;       // a dimension index, wrapped; error when out of range

  // The user errors of this op. `arg`: which argument; got and expected as text.
  [[noreturn]] void error(std::string fact, std::string got = {}, std::string expected = {},
                          std::string remedy = {}) const;

 private:
  GraphBuilder& g_;
  const OpInfo& op_;
  std::span<const Arg> args_;
};

// How a known number becomes a weak 0-d value: set once by ops/, because graph/ itself names no op.
using NumberRule = Val (*)(GraphBuilder& g, const TensorType& type, const Arg& number);
void set_number_rule(NumberRule rule);

int wrap_dim(int64_t d, int rank, const char* op);  // -rank <= d < rank (rank 0 counts as 1)

// What a vjp rule sees: the call's inputs and results, and the gradients of the results. It sets a gradient for each
// input that needs one. Every value that it touches is saved or recomputed; it touches only what it uses.
class Vjp {
 public:
  Vjp(GraphBuilder& g, const Node& node) : g_(g), node_(node) {}
  GraphBuilder& builder() { return g_; }
  const Node& node() const { return node_; }
  Args args() const { return Args(g_, *node_.op, bound_args); }
  Val in(int arg) const { return args()[arg]; }
  Val out(int i = 0) const { return outs[i]; }
  Val grad(int i = 0) const { return grads[i]; }   // null when result i has no gradient
  bool needs(int arg) const;                       // argument `arg` is a tensor that needs a gradient
  void set(int arg, Val g);                        // a gradient of the argument's own shape and dtype
  void set_item(int arg, int item, Val g);         // of an item of a Tensor[]

  std::vector<Arg> bound_args;                     // the node's args in the gradient graph
  SmallVector<Val, 2> outs, grads;
  std::vector<bool> needed;                        // per tensor argument, lists flattened
  std::vector<Val> result;                         // likewise

 private:
  int flat(int arg, int item) const;
  GraphBuilder& g_;
  const Node& node_;
};

}  // namespace phlox

// ElementContext: how a loop op says what one element of its result is. The op asks for elements of its operands at
// indices that it computes; whether an operand is a buffer or another op's body fused in place is not its concern.
//
// Elements come as scalars of the compute type: 16-bit floats as f32. A predicate guards an access: where it is false
// no memory is touched and the element is 0.
#pragma once
#include "graph/builder.h"
#include "loop/builder.h"

namespace phlox {

// Gives elements of graph values. Implemented by whoever turns a graph into loops.
class ElementSource {
 public:
  virtual ~ElementSource() = default;
  virtual Sv element(GraphValue v, std::span<const Sv> index, Sv predicate) = 0;
  // Of a value that lies in memory row by row: the element at a position there. Null for other values.
  virtual Sv element_at(GraphValue v, Sv position, Sv predicate) = 0;
};

class ElementContext {
 public:
  ElementContext(ElementSource& source, LoopBuilder& loop, const Graph& graph, const Node& node, int result, Sv predicate)
      : loop(loop), graph(graph), node(node), result(result), predicate(predicate), source_(source) {}

  LoopBuilder& loop;
  const Graph& graph;
  const Node& node;
  const int result;
  const Sv predicate;  // of the element that is asked for; may be null

  const Arg& arg(int i) const { return node.args[i]; }
  int64_t integer(int i) const { return node.args[i].as_dim().value(); }
  const TensorType& type(int i) const { return graph.type(node.args[i].value); }       // of tensor argument i
  const TensorType& out() const { return graph.type(node.results[result]); }
  Dim dim_at(int i, int k) const { return node.args[i].list[k].as_dim(); }             // of an int[] argument
  int64_t int_at(int i, int k) const { return dim_at(i, k).value(); }
  uint32_t count(int i) const { return node.args[i].count; }
  bool lists(int i, int64_t v) const {
    for (const Arg& a : node.args[i].items()) if (a.as_dim().is(v)) return true;
    return false;
  }

  Sv in(int i, std::span<const Sv> index, Sv extra_predicate = {}) {
    return source_.element(node.args[i].value, index, both(extra_predicate));
  }
  Sv in_at(int i, Sv position) { return source_.element_at(node.args[i].value, position, predicate); }
  Sv item(int i, int k, std::span<const Sv> index, Sv extra_predicate = {}) {
    return source_.element(node.args[i].list[k].value, index, both(extra_predicate));
  }
  AxisMask used(std::span<const Sv> index) const {
    AxisMask m = predicate ? predicate.axes() : 0;
    for (Sv s : index) m |= s.axes();
    return m;
  }

 private:
  Sv both(Sv p) { return !p ? predicate : !predicate ? p : predicate & p; }
  ElementSource& source_;
};

}  // namespace phlox

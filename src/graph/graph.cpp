#include "graph/graph.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "graph/rewrite.h"

namespace phlox {

Arg Graph::keep(const Arg& a) {
  Arg r = a;
  if (a.kind == ArgKind::list) {
    // Many lists share one piece of memory, which never grows and so never moves.
    if (lists_.empty() || lists_.back().capacity() - lists_.back().size() < a.count) {
      lists_.emplace_back();
      lists_.back().reserve(std::max<size_t>(a.count, 128));
    }
    std::vector<Arg>& piece = lists_.back();
    const size_t at = piece.size();
    piece.resize(at + a.count);
    for (uint32_t i = 0; i < a.count; ++i) {
      const Arg item = keep(a.list[i]);
      piece[at + i] = item;
    }
    r.list = piece.data() + at;
  } else if (a.kind == ArgKind::string) {
    strings_.push_back(std::string(a.as_string()));
    r.string = strings_.back().data();
  } else if (a.kind == ArgKind::complex) {
    lists_.push_back({Arg::of_real(a.complex[0]), Arg::of_real(a.complex[1])});
    strings_.push_back(std::string(reinterpret_cast<const char*>(a.complex), 16));
    r.complex = reinterpret_cast<const double*>(strings_.back().data());
  }
  return r;
}

GraphValue Graph::add_input(TensorType type, bool number) {
  const GraphValue v = GraphValue(values_.size());
  values_.push_back({std::move(type), no_node, uint32_t(inputs_.size())});
  inputs_.push_back(v);
  numbers_.push_back(number);
  return v;
}

NodeId Graph::add_node(const OpInfo& op, std::span<const Arg> args, std::span<const TensorType> results) {
  const NodeId id = NodeId(nodes_.size());
  Node n;
  n.op = &op;
  for (const Arg& a : args) n.args.push_back(keep(a));
  for (size_t i = 0; i < results.size(); ++i) {
    n.results.push_back(GraphValue(values_.size()));
    values_.push_back({results[i], id, uint32_t(i)});
  }
  n.group = current_group;
  n.location = current_location;
  nodes_.push_back(std::move(n));
  return id;
}

static TensorType substitute_type(const TensorType& t, std::span<const Dim> symbols) {
  TensorType r = t;
  for (Dim& d : r.shape) if (!d.is_const()) d = substitute(d, symbols);
  for (Dim& d : r.strides) if (!d.is_const()) d = substitute(d, symbols);
  return r;
}

SmallVector<GraphValue, 2> inline_graph(Graph& to, const Graph& from, std::span<const GraphValue> inputs,
                                        std::span<const Dim> symbols) {
  std::vector<GraphValue> map(from.value_count());
  PHLOX_CHECK(inputs.size() == from.inputs().size(), "inline_graph: inputs");
  for (size_t i = 0; i < inputs.size(); ++i) map[from.inputs()[i]] = inputs[i];
  ArgMap arguments;
  const auto changed = [&](Arg a) {
    if (a.kind == ArgKind::value) a.value = map[a.value];
    else if (a.kind == ArgKind::dim && !a.as_dim().is_const()) a.dim = substitute(a.as_dim(), symbols).raw();
    return a;
  };
  for (const Node& n : from.nodes()) {
    const std::span<const Arg> args = arguments.each(n.args, changed);
    SmallVector<TensorType, 2> types;
    for (GraphValue v : n.results) types.push_back(substitute_type(from.type(v), symbols));
    const NodeId id = to.add_node(*n.op, args, types);
    for (size_t i = 0; i < n.results.size(); ++i) map[n.results[i]] = to.node(id).results[i];
  }
  SmallVector<GraphValue, 2> outputs;
  for (GraphValue v : from.outputs()) outputs.push_back(map[v]);
  return outputs;
}

std::vector<bool> live_nodes(const Graph& g) {
  std::vector<bool> live(g.value_count());
  for (GraphValue v : g.outputs()) live[v] = true;
  std::vector<bool> keep(g.nodes().size());
  for (size_t n = g.nodes().size(); n-- > 0;) {
    const Node& node = g.nodes()[n];
    for (GraphValue v : node.results) keep[n] = keep[n] || live[v];
    if (keep[n]) for_each_value(std::span<const Arg>(node.args), [&](const Arg& a) { live[a.value] = true; });
  }
  return keep;
}

NodeId copy_node(Graph& to, const Graph& from, const Node& n, std::span<const Arg> args) {
  SmallVector<TensorType, 2> types;
  for (GraphValue v : n.results) types.push_back(from.type(v));
  to.current_group = n.group;
  to.current_location = n.location;
  return to.add_node(*n.op, args, types);
}

Graph prune(const Graph& g) {
  const std::vector<bool> keep = live_nodes(g);
  Graph r;
  std::vector<GraphValue> map(g.value_count(), ~0u);
  for (GraphValue v : g.inputs()) map[v] = r.add_input(g.type(v), g.is_number(v));
  ArgMap arguments;
  for (size_t n = 0; n < g.nodes().size(); ++n) {
    if (!keep[n]) continue;
    const Node& node = g.nodes()[n];
    const NodeId id = copy_node(r, g, node, arguments(node.args, [&](GraphValue v) { return map[v]; }));
    for (size_t i = 0; i < node.results.size(); ++i) map[node.results[i]] = r.node(id).results[i];
  }
  SmallVector<GraphValue, 2> outputs;
  for (GraphValue v : g.outputs()) outputs.push_back(map[v]);
  r.set_outputs(outputs);
  return r;
}

uint64_t hash_of(const Graph& g) {
  const std::vector<bool> live = live_nodes(g);
  std::vector<GraphValue> number(g.value_count(), ~0u);  // as in a graph without dead nodes
  GraphValue next = 0;
  uint64_t h = g.inputs().size();
  for (GraphValue v : g.inputs()) {
    number[v] = next++;
    h = combine(h, combine(hash_of(g.type(v)), g.is_number(v)));
  }
  ArgMap arguments;
  for (size_t n = 0; n < live.size(); ++n) {
    if (!live[n]) continue;
    const Node& node = g.nodes()[n];
    const uint64_t args = hash_args(arguments(node.args, [&](GraphValue v) { return number[v]; }));
    h = combine(combine(h, node.op->id), combine(args, node.group));
    for (GraphValue v : node.results) number[v] = next++;
  }
  for (GraphValue v : g.outputs()) h = combine(h, number[v]);
  return h;
}

}  // namespace phlox

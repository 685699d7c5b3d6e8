// simplify: value numbering on a decomposed graph. Equal calls become one, operations that change nothing vanish,
// chains of casts that lose nothing collapse. Only rules that keep every bit.
#include <algorithm>
#include <unordered_map>

#include "compile/compile.h"
#include "ops/registry.h"
#include "graph/builder.h"
#include "graph/rewrite.h"

namespace phlox {

namespace {

bool is_op(const Node& n, const char* name) { return n.op->schema.name == name; }

class Simplifier {
 public:
  Simplifier(const Graph& g, bool across_groups) : g_(g), across_groups_(across_groups), map_(g.value_count(), ~0u), output_(g.value_count()) {
    for (GraphValue v : g.outputs()) output_[v] = true;
  }

  Graph run() {
    for (GraphValue v : g_.inputs()) map_[v] = out_.add_input(g_.type(v), g_.is_number(v));
    const std::vector<bool> live = used_nodes();
    seen_.reserve(g_.nodes().size());
    for (NodeId n = 0; n < live.size(); ++n) if (live[n]) visit(g_.node(n));
    SmallVector<GraphValue, 4> outputs;
    for (GraphValue v : g_.outputs()) outputs.push_back(as_memory(reshaped_from(map_[v])));
    out_.set_outputs(outputs);
    const std::vector<bool> left = live_nodes(out_);
    if (std::find(left.begin(), left.end(), false) == left.end()) return std::move(out_);
    return prune(out_);
  }

 private:
  // A strided input or a number, copied to dense memory of its own; other values have that.
  GraphValue as_memory(GraphValue v) {
    if (producer(v) || (out_.type(v).strides.empty() && !out_.is_number(v))) return v;
    TensorType t = out_.type(v);
    t.strides.clear();
    t.weak = false;
    const Arg args[] = {Arg::of_value(v)};
    const NodeId id = out_.add_node(*find_op("prim::copy"), args, std::span(&t, 1));
    return out_.node(id).results[0];
  }
  // An output's memory is that of the value whose reshape it is: a kernel then walks the sizes in which the value was
  // computed. Callers see the interface's sizes.
  GraphValue reshaped_from(GraphValue v) const {
    const Node* n = producer(v);
    return n && is_op(*n, "prim::reshape") ? reshaped_from(n->args[0].value) : v;
  }
  // The nodes that an output needs, when reshape(reshape(x)) is one.
  std::vector<bool> used_nodes() const {
    std::vector<bool> live(g_.value_count()), keep(g_.nodes().size());
    for (GraphValue v : g_.outputs()) live[v] = true;
    for (NodeId n = NodeId(keep.size()); n-- > 0;) {
      const Node& node = g_.node(n);
      for (GraphValue v : node.results) keep[n] = keep[n] || live[v];
      if (!keep[n]) continue;
      for_each_value(std::span<const Arg>(node.args), [&](const Arg& a) { live[is_op(node, "prim::reshape") ? behind_reshape(a.value) : a.value] = true; });
    }
    return keep;
  }
  GraphValue behind_reshape(GraphValue v) const {
    const NodeId n = g_.value(v).node;
    return n != no_node && is_op(g_.node(n), "prim::reshape") ? behind_reshape(g_.node(n).args[0].value) : v;
  }

  const Node* producer(GraphValue v) const {
    const NodeId n = out_.value(v).node;
    return n == no_node ? nullptr : &out_.node(n);
  }

  // The value that this call would equal, or none.
  bool identity(const Node& n, std::span<const Arg> args, GraphValue& same) {
    const TensorType& result = g_.type(n.results[0]);
    if (is_op(n, "prim::cast")) {
      const GraphValue a = args[0].value;
      if (out_.type(a).dtype == result.dtype) { same = a; return true; }
      // Widened and narrowed again.
      if (const Node* p = producer(a); across_groups_ && p && is_op(*p, "prim::cast") && is_reduced_float(result.dtype))
        if (out_.type(p->args[0].value).dtype == result.dtype && is_float(out_.type(a).dtype) && dtype_bytes(out_.type(a).dtype) > 2) {
          same = p->args[0].value;
          return true;
        }
      return false;
    }
    if (is_op(n, "prim::reshape") || is_op(n, "prim::broadcast")) {
      GraphValue a = args[0].value;
      if (out_.type(a).shape == result.shape) { same = a; return true; }
      return false;
    }
    if (is_op(n, "prim::stop_gradient")) { same = args[0].value; return true; }
    // A copy matters as a result, which is memory of its own, and where it makes strided memory dense, or a number
    // memory, for an extern op.
    if (is_op(n, "prim::copy") && !output_[n.results[0]] && out_.type(args[0].value).strides.empty() &&
        !out_.is_number(args[0].value)) { same = args[0].value; return true; }
    if (is_op(n, "prim::permute")) {
      for (uint32_t i = 0; i < args[1].count; ++i) if (!args[1].list[i].as_dim().is(i)) return false;
      same = args[0].value;
      return true;
    }
    return false;
  }

  // An input with strides is no result: results are dense.
  bool has_gaps(GraphValue v) const { return out_.value(v).node == no_node && !out_.type(v).strides.empty(); }

  void visit(const Node& n) {
    SmallVector<Arg, 4> args;
    std::vector<Arg> both;
    const bool reshape = is_op(n, "prim::reshape");
    const OpRecord& record = n.op->op->record;
    const bool on_host = record.reference && !record.loop && !record.stores;  // host functions read dense memory
    for (const Arg& a : arguments_(n.args, [&](GraphValue v) {
           const GraphValue now = map_[reshape ? behind_reshape(v) : v];
           return on_host ? as_memory(now) : now;
         }))
      args.push_back(a);
    if (record.stores && args[0].kind == ArgKind::value) args[0].value = as_memory(args[0].value);  // its bytes become the result's
    // What it reads may have become a reshape; the inner one may then be dead.
    if (reshape)
      if (const Node* p = producer(args[0].value); p && is_op(*p, "prim::reshape")) args[0] = p->args[0];
    // permute(permute(x)) is one permute, often of nothing.
    if (is_op(n, "prim::permute"))
      if (const Node* p = producer(args[0].value); p && is_op(*p, "prim::permute")) {
        for (uint32_t i = 0; i < args[1].count; ++i) both.push_back(p->args[1].list[args[1].list[i].as_dim().value()]);
        args[0] = p->args[0];
        args[1].list = both.data();
      }
    GraphValue same;
    if (n.results.size() == 1 && identity(n, args, same) && !(output_[n.results[0]] && has_gaps(same))) {
      map_[n.results[0]] = same;
      return;
    }
    const bool pure = n.op->op->record.effects == Effects::none || n.op->op->record.loop;
    const uint64_t key = combine(hash_args(args), n.op->id);
    if (pure)
      for (auto [it, end] = seen_.equal_range(key); it != end; ++it) {
        const Node& m = out_.node(it->second);
        // Rounding boundaries of 16-bit values are part of the meaning: only calls of one group may merge there.
        const bool rounds = is_reduced_float(g_.type(n.results[0]).dtype);
        if (m.op != n.op || !same_args(m.args, args) || (rounds && !across_groups_ && m.group != n.group)) continue;
        for (size_t i = 0; i < n.results.size(); ++i) map_[n.results[i]] = m.results[i];
        return;
      }
    const NodeId id = copy_node(out_, g_, n, args);
    for (size_t i = 0; i < n.results.size(); ++i) map_[n.results[i]] = out_.node(id).results[i];
    if (pure) seen_.emplace(key, id);
  }

  const Graph& g_;
  bool across_groups_;
  Graph out_;
  std::vector<GraphValue> map_;
  std::vector<bool> output_;
  ArgMap arguments_;
  std::unordered_multimap<uint64_t, NodeId> seen_;
};

}  // namespace

Graph simplify(const Graph& g, bool across_groups) { return Simplifier(g, across_groups).run(); }

}  // namespace phlox

#include <unordered_map>

#include "graph/builder.h"
#include "graph/rewrite.h"
#include "ops/complex.h"
#include "ops/decompose.h"
#include "ops/prims.h"

namespace phlox {

namespace {

// One pass over the nodes. What a composite expands to is appended and may hold composites again: these are expanded
// behind it, and what follows them there is appended once more on top of their results. The first copies are dead then.
class Decomposer {
 public:
  explicit Decomposer(const Graph& g) : g_(g), b_(out_), map_(g.value_count(), ~0u) {}

  Graph run() {
    for (GraphValue v : g_.inputs()) map_[v] = out_.add_input(g_.type(v), g_.is_number(v));
    const std::vector<bool> live = live_nodes(g_);
    for (NodeId id = 0; id < live.size(); ++id) {
      if (!live[id]) continue;
      const Node& n = g_.node(id);
      const std::span<const Arg> args = arguments_(n.args, [&](GraphValue v) { return map_[v]; });
      const SmallVector<GraphValue, 1> results = is_composite(n) ? expand(n, args) : append(n, args, g_);
      for (size_t i = 0; i < n.results.size(); ++i) map_[n.results[i]] = results[i];
    }
    SmallVector<GraphValue, 4> outputs;
    for (GraphValue v : g_.outputs()) outputs.push_back(map_[v]);
    out_.set_outputs(outputs);
    return std::move(out_);
  }
  bool left_dead_nodes() const { return !moved_.empty(); }

 private:
  static bool is_composite(const Node& n) { return n.op->op->record.expand != nullptr; }
  static bool takes_dense(const Node& n) { return !n.op->op->record.loop; }  // a scatter begins as a copy of its base

  GraphValue now(GraphValue v) const {
    if (moved_.empty()) return v;
    const auto it = moved_.find(v);
    return it == moved_.end() ? v : it->second;
  }

  SmallVector<GraphValue, 1> expand(const Node& n, std::span<const Arg> args) {
    out_.current_group = n.group;
    out_.current_location = n.location;
    const NodeId first = NodeId(out_.nodes().size());
    SmallVector<GraphValue, 1> results;
    {
      SmallVector<Arg, 8> own;  // nested expansions use the argument memory
      for (const Arg& a : args) own.push_back(out_.keep(a));
      for (const Val& v : n.op->op->record.expand(Args(b_, *n.op, own))) results.push_back(v.id);
    }
    settle(first, NodeId(out_.nodes().size()));
    for (GraphValue& v : results) v = now(v);
    return results;
  }

  // Expands the composites among these nodes of the result.
  void settle(NodeId first, NodeId end) {
    bool stale = false;  // something before has moved
    for (NodeId id = first; id < end; ++id) {
      const Node& n = out_.node(id);
      bool again = is_composite(n);
      if (takes_dense(n) || stale)
        for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) {
          again |= now(a.value) != a.value || (takes_dense(n) && !out_.type(a.value).strides.empty());
        });
      if (!again) continue;
      stale = true;
      const std::span<const Arg> args = arguments_(n.args, [&](GraphValue v) { return now(v); });
      const SmallVector<GraphValue, 1> results = is_composite(n) ? expand(n, args) : append(n, args, out_);
      for (size_t i = 0; i < results.size(); ++i) moved_[n.results[i]] = results[i];
    }
  }

  // The node with these arguments; `types` holds the types of its results. Extern ops take dense memory: an operand that
  // is stored with strides is copied first.
  SmallVector<GraphValue, 1> append(const Node& n, std::span<const Arg> args, const Graph& types) {
    out_.current_group = n.group;  // of copies, too
    out_.current_location = n.location;
    const auto dense = [&](GraphValue v) { return out_.type(v).strides.empty() ? v : copy(b_.wrap(v)).id; };
    ArgMap own;
    if (takes_dense(n)) args = own(args, dense);
    return out_.node(copy_node(out_, types, n, args)).results;
  }

  const Graph& g_;
  Graph out_;
  GraphBuilder b_;
  std::vector<GraphValue> map_;
  std::unordered_map<GraphValue, GraphValue> moved_;  // results of nodes of out_ that were appended once more
  ArgMap arguments_;
};

}  // namespace

Graph decompose(const Graph& g, bool adds_guards) {
  const DimEnv* env = current_dim_env();
  const size_t guards = env ? env->guards().size() : 0;
  Decomposer d(g);
  Graph r = d.run();
  if (has_complex(r)) {
    if (d.left_dead_nodes()) r = prune(r);
    const Graph lowered = lower_complex(r);
    r = Decomposer(lowered).run();  // once more: the operands of extern ops that were complex
  }
  // Whoever keeps the program knows only the guards of the graph that came in, unless it said otherwise.
  PHLOX_CHECK(adds_guards || !env || env->guards().size() == guards, "taking ops apart asked for sizes that building the graph did not");
  return r;
}

}  // namespace phlox

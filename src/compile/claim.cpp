#include "compile/claim.h"

#include <algorithm>

#include "base/event.h"
#include "graph/builder.h"
#include "graph/rewrite.h"
#include "ops/arith.h"
#include "ops/composite.h"
#include "providers/attention.h"

namespace phlox {

namespace {

bool is_attention(const Node& n) {
  return n.op->schema.name == "prim::attention" || n.op->schema.name == "prim::attention_backward";
}

class Claimer {
 public:
  Claimer(const Graph& g, const Target& target) : g_(g), target_(target), b_(out_), map_(g.value_count()) {}

  Graph run() {
    for (GraphValue v : g_.inputs()) map_[v] = out_.add_input(g_.type(v), g_.is_number(v));
    for (const Node& n : g_.nodes()) {
      const std::span<const Arg> args = arguments_(n.args, [&](GraphValue v) { return map_[v]; });
      if (is_attention(n)) {
        out_.current_group = n.group;
        out_.current_location = n.location;
        if (attention(n, args)) continue;
      }
      const NodeId id = copy_node(out_, g_, n, args);
      for (size_t i = 0; i < n.results.size(); ++i) map_[n.results[i]] = out_.node(id).results[i];
    }
    SmallVector<GraphValue, 4> outputs;
    for (GraphValue v : g_.outputs()) outputs.push_back(map_[v]);
    out_.set_outputs(outputs);
    return std::move(out_);
  }

 private:
  Val rows_first(const Arg& a) { return permute(b_.wrap(a.value), {0, 2, 1, 3}); }

  // (q, k, v, mask, scale, causal), or (g, q, k, v, mask, out, lse, scale, causal)
  bool attention(const Node& n, std::span<const Arg> args) {
    const bool backward = n.op->schema.name == "prim::attention_backward";
    const size_t q = backward ? 1 : 0;
    std::string refusal;
    bool taken = args[q + 3].is_none();
    if (!taken) refusal = "it has a mask";
    if (taken) {
      TensorType t[3];
      for (size_t i = 0; i < 3; ++i) {
        t[i] = out_.type(args[q + i].value);
        if (t[i].rank() == 4) std::swap(t[i].shape[1], t[i].shape[2]);
      }
      taken = provides_attention(t[0], t[1], t[2], args.back().bits != 0, target_, refusal);
    }
    if (!taken) {
      emit_event(EventKind::provider, n.op->schema.name, cat("no kernel of its own: ", refusal));
      return false;
    }
    if (!backward) {
      const Vals r = call(b_, "prim::flash", {arg_of(rows_first(args[0])), arg_of(rows_first(args[1])), arg_of(rows_first(args[2])), args[4], args[5]});
      map_[n.results[0]] = permute(r[0], {0, 2, 1, 3}).id;
      map_[n.results[1]] = r[1].id;
      return true;
    }
    const Val g = rows_first(args[0]), out = rows_first(args[5]);
    const Val row = sum(widen(g) * widen(out), {3});
    const Vals r = call(b_, "prim::flash_backward", {arg_of(g), arg_of(rows_first(args[1])), arg_of(rows_first(args[2])), arg_of(rows_first(args[3])),
                                                     args[6], arg_of(row), args[7], args[8]});
    for (size_t i = 0; i < 3; ++i) map_[n.results[i]] = permute(r[i], {0, 2, 1, 3}).id;
    return true;
  }

  const Graph& g_;
  const Target& target_;
  Graph out_;
  GraphBuilder b_;
  std::vector<GraphValue> map_;
  ArgMap arguments_;
};

}  // namespace

bool has_claimable(const Graph& g) { return std::any_of(g.nodes().begin(), g.nodes().end(), is_attention); }
Graph claim(const Graph& g, const Target& target) { return Claimer(g, target).run(); }

bool runs_whole(const Graph& g, const Node& n, const Target& target) {
  const bool backward = n.op->schema.name == "prim::flash_backward";
  if (!backward && n.op->schema.name != "prim::flash") return false;
  const size_t q = backward ? 1 : 0;
  std::string refusal;
  return g.type(n.args[q].value).rank() == 4 && g.type(n.args[q].value).shape[3].is_const() &&
         provides_attention(g.type(n.args[q].value), g.type(n.args[q + 1].value), g.type(n.args[q + 2].value),
                            n.args[n.args.size() - 1].bits != 0, target, refusal);
}

}  // namespace phlox

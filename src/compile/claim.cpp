#include "compile/claim.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/event.h"
#include "graph/builder.h"
#include "graph/rewrite.h"
#include "ops/arith.h"
#include "ops/composite.h"
#include "providers/attention.h"
#include "providers/one_query.h"

namespace phlox {

namespace {

bool is_attention(const Node& n) {
  return n.op->schema.name == "prim::attention" || n.op->schema.name == "prim::attention_backward";
}

class Claimer {
 public:
  Claimer(const Graph& g, const Target& target) : g_(g), target_(target), b_(out_), map_(g.value_count()) {}

  Graph run() {
    read_.resize(g_.value_count());
    for (const Node& n : g_.nodes()) for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) { read_[a.value] = true; });
    for (GraphValue v : g_.outputs()) read_[v] = true;
    for (GraphValue v : g_.inputs()) map_[v] = out_.add_input(g_.type(v), g_.is_number(v));
    for (const Node& n : g_.nodes()) {
      const std::span<const Arg> args = arguments_(n.args, [&](GraphValue v) { return map_[v]; });
      if (is_attention(n)) {
        out_.current_group = n.group;
        out_.current_location = n.location;
        if (one_query(n) || attention(n, args)) continue;
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

  // Heads that were repeated for a group of queries, as they were before: [batch, heads, keys, width].
  GraphValue ungrouped(GraphValue v) const {
    const auto from = [&](GraphValue x, const char* op) {
      const NodeId n = g_.value(x).node;
      return n != no_node && g_.node(n).op->schema.name == op ? g_.node(n).args[0].value : ~0u;
    };
    const GraphValue wide = from(v, "prim::reshape");
    const GraphValue one = wide == ~0u ? wide : from(wide, "prim::broadcast");
    if (one == ~0u || g_.type(one).rank() != 5 || !g_.type(one).shape[2].is(1) || g_.type(wide).rank() != 5) return v;
    const GraphValue kv = from(one, "prim::reshape");
    const Dims &a = g_.type(one).shape, &w = g_.type(wide).shape;
    for (int d : {0, 1, 3, 4}) if (a[d] != w[d]) return v;
    if (kv != ~0u && g_.type(kv).shape == Dims{a[0], a[1], a[3], a[4]}) return kv;
    return v;
  }
  // One query a head: decoding a token.
  bool one_query(const Node& n) {
    if (n.op->schema.name != "prim::attention" || target_.kind != DeviceKind::cuda || read_[n.results[1]]) return false;
    const TensorType& q = g_.type(n.args[0].value);
    if (q.rank() != 4 || !q.shape[2].is(1) || g_.type(n.args[1].value).rank() != 4) return false;
    const auto refuse = [&](std::string_view why) {
      emit_event(EventKind::provider, n.op->schema.name, cat("no kernel of its own for one query: ", why));
      return false;
    };
    const GraphValue k = ungrouped(n.args[1].value), v = ungrouped(n.args[2].value);
    TensorType grouped = q;
    grouped.strides.clear();
    if (!dim_eq(mod(q.shape[1], g_.type(k).shape[1]), 0)) return refuse("key heads do not divide the query heads");
    grouped.shape = {q.shape[0], g_.type(k).shape[1], floordiv(q.shape[1], g_.type(k).shape[1]), q.shape[3]};
    std::string refusal;
    if (!provides_one_query(grouped, g_.type(k), g_.type(v), target_, refusal)) return refuse(refusal);
    Arg mask;
    if (!n.args[3].is_none()) {
      const TensorType& t = g_.type(n.args[3].value);
      if (!is_bool(t.dtype) || t.numel() != g_.type(k).shape[2] || t.shape.back() != g_.type(k).shape[2]) return refuse("its mask is no row of bools for all heads");
      mask = arg_of(reshape(b_.wrap(map_[n.args[3].value]), {t.numel()}));
    }
    if (n.args[5].bits) return refuse("a causal query sees one key");
    const Val out = call(b_, "prim::attend_one", {arg_of(reshape(b_.wrap(map_[n.args[0].value]), grouped.shape)), arg_of(b_.wrap(map_[k])),
                                                  arg_of(b_.wrap(map_[v])), mask, n.args[4]})[0];
    map_[n.results[0]] = reshape(out, q.shape).id;
    return true;
  }

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
  std::vector<bool> read_;  // values of g_ that somebody needs
  ArgMap arguments_;
};

class Packer {
 public:
  explicit Packer(const Graph& g) : g_(g), users_(g.value_count()), map_(g.value_count(), ~0u), packed_(g.nodes().size(), no_node), dead_(g.nodes().size()) {
    for (NodeId n = 0; n < g.nodes().size(); ++n) for_each_value(std::span<const Arg>(g.node(n).args), [&](const Arg& a) { users_[a.value].push_back(n); });
    for (GraphValue v : g.outputs()) users_[v].resize(users_[v].size() + 2, no_node);  // somebody else sees it
    for (NodeId n = 0; n < g.nodes().size(); ++n)
      if (g.node(n).op->schema.name == "prim::flash_backward") found_ |= match(n);
  }
  bool found() const { return found_; }

  Graph run() {
    GraphBuilder b(out_);
    for (GraphValue v : g_.inputs()) map_[v] = out_.add_input(g_.type(v), g_.is_number(v));
    for (NodeId id = 0; id < g_.nodes().size(); ++id) {
      if (dead_[id]) continue;
      const Node& n = g_.node(id);
      if (packed_[id] != no_node) {
        const Node& from = g_.node(packed_[id]);
        out_.current_group = from.group;
        out_.current_location = from.location;
        const Vals r = b.call(*find_op("prim::flash_backward_packed"), arguments_(from.args, [&](GraphValue v) { return map_[v]; }));
        map_[n.results[0]] = r[0].id;
        continue;
      }
      const NodeId to = copy_node(out_, g_, n, arguments_(n.args, [&](GraphValue v) { return map_[v]; }));
      for (size_t i = 0; i < n.results.size(); ++i) map_[n.results[i]] = out_.node(to).results[i];
    }
    SmallVector<GraphValue, 4> outputs;
    for (GraphValue v : g_.outputs()) outputs.push_back(map_[v]);
    out_.set_outputs(outputs);
    return std::move(out_);
  }

 private:
  // The only node that reads v, if it is such an op.
  NodeId only_user(GraphValue v, std::string_view op) const {
    if (users_[v].size() != 1 || users_[v][0] == no_node || g_.node(users_[v][0]).op->schema.name != op) return no_node;
    return users_[v][0];
  }
  // Each gradient flattened, padded to its third of a row, and added to the others.
  bool match(NodeId n) {
    const Node& node = g_.node(n);
    std::vector<NodeId> inner;
    NodeId pads[3];
    for (size_t i = 0; i < 3; ++i) {
      const TensorType& t = g_.type(node.results[i]);
      const NodeId flat = only_user(node.results[i], "prim::reshape");
      if (flat == no_node || g_.type(g_.node(flat).results[0]).rank() != 3) return false;
      const TensorType& rows = g_.type(g_.node(flat).results[0]);
      if (rows.shape[0] != t.shape[0] || rows.shape[1] != t.shape[1]) return false;
      pads[i] = only_user(g_.node(flat).results[0], "prim::pad");
      if (pads[i] == no_node) return false;
      const Dim part = rows.shape[2];
      for (int side = 1; side <= 2; ++side)
        for (size_t d = 0; d < 3; ++d)
          if (g_.node(pads[i]).args[size_t(side)].items()[d].as_dim() != (d < 2 ? Dim(0) : part * int64_t(side == 1 ? i : 2 - i))) return false;
      if (std::any_of(g_.node(pads[i]).args[3].items().begin(), g_.node(pads[i]).args[3].items().end(), [](const Arg& a) { return !a.as_dim().is(0); })) return false;
      inner.insert(inner.end(), {flat, pads[i]});
    }
    for (const auto& [first, second, third] : {std::array{0, 1, 2}, std::array{1, 2, 0}, std::array{0, 2, 1}}) {
      const NodeId sum = only_user(g_.node(pads[first]).results[0], "prim::add");
      if (sum == no_node || sum != only_user(g_.node(pads[second]).results[0], "prim::add")) continue;
      const NodeId all = only_user(g_.node(sum).results[0], "prim::add");
      if (all == no_node || all != only_user(g_.node(pads[third]).results[0], "prim::add")) return false;
      packed_[all] = n;
      for (NodeId x : inner) dead_[x] = true;
      dead_[sum] = dead_[n] = true;
      return true;
    }
    return false;
  }

  const Graph& g_;
  Graph out_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<GraphValue> map_;
  std::vector<NodeId> packed_;  // the node whose gradients this sum is of
  std::vector<char> dead_;
  ArgMap arguments_;
  bool found_ = false;
};

}  // namespace

Graph pack_gradients(Graph g) {
  Packer p(g);
  return p.found() ? p.run() : std::move(g);
}
bool has_claimable(const Graph& g) { return std::any_of(g.nodes().begin(), g.nodes().end(), is_attention); }
Graph claim(const Graph& g, const Target& target) { return Claimer(g, target).run(); }

bool runs_whole(const Graph& g, const Node& n, const Target& target) {
  const std::string& name = n.op->schema.name;
  const bool backward = name == "prim::flash_backward" || name == "prim::flash_backward_packed";
  if (!backward && name != "prim::flash") return false;
  const size_t q = backward ? 1 : 0;
  std::string refusal;
  return g.type(n.args[q].value).rank() == 4 && g.type(n.args[q].value).shape[3].is_const() &&
         provides_attention(g.type(n.args[q].value), g.type(n.args[q + 1].value), g.type(n.args[q + 2].value),
                            n.args[n.args.size() - 1].bits != 0, target, refusal);
}

}  // namespace phlox

#include "compile/few_rows.h"

#include <algorithm>
#include <span>

#include "base/event.h"
#include "base/format.h"
#include "compile/node_kind.h"
#include "ops/fuse.h"

namespace phlox {

bool has_few_rows(const Node& n, const Graph& g) {
  if (n.op->schema.name != "prim::contract") return false;
  const TensorType& t = g.type(n.results[0]);
  const Dim all = t.numel();
  return all.is_const() && t.rank() > 0 && t.shape.back().is_const() && t.shape.back().value() > 0 && all.value() / t.shape.back().value() <= 16;
}

namespace {

struct Joiner {
  const Graph& g_;
  ProviderAnswers& providers_;
  std::vector<bool>& forced_;
  std::vector<NodeId>& with_;

  void run() {
    std::vector<std::vector<NodeId>> users(g_.value_count());
    for (NodeId n = 0; n < with_.size(); ++n)
      for_each_value(std::span<const Arg>(g_.node(n).args), [&](const Arg& a) { users[a.value].push_back(n); });
    std::vector<bool> outside(g_.value_count());
    for (GraphValue v : g_.outputs()) outside[v] = true;
    for (NodeId n = 0; n < with_.size(); ++n) {
      if (!has_few_rows(g_.node(n), g_)) continue;
      // Maps of the same size; what one of them reads twice is one reader.
      std::vector<NodeId> chain;
      GraphValue v = g_.node(n).results[0];
      std::vector<GraphValue> ends;
      while (chain.size() < 24 && !outside[v]) {
        std::vector<NodeId> next = users[v];
        std::sort(next.begin(), next.end());
        next.erase(std::unique(next.begin(), next.end()), next.end());
        // Several maps of one value that meet again, as x * sigmoid(x): the chain goes on where they do.
        if (next.empty() || !take_until_one(next, users, outside, chain, v, n)) break;
        ends.push_back(v);
      }
      for (size_t i = ends.size(); i-- > 0;) {
        const GraphValue w = ends[i];
        std::vector<bool> buffers = forced_;
        for (NodeId c : chain) for (GraphValue x : g_.node(c).results) if (c <= g_.value(w).node) buffers[x] = false;
        buffers[g_.node(n).results[0]] = buffers[w] = false;
        if (const ProviderAnswers::Answer& a = providers_.ask(fuse_loop(g_, std::span(&w, 1), buffers).loop); !a.taken) {
          if (events_visible(EventKind::fusion_refused))
            emit_event(EventKind::fusion_refused, g_.node(g_.value(w).node).op->schema.name, cat("it does not follow in the product's kernel: ", a.refusal));
          continue;
        }
        forced_ = std::move(buffers);
        forced_[w] = true;
        for (NodeId c : chain) if (c <= g_.value(w).node) with_[c] = n;
        break;
      }
    }
  }
  // Adds the maps that read v, and those that read these, until a single value is left that others read. False: they are
  // no maps of v's size, or somebody outside reads one of them.
  bool take_until_one(std::vector<NodeId> next, const std::vector<std::vector<NodeId>>& users, const std::vector<bool>& outside,
                      std::vector<NodeId>& chain, GraphValue& v, NodeId product) const {
    std::vector<NodeId> taken;
    const auto is_in = [](const std::vector<NodeId>& list, NodeId x) { return std::find(list.begin(), list.end(), x) != list.end(); };
    while (!next.empty() && taken.size() < 16) {
      const NodeId c = *std::min_element(next.begin(), next.end());
      std::erase(next, c);
      if (kind_of(g_.node(c)) != NodeKind::map || with_[c] != no_node || g_.node(c).results.size() != 1) return false;
      const GraphValue r = g_.node(c).results[0];
      if (g_.type(r).numel() != g_.type(g_.node(product).results[0]).numel() || reads_at_places(g_.node(c))) return false;
      taken.push_back(c);
      if (next.empty()) {  // does everything pass through r?
        chain.insert(chain.end(), taken.begin(), taken.end());
        v = r;
        return true;
      }
      for (NodeId u : users[r]) if (!is_in(next, u) && !is_in(taken, u)) next.push_back(u);
      if (users[r].empty() || outside[r]) return false;
    }
    return false;
  }
  static bool reads_at_places(const Node& n) {
    for (int i = 0; i < int(n.args.size()); ++i) if (needs_buffer(n, i)) return true;
    return false;
  }
};

}  // namespace

void join_few_rows(const Graph& g, ProviderAnswers& providers, std::vector<bool>& forced, std::vector<NodeId>& with) { Joiner{g, providers, forced, with}.run(); }

}  // namespace phlox

// For what writes a new graph, or calls an op with other arguments.
//
// ArgMap: the arguments of nodes with others in place of theirs, lists rebuilt. One memory serves all calls: a result
// lives until the next one.
#pragma once
#include <vector>

#include "base/error.h"
#include "graph/graph.h"

namespace phlox {

std::vector<bool> live_nodes(const Graph& g);  // those that an output needs
// Appends the node of `from` with these arguments; group, location and types of the results are the node's.
NodeId copy_node(Graph& to, const Graph& from, const Node& n, std::span<const Arg> args);

class ArgMap {
 public:
  // Other values: f(GraphValue) -> GraphValue. Values that are not mapped (~0u) are refused.
  template <class F>
  std::span<const Arg> operator()(std::span<const Arg> args, const F& f) {
    return each(args, [&](Arg a) {
      if (a.kind != ArgKind::value) return a;
      const GraphValue v = f(a.value);
      PHLOX_CHECK(v != ~0u, "value %", a.value, " is not available");
      a.value = v;
      return a;
    });
  }
  // Others for everything that is no list: f(const Arg&) -> Arg.
  template <class F>
  std::span<const Arg> each(std::span<const Arg> args, const F& f) {
    const size_t total = args.size() + items_in(args);
    if (memory_.size() < total) memory_.resize(total);  // before anything points into it
    used_ = args.size();
    rewrite(args, memory_.data(), f);
    return {memory_.data(), args.size()};
  }

 private:
  static size_t items_in(std::span<const Arg> args) {
    size_t n = 0;
    for (const Arg& a : args) if (a.kind == ArgKind::list) n += a.count + items_in(a.items());
    return n;
  }
  template <class F>
  void rewrite(std::span<const Arg> from, Arg* to, const F& f) {
    for (const Arg& a : from) {
      if (a.kind == ArgKind::list) {
        Arg* const items = memory_.data() + used_;
        used_ += a.count;
        rewrite(a.items(), items, f);
        *to = a;
        to->list = items;
      } else {
        *to = f(a);
      }
      ++to;
    }
  }
  std::vector<Arg> memory_;
  size_t used_ = 0;
};

}  // namespace phlox

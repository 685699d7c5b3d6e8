// For passes that write a new graph.
//
// ArgMap: the arguments of nodes with other values in place of theirs. One memory serves all calls: a result
// lives until the next one. Values that are not mapped (~0u) are refused.
#pragma once
#include <vector>

#include "base/error.h"
#include "graph/graph.h"

namespace phlox {

std::vector<bool> live_nodes(const Graph& g);  // those that an output needs

class ArgMap {
 public:
  // f(GraphValue) -> GraphValue
  template <class F>
  std::span<const Arg> operator()(std::span<const Arg> args, const F& f) {
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
      *to = a;
      if (a.kind == ArgKind::value) {
        to->value = f(a.value);
        PHLOX_CHECK(to->value != ~0u, "value %", a.value, " is not available");
      } else if (a.kind == ArgKind::list) {
        Arg* const items = memory_.data() + used_;
        used_ += a.count;
        rewrite(a.items(), items, f);
        to->list = items;
      }
      ++to;
    }
  }
  std::vector<Arg> memory_;
  size_t used_ = 0;
};

}  // namespace phlox

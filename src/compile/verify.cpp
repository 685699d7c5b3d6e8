// The rules of a Partition: what compile.h promises of it.
#include <algorithm>

#include "base/format.h"
#include "compile/compile.h"

namespace phlox {

namespace {

class Checker {
 public:
  Checker(const Graph& g, const Partition& p) : g_(g), p_(p), ready_(g.value_count()), seen_(g.value_count(), -1) {
    for (GraphValue v : g.inputs()) ready_[v] = true;
  }

  std::string run() {
    if (p_.is_buffer.size() != g_.value_count()) return "not every value has its place decided";
    for (size_t i = 0; i < p_.groups.size(); ++i) {
      const Partition::Group& group = p_.groups[i];
      const bool external = group.extern_node != no_node;
      const std::vector<GraphValue> results = external ? results_of(g_.node(group.extern_node)) : group.outputs;
      if (results.empty()) return cat("group ", i, " computes nothing");
      for (GraphValue v : results) {
        if (!p_.is_buffer[v]) return cat("group ", i, " computes %", v, ", which has no memory");
        if (ready_[v]) return cat("group ", i, " computes %", v, " once more");
      }
      for (GraphValue v : results) if (std::string t = reads(int(i), g_.value(v).node); !t.empty()) return t;
      for (GraphValue v : results) ready_[v] = true;
    }
    for (GraphValue v : g_.outputs()) if (!ready_[v]) return cat("the output %", v, " is in no group");
    return {};
  }

 private:
  static std::vector<GraphValue> results_of(const Node& n) { return {n.results.begin(), n.results.end()}; }

  // Everything that the group computes on the way to a node's results.
  std::string reads(int group, NodeId from) {
    std::vector<NodeId> todo{from};
    std::string defect;
    while (!todo.empty() && defect.empty()) {
      const Node& n = g_.node(todo.back());
      todo.pop_back();
      for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) {
        if (seen_[a.value] == group || ready_[a.value]) return;
        seen_[a.value] = group;
        const bool own = std::find(p_.groups[size_t(group)].outputs.begin(), p_.groups[size_t(group)].outputs.end(), a.value) !=
                         p_.groups[size_t(group)].outputs.end();
        if (p_.is_buffer[a.value] && !own) defect = cat("group ", group, " reads %", a.value, " before it is computed");
        else if (g_.value(a.value).node != no_node) todo.push_back(g_.value(a.value).node);
      });
    }
    return defect;
  }

  const Graph& g_;
  const Partition& p_;
  std::vector<bool> ready_;
  std::vector<int> seen_;
};

}  // namespace

std::string partition_defect(const Graph& g, const Partition& p) { return Checker(g, p).run(); }

}  // namespace phlox

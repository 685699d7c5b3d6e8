// host_call: the call of an extern node as plain data.
#pragma once
#include "graph/graph.h"

namespace phlox {

// Without its tensors; they are counted in the order of for_each_value. Symbolic numbers take their example values.
HostCall host_call(const Node& node);
HostAttr host_attr_of(const Arg& a);  // of an argument that is neither tensor nor list of tensors

}  // namespace phlox

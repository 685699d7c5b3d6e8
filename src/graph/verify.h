// The rules of a well-formed Graph as a question. verify_graph turns a defect into InternalError (a pass of ours is
// wrong); parse_graph turns it into Error(invalid_argument) (the text is wrong).
//
// Checked: arguments fit the schema in number and kind; operands are defined before they are used; results are as many as
// the schema says and have the types that the op's rule gives for these operands; sizes are not negative; symbols are
// sizes or strides of inputs, or known to the current DimEnv; outputs exist. Without a DimEnv the rule of a call with
// symbolic sizes is not asked, because rules may have to compare sizes. What the rule leaves open (strides, weakness) is
// the graph's own business.
#pragma once
#include <string>

#include "graph/graph.h"

namespace phlox {

struct GraphDefect {
  std::string text;      // empty: the graph is well formed
  NodeId node = no_node; // the call that breaks a rule, if one does
};
GraphDefect graph_defect(const Graph& g);

bool same_graph(const Graph& a, const Graph& b);  // ids, types and groups too; locations are not compared

}  // namespace phlox

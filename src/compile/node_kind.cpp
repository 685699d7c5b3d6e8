#include "compile/node_kind.h"

#include "ops/registry.h"

namespace phlox {

NodeKind kind_of(const Node& n) {
  const OpRecord& r = n.op->op->record;
  const std::string& name = n.op->schema.name;
  if (r.stores) return NodeKind::alone;
  if (!r.loop) return NodeKind::external;
  if (name == "prim::full" || name == "prim::iota") return NodeKind::leaf;
  if (r.view) return NodeKind::view;
  if (name == "prim::reduce") return NodeKind::reduce;
  if (name == "prim::contract" || name == "prim::conv" || name == "prim::scan") return NodeKind::alone;
  return NodeKind::map;
}

bool is_contraction(const Node& n) {
  return n.op->schema.name == "prim::contract" || n.op->schema.name == "prim::conv";
}

bool needs_buffer(const Node& n, int arg) {
  const std::string& name = n.op->schema.name;
  if (name == "prim::contract" || name == "prim::conv" || name == "prim::fold" || name == "prim::scan") return true;
  if (name == "prim::gather" || name == "prim::scatter") return arg == 0;
  if (name == "prim::unfold") return true;
  return false;
}

int op_cost(const Node& n) {
  if (n.op->schema.name == "prim::random") return 60;
  const std::string_view name = std::string_view(n.op->schema.name).substr(6);
  static constexpr const char* cheap[] = {"add", "sub", "mul", "neg", "abs", "min", "max", "select", "cast", "lt", "le",
                                          "eq", "ne", "band", "bor", "bxor", "bnot", "fma", "shl", "shr"};
  for (const char* c : cheap) if (name == c) return 1;
  if (name == "div" || name == "sqrt" || name == "rsqrt") return 3;
  return 12;
}

}  // namespace phlox

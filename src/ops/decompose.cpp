#include "graph/builder.h"
#include "ops/complex.h"
#include "ops/decompose.h"
#include "ops/prims.h"

namespace phlox {

static bool is_composite(const Node& n) { return n.op->op->record.expand != nullptr; }

// Extern ops take dense memory: an operand that is stored with strides is copied first.
static void make_dense(GraphBuilder& b, SmallVector<Arg, 4>& args, std::vector<std::vector<Arg>>& store) {
  auto dense = [&](const Arg& a) {
    return a.kind == ArgKind::value && !b.graph().type(a.value).strides.empty() ? Arg::of_value(copy(b.wrap(a.value)).id) : a;
  };
  for (Arg& a : args) {
    if (a.kind != ArgKind::list) {
      a = dense(a);
      continue;
    }
    std::vector<Arg> items;
    for (const Arg& i : a.items()) items.push_back(dense(i));
    store.push_back(std::move(items));
    a.list = store.back().data();
  }
}

static Graph decompose_once(const Graph& g, bool& changed) {
  Graph r;
  GraphBuilder b(r);
  std::vector<GraphValue> map(g.value_count());
  for (GraphValue v : g.inputs()) map[v] = r.add_input(g.type(v), g.is_number(v));
  std::vector<std::vector<Arg>> store;
  auto rebind = [&](auto&& self, const Arg& a) -> Arg {
    Arg x = a;
    if (a.kind == ArgKind::value) x.value = map[a.value];
    if (a.kind == ArgKind::list) {
      std::vector<Arg> items;
      for (const Arg& i : a.items()) items.push_back(self(self, i));
      store.push_back(std::move(items));
      x.list = store.back().data();
    }
    return x;
  };
  for (const Node& n : g.nodes()) {
    store.clear();
    SmallVector<Arg, 4> args;
    for (const Arg& a : n.args) args.push_back(rebind(rebind, a));
    r.current_group = n.group;
    r.current_location = n.location;
    if (is_composite(n)) {
      changed = true;
      const Vals vals = n.op->op->record.expand(Args(b, *n.op, args));
      for (size_t i = 0; i < n.results.size(); ++i) map[n.results[i]] = vals[i].id;
    } else {
      const OpRecord& record = n.op->op->record;
      if (!record.loop && !record.stores) make_dense(b, args, store);
      SmallVector<TensorType, 2> types;
      for (GraphValue v : n.results) types.push_back(g.type(v));
      const NodeId id = r.add_node(*n.op, args, types);
      for (size_t i = 0; i < n.results.size(); ++i) map[n.results[i]] = r.node(id).results[i];
    }
  }
  SmallVector<GraphValue, 4> outputs;
  for (GraphValue v : g.outputs()) outputs.push_back(map[v]);
  r.set_outputs(outputs);
  return r;
}

Graph decompose(const Graph& g) {
  const DimEnv* env = current_dim_env();
  const size_t guards = env ? env->guards().size() : 0;
  bool changed = false;
  Graph r = decompose_once(g, changed);
  while (changed) {
    changed = false;
    r = decompose_once(r, changed);
  }
  if (has_complex(r)) r = lower_complex(r);
  // Whoever keeps the program knows only the guards of the graph that came in.
  PHLOX_CHECK(!env || env->guards().size() == guards, "taking ops apart asked for sizes that building the graph did not");
  return r;
}

}  // namespace phlox

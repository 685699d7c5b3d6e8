#include "transform/vjp.h"

#include <algorithm>
#include <string>

#include "graph/rewrite.h"
#include "ops/prims.h"

namespace phlox {

namespace {

bool blocks_gradient(const Node& n) { return n.op->schema.name == "prim::stop_gradient"; }

// Which values depend differentiably on `wrt`.
std::vector<bool> dependent(const Graph& g, std::span<const GraphValue> wrt, size_t first, size_t end) {
  std::vector<bool> dep(g.value_count());
  for (GraphValue v : wrt) dep[v] = true;
  for (size_t n = first; n < end; ++n) {
    const Node& node = g.nodes()[n];
    if (blocks_gradient(node)) continue;
    bool any = false;
    for_each_value(std::span<const Arg>(node.args), [&](const Arg& a) { any = any || dep[a.value]; });
    if (any) for (GraphValue v : node.results) dep[v] = is_float(g.type(v).dtype) || is_complex(g.type(v).dtype);
  }
  return dep;
}

std::vector<Val> vjp_from(GraphBuilder& b, size_t first, std::span<const GraphValue> outputs, std::span<const Val> grads,
                          std::span<const GraphValue> wrt);

// A composite that stayed a node: through what it expands to, which is computed once more.
std::vector<Val> vjp_through_expand(GraphBuilder& b, const Node& node, std::span<const Val> grads, std::span<const GraphValue> operands) {
  const SmallVector<Arg, 8> args(std::span<const Arg>(node.args));
  const size_t first = b.graph().nodes().size();
  std::vector<GraphValue> outputs;
  for (const Val& v : node.op->op->record.expand(Args(b, *node.op, args))) outputs.push_back(v.id);
  return vjp_from(b, first, outputs, grads, operands);
}

// Gradients through the nodes from `first` on.
std::vector<Val> vjp_from(GraphBuilder& b, size_t first, std::span<const GraphValue> outputs, std::span<const Val> grads,
                          std::span<const GraphValue> wrt) {
  Graph& g = b.graph();
  const size_t count = g.nodes().size();
  const std::vector<bool> dep = dependent(g, wrt, first, count);
  std::vector<Val> grad(g.value_count());
  auto accumulate = [&](GraphValue v, Val x) {
    if (!x) return;
    PHLOX_CHECK(x.shape() == g.type(v).shape || x.rank() == g.type(v).rank(), "gradient ", x.type(), " for ", g.type(v));
    grad[v] = grad[v] ? map(Scalar::add, grad[v], x) : x;
  };
  for (size_t i = 0; i < outputs.size(); ++i) if (dep[outputs[i]]) accumulate(outputs[i], grads[i]);

  const uint32_t outer_group = g.current_group;
  for (size_t n = count; n-- > first;) {
    const Node& node = g.nodes()[n];
    bool wanted = false;
    for (GraphValue v : node.results) wanted = wanted || (dep[v] && grad[v]);
    if (!wanted || blocks_gradient(node)) continue;
    if (!node.op->op->record.vjp && !node.op->op->record.expand)
      fail(ErrorCode::autograd, {.op = node.op->schema.full_name(), .fact = "this op has no gradient",
                                 .remedy = "detach its input or use a differentiable op"});
    Vjp v(b, node);
    v.bound_args.assign(node.args.begin(), node.args.end());
    for (GraphValue r : node.results) {
      v.outs.push_back(b.wrap(r));
      v.grads.push_back(grad[r]);
    }
    std::vector<GraphValue> operands;
    for_each_value(std::span<const Arg>(node.args), [&](const Arg& a) {
      operands.push_back(a.value);
      v.needed.push_back(dep[a.value]);
    });
    v.result.resize(operands.size());
    g.current_group = node.group;
    if (node.op->op->record.vjp) node.op->op->record.vjp(v);
    else v.result = vjp_through_expand(b, node, v.grads, operands);
    for (size_t i = 0; i < operands.size(); ++i) accumulate(operands[i], v.result[i]);
  }
  g.current_group = outer_group;
  std::vector<Val> result;
  for (GraphValue v : wrt) result.push_back(grad[v]);
  return result;
}

}  // namespace

std::vector<Val> append_vjp(GraphBuilder& b, std::span<const GraphValue> outputs, std::span<const Val> grads,
                            std::span<const GraphValue> wrt) {
  return vjp_from(b, 0, outputs, grads, wrt);
}

namespace {

// May this node run a second time in the backward graph instead of saving its results?
bool recomputable(const Node& n) {
  const OpRecord& r = n.op->op->record;
  if (has(r.effects, Effects::random)) return false;
  const std::string& name = n.op->schema.name;
  if (name == "prim::contract" || name == "prim::conv" || name == "prim::gather" || name == "prim::scan") return false;
  if (name == "prim::attention" || name == "prim::attention_backward") return false;
  return r.loop != nullptr || r.expand != nullptr;
}

// Copies the part of `joint` that `outputs` need, up to values in `given`, which become inputs in that order.
Graph extract(const Graph& joint, std::span<const GraphValue> given, std::span<const GraphValue> outputs) {
  std::vector<bool> live(joint.value_count()), keep(joint.nodes().size()), is_given(joint.value_count());
  for (GraphValue v : given) is_given[v] = true;
  for (GraphValue v : outputs) live[v] = !is_given[v];
  for (size_t n = joint.nodes().size(); n-- > 0;) {
    const Node& node = joint.nodes()[n];
    for (GraphValue v : node.results) keep[n] = keep[n] || (live[v] && !is_given[v]);
    if (keep[n]) for_each_value(std::span<const Arg>(node.args), [&](const Arg& a) { live[a.value] = true; });
  }
  Graph r;
  std::vector<GraphValue> map(joint.value_count(), ~0u);
  for (GraphValue v : given) map[v] = r.add_input(joint.type(v), joint.value(v).node == no_node && joint.is_number(v));
  ArgMap arguments;
  for (size_t n = 0; n < joint.nodes().size(); ++n) {
    if (!keep[n]) continue;
    const Node& node = joint.nodes()[n];
    const NodeId id = copy_node(r, joint, node, arguments(node.args, [&](GraphValue v) { return map[v]; }));
    for (size_t i = 0; i < node.results.size(); ++i) if (!is_given[node.results[i]]) map[node.results[i]] = r.node(id).results[i];
  }
  SmallVector<GraphValue, 4> out;
  for (GraphValue v : outputs) out.push_back(map[v]);
  r.set_outputs(out);
  return r;
}

}  // namespace

static SplitVjp split(const Graph& g, const std::vector<bool>& needs_grad, const std::vector<bool>& missing,
                      const std::vector<GraphValue>* saved_values) {
  // One joint graph: the inputs, the gradients of the outputs, the forward nodes, then the backward nodes.
  Graph joint;
  GraphBuilder b(joint);
  std::vector<GraphValue> inputs, wrt;
  for (GraphValue v : g.inputs()) inputs.push_back(joint.add_input(g.type(v), g.is_number(v)));
  std::vector<Val> grads;
  for (GraphValue v : g.outputs()) {
    TensorType t = g.type(v);
    t.strides.clear();
    t.weak = false;
    grads.push_back(is_float(t.dtype) || is_complex(t.dtype) ? b.wrap(joint.add_input(t)) : Val{});
    if (grads.size() <= missing.size() && missing[grads.size() - 1]) grads.back() = {};
  }
  const SmallVector<GraphValue, 2> outputs = inline_graph(joint, g, inputs, {});
  const size_t forward_nodes = joint.nodes().size(), forward_values = joint.value_count();
  SplitVjp r;
  for (size_t i = 0; i < inputs.size(); ++i) if (needs_grad[i]) wrt.push_back(inputs[i]);
  const std::vector<Val> all = append_vjp(b, outputs, grads, wrt);
  std::vector<GraphValue> results;
  for (size_t i = 0, k = 0; i < inputs.size(); ++i) {
    if (!needs_grad[i]) continue;
    if (all[k]) {
      results.push_back(all[k].id);
      r.wrt.push_back(uint32_t(i));
    }
    ++k;
  }

  // Walk back from the results: what the backward part reads of the forward part is recomputed or saved.
  std::vector<bool> live(joint.value_count());
  std::vector<GraphValue> saved;
  auto save = [&](GraphValue v) { if (std::find(saved.begin(), saved.end(), v) == saved.end()) saved.push_back(v); };
  auto is_output = [&](GraphValue v) { return std::find(outputs.begin(), outputs.end(), v) != outputs.end(); };
  for (GraphValue v : results) live[v] = true;
  for (size_t n = joint.nodes().size(); n-- > 0;) {
    const Node& node = joint.nodes()[n];
    bool any = false;
    for (GraphValue v : node.results) any = any || live[v];
    if (!any) continue;
    if (n < forward_nodes) {
      bool all_saved = true;
      for (GraphValue v : node.results) {
        if (!live[v]) continue;
        if (is_output(v) || !recomputable(node)) save(v);
        else all_saved = false;
      }
      if (all_saved) continue;
    }
    for_each_value(std::span<const Arg>(node.args), [&](const Arg& a) { live[a.value] = true; });
  }
  for (GraphValue v : inputs) if (live[v]) save(v);
  std::sort(saved.begin(), saved.end());
  if (saved_values) {
    for (GraphValue v : saved)
      if (std::find(saved_values->begin(), saved_values->end(), v) == saved_values->end()) return {};
    saved = *saved_values;
  }
  r.values = saved;

  std::vector<GraphValue> given = saved;
  for (size_t i = 0; i < grads.size(); ++i)
    if (grads[i] && live[grads[i].id]) {
      given.push_back(grads[i].id);
      r.grads_of.push_back(uint32_t(i));
    }
  r.backward = extract(joint, given, results);
  if (saved_values) return r;

  std::vector<GraphValue> forward_outputs(outputs.begin(), outputs.end());
  for (GraphValue v : saved) {
    const auto in = std::find(inputs.begin(), inputs.end(), v);
    if (in != inputs.end()) { r.saved.push_back({SplitVjp::Saved::Kind::input, uint32_t(in - inputs.begin())}); continue; }
    PHLOX_CHECK(v < forward_values, "a backward value is saved");
    const auto out = std::find(forward_outputs.begin(), forward_outputs.end(), v);
    r.saved.push_back({SplitVjp::Saved::Kind::output, uint32_t(out - forward_outputs.begin())});
    if (out == forward_outputs.end()) forward_outputs.push_back(v);
  }
  r.forward = extract(joint, inputs, forward_outputs);
  return r;
}

SplitVjp split_vjp(const Graph& g, const std::vector<bool>& needs_grad) { return split(g, needs_grad, {}, nullptr); }
SplitVjp split_vjp_without(const Graph& g, const std::vector<bool>& needs_grad, const std::vector<bool>& missing,
                           const SplitVjp& whole) {
  return split(g, needs_grad, missing, &whole.values);
}

}  // namespace phlox

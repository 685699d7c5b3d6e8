// Views of buffers, seen from those who read them as they lie.
#include "compile/compile.h"
#include "ops/fuse.h"

namespace phlox {

// The loop that would copy the operand says where its elements are.
std::optional<EvenOperand> even_operand(const Graph& g, GraphValue v, const std::vector<bool>& is_buffer) {
  EvenOperand r{v, 0, {}};
  if (is_buffer[v]) {
    Dim step = 1;
    for (int d = g.type(v).rank(); d-- > 0; step = step * g.type(v).shape[d]) r.steps.insert(0, step);
    return r;
  }
  const FusedLoop f = fuse_loop(g, std::span(&v, 1), is_buffer);
  if (f.inputs.size() != 1 || f.loop.stores.size() != 1) return std::nullopt;
  const Inst& value = f.loop.insts[f.loop.stores[0].value];
  if (value.op != Scalar::load || value.operand_count != 1 || f.loop.params[size_t(value.imm)].kind != Param::Kind::in) return std::nullopt;
  const Affine from = affine_of(f.loop, value.operand[0]), to = affine_of(f.loop, f.loop.stores[0].address);
  if (!from.ok || !to.ok) return std::nullopt;
  // Each dimension is an axis, or a part of one where the loop walks several as one.
  Dim step = 1;
  for (int d = g.type(v).rank(); d-- > 0; step = step * g.type(v).shape[d]) {
    const Dim size = g.type(v).shape[d];
    std::optional<Dim> found;
    for (size_t a = 0; a < f.loop.axes.size() && !found; ++a) {
      const Dim own = to.coefficient(int(a)), extent = f.loop.axes[a].extent;
      if (own == step && extent == size) found = from.coefficient(int(a));
      if (!own.is_const() || !extent.is_const() || !step.is_const() || !size.is_const() || own.value() <= 0) continue;
      if (step.value() % own.value() == 0 && own.value() * extent.value() % (step.value() * size.value()) == 0 && step.value() * size.value() <= own.value() * extent.value())
        found = from.coefficient(int(a)) * (step.value() / own.value());
    }
    if (!found && !size.is(1)) return std::nullopt;
    r.steps.insert(0, found.value_or(Dim(0)));
  }
  r.buffer = f.inputs[0];
  r.base = from.base;
  if (!r.steps.back().is(1)) return std::nullopt;
  return r;
}

}  // namespace phlox

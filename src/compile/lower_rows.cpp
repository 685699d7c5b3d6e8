// Row scratch: values that several passes over the same row need are kept in a local array where computing them again
// costs more. The exponentials of a softmax are the example.
#include <algorithm>
#include <bit>

#include "compile/lower_cpu.h"

namespace phlox {

// What a pass computes at each of its points.
CpuLowering::Values CpuLowering::values_of(const Pass& p) const {
  Values out;
  std::vector<char> seen(loop_.insts.size());
  const auto walk = [&](auto& self, ValueId v) -> void {
    if (seen[v] || body_.is_defined(v)) return;
    seen[v] = 1;
    const Inst& i = loop_.insts[v];
    if (!(loop_.depends[v] & p.axes)) return;  // not computed in the pass
    out.push_back(v);
    if (i.op == Scalar::reduce || i.op == Scalar::scan) return;
    for (int n = 0; n < i.operand_count; ++n) self(self, i.operand[n]);
  };
  for (const Store* s : p.stores) {
    walk(walk, s->value);
    if (s->predicate != no_value) walk(walk, s->predicate);
  }
  for (ValueId r : p.reduces) walk(walk, loop_.insts[r].operand[0]);
  return out;
}

// Rows are kept with their last axis padded to whole vectors.
Dim CpuLowering::row_points(AxisMask axes) const {
  Dim n = 1;
  for (AxisMask m = axes; m; m &= m - 1) {
    const int a = std::countr_zero(m);
    n = n * (m & (m - 1) ? extent(a) : ceildiv(extent(a), 64) * 64);
  }
  return n;
}

CpuLowering::Values CpuLowering::worth_keeping(const std::vector<std::vector<Pass>>& stages) const {
  if (!options_.row_scratch || body_.vector_axis() >= 0) return {};
  std::vector<const Pass*> passes;
  for (const auto& stage : stages)
    for (const Pass& p : stage) {
      if (!passes.empty() && p.axes != passes[0]->axes) return {};
      if (vector_axis_of(p) != 63 - std::countl_zero(p.axes) || !p.scans.empty()) return {};
      if (p.axes & (p.axes - 1)) return {};  // one axis: rows start at lane 0
      passes.push_back(&p);
    }
  if (passes.size() < 2) return {};
  const Dim points = row_points(passes[0]->axes);
  if (points.is_const() && points.value() > kept_elements) return {};

  std::vector<int> uses(loop_.insts.size());
  for (const Pass* p : passes)
    for (ValueId v : values_of(*p)) ++uses[v];
  // The cost of computing a value again from memory.
  std::vector<int> cost(loop_.insts.size());
  for (ValueId v = 0; v < loop_.insts.size(); ++v) {
    const Inst& i = loop_.insts[v];
    if (!uses[v]) continue;
    int c = is_math(i.op) ? 16 : i.op == Scalar::philox ? 40 : i.op == Scalar::div || i.op == Scalar::sqrt ? 6 : 1;
    if (i.op == Scalar::load || i.op == Scalar::axis) c = 1;
    else if (i.op != Scalar::reduce)
      for (int n = 0; n < i.operand_count; ++n) c += cost[i.operand[n]];
    cost[v] = std::min(c, 1000);
  }
  Values keep;
  for (ValueId v = 0; v < loop_.insts.size(); ++v) {
    if (uses[v] < 2 || cost[v] < 8 || is_bool(loop_.insts[v].dtype)) continue;
    // Only the outermost of nested candidates: something uses it that not every pass needs.
    bool inside_another = false;
    for (ValueId u = v + 1; u < loop_.insts.size() && !inside_another; ++u)
      for (int n = 0; n < loop_.insts[u].operand_count; ++n)
        inside_another |= loop_.insts[u].operand[n] == v && uses[u] == uses[v] && loop_.insts[u].op != Scalar::reduce;
    if (!inside_another) keep.push_back(v);
  }
  if (keep.size() > 2) keep.resize(2);
  return keep;
}

void CpuLowering::assign_kept(std::vector<std::vector<Pass>>& stages, const Values& kept) {
  for (ValueId v : kept) {
    bool there = false;
    const Dim points = row_points(AxisMask(1) << std::countr_zero(stages[0].empty() ? loop_.depends[v] & ~body_.bound() : stages[0][0].axes));
    kept_.push_back({v, b_.local(loop_.insts[v].dtype, points.is_const() ? points.value() : kept_elements)});
    for (auto& stage : stages)
      for (Pass& p : stage) {
        const Values has = values_of(p);
        if (std::find(has.begin(), has.end(), v) == has.end()) continue;
        (there ? p.kept : p.keep).push_back(v);
        there = true;
      }
  }
}

Kv CpuLowering::row_place(const Pass& p) { return body_.position(p.last); }

void CpuLowering::load_cached(Pass& p) {
  for (ValueId v : p.kept)
    for (const Kept& k : kept_)
      if (k.value == v) {
        body_.define(v, b_.local_load(k.array, row_place(p), lanes()));
        break;
      }
}

void CpuLowering::store_cached(Pass& p) {
  for (ValueId v : p.keep)
    for (const Kept& k : kept_)
      if (k.value == v) {
        b_.local_store(k.array, row_place(p), b_.splat(body_.value(v), lanes()));
        break;
      }
}

}  // namespace phlox

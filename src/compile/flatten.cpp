#include "compile/flatten.h"

#include <utility>

#include "compile/collapse.h"
#include "loop/builder.h"

namespace phlox {

namespace {

class Flattener {
 public:
  explicit Flattener(const Loop& loop) : loop_(loop), map_(loop.insts.size(), no_value) {}

  std::optional<Flattened> run() {
    AxisMask all = 0;
    for (size_t a = 0; a < loop_.axes.size(); ++a) {
      if (!loop_.axes[a].extent.is(1)) all |= AxisMask(1) << a;
    }
    if (!all || loop_.stores.empty()) return std::nullopt;
    for (const Store& s : loop_.stores)
      if ((s.domain & all) != all || s.predicate != no_value || s.conflict != Conflict::unique) return std::nullopt;
    Dim step = 1;
    for (size_t a = loop_.axes.size(); a-- > 0;) {
      stride_.insert(0, step);
      step = step * loop_.axes[a].extent;
    }
    for (const Param& p : loop_.params) b_.param(p.kind, p.dtype);
    axis_ = b_.new_axis(Dim::symbol(0));
    for (const Store& s : loop_.stores) {
      if (!convert(s.address) || !convert(s.value)) return std::nullopt;
      b_.store(s.param, {&b_, map_[s.address]}, {&b_, map_[s.value]}, AxisMask(1) << axis_);
    }
    return Flattened{b_.take(), step};
  }

 private:
  bool convert(ValueId v) {
    if (map_[v] != no_value) return true;
    const Inst& i = loop_.insts[v];
    if (i.dtype == DType::i64)
      if (const Affine a = affine_of(loop_, v); a.ok) {
        // The size of another tensor than this loop's would be a symbol that the new loop does not have.
        if (!a.base.is_const()) return false;
        if (a.terms.empty()) { map_[v] = b_.constant_int(DType::i64, a.base.value()).id; return true; }
        if (!is_flat(a)) return false;
        map_[v] = b_.index_add(b_.axis(axis_), b_.dim(a.base)).id;
        return true;
      }
    if (i.op == Scalar::axis || i.op == Scalar::dim) return false;
    Sv in[3];
    for (int k = 0; k < i.operand_count; ++k) {
      if (!convert(i.operand[k])) return false;
      in[k] = {&b_, map_[i.operand[k]]};
    }
    map_[v] = rebuild(i, in).id;
    return true;
  }

  bool is_flat(const Affine& a) const {
    size_t covered = 0;
    for (auto& [axis, c] : a.terms) {
      if (c != stride_[size_t(axis)]) return false;
      ++covered;
    }
    size_t wide = 0;
    for (const Axis& x : loop_.axes) wide += !x.extent.is(1);
    return covered == wide;
  }

  Sv rebuild(const Inst& i, const Sv* in) {
    switch (i.op) {
      case Scalar::constant: return is_int(i.dtype) || is_bool(i.dtype) ? b_.constant_int(i.dtype, i.imm) : b_.constant(i.dtype, constant_value(i));
      case Scalar::number: return b_.number(uint32_t(i.imm));
      case Scalar::load: return b_.load(uint32_t(i.imm), in[0], in[1]);
      case Scalar::cast: return b_.cast(in[0], i.dtype);
      case Scalar::bitcast: return b_.bitcast(in[0], i.dtype);
      case Scalar::philox: return b_.philox(in[0], in[1], in[2], int(i.imm));
      default: return b_.op(i.op, in[0], in[1], in[2]);
    }
  }

  const Loop& loop_;
  LoopBuilder b_;
  std::vector<ValueId> map_;
  SmallVector<Dim, 8> stride_;
  int axis_ = 0;
};

}  // namespace

std::optional<Flattened> flatten(const Loop& loop) {
  for (const Inst& i : loop.insts)
    if (i.op == Scalar::reduce || i.op == Scalar::scan || i.op == Scalar::checked_index) return std::nullopt;
  return Flattener(loop).run();
}

// The same loop over one axis, in an order of its values that does not depend on how it came about.
static Loop in_order_of_use(const Loop& loop, int axis) {
  LoopCopy copy(loop);
  copy.to.axes = {loop.axes[size_t(axis)]};
  copy.to.params = loop.params;
  const auto visit = [&](auto& self, ValueId v) -> ValueId {
    if (copy.renamed(v) != no_value) return copy.renamed(v);
    const Inst& i = loop.insts[v];
    for (int n = 0; n < i.operand_count; ++n) self(self, i.operand[n]);
    Inst now = copy.with_renamed_operands(i);
    if (i.op == Scalar::axis) now.imm = 0;
    if (i.op == Scalar::reduce) now.axes = 1;
    copy.rename(v, copy.add(now));
    return copy.renamed(v);
  };
  for (Store s : loop.stores) {
    s.value = visit(visit, s.value);
    s.address = visit(visit, s.address);
    copy.to.stores.push_back(s);
  }
  return std::move(copy.to);
}

std::optional<Flattened> flatten_reduction(const Loop& loop) {
  const Loop flat = collapse_axes(loop);
  int axis = -1;
  for (size_t a = 0; a < flat.axes.size(); ++a) {
    if (flat.axes[a].extent.is(1)) continue;
    if (axis >= 0) return std::nullopt;
    axis = int(a);
  }
  if (axis < 0) return std::nullopt;
  const std::vector<char> live = live_values(flat);
  for (ValueId v = 0; v < flat.insts.size(); ++v) {
    const Inst& i = flat.insts[v];
    if (!live[v]) continue;
    if (i.op == Scalar::scan || i.op == Scalar::checked_index || i.op == Scalar::dim) return std::nullopt;
    if (i.op == Scalar::axis && i.imm != axis) return std::nullopt;
    if (i.op == Scalar::reduce && (i.axes != AxisMask(1) << axis || i.order == Order::chain)) return std::nullopt;
    if (i.op != Scalar::load) continue;
    const Affine a = affine_of(flat, i.operand[0]);
    if (!a.ok || !a.base.is(0) || (!a.terms.empty() && !a.coefficient(axis).is(1))) return std::nullopt;
  }
  for (const Store& s : flat.stores)
    if (s.domain || s.predicate != no_value || s.conflict != Conflict::unique) return std::nullopt;
  Loop one = in_order_of_use(flat, axis);
  const Dim extent = std::exchange(one.axes[0].extent, Dim::symbol(0));
  return Flattened{std::move(one), extent};
}

}  // namespace phlox

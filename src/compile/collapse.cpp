#include "compile/collapse.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/hash.h"
#include "kernel/kernel.h"

namespace phlox {

std::vector<char> live_values(const Loop& loop) {
  std::vector<char> live(loop.insts.size());
  for (const Store& s : loop.stores) {
    live[s.address] = live[s.value] = 1;
    if (s.predicate != no_value) live[s.predicate] = 1;
  }
  for (size_t v = loop.insts.size(); v-- > 0;)
    if (live[v])
      for (int n = 0; n < loop.insts[v].operand_count; ++n) live[loop.insts[v].operand[n]] = 1;
  return live;
}

ValueId LoopCopy::add(Inst i) {
  uint64_t h = combine(uint64_t(i.op) | uint64_t(i.dtype) << 8 | uint64_t(i.combine) << 16 | uint64_t(i.order) << 24, uint64_t(i.imm));
  for (ValueId v : i.operand) h = combine(h, v);
  h = combine(h, i.axes);
  for (auto& [key, v] : made_)
    if (key == h && to.insts[v] == i) return v;
  AxisMask m = i.op == Scalar::axis ? AxisMask(1) << i.imm : 0;
  for (int n = 0; n < i.operand_count; ++n) m |= to.depends[i.operand[n]];
  if (i.op == Scalar::reduce) m &= ~i.axes;
  if (i.op == Scalar::scan) m |= i.axes;
  to.insts.push_back(i);
  to.depends.push_back(m);
  made_.push_back({h, ValueId(to.insts.size() - 1)});
  return ValueId(to.insts.size() - 1);
}

bool same_loop(const Loop& a, const Loop& b) {
  const auto same_axis = [](const Axis& x, const Axis& y) { return x.extent == y.extent; };
  const auto same_param = [](const Param& x, const Param& y) { return x.kind == y.kind && x.dtype == y.dtype; };
  return a.insts == b.insts && a.stores == b.stores && std::equal(a.axes.begin(), a.axes.end(), b.axes.begin(), b.axes.end(), same_axis) &&
         std::equal(a.params.begin(), a.params.end(), b.params.begin(), b.params.end(), same_param);
}

ValueId LoopCopy::affine(const Affine& a) {
  ValueId sum = no_value;
  const auto binary = [&](Scalar op, ValueId x, ValueId y) {
    Inst i{.op = op, .dtype = DType::i64, .operand_count = 2};
    i.operand[0] = x;
    i.operand[1] = y;
    return add(i);
  };
  const auto dim = [&](Dim d) {
    return d.is_const() ? constant_index(d.value()) : add({.op = Scalar::dim, .dtype = DType::i64, .imm = d.raw()});
  };
  for (auto& [axis, c] : a.terms) {
    ValueId t = add({.op = Scalar::axis, .dtype = DType::i64, .imm = axis});
    if (!c.is(1)) t = binary(Scalar::mul, t, dim(c));
    sum = sum == no_value ? t : binary(Scalar::add, sum, t);
  }
  if (sum == no_value) return dim(a.base);
  return a.base.is(0) ? sum : binary(Scalar::add, sum, dim(a.base));
}

Inst LoopCopy::with_renamed_operands(Inst i) const {
  for (int n = 0; n < i.operand_count; ++n) i.operand[n] = renamed_[i.operand[n]];
  return i;
}

namespace {
// What stops two axes from being one.
struct Collapse {
  Loop loop;                        // extents are rewritten: a merged axis gets extent 1
  std::vector<char> live;
  AxisMask pinned = 0;              // used other than in an affine address
  std::vector<Affine> addresses;
  std::vector<AxisMask> ordered;    // masks whose axes are walked row-major: reductions, ordered stores
  std::vector<AxisMask> sets;       // masks that hold both of two axes or none
  std::vector<char> seen;

  void pin(ValueId v) {             // v is used as a value
    if (seen[v]) return;
    seen[v] = 1;
    const Inst& i = loop.insts[v];
    if (i.op == Scalar::axis) pinned |= AxisMask(1) << i.imm;
    for (int n = 0; n < i.operand_count; ++n) {
      if (i.op == Scalar::load && n == 0) address(i.operand[0]);
      else pin(i.operand[n]);
    }
  }
  void address(ValueId v) {
    Affine a = affine_of(loop, v);
    if (a.ok) addresses.push_back(std::move(a));
    else pin(v);
  }
  bool one_set(int i, int j) const {
    for (AxisMask m : sets)
      if ((m >> i & 1) != (m >> j & 1)) return false;
    return true;
  }
  // i outside j: walking i then j is walking one axis.
  bool adjacent(int i, int j) const {
    if ((pinned >> i | pinned >> j) & 1 || !one_set(i, j)) return false;
    for (AxisMask m : ordered) {
      if (!(m >> i & 1)) continue;
      if (i > j) return false;
      for (int k = i + 1; k < j; ++k)
        if (m >> k & 1) return false;
    }
    for (const Affine& a : addresses)
      if (!(a.coefficient(i) == a.coefficient(j) * loop.axes[j].extent)) return false;
    return true;
  }
};
}  // namespace

// Loops that never run: their stores do nothing, and a reduction over them is the identity.
static Loop without_empty(const Loop& loop) {
  AxisMask empty = 0;
  for (size_t a = 0; a < loop.axes.size(); ++a)
    if (loop.axes[a].extent.is(0)) empty |= AxisMask(1) << a;
  Loop r = loop;
  if (!empty) return r;
  std::erase_if(r.stores, [&](const Store& s) { return (s.domain & empty) != 0; });
  for (size_t v = 0; v < r.insts.size(); ++v) {
    Inst& i = r.insts[v];
    if (i.op == Scalar::reduce && (i.axes & empty))
      i = {.op = Scalar::constant, .dtype = i.dtype, .imm = combine_identity(i.combine, i.dtype)};
    r.depends[v] = i.op == Scalar::axis ? AxisMask(1) << i.imm : 0;
    for (int n = 0; n < i.operand_count; ++n) r.depends[v] |= r.depends[i.operand[n]];
    if (i.op == Scalar::reduce) r.depends[v] &= ~i.axes;
    if (i.op == Scalar::scan) r.depends[v] |= i.axes;
  }
  return r;
}

Loop collapse_axes(const Loop& loop) {
  const Loop from = without_empty(loop);
  Collapse c{from, live_values(from), 0, {}, {}, {}, std::vector<char>(from.insts.size())};
  const auto strip = [&](AxisMask m) {  // axes of extent 1 do not count, but the last one of a reduction stays
    AxisMask r = m;
    for (AxisMask b = m; b; b &= b - 1) {
      const int a = std::countr_zero(b);
      if (from.axes[size_t(a)].extent.is(1) && (r & (r - 1))) r &= ~(AxisMask(1) << a);
    }
    return r;
  };
  for (const Store& s : from.stores) {
    c.address(s.address);
    c.pin(s.value);
    if (s.predicate != no_value) c.pin(s.predicate);
    c.sets.push_back(s.domain);
    if (s.conflict != Conflict::unique) c.ordered.push_back(s.domain);
  }
  for (size_t v = 0; v < from.insts.size(); ++v) {
    const Inst& i = from.insts[v];
    if (!c.live[v]) continue;
    if (i.op == Scalar::reduce) {
      c.sets.push_back(i.axes);
      c.ordered.push_back(i.axes);
      c.sets.push_back(from.depends[v]);
    } else if (i.op == Scalar::scan) {
      c.pinned |= i.axes;
    }
  }
  AxisMask gone = 0;
  const int n = int(from.axes.size());
  for (bool again = true; again;) {
    again = false;
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) {
        if (i == j || ((gone >> i | gone >> j) & 1) || c.loop.axes[i].extent.is(1) || c.loop.axes[j].extent.is(1)) continue;
        if (!c.adjacent(i, j)) continue;
        c.loop.axes[j].extent = c.loop.axes[i].extent * c.loop.axes[j].extent;
        c.loop.axes[i].extent = 1;
        gone |= AxisMask(1) << i;
        again = true;
      }
  }

  LoopCopy copy(from);
  copy.to.axes = c.loop.axes;
  copy.to.params = from.params;
  const auto address = [&](ValueId v) {
    Affine a = affine_of(from, v);
    if (!a.ok) return copy.renamed(v);
    Affine r{.ok = true, .base = a.base};
    for (auto& [axis, k] : a.terms)
      if (!copy.to.axes[axis].extent.is(1)) r.terms.push_back({axis, k});
    return copy.affine(r);
  };
  for (ValueId v = 0; v < from.insts.size(); ++v) {
    if (!c.live[v]) continue;
    Inst i = from.insts[v];
    if (i.op == Scalar::axis && copy.to.axes[i.imm].extent.is(1)) {
      copy.rename(v, copy.constant_index(0));
      continue;
    }
    Inst r = copy.with_renamed_operands(i);
    if (i.op == Scalar::load) r.operand[0] = address(i.operand[0]);
    if (i.op == Scalar::reduce) r.axes = strip(i.axes & ~gone);
    copy.rename(v, copy.add(r));
  }
  for (Store s : from.stores) {
    const ValueId a = address(s.address);
    s.address = a;
    s.value = copy.renamed(s.value);
    if (s.predicate != no_value) s.predicate = copy.renamed(s.predicate);
    AxisMask d = 0;
    for (int x = 0; x < n; ++x)
      if ((s.domain >> x & 1) && !copy.to.axes[size_t(x)].extent.is(1)) d |= AxisMask(1) << x;
    s.domain = d;
    copy.to.stores.push_back(s);
  }
  return without_dead_values(copy.to);  // the address arithmetic that was replaced
}

Loop without_dead_values(const Loop& loop) {
  LoopCopy clean(loop);
  const std::vector<char> live = live_values(loop);
  clean.to.axes = loop.axes;
  clean.to.params = loop.params;
  for (ValueId v = 0; v < loop.insts.size(); ++v)
    if (live[v]) clean.rename(v, clean.add(clean.with_renamed_operands(loop.insts[v])));
  for (Store s : loop.stores) {
    s.address = clean.renamed(s.address);
    s.value = clean.renamed(s.value);
    if (s.predicate != no_value) s.predicate = clean.renamed(s.predicate);
    clean.to.stores.push_back(s);
  }
  return std::move(clean.to);
}

}  // namespace phlox

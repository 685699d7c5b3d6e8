#include "compile/split_axes.h"

#include <algorithm>
#include <bit>

#include "compile/collapse.h"

namespace phlox {

namespace {

constexpr int64_t most_copies = 4;     // of the stores, for an axis that is written out
constexpr size_t most_values = 1200;   // of a loop that is made

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

struct Range { int64_t from, to; };  // inclusive

bool is_division(const Inst& i) { return (i.op == Scalar::floordiv || i.op == Scalar::floormod) && i.dtype == DType::i64; }

// A copy of a loop in which every old axis is an affine form of the new ones, with integer arithmetic folded where the
// ranges of the axes decide it.
class Rewriter {
 public:
  // masks: the new axes of each old one.
  Rewriter(const Loop& from, std::vector<Axis> axes, std::vector<Affine> forms, const std::vector<AxisMask>& masks)
      : from_(from), copy_(from), forms_(std::move(forms)), masks_(masks) {
    copy_.to.axes = std::move(axes);
    copy_.to.params = from.params;
  }

  void values() {
    for (ValueId v = 0; v < from_.insts.size(); ++v) copy_.rename(v, make(copy_.with_renamed_operands(from_.insts[v])));
  }
  void stores() {
    for (Store s : from_.stores) {
      s.address = copy_.renamed(s.address);
      s.value = copy_.renamed(s.value);
      if (s.predicate != no_value) s.predicate = copy_.renamed(s.predicate);
      s.domain = renamed(s.domain);
      if (std::find(copy_.to.stores.begin(), copy_.to.stores.end(), s) == copy_.to.stores.end()) copy_.to.stores.push_back(s);
    }
  }
  void set_form(int axis, Affine a) { forms_[size_t(axis)] = std::move(a); }
  Loop take() { return without_dead_values(copy_.to); }
  size_t size() const { return copy_.to.insts.size(); }

 private:
  AxisMask renamed(AxisMask old) const {
    AxisMask d = 0;
    for (AxisMask m = old; m; m &= m - 1) d |= masks_[size_t(std::countr_zero(m))];
    return d;
  }
  static std::optional<Range> range_of(const Loop& loop, const Affine& a) {
    if (!a.ok || !a.base.is_const()) return std::nullopt;
    Range r{a.base.value(), a.base.value()};
    for (auto& [axis, c] : a.terms) {
      const Dim e = loop.axes[size_t(axis)].extent;
      if (!c.is_const() || !e.is_const() || e.value() < 1) return std::nullopt;
      (c.value() < 0 ? r.from : r.to) += c.value() * (e.value() - 1);
    }
    return r;
  }
  bool is_constant(ValueId v, int64_t& bits) const {
    const Inst& i = copy_.to.insts[v];
    bits = i.imm;
    return i.op == Scalar::constant;
  }
  ValueId boolean(bool b) { return copy_.add({.op = Scalar::constant, .dtype = DType::boolean, .imm = b}); }
  ValueId binary(Scalar op, ValueId a, ValueId b) {
    Inst i{.op = op, .dtype = DType::i64, .operand_count = 2};
    i.operand[0] = a;
    i.operand[1] = b;
    return copy_.add(i);
  }

  ValueId make(const Inst& i) {
    int64_t bits;
    switch (i.op) {
      case Scalar::axis: return copy_.affine(forms_[size_t(i.imm)]);
      case Scalar::floordiv: case Scalar::floormod:
        if (i.dtype == DType::i64 && is_constant(i.operand[1], bits) && bits > 0) {
          const Affine a = affine_of(copy_.to, i.operand[0]);
          if (range_of(copy_.to, a)) return divide(i.op, a, bits);
        }
        break;
      case Scalar::reduce: {
        Inst r = i;
        r.axes = renamed(i.axes);
        return copy_.add(r);
      }
      case Scalar::lt: case Scalar::le: case Scalar::eq: case Scalar::ne:
        if (copy_.to.insts[i.operand[0]].dtype == DType::i64)
          if (const auto r = difference(i.operand[0], i.operand[1])) {
            const auto decide = [&](bool yes, bool no) -> ValueId { return yes ? boolean(true) : no ? boolean(false) : no_value; };
            const bool zero = r->from == 0 && r->to == 0, apart = r->from > 0 || r->to < 0;
            const ValueId v = i.op == Scalar::lt   ? decide(r->to < 0, r->from >= 0)
                              : i.op == Scalar::le ? decide(r->to <= 0, r->from > 0)
                              : i.op == Scalar::eq ? decide(zero, apart)
                                                   : decide(apart, zero);
            if (v != no_value) return v;
            if (i.op == Scalar::lt || i.op == Scalar::le)
              if (const ValueId v = coarse(i.operand[0], i.operand[1], i.op == Scalar::lt)) return v;
          }
        break;
      case Scalar::band: case Scalar::bor:
        if (!is_bool(i.dtype)) break;
        for (int n = 0; n < 2; ++n)
          if (is_constant(i.operand[n], bits)) return (bits != 0) == (i.op == Scalar::band) ? i.operand[1 - n] : i.operand[n];
        break;
      case Scalar::select:
        if (is_constant(i.operand[0], bits)) return i.operand[bits ? 1 : 2];
        break;
      case Scalar::load:
        if (i.operand_count == 2 && is_constant(i.operand[1], bits)) {
          if (!bits) return copy_.add({.op = Scalar::constant, .dtype = i.dtype, .imm = 0});
          Inst always = i;
          always.operand_count = 1;
          always.operand[1] = no_value;
          return copy_.add(always);
        }
        break;
      default: break;
    }
    return copy_.add(i);
  }

  // a - b
  Affine minus(ValueId a, ValueId b) const {
    const Affine x = affine_of(copy_.to, a), y = affine_of(copy_.to, b);
    if (!range_of(copy_.to, x) || !range_of(copy_.to, y)) return {};
    Affine d{.ok = true, .base = x.base - y.base};
    for (auto& [axis, c] : x.terms)
      if (const Dim k = c - y.coefficient(axis); !k.is(0)) d.terms.push_back({axis, k});
    for (auto& [axis, c] : y.terms)
      if (x.coefficient(axis).is(0)) d.terms.push_back({axis, Dim(0) - c});
    return d;
  }
  std::optional<Range> difference(ValueId a, ValueId b) const { return range_of(copy_.to, minus(a, b)); }

  // a <= b or a < b where the answer is the same for all positions of an inner axis: 0 <= g * x + y with 0 <= y < g.
  ValueId coarse(ValueId a, ValueId b, bool strict) {
    const Affine d = minus(b, a);
    if (!d.ok) return 0;
    for (auto& [unused, k] : d.terms) {
      const int64_t g = k.value() < 0 ? -k.value() : k.value();
      if (g < 2) continue;
      Affine large{.ok = true}, small{.ok = true};
      const int64_t base = d.base.value() - strict, q = floor_div(base, g);
      large.base = q;
      small.base = base - q * g;
      for (auto& [axis, c] : d.terms) {
        if (c.value() % g == 0) large.terms.push_back({axis, c.value() / g});
        else small.terms.push_back({axis, c});
      }
      const auto r = range_of(copy_.to, small);
      if (small.terms.empty() || !r || r->from < 0 || r->to >= g) continue;
      Inst i{.op = Scalar::le, .dtype = DType::boolean, .operand_count = 2};
      i.operand[0] = copy_.constant_index(0);
      i.operand[1] = copy_.affine(large);
      return copy_.add(i);
    }
    return 0;
  }

  // a / c or a % c. Terms in multiples of g leave the others alone while those stay below g.
  ValueId divide(Scalar op, const Affine& a, int64_t c) {
    SmallVector<int64_t, 6> steps;
    steps.push_back(c);
    for (auto& [axis, k] : a.terms)
      if (k.value() > 1 && k.value() < c && c % k.value() == 0) steps.push_back(k.value());
    std::sort(steps.begin(), steps.end(), [](int64_t x, int64_t y) { return x > y; });
    for (int64_t g : steps) {
      Affine large{.ok = true}, small{.ok = true};
      const int64_t q = floor_div(a.base.value(), g);
      large.base = q;
      small.base = a.base.value() - q * g;
      for (auto& [axis, k] : a.terms) {
        if (k.value() % g == 0) large.terms.push_back({axis, k.value() / g});
        else small.terms.push_back({axis, k});
      }
      const auto r = range_of(copy_.to, small);
      if (!r || r->from < 0 || r->to >= g) continue;
      if (g == c) return copy_.affine(op == Scalar::floordiv ? large : small);
      const ValueId rest = divide(op, large, c / g);
      if (op == Scalar::floordiv) return rest;
      const Affine f = affine_of(copy_.to, rest);
      if (!f.ok) return binary(Scalar::add, binary(Scalar::mul, rest, copy_.constant_index(g)), copy_.affine(small));
      Affine sum{.ok = true, .base = f.base * g + small.base};
      for (auto& [axis, k] : f.terms) sum.terms.push_back({axis, k * g});
      for (auto& t : small.terms) sum.terms.push_back(t);
      return copy_.affine(sum);
    }
    return binary(op, copy_.affine(a), copy_.constant_index(c));
  }

  const Loop& from_;
  LoopCopy copy_;
  std::vector<Affine> forms_;
  const std::vector<AxisMask>& masks_;
};

Affine axis_form(int axis, int64_t k = 1) {
  Affine a{.ok = true};
  a.terms.push_back({axis, k});
  return a;
}

struct Splitter {
  Loop loop;
  std::vector<char> made;  // axes that came of a split

  std::vector<Affine> identity() const {
    std::vector<Affine> f;
    for (size_t a = 0; a < loop.axes.size(); ++a) f.push_back(axis_form(int(a)));
    return f;
  }
  std::vector<AxisMask> own_masks() const {
    std::vector<AxisMask> m;
    for (size_t a = 0; a < loop.axes.size(); ++a) m.push_back(AxisMask(1) << a);
    return m;
  }
  size_t divisions() const { return size_t(std::count_if(loop.insts.begin(), loop.insts.end(), is_division)); }

  AxisMask reduced() const {
    AxisMask m = 0;
    for (const Inst& i : loop.insts)
      if (i.op == Scalar::reduce) m |= i.axes;
    return m;
  }

  // An axis and its divisor among the divisions that are left: the least divisor first.
  bool candidate(int& axis, int64_t& by) const {
    by = INT64_MAX;
    const AxisMask fixed = reduced();
    for (const Inst& i : loop.insts) {
      if (!is_division(i) || loop.insts[i.operand[1]].op != Scalar::constant) continue;
      const int64_t c = loop.insts[i.operand[1]].imm;
      const Affine a = affine_of(loop, i.operand[0]);
      if (!a.ok || c < 2 || c >= by) continue;
      for (auto& [x, k] : a.terms) {
        const Dim e = loop.axes[size_t(x)].extent;
        if (!(fixed >> x & 1) && k.is(1) && e.is_const() && e.value() > c && e.value() % c == 0) axis = x, by = c;
      }
    }
    return by != INT64_MAX;
  }

  void split(int axis, int64_t by) {
    std::vector<Axis> axes;
    std::vector<Affine> forms;
    std::vector<AxisMask> masks;
    std::vector<char> new_made;
    for (size_t a = 0; a < loop.axes.size(); ++a) {
      const int at = int(axes.size());
      if (int(a) != axis) {
        forms.push_back(axis_form(at));
        masks.push_back(AxisMask(1) << at);
        axes.push_back(loop.axes[a]);
        new_made.push_back(made[a]);
        continue;
      }
      Affine f = axis_form(at, by);
      f.terms.push_back({at + 1, 1});
      forms.push_back(std::move(f));
      masks.push_back(AxisMask(3) << at);
      axes.push_back({loop.axes[a].extent.value() / by});
      axes.push_back({by});
      new_made.insert(new_made.end(), {1, 1});
    }
    Rewriter r(loop, std::move(axes), std::move(forms), masks);
    r.values();
    r.stores();
    Loop next = r.take();
    loop = std::move(next);
    made = std::move(new_made);
  }

  // A small axis that divisions still depend on.
  int undecided() const {
    for (const Inst& i : loop.insts) {
      if (!is_division(i)) continue;
      for (AxisMask m = loop.depends[i.operand[0]]; m; m &= m - 1) {
        const int a = std::countr_zero(m);
        if (made[size_t(a)] && loop.axes[size_t(a)].extent.value() <= most_copies) return a;
      }
    }
    return -1;
  }

  bool write_out(int axis) {
    const int64_t n = loop.axes[size_t(axis)].extent.value();
    std::vector<Axis> axes = loop.axes;
    axes[size_t(axis)].extent = 1;
    std::vector<AxisMask> masks = own_masks();
    masks[size_t(axis)] = 0;
    Rewriter r(loop, std::move(axes), identity(), masks);
    for (int64_t k = 0; k < n; ++k) {
      r.set_form(axis, Affine{.ok = true, .base = k});
      r.values();
      r.stores();
      if (r.size() > most_values) return false;
    }
    Loop next = r.take();
    loop = std::move(next);
    return true;
  }

  // Axes of one size that no value and no store has both of.
  bool unify() {
    const int n = int(loop.axes.size());
    std::vector<AxisMask> together(loop.axes.size());
    const auto note = [&](AxisMask m) {
      for (AxisMask b = m; b; b &= b - 1) together[size_t(std::countr_zero(b))] |= m;
    };
    for (AxisMask m : loop.depends) note(m);
    for (const Store& s : loop.stores) note(s.domain);
    const AxisMask fixed = reduced();
    for (int x = 0; x < n; ++x)
      for (int y = x + 1; y < n; ++y) {
        if ((fixed >> x | fixed >> y) & 1) continue;
        if (!(made[size_t(x)] || made[size_t(y)]) || !together[size_t(x)] || !together[size_t(y)] || (together[size_t(x)] >> y & 1) ||
            loop.axes[size_t(x)].extent != loop.axes[size_t(y)].extent || loop.axes[size_t(x)].extent.is(1)) continue;
        std::vector<Affine> forms = identity();
        forms[size_t(y)] = axis_form(x);
        std::vector<AxisMask> masks = own_masks();
        masks[size_t(y)] = masks[size_t(x)];
        std::vector<Axis> axes = loop.axes;
        axes[size_t(y)].extent = 1;
        Rewriter r(loop, std::move(axes), std::move(forms), masks);
        r.values();
        r.stores();
        Loop next = r.take();
        loop = std::move(next);
        return true;
      }
    return false;
  }
};

}  // namespace

Loop split_axes(const Loop& original) {
  bool divides = false;
  for (const Inst& i : original.insts) {
    if (i.op == Scalar::scan || (i.op == Scalar::reduce && i.order == Order::chain)) return original;
    divides |= is_division(i);
  }
  for (const Store& s : original.stores)
    if (s.conflict != Conflict::unique) return original;
  if (!divides) return original;
  Splitter s{original, std::vector<char>(original.axes.size())};
  int axis;
  int64_t by;
  for (int round = 0; round < 16 && s.loop.axes.size() < 24 && s.candidate(axis, by); ++round) s.split(axis, by);
  if (s.loop.axes.size() == original.axes.size()) return original;
  for (int copies = 1, a; (a = s.undecided()) >= 0;) {
    copies *= int(s.loop.axes[size_t(a)].extent.value());
    if (copies > 2 * most_copies || !s.write_out(a)) return original;
  }
  while (s.unify()) {}
  return s.divisions() < size_t(std::count_if(original.insts.begin(), original.insts.end(), is_division)) ? std::move(s.loop) : original;
}

}  // namespace phlox

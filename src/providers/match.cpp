#include "providers/match.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace phlox {

constexpr int64_t assumed_size = 1024;  // of symbols
constexpr int64_t wide_enough = 32;     // rows or columns that make a block of their own

int64_t size_hint(Dim d) { return d.is_const() ? d.value() : assumed_size; }

Dim extent_of(const Loop& loop, std::span<const int> axes) {
  Dim n = 1;
  for (int a : axes) n = n * loop.axes[size_t(a)].extent;
  return n;
}

bool flat_stride(const Loop& loop, const Affine& a, std::span<const int> axes, Dim& stride) {
  stride = 0;
  if (axes.empty()) return true;
  stride = a.coefficient(axes.back());
  Dim inner = 1;
  for (size_t i = axes.size(); i-- > 0; inner = inner * loop.axes[size_t(axes[i])].extent)
    if (a.coefficient(axes[i]) != stride * inner) return false;
  return true;
}

namespace {

using Axes = Contraction::Axes;

struct Matcher {
  const Loop& loop;
  Contraction c;
  std::string refusal;
  bool prologue = false;

  bool refuse(const char* why) {
    refusal = why;
    return false;
  }

  // The one reduction among what the stores need.
  bool find_sum() {
    std::vector<char> live(loop.insts.size());
    for (const Store& s : loop.stores) {
      live[s.value] = live[s.address] = 1;
      if (s.predicate != no_value) live[s.predicate] = 1;
    }
    for (size_t v = loop.insts.size(); v-- > 0;) {
      if (!live[v]) continue;
      const Inst& i = loop.insts[v];
      // What lies under the sum belongs to its factors, whose own reductions are looked at there.
      const bool below = prologue && i.op == Scalar::reduce && i.order == Order::chain;
      if (!below)
        for (int n = 0; n < i.operand_count; ++n) live[i.operand[n]] = 1;
      if (i.op == Scalar::scan) return refuse("it holds a scan");
      if (i.op != Scalar::reduce) continue;
      if (c.sum != no_value) return refuse("it holds a second reduction");
      c.sum = ValueId(v);
    }
    if (c.sum == no_value) return refuse("it holds no reduction");
    const Inst& r = loop.insts[c.sum];
    if (r.order != Order::chain || r.combine != Combine::add) return refuse("its reduction is no ordered chain of sums");
    if (!r.axes) return refuse("it sums over nothing");
    c.dtype = r.dtype;
    if (c.dtype != DType::f32 && c.dtype != DType::f64) return refuse("its sum is neither f32 nor f64");
    const Inst& p = loop.insts[r.operand[0]];
    if (p.op != Scalar::mul || p.dtype != c.dtype) return refuse("it does not sum a product");
    c.a.value = p.operand[0];
    c.b.value = p.operand[1];
    return true;
  }

  bool check_stores(AxisMask domain) {
    for (const Store& s : loop.stores) {
      if (s.domain != domain) return refuse("a store covers other points than the sum");
      if (s.conflict != Conflict::unique || s.predicate != no_value) return refuse("a store is conditional or may meet others");
    }
    return true;
  }

  bool roles() {
    const AxisMask k = loop.insts[c.sum].axes, domain = loop.stores[0].domain;
    const AxisMask a = loop.depends[c.a.value] & ~k, b = loop.depends[c.b.value] & ~k;
    if (!check_stores(domain)) return false;
    if (domain & ~(a | b)) return refuse("an axis of its results is none of its factors'");
    AxisMask rows = a & ~b, columns = b & ~a;
    if (!rows && !columns) return refuse("each sum is of its own rows: nothing is used twice");
    // Columns are where results lie side by side.
    const auto unit = [&](AxisMask m) {
      for (const Store& s : loop.stores) {
        const Affine f = affine_of(loop, s.address);
        if (!f.ok) continue;
        for (; m; m &= m - 1)
          if (f.coefficient(std::countr_zero(m)).is(1)) return std::countr_zero(m);
      }
      return -1;
    };
    int last = unit(columns);
    if (!columns || (last < 0 && unit(rows) >= 0)) {
      std::swap(c.a, c.b);
      std::swap(rows, columns);
      last = unit(columns);
    }
    const auto list = [](AxisMask m) {
      Axes r;
      for (; m; m &= m - 1) r.push_back(std::countr_zero(m));
      return r;
    };
    c.m = list(rows);
    c.n = list(columns);
    c.k = list(k);
    c.batch = list(domain & ~rows & ~columns);
    if (last >= 0) {
      c.n.erase(size_t(std::find(c.n.begin(), c.n.end(), last) - c.n.begin()));
      c.n.push_back(last);
    }
    return true;
  }

  // A factor that is a plain load of the sum's type.
  void look_at(Contraction::Operand& o) const {
    const Inst& i = loop.insts[o.value];
    if (i.op != Scalar::load || i.operand_count != 1 || i.dtype != c.dtype) return;
    o.address = affine_of(loop, i.operand[0]);
    o.param = uint32_t(i.imm);
    o.plain = o.affine = o.address.ok;
  }

  void find_strides(Contraction::Operand& o, const Axes& rows) const {
    o.plain = flat_stride(loop, o.address, rows, o.row);
    o.windows = !o.plain && is_window(o, rows);
    if (!o.plain) return;
    for (size_t skip = 0; skip < c.k.size(); ++skip) {
      o.even_k = int(c.k.size() - skip);
      if (flat_stride(loop, o.address, std::span<const int>(c.k.data() + skip, size_t(o.even_k)), o.step)) break;
    }
    o.plain = o.even_k == int(c.k.size());
  }

  bool is_window(const Contraction::Operand& o, std::span<const int> rows) const {
    return rows.size() == 2 && o.address.coefficient(rows[1]).is(1) && loop.axes[size_t(rows[1])].extent.is_const();
  }

  // Elements side by side along the last of some axes.
  int64_t run(const Contraction::Operand& o, const Axes& axes) const {
    if (axes.empty() || !o.address.coefficient(axes.back()).is(1)) return 0;
    return size_hint(loop.axes[size_t(axes.back())].extent);
  }

  // A factor that is gathered in runs along k is better read by rows; its products then are stored across.
  void turn() {
    if (!c.b.affine || c.m.empty()) return;
    Dim stride;
    const auto uneven = [&](const Contraction::Operand& o, const Axes& rows) {
      return o.affine && !flat_stride(loop, o.address, rows, stride) && !is_window(o, rows) && run(o, c.k) > run(o, rows);
    };
    if (!uneven(c.b, c.n) || uneven(c.a, c.m)) return;
    std::swap(c.a, c.b);
    std::swap(c.m, c.n);
  }

  // Outer axes that do not lie evenly in memory become batch while what is left is wide.
  template <class Flat>
  void split(Axes& axes, const Flat& flat) {
    for (size_t skip = 0; skip < axes.size(); ++skip) {
      const std::span<const int> rest(axes.data() + skip, axes.size() - skip);
      if (!flat(rest)) continue;
      if (skip > 0 && size_hint(extent_of(loop, rest)) < wide_enough) return;
      for (size_t i = 0; i < skip; ++i) c.batch.push_back(axes[i]);
      Axes kept;
      for (int x : rest) kept.push_back(x);
      axes = kept;
      return;
    }
  }

  const Store* candidate() {
    for (size_t i = 0; i < loop.stores.size(); ++i) {
      const Store& s = loop.stores[i];
      const Param& p = loop.params[s.param];
      if (p.kind != Param::Kind::out || p.dtype != c.dtype) continue;
      c.c_address = affine_of(loop, s.address);
      if (!c.c_address.ok || !c.c_address.coefficient(c.n.back()).is(1)) continue;
      c.in_place = int(i);
      return &s;
    }
    return nullptr;
  }

  bool run() {
    if (loop.stores.empty()) return refuse("it stores nothing");
    if (!find_sum() || !roles()) return false;
    look_at(c.a);
    look_at(c.b);
    turn();
    const Store* s = candidate();
    Dim stride;
    split(c.n, [&](std::span<const int> x) {
      return (!s || (flat_stride(loop, c.c_address, x, stride) && stride.is(1))) &&
             (!c.b.plain || flat_stride(loop, c.b.address, x, stride) || is_window(c.b, x));
    });
    split(c.m, [&](std::span<const int> x) {
      return (!s || flat_stride(loop, c.c_address, x, stride)) && (!c.a.plain || flat_stride(loop, c.a.address, x, stride));
    });
    for (auto [o, rows] : {std::pair{&c.a, &c.m}, std::pair{&c.b, &c.n}})
      if (o->plain)
        find_strides(*o, *rows);
    if (s && !(flat_stride(loop, c.c_address, c.n, stride) && stride.is(1) && flat_stride(loop, c.c_address, c.m, c.c_row)))
      c.in_place = -1;
    c.epilogue = !(c.in_place >= 0 && loop.stores.size() == 1 && loop.stores[0].value == c.sum);
    c.m_size = extent_of(loop, c.m);
    c.n_size = extent_of(loop, c.n);
    c.k_size = extent_of(loop, c.k);
    c.batch_size = extent_of(loop, c.batch);
    return true;
  }
};

}  // namespace

ContractionMatch match_contraction(const Loop& loop, bool prologue) {
  Matcher m{loop, {}, {}, prologue};
  ContractionMatch r;
  r.matched = m.run();
  r.contraction = std::move(m.c);
  r.refusal = std::move(m.refusal);
  return r;
}

}  // namespace phlox

#include "compile/frame.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "compile/collapse.h"
#include "loop/builder.h"
#include "loop/verify.h"

namespace phlox {

namespace {

// An index expression that the predicate holds inside [0, size).
struct Window {
  ValueId value;
  Affine index;
  bool low = false, high = false;
  int64_t size = 0;
  int64_t least = 0, most = 0, stride = 0;  // over all points; in the address
  int64_t extent() const { return most - least + 1; }
};

struct Framer {
  const Loop& loop;
  ValueId load = no_value;
  Affine address, rest;
  std::vector<Window> windows;

  static bool is_const(const Inst& i, int64_t& v) {
    v = i.imm;
    if (i.op == Scalar::dim) return Dim::from_raw(i.imm).is_const();
    return i.op == Scalar::constant;
  }
  Window& window(ValueId v) {
    for (Window& w : windows)
      if (w.value == v) return w;
    windows.push_back({v, affine_of(loop, v)});
    return windows.back();
  }

  // 0 <= e, e < size, and conjunctions of them.
  bool read_predicate(ValueId v) {
    const Inst& i = loop.insts[v];
    if (i.op == Scalar::band) return read_predicate(i.operand[0]) && read_predicate(i.operand[1]);
    int64_t k = 0;
    if (i.op == Scalar::constant) return i.imm != 0;
    if (i.op == Scalar::le && is_const(loop.insts[i.operand[0]], k) && k == 0) {
      window(i.operand[1]).low = true;
      return true;
    }
    if (i.op == Scalar::lt && is_const(loop.insts[i.operand[1]], k)) {
      Window& w = window(i.operand[0]);
      w.high = true;
      w.size = k;
      return true;
    }
    return false;
  }

  bool ranges() {
    for (Window& w : windows) {
      if (!w.index.ok || !w.index.base.is_const()) return false;
      w.least = w.most = w.index.base.value();
      for (auto& [axis, c] : w.index.terms) {
        const Dim e = loop.axes[size_t(axis)].extent;
        if (!c.is_const() || !e.is_const() || e.value() < 1) return false;
        const int64_t reach = c.value() * (e.value() - 1);
        (reach < 0 ? w.least : w.most) += reach;
      }
      if (!w.high) w.size = w.most + 1;
      if (!w.low && w.least < 0) return false;
    }
    return true;
  }

  // address = rest + sum of stride * window index, with rest over other axes.
  bool split_address() {
    rest = address;
    AxisMask taken = 0;
    for (Window& w : windows) {
      for (auto& [axis, c] : w.index.terms) {
        if (taken >> axis & 1) return false;
        taken |= AxisMask(1) << axis;
        const Dim in_address = address.coefficient(axis);
        if (!in_address.is_const() || in_address.value() % c.value() != 0) return false;
        const int64_t s = in_address.value() / c.value();
        if (w.stride != 0 && s != w.stride) return false;
        if (s == 0) return false;
        w.stride = s;
      }
      if (w.stride == 0) return false;
      rest.base = rest.base - Dim(w.stride) * w.index.base;
    }
    decltype(rest.terms) left;
    for (auto& t : rest.terms)
      if (!(taken >> t.first & 1)) {
        if (!t.second.is_const()) return false;
        left.push_back(t);
      }
    rest.terms = left;
    std::sort(rest.terms.begin(), rest.terms.end(), [](auto& a, auto& b) { return a.second.value() > b.second.value(); });
    std::sort(windows.begin(), windows.end(), [](auto& a, auto& b) { return a.stride > b.stride; });
    for (size_t i = 1; i < rest.terms.size(); ++i)
      if (!loop.axes[size_t(rest.terms[i].first)].extent.is_const()) return false;
    return rest.base.is_const();
  }

  std::optional<Framed> make() const {
    const Inst& l = loop.insts[load];
    const uint32_t temp = uint32_t(loop.params.size());
    // The temporary: the other axes, then the windows, row-major.
    Dim count = 1;
    std::vector<int64_t> strides(rest.terms.size() + windows.size());
    for (size_t i = strides.size(); i-- > 0;) {
      strides[i] = count.value();  // only the outermost axis may have any size
      count = count * (i < rest.terms.size() ? loop.axes[size_t(rest.terms[i].first)].extent : Dim(windows[i - rest.terms.size()].extent()));
      if (i > 0 && count.value() > int64_t(1) << 28) return std::nullopt;
    }
    if (count.is_const() && count.value() > int64_t(1) << 28) return std::nullopt;
    LoopBuilder b;
    for (const Param& p : loop.params) b.param(p.kind == Param::Kind::number ? p.kind : Param::Kind::in, p.dtype);
    b.param(Param::Kind::out, l.dtype);
    Sv from = b.dim(rest.base), to = b.constant_int(DType::i64, 0), inside = b.constant_int(DType::boolean, 1);
    AxisMask domain = 0;
    for (size_t i = 0; i < strides.size(); ++i) {
      const bool other = i < rest.terms.size();
      const Window* w = other ? nullptr : &windows[i - rest.terms.size()];
      const int axis = b.new_axis(other ? loop.axes[size_t(rest.terms[i].first)].extent : Dim(w->extent()));
      domain |= AxisMask(1) << axis;
      const Sv at = b.axis(axis);
      to = b.index_add(to, b.index_mul(at, strides[i]));
      const Sv e = other ? at : b.index_add(at, b.constant_int(DType::i64, w->least));
      from = b.index_add(from, b.index_mul(e, other ? rest.terms[i].second : Dim(w->stride)));
      if (w) inside = inside & b.in_bounds(e, w->size);
    }
    b.store(temp, to, b.load(uint32_t(l.imm), from, inside), domain);
    Framed f{b.take(), {}, l.dtype, count + 64};

    // The same loop, reading there.
    Affine now;
    now.ok = true;
    now.base = 0;
    for (size_t i = 0; i < rest.terms.size(); ++i) now.terms.push_back({rest.terms[i].first, Dim(strides[i])});
    for (size_t i = 0; i < windows.size(); ++i) {
      const int64_t s = strides[rest.terms.size() + i];
      now.base = now.base + Dim(s) * (windows[i].index.base - Dim(windows[i].least));
      for (auto& [axis, c] : windows[i].index.terms) now.terms.push_back({axis, c * Dim(s)});
    }
    const std::vector<char> live = live_values(loop);
    LoopCopy copy(loop);
    copy.to.axes = loop.axes;
    copy.to.params = loop.params;
    copy.to.params.push_back({Param::Kind::in, l.dtype});
    for (ValueId v = 0; v < loop.insts.size(); ++v) {
      if (!live[v]) continue;
      Inst i = copy.with_renamed_operands(loop.insts[v]);
      if (v == load) {
        i = {.op = Scalar::load, .dtype = l.dtype, .operand_count = 1, .imm = int64_t(temp)};
        i.operand[0] = copy.affine(now);
      }
      copy.rename(v, copy.add(i));
    }
    for (Store s : loop.stores) {
      s.address = copy.renamed(s.address);
      s.value = copy.renamed(s.value);
      if (s.predicate != no_value) s.predicate = copy.renamed(s.predicate);
      copy.to.stores.push_back(s);
    }
    f.rest = std::move(copy.to);
    return f;
  }

  std::optional<Framed> run() {
    for (const Inst& r : loop.insts) {
      if (r.op != Scalar::reduce || r.order != Order::chain) continue;
      const Inst& product = loop.insts[r.operand[0]];
      if (product.op != Scalar::mul) return std::nullopt;
      for (int n = 0; n < 2; ++n) {
        const Inst& l = loop.insts[product.operand[n]];
        if (l.op != Scalar::load || l.operand_count != 2) continue;
        load = product.operand[n];
        address = affine_of(loop, l.operand[0]);
        windows.clear();
        if (!address.ok || !read_predicate(l.operand[1]) || windows.empty() || !ranges() || !split_address()) continue;
        return make();
      }
    }
    return std::nullopt;
  }
};

}  // namespace

std::optional<Framed> frame_factor(const Loop& loop) { return Framer{loop}.run(); }

}  // namespace phlox

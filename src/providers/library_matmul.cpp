#include "providers/library_matmul.h"

#include "providers/match.h"

namespace phlox {

std::optional<LibraryMatmul> match_library_matmul(const Loop& loop, std::string& refusal) {
  const auto refuse = [&](const char* why) { refusal = why; return std::nullopt; };
  const ContractionMatch match = match_contraction(loop);
  if (!match.matched) { refusal = match.refusal; return std::nullopt; }
  const Contraction& c = match.contraction;
  if (loop.stores.size() != 1) return refuse("it stores more than the product");
  const Store& s = loop.stores[0];
  const auto behind_cast = [&](ValueId v) -> const Inst& {
    const Inst& i = loop.insts[v];
    return i.op == Scalar::cast ? loop.insts[i.operand[0]] : i;
  };
  const Inst& stored = loop.insts[s.value];
  ValueId product = stored.op == Scalar::cast ? stored.operand[0] : s.value, added = no_value;
  if (const Inst& sum = loop.insts[product]; product != c.sum && sum.op == Scalar::add && stored.op == Scalar::cast)
    for (int n = 0; n < 2; ++n)
      if (sum.operand[n] == c.sum) {
        added = sum.operand[1 - n];
        product = c.sum;
      }
  if (product != c.sum) return refuse("it does more than multiply");
  if (loop.params[s.param].kind != Param::Kind::out) return refuse("it changes memory in place");
  struct Factor { const Inst* load; Affine address; };
  const auto factor = [&](ValueId v) -> std::optional<Factor> {
    const Inst& i = behind_cast(v);
    if (i.op != Scalar::load || i.operand_count != 1) return std::nullopt;
    Factor f{&i, affine_of(loop, i.operand[0])};
    return f.address.ok ? std::optional(f) : std::nullopt;
  };
  const auto a = factor(c.a.value), b = factor(c.b.value);
  if (!a || !b) return refuse("a factor is computed");
  const DType type = a->load->dtype, out = loop.params[s.param].dtype;
  if (b->load->dtype != type) return refuse("its factors have different types");
  const bool narrow = is_reduced_float(type);
  if (!(type == DType::f32 || type == DType::f64 || narrow) || c.dtype != (type == DType::f64 ? DType::f64 : DType::f32))
    return refuse("no library has its types");
  if (out != type && !(narrow && out == DType::f32)) return refuse("its results have another type");
  const Affine to = affine_of(loop, s.address);
  if (!to.ok) return refuse("results lie unevenly");
  LibraryMatmul r{uint32_t(a->load->imm), uint32_t(b->load->imm), s.param};
  bool even = true;
  const auto step = [&](const Affine& f, std::span<const int> axes) {
    Dim d = 0;
    if (!axes.empty()) even &= flat_stride(loop, f, axes, d);
    return d;
  };
  const Dim m = extent_of(loop, c.m), n = extent_of(loop, c.n), k = extent_of(loop, c.k);
  const Dim a_m = step(a->address, c.m), a_k = step(a->address, c.k), b_k = step(b->address, c.k), b_n = step(b->address, c.n);
  const Dim c_m = step(to, c.m), c_n = step(to, c.n);
  for (Dim d : {extent_of(loop, c.batch), m, n, k, a->address.base, a_m, a_k, step(a->address, c.batch), b->address.base, b_k, b_n,
                step(b->address, c.batch), to.base, c_m, step(to, c.batch)})
    r.sizes.push_back(d);
  if (!even) return refuse("a matrix has uneven steps");
  const auto side_by_side = [](Dim step, Dim size) { return step.is(1) || size.is(1); };
  const auto usable = [&](Dim s0, Dim n0, Dim s1, Dim n1) {  // and no row is read twice
    return (side_by_side(s1, n1) && (!s0.is(0) || n0.is(1))) || (side_by_side(s0, n0) && (!s1.is(0) || n1.is(1)));
  };
  if (!usable(a_m, m, a_k, k) || !usable(b_k, k, b_n, n) || !side_by_side(c_n, n)) return refuse("neither step of a matrix is 1");
  if (added != no_value) {
    const auto vector = factor(added);
    if (!vector || vector->load->dtype != out || !narrow || !step(vector->address, c.n).is(1) || !even) return refuse("what it adds is no vector of its type");
    for (const auto* axes : {&c.m, &c.batch, &c.k})
      for (int axis : *axes) if (!vector->address.coefficient(axis).is(0)) return refuse("what it adds differs from row to row");
    r.bias = int32_t(vector->load->imm);
    r.sizes.push_back(vector->address.base);
  }
  return r;
}

}  // namespace phlox

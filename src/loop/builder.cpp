#include "loop/builder.h"

#include <bit>

#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/small_float.h"

namespace phlox {

DType Sv::dtype() const { return b->loop().insts[id].dtype; }
AxisMask Sv::axes() const { return b->loop().depends[id]; }

// Affine arithmetic works on Dims, whose constants do not wrap and end at a quarter of the range. Numbers that no
// address comes near are data that happens to be i64, and stay ordinary wrapping arithmetic.
static bool tame(int64_t v) { return v < int64_t(1) << 48 && v > -(int64_t(1) << 48); }
static bool tame(Dim d) { return !d.is_const() || tame(d.value()); }
static bool tame_product(Dim a, Dim b) {
  if (!a.is_const() || !b.is_const()) return true;
  const std::optional<int64_t> p = try_mul(a.value(), b.value());
  return p && tame(*p);
}

size_t LoopBuilder::Hash::operator()(const Inst& i) const {
  uint64_t h = combine(uint64_t(i.op) | uint64_t(i.dtype) << 8 | uint64_t(i.combine) << 16 | uint64_t(i.order) << 24,
                       uint64_t(i.imm));
  for (ValueId v : i.operand) h = combine(h, v);
  return combine(h, i.axes);
}

Sv LoopBuilder::add(Inst i) {
  auto [it, fresh] = index_.try_emplace(i, ValueId(loop_.insts.size()));
  if (fresh) {
    loop_.insts.push_back(i);
    loop_.depends.push_back(depends_of(loop_, i));
  }
  return {this, it->second};
}

int LoopBuilder::new_axis(Dim extent) {
  PHLOX_CHECK(loop_.axes.size() < 64, "a loop with more than 64 axes");
  loop_.axes.push_back({extent});
  return int(loop_.axes.size()) - 1;
}

int LoopBuilder::axis_for(Dim extent, AxisMask used) {
  for (size_t a = 0; a < loop_.axes.size(); ++a)
    if (!(used >> a & 1) && loop_.axes[a].extent == extent) return int(a);
  return new_axis(extent);
}

uint32_t LoopBuilder::param(Param::Kind kind, DType dtype) {
  loop_.params.push_back({kind, dtype});
  return uint32_t(loop_.params.size()) - 1;
}

Sv LoopBuilder::axis(int a) {
  if (loop_.axes[a].extent.is(1)) return constant_int(DType::i64, 0);
  return add({.op = Scalar::axis, .dtype = DType::i64, .imm = a});
}

Sv LoopBuilder::dim(Dim d) {
  if (d.is_const()) return constant_int(DType::i64, d.value());
  return add({.op = Scalar::dim, .dtype = DType::i64, .imm = d.raw()});
}

int64_t constant_bits(DType d, double v) {
  switch (d) {
    case DType::f64: return std::bit_cast<int64_t>(v);
    case DType::f32: return std::bit_cast<int32_t>(float(v)) & 0xffffffffLL;
    case DType::bf16: return bf16_from_float(float(v));
    case DType::f16: return f16_from_float(float(v));
    case DType::boolean: return v != 0;
    default: return constant_bits_int(d, int64_t(v));
  }
}

int64_t constant_bits_int(DType d, int64_t v) {
  switch (d) {
    case DType::boolean: return v != 0;
    case DType::u8: return uint8_t(v);
    case DType::i8: return int8_t(v);
    case DType::i16: return int16_t(v);
    case DType::u16: return uint16_t(v);
    case DType::i32: return int32_t(v);
    case DType::u32: return uint32_t(v);
    case DType::i64: case DType::u64: return v;
    case DType::f32: return std::bit_cast<int32_t>(float(v)) & 0xffffffffLL;  // not by way of double: one rounding
    case DType::bf16: return bf16_from_float(float(v));
    case DType::f16: return f16_from_float(float(v));
    case DType::f64: return std::bit_cast<int64_t>(double(v));
    default: break;
  }
  PHLOX_CHECK(false, "a constant of dtype ", d);  // complex and 8-bit floats are no loop values
  return 0;
}

double constant_value(const Inst& i) {
  switch (i.dtype) {
    case DType::f64: return std::bit_cast<double>(i.imm);
    case DType::f32: return std::bit_cast<float>(int32_t(i.imm));
    case DType::bf16: return float_from_bf16(uint16_t(i.imm));
    case DType::f16: return float_from_f16(uint16_t(i.imm));
    case DType::u64: return double(uint64_t(i.imm));
    default: return double(i.imm);
  }
}

Sv LoopBuilder::constant(DType d, double v) {
  return add({.op = Scalar::constant, .dtype = d, .imm = constant_bits(d, v)});
}
Sv LoopBuilder::constant_int(DType d, int64_t v) {
  return add({.op = Scalar::constant, .dtype = d, .imm = constant_bits_int(d, v)});
}
Sv LoopBuilder::number(uint32_t p) {
  return add({.op = Scalar::number, .dtype = loop_.params[p].dtype, .imm = int64_t(p)});
}

Sv LoopBuilder::load(uint32_t p, Sv address, Sv predicate) {
  Inst i{.op = Scalar::load, .dtype = loop_.params[p].dtype, .operand_count = 1, .imm = int64_t(p)};
  i.operand[0] = address.id;
  if (predicate && inst(predicate).op == Scalar::constant) {
    if (!inst(predicate).imm) return constant_int(i.dtype, 0);
    predicate = {};
  }
  if (predicate) { i.operand[1] = predicate.id; i.operand_count = 2; }
  return add(i);
}

Sv LoopBuilder::op(Scalar s, Sv a, Sv b, Sv c) {
  const ScalarInfo& info = scalar_info(s);
  const Sv all[3] = {a, b, c};
  Inst i{.op = s, .dtype = s == Scalar::select ? b.dtype() : a.dtype()};
  if (info.result == ScalarResult::test) i.dtype = DType::boolean;
  i.operand_count = uint8_t(info.operands);
  for (int k = 0; k < info.operands; ++k) {
    PHLOX_CHECK(all[k], "missing operand of ", info.name);
    i.operand[k] = all[k].id;
    if (k > (s == Scalar::select))
      PHLOX_CHECK(all[k].dtype() == all[k - 1].dtype(), info.name, " of ", all[k - 1].dtype(), " and ", all[k].dtype());
  }
  // A select whose condition is known, and the logic that masks fold to.
  if (s == Scalar::select && inst(a).op == Scalar::constant) return inst(a).imm ? b : c;
  if (s == Scalar::select && b.id == c.id) return b;
  if (s == Scalar::band && i.dtype == DType::boolean) {
    if (inst(a).op == Scalar::constant) return inst(a).imm ? b : a;
    if (inst(b).op == Scalar::constant) return inst(b).imm ? a : b;
    if (a.id == b.id) return a;
  }
  if (i.dtype == DType::i64 && info.operands == 2) {
    const Inst &x = inst(a), &y = inst(b);
    if (s == Scalar::add) return index_add(a, b);
    if (s == Scalar::sub && y.op == Scalar::constant) return index_add(a, constant_int(DType::i64, int64_t(-uint64_t(y.imm))));
    if (s == Scalar::mul && y.op == Scalar::constant && tame(y.imm)) return index_mul(a, y.imm);
    if (s == Scalar::mul && x.op == Scalar::constant && tame(x.imm)) return index_mul(b, x.imm);
  }
  return add(i);
}

Sv LoopBuilder::cast(Sv a, DType d) {
  if (a.dtype() == d) return a;
  const Inst& i = inst(a);
  if (i.op == Scalar::constant) {
    const bool wraps = a.dtype() == DType::u64 && i.imm < 0 && !is_int(d) && !is_bool(d);
    if ((is_int(a.dtype()) || is_bool(a.dtype())) && !wraps) return constant_int(d, i.imm);
    if (is_float(a.dtype()) && !is_int(d)) return constant(d, constant_value(i));
  }
  // There and back: a wider type holds every value of a narrow one.
  if (i.op == Scalar::cast && is_float(a.dtype()) && dtype_bytes(a.dtype()) > 2 && is_reduced_float(d))
    if (loop_.insts[i.operand[0]].dtype == d) return {this, i.operand[0]};
  Inst c{.op = Scalar::cast, .dtype = d, .operand_count = 1};
  c.operand[0] = a.id;
  return add(c);
}

Sv LoopBuilder::bitcast(Sv a, DType d) {
  if (a.dtype() == d) return a;
  PHLOX_CHECK(dtype_bytes(a.dtype()) == dtype_bytes(d), "bitcast between sizes");
  Inst c{.op = Scalar::bitcast, .dtype = d, .operand_count = 1};
  c.operand[0] = a.id;
  return add(c);
}

Sv LoopBuilder::checked_index(Sv index, Dim size) {
  if (const Affine a = affine_of(loop_, index.id); a.ok && in_range(a, size)) return index;
  Inst c{.op = Scalar::checked_index, .dtype = DType::i64, .operand_count = 2};
  c.operand[0] = index.id;
  c.operand[1] = dim(size).id;
  return add(c);
}

Sv LoopBuilder::philox(Sv seed, Sv offset, Sv counter, int word) {
  Inst c{.op = Scalar::philox, .dtype = DType::i64, .operand_count = 3, .imm = word};
  c.operand[0] = seed.id;
  c.operand[1] = offset.id;
  c.operand[2] = counter.id;
  return add(c);
}

Sv LoopBuilder::reduce(Combine k, Order o, Sv v, AxisMask axes) {
  if (!axes) return v;
  Inst c{.op = Scalar::reduce, .dtype = v.dtype(), .combine = k, .order = o, .operand_count = 1, .axes = axes};
  c.operand[0] = v.id;
  return add(c);
}

Sv LoopBuilder::scan(Combine k, Sv v, int axis) {
  Inst c{.op = Scalar::scan, .dtype = v.dtype(), .combine = k, .order = Order::tree1, .operand_count = 1,
         .axes = AxisMask(1) << axis};
  c.operand[0] = v.id;
  return add(c);
}

void LoopBuilder::store(uint32_t param, Sv address, Sv value, AxisMask domain, Conflict conflict, Sv predicate) {
  loop_.stores.push_back({param, address.id, value.id, predicate ? predicate.id : no_value, domain, conflict});
}

// --- index arithmetic

Dim Affine::coefficient(int axis) const {
  for (auto& [a, c] : terms) if (a == axis) return c;
  return 0;
}

static void add_term(Affine& r, int axis, Dim c) {
  size_t at = 0;
  while (at < r.terms.size() && r.terms[at].first < axis) ++at;
  if (at < r.terms.size() && r.terms[at].first == axis) {
    r.terms[at].second = r.terms[at].second + c;
    if (r.terms[at].second.is(0)) r.terms.erase(at);
  } else if (!c.is(0)) {
    r.terms.insert(at, {axis, c});
  }
}

static Affine scaled(Affine a, Dim k) {
  if (k.is(0)) { a.base = 0; a.terms.clear(); return a; }
  a.ok = tame_product(a.base, k);
  for (auto& t : a.terms) a.ok = a.ok && tame_product(t.second, k);
  if (!a.ok) return {};
  a.base = a.base * k;
  for (auto& t : a.terms) t.second = t.second * k;
  return a;
}

static Affine sum(Affine a, const Affine& b) {
  a.base = a.base + b.base;
  for (auto& [axis, c] : b.terms) add_term(a, axis, c);
  a.ok = tame(a.base);
  for (auto& t : a.terms) a.ok = a.ok && tame(t.second);
  return a.ok ? a : Affine{};
}

// `fuel` bounds the visits: values are shared, so an expression may be exponentially larger than its instructions.
static Affine affine_of(const Loop& loop, ValueId v, int& fuel) {
  const Inst& i = loop.insts[v];
  Affine r;
  if (i.dtype != DType::i64 || --fuel < 0) return r;
  switch (i.op) {
    case Scalar::constant: r.ok = tame(i.imm); if (r.ok) r.base = i.imm; return r;
    case Scalar::dim: r.base = Dim::from_raw(i.imm); r.ok = tame(r.base); return r;
    case Scalar::axis: r.ok = true; r.terms.push_back({int(i.imm), 1}); return r;
    case Scalar::add: case Scalar::sub: {
      const Affine a = affine_of(loop, i.operand[0], fuel);
      if (!a.ok) return a;
      Affine b = affine_of(loop, i.operand[1], fuel);
      if (i.op == Scalar::sub && b.ok) b = scaled(b, -1);
      return b.ok ? sum(a, b) : b;
    }
    case Scalar::mul: {
      const Affine a = affine_of(loop, i.operand[0], fuel);
      if (!a.ok) return a;
      const Affine b = affine_of(loop, i.operand[1], fuel);
      if (!b.ok) return b;
      if (b.terms.empty()) return scaled(a, b.base);
      if (a.terms.empty()) return scaled(b, a.base);
      return r;
    }
    default: return r;
  }
}

Affine affine_of(const Loop& loop, ValueId v) {
  int fuel = 4096;
  return affine_of(loop, v, fuel);
}

static Inst binary(Scalar op, ValueId a, ValueId b) {
  Inst i{.op = op, .dtype = DType::i64, .operand_count = 2};
  i.operand[0] = a;
  i.operand[1] = b;
  return i;
}

Sv LoopBuilder::from_affine(const Affine& a) {
  Sv s;
  auto plus = [&](Sv t) { s = s ? add(binary(Scalar::add, s.id, t.id)) : t; };
  for (auto& [axis_id, c] : a.terms) {
    Sv t = axis(axis_id);
    if (!c.is(1)) t = add(binary(Scalar::mul, t.id, dim(c).id));
    plus(t);
  }
  if (!a.base.is(0) || !s) plus(dim(a.base));
  return s;
}

Sv LoopBuilder::index_add(Sv a, Sv b) {
  if (const Affine x = affine_of(loop_, a.id); x.ok) {
    if (x.terms.empty() && x.base.is(0)) return b;
    if (const Affine y = affine_of(loop_, b.id); y.ok)
      if (const Affine r = sum(y, x); r.ok) return from_affine(r);
  } else if (inst(b).op == Scalar::constant && inst(b).imm == 0) {
    return a;
  }
  return add(binary(Scalar::add, a.id, b.id));
}

Sv LoopBuilder::index_mul(Sv a, Dim d) {
  if (d.is(1)) return a;
  if (d.is(0)) return constant_int(DType::i64, 0);
  if (const Affine x = affine_of(loop_, a.id); x.ok && tame(d))
    if (const Affine r = scaled(x, d); r.ok) return from_affine(r);
  return add(binary(Scalar::mul, a.id, dim(d).id));
}

// The least and greatest value over all points; false where a coefficient's sign cannot be seen. Extents are at least
// 1 where a loop runs at all, and symbols in coefficients are sizes.
static bool bounds(const Loop& loop, const Affine& a, Dim& low, Dim& high) {
  low = high = a.base;
  for (auto& [axis_id, c] : a.terms) {
    const Dim last = loop.axes[axis_id].extent - 1;
    if (!tame_product(last, c)) return false;
    if (known_nonnegative(c)) high = high + last * c;
    else if (known_nonnegative(c * Dim(-1))) low = low + last * c;
    else return false;
  }
  return true;
}

bool LoopBuilder::in_range(const Affine& a, Dim limit) {
  Dim low, high;
  if (!bounds(loop_, a, low, high) || !known_nonnegative(low)) return false;
  return known_nonnegative(limit - high - 1);
}

Sv LoopBuilder::in_bounds(Sv index, Dim size) {
  Sv p = constant_int(DType::boolean, 1);
  Dim low = -1, high = size;  // what nothing is known of needs both tests
  if (const Affine a = affine_of(loop_, index.id); a.ok && !bounds(loop_, a, low, high)) { low = -1; high = size; }
  if (!known_nonnegative(low)) p = p & (constant_int(DType::i64, 0) <= index);
  if (!known_nonnegative(size - high - 1)) p = p & (index < dim(size));
  return p;
}

// Splits a = q * d + r with 0 <= r < d where that can be seen from the coefficients.
Sv LoopBuilder::index_div(Sv a, Dim d) {
  if (d.is(1)) return a;
  if (d.is(0)) return constant_int(DType::i64, 0);  // of an empty range; what floordiv gives
  if (const Affine x = affine_of(loop_, a.id); x.ok) {
    Affine q{.ok = true}, r{.ok = true};
    for (auto& [axis_id, c] : x.terms) {
      if (mod(c, d).is(0)) add_term(q, axis_id, floordiv(c, d));
      else add_term(r, axis_id, c);
    }
    q.base = floordiv(x.base, d);
    r.base = x.base - q.base * d;
    if (in_range(r, d)) return from_affine(q);
  }
  return add(binary(Scalar::floordiv, a.id, dim(d).id));
}

Sv LoopBuilder::index_mod(Sv a, Dim d) {
  if (d.is(1) || d.is(0)) return constant_int(DType::i64, 0);
  if (const Affine x = affine_of(loop_, a.id); x.ok) {
    Affine r{.ok = true};
    for (auto& [axis_id, c] : x.terms)
      if (!mod(c, d).is(0)) add_term(r, axis_id, c);
    r.base = mod(x.base, d);
    if (in_range(r, d)) return from_affine(r);
  }
  return add(binary(Scalar::floormod, a.id, dim(d).id));
}

Sv LoopBuilder::linear(std::span<const Sv> index, std::span<const Dim> strides) {
  SmallVector<Sv, 8> at(index);
  SmallVector<Dim, 8> step(strides);
  // A position that was split into rows and columns and lies as it did before is whole again: (x / k) k + x mod k.
  for (size_t d = at.size(); d-- > 1;) {
    const Inst &high = inst(at[d - 1]), &low = inst(at[d]);
    if (high.op != Scalar::floordiv || low.op != Scalar::floormod || high.operand[0] != low.operand[0] || high.operand[1] != low.operand[1]) continue;
    const Inst& k = loop_.insts[low.operand[1]];
    const Dim size = k.op == Scalar::constant ? Dim(k.imm) : k.op == Scalar::dim ? Dim::from_raw(k.imm) : Dim(0);
    if (size.is(0) || step[d - 1] != step[d] * size) continue;
    at[d - 1] = {this, low.operand[0]};
    step[d - 1] = step[d];
    at.erase(d);
    step.erase(d);
  }
  Sv s = constant_int(DType::i64, 0);
  for (size_t d = 0; d < at.size(); ++d) s = index_add(s, index_mul(at[d], step[d]));
  return s;
}

// --- operators

Sv operator+(Sv a, Sv b) { return a.b->op(Scalar::add, a, b); }
Sv operator-(Sv a, Sv b) { return a.b->op(Scalar::sub, a, b); }
Sv operator*(Sv a, Sv b) { return a.b->op(Scalar::mul, a, b); }
Sv operator/(Sv a, Sv b) { return a.b->op(Scalar::div, a, b); }
Sv operator-(Sv a) { return a.b->op(Scalar::neg, a); }
Sv operator<(Sv a, Sv b) { return a.b->op(Scalar::lt, a, b); }
Sv operator<=(Sv a, Sv b) { return a.b->op(Scalar::le, a, b); }
Sv operator&(Sv a, Sv b) { return a.b->op(Scalar::band, a, b); }
Sv operator|(Sv a, Sv b) { return a.b->op(Scalar::bor, a, b); }

}  // namespace phlox

#include "kernel/body.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "kernel/math_ops.h"

namespace phlox {

BodyLowering::BodyLowering(KernelBuilder& b, const Loop& loop) : b_(b), loop_(loop), positions_(loop.axes.size()) {
  levels_.push_back({});
}

void BodyLowering::open() {
  Level l;
  l.bound = levels_.back().bound;
  l.depth = b_.depth();
  levels_.push_back(std::move(l));
}

void BodyLowering::close() {
  if (vector_axis_ >= 0 && vector_level_ == levels_.size() - 1) {
    vector_axis_ = -1;
    lanes_ = 1;
    guard_ = {};
  }
  levels_.pop_back();
}

void BodyLowering::bind(int axis, Kv position) {
  levels_.back().bound |= AxisMask(1) << axis;
  levels_.back().own |= AxisMask(1) << axis;
  positions_[axis] = position;
}

void BodyLowering::bind_vector(int axis, Kv first, int lanes, Guard guard) {
  PHLOX_CHECK(vector_axis_ < 0, "two vector axes");
  bind(axis, first);
  if (lanes == 1) return;
  vector_axis_ = axis;
  lanes_ = lanes;
  guard_ = guard;
  vector_level_ = levels_.size() - 1;
}

size_t BodyLowering::level_of(ValueId v) {
  for (size_t l = levels_.size(); l-- > 0;)
    if (levels_[l].values.count(v)) return l;
  if (const auto it = levels_.back().levels.find(v); it != levels_.back().levels.end()) return it->second;
  size_t l = 0;
  while (l < levels_.size() && (loop_.depends[v] & ~levels_[l].bound)) ++l;
  PHLOX_CHECK(l < levels_.size(), "a value is asked for where its axes are not bound");
  const Inst& i = loop_.insts[v];
  for (int n = 0; n < i.operand_count; ++n) l = std::max(l, level_of(i.operand[n]));
  levels_.back().levels[v] = l;
  return l;
}

uint32_t BodyLowering::buffer(uint32_t param, bool written) {
  return b_.buffer(param, loop_.params[param].dtype, written);
}

Kv BodyLowering::guard_mask() {
  if (vector_axis_ < 0 || guard_.is_full()) return {};
  if (!guard_.mask) {
    KernelBuilder::At at(b_, levels_[vector_level_].depth);
    guard_.mask = lt(b_.iota(lanes_), guard_.count);
  }
  return guard_.mask;
}

// --- values

void BodyLowering::define(ValueId v, Kv value) {
  levels_.back().values[v] = value;
  levels_.back().levels.clear();
}

bool BodyLowering::is_defined(ValueId v) const {
  return std::any_of(levels_.begin(), levels_.end(), [&](const Level& l) { return l.values.count(v) != 0; });
}

Kv BodyLowering::value(ValueId v) {
  for (size_t l = levels_.size(); l-- > 0;)
    if (const auto it = levels_[l].values.find(v); it != levels_[l].values.end()) return it->second;
  const Inst& i = loop_.insts[v];
  const size_t l = level_of(v);
  KernelBuilder::At at(b_, levels_[l].depth);
  const Kv r = compute(v);
  PHLOX_CHECK(r && r.dtype() == i.dtype, "lowering ", scalar_info(i.op).name, " gave a wrong type");
  levels_[l].values[v] = r;
  return r;
}

// In two halves, since the hardware converts to signed integers.
static Kv float_to_u64(Kv a) {
  KernelBuilder& b = *a.b;
  const Kv limit = constant(a, 0x1p63);
  const Kv low = b.bitcast(b.cast(a, DType::i64), DType::u64), high = b.bitcast(b.cast(a - limit, DType::i64), DType::u64);
  return b.select(le(limit, a), high ^ constant_int(high, INT64_MIN), low);
}

Kv BodyLowering::compute(ValueId v) {
  const Inst& i = loop_.insts[v];
  switch (i.op) {
    case Scalar::constant: return b_.bits(i.dtype, i.imm);
    case Scalar::dim: return b_.dim(Dim::from_raw(i.imm));
    case Scalar::axis:
      if (!varies(v)) return positions_[i.imm];
      return positions_[i.imm] + b_.iota(lanes_);
    case Scalar::number: return b_.number(uint32_t(i.imm), i.dtype);
    case Scalar::load: return load(i);
    case Scalar::cast: {
      Kv a = value(i.operand[0]);
      // 16-bit floats go through f32 both ways.
      if (is_reduced_float(a.dtype())) a = b_.cast(a, DType::f32);
      if (is_reduced_float(i.dtype)) a = b_.cast(a, DType::f32);
      return is_float(a.dtype()) && i.dtype == DType::u64 ? float_to_u64(a) : b_.cast(a, i.dtype);
    }
    case Scalar::bitcast: return b_.bitcast(value(i.operand[0]), i.dtype);
    case Scalar::select: return b_.select(value(i.operand[0]), value(i.operand[1]), value(i.operand[2]));
    case Scalar::checked_index: return checked_index(i);
    case Scalar::philox: return philox(i);
    case Scalar::reduce: case Scalar::scan:
      PHLOX_CHECK(false, scalar_info(i.op).name, " %", v, " is used before it is computed");
    default: break;
  }
  if (i.op == Scalar::lt || i.op == Scalar::le)
    if (const Kv r = position_test(v)) return r;
  // Arithmetic on 16-bit floats: in f32, rounded back.
  Kv r = scalar_op(v);
  return is_reduced_float(i.dtype) ? b_.cast(r, i.dtype) : r;
}

// A bound on a position that moves by one along the lanes is a bound on the lane: 32-bit lanes decide it, where addresses
// have 64.
Kv BodyLowering::position_test(ValueId v) {
  const Inst& i = loop_.insts[v];
  const ValueId a = i.operand[0], b = i.operand[1];
  if (!varies(v) || loop_.insts[a].dtype != DType::i64) return {};
  const auto moves = [&](ValueId x) {
    if (!varies(x)) return 0;
    const auto step = step_along(loop_, x, vector_axis_);
    return step && step->is(1) && affine_of(loop_, x).ok ? 1 : -1;
  };
  const int ma = moves(a), mb = moves(b);
  if (ma + mb != 1 || ma < 0 || mb < 0) return {};
  const Kv distance = ma ? first_lane(b) - first_lane(a) : first_lane(a) - first_lane(b);
  const Kv near = b_.op(Scalar::max, b_.op(Scalar::min, distance, b_.index(lanes_)), b_.index(-1));
  const Kv bound = b_.splat(b_.cast(near, DType::i32), lanes_), lane = b_.add({.op = KOp::iota, .type = {DType::i32, uint16_t(lanes_)}});
  return ma ? b_.op(i.op, lane, bound) : b_.op(i.op, bound, lane);
}

Kv BodyLowering::scalar_op(ValueId v) {
  const Inst& i = loop_.insts[v];
  Kv o[3];
  for (int n = 0; n < i.operand_count; ++n) {
    o[n] = value(i.operand[n]);
    if (is_reduced_float(o[n].dtype())) o[n] = b_.cast(o[n], DType::f32);
  }
  const DType d = o[0].dtype();
  switch (i.op) {
    case Scalar::div: case Scalar::floordiv: case Scalar::floormod: case Scalar::fmod:
      if (is_int(d)) return safe_int_division(i.op, o[0], o[1]);
      break;
    case Scalar::floor: case Scalar::ceil: case Scalar::trunc: case Scalar::round:
      if (is_int(d)) return o[0];
      break;
    default: break;
  }
  if (is_math(i.op)) {
    const int lanes = std::max({o[0].lanes(), o[1] ? o[1].lanes() : 1, o[2] ? o[2].lanes() : 1});
    for (Kv& x : o)
      if (x) x = b_.splat(x, lanes);
    if (!short_functions_) return expand_math(i.op, o[0], o[1]);
    const size_t first = b_.kernel().insts.size();
    Kv r;
    if (i.operand_count == 1 && (is_reduced_float(i.dtype) || narrow_[v])) r = expand_math_narrow(i.op, o[0]);
    if (!r) r = expand_math(i.op, o[0], o[1]);
    for (size_t n = first; n < b_.kernel().insts.size(); ++n) {
      KInst& k = b_.kernel().insts[n];
      if (k.op == KOp::scalar && k.scalar == Scalar::div && k.type.dtype == DType::f32) k.imm = 1;
    }
    return r;
  }
  const Kv r = b_.op(i.op, o[0], o[1], o[2]);
  if (i.op == Scalar::div && short_functions_ && r.dtype() == DType::f32 && (is_reduced_float(i.dtype) || narrow_[v])) {
    KInst& k = b_.kernel().insts[r.id];
    if (k.op == KOp::scalar && k.scalar == Scalar::div) k.imm = 1;
  }
  return r;
}

Kv BodyLowering::checked_index(const Inst& i) {
  const Kv index = value(i.operand[0]), size = value(i.operand[1]), zero = constant_int(index, 0);
  const Kv wrapped = index + select(lt(index, zero), size, zero);
  const Kv good = le(zero, wrapped) & lt(wrapped, size);
  Kv bad = ~good;
  if (bad.lanes() > 1) {
    if (Kv m = guard_mask()) bad = bad & m;
    // The value reported is one of the bad lanes'; a fold with `or` would mix them, the largest is as good as any.
    const Kv worst = b_.lane_fold(Combine::max, select(bad, index, b_.constant_int(DType::i64, INT64_MIN, bad.lanes())));
    b_.report(b_.any(bad), worst);
  } else {
    b_.report(bad, index);
  }
  return select(good, wrapped, zero);
}

// base/philox.h on lanes: 32-bit words in 64-bit integers, so that one multiplication gives both halves.
Kv BodyLowering::philox(const Inst& i) {
  const Kv seed = value(i.operand[0]), stream = value(i.operand[1]), counter = value(i.operand[2]);
  const auto u = [&](Kv x) { return b_.bitcast(x, DType::u64); };
  const auto low = [&](Kv x) { return x & constant_int(x, 0xffffffff); };
  const auto high = [&](Kv x) { return b_.op(Scalar::shr, x, constant_int(x, 32)); };
  Kv c[4] = {low(u(counter)), high(u(counter)), low(u(stream)), high(u(stream))};
  Kv k0 = low(u(seed)), k1 = high(u(seed));
  for (int round = 0; round < 10; ++round) {
    const Kv a = c[0] * constant_int(c[0], 0xD2511F53), d = c[2] * constant_int(c[2], 0xCD9E8D57);
    const Kv n0 = high(d) ^ c[1] ^ k0, n2 = high(a) ^ c[3] ^ k1;
    c[0] = n0; c[1] = low(d); c[2] = n2; c[3] = low(a);
    k0 = low(k0 + constant_int(k0, 0x9E3779B9));
    k1 = low(k1 + constant_int(k1, 0xBB67AE85));
  }
  return b_.bitcast(c[i.imm & 3], DType::i64);
}

// --- memory

// Steps of constants, dims, axes, and their sums and products with what does not vary; a gathered row start plus a
// position in the row steps by one as well.
std::optional<Dim> BodyLowering::step_along(const Loop& loop, ValueId v, int axis) {
  const Inst& i = loop.insts[v];
  if (!(loop.depends[v] >> axis & 1)) return Dim(0);
  const auto constant_of = [&](ValueId o) -> std::optional<Dim> {
    const Inst& c = loop.insts[o];
    if (c.op == Scalar::constant) return Dim(c.imm);
    if (c.op == Scalar::dim) return Dim::from_raw(c.imm);
    return std::nullopt;
  };
  switch (i.op) {
    case Scalar::axis: return Dim(1);
    case Scalar::add: case Scalar::sub: {
      const auto a = step_along(loop, i.operand[0], axis), b = step_along(loop, i.operand[1], axis);
      if (!a || !b) return std::nullopt;
      return i.op == Scalar::add ? *a + *b : *a - *b;
    }
    case Scalar::mul: {
      for (int n = 0; n < 2; ++n)
        if (const auto c = constant_of(i.operand[n]))
          if (const auto s = step_along(loop, i.operand[1 - n], axis)) return *s * *c;
      return std::nullopt;
    }
    default: return std::nullopt;
  }
}

// The address at lane 0, each level adding the terms of the axes that it binds.
Kv BodyLowering::affine_first_lane(ValueId, const Affine& a) {
  Kv sum;
  size_t done = 0;
  for (size_t l = 0; l < levels_.size() && done < a.terms.size(); ++l) {
    KernelBuilder::At at(b_, levels_[l].depth);
    for (auto& [axis, c] : a.terms) {
      if (!(levels_[l].own >> axis & 1)) continue;
      const Kv t = positions_[axis] * b_.dim(c);
      sum = sum ? sum + t : t;
      ++done;
    }
  }
  PHLOX_CHECK(done == a.terms.size(), "an address is asked for where its axes are not bound");
  if (!sum) return b_.dim(a.base);
  return sum + b_.dim(a.base);
}

Kv BodyLowering::first_lane(ValueId v) {
  if (loop_.insts[v].dtype != DType::i64) return value(v);
  const size_t l = level_of(v);
  if (!varies(v)) {
    if (const auto it = levels_[l].values.find(v); it != levels_[l].values.end()) return it->second;
  }
  if (const auto it = levels_[l].first_lane.find(v); it != levels_[l].first_lane.end()) return it->second;
  Kv r;
  if (const Affine a = affine_of(loop_, v); a.ok) {
    KernelBuilder::At at(b_, levels_[l].depth);
    r = affine_first_lane(v, a);
  } else if (!varies(v)) {
    r = value(v);
  } else {
    const Inst& i = loop_.insts[v];
    PHLOX_CHECK(i.op == Scalar::add || i.op == Scalar::sub || i.op == Scalar::mul, "an address without a step");
    const Kv x = first_lane(i.operand[0]), y = first_lane(i.operand[1]);
    KernelBuilder::At at(b_, levels_[l].depth);
    r = b_.op(i.op, x, y);
  }
  levels_[l].first_lane[v] = r;
  return r;
}

// The predicate and the guard together; null when every lane takes part.
Kv BodyLowering::masked(Kv predicate) {
  const Kv g = guard_mask();
  if (!predicate) return g;
  predicate = b_.splat(predicate, lanes_);
  return g ? predicate & g : predicate;
}

std::optional<int64_t> BodyLowering::distance(const Loop& loop, ValueId from, ValueId to) {
  const Affine a = affine_of(loop, from), b = affine_of(loop, to);
  if (!a.ok || !b.ok || a.terms.size() != b.terms.size()) return std::nullopt;
  for (auto& [axis, c] : a.terms)
    if (b.coefficient(axis) != c) return std::nullopt;
  const Dim d = b.base - a.base;
  return d.is_const() ? std::optional(d.value()) : std::nullopt;
}

int BodyLowering::other_load(const Loop& loop, const Inst& load) {
  if (load.operand_count != 1 || is_bool(load.dtype)) return 0;
  int found = 0;
  for (const Inst& i : loop.insts) {
    if (i.op != Scalar::load || i.imm != load.imm || i.operand_count != 1 || i.operand[0] == load.operand[0]) continue;
    const auto d = distance(loop, load.operand[0], i.operand[0]);
    if (!d || (*d != 1 && *d != -1)) continue;
    if (found && found != *d) return 0;  // elements to both sides
    found = int(*d);
  }
  return found;
}

// One of two loads that share all elements of a stretch: the stretch is loaded once.
Kv BodyLowering::load_pair(const Inst& i) {
  const int other = other_load(loop_, i);
  if (!other || 2 * lanes_ > 128) return {};
  const uint32_t p = buffer(uint32_t(i.imm), false);
  const size_t l = level_of(i.operand[0]);
  KernelBuilder::At at(b_, levels_[l].depth);
  const Kv own = first_lane(i.operand[0]), first = other > 0 ? own : own + b_.index(-1);
  ValueId low = i.operand[0];
  for (ValueId v = 0; v < loop_.insts.size() && other < 0; ++v)
    if (loop_.insts[v].dtype == DType::i64 && distance(loop_, low, v) == -1) { low = v; break; }
  Kv& wide = levels_[l].wide[uint64_t(p) << 32 | low];
  if (!wide) wide = guard_.is_full() ? b_.load(p, first, 2 * lanes_) : b_.load_partial(p, first, guard_.count + guard_.count, 2 * lanes_);
  return b_.every_other(wide, other > 0 ? 0 : 1);
}

Kv BodyLowering::load(const Inst& i) {
  if (pairs_ && vector_axis_ >= 0 && i.operand_count == 1 && lanes_ > 1 && !guard_.mask && by_lane_.empty() && varies(i.operand[0])) {
    const auto step = step_along(loop_, i.operand[0], vector_axis_);
    if (step && step->is(2))
      if (const Kv r = load_pair(i)) return r;
  }
  const Kv predicate = i.operand_count == 2 ? value(i.operand[1]) : Kv{};
  const uint32_t p = buffer(uint32_t(i.imm), false);
  if (!predicate) fetch_ahead(i, p);
  return load_at(p, i.operand[0], predicate);
}

Kv BodyLowering::load_at(uint32_t p, ValueId address, Kv predicate) {
  const bool wide_predicate = predicate && predicate.lanes() > 1;
  if (!varies(address) && !wide_predicate) {
    const Kv a = first_lane(address);
    return predicate ? b_.load_masked(p, a, predicate) : b_.load(p, a, 1);
  }
  const auto step = vector_axis_ < 0 ? std::nullopt : step_along(loop_, address, vector_axis_);
  if (step && step->is(1)) {
    const Kv a = first_lane(address);
    if (!by_lane_.empty() && by_lane_[address] && !predicate && guard_.is_full()) return b_.load_strided(p, a, b_.index(1), lanes_);
    if (!predicate && guard_.is_full()) return b_.load(p, a, lanes_);
    if (!predicate && guard_.count) return b_.load_partial(p, a, guard_.count, lanes_);
    return b_.load_masked(p, a, masked(predicate));
  }
  const Kv mask = masked(predicate);
  if (step && !mask) return b_.load_strided(p, first_lane(address), b_.dim(*step), lanes_);
  const Kv a = step ? first_lane(address) + b_.iota(lanes_) * b_.dim(*step) : value(address);
  return b_.load_gather(p, b_.splat(a, lanes_), mask);
}

void BodyLowering::store_at(uint32_t p, ValueId address, Kv value, Kv predicate, Kv array_bytes) {
  if (vector_axis_ < 0 || (!varies(address) && value.lanes() == 1 && (!predicate || predicate.lanes() == 1))) {
    const Kv a = first_lane(address);
    if (predicate) b_.store_masked(p, a, value, predicate);
    else b_.store(p, a, value);
    return;
  }
  value = b_.splat(value, lanes_);
  const auto step = step_along(loop_, address, vector_axis_);
  if (step && step->is(1)) {
    const Kv a = first_lane(address);
    if (!by_lane_.empty() && by_lane_[address] && !predicate && guard_.is_full()) return b_.store_strided(p, a, value, b_.index(1));
    if (!predicate && guard_.is_full()) b_.store(p, a, value, array_bytes);
    else if (!predicate && guard_.count) b_.store_partial(p, a, value, guard_.count);
    else b_.store_masked(p, a, value, masked(predicate));
    return;
  }
  const Kv mask = masked(predicate);
  if (step && !mask) return b_.store_strided(p, first_lane(address), value, b_.dim(*step));
  const Kv a = step ? first_lane(address) + b_.iota(lanes_) * b_.dim(*step) : this->value(address);
  b_.store_scatter(p, b_.splat(a, lanes_), value, mask);
}

// Not what is read again for every row, nor what fits into a near cache.
void BodyLowering::fetch_ahead(const Inst& load, uint32_t p) {
  constexpr int64_t line = 64, distance = 2048, near = 1 << 19, far = 65536;  // bytes
  const ValueId address = load.operand[0];
  if (!fetch_ahead_ || vector_axis_ < 0 || !guard_.is_full() || !varies(address) || (bound() & ~loop_.depends[address])) return;
  const auto step = step_along(loop_, address, vector_axis_);
  if (!step || !step->is(1)) return;
  const int64_t element = int64_t(dtype_bytes(load.dtype));
  Dim bytes = element;
  for (AxisMask m = loop_.depends[address]; m; m &= m - 1) bytes = bytes * loop_.axes[size_t(std::countr_zero(m))].extent;
  if (bytes.is_const() && bytes.value() < near) return;
  const Place place(uint32_t(load.imm), address);
  const auto is_in = [&](const std::vector<Place>& places) { return std::find(places.begin(), places.end(), place) != places.end(); };
  const auto sweeps = std::count(fetched_.begin(), fetched_.end(), place);
  const bool again = is_in(swept_again_);
  if (sweeps > (again ? 1 : 0)) return;
  fetched_.push_back(place);
  if (again && sweeps == 0) return;
  Kv at = first_lane(address);
  if (again) {
    const AxisMask outer = loop_.depends[address] & ((AxisMask(1) << vector_axis_) - 1);
    const auto row = outer ? step_along(loop_, address, 63 - std::countl_zero(outer)) : std::nullopt;
    if (!row || (row->is_const() && row->value() * element > far)) return;
    at = at + (row->is_const() ? b_.dim(*row) : b_.op(Scalar::min, b_.dim(*row), b_.index(far / element)));
  } else {
    at = at + b_.index(distance / element);
  }
  for (int64_t n = 0; n < element * lanes_; n += line) b_.prefetch(p, at + b_.index(n / element));
}

Kv BodyLowering::array_bytes(const Store& s) {
  constexpr int64_t never = 1 << 20;  // shorter arrays may as well stay
  if (!bypass_caches_ || s.predicate != no_value || s.conflict != Conflict::unique || loop_.params[s.param].kind != Param::Kind::out) return {};
  for (const Inst& i : loop_.insts)
    if (i.op == Scalar::load && i.imm == int64_t(s.param)) return {};
  Dim n = dtype_bytes(loop_.params[s.param].dtype);
  for (AxisMask m = s.domain; m; m &= m - 1) n = n * loop_.axes[size_t(std::countr_zero(m))].extent;
  if (n.is_const() && n.value() < never) return {};
  return b_.dim(n);
}

// Stores of every other element that together fill a stretch become one.
void BodyLowering::store_all(std::span<const Store* const> stores) {
  SmallVector<const Store*, 8> done;
  const auto is_done = [&](const Store* s) { return std::find(done.begin(), done.end(), s) != done.end(); };
  const auto joins = [&](const Store* s) {
    if (!pairs_ || vector_axis_ < 0 || lanes_ < 2 || 2 * lanes_ > 128 || guard_.mask || s->predicate != no_value || s->conflict != Conflict::unique ||
        is_bool(loop_.params[s->param].dtype) || loop_.params[s->param].kind != Param::Kind::out || !by_lane_.empty()) return false;
    const auto step = step_along(loop_, s->address, vector_axis_);
    return step && step->is(2);
  };
  for (const Store* s : stores) {
    if (is_done(s)) continue;
    const Store* with = nullptr;
    if (joins(s))
      for (const Store* t : stores)
        if (t != s && !is_done(t) && t->param == s->param && joins(t) && distance(loop_, s->address, t->address) == 1) { with = t; break; }
    if (!with) {
      // The one before it may come later in the list.
      bool later = false;
      if (joins(s))
        for (const Store* t : stores) later |= t != s && !is_done(t) && t->param == s->param && joins(t) && distance(loop_, t->address, s->address) == 1;
      if (!later) { store(*s); done.push_back(s); }
      continue;
    }
    const Kv both = b_.interleave(b_.splat(value(s->value), lanes_), b_.splat(value(with->value), lanes_)), a = first_lane(s->address);
    const uint32_t p = buffer(s->param, true);
    if (guard_.is_full()) b_.store(p, a, both);
    else b_.store_partial(p, a, both, guard_.count + guard_.count);
    done.push_back(s);
    done.push_back(with);
  }
}

void BodyLowering::store(const Store& s) {
  Kv v = value(s.value);
  const Kv predicate = s.predicate == no_value ? Kv{} : value(s.predicate);
  const uint32_t p = buffer(s.param, true);
  if (s.conflict != Conflict::unique && s.conflict != Conflict::last) {
    static constexpr Combine combines[] = {Combine::add, Combine::mul, Combine::min, Combine::max};
    const DType d = v.dtype();
    Kv old = load_at(p, s.address, predicate);
    if (is_reduced_float(d)) {
      old = b_.cast(old, DType::f32);
      v = b_.cast(v, DType::f32);
    }
    v = b_.cast(b_.combine(combines[int(s.conflict) - int(Conflict::ordered_add)], old, v), d);
  }
  store_at(p, s.address, v, predicate, array_bytes(s));
}

}  // namespace phlox

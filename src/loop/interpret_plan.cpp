#include "loop/interpret_plan.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "base/checked.h"
#include "loop/scalar_math.h"

namespace phlox::interpreter {

Rep Context::rep(DType d) const {
  switch (d) {
    case DType::boolean: case DType::u8: return Rep::u8;
    case DType::i8: return Rep::i8;
    case DType::i16: return Rep::i16;
    case DType::u16: return Rep::u16;
    case DType::i32: return Rep::i32;
    case DType::u32: return Rep::u32;
    case DType::i64: return Rep::i64;
    case DType::u64: return Rep::u64;
    default: return wide || d == DType::f64 ? Rep::f64 : Rep::f32;
  }
}

int64_t Context::points(AxisMask axes) const {
  int64_t n = 1;
  for (size_t a = 0; a < extents.size(); ++a) if (axes >> a & 1 && extents[a] == 0) return 0;
  for (size_t a = 0; a < extents.size(); ++a) if (axes >> a & 1) n = checked_mul(n, extents[a], "loop");
  return n;
}

namespace {

int innermost(AxisMask m) { return 63 - std::countl_zero(m); }

// Bits of a value's representation: of a constant or number given as the bits of its own type.
int64_t rep_bits(const Context& c, DType d, int64_t bits) {
  if (!is_float(d)) return bits;
  const double v = constant_value({.op = Scalar::constant, .dtype = d, .imm = bits});
  if (c.rep(d) == Rep::f64) return d == DType::f64 ? bits : std::bit_cast<int64_t>(v);
  // By bits for f32, so that a NaN keeps its payload.
  return d == DType::f32 ? bits : int64_t(std::bit_cast<uint32_t>(float(v)));
}

// The operations whose results are exact on the f32 that holds a 16-bit float.
bool keeps_rounding(Scalar op) {
  switch (op) {
    case Scalar::constant: case Scalar::number: case Scalar::load: case Scalar::select: case Scalar::neg:
    case Scalar::abs: case Scalar::min: case Scalar::max: case Scalar::reduce: case Scalar::scan:
    case Scalar::bitcast: case Scalar::trunc: return true;
    default: return false;
  }
}

// A value along the block: no dependence (0), first + step * i, or unknown.
using Along = std::optional<int64_t>;

class Planner {
 public:
  Planner(Context& c, Item& item, std::span<const ValueId> roots)
      : c_(c), item_(item), needed_(c.loop.insts.size(), 0), known_(c.loop.insts.size()) {
    for (ValueId r : roots) if (r != no_value) needed_[r] = 1;
    for (size_t id = needed_.size(); id-- > 0;) {
      if (!needed_[id]) continue;
      order_.push_back(ValueId(id));
      if (leaf(ValueId(id))) continue;
      const Inst& i = c.loop.insts[id];
      for (int k = 0; k < i.operand_count; ++k) needed_[i.operand[k]] = 1;
    }
    std::reverse(order_.begin(), order_.end());
    for (ValueId id : order_) known_[id] = known_value(id);
  }

  // Rough nanoseconds of a point when blocks run along this axis.
  double axis_cost(int axis, ValueId store_address) {
    along(axis);
    const double width = double(std::min(block_points, std::max<int64_t>(1, c_.extents[size_t(axis)])));
    double cost = 0;
    for (ValueId id : order_) {
      const Inst& i = inst(id);
      if (!varies(id, axis)) { cost += 4 / width; continue; }
      const bool memory = i.op == Scalar::load || leaf(id);
      if (memory) cost += access_cost(leaf(id) ? along_[id] : along_[i.operand[0]]) + 12 / width;
      else if (along_[id]) cost += 4 / width;
      else cost += (is_math(i.op) ? 5 : 0.5) + 8 / width;
    }
    if (store_address != no_value) cost += access_cost(along_[store_address]);
    return cost;
  }

  void build(std::initializer_list<std::pair<ValueId, Root*>> values, ValueId address, ValueId predicate) {
    block_axis_ = item_.block_pos < 0 ? -1 : item_.nest[size_t(item_.block_pos)];
    std::fill(std::begin(position_), std::end(position_), -1);
    for (size_t p = 0; p < item_.nest.size(); ++p) position_[item_.nest[p]] = int(p);
    item_.width = block_axis_ < 0 ? 1 : std::min(block_points, c_.extents[size_t(block_axis_)]);
    along(block_axis_);
    places_.assign(c_.loop.insts.size(), {});
    for (auto& [id, root] : values) {
      root->scalar = !varies(id, block_axis_) && root->scalar;  // set by who can take a scalar
      demand(id, !root->scalar);
      places_[id].persistent = true;
    }
    if (address != no_value) demand(address, !simple(address));
    if (predicate != no_value) { demand(predicate, true); places_[predicate].persistent = true; }
    if (address != no_value) places_[address].persistent = true;
    spread_demands();
    item_.levels.resize(item_.nest.size() + 1);
    std::vector<std::vector<ValueId>> by_level(item_.levels.size());
    for (ValueId id : order_) by_level[size_t(level(id))].push_back(id);
    for (auto& ids : by_level) for (ValueId id : ids) emit(id);
    for (auto& [id, root] : values) root->at = root->scalar ? places_[id].one : places_[id].block;
    if (address != no_value) {
      item_.address = {simple(address) ? places_[address].one : places_[address].block, simple(address)};
      item_.address_step = simple(address) ? step_of(address) : 0;
    }
    if (predicate != no_value) item_.predicate.at = places_[predicate].block;
    item_.scratch_bytes = scratch_;
  }

 private:
  struct Place {
    uint32_t one = nowhere, block = nowhere;
    bool wants_one = false, wants_block = false;
    bool persistent = false;  // the block is used at a deeper level, or by the item itself
    int pending = 0;          // uses of the block at its own level that are still to come
  };

  const Inst& inst(ValueId id) const { return c_.loop.insts[id]; }
  bool leaf(ValueId id) const { return inst(id).op == Scalar::reduce || inst(id).op == Scalar::scan; }
  bool varies(ValueId id, int axis) const { return axis >= 0 && (c_.loop.depends[id] >> axis & 1); }
  int level(ValueId id) const {
    int l = 0;
    for (AxisMask m = c_.loop.depends[id]; m; m &= m - 1) l = std::max(l, position_[std::countr_zero(m)] + 1);
    return l;
  }
  static double access_cost(Along step) { return !step ? 2 : *step >= -1 && *step <= 1 ? 0.5 : 3; }

  // An i64 that no axis or load is part of.
  Along known_value(ValueId id) const {
    const Inst& i = inst(id);
    if (i.dtype != DType::i64) return {};
    auto operand = [&](int k) { return known_[i.operand[k]]; };
    switch (i.op) {
      case Scalar::constant: return i.imm;
      case Scalar::dim: return evaluate(Dim::from_raw(i.imm), c_.args.symbols);
      case Scalar::number: return c_.args.numbers[size_t(i.imm)];
      case Scalar::add: if (operand(0) && operand(1)) return int64_t(uint64_t(*operand(0)) + uint64_t(*operand(1))); return {};
      case Scalar::mul: if (operand(0) && operand(1)) return int64_t(uint64_t(*operand(0)) * uint64_t(*operand(1))); return {};
      default: return {};
    }
  }

  void along(int axis) {
    along_.assign(c_.loop.insts.size(), {});
    for (ValueId id : order_) along_[id] = step_along(id, axis);
  }
  Along step_along(ValueId id, int axis) const {
    const Inst& i = inst(id);
    if (!varies(id, axis)) return 0;
    if (leaf(id)) {
      for (auto& [a, stride] : c_.temps[id]->strides) if (a == axis) return stride;
      return {};
    }
    if (i.dtype != DType::i64) return {};
    const Along a = i.operand_count > 0 ? along_[i.operand[0]] : 0, b = i.operand_count > 1 ? along_[i.operand[1]] : 0;
    switch (i.op) {
      case Scalar::axis: return 1;
      case Scalar::add: if (a && b && linear(i)) return int64_t(uint64_t(*a) + uint64_t(*b)); return {};
      case Scalar::sub: if (a && b && linear(i)) return int64_t(uint64_t(*a) - uint64_t(*b)); return {};
      case Scalar::mul:
        if (a && known_[i.operand[1]] && linear(i)) return int64_t(uint64_t(*a) * uint64_t(*known_[i.operand[1]]));
        if (b && known_[i.operand[0]] && linear(i)) return int64_t(uint64_t(*b) * uint64_t(*known_[i.operand[0]]));
        return {};
      default: return {};
    }
  }
  // An array's stride is how it is read; as an operand its values are not linear.
  bool linear(const Inst& i) const {
    for (int k = 0; k < i.operand_count; ++k) if (leaf(i.operand[k]) && along_[i.operand[k]] != Along(0)) return false;
    return true;
  }
  bool linear(ValueId id) const { return !leaf(id) && along_[id].has_value(); }
  // One number and a step say what it is on the whole block.
  bool simple(ValueId id) const { return !varies(id, block_axis_) || linear(id); }
  int64_t step_of(ValueId id) const { return varies(id, block_axis_) ? *along_[id] : 0; }

  void demand(ValueId id, bool block) {
    Place& p = places_[id];
    if (block) p.wants_block = true;
    if (!block || (linear(id) && varies(id, block_axis_)) || !varies(id, block_axis_)) p.wants_one = true;
  }
  // A use of the block of `id` by a step at the level of `user`.
  void demand_block(ValueId id, ValueId user) {
    demand(id, true);
    if (level(id) == level(user)) ++places_[id].pending;
    else places_[id].persistent = true;
  }
  void spread_demands() {
    for (size_t k = order_.size(); k-- > 0;) {
      const ValueId id = order_[k];
      const Inst& i = inst(id);
      if (leaf(id)) continue;
      if (places_[id].wants_one) for (int o = 0; o < i.operand_count; ++o) demand(i.operand[o], false);
      if (!places_[id].wants_block || linear(id)) continue;
      for (int o = 0; o < i.operand_count; ++o) {
        if (i.op == Scalar::load && o == 0 && simple(i.operand[0])) demand(i.operand[0], false);
        else demand_block(i.operand[o], id);
      }
    }
  }

  // --- places
  uint32_t take(size_t bytes, size_t align) {
    scratch_ = (scratch_ + align - 1) / align * align;
    const size_t at = scratch_;
    scratch_ += bytes;
    return uint32_t(at);
  }
  uint32_t take_block(DType d) {
    const int bytes = rep_bytes(c_.rep(d));
    auto& free = free_[std::countr_zero(unsigned(bytes))];
    if (free.empty()) return take(size_t(bytes) * size_t(item_.width), 64);
    const uint32_t at = free.back();
    free.pop_back();
    return at;
  }
  void release(ValueId id) {
    Place& p = places_[id];
    if (--p.pending == 0 && !p.persistent) free_[std::countr_zero(unsigned(rep_bytes(c_.rep(inst(id).dtype))))].push_back(p.block);
  }
  uint32_t zeros() {
    if (zeros_ == nowhere) {
      zeros_ = take(size_t(item_.width), 64);
      const uint32_t zero = take(8, 8);
      item_.levels[0].push_back({.kind = StepKind::constant, .out = zero});
      item_.levels[0].push_back({.kind = StepKind::block, .count = Count::width, .out = zeros_, .a = zero, .fn = c_.ops.fill(1)});
    }
    return zeros_;
  }

  // --- steps
  void emit(ValueId id) {
    Place& p = places_[id];
    std::vector<Step>& out = item_.levels[size_t(level(id))];
    if (p.wants_one) {
      p.one = take(8, 8);
      out.push_back(step(id, Count::one));
    }
    if (!p.wants_block) return;
    p.block = take_block(inst(id).dtype);
    const Rep r = c_.rep(inst(id).dtype);
    if (!varies(id, block_axis_)) {
      out.push_back({.kind = StepKind::block, .count = Count::width, .out = p.block, .a = p.one, .fn = c_.ops.fill(rep_bytes(r))});
    } else if (linear(id)) {
      out.push_back({.kind = StepKind::iota, .count = Count::block, .out = p.block, .a = p.one, .imm = *along_[id]});
    } else {
      Step s = step(id, Count::block);
      out.push_back(s);
      const Inst& i = inst(id);
      if (leaf(id)) return;
      for (int o = 0; o < i.operand_count; ++o)
        if (!(i.op == Scalar::load && o == 0 && s.index == nowhere) && level(i.operand[o]) == level(id)) release(i.operand[o]);
    }
  }

  Step step(ValueId id, Count count) {
    const Inst& i = inst(id);
    const bool block = count == Count::block;
    auto at = [&](int k) { return block ? places_[i.operand[k]].block : places_[i.operand[k]].one; };
    Step s{.kind = StepKind::block, .count = count, .out = block ? places_[id].block : places_[id].one};
    if (!c_.wide && is_reduced_float(i.dtype) && !keeps_rounding(i.op)) s.round = c_.ops.round(i.dtype);
    if (i.operand_count > 0 && !leaf(id)) s.a = at(0);
    if (i.operand_count > 1) s.b = at(1);
    if (i.operand_count > 2) s.c = at(2);
    const Rep r = c_.rep(i.dtype);
    switch (i.op) {
      case Scalar::constant: s.kind = StepKind::constant; s.imm = rep_bits(c_, i.dtype, i.imm); break;
      case Scalar::dim: s.kind = StepKind::constant; s.imm = *known_[id]; break;
      case Scalar::number:
        s.kind = StepKind::constant;
        s.imm = rep_bits(c_, i.dtype, c_.args.numbers[size_t(i.imm)]);
        break;
      case Scalar::axis: s.kind = StepKind::axis; s.imm = i.imm; break;
      case Scalar::load: load_step(s, i, block); break;
      case Scalar::reduce: case Scalar::scan: {
        const Temp& t = *c_.temps[id];
        s.kind = StepKind::temp;
        s.source = &t;
        s.load = native_load(r);
        s.imm = block ? *along_[id] : 0;
        break;
      }
      case Scalar::cast: {
        const DType from = inst(i.operand[0]).dtype;
        s.fn = is_bool(i.dtype) ? c_.ops.to_bool(c_.rep(from)) : c_.ops.cast(c_.rep(from), r);
        break;
      }
      case Scalar::bitcast: {
        const DType from = inst(i.operand[0]).dtype;
        s.kind = StepKind::bitcast;
        s.store = c_.ops.store(from, c_.wide, Conflict::unique);
        s.load = c_.ops.load(i.dtype, c_.wide);
        if (raw_ == nowhere) raw_ = take(8 * size_t(item_.width), 64);
        s.b = raw_;
        break;
      }
      case Scalar::checked_index: s.kind = StepKind::checked; break;
      case Scalar::philox: s.fn = c_.ops.philox(int(i.imm)); break;
      case Scalar::bnot:
        if (is_bool(i.dtype)) { s.fn = c_.ops.op(Scalar::eq, Rep::u8); s.b = zeros(); }
        else s.fn = c_.ops.op(i.op, r);
        break;
      default: arithmetic_step(s, i);
    }
    return s;
  }
  void load_step(Step& s, const Inst& i, bool block) {
    s.kind = StepKind::load;
    s.base = c_.loads[size_t(i.imm)];
    s.load = c_.ops.load(i.dtype, c_.wide);
    s.predicate = s.b;
    if (!block) return;
    if (!simple(i.operand[0])) { s.index = s.a; return; }
    s.a = places_[i.operand[0]].one;
    s.imm = step_of(i.operand[0]);
  }
  void arithmetic_step(Step& s, const Inst& i) {
    const Rep r = c_.rep(inst(i.operand[i.op == Scalar::select ? 1 : 0]).dtype);
    if (s.count == Count::one && r == Rep::i64 && (i.op == Scalar::add || i.op == Scalar::sub || i.op == Scalar::mul)) {
      s.kind = i.op == Scalar::add ? StepKind::add_i64 : i.op == Scalar::sub ? StepKind::sub_i64 : StepKind::mul_i64;
      return;
    }
    s.fn = is_math(i.op) ? math_block_op(i.op, r, c_.wide, i.dtype) : c_.ops.op(scalar_on(i.dtype, i.op), r);
    PHLOX_CHECK(s.fn, scalar_info(i.op).name, " of ", i.dtype, " has no interpretation");
  }
  LoadFn native_load(Rep r) const {
    const int bytes = rep_bytes(r);
    return c_.ops.load(bytes == 1 ? DType::u8 : bytes == 2 ? DType::u16 : bytes == 4 ? DType::u32 : DType::u64, false);
  }

  Context& c_;
  Item& item_;
  std::vector<uint8_t> needed_;
  std::vector<Along> known_, along_;
  std::vector<ValueId> order_;
  std::vector<Place> places_;
  int position_[64] = {};
  int block_axis_ = -1;
  size_t scratch_ = 0;
  uint32_t zeros_ = nowhere, raw_ = nowhere;
  std::vector<uint32_t> free_[4];
};

void make_temp(Context& c, ValueId id) {
  const Inst& i = c.loop.insts[id];
  auto t = std::make_unique<Temp>();
  t->inst = id;
  t->rep = c.rep(i.dtype);
  for (int a = int(c.extents.size()) - 1; a >= 0; --a) {
    if (!(c.loop.depends[id] >> a & 1)) continue;
    t->strides.push_back({a, t->points});
    t->points = checked_mul(t->points, c.extents[size_t(a)], "loop");
  }
  t->data.reset(new std::byte[size_t(checked_mul(t->points, rep_bytes(t->rep), "loop"))]);
  c.temps[id] = std::move(t);
}

void append_axes(Item& item, AxisMask m, int except) {
  for (; m; m &= m - 1) if (std::countr_zero(m) != except) item.nest.push_back(std::countr_zero(m));
}

}  // namespace

Item plan_reduction(Context& c, ValueId id) {
  const Inst& i = c.loop.insts[id];
  const bool scan = i.op == Scalar::scan;
  Item item{.kind = scan ? Item::Kind::scan : Item::Kind::reduce, .index = id};
  make_temp(c, id);
  item.result = c.temps[id].get();
  // A chain over a product fuses it: the factors are what is evaluated.
  ValueId first = i.operand[0], second = no_value;
  const Inst& operand = c.loop.insts[first];
  if (!scan && i.order == Order::chain && operand.op == Scalar::mul && is_float(i.dtype)) {
    second = operand.operand[1];
    first = operand.operand[0];
  }
  const ValueId roots[] = {first, second};
  Planner planner(c, item, roots);
  const AxisMask outer = c.loop.depends[id] & ~i.axes;
  int best = innermost(i.axes);
  // What combining costs when blocks run along the reduced axis: next to nothing over lanes, else one addition waits
  // for the other.
  item.point_cost = planner.axis_cost(best, no_value) + (!scan && i.order == Order::tree32 ? 0.3 : 3);
  for (AxisMask m = outer; m; m &= m - 1) {
    const int a = std::countr_zero(m);
    const double cost = planner.axis_cost(a, no_value) + 0.5 + 10.0 / double(std::min(block_points, std::max<int64_t>(1, c.extents[size_t(a)])));
    if (cost < item.point_cost) { best = a; item.point_cost = cost; }
  }
  const bool row = i.axes >> best & 1;
  append_axes(item, outer, best);
  if (!row) { item.block_pos = int(item.nest.size()); item.nest.push_back(best); }
  item.boundary = int(item.nest.size());
  append_axes(item, i.axes, best);
  if (row) { item.block_pos = int(item.nest.size()); item.nest.push_back(best); }
  item.value.scalar = item.other.scalar = second != no_value && !row;  // chain_column takes scalars
  if (second == no_value) planner.build({{first, &item.value}}, no_value, no_value);
  else planner.build({{first, &item.value}, {second, &item.other}}, no_value, no_value);
  return item;
}

Item plan_store(Context& c, uint32_t store) {
  const Store& s = c.loop.stores[store];
  Item item{.kind = Item::Kind::store, .index = store};
  const ValueId roots[] = {s.value, s.address, s.predicate};
  Planner planner(c, item, roots);
  int best = -1;
  if (s.domain) {
    best = innermost(s.domain);
    item.point_cost = planner.axis_cost(best, s.address);
    if (s.conflict == Conflict::unique)  // any order will do
      for (AxisMask m = s.domain; m; m &= m - 1) {
        const int a = std::countr_zero(m);
        const double cost = planner.axis_cost(a, s.address);
        if (cost < item.point_cost) { best = a; item.point_cost = cost; }
      }
  }
  append_axes(item, s.domain, best);
  if (best >= 0) { item.block_pos = int(item.nest.size()); item.nest.push_back(best); }
  item.boundary = int(item.nest.size());
  planner.build({{s.value, &item.value}}, s.address, s.predicate);
  return item;
}

}  // namespace phlox::interpreter

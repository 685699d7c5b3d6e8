#include "kernel/builder.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"

namespace phlox {

KType Kv::type() const { return b->inst(*this).type; }

KernelBuilder::KernelBuilder() {
  kernel_.blocks.emplace_back();
  open_.push_back({0, no_kvalue});
}

Kv KernelBuilder::add(KInst i) {
  const KValue v = KValue(kernel_.insts.size());
  kernel_.insts.push_back(i);
  std::vector<KValue>& list = kernel_.blocks[open_[at_].block].insts;
  if (at_ == depth()) list.push_back(v);
  else list.insert(list.end() - 1, v);  // the last one owns the block that is open inside
  return {this, v};
}

// Constants, words and the item range live at the start of block 0, each once.
Kv KernelBuilder::leaf(KOp op) {
  KInst i{.op = op, .type = {DType::i64, 1}};
  for (size_t n = 0; n < prefix_; ++n) {
    const KValue v = kernel_.blocks[0].insts[n];
    if (kernel_.insts[v].op == op) return {this, v};
  }
  const KValue v = KValue(kernel_.insts.size());
  kernel_.insts.push_back(i);
  kernel_.blocks[0].insts.insert(kernel_.blocks[0].insts.begin() + ptrdiff_t(prefix_++), v);
  return {this, v};
}

Kv KernelBuilder::bits(DType d, int64_t bits, int lanes) {
  const uint64_t key = phlox::combine(uint64_t(d) << 32 | uint64_t(lanes), uint64_t(bits));
  std::vector<KValue>& same = leaves_[key];
  for (KValue v : same) {
    const KInst& i = kernel_.insts[v];
    if (i.op == KOp::constant && i.imm == bits && i.type == KType{d, uint16_t(lanes)}) return {this, v};
  }
  const KValue v = KValue(kernel_.insts.size());
  kernel_.insts.push_back({.op = KOp::constant, .type = {d, uint16_t(lanes)}, .imm = bits});
  kernel_.blocks[0].insts.insert(kernel_.blocks[0].insts.begin() + ptrdiff_t(prefix_++), v);
  same.push_back(v);
  return {this, v};
}

Kv KernelBuilder::word(Word w, DType d) {
  uint32_t at = 0;
  while (at < kernel_.words.size() && !(kernel_.words[at] == w)) ++at;
  if (at == kernel_.words.size()) kernel_.words.push_back(w);
  for (size_t n = 0; n < prefix_; ++n) {
    const KInst& i = kernel_.insts[kernel_.blocks[0].insts[n]];
    if (i.op == KOp::word && i.imm == at && i.type.dtype == d) return {this, kernel_.blocks[0].insts[n]};
  }
  const KValue v = KValue(kernel_.insts.size());
  kernel_.insts.push_back({.op = KOp::word, .type = {d, 1}, .imm = at});
  kernel_.blocks[0].insts.insert(kernel_.blocks[0].insts.begin() + ptrdiff_t(prefix_++), v);
  return {this, v};
}

Kv KernelBuilder::dim(Dim d) { return d.is_const() ? index(d.value()) : word({.kind = Word::Kind::dim, .dim = d}, DType::i64); }

uint32_t KernelBuilder::buffer(uint32_t param, DType d, bool written) {
  const Word w{.kind = Word::Kind::pointer, .param = param};
  uint32_t at = 0;
  while (at < kernel_.words.size() && !(kernel_.words[at] == w)) ++at;
  if (at == kernel_.words.size()) kernel_.words.push_back(w);
  for (uint32_t p = 0; p < kernel_.params.size(); ++p)
    if (kernel_.params[p].word == at) {
      kernel_.params[p].written |= written;
      return p;
    }
  kernel_.params.push_back({d, at, written});
  return uint32_t(kernel_.params.size()) - 1;
}

uint32_t KernelBuilder::scratch(DType d) {
  const Word w{.kind = Word::Kind::scratch};
  uint32_t at = 0;
  while (at < kernel_.words.size() && !(kernel_.words[at] == w)) ++at;
  if (at == kernel_.words.size()) kernel_.words.push_back(w);
  for (uint32_t p = 0; p < kernel_.params.size(); ++p)
    if (kernel_.params[p].word == at && kernel_.params[p].dtype == d) return p;
  kernel_.params.push_back({d, at, true});
  return uint32_t(kernel_.params.size()) - 1;
}

int64_t KernelBuilder::status_word() {
  const Word w{.kind = Word::Kind::status};
  for (size_t n = 0; n < kernel_.words.size(); ++n)
    if (kernel_.words[n] == w) return int64_t(n);
  kernel_.words.push_back(w);
  return int64_t(kernel_.words.size()) - 1;
}

bool KernelBuilder::is_const(Kv v, int64_t bits) {
  const KInst& i = v.b->inst(v);
  return i.op == KOp::constant && i.imm == bits;
}

Kv KernelBuilder::fold(Scalar s, Kv a, Kv b) {
  const KInst &x = inst(a), &y = inst(b);
  const int lanes = std::max(x.type.lanes, y.type.lanes);
  const DType d = x.type.dtype;
  const auto wide = [&](Kv v) { return v.lanes() == lanes ? v : splat(v, lanes); };
  if (x.op == KOp::constant && y.op == KOp::constant && d == DType::i64) {
    const uint64_t p = uint64_t(x.imm), q = uint64_t(y.imm);
    switch (s) {
      case Scalar::add: return bits(d, int64_t(p + q), lanes);
      case Scalar::sub: return bits(d, int64_t(p - q), lanes);
      case Scalar::mul: return bits(d, int64_t(p * q), lanes);
      case Scalar::lt: return bits(DType::boolean, x.imm < y.imm, lanes);
      case Scalar::le: return bits(DType::boolean, x.imm <= y.imm, lanes);
      case Scalar::min: return bits(d, std::min(x.imm, y.imm), lanes);
      case Scalar::max: return bits(d, std::max(x.imm, y.imm), lanes);
      case Scalar::floordiv: case Scalar::div:
        if (x.imm >= 0 && y.imm > 0) return bits(d, x.imm / y.imm, lanes);
        break;
      case Scalar::floormod:
        if (x.imm >= 0 && y.imm > 0) return bits(d, x.imm % y.imm, lanes);
        break;
      default: break;
    }
  }
  if (is_int(d)) {
    if (s == Scalar::add && is_const(a, 0)) return wide(b);
    if ((s == Scalar::add || s == Scalar::sub) && is_const(b, 0)) return wide(a);
    if (s == Scalar::mul && is_const(a, 1)) return wide(b);
    if ((s == Scalar::mul || s == Scalar::div || s == Scalar::floordiv) && is_const(b, 1)) return wide(a);
    if (s == Scalar::mul && (is_const(a, 0) || is_const(b, 0))) return bits(d, 0, lanes);
  }
  if (is_bool(d)) {
    if (s == Scalar::band && (is_const(a, 1) || is_const(b, 0))) return wide(b);
    if (s == Scalar::band && (is_const(b, 1) || is_const(a, 0))) return wide(a);
    if (s == Scalar::bor && (is_const(a, 0) || is_const(b, 1))) return wide(b);
    if (s == Scalar::bor && (is_const(b, 0) || is_const(a, 1))) return wide(a);
  }
  return {};
}

Kv KernelBuilder::op(Scalar s, Kv a, Kv b, Kv c) {
  s = scalar_on(a.dtype(), s);  // sums of bools are ors
  const ScalarInfo& info = scalar_info(s);
  if (info.operands == 2) {
    if (Kv f = fold(s, a, b)) return f;
  }
  if (s == Scalar::select && inst(a).op == KOp::constant) {
    Kv v = inst(a).imm ? b : c;
    return splat(v, std::max({a.lanes(), b.lanes(), c.lanes()}));
  }
  Kv all[3] = {a, b, c};
  int lanes = 1;
  for (int n = 0; n < info.operands; ++n) lanes = std::max(lanes, all[n].lanes());
  KInst i{.op = KOp::scalar, .type = {all[info.operands - 1].dtype(), uint16_t(lanes)}, .scalar = s};
  if (info.result == ScalarResult::test) i.type.dtype = DType::boolean;
  i.operand_count = uint8_t(info.operands);
  for (int n = 0; n < info.operands; ++n) i.operand[n] = splat(all[n], lanes).id;
  return add(i);
}

Kv KernelBuilder::cast(Kv a, DType d) {
  if (a.dtype() == d) return a;
  const KInst& x = inst(a);
  if (x.op == KOp::constant && is_int(x.type.dtype) && is_int(d))
    return bits(d, constant_bits_int(d, x.imm), x.type.lanes);
  KInst i{.op = KOp::scalar, .type = {d, uint16_t(a.lanes())}, .scalar = Scalar::cast, .operand_count = 1};
  i.operand[0] = a.id;
  return add(i);
}

Kv KernelBuilder::bitcast(Kv a, DType d) {
  if (a.dtype() == d) return a;
  KInst i{.op = KOp::scalar, .type = {d, uint16_t(a.lanes())}, .scalar = Scalar::bitcast, .operand_count = 1};
  i.operand[0] = a.id;
  return add(i);
}

Kv KernelBuilder::combine(Combine c, Kv a, Kv b) {
  return op(combining_op(combine_on(a.dtype(), c)), a, b);
}

Kv KernelBuilder::splat(Kv a, int lanes) {
  if (a.lanes() == lanes) return a;
  PHLOX_CHECK(a.lanes() == 1, "splat of ", a.type(), " to ", lanes, " lanes");
  if (inst(a).op == KOp::constant) return bits(a.dtype(), inst(a).imm, lanes);
  KInst i{.op = KOp::splat, .type = {a.dtype(), uint16_t(lanes)}, .operand_count = 1};
  i.operand[0] = a.id;
  return add(i);
}

Kv KernelBuilder::iota(int lanes) { return add({.op = KOp::iota, .type = {DType::i64, uint16_t(lanes)}}); }

Kv KernelBuilder::extract(Kv a, int lane) {
  if (a.lanes() == 1) return a;
  KInst i{.op = KOp::extract, .type = {a.dtype(), 1}, .operand_count = 1, .imm = lane};
  i.operand[0] = a.id;
  return add(i);
}

Kv KernelBuilder::lane_fold(Combine c, Kv a) {
  if (a.lanes() == 1) return a;
  KInst i{.op = KOp::lane_fold, .type = {a.dtype(), 1}, .combine = combine_on(a.dtype(), c), .operand_count = 1};
  i.operand[0] = a.id;
  return add(i);
}

Kv KernelBuilder::interleave(Kv a, Kv b) {
  KInst i{.op = KOp::interleave, .type = {a.dtype(), uint16_t(2 * a.lanes())}, .operand_count = 2};
  i.operand[0] = a.id;
  i.operand[1] = b.id;
  return add(i);
}
Kv KernelBuilder::every_other(Kv a, int first) {
  KInst i{.op = KOp::every_other, .type = {a.dtype(), uint16_t(a.lanes() / 2)}, .operand_count = 1, .imm = first};
  i.operand[0] = a.id;
  return add(i);
}

Kv KernelBuilder::shuffle(KOp kind, Kv a, int imm) {
  KInst i{.op = kind, .type = a.type(), .operand_count = 1, .imm = imm};
  i.operand[0] = a.id;
  return add(i);
}

Kv KernelBuilder::scale_exponent(Kv a, Kv n, Kv shifted) {
  const int lanes = std::max({a.lanes(), n.lanes(), shifted.lanes()});
  KInst i{.op = KOp::scale_exponent, .type = {a.dtype(), uint16_t(lanes)}, .operand_count = 3};
  i.operand[0] = splat(a, lanes).id;
  i.operand[1] = splat(n, lanes).id;
  i.operand[2] = splat(shifted, lanes).id;
  return add(i);
}

void KernelBuilder::prefetch(uint32_t p, Kv index) {
  KInst i{.op = KOp::prefetch, .operand_count = 1, .imm = int64_t(p)};
  i.operand[0] = index.id;
  add(i);
}

Kv KernelBuilder::lookup(math::Table t, Kv index) {
  KInst i{.op = KOp::lookup, .type = {DType::f32, uint16_t(index.lanes())}, .operand_count = 1, .imm = int64_t(t)};
  i.operand[0] = index.id;
  return add(i);
}

Kv KernelBuilder::power2(Kv a) {
  KInst i{.op = KOp::power2, .type = a.type(), .operand_count = 1};
  i.operand[0] = a.id;
  return add(i);
}

Kv KernelBuilder::any(Kv a) {
  if (a.lanes() == 1) return a;
  KInst i{.op = KOp::any, .type = {DType::boolean, 1}, .operand_count = 1};
  i.operand[0] = a.id;
  return add(i);
}

// --- memory

KInst KernelBuilder::memory(KOp op, uint32_t p, KType t, Kv a, Kv b, Kv c) {
  KInst i{.op = op, .type = t, .imm = int64_t(p)};
  for (Kv v : {a, b, c})
    if (v) i.operand[i.operand_count++] = v.id;
  return i;
}
Kv KernelBuilder::load(uint32_t p, Kv address, int lanes) {
  return add(memory(KOp::load, p, {kernel_.params[p].dtype, uint16_t(lanes)}, address));
}
Kv KernelBuilder::load_partial(uint32_t p, Kv address, Kv count, int lanes) {
  return add(memory(KOp::load_partial, p, {kernel_.params[p].dtype, uint16_t(lanes)}, address, count));
}
Kv KernelBuilder::load_masked(uint32_t p, Kv address, Kv mask) {
  return add(memory(KOp::load_masked, p, {kernel_.params[p].dtype, uint16_t(mask.lanes())}, address, mask));
}
Kv KernelBuilder::load_strided(uint32_t p, Kv address, Kv stride, int lanes) {
  return add(memory(KOp::load_strided, p, {kernel_.params[p].dtype, uint16_t(lanes)}, address, stride));
}
Kv KernelBuilder::load_gather(uint32_t p, Kv addresses, Kv mask) {
  return add(memory(KOp::load_gather, p, {kernel_.params[p].dtype, uint16_t(addresses.lanes())}, addresses, mask));
}
void KernelBuilder::store(uint32_t p, Kv address, Kv value, Kv array_bytes) {
  add(memory(KOp::store, p, value.type(), address, value, array_bytes));
}
void KernelBuilder::store_partial(uint32_t p, Kv address, Kv value, Kv count) {
  add(memory(KOp::store_partial, p, value.type(), address, value, count));
}
void KernelBuilder::store_masked(uint32_t p, Kv address, Kv value, Kv mask) {
  add(memory(KOp::store_masked, p, value.type(), address, value, mask));
}
void KernelBuilder::store_strided(uint32_t p, Kv address, Kv value, Kv stride) {
  add(memory(KOp::store_strided, p, value.type(), address, value, stride));
}
void KernelBuilder::store_scatter(uint32_t p, Kv addresses, Kv value, Kv mask) {
  add(memory(KOp::store_scatter, p, value.type(), addresses, value, mask));
}

Kv KernelBuilder::local(DType d, int64_t count, Space space) {
  return add({.op = KOp::local, .type = {d, 1}, .space = space, .imm = count});
}
Kv KernelBuilder::local_load(Kv array, Kv index, int lanes, Kv block) {
  KInst i{.op = KOp::local_load, .type = {array.dtype(), uint16_t(lanes)}, .operand_count = uint8_t(block ? 3 : 2)};
  i.operand[0] = array.id;
  i.operand[1] = index.id;
  if (block) i.operand[2] = block.id;
  return add(i);
}
void KernelBuilder::local_store(Kv array, Kv index, Kv value) {
  KInst i{.op = KOp::local_store, .type = value.type(), .operand_count = 3};
  i.operand[0] = array.id;
  i.operand[1] = index.id;
  i.operand[2] = value.id;
  add(i);
}
Kv KernelBuilder::var(Kv initial) {
  KInst i{.op = KOp::var, .type = initial.type(), .operand_count = 1};
  i.operand[0] = initial.id;
  return add(i);
}
Kv KernelBuilder::get(Kv var) {
  KInst i{.op = KOp::get, .type = var.type(), .operand_count = 1};
  i.operand[0] = var.id;
  return add(i);
}
void KernelBuilder::set(Kv var, Kv value) {
  KInst i{.op = KOp::set, .type = value.type(), .operand_count = 2};
  i.operand[0] = var.id;
  i.operand[1] = value.id;
  add(i);
}
void KernelBuilder::report(Kv bad, Kv index) {
  KInst i{.op = KOp::report, .type = {DType::boolean, 1}, .operand_count = 2, .imm = status_word()};
  i.operand[0] = bad.id;
  i.operand[1] = index.id;
  add(i);
}

Kv KernelBuilder::address(uint32_t p, Kv index) {
  return add(memory(KOp::address, p, {DType::i64, 1}, index));
}
void KernelBuilder::tile(KTile t) {
  kernel_.tiles.push_back(std::move(t));
  add({.op = KOp::tile, .type = {DType::i64, 1}, .imm = int64_t(kernel_.tiles.size()) - 1});
}

// --- blocks

Kv KernelBuilder::begin_for(Kv from, Kv to, Kv step, LoopHint hint) {
  KInst i{.op = KOp::for_range, .type = {DType::i64, 1}, .hint = hint, .operand_count = 3};
  i.operand[0] = from.id;
  i.operand[1] = to.id;
  i.operand[2] = step.id;
  i.body = BlockId(kernel_.blocks.size());
  PHLOX_CHECK(at_ == depth(), "a loop is opened inside At");
  Kv v = add(i);
  kernel_.blocks.emplace_back();
  open_.push_back({i.body, v.id});
  at_ = depth();
  return v;
}
void KernelBuilder::begin_if(Kv condition) {
  KInst i{.op = KOp::if_true, .type = {DType::boolean, 1}, .operand_count = 1};
  i.operand[0] = condition.id;
  i.body = BlockId(kernel_.blocks.size());
  PHLOX_CHECK(at_ == depth(), "an if is opened inside At");
  Kv v = add(i);
  kernel_.blocks.emplace_back();
  open_.push_back({i.body, v.id});
  at_ = depth();
}
void KernelBuilder::begin_else() {
  const KValue owner = open_.back().owner;
  open_.pop_back();
  const BlockId other = BlockId(kernel_.blocks.size());
  kernel_.insts[owner].other = other;
  kernel_.blocks.emplace_back();
  open_.push_back({other, owner});
}
void KernelBuilder::end() {
  PHLOX_CHECK(at_ == depth() && at_ > 0, "end without a block");
  open_.pop_back();
  at_ = depth();
}

KernelBuilder::At::At(KernelBuilder& b, int depth) : b_(b), saved_(b.at_) {
  PHLOX_CHECK(depth >= 0 && depth <= b.depth(), "no such depth");
  b.at_ = depth;
}
KernelBuilder::At::~At() { b_.at_ = saved_; }

Kernel KernelBuilder::finish() {
  PHLOX_CHECK(depth() == 0, "a block was left open");
  remove_dead(kernel_);
  verify_kernel(kernel_);
  return std::move(kernel_);
}

// The hardware traps on a zero divisor and on the least integer by -1, so neither may reach it.
Kv safe_int_division(Scalar op, Kv a, Kv b) {
  KernelBuilder& kb = *a.b;
  const int lanes = std::max(a.lanes(), b.lanes());
  a = kb.splat(a, lanes);
  b = kb.splat(b, lanes);
  const KInst bi = kb.inst(b);  // a copy: instructions are added below
  const Kv zero = constant_int(a, 0), one = constant_int(a, 1);
  const bool constant = bi.op == KOp::constant, is_signed = !is_unsigned(a.dtype());
  if (constant && bi.imm == 0) return zero;
  const bool floored = op == Scalar::floordiv || op == Scalar::floormod;
  // A positive power of two: shifts and masks floor by themselves.
  if (constant && bi.imm > 0 && (bi.imm & (bi.imm - 1)) == 0 && (floored || !is_signed)) {
    if (op == Scalar::floormod || op == Scalar::fmod) return a & constant_int(a, bi.imm - 1);
    return kb.op(Scalar::shr, a, constant_int(a, __builtin_ctzll(uint64_t(bi.imm))));
  }
  Kv d = b, by_zero, by_minus_one;
  if (!constant) {
    by_zero = eq(b, zero);
    d = select(by_zero, one, b);
  }
  if (is_signed && (!constant || constant_bits_int(a.dtype(), -1) == bi.imm)) {
    by_minus_one = eq(d, constant_int(a, -1));
    d = select(by_minus_one, one, d);
  }
  Kv q = kb.op(Scalar::div, a, d);
  Kv r = a - q * d;
  Kv result;
  if (op == Scalar::div || op == Scalar::floordiv) {
    if (floored && is_signed) q = q - select(ne(r, zero) & lt(r ^ d, zero), one, zero);
    result = by_minus_one ? select(by_minus_one, -a, q) : q;
  } else {
    if (floored && is_signed) r = r + select(ne(r, zero) & lt(r ^ d, zero), d, zero);
    result = by_minus_one ? select(by_minus_one, zero, r) : r;
  }
  return by_zero ? select(by_zero, zero, result) : result;
}

}  // namespace phlox

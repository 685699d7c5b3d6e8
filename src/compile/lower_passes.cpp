// Passes: the loops over inner axes that accumulate reductions in the order that their meaning fixes.
#include <algorithm>
#include <bit>

#include "base/error.h"
#include "compile/lower_cpu.h"

namespace phlox {

// The points of a pass, row-major, as rows of its last axis: in blocks where the reduction's order has several, in one
// go otherwise. `block`: only this one, and nothing is pushed.
template <class Segment>
void CpuLowering::walk_blocks(Pass& p, Kv block, const Segment& segment) {
  const int axis = p.last;
  const Kv zero = b_.index(0), one = b_.index(1), length = b_.dim(extent(axis));
  const AxisMask leading = p.axes & ~(AxisMask(1) << axis);
  const Kv size = b_.dim(p.block), total = b_.dim(p.points);
  // The leading axes' places in row q.
  const auto in_row = [&](Kv q) {
    Kv rest = q;
    AxisMask m = leading;
    while (m) {
      const int a = 63 - std::countl_zero(m);
      m &= ~(AxisMask(1) << a);
      if (!m) { body_.bind(a, rest); break; }
      const Kv e = b_.dim(extent(a)), next = b_.op(Scalar::div, rest, e);
      body_.bind(a, rest - next * e);
      rest = next;
    }
  };
  const auto block_points = [&](Kv k) {
    const Kv from = k * size, to = b_.op(Scalar::min, from + size, total);
    if (!leading) return segment(from, to, Kv{});
    // No row exists where one is empty; then no block does either.
    const Kv q = b_.begin_for(b_.op(Scalar::div, from, length), b_.op(Scalar::div, to - one, length) + one, one);
    body_.open();
    in_row(q);
    const Kv start = q * length;
    const Kv j0 = b_.op(Scalar::max, from - start, zero), j1 = b_.op(Scalar::min, to - start, length);
    segment(j0, j1, p.aligned ? Kv{} : (start + j0) & b_.index(31));
    body_.close();
    b_.end();
  };
  if (block) return block_points(block);
  if (!p.one_block) {
    const Kv k = b_.begin_for(zero, b_.dim(p.blocks()), one);
    body_.open();
    for (Acc& a : p.accs) reset(a);
    block_points(k);
    for (Acc& a : p.accs) push(a, k);
    body_.close();
    b_.end();
    return;
  }
  if (!leading) return segment(zero, length, Kv{});
  const Kv q = b_.begin_for(zero, b_.dim(points_of(leading)), one);
  body_.open();
  in_row(q);
  segment(zero, length, p.aligned ? Kv{} : (q * length) & b_.index(31));
  body_.close();
  b_.end();
}

// tree32 with the vector along the last reduced axis: 32 lanes hold the 32 partial results of a block. Rows that do not
// start at a multiple of 32 points are walked at shifted positions, so that every point meets its lane.
void CpuLowering::row_pass(Pass& p, Kv block) {
  const int axis = p.last;
  const Kv zero = b_.index(0), width = b_.index(32);
  const auto piece = [&](Kv at, BodyLowering::Guard guard) {
    body_.open();
    body_.bind_vector(axis, at, 32, guard);
    point(p);
    body_.close();
  };
  walk_blocks(p, block, [&](Kv from, Kv to, Kv shift) {
    Kv start = from;
    if (shift) {
      const Kv lanes = b_.iota(32), head_to = b_.op(Scalar::min, width, shift + (to - from));
      b_.begin_if(lt(zero, shift));
      piece(from - shift, {.count = {}, .mask = le(shift, lanes) & lt(lanes, head_to)});
      b_.end();
      start = b_.op(Scalar::min, to, from + b_.select(lt(zero, shift), width - shift, zero));
    }
    const Kv n = to - start;
    const KInst count = b_.inst(n);
    const bool known = count.op == KOp::constant;
    const Kv main_to = start + (n & b_.index(-32));
    if (!known || count.imm >= 32) {
      const Kv at = b_.begin_for(start, main_to, width);
      piece(at, {});
      b_.end();
    }
    if (known && count.imm % 32 == 0) return;
    if (!known) b_.begin_if(lt(main_to, to));
    piece(main_to, {.count = to - main_to, .mask = {}});
    if (!known) b_.end();
  });
}

// One point after the other; where an outer axis is the vector, its lanes do so side by side.
void CpuLowering::serial_pass(Pass& p, Kv block) {
  const int n = lanes();
  if (!p.axes) {
    begin_scans(p);
    return serial_point(p, b_.index(0), n);
  }
  walk_blocks(p, block, [&](Kv from, Kv to, Kv) {
    if (!p.scans.empty()) {  // a row that is cut by a block goes on where it was
      b_.begin_if(eq(from, b_.index(0)));
      begin_scans(p);
      b_.end();
    }
    // The lane of a point follows from its place among all of them.
    Kv row;
    for (AxisMask m = p.axes & ~(AxisMask(1) << p.last); m && p.tree32(); m &= m - 1) {
      const int a = std::countr_zero(m);
      row = row ? row * b_.dim(extent(a)) + body_.position(a) : body_.position(a);
    }
    const Kv first = row ? row * b_.dim(extent(p.last)) : b_.index(0);
    serial_loop(p.last, from, to, [&](Kv at) { serial_point(p, first + at, n); });
  });
}

void CpuLowering::begin_scans(Pass& p) {
  for (size_t k = 0; k < p.scans.size(); ++k) {
    const Kv v = p.scan_vars[k];
    b_.set(v, b_.bits(v.dtype(), combine_identity(loop_.insts[p.scans[k]].combine, v.dtype()), v.lanes()));
  }
}

void CpuLowering::serial_point(Pass& p, Kv place, int n) {
  for (size_t k = 0; k < p.scans.size(); ++k) {
    const Inst& i = loop_.insts[p.scans[k]];
    scope({}, {i.operand[0]});
    const Kv x = b_.cast(body_.value(i.operand[0]), p.scan_vars[k].dtype());
    const Kv now = b_.splat(b_.combine(i.combine, b_.get(p.scan_vars[k]), x), n);
    b_.set(p.scan_vars[k], now);
    body_.define(p.scans[k], b_.cast(now, i.dtype));
  }
  if (!p.tree32()) return point(p);
  const Kv at = (place & b_.index(31)) * b_.index(n);
  for (Acc& a : p.accs) b_.set(a.var, b_.local_load(a.lanes32, at, n));
  point(p);
  for (Acc& a : p.accs) b_.local_store(a.lanes32, at, b_.get(a.var));
}

// --- accumulators

void CpuLowering::prepare(Pass& p, bool in_row) {
  const int n = in_row ? 32 : lanes();
  const bool reducing = !p.reduces.empty();
  p.order = reducing ? loop_.insts[p.reduces[0]].order : Order::tree1;
  p.points = points_of(p.axes);
  p.block = p.order == Order::chain ? Dim(chain_chunk) : tree_block(p.points, order_lanes(p.order));
  p.one_block = !reducing || (p.points.is_const() && p.points.value() <= p.block.value());
  p.in_row = in_row;
  AxisMask scanned = 0;
  for (ValueId s : p.scans) scanned |= loop_.insts[s].axes;
  PHLOX_CHECK((scanned & (scanned - 1)) == 0, "scans along two axes meet in one pass");
  const AxisMask last = scanned ? scanned : std::bit_floor(p.axes);
  PHLOX_CHECK(!reducing || last == std::bit_floor(p.axes), "a reduction in another order than its scan");
  p.last = p.axes ? std::countr_zero(last) : -1;
  const AxisMask leading = p.axes & ~last;
  p.aligned = !leading || !in_row || (extent(p.last).is_const() && extent(p.last).value() % 32 == 0);
  for (ValueId s : p.scans) {
    const DType d = compute_dtype(loop_.insts[s].dtype);
    p.scan_vars.push_back(b_.var(b_.bits(d, combine_identity(loop_.insts[s].combine, d), lanes())));
  }
  for (ValueId r : p.reduces) {
    Acc a{.id = r, .inst = loop_.insts[r], .type = compute_dtype(loop_.insts[r].dtype), .var = {}, .lanes32 = {}, .partials = {}, .total = {}};
    const Kv identity = b_.bits(a.type, combine_identity(a.inst.combine, a.type), n);
    a.var = b_.var(identity);
    if (p.order == Order::chain) a.total = b_.var(identity);
    else if (!p.one_block) a.partials = b_.local(a.type, 64 * lanes());
    if (p.order == Order::tree32 && !in_row) {
      a.lanes32 = b_.local(a.type, 32 * n);
      clear32(a);
    }
    p.accs.push_back(a);
  }
}

// The 32 partial results of a block in memory, when the vector is another axis.
void CpuLowering::clear32(Acc& a) {
  const int n = lanes();
  const Kv l = b_.begin_for(b_.index(0), b_.index(32), b_.index(1));
  b_.local_store(a.lanes32, l * b_.index(n), b_.bits(a.type, combine_identity(a.inst.combine, a.type), n));
  b_.end();
}

Kv CpuLowering::element(const Acc& a) {
  const Kv v = body_.value(a.inst.operand[0]);
  return is_reduced_float(v.dtype()) ? b_.cast(v, a.type) : v;
}

void CpuLowering::accumulate(Acc& a) {
  const Kv old = b_.get(a.var);
  Kv now;
  const Inst& x = loop_.insts[a.inst.operand[0]];
  if (a.inst.order == Order::chain && x.op == Scalar::mul && is_float(x.dtype)) {
    const auto factor = [&](int n) {
      const Kv f = body_.value(x.operand[n]);
      return is_reduced_float(f.dtype()) ? b_.cast(f, DType::f32) : f;
    };
    const Kv f0 = factor(0), f1 = factor(1);
    now = fma(f0, f1, old);
  } else {
    now = b_.combine(a.inst.combine, old, element(a));
  }
  // Lanes past the end of a row keep what they have.
  if (body_.vector_axis() >= 0 && (a.inst.axes >> body_.vector_axis() & 1))
    if (Kv m = body_.guard_mask()) now = b_.select(m, now, old);
  b_.set(a.var, b_.splat(now, a.var.lanes()));
}

void CpuLowering::reset(Acc& a) {
  if (a.lanes32) return clear32(a);
  b_.set(a.var, b_.bits(a.type, combine_identity(a.inst.combine, a.type), a.var.lanes()));
}

// The value of the block that was accumulated last.
Kv CpuLowering::block_result(Acc& a) {
  const int n = lanes();
  if (a.lanes32) {
    for (int half = 16; half >= 1; half /= 2) {
      const Kv l = b_.begin_for(b_.index(0), b_.index(half), b_.index(1));
      const Kv x = b_.local_load(a.lanes32, l * b_.index(n), n);
      const Kv y = b_.local_load(a.lanes32, (l + b_.index(half)) * b_.index(n), n);
      b_.local_store(a.lanes32, l * b_.index(n), b_.combine(a.inst.combine, x, y));
      b_.end();
    }
    return b_.local_load(a.lanes32, b_.index(0), n);
  }
  const Kv v = b_.get(a.var);
  return v.lanes() == n ? v : b_.lane_fold(a.inst.combine, v);
}

void CpuLowering::push(Acc& a, Kv block) {
  const Kv r = block_result(a);
  if (a.inst.order != Order::chain) return b_.local_store(a.partials, block * b_.index(lanes()), r);
  // A chain adds its chunks as they come; the first is copied.
  const Kv total = b_.get(a.total);
  b_.set(a.total, b_.select(eq(block, b_.index(0)), r, b_.combine(a.inst.combine, total, r)));
}

// Neighbours first, in place: what was written holds fewer and fewer, and an odd last one moves along. Without any
// block the result is the identity.
Kv CpuLowering::fold_blocks(const Inst& i, Kv partials, Kv blocks) {
  const int n = lanes();
  const Kv zero = b_.index(0), width = b_.index(n), one = b_.index(1);
  b_.begin_if(eq(blocks, zero));
  b_.local_store(partials, zero, b_.bits(partials.dtype(), combine_identity(i.combine, partials.dtype()), n));
  b_.end();
  const Kv count = b_.var(blocks);
  b_.begin_for(zero, b_.index(6), one);  // at most 64 blocks
  const Kv now = b_.get(count), half = b_.op(Scalar::shr, now, one);
  const Kv k = b_.begin_for(zero, half, one);
  const Kv x = b_.local_load(partials, (k + k) * width, n), y = b_.local_load(partials, (k + k + one) * width, n);
  b_.local_store(partials, k * width, b_.combine(i.combine, x, y));
  b_.end();
  b_.begin_if(ne(now & one, zero));
  b_.local_store(partials, half * width, b_.local_load(partials, (now - one) * width, n));
  b_.end();
  b_.set(count, half + (now & one));
  b_.end();
  return b_.local_load(partials, zero, n);
}

// Defines the result; blocks were pushed unless there was but one, which is still in the variable.
void CpuLowering::finish(Pass& p) {
  for (Acc& a : p.accs) {
    Kv r;
    if (p.one_block) r = block_result(a);
    else if (p.order == Order::chain) r = b_.get(a.total);
    else r = fold_blocks(a.inst, a.partials, b_.dim(p.blocks()));
    body_.define(a.id, b_.cast(r, a.inst.dtype));
  }
}

// One point: deeper reductions first, then the accumulators and the stores.
void CpuLowering::point(Pass& p) {
  Values wanted;
  for (const Acc& a : p.accs) wanted.push_back(a.inst.operand[0]);
  load_cached(p);
  scope(p.stores, wanted);
  store_cached(p);
  for (Acc& a : p.accs) accumulate(a);
}

// --- reductions over blocks of several kernels

// One block of a group of reductions, into the temporaries: [block][outer axes, row-major].
void CpuLowering::partial_block(Kv block) {
  Pass p{.axes = loop_.insts[split_.group[0]].axes, .reduces = split_.group};
  const bool row = body_.vector_axis() < 0 && loop_.insts[p.reduces[0]].order == Order::tree32;
  prepare(p, row);
  if (row) row_pass(p, block);
  else serial_pass(p, block);
  for (Acc& a : p.accs) {
    const SplitReductions::Known& k = *split_.find(a.id);
    const uint32_t buffer = b_.buffer(k.temp, a.type, true);
    const Kv r = block_result(a), at = temp_place(k, block);
    if (lanes() == 1) { b_.store(buffer, at, r); continue; }
    if (body_.guard().count) b_.store_partial(buffer, at, b_.splat(r, lanes()), body_.guard().count);
    else b_.store(buffer, at, b_.splat(r, lanes()));
  }
}

Kv CpuLowering::temp_place(const SplitReductions::Known& k, Kv block) {
  Kv at = block;
  const AxisMask axes = loop_.depends[k.reduce];
  const auto step = [&](int a) { at = at * b_.dim(extent(a)) + body_.position(a); };
  for (AxisMask m = axes; m; m &= m - 1)
    if (std::countr_zero(m) != k.last_axis) step(std::countr_zero(m));
  if (k.last_axis >= 0) step(k.last_axis);
  return at;
}

void CpuLowering::define_known() {
  for (const auto& k : split_.known)
    if (split_.is_known(k.reduce) && !body_.is_defined(k.reduce) && !(loop_.depends[k.reduce] & ~body_.bound()))
      from_blocks(k.reduce);
}

// The result of a reduction whose blocks an earlier kernel left in a temporary.
void CpuLowering::from_blocks(ValueId r) {
  const Inst& i = loop_.insts[r];
  const DType d = compute_dtype(i.dtype);
  const Dim points = points_of(i.axes), blocks = ceildiv(points, tree_block(points, order_lanes(i.order)));
  const SplitReductions::Known& known = *split_.find(r);
  const uint32_t buffer = b_.buffer(known.temp, d, false);
  const AxisMask axes = loop_.depends[r];
  const bool wide = body_.vector_axis() >= 0 && (axes >> body_.vector_axis() & 1);
  const int n = lanes();
  const Kv partials = b_.local(d, 64 * n);
  const Kv k = b_.begin_for(b_.index(0), b_.dim(blocks), b_.index(1));
  const Kv at = temp_place(known, k);
  Kv x;
  if (!wide) {
    x = b_.load(buffer, at, 1);
  } else if (body_.vector_axis() == known.last_axis) {
    x = body_.guard().count ? b_.load_partial(buffer, at, body_.guard().count, n) : b_.load(buffer, at, n);
  } else {
    Dim step = 1;  // of the vector axis among the axes that follow it
    for (AxisMask m = axes; m; m &= m - 1) {
      const int a = std::countr_zero(m);
      if (a == known.last_axis || (a > body_.vector_axis())) step = step * extent(a);
    }
    const Kv places = at + b_.iota(n) * b_.dim(step);
    x = b_.load_gather(buffer, b_.splat(places, n), body_.guard_mask());
  }
  b_.local_store(partials, k * b_.index(n), b_.splat(x, n));
  b_.end();
  Kv result = fold_blocks(i, partials, b_.dim(blocks));
  if (!wide && n > 1) result = b_.extract(result, 0);
  body_.define(r, b_.cast(result, i.dtype));
}

}  // namespace phlox

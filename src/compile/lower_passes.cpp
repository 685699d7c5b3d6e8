// Passes: the loops over inner axes that accumulate reductions in the order that their meaning fixes.
#include <algorithm>
#include <bit>

#include "base/error.h"
#include "compile/lower_cpu.h"

namespace phlox {

// tree32 with the vector along the last reduced axis: 32 lanes hold the 32 partial results of a block. Rows that do not
// start at a multiple of 32 points are walked at shifted positions, so that every point meets its lane.
void CpuLowering::row_pass(const Pass& p) {
  const int axis = 63 - std::countl_zero(p.axes);
  const Kv length = b_.dim(extent(axis)), zero = b_.index(0), one = b_.index(1), width = b_.index(32);
  const Dim points = points_of(p.axes), block = tree_block(points, 32);
  const bool one_block = points.is_const() && points.value() <= block.value();
  const AxisMask leading = p.axes & ~(AxisMask(1) << axis);
  const bool aligned = !leading || (extent(axis).is_const() && extent(axis).value() % 32 == 0);

  std::vector<Acc> accs;
  for (ValueId r : p.reduces) {
    Acc a = start(r);
    a.var = b_.var(b_.bits(a.type, combine_identity(a.inst.combine, a.type), 32));
    if (!one_block) a.partials = b_.local(a.type, 64);
    accs.push_back(a);
  }
  const auto piece = [&](Kv at, BodyLowering::Guard guard) {
    body_.open();
    body_.bind_vector(axis, at, 32, guard);
    point(p, accs);
    body_.close();
  };
  // Positions [from, to) of a row, whose first point has lane `shift`.
  const auto segment = [&](Kv from, Kv to, Kv shift) {
    Kv start_at = from;
    if (shift) {
      const Kv lanes = b_.iota(32), head_to = b_.op(Scalar::min, width, shift + (to - from));
      b_.begin_if(lt(zero, shift));
      piece(from - shift, {.count = {}, .mask = le(shift, lanes) & lt(lanes, head_to)});
      b_.end();
      start_at = from + b_.select(lt(zero, shift), width - shift, zero);
    }
    const Kv n = to - start_at;
    const KInst count = b_.inst(n);
    const bool known = count.op == KOp::constant;
    const Kv main_to = start_at + (n & b_.index(-32));
    if (!known || count.imm >= 32) {
      const Kv at = b_.begin_for(start_at, main_to, width);
      piece(at, {});
      b_.end();
    }
    if (known && count.imm % 32 == 0) return;
    if (!known) b_.begin_if(lt(main_to, to));
    piece(main_to, {.count = to - main_to, .mask = {}});
    if (!known) b_.end();
  };

  if (!leading) {
    if (one_block) {
      segment(zero, length, {});
      for (Acc& a : accs) finish(a, {}, true);
      return;
    }
    const Kv size = b_.dim(block), blocks = b_.dim(ceildiv(points, block));
    const Kv n = b_.begin_for(zero, blocks, one);
    body_.open();
    for (Acc& a : accs) reset(a);
    const Kv from = n * size;
    segment(from, b_.op(Scalar::min, from + size, length), {});
    for (Acc& a : accs) push(a, n);
    body_.close();
    b_.end();
    // No point at all: the identity, where the fold would read a block that does not exist.
    for (Acc& a : accs) b_.begin_if(eq(blocks, zero)), b_.local_store(a.partials, zero, b_.bits(a.type, combine_identity(a.inst.combine, a.type))), b_.end();
    for (Acc& a : accs) finish(a, blocks, false);
    return;
  }

  // Several axes: `done` counts points row-major; a row is cut where a block ends.
  const Kv size = b_.dim(block), total = b_.dim(points), done = b_.var(zero);
  SmallVector<int, 6> loops;
  for (AxisMask m = leading; m; m &= m - 1) loops.push_back(std::countr_zero(m));
  const auto row = [&] {
    const Kv first = b_.get(done);
    if (one_block) {
      segment(zero, length, aligned ? Kv{} : first & b_.index(31));
    } else {
      const Kv last = first + length - one, one_past = b_.op(Scalar::div, last, size) + one;
      const Kv n = b_.begin_for(b_.op(Scalar::div, first, size), one_past, one);
      body_.open();
      const Kv from = b_.op(Scalar::max, n * size - first, zero), end = n * size + size;
      const Kv to = b_.op(Scalar::min, end - first, length);
      segment(from, to, aligned ? Kv{} : (first + from) & b_.index(31));
      b_.begin_if(eq(b_.op(Scalar::min, end, total), first + to));
      for (Acc& a : accs) push(a, n), reset(a);
      b_.end();
      body_.close();
      b_.end();
    }
    b_.set(done, first + length);
  };
  const auto walk = [&](auto& self, size_t n) -> void {
    if (n == loops.size()) return row();
    serial_loop(loops[n], zero, b_.dim(extent(loops[n])), [&](Kv) { self(self, n + 1); });
  };
  walk(walk, 0);
  const Kv blocks = b_.dim(ceildiv(points, block));
  if (!one_block)
    for (Acc& a : accs) b_.begin_if(eq(blocks, zero)), b_.local_store(a.partials, zero, b_.bits(a.type, combine_identity(a.inst.combine, a.type))), b_.end();
  for (Acc& a : accs) finish(a, blocks, one_block);
}

// One point after the other; where an outer axis is the vector, its lanes do so side by side.
void CpuLowering::serial_pass(const Pass& p, const Values& scans) {
  const int n = lanes();
  const Kv zero = b_.index(0), one = b_.index(1);
  const bool reducing = !p.reduces.empty();
  const Order order = reducing ? loop_.insts[p.reduces[0]].order : Order::tree1;
  const int tree_lanes = order_lanes(order);
  const Dim points = points_of(p.axes);
  const Dim block = order == Order::chain ? Dim(chain_chunk) : tree_block(points, tree_lanes);
  const bool one_block = !reducing || (points.is_const() && points.value() <= block.value());
  const Kv blocks = b_.dim(ceildiv(points, block)), size = b_.dim(block);

  std::vector<Acc> accs;
  for (ValueId r : p.reduces) {
    Acc a = start(r);
    const Kv identity = b_.bits(a.type, combine_identity(a.inst.combine, a.type), n);
    a.var = b_.var(identity);
    if (order == Order::chain) a.total = b_.var(identity);
    else if (!one_block) a.partials = b_.local(a.type, 64 * n);
    if (tree_lanes == 32) a.lanes32 = b_.local(a.type, 32 * n);
    accs.push_back(a);
  }
  // The 32 partial results of a block in memory, when the vector is another axis.
  const auto clear32 = [&] {
    if (tree_lanes != 32) return;
    const Kv l = b_.begin_for(zero, b_.index(32), one);
    for (Acc& a : accs) b_.local_store(a.lanes32, l * b_.index(n), b_.bits(a.type, combine_identity(a.inst.combine, a.type), n));
    b_.end();
  };
  const auto fold32 = [&](Acc& a) {
    if (tree_lanes != 32) return;
    for (int half = 16; half >= 1; half /= 2) {
      const Kv l = b_.begin_for(zero, b_.index(half), one);
      const Kv x = b_.local_load(a.lanes32, l * b_.index(n), n);
      const Kv y = b_.local_load(a.lanes32, (l + b_.index(half)) * b_.index(n), n);
      b_.local_store(a.lanes32, l * b_.index(n), b_.combine(a.inst.combine, x, y));
      b_.end();
    }
    b_.set(a.var, b_.local_load(a.lanes32, zero, n));
  };
  // Scans run along one axis, innermost; their running values start where it starts.
  AxisMask scanned = 0;
  for (ValueId s : scans) scanned |= loop_.insts[s].axes;
  PHLOX_CHECK((scanned & (scanned - 1)) == 0, "scans along two axes meet in one pass");
  SmallVector<int, 6> loops;
  for (AxisMask m = p.axes & ~scanned; m; m &= m - 1) loops.push_back(std::countr_zero(m));
  if (scanned) {
    const int s = std::countr_zero(scanned);
    PHLOX_CHECK(!reducing || p.axes == scanned || s > loops.back(), "a reduction in another order than its scan");
    loops.push_back(s);
  }
  std::vector<Kv> scan_vars;
  const auto begin_scans = [&] {
    scan_vars.clear();
    for (ValueId s : scans) {
      const Inst& i = loop_.insts[s];
      const DType d = compute_dtype(i.dtype);
      scan_vars.push_back(b_.var(b_.bits(d, combine_identity(i.combine, d), n)));
    }
  };
  const auto leaf = [&](Kv place) {
    for (size_t k = 0; k < scans.size(); ++k) {
      const Inst& i = loop_.insts[scans[k]];
      scope({}, {i.operand[0]});
      const Kv x = b_.cast(body_.value(i.operand[0]), scan_vars[k].dtype());
      const Kv now = b_.splat(b_.combine(i.combine, b_.get(scan_vars[k]), x), n);
      b_.set(scan_vars[k], now);
      body_.define(scans[k], b_.cast(now, i.dtype));
    }
    if (tree_lanes != 32 || !reducing) return point(p, accs);
    const Kv at = (place & b_.index(31)) * b_.index(n);
    for (Acc& a : accs) b_.set(a.var, b_.local_load(a.lanes32, at, n));
    point(p, accs);
    for (Acc& a : accs) b_.local_store(a.lanes32, at, b_.get(a.var));
  };
  clear32();
  if (loops.size() == 1 && !one_block && !scanned) {
    const int axis = loops[0];
    const Kv k = b_.begin_for(zero, blocks, one);
    body_.open();
    const Kv from = k * size;
    for (Acc& a : accs) reset(a);
    serial_loop(axis, from, b_.op(Scalar::min, from + size, b_.dim(extent(axis))), [&](Kv at) { leaf(at); });
    for (Acc& a : accs) fold32(a), push(a, k);
    clear32();
    body_.close();
    b_.end();
  } else {
    const Kv done = reducing ? b_.var(zero) : Kv{}, block_at = one_block ? Kv{} : b_.var(zero);
    const auto counted = [&](Kv) {
      const Kv at = reducing ? b_.get(done) : Kv{};
      leaf(at);
      if (!reducing) return;
      b_.set(done, at + one);
      if (one_block) return;
      const Kv k = b_.get(block_at);
      b_.begin_if(eq(at + one, b_.op(Scalar::min, (k + one) * size, b_.dim(points))));
      for (Acc& a : accs) fold32(a), push(a, k), reset(a);
      clear32();
      b_.set(block_at, k + one);
      b_.end();
    };
    const auto walk = [&](auto& self, size_t at) -> void {
      if (at + 1 >= loops.size()) {
        begin_scans();
        if (loops.empty()) return counted({});
        return serial_loop(loops[at], zero, b_.dim(extent(loops[at])), counted);
      }
      serial_loop(loops[at], zero, b_.dim(extent(loops[at])), [&](Kv) { self(self, at + 1); });
    };
    walk(walk, 0);
    if (one_block)
      for (Acc& a : accs) fold32(a);
  }
  if (!one_block && order != Order::chain)
    for (Acc& a : accs) b_.begin_if(eq(blocks, zero)), b_.local_store(a.partials, zero, b_.bits(a.type, combine_identity(a.inst.combine, a.type), n)), b_.end();
  for (Acc& a : accs) finish(a, blocks, one_block);
}

}  // namespace phlox

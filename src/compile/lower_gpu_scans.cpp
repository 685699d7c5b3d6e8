// Scans that the threads of a GPU share: every element is read once and written once. Threads scan what they hold, then
// learn what those before them add up to: lanes of a warp by shuffles, warps or slices of a block and blocks of a cluster
// through shared memory. What is left is carried to the next stretch. The order of all combinations depends on the plan.
#include <algorithm>
#include <bit>

#include "base/error.h"
#include "compile/lower_gpu.h"

namespace phlox {

// A value of `lanes` lanes from one value for each.
static Kv from_lanes(KernelBuilder& b, const std::vector<Kv>& x) {
  const int lanes = int(x.size());
  Kv all = b.splat(x[0], lanes);
  for (int l = 1; l < lanes; ++l) all = b.select(eq(b.iota(lanes), b.index(l)), b.splat(x[size_t(l)], lanes), all);
  return all;
}

std::vector<GpuLowering::Acc> GpuLowering::scans() {
  std::vector<Acc> out;
  const std::vector<char> live = live_values(loop_);
  for (ValueId v = 0; v < loop_.insts.size(); ++v) {
    if (!live[v] || loop_.insts[v].op != Scalar::scan) continue;
    Acc a{v, loop_.insts[v], compute_dtype(loop_.insts[v].dtype), {}};
    out.push_back(a);
  }
  return out;
}
Kv GpuLowering::identity(const Acc& a, int lanes) { return b_.bits(a.type, combine_identity(a.inst.combine, a.type), lanes); }

// What the threads `before` this one in an array of `count` partial results come to, and what all come to.
template <class F>
std::pair<Kv, Kv> GpuLowering::before_and_all(const Acc& a, int count, Kv mine, const F& partial) {
  Kv before, all;
  for (int n = 0; n < count; ++n) {
    const Kv x = partial(n);
    before = n == 0 ? identity(a, 1) : b_.select(lt(mine, b_.index(n)), before, all);
    all = n == 0 ? x : b_.combine(a.inst.combine, all, x);
  }
  return {before, all};
}

// Along the contiguous axis: a group of threads takes a row, a stretch of group x lanes elements at a time.
void GpuLowering::scan_row(int lanes, int) {
  b_.begin_if(lt(b_.index(0), length(plan_.vector_axis)));
  body_.open();
  const int axis = plan_.vector_axis, warps = std::min(plan_.group, plan_.threads) / 32;
  std::vector<Acc> all = scans();
  const Kv n = length(axis), lane = part_ & b_.index(31), warp = b_.op(Scalar::shr, part_, b_.index(5));
  std::vector<Kv> arrays;
  for (Acc& a : all) {
    a.var = b_.var(identity(a, 1));
    if (warps > 1) arrays.push_back(b_.local(a.type, 2 * warps, Space::shared));
  }
  // The elements of the next stretch are read before those of this one are worked on.
  std::vector<ValueId> loads;
  const std::vector<char> live = live_values(loop_);
  for (ValueId v = 0; v < loop_.insts.size(); ++v)
    if (live[v] && loop_.insts[v].op == Scalar::load && (loop_.depends[v] >> axis & 1)) loads.push_back(v);
  const Kv step = b_.index(int64_t(lanes) * plan_.group), mine = part_ * b_.index(lanes), end = n - b_.index(lanes);
  const auto read = [&](Kv at) {
    std::vector<Kv> x;
    body_.open();
    body_.bind_vector(axis, b_.op(Scalar::min, at + mine, end), lanes);
    for (ValueId v : loads) x.push_back(b_.splat(body_.value(v), lanes));
    body_.close();
    return x;
  };
  std::vector<Kv> ahead;
  for (Kv x : read(b_.index(0))) ahead.push_back(b_.var(x));
  const Kv at = b_.begin_for(b_.index(0), n, step);
  body_.open();
  std::vector<Kv> now;
  for (Kv v : ahead) now.push_back(b_.get(v));
  const std::vector<Kv> next = read(at + step);
  for (size_t i = 0; i < ahead.size(); ++i) b_.set(ahead[i], next[i]);
  const Kv position = at + mine, inside = lt(position, n);
  body_.open();
  body_.bind_vector(axis, b_.op(Scalar::min, position, end), lanes);
  for (size_t i = 0; i < loads.size(); ++i) body_.define(loads[i], now[i]);
  const Kv odd = warps > 1 ? (b_.op(Scalar::div, at, step) & b_.index(1)) * b_.index(warps) : Kv{};
  for (size_t k = 0; k < all.size(); ++k) {
    const Acc& a = all[k];
    const auto with = [&](Kv x, Kv y) { return b_.combine(a.inst.combine, x, y); };
    const Kv x = b_.select(b_.splat(inside, lanes), b_.cast(b_.splat(body_.value(a.inst.operand[0]), lanes), a.type), identity(a, lanes));
    std::vector<Kv> own;
    for (int l = 0; l < lanes; ++l) own.push_back(l == 0 ? b_.extract(x, 0) : with(own.back(), b_.extract(x, l)));
    Kv up = own.back();
    for (int d = 1; d < 32; d *= 2) up = b_.select(le(b_.index(d), lane), with(b_.shuffle(KOp::shuffle_up, up, d), up), up);
    Kv before = b_.select(lt(b_.index(0), lane), b_.shuffle(KOp::shuffle_up, up, 1), identity(a, 1));
    Kv sum = b_.shuffle(KOp::shuffle_lane, up, 31);
    if (warps > 1) {
      b_.begin_if(eq(lane, b_.index(0)));
      b_.local_store(arrays[k], odd + warp, sum);
      b_.end();
      b_.barrier();
      const auto [others, whole] = before_and_all(a, warps, warp, [&](int w) { return b_.local_load(arrays[k], odd + b_.index(w), 1); });
      before = with(others, before);
      sum = whole;
    }
    const Kv carried = b_.get(a.var), base = with(carried, before);
    b_.set(a.var, with(carried, sum));
    for (Kv& o : own) o = with(base, o);
    body_.define(a.id, b_.cast(from_lanes(b_, own), a.inst.dtype));
  }
  b_.begin_if(inside);
  body_.open();
  emit_stores(all_);
  body_.close();
  b_.end();
  body_.close();
  body_.close();
  b_.end();
  body_.close();
  b_.end();
}

// Along another axis: a block has slices of threads at the same columns, each with `unroll` rows of a stretch. What the
// slices before come to is worked out by one thread for each column of elements.
void GpuLowering::scan_columns(int lanes) {
  const int axis = plan_.scan_axis, columns = plan_.threads / plan_.slices, rows = plan_.unroll, blocks = plan_.cluster;
  const int width = columns * lanes, turns = (width + plan_.threads - 1) / plan_.threads;
  const Kv n = length(axis), thread = b_.thread_id(), column = thread & b_.index(columns - 1);
  std::vector<Acc> all = scans();
  struct Shared { Kv parts, sums, bases; std::vector<Kv> carried; };
  std::vector<Shared> shared;
  for (const Acc& a : all) {
    Shared s{b_.local(a.type, int64_t(plan_.slices) * width, Space::shared), b_.local(a.type, int64_t(2) * width, Space::shared),
             b_.local(a.type, width, Space::shared), {}};
    for (int i = 0; i < turns; ++i) s.carried.push_back(b_.var(identity(a, 1)));
    shared.push_back(s);
  }
  const Kv rank = blocks > 1 ? b_.item_begin() & b_.index(blocks - 1) : b_.index(0), step = b_.index(int64_t(plan_.slices) * rows * blocks);
  const Kv at = b_.begin_for(b_.index(0), n, step);
  body_.open();
  const Kv first = at + (rank * b_.index(plan_.slices) + part_) * b_.index(rows);
  const auto row = [&](int i) { return b_.op(Scalar::min, first + b_.index(i), n - b_.index(1)); };
  const Kv odd = (b_.op(Scalar::div, at, step) & b_.index(1)) * b_.index(width);
  // [lane][slice][column]: neighbouring threads meet neighbouring banks.
  const auto place = [&](Kv lane, Kv slice, Kv c) { return (lane * b_.index(plan_.slices) + slice) * b_.index(columns) + c; };
  const auto each_turn = [&](const auto& body) {
    for (int i = 0; i < turns; ++i) {
      const Kv item = thread + b_.index(int64_t(i) * plan_.threads);
      if ((i + 1) * plan_.threads > width) b_.begin_if(lt(item, b_.index(width)));
      body(i, item);
      if ((i + 1) * plan_.threads > width) b_.end();
    }
  };
  std::vector<std::vector<Kv>> results(all.size());
  for (size_t k = 0; k < all.size(); ++k) {
    const Acc& a = all[k];
    const Shared& s = shared[k];
    const auto with = [&](Kv x, Kv y) { return b_.combine(a.inst.combine, x, y); };
    std::vector<Kv> x;
    for (int i = 0; i < rows; ++i) {
      body_.open();
      body_.bind(axis, row(i));
      for (size_t j = 0; j < k; ++j) body_.define(all[j].id, results[j][size_t(i)]);
      x.push_back(b_.splat(body_.value(a.inst.operand[0]), lanes));
      body_.close();
    }
    for (int i = 0; i < rows; ++i) {
      x[size_t(i)] = b_.select(b_.splat(lt(first + b_.index(i), n), lanes), b_.cast(x[size_t(i)], a.type), identity(a, lanes));
      if (i) x[size_t(i)] = with(x[size_t(i - 1)], x[size_t(i)]);
    }
    b_.barrier();  // the stretch before may still be read
    for (int l = 0; l < lanes; ++l) b_.local_store(s.parts, place(b_.index(l), part_, column), b_.extract(x.back(), l));
    b_.barrier();
    each_turn([&](int, Kv item) {
      const Kv lane = b_.op(Scalar::shr, item, b_.index(std::countr_zero(unsigned(columns)))), c = item & b_.index(columns - 1);
      Kv so_far = identity(a, 1);
      for (int i = 0; i < plan_.slices; ++i) {
        const Kv there = place(lane, b_.index(i), c), y = b_.local_load(s.parts, there, 1);
        b_.local_store(s.parts, there, so_far);
        so_far = with(so_far, y);
      }
      b_.local_store(s.sums, odd + item, so_far);
    });
    if (blocks > 1) b_.barrier(3);
    each_turn([&](int i, Kv item) {
      const auto [before, sum] = before_and_all(a, blocks, rank, [&](int c) {
        return blocks > 1 ? b_.local_load(s.sums, odd + item, 1, b_.index(c)) : b_.local_load(s.sums, odd + item, 1);
      });
      const Kv carried = b_.get(s.carried[size_t(i)]);
      b_.local_store(s.bases, item, with(carried, before));
      b_.set(s.carried[size_t(i)], with(carried, sum));
    });
    b_.barrier();
    std::vector<Kv> base;
    for (int l = 0; l < lanes; ++l)
      base.push_back(with(b_.local_load(s.bases, b_.index(int64_t(l) * columns) + column, 1),
                          b_.local_load(s.parts, place(b_.index(l), part_, column), 1)));
    const Kv bases = from_lanes(b_, base);
    for (Kv v : x) results[k].push_back(b_.cast(with(bases, v), a.inst.dtype));
  }
  for (int i = 0; i < rows; ++i) {
    b_.begin_if(lt(first + b_.index(i), n));
    body_.open();
    body_.bind(axis, row(i));
    for (size_t k = 0; k < all.size(); ++k) body_.define(all[k].id, results[k][size_t(i)]);
    emit_stores(all_);
    body_.close();
    b_.end();
  }
  body_.close();
  b_.end();
  if (blocks > 1) b_.barrier(3);  // others may still read this block's memory
}

void GpuLowering::run_scans() {
  const bool rows = plan_.scan_axis == plan_.vector_axis;
  const Kv thread = b_.thread_id(), item = b_.item_begin();
  if (rows) return run_rows(&GpuLowering::scan_row);
  const int axis = plan_.vector_axis, columns = plan_.threads / plan_.slices;
  SmallVector<int, 6> axes;
  for (AxisMask m = plan_.outer & ~bit(axis); m; m &= m - 1) axes.push_back(std::countr_zero(m));
  Dim rest = 1;
  for (int a : axes) rest = rest * extent(a);
  b_.kernel().cluster = uint32_t(plan_.cluster);
  const Kv tile = plan_.cluster > 1 ? b_.op(Scalar::shr, item, b_.index(std::countr_zero(unsigned(plan_.cluster)))) : item;
  const Kv n = length(axis), column = thread & b_.index(columns - 1);
  part_ = b_.op(Scalar::shr, thread, b_.index(std::countr_zero(unsigned(columns))));
  // Narrow accesses take as many blocks as wide ones, and more turns of each.
  const int64_t wide = int64_t(columns) * plan_.lanes;
  const Dim tiles = ceildiv(extent(axis), wide);
  b_.kernel().items = rest * tiles * plan_.cluster;
  body_.open();
  Kv from = tile;
  if (!axes.empty()) {
    const Kv count = b_.dim(tiles), at = b_.op(Scalar::div, tile, count);
    from = tile - at * count;
    place(at, axes);
  }
  from = from * b_.index(wide);
  const auto at_columns = [&](Kv first, int lanes) {
    body_.open();
    // Beyond the end threads repeat the last columns, since all meet at barriers: the same values go to the same places.
    body_.bind_vector(axis, b_.op(Scalar::min, first, n - b_.index(lanes)), lanes);
    scan_columns(lanes);
    body_.close();
  };
  const auto by_vector = [&] { at_columns(from + column * b_.index(plan_.lanes), plan_.lanes); };
  const auto by_one = [&] {
    const Kv e = b_.begin_for(b_.index(0), b_.index(plan_.lanes), b_.index(1));
    body_.open();
    at_columns(from + e * b_.index(columns) + column, 1);
    body_.close();
    b_.end();
  };
  by_alignment(plan_.lanes > 1 ? aligned(n) : Kv{}, by_vector, by_one);
  body_.close();
}

}  // namespace phlox

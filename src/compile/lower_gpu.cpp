#include "compile/lower_gpu.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace phlox {

// f32 values that are only scaled or added to others, or are powers of e that are only added up, before they are rounded to
// 16 bits. Subtraction is not among these: it may cancel all but the error.
static std::vector<char> narrow_values(const Loop& loop) {
  std::vector<char> narrow(loop.insts.size(), 1);
  const auto wide = [&](ValueId v) { if (v != no_value) narrow[v] = 0; };
  for (const Store& s : loop.stores) {
    if (!is_reduced_float(loop.insts[s.value].dtype)) wide(s.value);
    wide(s.predicate);
  }
  for (size_t v = loop.insts.size(); v-- > 0;) {
    const Inst& i = loop.insts[v];
    const bool keeps = narrow[v] && (i.op == Scalar::mul || i.op == Scalar::neg || i.op == Scalar::div || i.op == Scalar::add ||
                                     (i.op == Scalar::reduce && i.combine == Combine::add && loop.insts[i.operand[0]].op == Scalar::exp));
    if (keeps || (i.op == Scalar::cast && is_reduced_float(i.dtype))) continue;
    for (int n = 0; n < i.operand_count; ++n) wide(i.operand[n]);
  }
  for (size_t v = 0; v < narrow.size(); ++v) narrow[v] &= loop.insts[v].dtype == DType::f32;
  return narrow;
}

GpuLowering::GpuLowering(const Loop& loop, const GpuPlan& plan, const GpuSplit& split, bool early)
    : loop_(loop), plan_(plan), split_(split), body_(b_, loop) {
  b_.kernel().threads = uint32_t(plan.threads);
  if (early) {
    b_.kernel().early = true;
    b_.add({.op = KOp::barrier, .imm = 2});
  }
  for (const Store& s : loop.stores) all_.push_back(&s);
  body_.access_by_lane(plan.by_lane);
  body_.use_short_functions(narrow_values(loop));
}

Kernel GpuLowering::run() {
  if (plan_.scan_axis >= 0) run_scans();
  else if (plan_.rows) run_rows(&GpuLowering::row);
  else if (plan_.linear) run_linear();
  else run_tiles();
  return b_.finish();
}

// --- where a thread stands

// Row-major; the last axis varies fastest.
void GpuLowering::place(Kv at, const SmallVector<int, 6>& axes) {
  Kv rest = at;
  for (size_t n = axes.size(); n-- > 0;) {
    if (n == 0) { body_.bind(axes[0], rest); break; }
    const Kv e = length(axes[n]), q = b_.op(Scalar::div, rest, e);
    body_.bind(axes[n], rest - q * e);
    rest = q;
  }
}

static SmallVector<int, 6> list_of(AxisMask axes) {
  SmallVector<int, 6> r;
  for (AxisMask m = axes; m; m &= m - 1) r.push_back(std::countr_zero(m));
  return r;
}

// A uniform question: are the pointers and the steps between rows multiples of 16 bytes, and `length` of the lanes.
Kv GpuLowering::aligned(Kv length) {
  Kv bits;
  const auto add = [&](Kv x) { bits = bits ? bits | x : x; };
  for (uint32_t p : plan_.aligned_params) {
    const uint32_t k = body_.buffer(p, false);
    add(b_.pointer_bits(k));
  }
  for (Dim d : plan_.multiples) add(b_.dim(d));
  Kv ok = bits ? eq(bits & b_.index(15), b_.index(0)) : Kv{};
  if (length && b_.inst(length).op != KOp::constant) {
    const Kv whole = eq(length & b_.index(plan_.lanes - 1), b_.index(0));
    ok = ok ? ok & whole : whole;
  } else if (length && b_.inst(length).imm % plan_.lanes) {
    ok = b_.constant_int(DType::boolean, 0);
  }
  return ok;
}

void GpuLowering::row(int lanes, int resident) {
  body_.open();
  lanes_ = lanes;
  resident_ = resident;
  kept_.clear();
  scope(all_, {}, true);
  body_.close();
}

void GpuLowering::run_rows(void (GpuLowering::*variant)(int lanes, int resident)) {
  const SmallVector<int, 6> axes = list_of(plan_.outer);
  Dim rows = 1;
  for (int a : axes) rows = rows * extent(a);
  const int per_block = std::max(1, plan_.threads / plan_.group);
  b_.kernel().items = per_block == 1 ? rows * plan_.cluster : ceildiv(rows, per_block);
  b_.kernel().cluster = uint32_t(plan_.cluster);
  const Kv thread = b_.thread_id(), item = b_.item_begin();
  part_ = thread;
  parts_ = b_.index(plan_.group);
  Kv row = item;
  if (plan_.cluster > 1) {
    row = b_.op(Scalar::shr, item, b_.index(std::countr_zero(unsigned(plan_.cluster))));
    part_ = (item & b_.index(plan_.cluster - 1)) * b_.index(plan_.threads) + thread;
  }
  const bool leaves = per_block > 1 && plan_.group == 32;
  if (per_block > 1) {  // a warp, or a part of one, a row; it leaves as a whole
    row = item * b_.index(per_block) + b_.op(Scalar::shr, thread, b_.index(std::countr_zero(unsigned(plan_.group))));
    part_ = thread & b_.index(plan_.group - 1);
    const Kv exists = lt(row, b_.dim(rows));
    if (leaves) {
      b_.begin_if(exists);
    } else {
      valid_ = exists;
      row = b_.op(Scalar::min, row, b_.dim(rows) - b_.index(1));
    }
  }
  body_.open();
  place(row, axes);
  const Kv n = length(plan_.vector_axis);
  Kv fast = plan_.lanes > 1 ? aligned(n) : Kv{};
  if (plan_.resident) {
    const Kv fits = le(n, b_.index(int64_t(plan_.resident) * plan_.lanes * plan_.group));
    fast = fast ? fast & fits : fits;
  }
  if (!fast || (b_.inst(fast).op == KOp::constant && b_.inst(fast).imm)) {
    (this->*variant)(plan_.lanes, plan_.resident);
  } else if (b_.inst(fast).op == KOp::constant) {
    (this->*variant)(1, 0);
  } else {
    b_.begin_if(fast);
    (this->*variant)(plan_.lanes, plan_.resident);
    b_.begin_else();
    (this->*variant)(1, 0);
    b_.end();
  }
  body_.close();
  if (plan_.cluster > 1) b_.barrier(3);  // others may still read this block's memory
  if (leaves) b_.end();
  valid_ = {};
}

// Blocks of points of all outer axes, for loops whose vector axis is short.
void GpuLowering::run_linear() {
  const SmallVector<int, 6> axes = list_of(plan_.outer & ~(plan_.vector_axis < 0 ? 0 : bit(plan_.vector_axis)));
  Dim rest = 1;
  for (int a : axes) rest = rest * extent(a);
  const Dim wide = plan_.vector_axis < 0 ? Dim(1) : extent(plan_.vector_axis);
  const int v = plan_.lanes;
  b_.kernel().items = ceildiv(rest * wide, int64_t(plan_.threads) * v);
  const Kv thread = b_.thread_id(), first = b_.item_begin() * b_.index(plan_.threads);
  const auto at = [&](Kv q, Kv columns, int lanes, Kv total) {
    b_.begin_if(lt(q, total));
    body_.open();
    lanes_ = lanes;
    if (plan_.vector_axis >= 0) {
      const Kv row = axes.empty() ? b_.index(0) : b_.op(Scalar::div, q, columns);
      if (!axes.empty()) place(row, axes);
      body_.bind_vector(plan_.vector_axis, (axes.empty() ? q : q - row * columns) * b_.index(lanes), lanes);
    } else if (!axes.empty()) {
      place(q, axes);
    }
    scope(all_, {}, false);
    body_.close();
    b_.end();
  };
  const Kv columns = b_.dim(wide), total = b_.dim(rest * wide);
  const auto by_one = [&] {
    if (v == 1) return at(first + thread, columns, 1, total);
    const Kv e = b_.begin_for(b_.index(0), b_.index(v), b_.index(1));
    body_.open();
    at((first * b_.index(v)) + e * b_.index(plan_.threads) + thread, columns, 1, total);
    body_.close();
    b_.end();
  };
  const Kv fast = v > 1 ? aligned(columns) : Kv{};
  const auto by_vector = [&] {
    const Kv shift = b_.index(std::countr_zero(unsigned(v)));
    at(first + thread, b_.op(Scalar::shr, columns, shift), v, b_.op(Scalar::shr, total, shift));
  };
  if (v == 1) return by_one();
  by_alignment(fast, by_vector, by_one);
}

// A block takes a tile of the vector axis at one point of the other outer axes.
void GpuLowering::run_tiles() {
  const int axis = plan_.vector_axis, columns = plan_.threads / plan_.slices;
  const int64_t tile = int64_t(columns) * plan_.lanes * plan_.unroll;
  const SmallVector<int, 6> axes = list_of(plan_.outer & ~bit(axis));
  const Dim tiles = ceildiv(extent(axis), tile);
  Dim rest = 1;
  for (int a : axes) rest = rest * extent(a);
  b_.kernel().items = rest * tiles;
  const Kv item = b_.item_begin(), thread = b_.thread_id(), n = length(axis), size = b_.index(tile);
  Kv row, tile_at = item;
  if (!axes.empty()) {
    const Kv count = b_.dim(tiles);
    row = b_.op(Scalar::div, item, count);
    tile_at = item - row * count;
  }
  Kv column = thread;
  if (plan_.slices > 1) {
    column = thread & b_.index(columns - 1);
    part_ = b_.op(Scalar::shr, thread, b_.index(std::countr_zero(unsigned(columns))));
    parts_ = b_.index(plan_.slices);
  }
  body_.open();
  if (row) place(row, axes);
  const Kv from = tile_at * size;
  const auto whole = [&] {
    body_.open();
    lanes_ = plan_.lanes;
    const Kv first = from + column * b_.index(plan_.lanes);
    if (plan_.unroll > 1) {
      map_tile(first);
    } else {
      body_.bind_vector(axis, first, plan_.lanes);
      scope(all_, {}, plan_.slices > 1);
    }
    body_.close();
  };
  const auto by_one = [&] {
    lanes_ = 1;
    if (plan_.slices > 1) {  // every thread takes part in every step, since they meet at barriers
      const Kv e = b_.begin_for(b_.index(0), b_.index(tile / columns), b_.index(1));
      body_.open();
      const Kv at = from + e * b_.index(columns) + column;
      valid_ = lt(at, n);
      body_.bind(axis, b_.op(Scalar::min, at, n - b_.index(1)));
      scope(all_, {}, true);
      valid_ = {};
      body_.close();
      b_.end();
      return;
    }
    const Kv at = b_.begin_for(from + column, b_.op(Scalar::min, from + size, n), b_.index(columns));
    body_.open();
    body_.bind(axis, at);
    scope(all_, {}, false);
    body_.close();
    b_.end();
  };
  Kv fast = plan_.lanes > 1 ? aligned({}) : Kv{};
  const Kv inside = le(from + size, n);
  fast = fast ? fast & inside : inside;
  b_.begin_if(fast);
  whole();
  b_.begin_else();
  body_.open();
  by_one();
  body_.close();
  b_.end();
  body_.close();
}

// Several accesses of a thread: everything is read before anything is written, so that the reads are under way together.
void GpuLowering::map_tile(Kv first) {
  struct Point { Kv at; std::vector<Kv> values, predicates; };
  std::vector<Point> points;
  for (int u = 0; u < plan_.unroll; ++u) {
    Point p{first + b_.index(int64_t(u) * plan_.threads * plan_.lanes), {}, {}};
    body_.open();
    body_.bind_vector(plan_.vector_axis, p.at, plan_.lanes);
    for (const Store* s : all_) {
      p.values.push_back(body_.value(s->value));
      p.predicates.push_back(s->predicate == no_value ? Kv{} : body_.value(s->predicate));
    }
    body_.close();
    points.push_back(std::move(p));
  }
  for (const Point& p : points) {
    body_.open();
    body_.bind_vector(plan_.vector_axis, p.at, plan_.lanes);
    for (size_t n = 0; n < all_.size(); ++n) {
      body_.define(all_[n]->value, p.values[n]);
      if (p.predicates[n]) body_.define(all_[n]->predicate, p.predicates[n]);
    }
    for (const Store* s : all_) body_.store(*s);
    body_.close();
  }
}

// --- several kernels

namespace {

// The loop with some reductions replaced by what `make` says.
template <class F>
Loop rewritten(const Loop& loop, const F& make) {
  LoopCopy copy(loop);
  copy.to.axes = loop.axes;
  copy.to.params = loop.params;
  const std::vector<char> live = live_values(loop);
  for (ValueId v = 0; v < loop.insts.size(); ++v)
    if (live[v] && !make(copy, v)) copy.rename(v, copy.add(copy.with_renamed_operands(loop.insts[v])));
  for (Store s : loop.stores) {
    s.address = copy.renamed(s.address);
    s.value = copy.renamed(s.value);
    if (s.predicate != no_value) s.predicate = copy.renamed(s.predicate);
    copy.to.stores.push_back(s);
  }
  return without_dead_values(copy.to);  // what the replaced values alone needed
}

// The place of a point of these axes, row-major, after `leading` others.
ValueId place_of(LoopCopy& c, int leading, AxisMask axes) {
  Affine a{.ok = true};
  Dim step = 1;
  for (AxisMask m = axes; m;) {
    const int x = 63 - std::countl_zero(m);
    m &= ~(AxisMask(1) << x);
    a.terms.push_back({x, step});
    step = step * c.to.axes[size_t(x)].extent;
  }
  if (leading >= 0) a.terms.push_back({leading, step});
  return c.affine(a);
}

Inst unary(Scalar op, DType d, ValueId x) {
  Inst i{.op = op, .dtype = d, .operand_count = 1};
  i.operand[0] = x;
  return i;
}
ValueId cast_to(LoopCopy& c, ValueId x, DType d) {
  return c.to.insts[x].dtype == d ? x : c.add(unary(Scalar::cast, d, x));
}

struct Splitter {
  const Target& target;
  Lowered& out;
  Loop loop;
  size_t own_params;

  Kernel kernel(const Loop& l, const GpuSplit& s = {}) {
    const GpuPlan plan = plan_gpu(l, target, s);
    return GpuLowering(l, plan, s, starts_early(target)).run();
  }

  // How many pieces the reductions of a group should be cut into; 1: they stay whole.
  int64_t pieces(const std::vector<ValueId>& group, int& axis) const {
    const GpuPlan plan = plan_gpu(loop, target, {}, false);
    const int processors = gpu_processors(target);
    const Inst& g = loop.insts[group[0]];
    axis = std::countr_zero(g.axes);
    for (AxisMask m = g.axes; m; m &= m - 1)
      if (gpu_size_hint(loop.axes[size_t(std::countr_zero(m))].extent) > gpu_size_hint(loop.axes[size_t(axis)].extent)) axis = std::countr_zero(m);
    const int64_t n = gpu_size_hint(loop.axes[size_t(axis)].extent);
    if (plan.rows) {
      const int64_t groups = std::max<int64_t>(1, plan.outer_points);
      if (groups >= processors || plan.inner_points < 16384) return 1;
      return std::clamp<int64_t>(std::min(4 * processors / groups, n / 2048), 1, 1024);
    }
    const int64_t columns = std::max<int64_t>(1, plan.outer_points / plan.lanes);  // threads that need not share any
    if (columns * plan.slices >= processors * 512 || plan.inner_points < 1024) return 1;
    // Enough for all processors where eight threads share a piece.
    return std::clamp<int64_t>(std::min(processors * 1024 / std::max<int64_t>(1, columns * 8), n / 64), 1, 512);
  }

  // One kernel leaves the results of pieces, a second one combines them; afterwards they are read.
  bool split(const std::vector<ValueId>& group) {
    int axis = -1;
    const int64_t count = pieces(group, axis);
    if (count < 2) return false;
    while (loop.params.size() < own_params + out.temps.size())  // temporaries of other loops keep their numbers
      loop.params.push_back({Param::Kind::in, out.temps[loop.params.size() - own_params].dtype});
    const Dim n = loop.axes[size_t(axis)].extent;
    const Dim size = ceildiv(ceildiv(n, count), 64) * 64, blocks = ceildiv(n, size);
    const AxisMask outer = loop.depends[group[0]];
    const uint32_t first_param = uint32_t(loop.params.size());
    const int k = int(loop.axes.size());
    Dim results = 1;
    for (AxisMask m = outer; m; m &= m - 1) results = results * loop.axes[size_t(std::countr_zero(m))].extent;
    const auto type_of = [&](ValueId r) { return compute_dtype(loop.insts[r].dtype); };
    for (ValueId r : group) out.temps.push_back({type_of(r), results * blocks});
    const auto add_temps = [&](Loop& l, Param::Kind kind) {
      for (ValueId r : group) l.params.push_back({kind, type_of(r)});
    };
    const auto index_in = [&](ValueId v) { return size_t(std::find(group.begin(), group.end(), v) - group.begin()); };

    // The pieces.
    Loop source = loop;
    source.axes.push_back({blocks});
    source.stores.clear();
    for (ValueId r : group) source.stores.push_back({.param = 0, .address = r, .value = r, .domain = outer});
    Loop partial = rewritten(source, [&](LoopCopy& c, ValueId v) {
      if (index_in(v) == group.size()) return false;
      Inst i = c.with_renamed_operands(loop.insts[v]);
      i.dtype = type_of(v);
      i.operand[0] = cast_to(c, i.operand[0], i.dtype);
      c.rename(v, c.add(i));
      return true;
    });
    add_temps(partial, Param::Kind::out);
    {
      std::vector<Store> stores = std::move(partial.stores);
      partial.stores.clear();
      LoopCopy c(partial);
      c.to = partial;
      const ValueId at = place_of(c, k, outer);
      for (size_t s = 0; s < stores.size(); ++s)
        c.to.stores.push_back({.param = first_param + uint32_t(s), .address = at, .value = stores[s].value, .domain = outer | AxisMask(1) << k});
      partial = std::move(c.to);
    }
    out.kernels.push_back(kernel(partial, {axis, k, size}));

    // What is left of the loop, with the combination of the pieces in place of the reductions.
    AxisMask store_axes = 0;
    for (const Store& s : loop.stores) store_axes |= s.domain;
    const bool last = !(store_axes & ~outer);
    source = loop;
    source.axes.push_back({blocks});
    add_temps(source, Param::Kind::in);
    const auto combined = [&](LoopCopy& c, ValueId v) {
      Inst load = unary(Scalar::load, type_of(v), place_of(c, k, outer));
      load.imm = first_param + int64_t(index_in(v));
      Inst r = loop.insts[v];
      r.dtype = type_of(v);
      r.axes = AxisMask(1) << k;
      r.order = outer ? Order::tree1 : Order::tree32;
      r.operand[0] = c.add(load);
      return c.add(r);
    };
    if (last) {
      loop = rewritten(source, [&](LoopCopy& c, ValueId v) {
        if (index_in(v) == group.size()) return false;
        c.rename(v, cast_to(c, combined(c, v), loop.insts[v].dtype));
        return true;
      });
      return true;
    }
    // The combination is a kernel of its own, so that the rest is free to run over all points.
    const uint32_t second_param = uint32_t(source.params.size());
    for (ValueId r : group) out.temps.push_back({loop.insts[r].dtype, results});
    Loop combine;
    {
      Loop l = source;
      for (ValueId r : group) l.params.push_back({Param::Kind::out, loop.insts[r].dtype});
      LoopCopy c(l);
      c.to.axes = l.axes;
      c.to.params = l.params;
      for (ValueId r : group)
        c.to.stores.push_back({.param = second_param + uint32_t(index_in(r)), .address = place_of(c, -1, outer),
                               .value = cast_to(c, combined(c, r), loop.insts[r].dtype), .domain = outer});
      combine = std::move(c.to);
    }
    out.kernels.push_back(kernel(combine));
    for (ValueId r : group) source.params.push_back({Param::Kind::in, loop.insts[r].dtype});
    const Loop before = std::move(loop);
    source.axes.pop_back();
    loop = rewritten(source, [&](LoopCopy& c, ValueId v) {
      if (index_in(v) == group.size()) return false;
      Inst load = unary(Scalar::load, before.insts[v].dtype, place_of(c, -1, outer));
      load.imm = second_param + int64_t(index_in(v));
      c.rename(v, c.add(load));
      return true;
    });
    return true;
  }
};

// A contraction with few results is a reduction like any other.
void relax_chains(Loop& loop) {
  for (size_t v = 0; v < loop.insts.size(); ++v) {
    Inst& i = loop.insts[v];
    if (i.op != Scalar::reduce || i.order != Order::chain) continue;
    int64_t results = 1;
    for (AxisMask m = loop.depends[v]; m; m &= m - 1) results *= gpu_size_hint(loop.axes[size_t(std::countr_zero(m))].extent);
    if (results <= 4096) i.order = Order::tree32;
  }
}

}  // namespace

void lower_gpu(const Loop& loop, size_t own_params, const Target& target, const ScheduleOptions& options, Lowered& out) {
  Splitter s{target, out, loop, own_params};
  relax_chains(s.loop);
  for (int round = 0; options.split_reductions && round < 8; ++round) {
    const std::vector<ValueId> group = next_split(s.loop, {});
    if (group.empty() || !s.split(group)) break;
  }
  out.kernels.push_back(s.kernel(s.loop));
}

}  // namespace phlox

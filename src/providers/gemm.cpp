#include "providers/gemm.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace phlox {

namespace {
constexpr int64_t most_shared = 1 << 20;  // elements of A that are kept packed for all batch items

bool known(Kv v) { return v.b->inst(v).op == KOp::constant; }
int64_t value_of(Kv v) { return v.b->inst(v).imm; }
Kv equal(Kv a, Kv b) {  // conditions on constants fold, so that only tiles that occur are written
  return known(a) && known(b) ? a.b->bits(DType::boolean, value_of(a) == value_of(b)) : eq(a, b);
}
}  // namespace

GemmTemplate::GemmTemplate(const Loop& loop, const Contraction& c, const GemmPlan& plan, uint32_t roomy)
    : loop_(loop), c_(c), plan_(plan), roomy_(roomy), body_(b_, loop) {
  Kernel& k = b_.kernel();
  k.register_lanes = uint16_t(plan.lanes);
  k.items = c.batch_size * plan.row_blocks * plan.column_blocks;
  k.item_cost = plan.item_cost;
  const int64_t vl = plan.lanes, rows = (plan.most_rows + 1) / 2 * 2;
  int64_t at = 0;
  const auto place = [&](int64_t& where, int64_t elements) {
    where = at;
    at += (elements + 15) / 16 * 16;
  };
  const int64_t panel = plan.width * vl;
  place(panels_at_, plan.few_rows ? plan.few_rows_limit * (plan.most_columns + vl) : 0);
  at = std::max(at, ((plan.one_pass() ? panel : plan.most_columns + panel) * chain_chunk + vl + 15) / 16 * 16);
  stage_stride_ = chain_chunk + vl;
  rows_of_a_ = !c.a.plain && vector_over_k(c.a, c.m);
  AxisMask batch = 0;
  for (int a : c.batch) batch |= AxisMask(1) << a;
  const bool fixed = !plan.any_size && c.batch_size.is_const() && c.batch_size.value() > 1;
  shared_a_ = fixed && !plan.direct_a && !(loop.depends[c.a.value] & batch) && plan.row_blocks.is(1) && plan.sub_tiles * plan.mr >= plan.most_rows &&
              (rows + plan.mr) * c.k_size.value() <= most_shared;
  const int64_t chunks = shared_a_ ? (c.k_size.value() + chain_chunk - 1) / chain_chunk : 1;
  place(tiles_at_, chunks * (plan.direct_a ? 0 : std::min<int64_t>(plan.sub_tiles * plan.mr, rows + plan.mr) * (rows_of_a_ ? stage_stride_ : chain_chunk) + vl));
  const bool computed = !c.a.plain || !c.b.plain;
  place(stage_at_, computed ? std::max<int64_t>(panel, plan.mr + 1) * stage_stride_ : 0);
  sums_stride_ = plan.most_columns + vl;  // rows that do not fall into one set of the cache
  place(sums_at_, c.in_place < 0 ? rows * sums_stride_ + vl : 0);
  copies_rows_ = rows_of_a_ && c.a.affine && c.a.param == roomy_ && c.a.address.coefficient(c.k.back()).is(1) && roomy_ != no_param;
  const int64_t table = std::max<int64_t>(c.b.windows ? chain_chunk : 0, copies_rows_ ? rows + plan.mr : 0);
  place(table_at_, table * 8 / dtype_bytes(c.dtype));
  if (c.epilogue && !plan.any_size && plan.prefetch) find_far_operands();
  k.scratch_bytes = at * dtype_bytes(c.dtype);
  scratch_ = b_.scratch(c.dtype);
}

// --- building blocks

template <class F>
void GemmTemplate::loop(Kv from, Kv to, int64_t step, const F& body) {
  if (known(from) && known(to) && value_of(to) > value_of(from) && value_of(to) <= value_of(from) + step) return body(from);
  const Kv at = b_.begin_for(from, to, index(step));
  body_.open();
  body(at);
  body_.close();
  b_.end();
}

template <class Then, class Else>
void GemmTemplate::choose(Kv condition, const Then& then, const Else& otherwise) {
  if (known(condition)) return value_of(condition) ? then() : otherwise();
  b_.begin_if(condition);
  body_.open();
  then();
  body_.close();
  b_.begin_else();
  body_.open();
  otherwise();
  body_.close();
  b_.end();
}

Kv GemmTemplate::known_select(Kv condition, Kv a, Kv b) {
  if (known(condition)) return value_of(condition) ? a : b;
  return b_.select(condition, a, b);
}

// The positions of axes that are walked as one.
void GemmTemplate::bind_flat(const Axes& axes, Kv position) {
  for (size_t i = axes.size(); i-- > 0;) {
    if (i == 0) { body_.bind(axes[i], position); break; }
    const Kv n = b_.dim(loop_.axes[size_t(axes[i])].extent), q = divide(position, n);
    body_.bind(axes[i], position - q * n);
    position = q;
  }
}

// point(flat position, count): a vector of them, all lanes where count is null, along the last axis; or one.
template <class F>
void GemmTemplate::walk(const Axes& axes, Kv from, Kv to, Walk how, const F& point) {
  if (axes.empty()) return point(index(0), Kv{});
  walk_inner(axes, 0, from, to, index(0), how, point);
}

template <class F>
void GemmTemplate::walk_inner(const Axes& axes, size_t at, Kv from, Kv to, Kv base, Walk how, const F& point) {
  if (at + 1 < axes.size()) {
    const Dim inner = extent_of(loop_, std::span<const int>(axes.data() + at + 1, axes.size() - at - 1));
    const Kv n = b_.dim(inner), size = known(n) ? n : b_.op(Scalar::max, n, index(1));
    loop(divide(from, size), divide(to + size - index(1), size), 1, [&](Kv x) {
      body_.open();
      body_.bind(axes[at], x);
      const Kv start = x * size;
      walk_inner(axes, at + 1, b_.op(Scalar::max, from - start, index(0)), least(to - start, size), base + start, how, point);
      body_.close();
    });
    return;
  }
  const auto single = [&](Kv x, Kv count) {
    body_.open();
    if (how != Walk::points) body_.bind_vector(axes[at], x, plan_.lanes, {.count = count});
    else body_.bind(axes[at], x);
    point(base + x, count);
    body_.close();
  };
  if (how == Walk::points) return loop(from, to, 1, [&](Kv x) { single(x, {}); });
  if (how == Walk::whole_vectors) return loop(from, to, plan_.lanes, [&](Kv x) { single(x, {}); });
  const Kv whole = known(from) && known(to) ? index(value_of(from) + (value_of(to) - value_of(from)) / plan_.lanes * plan_.lanes)
                                            : from + ((to - from) & index(-int64_t(plan_.lanes)));
  if (!(known(whole) && known(from) && value_of(whole) == value_of(from)))
    loop(from, whole, plan_.lanes, [&](Kv x) { single(x, {}); });
  when(lt(whole, to), [&] { single(whole, to - whole); });
}

void GemmTemplate::leaf(KTile::Kind kind, int rows, int vectors, int flags, std::initializer_list<Kv> operands) {
  KTile t{.kind = kind, .dtype = c_.dtype, .rows = uint8_t(rows), .vectors = uint8_t(vectors), .flags = uint8_t(flags),
          .lanes = uint16_t(plan_.lanes), .operands = {}};
  for (Kv v : operands) t.operands.push_back(v.id);
  b_.tile(std::move(t));
}

// --- work items

Kernel GemmTemplate::run() {
  if (shared_a_) pack_shared();
  const Kv number = b_.begin_for(b_.item_begin(), b_.item_end(), index(1));
  body_.open();
  item(number);
  body_.close();
  b_.end();
  return b_.finish();
}

// The address of the first element of the batch item.
Kv GemmTemplate::base_of(const Affine& a) {
  Kv sum = b_.dim(a.base);
  for (int axis : c_.batch) {
    const Dim k = a.coefficient(axis);
    if (!k.is(0)) sum = sum + body_.position(axis) * b_.dim(k);
  }
  return sum;
}

GemmTemplate::Tiles GemmTemplate::tiles_of(Kv rows) {
  Tiles t;
  const Kv mr = index(plan_.mr);
  t.rows = rows;
  t.count = divide(rows + mr - index(1), mr);
  if (plan_.any_size) {
    t.low = t.most = mr;
    return t;
  }
  t.low = divide(rows, t.count);
  t.high = rows - t.low * t.count;
  const Kv more = known(t.high) ? b_.bits(DType::boolean, value_of(t.high) > 0) : lt(index(0), t.high);
  t.most = t.low + known_select(more, index(1), index(0));
  return t;
}

// All of A, before the first work item.
void GemmTemplate::pack_shared() {
  body_.open();
  if (c_.a.affine) a_base_ = base_of(c_.a.address);
  Block b;
  b.m0 = b.n0 = b.columns = index(0);
  b.rows = b_.dim(c_.m_size);
  const Tiles t = tiles_of(b.rows);
  const Kv k = b_.dim(c_.k_size);
  loop(index(0), k, chain_chunk, [&](Kv from) {
    Chunk c;
    c.from = from;
    c.count = least(k - from, index(chain_chunk));
    pack_tiles(b, t, c, index(0), t.count);
  });
  body_.close();
}

// One block of the results of one batch item.
void GemmTemplate::item(Kv number) {
  const Kv nm = b_.dim(plan_.row_blocks), nn = b_.dim(plan_.column_blocks), per = nm * nn;
  const Kv z = divide(number, per), rest = number - z * per;
  const Kv mi = known(nm) && value_of(nm) == 1 ? index(0) : divide(rest, nn);
  const Kv ni = known(nn) && value_of(nn) == 1 ? index(0) : rest - mi * nn;
  bind_flat(c_.batch, z);
  const auto cut = [&](Kv size, Kv i, Kv pieces) {
    return known(pieces) && value_of(pieces) == 1 ? size : divide(size * i, pieces);
  };
  const Kv m = b_.dim(c_.m_size), n = b_.dim(c_.n_size), vl = index(plan_.lanes);
  const bool one_m = known(nm) && value_of(nm) == 1, one_n = known(nn) && value_of(nn) == 1;
  Block b;
  b.m0 = one_m ? index(0) : cut(m, mi, nm);
  b.rows = (one_m ? m : cut(m, mi + index(1), nm)) - b.m0;
  const Kv vectors = divide(n + vl - index(1), vl);
  b.n0 = one_n ? index(0) : cut(vectors, ni, nn) * vl;
  b.columns = (one_n ? n : least(n, cut(vectors, ni + index(1), nn) * vl)) - b.n0;

  if (c_.a.affine && !shared_a_) a_base_ = base_of(c_.a.address);
  if (c_.b.affine) b_base_ = base_of(c_.b.address);
  if (c_.in_place >= 0) {
    c_buffer_ = body_.buffer(loop_.stores[size_t(c_.in_place)].param, true);
    c_stride_ = b_.dim(c_.c_row);
    c_base_ = base_of(c_.c_address) + b.m0 * c_stride_ + b.n0;
  } else {
    c_buffer_ = scratch_;
    c_stride_ = index(sums_stride_);
    c_base_ = index(sums_at_);
  }
  const Kv some = lt(index(0), b.rows) & lt(index(0), b.columns);
  when(some, [&] {
    if (!plan_.few_rows) return block(b);
    const auto try_rows = [&](auto& self, int rows) -> void {
      if (rows > plan_.few_rows_limit) return block(b);
      Kv c = equal(b.rows, index(rows));
      if (plan_.any_size) c = c & lt(index(0), b_.dim(c_.k_size));
      choose(c, [&] { few_rows(b, rows); }, [&] { self(self, rows + 1); });
    };
    try_rows(try_rows, 1);
  });
}

Kv GemmTemplate::element(const Operand& o, Kv row, Kv k) {
  const Kv base = &o == &c_.a ? a_base_ : b_base_;
  return base + row * b_.dim(o.row) + k * b_.dim(o.step);
}

Kv GemmTemplate::c_index(const Block&, Kv row, Kv column) { return c_base_ + row * c_stride_ + column; }

// All of k at once: B streams by, and nothing of it is stored.
void GemmTemplate::few_rows(const Block& b, int rows) {
  const uint32_t pa = buffer(c_.a), pb = buffer(c_.b);
  const Kv a = b_.address(pa, element(c_.a, b.m0, index(0))), a_stride = b_.dim(c_.a.row), k = b_.dim(c_.k_size);
  if (c_.b.step.is(1) && c_.a.step.is(1)) {
    loop(index(0), b.columns, plan_.lanes, [&](Kv j) {
      const Kv columns = least(b.columns - j, index(plan_.lanes));
      const Kv from = b_.address(pb, element(c_.b, b.n0 + j, index(0)));
      leaf(KTile::Kind::row_dot, rows, 1, 0,
           {a, a_stride, from, b_.dim(c_.b.row), columns, c_address(c_index(b, index(0), j)), c_stride_, k});
      epilogue(b.m0, index(rows), b.n0 + j, columns, c_index(b, index(0), j));
    });
    return;
  }
  const Kv from = b_.address(pb, element(c_.b, b.n0, index(0)));
  leaf(KTile::Kind::row_sweep, rows, 1, 0,
       {a, a_stride, b_.dim(c_.a.step), from, b_.dim(c_.b.step), b.columns, c_address(c_index(b, index(0), index(0))), c_stride_, k,
        b_.address(scratch_, index(panels_at_)), index(plan_.most_columns + plan_.lanes)});
  epilogue(b.m0, index(rows), b.n0, b.columns, c_index(b, index(0), index(0)));
}

void GemmTemplate::block(const Block& b) {
  const Tiles t = tiles_of(b.rows);
  const Kv k = b_.dim(c_.k_size), to = known(k) ? k : b_.op(Scalar::max, k, index(1));
  loop(index(0), to, chain_chunk, [&](Kv from) {
    Chunk c;
    c.from = from;
    c.count = least(k - from, index(chain_chunk));
    const Kv first = equal(from, index(0));
    c.first = known(first) ? index(value_of(first)) : b_.cast(first, DType::i64);
    c.last = le(to, from + index(chain_chunk));
    chunk(b, t, c);
  });
}

Kv GemmTemplate::tile_row(const Tiles& t, Kv tile) {
  return plan_.any_size ? least(tile * t.low, t.rows) : tile * t.low + least(tile, t.high);
}
Kv GemmTemplate::tile_rows(const Tiles& t, Kv tile) {
  if (plan_.any_size) return least(t.low, t.rows - tile * t.low);
  if (known(t.high) && value_of(t.high) == 0) return t.low;
  return t.low + known_select(lt(tile, t.high), index(1), index(0));
}

// Full panels; where a part is left over, the last full one and it are cut in half instead.
GemmTemplate::Panel GemmTemplate::panel(const Block& b, Kv number, Kv vectors) {
  const Kv w = index(plan_.width), one = index(1), two = index(2);
  const Kv count = divide(vectors + w - one, w), rest = vectors - divide(vectors, w) * w;
  Panel p;
  if (plan_.any_size) {
    p.width = w;
    p.at = number * w;
  } else {
    // Of two last panels that share w + rest vectors the first takes the larger half.
    const Kv early = lt(number, count - two), is_last = equal(number, count - one), single = equal(count, one);
    const Kv half = known_select(is_last, divide(w + rest, two), divide(w + rest + one, two));
    const Kv full = known(rest) ? b_.bits(DType::boolean, value_of(rest) == 0) : eq(rest, index(0));
    p.width = known_select(full, w, known_select(single, vectors, known_select(early, w, half)));
    p.at = known_select(full, number * w, known_select(is_last, vectors - p.width, number * w));
  }
  p.at = p.at * index(plan_.lanes);
  p.columns = least(b.columns - p.at, p.width * index(plan_.lanes));
  return p;
}

// --- packing

void GemmTemplate::pack(const Operand& o, const Axes& axes, Kv first, Kv rows, const Chunk& c, Kv to, Kv width) {
  if (o.windows && &o == &c_.b) return pack_windows(first, rows, c, to, width);
  if (!o.plain && o.even_k > 0 && o.step.is(1)) return pack_segments(o, first, rows, c, to, width);
  if (!o.plain) return pack_computed(o, axes, first, rows, c, to, width);
  const uint32_t p = buffer(o);
  const Kv from = b_.address(p, element(o, first, c.from)), dst = b_.address(scratch_, to);
  if (o.step.is(1)) leaf(KTile::Kind::pack_rows, 1, 1, 0, {from, b_.dim(o.row), rows, c.count, dst, width});
  else if (o.row.is(1)) leaf(KTile::Kind::pack_columns, 1, 1, 0, {from, b_.dim(o.step), rows, c.count, dst, width});
  else leaf(KTile::Kind::pack_any, 1, 1, 0, {from, b_.dim(o.row), b_.dim(o.step), rows, c.count, dst, width});
}

// Where each k of the chunk lies in the image.
void GemmTemplate::make_table(const Chunk& c) {
  const uint32_t table = b_.scratch(DType::i64);
  const Kv place = index(table_at_ * dtype_bytes(c_.dtype) / 8);
  walk(c_.k, c.from, c.from + c.count, Walk::points, [&](Kv at, Kv) {
    Kv sum = index(0);
    for (int axis : c_.k) {
      const Dim k = c_.b.address.coefficient(axis);
      if (!k.is(0)) sum = sum + body_.position(axis) * b_.dim(k);
    }
    b_.store(table, place + (at - c.from), sum);
  });
}

void GemmTemplate::pack_windows(Kv first, Kv columns, const Chunk& c, Kv to, Kv width) {
  leaf(KTile::Kind::pack_windows, 1, 1, 0,
       {b_.address(buffer(c_.b), b_base_), b_.address(scratch_, index(table_at_)), c.count, first, columns,
        b_.dim(loop_.axes[size_t(c_.n[1])].extent), b_.dim(c_.b.address.coefficient(c_.n[0])), b_.address(scratch_, to), width});
}

// A load whose k lies in pieces: each piece of the chunk by itself.
void GemmTemplate::pack_segments(const Operand& o, Kv first, Kv rows, const Chunk& c, Kv to, Kv width) {
  Axes outer;
  for (size_t i = 0; i + size_t(o.even_k) < c_.k.size(); ++i) outer.push_back(c_.k[i]);
  const std::span<const int> even(c_.k.data() + outer.size(), size_t(o.even_k));
  const Kv n = b_.dim(extent_of(loop_, even)), size = known(n) ? n : b_.op(Scalar::max, n, index(1)), end = c.from + c.count;
  walk(outer, divide(c.from, size), divide(end + size - index(1), size), Walk::points, [&](Kv piece, Kv) {
    const Kv start = piece * size, from = b_.op(Scalar::max, c.from - start, index(0)), to_k = least(end - start, size);
    Kv at = (&o == &c_.a ? a_base_ : b_base_) + first * b_.dim(o.row) + from * b_.dim(o.step);
    for (int axis : outer) {
      const Dim k = o.address.coefficient(axis);
      if (!k.is(0)) at = at + body_.position(axis) * b_.dim(k);
    }
    leaf(KTile::Kind::pack_rows, 1, 1, 0, {b_.address(buffer(o), at), b_.dim(o.row), rows, to_k - from,
                                           b_.address(scratch_, to + (start + from - c.from) * width), width});
  });
}

// Which of the two last axes the loads of a factor walk with step one.
bool GemmTemplate::vector_over_k(const Operand& o, const Axes& axes) const {
  std::vector<char> live(loop_.insts.size());
  live[o.value] = 1;
  int64_t rows = 0, k = 0;
  for (size_t v = o.value + 1; v-- > 0;) {
    if (!live[v]) continue;
    const Inst& i = loop_.insts[v];
    for (int n = 0; n < i.operand_count; ++n) live[i.operand[n]] = 1;
    if (i.op != Scalar::load) continue;
    const auto score = [&](const Axes& x) -> int64_t {
      if (x.empty()) return -16;
      const auto step = BodyLowering::step_along(loop_, i.operand[0], x.back());
      return !step ? -16 : step->is(1) ? std::min<int64_t>(plan_.lanes, size_hint(loop_.axes[size_t(x.back())].extent)) : step->is(0) ? 1 : -16;
    };
    rows += score(axes);
    k += score(c_.k);
  }
  return k > rows || axes.empty();
}

// The same where rows are pieces of an image: where each row begins, then all rows of one piece after the other.
void GemmTemplate::copy_rows(Kv first, Kv rows, const Chunk& c, Kv to) {
  const uint32_t table = b_.scratch(DType::i64);
  const Kv place = index(table_at_ * dtype_bytes(c_.dtype) / 8);
  loop(index(0), rows, 1, [&](Kv i) {
    body_.open();
    bind_flat(c_.m, first + i);
    Kv sum = index(0);
    for (int axis : c_.m)
      if (const Dim k = c_.a.address.coefficient(axis); !k.is(0)) sum = sum + body_.position(axis) * b_.dim(k);
    b_.store(table, place + i, sum);
    body_.close();
  });
  Axes outer;
  for (size_t i = 0; i + 1 < c_.k.size(); ++i) outer.push_back(c_.k[i]);
  const Kv n = b_.dim(loop_.axes[size_t(c_.k.back())].extent), size = known(n) ? n : b_.op(Scalar::max, n, index(1)), end = c.from + c.count;
  walk(outer, divide(c.from, size), divide(end + size - index(1), size), Walk::points, [&](Kv piece, Kv) {
    const Kv start = piece * size, from = b_.op(Scalar::max, c.from - start, index(0)), until = least(end - start, size);
    Kv at = a_base_ + from;
    for (int axis : outer)
      if (const Dim k = c_.a.address.coefficient(axis); !k.is(0)) at = at + body_.position(axis) * b_.dim(k);
    leaf(KTile::Kind::copy_rows, 1, 1, 0,
         {b_.address(buffer(c_.a), at), b_.address(table, place), rows, until - from, b_.address(scratch_, to + (start + from - c.from)), index(stage_stride_)});
  });
}

// dst[i * stage_stride + k]
void GemmTemplate::compute_rows(const Operand& o, const Axes& axes, Kv first, Kv rows, const Chunk& c, Kv to) {
  const Walk how = o.affine && o.param == roomy_ ? Walk::whole_vectors : Walk::vectors;
  loop(index(0), rows, 1, [&](Kv i) {
    body_.open();
    bind_flat(axes, first + i);
    walk(c_.k, c.from, c.from + c.count, how, [&](Kv at, Kv count) {
      const Kv v = b_.splat(body_.value(o.value), plan_.lanes), place = to + i * index(stage_stride_) + (at - c.from);
      if (count) b_.store_partial(scratch_, place, v, count);
      else b_.store(scratch_, place, v);
    });
    body_.close();
  });
}

// dst[k * width + i]: computed along the rows, or along k into a stage whose rows are packed then.
void GemmTemplate::pack_computed(const Operand& o, const Axes& axes, Kv first, Kv rows, const Chunk& c, Kv to, Kv width) {
  if (vector_over_k(o, axes)) {
    compute_rows(o, axes, first, rows, c, index(stage_at_));
    leaf(KTile::Kind::pack_rows, 1, 1, 0,
         {b_.address(scratch_, index(stage_at_)), index(stage_stride_), rows, c.count, b_.address(scratch_, to), width});
    return;
  }
  walk(c_.k, c.from, c.from + c.count, Walk::points, [&](Kv at, Kv) {
    const Kv line = to + (at - c.from) * width - first;
    walk(axes, first, first + rows, Walk::vectors, [&](Kv row, Kv count) {
      const Kv v = b_.splat(body_.value(o.value), plan_.lanes);
      if (count) b_.store_partial(scratch_, line + row, v, count);
      else b_.store(scratch_, line + row, v);
    });
  });
}

// --- multiplying

// Where a packed tile of A lies. As [k][rows], or as rows.
Kv GemmTemplate::tile_place(const Tiles& t, const Chunk& c, Kv tile, Kv t0) {
  Kv at = index(tiles_at_);
  if (shared_a_) at = at + (rows_of_a_ ? divide(c.from, index(chain_chunk)) * index(stage_stride_) * b_.dim(c_.m_size) : c.from * t.count * t.most);
  if (rows_of_a_) return at + (tile_row(t, tile) - tile_row(t, t0)) * index(stage_stride_);
  return at + (tile - t0) * t.most * c.count;
}

void GemmTemplate::pack_tiles(const Block& b, const Tiles& t, const Chunk& c, Kv t0, Kv t1) {
  if (rows_of_a_) {
    const Kv r0 = tile_row(t, t0);
    if (copies_rows_) return copy_rows(b.m0 + r0, tile_row(t, t1) - r0, c, tile_place(t, c, t0, t0));
    return compute_rows(c_.a, c_.m, b.m0 + r0, tile_row(t, t1) - r0, c, tile_place(t, c, t0, t0));
  }
  const auto tiles = [&](const Chunk& part) {
    loop(t0, t1, 1, [&](Kv tile) {
      const Kv rows = tile_rows(t, tile), width = leaf_rows(rows);
      pack(c_.a, c_.m, b.m0 + tile_row(t, tile), rows, part, tile_place(t, c, tile, t0) + (part.from - c.from) * width, width);
    });
  };
  if (!c_.a.plain || !c_.a.row.is(1)) return tiles(c);
  // Rows of all tiles lie side by side: some rows of every tile, then the next ones, so that memory is read in order.
  loop(c.from, c.from + c.count, 16, [&](Kv from) {
    Chunk part = c;
    part.from = from;
    part.count = least(c.from + c.count - from, index(16));
    tiles(part);
  });
}

// One chunk of k over one block: sub-blocks of A, then panels of B, then tiles.
void GemmTemplate::chunk(const Block& b, const Tiles& t, const Chunk& c) {
  const Kv vl = index(plan_.lanes), zero = index(0);
  if (c_.b.windows) make_table(c);
  loop(zero, t.count, plan_.sub_tiles, [&](Kv t0) {
    const Kv t1 = least(t0 + index(plan_.sub_tiles), t.count);
    if (!plan_.direct_a && !shared_a_) pack_tiles(b, t, c, t0, t1);
    const Kv vectors = divide(b.columns + vl - index(1), vl), w = index(plan_.width);
    const Kv panels = divide(vectors + w - index(1), w);
    loop(zero, panels, 1, [&](Kv number) {
      const Panel p = panel(b, number, vectors);
      const Kv width = p.width * vl, place = index(panels_at_) + (plan_.one_pass() ? zero : p.at * c.count);
      const auto pack_panel = [&] {
        if (plan_.one_pass()) pack(c_.b, c_.n, b.n0 + p.at, p.columns, c, place, width);
        else when(equal(t0, zero), [&] { pack(c_.b, c_.n, b.n0 + p.at, p.columns, c, place, width); });
      };
      // Meanwhile the next panel's source comes nearer, one row of it every 16 steps.
      Kv next = b_.address(scratch_, place), next_step = zero;
      if (c_.b.plain && c_.b.row.is(1)) {
        const Kv more = lt(p.at + p.columns, b.columns);
        next = b_.address(buffer(c_.b), element(c_.b, known_select(more, b.n0 + p.at + p.columns, b.n0), c.from));
        next_step = b_.dim(c_.b.step);
      }
      if (!plan_.direct_b) {
        pack_panel();
        return panel_tiles(b, t, c, p, t0, t1, b_.address(scratch_, place), width, next, next_step);
      }
      Kv whole = equal(p.columns, width);
      if (plan_.any_size) {  // rows of B that fall into one set of the cache are packed when they are read often
        const Kv stride = b_.dim(c_.b.step);
        whole = whole & (ne(stride & index(511), zero) | lt(b.rows, index(29)));
      }
      // In place, or where a part of the last vector does not exist, packed.
      const Kv from = b_.address(buffer(c_.b), element(c_.b, b.n0 + p.at, c.from)), stride = b_.dim(c_.b.step);
      if (known(whole) && value_of(whole)) return panel_tiles(b, t, c, p, t0, t1, from, stride, next, next_step);
      const Kv at = b_.var(from), step = b_.var(stride);
      when(~whole, [&] {
        pack_panel();
        b_.set(at, b_.address(scratch_, place));
        b_.set(step, width);
      });
      panel_tiles(b, t, c, p, t0, t1, b_.get(at), b_.get(step), next, next_step);
    });
  });
}

void GemmTemplate::panel_tiles(const Block& b, const Tiles& t, const Chunk& c, const Panel& p, Kv t0, Kv t1, Kv b_at, Kv b_stride,
                               Kv next_b, Kv next_step) {
  const bool strided = rows_of_a_ || (plan_.direct_a && !c_.a.row.is(1));
  const int64_t bytes = dtype_bytes(c_.dtype);
  // Rows that are read in place come from afar: those of the next tile are fetched meanwhile.
  const bool stream_a = strided && plan_.direct_a && plan_.prefetch;
  // So many rows of the next panel's source that all 256 have come when this panel's tiles are done.
  const int64_t panel_tiles = plan_.any_size ? plan_.sub_tiles : std::min<int64_t>(plan_.sub_tiles, (plan_.most_rows + plan_.mr - 1) / plan_.mr);
  const int ahead = panel_tiles >= 11 ? 1 : panel_tiles >= 6 ? 2 : 4;
  loop(t0, t1, 1, [&](Kv tile) {
    const Kv row = tile_row(t, tile), rows = tile_rows(t, tile);
    Kv a, a_stride;
    if (plan_.direct_a) {
      a = b_.address(buffer(c_.a), element(c_.a, b.m0 + row, c.from));
      a_stride = b_.dim(strided ? c_.a.row : c_.a.step);
    } else {
      a = b_.address(scratch_, tile_place(t, c, tile, t0));
      a_stride = rows_of_a_ ? index(stage_stride_) : leaf_rows(rows);
    }
    const Kv at = c_index(b, row, p.at), c_at = c_address(at);
    Kv bx = next_b, bxs = next_step;
    if (stream_a) {
      bx = a + rows * a_stride * index(bytes);
      bxs = a_stride * index(bytes);
    } else if (!known(next_step) || value_of(next_step) != 0) {
      bx = next_b + (tile - t0) * index(16 * ahead * bytes) * next_step;
    }
    const Kv cx = c_at + rows * c_stride_ * index(bytes);
    const int flags = (strided ? KTile::row_major_a : 0) | (stream_a || (plan_.prefetch && !strided) ? KTile::prefetch : 0) |
                      (plan_.any_size ? KTile::short_rows : 0) | (ahead == 4 ? KTile::ahead_4 : ahead == 2 ? KTile::ahead_2 : 0);
    if (!far_.empty()) when(c.last, [&] { fetch_far_operands(b.m0 + row, rows, b.n0 + p.at); });
    multiply(leaf_rows(rows), p.width,
             {a, a_stride, b_at, b_stride, c_at, c_stride_, c.count, c.first, p.columns, cx, bx, bxs, rows}, flags);
    when(c.last, [&] { epilogue(b.m0 + row, rows, b.n0 + p.at, p.columns, at); });
  });
}

// The height of the leaf that computes so many rows.
Kv GemmTemplate::leaf_rows(Kv rows) {
  if (!plan_.any_size) return rows;
  Kv h = index(plan_.heights.back());
  for (size_t n = plan_.heights.size() - 1; n-- > 0;) h = b_.select(le(rows, index(plan_.heights[n])), index(plan_.heights[n]), h);
  return h;
}

// The leaf of this size among those that occur.
void GemmTemplate::multiply(Kv rows, Kv vectors, std::initializer_list<Kv> operands, int flags) {
  const auto by_height = [&](auto& self, int width, size_t n) -> void {
    const int h = plan_.heights[n];
    if (n == 0) return leaf(KTile::Kind::multiply, h, width, flags, operands);
    choose(equal(rows, index(h)), [&] { leaf(KTile::Kind::multiply, h, width, flags, operands); },
           [&] { self(self, width, n - 1); });
  };
  const auto by_width = [&](auto& self, size_t n) -> void {
    if (n == 0) return by_height(by_height, plan_.widths[0], plan_.heights.size() - 1);
    choose(equal(vectors, index(plan_.widths[n])), [&] { by_height(by_height, plan_.widths[n], plan_.heights.size() - 1); },
           [&] { self(self, n - 1); });
  };
  by_width(by_width, plan_.widths.size() - 1);
}

void GemmTemplate::find_far_operands() {
  AxisMask rows = 0;
  for (int a : c_.m) rows |= AxisMask(1) << a;
  const auto add = [&](uint32_t param, bool written, ValueId address) {
    const auto step = BodyLowering::step_along(loop_, address, c_.n.back());
    if (!step || !step->is(1) || !(loop_.depends[address] & rows) || far_.size() >= 4) return;
    for (Far& f : far_)
      if (f.param == param && f.address == address) return;
    far_.push_back({param, written, address});
  };
  std::vector<char> live(loop_.insts.size());
  for (size_t i = 0; i < loop_.stores.size(); ++i) {
    live[loop_.stores[i].value] = 1;
    if (int(i) != c_.in_place) add(loop_.stores[i].param, true, loop_.stores[i].address);
  }
  for (size_t v = loop_.insts.size(); v-- > 0;) {
    const Inst& i = loop_.insts[v];
    if (!live[v] || v == c_.sum) continue;
    for (int n = 0; n < i.operand_count; ++n) live[i.operand[n]] = 1;
    if (i.op == Scalar::load && i.operand_count == 1) add(uint32_t(i.imm), false, i.operand[0]);
  }
}

void GemmTemplate::fetch_far_operands(Kv row, Kv rows, Kv column) {
  loop(index(0), rows, 1, [&](Kv i) {
    body_.open();
    bind_flat(c_.m, row + i);
    bind_flat(c_.n, column);
    for (const Far& f : far_) {
      const Kv at = body_.value(f.address);
      const uint32_t p = body_.buffer(f.param, f.written);
      for (int v = 0; v < plan_.width; ++v) b_.prefetch(p, at + index(int64_t(v) * plan_.lanes));
    }
    body_.close();
  });
}

// What the loop stores, over a tile of finished sums that is still in the nearest cache.
void GemmTemplate::epilogue(Kv row, Kv rows, Kv column, Kv columns, Kv c_index) {
  if (!c_.epilogue) return;
  loop(index(0), rows, 1, [&](Kv i) {
    body_.open();
    bind_flat(c_.m, row + i);
    const Kv line = c_index + i * c_stride_ - column;
    walk(c_.n, column, column + columns, Walk::vectors, [&](Kv at, Kv count) {
      const Kv place = line + at;
      body_.define(c_.sum, count ? b_.load_partial(c_buffer_, place, count, plan_.lanes) : b_.load(c_buffer_, place, plan_.lanes));
      for (const Store& s : loop_.stores) body_.value(s.value);
      for (const Store& s : loop_.stores) body_.store(s);
    });
    body_.close();
  });
}

}  // namespace phlox

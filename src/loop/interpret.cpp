#include "loop/interpret.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/team.h"
#include "loop/builder.h"
#include "loop/interpret_plan.h"

namespace phlox {

namespace interpreter {

namespace {

template <class T>
void put_identity(void* out, Combine c) {
  using Limits = std::numeric_limits<T>;
  const T top = Limits::has_infinity ? Limits::infinity() : Limits::max();
  const T bottom = Limits::has_infinity ? T(-top) : Limits::lowest();
  *static_cast<T*>(out) = c == Combine::mul ? T(1) : c == Combine::min ? top : c == Combine::max ? bottom
                        : c == Combine::band ? T(~int64_t(0)) : T(0);
}
// `c` as combine_on gives it.
void identity(void* out, Combine c, DType d, Rep r) {
  if (is_bool(d)) { *static_cast<uint8_t*>(out) = c == Combine::band; return; }
  switch (r) {
    case Rep::u8: return put_identity<uint8_t>(out, c);
    case Rep::i8: return put_identity<int8_t>(out, c);
    case Rep::i16: return put_identity<int16_t>(out, c);
    case Rep::u16: return put_identity<uint16_t>(out, c);
    case Rep::i32: return put_identity<int32_t>(out, c);
    case Rep::u32: return put_identity<uint32_t>(out, c);
    case Rep::i64: return put_identity<int64_t>(out, c);
    case Rep::u64: return put_identity<uint64_t>(out, c);
    case Rep::f32: return put_identity<float>(out, c);
    case Rep::f64: return put_identity<double>(out, c);
  }
}

// Where a temporary's element for the current indices is.
int64_t temp_place(const Temp& t, const int64_t* index) {
  int64_t at = 0;
  for (auto& [axis, stride] : t.strides) at += index[axis] * stride;
  return at;
}

// A partial reduction of `columns` independent results side by side, in the order that the instruction names.
// Memory: lanes, then block results, then one row of working space; each row has `width` elements.
class Reduction {
 public:
  Reduction(const Context& c, const Inst& i, int64_t points, int64_t width)
      : order_(i.order), how_(combine_on(i.dtype, i.combine)), rep_(c.rep(i.dtype)), bytes_(rep_bytes(rep_)), width_(width), lanes_(order_lanes(i.order)),
        block_(i.order == Order::chain ? chain_chunk : tree_block(points, lanes_)),
        combine_(c.ops.op(combining_op(how_), rep_)), fill_(c.ops.fill(bytes_)),
        fold_(lanes_ == 32 ? c.ops.fold32(how_, rep_) : c.ops.fold1(how_, rep_)),
        chain_row_(c.ops.chain_row(rep_)) {
    identity(identity_, how_, i.dtype, rep_);
    for (int k = 0; k < 4; ++k) chain_column_[k] = c.ops.chain_column(rep_, k & 1, k & 2);
    const int64_t rows = lanes_ + (order_ == Order::chain ? 1 : std::max<int64_t>(1, (points + block_ - 1) / block_));
    memory_.resize(size_t(rows * width_) * size_t(bytes_));
  }

  void begin(int64_t columns) {
    columns_ = columns;
    done_ = blocks_ = 0;
    clear_lanes();
  }
  // One point of every column.
  void add(const Root& a, const Root* b, std::byte* scratch) {
    std::byte* lane = row(done_ % lanes_);
    if (b) chain_column_[int(a.scalar) + 2 * int(b->scalar)](lane, scratch + a.at, scratch + b->at, columns_);
    else combine_(lane, lane, scratch + a.at, nullptr, columns_);
    if (++done_ == block_) flush();
  }
  // n points in order, of the only column.
  void add_row(const std::byte* a, const std::byte* b, int64_t n) {
    while (n > 0) {
      const int64_t m = std::min(n, block_ - done_);
      if (b) { chain_row_(memory_.data(), a, b, m); b += m * bytes_; }
      else fold_(memory_.data(), a, done_ % lanes_, m);
      a += m * bytes_;
      n -= m;
      done_ += m;
      if (done_ == block_) flush();
    }
  }
  // The results, valid until the next begin().
  std::byte* finish() {
    if (done_) flush();
    if (!blocks_) { fill_(row(lanes_), identity_, nullptr, nullptr, columns_); return row(lanes_); }
    for (int64_t w = 1; w < blocks_; w *= 2)
      for (int64_t i = 0; i + w < blocks_; i += 2 * w)
        combine_(row(lanes_ + i), row(lanes_ + i), row(lanes_ + i + w), nullptr, columns_);
    return row(lanes_);
  }

 private:
  std::byte* row(int64_t r) { return memory_.data() + r * width_ * bytes_; }
  void clear_lanes() { fill_(memory_.data(), identity_, nullptr, nullptr, lanes_ * width_); }
  void flush() {
    for (int64_t half = lanes_ / 2; half > 0; half /= 2) {
      if (columns_ == width_) { combine_(row(0), row(0), row(half), nullptr, half * width_); continue; }
      for (int64_t l = 0; l < half; ++l) combine_(row(l), row(l), row(l + half), nullptr, columns_);
    }
    if (order_ == Order::chain && blocks_) combine_(row(lanes_), row(lanes_), row(0), nullptr, columns_);
    else std::memcpy(row(lanes_ + blocks_), row(0), size_t(columns_ * bytes_));
    if (order_ != Order::chain || !blocks_) ++blocks_;
    done_ = 0;
    clear_lanes();
  }

  Order order_;
  Combine how_;
  Rep rep_;
  int bytes_;
  int64_t width_, lanes_, block_;
  BlockFn combine_, fill_;
  FoldFn fold_;
  ChainFn chain_row_, chain_column_[4];
  alignas(8) std::byte identity_[8] = {};
  std::vector<std::byte> memory_;
  int64_t columns_ = 1, done_ = 0, blocks_ = 0;  // done_: points in the current block
};

// Walks (a piece of) an item. One a thread.
class Runner {
 public:
  Runner(const Context& c, const Item& item) : c_(c), item_(item), memory_(item.scratch_bytes + 64) {
    scratch_ = memory_.data() + (-reinterpret_cast<uintptr_t>(memory_.data()) & 63);
    if (item.kind == Item::Kind::store) {
      const Store& s = c.loop.stores[item.index];
      const DType d = c.loop.params[s.param].dtype;
      store_ = c.ops.store(d, c.wide, conflict_on(d, s.conflict));
      base_ = c.args.pointers[s.param];
      return;
    }
    const Inst& i = c.loop.insts[item.index];
    round_ = c.wide ? nullptr : c.ops.round(i.dtype);
    const Rep r = c.rep(i.dtype);
    bytes_ = rep_bytes(r);
    write_ = c.ops.store(bytes_ == 1 ? DType::u8 : bytes_ == 2 ? DType::u16 : bytes_ == 4 ? DType::u32 : DType::u64,
                         false, Conflict::unique);
    if (item.kind == Item::Kind::scan) {
      carry_.resize(size_t(2 * item.width * bytes_));
      const Combine how = combine_on(i.dtype, i.combine);
      identity(identity_, how, i.dtype, r);
      fill_ = c.ops.fill(bytes_);
      combine_ = c.ops.op(combining_op(how), r);
      scan_ = c.ops.scan(how, r);
    } else {
      reduction_.emplace(c, i, c.points(i.axes), item.row() ? 1 : item.width);
    }
    if (item.block_pos >= 0 && !item.row())
      for (auto& [axis, stride] : item.result->strides) if (axis == item.nest[size_t(item.block_pos)]) out_step_ = stride;
    if (item.kind == Item::Kind::scan && item.row())
      for (auto& [axis, stride] : item.result->strides) if (axis == item.nest.back()) out_step_ = stride;
  }

  // Indices [begin, end) of the outermost position, in blocks where blocks run there.
  void run(int64_t begin, int64_t end) {
    steps(0);
    if (item_.nest.empty()) leaf();
    else walk(0, begin, end);
  }

 private:
  void walk(int pos, int64_t begin, int64_t end) {
    const bool combines = pos == item_.boundary && item_.kind != Item::Kind::store;
    if (combines) begin_results();
    const bool blocks = pos == item_.block_pos, last = size_t(pos) + 1 == item_.nest.size();
    const int axis = item_.nest[size_t(pos)];
    for (int64_t k = begin; k < end; ++k) {
      index_[axis] = k;
      if (blocks) {
        index_[axis] = k * block_points;
        n_ = std::min(block_points, c_.extents[size_t(axis)] - index_[axis]);
      }
      steps(pos + 1);
      if (last) leaf();
      else walk(pos + 1, 0, count(pos + 1));
    }
    if (combines) finish_results();
  }
  int64_t count(int pos) const {
    const int64_t e = c_.extents[size_t(item_.nest[size_t(pos)])];
    return pos == item_.block_pos ? (e + block_points - 1) / block_points : e;
  }

  void begin_results() {
    if (reduction_) reduction_->begin(item_.row() ? 1 : n_);
    else fill_(carry_.data(), identity_, nullptr, nullptr, item_.row() ? 1 : n_);
  }
  void finish_results() {
    if (reduction_) write(reduction_->finish(), item_.row() ? 1 : n_);
  }
  void leaf() {
    if (item_.kind == Item::Kind::store) { store(); return; }
    const Root* other = item_.other.at == nowhere ? nullptr : &item_.other;
    std::byte* x = scratch_ + item_.value.at;
    if (reduction_) {
      if (item_.row()) reduction_->add_row(x, other ? scratch_ + other->at : nullptr, n_);
      else reduction_->add(item_.value, other, scratch_);
      return;
    }
    std::byte* out = carry_.data() + item_.width * bytes_;
    if (item_.row()) {
      scan_(out, x, carry_.data(), n_);
    } else {
      combine_(carry_.data(), carry_.data(), x, nullptr, n_);
      std::memcpy(out, carry_.data(), size_t(n_ * bytes_));
    }
    write(out, n_);
  }
  void write(std::byte* values, int64_t n) {
    if (round_) round_(values, values, nullptr, nullptr, n);
    write_({item_.result->data.get(), temp_place(*item_.result, index_), out_step_}, values, n);
  }
  void store() {
    BlockAccess at{base_};
    if (item_.address.scalar) { at.first = get(item_.address.at); at.step = item_.address_step; }
    else at.index = reinterpret_cast<const int64_t*>(scratch_ + item_.address.at);
    if (item_.predicate.at != nowhere) at.predicate = reinterpret_cast<const uint8_t*>(scratch_ + item_.predicate.at);
    store_(at, scratch_ + item_.value.at, n_);
  }

  int64_t get(uint32_t at) const { return *reinterpret_cast<const int64_t*>(scratch_ + at); }
  void put(uint32_t at, int64_t v) { *reinterpret_cast<int64_t*>(scratch_ + at) = v; }

  void steps(int level) {
    for (const Step& s : item_.levels[size_t(level)]) {
      const int64_t n = s.count == Count::one ? 1 : s.count == Count::block ? n_ : item_.width;
      switch (s.kind) {
        case StepKind::constant: put(s.out, s.imm); break;
        case StepKind::axis: put(s.out, index_[s.imm]); break;
        case StepKind::add_i64: put(s.out, int64_t(uint64_t(get(s.a)) + uint64_t(get(s.b)))); break;
        case StepKind::sub_i64: put(s.out, int64_t(uint64_t(get(s.a)) - uint64_t(get(s.b)))); break;
        case StepKind::mul_i64: put(s.out, int64_t(uint64_t(get(s.a)) * uint64_t(get(s.b)))); break;
        case StepKind::iota: {
          int64_t* out = reinterpret_cast<int64_t*>(scratch_ + s.out);
          uint64_t v = uint64_t(get(s.a));
          for (int64_t i = 0; i < n; ++i, v += uint64_t(s.imm)) out[i] = int64_t(v);
          break;
        }
        case StepKind::block: s.fn(scratch_ + s.out, at(s.a), at(s.b), at(s.c), n); break;
        case StepKind::load: load(s, n); break;
        case StepKind::temp: s.load(scratch_ + s.out, {s.source->data.get(), temp_place(*s.source, index_), s.imm}, n); break;
        case StepKind::checked: checked(s, n); break;
        case StepKind::bitcast: {
          const BlockAccess raw{scratch_ + s.b};
          s.store(raw, at(s.a), n);
          s.load(scratch_ + s.out, raw, n);
          break;
        }
      }
      if (s.round) s.round(scratch_ + s.out, scratch_ + s.out, nullptr, nullptr, n);
    }
  }
  const std::byte* at(uint32_t place) const { return place == nowhere ? nullptr : scratch_ + place; }
  void load(const Step& s, int64_t n) {
    BlockAccess from{s.base};
    if (s.index != nowhere) from.index = reinterpret_cast<const int64_t*>(scratch_ + s.index);
    else { from.first = get(s.a); from.step = s.imm; }
    from.predicate = reinterpret_cast<const uint8_t*>(at(s.predicate));
    s.load(scratch_ + s.out, from, n);
  }
  void checked(const Step& s, int64_t n) {
    const int64_t *index = reinterpret_cast<const int64_t*>(scratch_ + s.a), *size = reinterpret_cast<const int64_t*>(scratch_ + s.b);
    int64_t* out = reinterpret_cast<int64_t*>(scratch_ + s.out);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t v = index[i] < 0 ? int64_t(uint64_t(index[i]) + uint64_t(size[i])) : index[i];
      out[i] = v >= 0 && v < size[i] ? v : report(index[i]);
    }
  }
  int64_t report(int64_t index) {
    if (c_.args.status && __atomic_load_n(c_.args.status, __ATOMIC_RELAXED) == 0)
      __atomic_store_n(c_.args.status, index < 0 || index == INT64_MAX ? index : index + 1, __ATOMIC_RELAXED);
    return 0;
  }

  const Context& c_;
  const Item& item_;
  std::vector<std::byte> memory_, carry_;
  std::byte* scratch_;
  int64_t index_[64] = {};
  int64_t n_ = 1;
  // reductions and scans
  std::optional<Reduction> reduction_;
  BlockFn round_ = nullptr;
  int bytes_ = 1;
  int64_t out_step_ = 0;
  StoreFn write_ = nullptr;
  alignas(8) std::byte identity_[8] = {};
  BlockFn fill_ = nullptr, combine_ = nullptr;
  ScanFn scan_ = nullptr;
  // stores
  StoreFn store_ = nullptr;
  void* base_ = nullptr;
};

void fill_identity(const Context& c, const Item& item) {
  const Inst& i = c.loop.insts[item.index];
  const int bytes = rep_bytes(c.rep(i.dtype));
  alignas(8) std::byte v[8] = {};
  identity(v, i.combine, i.dtype, c.rep(i.dtype));
  c.ops.fill(bytes)(item.result->data.get(), v, nullptr, nullptr, item.result->points);
}

}  // namespace

void run_item(const Context& c, const Item& item) {
  AxisMask axes = 0;
  for (int a : item.nest) axes |= AxisMask(1) << a;
  const int64_t points = c.points(axes);
  if (points == 0) {
    if (item.kind == Item::Kind::reduce && item.result->points) fill_identity(c, item);
    return;
  }
  int64_t outer = 1;
  if (!item.nest.empty()) {
    outer = c.extents[size_t(item.nest[0])];
    if (item.block_pos == 0) outer = (outer + block_points - 1) / block_points;
  }
  const bool ordered = item.kind == Item::Kind::store && c.loop.stores[item.index].conflict != Conflict::unique;
  const double piece_cost = double(points) / double(outer) * item.point_cost;  // nanoseconds
  if (ordered || item.boundary == 0 || outer == 1 || piece_cost * double(outer) < 30000) {
    Runner(c, item).run(0, outer);
    return;
  }
  team().run(outer, int64_t(10000 / piece_cost) + 1, [&](int64_t begin, int64_t end) { Runner(c, item).run(begin, end); });
}

// Whether a store behind number k reads this memory.
static bool read_later(const Loop& loop, const LoopArgs& args, size_t k, const void* memory) {
  std::vector<ValueId> todo;
  std::vector<uint8_t> seen(loop.insts.size());
  const auto need = [&](ValueId v) {
    if (v != no_value && !seen[v]) seen[v] = 1, todo.push_back(v);
  };
  for (size_t n = k + 1; n < loop.stores.size(); ++n)
    for (ValueId v : {loop.stores[n].value, loop.stores[n].address, loop.stores[n].predicate}) need(v);
  while (!todo.empty()) {
    const Inst& i = loop.insts[todo.back()];
    todo.pop_back();
    if (i.op == Scalar::reduce || i.op == Scalar::scan) continue;  // computed before anything is stored
    if (i.op == Scalar::load && args.pointers[size_t(i.imm)] == memory) return true;
    for (int n = 0; n < i.operand_count; ++n) need(i.operand[n]);
  }
  return false;
}

// Stores run one after the other over all their points: what a later one reads of memory that an earlier one changes in
// place is copied first.
static void keep_what_changes(Context& c, std::vector<std::vector<std::byte>>& kept) {
  c.loads.assign(c.args.pointers.begin(), c.args.pointers.end());
  for (size_t k = 0; k + 1 < c.loop.stores.size(); ++k) {
    const Store& s = c.loop.stores[k];
    const void* memory = c.args.pointers[s.param];
    if (c.loop.params[s.param].kind != Param::Kind::inout || s.conflict != Conflict::unique || c.points(s.domain) == 0) continue;
    if (!read_later(c.loop, c.args, k, memory)) continue;
    const Affine at = affine_of(c.loop, s.address);
    if (!at.ok) continue;
    int64_t elements = evaluate(at.base, c.args.symbols) + 1;
    for (auto& [axis, step] : at.terms)
      elements += std::max<int64_t>(0, evaluate(step, c.args.symbols) * (c.extents[size_t(axis)] - 1));
    if (elements <= 0) continue;
    const std::byte* from = static_cast<const std::byte*>(memory);
    kept.emplace_back(from, from + elements * dtype_bytes(c.loop.params[s.param].dtype));
    for (size_t p = 0; p < c.loads.size(); ++p)
      if (c.args.pointers[p] == memory) c.loads[p] = kept.back().data();
  }
}

}  // namespace interpreter

void interpret_loop(const Loop& loop, const LoopArgs& args, InterpretMode mode) {
  using namespace interpreter;
  PHLOX_CHECK(args.pointers.size() >= loop.params.size(), "a pointer is missing");
  for (const Param& p : loop.params)
    PHLOX_CHECK(p.kind != Param::Kind::number || args.numbers.size() >= loop.params.size(), "a number is missing");
  Context c{loop, args, mode == InterpretMode::wide, block_ops(), {}, {}, {}};
  for (const Axis& a : loop.axes) c.extents.push_back(std::max<int64_t>(0, evaluate(a.extent, args.symbols)));
  c.temps.resize(loop.insts.size());
  std::vector<std::vector<std::byte>> kept;
  keep_what_changes(c, kept);

  std::vector<uint8_t> used(loop.insts.size(), 0);
  for (const Store& s : loop.stores) {
    if (c.points(s.domain) == 0) continue;
    used[s.value] = used[s.address] = 1;
    if (s.predicate != no_value) used[s.predicate] = 1;
  }
  for (size_t id = used.size(); id-- > 0;)
    for (int k = 0; used[id] && k < loop.insts[id].operand_count; ++k) used[loop.insts[id].operand[k]] = 1;
  for (size_t id = 0; id < used.size(); ++id) {
    const Scalar op = loop.insts[id].op;
    if (used[id] && (op == Scalar::reduce || op == Scalar::scan)) run_item(c, plan_reduction(c, ValueId(id)));
  }
  for (size_t s = 0; s < loop.stores.size(); ++s)
    if (c.points(loop.stores[s].domain) != 0) run_item(c, plan_store(c, uint32_t(s)));
}

}  // namespace phlox

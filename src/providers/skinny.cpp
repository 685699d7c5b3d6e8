#include "providers/skinny.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "base/error.h"
#include "kernel/body.h"
#include "providers/match.h"

namespace phlox {

namespace {

constexpr int warps = 8, threads = 32 * warps, tile_rows = 8, most_rows = 16;
constexpr int64_t most_computed = 16384;      // elements of A that a block computes for itself
constexpr int64_t shared_limit = 46 << 10;  // of static arrays

struct Skinny {
  Contraction c;
  bool early = false;         // from sm_90 on
  DType type;                 // of the factors in memory
  int64_t m, n, k;
  uint32_t weights;           // parameter
  Affine w_address;
  int64_t w_step;             // between rows of W, in elements
  ValueId a;                  // a row of A, as it is rounded before it is multiplied
  bool plain = false;         // it lies in memory like that
  Affine a_address;
  int64_t a_step = 0;
  std::vector<ValueId> reduces;  // that A needs, in order
  int64_t a_stride() const {     // of a row in shared memory: rows that are read together meet other banks
    return type == DType::f32 ? k : (k + 31) / 64 * 64 + 32;
  }
  int64_t shared_bytes() const {
    return (plain ? 0 : m * a_stride() * dtype_bytes(type)) + warps * m * tile_rows * 4 + int64_t(reduces.size()) * m * warps * 4;
  }
};

struct Matcher {
  const Loop& loop;
  const Target& target;
  std::string& refusal;
  Skinny s{};

  bool refuse(const char* why) {
    refusal = why;
    return false;
  }

  bool sizes() {
    for (Dim d : {s.c.m_size, s.c.n_size, s.c.k_size, s.c.batch_size})
      if (!d.is_const()) return refuse("a size is not known");
    s.m = s.c.m_size.value(), s.n = s.c.n_size.value(), s.k = s.c.k_size.value();
    if (s.c.batch_size.value() != 1) return refuse("it is a batch of products");
    if (s.m > most_rows) return refuse("it has more than 16 rows");
    if (s.n < 64 || s.k < 128 || s.k % 8) return refuse("its matrix is small");
    return true;
  }

  // Elements side by side along k, an even and known step between rows.
  bool lies_by_rows(const Affine& f, const Contraction::Axes& rows, int64_t& step) {
    Dim along, between = 0;
    if (!f.ok || !flat_stride(loop, f, s.c.k, along) || !along.is(1)) return false;
    if (!flat_stride(loop, f, rows, between) || !between.is_const()) return false;
    for (const auto& [axis, unused] : f.terms)
      if (std::find(s.c.k.begin(), s.c.k.end(), axis) == s.c.k.end() && std::find(rows.begin(), rows.end(), axis) == rows.end()) return false;
    step = between.value();
    return true;
  }

  bool find_weights() {
    const Inst& factor = loop.insts[s.c.b.value];
    const Inst& load = factor.op == Scalar::cast ? loop.insts[factor.operand[0]] : factor;
    if (load.op != Scalar::load || load.operand_count != 1) return refuse("its matrix is computed");
    s.type = load.dtype;
    if (!is_reduced_float(s.type) && s.type != DType::f32) return refuse("its matrix is of another type");
    s.weights = uint32_t(load.imm);
    if (loop.params[s.weights].kind != Param::Kind::in) return refuse("its matrix changes");
    s.w_address = affine_of(loop, load.operand[0]);
    if (!lies_by_rows(s.w_address, s.c.n, s.w_step)) return refuse("its matrix does not lie along k");
    return true;
  }

  bool find_rows() {
    const Inst& factor = loop.insts[s.c.a.value];
    s.a = s.c.a.value;
    if (s.type != DType::f32) {
      if (factor.op != Scalar::cast || loop.insts[factor.operand[0]].dtype != s.type) return refuse("its factors have different types");
      s.a = factor.operand[0];
    }
    const Inst& load = loop.insts[s.a];
    if (load.op == Scalar::load && load.operand_count == 1 && loop.params[size_t(load.imm)].kind == Param::Kind::in) {
      s.a_address = affine_of(loop, load.operand[0]);
      s.plain = lies_by_rows(s.a_address, s.c.m, s.a_step);
    }
    return s.plain || reductions_of(s.a);
  }

  bool reductions_of(ValueId a) {
    std::vector<char> seen(loop.insts.size());
    bool ok = true;
    const auto walk = [&](auto& self, ValueId v) -> void {
      if (seen[v]) return;
      seen[v] = 1;
      const Inst& i = loop.insts[v];
      for (int n = 0; n < i.operand_count; ++n) self(self, i.operand[n]);
      if (i.op == Scalar::scan || i.op == Scalar::checked_index) ok = false;
      if (i.op != Scalar::reduce) return;
      ok &= std::popcount(i.axes) == 1 && !(loop.depends[v] & ~axes_of(s.c.m));
      s.reduces.push_back(v);
    };
    walk(walk, a);
    for (ValueId r : s.reduces) {
      const Inst& i = loop.insts[r];
      ok &= i.order != Order::chain && loop.axes[size_t(std::countr_zero(i.axes))].extent.is_const() &&
            is_float(i.dtype) && compute_dtype(i.dtype) == DType::f32;
    }
    if (s.m * s.k > most_computed) return refuse("its rows are too much to be computed by every block");
    if (!ok) return refuse("its rows are computed by other means than sums over one axis");
    for (const auto& st : loop.stores)
      if (loop.params[st.param].kind == Param::Kind::inout) return refuse("it changes in place what all blocks read");
    return true;
  }
  static AxisMask axes_of(const Contraction::Axes& axes) {
    AxisMask m = 0;
    for (int a : axes) m |= AxisMask(1) << a;
    return m;
  }

  bool run() {
    int version = 0;
    if (target.kind == DeviceKind::cuda && target.arch.starts_with("sm_"))
      std::from_chars(target.arch.data() + 3, target.arch.data() + target.arch.size(), version);
    if (version < 80) return refuse("the matrix units of sm_80 are needed");
    s.early = version >= 90;
    ContractionMatch match = match_contraction(loop, true);
    refusal = match.refusal;
    if (!match.matched) return false;
    s.c = std::move(match.contraction);
    if (s.c.dtype != DType::f32) return refuse("its sums are not f32");
    if (!sizes() || !find_weights() || !find_rows()) return false;
    if (s.shared_bytes() > shared_limit) return refuse("its rows are too long to be kept");
    return true;
  }
};

class Template {
 public:
  Template(const Loop& loop, const Skinny& s) : loop_(loop), s_(s), body_(b_, loop) {
    body_.use_short_functions(std::vector<char>(loop.insts.size(), 0));
    b_.kernel().threads = threads;
  }

  Kernel run() {
    b_.kernel().items = ceildiv(Dim(s_.n), tile_rows);
    thread_ = b_.thread_id();
    const Kv n0 = b_.item_begin() * index(tile_rows);
    const uint32_t w = body_.buffer(s_.weights, false);
    const Kv parts = b_.local(DType::f32, warps * s_.m * tile_rows, Space::shared);
    Kv a, a_step;
    // W is there from the start: its way to the L2 cache does not wait for the launch before.
    if (s_.early || !s_.plain) ask_for(w, n0);
    if (s_.early) {
      b_.kernel().early = true;
      b_.add({.op = KOp::barrier, .imm = 2});
    }
    if (s_.plain) {
      a = b_.address(body_.buffer(uint32_t(loop_.insts[s_.a].imm), false), b_.dim(s_.a_address.base));
      a_step = index(s_.a_step);
    } else {
      a = b_.local(s_.type, s_.m * s_.a_stride(), Space::shared);
      a_step = index(s_.a_stride());
      compute_rows(a);
    }
    KTile t{.kind = KTile::Kind::skinny, .dtype = DType::f32, .rows = uint8_t(s_.m), .vectors = uint8_t(warps),
            .flags = uint8_t(s_.type == DType::bf16 ? KTile::of_bf16 : s_.type == DType::f16 ? KTile::of_f16 : 0), .lanes = 4, .operands = {}};
    for (Kv o : {b_.address(w, b_.dim(s_.w_address.base)), index(s_.w_step), n0, index(s_.n), a, a_step, index(s_.k), parts}) t.operands.push_back(o.id);
    b_.tile(std::move(t));
    b_.barrier();
    results(parts, n0);
    return b_.finish();
  }

 private:
  Kv index(int64_t v) { return b_.index(v); }

  void bind_flat(const Contraction::Axes& axes, Kv position) {
    for (size_t i = axes.size(); i-- > 0;) {
      if (i == 0) { body_.bind(axes[i], position); break; }
      const Kv n = b_.dim(loop_.axes[size_t(axes[i])].extent), q = b_.op(Scalar::div, position, n);
      body_.bind(axes[i], position - q * n);
      position = q;
    }
  }

  // The points of 0 ... n - 1 that this thread has, all of their reads under way together.
  template <class F>
  void share(int64_t n, const F& point) {
    const Kv u = b_.begin_for(index(0), index((n + threads - 1) / threads), index(1), LoopHint::unroll);
    const Kv at = u * index(threads) + thread_;
    const bool whole = n % threads == 0;
    if (!whole) b_.begin_if(lt(at, index(n)));
    body_.open();
    point(at);
    body_.close();
    if (!whole) b_.end();
    b_.end();
  }

  // The block's rows of W start on their way to the L2 cache.
  void ask_for(uint32_t w, Kv n0) {
    const int64_t line = 128 / dtype_bytes(s_.type), lines = (s_.k + line - 1) / line;
    const Kv base = b_.dim(s_.w_address.base), last = index(s_.n - 1);
    share(lines * tile_rows, [&](Kv at) {
      const Kv row = b_.op(Scalar::div, at, index(lines));
      const Kv element = base + b_.op(Scalar::min, n0 + row, last) * index(s_.w_step) + (at - row * index(lines)) * index(line);
      KInst i{.op = KOp::prefetch, .type = {s_.type, 1}, .operand_count = 1, .imm = int64_t(w)};
      i.operand[0] = element.id;
      b_.add(i);
    });
  }

  void compute_rows(Kv array) {
    std::vector<Kv> sums;
    for (size_t r = 0; r < s_.reduces.size(); ++r) sums.push_back(b_.local(DType::f32, s_.m * warps, Space::shared));
    const Kv m = b_.begin_for(index(0), index(s_.m), index(1));
    body_.open();
    bind_flat(s_.c.m, m);
    for (size_t r = 0; r < s_.reduces.size(); ++r) reduce(s_.reduces[r], sums[r], m * index(warps));
    share(s_.k, [&](Kv at) {
      bind_flat(s_.c.k, at);
      b_.local_store(array, m * index(s_.a_stride()) + at, body_.value(s_.a));
    });
    body_.close();
    b_.end();
    b_.barrier();
  }

  // Over the threads of the block; every one of them has the result.
  void reduce(ValueId v, Kv array, Kv first) {
    const Inst& i = loop_.insts[v];
    const int axis = std::countr_zero(i.axes);
    const Kv var = b_.var(b_.bits(DType::f32, combine_identity(i.combine, DType::f32), 1));
    share(loop_.axes[size_t(axis)].extent.value(), [&](Kv at) {
      body_.bind(axis, at);
      b_.set(var, b_.combine(i.combine, b_.get(var), b_.cast(body_.value(i.operand[0]), DType::f32)));
    });
    const auto over_warp = [&](Kv x, int lanes) {
      for (int mask = lanes / 2; mask >= 1; mask /= 2) x = b_.combine(i.combine, x, b_.shuffle_xor(x, mask));
      return x;
    };
    const Kv x = over_warp(b_.get(var), 32), lane = thread_ & index(31);
    b_.begin_if(eq(lane, index(0)));
    b_.local_store(array, first + b_.op(Scalar::shr, thread_, index(5)), x);
    b_.end();
    b_.barrier();
    body_.define(v, b_.cast(over_warp(b_.local_load(array, first + (thread_ & index(warps - 1)), 1), warps), i.dtype));
  }

  // A thread adds what the warps have of one result, and stores it.
  void results(Kv parts, Kv n0) {
    const Kv column = thread_ & index(tile_rows - 1), row = b_.op(Scalar::shr, thread_, index(std::countr_zero(unsigned(tile_rows))));
    const Kv n = n0 + column;
    Kv mine = lt(thread_, index(s_.m * tile_rows));
    if (s_.n % tile_rows) mine = mine & lt(n, index(s_.n));
    b_.begin_if(mine);
    body_.open();
    bind_flat(s_.c.m, row);
    bind_flat(s_.c.n, n);
    Kv sum = b_.local_load(parts, thread_, 1);
    for (int w = 1; w < warps; ++w) sum = sum + b_.local_load(parts, thread_ + index(w * s_.m * tile_rows), 1);
    body_.define(s_.c.sum, sum);
    for (const Store& st : loop_.stores) body_.value(st.value);
    for (const Store& st : loop_.stores) body_.store(st);
    body_.close();
    b_.end();
  }

  const Loop& loop_;
  const Skinny& s_;
  KernelBuilder b_;
  BodyLowering body_;
  Kv thread_;
};

}  // namespace

std::optional<Kernel> skinny_kernel(const Loop& loop, const Target& target, std::string& refusal) {
  Matcher m{loop, target, refusal};
  if (!m.run()) return std::nullopt;
  return Template(loop, m.s).run();
}

bool takes_skinny(const Loop& loop, const Target& target, std::string& refusal) { return Matcher{loop, target, refusal}.run(); }

}  // namespace phlox

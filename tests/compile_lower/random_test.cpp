// Random loops: axes of all sizes, strided, broadcast and predicated accesses, nested and repeated reductions, scans,
// several stores. Kernel and interpreter must agree in every bit.
#include <cstdlib>

#include "../loop/samples.h"
#include "check.h"

using namespace phlox;
using namespace phlox::harness;
using samples::bit;

namespace {

struct Generator {
  uint64_t state;
  bool symbolic;
  LoopBuilder b = LoopBuilder();
  std::vector<int64_t> extents, symbols;
  std::vector<int64_t> counts;  // elements of each parameter
  std::vector<Sv> values;       // all f32

  int pick(int n) { return int(next(state) % uint64_t(n)); }
  bool chance(int percent) { return pick(100) < percent; }

  int new_axis() {
    static constexpr int64_t sizes[] = {1, 2, 3, 5, 8, 16, 31, 32, 33, 64, 70, 130};
    const int64_t e = sizes[pick(12)];
    extents.push_back(e);
    if (symbolic && chance(60)) {
      symbols.push_back(e);
      return b.new_axis(Dim::symbol(int(symbols.size()) - 1));
    }
    return b.new_axis(e);
  }
  int64_t value_of(Dim d) { return evaluate(d, symbols); }

  // An address over some of the axes: row-major in a random order, perhaps with gaps, and its number of elements.
  Sv address(AxisMask axes, int64_t& count, bool dense) {
    std::vector<int> order;
    for (int a = 0; a < int(extents.size()); ++a) if (axes >> a & 1) order.push_back(a);
    if (chance(30)) for (size_t n = order.size(); n > 1; --n) std::swap(order[n - 1], order[size_t(pick(int(n)))]);
    Dim stride = !dense && chance(20) ? 2 : 1;
    Sv at = b.constant_int(DType::i64, 0);
    for (size_t n = order.size(); n-- > 0;) {
      at = b.index_add(at, b.index_mul(b.axis(order[n]), stride));
      stride = stride * b.loop().axes[size_t(order[n])].extent;
      if (!dense && chance(15)) stride = stride + 3;
    }
    count = value_of(stride) + 4;
    return at;
  }
  AxisMask random_axes(AxisMask from, int percent) {
    AxisMask m = 0;
    for (int a = 0; a < int(extents.size()); ++a) if ((from >> a & 1) && chance(percent)) m |= bit(a);
    return m;
  }
  Sv load(AxisMask axes) {
    int64_t count;
    const Sv at = address(axes, count, false);
    static constexpr DType types[] = {DType::f32, DType::f32, DType::f32, DType::bf16, DType::i32, DType::boolean, DType::f64};
    const DType d = types[pick(7)];
    const uint32_t p = b.param(Param::Kind::in, d);
    counts.push_back(count);
    Sv predicate;
    if (chance(15)) predicate = at < b.constant_int(DType::i64, count / 2);
    return b.cast(b.load(p, at, predicate), DType::f32);
  }
  Sv any_value() { return values[size_t(pick(int(values.size())))]; }
  void grow() {
    const Sv x = any_value(), y = any_value();
    switch (pick(12)) {
      case 0: case 1: values.push_back(x + y); break;
      case 2: values.push_back(x * y); break;
      case 3: values.push_back(x - y); break;
      case 4: values.push_back(b.op(Scalar::max, x, y)); break;
      case 5: values.push_back(b.select(x < y, x, b.constant(DType::f32, 0.25))); break;
      case 6: values.push_back(b.op(Scalar::exp, b.op(Scalar::min, x, b.constant(DType::f32, 2)))); break;
      case 7: if (x.axes()) values.push_back(x + b.cast(b.axis(63 - __builtin_clzll(x.axes())), DType::f32)); break;
      default: {
        AxisMask r = random_axes(x.axes(), 50);
        if (!r) break;
        if (chance(15)) {
          values.push_back(b.scan(Combine::add, x, 63 - __builtin_clzll(r)));
          break;
        }
        static constexpr Order orders[] = {Order::tree32, Order::tree32, Order::tree1, Order::chain};
        const Order o = orders[pick(4)];
        values.push_back(b.reduce(o != Order::chain && chance(30) ? Combine::max : Combine::add, o, o == Order::chain && chance(70) ? x * y : x,
                                  o == Order::chain ? random_axes(x.axes(), 50) & x.axes() : r));
      }
    }
  }
  Loop run() {
    const int axes = 1 + pick(4);
    for (int a = 0; a < axes; ++a) new_axis();
    const AxisMask all = (AxisMask(1) << axes) - 1;
    for (int n = 1 + pick(3); n-- > 0;) values.push_back(load(random_axes(all, 75)));
    for (int n = 3 + pick(8); n-- > 0;) grow();
    for (int n = 1 + (chance(40) ? 1 : 0); n-- > 0;) {
      const Sv v = n ? any_value() : values.back();
      const AxisMask domain = v.axes() | (chance(30) ? random_axes(all, 40) : 0);
      int64_t count;
      const Sv at = address(domain, count, true);
      const DType d = chance(20) ? DType::bf16 : DType::f32;
      const uint32_t p = b.param(Param::Kind::out, d);
      counts.push_back(count);
      b.store(p, at, b.cast(v, d), domain);
    }
    return b.take();
  }
};

bool scans_fit(const Loop& l) {  // two scans along different axes in one expression are no kernel's business yet
  AxisMask m = 0;
  for (const Inst& i : l.insts) if (i.op == Scalar::scan) m |= i.axes;
  return (m & (m - 1)) == 0;
}

TEST(LowerRandom, Loops) {
  const char* more = std::getenv("PHLOX_TEST_SEEDS");
  const uint64_t seeds = more ? std::strtoull(more, nullptr, 10) : 60;
  const char* first = std::getenv("PHLOX_TEST_FIRST_SEED");
  std::vector<Loop> loops;
  std::vector<Arguments> all;
  std::vector<uint64_t> names;
  for (uint64_t seed = first ? std::strtoull(first, nullptr, 10) : 0, n = 0; n < seeds; ++seed, ++n) {
    Generator g{mix64(seed + 1), seed % 3 == 0};
    Loop l = g.run();
    if (!scans_fit(l)) continue;
    verify_loop(l);
    Arguments a;
    for (size_t p = 0; p < l.params.size(); ++p) {
      a.buffers.emplace_back(l.params[p].dtype, g.counts[p]);
      fill(a.buffers.back(), seed * 10 + p);
    }
    a.numbers.resize(l.params.size());
    a.symbols = g.symbols;
    loops.push_back(std::move(l));
    all.push_back(std::move(a));
    names.push_back(seed);
  }
  for (size_t n = 0; n < loops.size(); ++n) {
    SCOPED_TRACE(cat("seed ", names[n]));
    ScheduleOptions options;
    options.providers = false;
    Compiled k = interpreted(loops[n], v4(), options);
    if (!check_one({"interpreter", v4()}, loops[n], k, all[n])) return;
  }
  ScheduleOptions small;  // everything that large loops do, on small ones
  small.split_points = 0;
  small.item_points = 40;
  for (const auto& [c, options] : {std::pair(configs()[0], ScheduleOptions()), std::pair(configs()[1], small)}) {
    std::vector<Compiled> k;
    try {
      k = build(loops, c.target, c.cc, options);
    } catch (const Error& e) {
      for (size_t n = 0; n < loops.size(); ++n) {  // which one
        try {
          lower_loop(loops[n], c.target, options);
        } catch (const Error& x) {
          ADD_FAILURE() << "seed " << names[n] << ": " << x.what() << "\n" << print_loop(loops[n]);
          return;
        }
      }
      FAIL() << e.what();
    }
    for (size_t n = 0; n < loops.size(); ++n) {
      SCOPED_TRACE(cat("seed ", names[n]));
      if (!check_one(c, loops[n], k[n], all[n])) return;
    }
  }
}

}  // namespace

// The interpreter against C++ written out, against the point-by-point interpreter of naive.h, and against itself with
// other block functions, threads and block axes.
#include "loop/interpret.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/error.h"
#include "base/team.h"
#include "naive.h"
#include "random_loop.h"
#include "samples.h"

namespace phlox {

using namespace samples;

namespace {

// Memory for the parameters of a loop, filled with numbers that exercise it.
struct Arguments {
  std::vector<std::vector<int64_t>> memory;
  std::vector<void*> pointers;
  std::vector<int64_t> numbers, symbols;
  int64_t status = 0;
  std::vector<DType> types;
  int64_t elements;

  Arguments(const Loop& loop, int64_t elements, std::vector<int64_t> symbols_, uint64_t seed = 1, bool wild = false)
      : symbols(std::move(symbols_)), elements(elements) {
    std::mt19937_64 rng(seed);
    std::normal_distribution<double> normal;
    for (const Param& p : loop.params) {
      types.push_back(p.dtype);
      std::vector<int64_t> m(size_t(elements) + 1, 0x55aa55aa55aa55aa);
      numbers.push_back(random_bits(p.dtype, rng, normal, wild));
      if (p.kind != Param::Kind::out)
        for (int64_t k = 0; k < elements; ++k) naive::write(p.dtype, m.data(), k, random_bits(p.dtype, rng, normal, wild));
      memory.push_back(std::move(m));
    }
    for (auto& m : memory) pointers.push_back(m.data());
  }
  Arguments(const Arguments& o) { *this = o; }
  Arguments& operator=(const Arguments& o) {
    memory = o.memory; numbers = o.numbers; symbols = o.symbols; types = o.types; elements = o.elements; status = o.status;
    pointers.clear();
    for (auto& m : memory) pointers.push_back(m.data());
    return *this;
  }
  static int64_t random_bits(DType d, std::mt19937_64& rng, std::normal_distribution<double>& normal, bool wild) {
    if (is_bool(d)) return rng() & 1;
    if (wild && rng() % 16 == 0) {
      if (!is_float(d)) return constant_bits_int(d, int64_t(rng()));
      const double odd[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 1e-40, 1e30, -1e300, 65504, 1e-310};
      return constant_bits(d, odd[rng() % std::size(odd)]);
    }
    return is_float(d) ? constant_bits(d, normal(rng)) : constant_bits_int(d, int64_t(rng() % 7) - (is_unsigned(d) ? 0 : 3));
  }
  LoopArgs args() { return {pointers, numbers, symbols, &status}; }
  template <class T> T* at(uint32_t p) { return reinterpret_cast<T*>(memory[p].data()); }
};

void expect_same(const Loop& loop, const Arguments& a, const Arguments& b) {
  EXPECT_EQ(a.status == 0, b.status == 0);
  for (size_t p = 0; p < loop.params.size(); ++p) {
    if (a.memory[p] == b.memory[p]) continue;
    const DType d = loop.params[p].dtype;
    for (int64_t k = 0; k < a.elements; ++k) {
      const int64_t x = naive::read(d, a.memory[p].data(), k), y = naive::read(d, b.memory[p].data(), k);
      if (x == y || (is_float(d) && std::isnan(naive::to_double(d, x)) && std::isnan(naive::to_double(d, y)))) continue;
      FAIL() << "p" << p << "[" << k << "]: " << naive::to_double(d, x) << " and " << naive::to_double(d, y) << "\n" << print_loop(loop);
    }
  }
}

// Runs the loop on both interpreters.
void expect_as_documented(const Loop& loop, Arguments a) {
  verify_loop(loop);
  Arguments b = a;
  interpret_loop(loop, a.args());
  const LoopArgs args = b.args();
  naive::Interpreter(loop, args).run();
  expect_same(loop, a, b);
}

Arguments run(const Loop& loop, int64_t elements, std::vector<int64_t> symbols = {}, uint64_t seed = 1,
              InterpretMode mode = InterpretMode::exact) {
  verify_loop(loop);
  Arguments a(loop, elements, std::move(symbols), seed);
  interpret_loop(loop, a.args(), mode);
  return a;
}

}  // namespace

TEST(Interpret, map) {
  Arguments a = run(map(5, 300), 1500);
  for (int k = 0; k < 1500; ++k) {
    const float x = a.at<float>(0)[k];
    ASSERT_EQ(a.at<float>(1)[k], (x > 0 ? x : 0) * 2 + x);
  }
  EXPECT_EQ(a.memory[1][750], 0x55aa55aa55aa55aa);  // not one element more
}

TEST(Interpret, softmax_and_layer_norm_are_near_double) {
  const int m = 7, n = 333;
  Arguments s = run(softmax(m, n), m * n), w = run(softmax(m, n), m * n, {}, 1, InterpretMode::wide);
  Arguments l = run(layer_norm(m, n), m * n), lw = run(layer_norm(m, n), m * n, {}, 1, InterpretMode::wide);
  for (int r = 0; r < m; ++r) {
    const float* x = s.at<float>(0) + r * n;
    double top = -INFINITY, sum = 0, mean = 0, var = 0;
    for (int k = 0; k < n; ++k) top = std::max(top, double(x[k]));
    for (int k = 0; k < n; ++k) sum += std::exp(x[k] - top);
    for (int k = 0; k < n; ++k) {
      const double y = std::exp(x[k] - top) / sum;
      ASSERT_NEAR(s.at<float>(1)[r * n + k] / y, 1, 1e-6);
      ASSERT_EQ(w.at<float>(1)[r * n + k], float(y)) << k;
    }
    const float* z = l.at<float>(0) + r * n;
    const double eps = std::bit_cast<float>(int32_t(l.numbers[3]));
    for (int k = 0; k < n; ++k) mean += double(z[k]) / n;
    for (int k = 0; k < n; ++k) var += (z[k] - mean) * (z[k] - mean) / n;
    for (int k = 0; k < n; ++k) {
      const double y = (z[k] - mean) / std::sqrt(var + eps) * l.at<float>(1)[k];
      if (var + eps <= 0) break;
      ASSERT_NEAR(l.at<float>(2)[r * n + k], y, 1e-5);
      ASSERT_NEAR(lw.at<float>(2)[r * n + k], float(y), 1e-7 * std::abs(y));
    }
  }
}

TEST(Interpret, matmul_chain) {
  const int m = 3, n = 290, k = 700;
  Arguments a = run(matmul(m, n, k), m * k + k * n);
  const float *x = a.at<float>(0), *y = a.at<float>(1), *z = a.at<float>(2);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      float total = 0;
      for (int c = 0; c < k; c += 256) {
        float s = 0;
        for (int p = c; p < std::min(k, c + 256); ++p) s = std::fma(x[i * k + p], y[p * n + j], s);
        total = c ? total + s : s;
      }
      ASSERT_EQ(z[i * n + j], total);
    }
}

TEST(Interpret, sums_have_the_bits_of_their_order) {
  // Sizes around lanes, blocks, chunks and the growth of blocks.
  for (int64_t n : {0, 1, 2, 31, 32, 33, 63, 64, 65, 100, 255, 256, 257, 511, 513, 1000, 4097, 8191, 8192, 8193, 16385, 40000})
    for (Order o : {Order::tree32, Order::tree1, Order::chain})
      for (int64_t columns : {1, 3, 70}) {
        if (n * columns > 100000) continue;
        SCOPED_TRACE(cat(n, " ", order_name(o), " ", columns));
        const Loop loop = column_sum(n, columns, o);
        expect_as_documented(loop, Arguments(loop, n * columns + columns, {}, uint64_t(n)));
      }
  for (int64_t inner : {1, 5, 32, 300})  // a reduction over two axes, the rows of lanes not aligned to blocks
    for (Order o : {Order::tree32, Order::chain}) {
      LoopBuilder b;
      const int a0 = b.new_axis(9), a1 = b.new_axis(7), a2 = b.new_axis(inner);
      const uint32_t in = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
      const Sv x = b.load(in, row_major(b, {a1, a0, a2}, {7, 9, inner}));
      b.store(out, b.axis(a1), b.reduce(Combine::add, o, x, bit(a0) | bit(a2)), bit(a1));
      const Loop loop = b.take();
      expect_as_documented(loop, Arguments(loop, 63 * inner, {}, 5));
    }
}

TEST(Interpret, samples_are_as_documented) {
  const int64_t sizes[][3] = {{1, 1, 1}, {2, 3, 4}, {5, 33, 7}, {3, 300, 2}, {70, 1, 5}, {0, 3, 2}, {3, 0, 0}};
  for (const Named& n : samples::all())
    for (auto& s : sizes) {
      SCOPED_TRACE(cat(n.name, " ", s[0], " ", s[1], " ", s[2]));
      Arguments a(n.loop, 10000, {s[0], s[1], s[2]}, 7);
      if (std::string_view(n.name) == "gather" || std::string_view(n.name) == "scatter_add")  // indices in range
        for (int64_t k = 0; k < 10000; ++k) a.at<int64_t>(1)[k] = (a.at<int64_t>(1)[k] + 3) % (s[0] ? s[0] : 1);
      expect_as_documented(n.loop, a);
    }
}

TEST(Interpret, bad_indices_are_reported_and_read_element_zero) {
  Arguments a(gather(4, 3, 5), 64, {});
  const int64_t index[5] = {1, -1, 4, -9, 0};
  std::memcpy(a.at<int64_t>(1), index, sizeof index);
  interpret_loop(gather(4, 3, 5), a.args());
  EXPECT_TRUE(a.status == 5 || a.status == -9) << a.status;  // either of the two
  const int64_t rows[5] = {1, 3, 0, 0, 0};
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 3; ++j) EXPECT_EQ(a.at<float>(2)[i * 3 + j], a.at<float>(0)[rows[i] * 3 + j]);
}

TEST(Interpret, conflicting_stores_happen_in_order) {
  for (Conflict c : {Conflict::last, Conflict::ordered_add, Conflict::ordered_mul, Conflict::ordered_min, Conflict::ordered_max})
    for (DType d : {DType::f32, DType::bf16, DType::f64, DType::i32, DType::u8}) {
      LoopBuilder b;
      const int a0 = b.new_axis(6), a1 = b.new_axis(400);
      const uint32_t in = b.param(Param::Kind::in, d), out = b.param(Param::Kind::inout, d);
      const Sv at = row_major(b, {a0, a1}, {6, 400});
      b.store(out, b.index_mod(at, 13), b.load(in, at), bit(a0) | bit(a1), c);
      const Loop loop = b.take();
      SCOPED_TRACE(cat(conflict_name(c), " ", d));
      expect_as_documented(loop, Arguments(loop, 2400, {}, 11));
    }
}

// Two results of one operand, one of them in the operand's own memory; two values exchanged.
TEST(Interpret, what_is_stored_in_place_is_read_before) {
  for (bool exchange : {false, true}) {
    LoopBuilder b;
    const int a0 = b.new_axis(1000);
    const uint32_t x = b.param(Param::Kind::inout, DType::f32), y = b.param(Param::Kind::inout, DType::f32);
    const Sv at = b.axis(a0), vx = b.load(x, at), vy = b.load(y, at);
    b.store(x, at, exchange ? vy : vx * b.constant(DType::f32, 2), bit(a0));
    b.store(y, at, exchange ? vx : vx + vy, bit(a0));
    const Loop loop = b.take();
    Arguments a(loop, 1000, {});
    const Arguments before = a;
    interpret_loop(loop, a.args());
    for (int64_t k = 0; k < 1000; ++k) {
      const float p = reinterpret_cast<const float*>(before.memory[0].data())[k], q = reinterpret_cast<const float*>(before.memory[1].data())[k];
      EXPECT_EQ(a.at<float>(0)[k], exchange ? q : p * 2);
      EXPECT_EQ(a.at<float>(1)[k], exchange ? p : p + q);
    }
  }
}

// Enough work for several threads, which may not share it.
TEST(Interpret, conflicting_stores_of_large_loops_happen_in_order) {
  constexpr int64_t n = 1 << 20;
  for (Conflict c : {Conflict::last, Conflict::ordered_add}) {
    LoopBuilder b;
    const int a0 = b.new_axis(64), a1 = b.new_axis(n / 64);
    const uint32_t out = b.param(Param::Kind::inout, DType::i64);
    const Sv at = row_major(b, {a0, a1}, {64, n / 64});
    b.store(out, b.index_mod(at, 3), at, bit(a0) | bit(a1), c);
    const Loop loop = b.take();
    for (int round = 0; round < 3; ++round) {
      Arguments a(loop, 3, {});
      std::fill_n(a.at<int64_t>(0), 3, 0);
      interpret_loop(loop, a.args());
      for (int64_t k = 0; k < 3; ++k) {
        int64_t want = 0;
        for (int64_t i = k; i < n; i += 3) want = c == Conflict::last ? i : want + i;
        EXPECT_EQ(a.at<int64_t>(0)[k], want) << conflict_name(c);
      }
    }
  }
}

TEST(Interpret, wide_mode_rounds_only_at_stores) {
  LoopBuilder b;  // (1 + x) - 1 for tiny x: lost in f32, kept in f64
  const int a = b.new_axis(10);
  const uint32_t in = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
  const Sv one = b.constant(DType::f32, 1), x = b.load(in, b.axis(a)) * b.constant(DType::f32, 0x1p-30);
  b.store(out, b.axis(a), b.cast(b.cast((one + x) - one, DType::bf16), DType::f32), bit(a));
  const Loop loop = b.take();
  Arguments e = run(loop, 10), w = run(loop, 10, {}, 1, InterpretMode::wide);
  for (int k = 0; k < 10; ++k) {
    EXPECT_EQ(e.at<float>(1)[k], 0);
    EXPECT_EQ(w.at<float>(1)[k], float((1 + w.at<float>(0)[k] * 0x1p-30) - 1));
  }
}

TEST(Interpret, stepwise_rounding_of_16_bit_values) {
  for (DType d : {DType::bf16, DType::f16}) {
    LoopBuilder b;
    const int a0 = b.new_axis(4), a1 = b.new_axis(40);
    const uint32_t in = b.param(Param::Kind::in, d), out = b.param(Param::Kind::out, d), sum = b.param(Param::Kind::out, d);
    const Sv at = row_major(b, {a0, a1}, {4, 40}), x = b.load(in, at);
    b.store(out, at, x * x + b.constant(d, 0.3) / x, bit(a0) | bit(a1));
    b.store(sum, b.axis(a0), b.reduce(Combine::add, Order::tree32, x, bit(a1)), bit(a0));
    const Loop loop = b.take();
    expect_as_documented(loop, Arguments(loop, 160, {}, 3));
  }
}

TEST(Interpret, philox_words) {
  LoopBuilder b;
  const int a = b.new_axis(600);
  const uint32_t seed = b.param(Param::Kind::number, DType::i64), out = b.param(Param::Kind::out, DType::i64);
  for (int w = 0; w < 4; ++w) {
    const Sv v = b.philox(b.number(seed), b.constant_int(DType::i64, INT64_MIN + 5), b.axis(a), w);
    b.store(out, b.index_add(b.index_mul(b.axis(a), 4), b.constant_int(DType::i64, w)), v, bit(a));
  }
  const Loop loop = b.take();
  Arguments x(loop, 2400, {});
  x.numbers[0] = int64_t(0x123456789abcdef0);
  interpret_loop(loop, x.args());
  for (uint64_t k = 0; k < 600; ++k) {
    const PhiloxCounter c = philox_block(0x123456789abcdef0, uint64_t(INT64_MIN) + 5, k);
    for (size_t w = 0; w < 4; ++w) ASSERT_EQ(x.at<int64_t>(1)[4 * k + w], c[w]);
  }
}

TEST(Interpret, results_do_not_depend_on_threads) {
  const int before = team().num_threads();
  const Loop loops[] = {softmax(400, 300), matmul(40, 300, 300), column_sum(3000, 500), cumsum(300, 400, 0), layer_norm(300, 257)};
  for (const Loop& loop : loops) {
    team().set_num_threads(1);
    Arguments one = run(loop, 1600000);
    team().set_num_threads(4);
    Arguments four = run(loop, 1600000);
    expect_same(loop, one, four);
  }
  team().set_num_threads(before);
}

// Every scalar op on every type, over numbers of all kinds.
TEST(Interpret, every_scalar_op_on_every_type) {
  const DType types[] = {DType::boolean, DType::u8, DType::i8, DType::i16, DType::i32, DType::i64, DType::f16, DType::bf16,
                         DType::f32, DType::f64, DType::u16, DType::u32, DType::u64};
  int checked = 0;
  for (DType d : types)
    for (int o = int(Scalar::add); o < scalar_op_count; ++o) {
      const Scalar op = Scalar(o);
      if (scalar_info(op).result == ScalarResult::own) continue;
      LoopBuilder b;
      const int a = b.new_axis(700);
      uint32_t in[3];
      Sv x[3];
      for (int k = 0; k < 3; ++k) { in[k] = b.param(Param::Kind::in, d); x[k] = b.load(in[k], b.axis(a)); }
      const DType result = scalar_info(op).result == ScalarResult::test ? DType::boolean : d;
      const uint32_t out = b.param(Param::Kind::out, result);
      Sv v;
      switch (scalar_info(op).operands) {
        case 1: v = b.op(op, x[0]); break;
        case 2: v = b.op(op, x[0], x[1]); break;
        default: v = b.op(op, x[0], x[1], x[2]);
      }
      b.store(out, b.axis(a), v, bit(a));
      const Loop loop = b.take();
      try {
        verify_loop(loop);
      } catch (const InternalError&) {
        continue;  // no meaning for this type
      }
      ++checked;
      SCOPED_TRACE(cat(scalar_info(op).name, " ", d));
      for (uint64_t seed = 0; seed < 3; ++seed) expect_as_documented(loop, Arguments(loop, 700, {}, seed, true));
    }
  EXPECT_GT(checked, 300);
}

TEST(Interpret, casts_between_all_types) {
  const DType types[] = {DType::boolean, DType::u8, DType::i8, DType::i16, DType::i32, DType::i64, DType::f16, DType::bf16,
                         DType::f32, DType::f64, DType::u16, DType::u32, DType::u64};
  for (DType from : types)
    for (DType to : types) {
      if (from == to) continue;
      LoopBuilder b;
      const int a = b.new_axis(900);
      const uint32_t in = b.param(Param::Kind::in, from), out = b.param(Param::Kind::out, to);
      b.store(out, b.axis(a), b.cast(b.load(in, b.axis(a)), to), bit(a));
      const Loop loop = b.take();
      SCOPED_TRACE(cat(from, " to ", to));
      Arguments x(loop, 900, {}, 1, true);
      std::mt19937_64 rng(9);
      if (is_float(from))  // near the limits of the integer types
        for (int k = 0; k < 900; ++k)
          naive::write(from, x.memory[in].data(), k, constant_bits(from, (rng() % 2 ? 1 : -1) * std::ldexp(1 + double(rng() % 64) / 32, int(rng() % 70) - 3)));
      expect_as_documented(loop, x);
    }
}

TEST(Interpret, folded_casts_are_evaluated_casts) {
  const DType types[] = {DType::boolean, DType::u8, DType::i8, DType::i32, DType::i64, DType::f16, DType::bf16, DType::f32, DType::f64, DType::u32, DType::u64};
  const int64_t values[] = {0, 1, -1, 255, 16777217, 0x7fffffff, int64_t(0x7fffffbfffffffff), INT64_MIN, INT64_MAX, 0x1000000010000001};
  for (DType from : types)
    for (DType to : types)
      for (int64_t v : values) {
        if (from == to) continue;
        LoopBuilder b;
        const uint32_t p = b.param(Param::Kind::number, from), out = b.param(Param::Kind::out, to);
        const Sv zero = b.constant_int(DType::i64, 0);
        b.store(out, zero, b.cast(b.constant_int(from, v), to), 0);
        b.store(out, b.constant_int(DType::i64, 1), b.cast(b.number(p), to), 0);
        const Loop loop = b.take();
        Arguments a(loop, 2, {});
        a.numbers[p] = constant_bits_int(from, v);
        interpret_loop(loop, a.args());
        EXPECT_EQ(naive::read(to, a.memory[out].data(), 0), naive::read(to, a.memory[out].data(), 1)) << cat(from, " ", v, " to ", to);
      }
}

TEST(Interpret, random_loops_are_as_documented) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    const Loop loop = samples::random_loop(seed, 4000);
    expect_as_documented(loop, Arguments(loop, 4000, {1, 1, 1}, seed, seed % 2));
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Interpret, both_instruction_sets_give_the_same_bits) {
  if (!has_avx2()) GTEST_SKIP() << "no AVX2";
  const BlockOps &x = baseline_block_ops(), &y = avx2_block_ops();
  std::mt19937_64 rng(5);
  alignas(64) uint64_t a[256], b[256], c[256], r1[256], r2[256];
  for (int round = 0; round < 20; ++round) {
    for (int k = 0; k < 256; ++k) { a[k] = rng(); b[k] = rng(); c[k] = rng(); }
    for (int o = int(Scalar::add); o < int(Scalar::exp); ++o)
      for (int r = 0; r < 10; ++r) {
        const Scalar op = Scalar(o);
        const BlockFn f = x.op(op, Rep(r)), g = y.op(op, Rep(r));
        ASSERT_EQ(!f, !g);
        if (!f || op == Scalar::select) continue;
        const int64_t n = 2048 / 8;
        std::memset(r1, 0, sizeof r1);
        std::memset(r2, 0, sizeof r2);
        f(r1, a, b, c, n);
        g(r2, a, b, c, n);
        for (int64_t k = 0; k < n; ++k) {
          if (Rep(r) == Rep::f32) {
            const float u = reinterpret_cast<float*>(r1)[k], v = reinterpret_cast<float*>(r2)[k];
            if (std::isnan(u) && std::isnan(v)) continue;
          }
          if (Rep(r) == Rep::f64 && std::isnan(std::bit_cast<double>(r1[k])) && std::isnan(std::bit_cast<double>(r2[k]))) continue;
          const int bytes = scalar_info(op).result == ScalarResult::test ? 1 : rep_bytes(Rep(r));
          ASSERT_EQ(std::memcmp(reinterpret_cast<char*>(r1) + k * bytes, reinterpret_cast<char*>(r2) + k * bytes, size_t(bytes)), 0)
              << scalar_info(op).name << " " << r << " at " << k;
        }
      }
    for (int w = 0; w < 4; ++w) {
      x.philox(w)(r1, a, b, c, 256);
      y.philox(w)(r2, a, b, c, 256);
      ASSERT_EQ(std::memcmp(r1, r2, sizeof r1), 0);
      EXPECT_EQ(r1[7], philox_block(a[7], b[7], c[7])[size_t(w)]);
    }
  }
}

TEST(Interpret, math_functions_have_the_same_bits_on_both_instruction_sets) {
  if (!has_avx2()) GTEST_SKIP() << "no AVX2";
  std::mt19937_64 rng(6);
  std::vector<float> x(256), y(256), r1(256), r2(256);
  std::vector<double> u(256), v(256), q1(256), q2(256);
  for (int round = 0; round < 40; ++round) {
    for (int k = 0; k < 256; ++k) {  // random bits, and numbers of ordinary size
      x[k] = rng() & 1 ? std::bit_cast<float>(uint32_t(rng())) : std::ldexp(float(int32_t(rng())), -int(rng() % 60));
      y[k] = rng() & 1 ? std::bit_cast<float>(uint32_t(rng())) : std::ldexp(float(int32_t(rng())), -int(rng() % 60));
      u[k] = rng() & 1 ? std::bit_cast<double>(rng()) : std::ldexp(double(int64_t(rng())), -int(rng() % 90));
      v[k] = rng() & 1 ? std::bit_cast<double>(rng()) : std::ldexp(double(int64_t(rng())), -int(rng() % 90));
    }
    const int64_t n = round ? 256 - round : 256;
    for (int o = int(Scalar::exp); o < scalar_op_count; ++o) {
      const Scalar op = Scalar(o);
      ASSERT_EQ(!baseline_math_op(op, Rep::f32), !avx2_math_op(op, Rep::f32));
      if (!avx2_math_op(op, Rep::f32)) continue;
      baseline_math_op(op, Rep::f32)(r1.data(), x.data(), y.data(), nullptr, n);
      avx2_math_op(op, Rep::f32)(r2.data(), x.data(), y.data(), nullptr, n);
      baseline_math_op(op, Rep::f64)(q1.data(), u.data(), v.data(), nullptr, n);
      avx2_math_op(op, Rep::f64)(q2.data(), u.data(), v.data(), nullptr, n);
      for (int64_t k = 0; k < n; ++k) {
        if (!(std::isnan(r1[k]) && std::isnan(r2[k]))) {
          ASSERT_EQ(std::bit_cast<uint32_t>(r1[k]), std::bit_cast<uint32_t>(r2[k])) << scalar_info(op).name << " of " << x[k] << " " << y[k];
        }
        if (!(std::isnan(q1[k]) && std::isnan(q2[k]))) {
          ASSERT_EQ(std::bit_cast<uint64_t>(q1[k]), std::bit_cast<uint64_t>(q2[k])) << scalar_info(op).name << " of " << u[k] << " " << v[k];
        }
      }
    }
  }
}

// The functions in f64 that the C library does not have.
TEST(Interpret, wide_special_functions) {
  auto f = [](Scalar op, double x) {
    double y;
    math_block_op(op, Rep::f64, true, DType::f64)(&y, &x, nullptr, nullptr, 1);
    return y;
  };
  auto near = [](double got, double want) { return std::abs(got - want) <= 4e-15 * std::max(1.0, std::abs(want)); };
  const double pi = 3.14159265358979323846, euler = 0.57721566490153286061;
  EXPECT_PRED2(near, f(Scalar::digamma, 1), -euler);
  EXPECT_PRED2(near, f(Scalar::digamma, 0.5), -euler - 2 * std::log(2));
  EXPECT_PRED2(near, f(Scalar::digamma, 10), 2.2517525890667211);
  EXPECT_PRED2(near, f(Scalar::digamma, -1.5), 0.70315664064524319);
  EXPECT_PRED2(near, f(Scalar::digamma, -0.25), -euler - pi / 2 - 3 * std::log(2) + pi + 4);
  EXPECT_EQ(f(Scalar::digamma, 0.0), -INFINITY);
  EXPECT_EQ(f(Scalar::digamma, -0.0), INFINITY);
  EXPECT_TRUE(std::isnan(f(Scalar::digamma, -3)));
  EXPECT_PRED2(near, f(Scalar::trigamma, 1), pi * pi / 6);
  EXPECT_PRED2(near, f(Scalar::trigamma, 0.5), pi * pi / 2);
  EXPECT_PRED2(near, f(Scalar::trigamma, -1.5), pi * pi / 2 + 4 + 4.0 / 9);
  EXPECT_PRED2(near, f(Scalar::trigamma, 100), 0.010050166663333571);
  EXPECT_EQ(f(Scalar::trigamma, -2), INFINITY);
  for (double x = -0.999; x < 1; x += 0.013) EXPECT_PRED2(near, std::erf(f(Scalar::erfinv, x)), x);
  for (double q = 0.3; q > 1e-15; q /= 7) EXPECT_NEAR(std::erfc(f(Scalar::erfinv, 1 - q)) / (1 - (1 - q)), 1, 1e-12);
  EXPECT_PRED2(near, f(Scalar::erfinv, 1e-20) / 1e-20, std::sqrt(pi) / 2);
  EXPECT_EQ(f(Scalar::erfinv, 1), INFINITY);
  EXPECT_EQ(f(Scalar::erfinv, -1), -INFINITY);
  EXPECT_TRUE(std::isnan(f(Scalar::erfinv, 1.5)));
}

}  // namespace phlox

// The builder's index arithmetic against brute force: whatever it simplifies, every point must keep its value.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "loop/interpret.h"
#include "samples.h"

namespace phlox {

using namespace samples;

namespace {

// The values of an i64 expression over all axes, row-major.
std::vector<int64_t> values_of(LoopBuilder& b, Sv v, const std::vector<int64_t>& symbols) {
  Loop loop = b.loop();
  Sv at = b.constant_int(DType::i64, 0);
  AxisMask all = 0;
  int64_t points = 1;
  for (size_t a = 0; a < loop.axes.size(); ++a) {
    // Not index_add: the address must not depend on what is tested.
    Inst i{.op = Scalar::axis, .dtype = DType::i64, .imm = int64_t(a)};
    all |= bit(int(a));
    points *= evaluate(loop.axes[a].extent, symbols);
    auto add = [&](Inst x) {
      loop.insts.push_back(x);
      loop.depends.push_back(depends_of(loop, x));
      return ValueId(loop.insts.size() - 1);
    };
    auto two = [](Scalar op, ValueId x, ValueId y) {
      Inst r{.op = op, .dtype = DType::i64, .operand_count = 2};
      r.operand[0] = x;
      r.operand[1] = y;
      return r;
    };
    const ValueId position = add(i);
    const ValueId extent = add({.op = Scalar::dim, .dtype = DType::i64, .imm = loop.axes[a].extent.raw()});
    at.id = a ? add(two(Scalar::add, add(two(Scalar::mul, at.id, extent)), position)) : position;
  }
  loop.params.push_back({Param::Kind::out, DType::i64});
  loop.stores.push_back({uint32_t(loop.params.size() - 1), at.id, v.id, no_value, all, Conflict::unique});
  verify_loop(loop);
  std::vector<int64_t> out(size_t(std::max<int64_t>(points, 0)));
  std::vector<void*> pointers(loop.params.size(), out.data());
  const std::vector<int64_t> numbers(loop.params.size(), 0);
  interpret_loop(loop, {pointers, numbers, symbols, nullptr});
  return out;
}

int64_t floor_div(int64_t a, int64_t b) { return b == 0 ? 0 : a / b - (a % b != 0 && (a < 0) != (b < 0)); }

bool has_op(const LoopBuilder& b, Sv v, Scalar op) {
  const Inst& i = b.inst(v);
  if (i.op == op) return true;
  for (int k = 0; k < i.operand_count; ++k) if (has_op(b, {v.b, i.operand[k]}, op)) return true;
  return false;
}

}  // namespace

TEST(LoopIndex, random_division_and_remainder_keep_every_value) {
  int simplified = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::mt19937_64 rng(seed);
    auto pick = [&](size_t n) { return int64_t(rng() % n); };
    LoopBuilder b;
    const std::vector<int64_t> symbols{1 + pick(5), 1 + pick(5), pick(4)};
    const int n = int(1 + pick(3));
    for (int a = 0; a < n; ++a) b.new_axis(pick(2) ? Dim(1 + pick(6)) : Dim::symbol(int(pick(3))) * (1 + pick(2)));
    auto size = [&]() -> Dim {
      switch (pick(4)) {
        case 0: return Dim::symbol(int(pick(3)));
        case 1: return b.loop().axes[size_t(pick(size_t(n)))].extent;
        case 2: return b.loop().axes[size_t(pick(size_t(n)))].extent * (1 + pick(3));
        default: return 1 + pick(8);
      }
    };
    Sv x = b.constant_int(DType::i64, pick(4) ? 0 : pick(20) - 10);
    for (int a = 0; a < n; ++a) x = b.index_add(x, b.index_mul(b.axis(a), pick(5) ? size() : Dim(-1) * size()));
    const Dim d = size();
    const std::vector<int64_t> base = values_of(b, x, symbols);
    const int64_t k = evaluate(d, symbols);
    const Sv q = b.index_div(x, d), r = b.index_mod(x, d), in = b.cast(b.in_bounds(x, d), DType::i64);
    simplified += !has_op(b, q, Scalar::floordiv);
    const std::vector<int64_t> quotient = values_of(b, q, symbols), rest = values_of(b, r, symbols), inside = values_of(b, in, symbols);
    for (size_t i = 0; i < base.size(); ++i) {
      ASSERT_EQ(inside[i], base[i] >= 0 && base[i] < k) << seed << "\n" << print_loop(b.loop());
      if (k == 0) continue;  // an empty dimension: its positions are never asked for
      ASSERT_EQ(quotient[i], floor_div(base[i], k)) << seed << "\n" << print_loop(b.loop());
      ASSERT_EQ(rest[i], base[i] - k * floor_div(base[i], k)) << seed << "\n" << print_loop(b.loop());
    }
  }
  EXPECT_GT(simplified, 200);
}

// A tensor of one shape seen through others of as many elements, as views do: row-major position to index and back.
TEST(LoopIndex, random_reshapes_are_the_identity) {
  int without_division = 0, total = 0;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    std::mt19937_64 rng(seed);
    auto pick = [&](size_t n) { return int64_t(rng() % n); };
    const std::vector<int64_t> symbols{1 + pick(4), 1 + pick(4)};
    // Prime-like factors, grouped differently into the shapes.
    std::vector<Dim> factors;
    for (int k = 0; k < 5; ++k) factors.push_back(pick(3) == 0 ? Dim::symbol(int(pick(2))) : Dim(1 + pick(4)));
    auto shape = [&] {
      std::vector<Dim> s{1};
      for (Dim f : factors) {
        if (pick(2)) s.push_back(1);
        s.back() = s.back() * f;
      }
      return s;
    };
    LoopBuilder b;
    const std::vector<Dim> first = shape();
    std::vector<Sv> index;
    for (Dim e : first) index.push_back(b.axis(b.new_axis(e)));
    auto linear = [&](const std::vector<Sv>& at, const std::vector<Dim>& s) {
      Dims strides(s.size(), 1);
      for (size_t k = s.size(); k-- > 1;) strides[k - 1] = strides[k] * s[k];
      return b.linear(at, strides);
    };
    const Sv before = linear(index, first);
    Sv position = before;
    for (int hop = 0; hop < 3; ++hop) {
      const std::vector<Dim> s = shape();
      std::vector<Sv> at(s.size());
      Sv rest = position;
      for (size_t k = s.size(); k-- > 0;) {
        at[k] = k ? b.index_mod(rest, s[k]) : rest;
        if (k) rest = b.index_div(rest, s[k]);
      }
      position = linear(at, s);
    }
    ++total;
    without_division += !has_op(b, position, Scalar::floordiv) && !has_op(b, position, Scalar::floormod);
    ASSERT_EQ(values_of(b, position, symbols), values_of(b, before, symbols)) << seed << "\n" << print_loop(b.loop());
  }
  EXPECT_GT(without_division, 0);
  RecordProperty("reshapes", total);
  RecordProperty("without_division", without_division);
}

TEST(LoopIndex, what_ranges_decide_folds) {
  const Dim m = Dim::symbol(0), n = Dim::symbol(1);
  LoopBuilder b;
  const int a0 = b.new_axis(m), a1 = b.new_axis(n);
  const Sv i = b.axis(a0), j = b.axis(a1), p = b.index_add(b.index_mul(i, n), j);
  EXPECT_EQ(b.index_div(p, n).id, i.id);
  EXPECT_EQ(b.index_mod(p, n).id, j.id);
  EXPECT_EQ(b.index_mod(p, m * n).id, p.id);
  EXPECT_EQ(b.in_bounds(i, m).id, b.constant_int(DType::boolean, 1).id);
  EXPECT_EQ(b.in_bounds(p, m * n).id, b.constant_int(DType::boolean, 1).id);
  EXPECT_EQ(b.checked_index(i, m).id, i.id);
  EXPECT_NE(b.checked_index(i, n).id, i.id);
  const Sv flipped = b.index_add(b.index_mul(i, -1), b.dim(m - 1));  // m - 1 - i
  EXPECT_EQ(b.in_bounds(flipped, m).id, b.constant_int(DType::boolean, 1).id);
  const Sv far = b.index_add(b.index_mul(i, n * Dim(-1)), b.constant_int(DType::i64, 5));  // 5 - n * i may be negative
  EXPECT_TRUE(has_op(b, b.in_bounds(far, 100), Scalar::le));
}

// Numbers that are data, not addresses: they wrap, and never meet the arithmetic of sizes.
TEST(LoopIndex, large_constants_stay_data) {
  LoopBuilder b;
  const int a = b.new_axis(4);
  const int64_t big[] = {INT64_MIN, INT64_MAX, INT64_MIN / 2, int64_t(1) << 62, -(int64_t(1) << 50)};
  for (int64_t k : big)
    for (int64_t l : big) {
      const Sv x = b.axis(a) * b.constant_int(DType::i64, k) + b.constant_int(DType::i64, l);
      const Sv y = (x - b.constant_int(DType::i64, k)) * b.constant_int(DType::i64, l);
      const std::vector<int64_t> v = values_of(b, y, {});
      for (uint64_t i = 0; i < 4; ++i)
        EXPECT_EQ(v[i], int64_t((i * uint64_t(k) + uint64_t(l) - uint64_t(k)) * uint64_t(l)));
    }
}

TEST(LoopIndex, affine_of_ends_on_shared_expressions) {
  std::string text = "loop {\n  axes a0: 4\n  %0 = axis a0 : i64\n";
  for (int k = 1; k < 200; ++k) text += cat("  %", k, " = add %", k - 1, ", %", k - 1, " : i64\n");
  const Loop loop = parse_loop(text + "}\n");
  EXPECT_TRUE(affine_of(loop, 8).ok);
  EXPECT_EQ(affine_of(loop, 8).coefficient(0), Dim(256));
  EXPECT_FALSE(affine_of(loop, 199).ok);
}

}  // namespace phlox

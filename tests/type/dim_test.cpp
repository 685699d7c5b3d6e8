// The algebra of sizes against plain arithmetic, its text, its questions and guards.
#include "type/dim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"

namespace phlox {

namespace {

constexpr int symbol_count = 4;

// A random expression and, beside it, what it evaluates to for each of several assignments.
struct Sample {
  Dim dim;
  std::vector<int64_t> values;
};
int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

class Random {
 public:
  explicit Random(uint64_t seed) : rng_(seed) {
    for (int k = 0; k < 12; ++k) {
      std::vector<int64_t> s;
      for (int i = 0; i < symbol_count; ++i) s.push_back(int64_t(rng_() % (k < 6 ? 7 : 1000)));
      assignments_.push_back(s);
    }
  }
  const std::vector<std::vector<int64_t>>& assignments() const { return assignments_; }

  Sample expression(int depth) {
    if (depth == 0 || pick(5) == 0) return pick(2) ? constant(int64_t(pick(9)) - 3) : symbol(int(pick(symbol_count)));
    const Sample a = expression(depth - 1), b = expression(depth - 1);
    switch (pick(7)) {
      case 0: return both(a, b, a.dim + b.dim, [](int64_t x, int64_t y) { return x + y; });
      case 1: return both(a, b, a.dim - b.dim, [](int64_t x, int64_t y) { return x - y; });
      case 2: return both(a, b, a.dim * b.dim, [](int64_t x, int64_t y) { return x * y; });
      case 3: return both(a, b, min(a.dim, b.dim), [](int64_t x, int64_t y) { return std::min(x, y); });
      case 4: return both(a, b, max(a.dim, b.dim), [](int64_t x, int64_t y) { return std::max(x, y); });
      default: break;
    }
    // Divisors that are never 0 here: constants, and symbol products plus 1.
    Sample d = pick(2) ? constant(int64_t(1 + pick(6)) * (pick(4) ? 1 : -1)) : symbol(int(pick(symbol_count)));
    if (!d.dim.is_const()) {
      d.dim = d.dim * int64_t(1 + pick(2)) + 1;
      const Dim s = d.dim;
      d.values.clear();
      for (auto& x : assignments_) d.values.push_back(evaluate(s, x));
    }
    Sample n = a;
    if (pick(2)) n = both(both(a, d, a.dim * d.dim, [](int64_t x, int64_t y) { return x * y; }), b, a.dim * d.dim + b.dim,
                          [](int64_t x, int64_t y) { return x + y; });  // partly divisible
    switch (pick(3)) {
      case 0: return both(n, d, floordiv(n.dim, d.dim), floor_div);
      case 1: return both(n, d, mod(n.dim, d.dim), [](int64_t x, int64_t y) { return x - y * floor_div(x, y); });
      default: return both(n, d, ceildiv(n.dim, d.dim), [](int64_t x, int64_t y) { return floor_div(x + y - 1, y); });
    }
  }

 private:
  size_t pick(size_t n) { return size_t(rng_() % n); }
  Sample constant(int64_t v) { return {v, std::vector<int64_t>(assignments_.size(), v)}; }
  Sample symbol(int id) {
    Sample s{Dim::symbol(id), {}};
    for (auto& a : assignments_) s.values.push_back(a[size_t(id)]);
    return s;
  }
  template <class F>
  Sample both(const Sample& a, const Sample& b, Dim d, F f) {
    Sample s{d, {}};
    for (size_t k = 0; k < assignments_.size(); ++k) s.values.push_back(f(a.values[k], b.values[k]));
    return s;
  }
  std::mt19937_64 rng_;
  std::vector<std::vector<int64_t>> assignments_;
};

Dim s(int id) { return Dim::symbol(id); }
std::string text(Dim d) { return cat(d); }
Dim parsed(const std::string& t) {
  const char* p = t.c_str();
  const Dim d = parse_dim(p);
  EXPECT_EQ(*p, 0) << t;
  return d;
}

template <class F>
ErrorCode code_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::io;
}

}  // namespace

TEST(Dim, expressions_evaluate_as_plain_arithmetic) {
  int symbolic = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    Random random(seed);
    const Sample x = random.expression(4);
    symbolic += !x.dim.is_const();
    for (size_t k = 0; k < x.values.size(); ++k)
      ASSERT_EQ(evaluate(x.dim, random.assignments()[k]), x.values[k]) << seed << ": " << text(x.dim);
    const bool nonnegative = known_nonnegative(x.dim);
    for (int64_t v : x.values) ASSERT_TRUE(v >= 0 || !nonnegative) << text(x.dim);
    ASSERT_EQ(parsed(text(x.dim)), x.dim) << seed << ": " << text(x.dim);
    // Substituting the values gives the value; substituting the symbols themselves, the expression.
    Dims numbers;
    for (int64_t v : random.assignments()[0]) numbers.push_back(v);
    ASSERT_EQ(substitute(x.dim, numbers), Dim(x.values[0])) << text(x.dim);
    ASSERT_EQ(substitute(x.dim, {}), x.dim);
  }
  EXPECT_GT(symbolic, 2000);
}

TEST(Dim, equal_sums_and_products_are_identical) {
  const Dim a = s(0), b = s(1), c = s(2);
  EXPECT_EQ((a + b) * (a - b), a * a - b * b);
  EXPECT_EQ(a + b + c, c + a + b);
  EXPECT_EQ((a + 1) * 4 - 4, 4 * a);
  EXPECT_EQ(a - a, Dim(0));
  EXPECT_EQ(floordiv(a * b * 4, b), a * 4);
  EXPECT_EQ(floordiv(a * 6 + 3, 3), a * 2 + 1);
  EXPECT_EQ(mod(a * b + c, b), mod(c, b));
  EXPECT_EQ(mod(a * 8 + 3, 4), Dim(3));
  EXPECT_EQ(min(a + 1, a), a);
  EXPECT_EQ(max(a + b, a + b + 2), a + b + 2);
  EXPECT_EQ(min(a, b), min(b, a));
  EXPECT_NE(floordiv(a, 2) * 2, a);
  EXPECT_EQ(a.symbol_id(), 0);
  EXPECT_EQ((a + 0).symbol_id(), 0);
  EXPECT_EQ((a * 2).symbol_id(), -1);
  EXPECT_EQ(Dim(5).symbol_id(), -1);
}

TEST(Dim, text) {
  EXPECT_EQ(text(s(0) * 4 + 1), "4*s0 + 1");
  // Whatever the order in which symbols and expressions were first seen.
  const Dim late = s(41), later = s(40);
  EXPECT_EQ(text(late + later * late * 2 - 7), "2*s40*s41 + s41 - 7");
  EXPECT_EQ(text(s(1) - s(0) * s(1) * 2 - 7), "-2*s0*s1 + s1 - 7");
  EXPECT_EQ(text(floordiv(s(0) + 3, 4)), "floordiv(s0 + 3, 4)");
  EXPECT_EQ(text(max(s(0), 1) * mod(s(1), s(2))), "max(1, s0)*mod(s1, s2)");
  EXPECT_EQ(parsed("s0*4+1"), s(0) * 4 + 1);
  EXPECT_EQ(parsed(" - s0 - -3"), Dim(3) - s(0));
  EXPECT_EQ(parsed("min(s0, s1 + floordiv(s2, 2))"), min(s(0), s(1) + floordiv(s(2), 2)));
  for (const char* bad : {"", "s", "x", "1 +", "min(1", "min(1, 2", "floordiv(s0, 0)", "mod(s0, 0)", "s99999", "99999999999999999999", "*", "min 1, 2"}) {
    const char* p = bad;
    EXPECT_EQ(code_of([&] { parse_dim(p); }), ErrorCode::invalid_argument) << bad;
  }
}

TEST(Dim, overflow_is_an_error) {
  const Dim big = int64_t(1) << 40;
  EXPECT_EQ(code_of([&] { big * big; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { evaluate(s(0) * s(0), std::vector<int64_t>{int64_t(1) << 40}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { Dim(Dim::tag_limit) - 1; }), ErrorCode::invalid_argument);  // would be a tag
  EXPECT_EQ(code_of([&] { (s(0) - s(0)) + Dim(Dim::tag_limit) * 2; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { Dim sum = 0, product = 1;
                          for (int i = 0; i < 20; ++i) sum = sum + s(i);
                          for (int i = 0; i < 20; ++i) product = product * sum; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([] { floordiv(s(0), 0); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([] { mod(3, 0); }), ErrorCode::invalid_argument);
}

TEST(Dim, symbols_are_collected_through_every_operation) {
  std::vector<bool> seen;
  collect_symbols(floordiv(s(1), s(3) - 1) + min(s(5), 4) * s(0), seen);  // no evaluation: s3 - 1 may be 0
  EXPECT_EQ(seen, (std::vector<bool>{true, true, false, true, false, true}));
  collect_symbols(7, seen);
  EXPECT_EQ(seen.size(), 6u);
}

TEST(Dim, known_signs) {
  EXPECT_TRUE(known_nonnegative(0));
  EXPECT_FALSE(known_nonnegative(-1));
  EXPECT_TRUE(known_nonnegative(s(0) * s(1) + 3));
  EXPECT_FALSE(known_nonnegative(s(0) - 1));
  EXPECT_TRUE(known_nonnegative(max(s(0) - 5, 0)));
  EXPECT_FALSE(known_nonnegative(min(s(0) - 5, 0)));
  EXPECT_TRUE(known_nonnegative(mod(s(0) - 9, 4)));
}

TEST(DimEnv, questions_are_answered_from_examples_and_guarded) {
  EXPECT_THROW(dim_eq(s(0), s(1)), InternalError);  // no environment, no guess
  const int64_t hints[] = {8, 8, 3};
  DimEnv env(hints);
  const DimEnvScope scope(env);
  EXPECT_TRUE(dim_eq(s(0) + s(1), s(1) + s(0)));
  EXPECT_TRUE(dim_lt(s(0), s(0) + 1));
  EXPECT_FALSE(dim_lt(s(0) + 2, s(0)));
  EXPECT_FALSE(dim_eq(s(0), s(0) + 1));
  EXPECT_TRUE(env.guards().empty());  // the algebra decided
  EXPECT_TRUE(dim_eq(s(0), s(1)));
  EXPECT_FALSE(dim_eq(s(0), s(2)));
  EXPECT_TRUE(dim_lt(s(2), s(0)));
  EXPECT_TRUE(dim_le(s(2), s(2)));
  EXPECT_TRUE(dim_eq(s(0), s(1)));  // asked again: no second guard
  EXPECT_EQ(env.guards().size(), 3u);
  auto hold = [&](std::vector<int64_t> v) { return env.guards_hold(v); };
  EXPECT_TRUE(hold({8, 8, 3}));
  EXPECT_TRUE(hold({100, 100, 1}));
  EXPECT_FALSE(hold({8, 9, 3}));
  EXPECT_FALSE(hold({8, 8, 8}));
  EXPECT_FALSE(hold({2, 2, 5}));
  EXPECT_EQ(dim_hint(s(0) * s(2)), 24);
  EXPECT_EQ(env.guards().size(), 3u);
  EXPECT_EQ(dim_int(s(2), "test"), 3);
  EXPECT_FALSE(hold({8, 8, 2}));
  const Dim fresh = env.new_symbol(5);
  EXPECT_EQ(fresh.symbol_id(), 3);
  EXPECT_EQ(dim_hint(fresh), 5);
}

TEST(DimEnv, fixed_sizes_answer_what_follows_from_them) {
  const int64_t hints[] = {3, 5}, others[] = {3, 9};
  DimEnv env(hints);
  const DimEnvScope scope(env);
  EXPECT_EQ(dim_int(s(0), "test"), 3);
  EXPECT_TRUE(dim_eq(3, s(0)));
  EXPECT_TRUE(dim_eq(s(0) * 2, 6));
  EXPECT_TRUE(dim_lt(s(0) - 1, 3));
  EXPECT_EQ(env.guards().size(), 1u);
  EXPECT_TRUE(dim_lt(s(0), s(1)));
  EXPECT_EQ(env.guards().size(), 2u);
  const DimEnv moved = env.at(others);
  EXPECT_EQ(moved.guards().size(), 2u);
  EXPECT_EQ(moved.hints()[1], 9);
}

TEST(DimEnv, scopes_nest) {
  const int64_t one[] = {1}, two[] = {2};
  DimEnv outer(one), inner(two);
  EXPECT_EQ(current_dim_env(), nullptr);
  {
    const DimEnvScope a(outer);
    {
      const DimEnvScope b(inner);
      EXPECT_EQ(dim_hint(s(0)), 2);
    }
    EXPECT_EQ(dim_hint(s(0)), 1);
  }
  EXPECT_EQ(current_dim_env(), nullptr);
}

TEST(DimEnv, keyed_symbols_need_no_guard_for_inequality) {
  const int64_t hints[] = {4, 5, 4};
  DimEnv env(hints, 2);  // s0 and s1 are keyed, s2 is not
  const DimEnvScope scope(env);
  EXPECT_FALSE(dim_eq(s(0), s(1)));
  EXPECT_FALSE(dim_eq(s(0), 1));
  EXPECT_TRUE(env.guards().empty());
  EXPECT_FALSE(dim_eq(s(0), 7));
  EXPECT_FALSE(dim_eq(s(1), s(2)));
  EXPECT_EQ(env.guards().size(), 2u);
}

}  // namespace phlox

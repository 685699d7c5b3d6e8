// The text form of loops and the rules of a well-formed loop.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "base/error.h"
#include "loop/text.h"
#include "samples.h"

namespace phlox {

using namespace samples;

namespace {

void expect_same(const Loop& a, const Loop& b) {
  ASSERT_EQ(a.axes.size(), b.axes.size());
  for (size_t i = 0; i < a.axes.size(); ++i) EXPECT_EQ(a.axes[i].extent, b.axes[i].extent);
  ASSERT_EQ(a.params.size(), b.params.size());
  for (size_t i = 0; i < a.params.size(); ++i) {
    EXPECT_EQ(a.params[i].kind, b.params[i].kind);
    EXPECT_EQ(a.params[i].dtype, b.params[i].dtype);
  }
  EXPECT_EQ(a.insts, b.insts);
  EXPECT_EQ(a.depends, b.depends);
  EXPECT_EQ(a.stores, b.stores);
  EXPECT_EQ(hash_of(a), hash_of(b));
}

void expect_round_trip(const Loop& loop) {
  const std::string text = print_loop(loop);
  const Loop back = parse_loop(text);
  expect_same(loop, back);
  EXPECT_EQ(print_loop(back), text);
}

std::string parse_error(std::string_view text) {
  try {
    parse_loop(text);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.what();
  }
  return "accepted";
}

std::string verify_error(const Loop& loop) {
  try {
    verify_loop(loop);
  } catch (const InternalError& e) {
    return e.parts().got;
  }
  return "accepted";
}

// A random well-formed loop over the builder's whole vocabulary.
Loop random_loop(uint64_t seed) {
  std::mt19937_64 rng(seed);
  auto pick = [&](size_t n) { return size_t(rng() % n); };
  LoopBuilder b;
  const int n_axes = int(1 + pick(5));
  for (int a = 0; a < n_axes; ++a) b.new_axis(pick(2) ? Dim(int64_t(2 + pick(9))) : Dim::symbol(int(pick(4))) + int64_t(pick(3)));
  const DType types[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean,
                         DType::u64, DType::i8, DType::u16};
  std::vector<Sv> values{b.axis(0)};
  for (int k = 0; k < 40; ++k) {
    const DType d = types[pick(std::size(types))];
    std::vector<Sv> same, bools, longs;
    for (Sv v : values) {
      if (v.dtype() == d) same.push_back(v);
      if (is_bool(v.dtype())) bools.push_back(v);
      if (v.dtype() == DType::i64) longs.push_back(v);
    }
    const Sv any = values[pick(values.size())], at = longs[pick(longs.size())];
    const Sv x = same.empty() ? Sv{} : same[pick(same.size())], y = same.empty() ? Sv{} : same[pick(same.size())];
    Sv r;
    switch (pick(14)) {
      case 0: r = is_float(d) ? b.constant(d, double(int64_t(rng())) * std::pow(2.0, double(pick(120)) - 90))
                              : b.constant_int(d, int64_t(rng())); break;
      case 1: r = b.axis(int(pick(size_t(n_axes)))); break;
      case 2: r = b.dim(Dim::symbol(int(pick(3))) * int64_t(pick(5)) + 1); break;
      case 3: r = b.number(b.param(Param::Kind::number, d)); break;
      case 4: r = b.load(b.param(Param::Kind::in, d), at); break;
      case 5: r = b.load(b.param(Param::Kind::inout, d), at, bools.empty() ? Sv{} : bools[pick(bools.size())]); break;
      case 6:
        if (x) r = b.reduce(pick(2) ? Combine::min : Combine::max, pick(2) ? Order::tree32 : Order::tree1, x, 1 + pick((size_t(1) << n_axes) - 1));
        break;
      case 7: if (x && !is_bool(d)) r = b.reduce(Combine::add, Order(pick(3)), x, AxisMask(1) << pick(size_t(n_axes))); break;
      case 8: if (x && !is_bool(d)) r = b.scan(pick(2) ? Combine::add : Combine::mul, x, int(pick(size_t(n_axes)))); break;
      case 9: r = b.cast(any, d); break;
      case 10: if (x && is_float(d)) r = b.op(Scalar(int(Scalar::exp) + int(pick(12))), x); break;
      case 11: if (x) r = b.op(pick(2) ? Scalar::lt : Scalar::ne, x, y); break;
      case 12: if (x && !is_bool(d)) r = b.op(pick(2) ? Scalar::sub : Scalar::mul, x, y); break;
      case 13: if (x && !bools.empty()) r = b.select(bools[pick(bools.size())], x, y); break;
    }
    if (r) values.push_back(r);
  }
  const Sv v = values[pick(values.size())];
  b.store(b.param(Param::Kind::out, v.dtype()), b.axis(0), v, v.axes() | 1, Conflict(pick(2)));
  return b.take();
}

}  // namespace

TEST(LoopText, samples_round_trip_and_verify) {
  for (const Named& n : samples::all()) {
    SCOPED_TRACE(n.name);
    verify_loop(n.loop);
    expect_round_trip(n.loop);
  }
}

TEST(LoopText, random_loops_round_trip) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    const Loop loop = random_loop(seed);
    verify_loop(loop);
    expect_round_trip(loop);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(LoopText, reads_as_expected) {
  EXPECT_EQ(print_loop(column_sum(Dim::symbol(0), 8)), R"(loop {
  axes a0: s0, a1: 8
  params p0: in f32, p1: out f32
  %0 = constant 0 : i64
  %1 = axis a0 : i64
  %2 = axis a1 : i64
  %3 = constant 8 : i64
  %4 = mul %1, %3 : i64
  %5 = add %4, %2 : i64
  %6 = load p0[%5] : f32
  %7 = reduce add tree1 %6 over {a0} : f32
  store p1[%2] = %7 over {a1}
}
)");
}

TEST(LoopText, constants_are_exact) {
  EXPECT_EQ(constant_text(DType::f32, constant_bits(DType::f32, 0.1)), "0.1");
  EXPECT_EQ(constant_text(DType::bf16, constant_bits(DType::bf16, 0.1)), "0.1");
  EXPECT_EQ(constant_text(DType::f16, constant_bits(DType::f16, -0.0)), "-0");
  EXPECT_EQ(constant_text(DType::f32, constant_bits(DType::f32, -INFINITY)), "-inf");
  EXPECT_EQ(constant_text(DType::f64, constant_bits(DType::f64, NAN)), "nan");
  EXPECT_EQ(constant_text(DType::f32, 0xffc00001), "nan(0xffc00001)");
  EXPECT_EQ(constant_text(DType::u64, -1), "18446744073709551615");
  EXPECT_EQ(constant_text(DType::i64, INT64_MIN), "-9223372036854775808");
  for (int h = 0; h < 65536; ++h)  // every 16-bit float
    for (DType d : {DType::f16, DType::bf16}) {
      const std::string text = cat("loop {\n  %0 = constant ", constant_text(d, h), " : ", d, "\n}\n");
      ASSERT_EQ(parse_loop(text).insts[0].imm, h) << text;
    }
  std::mt19937_64 rng(1);
  for (int k = 0; k < 20000; ++k) {
    const int64_t bits = k < 64 ? int64_t(1) << k : int64_t(rng());
    for (DType d : {DType::f32, DType::f64, DType::i64, DType::u64, DType::i8, DType::u32}) {
      const int64_t b = d == DType::f32 ? bits & 0xffffffff : is_int(d) ? constant_bits_int(d, bits) : bits;
      const std::string text = cat("loop {\n  %0 = constant ", constant_text(d, b), " : ", d, "\n}\n");
      ASSERT_EQ(parse_loop(text).insts[0].imm, b) << text;
    }
  }
}

TEST(LoopText, errors_name_the_line) {
  const std::string head = "loop {\n  axes a0: 4\n  params p0: in f32, p1: out f32\n  %0 = axis a0 : i64\n";
  auto line = [&](std::string_view l) { return parse_error(cat(head, "  ", l, "\n}\n")); };
  EXPECT_EQ(parse_error(head + "}\n"), "accepted");
  EXPECT_NE(line("%1 = load p0[%1] : f32").find("line 5: a value that does not exist"), std::string::npos);
  EXPECT_NE(line("%1 = load p7[%0] : f32").find("line 5: a parameter that does not exist"), std::string::npos);
  EXPECT_NE(line("%1 = axis a1 : i64").find("line 5: an axis that does not exist"), std::string::npos);
  EXPECT_NE(line("%1 = frobnicate %0 : i64").find("line 5: unknown op 'frobnicate'"), std::string::npos);
  EXPECT_NE(line("%1 = constant 300 : u8").find("line 5: bits outside of the type"), std::string::npos);
  EXPECT_NE(line("%1 = constant 1e999 : f32").find("line 5: expected a number that the type holds"), std::string::npos);
  EXPECT_NE(line("%1 = constant 1 : c64").find("line 5: a type that loops do not compute with"), std::string::npos);
  EXPECT_NE(line("%1 = dim floordiv(s0, 0) : i64").find("line 5: bad size expression"), std::string::npos);
  EXPECT_NE(line("%1 = dim 9223372036854775807*4 : i64").find("line 5: "), std::string::npos);
  EXPECT_NE(line("%1 = load p1[%0] : f32").find("line 5: parameter p1 cannot be read this way"), std::string::npos);
  EXPECT_NE(line("%1 = exp %0 : i64").find("line 5: of i64"), std::string::npos);
  EXPECT_NE(line("store p1[%0] = %0 over {a0}").find("line 5: of i64 to f32"), std::string::npos);
  EXPECT_NE(line("%1 = reduce add tree32 %0 over {} : i64").find("line 5: axes"), std::string::npos);
  EXPECT_NE(line("%1 = reduce add tree32 %0 over {a0, a0} : i64").find("line 5: axes out of order"), std::string::npos);
  EXPECT_NE(line("%1 = add %0, %0 : i64 junk").find("line 5: text after the end"), std::string::npos);
  EXPECT_NE(line("%2 = add %0, %0 : i64").find("line 5: expected '1'"), std::string::npos);
  EXPECT_NE(parse_error("").find("line 1: expected 'loop'"), std::string::npos);
  EXPECT_NE(parse_error("loop {\n").find("line 2: expected '}'"), std::string::npos);
}

TEST(LoopText, hostile_texts_are_refused) {
  std::string axes = "loop {\n  axes a0: 1";
  for (int a = 1; a < 100; ++a) axes += cat(", a", a, ": 1");
  EXPECT_NE(parse_error(axes + "\n}\n").find("more than 64 axes"), std::string::npos);
  std::string deep, product = "s0";
  for (int k = 0; k < 100000; ++k) deep += "min(";
  for (int k = 0; k < 100000; ++k) product += "*s0";
  EXPECT_NE(parse_error(cat("loop {\n  axes a0: ", deep, "\n}\n")).find("line 2"), std::string::npos);
  EXPECT_NE(parse_error(cat("loop {\n  axes a0: ", product, "\n}\n")).find("too many terms"), std::string::npos);
  EXPECT_NE(parse_error("loop {\n  %0 = axis a99999999999999999999 : i64\n}").find("line 2"), std::string::npos);
  // Damaged texts of real loops: parsed or refused, never anything else.
  std::mt19937 rng(3);
  for (const Named& n : samples::all()) {
    const std::string text = print_loop(n.loop);
    for (int k = 0; k < 300; ++k) {
      std::string t = text;
      for (int hits = 1 + int(rng() % 3); hits; --hits) {
        const size_t at = rng() % t.size();
        switch (rng() % 3) {
          case 0: t[at] = char(rng() % 256); break;
          case 1: t.erase(at, 1 + rng() % 4); break;
          case 2: t.insert(at, t.substr(rng() % t.size(), 5)); break;
        }
        if (t.empty()) t = " ";
      }
      parse_error(t);
    }
  }
}

TEST(LoopVerify, names_each_broken_invariant) {
  auto broken = [](auto&& damage, Loop loop = matmul(Dim::symbol(0), 4, 5)) {
    damage(loop);
    return verify_error(loop);
  };
  auto find = [](Loop& l, Scalar op) -> Inst& {
    for (Inst& i : l.insts) if (i.op == op) return i;
    ADD_FAILURE();
    return l.insts[0];
  };
  EXPECT_EQ(broken([](Loop&) {}), "accepted");
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::load).operand[0] = ValueId(l.insts.size()); }).find("does not precede"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::load).imm = 9; }).find("p9 does not exist"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::load).imm = 2; }).find("cannot be read"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::load).dtype = DType::f64; }).find("is f64 but p"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::axis).imm = 64; }).find("axis a64 does not exist"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::axis).dtype = DType::i32; }).find("not i64"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::reduce).axes = 0; }).find("axes that do not exist, or none"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::reduce).axes = 8; }).find("axes that do not exist"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::reduce).combine = Combine::max; }).find("chain that does not add"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::reduce).combine = Combine::bor; }).find("or of f32"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::mul).order = Order::chain; }).find("set on an op that has none"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::mul).imm = 1; }).find("immediate"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::mul).operand[2] = 0; }).find("unused operand"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::mul).operand_count = 1; }).find("has 1 operands, expected 2"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::constant).dtype = DType::boolean; find(l, Scalar::constant).imm = 2; }).find("bits outside"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::mul).dtype = DType::c64; }).find("do not compute with"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.depends[0] ^= 1; }).find("wrong set of axes"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.depends.pop_back(); }).find("depends"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.stores[0].domain = 1; }).find("outside of the domain"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.stores[0].domain |= 1u << 20; }).find("axes that do not exist"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.stores[0].param = 0; }).find("p0 is not written"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.stores[0].value = l.stores[0].address; }).find("store 0: of i64 to f32"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.stores[0].predicate = l.stores[0].value; }).find("predicate that is not bool"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.stores[0].address = 9999; }).find("does not exist"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { l.axes.resize(65); }).find("more than 64 axes"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::scan).axes = 3; }, cumsum(3, 4, 1)).find("more than one axis"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::scan).order = Order::tree32; }, cumsum(3, 4, 1)).find("order of its own"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::philox).imm = 4; }, dropout(4)).find("word outside"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::lt).dtype = DType::f32; }, dropout(4)).find("with result f32"), std::string::npos);
  EXPECT_NE(broken([&](Loop& l) { find(l, Scalar::add).dtype = DType::i32; }, pad(4)).find("add"), std::string::npos);
}

}  // namespace phlox

// Loops that divide their axes: poolings and their gradients, results that are read through a reshape.
#include "compile/split_axes.h"

#include <algorithm>

#include "check.h"

using namespace phlox;
using namespace phlox::harness;

namespace {

bool divides(const Loop& l) {
  return std::any_of(l.insts.begin(), l.insts.end(), [](const Inst& i) { return i.op == Scalar::floordiv || i.op == Scalar::floormod; });
}

// out[h][w] = x[h][w], and g[h / 2][w / 2] is added where h is even and w is odd.
constexpr const char* scattered = R"(loop {
  axes a0: 2, a1: 3, a2: 28, a3: 28
  params p0: in f32, p1: in f32, p2: out f32
  %0 = axis a0 : i64
  %1 = axis a1 : i64
  %2 = axis a2 : i64
  %3 = axis a3 : i64
  %4 = constant 0 : i64
  %5 = constant 2352 : i64
  %6 = mul %0, %5 : i64
  %7 = constant 784 : i64
  %8 = mul %1, %7 : i64
  %9 = add %6, %8 : i64
  %10 = constant 28 : i64
  %11 = mul %2, %10 : i64
  %12 = add %9, %11 : i64
  %13 = add %12, %3 : i64
  %14 = load p0[%13] : f32
  %15 = constant 0 : f32
  %16 = constant 2 : i64
  %17 = constant 27 : i64
  %18 = lt %2, %17 : bool
  %19 = floormod %2, %16 : i64
  %20 = eq %19, %4 : bool
  %21 = band %18, %20 : bool
  %22 = floordiv %2, %16 : i64
  %23 = constant -1 : i64
  %24 = add %3, %23 : i64
  %25 = le %4, %24 : bool
  %26 = floormod %24, %16 : i64
  %27 = eq %26, %4 : bool
  %28 = band %25, %27 : bool
  %29 = band %21, %28 : bool
  %30 = floordiv %24, %16 : i64
  %31 = constant 588 : i64
  %32 = mul %0, %31 : i64
  %33 = constant 196 : i64
  %34 = mul %1, %33 : i64
  %35 = constant 14 : i64
  %36 = mul %22, %35 : i64
  %37 = add %32, %34 : i64
  %38 = add %37, %36 : i64
  %39 = add %38, %30 : i64
  %40 = load p1[%39] if %29 : f32
  %41 = select %29, %40, %15 : f32
  %42 = add %41, %14 : f32
  store p2[%13] = %42 over {a0, a1, a2, a3}
}
)";

// The larger of two neighbours, over a flattened axis; and which one it is, over the axes themselves.
constexpr const char* flattened = R"(loop {
  axes a0: 2, a1: 5, a2: 7, a3: 7, a4: 245
  params p0: in f32, p1: out f32, p2: out bool
  %0 = axis a0 : i64
  %1 = axis a1 : i64
  %2 = axis a2 : i64
  %3 = axis a3 : i64
  %4 = axis a4 : i64
  %5 = constant 980 : i64
  %6 = mul %0, %5 : i64
  %7 = constant 196 : i64
  %8 = mul %1, %7 : i64
  %9 = add %6, %8 : i64
  %10 = constant 28 : i64
  %11 = mul %2, %10 : i64
  %12 = add %9, %11 : i64
  %13 = constant 2 : i64
  %14 = mul %3, %13 : i64
  %15 = add %12, %14 : i64
  %16 = load p0[%15] : f32
  %17 = constant 1 : i64
  %18 = add %15, %17 : i64
  %19 = load p0[%18] : f32
  %20 = lt %16, %19 : bool
  %21 = constant 245 : i64
  %22 = mul %0, %21 : i64
  %23 = constant 49 : i64
  %24 = mul %1, %23 : i64
  %25 = constant 7 : i64
  %26 = mul %2, %25 : i64
  %27 = add %22, %24 : i64
  %28 = add %27, %26 : i64
  %29 = add %28, %3 : i64
  %30 = floordiv %4, %23 : i64
  %31 = floordiv %4, %25 : i64
  %32 = floormod %31, %25 : i64
  %33 = floormod %4, %25 : i64
  %34 = mul %30, %7 : i64
  %35 = mul %32, %10 : i64
  %36 = mul %33, %13 : i64
  %37 = add %6, %34 : i64
  %38 = add %37, %35 : i64
  %39 = add %38, %36 : i64
  %40 = load p0[%39] : f32
  %41 = add %39, %17 : i64
  %42 = load p0[%41] : f32
  %43 = max %40, %42 : f32
  %44 = add %22, %4 : i64
  store p1[%44] = %43 over {a0, a4}
  store p2[%29] = %20 over {a0, a1, a2, a3}
}
)";

TEST(SplitAxes, NeighboursAreWrittenOut) {
  const Loop l = parse_loop(scattered), s = split_axes(l);
  verify_loop(s);
  EXPECT_TRUE(divides(l));
  EXPECT_FALSE(divides(s)) << print_loop(s);
  EXPECT_EQ(s.stores.size(), 2u);  // even and odd columns; rows decide by a comparison
  check(l, {4704, 1176, 4704}, {}, true);
}

TEST(SplitAxes, StoresShareTheirAxes) {
  const Loop l = parse_loop(flattened), s = split_axes(l);
  verify_loop(s);
  EXPECT_FALSE(divides(s)) << print_loop(s);
  EXPECT_EQ(s.stores[0].domain, s.stores[1].domain) << print_loop(s);
  EXPECT_EQ(std::count_if(s.insts.begin(), s.insts.end(), [](const Inst& i) { return i.op == Scalar::load; }), 2) << print_loop(s);
  check(l, {1960, 490, 490}, {}, true);
}

// Sizes that are no multiples of the divisor stay as they are.
TEST(SplitAxes, OddSizesStay) {
  std::string text = scattered;
  text.replace(text.find("a3: 28"), 6, "a3: 27");
  const Loop l = parse_loop(text);
  EXPECT_TRUE(divides(split_axes(l)));
  check(l, {4704, 1176, 4704}, {}, true);
}

}  // namespace

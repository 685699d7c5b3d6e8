// Graphs as text: what is printed reads back as the same graph; what is wrong is refused with its place.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/error.h"
#include "graph/verify.h"
#include "ops/decompose.h"
#include "ops/prims.h"
#include "ops/registry.h"

namespace phlox {
namespace {

Graph read(const std::string& text) { return parse_graph(text, find_op); }
std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "accepted:\n" << text;
  return {};
}
void expect_refusal(const std::string& text, const std::string& part) {
  const std::string r = refusal(text);
  EXPECT_NE(r.find(part), std::string::npos) << r << "\nexpected: " << part;
}
TensorType f32(Dims shape) {
  TensorType t;
  t.shape = std::move(shape);
  return t;
}
std::string round(const Graph& g) {
  const std::string text = print_graph(g);
  const Graph again = read(text);
  EXPECT_TRUE(same_graph(again, g)) << text << "\nreads back as\n" << print_graph(again);
  EXPECT_EQ(hash_of(again), hash_of(g));
  return text;
}

TEST(GraphText, the_example_of_the_header) {
  const std::string text =
      "graph(%0: f32[s0,4], %1: f32[4]) {\n"
      "  %2 = prim::broadcast(%1, [s0, 4], [1]) : f32[s0,4]\n"
      "  %3 = prim::add(%0, %2) : f32[s0,4]\n"
      "  return %3\n}\n";
  EXPECT_EQ(round(read(text)), text);
}

TEST(GraphText, every_kind_of_argument) {
  Graph g;
  GraphBuilder b(g);
  const Val x = b.input(f32({2, 3}));
  const double c[] = {-0.0, 1e20};
  Arg complex;
  complex.kind = ArgKind::complex;
  complex.complex = c;
  for (double v : {1.0, -0.0, 0.1, 1e20, 5e-324, double(INFINITY), -double(INFINITY), std::nan(""),
                   std::bit_cast<double>(0xfff8000000000001ull)}) {
    const Arg fill[] = {Arg::of_list({}), Arg::of_real(v), Arg::of_dtype(DType::f64)};
    TensorType t;
    t.dtype = DType::f64;
    g.add_node(*find_op("prim::full"), fill, std::span(&t, 1));
  }
  const Arg as_complex[] = {Arg::of_list({}), complex, Arg::of_dtype(DType::c128)};
  TensorType t;
  t.dtype = DType::c128;
  g.add_node(*find_op("prim::full"), as_complex, std::span(&t, 1));
  const Arg as_bool[] = {Arg::of_list({}), Arg::of_bool(true), Arg::of_dtype(DType::boolean)};
  t.dtype = DType::boolean;
  g.add_node(*find_op("prim::full"), as_bool, std::span(&t, 1));
  const Arg as_int[] = {Arg::of_list({}), Arg::of_dim(-7), Arg::of_dtype(DType::i64)};
  t.dtype = DType::i64;
  g.add_node(*find_op("prim::full"), as_int, std::span(&t, 1));
  const Val outputs[] = {reduce(x, {0, 1}, "sum")};
  b.outputs(outputs);
  EXPECT_NE(round(g).find("complex(-0, 1e+20)"), std::string::npos);
}

TEST(GraphText, inputs_made_between_calls_keep_their_numbers) {
  Graph g;
  GraphBuilder b(g);
  const Val x = b.input(f32({2}));
  g.current_group = 7;
  const Val y = map(Scalar::neg, x);
  TensorType strided = f32({2, Dim::symbol(0)});
  strided.strides = {1, 2};
  strided.dtype = DType::bf16;
  const Val z = b.input(strided);
  TensorType number;
  number.dtype = DType::f64;
  number.weak = true;
  b.input(number, true);
  const Val outputs[] = {y, z};
  b.outputs(outputs);
  round(g);
}

TEST(GraphText, comments_and_free_numbers) {
  const Graph g = read("# a case\ngraph(%10: f32[2]) {  # inputs\n\n  %7 = prim::neg(%10) : f32[2]\n  return %7 # done\n}\n");
  EXPECT_EQ(print_graph(g), "graph(%0: f32[2]) {\n  %1 = prim::neg(%0) : f32[2]\n  return %1\n}\n");
}

TEST(GraphText, ops_with_rules_of_their_own_and_what_they_expand_to) {
  Graph g;
  GraphBuilder b(g);
  const Val x = b.input(f32({4, 6})), w = b.input(f32({6}));
  const Arg norm[] = {Arg::of_value(x.id), Arg::of_dim(-1)};
  Val y = b.call(*find_op("softmax.int"), norm)[0];
  const Arg mul[] = {Arg::of_value(y.id), Arg::of_value(w.id)};
  y = b.call(*find_op("mul.Tensor"), mul)[0];
  const Val outputs[] = {y};
  b.outputs(outputs);
  verify_graph(g);
  round(g);
  const Graph d = decompose(g);
  verify_graph(d);
  round(d);
}

TEST(GraphText, refusals_name_line_and_column) {
  const std::string head = "graph(%0: f32[2], %1: i64[2]) {\n";
  expect_refusal("", "line 1, column 1: expected 'graph'; got the end of the text");
  expect_refusal("graph(%0 f32[2]) {", "line 1, column 10: expected ':'");
  expect_refusal("graph(%0: q32[2]) {", "line 1, column 11: bad tensor type");
  expect_refusal("graph(%0: f32[-2]) {\n  return %0\n}\n", "negative size");
  expect_refusal("graph(%0: f32[2], %0: f32[2]) {\n", "line 1, column 19: %0 is defined twice");
  expect_refusal(head + "  %2 = prim::nope(%0) : f32[2]\n", "line 2, column 8: unknown op; got 'prim::nope(%0) : f32[2]'");
  expect_refusal(head + "  %2 = prim::neg(%3) : f32[2]\n  return %2\n}\n", "line 2, column 18: %3 is not defined");
  expect_refusal(head + "  %2 = prim::neg(%0, %1) : f32[2]\n  return %2\n}\n", "line 2, column 3: prim::neg has 2 arguments, expected 1");
  expect_refusal(head + "  %2 = prim::neg(1.5) : f32[2]\n  return %2\n}\n", "is no Tensor: 1.5");
  expect_refusal(head + "  %2 = prim::neg(None) : f32[2]\n  return %2\n}\n", "is missing");
  expect_refusal(head + "  %2 = prim::neg(%0) : f32[3]\n  return %2\n}\n", "result %2 is f32[3], its rule gives f32[2]");
  expect_refusal(head + "  %2 = prim::neg(%0) : f64[2]\n  return %2\n}\n", "its rule gives f32[2]");
  expect_refusal(head + "  %2, %3 = prim::neg(%0) : f32[2], f32[2]\n  return %2\n}\n", "has 2 results, expected 1");
  expect_refusal(head + "  %2 = prim::neg(%0) : f32[2] extra\n", "line 2, column 31: text after the end of a line");
  expect_refusal(head + "  %2 = prim::broadcast(%0, [3, s9], [0]) : f32[3,s9]\n  return %2\n}\n", "symbol s9");
  expect_refusal(head + "  %2 = prim::reduce(%0, [[[[[[[[[[[0]]]]]]]]]]], 'sum') : f32[]\n", "nested too deeply");
  expect_refusal(head + "  %2 = prim::reduce(%0, [0], 'sum", "a string that does not end");
  expect_refusal(head + "  %2 = prim::broadcast(%0, [9999999999999999999], [0]) : f32[2]\n", "does not fit in 64 bits");
  expect_refusal(head + "  %2 = prim::broadcast(%0, [4000000000, 4000000000], [0]) : f32[4000000000,4000000000]\n  return %2\n}\n",
                 "does not fit in 64 bits");
  expect_refusal(head + "  return %5\n}\n", "line 2, column 10: %5 is not defined");
  expect_refusal(head + "  return %0\n}\n}\n", "line 4, column 1: text after the graph");
}

TEST(GraphVerify, our_own_mistakes_are_internal_errors) {
  Graph g;
  const GraphValue x = g.add_input(f32({2}));
  const Arg later[] = {Arg::of_value(x + 1)};
  const TensorType t = f32({2});
  g.add_node(*find_op("prim::neg"), later, std::span(&t, 1));
  EXPECT_NE(graph_defect(g).text.find("before it is defined"), std::string::npos);
  EXPECT_EQ(graph_defect(g).node, 0u);
  EXPECT_THROW(verify_graph(g), InternalError);
}

TEST(GraphVerify, questions_about_sizes_are_answered_by_the_environment_and_leave_no_guards) {
  const Dim s = Dim::symbol(0), t = Dim::symbol(1);
  const auto sum = [&](Dim result) {
    Graph g;
    GraphBuilder b(g);
    const Val x = b.input(f32({s})), y = b.input(f32({t}));
    const Arg args[] = {Arg::of_value(x.id), Arg::of_value(y.id)};
    const TensorType type = f32({result});
    g.add_node(*find_op("prim::add"), args, std::span(&type, 1));
    return graph_defect(g).text;
  };
  EXPECT_EQ(sum(7), "");  // nobody knows
  const int64_t hints[] = {5, 5};
  DimEnv env(hints);
  const DimEnvScope scope(env);
  EXPECT_EQ(sum(t), "");
  EXPECT_NE(sum(7), "");
  EXPECT_TRUE(env.guards().empty());
}

}  // namespace
}  // namespace phlox

// Calls of ops on small host tensors through the graph interpreter, and gradients held against finite differences.
// Gradients are checked in wide mode (everything in f64), where central differences are good to about 1e-6.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <random>

#include "graph/builder.h"
#include "ops/interpret.h"
#include "ops/registry.h"
#include "transform/vjp.h"

namespace phlox::test {

template <class T>
HostTensor tensor(DType d, const Ints& shape, const std::vector<T>& v) {
  HostTensor t = make_host_tensor(d, shape);
  std::copy(v.begin(), v.end(), t.as<T>());
  return t;
}
inline HostTensor f64s(const Ints& shape, const std::vector<double>& v) { return tensor<double>(DType::f64, shape, v); }
inline HostTensor f32s(const Ints& shape, const std::vector<float>& v) { return tensor<float>(DType::f32, shape, v); }
inline HostTensor i64s(const Ints& shape, const std::vector<int64_t>& v) { return tensor<int64_t>(DType::i64, shape, v); }
inline HostTensor random_tensor(const Ints& shape, uint32_t seed = 1, double lo = -1, double hi = 1, DType d = DType::f64) {
  HostTensor t = make_host_tensor(d, shape);
  std::mt19937 rng(seed);
  std::uniform_real_distribution<double> u(lo, hi);
  for (int64_t i = 0; i < t.numel(); ++i) {
    const double v = u(rng);
    if (d == DType::f64) t.as<double>()[i] = v;
    else t.as<float>()[i] = float(v);
  }
  return t;
}
inline double at(const HostTensor& t, int64_t i) {
  switch (t.dtype) {
    case DType::f64: return t.as<double>()[i];
    case DType::f32: return double(t.as<float>()[i]);
    case DType::i64: return double(t.as<int64_t>()[i]);
    case DType::boolean: return double(t.as<uint8_t>()[i]);
    case DType::i32: return double(t.as<int32_t>()[i]);
    default: ADD_FAILURE() << "dtype of a test"; return 0;
  }
}

// An argument of a call: a tensor, a plain argument, or a list of either.
struct In {
  Arg arg;
  std::vector<HostTensor> tensors;
  std::vector<Arg> items;
  std::string text;
  enum class Kind { plain, tensor, list, tensors, text } kind = Kind::plain;
  In() = default;  // None
  In(HostTensor t) : tensors{std::move(t)}, kind(Kind::tensor) {}
  In(bool b) : arg(Arg::of_bool(b)) {}
  In(int v) : arg(Arg::of_dim(v)) {}
  In(int64_t v) : arg(Arg::of_dim(v)) {}
  In(double v) : arg(Arg::of_real(v)) {}
  In(DType d) : arg(Arg::of_dtype(d)) {}
  In(const char* s) : text(s), kind(Kind::text) {}
  In(Ints v) : kind(Kind::list) { for (int64_t x : v) items.push_back(Arg::of_dim(x)); }
  In(std::vector<HostTensor> t) : tensors(std::move(t)), kind(Kind::tensors) {}
};

struct Built {
  Graph graph;
  std::vector<HostTensor> inputs;
};
inline Built build(const char* name, std::vector<In> args) {
  Built b;
  GraphBuilder g(b.graph);
  const OpInfo* op = find_op(name);
  if (!op) { ADD_FAILURE() << "no op " << name; return b; }
  if (has(op->op->record.effects, Effects::random)) {
    TensorType t;
    t.dtype = DType::i64;
    t.shape = {2};
    g.random_state = g.input(t);
    b.inputs.push_back(i64s({2}, {1234, 7}));
  }
  std::vector<Arg> call;
  auto input = [&](const HostTensor& h) {
    TensorType t;
    t.dtype = h.dtype;
    for (int64_t d : h.shape) t.shape.push_back(d);
    b.inputs.push_back(h);
    return Arg::of_value(g.input(t).id);
  };
  std::deque<std::vector<Arg>> keep;
  for (In& a : args) {
    if (a.kind == In::Kind::tensor) call.push_back(input(a.tensors[0]));
    else if (a.kind == In::Kind::list) call.push_back(Arg::of_list(a.items));
    else if (a.kind == In::Kind::text) call.push_back(Arg::of_string(a.text));
    else if (a.kind == In::Kind::tensors) {
      keep.emplace_back();
      for (const HostTensor& t : a.tensors) keep.back().push_back(t.owner ? input(t) : Arg{});
      call.push_back(Arg::of_list(keep.back()));
    } else call.push_back(a.arg);
  }
  g.outputs(g.call(*op, call));
  return b;
}

inline std::vector<HostTensor> run(const char* name, std::vector<In> args, InterpretMode mode = InterpretMode::exact) {
  const Built b = build(name, std::move(args));
  return interpret_graph(b.graph, b.inputs, mode);
}

inline void expect_near(const HostTensor& got, const Ints& shape, const std::vector<double>& want, double tolerance = 1e-6) {
  EXPECT_TRUE(got.shape == shape);
  ASSERT_EQ(size_t(got.numel()), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(at(got, int64_t(i)), want[i], tolerance) << "element " << i;
}

// The derived gradient of sum(cotangent * output 0) against central differences, for every f64 input.
// `fixed`: how many trailing float inputs are constants of the op (class weights), without a gradient.
inline void check_gradients(const char* name, std::vector<In> args, double tolerance = 2e-6, int fixed = 0) {
  SCOPED_TRACE(name);
  const Built b = build(name, std::move(args));
  if (b.graph.outputs().empty()) return;
  const InterpretMode wide = InterpretMode::wide;
  const std::vector<HostTensor> out = interpret_graph(b.graph, b.inputs, wide);
  const HostTensor cotangent = random_tensor(out[0].shape, 99);
  auto loss = [&](const std::vector<HostTensor>& in) {
    const HostTensor y = interpret_graph(b.graph, in, wide)[0];
    double s = 0;
    for (int64_t i = 0; i < y.numel(); ++i) s += at(y, i) * cotangent.as<double>()[i];
    return s;
  };
  Graph joint;
  GraphBuilder g(joint);
  std::vector<GraphValue> in, wrt;
  for (GraphValue v : b.graph.inputs()) in.push_back(joint.add_input(b.graph.type(v)));
  for (size_t i = 0; i < in.size(); ++i) if (is_float(joint.type(in[i]).dtype)) wrt.push_back(in[i]);
  wrt.resize(wrt.size() - size_t(fixed));
  const Val cot = g.input(b.graph.type(b.graph.outputs()[0]));
  const auto outputs = inline_graph(joint, b.graph, in, {});
  const Val grads[] = {cot};
  const std::vector<Val> result = append_vjp(g, std::span(outputs.begin(), 1), grads, wrt);
  std::vector<Val> present;
  for (Val v : result) if (v) present.push_back(v);
  g.outputs(present);
  std::vector<HostTensor> values = b.inputs;
  values.push_back(cotangent);
  const std::vector<HostTensor> got = interpret_graph(joint, values, wide);
  for (size_t k = 0, p = 0; k < wrt.size(); ++k) {
    size_t input = 0;
    while (in[input] != wrt[k]) ++input;
    const HostTensor* gradient = result[k] ? &got[p++] : nullptr;
    if (gradient) { EXPECT_TRUE(gradient->shape == b.inputs[input].shape) << "shape of the gradient of input " << input; }
    const HostTensor& x = b.inputs[input];
    for (int64_t i = 0; i < x.numel(); ++i) {
      const double h = 1e-5;
      std::vector<HostTensor> moved = b.inputs;
      double value[2];
      for (int side = 0; side < 2; ++side) {
        moved[input] = make_host_tensor(DType::f64, x.shape);
        std::copy(x.as<double>(), x.as<double>() + x.numel(), moved[input].as<double>());
        moved[input].as<double>()[i] += side ? h : -h;
        value[side] = loss(moved);
      }
      const double want = (value[1] - value[0]) / (2 * h);
      EXPECT_NEAR(gradient ? at(*gradient, i) : 0.0, want, tolerance * (1 + std::fabs(want))) << "input " << input << " element " << i;
    }
  }
}

}  // namespace phlox::test

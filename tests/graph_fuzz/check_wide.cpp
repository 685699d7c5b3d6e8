// Programs against float64: see check.h for what is asked.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/small_float.h"
#include "check.h"
#include "graph/builder.h"
#include "graph/rewrite.h"
#include "ops/decompose.h"
#include "ops/interpret.h"
#include "ops/registry.h"

namespace phlox::fuzz {

namespace {

double element(const char* data, DType d, int64_t i) {
  const char* at = data + i * dtype_bytes(d);
  const auto get = [&]<class T>(T v) {
    std::memcpy(&v, at, sizeof v);
    return v;
  };
  switch (d) {
    case DType::bf16: return double(float_from_bf16(get(uint16_t())));
    case DType::f16: return double(float_from_f16(get(uint16_t())));
    case DType::f32: return double(get(float()));
    case DType::f64: return get(double());
    case DType::i64: return double(get(int64_t()));
    case DType::i32: return get(int32_t());
    case DType::i16: return get(int16_t());
    case DType::i8: return get(int8_t());
    default: return get(uint8_t());
  }
}

HostTensor host_tensor(const Bits& b, bool widen, double disturbance, std::mt19937_64& rng) {
  HostTensor h = make_host_tensor(widen && is_float(b.dtype) ? DType::f64 : b.dtype, b.sizes);
  if (h.dtype == b.dtype) {
    std::memcpy(h.data, b.bytes.data(), b.bytes.size());
  } else {
    for (int64_t i = 0; i < h.numel(); ++i) h.as<double>()[i] = element(b.bytes.data(), b.dtype, i);
  }
  if (disturbance != 0 && h.dtype == DType::f64)
    for (int64_t i = 0; i < h.numel(); ++i)
      h.as<double>()[i] *= 1 + disturbance * (double(rng() >> 11) / double(1ull << 52) - 1);
  return h;
}

struct Precision {
  double unit, smallest, largest;
};
// Of the narrowest float in the graph.
Precision precision_of(const Graph& g) {
  Precision p{0x1p-53, 0x1p-1074, 1e300};
  for (GraphValue v = 0; v < g.value_count(); ++v) {
    const DType d = g.type(v).dtype;
    if (d == DType::bf16) p.unit = std::max(p.unit, 0x1p-9);
    if (d == DType::f16) p.unit = std::max(p.unit, 0x1p-12), p.smallest = std::max(p.smallest, 0x1p-24), p.largest = 3e4;
    if (d == DType::f32) p.unit = std::max(p.unit, 0x1p-25);
    if (d == DType::bf16 || d == DType::f32) p.smallest = std::max(p.smallest, 0x1p-126), p.largest = std::min(p.largest, 1e37);
  }
  return p;
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  for (const char* n : names) if (name == n) return true;
  return false;
}

// Values that depend on a float through something discontinuous.
std::vector<bool> discontinuous(const Graph& g) {
  std::vector<bool> r(g.value_count());
  for (const Node& n : g.nodes()) {
    bool tainted = false, floats = false;
    for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) {
      tainted = tainted || r[a.value];
      floats = floats || is_float(g.type(a.value).dtype);
    });
    const std::string& name = n.op->schema.name;
    for (GraphValue v : n.results)
      r[v] = tainted || (floats && (!is_float(g.type(v).dtype) ||
                                    is_one_of(name, {"prim::floor", "prim::ceil", "prim::trunc", "prim::round", "prim::fmod",
                                                     "prim::floormod", "prim::floordiv", "prim::copysign", "prim::bitcast"})));
  }
  return r;
}

// The same graph with every float as f64; with `noise`, each computed float is multiplied by 1 + noise, an input of its own.
class Widener {
 public:
  Widener(const Graph& from, bool noise) : from_(from), b_(graph), noise_(noise), map_(from.value_count()) {
    for (GraphValue v : from.inputs()) map_[v] = graph.add_input(type(from.type(v)), from.is_number(v));
    for (const Node& n : from.nodes()) node(n);
    SmallVector<GraphValue, 4> outputs;
    for (GraphValue v : from.outputs()) outputs.push_back(map_[v]);
    graph.set_outputs(outputs);
  }
  void output_everything() {
    SmallVector<GraphValue, 4> outputs;
    outputs.append(graph.outputs().begin(), graph.outputs().end());
    for (GraphValue v = 0; v < graph.value_count(); ++v) if (graph.type(v).dtype == DType::f64) outputs.push_back(v);
    graph.set_outputs(outputs);
  }
  bool possible = true;
  Graph graph;

 private:
  static TensorType type(TensorType t) {
    if (is_float(t.dtype)) t.dtype = DType::f64;
    t.strides.clear();
    return t;
  }
  void node(const Node& n) {
    const std::string& name = n.op->schema.name;
    if (name == "prim::bitcast") possible = false;
    const std::span<const Arg> args = arguments_.each(n.args, [&](Arg a) {
      if (a.kind == ArgKind::value) a.value = map_[a.value];
      if (a.kind == ArgKind::dtype && is_float(a.as_dtype())) a = Arg::of_dtype(DType::f64);
      return a;
    });
    SmallVector<TensorType, 2> types;
    for (GraphValue v : n.results) types.push_back(type(from_.type(v)));
    const NodeId id = graph.add_node(*n.op, args, types);
    for (size_t i = 0; i < n.results.size(); ++i) {
      GraphValue v = graph.node(id).results[i];
      map_[n.results[i]] = v;
      if (!noise_ || types[i].dtype != DType::f64 || n.op->op->record.view) continue;
      if (is_one_of(name, {"prim::neg", "prim::abs", "prim::max", "prim::min", "prim::select", "prim::copy", "prim::iota", "prim::gather"})) continue;
      if (name == "prim::full" && (n.args[1].kind != ArgKind::real || double(float(n.args[1].real)) == n.args[1].real)) continue;
      const GraphValue noise = graph.add_input(types[i]);
      const Arg mul[] = {Arg::of_value(v), Arg::of_value(noise)};
      v = graph.node(graph.add_node(*find_op("prim::mul"), mul, std::span(&types[i], 1))).results[0];
      map_[n.results[i]] = v;
    }
  }

  const Graph& from_;
  GraphBuilder b_;
  const bool noise_;
  std::vector<GraphValue> map_;
  ArgMap arguments_;
};

std::vector<HostTensor> run_wide(const Graph& g, const std::vector<Bits>& inputs, double unit, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::vector<HostTensor> host;
  for (const Bits& b : inputs) host.push_back(host_tensor(b, true, 2 * unit, rng));
  for (size_t i = inputs.size(); i < g.inputs().size(); ++i) {  // noise
    Bits ones{DType::f64, {}, {}};
    for (Dim d : g.type(g.inputs()[i]).shape) ones.sizes.push_back(d.value());
    HostTensor h = make_host_tensor(DType::f64, ones.sizes);
    for (int64_t k = 0; k < h.numel(); ++k) h.as<double>()[k] = 1 + 2 * unit * (double(rng() >> 11) / double(1ull << 52) - 1);
    host.push_back(std::move(h));
  }
  return interpret_graph(g, host);
}

}  // namespace

std::string check_wide(const TracedProgram& t, const FuzzProgram& p, const std::vector<Bits>& eager, Tally& tally, bool f64_too) {
  const Graph g = decompose(t.graph);
  const Precision precision = precision_of(g);
  if (precision.unit == 0x1p-53 && !f64_too) return {};  // the exact interpreter has said everything
  const std::vector<bool> skip = discontinuous(g);
  Widener plain(g, false);
  if (!plain.possible) return {};
  bool any = false;
  for (size_t i = 0; i < t.results; ++i) any = any || !skip[g.outputs()[i]];
  tally.wide_discontinuous += !any;
  if (!any) return {};
  const size_t outputs = plain.graph.outputs().size();
  plain.output_everything();
  const std::vector<Bits> inputs = graph_inputs(t, p);
  const std::vector<HostTensor> exact = run_wide(plain.graph, inputs, 0, 0);
  for (const HostTensor& h : exact)
    for (int64_t i = 0; h.dtype == DType::f64 && i < h.numel(); ++i)
      if (!(std::abs(h.as<double>()[i]) < precision.largest)) {
        ++tally.wide_range;
        return {};
      }
  Widener noisy(g, true);
  std::vector<std::vector<HostTensor>> disturbed;
  try {
    for (uint64_t k = 1; k <= 3; ++k) disturbed.push_back(run_wide(noisy.graph, inputs, precision.unit, k));
  } catch (const Error& e) {
    if (e.code() != ErrorCode::out_of_range) throw;
    ++tally.wide_discontinuous;  // the position of a maximum that is none any more
    return {};
  }
  for (size_t i = 0; i < std::min(t.results, outputs); ++i) {
    if (skip[g.outputs()[i]]) continue;
    ++tally.wide_checked;
    const Bits& got = eager[i];
    double scale = 0;
    for (int64_t k = 0; k < exact[i].numel(); ++k) scale = std::max(scale, std::abs(element(exact[i].as<char>(), exact[i].dtype, k)));
    for (int64_t k = 0; k < exact[i].numel(); ++k) {
      const double want = element(exact[i].as<char>(), exact[i].dtype, k), have = element(got.bytes.data(), got.dtype, k);
      double spread = 0;
      for (auto& d : disturbed) spread = std::max(spread, std::abs(element(d[i].as<char>(), d[i].dtype, k) - want));
      const double tolerance = 64 * spread + 16 * precision.unit * std::abs(want) + 16 * precision.smallest + 1e-3 * precision.unit * scale;
      if (!(std::abs(have - want) <= tolerance))
        return cat("eager and float64: result ", i, " ", got.dtype, "[", join(got.sizes, ","), "] element ", k, ": ", have, " and ", want,
                   ", tolerance ", tolerance);
    }
  }
  return {};
}

std::string check_differences(const TracedProgram& t, const FuzzProgram& p, Tally& tally) {
  std::vector<size_t> wrt;  // graph inputs
  size_t wanted = 0;
  for (const FuzzInput& in : p.inputs) wanted += in.requires_grad;
  for (size_t program_input = 0; program_input < p.inputs.size(); ++program_input)
    for (size_t i = 0; i < t.sources.size(); ++i)
      if (t.sources[i] == int(program_input) && p.inputs[program_input].requires_grad) wrt.push_back(i);
  if (wrt.size() != wanted || t.results - t.forward != wanted || wanted == 0 || t.forward == 0) {
    ++tally.differences_skipped;
    return {};
  }
  const std::vector<Bits> inputs = graph_inputs(t, p);
  std::mt19937_64 rng(p.seed);
  std::vector<std::vector<double>> direction(inputs.size());
  for (size_t i : wrt)
    for (size_t k = 0; k < inputs[i].bytes.size() / 8; ++k) direction[i].push_back(double(rng() >> 11) / double(1ull << 52) - 1);
  Graph whole = prune(t.graph);
  const auto run = [&](const Graph& g, double step) {
    std::vector<HostTensor> host;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const TensorType& type = g.type(g.inputs()[i]);
      HostTensor h = host_tensor(inputs[i], false, 0, rng);
      for (size_t k = 0; k < direction[i].size(); ++k) h.as<double>()[k] += step * direction[i][k];
      if (!type.strides.empty()) {  // the graph reads through the strides
        int64_t last = 0;
        for (int d = 0; d < type.rank(); ++d) last += h.shape[d] ? (h.shape[d] - 1) * type.strides[d].value() : 0;
        HostTensor memory = make_host_tensor(h.dtype, {last + 1});
        for (int64_t k = 0; k < h.numel(); ++k) {
          int64_t rest = k, at = 0;
          for (int d = type.rank(); d-- > 0;) { at += rest % h.shape[d] * type.strides[d].value(); rest /= h.shape[d]; }
          std::memcpy(memory.as<char>() + at * dtype_bytes(h.dtype), h.as<char>() + k * dtype_bytes(h.dtype), size_t(dtype_bytes(h.dtype)));
        }
        memory.shape = h.shape;
        h = std::move(memory);
      }
      host.push_back(std::move(h));
    }
    return interpret_graph(g, host);
  };
  const std::vector<HostTensor> at_zero = run(whole, 0);
  double slope = 0, size = 0;
  for (size_t i = 0; i < wrt.size(); ++i) {
    const HostTensor& g = at_zero[t.forward + i];
    for (int64_t k = 0; k < g.numel(); ++k) {
      slope += g.as<double>()[k] * direction[wrt[i]][size_t(k)];
      size += std::abs(g.as<double>()[k] * direction[wrt[i]][size_t(k)]);
    }
  }
  SmallVector<GraphValue, 4> forward;
  for (size_t i = 0; i < t.forward; ++i) forward.push_back(whole.outputs()[i]);
  whole.set_outputs(forward);
  const Graph only = prune(whole);
  double magnitude = 0;
  const auto loss = [&](double step) {
    double sum = 0;
    for (const HostTensor& h : run(only, step))
      for (int64_t k = 0; h.dtype == DType::f64 && k < h.numel(); ++k) {
        sum += h.as<double>()[k];
        magnitude = std::max(magnitude, std::abs(h.as<double>()[k]));
      }
    return sum;
  };
  const double h = 1e-4;
  const double wide = (loss(h) - loss(-h)) / (2 * h), narrow = (loss(h / 2) - loss(-h / 2)) / h;
  const double best = (4 * narrow - wide) / 3, noise = 1e-9 * (magnitude + 1);
  // Where two steps disagree, the function is no polynomial of low degree here: nothing can be said.
  if (!std::isfinite(best) || !std::isfinite(slope) || std::abs(wide - narrow) > 1e-4 * (std::abs(best) + size) + noise) {
    ++tally.differences_skipped;
    return {};
  }
  ++tally.differences;
  if (std::abs(best - slope) > 1e-5 * (std::abs(best) + size) + 10 * noise)
    return cat("the gradient and central differences: ", slope, " and ", best, " along a random direction");
  return {};
}

}  // namespace phlox::fuzz

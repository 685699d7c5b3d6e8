#include "check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/small_float.h"
#include "eager/interpret_kernels.h"
#include "eager/trace.h"
#include "graph/rewrite.h"
#include "graph/verify.h"
#include "ops/interpret.h"
#include "ops/registry.h"

namespace phlox::fuzz {

// --- tracing

TracedProgram trace_program(const FuzzProgram& p, const std::vector<Tensor>& inputs) {
  TracedProgram r;
  DimEnv env;
  const DimEnvScope scope(env);
  Tracer t;
  struct Close {
    Tracer& t;
    ~Close() { t.close(); }
  } closing{t};
  std::vector<Tensor> mixed = inputs;
  std::vector<std::pair<Tensor, int>> arguments;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (p.inputs[i].captured) continue;
    mixed[i] = t.add_input(inputs[i]);
    arguments.push_back({mixed[i], int(i)});
  }
  std::vector<GraphValue> outputs;
  for (const Tensor& result : run_program(p, mixed, &r.forward)) outputs.push_back(t.result(result));
  r.results = outputs.size();
  r.sources.assign(t.graph().inputs().size(), -1);
  for (size_t k = 0; k < arguments.size(); ++k) {
    r.sources[k] = arguments[k].second;
    const GraphValue v = t.storage_value(arguments[k].first->storage.get());
    if (v == t.graph().inputs()[k]) continue;
    if (inputs[size_t(arguments[k].second)]->contiguous) r.donate.push_back({uint32_t(outputs.size()), uint32_t(k)});
    outputs.push_back(t.new_value(arguments[k].first->storage.get()));
  }
  for (Tracer::Captured& c : t.captured()) {
    for (size_t i = 0; i < inputs.size(); ++i) if (inputs[i] == c.root) r.sources[c.input] = int(i);
    if (!c.mutated) continue;
    if (c.root->contiguous) r.donate.push_back({uint32_t(outputs.size()), c.input});
    outputs.push_back(t.new_value(c.root->storage.get()));
  }
  r.sources.resize(t.graph().inputs().size(), -1);
  t.graph().set_outputs(outputs);
  r.graph = prune(t.graph());
  return r;
}

// --- bits

static bool is_nan(const Bits& b, int64_t i) {
  const char* at = b.bytes.data() + i * dtype_bytes(b.dtype);
  uint16_t h;
  float f;
  double d;
  switch (b.dtype) {
    case DType::bf16: std::memcpy(&h, at, 2); return std::isnan(float_from_bf16(h));
    case DType::f16: std::memcpy(&h, at, 2); return std::isnan(float_from_f16(h));
    case DType::f32: std::memcpy(&f, at, 4); return std::isnan(f);
    case DType::f64: std::memcpy(&d, at, 8); return std::isnan(d);
    default: return false;
  }
}
static std::string hex_of(const Bits& b, int64_t i) {
  std::string s = "0x";
  for (int64_t k = dtype_bytes(b.dtype); k-- > 0;) {
    const uint8_t c = uint8_t(b.bytes[size_t(i * dtype_bytes(b.dtype) + k)]);
    s += "0123456789abcdef"[c >> 4];
    s += "0123456789abcdef"[c & 15];
  }
  return s;
}
static int64_t count_of(const Bits& b) {
  int64_t n = 1;
  for (int64_t s : b.sizes) n *= s;
  return n;
}

std::string difference(const Bits& a, const Bits& b) {
  if (a.dtype != b.dtype || a.sizes != b.sizes)
    return cat(a.dtype, "[", join(a.sizes, ","), "] and ", b.dtype, "[", join(b.sizes, ","), "]");
  if (a.bytes == b.bytes) return {};
  const int64_t size = dtype_bytes(a.dtype);
  int64_t first = -1, count = 0;
  for (int64_t i = 0; i < count_of(a); ++i) {
    if (!std::memcmp(a.bytes.data() + i * size, b.bytes.data() + i * size, size_t(size)) || (is_nan(a, i) && is_nan(b, i))) continue;
    if (first < 0) first = i;
    ++count;
  }
  if (first < 0) return {};
  return cat(a.dtype, "[", join(a.sizes, ","), "] element ", first, ": ", hex_of(a, first), " and ", hex_of(b, first), " (", count, " of ",
             count_of(a), " differ)");
}

static Bits bits_of(const Tensor& t) { return {t->dtype, t->sizes, bytes_of(t)}; }
static std::vector<Bits> bits_of(const std::vector<Tensor>& ts) {
  std::vector<Bits> r;
  for (const Tensor& t : ts) r.push_back(bits_of(t));
  return r;
}

static std::string differences(const std::vector<Bits>& a, const std::vector<Bits>& b, size_t results) {
  if (a.size() != b.size()) return cat(a.size(), " and ", b.size(), " results");
  for (size_t i = 0; i < a.size(); ++i)
    if (std::string d = difference(a[i], b[i]); !d.empty())
      return cat(i < results ? "result " : "changed input ", i < results ? i : i - results, ": ", d);
  return {};
}

// --- graphs by themselves

std::vector<Bits> graph_inputs(const TracedProgram& t, const FuzzProgram& p) {
  const std::vector<Tensor> inputs = make_inputs(p);
  std::vector<Bits> r;
  for (int s : t.sources) {
    if (s >= 0) { r.push_back(bits_of(inputs[size_t(s)])); continue; }
    const int64_t words[2] = {7, 0};
    r.push_back({DType::i64, {2}, std::string(reinterpret_cast<const char*>(words), sizeof words)});
  }
  return r;
}

std::vector<Bits> random_graph_inputs(const Graph& g, uint64_t seed) {
  std::vector<Bits> r;
  for (GraphValue v : g.inputs()) {
    FuzzInput in;
    in.dtype = g.type(v).dtype;
    for (Dim d : g.type(v).shape) in.sizes.push_back(d.value());
    Bits b = bits_of(make_input(in, seed + r.size()));
    if (is_int(in.dtype))  // small and not negative: such a value is often an index
      for (int64_t i = 0; i < count_of(b); ++i) {
        char* at = b.bytes.data() + i * dtype_bytes(in.dtype);
        const char low = char(std::abs(*at) % 4);
        std::memset(at, 0, size_t(dtype_bytes(in.dtype)));
        *at = low;
      }
    r.push_back(std::move(b));
  }
  return r;
}

// The elements in memory of the input's own strides.
std::vector<char> placed(const Bits& b, const TensorType& type) {
  const int64_t size = dtype_bytes(b.dtype);
  Ints strides;
  for (Dim d : strides_of(type)) strides.push_back(d.value());
  int64_t last = 0;
  for (size_t d = 0; d < strides.size(); ++d) last += b.sizes[d] ? (b.sizes[d] - 1) * strides[d] : 0;
  std::vector<char> memory(size_t(std::max<int64_t>((last + 1) * size, 64)));
  for (int64_t i = 0; i < count_of(b); ++i) {
    int64_t rest = i, at = 0;
    for (size_t d = strides.size(); d-- > 0;) { at += rest % b.sizes[d] * strides[d]; rest /= b.sizes[d]; }
    std::memcpy(memory.data() + at * size, b.bytes.data() + i * size, size_t(size));
  }
  return memory;
}
Bits collected(const char* memory, DType dtype, const Ints& sizes, const TensorType& type) {
  Bits b{dtype, sizes, {}};
  const int64_t size = dtype_bytes(dtype);
  Ints strides;
  for (Dim d : strides_of(type)) strides.push_back(d.value());
  b.bytes.resize(size_t(count_of(b) * size));
  for (int64_t i = 0; i < count_of(b); ++i) {
    int64_t rest = i, at = 0;
    for (size_t d = strides.size(); d-- > 0;) { at += rest % sizes[d] * strides[d]; rest /= sizes[d]; }
    std::memcpy(b.bytes.data() + i * size, memory + at * size, size_t(size));
  }
  return b;
}

std::vector<Bits> run_graph(const TracedProgram& t, std::span<const Bits> inputs, const CompileOptions& given) {
  DimEnv env;
  const DimEnvScope scope(env);
  CompileOptions options = given;
  options.donate = t.donate;
  Device& device = cpu_device();
  const Ref<Executable> e = make_executable(compile_graph(t.graph, device.target(), options), device);
  std::vector<std::vector<char>> memory, results;
  std::vector<void*> in, out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    memory.push_back(placed(inputs[i], t.graph.type(t.graph.inputs()[i])));
    in.push_back(memory.back().data());
  }
  const Executable::Plan& plan = e->plan({});
  const Program& p = e->program();
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    if (p.output_alias[i] >= 0) { out.push_back(in[size_t(p.output_alias[i])]); continue; }
    int64_t n = dtype_bytes(p.outputs[i].dtype);
    for (int64_t s : plan.output_shapes[i]) n *= s;
    results.emplace_back(size_t(n + 64));
    out.push_back(results.back().data());
  }
  const std::vector<int64_t> numbers(inputs.size());
  e->run(plan, in, numbers, out, 0);
  std::vector<Bits> r;
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    const TensorType type = p.output_alias[i] >= 0 ? t.graph.type(t.graph.inputs()[size_t(p.output_alias[i])]) : p.outputs[i];
    r.push_back(collected(static_cast<const char*>(out[i]), p.outputs[i].dtype, plan.output_shapes[i], type));
  }
  return r;
}

static bool has_reduced_floats(const Graph& g) {
  for (GraphValue v = 0; v < g.value_count(); ++v) if (is_reduced_float(g.type(v).dtype)) return true;
  return false;
}

// As eager runs it: one program for each group of calls; what lies between them is rounded to its type.
static std::vector<Bits> run_by_groups(const TracedProgram& t, std::span<const Bits> inputs, const CompileOptions& options) {
  const Graph& g = t.graph;
  std::vector<Bits> values(g.value_count());
  for (size_t i = 0; i < inputs.size(); ++i) values[g.inputs()[i]] = inputs[i];
  std::vector<NodeId> last_use(g.value_count(), 0);
  for (NodeId n = 0; n < g.nodes().size(); ++n) for_each_value(std::span<const Arg>(g.node(n).args), [&](const Arg& a) { last_use[a.value] = n; });
  for (GraphValue v : g.outputs()) last_use[v] = NodeId(g.nodes().size());
  for (NodeId begin = 0, end = 0; begin < g.nodes().size(); begin = end) {
    while (end < g.nodes().size() && g.node(end).group == g.node(begin).group) ++end;
    TracedProgram part;
    std::vector<Bits> part_inputs;
    std::vector<GraphValue> map(g.value_count(), ~0u);
    SmallVector<GraphValue, 4> results, outputs;
    ArgMap arguments;
    const auto need = [&](const Arg& a) {
      const NodeId made = g.value(a.value).node;
      if (map[a.value] != ~0u || (made != no_node && made >= begin)) return;
      map[a.value] = part.graph.add_input(g.type(a.value));
      part_inputs.push_back(values[a.value]);
    };
    for (NodeId n = begin; n < end; ++n) for_each_value(std::span<const Arg>(g.node(n).args), need);
    for (NodeId n = begin; n < end; ++n) {
      const Node& node = g.node(n);
      const NodeId id = copy_node(part.graph, g, node, arguments(node.args, [&](GraphValue v) { return map[v]; }));
      for (size_t i = 0; i < node.results.size(); ++i) {
        map[node.results[i]] = part.graph.node(id).results[i];
        if (last_use[node.results[i]] < end) continue;
        results.push_back(node.results[i]);
        outputs.push_back(map[node.results[i]]);
      }
    }
    part.graph.set_outputs(outputs);
    part.results = outputs.size();
    if (outputs.empty()) continue;
    std::vector<Bits> made = run_graph(part, part_inputs, options);
    for (size_t i = 0; i < results.size(); ++i) values[results[i]] = std::move(made[i]);
  }
  std::vector<Bits> r;
  for (GraphValue v : g.outputs()) r.push_back(values[v]);
  return r;
}

std::string check_graph(const TracedProgram& t, std::span<const Bits> inputs, PassSet off) {
  std::vector<Bits> expected;
  {
    const InterpretKernels interpreted;
    CompileOptions plain;
    plain.verify = 2;
    if (has_reduced_floats(t.graph)) {
      expected = run_by_groups(t, inputs, plain);
    } else {
      plain.off = (PassSet(1) << pass_count) - 1;
      expected = run_graph(t, inputs, plain);
    }
  }
  CompileOptions options;
  options.off = off;
  options.verify = 2;
  return differences(run_graph(t, inputs, options), expected, t.results);
}

static std::vector<Bits> interpret(const TracedProgram& t, const std::vector<Bits>& inputs) {
  std::vector<HostTensor> host;
  std::vector<std::vector<char>> memory;
  for (size_t i = 0; i < inputs.size(); ++i) {
    memory.push_back(placed(inputs[i], t.graph.type(t.graph.inputs()[i])));
    HostTensor h;
    h.dtype = inputs[i].dtype;
    h.shape = inputs[i].sizes;
    h.data = memory.back().data();
    host.push_back(std::move(h));
  }
  std::vector<Bits> r;
  for (const HostTensor& h : interpret_graph(t.graph, host)) r.push_back({h.dtype, h.shape, std::string(h.as<char>(), size_t(h.bytes()))});
  return r;
}

// --- programs

static std::vector<Bits> run_eager(const FuzzProgram& p, const std::vector<Tensor>& inputs) {
  set_random_state(cpu_device(), {7, 0});
  std::vector<Bits> r = bits_of(run_program(p, inputs));
  for (const Tensor& t : inputs) r.push_back(bits_of(t));
  return r;
}

static std::string check_compiled(const FuzzProgram& p, const std::vector<Bits>& eager, Tally& tally) {
  const std::vector<Tensor> inputs = make_inputs(p);
  std::vector<Tensor> arguments;
  for (size_t i = 0; i < inputs.size(); ++i) if (!p.inputs[i].captured) arguments.push_back(inputs[i]);
  const auto f = make_ref<CompiledFunction>([&](const std::vector<Tensor>& in) {
    std::vector<Tensor> mixed = inputs;
    for (size_t i = 0, k = 0; i < inputs.size(); ++i) if (!p.inputs[i].captured) mixed[i] = in[k++];
    return run_program(p, mixed);
  });
  set_random_state(cpu_device(), {7, 0});
  std::vector<Bits> compiled = bits_of(f->call(arguments));
  const size_t results = compiled.size();
  for (const Tensor& t : inputs) compiled.push_back(bits_of(t));
  tally.bit_results += int64_t(compiled.size());
  if (std::string d = differences(compiled, eager, results); !d.empty()) return "compiled and eager: " + d;
  if (p.seed % 8) return {};
  // Again, on what the first run left behind.
  ++tally.twice;
  const std::vector<Tensor> twice = make_inputs(p);
  run_eager(p, twice);
  const std::vector<Bits> expected = run_eager(p, twice);
  set_random_state(cpu_device(), {7, 0});
  compiled = bits_of(f->call(arguments));
  for (const Tensor& t : inputs) compiled.push_back(bits_of(t));
  const std::string d = differences(compiled, expected, results);
  return d.empty() ? d : "compiled and eager, second call: " + d;
}

// The same program with every size n of its inputs another one; all of them arguments.
static FuzzProgram resized(const FuzzProgram& p, int64_t n, int64_t to) {
  FuzzProgram r = p;
  for (FuzzInput& in : r.inputs) {
    in.captured = false;
    for (int64_t& size : in.sizes) if (size == n) size = to;
  }
  return r;
}

// A size that changes from call to call: from the second one on it is a symbol, where both traces are alike but for it.
static std::string check_sizes(const FuzzProgram& p, Tally& tally) {
  int64_t n = 0;
  for (const FuzzInput& in : p.inputs) for (int64_t size : in.sizes) n = std::max(n, size);
  if (n < 2) return {};
  const auto f = make_ref<CompiledFunction>([&](const std::vector<Tensor>& in) { return run_program(p, in); });
  for (int64_t to : {n, n + 1, n + 3, n + 2}) {
    const FuzzProgram q = resized(p, n, to);
    std::vector<Bits> eager;
    try {
      eager = run_eager(q, make_inputs(q));
    } catch (const InternalError&) {
      throw;
    } catch (const Error&) {
      return {};  // a size is written in the program
    }
    const std::vector<Tensor> inputs = make_inputs(q);
    set_random_state(cpu_device(), {7, 0});
    std::vector<Bits> compiled = bits_of(f->call(inputs));
    const size_t results = compiled.size();
    for (const Tensor& t : inputs) compiled.push_back(bits_of(t));
    if (std::string d = differences(compiled, eager, results); !d.empty()) return cat("compiled and eager, size ", n, " is ", to, ": ", d);
  }
  ++tally.sizes;
  tally.symbolic += f->report().find("\"symbols\": 1") != std::string::npos;
  return {};
}

static std::string check_traced(const FuzzProgram& p, const TracedProgram& t, const std::vector<Bits>& eager, Tally& tally) {
  tally.nodes += int64_t(t.graph.nodes().size());
  verify_graph(t.graph);
  const std::string text = print_graph(t.graph);
  if (!same_graph(parse_graph(text, find_op), t.graph)) return "the text of the graph reads back as another graph";
  const std::vector<Bits> results(eager.begin(), eager.begin() + int64_t(t.results));
  if (!has_reduced_floats(t.graph)) {
    ++tally.interpreted;
    std::vector<Bits> exact = interpret(t, graph_inputs(t, p));
    exact.resize(t.results);
    if (std::string d = differences(exact, results, t.results); !d.empty()) return "graph interpreter and eager: " + d;
  }
  if (std::string d = check_wide(t, p, results, tally); !d.empty()) return d;
  if (p.smooth && p.gradient) return check_differences(t, p, tally);
  return {};
}

std::string check_program(const FuzzProgram& p, bool jit_eager, Tally& tally) {
  ++tally.graphs;
  tally.gradients += p.gradient;
  tally.jit_eager += jit_eager;
  for (const FuzzStep& s : p.steps) tally.steps += !s.off;
  std::vector<Bits> eager;
  try {
    std::optional<InterpretKernels> interpreted;
    if (!jit_eager) interpreted.emplace();
    eager = run_eager(p, make_inputs(p));
  } catch (const InternalError& e) {
    return cat("eager: ", e.what());
  } catch (const Error&) {
    ++tally.refused;  // only possible when steps are left out
    return {};
  }
  try {
    TracedProgram t;
    {
      const InterpretKernels interpreted;  // whatever the trace runs at once
      t = trace_program(p, make_inputs(p));
    }
    if (std::string d = check_compiled(p, eager, tally); !d.empty()) return d;
    if (p.seed % 2) {
      std::optional<InterpretKernels> interpreted;
      if (p.seed % 16 != 1) interpreted.emplace();  // most of them: kernels of four sizes are much to compile
      if (std::string d = check_sizes(p, tally); !d.empty()) return d;
    }
    return check_traced(p, t, eager, tally);
  } catch (const InternalError& e) {
    return cat("compiled: ", e.what());
  } catch (const Error& e) {
    if (e.code() != ErrorCode::trace) return cat("compiled refuses what eager does: ", e.what());
    ++tally.refused;
    return {};
  }
}

}  // namespace phlox::fuzz

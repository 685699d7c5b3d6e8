#include "eager/trace.h"

#include <bit>
#include <chrono>

#include "base/event.h"
#include "base/json.h"
#include "base/root.h"
#include "eager/autocast.h"
#include "graph/generalise.h"
#include "ops/arith.h"
#include "ops/registry.h"
#include "transform/vjp.h"

namespace phlox {

static std::string json_text(std::string_view s) {
  std::string out;
  append_json_string(out, s);
  return out;
}

static thread_local Tracer* tracer = nullptr;
Tracer* Tracer::current() { return tracer; }
Tracer::Tracer() : builder_(graph_), previous_(tracer) { tracer = this; }
Tracer::~Tracer() { tracer = previous_; }

static TensorType concrete_type(const TensorImpl& t) {
  TensorType r;
  r.dtype = t.dtype;
  r.device = t.device().id().kind;
  for (int64_t n : t.sizes) r.shape.push_back(n);
  if (!t.contiguous) for (int64_t n : t.strides) r.strides.push_back(n);
  return r;
}

static Tensor stand_in(Device& device, DType dtype, const Ints& sizes) {
  Tensor t = make_ref<TensorImpl>();
  t->storage = make_ref<Storage>();
  t->storage->device = &device;
  t->storage->traced = true;
  t->sizes = sizes;
  t->strides = contiguous_strides(sizes);
  t->dtype = dtype;
  return t;
}
// Strides decide what is a view and what a copy: a stand-in for an argument has the argument's.
static void set_strides(TensorImpl& t, const Ints& strides) {
  t.strides = strides;
  t.contiguous = is_contiguous(t.sizes, strides);
}

Tensor Tracer::add_input(const Tensor& real) {
  Tensor t = stand_in(real->device(), real->dtype, real->sizes);
  if (!real->contiguous) set_strides(*t, real->strides);
  t->requires_grad = real->requires_grad;
  learn(t, graph_.add_input(concrete_type(*real)));
  return t;
}

bool Tracer::same_place(const TensorImpl& a, const TensorImpl& b) const {
  return a.offset == b.offset && a.sizes == b.sizes && a.strides == b.strides && a.dtype == b.dtype;
}

// The first tensor of a chain of views.
static Tensor first_base(const Tensor& t) {
  Tensor b = t;
  while (AutogradExtra* e = find_autograd_extra(*b)) {
    if (!e->view) break;
    b = e->view->base;
  }
  return b;
}

// A real storage is captured when it is first met.
Tracer::Known& Tracer::known(const Tensor& t) {
  Storage* s = t->storage.get();
  if (auto it = known_.find(s); it != known_.end()) return it->second;
  if (s->traced)
    fail(ErrorCode::trace, {.op = "compile", .fact = "a tensor of an earlier trace is used", .got = tensor_text(*t),
                            .expected = "tensors made in this call, or real ones",
                            .remedy = "return it from the compiled function instead of keeping it"});
  const Tensor root = first_base(t);
  const GraphValue v = graph_.add_input(concrete_type(*root));
  learn(root, v);
  Known& k = known_.at(s);
  k.captured = int(captured_.size());
  captured_.push_back({root, graph_.value(v).index});
  return k;
}

GraphValue Tracer::value_of(const Tensor& t) {
  const Known& now = known(t);
  const Tensor& root = now.root;
  if (same_place(*t, *root)) return now.value;
  AutogradExtra* e = find_autograd_extra(*t);
  if (e && e->view) {
    const AutogradExtra::View& view = *e->view;
    SmallVector<GraphValue, 4> in{value_of(view.base)};
    for (int64_t n : view.numbers) in.push_back(full_int(builder_, {}, DType::i64, n).id);
    Dims symbols;
    for (int64_t s : view.symbols) symbols.push_back(s);
    return inline_graph(graph_, view.signature->graph, in, symbols)[view.result];
  }
  // Two tensors share memory and nothing tells how: only whole reshapes can be followed.
  if (t->contiguous && root->contiguous && t->offset == root->offset && t->numel() == root->numel() && t->dtype == root->dtype) {
    Dims shape;
    for (int64_t n : t->sizes) shape.push_back(n);
    return reshape(builder_.wrap(now.value), shape).id;
  }
  fail(ErrorCode::trace, {.op = "compile", .fact = "two tensors share memory in a way that a trace cannot follow",
                          .got = cat(tensor_text(*t), " and ", tensor_text(*root)),
                          .remedy = "take the view inside the compiled function"});
}

Tensors Tracer::run(Signature& s, std::span<const CallInput> inputs, const Ints& symbol_values, Device& device) {
  SmallVector<GraphValue, 8> in;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].tensor) { in.push_back(value_of(Tensor::share(inputs[i].tensor))); continue; }
    const TensorType& t = s.graph.type(s.graph.inputs()[i]);
    Arg a = t.dtype == DType::f64 ? Arg::of_real(std::bit_cast<double>(inputs[i].number)) : Arg::of_dim(inputs[i].number);
    const Val v = t.dtype == DType::f64 ? full(builder_, {}, DType::f64, a.real) : full_int(builder_, {}, t.dtype, inputs[i].number);
    graph_.set_weak(v.id);
    in.push_back(v.id);
  }
  Dims symbols;
  for (int64_t v : symbol_values) symbols.push_back(v);
  graph_.current_group = ++groups_;
  const auto values = inline_graph(graph_, s.graph, in, symbols);
  Tensors out;
  for (size_t i = 0; i < s.outputs.size(); ++i) {
    Ints sizes;
    for (Dim d : s.outputs[i].shape) sizes.push_back(evaluate(d, symbol_values));
    Tensor t = stand_in(device, s.outputs[i].dtype, sizes);
    learn(t, values[i]);
    out.push_back(std::move(t));
  }
  return out;
}

void Tracer::write(const Tensor& dst, const Tensor& src) {
  const Tensor root = known(dst).root;
  Dims shape;
  for (int64_t n : dst->sizes) shape.push_back(n);
  Val v = cast(broadcast_to(builder_.wrap(value_of(src)), shape, "copy_"), dst->dtype);
  if (!same_place(*dst, *root)) {
    // Through a view: the root keeps its elements outside of it. Which those are, and where the new ones go, is what
    // the gradient of the view says.
    const GraphValue base = known(dst).value;
    const GraphValue seen = value_of(dst);
    const GraphValue outputs[] = {seen}, wrt[] = {base};
    const Val ones = full(builder_, shape, dst->dtype, 1);
    const Val one_grads[] = {ones}, value_grads[] = {v};
    const Val covered = append_vjp(builder_, outputs, one_grads, wrt)[0];
    const Val placed = append_vjp(builder_, outputs, value_grads, wrt)[0];
    if (!covered) fail(ErrorCode::trace, {.op = "copy_", .fact = "this view cannot be written in a trace", .got = tensor_text(*dst)});
    const Val hit = map(Scalar::ne, covered, full(builder_, covered.shape(), covered.dtype(), 0));
    v = map(Scalar::select, hit, placed, builder_.wrap(base));
  }
  Known& now = known(dst);
  now.value = v.id;
  if (now.captured >= 0) captured_[size_t(now.captured)].mutated = true;
}

Tensor Tracer::random_state(Device& d) {
  if (random_input_ < 0) {
    TensorType t;
    t.dtype = DType::i64;
    t.shape = {2};
    random_input_ = int(graph_.value(graph_.add_input(t)).index);
  }
  // Draw number k has the offset of the run plus k.
  const Val state = builder_.wrap(graph_.inputs()[size_t(random_input_)]);
  const Val step = map(Scalar::mul, iota(builder_, {2}, 0, DType::i64), full_int(builder_, {2}, DType::i64, random_draws_++));
  Tensor t = stand_in(d, DType::i64, {2});
  learn(t, map(Scalar::add, state, step).id);
  return t;
}

GraphValue Tracer::result(const Tensor& t) {
  const GraphValue v = value_of(t);
  return graph_.value(v).node == no_node ? copy(builder_.wrap(v)).id : v;
}

bool Tracer::is_dense_root(const TensorImpl& t) {
  const Known& k = known(Tensor::share(const_cast<TensorImpl*>(&t)));
  const Tensor& root = k.root;
  return same_place(t, *root) && root->contiguous && root->offset == 0 && graph_.type(k.value).strides.empty();
}

GraphValue Tracer::new_value(const Storage* s) {
  const GraphValue v = known_.at(s).value;
  return graph_.value(v).node == no_node ? copy(builder_.wrap(v)).id : v;
}

void Tracer::note_grad(TensorImpl& t) {
  if (t.storage->traced) return;
  if (!noted_.insert(&t).second) return;
  AutogradExtra* e = find_autograd_extra(t);
  grads_.push_back({Tensor::share(&t), e ? e->grad : Tensor()});
}

void Tracer::close() {
  for (GradChange& g : grads_) autograd_extra(*g.leaf).grad = g.before;
}

// --- compiled functions

struct CompiledFunction::Entry {
  struct Guard { TensorType type; bool requires_grad; };
  std::vector<Guard> inputs;
  bool grad_mode = true;
  uint64_t autocast = 0;
  struct Capture { Tensor root; TensorType type; bool mutated; };
  std::vector<Capture> captured;
  struct Grad { Tensor leaf; bool defined_before; int output; };  // output -1: cleared
  std::vector<Grad> grads;
  enum class Source : uint8_t { argument, capture, random };
  std::vector<std::pair<Source, uint32_t>> sources;
  // New values of tensors that are not contiguous: the program gives them, and they are copied into place after it.
  struct Strided { uint32_t output, input; };
  std::vector<Strided> strided;
  size_t results = 0;
  std::vector<int> result_argument;  // a result that is an argument or captured tensor itself: -1 none
  int draws = 0;
  // Sizes of the arguments that are symbols of the program, each by the first place where it is found.
  struct SizePlace { uint32_t input; int dim; };
  std::vector<SizePlace> symbols;
  DimEnv env;                        // what compiling took for granted about them
  Graph symbolic;                    // to compare with, where there are symbols
  // The sizes that it was traced at.
  struct Seen { Ints sizes; uint64_t graph_hash; int calls = 0; bool refused = false; };
  std::vector<Seen> seen;
  Device* device = nullptr;
  Ref<Executable> executable;
  CompileReport report;
  double trace_ms = 0, compile_ms = 0, load_ms = 0;
  int calls = 0;
};

CompiledFunction::CompiledFunction(TraceFn f, std::string name) : f_(std::move(f)), name_(std::move(name)) {}
CompiledFunction::~CompiledFunction() = default;

namespace {
using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point t) { return std::chrono::duration<double, std::milli>(Clock::now() - t).count(); }
}  // namespace

// The one device that all tensors are on; numbers of the CPU go along with any.
Device& CompiledFunction::choose_device(Entry& e, const std::vector<Tensor>& inputs) const {
  const Tensor* first = nullptr;
  const auto each = [&](auto&& f) {
    for (const Tensor& t : inputs) f(t, false);
    for (const Entry::Capture& c : e.captured) f(c.root, c.mutated);
  };
  each([&](const Tensor& t, bool) { if (!first || (*first)->device().id().kind == DeviceKind::cpu) first = &t; });
  Device& device = first ? (*first)->device() : cpu_device();
  each([&](const Tensor& t, bool mutated) {
    if (&t->device() == &device || (t->rank() == 0 && !mutated && t->device().id().kind == DeviceKind::cpu)) return;
    fail(ErrorCode::invalid_argument, {.op = name_, .fact = "its tensors are on different devices",
                                       .got = cat(tensor_text(**first), " on ", device.id(), " and ", tensor_text(*t), " on ", t->device().id()),
                                       .expected = "one device", .remedy = "move one with .to(device) before the function is called"});
  });
  e.device = &device;
  return device;
}

// A trace at some sizes, not compiled yet.
struct CompiledFunction::Traced {
  std::unique_ptr<Entry> entry;
  Graph graph;
  std::vector<std::pair<uint32_t, uint32_t>> donate;
};

CompiledFunction::Traced CompiledFunction::trace(const std::vector<Tensor>& inputs) {
  auto entry = std::make_unique<Entry>();
  const auto start = Clock::now();
  DimEnv env;
  DimEnvScope env_scope(env);
  Tracer t;
  struct Close { Tracer& t; ~Close() { t.close(); } } closing{t};
  std::vector<Tensor> stand_ins;
  for (const Tensor& in : inputs) {
    entry->inputs.push_back({concrete_type(*in), in->requires_grad});
    stand_ins.push_back(t.add_input(in));
  }
  entry->grad_mode = grad_enabled();
  entry->autocast = autocast_key();
  const std::vector<Tensor> results = f_(stand_ins);

  std::vector<GraphValue> outputs;
  std::vector<std::pair<uint32_t, uint32_t>> donate;
  for (const Tensor& r : results) outputs.push_back(t.result(r));
  entry->results = results.size();
  for (Tracer::GradChange& g : t.grads()) {
    const Tensor now = autograd_extra(*g.leaf).grad;
    if (now == g.before) continue;
    entry->grads.push_back({g.leaf, bool(g.before), now ? int(outputs.size()) : -1});
    if (now) outputs.push_back(t.result(now));
  }
  for (Tracer::Captured& c : t.captured()) {
    entry->captured.push_back({c.root, concrete_type(*c.root), c.mutated});
    if (!c.mutated) continue;
    if (c.root->contiguous) donate.push_back({uint32_t(outputs.size()), c.input});
    else entry->strided.push_back({uint32_t(outputs.size()), c.input});
    outputs.push_back(t.new_value(c.root->storage.get()));
  }
  // Arguments that the function changed in place.
  for (size_t i = 0; i < stand_ins.size(); ++i) {
    const GraphValue v = t.storage_value(stand_ins[i]->storage.get());
    if (v == t.graph().inputs()[i]) continue;
    if (inputs[i]->contiguous) donate.push_back({uint32_t(outputs.size()), uint32_t(i)});
    else entry->strided.push_back({uint32_t(outputs.size()), uint32_t(i)});
    outputs.push_back(t.new_value(stand_ins[i]->storage.get()));
  }
  t.graph().set_outputs(outputs);
  std::vector<uint32_t> capture_of(t.graph().inputs().size());
  for (uint32_t k = 0; k < t.captured().size(); ++k) capture_of[t.captured()[k].input] = k;
  for (GraphValue v : t.graph().inputs()) {
    const uint32_t index = t.graph().value(v).index;
    if (index < inputs.size()) { entry->sources.push_back({Entry::Source::argument, index}); continue; }
    if (int(index) == t.random_input()) { entry->sources.push_back({Entry::Source::random, 0}); continue; }
    entry->sources.push_back({Entry::Source::capture, capture_of[index]});
  }
  entry->draws = t.random_draws();
  entry->seen.push_back({{}, hash_of(t.graph())});
  entry->trace_ms = ms_since(start);
  return {std::move(entry), std::move(t.graph()), std::move(donate)};
}

std::unique_ptr<CompiledFunction::Entry> CompiledFunction::compile(Traced traced, Device& device) {
  Entry& e = *traced.entry;
  CompileOptions options;
  options.donate = std::move(traced.donate);
  options.adds_guards = true;
  options.whole_ops = makes_code(device);
  const DimEnvScope scope(e.env);
  const auto compiling = Clock::now();
  Ref<Program> program = compile_graph(traced.graph, device.target(), options, &e.report);
  e.compile_ms = ms_since(compiling);
  const auto loading = Clock::now();
  e.executable = make_executable(std::move(program), device);
  std::vector<bool> moving;
  for (auto& [source, index] : e.sources)
    moving.push_back(source != Entry::Source::capture || &e.captured[index].root->device() != &device);
  e.executable->enable_replay(std::move(moving));
  e.load_ms = ms_since(loading);
  if (!e.symbols.empty()) e.symbolic = std::move(traced.graph);
  return std::move(traced.entry);
}

namespace {

// A type with symbols against one without: their values, where nothing else differs.
bool match(const TensorType& pattern, const TensorType& t, Ints& sizes) {
  if (pattern.dtype != t.dtype || pattern.device != t.device || pattern.rank() != t.rank() || !(pattern.strides == t.strides)) return false;
  for (int d = 0; d < t.rank(); ++d)
    if (const int id = pattern.shape[d].symbol_id(); id >= 0 && sizes[size_t(id)] < 0) sizes[size_t(id)] = t.shape[d].value();
  for (int d = 0; d < t.rank(); ++d) if (evaluate(pattern.shape[d], sizes) != t.shape[d].value()) return false;
  return true;
}

// An argument of a trace that has sizes and strides only.
Tensor of_type(const TensorType& type, Device& device, bool requires_grad) {
  Ints sizes;
  for (Dim d : type.shape) sizes.push_back(d.value());
  Tensor t = stand_in(device, type.dtype, sizes);
  Ints strides;
  for (Dim d : type.strides) strides.push_back(d.value());
  if (!type.strides.empty()) set_strides(*t, strides);
  t->requires_grad = requires_grad;
  return t;
}

}  // namespace

bool CompiledFunction::fits(Entry& e, const std::vector<Tensor>& inputs, Ints& sizes) {
  if (e.inputs.size() != inputs.size() || e.grad_mode != grad_enabled() || e.autocast != autocast_key()) return false;
  sizes.assign(e.symbols.size(), -1);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (e.inputs[i].requires_grad != inputs[i]->requires_grad || !match(e.inputs[i].type, concrete_type(*inputs[i]), sizes)) return false;
  for (auto& c : e.captured) if (c.type != concrete_type(*c.root)) return false;
  for (auto& g : e.grads) if (g.defined_before != bool(autograd_extra(*g.leaf).grad) && g.output < 0) return false;
  return e.env.guards_hold(sizes);
}

// The arguments differ from those of an entry in sizes alone: its graph and theirs as one, or as it is where they have
// other differences.
CompiledFunction::Traced CompiledFunction::trace_for_sizes(const std::vector<Tensor>& inputs) {
  Traced now = trace(inputs);
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    const Entry& e = **it;
    if (!e.symbols.empty() || e.inputs.size() != inputs.size() || e.grad_mode != grad_enabled() || e.autocast != autocast_key()) continue;
    std::vector<SymbolSample> samples;
    std::vector<Entry::SizePlace> places;
    bool same = true;
    for (uint32_t i = 0; same && i < inputs.size(); ++i) {
      const TensorType &a = e.inputs[i].type, &b = now.entry->inputs[i].type;
      same = a.dtype == b.dtype && a.rank() == b.rank() && a.device == b.device && a.strides == b.strides &&
             e.inputs[i].requires_grad == now.entry->inputs[i].requires_grad;
      for (int d = 0; same && d < a.rank(); ++d) {
        if (a.shape[d] == b.shape[d]) continue;
        same = a.strides.empty();
        const SymbolSample s{a.shape[d].value(), b.shape[d].value()};
        const auto explains = [&](const SymbolSample& x) { return x.a && s.a % x.a == 0 && s.a / x.a * x.b == s.b; };
        if (std::any_of(samples.begin(), samples.end(), explains)) continue;
        samples.push_back(s);
        places.push_back({i, d});
      }
    }
    if (!same || samples.empty()) continue;
    std::vector<Tensor> before;
    for (size_t i = 0; i < inputs.size(); ++i) before.push_back(of_type(e.inputs[i].type, inputs[i]->device(), inputs[i]->requires_grad));
    const Traced first = trace(before);
    Graph symbolic;
    std::string why;
    if (!generalise(first.graph, now.graph, samples, symbolic, why)) {
      emit_event(EventKind::recompile, name_, cat("no program for all sizes: ", why));
      continue;
    }
    Entry& r = *now.entry;
    r.symbols = std::move(places);
    for (const SymbolSample& s : samples) {
      r.env.new_symbol(s.b);
      r.seen[0].sizes.push_back(s.b);
    }
    for (size_t i = 0; i < r.inputs.size(); ++i) r.inputs[i].type = symbolic.type(symbolic.inputs()[i]);
    now.graph = std::move(symbolic);
    return now;
  }
  return now;
}

CompiledFunction::Entry& CompiledFunction::find(const std::vector<Tensor>& inputs, Ints& sizes) {
  const auto changed = [&] {
    fail(ErrorCode::trace, {.op = name_, .fact = "tracing it again gave another graph: it depends on state that is no tensor",
                            .expected = "the same calls at every run",
                            .remedy = "keep changing state in tensors (a step count, a learning rate), or pass it in"});
  };
  std::string reason = "other types";
  for (auto& e : entries_) {
    if (!fits(*e, inputs, sizes)) continue;
    const auto known = std::find_if(e->seen.begin(), e->seen.end(), [&](const Entry::Seen& s) { return s.sizes == sizes; });
    if (known != e->seen.end()) {
      if (known->refused) continue;
      if (known->calls == 1 && hash_of(trace(inputs).graph) != known->graph_hash) changed();
      return *e;
    }
    const Traced t = trace(inputs);
    Entry::Seen seen{sizes, hash_of(t.graph), 1};
    seen.refused = !same_at(e->symbolic, t.graph, sizes, reason);
    e->seen.push_back(seen);
    if (!seen.refused) return *e;
    reason = cat("it is not the same at these sizes: ", reason);
  }
  Traced traced = trace_for_sizes(inputs);
  Device& device = choose_device(*traced.entry, inputs);
  if (!entries_.empty()) {
    if (const size_t n = traced.entry->symbols.size()) reason = cat("a second size: ", n, n == 1 ? " size becomes a symbol" : " sizes become symbols");
    emit_event(EventKind::recompile, name_, cat("guards failed: variant ", entries_.size() + 1, ": ", reason));
  }
  entries_.push_back(compile(std::move(traced), device));
  Entry& e = *entries_.back();
  sizes = e.seen[0].sizes;
  emit_event(EventKind::compile, name_, cat(e.report.graph_nodes, " ops, ", e.report.kernels, " kernels (", e.report.unique_kernels,
             " different), trace ", int(e.trace_ms), " ms, compile ", int(e.compile_ms), " ms, code ", int(e.load_ms), " ms"));
  return e;
}

void CompiledFunction::prepare(const std::vector<Tensor>& inputs) {
  const std::lock_guard lock(calls_);
  Ints sizes;
  find(inputs, sizes);
}

std::vector<Tensor> CompiledFunction::call(const std::vector<Tensor>& inputs) {
  if (Tracer::current()) return f_(inputs);  // inside another trace it is just a function
  const std::lock_guard lock(calls_);
  Ints sizes;
  Entry& e = find(inputs, sizes);
  const Program& p = e.executable->program();
  const Executable::Plan& plan = e.executable->plan(sizes);
  Device& device = *e.device;
  SmallVector<void*, 16> in, out;
  SmallVector<int64_t, 16> numbers(e.sources.size());
  Tensor random;
  SmallVector<Tensor, 4> moved;
  const auto address = [&](const Tensor& t) -> void* {
    if (&t->device() == &device) return t->bytes();
    moved.push_back(make_tensor(device, t->dtype, {}));  // a number
    device.copy(moved.back()->bytes(), t->bytes(), dtype_bytes(t->dtype), Device::CopyKind::to_device, 0);
    return moved.back()->bytes();
  };
  for (auto& [source, index] : e.sources) {
    if (source == Entry::Source::argument) in.push_back(address(inputs[index]));
    else if (source == Entry::Source::capture) in.push_back(address(e.captured[index].root));
    else {
      RandomState s = phlox::random_state(device);
      random = make_tensor(device, DType::i64, {2});
      const int64_t words[2] = {int64_t(s.seed), int64_t(s.offset)};
      device.copy(random->bytes(), words, sizeof words, Device::CopyKind::to_device, 0);
      s.offset += uint64_t(e.draws);
      set_random_state(device, s);
      in.push_back(random->bytes());
    }
  }
  std::vector<Tensor> made(p.outputs.size());
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    if (p.output_alias[i] >= 0) { out.push_back(in[size_t(p.output_alias[i])]); continue; }
    made[i] = make_tensor(device, p.outputs[i].dtype, plan.output_shapes[i]);
    out.push_back(made[i]->bytes());
  }
  e.executable->run(plan, in, numbers, out, 0);
  ++e.calls;
  for (Entry::Seen& s : e.seen) s.calls += s.sizes == sizes;
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    if (p.output_alias[i] < 0) continue;
    auto& [source, index] = e.sources[size_t(p.output_alias[i])];
    Storage& s = source == Entry::Source::argument ? *inputs[index]->storage : *e.captured[index].root->storage;
    s.version.fetch_add(1, std::memory_order_relaxed);
  }
  for (const Entry::Strided& w : e.strided) {
    auto& [source, index] = e.sources[w.input];
    const Tensor& to = source == Entry::Source::argument ? inputs[index] : e.captured[index].root;
    copy_into(to, made[w.output]);
    to->storage->version.fetch_add(1, std::memory_order_relaxed);
  }
  for (Entry::Grad& g : e.grads) autograd_extra(*g.leaf).grad = g.output < 0 ? Tensor() : made[size_t(g.output)];
  made.resize(e.results);
  return made;
}

std::string CompiledFunction::report() const {
  const std::lock_guard lock(calls_);
  std::string s = cat("{\"name\": ", json_text(name_), ", \"programs\": [");
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& e = *entries_[i];
    s += cat(i ? ", " : "", "{\"ops\": ", e.report.graph_nodes, ", \"launches\": ", e.report.kernels, ", \"kernels\": ",
             e.report.unique_kernels, ", \"symbols\": ", e.symbols.size(), ", \"steps\": ", e.report.steps, ", \"trace_ms\": ", e.trace_ms, ", \"compile_ms\": ",
             e.compile_ms, ", \"code_ms\": ", e.load_ms, ", \"calls\": ", e.calls, ", ");
    if (const std::string r = e.executable->replay_report(); !r.empty()) s += cat("\"replay\": ", r, ", ");
    s += "\"passes\": {";
    for (size_t k = 0; k < e.report.passes.size(); ++k)
      s += cat(k ? ", " : "", "\"", e.report.passes[k].name, "\": ", e.report.passes[k].ms);
    s += "}}";
  }
  return s + "]}";
}

}  // namespace phlox

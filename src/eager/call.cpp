#include "eager/call.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/root.h"
#include "compile/compile.h"
#include "eager/autocast.h"
#include "eager/exact.h"
#include "eager/trace.h"
#include "eager/views.h"
#include "ops/registry.h"
#include "ops/host_args.h"
#include "ops/staged.h"

namespace phlox {

// --- random state

namespace {
struct Generators {
  std::mutex mutex;
  RandomState cpu{67280421310721ull, 0};
};
}  // namespace
RandomState random_state(Device&) {
  Generators& g = root_object<Generators>();
  std::lock_guard lock(g.mutex);
  return g.cpu;
}
void set_random_state(Device&, RandomState s) {
  Generators& g = root_object<Generators>();
  std::lock_guard lock(g.mutex);
  g.cpu = s;
}
static Tensor draw_random_state(Device& d) {
  if (Tracer* t = Tracer::current()) return t->random_state(d);
  RandomState now;
  {
    Generators& g = root_object<Generators>();
    std::lock_guard lock(g.mutex);
    now = g.cpu;
    ++g.cpu.offset;
  }
  Tensor t = make_tensor(d, DType::i64, {2});
  const int64_t words[2] = {int64_t(now.seed), int64_t(now.offset)};
  d.copy(t->bytes(), words, sizeof words, Device::CopyKind::to_device, 0);
  return t;
}

// --- running programs

static void execute(Executable& e, const Executable::Plan& plan, std::span<const CallInput> inputs,
                    std::span<const Tensor> outputs) {
  SmallVector<void*, 8> in, out;
  SmallVector<int64_t, 8> numbers;
  for (const CallInput& i : inputs) {
    in.push_back(i.tensor ? static_cast<void*>(i.tensor->bytes()) : nullptr);
    numbers.push_back(i.number);
  }
  for (const Tensor& t : outputs) out.push_back(t->bytes());
  e.run(plan, in, numbers, out, 0);
}

void execute_signature(Signature& s, std::span<const CallInput> inputs, const Ints& symbols, Device& device,
                       std::span<const Tensor> outputs) {
  Executable& e = s.executable(device, symbols);
  execute(e, e.plan(symbols), inputs, outputs);
}

static Tensors allocate_outputs(const Executable::Plan& plan, Device& device) {
  Tensors out;
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const Executable::Plan::Output& o = plan.outputs[i];
    out.push_back(make_dense_tensor(device, o.dtype, plan.output_shapes[i], o.strides, o.bytes));
  }
  return out;
}

// Numbers as tensors on the CPU go along with tensors on any device.
static void move_scalars(std::span<CallInput> inputs, Device& device, std::vector<Tensor>& keep) {
  for (CallInput& i : inputs) {
    if (!i.tensor || i.tensor->storage->traced || &i.tensor->device() == &device) continue;
    if (i.tensor->rank() != 0 || i.tensor->device().id().kind != DeviceKind::cpu) continue;
    Tensor t = make_tensor(device, i.tensor->dtype, {});
    device.copy(t->bytes(), i.tensor->bytes(), dtype_bytes(t->dtype), Device::CopyKind::to_device, 0);
    keep.push_back(t);
    i.tensor = t.get();
  }
}

// A dense tensor's elements where the host can read them.
static Tensor on_host(const Tensor& t) {
  if (t->device().id().kind == DeviceKind::cpu) return t;
  Tensor r = make_tensor(cpu_device(), t->dtype, t->sizes);
  if (t->numel() > 0) t->device().copy(r->bytes(), t->bytes(), t->numel() * dtype_bytes(t->dtype), Device::CopyKind::to_host, 0);
  t->device().synchronize(0);
  check_device_status(t->device());
  return r;
}

// An op whose result sizes depend on data: its reference runs on the host now.
static Tensors run_on_host(const Signature& s, std::span<const CallInput> inputs, std::span<const Arg> args) {
  HostCall call;
  int64_t next = 0;
  auto attr = [&](auto&& self, const Arg& a) -> HostAttr {
    HostAttr r;
    if (a.kind == ArgKind::value) { r.kind = HostAttr::Kind::tensor; r.integer = next++; }
    else if (a.kind == ArgKind::list) { r.kind = HostAttr::Kind::list; for (const Arg& i : a.items()) r.items.push_back(self(self, i)); }
    else r = host_attr_of(a);
    return r;
  };
  for (const Arg& a : args) call.args.push_back(attr(attr, a));
  std::vector<Tensor> keep;
  Device* device = &cpu_device();
  for (const CallInput& i : inputs) {
    if (!i.tensor) continue;
    device = &i.tensor->device();
    keep.push_back(on_host(contiguous(Tensor::share(i.tensor))));
    const TensorImpl& t = *keep.back();
    HostTensor h;
    h.dtype = t.dtype;
    h.shape = t.sizes;
    h.data = t.bytes();
    call.in.push_back(h);
  }
  call.out.resize(s.host_op->schema.returns.size());
  s.host_op->op->record.reference(call);
  Tensors out;
  for (const HostTensor& h : call.out) {
    Tensor t = make_tensor(*device, h.dtype, h.shape);
    device->copy(t->bytes(), h.data, h.bytes(), Device::CopyKind::to_device, 0);
    out.push_back(std::move(t));
  }
  return out;
}

// --- recording

namespace {

// The same values with the same sizes and strides, in other memory.
Tensor copy_in_place_of(const Tensor& t) {
  const NoGrad guard;
  if (Tracer::current()) return call1("prim::copy", {tensor_arg(t)});  // the values of a graph have no strides
  Tensor copy = make_view(t, 0, t->sizes, t->strides);
  int64_t last = 0;
  for (int d = 0; d < t->rank(); ++d) last += (t->sizes[d] - 1) * t->strides[d];
  copy->storage = make_storage(t->device(), t->numel() ? (last + 1) * dtype_bytes(t->dtype) : 0);
  copy_into(copy, t);
  return copy;
}

struct SignatureNode final : GradNode, Pooled<SignatureNode> {
  Recorded* recorded = nullptr;
  Ref<Signature> owner;  // keeps `recorded`
  struct Value { SavedTensor tensor; int64_t number = 0; };
  SmallVector<Value, 3> saved;
  Ints symbols;
  Device* device = nullptr;
  bool freed = false;

  const char* name() const override { return owner->name.c_str(); }

  SmallVector<Tensor, 3> apply(std::span<const Tensor> grads, bool create_graph) override {
    if (freed)
      fail(ErrorCode::autograd, {.op = "backward", .fact = cat("the saved values of ", name(), " were freed by an earlier backward"),
                                 .remedy = "pass retain_graph = true to the first backward"});
    SmallVector<CallInput, 8> in;
    SmallVector<Tensor, 3> keep;
    Ref<SignatureNode> forward;
    for (size_t i = 0; i < saved.size(); ++i) {
      const Value& v = saved[i];
      const Tensor& t = v.tensor.tensor;
      if (!t) { in.push_back({nullptr, v.number}); continue; }
      if (t->storage->version.load(std::memory_order_relaxed) != v.tensor.version)
        fail(ErrorCode::autograd, {.op = "backward",
                                   .fact = cat("a value that ", name(), " needs for its gradient was changed in place"),
                                   .got = cat(tensor_text(*t), " at version ", t->storage->version.load()),
                                   .expected = cat("version ", v.tensor.version), .remedy = "clone it before changing it"});
      if (create_graph && recorded->saved[i].kind == SplitVjp::Saved::Kind::output && has_gradient(t->dtype)) {
        keep.push_back(with_history(t, recorded->saved[i].index, forward));
        in.push_back({keep.back().get(), 0});
        continue;
      }
      in.push_back({t.get(), 0});
    }
    std::vector<bool> missing(owner->outputs.size());
    bool partly = false;
    for (uint32_t g : recorded->grads_of) {
      missing[g] = !grads[g];
      partly |= !grads[g];
    }
    const Recorded::Partial* partial = partly ? &owner->partial(*recorded, missing) : nullptr;
    if (partial && !partial->backward) partial = nullptr;
    for (uint32_t g : partial ? partial->grads_of : recorded->grads_of) {
      Tensor t = grads[g];
      if (!t) {
        Ints sizes;
        for (Dim d : owner->outputs[g].shape) sizes.push_back(evaluate(d, symbols));
        t = full_tensor(*device, owner->outputs[g].dtype, sizes, 0);
      }
      keep.push_back(contiguous(t));
      in.push_back({keep.back().get(), 0});
    }
    const auto& wrt = partial ? partial->wrt : recorded->wrt;
    SmallVector<Tensor, 3> result(inputs.size());
    if (wrt.empty()) return result;
    Tensors out = run_signature(partial ? *partial->backward : *recorded->backward, in, symbols, *device);
    for (size_t i = 0; i < wrt.size(); ++i) result[wrt[i]] = std::move(out[i]);
    return result;
  }
  void free_saved() override {
    saved.clear();
    freed = true;
  }

  // A saved value of the forward computation, for gradients of gradients: a result of this record, or one of the values
  // that the recorded forward program gives besides, whose gradients `forward` knows.
  Tensor with_history(const Tensor& t, uint32_t index, Ref<SignatureNode>& forward) {
    const Tensor r = detach(t);
    if (index >= owner->outputs.size() && !forward) forward = forward_node();
    set_edge(r, index < owner->outputs.size() ? Ref<SignatureNode>::share(this) : forward, index);
    return r;
  }
  // The record of the same call that also has the values saved besides as results.
  Ref<SignatureNode> forward_node() const {
    std::vector<bool> needs;
    for (const Edge& e : inputs) needs.push_back(e.node != nullptr);
    Recorded& r = recorded->forward->recorded(needs, symbols);
    Ref<SignatureNode> n = make_ref<SignatureNode>();
    n->sequence = sequence;
    n->recorded = &r;
    n->owner = recorded->forward;
    n->symbols = symbols;
    n->device = device;
    n->inputs = inputs;
    n->results = uint32_t(recorded->forward->outputs.size());
    for (const SplitVjp::Saved& wanted : r.saved) {
      size_t k = 0;
      while (k < saved.size() && (recorded->saved[k].kind != wanted.kind || recorded->saved[k].index != wanted.index)) ++k;
      if (k == saved.size())
        fail(ErrorCode::autograd, {.op = "backward", .fact = cat("the gradient of the gradient of ", name(), " needs a value that was not kept"),
                                   .remedy = "compose it of simpler ops"});
      n->saved.push_back(saved[k]);
    }
    return n;
  }
  // The values of this storage are about to change: those that are saved move to memory of their own.
  void keep_values_of(const Storage* storage) {
    for (Value& v : saved) {
      Tensor& t = v.tensor.tensor;
      if (!t || t->storage.get() != storage) continue;
      const Edge history = gradient_edge(t);
      Tensor copy = copy_in_place_of(t);
      if (history.node) set_edge(copy, history.node, history.index);
      v.tensor.version = copy->storage->version.load(std::memory_order_relaxed);
      t = copy;
    }
  }
};

bool wants_grad(const TensorImpl* t) { return t && t->requires_grad && has_gradient(t->dtype); }

}  // namespace

static Ref<SignatureNode> make_node(Signature& s, Recorded& r, const Ints& symbols, Device& device) {
  Ref<SignatureNode> node = make_ref<SignatureNode>();
  node->sequence = next_sequence();
  node->recorded = &r;
  node->owner = Ref<Signature>::share(&s);
  node->symbols = symbols;
  node->device = &device;
  node->results = uint32_t(s.outputs.size());
  return node;
}

static void record(Signature& s, Recorded& r, std::span<const CallInput> inputs, std::span<const Tensor> outputs,
                   const Ints& symbols, Device& device) {
  Ref<SignatureNode> node = make_node(s, r, symbols, device);
  for (const CallInput& i : inputs)
    node->inputs.push_back(wants_grad(i.tensor) ? gradient_edge(*i.tensor) : Edge{});
  for (const SplitVjp::Saved& v : r.saved) {
    SignatureNode::Value saved;
    Tensor& t = saved.tensor.tensor;
    if (v.kind == SplitVjp::Saved::Kind::input) {
      if (TensorImpl* in = inputs[v.index].tensor) t = Tensor::share(in);
      saved.number = inputs[v.index].number;
    } else {
      // A result is kept detached: the tape must not own the tensor that owns it.
      t = v.index < s.outputs.size() ? detach(outputs[v.index]) : outputs[v.index];
    }
    if (t && t->inference && !inference_enabled())
      fail(ErrorCode::autograd, {.op = s.name, .fact = "a tensor made in inference mode cannot be kept for a gradient", .got = tensor_text(*t),
                                 .remedy = "clone it outside inference mode"});
    if (t) saved.tensor.version = t->storage->version.load(std::memory_order_relaxed);
    node->saved.push_back(std::move(saved));
  }
  for (uint32_t i = 0; i < s.outputs.size(); ++i)
    if (has_gradient(outputs[i]->dtype)) set_edge(outputs[i], node, i);
}

Ref<GradNode> make_view_node(Signature& s, const Edge& base_edge, std::span<const int64_t> numbers, const Ints& symbols,
                             const Tensor& base) {
  std::vector<bool> needs(1 + numbers.size());
  needs[0] = true;
  Recorded& r = s.recorded(needs, symbols);
  Ref<SignatureNode> node = make_node(s, r, symbols, base->device());
  node->inputs.resize(1 + numbers.size());
  node->inputs[0] = base_edge;
  for (const SplitVjp::Saved& v : r.saved) {
    PHLOX_CHECK(v.kind == SplitVjp::Saved::Kind::input && v.index > 0, "the gradient of a view reads values");
    node->saved.push_back({{}, numbers[v.index - 1]});
  }
  return node;
}

static bool any_wants_grad(std::span<const CallInput> inputs) {
  if (!grad_enabled()) return false;
  for (const CallInput& i : inputs) if (wants_grad(i.tensor)) return true;
  return false;
}
static bool any_float(const Signature& s) {
  for (const TensorType& t : s.outputs) if (has_gradient(t.dtype)) return true;
  return false;
}

// The results of a signature: of its program, or inside a trace of the nodes that it becomes.
static Tensors compute(Signature& s, std::span<const CallInput> inputs, const Ints& symbols, Device& device) {
  if (Tracer* t = Tracer::current()) return t->run(s, inputs, symbols, device);
  for (const CallInput& i : inputs)
    if (i.tensor && i.tensor->storage->traced)
      fail(ErrorCode::trace, {.op = s.name, .fact = "a tensor of a trace is used outside of it", .got = tensor_text(*i.tensor),
                              .remedy = "return it from the compiled function"});
  Executable& e = s.executable(device, symbols);
  const Executable::Plan& plan = e.plan(symbols);
  Tensors out = allocate_outputs(plan, device);
  execute(e, plan, inputs, out);
  return out;
}

Tensors run_signature(Signature& s, std::span<const CallInput> given, const Ints& symbols, Device& device) {
  SmallVector<CallInput, 8> inputs(given);
  std::vector<Tensor> keep;
  move_scalars(inputs, device, keep);
  if (!any_wants_grad(inputs) || !any_float(s)) {
    return compute(s, inputs, symbols, device);
  }
  Recorded& r = *recorded_for(s, inputs, symbols);
  Tensors out = compute(*r.forward, inputs, symbols, device);
  if (!r.wrt.empty()) record(s, r, inputs, out, symbols, device);
  while (out.size() > s.outputs.size()) out.pop_back();
  return out;
}

// --- calls

static void fill_defaults(const OpInfo& op, std::span<const Arg> args, SmallVector<Arg, 8>& full) {
  full.append(args.begin(), args.end());
  for (size_t i = args.size(); i < op.schema.params.size(); ++i) full.push_back(op.schema.params[i].default_value);
}

static Device& device_of(const OpInfo& op, const CallKey& key, Device* given) {
  Device* d = given;
  for (TensorImpl* t : key.tensors) {
    Device& td = t->device();
    if (d && d->id() != td.id() && !(t->rank() == 0 && td.id().kind == DeviceKind::cpu))
      fail(ErrorCode::invalid_argument, {.op = op.schema.name, .fact = "tensors are on different devices",
                                         .got = cat(d->id(), " and ", td.id(), " (", tensor_text(*t), ")"),
                                         .expected = "one device", .remedy = "move one with .to(device)"});
    if (!d) d = &td;
  }
  return d ? *d : cpu_device();
}

// --- calls met before

Recorded* recorded_for(Signature& s, std::span<const CallInput> inputs, const Ints& symbols) {
  if (!any_wants_grad(inputs) || !any_float(s)) return nullptr;
  std::vector<bool> needs;
  for (const CallInput& i : inputs) needs.push_back(wants_grad(i.tensor));
  return &s.recorded(needs, symbols);
}

size_t run_exact(const ExactEntry& e, const ExactKey& call, std::span<Tensor> out) {
  const Executable::Plan& plan = *e.plan;
  const size_t n_out = plan.outputs.size();
  for (size_t i = 0; i < n_out; ++i) {
    const Executable::Plan::Output& o = plan.outputs[i];
    out[i] = make_dense_tensor(*e.device, o.dtype, plan.output_shapes[i], o.strides, o.bytes);
  }
  constexpr size_t most = ExactKey::max_tensors + ExactKey::max_numbers + ExactKey::max_defaults;
  void *in[most], *to[ExactKey::max_results];
  int64_t numbers[most];
  size_t n = 0;
  for (TensorImpl* t : call.tensors()) in[n++] = t->bytes();
  const auto number = [&](int64_t v) { in[n] = nullptr, numbers[n++] = v; };
  for (int64_t v : call.numbers()) number(v);
  for (int64_t v : e.defaults) number(v);
  for (size_t i = 0; i < n_out; ++i) to[i] = out[i]->bytes();
  e.executable->run(plan, {in, n}, {numbers, n}, {to, n_out}, 0);
  if (e.recorded && !e.recorded->wrt.empty()) {
    SmallVector<CallInput, 8> inputs;
    for (TensorImpl* t : call.tensors()) inputs.push_back({t, 0});
    for (size_t i = inputs.size(); i < n; ++i) inputs.push_back({nullptr, numbers[i]});
    record(*e.signature, *e.recorded, inputs, out.first(n_out), e.symbols, *e.device);
  }
  for (size_t i = e.results; i < n_out; ++i) out[i] = nullptr;
  return e.results;
}

namespace {

// Stages are ordinary calls; their results are kept until the last one has run.
class EagerStages final : public StagedCall {
 public:
  EagerStages(std::span<const Arg> given, Device* device) : device_(device) { args = given; }
  DType dtype(const Arg& t) const override { return impl(t)->dtype; }
  Ints sizes(const Arg& t) const override { return impl(t)->sizes; }
  std::vector<Arg> call(std::string_view name, std::span<const Arg> a) override {
    const OpInfo* op = find_op(name);
    PHLOX_CHECK(op, "no op ", name);
    std::vector<Arg> r;
    for (Tensor& t : call_op(*op, a, device_)) {
      r.push_back(tensor_arg(t));
      keep_.push_back(std::move(t));
    }
    return r;
  }
  void assign(const Arg& to, const Arg& from) override {
    const NoGrad guard;
    phlox::assign(Tensor::share(impl(to)), detach(Tensor::share(impl(from))), "running statistics");
  }
  Tensors take() const {
    Tensors r;
    for (const Arg& a : results) r.push_back(Tensor::share(impl(a)));
    return r;
  }

 private:
  static TensorImpl* impl(const Arg& t) { return reinterpret_cast<TensorImpl*>(t.bits); }
  Device* device_;
  std::vector<Tensor> keep_;
};

}  // namespace

// --- errors

// A call as a user would write it: "add.Tensor(f32[2,3], f32[4], 1)".
static std::string call_text(const OpInfo& op, std::span<const Arg> args) {
  auto text = [](auto&& self, const Arg& a, const SchemaParam& p) -> std::string {
    if (a.kind == ArgKind::value) return a.bits ? tensor_text(*reinterpret_cast<TensorImpl*>(a.bits)) : "undefined";
    if (a.kind != ArgKind::list) return print_arg(a, p.type);
    std::string s;
    for (const Arg& i : a.items()) s += cat(s.empty() ? "" : ", ", self(self, i, p));
    return cat("[", s, "]");
  };
  std::string s;
  for (size_t i = 0; i < args.size() && i < op.schema.params.size(); ++i) s += cat(i ? ", " : "", text(text, args[i], op.schema.params[i]));
  return cat(op.schema.full_name(), "(", s, ")");
}

// An error that a rule raised says what it knows; what it left out is said here: the op that the user called, how, and
// what it takes.
void complete_error(const OpInfo& op, std::span<const Arg> args, const Error& e) {
  ErrorParts p = e.parts();
  if (p.op.compare(0, op.schema.name.size(), op.schema.name) != 0) p.op = op.schema.name;
  if (p.got.empty()) p.got = call_text(op, args);
  if (p.expected.empty()) p.expected = cat("arguments for which this is defined: ", *op.op->record.doc ? op.op->record.doc : "see its signature");
  if (p.remedy.empty()) p.remedy = cat("the signature is ", op.op->record.schema);
  throw Error(e.code(), std::move(p));
}
template <class F>
static auto completing_errors(const OpInfo& op, std::span<const Arg> args, F&& f) {
  try {
    return f();
  } catch (const InternalError&) {
    throw;
  } catch (const Error& e) {
    complete_error(op, args, e);
  }
}

Tensors call_op(const OpInfo& op, std::span<const Arg> args, Device* given) {
  return completing_errors(op, args, [&] {
    ExactKey exact;
    const bool possible = !given && exact.encode(op, args);
    if (possible)
      if (const ExactEntry* e = exact.find()) {
        Tensor out[ExactKey::max_results];
        const size_t n = run_exact(*e, exact, out);
        Tensors r;
        for (size_t i = 0; i < n; ++i) r.push_back(std::move(out[i]));
        return r;
      }
    return call_new(op, args, given, possible ? &exact : nullptr);
  });
}

static Tensors call_met_first(const OpInfo& op, std::span<const Arg> args, Device* given, const ExactKey* exact);
Tensors call_new(const OpInfo& op, std::span<const Arg> args, Device* given, const ExactKey* exact) {
  return completing_errors(op, args, [&] { return call_met_first(op, args, given, exact); });
}

static Tensors call_met_first(const OpInfo& op, std::span<const Arg> args, Device* given, const ExactKey* exact) {
  if (autocast_on()) [[unlikely]] {
    ArgMap memory;
    std::vector<Tensor> keep;
    if (const auto cast = autocast_args(op, args, memory, keep); !cast.empty()) return call_new(op, cast, given, nullptr);
  }
  SmallVector<Arg, 8> full;
  fill_defaults(op, args, full);
  if (op.op->record.staged) {
    EagerStages stages(full, given);
    if (op.op->record.staged(stages)) return stages.take();
  }
  const CallKey key = make_key(op, full);
  Device& device = device_of(op, key, given);
  const Ref<Signature> s = find_signature(op, full, key);
  SmallVector<CallInput, 8> inputs;
  for (TensorImpl* t : key.tensors) inputs.push_back({t, 0});
  for (int64_t n : key.numbers) inputs.push_back({nullptr, n});
  if (s->host_op) {
    if (Tracer::current())
      fail(ErrorCode::trace, {.op = op.schema.name, .fact = "the size of its result depends on data, which a trace does not have",
                              .remedy = "use a form with a fixed size (where, masked_fill), or call it outside"});
    return run_on_host(*s, inputs, full);
  }
  if (op.op->record.view && key.tensors.size() >= 1)
    if (Tensors views; alias_views(*s, op, key, views)) return views;
  Tensor state;
  if (s->random) {
    state = draw_random_state(device);
    inputs.push_back({state.get(), 0});
  }
  Tensors out = run_signature(*s, inputs, key.symbols, device);
  bool one_device = true;
  for (const CallInput& i : inputs) one_device &= !i.tensor || &i.tensor->device() == &device;
  if (exact && one_device && !s->random && !s->has_extern && !op.op->record.view) exact->remember(s, inputs, key.symbols, device);
  return out;
}

static void write_in_place(const OpInfo& op, std::span<const Arg> args);
void call_in_place(const OpInfo& op, std::span<const Arg> args) {
  completing_errors(op, args, [&] { write_in_place(op, args); });
}

// Results that a destination cannot hold: a fraction in an integer, a number in a bool.
static void check_castable(const std::string& op, DType from, DType to) {
  if ((is_complex(from) && !is_complex(to)) || (is_float(from) && !has_gradient(to)) || (!is_bool(from) && is_bool(to)))
    fail(ErrorCode::invalid_argument, {.op = op, .fact = "the result type cannot be cast to the tensor's",
                                       .got = cat(from), .expected = cat("something that fits ", to), .remedy = "cast the tensor first"});
}

static void write_in_place(const OpInfo& op, std::span<const Arg> args) {
  PHLOX_CHECK(!args.empty() && args[0].kind == ArgKind::value, op.schema.name, "_ without a tensor to change");
  const Tensor self = Tensor::share(reinterpret_cast<TensorImpl*>(args[0].bits));
  check_can_mutate(*self, op.schema.name.c_str());
  SmallVector<Arg, 8> full;
  fill_defaults(op, args, full);
  const CallKey key = make_key(op, full);
  const bool recording = grad_enabled() && std::any_of(key.tensors.begin(), key.tensors.end(), wants_grad);
  if (!recording && self->contiguous && !Tracer::current() && !op.op->record.staged) {
    // Straight into self where every element depends on its own place alone and no operand is shifted against it.
    const Ref<Signature> s = find_signature(op, full, key);
    bool safe = s->pointwise && !s->random && s->outputs.size() == 1 && s->outputs[0].dtype == self->dtype &&
                s->outputs[0].rank() == self->rank();
    for (TensorImpl* t : key.tensors)
      safe = safe && (!may_overlap(*t, *self) || (t->offset == self->offset && t->sizes == self->sizes && t->contiguous));
    for (int d = 0; safe && d < self->rank(); ++d) safe = evaluate(s->outputs[0].shape[d], key.symbols) == self->sizes[d];
    if (safe) {
      SmallVector<CallInput, 8> inputs;
      for (TensorImpl* t : key.tensors) inputs.push_back({t, 0});
      for (int64_t n : key.numbers) inputs.push_back({nullptr, n});
      execute_signature(*s, inputs, key.symbols, device_of(op, key, nullptr), std::span(&self, 1));
      self->storage->version.fetch_add(1, std::memory_order_relaxed);
      return;
    }
  }
  const Tensors r = call_op(op, full);
  if (r[0]->sizes != self->sizes)
    fail(ErrorCode::invalid_argument, {.op = op.schema.name + "_", .fact = "the result does not have the shape of the tensor",
                                       .got = tensor_text(*r[0]), .expected = tensor_text(*self),
                                       .remedy = "use the form without underscore"});
  check_castable(op.schema.name + "_", r[0]->dtype, self->dtype);
  if (recording)
    if (AutogradExtra* e = find_autograd_extra(*r[0]))
      if (auto* node = dynamic_cast<SignatureNode*>(e->edge.node.get())) node->keep_values_of(self->storage.get());
  assign(self, r[0], op.schema.name.c_str());
}

static void write_out(const OpInfo& op, std::span<const Arg> args, std::span<const Tensor> out);
void call_out(const OpInfo& op, std::span<const Arg> args, std::span<const Tensor> out) {
  completing_errors(op, args, [&] { write_out(op, args, out); });
}
static void write_out(const OpInfo& op, std::span<const Arg> args, std::span<const Tensor> out) {
  const Tensors r = call_op(op, args);
  for (size_t i = 0; i < out.size(); ++i) check_castable(op.schema.name, r[i]->dtype, out[i]->dtype);
  for (size_t i = 0; i < out.size(); ++i) {
    if (grad_enabled() && (out[i]->requires_grad || r[i]->requires_grad))
      fail(ErrorCode::autograd, {.op = op.schema.name, .fact = "out= does not take part in gradients",
                                 .remedy = "use the returned tensor, or no_grad"});
    if (out[i]->sizes != r[i]->sizes) {
      // As in ATen, an out tensor of another size takes the result's size.
      out[i]->storage = make_storage(out[i]->device(), r[i]->numel() * dtype_bytes(out[i]->dtype));
      out[i]->offset = 0;
      out[i]->sizes = r[i]->sizes;
      out[i]->strides = contiguous_strides(r[i]->sizes);
      out[i]->contiguous = true;
    }
    assign(out[i], r[i], op.schema.name.c_str());
  }
}

Tensor call1(const char* name, std::initializer_list<Arg> args) {
  const OpInfo* op = find_op(name);
  PHLOX_CHECK(op, "no op ", name);
  return call_op(*op, std::span(args.begin(), args.size()))[0];
}

Tensor full_tensor(Device& d, DType dtype, const Ints& sizes, double value) {
  const NoGrad guard;
  SmallVector<Arg, 6> dims;
  for (int64_t s : sizes) dims.push_back(Arg::of_dim(s));
  const Arg args[] = {Arg::of_list(dims), Arg::of_real(value), Arg::of_dtype(dtype)};
  static const OpInfo* op = find_op("prim::full");
  return call_op(*op, args, &d)[0];
}

Tensor contiguous(const Tensor& t) {
  if (t->contiguous) return t;
  static const OpInfo* op = find_op("prim::copy");
  const Arg args[] = {tensor_arg(t)};
  return call_op(*op, args)[0];
}

// --- copies into views

// No two elements of t are one place in memory, as far as each stride steps over all that smaller ones reach. (Only
// strides made by hand may fail this and be right.)
static bool places_differ(const TensorImpl& t) {
  SmallVector<std::pair<int64_t, int64_t>, 6> dims;
  for (int d = 0; d < t.rank(); ++d) if (t.sizes[d] > 1) dims.push_back({t.strides[d], t.sizes[d]});
  std::sort(dims.begin(), dims.end());
  int64_t reach = 0;
  for (auto [stride, size] : dims) {
    if (stride <= reach) return false;
    reach += stride * (size - 1);
  }
  return true;
}

void copy_into(const Tensor& dst, const Tensor& src) {
  if (dst->numel() == 0) return;
  if (!dst->contiguous && !places_differ(*dst))
    fail(ErrorCode::invalid_argument, {.op = "copy_", .fact = "several elements of the destination are one place in memory",
                                       .got = cat(tensor_text(*dst), " with strides [", join(dst->strides, ","), "]"),
                                       .expected = "a tensor that is not expanded and whose windows do not overlap",
                                       .remedy = "clone it before writing"});
  const NoGrad guard;
  if (Tracer* t = Tracer::current()) return t->write(dst, src);
  Tensor from = src;
  if (may_overlap(*dst, *src)) from = call1("prim::copy", {tensor_arg(src)});
  write_view(dst, from);
}

void assign(const Tensor& dst, const Tensor& src, const char* op) {
  check_can_mutate(*dst, op);
  const bool track = grad_enabled() && (src->requires_grad || dst->requires_grad) && has_gradient(dst->dtype);
  copy_into(dst, src);
  dst->storage->version.fetch_add(1, std::memory_order_relaxed);
  if (track) record_assignment(dst, src);
}

Tensor detach(const Tensor& t) { return make_view(t, t->offset, t->sizes, t->strides); }

}  // namespace phlox

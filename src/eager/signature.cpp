#include "eager/signature.h"

#include <algorithm>
#include <deque>
#include <shared_mutex>
#include <unordered_map>

#include "base/event.h"
#include "base/hash.h"
#include "base/root.h"
#include "compile/compile.h"
#include "graph/builder.h"
#include "graph/rewrite.h"
#include "ops/prims.h"

namespace phlox {

uint64_t CallKey::hash() const {
  uint64_t h = words.size();
  for (uint64_t w : words) h = (h ^ w) * 0x9e3779b97f4a7c15ULL, h ^= h >> 29;
  return mix64(h);
}

namespace {

// The order of dims from the largest stride to the smallest, when these strides leave no gaps; else -1.
int64_t dense_order(const TensorImpl& t) {
  SmallVector<int, 6> order;
  for (int d = 0; d < t.rank(); ++d) order.push_back(d);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    // Sizes of 1 keep their place: their stride says nothing.
    return t.sizes[a] != 1 && t.sizes[b] != 1 && t.strides[a] > t.strides[b];
  });
  int64_t step = 1, code = 1;
  for (int k = t.rank(); k-- > 0;) {
    const int d = order[k];
    if (t.sizes[d] != 1 && t.strides[d] != step) return -1;
    step *= t.sizes[d];
  }
  for (int d : order) code = code * 16 + d;
  return code;
}

struct KeyMaker {
  CallKey k;

  int size_class(int64_t n) {
    for (int i = 0; i < k.size_symbols; ++i) if (k.symbols[i] == n) return i;
    k.symbols.push_back(n);
    return k.size_symbols++;
  }

  void tensor(TensorImpl* t) {
    k.tensors.push_back(t);
    uint64_t w = uint64_t(t->dtype) | uint64_t(t->rank()) << 8 | uint64_t(t->contiguous) << 16 |
                 uint64_t(t->device().id().kind) << 24 | 1ull << 32;
    k.words.push_back(w);
    uint64_t dims = 0;
    int shift = 0;
    for (int64_t n : t->sizes) {
      dims |= uint64_t(n == 1 ? 255 : size_class(n)) << shift;
      if ((shift += 8) == 64) { k.words.push_back(dims); dims = 0; shift = 0; }
    }
    if (shift) k.words.push_back(dims);
    if (!t->contiguous) strides(*t);
  }

  void strides(const TensorImpl& t) {
    const int64_t order = t.rank() <= 14 ? dense_order(t) : -1;
    k.words.push_back(uint64_t(order));
    if (order >= 0) return;
    for (int d = 0; d < t.rank(); ++d)
      k.words.push_back(uint64_t(t.sizes[d] == 1 || t.strides[d] == 0 ? 0 : t.strides[d] == 1 ? 1 : 2));
  }

  void arg(const Arg& a, const SchemaParam& p, bool fixed) {
    if (a.kind == ArgKind::value) { tensor(reinterpret_cast<TensorImpl*>(a.bits)); return; }
    if (a.kind == ArgKind::list) {
      k.words.push_back(2ull << 32 | a.count);
      for (const Arg& i : a.items()) arg(i, p, fixed);
      return;
    }
    const bool number = p.type == ParamType::scalar && !fixed && !a.is_none() && a.kind != ArgKind::complex;
    if (number) {
      k.words.push_back(3ull << 32 | uint64_t(a.kind));
      k.numbers.push_back(int64_t(a.bits));
      k.number_types.push_back(a.kind == ArgKind::real ? DType::f64 : a.kind == ArgKind::boolean ? DType::boolean : DType::i64);
      return;
    }
    // Negative numbers mean something of their own (-1: what is left; from the end) and are part of the key.
    if (a.kind == ArgKind::dim && p.symbolic && a.dim >= 0) { k.words.push_back(4ull << 32); ints.push_back(a.dim); return; }
    k.words.push_back(5ull << 32 | uint64_t(a.kind) | uint64_t(a.extra) << 8);
    k.words.push_back(a.kind == ArgKind::string ? hash_text(a.as_string())
                      : a.kind == ArgKind::complex ? hash_bytes(a.complex, 16) : a.bits);
  }

  Ints ints;
};

}  // namespace

CallKey make_key(const OpInfo& op, std::span<const Arg> args) {
  KeyMaker m;
  m.k.words.push_back(op.id);
  for (size_t i = 0; i < args.size(); ++i)
    m.arg(args[i], op.schema.params[i], op.op->record.static_args >> i & 1);
  m.k.int_symbols = int(m.ints.size());
  for (int64_t v : m.ints) m.k.symbols.push_back(v);
  for (TensorImpl* t : m.k.tensors)
    if (!t->contiguous && (t->rank() > 14 || dense_order(*t) < 0))
      for (int d = 0; d < t->rank(); ++d)
        if (t->sizes[d] != 1 && t->strides[d] != 0 && t->strides[d] != 1) m.k.symbols.push_back(t->strides[d]);
  return std::move(m.k);
}

namespace {

// Writes the graph of one call: inputs with symbolic sizes in the order of CallKey, then the op's expansion.
class SignatureWriter {
 public:
  SignatureWriter(const OpInfo& op, std::span<const Arg> args, const CallKey& key)
      : op_(op), args_(args), key_(key), sig_(make_ref<Signature>()), builder_(sig_->graph) {}

  Ref<Signature> write() {
    sig_->name = op_.schema.full_name();
    sig_->env = DimEnv(key_.symbols, key_.size_symbols);
    DimEnvScope scope(sig_->env);
    next_stride_ = key_.size_symbols + key_.int_symbols;
    next_int_ = key_.size_symbols;
    for (TensorImpl* t : key_.tensors) builder_.input(type_of(*t));
    sig_->tensor_count = key_.tensors.size();
    for (DType d : key_.number_types) {
      TensorType t;
      t.dtype = d;
      t.weak = true;
      builder_.input(t, true);
    }
    const OpRecord& r = op_.op->record;
    if (has(r.effects, Effects::random)) {
      TensorType t;
      t.dtype = DType::i64;
      t.shape = {2};
      builder_.random_state = builder_.input(t);
      sig_->random = true;
    }
    if (has(r.effects, Effects::host_read) && !r.expand) { sig_->host_op = &op_; return sig_; }
    SmallVector<Arg, 8> graph_args;
    for (size_t i = 0; i < args_.size(); ++i)
      graph_args.push_back(rewrite(args_[i], op_.schema.params[i], r.static_args >> i & 1));
    sig_->graph.current_group = 1;
    Vals out = builder_.call(op_, graph_args);
    if (!r.view)  // a result is memory of its own
      for (Val& v : out) if (sig_->graph.value(v.id).node == no_node) v = copy(v);
    builder_.outputs(out);
    finish(*sig_);
    return sig_;
  }

  static void finish(Signature& s) {
    for (GraphValue v : s.graph.outputs()) {
      TensorType t = s.graph.type(v);
      t.strides.clear();
      s.outputs.push_back(t);
    }
    s.pointwise = true;
    // Both parts of a complex result depend on both parts of an operand: none may be overwritten before the other is read.
    for (GraphValue v : s.graph.inputs()) s.pointwise &= !is_complex(s.graph.type(v).dtype);
    for (GraphValue v : s.graph.outputs()) s.pointwise &= !is_complex(s.graph.type(v).dtype);
    for (const Node& n : s.graph.nodes()) {
      const OpRecord& r = n.op->op->record;
      for (const char* kind : {"conv", "pool", "fold"}) s.has_windows |= n.op->schema.name.find(kind) != std::string::npos;
      s.has_extern |= !r.loop && !r.stores && !r.expand;
      const std::string& name = n.op->schema.name;
      const bool spread = name == "prim::broadcast" && s.graph.type(n.args[0].value).rank() == 0;
      s.pointwise &= r.loop && (!r.view || spread) && name != "prim::reduce" && name != "prim::contract" && name != "prim::conv" &&
                     name != "prim::gather" && name != "prim::scan" && name != "prim::cat" && name != "prim::fold" &&
                     name != "prim::diag_embed";
    }
  }

 private:
  Dim size_dim(int64_t n) const {
    if (n == 1) return 1;
    for (int i = 0; i < key_.size_symbols; ++i) if (key_.symbols[i] == n) return Dim::symbol(i);
    PHLOX_CHECK(false, "size without a class");
    return 0;
  }

  TensorType type_of(const TensorImpl& t) {
    TensorType r;
    r.dtype = t.dtype;
    r.device = t.device().id().kind;
    for (int64_t n : t.sizes) r.shape.push_back(size_dim(n));
    if (t.contiguous) return r;
    r.strides.resize(size_t(t.rank()));
    const int64_t code = t.rank() <= 14 ? dense_order(t) : -1;
    if (code >= 0) {
      int64_t rest = code;
      Dim step = 1;
      for (int k = 0; k < t.rank(); ++k, rest /= 16) {
        const int d = int(rest % 16);
        r.strides[d] = step;
        step = step * r.shape[d];
      }
      return r;
    }
    for (int d = 0; d < t.rank(); ++d)
      r.strides[d] = t.sizes[d] == 1 || t.strides[d] == 0 ? Dim(0) : t.strides[d] == 1 ? Dim(1) : Dim::symbol(next_stride_++);
    return r;
  }

  Arg rewrite(const Arg& a, const SchemaParam& p, bool fixed) {
    if (a.kind == ArgKind::value) return Arg::of_value(next_tensor_++);
    if (a.kind == ArgKind::list) {
      std::vector<Arg> items;
      for (const Arg& i : a.items()) items.push_back(rewrite(i, p, fixed));
      lists_.push_back(std::move(items));
      return Arg::of_list(lists_.back());
    }
    if (p.type == ParamType::scalar && !fixed && !a.is_none() && a.kind != ArgKind::complex)
      return Arg::of_value(uint32_t(key_.tensors.size()) + next_number_++);
    if (a.kind == ArgKind::dim && p.symbolic && a.dim >= 0) return Arg::of_dim(Dim::symbol(next_int_++));
    return a;
  }

  const OpInfo& op_;
  std::span<const Arg> args_;
  const CallKey& key_;
  Ref<Signature> sig_;
  GraphBuilder builder_;
  std::deque<std::vector<Arg>> lists_;
  uint32_t next_tensor_ = 0, next_number_ = 0;
  int next_stride_ = 0, next_int_ = 0;
};

constexpr size_t most_signatures = 4096;

// Kinds of calls by the hash of their key. One that is found is marked; when the table is full, marks are taken away in
// the order of arrival, and what has none is forgotten.
struct Table {
  struct Kept {
    SmallVector<uint64_t, 48> words;
    Ref<Signature> signature;
    std::atomic<bool> used{true};
  };
  std::shared_mutex mutex;
  std::unordered_multimap<uint64_t, std::unique_ptr<Kept>> map;
  std::deque<std::pair<uint64_t, const Kept*>> order;  // oldest first

  Ref<Signature> find(uint64_t hash, const CallKey& key) {
    for (auto [it, end] = map.equal_range(hash); it != end; ++it) {
      Kept& k = *it->second;
      if (k.words != key.words || !(k.signature->env.guards().empty() || k.signature->env.guards_hold(key.symbols))) continue;
      if (!k.used.load(std::memory_order_relaxed)) k.used.store(true, std::memory_order_relaxed);
      return k.signature;
    }
    return nullptr;
  }
  size_t variants(uint64_t hash, const CallKey& key) const {
    size_t n = 0;
    for (auto [it, end] = map.equal_range(hash); it != end; ++it) n += it->second->words == key.words;
    return n;
  }
  void add(uint64_t hash, const CallKey& key, Ref<Signature> s) {
    auto kept = std::make_unique<Kept>();
    kept->words = key.words;
    kept->signature = std::move(s);
    order.push_back({hash, kept.get()});
    map.emplace(hash, std::move(kept));
  }
  // Down to three quarters. What is forgotten is freed by the caller, without the lock.
  std::vector<std::unique_ptr<Kept>> evict() {
    std::vector<std::unique_ptr<Kept>> gone;
    while (order.size() > most_signatures * 3 / 4) {
      const auto [hash, oldest] = order.front();
      order.pop_front();
      auto it = map.equal_range(hash).first;
      while (it->second.get() != oldest) ++it;
      if (it->second->used.exchange(false, std::memory_order_relaxed)) {
        order.push_back({hash, oldest});
        continue;
      }
      gone.push_back(std::move(it->second));
      map.erase(it);
    }
    return gone;
  }
};
Table& table() { return root_object<Table>(); }

}  // namespace

size_t signature_limit() { return most_signatures; }
size_t signature_count() {
  Table& t = table();
  std::shared_lock lock(t.mutex);
  return t.order.size();
}

Ref<Signature> find_signature(const OpInfo& op, std::span<const Arg> args, const CallKey& key) {
  Table& t = table();
  const uint64_t hash = key.hash();
  {
    std::shared_lock lock(t.mutex);
    if (Ref<Signature> s = t.find(hash, key)) return s;
  }
  Ref<Signature> made = SignatureWriter(op, args, key).write();
  size_t variants = 0;
  std::vector<std::unique_ptr<Table::Kept>> gone;
  {
    std::unique_lock lock(t.mutex);
    if (Ref<Signature> s = t.find(hash, key)) return s;
    variants = t.variants(hash, key);
    t.add(hash, key, made);
    if (t.order.size() > most_signatures) gone = t.evict();
  }
  if (variants) emit_event(EventKind::recompile, made->name, cat("variant ", variants + 1, ": sizes answer a question differently"));
  if (!gone.empty())
    emit_event(EventKind::cache, "eager calls", cat(gone.size(), " kinds of calls are forgotten: more than ", most_signatures,
                                                    " were made; asked for again, they are planned again"));
  return made;
}

Ref<Signature> signature_of_graph(std::string name, Graph g, const DimEnv& env) {
  Ref<Signature> s = make_ref<Signature>();
  s->name = std::move(name);
  s->graph = std::move(g);
  s->env = env;
  for (GraphValue v : s->graph.inputs()) s->tensor_count += !s->graph.is_number(v);
  SignatureWriter::finish(*s);
  return s;
}

// The graph for these sizes alone.
static Graph at_sizes(const Graph& g, const Ints& symbols) {
  Graph out;
  std::vector<GraphValue> map(g.value_count());
  ArgMap arguments;
  const auto sized = [&](TensorType t) {
    for (Dim& d : t.shape) d = evaluate(d, symbols);
    for (Dim& d : t.strides) d = evaluate(d, symbols);
    return t;
  };
  for (GraphValue v : g.inputs()) map[v] = out.add_input(sized(g.type(v)), g.is_number(v));
  for (const Node& n : g.nodes()) {
    const std::span<const Arg> args = arguments.each(n.args, [&](Arg a) {
      if (a.kind == ArgKind::value) a.value = map[a.value];
      if (a.kind == ArgKind::dim) a = Arg::of_dim(evaluate(a.as_dim(), symbols));
      return a;
    });
    SmallVector<TensorType, 2> types;
    for (GraphValue v : n.results) types.push_back(sized(g.type(v)));
    out.current_group = n.group;
    out.current_location = n.location;
    const NodeId to = out.add_node(*n.op, args, types);
    for (size_t i = 0; i < n.results.size(); ++i) map[n.results[i]] = out.node(to).results[i];
  }
  SmallVector<GraphValue, 4> outputs;
  for (GraphValue v : g.outputs()) outputs.push_back(map[v]);
  out.set_outputs(outputs);
  return out;
}

static constexpr int times_asked = 3;
static constexpr size_t most_own_sizes = 8, most_sizes = 256;

// Sizes that are asked for a third time, of more than a few values.
bool Signature::pays_own_program(uint64_t sizes, Device& device, const Ints& symbols) {
  constexpr int64_t many = 1 << 16;
  if (own_sizes_ >= most_own_sizes || asked_.size() > most_sizes || ++asked_[sizes] < times_asked || !makes_code(device)) return false;
  for (const Node& n : graph.nodes())
    for (GraphValue v : n.results)
      if (evaluate(graph.type(v).numel(), symbols) >= many) return true;
  return false;
}

bool Signature::settled(Device& device, const Ints& symbols) {
  if (device.id().kind != DeviceKind::cpu || !has_windows) return true;
  std::lock_guard lock(mutex_);
  if (own_sizes_ >= most_own_sizes || asked_.size() > most_sizes) return true;
  const auto it = asked_.find(sizes_key(device, symbols));
  return it != asked_.end() && it->second >= times_asked;
}

// The magnitude of each size; on a CPU 0 for all of them, or what stands for exactly these.
uint64_t Signature::sizes_key(Device& device, const Ints& symbols) const {
  uint64_t sizes = 0;
  if (device.id().kind != DeviceKind::cpu)
    for (int64_t n : symbols) sizes = mix64(sizes ^ uint64_t(n > 1 ? 64 - __builtin_clzll(uint64_t(n - 1)) : n));
  else if (has_windows)
    sizes = hash_bytes(symbols.data(), symbols.size() * sizeof(int64_t)) | 1;
  return sizes;
}

Executable& Signature::executable(Device& device, const Ints& symbols) {
  uint64_t sizes = sizes_key(device, symbols);
  const bool cpu = device.id().kind == DeviceKind::cpu;
  const auto fits = [&](const Made& m) { return m.device == &device && m.sizes == sizes && (m.own.empty() || m.own == symbols); };
  if (const Made* m = ready_.load(std::memory_order_acquire); m && fits(*m)) return *m->executable;
  std::lock_guard lock(mutex_);
  const auto find = [&] {
    const auto it = std::find_if(made_.begin(), made_.end(), [&](const auto& m) { return fits(*m); });
    return it == made_.end() ? nullptr : it->get();
  };
  const Made* found = find();
  const bool own = !found && cpu && has_windows && pays_own_program(sizes, device, symbols);
  if (!found && cpu && !own) {
    sizes = 0;
    found = find();
  }
  if (!found) {
    DimEnv scratch = env;  // guards that compiling adds have no use: it only asks for costs
    if (!cpu) scratch = env.at(symbols);
    DimEnvScope scope(scratch);
    Ref<Program> program = own ? compile_graph(at_sizes(graph, symbols), device.target()) : compile_graph(graph, device.target());
    made_.push_back(std::make_unique<Made>(Made{&device, sizes, own ? symbols : Ints(), make_executable(std::move(program), device)}));
    found = made_.back().get();
    if (own) {
      ++own_sizes_;
      emit_event(EventKind::recompile, name, "its sizes come again: they get a program of their own");
    }
  }
  ready_.store(found, std::memory_order_release);
  return *found->executable;
}

Ref<Signature> Signature::dense() {
  std::lock_guard lock(mutex_);
  if (dense_) return dense_;
  Graph g;
  std::vector<GraphValue> inputs;
  for (GraphValue v : graph.inputs()) {
    TensorType t = graph.type(v);
    t.strides.clear();
    inputs.push_back(g.add_input(t, graph.is_number(v)));
  }
  g.set_outputs(inline_graph(g, graph, inputs, {}));
  dense_ = signature_of_graph(name, std::move(g), env);
  return dense_;
}

Ref<Signature> Signature::of_base() {
  if (tensor_count <= 1) return Ref<Signature>::share(this);
  std::lock_guard lock(mutex_);
  if (of_base_) return of_base_;
  Graph g;
  GraphBuilder b(g);
  std::vector<GraphValue> inputs;
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    const TensorType& t = graph.type(graph.inputs()[i]);
    const bool other = i > 0 && i < tensor_count;
    inputs.push_back(other ? full(b, t.shape, t.dtype, 0).id : g.add_input(t, graph.is_number(graph.inputs()[i])));
  }
  g.set_outputs(inline_graph(g, graph, inputs, {}));
  of_base_ = signature_of_graph(name, prune(g), env);
  return of_base_;
}

Recorded& Signature::recorded(const std::vector<bool>& needs_grad, const Ints& symbols) {
  std::lock_guard lock(mutex_);
  auto& variants = recorded_[needs_grad];
  for (auto& v : variants) if (v->env.guards_hold(symbols)) return *v;
  auto r = std::make_unique<Recorded>();
  r->env = env.at(symbols);  // the forward graph still has nodes whose expansions ask what this signature answered
  DimEnvScope scope(r->env);
  SplitVjp split = split_vjp(graph, needs_grad);
  r->saved = std::move(split.saved);
  r->grads_of = std::move(split.grads_of);
  r->wrt = std::move(split.wrt);
  r->forward = signature_of_graph(name, std::move(split.forward), r->env);
  r->backward = signature_of_graph(cat(name, " backward"), std::move(split.backward), r->env);
  r->forward->random = random;
  r->needs_grad = needs_grad;
  r->whole.values = std::move(split.values);
  variants.push_back(std::move(r));
  return *variants.back();
}

const Recorded::Partial& Signature::partial(Recorded& r, const std::vector<bool>& missing) {
  std::lock_guard lock(mutex_);
  for (auto& p : r.partial) if (p->missing == missing) return *p;
  DimEnvScope scope(r.env);
  SplitVjp split = split_vjp_without(graph, r.needs_grad, missing, r.whole);
  auto p = std::make_unique<Recorded::Partial>();
  p->missing = missing;
  p->grads_of = std::move(split.grads_of);
  p->wrt = std::move(split.wrt);
  if (!split.backward.inputs().empty()) p->backward = signature_of_graph(cat(name, " backward"), std::move(split.backward), r.env);
  r.partial.push_back(std::move(p));
  return *r.partial.back();
}

}  // namespace phlox

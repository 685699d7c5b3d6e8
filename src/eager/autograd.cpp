#include "eager/autograd.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "eager/call.h"
#include "eager/trace.h"
#include "ops/registry.h"

namespace phlox {

// --- modes

namespace {
thread_local bool grad_on = true, inference_on = false;
std::atomic<uint64_t> sequence{1};
}  // namespace
bool grad_enabled() { return grad_on && !inference_on; }
bool grad_mode() { return grad_on; }
void set_grad_enabled(bool on) { grad_on = on; }
bool inference_enabled() { return inference_on; }
void set_inference_enabled(bool on) { inference_on = on; }
uint64_t next_sequence() { return sequence.fetch_add(1, std::memory_order_relaxed); }

// --- what a tensor knows of the tape

AutogradExtra* find_autograd_extra(const TensorImpl& t) {
  return static_cast<AutogradExtra*>(t.extra.load(std::memory_order_acquire));
}
AutogradExtra& autograd_extra(TensorImpl& t) {
  if (AutogradExtra* e = find_autograd_extra(t)) return *e;
  auto made = std::make_unique<AutogradExtra>();
  TensorExtra* there = nullptr;
  if (t.extra.compare_exchange_strong(there, made.get(), std::memory_order_acq_rel)) return *made.release();
  return static_cast<AutogradExtra&>(*there);
}

// A chain of records can be as long as a training run: drop it without recursion. Only records that end here are kept
// for later: most edges lead to leaves, which live on.
static thread_local constinit std::vector<Ref<GradNode>>* pending = nullptr;
GradNode::~GradNode() {
  std::vector<Ref<GradNode>> local;
  const bool outermost = !pending;
  if (outermost) pending = &local;
  for (Edge& e : inputs)
    if (e.node && e.node->use_count() == 1) pending->push_back(std::move(e.node));
  if (!outermost) return;
  while (!local.empty()) {
    Ref<GradNode> n = std::move(local.back());
    local.pop_back();
  }
  pending = nullptr;
}

// The end of the tape at a leaf: adds to its .grad. The leaf owns the node and clears `leaf` when it dies.
struct AccumulateNode final : GradNode {
  std::mutex adding;  // several threads may run tapes that end here
  TensorImpl* leaf = nullptr;
  const char* name() const override { return "accumulate"; }
  SmallVector<Tensor, 3> apply(std::span<const Tensor> grads, bool create_graph) override {
    if (!leaf || !grads[0]) return {};
    if (Tracer* t = Tracer::current()) t->note_grad(*leaf);
    AutogradExtra& extra = autograd_extra(*leaf);
    const Tensor& g = grads[0];
    {
      const std::lock_guard lock(adding);
      if (!extra.grad) {
        // The gradient tensor may be shared with the tape or a user: .grad is one of its own.
        extra.grad = create_graph ? g : g->use_count() > 1 || !g->contiguous ? call1("prim::copy", {tensor_arg(g)}) : detach(g);
      } else if (create_graph) {
        extra.grad = call1("add.Tensor", {tensor_arg(extra.grad), tensor_arg(g)});
      } else {
        const Arg args[] = {tensor_arg(extra.grad), tensor_arg(g)};
        call_in_place(*find_op("add.Tensor"), args);
      }
    }
    if (extra.watchers)
      for (size_t i = 0; i < extra.watchers->accumulated.size(); ++i) extra.watchers->accumulated[i](Tensor::share(leaf));
    return {};
  }
};

AutogradExtra::~AutogradExtra() {
  if (AccumulateNode* a = accumulator.load(std::memory_order_acquire)) {
    a->leaf = nullptr;
    Ref<AccumulateNode>::adopt(a);
  }
}

Edge gradient_edge(TensorImpl& t) {
  if (!t.requires_grad) return {};
  AutogradExtra* extra = find_autograd_extra(t);
  if (extra && extra->view) {
    // The base may have changed in place since this view was taken: its record then starts anew from there.
    AutogradExtra::View& view = *extra->view;
    AutogradExtra& base = autograd_extra(*view.base);
    const Edge base_edge = gradient_edge(view.base);
    if (base.history != view.base_history) {
      rerecord_view(*extra, base_edge);
      view.base_history = base.history;
    }
  }
  if (extra && extra->edge.node) return extra->edge;
  AutogradExtra& leaf = autograd_extra(t);
  if (AccumulateNode* a = leaf.accumulator.load(std::memory_order_acquire)) return {Ref<GradNode>::share(a), 0};
  auto node = make_ref<AccumulateNode>();
  node->leaf = &t;
  AccumulateNode* there = nullptr;
  if (!leaf.accumulator.compare_exchange_strong(there, node.get(), std::memory_order_acq_rel)) return {Ref<GradNode>::share(there), 0};
  return {Ref<GradNode>::share(node.take()), 0};  // the leaf owns the first reference
}

void set_edge(const Tensor& t, Ref<GradNode> node, uint32_t index) {
  t->requires_grad = true;
  AutogradExtra& e = autograd_extra(*t);
  e.edge = {std::move(node), index};
}

Tensor grad_of(const TensorImpl& t) {
  AutogradExtra* e = find_autograd_extra(t);
  return e ? e->grad : Tensor();
}
void set_grad(TensorImpl& t, Tensor g) {
  if (Tracer* tr = Tracer::current()) tr->note_grad(t);
  autograd_extra(t).grad = std::move(g);
}

bool is_leaf(const TensorImpl& t) {
  const AutogradExtra* e = find_autograd_extra(t);
  return !t.requires_grad || !e || !e->edge.node;
}

void check_can_mutate(const TensorImpl& t, const char* op) {
  if (t.inference && !inference_enabled())
    fail(ErrorCode::autograd, {.op = op, .fact = "an inference tensor cannot be changed in place outside inference mode",
                               .got = tensor_text(t), .remedy = "clone it first"});
  if (grad_enabled() && t.requires_grad && is_leaf(t))
    fail(ErrorCode::autograd, {.op = op, .fact = "a leaf that requires grad cannot be changed in place", .got = tensor_text(t),
                               .remedy = "do it under no_grad, or on a clone"});
  if (!grad_enabled()) return;
  for (const AutogradExtra* e = find_autograd_extra(t); e && e->view; e = find_autograd_extra(*e->view->base))
    if (e->view->base->requires_grad && is_leaf(*e->view->base))
      fail(ErrorCode::autograd, {.op = op, .fact = "a view of a leaf that requires grad cannot be changed in place",
                                 .got = tensor_text(t), .remedy = "do it under no_grad, or on a clone"});
}

// --- records of views and of changes in place

void record_view(Signature& given, const Tensor& base, std::span<const int64_t> numbers, const Ints& symbols,
                 std::span<const Tensor> views) {
  const Ref<Signature> alone = given.of_base();
  Signature& s = *alone;
  Ref<GradNode> node;
  if (base->requires_grad && grad_enabled()) node = make_view_node(s, gradient_edge(base), numbers, symbols, base);
  for (uint32_t i = 0; i < views.size(); ++i) {
    AutogradExtra& e = autograd_extra(*views[i]);
    e.view = std::make_unique<AutogradExtra::View>();
    e.view->base = base;
    e.view->signature = Ref<Signature>::share(&s);
    e.view->result = i;
    e.view->symbols = symbols;
    e.view->numbers.assign(numbers.begin(), numbers.end());
    e.view->base_history = autograd_extra(*base).history;
    if (node) set_edge(views[i], node, i);
  }
}

void rerecord_view(AutogradExtra& e, const Edge& base_edge) {
  const AutogradExtra::View& v = *e.view;
  e.edge = {make_view_node(*v.signature, base_edge, v.numbers, v.symbols, v.base), v.result};
}

namespace {

// A base after a view of it changed in place: inside the view the gradient goes to the new values, outside to the old.
struct UpdateNode final : GradNode {
  Ref<Signature> view;
  uint32_t view_result = 0;
  Ints symbols;
  std::vector<int64_t> numbers;

  const char* name() const override { return "assign"; }
  SmallVector<Tensor, 3> apply(std::span<const Tensor> grads, bool) override {
    const Tensor g = contiguous(grads[0]);
    std::vector<CallInput> in{{g.get(), 0}};
    for (int64_t n : numbers) in.push_back({nullptr, n});
    const Tensors inside = run_signature(*view, in, symbols, g->device());
    // Which base elements the view shows: the gradient of the view, with ones coming in.
    std::vector<bool> needs(in.size());
    needs[0] = true;
    Recorded& r = view->recorded(needs, symbols);
    Tensor covered;
    {
      const NoGrad guard;
      std::vector<Tensor> keep;
      std::vector<CallInput> back;
      for (const SplitVjp::Saved& s : r.saved) back.push_back(in[s.index]);
      for (uint32_t k : r.grads_of) {
        keep.push_back(full_tensor(g->device(), g->dtype, inside[k]->sizes, k == view_result ? 1 : 0));
        back.push_back({keep.back().get(), 0});
      }
      covered = run_signature(*r.backward, back, symbols, g->device())[0];
    }
    const Tensor zero = full_tensor(g->device(), g->dtype, {}, 0);
    const Tensor hit = call1("ne.Tensor", {tensor_arg(covered), tensor_arg(zero)});
    return {call1("where.self", {tensor_arg(hit), tensor_arg(zero), tensor_arg(g)}), inside[view_result]};
  }
};

}  // namespace

// Gives dst the history `edge`, and its bases the history that follows from it.
static void replace_history(const Tensor& dst, Edge edge) {
  AutogradExtra& e = autograd_extra(*dst);
  ++e.history;
  if (!e.view) {
    e.edge = std::move(edge);
    dst->requires_grad = e.edge.node != nullptr;
    return;
  }
  auto node = make_ref<UpdateNode>();
  node->sequence = next_sequence();
  AutogradExtra::View& v = *e.view;
  node->view = v.base->contiguous ? v.signature : v.signature->dense();  // it is taken of gradients
  node->view_result = v.result;
  node->symbols = v.symbols;
  node->numbers = v.numbers;
  node->inputs = {gradient_edge(v.base), edge};
  replace_history(v.base, {node, 0});
  dst->requires_grad = true;
  e.edge = {};
  v.base_history = autograd_extra(*v.base).history - 1;  // gradient_edge starts from the base's new history
}

void record_assignment(const Tensor& dst, const Tensor& value) {
  // The value may be broadcast or cast on its way into dst.
  Tensor v = value;
  if (v->dtype != dst->dtype) v = call1("prim::cast", {tensor_arg(v), Arg::of_dtype(dst->dtype)});
  if (v->sizes != dst->sizes) {
    SmallVector<Arg, 6> dims;
    for (int64_t s : dst->sizes) dims.push_back(Arg::of_dim(s));
    v = call1("expand", {tensor_arg(v), Arg::of_list(dims)});
  }
  replace_history(dst, gradient_edge(v));
}

// --- backward

namespace {

struct Later {
  bool operator()(const GradNode* a, const GradNode* b) const {
    return a->sequence != b->sequence ? a->sequence > b->sequence : a < b;
  }
};

class Engine {
 public:
  Engine(bool retain, bool create, const std::vector<Tensor>* wrt) : retain_(retain), create_(create) {
    if (!wrt) return;
    results_.resize(wrt->size());
    for (size_t i = 0; i < wrt->size(); ++i) {
      const Edge e = gradient_edge((*wrt)[i]);
      if (e.node) wanted_[e.node.get()].push_back({e.index, i});
    }
    only_wanted_ = true;
  }

  void seed(const Edge& e, const Tensor& g) { add(e, g); }

  std::vector<Tensor> run() {
    while (!pending_.empty()) {
      GradNode* n = pending_.begin()->first;
      Pending p = std::move(pending_.begin()->second);
      pending_.erase(pending_.begin());
      for (auto& [index, hook] : n->hooks)
        if (p.grads[index])
          if (Tensor r = hook(p.grads[index])) p.grads[index] = r;
      if (auto it = wanted_.find(n); it != wanted_.end())
        for (auto& [index, slot] : it->second) results_[slot] = p.grads[index];
      if (only_wanted_ && dynamic_cast<AccumulateNode*>(n)) continue;
      const SmallVector<Tensor, 3> out = n->apply(p.grads, create_);
      for (size_t i = 0; i < out.size() && i < n->inputs.size(); ++i)
        if (out[i] && n->inputs[i].node) add(n->inputs[i], out[i]);
      if (!retain_) n->free_saved();
    }
    return std::move(results_);
  }

 private:
  struct Pending { Ref<GradNode> node; SmallVector<Tensor, 2> grads; };

  void add(const Edge& e, const Tensor& g) {
    Pending& p = pending_[e.node.get()];
    if (!p.node) {
      p.node = e.node;
      p.grads.resize(size_t(e.node->results));
    }
    Tensor& slot = p.grads[e.index];
    slot = slot ? call1("add.Tensor", {tensor_arg(slot), tensor_arg(g)}) : g;
  }

  const bool retain_, create_;
  bool only_wanted_ = false;
  std::map<GradNode*, Pending, Later> pending_;  // in the order in which they run
  std::map<GradNode*, std::vector<std::pair<uint32_t, size_t>>> wanted_;
  std::vector<Tensor> results_;
};

}  // namespace

std::vector<Tensor> run_backward(const std::vector<Tensor>& roots, const std::vector<Tensor>& grads, bool retain_graph,
                                 bool create_graph, const std::vector<Tensor>* wrt) {
  Engine engine(retain_graph || create_graph, create_graph, wrt);
  for (size_t i = 0; i < roots.size(); ++i) {
    const Tensor& root = roots[i];
    if (!root->requires_grad)
      fail(ErrorCode::autograd, {.op = "backward", .fact = "this tensor does not require grad", .got = tensor_text(*root),
                                 .remedy = "compute it from tensors that do, outside no_grad"});
    Tensor g = i < grads.size() ? grads[i] : Tensor();
    if (!g) {
      if (root->numel() != 1)
        fail(ErrorCode::autograd, {.op = "backward", .fact = "only a single number has an implicit gradient",
                                   .got = tensor_text(*root), .expected = "one element", .remedy = "pass a gradient of its shape"});
      g = full_tensor(root->device(), root->dtype, root->sizes, 1);
    }
    if (g->sizes != root->sizes)
      fail(ErrorCode::autograd, {.op = "backward", .fact = "the gradient does not have the tensor's shape",
                                 .got = tensor_text(*g), .expected = tensor_text(*root)});
    engine.seed(gradient_edge(root), g);
  }
  const bool before = grad_mode();
  set_grad_enabled(create_graph);
  struct Restore { bool on; ~Restore() { set_grad_enabled(on); } } restore{before};
  return engine.run();
}

}  // namespace phlox

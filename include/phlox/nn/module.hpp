// nn::Module: a tree of named parameters, buffers and sub-modules. A model is a struct with members:
//
//   struct Net : phlox::nn::Module {
//     nn::Linear fc1 = register_module("fc1", nn::Linear(784, 128));
//     nn::Linear fc2 = register_module("fc2", nn::Linear(128, 10));
//     Tensor scale = register_parameter("scale", phlox::ones({1}));
//     Tensor forward(const Tensor& x) { return fc2.forward(phlox::relu(fc1.forward(x))) * scale; }
//   };
//
// Modules are plain values: members, not pointers. They move (a moved module's registrations follow it to its
// new address) and do not copy. Names, order and state_dict keys are PyTorch's: "fc1.weight".
//
// Invariant: a registered tensor is the member's own handle, so whatever changes it (load_state_dict, to,
// optimisers) changes it in place and the member sees it. A member tensor is therefore never assigned anew
// after registration. Refuses: names that are empty, contain a dot or are taken.
#pragma once
#include <memory>
#include <unordered_set>

#include "phlox/state_dict.hpp"

namespace phlox {
inline namespace v1 {

namespace detail {
// Flags that were read while a function was traced: the trace holds for their present values only (see
// compile.hpp).
struct FlagReads {
  std::vector<std::pair<std::shared_ptr<const bool>, bool>> reads;
  FlagReads* outer;
  static FlagReads*& current() {
    static thread_local FlagReads* reads = nullptr;
    return reads;
  }
  FlagReads() : outer(std::exchange(current(), this)) {}
  FlagReads(const FlagReads&) = delete;
  ~FlagReads() { current() = outer; }
  static void note(const std::shared_ptr<const bool>& flag) {
    for (FlagReads* r = current(); r; r = r->outer) {
      bool known = false;
      for (const auto& [f, value] : r->reads) known = known || f == flag;
      if (!known) r->reads.emplace_back(flag, *flag);
    }
  }
};
}  // namespace detail

namespace nn {

class Module {
 public:
  Module() : training_(std::make_shared<bool>(true)) {}
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  Module(Module&& o) noexcept
      : parameters_(std::move(o.parameters_)),
        buffers_(std::move(o.buffers_)),
        children_(std::move(o.children_)),
        training_(o.training_),
        parent_(std::exchange(o.parent_, nullptr)) {
    o.children_.clear();
    for (Child& c : children_) c.module->parent_ = this;
    if (parent_) parent_->relink(&o, this);
  }
  virtual ~Module() {
    for (Child& c : children_) c.module->parent_ = nullptr;
    if (parent_) parent_->relink(this, nullptr);
  }

  // --- building
  Tensor register_parameter(std::string name, const Tensor& t, bool requires_grad = true) {
    check_name(name);
    Tensor own = t.detach();  // a leaf
    own.requires_grad_(requires_grad);
    parameters_.emplace_back(std::move(name), own);
    return own;
  }
  // A buffer is state that is not trained. One that is not persistent is left out of state_dict().
  Tensor register_buffer(std::string name, const Tensor& t, bool persistent = true) {
    check_name(name);
    buffers_.push_back({std::move(name), t, persistent});
    return t;
  }
  // Takes the module and gives it back, to become the member that is initialised with it.
  template <class M>
  M register_module(std::string name, M module) {
    link(std::move(name), module);
    return module;
  }
  // For containers, whose elements stay where they are.
  void link(std::string name, Module& module) {
    check_name(name);
    module.parent_ = this;
    children_.push_back({std::move(name), &module});
  }

  // --- what is in it. Every tensor once, however many names it has.
  StateDict named_parameters(const std::string& prefix = {}) const {
    StateDict all;
    Known known;
    visit(prefix, [&](const Module& m, const std::string& path) {
      for (const auto& [name, t] : m.parameters_)
        if (known.insert(t.handle()).second) all.set(path + name, t);
    });
    return all;
  }
  StateDict named_buffers(const std::string& prefix = {}) const {
    StateDict all;
    Known known;
    visit(prefix, [&](const Module& m, const std::string& path) {
      for (const Buffer& b : m.buffers_)
        if (known.insert(b.tensor.handle()).second) all.set(path + b.name, b.tensor);
    });
    return all;
  }
  std::vector<Tensor> parameters() const { return tensors(named_parameters()); }
  std::vector<Tensor> buffers() const { return tensors(named_buffers()); }
  std::vector<std::pair<std::string, Module*>> named_children() const {
    std::vector<std::pair<std::string, Module*>> r;
    for (const Child& c : children_) r.emplace_back(c.name, c.module);
    return r;
  }
  int64_t num_parameters() const {
    int64_t n = 0;
    for (const auto& [name, t] : named_parameters()) n += t.numel();
    return n;
  }

  // --- saving and loading. Parameters and persistent buffers, detached, under every name.
  StateDict state_dict(const std::string& prefix = {}) const {
    StateDict all;
    visit(prefix, [&](const Module& m, const std::string& path) {
      for (const auto& [name, t] : m.parameters_) all.set(path + name, t.detach());
      for (const Buffer& b : m.buffers_)
        if (b.persistent) all.set(path + b.name, b.tensor);
    });
    return all;
  }
  LoadResult load_state_dict(const StateDict& source, bool strict = true) {
    return load_into(state_dict(), source, strict);
  }

  // --- modes
  void train(bool on = true) {
    apply([on](Module& m) { *m.training_ = on; });
  }
  void eval() { train(false); }
  bool is_training() const {
    detail::FlagReads::note(training_);
    return *training_;
  }

  // --- changes to everything in it
  void to(DType dtype) {  // what is floating-point
    change([dtype](const Tensor& t) { return t.is_floating_point() ? t.to(dtype) : t; });
  }
  void to(const Device& device) {
    change([&device](const Tensor& t) { return t.to(device); });
  }
  void zero_grad() {
    for (const Tensor& p : parameters()) p.set_grad(Tensor());
  }
  void requires_grad_(bool on = true) {
    for (const Tensor& p : parameters()) p.requires_grad_(on);
  }
  // f(module), sub-modules first.
  template <class F>
  void apply(F&& f) {
    for (Child& c : children_) c.module->apply(f);
    f(*this);
  }

 private:
  struct Buffer {
    std::string name;
    Tensor tensor;
    bool persistent;
  };
  struct Child {
    std::string name;
    Module* module;
  };
  using Known = std::unordered_set<const void*>;  // tensors met before

  template <class F>
  void visit(const std::string& prefix, const F& f) const {
    f(*this, prefix);
    for (const Child& c : children_) c.module->visit(prefix + c.name + ".", f);
  }
  static std::vector<Tensor> tensors(const StateDict& d) {
    std::vector<Tensor> r;
    for (const auto& [name, t] : d) r.push_back(t);
    return r;
  }
  template <class F>
  void change(const F& f) {
    const NoGrad guard;
    auto all = named_parameters();
    all.merge(named_buffers("buffer "));  // no parameter has a name with a space before it
    for (const auto& [name, t] : all) {
      const Tensor now = f(t.detach());
      if (now.dtype() == t.dtype() && now.device() == t.device()) continue;
      t.set_grad(Tensor());
      t.set_data(now);
    }
  }
  void relink(Module* from, Module* to) noexcept {
    for (size_t i = 0; i < children_.size(); ++i) {
      if (children_[i].module != from) continue;
      if (to)
        children_[i].module = to;
      else
        children_.erase(children_.begin() + int64_t(i));
      return;
    }
  }
  void check_name(const std::string& name) const {
    const char* fact = nullptr;
    if (name.empty()) fact = "the name is empty";
    if (name.find('.') != std::string::npos) fact = "a name has no dot in it: dots separate levels";
    for (const auto& [n, t] : parameters_)
      if (n == name) fact = "the name is taken by a parameter";
    for (const Buffer& b : buffers_)
      if (b.name == name) fact = "the name is taken by a buffer";
    for (const Child& c : children_)
      if (c.name == name) fact = "the name is taken by a module";
    if (fact) throw Error(ErrorCode::invalid_argument, "register", fact, "'" + name + "'");
  }

  std::vector<std::pair<std::string, Tensor>> parameters_;
  std::vector<Buffer> buffers_;
  std::vector<Child> children_;
  std::shared_ptr<bool> training_;
  Module* parent_ = nullptr;
};

// m(x...) for m.forward(x...).
template <class M>
struct Callable {
  template <class... A>
  decltype(auto) operator()(A&&... args) {
    return static_cast<M*>(this)->forward(std::forward<A>(args)...);
  }
};

}  // namespace nn
}  // namespace v1
}  // namespace phlox

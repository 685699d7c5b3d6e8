// Modules made of modules: Sequential, whose elements may be of any kinds, and ModuleList, whose elements are
// of one.
#pragma once
#include "phlox/nn/module.hpp"

namespace phlox {
inline namespace v1 {
namespace nn {

// Sequential(Conv2d(1, 8, 3), ReLU(), Flatten()): each takes the tensor that the one before gave. Keys are
// "0", "1", ...
class Sequential : public Module, public Callable<Sequential> {
 public:
  Sequential() = default;
  template <class... M>
    requires(sizeof...(M) > 0 && (std::is_base_of_v<Module, M> && ...))
  explicit Sequential(M... modules) {
    (add(std::move(modules)), ...);
  }
  template <class M>
  M& add(M module) {
    auto owned = std::make_unique<M>(std::move(module));
    M& m = *owned;
    link(std::to_string(elements_.size()), m);
    elements_.push_back({std::move(owned), [](Module& self, const Tensor& x) -> Tensor {
                           return static_cast<M&>(self).forward(x);
                         }});
    return m;
  }
  Tensor forward(Tensor x) {
    for (Element& e : elements_) x = e.forward(*e.module, x);
    return x;
  }
  size_t size() const { return elements_.size(); }
  Module& operator[](size_t i) { return *elements_[i].module; }

 private:
  struct Element {
    std::unique_ptr<Module> module;
    Tensor (*forward)(Module&, const Tensor&);
  };
  std::vector<Element> elements_;
};

// ModuleList<Block>(6, 192, heads): six Block(192, heads). Their keys are "0" to "5".
template <class M>
class ModuleList : public Module {
 public:
  ModuleList() = default;
  template <class... A>
  explicit ModuleList(int64_t n, const A&... args) {
    for (int64_t i = 0; i < n; ++i) add(M(args...));
  }
  M& add(M module) {
    modules_.push_back(std::make_unique<M>(std::move(module)));
    link(std::to_string(modules_.size() - 1), *modules_.back());
    return *modules_.back();
  }
  size_t size() const { return modules_.size(); }
  M& operator[](size_t i) { return *modules_[i]; }
  class Iterator {
   public:
    explicit Iterator(std::unique_ptr<M>* at) : at_(at) {}
    M& operator*() const { return **at_; }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    bool operator!=(const Iterator& o) const { return at_ != o.at_; }

   private:
    std::unique_ptr<M>* at_;
  };
  Iterator begin() { return Iterator(modules_.data()); }
  Iterator end() { return Iterator(modules_.data() + modules_.size()); }

 private:
  std::vector<std::unique_ptr<M>> modules_;
};

}  // namespace nn
}  // namespace v1
}  // namespace phlox

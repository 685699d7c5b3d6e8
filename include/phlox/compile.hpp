// phlox::compile: a function that runs as one program. Everything that it calls, backward passes and
// optimiser steps included, becomes one graph, is optimised as a whole and launched as a whole.
//
//   auto step = phlox::compile([&](Tensor x, Tensor y) {
//     Tensor loss = nn::functional::cross_entropy(net(x), y);
//     loss.backward();
//     opt.step();
//     opt.zero_grad();
//     return loss;
//   });
//   Tensor loss = step(x, y);
//
// The function takes tensors only and returns a Tensor, a std::tuple or std::vector of them, or nothing. It
// is called once for every set of dtypes, sizes and modes that comes up, and a second time to see that it
// does the same again; later calls run the program. Tensors that it captures are inputs, with the values they
// have at each call; numbers and other state are frozen, and changes of them between the first two calls are
// an error. Modules' train flags are watched: another setting gets a program of its own. Refuses: reading a
// traced tensor's values (item), keeping tensors made inside except by returning them.
#pragma once
#include <memory>

#include "phlox/nn/module.hpp"

namespace phlox {
inline namespace v1 {

namespace detail {

template <class T>
struct CallShape;  // of a function of tensors: how many it takes
template <class C, class R, class... A>
struct CallShape<R (C::*)(A...) const> {
  static constexpr size_t arguments = sizeof...(A);
  using Result = R;
};
template <class C, class R, class... A>
struct CallShape<R (C::*)(A...)> : CallShape<R (C::*)(A...) const> {};
template <class R, class... A>
struct CallShape<R (*)(A...)> {
  static constexpr size_t arguments = sizeof...(A);
  using Result = R;
};
template <class F>
struct ShapeOf : CallShape<decltype(&F::operator())> {};
template <class R, class... A>
struct ShapeOf<R (*)(A...)> : CallShape<R (*)(A...)> {};

template <class R>
struct Results {  // tuples
  static std::vector<Tensor> to_list(const R& r) {
    return std::apply([](const auto&... t) { return std::vector<Tensor>{t...}; }, r);
  }
  static R from_list(std::vector<Tensor> l) {
    return [&]<size_t... i>(std::index_sequence<i...>) {
      return R{std::move(l[i])...};
    }(std::make_index_sequence<std::tuple_size_v<R>>());
  }
};
template <>
struct Results<Tensor> {
  static std::vector<Tensor> to_list(const Tensor& t) { return {t}; }
  static Tensor from_list(std::vector<Tensor> l) { return std::move(l[0]); }
};
template <>
struct Results<std::vector<Tensor>> {
  static std::vector<Tensor> to_list(std::vector<Tensor> l) { return l; }
  static std::vector<Tensor> from_list(std::vector<Tensor> l) { return l; }
};

}  // namespace detail

template <class F>
class Compiled {
  using Shape = detail::ShapeOf<F>;
  using Result = typename Shape::Result;

 public:
  Compiled(F f, std::string name) : state_(std::make_shared<State>(std::move(f), std::move(name))) {}

  template <class... T>
    requires(sizeof...(T) == Shape::arguments)
  Result operator()(const T&... tensors) {
    phlox_tensor* const in[sizeof...(T) + 1] = {static_cast<const Tensor&>(tensors).handle()...};
    std::vector<Tensor> out = state_->variant().call(in, int32_t(sizeof...(T)));
    if constexpr (!std::is_void_v<Result>) return detail::Results<Result>::from_list(std::move(out));
  }
  // Traces and compiles for tensors like these; runs nothing and changes nothing.
  template <class... T>
    requires(sizeof...(T) == Shape::arguments)
  void prepare(const T&... tensors) {
    phlox_tensor* const in[sizeof...(T) + 1] = {static_cast<const Tensor&>(tensors).handle()...};
    detail::check(phlox_compiled_prepare(state_->variant().handle, in, int32_t(sizeof...(T))));
  }
  // JSON, one object for each setting of train flags: its programs with the numbers of ops and kernels, and
  // the times.
  std::string report() const {
    std::string all = "[";
    for (const auto& v : state_->variants) {
      phlox_text* t;
      detail::check(phlox_compiled_report(v->handle, &t));
      all += (all.size() > 1 ? ", " : "") + detail::take_text(t);
    }
    return all + "]";
  }

 private:
  struct State;
  // A compiled function that holds for one setting of the flags that it reads.
  struct Variant {
    State& state;
    phlox_compiled* handle = nullptr;
    std::vector<std::pair<std::shared_ptr<const bool>, bool>> flags;

    explicit Variant(State& s) : state(s) {
      detail::check(phlox_compile(&run, this, nullptr, s.name.c_str(), &handle));
    }
    Variant(const Variant&) = delete;
    ~Variant() { phlox_compiled_release(handle); }
    bool fits() const {
      for (const auto& [flag, value] : flags)
        if (*flag != value) return false;
      return true;
    }
    std::vector<Tensor> call(phlox_tensor* const* in, int32_t n) {
      int32_t n_out = 0;
      detail::check(phlox_compiled_call(handle, in, n, nullptr, &n_out));
      std::vector<phlox_tensor*> handles(static_cast<size_t>(n_out), nullptr);
      phlox_take_results(handles.data(), n_out);
      std::vector<Tensor> out;
      for (phlox_tensor* h : handles) out.push_back(Tensor::adopt(h));
      return out;
    }
    static phlox_status run(void* self, phlox_tensor* const* in, int32_t n, phlox_results* results) {
      return detail::shielded([&] {
        Variant& v = *static_cast<Variant*>(self);
        detail::FlagReads reads;
        const std::vector<Tensor> out = v.state.run(in, n);
        for (const auto& read : reads.reads) {
          bool known = false;
          for (const auto& f : v.flags) known = known || f.first == read.first;
          if (!known) v.flags.push_back(read);
        }
        for (const Tensor& t : out) detail::check(phlox_results_add(results, t.handle()));
      });
    }
  };
  struct State {
    F f;
    std::string name;
    std::vector<std::unique_ptr<Variant>> variants;

    State(F f, std::string name) : f(std::move(f)), name(std::move(name)) {}
    Variant& variant() {
      for (auto& v : variants)
        if (v->fits()) return *v;
      variants.push_back(std::make_unique<Variant>(*this));
      return *variants.back();
    }
    std::vector<Tensor> run(phlox_tensor* const* in, int32_t n) {
      if (size_t(n) != Shape::arguments)
        throw Error(ErrorCode::internal, "compile", "another number of arguments came back");
      return [&]<size_t... i>(std::index_sequence<i...>) -> std::vector<Tensor> {
        if constexpr (std::is_void_v<Result>) {
          f(Tensor::share(in[i])...);
          return {};
        } else {
          return detail::Results<Result>::to_list(f(Tensor::share(in[i])...));
        }
      }(std::make_index_sequence<Shape::arguments>());
    }
  };
  std::shared_ptr<State> state_;
};

template <class F>
Compiled<F> compile(F f, std::string name = "function") {
  return Compiled<F>(std::move(f), std::move(name));
}

}  // namespace v1
}  // namespace phlox

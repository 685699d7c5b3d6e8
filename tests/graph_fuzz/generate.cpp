#include "generate.h"

#include <algorithm>
#include <array>
#include <random>

#include "base/error.h"

namespace phlox::fuzz {

namespace {

using Layout = FuzzInput::Layout;

const char* const smooth_unary[] = {"sin", "cos", "tanh", "sigmoid", "erf", "softplus", "silu", "gelu", "square", "neg", "atan", "sinh"};
const char* const float_unary[] = {"exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "rsqrt", "reciprocal", "relu", "floor",
                                   "round", "trunc", "ceil", "hardswish", "leaky_relu", "abs", "sign", "log_sigmoid", "hardtanh", "frac"};
const char* const any_unary[] = {"neg", "abs", "sign", "square", "isnan", "logical_not", "relu", "sin", "sqrt", "clone", "exp"};
const char* const smooth_binary[] = {"add.Tensor", "sub.Tensor", "mul.Tensor", "mul.Tensor"};
const char* const any_binary[] = {"add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "maximum", "minimum", "lt.Tensor", "le.Tensor",
                                  "eq.Tensor", "ne.Tensor", "gt.Tensor", "logical_and", "logical_or", "remainder.Tensor", "fmod.Tensor",
                                  "atan2", "hypot", "logaddexp", "copysign.Tensor", "fmax", "floor_divide", "logical_xor", "pow.Tensor_Tensor"};
const char* const int_binary[] = {"bitwise_and.Tensor", "bitwise_or.Tensor", "bitwise_xor.Tensor", "add.Tensor", "mul.Tensor", "sub.Tensor",
                                  "maximum", "lt.Tensor", "eq.Tensor", "remainder.Tensor", "floor_divide"};
const char* const scalar_binary[] = {"add.Scalar", "sub.Scalar", "mul.Scalar", "div.Scalar", "remainder.Scalar", "lt.Scalar", "ge.Scalar",
                                     "pow.Tensor_Scalar", "eq.Scalar", "fmod.Scalar"};
const DType casts[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i32, DType::i64, DType::u8, DType::i8, DType::i16,
                       DType::boolean};

class Generator {
 public:
  explicit Generator(uint64_t seed) : rng_(seed) { p_.seed = seed; }

  FuzzProgram run() {
    set_random_state(cpu_device(), {7, 0});
    p_.gradient = chance(33);
    p_.smooth = p_.gradient && chance(50);
    choose_dtypes();
    for (int& d : dims_) d = pick_size();
    const int inputs = 1 + below(3);
    for (int i = 0; i < inputs; ++i) add_input();
    const int wanted = 2 + below(chance(10) ? 16 : 9);
    for (int tries = 0; int(p_.steps.size()) < wanted && tries < wanted * 6; ++tries) step();
    choose_outputs();
    return std::move(p_);
  }

 private:
  int below(int n) { return int(rng_() % uint64_t(n)); }
  bool chance(int percent) { return below(100) < percent; }
  template <class T, size_t n>
  T pick(const T (&a)[n]) { return a[below(int(n))]; }

  // --- inputs

  int pick_size() {
    static const int sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 40};
    return chance(4) ? 0 : chance(2) ? 300 : pick(sizes);
  }
  void choose_dtypes() {
    if (p_.smooth) { main_ = DType::f64; return; }
    const int n = below(100);
    main_ = n < 50 ? DType::f32 : n < 65 ? DType::f64 : n < 77 ? DType::bf16 : n < 84 ? DType::f16 : n < 92 ? DType::i64
            : n < 96 ? DType::i32 : DType::u8;
    if (p_.gradient && !is_float(main_)) main_ = DType::f32;
    mixed_ = !p_.smooth && chance(30);
  }
  void add_input() {
    FuzzInput in;
    in.dtype = mixed_ && chance(40) ? pick(casts) : main_;
    const int rank = chance(5) ? 0 : 1 + below(3);
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) {
      int64_t d = chance(15) ? 1 : dims_[size_t(below(3))];
      if (n * d > 3000) d = 2;
      n *= d;
      in.sizes.push_back(d);
    }
    in.layout = chance(65) ? Layout::dense : Layout(1 + below(3));
    in.captured = chance(25);
    in.special = !p_.gradient && chance(12);
    in.requires_grad = p_.gradient && is_float(in.dtype) && (p_.inputs.empty() || chance(70));
    p_.inputs.push_back(in);
    values_.push_back(make_input(in, p_.seed * 1000 + p_.inputs.size() - 1));
    p_.values = values_.size();
  }

  // --- operands

  size_t any() { return chance(50) ? values_.size() - 1 - size_t(below(int(std::min<size_t>(values_.size(), 3)))) : size_t(below(int(values_.size()))); }
  // A value that broadcasts with v, if luck will have it.
  size_t partner(size_t v) {
    for (int tries = 0; tries < 6; ++tries) {
      const size_t w = any();
      if (broadcasts(values_[v]->sizes, values_[w]->sizes)) return w;
    }
    return v;
  }
  static bool broadcasts(const Ints& a, const Ints& b) {
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      const int64_t x = a[a.size() - 1 - i], y = b[b.size() - 1 - i];
      if (x != y && x != 1 && y != 1) return false;
    }
    return true;
  }
  const TensorImpl& at(size_t v) const { return *values_[v]; }
  int dim_of(size_t v) { return at(v).rank() ? below(at(v).rank()) : 0; }
  int64_t size_at(size_t v, int d) const { return at(v).rank() ? at(v).sizes[d] : 1; }
  FuzzArg number(DType d) { return is_float(d) ? real(double(below(17) - 8) / 4) : integer(below(7) - 2); }

  // --- steps

  // Tries a step; kept when it is accepted and its results are not too large.
  bool attempt(FuzzStep::Kind kind, std::string op, std::vector<FuzzArg> args) {
    FuzzStep s;
    s.kind = kind;
    s.op = std::move(op);
    s.args = std::move(args);
    s.first_result = values_.size();
    std::vector<Tensor> values = values_;
    const RandomState before = random_state(cpu_device());
    try {
      run_step(s, values);
    } catch (const InternalError& e) {
      p_.steps.push_back(s);
      fail(ErrorCode::internal, {.op = cat("\n", program_text(p_)), .fact = e.what()});
    } catch (const Error&) {
      set_random_state(cpu_device(), before);
      return false;
    }
    for (size_t i = values_.size(); i < values.size(); ++i)
      if (values[i]->numel() > 6000 || values[i]->rank() > 5 || is_complex(values[i]->dtype)) return false;
    s.results = values.size() - values_.size();
    values_ = std::move(values);
    p_.values = values_.size();
    p_.steps.push_back(std::move(s));
    return true;
  }
  bool call(const char* op, std::vector<FuzzArg> args) { return attempt(FuzzStep::Kind::call, op, std::move(args)); }

  void step() {
    if (p_.smooth) {
      switch (below(10)) {
        case 9: layers(); break;
        case 0: case 1: unary(); break;
        case 2: case 3: binary(); break;
        case 4: view(); break;
        case 5: reduce(); break;
        case 6: matrix(); break;
        case 7: rows(); break;
        default: join(); break;
      }
      return;
    }
    const int n = below(100);
    if (n < 16) unary();
    else if (n < 34) binary();
    else if (n < 51) view();
    else if (n < 60) reduce();
    else if (n < 65) rows();
    else if (n < 72) in_place();
    else if (n < 77) indexed();
    else if (n < 82) scattered();
    else if (n < 87) matrix();
    else if (n < 92) join();
    else if (n < 95) random();
    else if (n < 97) convert();
    else if (n < 99) rare();
    else layers();
  }

  void unary() {
    const size_t v = any();
    const DType d = at(v).dtype;
    if (p_.smooth) { call(pick(smooth_unary), {value(v)}); return; }
    const char* op = !is_float(d) ? (chance(20) ? "bitwise_not" : pick(any_unary)) : chance(50) ? pick(smooth_unary) : pick(float_unary);
    if (chance(8)) call("clamp", {value(v), number(d), chance(50) ? none() : number(d)});
    else call(op, {value(v)});
  }
  void binary() {
    const size_t v = any(), w = partner(v);
    const DType d = at(v).dtype;
    if (!p_.smooth && chance(15)) {
      call("where.self", {value(condition(v)), value(v), value(w)});
      return;
    }
    if (chance(25)) {
      call(p_.smooth ? (chance(50) ? "mul.Scalar" : "add.Scalar") : pick(scalar_binary), {value(v), number(d)});
      return;
    }
    const char* op = p_.smooth ? pick(smooth_binary) : is_float(d) ? (chance(55) ? pick(smooth_binary) : pick(any_binary)) : pick(int_binary);
    if (chance(12) && std::string(op) == "add.Tensor") call(op, {value(v), value(w), number(d)});
    else if (chance(6)) call("addcmul", {value(v), value(w), value(partner(v))});
    else if (chance(6)) call("lerp.Scalar", {value(v), value(w), real(0.25)});
    else call(op, {value(v), value(w)});
  }
  // A bool value that broadcasts with v: one that is there, or a comparison made for it.
  size_t condition(size_t v) {
    for (int tries = 0; tries < 4; ++tries) {
      const size_t w = any();
      if (at(w).dtype == DType::boolean && broadcasts(at(v).sizes, at(w).sizes)) return w;
    }
    return call("lt.Scalar", {value(v), number(at(v).dtype)}) ? values_.size() - 1 : v;
  }
  void view() {
    const size_t v = any();
    const TensorImpl& t = at(v);
    const int d = dim_of(v);
    const int64_t n = size_at(v, d);
    switch (below(14)) {
      case 0: call("transpose.int", {value(v), integer(d), integer(-1)}); break;
      case 1: {
        Ints perm;
        for (int i = 0; i < t.rank(); ++i) perm.push_back(i);
        std::shuffle(perm.begin(), perm.end(), rng_);
        call("permute", {value(v), ints(perm)});
        break;
      }
      case 2: if (n > 0) call("select.int", {value(v), integer(d), integer(below(int(2 * n)) - int(n))}); break;
      case 3: {
        const int64_t from = n ? below(int(n)) : 0;
        call("slice.Tensor", {value(v), integer(d), integer(from), integer(from + below(int(n - from) + 1)), integer(1 + below(3))});
        break;
      }
      case 4: call("unsqueeze", {value(v), integer(below(t.rank() + 1))}); break;
      case 5: call("squeeze.dim", {value(v), integer(d)}); break;
      case 6: {
        Ints shape = t.sizes;
        for (int64_t& s : shape) if (s == 1 && chance(60)) s = 1 + below(5);
        if (chance(40)) shape.insert(0, 1 + below(3));
        call("expand", {value(v), ints(shape)});
        break;
      }
      case 7: case 8: reshape(v); break;
      case 9: call("flip", {value(v), ints({int64_t(d)})}); break;
      case 10: if (t.rank() >= 2) call("diagonal", {value(v), integer(below(3) - 1), integer(0), integer(t.rank() - 1)}); break;
      case 11: if (n > 0) call("narrow", {value(v), integer(d), integer(n / 3), integer(n - n / 3)}); break;
      case 12: if (n > 0) call("chunk", {value(v), integer(1 + below(3)), integer(d)}); break;
      default: if (n > 2) call("unfold", {value(v), integer(d), integer(1 + below(3)), integer(1 + below(2))});
    }
  }
  void reshape(size_t v) {
    const Ints& s = at(v).sizes;
    const int64_t n = at(v).numel();
    Ints shape;
    if (chance(30)) shape = {n};
    else if (s.size() >= 2 && chance(60)) {
      for (size_t i = 0; i < s.size(); ++i) {
        if (i == 0 || chance(50)) shape.push_back(s[i]);
        else shape.back() *= s[i];
      }
    } else {
      for (int64_t f : {2, 3, 4, 5}) if (n && n % f == 0) { shape = {f, n / f}; if (chance(50)) break; }
    }
    if (shape.empty()) return;
    call(chance(50) ? "view" : "reshape", {value(v), ints(shape)});
  }
  void reduce() {
    const size_t v = any();
    const int d = dim_of(v);
    const bool keep = chance(50);
    Ints dims{int64_t(d)};
    if (at(v).rank() >= 2 && chance(30)) dims.push_back((d + 1) % at(v).rank());
    if (p_.smooth) {
      if (chance(70)) call(chance(50) ? "sum.dim_IntList" : "mean.dim", {value(v), ints(dims), boolean(keep)});
      else if (chance(50)) call("logsumexp", {value(v), ints(dims), boolean(keep)});
      else call("cumsum", {value(v), integer(d)});
      return;
    }
    switch (below(14)) {
      case 0: case 1: case 2: call("sum.dim_IntList", {value(v), ints(dims), boolean(keep)}); break;
      case 3: call("mean.dim", {value(v), ints(dims), boolean(keep)}); break;
      case 4: call("amax", {value(v), ints(dims), boolean(keep)}); break;
      case 5: call("amin", {value(v), ints(dims), boolean(keep)}); break;
      case 6: call("prod.dim_int", {value(v), integer(d), boolean(keep)}); break;
      case 7: call("any.dim", {value(v), integer(d), boolean(keep)}); break;
      case 8: call("var.dim", {value(v), ints(dims), boolean(chance(50)), boolean(keep)}); break;
      case 9: call("logsumexp", {value(v), ints(dims), boolean(keep)}); break;
      case 10: call("argmax", {value(v), integer(d), boolean(keep)}); break;
      case 11: call("cumsum", {value(v), integer(d)}); break;
      case 12: call("max.dim", {value(v), integer(d), boolean(keep)}); break;
      default: call(chance(50) ? "sum" : "mean", {value(v)});
    }
  }
  void rows() {
    const size_t v = any();
    const int d = dim_of(v);
    const FuzzArg shape = ints({size_at(v, at(v).rank() - 1)});
    switch (below(5)) {
      case 0: call("softmax.int", {value(v), integer(d)}); break;
      case 1: call("log_softmax.int", {value(v), integer(d)}); break;
      case 2: call("layer_norm", {value(v), shape}); break;
      case 3: call("rms_norm", {value(v), shape, none(), real(1e-3)}); break;
      default: call("softmax.int", {value(v), integer(-1)});
    }
  }
  void in_place() {
    const size_t v = any();
    const DType d = at(v).dtype;
    const auto change = [&](const char* op, std::vector<FuzzArg> args) { attempt(FuzzStep::Kind::in_place, op, std::move(args)); };
    switch (below(9)) {
      case 0: change("add.Tensor", {value(v), value(partner(v))}); break;
      case 1: change("mul.Tensor", {value(v), value(partner(v))}); break;
      case 2: change("mul.Scalar", {value(v), number(d)}); break;
      case 3: change("add.Scalar", {value(v), number(d)}); break;
      case 4: change(is_float(d) ? "tanh" : "neg", {value(v)}); break;
      case 5: change("masked_fill.Scalar", {value(v), value(condition(v)), number(d)}); break;
      case 6: change("relu", {value(v)}); break;
      default: {
        for (int tries = 0; tries < 8; ++tries) {
          const size_t w = any();
          if (w == v || at(w).sizes != at(v).sizes || (!is_float(d) && is_float(at(w).dtype))) continue;
          attempt(FuzzStep::Kind::copy, "copy", {value(v), value(w)});
          break;
        }
      }
    }
  }
  // An i64 value of `rank` dims (any if negative) that indexes a dim of size n.
  bool index(int64_t n, int rank, size_t& out) {
    if (n == 0) return false;
    for (int tries = 0; tries < 8; ++tries) {
      const size_t w = any();
      if ((rank >= 0 && at(w).rank() != rank) || at(w).numel() > 400) continue;
      if (is_float(at(w).dtype) && (!call("nan_to_num", {value(w), real(0), real(1), real(2)}) ||
                                    !call("clamp", {value(values_.size() - 1), real(-1000), real(1000)})))
        return false;
      const size_t whole = is_float(at(w).dtype) ? values_.size() - 1 : w;
      if (at(w).dtype != DType::i64 && !call("to.dtype", {value(whole), dtype(DType::i64)})) return false;
      const size_t wide = at(w).dtype != DType::i64 ? values_.size() - 1 : w;
      if (!call("remainder.Scalar", {value(wide), integer(n)})) return false;
      out = values_.size() - 1;
      return true;
    }
    return false;
  }
  void indexed() {
    const size_t v = any();
    const int d = dim_of(v);
    size_t i = 0;
    switch (below(4)) {
      case 0: if (index(size_at(v, d), 1, i)) call("index_select", {value(v), integer(d), value(i)}); break;
      case 1: if (index(size_at(v, d), at(v).rank(), i)) call("gather", {value(v), integer(d), value(i)}); break;
      case 2: if (at(v).rank() == 2 && index(size_at(v, 0), -1, i)) call("embedding", {value(v), value(i)}); break;
      default: if (at(v).rank() && index(size_at(v, 0), -1, i)) call("index.Tensor", {value(v), list({value(i)})});
    }
  }
  void scattered() {
    const size_t v = any();
    const int d = dim_of(v);
    size_t i = 0;
    switch (below(5)) {
      case 0: if (index(size_at(v, d), 1, i)) call("index_fill.int_Scalar", {value(v), integer(d), value(i), number(at(v).dtype)}); break;
      case 1: if (index(size_at(v, d), at(v).rank(), i)) call("scatter.value", {value(v), integer(d), value(i), number(at(v).dtype)}); break;
      case 2: if (index(size_at(v, d), at(v).rank(), i)) call("scatter_add", {value(v), integer(d), value(i), value(any_of(at(v).dtype, at(v).rank(), v))}); break;
      case 3:
        if (at(v).rank() && index(size_at(v, 0), 1, i) && call("index.Tensor", {value(v), list({value(i)})}))
          call("index_put", {value(v), list({value(i)}), value(values_.size() - 1), boolean(true)});
        break;
      default:
        if (index(size_at(v, d), 1, i) && call("index_select", {value(v), integer(d), value(i)}))
          call("index_add", {value(v), integer(d), value(i), value(values_.size() - 1)});
    }
  }
  size_t any_of(DType type, int rank, size_t otherwise) {
    for (int tries = 0; tries < 8; ++tries)
      if (const size_t w = any(); at(w).dtype == type && at(w).rank() == rank) return w;
    return otherwise;
  }
  void matrix() {
    const size_t v = any();
    if (at(v).rank() == 0) return;
    size_t w = v;
    for (int tries = 0; tries < 8; ++tries) {
      w = any();
      if (at(w).rank() >= 1 && at(w).dtype == at(v).dtype && at(w).sizes[at(w).rank() > 1 ? at(w).rank() - 2 : 0] == at(v).sizes[at(v).rank() - 1]) break;
    }
    if (at(v).rank() >= 2 && (w == v || chance(30))) {
      if (!call("transpose.int", {value(v), integer(-1), integer(-2)})) return;
      w = values_.size() - 1;
    }
    if (chance(25)) call("linear", {value(v), value(any_of(at(v).dtype, 2, w))});
    else if (call("matmul", {value(v), value(w)}) && chance(50)) {  // something for the epilogue
      const size_t r = values_.size() - 1;
      call("add.Tensor", {value(r), value(partner(r))});
    }
  }
  void join() {
    const size_t v = any();
    const int d = dim_of(v);
    const int64_t n = size_at(v, d);
    switch (below(7)) {
      case 0: call("cat", {list({value(v), value(any_of(at(v).dtype, at(v).rank(), v))}), integer(d)}); break;
      case 1: call("stack", {list({value(v), value(v)}), integer(below(at(v).rank() + 1))}); break;
      case 2: call("constant_pad_nd", {value(v), ints({int64_t(below(3)), int64_t(below(4)) - 1}), number(at(v).dtype)}); break;
      case 3: {
        Ints reps;
        for (int i = 0; i < at(v).rank(); ++i) reps.push_back(1 + below(2));
        call("repeat", {value(v), ints(reps)});
        break;
      }
      case 4: call("roll", {value(v), ints({int64_t(below(5)) - 2}), ints({int64_t(d)})}); break;
      case 5: call(chance(50) ? "tril" : "triu", {value(v), integer(below(3) - 1)}); break;
      default:
        if (n > 0 && call("select.int", {value(v), integer(d), integer(n - 1)}))
          call("select_scatter", {value(v), value(values_.size() - 1), integer(d), integer(0)});
    }
  }
  void random() {
    const size_t v = any();
    switch (below(3)) {
      case 0: call("dropout", {value(v), real(0.25), boolean(true)}); break;
      case 1: call("rand_like", {value(v)}); break;
      default: call("bernoulli.p", {value(v), real(0.5)});
    }
  }
  void convert() {
    const size_t v = any();
    call("to.dtype", {value(v), dtype(mixed_ || chance(40) ? pick(casts) : main_)});
  }
  void rare() {
    const size_t v = any();
    const int d = dim_of(v);
    switch (below(12)) {
      case 0: call("sort", {value(v), integer(d)}); break;
      case 1: if (size_at(v, d) > 0) call("topk", {value(v), integer(1), integer(d)}); break;
      case 2: call("max_pool1d", {value(v), ints({2})}); break;
      case 3: call("cummax", {value(v), integer(d)}); break;
      case 4: call("cumprod", {value(v), integer(d)}); break;
      case 5: call("std.dim", {value(v), ints({int64_t(d)}), boolean(chance(50)), boolean(chance(50))}); break;
      case 6: call("norm.ScalarOpt_dim", {value(v), real(2), ints({int64_t(d)}), boolean(chance(50))}); break;
      case 7: call("slice_scatter", {value(v), value(any_of(at(v).dtype, at(v).rank(), v)), integer(d), integer(0), integer(1)}); break;
      case 8: call("as_strided", {value(v), ints({2, 2}), ints({2, 1})}); break;
      case 9: call("diag_embed", {value(v), integer(below(3) - 1)}); break;
      case 10: call("glu", {value(v), integer(d)}); break;
      default: call("avg_pool1d", {value(v), ints({3}), ints({1}), ints({1})});
    }
  }
  // Ops of networks, on operands that are made to fit.
  void layers() {
    const size_t v = any();
    const TensorImpl& t = at(v);
    if (!is_float(t.dtype) || t.numel() == 0) return;
    const int64_t last = size_at(v, t.rank() - 1), n = t.numel();
    switch (below(5)) {
      case 0:
        if (n % 2 == 0 && call("reshape", {value(v), ints({1, 2, n / 2})}) && call("slice.Tensor", {value(values_.size() - 1), integer(2), integer(0), integer(3)}))
          call("conv1d", {value(values_.size() - 2), value(values_.size() - 1), none(), ints({int64_t(1 + below(2))}), ints({int64_t(below(3))})});
        break;
      case 1: if (last && call("reshape", {value(v), ints({1, n / last, last})}))
          call("scaled_dot_product_attention", {value(values_.size() - 1), value(values_.size() - 1), value(values_.size() - 1), none(), real(0), boolean(chance(50))});
        break;
      case 2: call("mse_loss", {value(v), value(any_of(t.dtype, t.rank(), v))}); break;
      case 3: call("huber_loss", {value(v), value(any_of(t.dtype, t.rank(), v))}); break;
      default:
        if (n % 4 == 0 && call("reshape", {value(v), ints({1, 4, n / 4})})) call("group_norm", {value(values_.size() - 1), integer(2)});
    }
  }

  void choose_outputs() {
    // The last value, and some of the others.
    for (size_t v = p_.inputs.size(); v < values_.size(); ++v)
      if (v + 1 == values_.size() || chance(p_.smooth ? 10 : 25)) p_.outputs.push_back(v);
    if (p_.outputs.empty()) p_.outputs.push_back(0);
    while (p_.outputs.size() > 6) p_.outputs.erase(p_.outputs.begin() + below(int(p_.outputs.size()) - 1));
  }

  std::mt19937_64 rng_;
  FuzzProgram p_;
  std::vector<Tensor> values_;
  DType main_ = DType::f32;
  bool mixed_ = false;
  std::array<int, 3> dims_{};
};

}  // namespace

FuzzProgram generate(uint64_t seed) { return Generator(seed).run(); }

}  // namespace phlox::fuzz

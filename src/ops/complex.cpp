#include "ops/complex.h"

#include <cmath>

#include "ops/arith.h"
#include "ops/element.h"

namespace phlox {

static void samples(SampleBuilder& s);

using Types = SmallVector<TensorType, 2>;

static DType complex_dtype(DType d) { return d == DType::f64 || d == DType::c128 ? DType::c128 : DType::c64; }
static TensorType plain(TensorType t, DType d) {
  t.strides.clear();
  t.weak = false;
  t.dtype = d;
  return t;
}
static Sv lowered_away(ElementContext& c, std::span<const Sv>) {
  PHLOX_CHECK(false, c.node.op->schema.name, " reached a loop");
  return {};
}
static void part_type(const Args& a, Types& out) { out.push_back(plain(a[0].type(), real_dtype(a[0].dtype()))); }

static constexpr Op op_conj{{
    .schema = "prim::conj(Tensor a) -> Tensor",
    .type = [](const Args& a, Types& out) { out.push_back(plain(a[0].type(), a[0].dtype())); },
    .loop = lowered_away,
    .vjp = [](Vjp& v) { v.set(0, conj(v.grad())); },
    .sample = samples,
}};
static constexpr Op op_real{{
    .schema = "prim::real(Tensor a) -> Tensor",
    .type = part_type,
    .loop = lowered_away,
    .vjp = [](Vjp& v) { v.set(0, cast(v.grad(), v.in(0).dtype())); },
    .sample = samples,
}};
static constexpr Op op_imag{{
    .schema = "prim::imag(Tensor a) -> Tensor",
    .type = part_type,
    .loop = lowered_away,
    .vjp = [](Vjp& v) { v.set(0, make_complex(full(v.builder(), v.grad().shape(), v.grad().dtype(), 0), v.grad())); },
    .sample = samples,
}};
static constexpr Op op_complex{{
    .schema = "prim::complex(Tensor re, Tensor im) -> Tensor",
    .type = [](const Args& a, Types& out) { out.push_back(plain(a[0].type(), complex_dtype(a[0].dtype()))); },
    .loop = lowered_away,
    .vjp = [](Vjp& v) {
      if (v.needs(0)) v.set(0, real_part(v.grad()));
      if (v.needs(1)) v.set(1, imag_part(v.grad()));
    },
    .sample = samples,
}};
static constexpr Op op_pairs{{
    .schema = "prim::pairs(Tensor a) -> Tensor",
    .type = [](const Args& a, Types& out) {
      part_type(a, out);
      out[0].shape.push_back(2);
    },
    .loop = lowered_away,
    .vjp = [](Vjp& v) { v.set(0, from_pairs(v.grad())); },
    .sample = samples,
}};
static constexpr Op op_from_pairs{{
    .schema = "prim::from_pairs(Tensor a) -> Tensor",
    .type = [](const Args& a, Types& out) {
      out.push_back(plain(a[0].type(), complex_dtype(a[0].dtype())));
      out[0].shape.pop_back();
    },
    .loop = lowered_away,
    .vjp = [](Vjp& v) { v.set(0, as_pairs(v.grad())); },
    .sample = samples,
}};

static Val call1(const Op& op, Val a) {
  const Arg args[] = {Arg::of_value(a.id)};
  return a.g->call(op_info(op), args)[0];
}
Val conj(Val a) { return is_complex(a.dtype()) ? call1(op_conj, a) : a; }
Val real_part(Val a) { return is_complex(a.dtype()) ? call1(op_real, a) : a; }
Val imag_part(Val a) { return call1(op_imag, a); }
Val as_pairs(Val a) { return call1(op_pairs, a); }
Val from_pairs(Val a) { return call1(op_from_pairs, a); }
Val make_complex(Val re, Val im) {
  const Arg args[] = {Arg::of_value(re.id), Arg::of_value(im.id)};
  return re.g->call(op_info(op_complex), args)[0];
}
Val abs2(Val a) {
  if (!is_complex(a.dtype())) return map(Scalar::mul, a, a);
  const Val x = real_part(a), y = imag_part(a);
  return x * x + y * y;
}
Val abs_of(Val a) {
  if (!is_complex(a.dtype())) return map(Scalar::abs, a);
  // The gradient at 0 is 0: hypot is not asked there.
  const Val x = real_part(a), y = imag_part(a), zero = constant_like(x, 0);
  const Val none = map(Scalar::band, map(Scalar::eq, x, zero), map(Scalar::eq, y, zero));
  return select(none, zero, map(Scalar::hypot, select(none, constant_like(x, 1), x), y));
}

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::conj prim::real prim::imag prim::pairs", {"c64[3,4]", "c128[]"}).of("prim::complex", {"f32[3,4], f32[3,4]", "f64[], f64[]"}).of("prim::from_pairs", {"f32[3,2]", "f64[2,2]"});
}

static const Op* const complex_ops[] = {&op_conj, &op_real, &op_imag, &op_complex, &op_pairs, &op_from_pairs};
OpFamily complex_family() { return complex_ops; }

bool has_complex(const Graph& g) {
  for (size_t v = 0; v < g.value_count(); ++v) if (is_complex(g.type(GraphValue(v)).dtype)) return true;
  return false;
}

namespace {

struct Z { Val re, im; };

Val neg(Val a) { return map(Scalar::neg, a); }
Val fn(Scalar s, Val a) { return map(s, a); }
Z operator+(Z a, Z b) { return {a.re + b.re, a.im + b.im}; }
Z operator-(Z a, Z b) { return {a.re - b.re, a.im - b.im}; }
Z operator-(Z a) { return {neg(a.re), neg(a.im)}; }
Z operator*(Z a, Z b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
Z operator*(Z a, double s) { return {a.re * s, a.im * s}; }
Z real_number(Val like, double v) { return {constant_like(like, v), constant_like(like, 0)}; }
Z times_i(Z a) { return {neg(a.im), a.re}; }
Z times_minus_i(Z a) { return {a.im, neg(a.re)}; }
// Scaled by the larger part of the divisor, so that its square neither overflows nor vanishes.
Z operator/(Z a, Z b) {
  const Val size = maximum(fn(Scalar::abs, b.re), fn(Scalar::abs, b.im));
  const Val usual = map(Scalar::band, map(Scalar::lt, constant_like(size, 0), size), map(Scalar::lt, size, constant_like(size, INFINITY)));
  const Val s = select(usual, size, constant_like(size, 1));
  const Val c = b.re / s, d = b.im / s, den = (c * c + d * d) * s;
  return {(a.re * c + a.im * d) / den, (a.im * c - a.re * d) / den};
}
Z choose(Val cond, Z a, Z b) { return {select(cond, a.re, b.re), select(cond, a.im, b.im)}; }

Z exp_z(Z a) { const Val e = fn(Scalar::exp, a.re); return {e * fn(Scalar::cos, a.im), e * fn(Scalar::sin, a.im)}; }
Z log_z(Z a) { return {fn(Scalar::log, map(Scalar::hypot, a.re, a.im)), map(Scalar::atan2, a.im, a.re)}; }
Z sqrt_z(Z a) {
  const Val x = fn(Scalar::abs, a.re), t = fn(Scalar::sqrt, (x + map(Scalar::hypot, a.re, a.im)) * 0.5);
  const Val zero = constant_like(t, 0), none = map(Scalar::eq, t, zero);
  const Val u = fn(Scalar::abs, a.im) / (select(none, constant_like(t, 1), t) * 2.0);
  const Val right = map(Scalar::le, zero, a.re), below = sign_bit(a.im);
  const Val re = select(right, t, u), im = select(right, u, t);
  return {re, select(below, neg(im), im)};
}
Z sinh_z(Z a) { return {fn(Scalar::sinh, a.re) * fn(Scalar::cos, a.im), fn(Scalar::cosh, a.re) * fn(Scalar::sin, a.im)}; }
Z cosh_z(Z a) { return {fn(Scalar::cosh, a.re) * fn(Scalar::cos, a.im), fn(Scalar::sinh, a.re) * fn(Scalar::sin, a.im)}; }
Z tanh_z(Z a) {
  // Beyond 20 the result is 1 or -1 in f64 too.
  const Val x = minimum(maximum(a.re, constant_like(a.re, -20)), constant_like(a.re, 20)) * 2.0, y = a.im * 2.0;
  const Val den = fn(Scalar::cosh, x) + fn(Scalar::cos, y);
  return {fn(Scalar::sinh, x) / den, fn(Scalar::sin, y) / den};
}
Z asinh_z(Z a) {
  const Val left = sign_bit(a.re);
  const Z z = choose(left, -a, a), r = log_z(z + sqrt_z(z * z + real_number(a.re, 1)));
  return choose(left, -r, r);
}
Z acosh_z(Z a) {
  const Z one = real_number(a.re, 1);
  return log_z(a + sqrt_z(a + one) * sqrt_z(a - one));
}
Z atanh_z(Z a) {
  const Val x = a.re, y = a.im, up = 1.0 + x, down = 1.0 - x;
  return {fn(Scalar::log, (up * up + y * y) / (down * down + y * y)) * 0.25, map(Scalar::atan2, y * 2.0, up * down - y * y) * 0.5};
}
Z asin_z(Z a) { return times_minus_i(asinh_z(times_i(a))); }
Z pow_z(Z a, Z b) {
  const Val zero = constant_like(a.re, 0);
  const Val base_zero = map(Scalar::band, map(Scalar::eq, a.re, zero), map(Scalar::eq, a.im, zero));
  const Val power_zero = map(Scalar::band, map(Scalar::eq, b.re, zero), map(Scalar::eq, b.im, zero));
  const Z safe = choose(base_zero, real_number(a.re, 1), a);
  const Z r = choose(base_zero, real_number(a.re, 0), exp_z(b * log_z(safe)));
  return choose(power_zero, real_number(a.re, 1), r);
}

Z function(Scalar s, Z a, const char* name) {
  const Z one = real_number(a.re, 1);
  switch (s) {
    case Scalar::exp: return exp_z(a);
    case Scalar::exp2: return exp_z(a * M_LN2);
    case Scalar::expm1: {
      const Val half = fn(Scalar::sin, a.im * 0.5), e = fn(Scalar::exp, a.re);
      return {fn(Scalar::expm1, a.re) * fn(Scalar::cos, a.im) - half * half * 2.0, e * fn(Scalar::sin, a.im)};
    }
    case Scalar::log: return log_z(a);
    case Scalar::log2: return log_z(a) * (1 / M_LN2);
    case Scalar::log10: return log_z(a) * (1 / M_LN10);
    case Scalar::log1p: return log_z(a + one);
    case Scalar::sqrt: return sqrt_z(a);
    case Scalar::rsqrt: return one / sqrt_z(a);
    case Scalar::sigmoid: return one / (one + exp_z(-a));
    case Scalar::sin: return times_minus_i(sinh_z(times_i(a)));
    case Scalar::cos: return cosh_z(times_i(a));
    case Scalar::tan: return times_minus_i(tanh_z(times_i(a)));
    case Scalar::sinh: return sinh_z(a);
    case Scalar::cosh: return cosh_z(a);
    case Scalar::tanh: return tanh_z(a);
    case Scalar::asin: return asin_z(a);
    case Scalar::acos: { const Z r = asin_z(a); return {M_PI / 2 - r.re, neg(r.im)}; }
    case Scalar::atan: return times_minus_i(atanh_z(times_i(a)));
    case Scalar::asinh: return asinh_z(a);
    case Scalar::acosh: return acosh_z(a);
    case Scalar::atanh: return atanh_z(a);
    default:
      fail(ErrorCode::not_implemented, {.op = name, .fact = "this has no meaning for complex numbers here", .got = "a complex tensor",
                                        .remedy = "use its real and imaginary parts"});
  }
}

class Lowering {
 public:
  explicit Lowering(const Graph& g) : g_(g), real_(g.value_count()), pair_(g.value_count()), whole_(g.value_count()) {}

  Graph run() {
    for (GraphValue v : g_.inputs()) {
      TensorType t = g_.type(v);
      if (is_complex(t.dtype)) t = in_memory(t);
      (is_complex(g_.type(v).dtype) ? whole_ : real_)[v] = b_.wrap(r_.add_input(t, g_.is_number(v)));
    }
    for (GraphValue v : g_.inputs()) if (whole_[v]) pair_[v] = taken_apart(whole_[v]);
    for (const Node& n : g_.nodes()) {
      r_.current_group = n.group;
      r_.current_location = n.location;
      bool any = false;
      for (GraphValue v : n.results) any |= complex(v);
      for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) { any |= complex(a.value); });
      if (any) lower(n);
      else keep(n);
    }
    SmallVector<GraphValue, 4> outputs;
    for (GraphValue v : g_.outputs()) outputs.push_back(complex(v) ? joined(v).id : real_[v].id);
    r_.set_outputs(outputs);
    return std::move(r_);
  }

 private:
  bool complex(GraphValue v) const { return is_complex(g_.type(v).dtype); }
  static TensorType in_memory(TensorType t) {
    t.dtype = real_dtype(t.dtype);
    t.shape.push_back(2);
    for (Dim& s : t.strides) s = s * 2;
    if (!t.strides.empty()) t.strides.push_back(1);
    return t;
  }
  static Z taken_apart(Val pairs) {
    const int last = pairs.rank() - 1;
    return {select_index(pairs, last, 0), select_index(pairs, last, 1)};
  }
  static Val put_together(Z z) {
    const int last = z.re.rank();
    return concat({unsqueeze(z.re, last), unsqueeze(z.im, last)}, last);
  }
  Val joined(GraphValue v) {
    if (!whole_[v]) {
      whole_[v] = put_together(pair_[v]);
      const TensorType t = in_memory(g_.type(v));
      if (!t.strides.empty()) r_.set_strides(whole_[v].id, t.strides);
    }
    return whole_[v];
  }

  // The node's arguments with values of the new graph: of complex ones the real (0) or imaginary (1) part.
  Arg mapped(const Arg& a, int part) {
    Arg x = a;
    if (a.kind == ArgKind::value) {
      x.value = !complex(a.value) ? real_[a.value].id : part == 0 ? pair_[a.value].re.id : pair_[a.value].im.id;
    } else if (a.kind == ArgKind::list) {
      std::vector<Arg> items;
      for (const Arg& i : a.items()) items.push_back(mapped(i, part));
      lists_.push_back(std::move(items));
      x.list = lists_.back().data();
    }
    return x;
  }
  SmallVector<Arg, 4> mapped_args(const Node& n, int part) {
    lists_.clear();
    SmallVector<Arg, 4> args;
    for (const Arg& a : n.args) args.push_back(mapped(a, part));
    return args;
  }
  void keep(const Node& n) {
    const SmallVector<Arg, 4> args = mapped_args(n, 0);
    SmallVector<TensorType, 2> types;
    for (GraphValue v : n.results) types.push_back(g_.type(v));
    const NodeId id = r_.add_node(*n.op, args, types);
    for (size_t i = 0; i < n.results.size(); ++i) real_[n.results[i]] = b_.wrap(r_.node(id).results[i]);
  }
  Val again(const Node& n, int part) {
    const SmallVector<Arg, 4> args = mapped_args(n, part);
    return b_.call(*n.op, args)[0];
  }
  Z z(const Node& n, int i) const {
    const GraphValue v = n.args[size_t(i)].value;
    return complex(v) ? pair_[v] : Z{real_[v], constant_like(real_[v], 0)};
  }

  void lower(const Node& n) {
    const GraphValue out = n.results[0];
    const std::string& name = n.op->schema.name;
    PHLOX_CHECK(name.substr(0, 6) == "prim::", name, " was not decomposed");
    const std::string_view op = std::string_view(name).substr(6);
    if (complex(out)) pair_[out] = lower_to_pair(n, op);
    else real_[out] = lower_to_real(n, op);
  }

  Val lower_to_real(const Node& n, std::string_view op) {
    const Z a = z(n, 0);
    if (op == "real") return a.re;
    if (op == "imag") return a.im;
    if (op == "pairs") return joined(n.args[0].value);
    if (op == "eq" || op == "ne") {
      const Z b = z(n, 1);
      const Scalar s = op == "eq" ? Scalar::eq : Scalar::ne;
      return map(op == "eq" ? Scalar::band : Scalar::bor, map(s, a.re, b.re), map(s, a.im, b.im));
    }
    if (op == "cast") {
      const DType d = n.args[1].as_dtype();
      return is_bool(d) ? map(Scalar::bor, cast(a.re, d), cast(a.im, d)) : cast(a.re, d);
    }
    fail(ErrorCode::not_implemented, {.op = std::string(op), .fact = "complex numbers have no order and this needs one",
                                      .got = "a complex tensor", .remedy = "use abs() or its real part"});
  }

  Z lower_to_pair(const Node& n, std::string_view op) {
    static constexpr std::string_view by_parts[] = {
        "add", "sub", "neg", "select", "copy", "stop_gradient", "broadcast", "permute", "reshape", "slice", "pad", "unfold",
        "fold", "as_strided", "diagonal", "diag_embed", "cat", "gather"};
    for (std::string_view s : by_parts) if (op == s) return {again(n, 0), again(n, 1)};
    const DType d = real_dtype(g_.type(n.results[0]).dtype);
    const Dims& shape = g_.type(n.results[0]).shape;
    auto zeros = [&] { return full(b_, shape, d, 0); };
    if (op == "mul") return z(n, 0) * z(n, 1);
    if (op == "div") return z(n, 0) / z(n, 1);
    if (op == "pow") return pow_z(z(n, 0), z(n, 1));
    if (op == "conj") { const Z a = z(n, 0); return {a.re, neg(a.im)}; }
    if (op == "complex") return {real_[n.args[0].value], real_[n.args[1].value]};
    if (op == "from_pairs") return taken_apart(real_[n.args[0].value]);
    if (op == "cast") {
      if (complex(n.args[0].value)) { const Z a = z(n, 0); return {cast(a.re, d), cast(a.im, d)}; }
      return {cast(real_[n.args[0].value], d), zeros()};
    }
    if (op == "full") {
      const Arg& v = n.args[1];
      if (v.kind == ArgKind::complex) return {full(b_, shape, d, v.complex[0]), full(b_, shape, d, v.complex[1])};
      if (v.kind == ArgKind::real) return {full(b_, shape, d, v.real), zeros()};
      return {broadcast_to(dim_value(b_, v.as_dim(), d), shape), zeros()};
    }
    if (op == "iota") return {iota(b_, shape, int(n.args[1].as_dim().value()), d), zeros()};
    if (op == "reduce" || op == "scan") {
      const std::string_view kind = n.args[2].as_string();
      if (kind == "sum") return {again(n, 0), again(n, 1)};
      if (kind == "prod") return op == "reduce" ? product(z(n, 0), int(n.args[1].list[0].as_dim().value()))
                                                : running_product(z(n, 0), int(n.args[1].as_dim().value()));
      lower_to_real(n, op);
    }
    if (op == "scatter") {
      const std::string_view mode = n.args[4].as_string();
      if (mode == "set" || mode == "add") return {again(n, 0), again(n, 1)};
    }
    if (op == "contract" || op == "conv") return bilinear(n);
    if (op == "sqrt") return sqrt_z(z(n, 0));
    for (int s = int(Scalar::exp); s < scalar_op_count; ++s)
      if (op == scalar_info(Scalar(s)).name) return function(Scalar(s), z(n, 0), scalar_info(Scalar(s)).name);
    fail(ErrorCode::not_implemented, {.op = std::string(op), .fact = "this has no meaning for complex numbers here"});
  }

  // Four real products.
  Z bilinear(const Node& n) {
    const Z a = z(n, 0), b = z(n, 1);
    auto product = [&](Val x, Val y) {
      SmallVector<Arg, 4> args = mapped_args(n, 0);
      args[0].value = x.id;
      args[1].value = y.id;
      return b_.call(*n.op, args)[0];
    };
    return {product(a.re, b.re) - product(a.im, b.im), product(a.re, b.im) + product(a.im, b.re)};
  }
  static Z part(Z a, int d, Dim start, Dim count) { return {slice(a.re, d, start, count), slice(a.im, d, start, count)}; }
  static Z beside(Z a, Z b, int d) { return {concat({a.re, b.re}, d), concat({a.im, b.im}, d)}; }
  Z ones(Z like, int d, Dim count) {
    Dims shape = like.re.shape();
    shape[size_t(d)] = count;
    return {full(b_, shape, like.re.dtype(), 1), full(b_, shape, like.re.dtype(), 0)};
  }
  // Halves are multiplied until one element is left along d.
  Z product(Z a, int d) {
    int64_t n = dim_int(a.re.size(d), "prod");
    if (n == 0) { a = ones(a, d, 1); n = 1; }
    while (n > 1) {
      if (n % 2) { a = beside(a, ones(a, d, 1), d); ++n; }
      a = part(a, d, 0, n / 2) * part(a, d, n / 2, n / 2);
      n /= 2;
    }
    return {squeeze(a.re, d), squeeze(a.im, d)};
  }
  // Each step multiplies by what stands 1, 2, 4, ... places earlier.
  Z running_product(Z a, int d) {
    const int64_t n = dim_int(a.re.size(d), "cumprod");
    for (int64_t step = 1; step < n; step *= 2) a = a * beside(ones(a, d, step), part(a, d, 0, n - step), d);
    return a;
  }

  const Graph& g_;
  Graph r_;
  GraphBuilder b_{r_};
  std::vector<Val> real_;
  std::vector<Z> pair_;
  std::vector<Val> whole_;  // the value as pairs in memory, where there is one
  std::deque<std::vector<Arg>> lists_;
};

}  // namespace

Graph lower_complex(const Graph& g) { return Lowering(g).run(); }

}  // namespace phlox

// Discrete Fourier transforms. One extern op transforms pairs along a dimension, without scaling; everything else
// (real and Hermitian forms, several dimensions, norms) is built around it and differentiates by itself.
#include <algorithm>
#include <cmath>
#include <complex>

#include "ops/arith.h"
#include "ops/complex.h"

namespace phlox {

static void samples(SampleBuilder& s);

namespace {

using C = std::complex<double>;

// The transform of one line, in f64. Lengths are taken apart into their prime factors; a large prime becomes a
// convolution of a power-of-two length (Bluestein's way).
class Transform {
 public:
  Transform(int64_t n, bool inverse) : n_(n), sign_(inverse ? 1 : -1), root_(size_t(n)) {
    for (int64_t k = 0; k < n; ++k) root_[size_t(k)] = turn(double(k) / double(n));
    for (int64_t rest = n, p = 2; rest > 1; ++p) {
      if (p * p > rest) p = rest;
      for (; rest % p == 0; rest /= p) factors_.push_back(p);
    }
    if (!factors_.empty() && factors_.back() > direct_limit) prepare_convolution();
  }

  void run(std::vector<C>& x) const {
    if (n_ <= 1) return;
    if (!chirp_.empty()) { convolve(x); return; }
    std::vector<C> out(x.size());
    step(x.data(), 1, out.data(), n_, 0);
    x.swap(out);
  }

 private:
  static constexpr int64_t direct_limit = 61;
  C turn(double part) const { return {std::cos(2 * M_PI * part), sign_ * std::sin(2 * M_PI * part)}; }

  // out[0 .. n) = the transform of in[0], in[stride], ...: p transforms of n / p interleaved lines, then combined.
  void step(const C* in, int64_t stride, C* out, int64_t n, size_t level) const {
    if (n == 1) { out[0] = in[0]; return; }
    const int64_t p = factors_[level], m = n / p, scale = n_ / n;
    for (int64_t j = 0; j < p; ++j) step(in + j * stride, stride * p, out + j * m, m, level + 1);
    std::vector<C> column(static_cast<size_t>(p));
    for (int64_t k = 0; k < m; ++k) {
      for (int64_t j = 0; j < p; ++j) column[size_t(j)] = out[j * m + k] * root_[size_t(j * k * scale % n_)];
      for (int64_t q = 0; q < p; ++q) {
        C s = column[0];
        for (int64_t j = 1; j < p; ++j) s += column[size_t(j)] * root_[size_t(j * q % p * m * scale % n_)];
        out[q * m + k] = s;
      }
    }
  }

  void prepare_convolution() {
    int64_t length = 1;
    while (length < 2 * n_ - 1) length *= 2;
    chirp_.resize(size_t(n_));
    for (int64_t k = 0; k < n_; ++k) chirp_[size_t(k)] = turn(double(k * k % (2 * n_)) / double(2 * n_));
    forward_ = std::make_unique<Transform>(length, false);
    backward_ = std::make_unique<Transform>(length, true);
    kernel_.assign(size_t(length), 0);
    for (int64_t k = 0; k < n_; ++k) kernel_[size_t(k)] = kernel_[size_t((length - k) % length)] = std::conj(chirp_[size_t(k)]);
    forward_->run(kernel_);
  }
  void convolve(std::vector<C>& x) const {
    std::vector<C> a(kernel_.size());
    for (size_t k = 0; k < x.size(); ++k) a[k] = x[k] * chirp_[k];
    forward_->run(a);
    for (size_t k = 0; k < a.size(); ++k) a[k] *= kernel_[k];
    backward_->run(a);
    for (size_t k = 0; k < x.size(); ++k) x[k] = a[k] * chirp_[k] / double(a.size());
  }

  int64_t n_;
  double sign_;
  std::vector<C> root_, chirp_, kernel_;
  std::vector<int64_t> factors_;
  std::unique_ptr<Transform> forward_, backward_;
};

template <class T>
void transform_lines(HostCall& c) {
  const HostTensor &x = c.tensor(0), &y = c.out[0];
  const size_t d = size_t(c.i(1));
  int64_t inner = 1, outer = 1;
  for (size_t k = 0; k < d; ++k) outer *= x.shape[k];
  for (size_t k = d + 1; k + 1 < x.shape.size(); ++k) inner *= x.shape[k];
  const int64_t n = x.shape[d];
  const Transform transform(n, c.i(2) != 0);
  std::vector<C> line(static_cast<size_t>(n));
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      const int64_t first = o * n * inner + i;
      for (int64_t k = 0; k < n; ++k) {
        const T* p = x.as<T>() + 2 * (first + k * inner);
        line[size_t(k)] = {double(p[0]), double(p[1])};
      }
      transform.run(line);
      for (int64_t k = 0; k < n; ++k) {
        T* p = y.as<T>() + 2 * (first + k * inner);
        p[0] = T(line[size_t(k)].real());
        p[1] = T(line[size_t(k)].imag());
      }
    }
}

}  // namespace

static Val transform_pairs(Val pairs, int dim, bool inverse);
static constexpr Op op_fft{{
    .schema = "prim::fft(Tensor pairs, int dim, bool inverse) -> Tensor",
    .doc = "The Fourier transform along dim of (re, im) pairs, without scaling.",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) {
      TensorType t = a[0].type();
      t.strides.clear();
      t.weak = false;
      out.push_back(t);
    },
    .reference = [](HostCall& c) { c.out[0].dtype == DType::f64 ? transform_lines<double>(c) : transform_lines<float>(c); },
    .vjp = [](Vjp& v) { v.set(0, transform_pairs(v.grad(), int(v.args().i(1)), !v.args().b(2))); },
    .sample = samples,
}};
static Val transform_pairs(Val pairs, int dim, bool inverse) {
  const Arg args[] = {Arg::of_value(pairs.id), Arg::of_dim(dim), Arg::of_bool(inverse)};
  return pairs.g->call(op_info(op_fft), args)[0];
}

// --- helpers

static Val transformed(Val x, int d, bool inverse) { return from_pairs(transform_pairs(as_pairs(x), d, inverse)); }
static Val as_complex(Val x) {
  if (is_complex(x.dtype())) return x;
  return cast(x, x.dtype() == DType::f64 ? DType::c128 : DType::c64);
}
static Val as_float(const Args& a, Val x) {
  if (is_complex(x.dtype())) a.error("a real tensor is needed", cat(x.dtype()), "a real dtype");
  return wide(x);
}
static Val resized(Val x, int d, Dim n) {
  const Dim have = x.size(d);
  if (have == n) return x;
  if (dim_lt(n, have)) return slice(x, d, 0, n);
  Dims low(size_t(x.rank())), high(size_t(x.rank()));
  high[size_t(d)] = n - have;
  return pad(x, low, high);
}
enum class Norm { backward, ortho, forward };
static Norm norm_of(const Args& a, int i) {
  if (!a.has(i) || a.s(i) == "backward") return Norm::backward;
  if (a.s(i) == "ortho") return Norm::ortho;
  if (a.s(i) != "forward") a.error("unknown norm", std::string(a.s(i)), "'backward', 'ortho' or 'forward'");
  return Norm::forward;
}
static Val scaled(Val x, Dim n, Norm norm, bool inverse) {
  const bool whole = inverse ? norm == Norm::backward : norm == Norm::forward;
  if (!whole && norm != Norm::ortho) return x;
  const Val count = dim_value(*x.g, n, real_dtype(x.dtype()));
  return x / cast(whole ? count : map(Scalar::sqrt, count), x.dtype());
}
static void check_length(const Args& a, Dim n) {
  if (dim_lt(n, 1)) a.error("the length of a transform must be positive", cat(n), "at least 1");
}

// The real transform of a half that is Hermitian: of the n points, those behind the middle are conjugates.
static Val from_half(const Args& a, Val x, int d, Dim n, bool inverse) {
  check_length(a, n);
  const Dim half = floordiv(n, 2) + 1;
  x = resized(x, d, half);
  const Dim rest = n - half;
  if (!dim_eq(rest, 0)) x = concat({x, conj(flip(slice(x, d, 1, rest), d))}, d);
  return real_part(transformed(x, d, inverse));
}
static Val half_of(Val x, int d) { return slice(x, d, 0, floordiv(x.size(d), 2) + 1); }

// Dims and lengths of a transform of several dims. Lengths may be missing or -1: as they are.
struct Plan {
  Ints dims;
  Dims sizes;
};
static Plan plan_of(const Args& a, Val x) {
  Plan p;
  const Dims s = a.has(1) ? a.dims(1) : Dims{};
  if (a.has(2)) for (int64_t d : a.ints(2)) p.dims.push_back(wrap_dim(d, x.rank(), a.name()));
  else if (a.has(1)) for (size_t k = 0; k < s.size(); ++k) p.dims.push_back(wrap_dim(int64_t(k) - int64_t(s.size()), x.rank(), a.name()));
  else p.dims = all_dims(x.rank());
  if (a.has(1) && s.size() != p.dims.size()) a.error("s and dim differ in length", cat(s.size(), " and ", p.dims.size()), "equal lengths");
  for (size_t k = 0; k < p.dims.size(); ++k) {
    for (size_t j = 0; j < k; ++j) if (p.dims[j] == p.dims[k]) a.error("a dimension is listed twice", cat("[", join(p.dims), "]"), "distinct dimensions");
    p.sizes.push_back(a.has(1) && !s[k].is(-1) ? s[k] : x.size(int(p.dims[k])));
    check_length(a, p.sizes.back());
  }
  return p;
}
// Without the last dim when `all` is false.
static Val each_dim(Val x, const Plan& p, bool all, bool inverse) {
  for (size_t k = 0; k + !all < p.dims.size(); ++k) x = transformed(resized(x, int(p.dims[k]), p.sizes[k]), int(p.dims[k]), inverse);
  return x;
}

// --- rules. One dimension: (self, n, dim, norm); several: (self, s, dim, norm)

static Dim length_of(const Args& a, Dim absent) { return a.has(1) ? a.d(1) : absent; }

template <bool inverse>
static Vals fft_rule(const Args& a) {
  const Val x = as_complex(a[0]);
  const int d = a.dim(2, x.rank());
  const Dim n = length_of(a, x.size(d));
  check_length(a, n);
  return {scaled(transformed(resized(x, d, n), d, inverse), n, norm_of(a, 3), inverse)};
}
template <bool conjugate>  // rfft, ihfft
static Vals rfft_rule(const Args& a) {
  const Val x = as_float(a, a[0]);
  const int d = a.dim(2, x.rank());
  const Dim n = length_of(a, x.size(d));
  check_length(a, n);
  const Val y = scaled(half_of(transformed(as_complex(resized(x, d, n)), d, false), d), n, norm_of(a, 3), conjugate);
  return {conjugate ? conj(y) : y};
}
template <bool conjugate>  // irfft, hfft
static Vals irfft_rule(const Args& a) {
  Val x = as_complex(a[0]);
  const int d = a.dim(2, x.rank());
  const Dim n = length_of(a, (x.size(d) - 1) * 2);
  if (conjugate) x = conj(x);
  return {scaled(from_half(a, x, d, n, true), n, norm_of(a, 3), !conjugate)};
}
template <bool inverse>
static Vals fftn_rule(const Args& a) {
  const Val x = as_complex(a[0]);
  const Plan p = plan_of(a, x);
  return {scaled(each_dim(x, p, true, inverse), product(p.sizes), norm_of(a, 3), inverse)};
}
static void check_dims(const Args& a, const Plan& p) {
  if (p.dims.empty()) a.error("no dimension is given", "[]", "at least one");
}
template <bool conjugate>  // rfftn, ihfftn
static Vals rfftn_rule(const Args& a) {
  const Val x = as_float(a, a[0]);
  const Plan p = plan_of(a, x);
  check_dims(a, p);
  const int last = int(p.dims.back());
  Val y = half_of(transformed(as_complex(resized(x, last, p.sizes.back())), last, false), last);
  if (conjugate) y = conj(y);
  return {scaled(each_dim(y, p, false, conjugate), product(p.sizes), norm_of(a, 3), conjugate)};
}
template <bool conjugate>  // irfftn, hfftn
static Vals irfftn_rule(const Args& a) {
  const Val x = as_complex(a[0]);
  Plan p = plan_of(a, x);
  check_dims(a, p);
  const int last = int(p.dims.back());
  const bool given = a.has(1) && !a.dims(1)[p.dims.size() - 1].is(-1);
  if (!given) p.sizes.back() = (x.size(last) - 1) * 2;
  Val y = each_dim(x, p, false, !conjugate);
  if (conjugate) y = conj(y);
  return {scaled(from_half(a, y, last, p.sizes.back(), true), product(p.sizes), norm_of(a, 3), !conjugate)};
}

static Vals shift_rule(const Args& a, bool back) {
  Val x = a[0];
  const Ints dims = reduce_dims(a, 1, x.rank(), false);
  for (int64_t d : dims) {
    const Dim n = x.size(int(d)), by = back ? floordiv(n, 2) : floordiv(n + 1, 2);  // what moves to the front begins there
    if (dim_eq(n, 0) || dim_eq(by, 0) || dim_eq(by, n)) continue;
    x = concat({slice(x, int(d), by, n - by), slice(x, int(d), 0, by)}, int(d));
  }
  return {copy(x)};
}
template <bool half>
static Vals frequencies_rule(const Args& a) {
  const int64_t n = a.i(0);
  if (n < 1) a.error("the number of points must be positive", cat(n), "at least 1");
  GraphBuilder& g = a.builder();
  const DType d = a.dtype(2).value_or(default_float);
  const Dims shape{half ? n / 2 + 1 : n};
  Val k = iota(g, shape, 0, DType::f64);
  if (!half) k = select(map(Scalar::lt, k, constant_like(k, double((n + 1) / 2))), k, k - double(n));
  return {cast(k * (1 / (double(n) * a.f(1))), d)};
}

#define ONE(name, text, rule) \
  static constexpr Op op_##name{{.schema = "fft_" #name "(Tensor self, SymInt? n=None, int dim=-1, str? norm=None) -> Tensor", .doc = text, .expand = rule, .forms = Forms::out, .sample = samples}};
#define TWO(name, text, rule) \
  static constexpr Op op_##name{{.schema = "fft_" #name "(Tensor self, SymInt[1]? s=None, int[1] dim=[-2,-1], str? norm=None) -> Tensor", .doc = text, .expand = rule, .forms = Forms::out, .sample = samples}};
#define MANY(name, text, rule) \
  static constexpr Op op_##name{{.schema = "fft_" #name "(Tensor self, SymInt[1]? s=None, int[1]? dim=None, str? norm=None) -> Tensor", .doc = text, .expand = rule, .forms = Forms::out, .sample = samples}};
#define EACH_ONE(X)                                                                                                   \
  X(fft, "The Fourier transform along a dimension.", fft_rule<false>) X(ifft, "The inverse of fft.", fft_rule<true>)  \
  X(rfft, "fft of a real tensor: the first half.", rfft_rule<false>) X(irfft, "The inverse of rfft.", irfft_rule<false>) \
  X(hfft, "fft of the first half of a Hermitian tensor.", irfft_rule<true>) X(ihfft, "The inverse of hfft.", rfft_rule<true>)
#define EACH_TWO(X)                                                                                            \
  X(fft2, "fft along two dimensions.", fftn_rule<false>) X(ifft2, "The inverse of fft2.", fftn_rule<true>)     \
  X(rfft2, "rfft along two dimensions.", rfftn_rule<false>) X(irfft2, "The inverse of rfft2.", irfftn_rule<false>) \
  X(hfft2, "hfft along two dimensions.", irfftn_rule<true>) X(ihfft2, "The inverse of hfft2.", rfftn_rule<true>)
#define EACH_MANY(X)                                                                                            \
  X(fftn, "fft along several dimensions.", fftn_rule<false>) X(ifftn, "The inverse of fftn.", fftn_rule<true>)  \
  X(rfftn, "rfft along several dimensions.", rfftn_rule<false>) X(irfftn, "The inverse of rfftn.", irfftn_rule<false>) \
  X(hfftn, "hfft along several dimensions.", irfftn_rule<true>) X(ihfftn, "The inverse of hfftn.", rfftn_rule<true>)
// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::fft", {"f32[3,4,2], 1, False", "f64[5,2], 0, True"}).of("fft_fft fft_ifft", {"[2,4]", "[5], 3", "[3,2], None, 0, 'ortho'", "[4], 6, -1, 'forward'"}).of("fft_rfft fft_ihfft", {"[2,4]", "[5], 3", "[3,2], None, 0, 'ortho'"})
      .of("fft_irfft fft_hfft", {"[2,4]", "[5], 7", "[3,2], None, 0, 'ortho'"}).of("fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_hfft2 fft_ihfft2", {"[3,4]", "[2,3,4], [2,3]", "[3,4,2], None, [0,1], 'ortho'"})
      .of("fft_fftn fft_ifftn fft_rfftn fft_irfftn fft_hfftn fft_ihfftn", {"[3,4]", "[2,3,4], None, [0,2]", "[4,3], [2,3], None, 'ortho'"})
      .of("fft_fftshift fft_ifftshift", {"[5]", "[3,4], [1]"}).of("fft_fftfreq fft_rfftfreq", {"5", "4, 0.5"})
      .refuses("fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft", {"[4], 0", "[4], None, 1", "[4], None, 0, 'best'", "[]"})
      .refuses("fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_hfft2 fft_ihfft2", {"[4]", "[3,4], None, [0,0]", "[3,4], [0,2]"}).refuses("fft_fftfreq fft_rfftfreq", {"0"});
}

namespace fft_ops {
EACH_ONE(ONE) EACH_TWO(TWO) EACH_MANY(MANY)
static constexpr Op op_fftshift{{
    .schema = "fft_fftshift(Tensor self, int[1]? dim=None) -> Tensor",
    .doc = "The zero frequency moved to the middle.",
    .expand = [](const Args& a) { return shift_rule(a, false); },
    .sample = samples,
}};
static constexpr Op op_ifftshift{{
    .schema = "fft_ifftshift(Tensor self, int[1]? dim=None) -> Tensor",
    .doc = "The inverse of fftshift.",
    .expand = [](const Args& a) { return shift_rule(a, true); },
    .sample = samples,
}};
#define FREQUENCIES(name, text, rule)                                                                                        \
  static constexpr Op op_##name{{.schema = "fft_" #name "(int n, float d=1.0, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor", \
                                 .doc = text, .expand = rule, .sample = samples}};
FREQUENCIES(fftfreq, "The frequencies of fft's results.", frequencies_rule<false>)
FREQUENCIES(rfftfreq, "The frequencies of rfft's results.", frequencies_rule<true>)
static const Op* const list[] = {
#define LIST(name, ...) &op_##name,
    &phlox::op_fft, EACH_ONE(LIST) EACH_TWO(LIST) EACH_MANY(LIST) &op_fftshift, &op_ifftshift, &op_fftfreq, &op_rfftfreq};
}  // namespace fft_ops
OpFamily fft_family() { return fft_ops::list; }

}  // namespace phlox

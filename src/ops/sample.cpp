#include "ops/sample.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/hash.h"
#include "base/small_float.h"
#include "graph/builder.h"

namespace phlox {

// --- reading

namespace {

class SampleReader {
 public:
  SampleReader(const OpInfo& op, std::string_view text) : op_(op), text_(text) {}

  Sample read() {
    const auto& params = op_.schema.params;
    Sample s{&op_, std::string(text_), {}};
    for (const SchemaParam& p : params) s.args.push_back(default_of(p));
    std::vector<bool> given(params.size());
    size_t next = 0;
    for (space(); at_ < text_.size(); space()) {
      size_t i = next++;
      if (const std::string_view name = keyword(); !name.empty()) {
        const int found = op_.schema.find(name);
        need(found >= 0, "a parameter's name");
        i = size_t(found);
      }
      need(i < params.size(), "fewer arguments");
      s.args[i] = value(params[i]);
      given[i] = true;
      space();
      need(at_ == text_.size() || text_[at_] == ',', "','");
      if (at_ < text_.size()) ++at_;
    }
    for (size_t i = 0; i < params.size(); ++i)
      need(given[i] || params[i].has_default || params[i].optional, "all arguments without a default");
    return s;
  }

 private:
  void need(bool ok, const char* what) const {
    PHLOX_CHECK(ok, "sample of ", op_.schema.full_name(), ": '", text_, "' at ", at_, ": expected ", what);
  }
  void space() { while (at_ < text_.size() && text_[at_] == ' ') ++at_; }
  bool eat(std::string_view t) {
    space();
    if (text_.substr(at_, t.size()) != t) return false;
    at_ += t.size();
    return true;
  }
  static bool is_word(char c) { return std::isalnum(uint8_t(c)) || c == '_'; }
  std::string_view word() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  // "name=" in front of a value.
  std::string_view keyword() {
    space();
    const size_t begin = at_;
    const std::string_view w = word();
    if (!w.empty() && at_ < text_.size() && text_[at_] == '=') { ++at_; return w; }
    at_ = begin;
    return {};
  }
  double number() {
    space();
    if (eat("-inf")) return -INFINITY;
    if (eat("inf")) return INFINITY;
    if (eat("nan")) return NAN;
    const std::string_view rest = text_.substr(at_);
    double v = 0;
    // "0..4" is a range, not the number "0.".
    const std::string_view head = rest.substr(0, std::min(rest.find(".."), rest.size()));
    const auto [end, code] = std::from_chars(head.data(), head.data() + head.size(), v);
    need(code == std::errc(), "a number");
    const std::string_view used = head.substr(0, size_t(end - head.data()));
    whole_ = used.find_first_of(".e") == used.npos;
    at_ += used.size();
    return v;
  }

  SampleArg default_of(const SchemaParam& p) const { return of_arg(p.default_value, p); }
  SampleArg of_arg(const Arg& a, const SchemaParam& p) const {
    SampleArg r;
    if (a.kind == ArgKind::list) {
      r.kind = SampleArg::Kind::list;
      for (const Arg& i : a.items()) r.items.emplace_back().plain = i;
    } else if (p.list && p.fixed_size > 0 && !a.is_none()) {  // one int stands for all
      r.kind = SampleArg::Kind::list;
      SampleArg one;
      one.plain = a;
      r.items.assign(size_t(p.fixed_size), one);
    } else {
      r.plain = a;
      if (a.kind == ArgKind::string) r.text = std::string(a.as_string());
    }
    return r;
  }

  SampleArg value(const SchemaParam& p) {
    space();
    if (eat("None")) return {};
    SampleArg r;
    if (p.list) {
      const bool tensors = p.type == ParamType::tensor;
      r.kind = tensors ? SampleArg::Kind::tensors : SampleArg::Kind::list;
      need(eat(tensors ? "{" : "["), "a list");
      const char* close = tensors ? "}" : "]";
      while (!eat(close)) {
        if (eat("None")) r.items.emplace_back();
        else r.items.push_back(single(p));
        eat(",");
        need(at_ < text_.size(), close);
      }
      return r;
    }
    return single(p);
  }

  SampleArg single(const SchemaParam& p) {
    SampleArg r;
    space();
    switch (p.type) {
      case ParamType::tensor: r.kind = SampleArg::Kind::tensor; r.tensor = tensor(); break;
      case ParamType::boolean: r.plain = Arg::of_bool(eat("True") || !eat("False")); break;
      case ParamType::integer: r.plain = Arg::of_dim(int64_t(number())); break;
      case ParamType::real: r.plain = Arg::of_real(number()); break;
      case ParamType::scalar:
        if (eat("True")) { r.plain = Arg::of_bool(true); break; }
        if (eat("False")) { r.plain = Arg::of_bool(false); break; }
        { const double v = number(); r.plain = whole_ && std::isfinite(v) ? Arg::of_dim(int64_t(v)) : Arg::of_real(v); }
        break;
      case ParamType::string: {
        need(eat("'"), "a string");
        const size_t end = text_.find('\'', at_);
        need(end != text_.npos, "the end of a string");
        r.text = std::string(text_.substr(at_, end - at_));
        at_ = end + 1;
        r.plain = Arg::of_string(r.text);
        break;
      }
      case ParamType::dtype: {
        const auto d = parse_dtype(word());
        need(d.has_value(), "a dtype");
        r.plain = Arg::of_dtype(*d);
        break;
      }
      case ParamType::device: need(eat("cpu"), "cpu"); r.plain.kind = ArgKind::device; break;
      case ParamType::layout: case ParamType::memory_format: case ParamType::generator: need(false, "None"); break;
    }
    return r;
  }

  SampleTensor tensor() {
    SampleTensor t;
    if (const std::string_view w = word(); !w.empty()) {
      t.dtype = parse_dtype(w);
      need(t.dtype.has_value(), "a dtype");
    }
    need(eat("["), "a shape");
    while (!eat("]")) { t.shape.push_back(int64_t(number())); eat(","); need(at_ < text_.size(), "]"); }
    if (eat(":")) {
      using Fill = SampleTensor::Fill;
      if (eat("spd")) t.fill = Fill::positive_definite;
      else if (eat("distinct")) t.fill = Fill::distinct;
      else if (eat("sorted")) t.fill = Fill::sorted;
      else range(t);
    } else if (at_ < text_.size() && text_[at_] == '=') {
      ++at_;
      t.fill = SampleTensor::Fill::listed;
      do t.listed.push_back(number()); while (eat("|"));
    }
    if (at_ < text_.size() && text_[at_] == '!') { ++at_; t.constant = true; }
    return t;
  }
  void range(SampleTensor& t) {
    t.ranged = true;
    t.low = number();
    need(eat(".."), "'..'");
    t.high = number();
  }

  const OpInfo& op_;
  std::string_view text_;
  size_t at_ = 0;
  bool whole_ = false;
};

}  // namespace

Sample parse_sample(const OpInfo& op, const char* text) { return SampleReader(op, text).read(); }

// --- elements

namespace {

// A stream of numbers that every platform draws alike.
struct Draw {
  uint64_t state;
  double uniform() { return double(mix64(state += 0x9e3779b97f4a7c15ull) >> 11) * 0x1p-53; }
};

// What an integer tensor holds for a number that no int64 is: 0 for NaN, the nearest for the others.
int64_t whole(double v) {
  if (std::isnan(v)) return 0;
  return v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : int64_t(v);
}

void store(HostTensor& t, int64_t i, double v) {
  switch (t.dtype) {
    case DType::boolean: t.as<uint8_t>()[i] = v != 0; break;
    case DType::u8: t.as<uint8_t>()[i] = uint8_t(whole(v)); break;
    case DType::i8: t.as<int8_t>()[i] = int8_t(whole(v)); break;
    case DType::i16: t.as<int16_t>()[i] = int16_t(whole(v)); break;
    case DType::i32: t.as<int32_t>()[i] = int32_t(whole(v)); break;
    case DType::i64: t.as<int64_t>()[i] = whole(v); break;
    case DType::f16: t.as<uint16_t>()[i] = f16_from_float(float(v)); break;
    case DType::bf16: t.as<uint16_t>()[i] = bf16_from_float(float(v)); break;
    case DType::f32: case DType::c64: t.as<float>()[i] = float(v); break;
    case DType::f64: case DType::c128: t.as<double>()[i] = v; break;
    default: PHLOX_CHECK(false, "samples of dtype ", t.dtype);
  }
}

// Whole numbers of a range, as the dtype can hold them.
double whole_between(double low, double high, DType d, double u) {
  low = std::ceil(low);
  high = std::floor(high);
  if (is_unsigned(d) || is_bool(d)) low = std::max(low, 0.0);
  if (is_bool(d)) high = std::min(high, 1.0);
  if (high < low) high = low;
  return low + std::floor(u * (high - low + 1));
}

void fill_positive_definite(std::vector<double>& v, const Ints& shape, Draw& draw) {
  if (shape.size() < 2 || shape.back() != shape[shape.size() - 2]) return;  // a layout took its dimensions away
  const int64_t n = shape.back(), matrices = n ? int64_t(v.size()) / (n * n) : 0;
  for (int64_t m = 0; m < matrices; ++m) {
    std::vector<double> a(size_t(n * n));
    for (double& x : a) x = 2 * draw.uniform() - 1;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = i == j ? double(n) : 0;
        for (int64_t k = 0; k < n; ++k) sum += a[size_t(i * n + k)] * a[size_t(j * n + k)];
        v[size_t((m * n + i) * n + j)] = sum;
      }
  }
}

}  // namespace

HostTensor fill_sample(const SampleTensor& t, DType dtype, uint64_t seed) {
  using Fill = SampleTensor::Fill;
  HostTensor r = make_host_tensor(dtype, t.shape);
  const int64_t n = r.numel() * (is_complex(dtype) ? 2 : 1);
  Draw draw{seed};
  std::vector<double> v(static_cast<size_t>(n));
  const bool whole = !is_float(dtype) && !is_complex(dtype);
  for (int64_t i = 0; i < n; ++i) {
    const double u = draw.uniform();
    v[size_t(i)] = whole ? whole_between(t.low, t.high, dtype, u) : t.low + u * (t.high - t.low);
  }
  if (t.fill == Fill::listed)
    for (int64_t i = 0; i < n; ++i) v[size_t(i)] = t.listed[size_t(i) % t.listed.size()];
  if (t.fill == Fill::distinct) {
    for (int64_t i = 0; i < n; ++i) v[size_t(i)] = double(i) * 0.25 - double(n / 2) * 0.25;
    if (whole) for (int64_t i = 0; i < n; ++i) v[size_t(i)] = double(i);
    for (int64_t i = n - 1; i > 0; --i) std::swap(v[size_t(i)], v[size_t(draw.uniform() * double(i + 1))]);
  }
  if (t.fill == Fill::sorted && !t.shape.empty())
    for (int64_t row = 0; row < n; row += t.shape.back()) std::sort(v.begin() + row, v.begin() + row + t.shape.back());
  if (t.fill == Fill::positive_definite) fill_positive_definite(v, t.shape, draw);
  for (int64_t i = 0; i < n; ++i) store(r, i, v[size_t(i)]);
  return r;
}

SampleCall::SampleCall(const Sample& sample, DType dtype, uint64_t seed) : sample_(sample) {
  auto visit = [&](auto&& self, const SampleArg& a) -> void {
    if (a.kind == SampleArg::Kind::tensor) {
      tensors.push_back(fill_sample(a.tensor, a.tensor.dtype.value_or(dtype), combine(seed, tensors.size())));
      constant.push_back(a.tensor.constant);
      varies.push_back(!a.tensor.dtype);
    }
    for (const SampleArg& i : a.items) self(self, i);
  };
  for (const SampleArg& a : sample_.args) visit(visit, a);
}

}  // namespace phlox

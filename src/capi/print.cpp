// Tensors as text, in the layout that PyTorch users know: one format for all numbers of a tensor, chosen from the
// numbers that are shown; long tensors by their edges; lines of 80 columns.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "capi/host_view.h"
#include "capi_rt/boundary.h"

namespace phlox {

namespace {

constexpr int precision = 4;
constexpr int64_t summarize_above = 1000, edge_items = 3;
constexpr int line_width = 80;

std::string formatted(const char* format, int digits, double v) {
  char buffer[400];
  const int n = std::snprintf(buffer, sizeof buffer, format, digits, v);
  return std::string(buffer, size_t(std::clamp(n, 0, int(sizeof buffer) - 1)));
}
// The sign bit of a NaN is not shown.
std::string fixed(double v, int digits) { return std::isnan(v) ? "nan" : formatted("%.*f", digits, v); }
std::string scientific(double v) { return std::isnan(v) ? "nan" : formatted("%.*e", precision, v); }

// How the numbers of a tensor (or the real or imaginary parts) are written, and how wide.
class NumberFormat {
 public:
  NumberFormat(const std::vector<HostNumber>& numbers, bool floating, bool imag) : floating_(floating), imag_(imag) {
    if (!floating) {
      for (const HostNumber& n : numbers) width_ = std::max(width_, text(n).size());
      return;
    }
    double smallest = INFINITY, largest = 0;
    for (const HostNumber& n : numbers) {
      const double v = part(n), a = std::fabs(v);
      if (!std::isfinite(v) || v == 0) continue;
      smallest = std::min(smallest, a);
      largest = std::max(largest, a);
      whole_ = whole_ && v == std::ceil(v);
    }
    if (largest == 0) return;  // zeros, NaN and infinities alone
    scientific_ = largest / smallest > 1000 || largest > 1e8 || (!whole_ && smallest < 1e-4);
    for (const HostNumber& n : numbers) {
      const double v = part(n);
      if (!std::isfinite(v) || v == 0) continue;
      width_ = std::max(width_, scientific_ ? scientific(v).size() : whole_ ? fixed(v, 0).size() + 1 : fixed(v, precision).size());
    }
  }
  size_t width() const { return width_; }
  std::string operator()(const HostNumber& n) const {
    std::string s = text(n);
    if (s.size() < width_) s.insert(0, width_ - s.size(), ' ');
    return s;
  }

 private:
  double part(const HostNumber& n) const { return imag_ ? n.imag : n.real; }
  std::string text(const HostNumber& n) const {
    if (!floating_) {
      if (n.kind == HostNumber::Kind::boolean) return n.integer ? "True" : "False";
      return n.kind == HostNumber::Kind::uinteger ? cat(uint64_t(n.integer)) : cat(n.integer);
    }
    const double v = part(n);
    if (scientific_) return scientific(v);
    if (whole_) return std::isfinite(v) ? fixed(v, 0) + "." : fixed(v, 0);
    return fixed(v, precision);
  }

  bool floating_, imag_, whole_ = true, scientific_ = false;
  size_t width_ = 1;
};

class Printer {
 public:
  explicit Printer(const HostView& v) : v_(v), summarize_(numel() > summarize_above) {
    std::vector<HostNumber> numbers;
    collect(0, v.data, numbers);
    const bool floating = is_float(v.dtype) || is_complex(v.dtype);
    formats_.emplace_back(numbers, floating, false);
    if (is_complex(v.dtype)) formats_.emplace_back(numbers, true, true);
  }

  // Lines after the first begin with `indent` spaces.
  std::string text(int indent) const { return block(0, v_.data, indent); }

 private:
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t s : v_.sizes) n *= s;
    return n;
  }
  int rank() const { return int(v_.sizes.size()); }
  bool cut(int d) const { return summarize_ && v_.sizes[d] > 2 * edge_items; }
  const char* at(int d, const char* p, int64_t i) const { return p + i * v_.strides[d] * dtype_bytes(v_.dtype); }
  // The indices along d that are shown; -1 stands for those left out.
  std::vector<int64_t> shown(int d) const {
    std::vector<int64_t> r;
    for (int64_t i = 0; i < v_.sizes[d]; ++i) {
      if (cut(d) && i == edge_items) {
        r.push_back(-1);
        i = v_.sizes[d] - edge_items;
      }
      r.push_back(i);
    }
    return r;
  }

  void collect(int d, const char* p, std::vector<HostNumber>& numbers) const {
    if (d == rank()) {
      numbers.push_back(read_number(p, v_.dtype));
      return;
    }
    for (int64_t i : shown(d)) if (i >= 0) collect(d + 1, at(d, p, i), numbers);
  }

  std::string element(const char* p) const {
    const HostNumber n = read_number(p, v_.dtype);
    if (formats_.size() == 1) return formats_[0](n);
    std::string imag = formats_[1](n) + "j";
    imag.erase(0, imag.find_first_not_of(' '));
    return formats_[0](n) + (imag[0] == '-' ? "" : "+") + imag;
  }

  std::string block(int d, const char* p, int indent) const {
    if (d == rank()) return element(p);
    if (d + 1 == rank()) return row(d, p, indent);
    std::string separator = "," + std::string(size_t(rank() - d - 1), '\n') + std::string(size_t(indent + 1), ' '), s = "[";
    bool first = true;
    for (int64_t i : shown(d)) {
      if (!first) s += separator;
      first = false;
      s += i < 0 ? "..." : block(d + 1, at(d, p, i), indent + 1);
    }
    return s + "]";
  }

  std::string row(int d, const char* p, int indent) const {
    size_t width = formats_[0].width() + 2;
    if (formats_.size() > 1) width += formats_[1].width() + 1;
    const size_t per_line = std::max<size_t>(1, size_t(std::max(0, line_width - indent)) / width);
    std::string s = "[";
    size_t k = 0;
    for (int64_t i : shown(d)) {
      if (k) s += k % per_line ? ", " : ",\n" + std::string(size_t(indent + 1), ' ');
      ++k;
      s += i < 0 ? " ..." : element(at(d, p, i));
    }
    return s + "]";
  }

  const HostView& v_;
  bool summarize_;
  std::vector<NumberFormat> formats_;
};

// "add.Tensor" -> "AddBackward0".
std::string grad_fn_text(const std::string& name) {
  std::string s;
  bool upper = true;
  for (char c : name.substr(0, name.find('.'))) {
    if (c == '_' || c == ':') {
      upper = true;
      continue;
    }
    s += upper && c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c;
    upper = false;
  }
  return s + "Backward0";
}

std::string print_tensor(const Tensor& t) {
  const std::string prefix = "tensor(";
  const int indent = int(prefix.size());
  std::vector<std::string> notes;
  if (t->device().id().kind != DeviceKind::cpu) notes.push_back(cat("device='", t->device().id(), "'"));
  std::string body = "[]";
  if (t->numel() == 0) {
    // No element shows the dtype, so all but the default are named.
    if (t->rank() != 1) notes.push_back(cat("size=(", join(t->sizes), ")"));
    if (t->dtype != DType::f32) notes.push_back(cat("dtype=", dtype_info(t->dtype).name));
  } else {
    if (t->dtype != DType::f32 && t->dtype != DType::i64 && t->dtype != DType::boolean && t->dtype != DType::c64)
      notes.push_back(cat("dtype=", dtype_info(t->dtype).name));
    const HostView v = host_view(t);
    body = Printer(v).text(indent);
  }
  if (t->requires_grad)
    notes.push_back(is_leaf(*t) ? "requires_grad=True" : cat("grad_fn=<", grad_fn_text(gradient_edge(t).node->name()), ">"));
  std::string s = prefix + body;
  const size_t newline = s.rfind('\n');
  size_t last_line = newline == s.npos ? s.size() + 2 : s.size() - newline + 1;
  for (const std::string& note : notes) {
    if (last_line + note.size() + 2 > size_t(line_width)) {
      s += ",\n" + std::string(size_t(indent), ' ') + note;
      last_line = size_t(indent) + note.size();
    } else {
      s += ", " + note;
      last_line += note.size() + 2;
    }
  }
  return s + ")";
}

}  // namespace
}  // namespace phlox

using namespace phlox;

extern "C" phlox_status phlox_tensor_print(const phlox_tensor* t, phlox_text** out) {
  return guarded([&] {
    need_out(out, "print");
    *out = new phlox_text{print_tensor(need_ref(t, "print"))};
  });
}

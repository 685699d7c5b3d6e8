// Reads what print_loop writes. The text may come from a file that nobody trusts: every id, axis and parameter is
// checked as it is read, sizes of tables follow from the length of the text, and the result is always well formed.
#include <bit>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "loop/text.h"
#include "loop/verify.h"

namespace phlox {

namespace {

constexpr size_t most_params = 1 << 16;

std::optional<Scalar> scalar_named(std::string_view name) {
  for (int k = 0; k < scalar_op_count; ++k)
    if (name == scalar_info(Scalar(k)).name) return Scalar(k);
  return std::nullopt;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), p_(text_.c_str()), end_(p_ + text_.size()) {}

  Loop run() {
    try {
      body();
    } catch (const Error& e) {  // a size expression, or this parser; both learn their line here
      fail(ErrorCode::invalid_argument, {.op = "parse_loop", .fact = cat("line ", line_, ": ", e.parts().fact),
                                         .got = e.parts().got, .expected = e.parts().expected});
    }
    const LoopDefect d = loop_defect(loop_);
    if (!d.text.empty()) {
      const int64_t line = d.inst >= 0 ? inst_lines_[size_t(d.inst)] : d.store >= 0 ? store_lines_[size_t(d.store)] : 1;
      fail(ErrorCode::invalid_argument, {.op = "parse_loop", .fact = cat("line ", line, ": ", d.text)});
    }
    return std::move(loop_);
  }

 private:
  // --- characters
  [[noreturn]] void bad(std::string_view fact) {
    const char* q = p_;
    while (q < end_ && *q != '\n' && q - p_ < 24) ++q;
    fail(ErrorCode::invalid_argument, {.op = "parse_loop", .fact = std::string(fact), .got = std::string(p_, q)});
  }
  void space() { while (p_ < end_ && *p_ == ' ') ++p_; }
  bool accept(std::string_view s) {
    space();
    if (size_t(end_ - p_) < s.size() || std::string_view(p_, s.size()) != s) return false;
    p_ += s.size();
    return true;
  }
  void expect(std::string_view s) { if (!accept(s)) bad(cat("expected '", s, "'")); }
  void next_line() {
    space();
    if (p_ < end_ && *p_ != '\n') bad("text after the end of an instruction");
    while (p_ < end_ && (*p_ == '\n' || *p_ == ' ')) line_ += *p_++ == '\n';
  }
  std::string_view word() {
    space();
    const char* q = p_;
    while (p_ < end_ && ((*p_ >= 'a' && *p_ <= 'z') || (*p_ >= '0' && *p_ <= '9') || *p_ == '_')) ++p_;
    return {q, size_t(p_ - q)};
  }
  uint64_t id(std::string_view prefix, size_t limit, std::string_view what) {
    expect(prefix);
    uint64_t v = 0;
    const auto r = std::from_chars(p_, end_, v);
    if (r.ec != std::errc() || v >= limit) bad(cat(what, " that does not exist"));
    p_ = r.ptr;
    return v;
  }

  // --- parts
  ValueId value() { return ValueId(id("%", loop_.insts.size(), "a value")); }
  int64_t param() { return int64_t(id("p", loop_.params.size(), "a parameter")); }
  DType dtype() {
    const std::optional<DType> d = parse_dtype(word());
    if (!d || !is_loop_dtype(*d)) bad("a type that loops do not compute with");
    return *d;
  }
  AxisMask axis_set() {
    AxisMask m = 0;
    expect("{");
    while (!accept("}")) {
      if (m) expect(",");
      const AxisMask bit = AxisMask(1) << id("a", loop_.axes.size(), "an axis");
      if (bit <= m) bad("axes out of order");
      m |= bit;
    }
    return m;
  }
  template <class E, class Name>
  E named(Name name, int count, std::string_view what) {
    const std::string_view w = word();
    for (int k = 0; k < count; ++k) if (w == name(E(k))) return E(k);
    bad(cat("unknown ", what, " '", w, "'"));
  }
  Combine combine() { return named<Combine>(combine_name, 6, "combine"); }

  template <class T>
  T decimal() {
    T v{};
    const auto r = std::from_chars(p_, end_, v);
    if (r.ec != std::errc()) bad("expected a number that the type holds");
    p_ = r.ptr;
    return v;
  }
  int64_t constant(DType d) {
    space();
    if (is_bool(d)) {
      if (accept("true")) return 1;
      expect("false");
      return 0;
    }
    if (d == DType::u64) return int64_t(decimal<uint64_t>());
    if (!is_float(d)) return decimal<int64_t>();
    if (accept("nan(0x")) {
      uint64_t bits = 0;
      const auto r = std::from_chars(p_, end_, bits, 16);
      if (r.ec != std::errc()) bad("expected the bits of a NaN");
      p_ = r.ptr;
      expect(")");
      return int64_t(bits);
    }
    if (d == DType::f64) return std::bit_cast<int64_t>(number_or_nan<double>());
    if (d == DType::f32) return std::bit_cast<int32_t>(number_or_nan<float>()) & 0xffffffffLL;
    return constant_bits(d, number_or_nan<double>());
  }
  template <class T>
  T number_or_nan() {
    if (accept("nan")) return T(std::nan(""));  // the plain one, whatever from_chars makes of it
    return decimal<T>();
  }

  // --- lines
  void axes() {
    do {
      if (loop_.axes.size() == 64) bad("more than 64 axes");
      expect(cat("a", loop_.axes.size(), ":"));
      loop_.axes.push_back({parse_dim(p_)});
    } while (accept(","));
    next_line();
  }
  void params() {
    do {
      if (loop_.params.size() == most_params) bad("too many parameters");
      expect(cat("p", loop_.params.size(), ":"));
      const auto kind = named<Param::Kind>(param_kind_name, 4, "kind of parameter");
      loop_.params.push_back({kind, dtype()});
    } while (accept(","));
    next_line();
  }

  void operand(Inst& i) {
    i.operand[i.operand_count++] = value();
  }
  void operands(Inst& i) {
    for (int k = 0; k < scalar_info(i.op).operands; ++k) {
      if (k) expect(",");
      operand(i);
    }
  }
  void inst_body(Inst& i) {
    switch (i.op) {
      case Scalar::constant: space(); break;  // read when the type is known
      case Scalar::dim: i.imm = parse_dim(p_).raw(); break;
      case Scalar::axis: i.imm = int64_t(id("a", loop_.axes.size(), "an axis")); break;
      case Scalar::number: i.imm = param(); break;
      case Scalar::load:
        i.imm = param();
        expect("[");
        operand(i);
        expect("]");
        if (accept("if ")) operand(i);
        break;
      case Scalar::reduce: case Scalar::scan:
        i.combine = combine();
        i.order = i.op == Scalar::scan ? Order::tree1 : named<Order>(order_name, 3, "order");
        operand(i);
        expect("over");
        i.axes = axis_set();
        break;
      case Scalar::philox: space(); i.imm = decimal<int64_t>(); operands(i); break;
      default: operands(i);
    }
  }
  void inst() {
    inst_lines_.push_back(line_);
    expect(cat(loop_.insts.size()));
    expect("=");
    const std::string_view name = word();
    const std::optional<Scalar> op = scalar_named(name);
    if (!op) bad(cat("unknown op '", name, "'"));
    Inst i{.op = *op};
    inst_body(i);
    const char* at = p_;
    if (i.op == Scalar::constant) while (p_ < end_ && *p_ != ':' && *p_ != '\n') ++p_;
    expect(":");
    i.dtype = dtype();
    if (i.op == Scalar::constant) {
      const char* after = p_;
      p_ = at;
      i.imm = constant(i.dtype);
      if (!accept(":")) bad("text after a constant");
      p_ = after;
    }
    next_line();
    loop_.insts.push_back(i);
    loop_.depends.push_back(depends_of(loop_, i));
  }
  void store() {
    store_lines_.push_back(line_);
    Store s{};
    s.param = uint32_t(param());
    expect("[");
    s.address = value();
    expect("]");
    expect("=");
    s.value = value();
    expect("over");
    s.domain = axis_set();
    s.predicate = accept("if ") ? value() : no_value;
    space();
    if (p_ < end_ && *p_ != '\n') s.conflict = named<Conflict>(conflict_name, 6, "conflict rule");
    next_line();
    loop_.stores.push_back(s);
  }
  void body() {
    while (p_ < end_ && (*p_ == '\n' || *p_ == ' ')) line_ += *p_++ == '\n';
    expect("loop");
    expect("{");
    next_line();
    if (accept("axes ")) axes();
    if (accept("params ")) params();
    while (accept("%")) {
      if (loop_.insts.size() >= no_value - 1) bad("too many instructions");
      inst();
    }
    while (accept("store ")) store();
    expect("}");
    next_line();
    if (p_ < end_) bad("text after the loop");
  }

  std::string text_;  // ends with a NUL, which parse_dim stops at
  const char *p_, *end_;
  int64_t line_ = 1;
  Loop loop_;
  std::vector<int64_t> inst_lines_, store_lines_;
};

}  // namespace

Loop parse_loop(std::string_view text) { return Parser(text).run(); }

}  // namespace phlox

// Reads what print_graph writes. The text may come from a file that nobody trusts: names, kinds and numbers are checked as
// they are read, the finished graph by the verifier, and every refusal names a line and a column.
//
// Ids in the text are names: any numbers will do, each given once. Values get the numbers that the printer would give them,
// so what was printed reads back as the same graph, ids included. Text from '#' to the end of its line is a comment.
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "graph/verify.h"

namespace phlox {

namespace {

constexpr int most_nesting = 8;

class Parser {
 public:
  Parser(std::string_view text, OpTable ops) : text_(text), p_(text_.c_str()), end_(p_ + text_.size()), ops_(ops) {}

  Graph run() {
    body();
    std::string fault;
    GraphDefect d;
    try {
      d = graph_defect(g_);
    } catch (const Error& e) {  // a size that does not fit
      d.text = e.what();
    }
    if (!d.text.empty()) bad_at(d.node == no_node ? text_.c_str() : node_starts_[d.node], d.text.substr(0, 400), false);
    return std::move(g_);
  }

 private:
  // --- characters
  [[noreturn]] void bad_at(const char* at, std::string_view fact, bool show = true) {
    size_t line = 1, column = 1;
    for (const char* q = text_.c_str(); q < at; ++q) {
      ++column;
      if (*q == '\n') { ++line; column = 1; }
    }
    const char* q = at;
    while (q < end_ && *q != '\n' && q - at < 24) ++q;
    ErrorParts parts{.op = "parse_graph", .fact = cat("line ", line, ", column ", column, ": ", fact)};
    if (show) parts.got = at == end_ ? std::string("the end of the text") : cat("'", std::string_view(at, size_t(q - at)), "'");
    fail(ErrorCode::invalid_argument, std::move(parts));
  }
  [[noreturn]] void bad(std::string_view fact) { bad_at(p_, fact); }
  void blank(bool lines) {
    while (p_ < end_) {
      if (*p_ == '#') while (p_ < end_ && *p_ != '\n') ++p_;
      else if (*p_ == ' ' || *p_ == '\t' || *p_ == '\r' || (lines && *p_ == '\n')) ++p_;
      else break;
    }
  }
  bool accept(std::string_view s) {
    blank(false);
    if (size_t(end_ - p_) < s.size() || std::string_view(p_, s.size()) != s) return false;
    p_ += s.size();
    return true;
  }
  void expect(std::string_view s) { if (!accept(s)) bad(cat("expected '", s, "'")); }
  void line_end() {
    blank(false);
    if (p_ < end_ && *p_ != '\n') bad("text after the end of a line");
    blank(true);
  }
  std::string_view word(bool op_name = false) {
    blank(false);
    const char* q = p_;
    while (p_ < end_ && ((*p_ >= 'a' && *p_ <= 'z') || (*p_ >= 'A' && *p_ <= 'Z') || (*p_ >= '0' && *p_ <= '9') || *p_ == '_' ||
                         (op_name && (*p_ == ':' || *p_ == '.')))) ++p_;
    return {q, size_t(p_ - q)};
  }
  template <class T>
  T decimal(std::string_view what) {
    T v{};
    const auto r = std::from_chars(p_, end_, v);
    if (r.ec != std::errc()) bad(cat("expected ", what));
    p_ = r.ptr;
    return v;
  }
  // Calls f, which reads at p_; its refusals learn their place.
  template <class F>
  auto placed(F&& f) {
    const char* at = p_;
    try {
      return f();
    } catch (const Error& e) {
      bad_at(at, e.parts().expected.empty() ? e.parts().fact : cat(e.parts().fact, ", expected ", e.parts().expected));
    }
  }

  // --- values
  uint32_t name() {
    expect("%");
    return decimal<uint32_t>("the number of a value");
  }
  // Inputs get their numbers where they were made: before the first result that has a larger one.
  void add_inputs(size_t count) {
    for (; inputs_added_ < count; ++inputs_added_) {
      PendingInput& in = pending_[inputs_added_];
      values_[in.name] = g_.add_input(std::move(in.type), in.number);
    }
  }
  void add_inputs_below(uint32_t limit) {
    size_t n = inputs_added_;
    while (n < pending_.size() && pending_[n].name < limit) ++n;
    add_inputs(n);
  }
  GraphValue use() {
    const char* at = p_;
    const uint32_t n = name();
    if (auto it = values_.find(n); it != values_.end()) return it->second;
    for (size_t i = inputs_added_; i < pending_.size(); ++i)
      if (pending_[i].name == n) {
        add_inputs(i + 1);
        return values_[n];
      }
    bad_at(at, cat("%", n, " is not defined before this place"));
  }

  // --- arguments
  double real() {
    if (!accept("nan(0x")) return accept("nan") ? std::nan("") : decimal<double>("a number");
    const char* at = p_;
    uint64_t bits = 0;
    const auto r = std::from_chars(p_, end_, bits, 16);
    if (r.ec != std::errc() || !std::isnan(std::bit_cast<double>(bits))) bad_at(at, "expected the bits of a NaN");
    p_ = r.ptr;
    expect(")");
    return std::bit_cast<double>(bits);
  }
  // A float has a point, an exponent or a name; everything else is a size expression.
  Arg number() {
    const char* q = p_;
    if (q < end_ && *q == '-') ++q;
    const std::string_view rest(q, size_t(end_ - q));
    bool is_real = rest.starts_with("inf") || rest.starts_with("nan");
    const char* first = q;
    while (q < end_ && *q >= '0' && *q <= '9') ++q;
    is_real |= q > first && q < end_ && (*q == '.' || *q == 'e');
    if (is_real) return Arg::of_real(real());
    return placed([&] { return Arg::of_dim(parse_dim(p_)); });
  }
  Arg text() {
    std::string s;
    while (true) {
      if (p_ == end_ || *p_ == '\n') bad("a string that does not end");
      char c = *p_++;
      if (c == '\'') break;
      if (c == '\\') {
        if (p_ == end_) bad("a string that does not end");
        c = *p_++;
        if (c == 'x') {
          unsigned v = 0;
          const auto r = std::from_chars(p_, p_ + std::min<ptrdiff_t>(2, end_ - p_), v, 16);
          if (r.ec != std::errc() || r.ptr != p_ + 2) bad("expected two hexadecimal digits");
          p_ = r.ptr;
          c = char(v);
        } else if (c != '\\' && c != '\'') {
          bad("an unknown escape in a string");
        }
      }
      s += c;
    }
    strings_.push_back(std::move(s));
    return Arg::of_string(strings_.back());
  }
  Arg tagged(ArgKind kind) {
    Arg a;
    a.kind = kind;
    a.bits = decimal<uint64_t>("a number");
    return a;
  }
  Arg device() {
    Arg a;
    a.kind = ArgKind::device;
    const std::string_view w = word();
    if (w == device_kind_name(DeviceKind::cpu)) a.bits = uint64_t(DeviceKind::cpu);
    else if (w == device_kind_name(DeviceKind::cuda)) a.bits = uint64_t(DeviceKind::cuda);
    else bad(cat("unknown device '", w, "'"));
    expect(":");
    a.extra = decimal<uint8_t>("the number of a device");
    return a;
  }
  Arg list(int depth) {
    if (depth >= most_nesting) bad("lists nested too deeply");
    std::vector<Arg> items;
    while (!accept("]")) {
      if (!items.empty()) expect(",");
      items.push_back(argument(depth + 1));
    }
    lists_.push_back(std::move(items));
    return Arg::of_list(lists_.back());
  }
  Arg argument(int depth = 0) {
    blank(false);
    if (p_ < end_ && *p_ == '%') return Arg::of_value(use());
    if (accept("[")) return list(depth);
    if (accept("'")) return text();
    if (accept("None")) return {};
    if (accept("True")) return Arg::of_bool(true);
    if (accept("False")) return Arg::of_bool(false);
    if (accept("dtype:")) {
      const auto d = parse_dtype(word());
      if (!d) bad("unknown dtype");
      return Arg::of_dtype(*d);
    }
    if (accept("device:")) return device();
    if (accept("layout:")) return tagged(ArgKind::layout);
    if (accept("memory_format:")) return tagged(ArgKind::memory_format);
    if (accept("generator")) { Arg a; a.kind = ArgKind::generator; return a; }
    if (accept("complex(")) {
      std::array<double, 2> c{};
      blank(false);
      c[0] = real();
      expect(",");
      blank(false);
      c[1] = real();
      expect(")");
      complexes_.push_back(c);
      Arg a;
      a.kind = ArgKind::complex;
      a.complex = complexes_.back().data();
      return a;
    }
    return number();
  }

  // --- lines
  TensorType type() {
    blank(false);
    return placed([&] { return parse_tensor_type(p_); });
  }
  void define(uint32_t n, const char* at) {
    bool known = values_.count(n);
    for (const PendingInput& p : pending_) known = known || p.name == n;
    if (known) bad_at(at, cat("%", n, " is defined twice"));
  }
  void inputs() {
    while (!accept(")")) {
      if (!pending_.empty()) expect(",");
      blank(false);
      const char* at = p_;
      const uint32_t n = name();
      define(n, at);
      expect(":");
      const bool number = accept("number ");
      pending_.push_back({n, type(), number});
    }
  }
  void node() {
    blank(false);
    const char* at = p_;
    std::vector<uint32_t> names;
    while (!accept("=")) {
      if (!names.empty()) expect(",");
      blank(false);
      const char* here = p_;
      const uint32_t n = name();
      define(n, here);
      for (uint32_t other : names) if (other == n) bad_at(here, cat("%", n, " is defined twice"));
      names.push_back(n);
    }
    blank(false);
    const char* op_at = p_;
    const std::string_view op_name = word(true);
    const OpInfo* op = op_name.empty() ? nullptr : ops_(op_name);
    if (!op) bad_at(op_at, "unknown op");
    expect("(");
    std::vector<Arg> args;
    while (!accept(")")) {
      if (!args.empty()) expect(",");
      args.push_back(argument());
    }
    expect(":");
    SmallVector<TensorType, 2> types;
    for (size_t i = 0; i < names.size(); ++i) {
      if (i) expect(",");
      types.push_back(type());
    }
    g_.current_group = accept("@") ? decimal<uint32_t>("the number of a group") : 0;
    if (!names.empty()) add_inputs_below(names[0]);
    const NodeId id = g_.add_node(*op, args, types);
    for (size_t i = 0; i < names.size(); ++i) values_[names[i]] = g_.node(id).results[i];
    node_starts_.push_back(at);
    lists_.clear();
    strings_.clear();
    complexes_.clear();
    line_end();
  }
  void body() {
    blank(true);
    expect("graph");
    expect("(");
    inputs();
    expect("{");
    line_end();
    while (!accept("return")) {
      if (p_ == end_) bad("expected a call or 'return'");
      node();
    }
    add_inputs(pending_.size());
    SmallVector<GraphValue, 4> outputs;
    blank(false);
    while (p_ < end_ && *p_ != '\n') {
      if (!outputs.empty()) expect(",");
      blank(false);
      outputs.push_back(use());
      blank(false);
    }
    g_.set_outputs(outputs);
    line_end();
    expect("}");
    line_end();
    if (p_ < end_) bad("text after the graph");
    g_.current_group = 0;
  }

  struct PendingInput {
    uint32_t name;
    TensorType type;
    bool number;
  };

  std::string text_;  // ends with a NUL, which the readers of sizes and types stop at
  const char *p_, *end_;
  OpTable ops_;
  Graph g_;
  std::vector<PendingInput> pending_;
  size_t inputs_added_ = 0;
  std::unordered_map<uint32_t, GraphValue> values_;
  std::vector<const char*> node_starts_;
  std::deque<std::vector<Arg>> lists_;
  std::deque<std::string> strings_;
  std::deque<std::array<double, 2>> complexes_;
};

}  // namespace

Graph parse_graph(std::string_view text, OpTable ops) { return Parser(text, ops).run(); }

}  // namespace phlox

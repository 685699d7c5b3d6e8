#include "graph/schema.h"

#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/hash.h"

namespace phlox {

bool same_args(std::span<const Arg> a, std::span<const Arg> b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].kind != b[i].kind || a[i].count != b[i].count || a[i].extra != b[i].extra) return false;
    switch (a[i].kind) {
      case ArgKind::list: if (!same_args(a[i].items(), b[i].items())) return false; break;
      case ArgKind::string: if (a[i].as_string() != b[i].as_string()) return false; break;
      case ArgKind::complex: if (std::memcmp(a[i].complex, b[i].complex, 16)) return false; break;
      case ArgKind::none: break;
      default: if (a[i].bits != b[i].bits) return false;
    }
  }
  return true;
}

uint64_t hash_args(std::span<const Arg> args) {
  uint64_t h = args.size();
  for (const Arg& a : args) {
    h = combine(h, uint64_t(a.kind) | uint64_t(a.extra) << 8 | uint64_t(a.count) << 16);
    switch (a.kind) {
      case ArgKind::list: h = combine(h, hash_args(a.items())); break;
      case ArgKind::string: h = combine(h, hash_text(a.as_string())); break;
      case ArgKind::complex: h = combine(h, hash_bytes(a.complex, 16)); break;
      default: h = combine(h, a.bits);
    }
  }
  return h;
}

std::string Schema::full_name() const { return overload.empty() ? name : cat(name, ".", overload); }

int Schema::find(std::string_view param) const {
  for (size_t i = 0; i < params.size(); ++i) if (params[i].name == param) return int(i);
  return -1;
}

static constexpr struct { const char* text; ParamType type; } type_names[] = {
    {"Tensor", ParamType::tensor}, {"Scalar", ParamType::scalar}, {"SymInt", ParamType::integer},
    {"int", ParamType::integer}, {"float", ParamType::real}, {"bool", ParamType::boolean},
    {"str", ParamType::string}, {"ScalarType", ParamType::dtype}, {"Device", ParamType::device},
    {"Layout", ParamType::layout}, {"MemoryFormat", ParamType::memory_format}, {"Generator", ParamType::generator},
};
const char* param_type_name(ParamType t) {
  for (auto& n : type_names) if (n.type == t && t != ParamType::integer) return n.text;
  return "int";
}

namespace {
struct Parser {
  std::string_view text;
  size_t at = 0;
  Schema s;

  [[noreturn]] void bad(const char* expected) {
    fail(ErrorCode::invalid_argument, {.op = "schema", .fact = cat("cannot read '", text, "'"),
                                       .got = cat("'", text.substr(at, 12), "'"), .expected = expected});
  }
  void space() { while (at < text.size() && text[at] == ' ') ++at; }
  bool eat(std::string_view t) {
    space();
    if (text.substr(at, t.size()) != t) return false;
    at += t.size();
    return true;
  }
  void need(const char* t) { if (!eat(t)) bad(t); }
  std::string_view word() {
    space();
    const size_t begin = at;
    while (at < text.size() && (std::isalnum(uint8_t(text[at])) || text[at] == '_')) ++at;
    return text.substr(begin, at - begin);
  }
  SchemaParam type() {
    SchemaParam p;
    const std::string_view w = word();
    bool known = false;
    for (auto& n : type_names) if (w == n.text) { p.type = n.type; known = true; }
    p.symbolic = w == "SymInt";
    if (!known) bad("a type");
    if (eat("(")) {  // alias annotation: (a), (a!), (a -> *)
      while (at < text.size() && text[at] != ')') { p.mutated |= text[at] == '!'; ++at; }
      need(")");
    }
    if (text.substr(at, 2) == "?[") p.optional_items = eat("?");
    if (eat("[")) {
      p.list = true;
      const std::string_view n = word();
      if (!n.empty()) std::from_chars(n.data(), n.data() + n.size(), p.fixed_size);
      need("]");
      if (eat("(")) { while (at < text.size() && text[at] != ')') { p.mutated |= text[at] == '!'; ++at; } need(")"); }
    }
    if (eat("?")) p.optional = true;
    return p;
  }
  Arg value(const SchemaParam& p) {
    space();
    if (eat("None")) return {};
    if (eat("True")) return Arg::of_bool(true);
    if (eat("False")) return Arg::of_bool(false);
    if (eat("[")) {
      std::vector<Arg> items;
      while (!eat("]")) { items.push_back(value(p)); eat(","); if (at >= text.size()) bad("]"); }
      s.lists.push_back(std::move(items));
      return Arg::of_list(s.lists.back());
    }
    if (at < text.size() && (text[at] == '\'' || text[at] == '"')) {
      const char q = text[at++];
      const size_t begin = at;
      while (at < text.size() && text[at] != q) ++at;
      s.strings.push_back(std::string(text.substr(begin, at++ - begin)));
      return Arg::of_string(s.strings.back());
    }
    if (p.type == ParamType::dtype) {
      const auto d = parse_dtype(word());
      if (!d) bad("a dtype");
      return Arg::of_dtype(*d);
    }
    const size_t begin = at;
    while (at < text.size() && (std::isalnum(uint8_t(text[at])) || std::strchr("+-._", text[at]))) ++at;
    const std::string_view n = text.substr(begin, at - begin);
    if (n == "contiguous_format") { Arg a; a.kind = ArgKind::memory_format; return a; }
    if (n == "Mean") return Arg::of_dim(1);  // reduction=Mean
    if (n == "inf" || n == "-inf") return Arg::of_real(n == "inf" ? __builtin_inf() : -__builtin_inf());
    int64_t i;
    if (auto r = std::from_chars(n.data(), n.data() + n.size(), i); r.ec == std::errc() && r.ptr == n.data() + n.size())
      return p.type == ParamType::real ? Arg::of_real(double(i)) : Arg::of_dim(i);
    double f;
    if (auto r = std::from_chars(n.data(), n.data() + n.size(), f); r.ec == std::errc() && r.ptr == n.data() + n.size())
      return Arg::of_real(f);
    bad("a default value");
  }
  Schema parse() {
    s.lists.reserve(16);  // default lists are pointed to: no reallocation
    s.strings.reserve(16);
    space();
    const size_t begin = at;
    while (at < text.size() && text[at] != '(') ++at;
    const std::string_view full = text.substr(begin, at - begin);
    const size_t colon = full.rfind("::"), dot = full.find('.', colon == full.npos ? 0 : colon);
    s.name = std::string(full.substr(0, dot));
    if (dot != full.npos) s.overload = std::string(full.substr(dot + 1));
    need("(");
    bool kwarg_only = false;
    while (!eat(")")) {
      if (eat("*")) { kwarg_only = true; eat(","); continue; }
      SchemaParam p = type();
      p.kwarg_only = kwarg_only;
      p.name = std::string(word());
      if (p.name.empty()) bad("a parameter name");
      if (eat("=")) { p.has_default = true; p.default_value = value(p); }
      s.params.push_back(std::move(p));
      eat(",");
      if (at >= text.size()) bad(")");
    }
    need("->");
    if (eat("(")) {
      while (!eat(")")) {
        SchemaParam p = type();
        p.name = std::string(word());
        s.returns.push_back(std::move(p));
        eat(",");
        if (at >= text.size()) bad(")");
      }
    } else {
      s.returns.push_back(type());
    }
    return std::move(s);
  }
};
}  // namespace

Schema parse_schema(std::string_view text) { return Parser{text, 0, {}}.parse(); }

}  // namespace phlox

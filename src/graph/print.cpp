#include <bit>
#include <charconv>
#include <cmath>

#include "base/format.h"
#include "graph/graph.h"

namespace phlox {

// NaNs differ in their bits, and bits are what a graph means.
static std::string real_text(double v) {
  const uint64_t bits = std::bit_cast<uint64_t>(v);
  if (v != v && bits != std::bit_cast<uint64_t>(std::nan(""))) {
    char b[20];
    return cat("nan(0x", std::string_view(b, size_t(std::to_chars(b, b + sizeof b, bits, 16).ptr - b)), ")");
  }
  return cat(v);
}

static void append_escaped(std::string& s, char c) {
  if (c == '\'' || c == '\\') {
    s += '\\';
    s += c;
  } else if (uint8_t(c) < 32) {
    s += cat("\\x", uint8_t(c) < 16 ? "0" : "1", "0123456789abcdef"[c & 15]);
  } else {
    s += c;
  }
}

std::string print_arg(const Arg& a, ParamType type) {
  switch (a.kind) {
    case ArgKind::none: return "None";
    case ArgKind::value: return cat("%", a.value);
    case ArgKind::boolean: return a.bits ? "True" : "False";
    case ArgKind::dim: return cat(a.as_dim());
    case ArgKind::real: {
      std::string s = real_text(a.real);
      if (s.find_first_of(".einf") == s.npos) s += ".0";  // stays a float when read back
      return s;
    }
    case ArgKind::complex: return cat("complex(", real_text(a.complex[0]), ", ", real_text(a.complex[1]), ")");
    case ArgKind::string: {
      std::string s = "'";
      for (char c : a.as_string()) append_escaped(s, c);
      return s + "'";
    }
    case ArgKind::dtype: return cat("dtype:", a.as_dtype());
    case ArgKind::device: return cat("device:", device_kind_name(DeviceKind(a.bits)), ":", a.extra);
    case ArgKind::layout: return cat("layout:", a.bits);
    case ArgKind::memory_format: return cat("memory_format:", a.bits);
    case ArgKind::generator: return "generator";
    case ArgKind::list: {
      std::string s = "[";
      for (uint32_t i = 0; i < a.count; ++i) s += cat(i ? ", " : "", print_arg(a.list[i], type));
      return s + "]";
    }
  }
  return "?";
}

std::string print_graph(const Graph& g) {
  std::string s = "graph(";
  for (size_t i = 0; i < g.inputs().size(); ++i) {
    const GraphValue v = g.inputs()[i];
    s += cat(i ? ", " : "", "%", v, ": ", g.is_number(v) ? "number " : "", g.type(v));
  }
  s += ") {\n";
  for (const Node& n : g.nodes()) {
    s += "  ";
    for (size_t i = 0; i < n.results.size(); ++i) s += cat(i ? ", " : "", "%", n.results[i]);
    s += cat(" = ", n.op->schema.full_name(), "(");
    for (size_t i = 0; i < n.args.size(); ++i)
      s += cat(i ? ", " : "", print_arg(n.args[i], n.op->schema.params[i].type));
    s += ") : ";
    for (size_t i = 0; i < n.results.size(); ++i) s += cat(i ? ", " : "", g.type(n.results[i]));
    if (n.group) s += cat(" @", n.group);
    s += "\n";
  }
  s += "  return ";
  for (size_t i = 0; i < g.outputs().size(); ++i) s += cat(i ? ", " : "", "%", g.outputs()[i]);
  return s + "\n}\n";
}

}  // namespace phlox

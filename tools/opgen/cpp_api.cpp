// The C++ functions of the ops. Overloads of an op become overloads of one function, defaults stay, keyword-only
// arguments trail. Generators, layouts and memory formats, which have one value so far, are left out; dtype, layout, device and
// pin_memory together become TensorOptions, as in libtorch.
#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "opgen.h"
#include "ops/forms.h"

namespace phlox {

namespace {

// Written by hand in the headers, because they are more than a call of an op.
const std::set<std::string> hand_methods = {
    "size",  "sizes",  "stride", "dim",   "dtype", "device", "numel",      "item",      "data",   "detach", "to",    "index",
    "clone", "copy_",  "fill_",  "zero_", "grad",  "backward", "contiguous", "is_contiguous", "index_put_", "requires_grad_",
    "cpu",   "cuda",   "T",      "mT",    "set_data", "is_leaf", "retain_grad", "is_floating_point", "is_complex", "str", "version"};
const std::set<std::string> hand_functions = {"tensor", "to", "from_blob", "from_data", "grad", "backward", "call", "report",
                                              "is_floating_point", "is_complex", "promote_types", "dtype_name", "dtype_bytes", "empty",
                                              "manual_seed", "synchronize", "equal", "allclose"};
const std::set<std::string> cpp_words = {"and", "or", "not", "xor", "float", "double", "int", "bool", "char", "short", "long",
                                         "union", "class", "default", "this", "operator", "new", "delete", "register", "auto",
                                         "template", "namespace", "signed", "unsigned", "return", "for", "if", "while", "do"};

std::string cpp_name(const std::string& s) { return cpp_words.count(s) ? s + "_" : s; }

struct CppParam {
  std::string type, name, init;  // init: the default, "" when there is none
  bool is_self = false;
};
struct CppFunction {
  const OpInfo* op;
  OpForm form;
  std::string name, result;
  std::vector<CppParam> params;
  std::vector<std::string> setup, slots;
  bool options = false;

  size_t required() const {
    size_t n = 0;
    while (n < params.size() && params[n].init.empty()) ++n;
    return n;
  }
};

bool hidden(const SchemaParam& p) {
  return (p.type == ParamType::generator || p.type == ParamType::layout || p.type == ParamType::memory_format ||
          (p.name == "pin_memory" && p.kwarg_only)) && (p.optional || p.has_default);
}

std::string item_type(ParamType t) {
  switch (t) {
    case ParamType::tensor: return "Tensor";
    case ParamType::scalar: return "Scalar";
    case ParamType::integer: return "int64_t";
    case ParamType::real: return "double";
    case ParamType::boolean: return "bool";
    case ParamType::string: return "std::string_view";
    case ParamType::dtype: return "DType";
    case ParamType::device: return "Device";
    case ParamType::layout:
    case ParamType::memory_format:
    case ParamType::generator: break;
  }
  return "";
}

std::string param_type(const SchemaParam& p) {
  const std::string t = item_type(p.type);
  if (p.list) {
    if (p.type == ParamType::tensor) return "TensorList";
    if (p.type == ParamType::scalar) return p.optional ? "OptList<Scalar>" : "List<Scalar>";
    return (p.optional ? "OptList<" : "List<") + t + ">";
  }
  if (p.type == ParamType::tensor) return "const Tensor&";
  if (p.type == ParamType::scalar) return p.optional ? "const std::optional<Scalar>&" : "const Scalar&";
  if (p.type == ParamType::device && !p.optional) return "const Device&";
  return p.optional ? "std::optional<" + t + ">" : t;
}

std::string number_text(double v) {
  if (v == __builtin_inf()) return "__builtin_inf()";
  if (v == -__builtin_inf()) return "-__builtin_inf()";
  const std::string s = cat(v);
  return s.find_first_of(".en") == std::string::npos ? s + ".0" : s;
}

std::string default_text(const Arg& a, const SchemaParam& p) {
  switch (a.kind) {
    case ArgKind::none: return p.type == ParamType::tensor ? "{}" : "std::nullopt";
    case ArgKind::boolean: return a.bits ? "true" : "false";
    case ArgKind::dim: return cat(a.dim);
    case ArgKind::real: return number_text(a.real);
    case ArgKind::string: return cat("\"", a.as_string(), "\"");
    case ArgKind::dtype: return cat("DType::", a.as_dtype() == DType::boolean ? "boolean" : dtype_info(a.as_dtype()).short_name);
    case ArgKind::list: {
      std::string s;
      for (const Arg& i : a.items()) s += cat(s.empty() ? "" : ", ", default_text(i, p));
      return cat("{", s, "}");
    }
    default: return "{}";
  }
}

// Where "dtype, layout, device, pin_memory" begin, or -1.
int find_options(const Schema& s) {
  for (size_t i = 0; i + 3 < s.params.size(); ++i)
    if (s.params[i].name == "dtype" && s.params[i + 1].name == "layout" && s.params[i + 2].name == "device" &&
        s.params[i + 3].name == "pin_memory")
      return int(i);
  return -1;
}

std::string result_type(const OpInfo& op, OpForm form) {
  if (form != OpForm::functional) return form == OpForm::in_place ? "const Tensor&" : "void";
  const auto& r = op.schema.returns;
  for (const SchemaParam& p : r)
    if (p.type != ParamType::tensor) return "";
  if (r.size() == 1) return r[0].list ? "std::vector<Tensor>" : "Tensor";
  std::string s;
  for (const SchemaParam& p : r) {
    if (p.list) return "";
    s += s.empty() ? "Tensor" : ", Tensor";
  }
  return r.empty() ? "" : cat("std::tuple<", s, ">");
}

void add_param(CppFunction& f, const SchemaParam& p) {
  const std::string name = cpp_name(p.name);
  CppParam c{param_type(p), name, p.has_default ? default_text(p.default_value, p) : "", false};
  c.is_self = f.params.empty() && p.name == "self" && c.type == "const Tensor&" && !p.optional;
  f.params.push_back(c);
  if (!p.list) {
    f.slots.push_back(cat("detail::slot(", name, ")"));
    return;
  }
  const bool one_for_all = p.fixed_size > 0 && p.type != ParamType::tensor;
  f.setup.push_back(cat("const detail::Slots s_", p.name, "(", name, one_for_all ? ", true" : "", ");"));
  f.slots.push_back(cat("s_", p.name, ".slot()"));
}

bool make_function(const OpInfo& op, OpForm form, CppFunction& f) {
  f = {.op = &op, .form = form};
  f.name = cpp_name(form == OpForm::in_place ? op.schema.name + "_" : form == OpForm::out ? op.schema.name + "_out" : op.schema.name);
  f.result = result_type(op, form);
  if (f.result.empty()) return false;
  if (form == OpForm::out)
    for (size_t i = 0; i < op.schema.returns.size(); ++i)
      f.params.push_back({"const Tensor&", op.schema.returns.size() == 1 ? "out" : cat("out", i), "", false});
  const auto& params = op.schema.params;
  const int options = find_options(op.schema);
  for (int i = 0; i < int(params.size()); ++i) {
    if (i == options) {
      f.options = true;
      f.params.push_back({"const TensorOptions&", "options", "{}", false});
      f.slots.insert(f.slots.end(), {"detail::slot(options.dtype)", "detail::none_slot()", "detail::slot(options.device)", "detail::none_slot()"});
      i += 3;
      continue;
    }
    if (!hidden(params[i])) {
      add_param(f, params[i]);
      continue;
    }
    bool trailing = true;
    for (int k = i; k < int(params.size()); ++k) trailing &= hidden(params[k]);
    if (trailing && form != OpForm::out) break;
    if (!params[i].optional) return false;
    f.slots.push_back("detail::none_slot()");
  }
  if (form == OpForm::out)
    for (size_t i = 0; i < op.schema.returns.size(); ++i) f.slots.push_back(cat("detail::slot(", f.params[i].name, ")"));
  // C++ has no required argument behind an optional one.
  bool seen_required = false;
  for (size_t i = f.params.size(); i-- > 0;) {
    if (f.params[i].init.empty()) seen_required = true;
    else if (seen_required) f.params[i].init.clear();
  }
  return true;
}

std::string param_list(const CppFunction& f, bool defaults, size_t from = 0) {
  std::string s;
  for (size_t i = from; i < f.params.size(); ++i) {
    const CppParam& p = f.params[i];
    s += cat(s.empty() ? "" : ", ", p.type, " ", p.name, defaults && !p.init.empty() ? cat(" = ", p.init) : std::string());
  }
  return s;
}

std::string type_key(const CppFunction& f, size_t n) {
  std::string s = f.name;
  for (size_t i = 0; i < n; ++i) s += cat(",", f.params[i].type);
  return s;
}

// Overloads that C++ could not tell apart: the same parameters, or equal ones once defaults are left out. The later of
// equal ones goes; otherwise the shorter one gives up defaults until calls are clear.
std::vector<CppFunction> resolve_overloads(std::vector<CppFunction> all) {
  std::vector<CppFunction> kept;
  std::set<std::string> seen;
  for (CppFunction& f : all)
    if (seen.insert(type_key(f, f.params.size())).second) kept.push_back(std::move(f));
  for (bool changed = true; changed;) {
    changed = false;
    std::map<std::string, size_t> by_call;  // every list of types that a call may give
    for (size_t i = 0; i < kept.size() && !changed; ++i)
      for (size_t n = kept[i].required(); n <= kept[i].params.size() && !changed; ++n) {
        const auto [it, fresh] = by_call.emplace(type_key(kept[i], n), i);
        if (fresh || it->second == i) continue;
        CppFunction &a = kept[it->second], &b = kept[i];
        CppFunction& loser = a.params.size() < b.params.size() || b.required() == n ? (a.required() == n && a.required() < a.params.size() ? a : b) : a;
        CppFunction& drop = loser.required() < loser.params.size() ? loser : &loser == &a ? b : a;
        if (drop.required() >= drop.params.size()) continue;
        drop.params[drop.required()].init.clear();
        changed = true;
      }
  }
  // A required bool beside a dimension or a list in another overload would take the numbers.
  for (CppFunction& f : kept)
    for (size_t k = 0; k < f.required(); ++k)
      for (const CppFunction& other : kept)
        if (f.params[k].type == "bool" && k < other.params.size() &&
            (other.params[k].type == "int64_t" || other.params[k].type.find("List<") != std::string::npos))
          f.params[k].type = "OnlyBool";
  return kept;
}

std::vector<CppFunction> all_functions() {
  std::map<std::string, std::vector<CppFunction>> by_name;
  for (const OpInfo* op : all_ops()) {
    if (!is_public(*op)) continue;
    for (OpForm form : {OpForm::functional, OpForm::in_place, OpForm::out}) {
      if (form == OpForm::in_place && !has_form(*op, Forms::in_place)) continue;
      if (form == OpForm::out && !has_form(*op, Forms::out)) continue;
      CppFunction f;
      if (make_function(*op, form, f)) by_name[f.name].push_back(std::move(f));
    }
  }
  std::vector<CppFunction> r;
  for (auto& [name, list] : by_name)
    for (CppFunction& f : resolve_overloads(std::move(list))) r.push_back(std::move(f));
  return r;
}

bool is_method(const CppFunction& f) {
  return f.form != OpForm::out && !f.params.empty() && f.params[0].is_self && f.name[0] != '_' && !hand_methods.count(f.name);
}

std::string call_text(const CppFunction& f) {
  const std::string args = join(f.slots, ", ");
  if (f.form == OpForm::in_place) return cat("op_.call_in_place({", args, "});\n  return ", f.params[0].name, ";");
  if (f.form == OpForm::out) return cat("op_.call_out({", args, "});");
  const auto& r = f.op->schema.returns;
  std::string call = r.size() > 1 ? cat("op_.call_tuple<", r.size(), ">({", args, "})")
                     : r[0].list  ? cat("op_.call_list({", args, "})")
                                  : cat("op_.call1({", args, "})");
  return f.options ? cat("return detail::with_options(", call, ", options);") : cat("return ", call, ";");
}

std::string definition(const CppFunction& f) {
  std::string s = cat("inline ", f.result, " ", f.name, "(", param_list(f, true), ") {\n");
  s += cat("  static const detail::Op op_(\"", form_name(*f.op, f.form), "\");\n");
  for (const std::string& line : f.setup) s += cat("  ", line, "\n");
  s += cat("  ", call_text(f), "\n}\n");
  // zeros(sizes, f64)
  if (f.options && f.form == OpForm::functional && f.params.back().name == "options") {
    CppFunction g = f;
    g.params.back() = {"DType", "dtype", "", false};
    for (CppParam& p : g.params) p.init.clear();
    std::string names;
    for (const CppParam& p : f.params) names += cat(names.empty() ? "" : ", ", p.name == "options" ? "TensorOptions{.dtype = dtype}" : p.name);
    s += cat("inline ", f.result, " ", f.name, "(", param_list(g, false), ") { return ", f.name, "(", names, "); }\n");
  }
  return s;
}

std::string method_definition(const CppFunction& f) {
  std::string names = "*this";
  for (size_t i = 1; i < f.params.size(); ++i) names += cat(", ", f.params[i].name);
  return cat("inline ", f.result, " Tensor::", f.name, "(", param_list(f, false, 1), ") const { return v1::", f.name, "(", names, "); }\n");
}

constexpr const char* notice = "// Generated by tools/gen from the op declarations: do not edit.\n";

}  // namespace

std::vector<std::string> cpp_declarations(const OpInfo& op) {
  static const std::vector<CppFunction> all = all_functions();
  std::vector<std::string> r;
  for (const CppFunction& f : all)
    if (f.op == &op) r.push_back(cat(f.result, " ", f.name, "(", param_list(f, true), ")"));
  return r;
}

std::vector<Output> cpp_outputs() {
  const std::vector<CppFunction> all = all_functions();
  std::string ops = cat(notice,
                        "//\n// The ops as functions and as methods of Tensor. An undefined Tensor stands for an absent optional argument.\n"
                        "#include \"phlox/call.hpp\"\n#ifndef PHLOX_OPS_HPP\n#define PHLOX_OPS_HPP\n\nnamespace phlox {\ninline namespace v1 {\n\n");
  std::string methods = notice;
  std::string bodies;
  for (const CppFunction& f : all) {
    if (!hand_functions.count(f.name)) ops += definition(f);
    if (!is_method(f) || hand_functions.count(f.name)) continue;
    methods += cat("  ", f.result, " ", f.name, "(", param_list(f, true, 1), ") const;\n");
    bodies += method_definition(f);
  }
  ops += cat("\n// --- methods\n\n", bodies, "\n}  // namespace v1\n}  // namespace phlox\n\n#endif\n");
  return {{"include/phlox/ops.hpp", ops}, {"include/phlox/tensor_methods.inc", methods}};
}

}  // namespace phlox

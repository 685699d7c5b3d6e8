#include "ops/forms.h"

#include "base/error.h"
#include "ops/registry.h"

namespace phlox {

bool has_form(const OpInfo& op, Forms f) { return (uint8_t(op.op->record.forms) & uint8_t(f)) != 0; }

FormedOp find_form(std::string_view name) {
  if (const OpInfo* op = find_op(name)) return {op, OpForm::functional};
  const size_t scope = name.rfind("::");
  const size_t dot = name.find('.', scope == name.npos ? 0 : scope);
  const std::string_view base = name.substr(0, dot), overload = dot == name.npos ? std::string_view() : name.substr(dot + 1);
  auto with = [](std::string_view b, std::string_view o) { return o.empty() ? std::string(b) : cat(b, ".", o); };
  if (base.size() > 1 && base.back() == '_') {
    const OpInfo* op = find_op(with(base.substr(0, base.size() - 1), overload));
    return op && has_form(*op, Forms::in_place) ? FormedOp{op, OpForm::in_place} : FormedOp{};
  }
  const std::string_view suffix = "_out";
  if (overload == "out") {
    for (const char* o : {"", "Tensor", "self"})
      if (const OpInfo* op = find_op(with(base, o)); op && has_form(*op, Forms::out)) return {op, OpForm::out};
  } else if (overload.size() > suffix.size() && overload.substr(overload.size() - suffix.size()) == suffix) {
    const OpInfo* op = find_op(with(base, overload.substr(0, overload.size() - suffix.size())));
    if (op && has_form(*op, Forms::out)) return {op, OpForm::out};
  }
  return {};
}

static std::string out_name(const OpInfo& op) {
  const std::string& o = op.schema.overload;
  const OpInfo* plain = find_op(op.schema.name);
  if (o.empty() || (o == "Tensor" && !(plain && has_form(*plain, Forms::out)))) return cat(op.schema.name, ".out");
  return cat(op.schema.name, ".", o, "_out");
}

std::string form_schema(const OpInfo& op, OpForm form) {
  std::string s = op.op->record.schema;
  const size_t open = s.find('('), close = s.rfind(") ->");
  if (form == OpForm::in_place) {
    const size_t self = s.find("Tensor", open);
    return cat(op.schema.name, "_", op.schema.overload.empty() ? "" : ".", op.schema.overload, s.substr(open, self - open),
               "Tensor(a!)", s.substr(self + 6, close - self - 6), ") -> Tensor(a!)");
  }
  if (form == OpForm::out) {
    bool keywords = false;
    for (const SchemaParam& p : op.schema.params) keywords |= p.kwarg_only;
    std::string r = cat(out_name(op), s.substr(open, close - open), op.schema.params.empty() ? "*" : keywords ? "" : ", *");
    std::string results;
    const size_t n = op.schema.returns.size();
    for (size_t i = 0; i < n; ++i) {
      const std::string mark(1, char('a' + i));
      r += cat(", Tensor(", mark, "!) out", n == 1 ? std::string() : cat(i));
      results += cat(i ? ", " : "", "Tensor(", mark, "!)");
    }
    return n == 1 ? cat(r, ") -> ", results) : cat(r, ") -> (", results, ")");
  }
  return s;
}

std::string form_name(const OpInfo& op, OpForm form) {
  if (form == OpForm::functional) return op.schema.full_name();
  if (form == OpForm::out) return out_name(op);
  return cat(op.schema.name, "_", op.schema.overload.empty() ? "" : ".", op.schema.overload);
}

}  // namespace phlox

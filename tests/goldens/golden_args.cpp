#include "base/error.h"
#include "golden_engine.h"
#include "ops/registry.h"

namespace phlox {

GoldenOp find_golden_op(const std::string& name) {
  std::string_view n = name;
  if (n.substr(0, 6) == "aten::") n.remove_prefix(6);
  const size_t dot = n.rfind('.');
  std::string base(n.substr(0, dot)), overload(dot == n.npos ? "" : n.substr(dot + 1));
  if (overload == "default") overload.clear();
  auto find = [&](const std::string& b) { return find_op(overload.empty() ? b : cat(b, ".", overload)); };
  if (const OpInfo* op = find(base)) return {op, false};
  if (base.size() > 1 && base.back() == '_' && base[base.size() - 2] != '_') {
    base.pop_back();
    if (const OpInfo* op = find(base)) return {op, true};
  }
  throw UnsupportedOp{name};
}

// As PyTorch numbers them.
static int64_t memory_format_number(const std::string& s) {
  if (s.find("channels_last_3d") != s.npos) return 3;
  if (s.find("channels_last") != s.npos) return 2;
  return s.find("preserve") != s.npos ? 1 : 0;
}

GoldenArgs::GoldenArgs(const OpInfo& op, const GoldenNode& node, Lookup lookup, void* context)
    : lookup_(lookup), context_(context) {
  const std::vector<SchemaParam>& params = op.schema.params;
  if (node.args.size() > params.size())
    fail(ErrorCode::invalid_argument, {.op = op.schema.full_name(), .fact = "too many arguments", .got = cat(node.args.size()),
                                       .expected = cat("at most ", params.size())});
  std::vector<bool> given(params.size());
  for (const SchemaParam& p : params) args_.push_back(p.default_value);
  for (size_t i = 0; i < node.args.size(); ++i) {
    args_[i] = convert(node.args[i], params[i]);
    given[i] = true;
  }
  for (const auto& [name, value] : node.kwargs) {
    const int i = op.schema.find(name);
    if (i < 0)
      fail(ErrorCode::invalid_argument, {.op = op.schema.full_name(), .fact = "no such parameter", .got = name});
    args_[size_t(i)] = convert(value, params[size_t(i)]);
    given[size_t(i)] = true;
  }
  for (size_t i = 0; i < params.size(); ++i)
    if (!given[i] && !params[i].has_default && !params[i].optional)
      fail(ErrorCode::invalid_argument, {.op = op.schema.full_name(), .fact = cat("argument '", params[i].name, "' is missing")});
}

Arg GoldenArgs::convert(const GoldenArg& a, const SchemaParam& p) {
  using Kind = GoldenArg::Kind;
  switch (a.kind) {
    case Kind::none: return {};
    case Kind::boolean: return Arg::of_bool(a.integer != 0);
    case Kind::integer: return p.type == ParamType::real ? Arg::of_real(double(a.integer)) : Arg::of_dim(a.integer);
    case Kind::real: return Arg::of_real(a.real[0]);
    case Kind::complex: {
      complexes_.push_back({a.real[0], a.real[1]});
      Arg r;
      r.kind = ArgKind::complex;
      r.complex = complexes_.back().data();
      return r;
    }
    case Kind::string: strings_.push_back(a.text); return Arg::of_string(strings_.back());
    case Kind::dtype: {
      const auto d = parse_dtype(a.text);
      if (!d) throw UnsupportedOp{cat("dtype ", a.text)};
      return Arg::of_dtype(*d);
    }
    case Kind::device: { Arg r; r.kind = ArgKind::device; return r; }
    case Kind::layout: { Arg r; r.kind = ArgKind::layout; return r; }
    case Kind::memory_format: {
      Arg r;
      r.kind = ArgKind::memory_format;
      r.bits = uint64_t(memory_format_number(a.text));
      return r;
    }
    case Kind::list: {
      std::vector<Arg> items;
      for (const GoldenArg& i : a.items) items.push_back(convert(i, p));
      lists_.push_back(std::move(items));
      return Arg::of_list(lists_.back());
    }
    case Kind::value: {
      std::vector<Arg> found = lookup_(context_, a.text);
      if (found.size() == 1 && !p.list) return found[0];
      lists_.push_back(std::move(found));
      return lists_.back().size() == 1 ? lists_.back()[0] : Arg::of_list(lists_.back());
    }
  }
  return {};
}

}  // namespace phlox

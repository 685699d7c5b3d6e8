// Calls derived from a schema: each parameter gets what its type and name suggest, tensors take shapes from a short
// list of patterns, and the op's own rules decide which of the calls make sense.
#include <algorithm>

#include "graph/builder.h"
#include "ops/sample.h"

namespace phlox {

namespace {

bool contains(std::string_view s, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(), [&](const char* w) { return s.find(w) != s.npos; });
}

// The shapes of a call's first tensor and of the others.
struct Pattern { const char *first, *rest; };
constexpr Pattern patterns[] = {
    {"[3,4]", "[3,4]"}, {"[3,4]", "[4]"},         {"[5]", "[5]"},           {"[]", "[]"},          {"[2,1,4]", "[3,1]"},
    {"[3,3]", "[3,3]"}, {"[2,3,4]", "[2,3,4]"},   {"[2,4,6]", "[2]"},       {"[4]", "[]"},         {"[2,3,4,4]", "[3]"},
    {"[4]", "[4,3]"},   {"[2,3,4]", "[2,4,3]"},   {"[2,3,4,4,4]", "[3]"},
};

std::string tensor_text(const SchemaParam& p, const char* shape, const char* range) {
  if (contains(p.name, {"index", "indices"})) return cat("i64", shape, ":0..2");
  if (contains(p.name, {"mask", "condition"})) return cat("bool", shape);
  return cat(shape, range);
}

std::string item_text(const SchemaParam& p) {
  switch (p.type) {
    case ParamType::scalar: return contains(p.name, {"min", "lower"}) ? "-1" : "2";
    case ParamType::real: return p.name == "p" ? "0.5" : "0.75";
    case ParamType::boolean: return "False";
    case ParamType::dtype: return "float32";
    case ParamType::device: return "cpu";
    case ParamType::string: return "'none'";
    case ParamType::integer: return contains(p.name, {"dim", "axis"}) ? "0" : "1";
    default: return "None";
  }
}

std::string param_text(const SchemaParam& p, const char* shape, const char* range) {
  if (p.type == ParamType::tensor) {
    const std::string one = tensor_text(p, shape, range);
    return p.list ? cat("{", one, ", ", one, "}") : one;
  }
  if (!p.list) return item_text(p);
  if (p.type == ParamType::integer && contains(p.name, {"size", "shape"})) return "[3,4]";
  return cat("[", item_text(p), "]");
}

std::string call_text(const OpInfo& op, const Pattern& pattern, const char* range) {
  std::string s;
  bool first = true;
  for (const SchemaParam& p : op.schema.params) {
    if (p.has_default || (p.optional && p.type != ParamType::tensor)) continue;
    s += cat(s.empty() ? "" : ", ", p.name, "=", param_text(p, first ? pattern.first : pattern.rest, range));
    first &= p.type != ParamType::tensor;
  }
  return s;
}

}  // namespace

// The result types of a call, or the reason why there is none.
bool sample_types(const Sample& sample, DType dtype, SmallVector<TensorType, 2>& types, std::string& why) {
  try {
    SampleCall call(sample, dtype, 1);
    Graph g;
    GraphBuilder b(g);
    std::vector<Val> in;
    for (const HostTensor& h : call.tensors) {
      TensorType t;
      t.dtype = h.dtype;
      for (int64_t d : h.shape) t.shape.push_back(d);
      in.push_back(b.input(t));
    }
    if (has(sample.op->op->record.effects, Effects::random)) {
      TensorType t;
      t.dtype = DType::i64;
      t.shape = {2};
      b.random_state = b.input(t);
    }
    for (const Val& v : b.call(*sample.op, call.args([&](uint32_t k) { return Arg::of_value(in[k].id); }))) types.push_back(v.type());
    return true;
  } catch (const Error& e) {
    why = e.what();
    return false;
  }
}

static constexpr DType tried_dtypes[] = {DType::f32, DType::i64, DType::boolean, DType::c64};

static void derive_calls(const OpInfo& op, const char* range, Samples& out) {
  const bool untyped = has(op.op->record.effects, Effects::host_read) && !op.op->record.expand;
  for (const Pattern& p : patterns) {
    const std::string text = call_text(op, p, range);
    if (std::any_of(out.calls.begin(), out.calls.end(), [&](const Sample& s) { return s.text == text; })) continue;
    Sample s = parse_sample(op, text.c_str());
    bool ok = untyped;
    for (DType d : tried_dtypes) {
      SmallVector<TensorType, 2> types;
      std::string why;
      ok = ok || sample_types(s, d, types, why);
    }
    if (ok) out.calls.push_back(std::move(s));
    if (out.calls.size() == 4) break;
  }
}

bool SampleBuilder::is_in(std::string_view names) const {
  const std::string name = op_.schema.full_name();
  for (size_t at = 0; at < names.size();) {
    const size_t end = std::min(names.find(' ', at), names.size());
    if (names.substr(at, end - at) == name) return true;
    at = end + 1;
  }
  return false;
}

SampleBuilder& SampleBuilder::of(std::string_view names, std::initializer_list<const char*> calls) {
  if (is_in(names)) for (const char* t : calls) out_.calls.push_back(parse_sample(op_, t));
  return *this;
}
SampleBuilder& SampleBuilder::refuses(std::string_view names, std::initializer_list<const char*> calls) {
  if (is_in(names)) for (const char* t : calls) out_.refused.push_back(parse_sample(op_, t));
  return *this;
}
SampleBuilder& SampleBuilder::within(std::string_view names, const char* range) {
  if (is_in(names)) derive_calls(op_, cat(":", range).c_str(), out_);
  return *this;
}
SampleBuilder& SampleBuilder::no_values(std::string_view names) {
  if (is_in(names)) out_.values = out_.gradients = false;
  return *this;
}
SampleBuilder& SampleBuilder::dense_only(std::string_view names) {
  if (is_in(names)) out_.layouts = false;
  return *this;
}
SampleBuilder& SampleBuilder::no_gradients(std::string_view names) {
  if (is_in(names)) out_.gradients = false;
  return *this;
}
SampleBuilder& SampleBuilder::loose(std::string_view names, double times) {
  if (is_in(names)) out_.tolerance = times;
  return *this;
}

Samples samples_of(const OpInfo& op) {
  Samples r;
  SampleBuilder b(op, r);
  if (op.op->record.sample) op.op->record.sample(b);
  // Primitives check little of what a user might ask of them: their calls are all given.
  if (r.calls.empty() && !op.schema.name.starts_with("prim::")) derive_calls(op, "", r);
  if (has(op.op->record.effects, Effects::random)) r.values = r.gradients = false;
  return r;
}

}  // namespace phlox

#include "golden_case.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace phlox {

namespace {

constexpr JsonReader::Context context{"goldens", "a case", "record it again"};

std::vector<std::string> read_strings(JsonReader& r) {
  std::vector<std::string> v;
  for (r.begin_array(); r.next_element();) v.push_back(r.string().str());
  return v;
}

Ints read_ints(JsonReader& r) {
  Ints v;
  for (r.begin_array(); r.next_element();) v.push_back(r.integer());
  return v;
}

class CaseReader {
 public:
  explicit CaseReader(std::string_view text) : text_(text), r_(text, context) {}

  GoldenCase read() {
    GoldenCase c;
    JsonString key;
    for (r_.begin_object(); r_.next_member(key);) member(c, key.str());
    r_.finish();
    return c;
  }

 private:
  void member(GoldenCase& c, const std::string& key) {
    if (key == "case") c.name = r_.string().str();
    else if (key == "op") c.op = r_.string().str();
    else if (key == "compare") c.compare = r_.string().str();
    else if (key == "inputs") c.inputs = read_strings(r_);
    else if (key == "consts") c.consts = read_strings(r_);
    else if (key == "grad_wrt") c.grad_wrt = read_strings(r_);
    else if (key == "grad_none") c.grad_none = read_strings(r_);
    else if (key == "complex") c.complex_names = read_strings(r_);
    else if (key == "nodes") { for (r_.begin_array(); r_.next_element();) c.nodes.push_back(node()); }
    else if (key == "outputs") { for (r_.begin_array(); r_.next_element();) c.outputs.push_back(arg()); }
    else if (key == "torch_err") { for (r_.begin_array(); r_.next_element();) c.torch_err.push_back(number()); }
    else if (key == "grad_of") { for (int64_t i : read_ints(r_)) c.grad_of.push_back(i); }
    else if (key == "out_dtypes") {
      for (const std::string& s : read_strings(r_)) c.out_dtypes.push_back(parse_dtype(s));
    } else if (key == "strides") {
      JsonString name;
      for (r_.begin_object(); r_.next_member(name);) {
        const std::string n = name.str();
        r_.begin_array();
        std::pair<Ints, Ints> s;
        if (r_.next_element()) s.first = read_ints(r_);
        if (r_.next_element()) s.second = read_ints(r_);
        while (r_.next_element()) r_.skip();
        c.strides.emplace(n, std::move(s));
      }
    } else if (key == "grad_err") {
      JsonString name;
      for (r_.begin_object(); r_.next_member(name);) { const std::string n = name.str(); c.grad_err[n] = number(); }
    } else {
      r_.skip();
    }
  }

  GoldenNode node() {
    GoldenNode n;
    JsonString key;
    for (r_.begin_object(); r_.next_member(key);) {
      if (key.equals("name")) n.name = r_.string().str();
      else if (key.equals("op")) n.op = r_.string().str();
      else if (key.equals("args")) { for (r_.begin_array(); r_.next_element();) n.args.push_back(arg()); }
      else if (key.equals("kwargs")) {
        JsonString name;
        for (r_.begin_object(); r_.next_member(name);) { std::string k = name.str(); n.kwargs.emplace_back(std::move(k), arg()); }
      } else r_.skip();
    }
    return n;
  }

  // An error bound; where the recorded error is not finite there is no bound to widen.
  double number() {
    const GoldenArg a = arg();
    return a.kind == GoldenArg::Kind::integer ? double(a.integer) : a.kind == GoldenArg::Kind::real ? a.real[0] : 0;
  }

  GoldenArg arg() {
    GoldenArg a;
    switch (r_.peek()) {
      case JsonKind::null: r_.null(); break;
      case JsonKind::boolean: a.kind = GoldenArg::Kind::boolean; a.integer = r_.boolean(); break;
      case JsonKind::string: a.kind = GoldenArg::Kind::string; a.text = r_.string().str(); break;
      case JsonKind::number: {
        const size_t begin = r_.position();
        size_t end = begin;
        while (end < text_.size() && std::strchr("+-.eE0123456789 ", text_[end])) ++end;
        const bool whole = text_.substr(begin, end - begin).find_first_of(".eE") == std::string_view::npos;
        a.kind = whole ? GoldenArg::Kind::integer : GoldenArg::Kind::real;
        if (whole) a.integer = r_.integer();
        else a.real[0] = r_.number();
        break;
      }
      case JsonKind::array:
        a.kind = GoldenArg::Kind::list;
        for (r_.begin_array(); r_.next_element();) a.items.push_back(arg());
        break;
      case JsonKind::object: a = tagged(); break;
    }
    return a;
  }

  GoldenArg tagged() {
    static constexpr std::pair<const char*, GoldenArg::Kind> tags[] = {
        {"value", GoldenArg::Kind::value},     {"float", GoldenArg::Kind::real},
        {"complex", GoldenArg::Kind::complex}, {"dtype", GoldenArg::Kind::dtype},
        {"device", GoldenArg::Kind::device},   {"memory_format", GoldenArg::Kind::memory_format},
        {"layout", GoldenArg::Kind::layout},
    };
    GoldenArg a;
    JsonString key;
    r_.begin_object();
    if (!r_.next_member(key)) r_.error("an empty object", "a tagged argument");
    for (auto& [tag, kind] : tags) if (key.equals(tag)) a.kind = kind;
    if (a.kind == GoldenArg::Kind::none) r_.error(key.str(), "a known tag");
    if (a.kind == GoldenArg::Kind::complex) {
      r_.begin_array();
      for (int k = 0; r_.next_element(); ++k) (k < 2 ? a.real[k] : a.real[1]) = number();
    } else {
      a.text = r_.string().str();
      if (a.kind == GoldenArg::Kind::real)
        a.real[0] = a.text == "inf" ? __builtin_inf() : a.text == "-inf" ? -__builtin_inf() : __builtin_nan("");
    }
    while (r_.next_member(key)) r_.skip();
    return a;
  }

  std::string_view text_;
  JsonReader r_;
};

}  // namespace

bool GoldenCase::grad_is_undefined(const std::string& input) const {
  return std::find(grad_none.begin(), grad_none.end(), input) != grad_none.end();
}

GoldenFile::GoldenFile(const std::string& folder, const std::string& dtype)
    : mapped_(cat(folder, "/visible-", dtype, ".safetensors")), file_(parse_safetensors(mapped_.bytes())) {
  const std::string lines = read_file(cat(folder, "/visible-", dtype, ".jsonl"));
  for (size_t at = 0; at < lines.size();) {
    size_t end = lines.find('\n', at);
    if (end == std::string::npos) end = lines.size();
    if (end > at) cases_.push_back(CaseReader(std::string_view(lines).substr(at, end - at)).read());
    at = end + 1;
  }
}

bool GoldenFile::has_tensor(const GoldenCase& c, const std::string& name) const {
  return file_.find(cat(c.name, "#", name)).has_value();
}

HostTensor GoldenFile::tensor(const GoldenCase& c, const std::string& name) const {
  const SafetensorsEntry e = file_.at(cat(c.name, "#", name));
  const auto dtype = safetensors_dtype_info(e.dtype).dtype;
  if (!dtype) fail(ErrorCode::bad_file, {.op = "goldens", .fact = "a tensor of an unknown dtype", .got = cat(c.name, "#", name)});
  DType d = *dtype;
  Ints shape(std::span<const int64_t>(e.shape.data(), e.shape.size()));
  if (std::find(c.complex_names.begin(), c.complex_names.end(), name) != c.complex_names.end()) {
    d = d == DType::f64 ? DType::c128 : DType::c64;
    shape.pop_back();
  }
  HostTensor t = make_host_tensor(d, shape);
  if (t.bytes() != int64_t(e.bytes.size()))
    fail(ErrorCode::bad_file, {.op = "goldens", .fact = "a tensor has the wrong size", .got = cat(c.name, "#", name)});
  if (!e.bytes.empty()) std::memcpy(t.data, e.bytes.data(), e.bytes.size());
  return t;
}

}  // namespace phlox

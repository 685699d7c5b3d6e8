// Golden cases: samples of PyTorch's op database recorded as small graphs of ATen calls, with inputs, outputs and input
// gradients. A folder holds visible-DTYPE.jsonl (one case a line) and visible-DTYPE.safetensors (tensors "CASE#NAME").
//
// A GoldenCase is plain data: nothing in it depends on which ops exist. Refuses (Error, bad_file): lines that are no
// JSON of this form, tensors that the file lacks.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mmap.h"
#include "format/safetensors.h"
#include "type/host_call.h"

namespace phlox {

// An argument as recorded. JSON scalars and lists stand for themselves; the rest comes as {"tag": ...}.
struct GoldenArg {
  enum class Kind : uint8_t { none, boolean, integer, real, string, list, value, complex, dtype, device, memory_format, layout };
  Kind kind = Kind::none;
  int64_t integer = 0;             // boolean, integer
  double real[2] = {0, 0};         // real; complex
  std::string text;                // string, value, dtype, device, memory_format, layout
  std::vector<GoldenArg> items;
};

struct GoldenNode {
  std::string name, op;            // "aten::add.Tensor" or "getitem"
  std::vector<GoldenArg> args;
  std::vector<std::pair<std::string, GoldenArg>> kwargs;
};

struct GoldenCase {
  std::string name, op, compare;   // compare: "", "shape" or "abs"
  std::vector<std::string> inputs, consts, grad_wrt, grad_none, complex_names;
  std::map<std::string, std::pair<Ints, Ints>> strides;  // of inputs that are not contiguous: shape and strides
  std::vector<GoldenNode> nodes;
  std::vector<GoldenArg> outputs;
  std::vector<std::optional<DType>> out_dtypes;  // none: a dtype that phlox does not have
  std::vector<double> torch_err;
  std::vector<int64_t> grad_of;
  std::map<std::string, double> grad_err;
  bool grad_is_undefined(const std::string& input) const;
};

// The cases of one dtype with their tensors.
class GoldenFile {
 public:
  GoldenFile(const std::string& folder, const std::string& dtype);
  const std::vector<GoldenCase>& cases() const { return cases_; }
  HostTensor tensor(const GoldenCase& c, const std::string& name) const;  // a copy; "in:x", "out:0", ...
  bool has_tensor(const GoldenCase& c, const std::string& name) const;

 private:
  MappedFile mapped_;
  SafetensorsFile file_;
  std::vector<GoldenCase> cases_;
};

// What an engine made of a case.
struct GoldenResult {
  std::vector<HostTensor> outputs;
  std::map<std::string, HostTensor> grads;  // absent: no gradient flows
};

// Empty when `r` is what the case expects; else what differs, with the largest error.
std::string compare_golden(const GoldenFile& file, const GoldenCase& c, const GoldenResult& r);

}  // namespace phlox

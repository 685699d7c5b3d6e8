// FuzzProgram: a sequence of eager calls as data, so that the same calls can be made on real tensors, in a trace, and
// without some of them when a failure is reduced.
#pragma once
#include <string>
#include <vector>

#include "eager/call.h"

namespace phlox::fuzz {

struct FuzzArg {
  enum class Kind : uint8_t { none, value, integer, real, boolean, dtype, string, list } kind = Kind::none;
  int64_t integer = 0;  // value: its number; dtype
  double real = 0;
  std::string text;
  std::vector<FuzzArg> items;
};
inline FuzzArg none() { return {}; }
inline FuzzArg value(size_t v) { return {FuzzArg::Kind::value, int64_t(v), 0, {}, {}}; }
inline FuzzArg integer(int64_t v) { return {FuzzArg::Kind::integer, v, 0, {}, {}}; }
inline FuzzArg real(double v) { return {FuzzArg::Kind::real, 0, v, {}, {}}; }
inline FuzzArg boolean(bool v) { return {FuzzArg::Kind::boolean, v, 0, {}, {}}; }
inline FuzzArg dtype(DType d) { return {FuzzArg::Kind::dtype, int64_t(d), 0, {}, {}}; }
inline FuzzArg string(std::string s) { return {FuzzArg::Kind::string, 0, 0, std::move(s), {}}; }
inline FuzzArg list(std::vector<FuzzArg> items) { return {FuzzArg::Kind::list, 0, 0, {}, std::move(items)}; }
FuzzArg ints(const Ints& v);

struct FuzzStep {
  enum class Kind : uint8_t { call, in_place, copy } kind = Kind::call;  // copy: argument 1 is written into argument 0
  std::string op;
  std::vector<FuzzArg> args;
  size_t first_result = 0, results = 0;
  bool off = false;  // left out while reducing
};

// A tensor that the program is given: `storage` has the sizes of the memory, the tensor is a view of it.
struct FuzzInput {
  enum class Layout : uint8_t { dense, transposed, sliced, shifted } layout = Layout::dense;
  DType dtype = DType::f32;
  Ints sizes;
  bool requires_grad = false;
  bool captured = false;   // reaches the function by itself instead of as an argument
  bool special = false;    // has infinities, NaNs and zeros of both signs
};

struct FuzzProgram {
  uint64_t seed = 0;
  std::vector<FuzzInput> inputs;
  std::vector<FuzzStep> steps;
  size_t values = 0;                // inputs and results of steps
  std::vector<size_t> outputs;      // values that are returned
  bool gradient = false;            // gradients of the float outputs with respect to the inputs that require them
  bool smooth = false;              // f64, differentiable everywhere: its gradient can be held against differences
};

Tensor make_input(const FuzzInput& in, uint64_t seed);
std::vector<Tensor> make_inputs(const FuzzProgram& p);

// Makes the step's call; `values` grows by its results. False: an operand is missing because its step is off.
bool run_step(const FuzzStep& s, std::vector<Tensor>& values);
// The whole program: outputs, then gradients. Runs on real and on traced tensors alike.
// `forward`: how many of the results are no gradients.
std::vector<Tensor> run_program(const FuzzProgram& p, const std::vector<Tensor>& inputs, size_t* forward = nullptr);
std::string program_text(const FuzzProgram& p);

// A dense copy of a tensor's elements.
std::string bytes_of(const Tensor& t);

}  // namespace phlox::fuzz

#include "program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <random>

#include "base/error.h"
#include "base/small_float.h"
#include "ops/registry.h"

namespace phlox::fuzz {

FuzzArg ints(const Ints& v) {
  FuzzArg a = list({});
  for (int64_t i : v) a.items.push_back(integer(i));
  return a;
}

// --- inputs

static void store(DType d, char* at, double v) {
  switch (d) {
    case DType::boolean: *at = v > 0; break;
    case DType::u8: *at = char(uint8_t(std::abs(v) * 4)); break;
    case DType::i8: *at = char(int8_t(v * 4)); break;
    case DType::i16: { const int16_t x = int16_t(v * 4); std::memcpy(at, &x, 2); break; }
    case DType::i32: { const int32_t x = int32_t(v * 4); std::memcpy(at, &x, 4); break; }
    case DType::i64: { const int64_t x = int64_t(v * 4); std::memcpy(at, &x, 8); break; }
    case DType::f16: { const uint16_t x = f16_from_float(float(v)); std::memcpy(at, &x, 2); break; }
    case DType::bf16: { const uint16_t x = bf16_from_float(float(v)); std::memcpy(at, &x, 2); break; }
    case DType::f32: { const float x = float(v); std::memcpy(at, &x, 4); break; }
    case DType::f64: std::memcpy(at, &v, 8); break;
    default: PHLOX_CHECK(false, "no inputs of this dtype");
  }
}

Tensor make_input(const FuzzInput& in, uint64_t seed) {
  std::mt19937_64 rng(seed);
  Ints memory = in.sizes;
  const int rank = int(memory.size());
  const bool strided = rank > 0 && in.layout != FuzzInput::Layout::dense;
  int64_t offset = 0;
  Ints strides = contiguous_strides(in.sizes);
  if (strided && in.layout == FuzzInput::Layout::transposed) {
    std::reverse(memory.begin(), memory.end());
    strides = contiguous_strides(memory);
    std::reverse(strides.begin(), strides.end());
  } else if (strided) {
    // A part of a larger tensor: every second place of the last dimension, or all of it but the first row.
    const int d = in.layout == FuzzInput::Layout::sliced ? rank - 1 : 0;
    const int64_t step = in.layout == FuzzInput::Layout::sliced ? 2 : 1;
    memory[d] = memory[d] * step + 1;
    strides = contiguous_strides(memory);
    offset = strides[d];
    strides[d] *= step;
  }
  Tensor base = make_tensor(cpu_device(), in.dtype, memory);
  static const double specials[] = {INFINITY, -INFINITY, NAN, -0.0, 0.0, 1e-42, 65504};
  for (int64_t i = 0; i < base->numel(); ++i) {
    double v = (double(rng() >> 11) / double(1ull << 53) - 0.5) * 4;
    if (in.special && is_float(in.dtype) && rng() % 6 == 0) v = specials[rng() % std::size(specials)];
    store(in.dtype, base->bytes() + i * dtype_bytes(in.dtype), v);
  }
  const bool empty = base->numel() == 0;
  Tensor t = strided ? make_view(base, empty ? 0 : offset, in.sizes, strides) : base;
  t->requires_grad = in.requires_grad;
  return t;
}

std::vector<Tensor> make_inputs(const FuzzProgram& p) {
  std::vector<Tensor> r;
  for (size_t i = 0; i < p.inputs.size(); ++i) r.push_back(make_input(p.inputs[i], p.seed * 1000 + i));
  return r;
}

// --- calls

namespace {
struct Args {
  std::deque<std::vector<Arg>> lists;
  bool missing = false;
  Arg convert(const FuzzArg& a, const std::vector<Tensor>& values) {
    switch (a.kind) {
      case FuzzArg::Kind::none: return {};
      case FuzzArg::Kind::value:
        if (!values[size_t(a.integer)]) {
          missing = true;
          return {};
        }
        return tensor_arg(values[size_t(a.integer)]);
      case FuzzArg::Kind::integer: return Arg::of_dim(a.integer);
      case FuzzArg::Kind::real: return Arg::of_real(a.real);
      case FuzzArg::Kind::boolean: return Arg::of_bool(a.integer != 0);
      case FuzzArg::Kind::dtype: return Arg::of_dtype(DType(a.integer));
      case FuzzArg::Kind::string: return Arg::of_string(a.text);
      case FuzzArg::Kind::list: {
        std::vector<Arg> items;
        for (const FuzzArg& i : a.items) items.push_back(convert(i, values));
        lists.push_back(std::move(items));
        return Arg::of_list(lists.back());
      }
    }
    return {};
  }
};
}  // namespace

bool run_step(const FuzzStep& s, std::vector<Tensor>& values) {
  values.resize(s.first_result);
  if (s.off) {
    values.resize(s.first_result + s.results);
    return false;
  }
  Args convert;
  std::vector<Arg> args;
  for (const FuzzArg& a : s.args) args.push_back(convert.convert(a, values));
  if (convert.missing) {
    values.resize(s.first_result + s.results);
    return false;
  }
  if (s.kind == FuzzStep::Kind::copy) {
    const Tensor to = values[size_t(s.args[0].integer)];
    if (to->sizes != values[size_t(s.args[1].integer)]->sizes)
      fail(ErrorCode::invalid_argument, {.op = "copy_", .fact = "sizes differ"});
    assign(to, values[size_t(s.args[1].integer)], "copy_");
    return true;
  }
  const OpInfo* op = find_op(s.op);
  PHLOX_CHECK(op, "no op ", s.op);
  if (s.kind == FuzzStep::Kind::in_place) {
    call_in_place(*op, args);
    return true;
  }
  for (Tensor& t : call_op(*op, args)) values.push_back(std::move(t));
  if (s.results && values.size() != s.first_result + s.results)  // only possible at other sizes
    fail(ErrorCode::invalid_argument, {.op = s.op, .fact = "another number of results"});
  return true;
}

std::vector<Tensor> run_program(const FuzzProgram& p, const std::vector<Tensor>& inputs, size_t* forward) {
  std::vector<Tensor> values = inputs;
  for (const FuzzStep& s : p.steps) run_step(s, values);
  std::vector<Tensor> results, roots, seeds, wrt;
  for (size_t v : p.outputs) {
    if (v >= values.size() || !values[v]) continue;
    results.push_back(values[v]);
    if (p.gradient && values[v]->requires_grad && is_float(values[v]->dtype)) roots.push_back(values[v]);
  }
  if (forward) *forward = results.size();
  if (!p.gradient || roots.empty()) return results;
  for (const Tensor& t : roots) seeds.push_back(full_tensor(cpu_device(), t->dtype, t->sizes, 1));
  for (size_t i = 0; i < p.inputs.size(); ++i) if (p.inputs[i].requires_grad) wrt.push_back(inputs[i]);
  for (const Tensor& g : run_backward(roots, seeds, false, false, &wrt)) if (g) results.push_back(g);
  return results;
}

// --- text

static std::string arg_text(const FuzzArg& a) {
  switch (a.kind) {
    case FuzzArg::Kind::none: return "None";
    case FuzzArg::Kind::value: return cat("v", a.integer);
    case FuzzArg::Kind::integer: return cat(a.integer);
    case FuzzArg::Kind::real: return cat(a.real);
    case FuzzArg::Kind::boolean: return a.integer ? "True" : "False";
    case FuzzArg::Kind::dtype: return cat(DType(a.integer));
    case FuzzArg::Kind::string: return cat("'", a.text, "'");
    case FuzzArg::Kind::list: break;
  }
  std::string s = "[";
  for (size_t i = 0; i < a.items.size(); ++i) s += cat(i ? ", " : "", arg_text(a.items[i]));
  return s + "]";
}

std::string program_text(const FuzzProgram& p) {
  static const char* const layouts[] = {"", " transposed", " sliced", " shifted"};
  std::string s;
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    const FuzzInput& in = p.inputs[i];
    s += cat("  v", i, " = input ", in.dtype, "[", join(in.sizes, ","), "]", layouts[int(in.layout)],
             in.requires_grad ? " requires_grad" : "", in.captured ? " captured" : "", in.special ? " special" : "", "\n");
  }
  for (const FuzzStep& f : p.steps) {
    if (f.off) continue;
    s += "  ";
    for (size_t i = 0; i < f.results; ++i) s += cat(i ? ", " : "", "v", f.first_result + i);
    s += cat(f.results ? " = " : "", f.kind == FuzzStep::Kind::copy ? "copy_" : f.op, f.kind == FuzzStep::Kind::in_place ? "_" : "", "(");
    for (size_t i = 0; i < f.args.size(); ++i) s += cat(i ? ", " : "", arg_text(f.args[i]));
    s += ")\n";
  }
  s += "  return";
  for (size_t i = 0; i < p.outputs.size(); ++i) s += cat(i ? ", v" : " v", p.outputs[i]);
  return s + (p.gradient ? "  and gradients\n" : "\n");
}

std::string bytes_of(const Tensor& t) {
  const NoGrad guard;
  const Tensor c = contiguous(detach(t));
  return std::string(c->bytes(), size_t(c->numel() * dtype_bytes(c->dtype)));
}

}  // namespace phlox::fuzz

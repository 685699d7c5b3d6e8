#include "cases.h"

#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/hash.h"
#include "base/small_float.h"
#include "ops/prims.h"
#include "ops/registry.h"

namespace phlox::conformance {

std::string Case::name() const {
  return cat(op->schema.full_name(), "/", sample, "/", dtype_info(dtype).short_name, "/", layout_names[int(layout)]);
}

double tolerance_of(DType d) {
  switch (d) {
    case DType::f32: case DType::c64: return 2e-5;
    case DType::f16: return 4e-3;
    case DType::bf16: return 3e-2;
    default: return -1;
  }
}

bool is_host_op(const OpInfo& op) { return has(op.op->record.effects, Effects::host_read) && !op.op->record.expand; }
bool is_random(const OpInfo& op) { return has(op.op->record.effects, Effects::random); }

Cases choose_cases(const Options& o) {
  Cases r;
  int number = 0;
  for (const OpInfo* op : all_ops()) {
    if (number++ % o.parts != o.part) continue;
    if (!o.op.empty() && op->schema.full_name() != o.op) continue;
    Samples& s = r.samples[op] = samples_of(*op);
    r.sample_count += int64_t(s.calls.size());
    if (s.calls.empty()) { std::printf("%s: no sample\n", op->schema.full_name().c_str()); ++r.failed; }
    for (uint32_t k = 0; k < s.calls.size(); ++k) {
      SampleCall probe(s.calls[k], DType::f32, 1);
      bool varies = false;
      for (size_t t = 0; t < probe.varies.size(); ++t) varies |= probe.varies[t];
      for (DType d : tested_dtypes) {
        if (!varies && d != DType::f64) continue;  // nothing of it depends on the dtype
        for (int l = 0; l < layout_count; ++l) {
          if (probe.tensors.empty() && l) continue;
          if (l && !s.layouts) continue;
          // A primitive's sizes are its caller's promise.
          if (l >= int(Layout::empty) && op->schema.name.starts_with("prim::")) continue;
          const Case c{op, k, d, Layout(l)};
          const bool chosen = double(combine(hash_text(c.name()), o.seed) >> 11) < o.fraction * 0x1p53;
          if (chosen && (o.only.empty() || c.name().find(o.only) != std::string::npos)) r.cases.push_back(c);
        }
      }
    }
  }
  return r;
}

Sample with_layout(const Sample& given, Layout layout) {
  Sample s = given;
  if (layout != Layout::empty && layout != Layout::scalar) return s;
  int64_t batch = -1;
  auto visit = [&](auto&& self, SampleArg& a) -> void {
    if (a.kind == SampleArg::Kind::tensor) {
      Ints& shape = a.tensor.shape;
      if (layout == Layout::scalar) {
        shape.clear();
        if (a.tensor.dtype && is_int(*a.tensor.dtype)) a.tensor.low = std::min(a.tensor.low, 0.0), a.tensor.high = 0, a.tensor.listed = {0};  // indices
      }
      else if (!shape.empty()) {
        if (batch < 0) batch = shape[0];
        if (shape[0] == batch) shape[0] = 0;
      }
    }
    for (SampleArg& i : a.items) self(self, i);
  };
  for (SampleArg& a : s.args) visit(visit, a);
  return s;
}

// Every row along dim 0 equal to the first.
static void repeat_first(HostTensor& h) {
  if (h.shape.empty() || h.shape[0] == 0) return;
  const int64_t row = h.bytes() / h.shape[0];
  for (int64_t i = 1; i < h.shape[0]; ++i) std::memcpy(h.as<char>() + i * row, h.data, size_t(row));
}

Tensor stored(const HostTensor& h, Layout layout, Device& device) {
  const int rank = int(h.shape.size());
  Ints strides = contiguous_strides(h.shape);
  int64_t offset = 0, room = h.numel();
  if (layout == Layout::transposed) {
    int64_t step = 1;
    for (int d = 0; d < rank; ++d) { strides[d] = step; step *= h.shape[d]; }
  } else if (layout == Layout::sliced && rank > 0) {
    int64_t step = 2;
    for (int d = rank; d-- > 0;) { strides[d] = step; step *= h.shape[d] + (d > 0); }
    offset = 1;
    room = step + 1;
  } else if (layout == Layout::expanded && rank > 0) {
    strides[0] = 0;
  }
  const Tensor base = make_tensor(cpu_device(), h.dtype, {room});
  const int64_t size = dtype_bytes(h.dtype);
  if (room) std::memset(base->bytes(), 0, size_t(room * size));
  const Tensor t = make_view(base, offset, h.shape, strides);
  for (int64_t i = 0; i < h.numel(); ++i) {
    int64_t rest = i, at = 0;
    for (int d = rank; d-- > 0;) { at += rest % h.shape[d] * strides[d]; rest /= h.shape[d]; }
    std::memcpy(t->bytes() + at * size, h.as<char>() + i * size, size_t(size));
  }
  if (&device == &cpu_device()) return t;
  const Tensor there = make_tensor(device, h.dtype, {room});
  if (room) device.copy(there->bytes(), base->bytes(), room * size, Device::CopyKind::to_device, 0);
  return make_view(there, offset, h.shape, strides);
}

Call::Call(const Sample& sample, DType dtype, Layout layout, uint64_t seed, Device& device)
    : call_(with_layout(sample, layout), dtype, seed) {
  for (HostTensor& h : call_.tensors) {
    if (layout == Layout::expanded) repeat_first(h);
    tensors_.push_back(stored(h, layout, device));
  }
}

Call::Call(const Sample& sample, const Call& values_of, DType dtype) : call_(sample, dtype, 0) {
  for (size_t k = 0; k < call_.tensors.size(); ++k) {
    call_.tensors[k] = converted(values_of.call_.tensors[k], call_.varies[k] ? dtype : values_of.call_.tensors[k].dtype);
    tensors_.push_back(stored(call_.tensors[k], Layout::contiguous));
  }
}

HostTensor to_host(const Tensor& t) {
  const NoGrad guard;
  const Tensor c = contiguous(t);
  HostTensor r = make_host_tensor(c->dtype, c->sizes);
  Device& device = c->device();
  if (r.bytes()) device.copy(r.data, c->bytes(), r.bytes(), Device::CopyKind::to_host, 0);
  device.synchronize(0);
  return r;
}

double element(const HostTensor& t, int64_t i) {
  switch (t.dtype) {
    case DType::boolean: case DType::u8: return t.as<uint8_t>()[i];
    case DType::i8: return t.as<int8_t>()[i];
    case DType::i16: return t.as<int16_t>()[i];
    case DType::i32: return t.as<int32_t>()[i];
    case DType::i64: return double(t.as<int64_t>()[i]);
    case DType::f16: return float_from_f16(t.as<uint16_t>()[i]);
    case DType::bf16: return float_from_bf16(t.as<uint16_t>()[i]);
    case DType::f32: case DType::c64: return t.as<float>()[i];
    default: return t.as<double>()[i];
  }
}

HostTensor converted(const HostTensor& h, DType to) {
  HostTensor r = make_host_tensor(to, h.shape);
  if (to == h.dtype) {
    if (h.bytes()) std::memcpy(r.data, h.data, size_t(h.bytes()));
    return r;
  }
  PHLOX_CHECK(to == DType::f64 || to == DType::c128, "the oracle computes in doubles");
  const int64_t n = h.numel() * (is_complex(to) ? 2 : 1);
  for (int64_t i = 0; i < n; ++i) r.as<double>()[i] = element(h, i);
  return r;
}

std::string text_of(const HostTensor& t) {
  std::string s;
  append(s, t.dtype);
  return cat(s, "[", join(t.shape, ","), "]");
}

std::string difference(const HostTensor& a, const HostTensor& b) {
  if (a.dtype != b.dtype || a.shape != b.shape) return cat(text_of(a), " and ", text_of(b));
  if (!a.bytes() || !std::memcmp(a.data, b.data, size_t(a.bytes()))) return {};
  const int64_t n = a.numel() * (is_complex(a.dtype) ? 2 : 1), size = a.bytes() / n;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::memcmp(a.as<char>() + i * size, b.as<char>() + i * size, size_t(size))) continue;
    const double x = element(a, i), y = element(b, i);
    if (std::isnan(x) && std::isnan(y)) continue;
    char text[96];
    std::snprintf(text, sizeof text, "element %lld is %.17g and %.17g", static_cast<long long>(i), x, y);
    return cat(text, " of ", text_of(a));
  }
  return {};
}

double largest(const HostTensor& t) {
  double m = 0;
  const int64_t n = t.numel() * (is_complex(t.dtype) ? 2 : 1);
  for (int64_t i = 0; i < n; ++i) if (std::isfinite(element(t, i))) m = std::max(m, std::fabs(element(t, i)));
  return m;
}

std::string distance(const HostTensor& got, const HostTensor& want, double tolerance, double scale) {
  if (got.shape != want.shape) return cat(text_of(got), ", expected ", text_of(want));
  const int64_t n = got.numel() * (is_complex(got.dtype) ? 2 : 1);
  scale = std::max(scale, largest(want));
  for (int64_t i = 0; i < n; ++i) {
    const double g = element(got, i), w = element(want, i);
    const bool same = (std::isnan(g) && std::isnan(w)) || g == w;
    if (same || (std::isfinite(g) && std::fabs(g - w) <= tolerance * (std::fabs(w) + scale))) continue;
    char text[96];
    std::snprintf(text, sizeof text, "element %lld is %.9g, expected %.9g", static_cast<long long>(i), g, w);
    return cat(text, " of ", text_of(got));
  }
  return {};
}

Graph graph_of(const OpInfo& op, Call& call, bool with_strides) {
  Graph g;
  GraphBuilder b(g);
  std::vector<Val> in;
  for (const Tensor& t : call.tensors()) {
    TensorType type;
    type.dtype = t->dtype;
    for (int64_t d : t->sizes) type.shape.push_back(d);
    if (with_strides && !t->contiguous) for (int64_t s : t->strides) type.strides.push_back(s);
    in.push_back(b.input(type));
  }
  const bool random = has(op.op->record.effects, Effects::random);
  if (random) {
    TensorType t;
    t.dtype = DType::i64;
    t.shape = {2};
    b.random_state = b.input(t);
  }
  Vals out = b.call(op, call.args([&](uint32_t k) { return Arg::of_value(in[k].id); }));
  for (Val& v : out) if (g.value(v.id).node == no_node) v = copy(v);
  b.outputs(out);
  return g;
}

std::vector<HostTensor> oracle_inputs(const OpInfo& op, Call& call, RandomState random) {
  std::vector<HostTensor> in = call.hosts();
  if (has(op.op->record.effects, Effects::random)) {
    HostTensor h = make_host_tensor(DType::i64, {2});
    h.as<int64_t>()[0] = int64_t(random.seed);
    h.as<int64_t>()[1] = int64_t(random.offset);
    in.push_back(h);
  }
  return in;
}

}  // namespace phlox::conformance

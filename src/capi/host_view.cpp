#include "capi/host_view.h"

#include <cmath>
#include <cstring>

#include "base/small_float.h"
#include "capi_rt/boundary.h"
#include "eager/trace.h"

namespace phlox {

static Tensor plain_copy(const Tensor& dense, Device& to) {
  Tensor r = make_tensor(to, dense->dtype, dense->sizes);
  const int64_t bytes = dense->numel() * dtype_bytes(dense->dtype);
  if (bytes == 0) return r;
  Device& from = dense->device();
  const bool from_host = from.id().kind == DeviceKind::cpu, to_host = to.id().kind == DeviceKind::cpu;
  if (from_host) {
    to.copy(r->bytes(), dense->bytes(), bytes, Device::CopyKind::to_device, 0);
    to.synchronize(0);
  } else if (to_host) {
    from.copy(r->bytes(), dense->bytes(), bytes, Device::CopyKind::to_host, 0);
    from.synchronize(0);
    check_device_status(from);
  } else {  // between two GPUs through the host
    return plain_copy(plain_copy(dense, cpu_device()), to);
  }
  return r;
}

// While a function is traced its tensors have no values yet.
static void need_values(const TensorImpl& t) {
  if (t.storage->traced)
    fail(ErrorCode::trace, {.op = "item", .fact = "the values of a tensor are read inside a compiled function, before there are any",
                            .got = tensor_text(t), .remedy = "return the tensor and read it outside, or choose with where"});
}

HostView host_view(const Tensor& t) {
  const NoGrad guard;
  need_values(*t);
  HostView v;
  v.keep = t->device().id().kind == DeviceKind::cpu ? t : plain_copy(contiguous(t), cpu_device());
  v.data = v.keep->storage->data ? v.keep->bytes() : nullptr;
  v.sizes = v.keep->sizes;
  v.strides = v.keep->strides;
  v.dtype = v.keep->dtype;
  return v;
}

template <class T>
static T load(const char* at) {
  T v;
  std::memcpy(&v, at, sizeof v);
  return v;
}

HostNumber read_number(const char* p, DType d) {
  using K = HostNumber::Kind;
  auto whole = [](int64_t v) { return HostNumber{K::integer, v, double(v), 0}; };
  auto real = [](double v) { return HostNumber{K::real, 0, v, 0}; };
  switch (d) {
    case DType::boolean: return {K::boolean, load<uint8_t>(p) != 0, double(load<uint8_t>(p) != 0), 0};
    case DType::u8: return whole(load<uint8_t>(p));
    case DType::i8: return whole(load<int8_t>(p));
    case DType::i16: return whole(load<int16_t>(p));
    case DType::i32: return whole(load<int32_t>(p));
    case DType::i64: return whole(load<int64_t>(p));
    case DType::u16: return whole(load<uint16_t>(p));
    case DType::u32: return whole(load<uint32_t>(p));
    case DType::u64: return {K::uinteger, int64_t(load<uint64_t>(p)), double(load<uint64_t>(p)), 0};
    case DType::f16: return real(float_from_f16(load<uint16_t>(p)));
    case DType::bf16: return real(float_from_bf16(load<uint16_t>(p)));
    case DType::f32: return real(load<float>(p));
    case DType::f64: return real(load<double>(p));
    case DType::c64: return {K::complex, 0, load<float>(p), load<float>(p + 4)};
    case DType::c128: return {K::complex, 0, load<double>(p), load<double>(p + 8)};
    case DType::f8e4m3:
    case DType::f8e5m2: break;
  }
  // An 8-bit float: sign, exponent and mantissa by hand; there are no others.
  const uint8_t b = load<uint8_t>(p);
  const int mantissa_bits = d == DType::f8e4m3 ? 3 : 2, bias = d == DType::f8e4m3 ? 7 : 15;
  const int exponent = (b & 0x7f) >> mantissa_bits, mantissa = b & ((1 << mantissa_bits) - 1);
  double v = exponent ? std::ldexp(1 + std::ldexp(double(mantissa), -mantissa_bits), exponent - bias)
                      : std::ldexp(double(mantissa), 1 - bias - mantissa_bits);
  if (d == DType::f8e4m3 && (b & 0x7f) == 0x7f) v = __builtin_nan("");
  if (d == DType::f8e5m2 && exponent == 31) v = mantissa ? __builtin_nan("") : __builtin_inf();
  return real(b & 0x80 ? -v : v);
}

// Copies the elements of dimensions d... of a strided tensor to row-major memory.
static char* gather(const HostView& v, int d, const char* from, char* to) {
  const int64_t item = dtype_bytes(v.dtype);
  if (d == int(v.sizes.size())) {
    std::memcpy(to, from, size_t(item));
    return to + item;
  }
  if (d + 1 == int(v.sizes.size()) && v.strides[d] == 1) {
    const size_t row = size_t(v.sizes[d] * item);
    std::memcpy(to, from, row);
    return to + row;
  }
  for (int64_t i = 0; i < v.sizes[d]; ++i) to = gather(v, d + 1, from + i * v.strides[d] * item, to);
  return to;
}

void read_elements(const Tensor& t, void* data, int64_t bytes) {
  const int64_t size = t->numel() * dtype_bytes(t->dtype);
  if (bytes != size)
    fail(ErrorCode::invalid_argument, {.op = "read", .fact = "the memory does not have the size of the elements",
                                       .got = cat(bytes, " bytes"), .expected = cat(size, " bytes for ", tensor_text(*t))});
  if (size == 0) return;
  const HostView v = host_view(t);
  if (v.keep->contiguous) cpu_device().copy(data, v.data, size, Device::CopyKind::to_host, 0);
  else gather(v, 0, v.data, static_cast<char*>(data));
}

namespace {
// The gradient of a move to another device moves back.
struct MoveNode final : GradNode {
  Device* from = nullptr;
  const char* name() const override { return "to.device"; }
  SmallVector<Tensor, 3> apply(std::span<const Tensor> grads, bool) override { return {to_device(grads[0], *from)}; }
};
}  // namespace

Tensor to_device(const Tensor& t, Device& device) {
  if (t->device().id() == device.id()) return t;
  need_values(*t);
  Tensor r;
  {
    const NoGrad guard;
    r = plain_copy(contiguous(t), device);
  }
  if (t->requires_grad && grad_enabled()) {
    auto node = make_ref<MoveNode>();
    node->sequence = next_sequence();
    node->from = &t->device();
    node->inputs.push_back(gradient_edge(t));
    set_edge(r, node, 0);
  }
  return r;
}

}  // namespace phlox

using namespace phlox;

extern "C" {

phlox_status phlox_tensor_empty(int32_t dtype, const int64_t* sizes, int32_t rank, phlox_device device, phlox_tensor** out) {
  return guarded([&] {
    need_out(out, "empty");
    Device& d = need_device(device);
    const DType type = need_dtype(dtype, "empty");
    const Ints shape = need_sizes(sizes, rank, "empty");
    // In a trace a new tensor is a value of the graph.
    Tensor t = Tracer::current() ? full_tensor(d, type, shape, 0) : make_tensor(d, type, shape);
    t->inference = inference_enabled();
    *out = to_handle(std::move(t));
  });
}

phlox_status phlox_tensor_item(const phlox_tensor* handle, phlox_number* out) {
  return guarded([&] {
    need_out(out, "item");
    const Tensor t = need_ref(handle, "item");
    if (t->numel() != 1)
      fail(ErrorCode::invalid_argument, {.op = "item", .fact = "only a tensor of one element is a number", .got = tensor_text(*t),
                                         .expected = "one element"});
    const HostView v = host_view(t);
    const HostNumber n = read_number(v.data, v.dtype);
    *out = {};
    out->integer = n.integer;
    out->real = n.real;
    out->imag = n.imag;
    switch (n.kind) {
      case HostNumber::Kind::boolean: out->kind = PHLOX_SLOT_BOOL; break;
      case HostNumber::Kind::integer:
      case HostNumber::Kind::uinteger: out->kind = PHLOX_SLOT_INT; break;
      case HostNumber::Kind::real: out->kind = PHLOX_SLOT_REAL; break;
      case HostNumber::Kind::complex: out->kind = PHLOX_SLOT_COMPLEX; break;
    }
  });
}

phlox_status phlox_tensor_read(const phlox_tensor* t, void* data, size_t bytes) {
  return guarded([&] {
    if (bytes) need_out(data, "read");
    read_elements(need_ref(t, "read"), data, int64_t(bytes));
  });
}

phlox_status phlox_tensor_write(phlox_tensor* handle, const void* data, size_t bytes) {
  return guarded([&] {
    const Tensor t = need_ref(handle, "write");
    need_values(*t);
    check_can_mutate(*t, "write");
    const int64_t size = t->numel() * dtype_bytes(t->dtype);
    if (int64_t(bytes) != size)
      fail(ErrorCode::invalid_argument, {.op = "write", .fact = "the memory does not have the size of the elements",
                                         .got = cat(bytes, " bytes"), .expected = cat(size, " bytes for ", tensor_text(*t))});
    if (size == 0) return;
    if (!data) null_handle("write", "data");
    Device& d = t->device();
    const bool direct = t->contiguous && !t->requires_grad;
    const Tensor to = direct ? t : make_tensor(d, t->dtype, t->sizes);
    d.copy(to->bytes(), data, size, Device::CopyKind::to_device, 0);
    d.synchronize(0);
    if (direct) t->storage->version.fetch_add(1, std::memory_order_relaxed);
    else assign(t, to, "write");
  });
}

phlox_status phlox_tensor_to_device(phlox_tensor* t, phlox_device device, phlox_tensor** out) {
  return guarded([&] {
    need_out(out, "to");
    *out = to_handle(to_device(need_ref(t, "to"), need_device(device)));
  });
}

phlox_status phlox_tensor_set_data(phlox_tensor* handle, const phlox_tensor* source) {
  return guarded([&] {
    const Tensor t = need_ref(handle, "set_data"), s = need_ref(source, "set_data");
    if (t->requires_grad && !has_gradient(s->dtype))
      fail(ErrorCode::autograd, {.op = "set_data", .fact = "a tensor that requires grad stays a floating-point one", .got = tensor_text(*s)});
    if (t->requires_grad && !is_leaf(*t))
      fail(ErrorCode::autograd, {.op = "set_data", .fact = "only a leaf may take other data", .got = tensor_text(*t), .remedy = "use detach()"});
    t->storage = s->storage;
    t->offset = s->offset;
    t->sizes = s->sizes;
    t->strides = s->strides;
    t->dtype = s->dtype;
    t->contiguous = s->contiguous;
  });
}

}  // extern "C"

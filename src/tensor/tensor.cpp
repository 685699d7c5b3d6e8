#include "tensor/tensor.h"

#include "base/checked.h"

namespace phlox {

Storage::~Storage() {
  if (!data) return;
  if (deleter) deleter(context, data);
  else device->free(data, 0);
}

Ref<Storage> make_storage(Device& device, int64_t bytes) {
  Ref<Storage> s = make_ref<Storage>();
  s->device = &device;
  s->bytes = bytes;
  if (bytes > 0) s->data = device.alloc(bytes, 0);
  return s;
}

Ref<Storage> make_foreign_storage(Device& device, void* data, int64_t bytes, void (*deleter)(void*, void*), void* context) {
  Ref<Storage> s = make_ref<Storage>();
  s->device = &device;
  s->data = data;
  s->bytes = bytes;
  s->deleter = deleter;
  s->context = context;
  return s;
}

Ints contiguous_strides(const Ints& sizes) {
  Ints s(sizes.size());
  int64_t step = 1;
  for (int i = int(sizes.size()) - 1; i >= 0; --i) {
    s[i] = step;
    step *= sizes[i] > 0 ? sizes[i] : 1;
  }
  return s;
}

bool is_contiguous(const Ints& sizes, const Ints& strides) {
  int64_t step = 1;
  for (int i = int(sizes.size()) - 1; i >= 0; --i) {
    if (sizes[i] == 0) return true;
    if (sizes[i] != 1 && strides[i] != step) return false;
    step *= sizes[i];
  }
  return true;
}

Tensor make_tensor(Device& device, DType dtype, const Ints& sizes) {
  int64_t bytes = dtype_bytes(dtype);
  for (int64_t s : sizes) bytes = checked_mul(bytes, s, "tensor");
  return make_dense_tensor(device, dtype, sizes, contiguous_strides(sizes), bytes);
}
Tensor make_dense_tensor(Device& device, DType dtype, const Ints& sizes, const Ints& strides, int64_t bytes) {
  Tensor t = make_ref<TensorImpl>();
  t->storage = make_storage(device, bytes);
  t->sizes = sizes;
  t->strides = strides;
  t->dtype = dtype;
  return t;
}

Tensor make_view_as(const Tensor& base, DType dtype, int64_t offset, Ints sizes, Ints strides) {
  Tensor t = make_ref<TensorImpl>();
  t->storage = base->storage;
  t->offset = offset;
  t->contiguous = is_contiguous(sizes, strides);
  t->sizes = std::move(sizes);
  t->strides = std::move(strides);
  t->dtype = dtype;
  t->inference = base->inference;
  return t;
}
Tensor make_view(const Tensor& base, int64_t offset, Ints sizes, Ints strides) {
  return make_view_as(base, base->dtype, offset, std::move(sizes), std::move(strides));
}

std::string tensor_text(const TensorImpl& t) {
  std::string s = cat(t.dtype, "[", join(t.sizes, ","), "]");
  if (t.storage && t.device().id().kind != DeviceKind::cpu) s += cat("@", t.device().id());
  return s;
}

// The bytes [first, last) that a view can touch.
static std::pair<int64_t, int64_t> extent(const TensorImpl& t) {
  int64_t low = t.offset, high = t.offset;
  for (int i = 0; i < t.rank(); ++i) {
    if (t.sizes[i] == 0) return {0, 0};
    const int64_t span = (t.sizes[i] - 1) * t.strides[i];
    (span < 0 ? low : high) += span;
  }
  return {low * dtype_bytes(t.dtype), (high + 1) * dtype_bytes(t.dtype)};
}

bool may_overlap(const TensorImpl& a, const TensorImpl& b) {
  if (a.storage.get() != b.storage.get()) return false;
  const auto [a0, a1] = extent(a);
  const auto [b0, b1] = extent(b);
  return a0 < b1 && b0 < a1;
}

}  // namespace phlox

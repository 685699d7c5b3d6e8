// Tensor handles: making them from memory and reading what they are.
#include <cstring>

#include "base/checked.h"
#include "capi_rt/boundary.h"

using namespace phlox;

extern "C" {

phlox_tensor* phlox_tensor_retain(phlox_tensor* t) {
  if (t) to_impl(t)->retain();
  return t;
}
void phlox_tensor_release(phlox_tensor* t) {
  if (t) Tensor::adopt(to_impl(t));
}

phlox_status phlox_tensor_from_data(const void* data, int32_t dtype, const int64_t* sizes, int32_t rank,
                                    phlox_device device, phlox_tensor** out) {
  return guarded([&] {
    need_out(out, "from_data");
    Device& d = need_device(device);
    const Tensor t = make_tensor(d, need_dtype(dtype, "from_data"), need_sizes(sizes, rank, "from_data"));
    const int64_t bytes = t->numel() * dtype_bytes(t->dtype);
    if (bytes > 0 && !data) null_handle("from_data", "data");
    if (bytes > 0) d.copy(t->bytes(), data, bytes, Device::CopyKind::to_device, 0);
    d.synchronize(0);  // the caller's memory is free again
    *out = to_handle(t);
  });
}

phlox_status phlox_tensor_from_memory(void* data, int32_t dtype, const int64_t* sizes, const int64_t* strides, int32_t rank,
                                      phlox_device device, void (*deleter)(void*, void*), void* context, phlox_tensor** out) {
  return guarded([&] {
    const char* entry = "from_memory";
    need_out(out, entry);
    Device& d = need_device(device);
    const DType type = need_dtype(dtype, entry);
    const Ints shape = need_sizes(sizes, rank, entry);
    Ints steps = contiguous_strides(shape);
    int64_t last = 0;  // the furthest element
    bool empty = false;
    for (int32_t i = 0; i < rank; ++i) {
      if (strides) steps[i] = strides[i];
      if (steps[i] < 0)
        fail(ErrorCode::invalid_argument, {.op = entry, .fact = cat("the stride of dimension ", i, " is negative"), .got = cat(steps[i])});
      empty |= shape[i] == 0;
      if (shape[i] > 0) last = checked_add(last, checked_mul(shape[i] - 1, steps[i], entry), entry);
    }
    const int64_t bytes = empty ? 0 : checked_mul(checked_add(last, 1, entry), dtype_bytes(type), entry);
    if (bytes > 0 && !data) null_handle(entry, "data");
    if (reinterpret_cast<uintptr_t>(data) % uintptr_t(real_dtype(type) == type ? dtype_bytes(type) : dtype_bytes(real_dtype(type))))
      fail(ErrorCode::invalid_argument, {.op = entry, .fact = "the memory is not aligned for its dtype", .got = cat(type)});
    Tensor t = make_ref<TensorImpl>();
    t->sizes = shape;
    t->strides = steps;
    t->dtype = type;
    t->contiguous = is_contiguous(shape, steps);
    // Last: from here the storage owns the memory, and no error may follow. Without a deleter the memory is lent.
    t->storage = make_foreign_storage(d, data, bytes, deleter ? deleter : [](void*, void*) {}, context);
    *out = to_handle(std::move(t));
  });
}

int32_t phlox_tensor_rank(const phlox_tensor* t) { return to_impl(t)->rank(); }
const int64_t* phlox_tensor_sizes(const phlox_tensor* t) { return to_impl(t)->sizes.data(); }
const int64_t* phlox_tensor_strides(const phlox_tensor* t) { return to_impl(t)->strides.data(); }
int64_t phlox_tensor_offset(const phlox_tensor* t) { return to_impl(t)->offset; }
int64_t phlox_tensor_numel(const phlox_tensor* t) { return to_impl(t)->numel(); }
int32_t phlox_tensor_dtype(const phlox_tensor* t) { return int32_t(to_impl(t)->dtype); }
phlox_device phlox_tensor_device(const phlox_tensor* t) { return from_device_id(to_impl(t)->device().id()); }
void* phlox_tensor_data(const phlox_tensor* t) { return to_impl(t)->storage->data ? to_impl(t)->bytes() : nullptr; }
int32_t phlox_tensor_shares_storage(const phlox_tensor* a, const phlox_tensor* b) {
  return to_impl(a)->storage == to_impl(b)->storage;
}
uint32_t phlox_tensor_version(const phlox_tensor* t) {
  return to_impl(t)->storage->version.load(std::memory_order_relaxed);
}

phlox_status phlox_tensor_describe(const phlox_tensor* t, phlox_text** out) {
  return guarded([&] {
    need_out(out, "describe");
    *out = new phlox_text{tensor_text(need(t, "describe"))};
  });
}

}  // extern "C"

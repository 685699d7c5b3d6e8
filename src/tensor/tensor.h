// Tensor: what the user holds. A handle is one pointer to a TensorImpl: a view (storage, offset, sizes, strides) with a
// dtype. Storages are shared by views and carry the version counter that catches stale saved values. Autograd and
// trace state hang behind one opaque pointer that tensor/ never looks into.
#pragma once
#include <atomic>

#include "base/pooled.h"
#include "base/ref.h"
#include "device/device.h"
#include "type/tensor_type.h"

namespace phlox {

struct Storage : RefCounted, Pooled<Storage> {
  Device* device = nullptr;
  void* data = nullptr;
  int64_t bytes = 0;
  std::atomic<uint32_t> version{0};
  void (*deleter)(void* context, void* data) = nullptr;  // foreign memory; null: the device's own
  void* context = nullptr;
  bool traced = false;       // stands for a value of a trace: there is no memory behind it
  ~Storage();
};
Ref<Storage> make_storage(Device& device, int64_t bytes);  // contents undefined; 0 bytes: data is null
Ref<Storage> make_foreign_storage(Device& device, void* data, int64_t bytes, void (*deleter)(void*, void*), void* context);

// What autograd or a trace keeps of a tensor.
struct TensorExtra {
  virtual ~TensorExtra() = default;
};

struct TensorImpl : RefCounted, Pooled<TensorImpl> {
  Ref<Storage> storage;
  int64_t offset = 0;             // in elements
  Ints sizes, strides;            // strides in elements
  DType dtype = DType::f32;
  bool requires_grad = false;     // a leaf that collects its gradient, or a result that has one
  bool contiguous = true;         // row-major without gaps; kept with sizes and strides
  bool inference = false;         // made in inference mode: no version counter
  std::atomic<TensorExtra*> extra{nullptr};  // owned; several threads may be the first to need it
  ~TensorImpl() { delete extra.load(std::memory_order_acquire); }

  int rank() const { return int(sizes.size()); }
  int64_t numel() const { int64_t n = 1; for (int64_t s : sizes) n *= s; return n; }
  char* bytes() const { return static_cast<char*>(storage->data) + offset * dtype_bytes(dtype); }
  Device& device() const { return *storage->device; }
};
using Tensor = Ref<TensorImpl>;

bool is_contiguous(const Ints& sizes, const Ints& strides);
Ints contiguous_strides(const Ints& sizes);
Tensor make_tensor(Device& device, DType dtype, const Ints& sizes);                 // contiguous, contents undefined
// The same with what follows from the sizes, which the caller knows already.
Tensor make_dense_tensor(Device& device, DType dtype, const Ints& sizes, const Ints& strides, int64_t bytes);
Tensor make_view(const Tensor& base, int64_t offset, Ints sizes, Ints strides);     // shares the storage
Tensor make_view_as(const Tensor& base, DType dtype, int64_t offset, Ints sizes, Ints strides);
std::string tensor_text(const TensorImpl& t);                                        // "f32[2,3]", for messages
bool may_overlap(const TensorImpl& a, const TensorImpl& b);                          // judged by byte ranges

}  // namespace phlox

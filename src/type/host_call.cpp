#include "type/host_call.h"

#include "base/checked.h"

namespace phlox {

HostTensor make_host_tensor(DType dtype, const Ints& shape) {
  HostTensor t;
  t.dtype = dtype;
  t.shape = shape;
  int64_t bytes = dtype_bytes(dtype);
  for (int64_t d : shape) bytes = checked_mul(bytes, d, "tensor");
  t.owner = std::shared_ptr<char[]>(new char[size_t(bytes) + 64]);
  t.data = t.owner.get();
  return t;
}

}  // namespace phlox

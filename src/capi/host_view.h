// HostView: the elements of a tensor as this process's memory, for reading one at a time or row by row. Strided CPU
// tensors are read where they are; others through a copy that the view owns.
#pragma once
#include "eager/call.h"

namespace phlox {

struct HostView {
  Tensor keep;
  const char* data = nullptr;  // of element 0
  Ints sizes, strides;         // strides in elements
  DType dtype = DType::f32;
};
HostView host_view(const Tensor& t);

// One element, in the widest type of its kind.
struct HostNumber {
  enum class Kind : uint8_t { boolean, integer, uinteger, real, complex } kind;
  int64_t integer = 0;  // also a uinteger's bits
  double real = 0, imag = 0;
};
HostNumber read_number(const char* at, DType dtype);

void read_elements(const Tensor& t, void* data, int64_t bytes);  // row-major; Error when bytes are not their size
Tensor to_device(const Tensor& t, Device& device);               // gradients flow back

}  // namespace phlox

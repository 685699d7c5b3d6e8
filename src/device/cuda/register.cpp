#include "device/cuda/cuda_device.h"
#include "device/registry.h"

namespace phlox {

void register_cuda_devices() {
  register_device_provider({.kind = DeviceKind::cuda,
                            .count = cuda::cuda_device_count,
                            .get = [](int index) -> Device& { return cuda_device(index); }});
}

}  // namespace phlox

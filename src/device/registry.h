// The device registry: how kinds other than the CPU become known. A provider is a table of functions,
// registered once by whoever links it (never by a static initialiser); the CPU needs none. Registering a kind
// again replaces it, which tests use.
#pragma once
#include "device/device.h"

namespace phlox {

struct DeviceProvider {
  DeviceKind kind;
  int (*count)();  // usable devices; 0 without a driver, and never throws
  Device& (*get)(
      int index);  // throws Error(device) that says which library is missing or that index is out of range
};
void register_device_provider(const DeviceProvider& provider);

}  // namespace phlox

// DeviceCall: a native step on a device that is not the host, given to the code behind its name. The data pointers of
// `call` are device addresses; `sizes` are what the compiler's formulas come to.
#pragma once
#include "device/device.h"
#include "type/host_call.h"

namespace phlox {

struct DeviceCall {
  Device& device;
  StreamId stream;
  const HostCall& call;
  const Ints& sizes;
};
using DeviceFunction = void (*)(const DeviceCall&);

}  // namespace phlox

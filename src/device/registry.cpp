#include "device/registry.h"

#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/root.h"

namespace phlox {

struct DeviceRegistry {
  std::mutex mutex;
  std::vector<DeviceProvider> providers;
};

static bool find_provider(DeviceKind kind, DeviceProvider& out) {
  DeviceRegistry& r = root_object<DeviceRegistry>();
  std::lock_guard lock(r.mutex);
  for (const DeviceProvider& p : r.providers)
    if (p.kind == kind) return out = p, true;
  return false;
}

void register_device_provider(const DeviceProvider& provider) {
  PHLOX_CHECK(provider.kind != DeviceKind::cpu && provider.count && provider.get, "device provider");
  DeviceRegistry& r = root_object<DeviceRegistry>();
  std::lock_guard lock(r.mutex);
  for (DeviceProvider& p : r.providers)
    if (p.kind == provider.kind) {
      p = provider;
      return;
    }
  r.providers.push_back(provider);
}

Device& get_device(DeviceId id) {
  if (id.kind == DeviceKind::cpu) {
    if (id.index == 0) return cpu_device();
    fail(ErrorCode::device, {.op = "device",
                             .fact = "there is one CPU device",
                             .got = cat("cpu:", int(id.index)),
                             .expected = "cpu"});
  }
  DeviceProvider p;
  if (!find_provider(id.kind, p))  // the provider's code outlives the registry: calling it needs no lock
    fail(ErrorCode::device, {.op = "device",
                             .fact = cat("this build has no ", device_kind_name(id.kind), " support"),
                             .got = cat(id),
                             .expected = "cpu",
                             .remedy = "use a build or package that includes it"});
  return p.get(id.index);
}

int device_count(DeviceKind kind) {
  if (kind == DeviceKind::cpu) return 1;
  DeviceProvider p;
  return find_provider(kind, p) ? p.count() : 0;
}

void append(std::string& s, DeviceId d) {
  s += device_kind_name(d.kind);
  if (d.kind != DeviceKind::cpu) s += cat(":", int(d.index));
}

static void cannot_record(Device& d) {
  fail(ErrorCode::device, {.op = "record", .fact = "this device does its work at once and records nothing", .got = cat(d.id())});
}
void Device::begin_recording(StreamId, const Ref<Recording>&) { cannot_record(*this); }
Ref<Recording> Device::end_recording(StreamId, const Ref<Recording>&) {
  cannot_record(*this);
  return {};
}
void Device::replay(Recording&, StreamId) { cannot_record(*this); }

}  // namespace phlox

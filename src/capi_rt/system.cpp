// Version, dtypes, devices, threads and traces.
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/team.h"
#include "base/trace.h"
#include "capi_rt/boundary.h"

using namespace phlox;

extern "C" {

uint32_t phlox_abi_version(void) { return PHLOX_ABI_MAJOR << 16 | PHLOX_ABI_MINOR; }
const char* phlox_version(void) { return PHLOX_VERSION; }

const char* phlox_dtype_name(int32_t dtype) {
  return dtype >= 0 && dtype < dtype_count ? dtype_info(DType(dtype)).name : nullptr;
}
int32_t phlox_dtype_bytes(int32_t dtype) {
  return dtype >= 0 && dtype < dtype_count ? int32_t(dtype_bytes(DType(dtype))) : 0;
}
int32_t phlox_promote_types(int32_t a, int32_t b) {
  int32_t r = -1;
  guarded([&] { r = int32_t(promote(need_dtype(a, "promote_types"), need_dtype(b, "promote_types"))); });
  return r;
}

phlox_status phlox_parse_device(const char* text, phlox_device* out) {
  return guarded([&] {
    need_out(out, "device");
    if (!text) null_handle("device", "text");
    const std::string_view all(text), name = all.substr(0, all.find(':'));
    phlox_device d{name == "cpu" ? PHLOX_CPU : name == "cuda" ? PHLOX_CUDA : -1, 0};
    bool good = d.kind >= 0;
    if (good && name.size() < all.size()) {
      const char *first = text + name.size() + 1, *last = text + all.size();
      const auto r = std::from_chars(first, last, d.index);
      good = r.ec == std::errc() && r.ptr == last && d.index >= 0;
    }
    if (!good)
      fail(ErrorCode::invalid_argument, {.op = "device", .fact = "this names no device", .got = cat("'", all, "'"),
                                         .expected = "cpu, cuda or cuda:N"});
    *out = d;
  });
}

int32_t phlox_device_count(int32_t kind) {
  int32_t n = 0;
  guarded([&] {
    if (kind != PHLOX_CPU && kind != PHLOX_CUDA) return;
    start_devices();
    n = device_count(DeviceKind(kind));
  });
  return n;
}

phlox_status phlox_synchronize(phlox_device d) {
  return guarded([&] { need_device(d).synchronize(0); });
}
phlox_status phlox_release_cached_memory(phlox_device d) {
  return guarded([&] { need_device(d).release_cached(); });
}

int32_t phlox_num_threads(void) {
  int32_t n = 1;
  guarded([&] { n = team().num_threads(); });
  return n;
}
phlox_status phlox_set_num_threads(int32_t n) {
  return guarded([&] { team().set_num_threads(n); });
}

phlox_status phlox_trace_start(int64_t max_events) {
  return guarded([&] { max_events ? trace_start(max_events) : trace_start(); });
}
phlox_status phlox_trace_stop(const char* path) {
  return guarded([&] {
    if (!path) null_handle("trace_stop", "path");
    trace_stop_to(path);
  });
}

}  // extern "C"

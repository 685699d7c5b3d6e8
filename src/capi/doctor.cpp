#include "capi/doctor.h"

#include "base/error.h"
#include "base/team.h"
#include "capi_rt/boundary.h"
#include "device/cpu/arena.h"
#include "device/cuda/driver.h"
#include "format/inspect.h"
#include "ops/registry.h"
#include "toolchain/clang_plugin.h"
#include "toolchain/disk_cache.h"

namespace phlox {

static void examine_cpu(Doctor& d) {
  const Target& t = cpu_device().target();
  d.cpu_level = t.arch;
  d.cpu_features = t.features;
  d.vector_bits = t.vector_bits;
  d.threads = team().num_threads();
  d.l1_bytes = t.l1_bytes;
  d.l2_bytes = t.l2_bytes;
  d.l3_bytes = t.l3_bytes;
}

static void examine_compiler(Doctor& d) {
  if (const std::unique_ptr<ClangPlugin> plugin = ClangPlugin::find(d.plugin_problem)) {
    d.plugin_path = plugin->path();
    d.plugin_fingerprint = plugin->fingerprint();
    try {
      plugin->open();
      d.plugin_load_ms = double(plugin->times().open_us) / 1000;
    } catch (const Error& e) {
      d.plugin_problem = e.what();
    }
  }
  if (const Compiler* c = find_compiler(cpu_device().target())) d.compiler = c->name();
  const DiskCache::Options o = DiskCache::environment_options();
  const DiskCache cache(o);  // looks whether the folder can be trusted
  static const char* const modes[] = {"off", "read only", "read and write"};
  d.cache_folder = o.folder;
  d.cache_mode = modes[int(cache.mode())];
  if (cache.mode() == DiskCache::Mode::off && o.mode != DiskCache::Mode::off)
    d.cache_mode = "off: the folder cannot be used or trusted";
  d.cache_limit = o.max_bytes;
}

static void examine_memory(Doctor& d, Device& device) {
  const MemoryStats m = device.memory_stats();
  d.memory.push_back({cat(device.id()), m.allocated_bytes, m.reserved_bytes, m.peak_allocated_bytes});
}

static void examine_cuda(Doctor& d) {
  start_devices();
  d.cuda_problem = cuda::cuda_driver_problem();
  for (int i = 0; i < device_count(DeviceKind::cuda); ++i) {
    try {
      Device& device = get_device({DeviceKind::cuda, int8_t(i)});
      d.cuda_archs.push_back(device.target().arch);
      examine_memory(d, device);
    } catch (const Error& e) {
      d.cuda_archs.push_back(e.what());
    }
  }
  for (const cuda::LibraryInfo& l : cuda::library_report()) d.libraries.push_back({l.name, l.path, l.version, l.problem});
}

Doctor examine() {
  Doctor d;
  d.version = phlox_version();
  d.abi = cat(PHLOX_ABI_MAJOR, ".", PHLOX_ABI_MINOR);
  for (const OpInfo* op : all_ops()) d.ops += op->schema.name.find("::") == std::string::npos;
  examine_cpu(d);
  examine_compiler(d);
  examine_memory(d, cpu_device());
  d.memory_limit = Arena::host().limit();
  examine_cuda(d);
  return d;
}

void write_json(JsonWriter& w, const Doctor& d) {
  w.begin_object().member("version", d.version).member("abi", d.abi).member("ops", d.ops);
  w.key("cpu").begin_object().member("level", d.cpu_level).member("vector_bits", d.vector_bits).member("threads", d.threads);
  w.member("l1_bytes", d.l1_bytes).member("l2_bytes", d.l2_bytes).member("l3_bytes", d.l3_bytes);
  w.key("features").begin_array();
  for (const std::string& f : d.cpu_features) w.value(f);
  w.end_array().end_object();
  w.key("compiler").begin_object();
  w.key("used");
  d.compiler.empty() ? w.null() : w.value(d.compiler);
  w.key("plugin").begin_object().member("path", d.plugin_path).member("fingerprint", d.plugin_fingerprint);
  w.member("load_ms", d.plugin_load_ms).member("problem", d.plugin_problem).end_object().end_object();
  w.key("kernel_cache").begin_object().member("folder", d.cache_folder).member("mode", d.cache_mode);
  w.member("max_bytes", d.cache_limit).end_object();
  w.key("cuda").begin_object().member("problem", d.cuda_problem).key("devices").begin_array();
  for (const std::string& a : d.cuda_archs) w.value(a);
  w.end_array().key("libraries").begin_array();
  for (const Doctor::Library& l : d.libraries)
    w.begin_object().member("name", l.name).member("path", l.path).member("version", l.version).member("problem", l.problem).end_object();
  w.end_array().end_object();
  w.member("memory_limit_bytes", d.memory_limit).key("memory").begin_array();
  for (const Doctor::Memory& m : d.memory)
    w.begin_object().member("device", m.device).member("allocated_bytes", m.allocated).member("reserved_bytes", m.reserved)
        .member("peak_allocated_bytes", m.peak).end_object();
  w.end_array().end_object();
}

std::string doctor_text(const Doctor& d) {
  auto bytes = [](int64_t n) { return human_bytes(uint64_t(n)); };
  std::string s = cat("phlox ", d.version, ", C ABI ", d.abi, ", ", d.ops, " ops\n");
  s += cat("cpu       ", d.cpu_level, ", ", d.vector_bits, "-bit vectors, ", d.threads, d.threads == 1 ? " thread" : " threads", ", caches ",
           bytes(d.l1_bytes), " / ", bytes(d.l2_bytes), " / ", bytes(d.l3_bytes), "\n");
  if (!d.cpu_features.empty()) s += cat("          ", join(d.cpu_features, " "), "\n");
  s += cat("compiler  ", d.compiler.empty() ? "none: kernels run in the interpreter" : d.compiler, "\n");
  s += d.plugin_problem.empty() ? cat("          plug-in ", d.plugin_path, ", loaded in ", int64_t(d.plugin_load_ms * 10) / 10.0, " ms\n")
                                : cat("          no plug-in: ", d.plugin_problem, "\n");
  s += cat("cache     ", d.cache_folder, ", ", d.cache_mode, ", at most ", bytes(d.cache_limit), "\n");
  s += cat("cuda      ", d.cuda_archs.empty() ? cat("no device: ", d.cuda_problem) : join(d.cuda_archs, ", "), "\n");
  for (const Doctor::Library& l : d.libraries)
    s += cat("          ", l.name, ": ", l.problem.empty() ? cat(l.version, l.version.empty() ? "" : " at ", l.path) : l.problem, "\n");
  for (const Doctor::Memory& m : d.memory)
    s += cat("memory    ", m.device, ": ", bytes(m.allocated), " in use, ", bytes(m.reserved), " reserved, peak ", bytes(m.peak), "\n");
  return s + cat("          limit ", bytes(d.memory_limit), "\n");
}

}  // namespace phlox

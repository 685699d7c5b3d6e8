// Reports about phlox and the machine, as JSON: phlox_report(kind).
#include <algorithm>

#include "base/error.h"
#include "base/event.h"
#include "base/json.h"
#include "base/team.h"
#include "capi/op_handle.h"
#include "capi_rt/boundary.h"
#include "device/cuda/driver.h"
#include "ops/registry.h"
#include "toolchain/clang_plugin.h"
#include "toolchain/disk_cache.h"
#include "toolchain/kernel_store.h"
#include "toolchain/nvrtc.h"

namespace phlox {

namespace {

void write_cpu(JsonWriter& w) {
  const Target& t = cpu_device().target();
  w.key("cpu").begin_object();
  w.member("level", t.arch).member("vector_bits", t.vector_bits).member("threads", team().num_threads());
  w.member("l1_bytes", t.l1_bytes).member("l2_bytes", t.l2_bytes).member("l3_bytes", t.l3_bytes);
  w.key("features").begin_array();
  for (const std::string& f : t.features) w.value(f);
  w.end_array().end_object();
}

void write_compiler(JsonWriter& w) {
  w.key("compiler").begin_object();
  std::string why;
  const std::unique_ptr<ClangPlugin> plugin = ClangPlugin::find(why);
  w.key("plugin").begin_object().member("found", plugin != nullptr);
  if (plugin) {
    w.member("path", plugin->path()).member("fingerprint", plugin->fingerprint());
    try {
      plugin->open();
      w.member("load_ms", double(plugin->times().open_us) / 1000);
    } catch (const Error& e) {
      w.member("problem", e.what());
    }
  } else {
    w.member("problem", why);
  }
  w.end_object();
  const Compiler* used = find_compiler(cpu_device().target());
  w.key("used");
  used ? w.value(used->name()) : w.null();
  w.end_object();
}

void write_cache(JsonWriter& w) {
  const DiskCache::Options o = DiskCache::environment_options();
  static const char* const modes[] = {"off", "read only", "read and write"};
  const KernelStore::Stats s = kernel_store().stats();
  w.key("kernel_cache").begin_object().member("folder", o.folder).member("mode", modes[int(o.mode)]);
  w.member("max_bytes", o.max_bytes).member("disk_hits", s.disk_hits).member("compiled", s.compiled).end_object();
}

void write_gpus(JsonWriter& w) {
  start_devices();
  w.key("cuda").begin_object();
  const int n = device_count(DeviceKind::cuda);
  w.member("devices", n);
  if (const std::string& problem = cuda::cuda_driver_problem(); !problem.empty()) w.member("problem", problem);
  w.key("architectures").begin_array();
  for (int i = 0; i < n; ++i) {
    try {
      w.value(get_device({DeviceKind::cuda, int8_t(i)}).target().arch);
    } catch (const Error& e) {
      w.value(e.what());
    }
  }
  w.end_array();
  w.key("libraries").begin_array();
  for (const cuda::LibraryInfo& l : cuda::library_report()) {
    w.begin_object().member("name", l.name).member("usable", l.problem.empty());
    if (!l.path.empty()) w.member("path", l.path);
    if (!l.problem.empty()) w.member("problem", l.problem);
    w.end_object();
  }
  w.end_array().end_object();
}

void write_memory_of(JsonWriter& w, Device& d) {
  const MemoryStats m = d.memory_stats();
  w.begin_object().member("device", cat(d.id())).member("allocated_bytes", m.allocated_bytes);
  w.member("reserved_bytes", m.reserved_bytes).member("peak_allocated_bytes", m.peak_allocated_bytes);
  w.member("peak_reserved_bytes", m.peak_reserved_bytes).member("allocations", m.alloc_count);
  w.member("segments", m.segment_count).end_object();
}

void write_memory(JsonWriter& w) {
  start_devices();
  w.begin_array();
  write_memory_of(w, cpu_device());
  for (int i = 0; i < device_count(DeviceKind::cuda); ++i) write_memory_of(w, get_device({DeviceKind::cuda, int8_t(i)}));
  w.end_array();
}

void write_doctor(JsonWriter& w) {
  w.begin_object().member("version", phlox_version());
  w.member("abi", cat(PHLOX_ABI_MAJOR, ".", PHLOX_ABI_MINOR));
  int64_t n = 0;
  for (const OpInfo* op : all_ops()) n += op->schema.name.find("::") == std::string::npos;
  w.member("ops", n);
  write_cpu(w);
  write_compiler(w);
  write_cache(w);
  write_gpus(w);
  w.key("memory");
  write_memory(w);
  w.end_object();
}

void write_events(JsonWriter& w) {
  w.begin_array();
  for (const Event& e : recent_events())
    w.begin_object().member("kind", event_kind_name(e.kind)).member("subject", e.subject).member("reason", e.reason)
        .member("time_us", e.time_us).end_object();
  w.end_array();
}

void write_kernels(JsonWriter& w) {
  const KernelStore::Stats s = kernel_store().stats();
  w.begin_object().member("memory_hits", s.memory_hits).member("pack_hits", s.pack_hits).member("disk_hits", s.disk_hits);
  w.member("compiled", s.compiled).member("failed", s.failed).member("batches", s.batches);
  w.member("compile_us", s.compile_us).member("waited", s.waited).end_object();
}

const char* kind_of(const OpRecord& r) {
  if (r.view) return "view";
  if (r.expand) return "composite";
  if (r.loop || r.stores) return "loop";
  return "extern";
}

void write_ops(JsonWriter& w) {
  w.begin_array();
  for (const OpInfo* op : all_ops()) {
    const OpRecord& r = op->op->record;
    w.begin_object().member("name", op->schema.full_name()).member("schema", r.schema).member("doc", r.doc).member("kind", kind_of(r));
    w.member("in_place", (uint8_t(r.forms) & 1) != 0).member("out", (uint8_t(r.forms) & 2) != 0);
    w.member("random", has(r.effects, Effects::random)).end_object();
  }
  w.end_array();
}

struct Report { const char* kind; void (*write)(JsonWriter& w); };
constexpr Report reports[] = {{"doctor", write_doctor}, {"events", write_events}, {"kernels", write_kernels},
                              {"ops", write_ops}, {"memory", write_memory}};

}  // namespace
}  // namespace phlox

using namespace phlox;

extern "C" phlox_status phlox_report(const char* kind, phlox_text** out) {
  return guarded([&] {
    need_out(out, "report");
    if (!kind) null_handle("report", "kind");
    for (const Report& r : reports) {
      if (std::string_view(kind) != r.kind) continue;
      auto text = std::make_unique<phlox_text>();
      JsonWriter w(text->text, 2);
      r.write(w);
      *out = text.release();
      return;
    }
    fail(ErrorCode::not_found, {.op = "report", .fact = "there is no such report", .got = kind,
                                .expected = "doctor, events, kernels, ops or memory"});
  });
}

// Reports about phlox and the machine, as JSON: phlox_report(kind).
#include <memory>

#include "base/error.h"
#include "base/event.h"
#include "base/json.h"
#include "capi/doctor.h"
#include "capi_rt/boundary.h"
#include "ops/registry.h"
#include "toolchain/kernel_store.h"

namespace phlox {

namespace {

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

void write_doctor(JsonWriter& w) { write_json(w, examine()); }

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
    if (std::string_view(kind) == "doctor_text") {
      *out = new phlox_text{doctor_text(examine())};
      return;
    }
    for (const Report& r : reports) {
      if (std::string_view(kind) != r.kind) continue;
      auto text = std::make_unique<phlox_text>();
      JsonWriter w(text->text, 2);
      r.write(w);
      *out = text.release();
      return;
    }
    fail(ErrorCode::not_found, {.op = "report", .fact = "there is no such report", .got = kind,
                                .expected = "doctor, doctor_text, events, kernels, ops or memory"});
  });
}

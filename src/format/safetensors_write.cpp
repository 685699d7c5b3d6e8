#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "format/safetensors.h"

namespace phlox {

[[noreturn]] static void refuse(std::string fact, std::string got, std::string expected,
                                std::string remedy = "") {
  fail(ErrorCode::invalid_argument,
       {"safetensors", std::move(fact), std::move(got), std::move(expected), std::move(remedy)});
}

static void check_text(std::string_view what, std::string_view text) {
  if (find_invalid_utf8(text) != std::string_view::npos)
    refuse(cat("the ", what, " ", quoted(text), " is not valid UTF-8"), "", "UTF-8 text");
}

static void check_name(std::string_view name) {
  check_text("name", name);
  if (name == "__metadata__") refuse("a tensor cannot be named \"__metadata__\"", "", "another name");
  if (name.size() > safetensors_limits::name_bytes)
    refuse(cat("the name ", quoted(name), " is too long"), cat(name.size(), " bytes"),
           cat("at most ", safetensors_limits::name_bytes));
  if (name.find('\0') != std::string_view::npos)
    refuse(cat("the name ", quoted(name), " holds a NUL"), "", "text");
}

static uint64_t checked_size(const SafetensorsTensor& t) {
  if (t.shape.size() > safetensors_limits::rank)
    refuse(cat("tensor ", quoted(t.name), " has too many dimensions"), cat(t.shape.size()),
           cat("at most ", safetensors_limits::rank));
  const SafetensorsSize size = safetensors_size(t.dtype, t.shape);
  if (size.problem)
    refuse(cat("tensor ", quoted(t.name), ": ", size.problem), cat(t.dtype, "[", join(t.shape), "]"), "");
  return size.bytes;
}

// Adjacent equals of a sorted list of names.
static void check_unique(std::string_view what, std::vector<std::string_view> names) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    refuse(cat("the ", what, " ", quoted(*twice), " stands twice"), "", "unique names");
}

static void write_metadata(JsonWriter& json, const SafetensorsMetadata& metadata) {
  if (metadata.empty()) return;
  if (metadata.size() > safetensors_limits::metadata_entries)
    refuse("too many metadata entries", cat(metadata.size()),
           cat("at most ", safetensors_limits::metadata_entries));
  std::vector<std::string_view> keys;
  json.key("__metadata__").begin_object();
  for (const auto& [key, value] : metadata) {
    check_text("metadata key", key);
    check_text("metadata value", value);
    json.member(key, value);
    keys.push_back(key);
  }
  json.end_object();
  check_unique("metadata key", std::move(keys));
}

SafetensorsPlan plan_safetensors(std::span<const SafetensorsTensor> tensors,
                                 const SafetensorsMetadata& metadata) {
  if (tensors.size() > safetensors_limits::tensors)
    refuse("too many tensors for one file", cat(tensors.size()), cat("at most ", safetensors_limits::tensors),
           "split them over several files");
  SafetensorsPlan plan;
  plan.order.resize(tensors.size());
  std::iota(plan.order.begin(), plan.order.end(), 0u);
  std::sort(plan.order.begin(), plan.order.end(), [&](uint32_t a, uint32_t b) {
    if (tensors[a].dtype != tensors[b].dtype) return tensors[a].dtype > tensors[b].dtype;
    return tensors[a].name < tensors[b].name;
  });

  std::string json_text;
  JsonWriter json(json_text);
  json.begin_object();
  write_metadata(json, metadata);
  std::vector<std::string_view> names;
  plan.offsets.resize(tensors.size());
  uint64_t end = 0;
  for (const uint32_t i : plan.order) {
    const SafetensorsTensor& t = tensors[i];
    check_name(t.name);
    names.push_back(t.name);
    plan.offsets[i] = end;
    if (__builtin_add_overflow(end, checked_size(t), &end))
      refuse("the file's size overflows 64 bits", "", "");
    json.key(t.name)
        .begin_object()
        .member("dtype", safetensors_dtype_info(t.dtype).name)
        .key("shape")
        .begin_array();
    for (const int64_t dim : t.shape) json.value(dim);
    json.end_array()
        .key("data_offsets")
        .begin_array()
        .value(plan.offsets[i])
        .value(end)
        .end_array()
        .end_object();
  }
  json.end_object();
  check_unique("name", std::move(names));
  json_text.resize((json_text.size() + 7) / 8 * 8, ' ');
  if (json_text.size() > safetensors_limits::header_bytes)
    refuse("the header is too long", cat(json_text.size(), " bytes"),
           cat("at most ", safetensors_limits::header_bytes), "split the tensors over several files");

  for (int i = 0; i < 8; ++i) plan.header += char(uint64_t(json_text.size()) >> (8 * i));
  plan.header += json_text;
  for (uint64_t& offset : plan.offsets) offset += plan.header.size();
  if (__builtin_add_overflow(end, uint64_t(plan.header.size()), &plan.file_bytes) ||
      plan.file_bytes > uint64_t(INT64_MAX))
    refuse("the file would be too large", cat(end, " bytes of data"), cat("at most ", INT64_MAX));
  return plan;
}

static SafetensorsPlan plan_with_bytes(std::span<const SafetensorsTensor> tensors,
                                       const SafetensorsMetadata& metadata) {
  for (const SafetensorsTensor& t : tensors)
    if (const uint64_t size = checked_size(t); t.bytes.size() != size)
      refuse(cat("tensor ", quoted(t.name), " has the wrong number of bytes"), cat(t.bytes.size()),
             cat(size, " for ", t.dtype, "[", join(t.shape), "]"));
  return plan_safetensors(tensors, metadata);
}

void write_safetensors(const std::string& path, std::span<const SafetensorsTensor> tensors,
                       const SafetensorsMetadata& metadata) {
  const SafetensorsPlan plan = plan_with_bytes(tensors, metadata);
  FileReplacement file(path);
  file.write(plan.header);
  // Small tensors are gathered: a system call each would dominate a file of many.
  constexpr size_t gather_bytes = size_t(1) << 20;
  std::vector<std::byte> gathered;
  for (const uint32_t i : plan.order) {
    const std::span<const std::byte> bytes = tensors[i].bytes;
    if (gathered.size() + bytes.size() > gather_bytes) {
      file.write(gathered);
      gathered.clear();
    }
    if (bytes.size() > gather_bytes)
      file.write(bytes);
    else
      gathered.insert(gathered.end(), bytes.begin(), bytes.end());
  }
  file.write(gathered);
  file.commit();
}

std::vector<std::byte> safetensors_bytes(std::span<const SafetensorsTensor> tensors,
                                         const SafetensorsMetadata& metadata) {
  const SafetensorsPlan plan = plan_with_bytes(tensors, metadata);
  std::vector<std::byte> out;
  out.reserve(plan.file_bytes);
  const auto header = std::as_bytes(std::span(plan.header));
  out.insert(out.end(), header.begin(), header.end());
  for (const uint32_t i : plan.order) out.insert(out.end(), tensors[i].bytes.begin(), tensors[i].bytes.end());
  return out;
}

}  // namespace phlox

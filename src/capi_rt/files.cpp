// safetensors files as named tensors.
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mmap.h"
#include "capi_rt/boundary.h"
#include "format/inspect.h"
#include "format/safetensors.h"

struct phlox_tensor_map {
  std::vector<std::string> names;
  std::vector<phlox::Tensor> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
};

namespace phlox {

// The tensor IS the file's pages, which it keeps mapped: nothing is read before it is used, and a change in place makes a
// private copy of a page. Null where the element type wants an alignment that the file does not give.
static Tensor map_entry(const SafetensorsEntry& e, DType dtype, const Ints& sizes, const std::shared_ptr<MappedFile>& file) {
  using Hold = std::shared_ptr<MappedFile>;
  if (e.bytes.empty() || reinterpret_cast<uintptr_t>(e.bytes.data()) % size_t(dtype_bytes(dtype)) != 0) return {};
  Tensor t = make_ref<TensorImpl>();
  t->dtype = dtype;
  t->sizes = sizes;
  t->strides = contiguous_strides(sizes);
  auto hold = std::make_unique<Hold>(file);
  t->storage = make_foreign_storage(cpu_device(), const_cast<std::byte*>(e.bytes.data()), int64_t(e.bytes.size()),
                                    [](void* context, void*) { delete static_cast<Hold*>(context); }, hold.get());
  hold.release();
  return t;
}

static Tensor load_entry(const SafetensorsEntry& e, Device& device, const std::shared_ptr<MappedFile>& file) {
  const SafetensorsDTypeInfo& info = safetensors_dtype_info(e.dtype);
  if (!info.dtype)
    fail(ErrorCode::not_implemented, {.op = "load_safetensors", .fact = cat("tensor '", e.name, "' has a type that no tensor has"),
                                      .got = cat(e.dtype)});
  Ints sizes;
  sizes.append(e.shape.begin(), e.shape.end());
  if (device.id().kind == DeviceKind::cpu)
    if (Tensor t = map_entry(e, *info.dtype, sizes, file)) return t;
  Tensor t = make_tensor(device, *info.dtype, sizes);
  if (!e.bytes.empty()) device.copy(t->bytes(), e.bytes.data(), int64_t(e.bytes.size()), Device::CopyKind::to_device, 0);
  return t;
}

// The bytes of a tensor on the host, row-major.
static std::vector<std::byte> host_bytes(const TensorImpl& t) {
  std::vector<std::byte> bytes(size_t(t.numel() * dtype_bytes(t.dtype)));
  if (bytes.empty()) return bytes;
  t.device().copy(bytes.data(), t.bytes(), int64_t(bytes.size()), Device::CopyKind::to_host, 0);
  t.device().synchronize(0);
  return bytes;
}

static void save(const char* path, const char* const* names, phlox_tensor* const* tensors, int64_t n,
                 const SafetensorsMetadata& metadata) {
  std::vector<std::vector<std::byte>> copies;
  std::vector<SafetensorsTensor> entries;
  copies.reserve(size_t(n));
  for (int64_t i = 0; i < n; ++i) {
    const TensorImpl& t = need(tensors[i], "save_safetensors");
    const auto dtype = safetensors_dtype(t.dtype);
    if (!names[i]) null_handle("save_safetensors", "name");
    if (!dtype)
      fail(ErrorCode::invalid_argument, {.op = "save_safetensors", .fact = cat("the format has no type for tensor '", names[i], "'"),
                                         .got = cat(t.dtype), .remedy = "save real and imaginary parts"});
    if (!t.contiguous)
      fail(ErrorCode::invalid_argument, {.op = "save_safetensors", .fact = cat("tensor '", names[i], "' is not contiguous"),
                                         .got = tensor_text(t), .remedy = "save its contiguous()"});
    std::span<const std::byte> bytes;
    if (t.device().id().kind == DeviceKind::cpu) {
      bytes = {reinterpret_cast<const std::byte*>(t.storage->data ? t.bytes() : nullptr), size_t(t.numel() * dtype_bytes(t.dtype))};
    } else {
      copies.push_back(host_bytes(t));
      bytes = copies.back();
    }
    entries.push_back({names[i], *dtype, t.sizes, bytes});
  }
  write_safetensors(path, entries, metadata);
}

}  // namespace phlox

using namespace phlox;

extern "C" {

int64_t phlox_tensor_map_size(const phlox_tensor_map* m) { return int64_t(m->names.size()); }
const char* phlox_tensor_map_name(const phlox_tensor_map* m, int64_t i) {
  return i >= 0 && i < int64_t(m->names.size()) ? m->names[size_t(i)].c_str() : nullptr;
}
phlox_tensor* phlox_tensor_map_tensor(const phlox_tensor_map* m, int64_t i) {
  return i >= 0 && i < int64_t(m->tensors.size()) ? reinterpret_cast<phlox_tensor*>(m->tensors[size_t(i)].get()) : nullptr;
}
int64_t phlox_tensor_map_metadata_size(const phlox_tensor_map* m) { return int64_t(m->metadata.size()); }
const char* phlox_tensor_map_metadata_key(const phlox_tensor_map* m, int64_t i) {
  return i >= 0 && i < int64_t(m->metadata.size()) ? m->metadata[size_t(i)].first.c_str() : nullptr;
}
const char* phlox_tensor_map_metadata_value(const phlox_tensor_map* m, int64_t i) {
  return i >= 0 && i < int64_t(m->metadata.size()) ? m->metadata[size_t(i)].second.c_str() : nullptr;
}
void phlox_tensor_map_free(phlox_tensor_map* m) { delete m; }

phlox_status phlox_load_safetensors(const char* path, phlox_device device, phlox_tensor_map** out) {
  return guarded([&] {
    need_out(out, "load_safetensors");
    if (!path) null_handle("load_safetensors", "path");
    Device& d = need_device(device);
    const auto file = std::make_shared<MappedFile>(std::string(path), MappedFile::Contents::copy_on_write);
    const SafetensorsFile parsed = parse_safetensors(file->bytes());
    auto map = std::make_unique<phlox_tensor_map>();
    for (const SafetensorsEntry e : parsed) {
      map->names.emplace_back(e.name);
      map->tensors.push_back(load_entry(e, d, file));
    }
    for (size_t i = 0; i < parsed.metadata_size(); ++i) map->metadata.emplace_back(parsed.metadata_entry(i));
    d.synchronize(0);
    *out = map.release();
  });
}

phlox_status phlox_save_safetensors(const char* path, const char* const* names, phlox_tensor* const* tensors, int64_t n,
                                    const char* const* keys, const char* const* values, int64_t n_metadata) {
  return guarded([&] {
    if (!path) null_handle("save_safetensors", "path");
    if (n > 0 && (!names || !tensors)) null_handle("save_safetensors", "list of tensors");
    SafetensorsMetadata metadata;
    for (int64_t i = 0; i < n_metadata; ++i) {
      if (!keys || !values || !keys[i] || !values[i]) null_handle("save_safetensors", "metadata");
      metadata.emplace_back(keys[i], values[i]);
    }
    save(path, names, tensors, n, metadata);
  });
}

phlox_status phlox_inspect_file(const char* path, phlox_text** out) {
  return guarded([&] {
    need_out(out, "inspect");
    if (!path) null_handle("inspect", "path");
    const MappedFile file{std::string(path)};
    *out = new phlox_text{inspect_safetensors(parse_safetensors(file.bytes()), path)};
  });
}

}  // extern "C"

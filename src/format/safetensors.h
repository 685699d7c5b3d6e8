// safetensors files as typed spans of bytes.
//
//   8 bytes N, little-endian | N bytes of JSON header | the tensors' bytes, row-major, little-endian
//
// parse_safetensors() validates everything before it shows anything. Invariant of a SafetensorsFile: the
// tensors' ranges tile the data exactly (no hole, no overlap, nothing before or behind), each range is as
// long as dtype and shape say, names are unique. Payload is never copied: entries point into the caller's
// bytes, normally a MappedFile, which must outlive them. The header is copied once, so that a file changed
// under us cannot change what was validated.
//
// Refuses (Error, bad_file), beyond what the format forbids: leading white space (the format text forbids it,
// the reference reader allows it), duplicate keys, names over 1 KiB or with NUL, dimensions beyond int64,
// tensor entries and dtypes that are not written as an object and a string, JSON deeper than 64, more than 64
// dimensions, 1 M tensors or 64 Ki metadata entries. Memory stays below twice the file's size + 16 MiB, time
// linear but for one sort. Fields of a tensor's entry that the format does not know are skipped, as the
// reference does.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/small_vector.h"
#include "type/dtype.h"

namespace phlox {

// The format's element types, in its order, which is the writer's sort order. Several have no DType: they are
// kept as raw entries that can be read, shown and written.
enum class SafetensorsDType : uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
};
constexpr int safetensors_dtype_count = 22;

struct SafetensorsDTypeInfo {
  std::string_view name;       // "F32"
  uint8_t bits;                // 4 and 6 for the packed ones
  std::optional<DType> dtype;  // phlox's type of the same meaning
};
const SafetensorsDTypeInfo& safetensors_dtype_info(SafetensorsDType);
std::optional<SafetensorsDType> safetensors_dtype(DType);  // none for complex128
std::optional<SafetensorsDType> parse_safetensors_dtype(std::string_view name);
void append(std::string& s, SafetensorsDType d);  // the format's name

// The bytes of a tensor by the format's rule: the product left to right, times bits, in whole bytes, nothing
// of it beyond 64 bits. `problem` says why there is no such number, else null.
struct SafetensorsSize {
  uint64_t bytes = 0;
  const char* problem = nullptr;
};
SafetensorsSize safetensors_size(SafetensorsDType dtype, std::span<const int64_t> shape);

namespace safetensors_limits {
constexpr uint64_t header_bytes = 100'000'000;
constexpr size_t tensors = 1'000'000;
constexpr size_t metadata_entries = 65'536;
constexpr size_t name_bytes = 1024;
constexpr size_t rank = 64;
}  // namespace safetensors_limits

using SafetensorsShape = SmallVector<int64_t, 6>;

// One tensor of a parsed file: a view, as short-lived as the SafetensorsFile and its bytes.
struct SafetensorsEntry {
  std::string_view name;
  SafetensorsDType dtype;
  SafetensorsShape shape;
  std::span<const std::byte> bytes;
  uint64_t offset;  // of bytes[0] in the file

  // The elements, when T is exactly the dtype's C++ type (16-bit and smaller floats: none) and the bytes are
  // aligned for T; the format promises no alignment. Throws Error(invalid_argument) naming the tensor
  // otherwise.
  template <class T>
  std::span<const T> values() const {
    return {static_cast<const T*>(typed_data(cpp_dtype<T>(), alignof(T))), bytes.size() / sizeof(T)};
  }

 private:
  template <class T>
  static constexpr SafetensorsDType cpp_dtype();
  const void* typed_data(SafetensorsDType wanted, size_t alignment) const;
};

class SafetensorsFile {
 public:
  size_t size() const { return records_.size(); }
  bool empty() const { return records_.empty(); }
  SafetensorsEntry operator[](size_t i) const;  // in the order of the data
  std::optional<SafetensorsEntry> find(std::string_view name) const;
  SafetensorsEntry at(std::string_view name) const;  // throws Error(not_found) listing near names

  size_t metadata_size() const { return metadata_.size(); }
  std::pair<std::string_view, std::string_view> metadata_entry(size_t i) const;  // in the order of the file
  std::optional<std::string_view> metadata(std::string_view key) const;

  uint64_t data_offset() const { return data_offset_; }  // of the first tensor byte in the file
  std::span<const std::byte> data() const { return data_; }

  class Iterator {
   public:
    Iterator(const SafetensorsFile& file, size_t i) : file_(&file), i_(i) {}
    SafetensorsEntry operator*() const { return (*file_)[i_]; }
    Iterator& operator++() {
      ++i_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const SafetensorsFile* file_;
    size_t i_;
  };
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }

 private:
  friend class SafetensorsParser;
  // Positions are in header_, which holds names resolved in place and shapes as their (checked) text: 32
  // bytes a tensor keep the promise about memory for a header full of tiny entries.
  struct Record {
    uint64_t begin, end;  // in data_
    uint32_t name, shape;
    uint16_t name_size;
    SafetensorsDType dtype;
  };
  struct MetadataRecord {
    uint32_t key, key_size, value, value_size;
  };
  std::string_view text(size_t at, size_t size) const { return std::string_view(header_).substr(at, size); }
  std::string_view name_of(const Record& r) const { return text(r.name, r.name_size); }

  std::string header_;
  std::span<const std::byte> data_;
  uint64_t data_offset_ = 0;
  std::vector<Record> records_;
  std::vector<uint32_t> by_name_;  // indices of records_, sorted by name
  std::vector<MetadataRecord> metadata_;
};

// Throws Error(bad_file) with op "safetensors" at the first rule that `file`, the whole file, breaks.
SafetensorsFile parse_safetensors(std::span<const std::byte> file);

// Throws Error(bad_file) naming the tensor and the element when a floating-point tensor holds NaN or
// infinity. Not part of parsing: such values are legal, and looking costs a pass over the data.
void require_finite(const SafetensorsFile& file);

// ---- writing ----

struct SafetensorsTensor {
  std::string_view name;
  SafetensorsDType dtype;
  std::span<const int64_t> shape;
  std::span<const std::byte> bytes;
};
using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

// The header and the places of the tensors' bytes, for writers that produce the bytes piece by piece. The
// `bytes` of the tensors are not looked at. The order is the format's: wide dtypes first (so that every
// tensor is aligned for its dtype), then by name; the data starts at a multiple of 8. The same input gives
// the same bytes. Throws Error(invalid_argument) for what a reader would refuse.
struct SafetensorsPlan {
  std::string header;             // with its length in front and padding: everything before the data
  std::vector<uint32_t> order;    // indices of the tensors in the order of the data
  std::vector<uint64_t> offsets;  // by index of the tensors; from the start of the file
  uint64_t file_bytes;
};
SafetensorsPlan plan_safetensors(std::span<const SafetensorsTensor> tensors,
                                 const SafetensorsMetadata& metadata = {});

// Replaces `path` in one step (see base/file.h): after any failure the old file is intact. Throws Error(io)
// as well.
void write_safetensors(const std::string& path, std::span<const SafetensorsTensor> tensors,
                       const SafetensorsMetadata& metadata = {});
std::vector<std::byte> safetensors_bytes(std::span<const SafetensorsTensor> tensors,
                                         const SafetensorsMetadata& metadata = {});

// ---- inline ----

template <class T>
constexpr SafetensorsDType SafetensorsEntry::cpp_dtype() {
  using D = SafetensorsDType;
  if constexpr (std::is_same_v<T, float>)
    return D::f32;
  else if constexpr (std::is_same_v<T, double>)
    return D::f64;
  else if constexpr (std::is_same_v<T, uint8_t>)
    return D::u8;
  else if constexpr (std::is_same_v<T, int8_t>)
    return D::i8;
  else if constexpr (std::is_same_v<T, uint16_t>)
    return D::u16;
  else if constexpr (std::is_same_v<T, int16_t>)
    return D::i16;
  else if constexpr (std::is_same_v<T, uint32_t>)
    return D::u32;
  else if constexpr (std::is_same_v<T, int32_t>)
    return D::i32;
  else if constexpr (std::is_same_v<T, uint64_t>)
    return D::u64;
  else {
    static_assert(std::is_same_v<T, int64_t>, "no safetensors dtype is this C++ type");
    return D::i64;
  }
}

}  // namespace phlox

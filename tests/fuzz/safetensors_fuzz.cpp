// Promises of the safetensors reader under any bytes: no crash, no read outside, every refusal is
// Error(bad_file) of bounded text, and what is accepted is consistent, can be written, and reads back the
// same.
#include <cstring>

#include "../format/safetensors_attacks.h"
#include "base/error.h"
#include "format/safetensors.h"
#include "fuzz_target.h"
#include "safetensors_mutator.h"

namespace phlox {

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds = safetensors_valid_files();
  // Valid ones often: a mutation of a file that is already wrong rarely gets further.
  const std::vector<std::string> valid = seeds;
  for (int i = 0; i < 10; ++i) seeds.insert(seeds.end(), valid.begin(), valid.end());
  for (Attack& a : safetensors_attacks()) seeds.push_back(std::move(a.file));
  return seeds;
}

static void require(bool ok, const char* promise) {
  if (!ok) fuzz_failure(promise);
}

static void check_accepted(std::span<const std::byte> bytes, const SafetensorsFile& file) {
  uint64_t end = 0;
  std::vector<SafetensorsEntry> entries;
  std::vector<SafetensorsTensor> tensors;
  for (const SafetensorsEntry& e : file) entries.push_back(e);
  for (const SafetensorsEntry& e : entries) {
    require(e.offset == file.data_offset() + end && e.bytes.data() == bytes.data() + e.offset,
            "the data is tiled");
    end += e.bytes.size();
    const SafetensorsSize size = safetensors_size(e.dtype, e.shape);
    require(!size.problem && size.bytes == e.bytes.size(), "a range is as long as its shape says");
    require(file.at(e.name).bytes.data() == e.bytes.data(), "names find their tensors");
    unsigned sum = 0;
    for (const std::byte b : e.bytes) sum += std::to_integer<unsigned>(b);
    require(sum <= 255 * e.bytes.size(), "the bytes can be read");
    tensors.push_back({e.name, e.dtype, e.shape, e.bytes});
  }
  require(file.data_offset() + end == bytes.size(), "the file ends with the data");
  SafetensorsMetadata metadata;
  for (size_t i = 0; i < file.metadata_size(); ++i) metadata.emplace_back(file.metadata_entry(i));
  const std::vector<std::byte> again_bytes = safetensors_bytes(tensors, metadata);
  const SafetensorsFile again = parse_safetensors(again_bytes);
  require(again.size() == file.size() && again.metadata_size() == metadata.size(),
          "a written file reads back");
  for (const SafetensorsEntry& e : entries) {
    const SafetensorsEntry r = again.at(e.name);
    require(r.dtype == e.dtype && r.shape == e.shape && r.bytes.size() == e.bytes.size(),
            "a tensor reads back");
    require(e.bytes.empty() || std::memcmp(r.bytes.data(), e.bytes.data(), e.bytes.size()) == 0,
            "bytes read back");
  }
}

}  // namespace phlox

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace phlox;
  // A heap block of exactly this size: a sanitizer sees the first byte read behind it.
  const auto* const first = static_cast<const std::byte*>(static_cast<const void*>(data));
  const std::vector<std::byte> bytes(first, first + size);
  try {
    check_accepted(bytes, parse_safetensors(bytes));
  } catch (const Error& e) {
    require(e.code() == ErrorCode::bad_file && e.parts().op == "safetensors", e.what());
    require(std::strlen(e.what()) <= 1000, "errors are short");
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  phlox::SafetensorsMutator mutate(seed);
  if (seed % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const char* const text = static_cast<const char*>(static_cast<const void*>(data));
  const std::string changed = mutate(std::string(text, size));
  if (changed.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, changed.data(), changed.size());
  return changed.size();
}

// Promises of the kernel cache's file reader under any bytes: no crash, no read outside, a refusal says why,
// and an image that is accepted passes its checks. Most inputs get a right checksum, or nothing behind it
// would be reached.
#include <cstring>

#include "fuzz_target.h"
#include "toolchain/disk_cache.h"

namespace phlox {

static CacheKey fuzz_key() {
  Target t;
  t.arch = "x86-64-v3";
  return cache_key({"void k_1(void) {}", "k_1"}, t, "fuzz");
}

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (int kind = 0; kind < 4; ++kind) {
    Image image;
    image.bytes.assign(size_t(64 << kind), std::byte{0xc3});
    image.entries = {{"k_1", 0}};
    if (kind >= 1) image.imports = {{"memset", 8}};
    if (kind >= 2) image.imports.push_back({"memmove", 56}), image.entries.push_back({"k_22", 16});
    const std::vector<std::byte> file = encode_cache_file(fuzz_key(), image);
    seeds.emplace_back(static_cast<const char*>(static_cast<const void*>(file.data())), file.size());
  }
  return seeds;
}

}  // namespace phlox

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace phlox;
  static const CacheKey key = fuzz_key();
  const auto* const first = static_cast<const std::byte*>(static_cast<const void*>(data));
  const std::vector<std::byte> bytes(first, first + size);  // exactly this size, for sanitizers
  std::string fault;
  const auto image = decode_cache_file(bytes, key, fault);
  if (image && !image_fault(*image).empty()) fuzz_failure("an accepted image has no fault");
  if (!image && (fault.empty() || fault.size() > 1000)) fuzz_failure("a refusal says why, in short");
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  const uint64_t borders[] = {0,   1,     7,     8,          63,         64,         255,  256,
                              257, 65536, 65537, 1ull << 26, 1ull << 32, ~0ull >> 1, ~0ull};
  if (seed % 3 == 0) {
    size = LLVMFuzzerMutate(data, size, max_size);
  } else if (size >= 16) {
    const size_t width = seed / 3 % 2 ? 8 : 4, at = (seed / 6 % (size / 4)) * 4;
    std::memcpy(data + at, &borders[seed / 7 % std::size(borders)], std::min(width, size - at));
  }
  if (size >= 112 && seed % 16 != 1)
    phlox::seal_cache_file({static_cast<std::byte*>(static_cast<void*>(data)), size});
  return size;
}

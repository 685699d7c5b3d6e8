// Promises of the object linker under any bytes: no crash, no read outside, every refusal is Error(bad_file)
// of bounded text, and an image that it makes passes its checks.
#include <elf.h>

#include <cstring>

#include "base/error.h"
#include "base/hash.h"
#include "fuzz_target.h"
#include "toolchain/object_image.h"
#include "toolchain/spawn_cc.h"

namespace phlox {

// Small objects of the system's compiler: constants, a jump table, calls. None where there is no compiler.
std::vector<std::string> fuzz_seeds() {
  const std::string head = "(const unsigned long long* w, long long b, long long e) {\n";
  const std::string sources[] = {
      "void k_1" + head + "for (; b < e; ++b) ((float*)w[0])[b] = ((float*)w[1])[b] * 1.7f + 3.5f; }",
      "void k_1" + head +
          "__builtin_memset((char*)w[0], 0, e - b); __builtin_memmove((char*)w[0], (char*)w[1], e); }",
      "void k_1" + head +
          "double* p = (double*)w[0]; static const double t[4] = {1, 2.5, 3, 4};\n"
          "switch (b) { case 0: *p = 1; break; case 1: *p += t[e & 3]; break; case 2: *p *= 7; break; case "
          "3: *p /= 3; break;\n"
          "case 4: *p -= e; break; case 5: *p = -*p; } }\nvoid k_2" +
          head + "*(int*)w[0] = (int)(b + e); }"};
  std::vector<std::string> seeds = {
      std::string("\x7f"
                  "ELF")};
  std::string why;
  const auto cc = SpawnCc::find_default(why);
  for (const std::string& source : sources) {
    if (!cc) break;
    const std::vector<std::byte> o = cc->compile_object(source, Target{});
    seeds.emplace_back(static_cast<const char*>(static_cast<const void*>(o.data())), o.size());
  }
  return seeds;
}

}  // namespace phlox

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace phlox;
  const auto* const first = static_cast<const std::byte*>(static_cast<const void*>(data));
  const std::vector<std::byte> bytes(first, first + size);  // exactly this size, for sanitizers
  try {
    const ElfObject object(bytes);
    std::vector<std::string> names = object.functions();
    if (names.size() > 8) names.resize(8);
    for (const std::string& name : names) {
      const std::string_view entry = name;
      const Image image = object.link({&entry, 1});
      if (!image_fault(image).empty()) fuzz_failure("a linked image has no fault");
    }
  } catch (const Error& e) {
    if (e.code() != ErrorCode::bad_file) fuzz_failure(e.what());
  }
  return 0;
}

// Mostly single fields of the tables, set to values at the borders.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  Elf64_Ehdr h;
  if (seed % 8 == 0 || size < sizeof h) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(&h, data, sizeof h);
  uint64_t random = phlox::mix64(seed);
  const auto next = [&](uint64_t n) {
    random = phlox::mix64(random + 0x9e3779b97f4a7c15ull);
    return random % n;
  };
  const uint64_t borders[] = {0,          1,          2,          4,         7,          8,
                              9,          63,         64,         0xff,      0xfff1,     0xfff2,
                              0xffff,     size - 1,   size,       size + 1,  0x7fffffff, 0x80000000,
                              0xffffffff, 1ull << 40, ~0ull >> 1, ~0ull - 7, ~0ull};
  uint64_t begin = 0, end = sizeof h;
  if (seed % 8 > 1 && h.e_shoff < size) begin = h.e_shoff, end = size;
  if (seed % 8 > 3 && h.e_shoff < size && h.e_shnum > 0) {
    Elf64_Shdr s;
    const uint64_t at = h.e_shoff + next(h.e_shnum) * sizeof s;
    if (at + sizeof s <= size) {
      std::memcpy(&s, data + at, sizeof s);
      if (s.sh_offset < size && s.sh_size > 0 && s.sh_size <= size - s.sh_offset)
        begin = s.sh_offset, end = begin + s.sh_size;
    }
  }
  const uint64_t width = uint64_t(1) << next(4), at = begin + next((end - begin + width - 1) / width) * width;
  if (at < size) std::memcpy(data + at, &borders[next(std::size(borders))], std::min(width, size - at));
  return size;
}

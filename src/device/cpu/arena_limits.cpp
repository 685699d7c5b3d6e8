// What both arenas (the real one and the one for the address sanitizer) say about limits.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "device/cpu/arena.h"

namespace phlox {

int64_t parse_bytes(const char* text, const char* what) {
  const char* end = text + std::strlen(text);
  int64_t n = 0;
  const auto r = std::from_chars(text, end, n);
  static constexpr std::string_view suffixes = "KMGT";
  bool good = r.ec == std::errc() && n > 0;
  const char* p = r.ptr;
  if (good && p != end) {
    const size_t i = suffixes.find(*p++);
    const auto scaled = i == suffixes.npos ? std::nullopt : try_mul(n, int64_t(1) << (10 * (i + 1)));
    good = scaled && p == end;
    if (good) n = *scaled;
  }
  if (!good)
    fail(ErrorCode::invalid_argument, {.op = what,
                                       .fact = "not a number of bytes",
                                       .got = text,
                                       .expected = "for example 8000000000, 512M or 16G"});
  return n;
}

// The number in a control group's file; INT64_MAX where there is none or it says "max".
static int64_t group_limit(const std::string& path) {
  try {
    const std::string text = read_file(path);
    int64_t n = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), n).ec == std::errc() && n > 0) return n;
  } catch (const Error&) {  // no such group: no limit
  }
  return INT64_MAX;
}

int64_t available_memory() {
  int64_t n = int64_t(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  // The unified hierarchy: the limit of this process's group and of each group around it.
  std::string group;
  try {
    const std::string text = read_file("/proc/self/cgroup");
    const size_t at = text.find("0::/");
    if (at != text.npos) group = text.substr(at + 3, text.find('\n', at) - at - 3);
  } catch (const Error&) {
  }
  while (true) {
    n = std::min(n, group_limit("/sys/fs/cgroup" + group + "/memory.max"));
    const size_t slash = group.rfind('/');
    if (slash == group.npos) break;
    group.resize(slash);
  }
  return std::min(n, group_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));  // the older hierarchy
}

void out_of_memory(int64_t request, const MemoryStats& stats, int64_t largest, int64_t limit) {
  fail(ErrorCode::out_of_memory,
       {.op = "cpu memory",
        .fact = "out of memory",
        .got = cat("a request for ", request, " bytes; ", stats.allocated_bytes,
                   " bytes are in use, the largest free block is ", largest, " bytes"),
        .expected = cat("a total of at most ", limit, " bytes"),
        .remedy = "free tensors, use smaller ones, or raise PHLOX_CPU_MEMORY_LIMIT"});
}

}  // namespace phlox

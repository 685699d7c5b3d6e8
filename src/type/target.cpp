#include "type/target.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace phlox {

const char* device_kind_name(DeviceKind k) { return k == DeviceKind::cpu ? "cpu" : "cuda"; }

namespace {

// Where a feature is announced, and the level of x86-64 that implies it (0: none of them).
enum class Leaf : uint8_t { l1_ecx, l7_ebx, l7_ecx, l7_edx, l7_1_eax, ext_ecx };
enum class State : uint8_t { none, ymm, zmm, tile };  // register state that the system must save for it
struct Feature {
  const char* name;
  Leaf leaf;
  uint8_t bit;
  State state;
  uint8_t level;
};
constexpr Feature features[] = {
    {"aes", Leaf::l1_ecx, 25, State::none, 0},
    {"amx-bf16", Leaf::l7_edx, 22, State::tile, 0},
    {"amx-int8", Leaf::l7_edx, 25, State::tile, 0},
    {"amx-tile", Leaf::l7_edx, 24, State::tile, 0},
    {"avx", Leaf::l1_ecx, 28, State::ymm, 3},
    {"avx2", Leaf::l7_ebx, 5, State::ymm, 3},
    {"avx512bf16", Leaf::l7_1_eax, 5, State::zmm, 0},
    {"avx512bitalg", Leaf::l7_ecx, 12, State::zmm, 0},
    {"avx512bw", Leaf::l7_ebx, 30, State::zmm, 4},
    {"avx512cd", Leaf::l7_ebx, 28, State::zmm, 4},
    {"avx512dq", Leaf::l7_ebx, 17, State::zmm, 4},
    {"avx512f", Leaf::l7_ebx, 16, State::zmm, 4},
    {"avx512fp16", Leaf::l7_edx, 23, State::zmm, 0},
    {"avx512ifma", Leaf::l7_ebx, 21, State::zmm, 0},
    {"avx512vbmi", Leaf::l7_ecx, 1, State::zmm, 0},
    {"avx512vbmi2", Leaf::l7_ecx, 6, State::zmm, 0},
    {"avx512vl", Leaf::l7_ebx, 31, State::zmm, 4},
    {"avx512vnni", Leaf::l7_ecx, 11, State::zmm, 0},
    {"avx512vpopcntdq", Leaf::l7_ecx, 14, State::zmm, 0},
    {"avxvnni", Leaf::l7_1_eax, 4, State::ymm, 0},
    {"bmi", Leaf::l7_ebx, 3, State::none, 3},
    {"bmi2", Leaf::l7_ebx, 8, State::none, 3},
    {"cx16", Leaf::l1_ecx, 13, State::none, 2},
    {"f16c", Leaf::l1_ecx, 29, State::ymm, 3},
    {"fma", Leaf::l1_ecx, 12, State::ymm, 3},
    {"gfni", Leaf::l7_ecx, 8, State::none, 0},
    {"lzcnt", Leaf::ext_ecx, 5, State::none, 3},
    {"movbe", Leaf::l1_ecx, 22, State::none, 3},
    {"pclmul", Leaf::l1_ecx, 1, State::none, 0},
    {"popcnt", Leaf::l1_ecx, 23, State::none, 2},
    {"sahf", Leaf::ext_ecx, 0, State::none, 2},
    {"sse3", Leaf::l1_ecx, 0, State::none, 2},
    {"sse4.1", Leaf::l1_ecx, 19, State::none, 2},
    {"sse4.2", Leaf::l1_ecx, 20, State::none, 2},
    {"ssse3", Leaf::l1_ecx, 9, State::none, 2},
    {"vaes", Leaf::l7_ecx, 9, State::ymm, 0},
    {"vpclmulqdq", Leaf::l7_ecx, 10, State::ymm, 0},
};

// "x86-64-v3" -> 3, "x86-64" -> 1, anything else -> 0.
int arch_level(std::string_view arch) {
  if (arch == "x86-64") return 1;
  if (arch.size() == 9 && arch.starts_with("x86-64-v") && arch[8] >= '2' && arch[8] <= '4')
    return arch[8] - '0';
  return 0;
}

#if defined(__x86_64__)
// Linux hands out the 8 KiB of tile state only to processes that ask, once, for all their threads.
bool request_tiles() {
  constexpr long req_xcomp_perm = 0x1023, xfeature_xtiledata = 18;
  return ::syscall(SYS_arch_prctl, req_xcomp_perm, xfeature_xtiledata) == 0;
}

std::vector<std::string> cpu_features() {
  uint32_t a, b, c, d, word[6] = {};
  bool os_saves = false;
  if (__get_cpuid(1, &a, &b, &c, &d)) {
    word[int(Leaf::l1_ecx)] = c;
    os_saves = c & (1u << 27);
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    const uint32_t subleaves = a;
    word[int(Leaf::l7_ebx)] = b;
    word[int(Leaf::l7_ecx)] = c;
    word[int(Leaf::l7_edx)] = d;
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) word[int(Leaf::l7_1_eax)] = a;
  }
  if (__get_cpuid(0x80000001, &a, &b, &c, &d)) word[int(Leaf::ext_ecx)] = c;
  uint64_t saved = 0;
  if (os_saves) {
    uint32_t lo, hi;
    asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    saved = uint64_t(hi) << 32 | lo;
  }
  const bool tiles =
      (word[int(Leaf::l7_edx)] & (1u << 24)) && (saved & 0x60000) == 0x60000 && request_tiles();
  const bool state[] = {true, (saved & 0x6) == 0x6, (saved & 0xe6) == 0xe6, tiles};
  std::vector<std::string> r;
  for (const Feature& f : features)
    if ((word[int(f.leaf)] >> f.bit & 1) && state[int(f.state)]) r.push_back(cat("+", f.name));
  return r;  // the table is sorted
}
#else
std::vector<std::string> cpu_features() { return {}; }
#endif

// The highest level all of whose features are there.
int supported_level(const std::vector<std::string>& have) {
  int level = 4;
  for (const Feature& f : features)
    if (f.level && f.level <= level && !std::binary_search(have.begin(), have.end(), cat("+", f.name)))
      level = f.level - 1;
  return level;
}

std::string read_line(const std::string& path) {
  std::string s;
  if (FILE* f = std::fopen(path.c_str(), "re")) {
    char b[256];
    if (std::fgets(b, sizeof b, f)) s = b;
    std::fclose(f);
  }
  while (!s.empty() && (s.back() == '\n' || s.back() == ' ')) s.pop_back();
  return s;
}

std::optional<int64_t> read_int(std::string_view s) {
  int64_t v;
  const auto [p, e] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (e != std::errc() || v < 0) return std::nullopt;
  if (p != s.data() + s.size() && *p == 'K')
    v <<= 10;
  else if (p != s.data() + s.size() && *p == 'M')
    v <<= 20;
  return v;
}

// Cores that this process may use: hyper-thread siblings count once, and a container's CPU quota limits them.
int usable_cores(int& first_cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return std::max(1, int(::sysconf(_SC_NPROCESSORS_ONLN)));
  std::vector<std::string> cores;
  first_cpu = -1;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (!CPU_ISSET(i, &set)) continue;
    if (first_cpu < 0) first_cpu = i;
    const std::string dir = cat("/sys/devices/system/cpu/cpu", i, "/topology/");
    const std::string core = read_line(dir + "core_id");
    std::string id = core.empty() ? cat("cpu", i) : cat(read_line(dir + "physical_package_id"), ".", core);
    if (std::find(cores.begin(), cores.end(), id) == cores.end()) cores.push_back(std::move(id));
  }
  int64_t n = int64_t(cores.size());
  std::optional<int64_t> quota, period;
  if (const std::string v2 = read_line("/sys/fs/cgroup/cpu.max"); !v2.empty()) {
    const size_t space = v2.find(' ');
    if (space != std::string::npos)
      quota = read_int(v2.substr(0, space)), period = read_int(v2.substr(space + 1));
  } else {
    quota = read_int(read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
    period = read_int(read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  }
  if (quota && period && *quota > 0 && *period > 0) n = std::min(n, (*quota + *period - 1) / *period);
  return int(std::max<int64_t>(1, n));
}

void read_caches(Target& t, int cpu) {
  for (int i = 0; i < 8; ++i) {
    const std::string dir = cat("/sys/devices/system/cpu/cpu", cpu, "/cache/index", i, "/");
    const std::string level = read_line(dir + "level");
    if (level.empty()) break;
    const std::optional<int64_t> size = read_int(read_line(dir + "size"));
    if (!size || *size == 0 || read_line(dir + "type") == "Instruction") continue;
    if (level == "1") t.l1_bytes = *size;
    if (level == "2") t.l2_bytes = *size;
    if (level == "3") t.l3_bytes = *size;
  }
}

// Narrows to exactly one level: what a plain machine of that level has, and nothing more.
void narrow(Target& t, std::string_view wanted, int have) {
  const int level = wanted == "v3" ? 3 : wanted == "v4" ? 4 : 0;
  if (level == 0)
    fail(ErrorCode::invalid_argument, {.op = "PHLOX_CPU",
                                       .fact = "unknown level",
                                       .got = cat("'", wanted, "'"),
                                       .expected = "v3 or v4",
                                       .remedy = "unset it to use all of this machine"});
  if (level > have)
    fail(ErrorCode::invalid_argument, {.op = "PHLOX_CPU",
                                       .fact = "this machine is below the level asked for",
                                       .got = cat("'", wanted, "'"),
                                       .expected = cat("at most v", have),
                                       .remedy = "unset it to use all of this machine"});
  t.arch = cat("x86-64-v", level);
  std::erase_if(t.features, [&](const std::string& s) {
    for (const Feature& f : features)
      if (std::string_view(s).substr(1) == f.name) return f.level == 0 || f.level > level;
    return true;
  });
}

}  // namespace

bool Target::has(std::string_view feature) const {
  for (const std::string& s : features)
    if (std::string_view(s).substr(1) == feature) return s[0] == '+';
  const int level = arch_level(arch);
  for (const Feature& f : phlox::features)
    if (f.name == feature) return f.level && f.level <= level;
  return false;
}

int cpu_level(const Target& t) {
  if (t.kind != DeviceKind::cpu || (arch_level(t.arch) == 0 && t.features.empty())) return 0;
  int level = 4;
  for (const Feature& f : features)
    if (f.level && f.level <= level && !t.has(f.name)) level = f.level - 1;
  return level;
}

Target host_target() {
  Target t;
  t.features = cpu_features();
  const int level = t.features.empty() ? 0 : supported_level(t.features);
  t.arch = level == 0 ? "generic" : level == 1 ? "x86-64" : cat("x86-64-v", level);
  if (const char* wanted = std::getenv("PHLOX_CPU"); wanted && *wanted) narrow(t, wanted, level);
  t.vector_bits = t.has("avx512f") && t.has("avx512vl") ? 512 : t.has("avx2") ? 256 : 128;
  int cpu = 0;
  t.threads = usable_cores(cpu);
  read_caches(t, cpu);
  return t;
}

std::string code_target_text(const Target& t) {
  std::string s = cat(device_kind_name(t.kind), " ", t.arch);
  if (t.kind == DeviceKind::cuda) return s;
  std::vector<std::string> sorted = t.features;
  std::sort(sorted.begin(), sorted.end());
  return cat(s, " ", sorted.empty() ? std::string("-") : join(sorted, ","), " v", t.vector_bits);
}

std::string target_text(const Target& t) {
  return cat(code_target_text(t), " threads=", t.threads, " l1=", t.l1_bytes, " l2=", t.l2_bytes,
             " l3=", t.l3_bytes,
             t.kind == DeviceKind::cuda ? cat(" shared=", t.shared_bytes) : std::string());
}

}  // namespace phlox

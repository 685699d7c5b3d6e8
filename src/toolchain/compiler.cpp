#include "toolchain/compiler.h"

#include <algorithm>

#include <cstdlib>

#include "base/error.h"
#include "base/event.h"
#include "base/root.h"
#include "toolchain/clang_plugin.h"
#include "toolchain/nvrtc.h"
#include "toolchain/object_image.h"
#include "toolchain/spawn_cc.h"

namespace phlox {

std::unique_ptr<Compiler> choose_cpu_compiler(std::string& why) {
  const char* env = std::getenv("PHLOX_COMPILER");
  const std::string_view wanted = env ? env : "";
  if (wanted == "off") {
    why = "PHLOX_COMPILER=off";
    return nullptr;
  }
  if (!wanted.empty() && wanted != "plugin" && wanted != "cc")
    fail(ErrorCode::invalid_argument, {.op = "PHLOX_COMPILER",
                                       .fact = "unknown compiler",
                                       .got = cat("'", wanted, "'"),
                                       .expected = "plugin, cc or off"});
  std::string why_no_plugin, why_no_cc;
  if (wanted != "cc") {
    std::unique_ptr<Compiler> plugin = ClangPlugin::find(why_no_plugin);
    if (!plugin && wanted == "plugin") why = why_no_plugin;
    if (plugin || wanted == "plugin") return plugin;
  }
  std::unique_ptr<Compiler> cc = SpawnCc::find_default(why_no_cc);
  if (!cc)
    why = why_no_plugin.empty() ? why_no_cc : cat(why_no_plugin, ", and ", why_no_cc);
  else if (wanted != "cc")
    emit_event(EventKind::fallback, "compile kernels",
               cat(why_no_plugin, "; ", cc->name(), " takes its place and is several times slower"));
  return cc;
}

namespace {

struct CpuCompiler {
  std::string why_none;
  std::unique_ptr<Compiler> compiler = choose_cpu_compiler(why_none);
};

}  // namespace

Compiler* find_compiler(const Target& target) {
  if (target.kind == DeviceKind::cuda) {
    std::string why;
    Nvrtc* const nvrtc = Nvrtc::find(why);
    if (!nvrtc) emit_event(EventKind::fallback, "compile kernels", why);
    return nvrtc;
  }
  const CpuCompiler& c = root_object<CpuCompiler>();
  if (!c.compiler) emit_event(EventKind::fallback, "compile kernels", c.why_none);
  return c.compiler.get();
}

static bool good_entry(std::string_view s) {
  return s.size() > 2 && s.size() <= 66 && s.starts_with("k_") &&
         s.find_first_not_of("0123456789abcdef", 2) == std::string_view::npos;
}

std::string batch_source(std::span<const KernelText> batch) {
  size_t bytes = 0;
  for (const KernelText& t : batch) bytes += t.source.size() + 96;
  std::string s;
  s.reserve(bytes);
  for (const KernelText& t : batch) {
    PHLOX_CHECK(good_entry(t.entry), "kernel entry '", t.entry, "'");
    s += cat("#line 1 \"", t.entry, "\"\n", t.source, "\n");
  }
  return s;
}

std::vector<std::string> target_options(const Target& target) {
  const auto word = [](std::string_view s) {
    if (s.empty() || s.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") != std::string_view::npos)
      fail(ErrorCode::invalid_argument, {.op = "compile kernels",
                                         .fact = "odd name in the target",
                                         .got = cat("'", s, "'"),
                                         .expected = "lower-case letters, digits, '.' and '-'"});
    return s;
  };
  std::vector<std::string> r;
  if (!target.arch.empty() && target.arch != "generic") r.push_back(cat("-march=", word(target.arch)));
  std::vector<std::string> features = target.features;
  std::sort(features.begin(), features.end());
  for (const std::string& f : features) {
    if (f.empty() || (f[0] != '+' && f[0] != '-'))
      fail(ErrorCode::invalid_argument,
           {.op = "compile kernels", .fact = "a feature has no sign", .got = cat("'", f, "'")});
    r.push_back(cat(f[0] == '+' ? "-m" : "-mno-", word(std::string_view(f).substr(1))));
  }
  r.push_back(cat("-mprefer-vector-width=", target.vector_bits));
  return r;
}

std::vector<Image> Compiler::compile_each(std::span<const KernelText> batch, const Target& target) {
  std::vector<Image> r;
  for (const KernelText& t : batch) r.push_back(compile({&t, 1}, target));
  return r;
}

Image ObjectCompiler::compile(std::span<const KernelText> batch, const Target& target) {
  const std::vector<std::byte> object = compile_object(batch_source(batch), target);
  std::vector<std::string_view> entries;
  for (const KernelText& t : batch) entries.push_back(t.entry);
  return ElfObject(object).link(entries);
}

std::vector<Image> ObjectCompiler::compile_each(std::span<const KernelText> batch, const Target& target) {
  const std::vector<std::byte> object = compile_object(batch_source(batch), target);
  const ElfObject elf(object);
  std::vector<Image> r;
  for (const KernelText& t : batch) {
    const std::string_view entry = t.entry;
    r.push_back(elf.link({&entry, 1}));
  }
  return r;
}

}  // namespace phlox

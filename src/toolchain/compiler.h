// Compiler: kernel text -> image. ClangPlugin compiles C in this process through libphlox_compiler.so;
// SpawnCc runs a system compiler on the same text. Compilers are thread-safe; a batch is one translation
// unit.
//
// Kernel text contract. A text is complete by itself and uses no header. So that several can share one
// translation unit, every definition in it other than the entry is wrapped in `#ifndef NAME` / `#define NAME`
// / ... / `#endif` (equal NAME means equal text) or has the entry's digits in its name. Helpers are `static
// inline` and always_inline. Compilers promise: no contraction, no errno, no trapping, wrapping signed
// arithmetic, no aliasing by type.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "program/image.h"
#include "type/target.h"

namespace phlox {

struct KernelText {
  std::string source;  // header-free C (or CUDA C++) that defines the function `entry`
  std::string entry;   // "k_" and lower-case hex digits: no user text ever reaches kernel text
};

class Compiler {
 public:
  virtual ~Compiler() = default;
  // One image with every entry of the batch. Throws Error(internal) with the full log when a text is refused,
  // Error(io) when the compiler could not run.
  virtual Image compile(std::span<const KernelText> batch, const Target& target) = 0;
  // One image a text, in order; still one translation unit where the compiler can. For caches, which keep
  // kernels apart.
  virtual std::vector<Image> compile_each(std::span<const KernelText> batch, const Target& target);
  virtual std::string fingerprint() const = 0;  // version and options: part of every cache key
  virtual const char* name() const = 0;         // "clang-19 plug-in"
};

// A compiler that makes x86-64 ELF objects; the linking is ours and the same for all of them.
class ObjectCompiler : public Compiler {
 public:
  Image compile(std::span<const KernelText> batch, const Target& target) final;
  std::vector<Image> compile_each(std::span<const KernelText> batch, const Target& target) final;
  virtual std::vector<std::byte> compile_object(const std::string& source, const Target& target) = 0;
};

// The best compiler for this target that can be had here, or null with an event that says why. Chosen once a
// process. PHLOX_COMPILER=plugin|cc|off overrides the choice for the cpu.
Compiler* find_compiler(const Target& target);
std::unique_ptr<Compiler> choose_cpu_compiler(std::string& why);  // the choice itself, made anew

// The batch as one translation unit; diagnostics name the kernel as their file. Checks entry names.
std::string batch_source(std::span<const KernelText> batch);
// The target as the options of a GCC-like command line ("-march=x86-64-v4", "-mavx512bf16", ...); refuses odd
// names.
std::vector<std::string> target_options(const Target& target);

}  // namespace phlox

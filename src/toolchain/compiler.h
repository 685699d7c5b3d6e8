// Compiler: kernel text -> image. ClangPlugin compiles C in this process through libphlox_compiler.so; SpawnCc runs a
// system compiler on the same text. Compilers are thread-safe; a batch is one translation unit.
#pragma once
#include <span>
#include <string>

#include "program/image.h"
#include "type/target.h"

namespace phlox {

struct KernelText {
  std::string source;  // header-free C (or CUDA C++) that defines the function `entry`
  std::string entry;   // "k_" and hex digits: no user text ever reaches kernel text
};

class Compiler {
 public:
  virtual ~Compiler() = default;
  virtual Image compile(std::span<const KernelText> batch, const Target& target) = 0;  // throws Error with the full log
  virtual std::string fingerprint() const = 0;  // version and options: part of every cache key
  virtual const char* name() const = 0;         // "clang-19 plug-in"
};

// The best compiler for this target that can be had here, or null with an event that says why.
Compiler* find_compiler(const Target& target);

}  // namespace phlox

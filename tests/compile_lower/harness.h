// Runs a loop through lowering, C text and a spawned compiler, and through the interpreter, and compares bits.
#pragma once
#include <cmath>
#include <cstring>
#include <map>
#include <memory>

#include "base/error.h"
#include "compile/lower.h"
#include "emit/emit.h"
#include "kernel/interpret.h"
#include "loop/interpret.h"
#include "program/code_arena.h"
#include "toolchain/clang_plugin.h"
#include "toolchain/spawn_cc.h"

namespace phlox::harness {

struct Buffer {
  DType dtype;
  std::vector<std::byte> bytes;
  int64_t count = 0;
  Buffer() = default;
  Buffer(DType d, int64_t n) : dtype(d), bytes(size_t(n * dtype_bytes(d) + 64)), count(n) {}
  void* data() { return bytes.data(); }
};

inline uint64_t next(uint64_t& s) {
  s += 0x9e3779b97f4a7c15ULL;
  return mix64(s);
}
// Ordinary numbers of mixed size and sign, with a few special ones where `special`.
inline void fill(Buffer& b, uint64_t seed, bool special = false) {
  for (int64_t i = 0; i < b.count; ++i) {
    const uint64_t r = next(seed);
    double v = (double(r >> 11) * 0x1p-53 - 0.5) * 8;
    if (special && r % 37 == 0) {
      const double odd[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 1e-40, -3e38};
      v = odd[(r >> 8) % 7];
    }
    int64_t bits;
    if (is_float(b.dtype)) bits = constant_bits(b.dtype, v);
    else if (is_bool(b.dtype)) bits = r >> 40 & 1;
    else bits = int64_t(r >> 20) % 100 - (is_unsigned(b.dtype) ? 0 : 50);
    std::memcpy(b.bytes.data() + i * dtype_bytes(b.dtype), &bits, size_t(dtype_bytes(b.dtype)));
  }
}

struct Compiled {
  Lowered lowered;
  std::vector<KernelFn> entries;
  std::vector<std::string> texts;
};

inline Compiler& compiler(const std::string& name) {
  static auto& all = *new std::map<std::string, std::unique_ptr<Compiler>>;
  auto& c = all[name];
  std::string why;
  if (!c && name == "plug-in") c = ClangPlugin::find(why);
  else if (!c) c = SpawnCc::find(name);
  PHLOX_CHECK(c, "no compiler ", name, " ", why);
  return *c;
}

// To be run by the kernel interpreter.
inline Compiled interpreted(const Loop& loop, const Target& target, const ScheduleOptions& options = {}) {
  return {lower_loop(loop, target, options), {}, {}};
}

// One translation unit for all of them.
inline std::vector<Compiled> build(std::span<const Loop> loops, const Target& target, const std::string& cc,
                                   const ScheduleOptions& options = {}) {
  static int next_entry = 0;
  std::vector<Compiled> all;
  std::vector<KernelText> batch;
  for (const Loop& loop : loops) {
    all.push_back({lower_loop(loop, target, options), {}, {}});
    for (const Kernel& k : all.back().lowered.kernels) {
      char entry[32];
      std::snprintf(entry, sizeof entry, "k_%x", ++next_entry);
      batch.push_back({emit_c(k, target, entry), entry});
      all.back().texts.push_back(batch.back().source);
    }
  }
  const Image image = compiler(cc).compile(batch, target);
  const auto block = code_arena().load(image);
  size_t at = 0;
  for (Compiled& c : all)
    for (size_t n = 0; n < c.texts.size(); ++n, ++at)
      for (const auto& e : image.entries)
        if (e.name == batch[at].entry) c.entries.push_back(reinterpret_cast<KernelFn>(block.at(e.offset)));
  return all;
}

// `pieces`: how many ranges the work items are cut into.
inline void execute(const Loop& loop, Compiled& c, std::vector<void*> pointers, const std::vector<int64_t>& numbers,
                    std::span<const int64_t> symbols, int64_t* status, int64_t pieces = 3) {
  std::vector<std::vector<std::byte>> temps;
  for (const auto& t : c.lowered.temps) temps.emplace_back(size_t(evaluate(t.count, symbols) * dtype_bytes(t.dtype)));
  for (size_t n = 0; n < c.lowered.kernels.size(); ++n) {
    const Kernel& k = c.lowered.kernels[n];
    std::vector<uint64_t> words;
    // Filled with what shows when it is read before it is written.
    const size_t bytes = size_t(evaluate(k.scratch_bytes, symbols));
    Buffer scratch(DType::u8, int64_t(bytes));
    std::fill(scratch.bytes.begin(), scratch.bytes.end(), std::byte{0xff});
    for (const Word& w : k.words) switch (w.kind) {
      case Word::Kind::pointer:
        words.push_back(uint64_t(w.param < loop.params.size() ? pointers[w.param] : temps[w.param - loop.params.size()].data()));
        break;
      case Word::Kind::dim: words.push_back(uint64_t(evaluate(w.dim, symbols))); break;
      case Word::Kind::number: words.push_back(uint64_t(numbers[w.param])); break;
      case Word::Kind::status: words.push_back(uint64_t(status)); break;
      case Word::Kind::scratch: words.push_back(uint64_t(scratch.data())); break;
    }
    const int64_t items = evaluate(k.items, symbols);
    for (int64_t p = 0; p < pieces; ++p) {
      const int64_t from = items * p / pieces, to = items * (p + 1) / pieces;
      if (from >= to) continue;
      if (c.entries.empty()) interpret_kernel(k, words.data(), from, to);
      else c.entries[n](words.data(), from, to);
    }
    for (size_t i = bytes; i < scratch.bytes.size(); ++i)
      if (scratch.bytes[i] != std::byte{0xff}) std::abort();  // written past its end
  }
}

struct Arguments {
  std::vector<Buffer> buffers;         // one a parameter; numbers have none
  std::vector<int64_t> numbers;
  std::vector<int64_t> symbols;
};

// NaN equals NaN: which operand's payload survives is up to the hardware.
inline bool same_element(DType d, const std::byte* a, const std::byte* b) {
  const size_t n = size_t(dtype_bytes(d));
  if (!std::memcmp(a, b, n)) return true;
  if (!is_float(d)) return false;
  int64_t x = 0, y = 0;
  std::memcpy(&x, a, n);
  std::memcpy(&y, b, n);
  const double p = constant_value({.op = Scalar::constant, .dtype = d, .imm = x}), q = constant_value({.op = Scalar::constant, .dtype = d, .imm = y});
  return p != p && q != q;
}

// Empty when kernel and interpreter agree; else what differs.
inline std::string compare(const Loop& loop, Compiled& c, const Arguments& args, int64_t pieces = 3) {
  Arguments want = args, got = args;
  const auto pointers = [&](Arguments& a) {
    std::vector<void*> p;
    for (size_t n = 0; n < loop.params.size(); ++n) p.push_back(loop.params[n].kind == Param::Kind::number ? nullptr : a.buffers[n].data());
    return p;
  };
  const std::vector<void*> wp = pointers(want), gp = pointers(got);
  int64_t want_status = 0, got_status = 0;
  interpret_loop(loop, {wp, want.numbers, want.symbols, &want_status});
  execute(loop, c, gp, got.numbers, got.symbols, &got_status, pieces);
  if (!want_status != !got_status) return cat("status ", got_status, ", expected ", want_status);
  for (size_t n = 0; n < loop.params.size(); ++n) {
    if (loop.params[n].kind == Param::Kind::number || loop.params[n].kind == Param::Kind::in) continue;
    const DType d = loop.params[n].dtype;
    const size_t bytes = size_t(dtype_bytes(d));
    for (int64_t i = 0; i < want.buffers[n].count; ++i) {
      const std::byte *w = want.buffers[n].bytes.data() + size_t(i) * bytes, *g = got.buffers[n].bytes.data() + size_t(i) * bytes;
      if (same_element(d, w, g)) continue;
      int64_t x = 0, y = 0;
      std::memcpy(&x, w, bytes);
      std::memcpy(&y, g, bytes);
      return cat("p", n, "[", i, "] is ", constant_value({.op = Scalar::constant, .dtype = d, .imm = is_float(d) ? y : constant_bits_int(d, y)}),
                 ", expected ", constant_value({.op = Scalar::constant, .dtype = d, .imm = is_float(d) ? x : constant_bits_int(d, x)}));
    }
    if (std::memcmp(want.buffers[n].bytes.data() + size_t(want.buffers[n].count) * bytes, got.buffers[n].bytes.data() + size_t(want.buffers[n].count) * bytes, 64 - 0))
      return cat("p", n, " was written past its end");
  }
  return {};
}

inline Target v3() { Target t; t.arch = "x86-64-v3"; t.vector_bits = 256; return t; }
inline Target v4() { Target t; t.arch = "x86-64-v4"; t.vector_bits = 512; return t; }

}  // namespace phlox::harness

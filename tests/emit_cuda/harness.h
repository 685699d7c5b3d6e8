// Loops as CUDA kernels: compiled by NVRTC where it is found, and run and compared with the interpreter where there is
// a GPU.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../compile_lower/harness.h"
#include "device/cuda/cuda_device.h"
#include "loop/verify.h"
#include "toolchain/kernel_store.h"
#include "toolchain/nvrtc.h"

namespace phlox::harness {

inline Target chip(const char* arch) {
  Target t;
  t.kind = DeviceKind::cuda;
  t.arch = arch;
  t.threads = 132;
  return t;
}

struct GpuLoop {
  std::string name;
  Loop loop;
  Arguments args;
  double tolerance = 0;  // relative to the largest result; 0: the same bits
};

inline Arguments gpu_arguments(const Loop& loop, std::initializer_list<int64_t> counts, std::initializer_list<int64_t> symbols = {}) {
  Arguments a;
  size_t n = 0;
  for (int64_t c : counts) {
    a.buffers.emplace_back(loop.params[n].dtype, c);
    fill(a.buffers.back(), n + 1, false);
    ++n;
  }
  a.numbers.resize(loop.params.size());
  for (size_t p = 0; p < loop.params.size(); ++p)
    if (loop.params[p].kind == Param::Kind::number) a.numbers[p] = constant_bits(loop.params[p].dtype, 0.5 + double(p));
  a.symbols = symbols;
  return a;
}

struct GpuCode { Lowered lowered; std::vector<KernelText> texts; };

inline GpuCode lower_for(const Loop& loop, const Target& target, const ScheduleOptions& options = {}) {
  GpuCode c{lower_loop(loop, target, options), {}};
  const std::string key = print_loop(loop);
  for (size_t n = 0; n < c.lowered.kernels.size(); ++n) {
    const std::string entry = "k_" + hex(hash256(key.data(), key.size())).substr(0, 24) + (n ? cat("a", n) : "");
    c.texts.push_back({emit_cuda(c.lowered.kernels[n], entry), entry});
  }
  return c;
}

inline double element_value(DType d, const std::byte* p) {
  int64_t x = 0;
  std::memcpy(&x, p, size_t(dtype_bytes(d)));
  return constant_value({.op = Scalar::constant, .dtype = d, .imm = is_float(d) ? x : constant_bits_int(d, x)});
}

// Runs on the device and compares; empty when they agree.
inline std::string run_and_compare(CudaDevice& device, const GpuLoop& g, const GpuCode& code, std::span<const std::shared_ptr<const Image>> images) {
  Arguments want = g.args, got = g.args;
  std::vector<void*> wp, dp;
  for (size_t n = 0; n < g.loop.params.size(); ++n) wp.push_back(g.loop.params[n].kind == Param::Kind::number ? nullptr : want.buffers[n].data());
  int64_t want_status = 0, got_status = 0;
  interpret_loop(g.loop, {wp, want.numbers, want.symbols, &want_status});
  for (size_t n = 0; n < g.loop.params.size(); ++n) {
    if (g.loop.params[n].kind == Param::Kind::number) { dp.push_back(nullptr); continue; }
    Buffer& b = got.buffers[n];
    dp.push_back(device.alloc(int64_t(b.bytes.size()), 0));
    device.copy(dp.back(), b.data(), int64_t(b.bytes.size()), Device::CopyKind::to_device, 0);
  }
  void* status = device.alloc(8, 0);
  device.fill_zero(status, 8, 0);
  std::vector<void*> temps;
  for (const auto& t : code.lowered.temps) {
    const int64_t bytes = std::max<int64_t>(8, evaluate(t.count, got.symbols) * dtype_bytes(t.dtype));
    temps.push_back(device.alloc(bytes, 0));
    std::vector<unsigned char> poison(size_t(bytes), 0xff);
    device.copy(temps.back(), poison.data(), bytes, Device::CopyKind::to_device, 0);
  }
  std::vector<Ref<Module>> modules;
  for (size_t n = 0; n < code.texts.size(); ++n) {
    const Kernel& k = code.lowered.kernels[n];
    modules.push_back(device.load(*images[n]));
    std::vector<uint64_t> words;
    for (const Word& w : k.words) switch (w.kind) {
      case Word::Kind::pointer: words.push_back(uint64_t(w.param < g.loop.params.size() ? dp[w.param] : temps[w.param - g.loop.params.size()])); break;
      case Word::Kind::dim: words.push_back(uint64_t(evaluate(w.dim, got.symbols))); break;
      case Word::Kind::number: words.push_back(uint64_t(got.numbers[w.param])); break;
      case Word::Kind::status: words.push_back(uint64_t(status)); break;
      case Word::Kind::scratch: words.push_back(0); break;
    }
    if (words.empty()) words.push_back(0);
    Launch l{.entry = modules.back()->entry(code.texts[n].entry), .words = words, .items = evaluate(k.items, got.symbols), .grain = 1};
    if (l.items <= 0) continue;
    l.grid[0] = uint32_t(l.items);
    l.block[0] = k.threads;
    device.launch(l, 0);
  }
  for (size_t n = 0; n < dp.size(); ++n)
    if (dp[n]) device.copy(got.buffers[n].data(), dp[n], int64_t(got.buffers[n].bytes.size()), Device::CopyKind::to_host, 0);
  device.copy(&got_status, status, 8, Device::CopyKind::to_host, 0);
  for (void* p : dp) if (p) device.free(p, 0);
  for (void* p : temps) device.free(p, 0);
  device.free(status, 0);
  if (!want_status != !got_status) return cat("status ", got_status, ", expected ", want_status);
  for (size_t n = 0; n < g.loop.params.size(); ++n) {
    if (g.loop.params[n].kind == Param::Kind::number || g.loop.params[n].kind == Param::Kind::in) continue;
    const DType d = g.loop.params[n].dtype;
    const size_t bytes = size_t(dtype_bytes(d));
    double largest = 0;
    for (int64_t i = 0; i < want.buffers[n].count; ++i) {
      const double w = std::fabs(element_value(d, want.buffers[n].bytes.data() + size_t(i) * bytes));
      if (w < 1e30) largest = std::max(largest, w);
    }
    for (int64_t i = 0; i < want.buffers[n].count; ++i) {
      const std::byte *w = want.buffers[n].bytes.data() + size_t(i) * bytes, *x = got.buffers[n].bytes.data() + size_t(i) * bytes;
      if (same_element(d, w, x)) continue;
      const double a = element_value(d, w), b = element_value(d, x);
      if (g.tolerance > 0 && std::fabs(a - b) <= g.tolerance * largest) continue;
      return cat("p", n, "[", i, "] is ", b, ", expected ", a);
    }
    if (std::memcmp(want.buffers[n].bytes.data() + size_t(want.buffers[n].count) * bytes, got.buffers[n].bytes.data() + size_t(want.buffers[n].count) * bytes, 64))
      return cat("p", n, " was written past its end");
  }
  return {};
}

// Compiles all of them with NVRTC, and compares where there is a GPU.
inline void check_on_gpu(std::vector<GpuLoop> loops, const ScheduleOptions& options = {}) {
  std::string why;
  if (!Nvrtc::find(why)) GTEST_SKIP() << why;
  const bool gpu = cuda::cuda_device_count() > 0;
  const Target target = gpu ? cuda_device(0).target() : chip("sm_90a");
  if (!gpu && loops.size() > 6)  // compiling alone: a sample
    for (size_t n = 0; n < loops.size(); ++n) loops.erase(loops.begin() + ptrdiff_t(n + 1), loops.begin() + ptrdiff_t(std::min(loops.size(), n + 4)));
  std::vector<GpuCode> codes;
  std::vector<KernelText> texts;
  for (const GpuLoop& g : loops) {
    verify_loop(g.loop);
    try {
      codes.push_back(lower_for(g.loop, target, options));
    } catch (const std::exception& e) {
      FAIL() << g.name << ": " << e.what() << "\n" << print_loop(g.loop);
    }
    texts.insert(texts.end(), codes.back().texts.begin(), codes.back().texts.end());
  }
  KernelStore store({});
  std::vector<std::shared_ptr<const Image>> images;
  try {
    images = store.images(texts, target);
  } catch (const Error& e) {
    FAIL() << e.what();
  }
  if (!gpu) return;
  size_t at = 0;
  for (size_t n = 0; n < loops.size(); ++n) {
    const size_t kernels = codes[n].texts.size();
    std::string r;
    try {
      r = run_and_compare(cuda_device(0), loops[n], codes[n], std::span(images).subspan(at, kernels));
    } catch (const std::exception& e) {
      r = e.what();
    }
    EXPECT_EQ(r, "") << loops[n].name << "\n" << print_loop(loops[n].loop).substr(0, 4000) << codes[n].texts.back().source.substr(0, 6000);
    at += kernels;
  }
}

}  // namespace phlox::harness

// What the tests that need a GPU share: the device, and kernels compiled for it.
#pragma once
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "device/cuda/cuda_device.h"
#include "kernels.h"
#include "toolchain/nvrtc.h"

// First line of a test that needs a GPU and NVRTC.
#define PHLOX_NEED_GPU()                                             \
  if (cuda::cuda_device_count() == 0) GTEST_SKIP() << "no GPU here"; \
  if (std::string why; !Nvrtc::find(why)) GTEST_SKIP() << why

namespace phlox {

inline Ref<Module> build(CudaDevice& d, std::vector<KernelText> batch) {
  std::string why;
  return d.load(Nvrtc::find(why)->compile(batch, d.target()));
}

inline uint64_t word(const void* p) { return uint64_t(reinterpret_cast<uintptr_t>(p)); }

inline void run(CudaDevice& d, void* entry, std::vector<uint64_t> words, StreamId stream, int64_t items = 1,
                uint32_t block = 256, uint32_t shared = 0) {
  Launch l{.entry = entry, .words = words, .items = items, .grain = 1, .shared_bytes = shared};
  l.grid[0] = uint32_t(std::min<int64_t>((items + block - 1) / block, 4096));
  l.block[0] = block;
  d.launch(l, stream);
}

// A device buffer of n values of T on a stream.
template <class T>
class Buffer {
 public:
  Buffer(CudaDevice& d, int64_t n, StreamId stream = 0)
      : d_(d), n_(n), stream_(stream), p_(static_cast<T*>(d.alloc(n * int64_t(sizeof(T)), stream))) {}
  Buffer(CudaDevice& d, const std::vector<T>& v, StreamId stream = 0) : Buffer(d, int64_t(v.size()), stream) {
    put(v);
  }
  ~Buffer() { d_.free(p_, stream_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void put(const std::vector<T>& v) {
    d_.copy(p_, v.data(), int64_t(v.size() * sizeof(T)), Device::CopyKind::to_device, stream_);
  }
  std::vector<T> get() const {
    std::vector<T> v(static_cast<size_t>(n_));
    d_.copy(v.data(), p_, n_ * int64_t(sizeof(T)), Device::CopyKind::to_host, stream_);
    return v;
  }
  T* data() const { return p_; }

 private:
  CudaDevice& d_;
  int64_t n_;
  StreamId stream_;
  T* p_;
};

}  // namespace phlox

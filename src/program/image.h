// Image: machine code for a set of kernels as one flat, position-independent block: relocations inside it are
// already applied, so loading is a copy. Entries are found by name. What a kernel may call from outside
// (memset, memcpy, memmove) is listed as imports and patched by the loader.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace phlox {

// Changes when the call convention of kernels or the meaning of an Image changes: packs, caches and packages
// keep it.
constexpr uint32_t kernel_abi_version = 1;

// The one entry of every kernel. `words` holds pointers, dims, strides and numbers as the kernel's argument
// table says; the kernel computes work items [begin, end).
using KernelFn = void (*)(const uint64_t* words, int64_t begin, int64_t end);

struct Image {
  struct Entry {
    std::string name;
    uint64_t offset;
  };
  struct Import {
    std::string name;
    uint64_t slot;
  };  // slot: offset of an 8-byte cell that receives the address
  std::vector<std::byte> bytes;  // text and constants, 64-byte aligned when loaded
  std::vector<Entry> entries;
  std::vector<Import> imports;
};

// The address of something that kernels may import, or null: the list is closed.
void* import_address(std::string_view name);

// What is wrong with an image as data ("entry 'k_1' lies outside the code"), or empty. A good image can be
// loaded without touching memory outside it; whether its code is right is the compiler's and the cache's
// matter.
std::string image_fault(const Image& image);

}  // namespace phlox

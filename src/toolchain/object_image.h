// ElfObject: an x86-64 relocatable object as a compiler made it, and the linker from it to flat images. It
// takes the entries asked for and what they reach: their code, constants (single pool entries where the
// object tells them apart) and a jump and an address cell for each import. All relocations are applied here,
// so loading an image is a copy.
//
// Bytes are not trusted: every offset, size, index and string is checked. Refuses with Error(bad_file) that
// names the rule broken: other machines, writable or thread-local data, common symbols, absolute addresses,
// unknown relocations, calls to anything that kernels may not import.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "program/image.h"

namespace phlox {

class ElfObject {
 public:
  explicit ElfObject(std::span<const std::byte> bytes);  // keeps a view of bytes
  Image link(std::span<const std::string_view> entries) const;
  std::vector<std::string> functions() const;  // defined, global, in symbol table order

 private:
  friend class ImageLinker;
  struct Relocation {
    uint64_t offset;
    uint32_t type, symbol;
    int64_t addend;
  };
  struct Section {
    uint32_t type = 0;
    uint64_t flags = 0, offset = 0, size = 0, align = 1, entry_size = 0;
    uint32_t link = 0, info = 0;
    std::vector<Relocation> relocations;
  };
  struct Symbol {
    std::string_view name;
    uint64_t value, size;
    uint16_t section;
    uint8_t kind, binding;
  };

  std::span<const std::byte> contents(const Section& s) const;
  void read_sections();
  void read_symbols();
  void read_relocations();

  std::span<const std::byte> bytes_;
  std::vector<Section> sections_;
  std::vector<Symbol> symbols_;
  size_t symbol_table_ = 0;
};

}  // namespace phlox

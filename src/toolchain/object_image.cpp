#include "toolchain/object_image.h"

#include <elf.h>

#include <cstring>
#include <map>

#include "base/error.h"

namespace phlox {

namespace {

constexpr uint64_t max_object = 256 << 20, max_image = 64 << 20, max_align = 64;

[[noreturn]] void bad_object(std::string fact, std::string got = {}) {
  fail(ErrorCode::bad_file, {.op = "link kernels", .fact = std::move(fact), .got = std::move(got)});
}

template <class T>
T read_at(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) bad_object("the object is truncated");
  T v;
  std::memcpy(&v, bytes.data() + offset, sizeof v);
  return v;
}

uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

}  // namespace

ElfObject::ElfObject(std::span<const std::byte> bytes) : bytes_(bytes) {
  if (bytes.size() > max_object) bad_object("the object is too large", cat(bytes.size(), " bytes"));
  read_sections();
  read_symbols();
  read_relocations();
}

std::span<const std::byte> ElfObject::contents(const Section& s) const {
  if (s.type == SHT_NOBITS) return {};
  return bytes_.subspan(s.offset, s.size);  // checked in read_sections
}

void ElfObject::read_sections() {
  const auto h = read_at<Elf64_Ehdr>(bytes_, 0);
  if (std::memcmp(h.e_ident, ELFMAG, SELFMAG) != 0) bad_object("not an ELF object");
  if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != EM_X86_64 ||
      h.e_type != ET_REL)
    bad_object("not a relocatable x86-64 object");
  if (h.e_shentsize != sizeof(Elf64_Shdr) || h.e_shnum == 0 || h.e_shnum >= SHN_LORESERVE)
    bad_object("bad section table", cat(h.e_shnum, " sections of ", h.e_shentsize, " bytes"));
  if (h.e_shoff > bytes_.size()) bad_object("the section table lies outside the object");
  sections_.resize(h.e_shnum);
  for (size_t i = 0; i < sections_.size(); ++i) {
    const auto e = read_at<Elf64_Shdr>(bytes_, h.e_shoff + i * sizeof(Elf64_Shdr));
    Section& s = sections_[i];
    s.type = e.sh_type, s.flags = e.sh_flags, s.offset = e.sh_offset, s.size = e.sh_size;
    s.align = e.sh_addralign ? e.sh_addralign : 1;
    s.entry_size = e.sh_entsize, s.link = e.sh_link, s.info = e.sh_info;
    if (s.type != SHT_NULL && s.type != SHT_NOBITS &&
        (s.offset > bytes_.size() || bytes_.size() - s.offset < s.size))
      bad_object(cat("section ", i, " lies outside the object"));
  }
}

void ElfObject::read_symbols() {
  for (size_t i = 1; i < sections_.size(); ++i) {
    if (sections_[i].type != SHT_SYMTAB) continue;
    if (symbol_table_) bad_object("two symbol tables");
    symbol_table_ = i;
  }
  if (!symbol_table_) bad_object("no symbol table");
  const Section& table = sections_[symbol_table_];
  if (table.link >= sections_.size() || sections_[table.link].type != SHT_STRTAB)
    bad_object("no symbol names");
  const auto names = contents(sections_[table.link]);
  if (names.empty() || names.back() != std::byte{0}) bad_object("symbol names do not end");
  const auto symbols = contents(table);
  if (symbols.size() % sizeof(Elf64_Sym)) bad_object("the symbol table has a partial entry");
  symbols_.reserve(symbols.size() / sizeof(Elf64_Sym));
  for (uint64_t at = 0; at < symbols.size(); at += sizeof(Elf64_Sym)) {
    const auto e = read_at<Elf64_Sym>(symbols, at);
    if (e.st_name >= names.size()) bad_object("a symbol name lies outside its table");
    symbols_.push_back({std::string_view(reinterpret_cast<const char*>(names.data()) + e.st_name), e.st_value,
                        e.st_size, e.st_shndx, uint8_t(ELF64_ST_TYPE(e.st_info)),
                        uint8_t(ELF64_ST_BIND(e.st_info))});
  }
}

void ElfObject::read_relocations() {
  for (size_t i = 1; i < sections_.size(); ++i) {
    const Section& s = sections_[i];
    if (s.type != SHT_RELA && s.type != SHT_REL) continue;
    if (s.info == 0 || s.info >= sections_.size()) bad_object(cat("relocations ", i, " have no section"));
    Section& target = sections_[s.info];
    if (!(target.flags & SHF_ALLOC)) continue;  // debug information
    if (s.type == SHT_REL) bad_object("relocations without addends");
    if (s.link != symbol_table_) bad_object(cat("relocations ", i, " use another symbol table"));
    const auto bytes = contents(s);
    if (bytes.size() % sizeof(Elf64_Rela)) bad_object("a relocation table has a partial entry");
    for (uint64_t at = 0; at < bytes.size(); at += sizeof(Elf64_Rela)) {
      const auto e = read_at<Elf64_Rela>(bytes, at);
      const uint64_t symbol = ELF64_R_SYM(e.r_info);
      if (symbol >= symbols_.size()) bad_object("a relocation names no symbol");
      target.relocations.push_back(
          {e.r_offset, uint32_t(ELF64_R_TYPE(e.r_info)), uint32_t(symbol), e.r_addend});
    }
  }
}

std::vector<std::string> ElfObject::functions() const {
  std::vector<std::string> r;
  for (const Symbol& s : symbols_)
    if (s.kind == STT_FUNC && s.binding == STB_GLOBAL && s.section != SHN_UNDEF &&
        s.section < sections_.size())
      r.emplace_back(s.name);
  return r;
}

// One link: finds what the entries reach, places it, applies relocations.
class ImageLinker {
 public:
  explicit ImageLinker(const ElfObject& object) : object_(object) {}

  Image run(std::span<const std::string_view> entries) {
    for (std::string_view name : entries) entries_.push_back(add_entry(name));
    for (size_t i = 0; i < units_.size(); ++i) follow(i);  // grows while it runs
    place();
    for (size_t i = 0; i < units_.size(); ++i) relocate(units_[i]);
    for (size_t i = 0; i < entries.size(); ++i)
      image_.entries.push_back(
          {std::string(entries[i]), units_[entries_[i].unit].placed + entries_[i].offset});
    return std::move(image_);
  }

 private:
  // What is copied as one: a section, or one constant of a pool.
  struct Unit {
    size_t section;
    uint64_t begin, size, placed;
  };
  struct Place {
    size_t unit;
    uint64_t offset;
  };
  struct Cell {
    uint64_t jump, slot;
  };  // of one import

  const ElfObject::Section& section_of(const ElfObject::Symbol& s) const {
    if (s.section >= object_.sections_.size())
      bad_object("a symbol is absolute or common: kernels have no such data", cat("'", s.name, "'"));
    const ElfObject::Section& section = object_.sections_[s.section];
    if (!(section.flags & SHF_ALLOC) || section.type != SHT_PROGBITS ||
        (section.flags & (SHF_WRITE | SHF_TLS)))
      bad_object("a kernel uses data that is not constant", cat("'", s.name, "' in section ", s.section));
    if (s.value > section.size) bad_object("a symbol lies outside its section", cat("'", s.name, "'"));
    return section;
  }

  Place unit_of(const ElfObject::Symbol& s) {
    const ElfObject::Section& section = section_of(s);
    uint64_t begin = 0, size = section.size;
    // Offsets from a section symbol mix the place meant with the instruction's tail: only named constants are
    // exact.
    const uint64_t each = section.entry_size;
    if ((section.flags & SHF_MERGE) && !(section.flags & SHF_STRINGS) && s.kind != STT_SECTION && each &&
        s.value % each == 0 && s.value < section.size && section.size - s.value >= each)
      begin = s.value, size = each;
    const auto [it, fresh] = index_.try_emplace({s.section, begin, size}, units_.size());
    if (fresh) units_.push_back({s.section, begin, size, 0});
    return {it->second, s.value - begin};
  }

  Place add_entry(std::string_view name) {
    for (const ElfObject::Symbol& s : object_.symbols_) {
      if (s.name != name || s.binding != STB_GLOBAL || s.section == SHN_UNDEF) continue;
      if (!(section_of(s).flags & SHF_EXECINSTR) || s.value >= section_of(s).size)
        bad_object("an entry is not code", cat("'", name, "'"));
      return unit_of(s);
    }
    bad_object("the object does not define an entry", cat("'", name, "'"));
  }

  static bool through_cell(uint32_t type) {
    return type == R_X86_64_GOTPCREL || type == R_X86_64_GOTPCRELX || type == R_X86_64_REX_GOTPCRELX;
  }

  template <class F>
  void each_relocation(const Unit& u, F&& f) {
    for (const ElfObject::Relocation& r : object_.sections_[u.section].relocations)
      if (r.offset >= u.begin && r.offset - u.begin < u.size) f(r);
  }

  void follow(size_t index) {
    const Unit u = units_[index];
    each_relocation(u, [&](const ElfObject::Relocation& r) {
      const ElfObject::Symbol& s = object_.symbols_[r.symbol];
      switch (r.type) {
        case R_X86_64_NONE: return;
        case R_X86_64_PC32:
        case R_X86_64_PLT32:
        case R_X86_64_PC64: break;
        case R_X86_64_GOTPCREL:
        case R_X86_64_GOTPCRELX:
        case R_X86_64_REX_GOTPCRELX:
          if (s.section != SHN_UNDEF)
            bad_object("a kernel loads its own address from a table", cat("'", s.name, "'"));
          break;
        default: bad_object("a relocation of a kind that kernels do not use", cat("type ", r.type));
      }
      if (s.section != SHN_UNDEF)
        unit_of(s);
      else if (import_address(s.name))
        cells_.try_emplace(s.name);
      else
        bad_object("a kernel calls something that kernels may not", cat("'", s.name, "'"));
    });
  }

  void place() {
    uint64_t at = 0;
    for (bool code : {true, false})
      for (Unit& u : units_) {
        const ElfObject::Section& s = object_.sections_[u.section];
        if (bool(s.flags & SHF_EXECINSTR) != code) continue;
        if (s.align > max_align || (s.align & (s.align - 1))) bad_object("bad alignment", cat(s.align));
        at = round_up(at, s.align);
        // A single constant keeps the alignment that its position gave it, which its section's covers.
        u.placed = at;
        if (u.size > max_image - at) bad_object("the image is too large");
        at += u.size;
      }
    at = round_up(at, 8);
    for (auto& [name, cell] : cells_) {
      cell = {at, at + 8};
      at += 16;
    }
    if (at > max_image) bad_object("the image is too large");
    image_.bytes.assign(at, std::byte{0xcc});
    for (const Unit& u : units_)
      if (u.size)
        std::memcpy(image_.bytes.data() + u.placed,
                    object_.contents(object_.sections_[u.section]).data() + u.begin, u.size);
    for (const auto& [name, cell] : cells_) {
      // jmp *2(%rip): the cell is 8 bytes after the jump's start.
      const uint8_t jump[16] = {0xff, 0x25, 2, 0, 0, 0, 0xcc, 0xcc};
      std::memcpy(image_.bytes.data() + cell.jump, jump, sizeof jump);
      image_.imports.push_back({std::string(name), cell.slot});
    }
  }

  void relocate(const Unit& u) {
    each_relocation(u, [&](const ElfObject::Relocation& r) {
      if (r.type == R_X86_64_NONE) return;
      const uint64_t width = r.type == R_X86_64_PC64 ? 8 : 4, offset = r.offset - u.begin;
      if (u.size - offset < width) bad_object("a relocation lies outside its section");
      const ElfObject::Symbol& s = object_.symbols_[r.symbol];
      uint64_t to;
      if (s.section == SHN_UNDEF) {
        const Cell& cell = cells_.at(s.name);
        to = through_cell(r.type) ? cell.slot : cell.jump;
      } else {
        const Place p = unit_of(s);
        to = units_[p.unit].placed + p.offset;
      }
      const uint64_t at = u.placed + offset;
      const int64_t value = int64_t(to + uint64_t(r.addend) - at);
      if (width == 4 && value != int32_t(value)) bad_object("a relocation does not reach");
      std::memcpy(image_.bytes.data() + at, &value, width);
    });
  }

  struct Key {
    size_t section;
    uint64_t begin, size;
    auto operator<=>(const Key&) const = default;
  };
  const ElfObject& object_;
  std::vector<Unit> units_;
  std::map<Key, size_t> index_;
  std::map<std::string_view, Cell> cells_;
  std::vector<Place> entries_;
  Image image_;
};

Image ElfObject::link(std::span<const std::string_view> entries) const {
  Image image = ImageLinker(*this).run(entries);
  if (std::string fault = image_fault(image); !fault.empty())
    bad_object("the linked image is damaged", std::move(fault));
  return image;
}

}  // namespace phlox

// What measurements on a device decided, kept beyond the process. native/ measures; whoever has a disk lends it (eager does).
// A value is plain data of a fixed size; a key names everything that it depends on: the device's name, the library's version,
// the problem. Nothing found costs a measurement, never an error.
#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace phlox {

struct TuneStore {
  bool (*find)(const std::string& key, std::span<std::byte> value) = nullptr;  // false: not there, or of another size
  void (*put)(const std::string& key, std::span<const std::byte> value) = nullptr;
};
void set_tune_store(TuneStore store);
bool find_tuned(const std::string& key, std::span<std::byte> value);
void put_tuned(const std::string& key, std::span<const std::byte> value);

}  // namespace phlox

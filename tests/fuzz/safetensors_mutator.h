// Changes a safetensors file where it hurts: the length in front is kept true most of the time, so that
// changes reach the header's grammar, then its numbers, then the tiling, instead of all dying at the first
// eight bytes.
#pragma once
#include <cctype>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace phlox {

class SafetensorsMutator {
 public:
  explicit SafetensorsMutator(uint64_t seed) : rng_(seed) {}

  std::string operator()(const std::string& file) {
    std::string header, data;
    uint64_t length = 0;
    for (size_t i = 8; i-- > 0;) length = length << 8 | (i < file.size() ? uint8_t(file[i]) : 0);
    const std::string rest = file.size() > 8 ? file.substr(8) : "";
    const size_t cut = length < rest.size() ? size_t(length) : rest.size();
    header = rest.substr(0, cut);
    data = rest.substr(cut);
    for (size_t n = 1 + pick(2); n > 0; --n) change(header, data);
    uint64_t stated = header.size();
    if (pick(20) == 0) stated = interesting_length(stated);
    std::string out;
    for (int i = 0; i < 8; ++i) out += char(stated >> (8 * i));
    return out + header + data;
  }

 private:
  size_t pick(size_t n) { return n ? rng_() % n : 0; }
  template <size_t N>
  const char* choose(const char* const (&list)[N]) {
    return list[pick(N)];
  }

  uint64_t interesting_length(uint64_t n) {
    const uint64_t values[] = {
        0, n - 1, n + 1, n + 8, 100'000'000, 100'000'001, uint64_t(1) << 32, UINT64_MAX, UINT64_MAX - 7};
    return values[pick(std::size(values))];
  }

  // The runs of the header that match a class of characters: numbers, or quoted texts.
  std::vector<std::pair<size_t, size_t>> numbers(const std::string& s) const {
    std::vector<std::pair<size_t, size_t>> found;
    for (size_t i = 0; i < s.size(); ++i) {
      if (!std::isdigit(uint8_t(s[i]))) continue;
      const size_t start = i;
      while (i < s.size() && std::isdigit(uint8_t(s[i]))) ++i;
      found.push_back({start, i - start});
    }
    return found;
  }
  std::vector<std::pair<size_t, size_t>> texts(const std::string& s) const {
    std::vector<std::pair<size_t, size_t>> found;
    for (size_t i = s.find('"'); i != std::string::npos;) {
      const size_t end = s.find('"', i + 1);
      if (end == std::string::npos) break;
      found.push_back({i, end + 1 - i});
      i = s.find('"', end + 1);
    }
    return found;
  }

  void change(std::string& header, std::string& data) {
    switch (pick(10)) {
      case 0:
      case 1:
      case 2: change_number(header); break;
      case 3: change_text(header); break;
      case 4: header.insert(pick(header.size() + 1), choose(pieces)); break;
      case 5: repeat_piece(header); break;
      case 6:
        if (!header.empty()) header.erase(pick(header.size()), 1 + pick(4));
        break;
      case 7:
        if (!header.empty())
          header[pick(header.size())] = char(pick(4) ? "{}[]:,\"\\ \n0-.e"[pick(14)] : rng_());
        break;
      case 8: data.resize(data.size() + pick(3)); break;
      default:
        if (!data.empty()) data.resize(data.size() - 1 - pick(data.size() < 8 ? data.size() : 8));
        break;
    }
  }

  void change_number(std::string& header) {
    const auto all = numbers(header);
    if (all.empty()) return;
    const auto [at, size] = all[pick(all.size())];
    if (pick(2)) {  // a near value: this is what finds holes, overlaps and wrong sizes
      uint64_t v = 0;
      for (size_t i = at; i < at + size; ++i) v = v * 10 + uint64_t(header[i] - '0');
      static constexpr int64_t steps[] = {-8, -4, -1, 1, 4, 8};
      header.replace(at, size, std::to_string(v + uint64_t(steps[pick(6)])));
    } else if (pick(3) == 0) {  // another number of the same file
      const auto [from, length] = all[pick(all.size())];
      header.replace(at, size, header.substr(from, length));
    } else {
      header.replace(at, size, choose(values));
    }
  }

  void change_text(std::string& header) {
    const auto all = texts(header);
    if (all.empty()) return;
    const auto [at, size] = all[pick(all.size())];
    if (pick(2)) {
      const auto [from, length] = all[pick(all.size())];
      header.replace(at, size, header.substr(from, length));
    } else {
      header.replace(at, size, std::string("\"") + choose(words) + "\"");
    }
  }

  void repeat_piece(std::string& header) {
    if (header.empty()) return;
    const size_t at = pick(header.size()), n = 1 + pick(std::min<size_t>(header.size() - at, 60));
    header.insert(at, header.substr(at, n));
  }

  static constexpr const char* values[] = {"0",
                                           "1",
                                           "2",
                                           "3",
                                           "4",
                                           "7",
                                           "8",
                                           "16",
                                           "255",
                                           "65536",
                                           "2147483647",
                                           "2147483648",
                                           "4294967295",
                                           "4294967296",
                                           "9223372036854775807",
                                           "9223372036854775808",
                                           "18446744073709551615",
                                           "18446744073709551616",
                                           "-1",
                                           "-0",
                                           "00",
                                           "1.0",
                                           "1e0",
                                           "1e999",
                                           "0.5",
                                           "null",
                                           "true",
                                           "\"1\"",
                                           "[1]",
                                           "{}",
                                           ""};
  static constexpr const char* words[] = {"BOOL",
                                          "F4",
                                          "F6_E2M3",
                                          "F6_E3M2",
                                          "U8",
                                          "I8",
                                          "F8_E5M2",
                                          "F8_E4M3",
                                          "F8_E8M0",
                                          "F8_E4M3FNUZ",
                                          "F8_E5M2FNUZ",
                                          "I16",
                                          "U16",
                                          "F16",
                                          "BF16",
                                          "I32",
                                          "U32",
                                          "F32",
                                          "C64",
                                          "F64",
                                          "I64",
                                          "U64",
                                          "C128",
                                          "f32",
                                          "dtype",
                                          "shape",
                                          "data_offsets",
                                          "__metadata__",
                                          "\\u0064type",
                                          "\\u0000",
                                          "\\ud83d\\ude00",
                                          "\\ud800",
                                          "\xC3\xA9",
                                          "\xFF",
                                          ""};
  static constexpr const char* pieces[] = {" ",
                                           "\n",
                                           "\t",
                                           "\r",
                                           ",",
                                           ":",
                                           "[",
                                           "]",
                                           "{",
                                           "}",
                                           "\"",
                                           "\\",
                                           "null",
                                           "[[[[[[[[",
                                           "]]]]]]]]",
                                           "\"x\":",
                                           "\"x\":1,",
                                           "\"dtype\":\"U8\",",
                                           "\"__metadata__\":{},",
                                           "\"__metadata__\":{\"k\":\"v\"},",
                                           "//",
                                           "\x01",
                                           "\xC3",
                                           "\xE2\x82\xAC",
                                           "\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"};

  std::mt19937_64 rng_;
};

}  // namespace phlox

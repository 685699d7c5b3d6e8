#include "format/inspect.h"

#include <gtest/gtest.h>

#include "safetensors_attacks.h"

namespace phlox {

TEST(Inspect, sizes_for_people) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes((1 << 20) - 1), "1023.9 KiB");
  EXPECT_EQ(human_bytes(1 << 20), "1.0 MiB");
  EXPECT_EQ(human_bytes(uint64_t(5) << 40), "5.0 TiB");
  EXPECT_EQ(human_bytes(UINT64_MAX), "15.9 EiB");
}

static std::string inspect(const std::string& file, const InspectOptions& options = {}) {
  return inspect_safetensors(parse_safetensors(std::as_bytes(std::span(file.data(), file.size()))),
                             "m.safetensors", options);
}

TEST(Inspect, a_table_of_everything) {
  const std::string file =
      safetensors_file("{\"__metadata__\":{\"format\":\"pt\",\"note\":\"two\\nlines\"}," +
                           tensor_entry("w.weight", "F32", "[40,8]", "[0,1280]") + "," +
                           tensor_entry("b", "F32", "[]", "[1280,1284]") + "," +
                           tensor_entry("a.packed", "F4", "[2,3]", "[1284,1287]") + "}",
                       1287);
  EXPECT_EQ(inspect(file),
            "m.safetensors: safetensors, 3 tensors, 327 elements, 1.5 KiB (header 251 B)\n"
            "\n"
            "metadata\n"
            "  format: pt\n"
            "  note: \"two\\nlines\"\n"
            "\n"
            "name      dtype  shape       size  offset\n"
            "w.weight  F32    [40, 8]  1.2 KiB     251\n"
            "b         F32    []           4 B    1531\n"
            "a.packed  F4     [2, 3]       3 B    1535\n"
            "\n"
            "dtype  tensors  elements     size\n"
            "F4           1         6      3 B\n"
            "F32          2       321  1.2 KiB\n");
  EXPECT_LT(inspect(file, {.by_name = true}).find("a.packed"),
            inspect(file, {.by_name = true}).find("w.weight"));
}

TEST(Inspect, an_empty_file) {
  EXPECT_EQ(inspect(safetensors_file("{}")),
            "m.safetensors: safetensors, 0 tensors, 0 elements, 10 B (header 10 B)\n");
}

TEST(Inspect, nothing_from_the_file_drives_the_terminal) {
  const std::string text =
      inspect(safetensors_file("{\"__metadata__\":{\"\\u001b[2J\":\"\x7F\xC2\x9B\"}," +
                                   tensor_entry("\\u001b]0;x\\u0007\\r", "U8", "[1]", "[0,1]") + "}",
                               1));
  for (const char c : text) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c != 0x7F)) << int(c);
  EXPECT_EQ(text.find("\xC2\x9B"), std::string::npos);
  EXPECT_NE(text.find("\\u001b]0;x\\u0007\\r"), std::string::npos);
  EXPECT_NE(text.find("\\u007f\\u009b"), std::string::npos);
}

TEST(Inspect, long_metadata_is_cut) {
  const std::string text =
      inspect(safetensors_file("{\"__metadata__\":{\"k\":\"" + std::string(1000, 'v') + "\"}}"));
  EXPECT_NE(text.find("\"" + std::string(80, 'v') + "\"...\n"), std::string::npos);
}

}  // namespace phlox

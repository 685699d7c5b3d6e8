// What is in a file, as text for a person: `phlox inspect FILE`. Names and metadata come from the file, so
// whatever could drive a terminal (control characters, also the C1 ones) is shown escaped.
#pragma once
#include <string>
#include <string_view>

#include "format/safetensors.h"

namespace phlox {

struct InspectOptions {
  bool by_name = false;       // else in the order of the data
  size_t longest_value = 80;  // bytes shown of a metadata value
};

// `title` heads the text, normally the path. Ends in a newline.
std::string inspect_safetensors(const SafetensorsFile& file, std::string_view title,
                                const InspectOptions& options = {});

// "1536" -> "1.5 KiB"; below 1 KiB exact: "17 B".
std::string human_bytes(uint64_t bytes);

}  // namespace phlox

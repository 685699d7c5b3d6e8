// Prints safetensors files and what phlox says of them, for safetensors_agreement.py:
// a line of JSON {"bytes": n, "kind": ..., "error": text | null, "tensors": {name: [dtype, shape]}}, then the
// n bytes. Kinds: the hand-made attacks and valid files, `mutant`s of them, and files that phlox wrote.
// usage: safetensors_verdicts NUMBER_OF_MUTANTS
#include <charconv>
#include <cstdio>
#include <random>

#include "../format/safetensors_attacks.h"
#include "../fuzz/safetensors_mutator.h"
#include "base/error.h"
#include "base/json.h"
#include "format/safetensors.h"

namespace phlox {

static void print(std::string_view kind, std::string_view file) {
  std::string line;
  JsonWriter json(line);
  json.begin_object().member("bytes", file.size()).member("kind", kind).key("error");
  try {
    const SafetensorsFile parsed = parse_safetensors(std::as_bytes(std::span(file)));
    json.null().key("tensors").begin_object();
    for (const SafetensorsEntry& e : parsed) {
      json.key(e.name).begin_array().value(safetensors_dtype_info(e.dtype).name).begin_array();
      for (const int64_t dim : e.shape) json.value(dim);
      json.end_array().end_array();
    }
    json.end_object();
  } catch (const Error& e) {
    json.value(e.what());
  }
  json.end_object();
  std::printf("%s\n", line.c_str());
  std::fwrite(file.data(), 1, file.size(), stdout);
}

static void print_mutants(int count) {
  std::vector<std::string> seeds = safetensors_valid_files();
  std::mt19937_64 rng(7);
  for (int i = 0; i < count; ++i) {
    std::string file = seeds[rng() % seeds.size()];
    for (int rounds = 1 + int(rng() % 3); rounds > 0; --rounds) file = SafetensorsMutator(rng())(file);
    print("mutant", file);
  }
}

static void print_written(int count) {
  std::mt19937_64 rng(9);
  const std::string data(4096, '\x5a');
  for (int i = 0; i < count; ++i) {
    std::vector<std::string> names;
    std::vector<std::vector<int64_t>> shapes;
    std::vector<SafetensorsTensor> tensors;
    const size_t n = rng() % 6;
    for (size_t t = 0; t < n; ++t) {
      names.push_back(cat(char('a' + rng() % 26), "é\n\"\\\x1f", t));
      shapes.push_back({int64_t(rng() % 4), 8, int64_t(1 + rng() % 3)});
    }
    for (size_t t = 0; t < n; ++t) {
      const auto dtype = SafetensorsDType(rng() % safetensors_dtype_count);
      tensors.push_back({names[t], dtype, shapes[t],
                         std::as_bytes(std::span(data)).first(safetensors_size(dtype, shapes[t]).bytes)});
    }
    SafetensorsMetadata metadata;
    if (rng() % 2) metadata.push_back({"format\t", "pt\xE2\x82\xAC"});
    const auto bytes = safetensors_bytes(tensors, metadata);
    print("written", {static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size()});
  }
}

}  // namespace phlox

int main(int argc, char** argv) {
  using namespace phlox;
  int mutants = 0;
  const std::string_view text = argc > 1 ? argv[1] : "";
  if (std::from_chars(text.data(), text.data() + text.size(), mutants).ptr != text.data() + text.size())
    return 2;
  for (const std::string& file : safetensors_valid_files()) print("valid", file);
  for (const Attack& a : safetensors_attacks()) print("attack: " + a.name, a.file);
  print_mutants(mutants);
  print_written(200);
}

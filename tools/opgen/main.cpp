// usage: opgen ROOT           writes the generated files under ROOT
//        opgen --check ROOT   exit status 1 when one of them is not what would be written
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "opgen.h"

namespace phlox {

bool is_public(const OpInfo& op) { return op.schema.name.find("::") == std::string::npos; }

static std::string old_text(const std::filesystem::path& p) {
  return std::filesystem::exists(p) ? read_file(p.string()) : std::string();
}

static int run(const std::filesystem::path& root, bool check) {
  std::vector<Output> outputs = cpp_outputs();
  for (Output& o : doc_outputs(read_file((root / "src/ops/families.h").string()))) outputs.push_back(std::move(o));
  std::set<std::string> wanted;
  int stale = 0;
  for (const Output& o : outputs) {
    wanted.insert(o.path);
    const std::filesystem::path p = root / o.path;
    if (old_text(p) == o.text) continue;
    ++stale;
    std::printf("%s %s\n", check ? "out of date:" : "wrote", o.path.c_str());
    if (check) continue;
    std::filesystem::create_directories(p.parent_path());
    replace_file(p.string(), std::as_bytes(std::span(o.text.data(), o.text.size())));
  }
  if (std::filesystem::exists(root / "docs/ops"))
    for (const auto& e : std::filesystem::directory_iterator(root / "docs/ops")) {
      const std::string path = "docs/ops/" + e.path().filename().string();
      if (wanted.count(path)) continue;
      ++stale;
      std::printf("%s %s\n", check ? "nothing makes" : "removed", path.c_str());
      if (!check) std::filesystem::remove(e.path());
    }
  if (check && stale) std::printf("opgen: %d files are out of date: run tools/gen and commit what it writes\n", stale);
  return check && stale ? 1 : 0;
}

}  // namespace phlox

int main(int argc, char** argv) {
  const bool check = argc > 1 && !std::strcmp(argv[1], "--check");
  if (argc != 2 + check) {
    std::fprintf(stderr, "usage: opgen [--check] ROOT\n");
    return 2;
  }
  try {
    return phlox::run(argv[1 + check], check);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "opgen: %s\n", e.what());
    return 2;
  }
}

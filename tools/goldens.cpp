// goldens: holds phlox against PyTorch's op database. See tests/goldens/golden_case.h for what a case is.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include <dirent.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "golden_engine.h"
#include "ops/registry.h"

namespace phlox {
namespace {

constexpr const char* usage =
    "usage: goldens DIR [--dtype D]... [--op NAME] [--case NAME] [--engine interpreter|eager|compiled] [--device cpu|cuda]\n"
    "               [--fraction F [--seed S]] [--threads N] [--known FILE] [--floor N] [--rate R] [--list] [--print] [--verbose]\n"
    "  --known FILE  names of cases that may fail: others that fail, and listed ones that pass, are errors\n"
    "  --floor N     succeed when at least N cases pass\n"
    "  --rate R      succeed when of the cases whose ops all exist at least this part passes, of each dtype with 300 or more\n"
    "                of them and of all together\n"
    "  --list        print the names of the cases that do not pass\n"
    "  --print       print the graph of each case\n";

struct Options {
  std::string folder, op, case_name, engine = "interpreter", device = "cpu", known;
  std::vector<std::string> dtypes;
  double fraction = 1;
  uint64_t seed = 0;
  int threads = 0;
  int64_t floor = -1;
  double rate = -1;
  bool verbose = false, list = false, print = false;
};

enum class Verdict : uint8_t { passed, failed, unsupported };
struct Outcome {
  const GoldenCase* golden = nullptr;
  Verdict verdict = Verdict::passed;
  std::string text;
};
struct Counts {
  int64_t n[3] = {0, 0, 0};
  bool reaches(double rate) const { return double(n[0]) >= rate * double(n[0] + n[1]); }
};

[[noreturn]] void bad_usage(const std::string& what) {
  std::fprintf(stderr, "goldens: %s\n%s", what.c_str(), usage);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    auto next = [&]() -> std::string {
      if (++i >= argc) bad_usage(cat(a, " needs a value"));
      return argv[i];
    };
    if (a == "--dtype") o.dtypes.push_back(next());
    else if (a == "--op") o.op = next();
    else if (a == "--case") o.case_name = next();
    else if (a == "--engine") o.engine = next();
    else if (a == "--device") o.device = next();
    else if (a == "--known") o.known = next();
    else if (a == "--fraction") o.fraction = std::strtod(next().c_str(), nullptr);
    else if (a == "--seed") o.seed = std::strtoull(next().c_str(), nullptr, 10);
    else if (a == "--threads") o.threads = int(std::strtol(next().c_str(), nullptr, 10));
    else if (a == "--floor") o.floor = std::strtoll(next().c_str(), nullptr, 10);
    else if (a == "--rate") o.rate = std::strtod(next().c_str(), nullptr);
    else if (a == "--verbose") o.verbose = true;
    else if (a == "--list") o.list = true;
    else if (a == "--print") o.print = true;
    else if (a[0] == '-' || !o.folder.empty()) bad_usage(cat("unknown argument ", a));
    else o.folder = a;
  }
  if (o.folder.empty()) bad_usage("which folder?");
  return o;
}

std::vector<std::string> dtypes_in(const std::string& folder) {
  std::vector<std::string> r;
  DIR* d = opendir(folder.c_str());
  if (!d) fail_io("cannot list", folder, errno);
  while (const dirent* e = readdir(d)) {
    const std::string n = e->d_name;
    if (n.size() > 14 && n.substr(0, 8) == "visible-" && n.substr(n.size() - 6) == ".jsonl") r.push_back(n.substr(8, n.size() - 14));
  }
  closedir(d);
  std::sort(r.begin(), r.end());
  return r;
}

std::unique_ptr<GoldenEngine> make_engine(const Options& o) {
  if (o.engine == "eager") return eager_engine(o.device);
  if (o.device != "cpu") bad_usage(cat("no device ", o.device, " for this engine"));
  if (o.engine == "interpreter") return interpreter_engine(o.print);
  if (o.engine == "compiled") return compiled_engine(o.print);
  bad_usage(cat("no engine ", o.engine));
}

Outcome judge(GoldenEngine& engine, const GoldenFile& file, const GoldenCase& c) {
  Outcome r{&c, Verdict::failed, {}};
  try {
    r.text = compare_golden(file, c, engine.run(file, c));
    if (r.text.empty()) r.verdict = Verdict::passed;
  } catch (const UnsupportedOp& e) {
    r.verdict = Verdict::unsupported;
    r.text = cat("there is no ", e.op);
  } catch (const std::exception& e) {
    r.text = e.what();
  }
  return r;
}

bool chosen(const Options& o, const GoldenCase& c) {
  if (!o.op.empty() && c.op != o.op && c.op.substr(0, o.op.size() + 1) != o.op + ".") return false;
  if (!o.case_name.empty() && c.name != o.case_name) return false;
  return o.fraction >= 1 || double(combine(hash_text(c.name), o.seed) >> 11) < o.fraction * 0x1p53;
}

std::vector<Outcome> run_file(const Options& o, GoldenEngine& engine, const GoldenFile& file) {
  std::vector<Outcome> outcomes;
  for (const GoldenCase& c : file.cases()) if (chosen(o, c)) outcomes.push_back({&c, Verdict::passed, {}});
  std::atomic<size_t> next{0};
  auto work = [&] { for (size_t i; (i = next++) < outcomes.size();) outcomes[i] = judge(engine, file, *outcomes[i].golden); };
  const int n = o.threads > 0 ? o.threads : int(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> threads;
  for (int t = 1; t < n; ++t) threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();
  return outcomes;
}

std::set<std::string> read_lines(const std::string& path) {
  std::set<std::string> r;
  const std::string text = read_file(path);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) r.insert(text.substr(at, end - at));
    at = end + 1;
  }
  return r;
}

int run(int argc, char** argv) {
  Options o = parse(argc, argv);
  all_ops();  // builds the registry before threads ask for it
  const std::unique_ptr<GoldenEngine> engine = make_engine(o);
  if (o.dtypes.empty()) o.dtypes = dtypes_in(o.folder);
  std::set<std::string> known;
  if (!o.known.empty()) known = read_lines(o.known);
  Counts total;
  std::map<std::string, Counts> by_op, by_missing;
  int64_t surprises = 0;
  bool good = true;
  for (const std::string& dtype : o.dtypes) {
    const GoldenFile file(o.folder, dtype);
    Counts here;
    for (const Outcome& r : run_file(o, *engine, file)) {
      const bool passed = r.verdict == Verdict::passed, expected_failure = known.count(r.golden->name) != 0;
      ++here.n[int(r.verdict)];
      ++total.n[int(r.verdict)];
      ++by_op[r.golden->op].n[int(r.verdict)];
      if (r.verdict == Verdict::unsupported) ++by_missing[r.text].n[2];
      const bool surprise = !o.known.empty() && passed == expected_failure;
      surprises += surprise;
      if (passed && surprise) std::printf("%s: passes now; take it off the list\n", r.golden->name.c_str());
      if (!passed && !o.list && (o.known.empty() ? r.verdict == Verdict::failed || o.verbose : surprise))
        std::printf("%s: %s\n", r.golden->name.c_str(), r.text.c_str());
      if (!passed && o.list) std::printf("%s\n", r.golden->name.c_str());
    }
    if (here.n[0] + here.n[1] >= 300) good &= here.reaches(o.rate);
    if (o.list) continue;
    std::printf("%s: %lld passed, %lld failed, %lld unsupported\n", dtype.c_str(), (long long)here.n[0], (long long)here.n[1], (long long)here.n[2]);
  }
  if (o.verbose) {
    for (const auto& [op, c] : by_op)
      std::printf("  %-50s %5lld %5lld %5lld\n", op.c_str(), (long long)c.n[0], (long long)c.n[1], (long long)c.n[2]);
    for (const auto& [text, c] : by_missing) std::printf("  %5lld cases: %s\n", (long long)c.n[2], text.c_str());
  }
  if (o.list) return 0;
  std::printf("%lld passed, %lld failed, %lld unsupported\n", (long long)total.n[0], (long long)total.n[1], (long long)total.n[2]);
  if (!o.known.empty()) return surprises ? 1 : 0;
  if (o.floor >= 0 || o.rate >= 0) return good && total.reaches(o.rate) && total.n[0] >= o.floor ? 0 : 1;
  return total.n[1] ? 1 : 0;
}

}  // namespace
}  // namespace phlox

int main(int argc, char** argv) {
  try {
    return phlox::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}

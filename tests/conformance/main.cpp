// usage: conformance [--all] [--fraction F] [--seed N] [--op NAME] [--only TEXT] [--threads N] [--part K/N] [--verbose]
//        conformance --device cuda [the same options] [--seconds S]: status 77 where there is no GPU
//        conformance --errors [--op NAME] [--verbose]
//   --part 3/40: the ops of the fourth of 40 parts, so that --all can be run in pieces
//        conformance --random CALLS [--seconds S] [--seed N] [--from CALL] [--op NAME] [--verbose]
#include <cstdio>
#include <cstdlib>
#include <string>

#include "run.h"

using namespace phlox::conformance;

int main(int argc, char** argv) {
  Options o;
  enum { cases, cuda, errors, random } what = cases;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    auto next = [&] {
      if (++i < argc) return argv[i];
      std::fprintf(stderr, "conformance: %s needs a value\n", a.c_str());
      std::exit(2);
    };
    if (a == "--all") o.fraction = 1;
    else if (a == "--fraction") o.fraction = std::strtod(next(), nullptr);
    else if (a == "--seed") o.seed = std::strtoull(next(), nullptr, 10);
    else if (a == "--op") o.op = next();
    else if (a == "--only") o.only = next();
    else if (a == "--threads") o.threads = int(std::strtol(next(), nullptr, 10));
    else if (a == "--part") {
      char* rest = nullptr;
      o.part = int(std::strtol(next(), &rest, 10));
      o.parts = *rest == '/' ? int(std::strtol(rest + 1, nullptr, 10)) : 0;
      if (o.part < 0 || o.part >= o.parts) { std::fprintf(stderr, "conformance: --part takes K/N with K from 0 to N-1\n"); return 2; }
    }
    else if (a == "--verbose") o.verbose = true;
    else if (a == "--device") { if (std::string(next()) == "cuda") what = cuda; }
    else if (a == "--errors") what = errors;
    else if (a == "--random") { what = random; o.calls = std::strtoll(next(), nullptr, 10); }
    else if (a == "--seconds") o.seconds = std::strtod(next(), nullptr);
    else if (a == "--from") o.first_call = std::strtoll(next(), nullptr, 10);
    else { std::fprintf(stderr, "conformance: unknown argument %s\n", a.c_str()); return 2; }
  }
  report_signals();
  const int64_t failed = what == cuda ? run_cuda(o) : what == errors ? run_errors(o) : what == random ? run_random_calls(o) : run_cases(o);
  return failed < 0 ? 77 : failed ? 1 : 0;
}

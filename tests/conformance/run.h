// The parts of the program; each prints its failures and one line of counts, and returns how many failed.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace phlox::conformance {

struct Options {
  std::string op;               // only this op, by full name
  std::string only;             // only cases whose name has this in it
  double fraction = 1;          // of the cases, chosen by `seed`
  int part = 0, parts = 1;      // every parts-th op, from this one on
  uint64_t seed = 1;
  int threads = 0;              // 0: as many as there are processors
  bool verbose = false;
  int64_t calls = 0;            // --random
  double seconds = 1e9;
  int64_t first_call = 0;
};

// What this thread is doing, for the message when a signal ends the program.
void now_doing(const std::string& what);
void report_signals();

int64_t run_cases(const Options& o);
int64_t run_cuda(const Options& o);      // returns -1 where there is no GPU
int64_t run_errors(const Options& o);
int64_t run_random_calls(const Options& o);

}  // namespace phlox::conformance

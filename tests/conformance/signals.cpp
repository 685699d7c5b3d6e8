// A signal ends the program, after it has said what was being done.
#include <csignal>
#include <cstring>
#include <unistd.h>

#include "run.h"

namespace phlox::conformance {

namespace {
thread_local char doing[2000];
void report(int signal) {
  const char* text = "a signal during ";
  [[maybe_unused]] ssize_t n = write(1, text, std::strlen(text));
  n = write(1, doing, std::strlen(doing));
  n = write(1, "\n", 1);
  std::signal(signal, SIG_DFL);
  raise(signal);
}
}  // namespace

void now_doing(const std::string& what) {
  const size_t n = what.copy(doing, sizeof doing - 1);
  doing[n] = 0;
}

void report_signals() {
  for (int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) std::signal(s, report);
}

}  // namespace phlox::conformance

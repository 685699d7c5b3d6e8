// What the examples share for people: a progress line that redraws itself on a terminal and is a few plain
// lines in a log, a clock, command line options, and numbers out of reports.
#pragma once
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace examples {

class Clock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

class Progress {
 public:
  Progress(std::string label, long total) : label_(std::move(label)), total_(total), terminal_(isatty(1)) {}
  ~Progress() {
    if (terminal_ && drawn_) std::printf("\n");
  }
  // Step `done` of total is done. `text` is drawn a few times a second, or for every tenth of the way.
  void update(long done, const std::string& text) {
    const double now = clock_.seconds();
    const bool last = done >= total_;
    if (terminal_ ? !last && now - drawn_at_ < 0.2 : !last && done * 10 / total_ == shown_tenths_) return;
    shown_tenths_ = done * 10 / total_;
    drawn_at_ = now;
    drawn_ = true;
    const double left = done ? now / double(done) * double(total_ - done) : 0;
    if (terminal_) {
      char bar[25];
      for (int i = 0; i < 24; ++i) bar[i] = i < done * 24 / total_ ? '#' : '.';
      bar[24] = 0;
      std::printf("\r\033[K%s [%s] %ld/%ld  %s  %.0f s left", label_.c_str(), bar, done, total_, text.c_str(),
                  left);
    } else {
      std::printf("%s %ld/%ld  %s  %.0f s left\n", label_.c_str(), done, total_, text.c_str(), left);
    }
    std::fflush(stdout);
  }

 private:
  std::string label_;
  long total_, shown_tenths_ = -1;
  bool terminal_, drawn_ = false;
  double drawn_at_ = -1;
  Clock clock_;
};

// "83 images/s"; the first uses of a program compile its kernels and are not timed.
inline std::string rate(double amount, double seconds, const char* unit) {
  if (amount <= 0 || seconds <= 0) return "warming up";
  char text[48];
  std::snprintf(text, sizeof text, "%.0f %s/s", amount / seconds, unit);
  return text;
}

// --name or --name=value (or --name value) on the command line. The usage text says which options there are:
// "[--quick]" takes nothing, "[--steps N]" a value. What it does not name ends the program, --help prints it.
class Arguments {
 public:
  Arguments(int n, char** v, const char* usage) : n_(n), v_(v), usage_(usage) {
    for (int i = 1; i < n_; ++i) {
      const std::string given = v_[i], name = given.substr(0, given.find('='));
      if (name == "--help" || name == "-h") {
        std::printf("%s\n", usage_.c_str());
        std::exit(0);
      }
      const bool value = has_value(name);
      if (!value && usage_.find("[" + name + "]") == std::string::npos) wrong("unknown option '" + name + "'");
      if (!value && given != name) wrong(name + " takes no value");
      if (value && given == name && (++i >= n_ || !std::strncmp(v_[i], "--", 2))) wrong(name + " needs a value");
    }
  }
  bool has(const char* name) const { return find(name) > 0; }
  std::string text(const char* name, const std::string& otherwise) const {
    const int i = find(name);
    if (!i) return otherwise;
    const char* equals = std::strchr(v_[i], '=');
    return equals ? equals + 1 : v_[i + 1];
  }
  template <class T>
  T number(const char* name, T otherwise) const {
    const std::string t = text(name, "");
    if (!has(name)) return otherwise;
    T value = otherwise;
    const auto read = std::from_chars(t.data(), t.data() + t.size(), value);
    if (read.ec != std::errc() || read.ptr != t.data() + t.size())
      wrong(std::string(name) + " takes a number, not '" + t + "'");
    return value;
  }

 private:
  bool has_value(const std::string& name) const {
    return usage_.find("[" + name + " ") != std::string::npos;
  }
  [[noreturn]] void wrong(const std::string& what) const {
    std::fprintf(stderr, "%s\n%s\n", what.c_str(), usage_.c_str());
    std::exit(2);
  }
  int find(const char* name) const {
    const size_t n = std::strlen(name);
    for (int i = 1; i < n_; ++i) {
      if (!std::strncmp(v_[i], name, n) && (v_[i][n] == 0 || v_[i][n] == '=')) return i;
      if (!std::strchr(v_[i], '=') && has_value(v_[i])) ++i;
    }
    return 0;
  }
  int n_;
  char** v_;
  std::string usage_;
};

// The sum of all numbers that follow "key": in a JSON text.
inline double total_of(const std::string& json, const std::string& key) {
  const std::string mark = "\"" + key + "\": ";
  double sum = 0;
  for (size_t at = json.find(mark); at != std::string::npos; at = json.find(mark, at + 1)) {
    double v = 0;
    std::from_chars(json.data() + at + mark.size(), json.data() + json.size(), v);
    sum += v;
  }
  return sum;
}

template <class... A>
std::string format(const char* pattern, A... args) {
  char text[400];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

}  // namespace examples

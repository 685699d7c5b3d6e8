#include "toolchain/spawn_cc.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace phlox {

namespace {

// Part of the fingerprint: what is compiled how. Change any and old cache entries are not met again.
const char* const common_options[] = {"-x",
                                      "c",
                                      "-std=gnu17",
                                      "-O2",
                                      "-c",
                                      "-fPIC",
                                      "-mcmodel=small",
                                      "-fvisibility=hidden",
                                      "-ffunction-sections",
                                      "-fdata-sections",
                                      "-ffp-contract=off",
                                      "-fno-math-errno",
                                      "-fno-trapping-math",
                                      "-fno-strict-aliasing",
                                      "-fwrapv",
                                      "-ffreestanding",
                                      "-fno-unroll-loops",
                                      "-fno-tree-vectorize",
                                      "-fno-tree-slp-vectorize",
                                      "-fno-stack-protector",
                                      "-fcf-protection=none",
                                      "-fno-asynchronous-unwind-tables",
                                      "-fno-exceptions",
                                      "-fomit-frame-pointer",
                                      "-fno-ident",
                                      "-g0",
                                      "-nostdinc",
                                      "-w"};
const char* const gcc_options[] = {"-fno-stack-clash-protection", "-fno-tree-loop-distribute-patterns"};
const char* const clang_options[] = {"-fbracket-depth=1024"};

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void io_failed(std::string fact, int error) {
  fail(ErrorCode::io, {.op = "compile kernels",
                       .fact = std::move(fact),
                       .got = std::strerror(error),
                       .remedy = "check $TMPDIR and the compiler (PHLOX_CC)"});
}

// A private folder that goes away with everything that we put in it.
class WorkFolder {
 public:
  WorkFolder() {
    const char* base = std::getenv("TMPDIR");
    path_ = cat(base && *base ? base : "/tmp", "/phlox-cc-XXXXXX");
    if (!::mkdtemp(path_.data()))
      io_failed(cat("cannot make a folder in ", base && *base ? base : "/tmp"), errno);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  ~WorkFolder() {
    for (const char* name : {"k.c", "k.o", "log"}) ::unlink(file(name).c_str());
    ::rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::string file(const char* name) const { return cat(path_, "/", name); }

 private:
  std::string path_;
};

void write_file(const std::string& path, std::string_view text) {
  FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (fd.get() < 0) io_failed(cat("cannot write ", path), errno);
  while (!text.empty()) {
    const ssize_t n = ::write(fd.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) io_failed(cat("cannot write ", path), errno);
    text.remove_prefix(size_t(n));
  }
}

// Empty when there is none; never more than `limit` bytes.
std::vector<std::byte> read_file(const std::string& path, size_t limit) {
  std::vector<std::byte> r;
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st;
  if (fd.get() < 0 || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return r;
  r.resize(std::min(size_t(st.st_size), limit));
  size_t have = 0;
  while (have < r.size()) {
    const ssize_t n = ::read(fd.get(), r.data() + have, r.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += size_t(n);
  }
  r.resize(have);
  return r;
}

// Waits for the child; kills it and its children after the limit. True when it ran to its end with status 0.
bool wait_for(pid_t child, int seconds, std::string& how) {
  FileDescriptor handle(int(::syscall(SYS_pidfd_open, child, 0)));
  if (handle.get() >= 0) {
    pollfd p{handle.get(), POLLIN, 0};
    int ready;
    do ready = ::poll(&p, 1, seconds * 1000);
    while (ready < 0 && errno == EINTR);
    if (ready == 0) {
      ::kill(-child, SIGKILL);
      how = cat("was stopped after ", seconds, " s");
    }
  }
  int status = 0;
  pid_t got;
  do got = ::waitpid(child, &status, 0);
  while (got < 0 && errno == EINTR);
  if (!how.empty()) return false;
  if (got < 0) return true;  // the host program ignores SIGCHLD: whether there is an object decides
  if (WIFSIGNALED(status))
    how = cat("was ended by signal ", WTERMSIG(status));
  else if (WEXITSTATUS(status) != 0)
    how = "refused the kernel text";
  return how.empty();
}

pid_t spawn(const std::string& path, const std::vector<std::string>& arguments, const WorkFolder& folder) {
  std::vector<char*> argv, env;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const char* search = std::getenv("PATH");
  std::string variables[] = {cat("PATH=", search ? search : "/usr/bin:/bin"), cat("TMPDIR=", folder.path()),
                             "LC_ALL=C", "CCACHE_DISABLE=1", "SOURCE_DATE_EPOCH=0"};
  for (std::string& v : variables) env.push_back(v.data());
  env.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, folder.file("log").c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  // Relative names keep the folder's random name out of the object.
  ::posix_spawn_file_actions_addchdir_np(&actions, folder.path().c_str());
  sigset_t none, usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  for (int s : {SIGCHLD, SIGPIPE, SIGTERM}) sigaddset(&usual, s);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &usual);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, path.c_str(), &actions, &attributes, argv.data(), env.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error) io_failed(cat("cannot start ", path), error);
  return child;
}

std::string find_on_path(std::string_view name) {
  if (name.find('/') != std::string_view::npos)
    return ::access(std::string(name).c_str(), X_OK) == 0 ? std::string(name) : std::string();
  const char* env = std::getenv("PATH");
  std::string_view path = env ? env : "/usr/bin:/bin";
  while (!path.empty()) {
    const size_t colon = std::min(path.find(':'), path.size());
    if (colon > 0 && path[0] == '/') {  // no compiler from the current folder
      const std::string file = cat(path.substr(0, colon), "/", name);
      struct stat st;
      if (::access(file.c_str(), X_OK) == 0 && ::stat(file.c_str(), &st) == 0 && S_ISREG(st.st_mode))
        return file;
    }
    path.remove_prefix(std::min(colon + 1, path.size()));
  }
  return {};
}

}  // namespace

std::unique_ptr<SpawnCc> SpawnCc::find(std::string_view name) {
  const std::string path = find_on_path(name);
  char real[PATH_MAX];
  struct stat st;
  if (path.empty() || !::realpath(path.c_str(), real) || ::stat(real, &st) != 0) return nullptr;
  std::unique_ptr<SpawnCc> cc(new SpawnCc);
  const std::string_view file = std::string_view(real).substr(std::string_view(real).rfind('/') + 1);
  const std::string_view called = std::string_view(path).substr(path.rfind('/') + 1);
  cc->path_ = path;
  cc->clang_ = file.find("clang") != file.npos || called.find("clang") != called.npos;
  cc->name_ = cat("spawned ", path, file == called ? std::string() : cat(" (", file, ")"));
  // The file's identity stands for the compiler's version: asking costs a process, and updates replace the
  // file.
  cc->fingerprint_ = cat("spawn-cc 1 ", real, " size=", int64_t(st.st_size),
                         " mtime=", int64_t(st.st_mtim.tv_sec), ".", int64_t(st.st_mtim.tv_nsec));
  for (const char* o : common_options) cc->fingerprint_ += cat(" ", o);
  if (cc->clang_)
    for (const char* o : clang_options) cc->fingerprint_ += cat(" ", o);
  else
    for (const char* o : gcc_options) cc->fingerprint_ += cat(" ", o);
  return cc;
}

std::unique_ptr<SpawnCc> SpawnCc::find_default(std::string& why) {
  if (const char* wanted = std::getenv("PHLOX_CC"); wanted && *wanted) {
    auto cc = find(wanted);
    if (!cc) why = cat("PHLOX_CC names no program: '", wanted, "'");
    return cc;
  }
  for (const char* name : {"cc", "gcc", "clang"})
    if (auto cc = find(name)) return cc;
  why = "no cc, gcc or clang on PATH";
  return nullptr;
}

std::vector<std::byte> SpawnCc::compile_object(const std::string& source, const Target& target) {
  const WorkFolder folder;
  write_file(folder.file("k.c"), source);
  std::vector<std::string> arguments{path_};
  for (const char* o : common_options) arguments.push_back(o);
  if (clang_)
    for (const char* o : clang_options) arguments.push_back(o);
  else
    for (const char* o : gcc_options) arguments.push_back(o);
  for (std::string& o : target_options(target)) arguments.push_back(std::move(o));
  for (const char* o : {"-o", "k.o", "k.c"}) arguments.push_back(o);

  std::string how;
  const bool ended_well = wait_for(spawn(path_, arguments, folder), time_limit_s_, how);
  std::vector<std::byte> object = read_file(folder.file("k.o"), 512 << 20);
  if (ended_well && !object.empty()) return object;
  const std::vector<std::byte> log = read_file(folder.file("log"), 64 << 10);
  fail(ErrorCode::internal,
       {.op = "compile kernels",
        .fact = cat(path_, " ", how.empty() ? "wrote no object" : how),
        .got = cat("\n", std::string_view(reinterpret_cast<const char*>(log.data()), log.size())),
        .remedy = "please report this with the text above"});
}

}  // namespace phlox

// usage: fuzz_programs [--seed N] [--count N] [--seconds S] [--jit-eager PERCENT]   random programs
//        fuzz_programs --seed N --graph K [--reduce]                                one of them: shown, and made small
//        fuzz_programs --device cuda [--seed N] [--count N] [--seconds S]           random programs on several streams of a GPU
//        fuzz_programs --cases FOLDER | --case FILE                                 graphs that failed once
// A failure prints the numbers that repeat it. Exit status 1: something failed.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/error.h"
#include "eager/interpret_kernels.h"
#include "generate.h"
#include "reduce.h"
#include "toolchain/kernel_store.h"

namespace phlox::fuzz {
namespace {

struct Options {
  uint64_t seed = 1, count = 2000, first = 0;
  bool one = false, reduce = false, cuda = false;
  double seconds = 1e9;
  int jit_eager = 25;
  std::string cases, file;
};

volatile uint64_t current_seed, current_graph;

extern "C" void graph_fuzz_crash(int number) {
  std::fprintf(stderr, "signal %d; repeat with --seed %llu --graph %llu\n", number, static_cast<unsigned long long>(current_seed),
               static_cast<unsigned long long>(current_graph));
  std::_Exit(1);
}

uint64_t program_seed(const Options& o, uint64_t k) { return o.seed * 1000003 + k; }

FuzzProgram made(uint64_t seed) {
  const InterpretKernels interpreted;
  return generate(seed);
}

// The kernels of many programs go to the compiler together: the checks find them ready.
void compile_kernels(const std::vector<FuzzProgram>& programs) {
  std::vector<KernelText> texts;
  for (const FuzzProgram& p : programs) {
    try {
      const InterpretKernels interpreted;
      TracedProgram t = trace_program(p, make_inputs(p));
      DimEnv env;
      const DimEnvScope scope(env);
      CompileOptions options;
      options.donate = t.donate;
      options.verify = 2;
      const Ref<Program> program = compile_graph(t.graph, cpu_device().target(), options);
      for (const Program::Kernel& k : program->kernels) texts.push_back({k.source, k.entry});
    } catch (const Error&) {  // the check will meet it again and say what it is
    }
  }
  try {
    if (!texts.empty()) kernel_store().get(texts, cpu_device().target());
  } catch (const Error&) {
  }
}

int run_cases(const Options& o) {
  std::vector<std::filesystem::path> files;
  if (!o.file.empty()) files.push_back(o.file);
  else for (const auto& e : std::filesystem::directory_iterator(o.cases)) if (e.path().extension() == ".graph") files.push_back(e.path());
  int failed = 0;
  for (const auto& path : files) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    std::string words;
    try {
      words = check_case(text.str());
    } catch (const Error& e) {
      words = e.what();
    }
    if (words.empty()) continue;
    ++failed;
    std::printf("%s: %s\n", path.c_str(), words.c_str());
  }
  std::printf("%zu cases, %d failed\n", files.size(), failed);
  return failed ? 1 : 0;
}

int run_one(const Options& o) {
  const FuzzProgram p = made(program_seed(o, o.first));
  std::printf("%s", program_text(p).c_str());
  const auto words = in_child([&] {
    Tally tally;
    return check_program(p, false, tally);
  });
  std::printf("%s\n", words.empty() ? "passes" : words.c_str());
  if (words.empty() || !o.reduce) {
    if (!o.reduce) {
      const InterpretKernels interpreted;
      std::printf("%s", print_graph(trace_program(p, make_inputs(p)).graph).c_str());
    }
    return words.empty() ? 0 : 1;
  }
  const FuzzProgram small = reduce_program(p);
  std::printf("\nreduced:\n%s", program_text(small).c_str());
  std::string graph;
  try {
    const InterpretKernels interpreted;
    graph = reduce_graph(small);
  } catch (const Error& e) {
    std::printf("it cannot be traced: %s\n", e.what());
    return 1;
  }
  if (graph.empty()) {
    const InterpretKernels interpreted;
    graph = "# its graph alone does not fail\n" + print_graph(trace_program(small, make_inputs(small)).graph);
  }
  std::printf("\ncase:\n%s", graph.c_str());
  return 1;
}

int run_many(const Options& o) {
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  Tally tally;
  int failed = 0;
  double generating = 0, compiling = 0;
  for (uint64_t k = o.first; k < o.first + o.count && elapsed() < o.seconds; k += 25) {
    const double begin = elapsed();
    std::vector<FuzzProgram> programs;
    for (uint64_t i = k; i < std::min(k + 25, o.first + o.count); ++i) {
      current_graph = i;
      try {
        programs.push_back(made(program_seed(o, i)));
      } catch (const Error& e) {
        ++failed;
        std::printf("--seed %llu --graph %llu: cannot be made: %s\n", static_cast<unsigned long long>(o.seed), static_cast<unsigned long long>(i), e.what());
        programs.push_back({});
      }
    }
    const double generated = elapsed();
    compile_kernels(programs);
    generating += generated - begin;
    compiling += elapsed() - generated;
    for (uint64_t i = 0; i < programs.size(); ++i) {
      current_graph = k + i;
      const std::string words = check_program(programs[i], int((k + i) % 100) < o.jit_eager, tally);
      if (words.empty()) continue;
      ++failed;
      std::printf("--seed %llu --graph %llu: %s\n", static_cast<unsigned long long>(o.seed), static_cast<unsigned long long>(k + i), words.c_str());
      std::fflush(stdout);
    }
  }
  std::printf("%lld graphs, %d failed; %.1f s (made in %.1f, compiled ahead in %.1f); %lld calls, %lld traced nodes, %lld results equal bit for bit, "
              "%lld refused, %lld called twice, %lld with generated eager kernels\n",
              static_cast<long long>(tally.graphs), failed, elapsed(), generating, compiling, static_cast<long long>(tally.steps),
              static_cast<long long>(tally.nodes), static_cast<long long>(tally.bit_results), static_cast<long long>(tally.refused),
              static_cast<long long>(tally.twice), static_cast<long long>(tally.jit_eager));
  std::printf("interpreted exactly: %lld graphs; against float64: %lld results of narrow types (%lld graphs discontinuous, %lld out of range)\n",
              static_cast<long long>(tally.interpreted), static_cast<long long>(tally.wide_checked),
              static_cast<long long>(tally.wide_discontinuous), static_cast<long long>(tally.wide_range));
  std::printf("several sizes: %lld graphs, a symbol in %lld of them\n", static_cast<long long>(tally.sizes), static_cast<long long>(tally.symbolic));
  std::printf("gradients: %lld graphs; against central differences: %lld (%lld skipped)\n", static_cast<long long>(tally.gradients),
              static_cast<long long>(tally.differences), static_cast<long long>(tally.differences_skipped));
  return failed ? 1 : 0;
}

int run_on_gpu(const Options& o) {
  if (!has_gpu()) {
    std::printf("no GPU here\n");
    return 77;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  Tally tally;
  size_t failed = 0;
  constexpr uint64_t batch = 50;
  for (uint64_t k = o.first; k < o.first + o.count && elapsed() < o.seconds; k += batch) {
    std::vector<FuzzProgram> programs;
    for (uint64_t i = k; i < std::min(k + batch, o.first + o.count); ++i) programs.push_back(made(program_seed(o, i)));
    current_graph = k;
    for (const CudaFailure& f : check_on_gpu(programs, program_seed(o, k), tally)) {
      ++failed;
      std::printf("--seed %llu --graph %llu on the GPU: %s\n", static_cast<unsigned long long>(o.seed),
                  static_cast<unsigned long long>(k + uint64_t(f.program - programs.data())), f.words.c_str());
    }
    std::fflush(stdout);
    if (failed > 200) break;
  }
  std::printf("%lld graphs on the GPU, %zu failed; %.1f s; %lld refused, %lld results against float64 (%lld graphs discontinuous, %lld out of range)\n",
              static_cast<long long>(tally.graphs), failed, elapsed(), static_cast<long long>(tally.refused),
              static_cast<long long>(tally.wide_checked), static_cast<long long>(tally.wide_discontinuous),
              static_cast<long long>(tally.wide_range));
  return failed ? 1 : 0;
}

int run(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const auto next = [&] { return i + 1 < argc ? std::string(argv[++i]) : std::string("0"); };
    const auto number = [&] { return std::strtoull(next().c_str(), nullptr, 10); };  // allowed: a test program's option
    if (a == "--seed") o.seed = number();
    else if (a == "--count") o.count = number();
    else if (a == "--first") o.first = number();
    else if (a == "--graph") o.first = number(), o.one = true;
    else if (a == "--reduce") o.reduce = true;
    else if (a == "--seconds") o.seconds = double(number());
    else if (a == "--jit-eager") o.jit_eager = int(number());
    else if (a == "--device") o.cuda = next() == "cuda";
    else if (a == "--cases") o.cases = next();
    else if (a == "--case") o.file = next();
    else { std::fprintf(stderr, "unknown option %s\n", a.c_str()); return 2; }
  }
  if (o.one || !o.cases.empty() || !o.file.empty()) setenv("PHLOX_NUM_THREADS", "1", 0);  // children of a process with threads have none
  current_seed = o.seed;
  if (!o.cases.empty() || !o.file.empty()) return run_cases(o);
  for (int s : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL}) std::signal(s, graph_fuzz_crash);
  if (o.cuda) return run_on_gpu(o);
  if (o.one) return run_one(o);
  return run_many(o);
}

}  // namespace
}  // namespace phlox::fuzz

int main(int argc, char** argv) {
  try {
    return phlox::fuzz::run(argc, argv);
  } catch (const phlox::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}

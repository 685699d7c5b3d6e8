// usage: kernel_pack FOLDER           writes the packs of everyday kernels there, one a level of x86-64
//        kernel_pack --list           prints the calls and the number of their kernels
//        kernel_pack --check FOLDER   exit status 1 when a kernel of these calls is missing in the packs there
#include <chrono>
#include <cstdio>
#include <cstring>
#include <set>

#include "base/error.h"
#include "cases.h"
#include "compile/compile.h"
#include "eager/signature.h"
#include "toolchain/kernel_pack.h"

namespace phlox {

namespace {

constexpr size_t short_text = 8000;  // bytes, of kernels that are worth it in less common types
constexpr size_t long_text = 150000;  // of any

Target level(int n) {
  Target t;
  t.arch = cat("x86-64-v", n);
  t.vector_bits = n == 4 ? 512 : 256;
  return t;
}

struct Pack {
  Target target;
  std::vector<KernelText> texts;
  std::set<std::string> known;
};

// The kernels of one program, unless they are no everyday ones.
int add(Pack& pack, const Signature& s, bool common) {
  DimEnv env = s.env;
  const DimEnvScope scope(env);
  const Ref<Program> p = compile_graph(s.graph, pack.target, {.keep_loop_text = false});
  for (const Program::Step& step : p->steps)
    if (step.kind == Program::Step::Kind::native) return 0;
  for (const Program::Kernel& k : p->kernels)
    if (k.source.size() > (common ? long_text : short_text)) return 0;
  int fresh = 0;
  for (Program::Kernel& k : p->kernels) {
    if (!pack.known.insert(k.entry).second) continue;
    pack.texts.push_back({std::move(k.source), std::move(k.entry)});
    ++fresh;
  }
  return fresh;
}

// A call's program, and those of its recorded forward and backward halves.
int add_call(Pack& pack, PackCase& c) {
  const CallKey key = make_key(*c.op, c.args);
  const Ref<Signature> s = find_signature(*c.op, c.args, key);
  if (s->host_op || s->random) return 0;
  int fresh = add(pack, *s, c.common);
  if (!c.common) return fresh;
  std::vector<bool> needs(s->graph.inputs().size());
  for (size_t i = 0; i < key.tensors.size(); ++i) needs[i] = has_gradient(key.tensors[i]->dtype);
  const bool float_result = !s->outputs.empty() && has_gradient(s->outputs[0].dtype);
  if (!float_result || std::find(needs.begin(), needs.end(), true) == needs.end()) return fresh;
  try {
    Recorded& r = s->recorded(needs, key.symbols);
    fresh += add(pack, *r.forward, true) + add(pack, *r.backward, true);
  } catch (const Error&) {
    // no gradient
  }
  return fresh;
}

std::vector<Pack> everyday_kernels(bool list) {
  std::vector<Pack> packs(2);
  packs[0].target = level(3);
  packs[1].target = level(4);
  for_each_pack_case([&](PackCase& c) {
    int fresh = 0;
    const size_t before = packs[0].texts.size();
    try {
      for (Pack& p : packs) fresh += add_call(p, c);
    } catch (const Error&) {
      return;  // the op refuses these types
    }
    if (!list || !fresh) return;
    size_t bytes = 0;
    for (size_t i = packs[0].texts.size(); i-- > before;) bytes += packs[0].texts[i].source.size();
    std::printf("%3d kernels, %6zu bytes of text: %s of %s\n", fresh, bytes, c.op->schema.full_name().c_str(), tensor_text(*c.tensors[0]).c_str());
  });
  return packs;
}

std::string path_of(const std::string& folder, const Pack& p) { return cat(folder, "/phlox_kernels.", p.target.arch, ".pack"); }

int run(int argc, char** argv) {
  const bool list = argc == 2 && !std::strcmp(argv[1], "--list"), check = argc == 3 && !std::strcmp(argv[1], "--check");
  if (!check && argc != 2) {
    std::fprintf(stderr, "usage: kernel_pack FOLDER | --list | --check FOLDER\n");
    return 2;
  }
  std::vector<Pack> packs = everyday_kernels(list);
  if (list) return 0;
  int missing = 0;
  for (const Pack& p : packs) {
    const std::string path = path_of(argv[argc - 1], p);
    if (check) {
      const PackFile file(path);
      for (const KernelText& t : p.texts) missing += !file.find(kernel_text_hash(t), p.target);
      std::printf("%s: %zu kernels\n", path.c_str(), file.size());
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    KernelStore store({});
    write_kernel_pack(path, p.target.arch, p.texts, store.images(p.texts, p.target));
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%s: %zu kernels in %.1f s\n", path.c_str(), p.texts.size(), s);
  }
  if (missing) std::printf("%d kernels are missing\n", missing);
  return missing ? 1 : 0;
}

}  // namespace

}  // namespace phlox

int main(int argc, char** argv) {
  try {
    return phlox::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "kernel_pack: %s\n", e.what());
    return 1;
  }
}

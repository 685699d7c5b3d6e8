// The committed list of kernels (kernels.txt beside this file), compiled by NVRTC for every chip that it names: what keeps
// the dialect right for GPUs that are not here.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>
#include <sstream>

#include "base/file.h"
#include "compile/compile.h"
#include "harness.h"
#include "ops/prims.h"
#include "ops/registry.h"
#include "ops/sample.h"
#include "toolchain/nvrtc.h"
#include "transform/vjp.h"

using namespace phlox;

namespace {

struct Entry {
  std::string text;
  DType dtype;
  const OpInfo* op;
  Sample sample;
  bool grad;
  std::vector<std::string> chips;
};

std::vector<std::string> words_of(const std::string& s) {
  std::istringstream in(s);
  std::vector<std::string> r;
  for (std::string w; in >> w;) r.push_back(w);
  return r;
}

std::vector<Entry> read_list(const std::string& path) {
  std::vector<Entry> all;
  std::istringstream in(read_file(path));
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t colon = line.find(": "), at = line.find(" @ ");
    std::vector<std::string> head = words_of(line.substr(0, colon));
    PHLOX_CHECK(colon != std::string::npos && head.size() == 2, line);
    const bool grad = head[1].ends_with("+grad");
    if (grad) head[1].resize(head[1].size() - 5);
    const OpInfo* op = find_op(head[1]);
    PHLOX_CHECK(op, "no op ", head[1]);
    const auto dtype = parse_dtype(head[0]);
    PHLOX_CHECK(dtype, head[0]);
    const std::string args = line.substr(colon + 2, at == std::string::npos ? at : at - colon - 2);
    all.push_back({line, *dtype, op, parse_sample(*op, args.c_str()), grad,
                   at == std::string::npos ? std::vector<std::string>{"sm_80", "sm_90a", "sm_100"} : words_of(line.substr(at + 3))});
  }
  return all;
}

void take(const Graph& g, const Target& target, std::map<std::string, KernelText>& texts) {
  const Ref<Program> p = compile_graph(g, target);
  for (const Program::Kernel& k : p->kernels) texts.try_emplace(k.entry, KernelText{k.source, k.entry});
}

// The kernels of the call, and of its backward program.
void kernels_of(const Entry& e, const Target& target, std::map<std::string, KernelText>& texts) {
  DimEnv env;
  const DimEnvScope scope(env);
  SampleCall call(e.sample, e.dtype, 1);
  Graph g;
  GraphBuilder b(g);
  std::vector<Val> in;
  std::vector<bool> needs;
  for (size_t k = 0; k < call.tensors.size(); ++k) {
    TensorType t;
    t.dtype = call.tensors[k].dtype;
    for (int64_t d : call.tensors[k].shape) t.shape.push_back(d);
    in.push_back(b.input(t));
    needs.push_back(call.varies[k] && (is_float(t.dtype) || is_complex(t.dtype)));
  }
  if (has(e.op->op->record.effects, Effects::random)) {
    TensorType t;
    t.dtype = DType::i64;
    t.shape = {2};
    b.random_state = b.input(t);
    needs.push_back(false);
  }
  Vals out = b.call(*e.op, call.args([&](uint32_t k) { return Arg::of_value(in[k].id); }));
  for (Val& v : out) if (g.value(v.id).node == no_node) v = copy(v);
  b.outputs(out);
  take(g, target, texts);
  if (e.grad) take(split_vjp(g, needs).backward, target, texts);
}

TEST(CudaList, EveryKernelForEveryChip) {
  std::string why;
  Nvrtc* compiler = Nvrtc::find(why);
  if (!compiler) GTEST_SKIP() << why;
  FILE* there = std::fopen(PHLOX_KERNEL_LIST, "r");
  if (!there) GTEST_SKIP() << "the list is not here";
  std::fclose(there);
  std::map<std::string, std::map<std::string, KernelText>> by_chip;
  for (const Entry& e : read_list(PHLOX_KERNEL_LIST))
    for (const std::string& chip : e.chips) {
      try {
        kernels_of(e, harness::chip(chip.c_str()), by_chip[chip]);
      } catch (const std::exception& error) {
        ADD_FAILURE() << e.text << ": " << error.what();
      }
    }
  for (const auto& [chip, texts] : by_chip) {
    EXPECT_LE(texts.size(), 150u);
    std::vector<KernelText> all;
    for (const auto& [entry, text] : texts) all.push_back(text);
    std::printf("%s: %zu kernels\n", chip.c_str(), all.size());
    // A few together share what the compiler does once; alone only to say which one it does not take.
    constexpr size_t together = 10;
    for (size_t from = 0; from < all.size(); from += together) {
      const std::span<const KernelText> batch(all.data() + from, std::min(together, all.size() - from));
      try {
        compiler->compile(batch, harness::chip(chip.c_str()));
      } catch (const Error&) {
        for (const KernelText& t : batch) try {
            compiler->compile({&t, 1}, harness::chip(chip.c_str()));
          } catch (const Error& error) {
            ADD_FAILURE() << chip << ": " << error.what() << "\n" << t.source;
          }
      }
    }
  }
}

}  // namespace

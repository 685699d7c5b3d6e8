#include "providers/attention.h"

#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/format.h"
#include "base/hash.h"
#include "providers/attention_text.h"
#include "providers/providers.h"

namespace phlox {

namespace {

// Reasons of the target's own; null: none.
const char* refused_on_gpu(const TensorType& q, const Target& target) {
  int version = 0;
  if (target.arch.starts_with("sm_")) std::from_chars(target.arch.data() + 3, target.arch.data() + target.arch.size(), version);
  if (version < 80) return "the matrix units of sm_80 are needed";
  if (!is_reduced_float(q.dtype)) return "it works on float16 and bfloat16";
  if (!(q.shape[3].is(64) || q.shape[3].is(128))) return "the head width is not 64 or 128";
  return nullptr;
}

const char* refused_on_cpu(const TensorType& q, const TensorType& k, bool causal, const Target& target) {
  const bool wide = target.vector_bits >= 512 && target.has("avx512f");
  if (!wide && !(target.vector_bits >= 256 && target.has("avx2") && target.has("fma"))) return "the target has neither AVX-512 nor AVX2 with FMA";
  if (q.dtype != DType::f32) return "it works on float32";
  const Dim width = q.shape[3], queries = q.shape[1], keys = k.shape[1];
  if (!width.is_const() || width.value() % 16 != 0 || width.value() < 16 || width.value() > chain_chunk) return "the head width is no multiple of 16 up to 256";
  if (!queries.is_const() || !keys.is_const()) return "the numbers of queries and keys are not known";
  if (queries.value() > 1024 || keys.value() > 1024) return "there are more than 1024 queries or keys";
  if (causal && queries.value() < keys.value()) return "a causal mask hides whole keys";
  return nullptr;
}

}  // namespace

bool provides_attention(const TensorType& q, const TensorType& k, const TensorType& v, bool causal, const Target& target, std::string& refusal) {
  const auto refuse = [&](const char* why) {
    refusal = why;
    return false;
  };
  if (providers_off()) return refuse("PHLOX_PROVIDERS=off");
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4) return refuse("there is one batch and one head dimension");
  if (const char* why = target.kind == DeviceKind::cuda ? refused_on_gpu(q, target) : refused_on_cpu(q, k, causal, target)) return refuse(why);
  const Dim width = q.shape[3];
  if (k.shape[3] != width || v.shape[3] != width) return refuse("queries, keys and values have different widths");
  if (q.shape[0] != k.shape[0] || q.shape[2] != k.shape[2] || k.shape[1] != v.shape[1]) return refuse("query and key shapes differ");
  for (const TensorType* t : {&q, &k})
    for (Dim d : t->shape)
      if (d.is_const() && d.value() < 1) return refuse("there is nothing to attend to");
  return true;
}

namespace {

constexpr int block_rows = 128;

struct Maker {
  const AttentionShape& s;
  int tiles, keys;
  Program::Kernel k;

  Maker(const AttentionShape& s, int keys) : s(s), tiles(s.width == 64 ? 2 : 1), keys(keys) {}
  void pointers(uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) k.words.push_back({Program::KernelWord::Kind::pointer, i, 0});
  }
  void dim(Dim d) { k.words.push_back({Program::KernelWord::Kind::dim, 0, d}); }
  void sizes() {
    dim(s.queries);
    dim(s.keys);
    dim(s.heads);
  }
  void steps(std::span<const AttentionOperand> operands) {
    for (const AttentionOperand& o : operands)
      for (Dim d : {o.base, o.batch, o.row, o.head}) dim(d);
  }
  Program::Kernel make(std::string_view body, Dim rows, int64_t shared) {
    char scale[40];
    std::snprintf(scale, sizeof scale, "%.9gf", s.scale);
    std::string literal = scale;
    if (literal.find_first_of(".en") == literal.npos) literal.insert(literal.size() - 1, ".0");
    const std::string head =
        cat("#define D ", s.width, "\n#define TILES ", tiles, "\n#define KEYS ", keys, "\n#define CAUSAL ", int(s.causal), "\n#define SCALE ",
            literal, "\n#define TYPE \"", s.dtype == DType::f16 ? "f16" : "bf16", "\"\nstruct WORDS { unsigned long long w[", k.words.size(), "]; };\n");
    std::string text = cat(head, attention_common, attention_backward_words, body);
    k.entry = "k_" + hex(hash256(text.data(), text.size())).substr(0, 24);
    k.source = cat("#define NAME ", k.entry, "\n", text);
    k.items = floordiv(rows + (block_rows - 1), block_rows) * s.batch * s.heads;
    k.threads = uint32_t(32 * block_rows / (16 * tiles));
    k.shared_bytes = uint32_t(shared);
    return std::move(k);
  }
};

}  // namespace

Program::Kernel attention_forward(const AttentionShape& s, const AttentionOperand (&qkv)[3]) {
  Maker m(s, 64);
  m.pointers(5);
  m.sizes();
  m.steps(qkv);
  return m.make(attention_forward_text, s.queries, (block_rows + 4 * m.keys) * s.width * 2);
}

Program::Kernel attention_backward_queries(const AttentionShape& s, const AttentionOperand (&gqkv)[4]) {
  Maker m(s, 32);
  m.pointers(9);
  m.sizes();
  m.steps(gqkv);
  return m.make(attention_queries_text, s.queries, (2 * block_rows + 4 * m.keys) * s.width * 2);
}

Program::Kernel attention_backward_keys(const AttentionShape& s, const AttentionOperand (&gqkv)[4]) {
  Maker m(s, 32);
  m.pointers(9);
  m.sizes();
  m.steps(gqkv);
  return m.make(attention_keys_text, s.keys, (2 * block_rows + 4 * m.keys) * s.width * 2 + 4 * m.keys * 4);
}

}  // namespace phlox

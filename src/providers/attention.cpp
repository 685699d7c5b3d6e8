#include "providers/attention.h"

#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/format.h"
#include "base/hash.h"
#include "providers/attention_hopper.h"
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

enum Part { forward, queries, keys };

// How a kernel is cut: rows of a block, rows of a tile of the other side, stages of tiles, blocks of a processor.
struct Cut { int rows, tile, stages = 2, blocks = 1; };
Cut cut_of(Part part, int64_t width, bool hopper) {
  if (!hopper) return {128, part == forward ? 64 : 32};
  if (width == 64) return {128, 64, 4, part == keys ? 1 : 2};
  return {128, 64, part == forward ? 4 : 3, 1};
}

struct Maker {
  const AttentionShape& s;
  Program::Kernel k;

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
  // Of the backward kernels; packed gradients are one buffer.
  void buffers_backward() {
    pointers(6);
    for (uint32_t i = 6; i < 9; ++i) k.words.push_back({Program::KernelWord::Kind::pointer, s.packed ? 6 : i, 0});
  }
  Program::Kernel make(Part part, const Target& target) {
    const bool hopper = target.arch == "sm_90a";
    const Cut c = cut_of(part, s.width, hopper);
    char scale[40];
    std::snprintf(scale, sizeof scale, "%.9gf", s.scale);
    std::string text = scale;
    if (text.find_first_of(".en") == text.npos) text.insert(text.size() - 1, ".0");
    text = cat("#define D ", s.width, "\n#define KEYS ", c.tile, "\n#define CAUSAL ", int(s.causal), "\n#define PACKED ", int(s.packed), "\n#define SCALE ", text,
               "\n#define TYPE \"", s.dtype == DType::f16 ? "f16" : "bf16", "\"\nstruct WORDS { unsigned long long w[", k.words.size(), "]; };\n");
    const int tiles = s.width == 64 ? 2 : 1;  // of 16 rows, that a warp works on
    if (hopper) {
      static constexpr const char* bodies[] = {hopper_forward_text, hopper_queries_text, hopper_keys_text};
      text += cat("#define WGS ", c.rows / 64, "\n#define STAGES ", c.stages, "\n#define BLOCKS ", c.blocks, "\n", hopper_common, bodies[part]);
      k.threads = uint32_t(2 * c.rows);
    } else {
      static constexpr const char* bodies[] = {attention_forward_text, attention_queries_text, attention_keys_text};
      text += cat("#define TILES ", tiles, "\n", attention_common, attention_backward_words, bodies[part]);
      k.threads = uint32_t(2 * c.rows / tiles);
    }
    k.entry = "k_" + hex(hash256(text.data(), text.size())).substr(0, 24);
    k.source = cat("#define NAME ", k.entry, "\n", text);
    k.items = floordiv((part == keys ? s.keys : s.queries) + (c.rows - 1), c.rows) * s.batch * s.heads;
    const int64_t numbers = part == keys ? int64_t(c.stages) * 2 * c.tile * 4 : 0;
    k.shared_bytes = uint32_t(((part == forward ? 1 : 2) * c.rows + c.stages * 2 * c.tile) * s.width * 2 + numbers + (hopper ? 1024 : 0));
    return std::move(k);
  }
};

}  // namespace

Program::Kernel attention_forward(const AttentionShape& s, const AttentionOperand (&qkv)[3], const Target& target) {
  Maker m{s, {}};
  m.pointers(5);
  m.sizes();
  m.steps(qkv);
  return m.make(forward, target);
}

Program::Kernel attention_backward_queries(const AttentionShape& s, const AttentionOperand (&gqkv)[4], const Target& target) {
  Maker m{s, {}};
  m.buffers_backward();
  m.sizes();
  m.steps(gqkv);
  return m.make(queries, target);
}

Program::Kernel attention_backward_keys(const AttentionShape& s, const AttentionOperand (&gqkv)[4], const Target& target) {
  Maker m{s, {}};
  m.buffers_backward();
  m.sizes();
  m.steps(gqkv);
  return m.make(keys, target);
}

}  // namespace phlox

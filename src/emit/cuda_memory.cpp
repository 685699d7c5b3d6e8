#include "emit/cuda_memory.h"

#include "base/error.h"
#include "base/format.h"

namespace phlox {

std::string CudaMemory::bit_cast(DType from, DType to, const std::string& x) {
  const std::string t = scalar_type(to);
  if (is_float(to) && !is_reduced_float(to)) return to == DType::f32 ? cat("__uint_as_float((u32)", x, ")") : cat("__longlong_as_double((long long)", x, ")");
  if (is_float(from) && !is_reduced_float(from)) return from == DType::f32 ? cat("(", t, ")__float_as_uint(", x, ")") : cat("(", t, ")__double_as_longlong(", x, ")");
  return cat("(", t, ")", x);
}

std::string CudaMemory::at(const KInst& i, int lane) {
  if (i.op == KOp::local_load && i.operand_count == 3)
    return cat("((const volatile ", scalar_type(i.type.dtype), "*)", use(cuda_text::peer), "(v", i.operand[0], ", (u32)", o(i, 2), "))[", o(i, 1), " + ", lane, "]");
  if (i.op == KOp::local_load || i.op == KOp::local_store) return cat("v", i.operand[0], "[", o(i, 1), " + ", lane, "]");
  if (i.op == KOp::load_gather || i.op == KOp::store_scatter) return cat("p", i.imm, "[", o(i, 0, lane), "]");
  if (i.op == KOp::load_strided) return cat("p", i.imm, "[", o(i, 0), " + ", lane, " * ", o(i, 1), "]");
  if (i.op == KOp::store_strided) return cat("p", i.imm, "[", o(i, 0), " + ", lane, " * ", o(i, 2), "]");
  return cat("p", i.imm, "[", o(i, 0), " + ", lane, "]");
}
std::string CudaMemory::guard(const KInst& i, int lane) const {
  switch (i.op) {
    case KOp::load_partial: return cat(o(i, 1), " > ", lane);
    case KOp::store_partial: return cat(o(i, 2), " > ", lane);
    case KOp::load_masked: return o(i, 1, lane);
    case KOp::store_masked: return o(i, 2, lane);
    case KOp::load_gather: return i.operand_count == 2 ? o(i, 1, lane) : "";
    case KOp::store_scatter: return i.operand_count == 3 ? o(i, 2, lane) : "";
    default: return "";
  }
}
// A wide access: `count` pieces of a vector type, each of `members` words.
namespace {
struct Wide { const char* type; int bytes, count; };
Wide wide(DType d, int n) {
  const int bytes = int(dtype_bytes(d)) * n;
  if (bytes >= 16) return {dtype_bytes(d) == 8 ? "ulonglong2" : "uint4", 16, bytes / 16};
  if (bytes == 8) return {"uint2", 8, 1};
  return {bytes == 4 ? "u32" : "u16", bytes, 1};
}
std::string member(const Wide& w, const std::string& q, int n) { return w.bytes <= 4 ? q : cat(q, ".", "xyzw"[n]); }
}  // namespace

void CudaMemory::load(KValue v) {
  const KInst& i = inst(v);
  const DType d = i.type.dtype;
  const int n = lanes(i), bytes = int(dtype_bytes(d));
  if (i.op != KOp::load || n == 1) {
    for (int l = 0; l < n; ++l) {
      const std::string g = guard(i, l), x = is_bool(d) ? cat("(", at(i, l), " != 0)") : at(i, l);
      define(v, l, i.type, g.empty() ? x : cat(g, " ? ", x, " : (", type_name(i.type), ")0"));
    }
    return;
  }
  const Wide w = wide(d, n);
  for (int c = 0; c < w.count; ++c) line_of("const ", w.type, " q", v, "_", c, " = ((const ", w.type, "*)&", at(i, 0), ")[", c, "];");
  const int word = bytes == 8 ? 8 : std::min(4, w.bytes), in_word = word / bytes, words = w.bytes / word;
  for (int l = 0; l < n; ++l) {
    const int k = l / in_word, shift = l % in_word * bytes * 8;
    const std::string m = member(w, cat("q", v, "_", k / words), k % words);
    const std::string x = shift ? cat("(", m, " >> ", shift, ")") : m;
    if (is_bool(d)) define(v, l, i.type, cat("(", x, " & 0xff) != 0"));
    else define(v, l, i.type, bit_cast(bytes == 8 ? DType::u64 : DType::u32, d, x));
  }
}

void CudaMemory::store(const KInst& i) {
  PHLOX_CHECK(i.op != KOp::atomic_add, "no CUDA text for atomic_add");
  const bool local = i.op == KOp::local_store;
  const KValue x = i.operand[local ? 2 : 1];
  const DType d = i.type.dtype;
  const int n = lanes(i), bytes = int(dtype_bytes(d));
  if (i.op != KOp::store || n == 1) {
    for (int l = 0; l < n; ++l) {
      const std::string g = guard(i, l);
      line_of(g.empty() ? std::string() : cat("if (", g, ") "), at(i, l), " = ", name(x, l), ";");
    }
    return;
  }
  const Wide w = wide(d, n);
  const int word = bytes == 8 ? 8 : std::min(4, w.bytes), in_word = word / bytes, words = w.bytes / word;
  const DType u = unsigned_of(is_bool(d) ? DType::u8 : d);
  for (int c = 0; c < w.count; ++c) {
    std::string s;
    for (int k = 0; k < words; ++k) {
      std::string m;
      for (int l = 0; l < in_word; ++l) {
        const std::string b = bit_cast(d, u, name(x, (c * words + k) * in_word + l));
        m += cat(l ? " | " : "", bytes == 8 ? "(unsigned long long)" : "(u32)", "(", b, ")", l ? cat(" << ", l * bytes * 8) : "");
      }
      s += cat(k ? ", " : "", m);
    }
    line_of("((", w.type, "*)&", at(i, 0), ")[", c, "] = ", w.bytes <= 4 ? cat("(", w.type, ")(", s, ")") : cat("make_", w.type, "(", s, ")"), ";");
  }
}

}  // namespace phlox

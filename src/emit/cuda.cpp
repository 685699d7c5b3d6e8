// The CUDA dialect. A vector is one scalar a lane, since a GPU thread has no vector registers; only contiguous memory
// access is wide. 16-bit floats are loaded, stored and converted by inline PTX, so that no header is needed.
#include "base/error.h"
#include "base/format.h"
#include "emit/cuda_tiles.h"
#include "emit/emit.h"
#include "emit/printer.h"

namespace phlox {

namespace {

// The shared printer spells builtins as C compilers name them.
constexpr std::string_view prologue = R"(typedef unsigned char u8; typedef signed char i8; typedef unsigned short u16; typedef short i16;
typedef unsigned u32; typedef int i32; typedef unsigned long u64; typedef long i64; typedef float f32; typedef double f64;
#define NO_UNROLL _Pragma("unroll 1")
#define UNROLL _Pragma("unroll")
#define UNROLL_4 _Pragma("unroll 4")
#define __builtin_nanf(x) __int_as_float(0x7fc00000)
#define __builtin_inff() __int_as_float(0x7f800000)
#define __builtin_nan(x) __longlong_as_double(0x7ff8000000000000ll)
#define __builtin_inf() __longlong_as_double(0x7ff0000000000000ll)
#define __builtin_fmaf __fmaf_rn
#define __builtin_fma __fma_rn
#define __builtin_sqrtf __fsqrt_rn
#define __builtin_sqrt __dsqrt_rn
#define __builtin_fabsf fabsf
#define __builtin_fabs fabs
#define __builtin_floorf floorf
#define __builtin_floor floor
#define __builtin_ceilf ceilf
#define __builtin_ceil ceil
#define __builtin_truncf truncf
#define __builtin_trunc trunc
#define __builtin_roundevenf rintf
#define __builtin_roundeven rint
)";

struct Helper { const char* name; const char* text; };
constexpr Helper f32_of_bf16{"f32_of_bf16", "static __device__ f32 f32_of_bf16(u16 h) { return __uint_as_float((u32)h << 16); }\n"};
constexpr Helper bf16_of_f32{"bf16_of_f32", "static __device__ u16 bf16_of_f32(f32 f) { u16 h; asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(h) : \"f\"(f)); return h; }\n"};
constexpr Helper f32_of_f16{"f32_of_f16", "static __device__ f32 f32_of_f16(u16 h) { f32 f; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(f) : \"h\"(h)); return f; }\n"};
constexpr Helper f16_of_f32{"f16_of_f32", "static __device__ u16 f16_of_f32(f32 f) { u16 h; asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(h) : \"f\"(f)); return h; }\n"};

constexpr Helper max_f32{"max_f32", "static __device__ f32 max_f32(f32 a, f32 b) { f32 r; asm(\"max.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b)); return r; }\n"};
constexpr Helper min_f32{"min_f32", "static __device__ f32 min_f32(f32 a, f32 b) { f32 r; asm(\"min.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b)); return r; }\n"};
constexpr Helper power2{"power2", "static __device__ f32 power2(f32 x) { f32 r; asm(\"ex2.approx.ftz.f32 %0, %1;\" : \"=f\"(r) : \"f\"(x)); return r; }\n"};

// A place of shared memory in another block of the cluster.
constexpr Helper peer{"peer", "static __device__ const void* peer(const void* p, u32 block) { const void* r; asm(\"mapa.u64 %0, %1, %2;\" : \"=l\"(r) : \"l\"(p), \"r\"(block)); return r; }\n"};
constexpr const char* barriers[] = {"__syncthreads();", "__syncwarp();", "asm volatile(\"griddepcontrol.wait;\" : : : \"memory\");",
    "asm volatile(\"barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\" : : : \"memory\");"};

// Within an ulp, without branches: the residual corrects the quotient unless it is not a number (a zero or infinite divisor).
constexpr Helper div_near{"div_near",
    "static __device__ f32 div_near(f32 a, f32 b) { f32 r; asm(\"rcp.approx.ftz.f32 %0, %1;\" : \"=f\"(r) : \"f\"(b)); const f32 q = a * r, e = "
    "__fmaf_rn(-b, q, a); return e == e ? __fmaf_rn(e, r, q) : q; }\n"};

class CudaPrinter final : public Printer {
 public:
  explicit CudaPrinter(const Kernel& k) : Printer(k) {
    PHLOX_CHECK(k.register_lanes == 1, "a CUDA kernel has registers of one lane");
  }

  std::string run(std::string_view entry, int rows) {
    rows_ = rows;
    body();
    std::string params;
    for (size_t p = 0; p < k_.params.size(); ++p) {
      const char* t = scalar_type(k_.params[p].dtype);
      const char* c = k_.params[p].written ? "" : "const ";
      params += cat("  ", c, t, "* const p", p, " = (", c, t, "*)words.w[", k_.params[p].word, "];\n");
    }
    const size_t row = k_.words.size() + 1, count = rows ? 2 + size_t(rows) * row : k_.words.size();
    const std::string words = cat("words_", count);
    return cat(guarded("PHLOX_CUDA", prologue), helpers_,
               guarded(cat("PHLOX_", words), cat("struct ", words, " { unsigned long long w[", std::max<size_t>(1, count), "]; };\n")),
               "extern \"C\" __global__ void __launch_bounds__(", k_.threads, ") ", k_.cluster > 1 ? cat("__cluster_dims__(", k_.cluster, ", 1, 1) ") : "", entry, "(const __grid_constant__ ", words, rows ? " list) {\n" : " words) {\n",
               k_.early ? "  asm volatile(\"griddepcontrol.launch_dependents;\");\n" : "", rows ? find_row(row) : "", params, out_, "}\n");
  }

 private:
  // The block's row of a list by halving.
  static std::string find_row(size_t row) {
    return cat("  i64 row = 0, last = (i64)list.w[0];\n"
               "  while (last - row > 1) {\n"
               "    const i64 m = (row + last) / 2;\n"
               "    if ((i64)list.w[1 + m * ", row, "] <= (i64)blockIdx.x) row = m; else last = m;\n"
               "  }\n"
               "  const i64 item = (i64)blockIdx.x - (i64)list.w[1 + row * ", row, "];\n"
               "  const struct { const unsigned long long* w; } words = {list.w + 2 + row * ", row, "};\n");
  }
  std::string item() const { return rows_ ? "item" : "(i64)blockIdx.x"; }

  std::string type_name(KType t) override { return is_bool(t.dtype) ? "bool" : scalar_type(t.dtype); }
  bool waits(const KInst& i) const override { return Printer::waits(i) && !is_shuffle(i.op) && !accesses_memory(i.op) && i.op != KOp::local_load && i.op != KOp::local_store; }
  std::string loop_hint(const KInst& i) const override {
    if (i.hint == LoopHint::none) return "NO_UNROLL";
    const KInst &from = operand(i, 0), &to = operand(i, 1), &step = operand(i, 2);
    const bool known = from.op == KOp::constant && to.op == KOp::constant && step.op == KOp::constant;
    // Arrays in registers have at most 64 elements; a longer loop written out whole keeps NVRTC busy for half a minute.
    return known && to.imm - from.imm <= 64 * step.imm ? "UNROLL" : "UNROLL_4";
  }
  std::string o(const KInst& i, int n, int part = 0) const { return name(i.operand[n], part); }
  std::string use(const Helper& h) { helper(h.name, h.text); return h.name; }

  void statement(KValue v, int part) override {
    const KInst& i = inst(v);
    switch (i.op) {
      case KOp::constant: return define(v, 0, i.type, literal(i.type.dtype, i.imm));
      case KOp::splat: return define(v, 0, i.type, o(i, 0));
      case KOp::word: return define(v, 0, i.type, word(i));
      case KOp::item_begin: return define(v, 0, i.type, item());
      case KOp::item_end: return define(v, 0, i.type, item() + " + 1");
      case KOp::block_id: return define(v, 0, i.type, cat("(i64)blockIdx.", "xyz"[i.imm]));
      case KOp::thread_id: return define(v, 0, i.type, cat("(i64)threadIdx.", "xyz"[i.imm]));
      case KOp::scalar: return define(v, part, i.type, scalar(i, part));
      case KOp::iota: return define(v, part, i.type, cat(part));
      case KOp::extract: return define(v, 0, i.type, name(i.operand[0], int(i.imm)));
      case KOp::any: return define(v, 0, i.type, any(i));
      case KOp::lane_fold: return fold(v);
      case KOp::power2: return define(v, part, i.type, cat(use(power2), "(", o(i, 0, part), ")"));
      case KOp::shuffle_xor: case KOp::shuffle_up: case KOp::shuffle_lane:
        for (int p = 0; p < lanes(i); ++p) define(v, p, i.type, shuffle(i, p));
        return;
      case KOp::barrier: return line(barriers[i.imm]);
      case KOp::var: return line_of(type_name(i.type), " ", name(v, part), " = ", o(i, 0, part), ";");
      case KOp::set: return line_of(name(i.operand[0], part), " = ", o(i, 1, part), ";");
      case KOp::get: return define(v, part, i.type, o(i, 0, part));
      case KOp::local:
        return line_of(i.space == Space::shared ? "__shared__ __align__(16) " : "", scalar_type(i.type.dtype), " v", v, "[", i.imm, "];");
      case KOp::report:
        return line_of("if (", o(i, 0), ") atomicCAS((unsigned long long*)words.w[", i.imm, "], 0ull, (unsigned long long)(", o(i, 1),
                       " < 0 ? ", o(i, 1), " : ", o(i, 1), " + 1));");
      case KOp::prefetch: return line_of("asm volatile(\"prefetch.global.L2 [%0];\" : : \"l\"(p", i.imm, " + ", o(i, 0), "));");
      case KOp::address: return define(v, 0, i.type, cat("(i64)(p", i.imm, " + ", o(i, 0), ")"));
      case KOp::tile: return tile(k_.tiles[size_t(i.imm)]);
      default: return has_effect(i.op) ? store(i) : load(v);
    }
  }

  static int lanes(const KInst& i) { return i.type.lanes; }
  std::string word(const KInst& i) {
    const std::string w = cat("words.w[", i.imm, "]");
    if (i.type.dtype == DType::f64) return cat("__longlong_as_double((long long)", w, ")");
    if (i.type.dtype == DType::f32) return cat("__uint_as_float((u32)", w, ")");
    return cat("(", type_name(i.type), ")", w);
  }

  void tile(const KTile& t) {
    PHLOX_CHECK(t.kind == KTile::Kind::skinny, "no CUDA text for ", tile_name(t.kind));
    helper("skinny", skinny_text);
    std::string call = cat(skinny_call(t, inst(t.operands[4]).op == KOp::local), "(");
    for (size_t n = 0; n < t.operands.size(); ++n) {
      const bool array = inst(t.operands[n]).op == KOp::local;
      call += cat(n ? ", " : "", array ? cat("(i64)v", t.operands[n]) : name(t.operands[n], 0));
    }
    line(call + ");");
  }

  // --- arithmetic
  std::string scalar(const KInst& i, int part) {
    const DType from = operand(i, i.operand_count - 1).type.dtype, to = i.type.dtype;
    const std::string x = o(i, 0, part);
    if (i.scalar == Scalar::cast) return cast(from, to, x);
    if (i.scalar == Scalar::bitcast) return bit_cast(from, to, x);
    if (i.scalar == Scalar::fmod) return cat(to == DType::f64 ? "fmod(" : "fmodf(", x, ", ", o(i, 1, part), ")");
    if ((i.scalar == Scalar::max || i.scalar == Scalar::min) && to == DType::f32) return cat(use(i.scalar == Scalar::max ? max_f32 : min_f32), "(", x, ", ", o(i, 1, part), ")");
    if (i.scalar == Scalar::div && i.imm == 1) return cat(use(div_near), "(", x, ", ", o(i, 1, part), ")");
    return scalar_text(i, part);
  }
  std::string bit_cast(DType from, DType to, const std::string& x) {
    const std::string t = scalar_type(to);
    if (is_float(to) && !is_reduced_float(to)) return to == DType::f32 ? cat("__uint_as_float((u32)", x, ")") : cat("__longlong_as_double((long long)", x, ")");
    if (is_float(from) && !is_reduced_float(from)) return from == DType::f32 ? cat("(", t, ")__float_as_uint(", x, ")") : cat("(", t, ")__double_as_longlong(", x, ")");
    return cat("(", t, ")", x);
  }
  // As the hardware of a CPU: what does not fit becomes the least integer.
  std::string to_int(DType from, DType to, const std::string& x) {
    const bool wide = to == DType::i64, f64 = from == DType::f64;
    const std::string name = cat(scalar_type(to), "_of_", scalar_type(from)), limit = cat(wide ? "0x1p63" : "0x1p31", f64 ? "" : "f");
    helper(name, cat("static __device__ ", scalar_type(to), " ", name, "(", scalar_type(from), " x) { return x >= -", limit, " && x < ", limit, " ? (",
                     scalar_type(to), ")x : ", wide ? "(-9223372036854775807l - 1)" : "(-2147483647 - 1)", "; }\n"));
    return cat(name, "(", x, ")");
  }
  std::string cast(DType from, DType to, const std::string& x) {
    if (is_bool(to)) return is_reduced_float(from) ? cat("(", x, " & 0x7fff) != 0") : cat(x, " != 0");
    if (is_reduced_float(from)) return cast(DType::f32, to, cat(use(from == DType::bf16 ? f32_of_bf16 : f32_of_f16), "(", x, ")"));
    if (is_reduced_float(to)) return cat(use(to == DType::bf16 ? bf16_of_f32 : f16_of_f32), "((f32)", x, ")");
    if (is_float(from) && is_int(to))
      return cat("(", scalar_type(to), ")", to_int(from, dtype_bytes(to) == 8 || to == DType::u32 ? DType::i64 : DType::i32, x));
    return cat("(", scalar_type(to), ")", x);
  }

  // --- across lanes and threads
  std::string combined(Combine c, DType d, const std::string& a, const std::string& b) {
    switch (c) {
      case Combine::add: return cat("(", scalar_type(d), ")(", a, " + ", b, ")");
      case Combine::mul: return cat("(", scalar_type(d), ")(", a, " * ", b, ")");
      case Combine::band: return cat(type_name({d, 1}), "(", a, " & ", b, ")");
      case Combine::bor: return cat(type_name({d, 1}), "(", a, " | ", b, ")");
      default: break;
    }
    if (d == DType::f32) return cat(use(c == Combine::max ? max_f32 : min_f32), "(", a, ", ", b, ")");
    const std::string pick = cat(a, c == Combine::max ? " > " : " < ", b, " ? ", a, " : ", b);
    return is_float(d) ? cat(a, " != ", a, " ? ", a, " : ", pick) : pick;
  }
  void fold(KValue v) {
    const KInst& i = inst(v);
    std::vector<std::string> p;
    for (int l = 0; l < operand(i, 0).type.lanes; ++l) p.push_back(name(i.operand[0], l));
    for (size_t half = p.size() / 2, step = 0; half >= 1; half /= 2, ++step)
      for (size_t l = 0; l < half; ++l) {
        const std::string r = cat("f", v, "_", step, "_", l);
        line_of("const ", type_name(i.type), " ", r, " = ", combined(i.combine, i.type.dtype, p[l], p[l + half]), ";");
        p[l] = r;
      }
    define(v, 0, i.type, p[0]);
  }
  std::string any(const KInst& i) {
    std::string s = o(i, 0);
    for (int l = 1; l < operand(i, 0).type.lanes && !is_uniform(operand(i, 0)); ++l) s += cat(" | ", o(i, 0, l));
    return s;
  }
  std::string shuffle(const KInst& i, int part) {
    const DType d = i.type.dtype;
    const char* as = dtype_bytes(d) < 4 ? "int" : d == DType::i64 || d == DType::u64 ? "long long" : scalar_type(d);
    return cat("(", type_name({d, 1}), ")__shfl", i.op == KOp::shuffle_xor ? "_xor" : i.op == KOp::shuffle_up ? "_up" : "", "_sync(0xffffffffu, (", as, ")", o(i, 0, part), ", ", i.imm, ")");
  }

  // --- memory
  std::string at(const KInst& i, int lane) {  // the element of a lane
    if (i.op == KOp::local_load && i.operand_count == 3)
      return cat("((const volatile ", scalar_type(i.type.dtype), "*)", use(peer), "(v", i.operand[0], ", (u32)", o(i, 2), "))[", o(i, 1), " + ", lane, "]");
    if (i.op == KOp::local_load || i.op == KOp::local_store) return cat("v", i.operand[0], "[", o(i, 1), " + ", lane, "]");
    if (i.op == KOp::load_gather || i.op == KOp::store_scatter) return cat("p", i.imm, "[", o(i, 0, lane), "]");
    if (i.op == KOp::load_strided) return cat("p", i.imm, "[", o(i, 0), " + ", lane, " * ", o(i, 1), "]");
    if (i.op == KOp::store_strided) return cat("p", i.imm, "[", o(i, 0), " + ", lane, " * ", o(i, 2), "]");
    return cat("p", i.imm, "[", o(i, 0), " + ", lane, "]");
  }
  std::string guard(const KInst& i, int lane) const {  // of a lane; empty: none
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
  struct Wide { const char* type; int bytes, count; };
  static Wide wide(DType d, int n) {
    const int bytes = int(dtype_bytes(d)) * n;
    if (bytes >= 16) return {dtype_bytes(d) == 8 ? "ulonglong2" : "uint4", 16, bytes / 16};
    if (bytes == 8) return {"uint2", 8, 1};
    return {bytes == 4 ? "u32" : "u16", bytes, 1};
  }
  static std::string member(const Wide& w, const std::string& q, int n) { return w.bytes <= 4 ? q : cat(q, ".", "xyzw"[n]); }

  void load(KValue v) {
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

  void store(const KInst& i) {
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
  int rows_ = 0;  // of a list
};

}  // namespace

std::string emit_cuda(const Kernel& k, std::string_view entry, int rows) { return CudaPrinter(k).run(entry, rows); }

std::string emit_kernel(const Kernel& k, const Target& target, std::string_view entry, int rows) {
  return target.kind == DeviceKind::cuda ? emit_cuda(k, entry, rows) : emit_c(k, target, entry, rows);
}

}  // namespace phlox

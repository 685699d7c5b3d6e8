// The CUDA dialect. A vector is one scalar a lane, since a GPU thread has no vector registers; only contiguous memory
// access is wide. 16-bit floats are loaded, stored and converted by inline PTX, so that no header is needed.
#include "base/error.h"
#include "base/format.h"
#include "emit/emit.h"
#include "emit/cuda_memory.h"
#include "emit/cuda_tiles.h"

namespace phlox {

namespace {

using namespace cuda_text;

class CudaPrinter final : public CudaMemory {
 public:
  explicit CudaPrinter(const Kernel& k) : CudaMemory(k) {
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

  bool waits(const KInst& i) const override { return Printer::waits(i) && !is_shuffle(i.op) && !accesses_memory(i.op) && i.op != KOp::local_load && i.op != KOp::local_store; }
  std::string loop_hint(const KInst& i) const override {
    if (i.hint == LoopHint::none) return "NO_UNROLL";
    const KInst &from = operand(i, 0), &to = operand(i, 1), &step = operand(i, 2);
    const bool known = from.op == KOp::constant && to.op == KOp::constant && step.op == KOp::constant;
    // Arrays in registers have at most 64 elements; a longer loop written out whole keeps NVRTC busy for half a minute.
    return known && to.imm - from.imm <= 64 * step.imm ? "UNROLL" : "UNROLL_4";
  }

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

  std::string word(const KInst& i) {
    const std::string w = cat("words.w[", i.imm, "]");
    if (i.type.dtype == DType::f64) return cat("__longlong_as_double((long long)", w, ")");
    if (i.type.dtype == DType::f32) return cat("__uint_as_float((u32)", w, ")");
    return cat("(", type_name(i.type), ")", w);
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

  int rows_ = 0;  // of a list
};

}  // namespace

std::string emit_cuda(const Kernel& k, std::string_view entry, int rows) { return CudaPrinter(k).run(entry, rows); }

std::string emit_kernel(const Kernel& k, const Target& target, std::string_view entry, int rows) {
  return target.kind == DeviceKind::cuda ? emit_cuda(k, entry, rows) : emit_c(k, target, entry, rows);
}

}  // namespace phlox

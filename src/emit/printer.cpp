#include "emit/printer.h"

#include <bit>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/format.h"

namespace phlox {

Printer::Printer(const Kernel& k) : k_(k) {}

void Printer::line(std::string_view text) {
  out_.append(size_t(depth_) * 2, ' ');
  out_ += text;
  out_ += '\n';
}

void Printer::helper(std::string_view name, std::string_view text) {
  if (!seen_.insert(std::string(name)).second) return;
  helpers_ += guarded(cat("PHLOX_", name), text);
}

std::string Printer::name(KValue v, int part) const {
  const KInst& i = inst(v);
  if (i.op == KOp::constant && i.type.lanes == 1) return literal(i.type.dtype, i.imm);
  if (is_uniform(i) || parts(i.type.lanes) == 1) return cat("v", v);
  return cat("v", v, "_", part);
}

std::string Printer::guarded(std::string_view name, std::string_view text) {
  return cat("#ifndef ", name, "\n#define ", name, "\n", text, "#endif\n");
}

void Printer::define(KValue v, int part, KType t, std::string_view text) {
  t.lanes = uint16_t(part_lanes(t.lanes));
  line_of("const ", type_name(t), " ", name(v, part), " = ", text, ";");
}

const char* Printer::scalar_type(DType d) {
  switch (d) {
    case DType::boolean: case DType::u8: return "u8";
    case DType::i8: return "i8";
    case DType::i16: return "i16";
    case DType::u16: case DType::f16: case DType::bf16: return "u16";
    case DType::i32: return "i32";
    case DType::u32: return "u32";
    case DType::i64: return "i64";
    case DType::u64: return "u64";
    case DType::f32: return "f32";
    case DType::f64: return "f64";
    default: break;
  }
  PHLOX_CHECK(false, "no C type for ", d);
}

DType Printer::unsigned_of(DType d) {
  switch (dtype_bytes(d)) {
    case 1: return DType::u8;
    case 2: return DType::u16;
    case 4: return DType::u32;
    default: return DType::u64;
  }
}

// Exact: hexadecimal floats; NaN keeps no payload.
std::string Printer::literal(DType d, int64_t bits) {
  char text[48];
  switch (d) {
    case DType::f32: case DType::f64: {
      const bool wide = d == DType::f64;
      const double v = wide ? std::bit_cast<double>(bits) : double(std::bit_cast<float>(int32_t(bits)));
      const char* suffix = wide ? "" : "f";
      if (std::isnan(v)) return cat("__builtin_nan", suffix, "(\"\")");
      if (std::isinf(v)) return cat(v < 0 ? "(-__builtin_inf" : "(__builtin_inf", suffix, "())");
      std::snprintf(text, sizeof text, std::signbit(v) ? "(%a%s)" : "%a%s", v, suffix);
      return text;
    }
    case DType::i64:
      if (bits == INT64_MIN) return "(-9223372036854775807l - 1)";
      std::snprintf(text, sizeof text, bits < 0 ? "(%ldl)" : "%ldl", long(bits));
      return text;
    case DType::u64: return cat(uint64_t(bits), "ul");
    case DType::u32: return cat(uint32_t(bits), "u");
    case DType::i32:
      if (bits == INT32_MIN) return "(-2147483647 - 1)";
      [[fallthrough]];
    default: return bits < 0 ? cat("(", bits, ")") : cat(bits);
  }
}

std::string Printer::scalar_text(const KInst& i, int part) {
  const auto o = [&](int n) { return name(i.operand[n], part); };
  const DType d = operand(i, i.operand_count - 1).type.dtype;
  const char* t = scalar_type(d);
  const char* u = scalar_type(unsigned_of(d));
  const bool f = is_float(d), wide = d == DType::f64;
  const char* suffix = wide ? "" : "f";
  // Integers wrap: arithmetic is unsigned. Narrow ones are promoted to int first, which is wide enough to wrap back.
  const auto wrap = [&](const char* op) {
    return f ? cat(o(0), " ", op, " ", o(1)) : cat("(", t, ")((", u, ")", o(0), " ", op, " (", u, ")", o(1), ")");
  };
  switch (i.scalar) {
    case Scalar::add: return wrap("+");
    case Scalar::sub: return wrap("-");
    case Scalar::mul:
      if (!f && dtype_bytes(d) == 2) return cat("(", t, ")((u32)", o(0), " * (u32)", o(1), ")");
      return wrap("*");
    case Scalar::div: return cat("(", t, ")(", o(0), " / ", o(1), ")");
    case Scalar::neg: return f ? cat("-", o(0)) : cat("(", t, ")(0 - (", u, ")", o(0), ")");
    case Scalar::abs:
      if (f) return cat("__builtin_fabs", suffix, "(", o(0), ")");
      return is_unsigned(d) ? o(0) : cat("(", t, ")(", o(0), " < 0 ? 0 - (", u, ")", o(0), " : (", u, ")", o(0), ")");
    case Scalar::fma: return cat("__builtin_fma", suffix, "(", o(0), ", ", o(1), ", ", o(2), ")");
    case Scalar::sqrt: return cat("__builtin_sqrt", suffix, "(", o(0), ")");
    case Scalar::floor: return cat("__builtin_floor", suffix, "(", o(0), ")");
    case Scalar::ceil: return cat("__builtin_ceil", suffix, "(", o(0), ")");
    case Scalar::trunc: return cat("__builtin_trunc", suffix, "(", o(0), ")");
    case Scalar::round: return cat("__builtin_roundeven", suffix, "(", o(0), ")");
    case Scalar::min: case Scalar::max: {
      const char* c = i.scalar == Scalar::max ? " > " : " < ";
      const std::string pick = cat(o(0), c, o(1), " ? ", o(0), " : ", o(1));
      return f ? cat(o(0), " != ", o(0), " ? ", o(0), " : ", pick) : pick;
    }
    case Scalar::lt: return cat(o(0), " < ", o(1));
    case Scalar::le: return cat(o(0), " <= ", o(1));
    case Scalar::eq: return cat(o(0), " == ", o(1));
    case Scalar::ne: return cat(o(0), " != ", o(1));
    case Scalar::band: return cat("(", t, ")(", o(0), " & ", o(1), ")");
    case Scalar::bor: return cat("(", t, ")(", o(0), " | ", o(1), ")");
    case Scalar::bxor: return cat("(", t, ")(", o(0), " ^ ", o(1), ")");
    case Scalar::bnot: return is_bool(d) ? cat("!", o(0)) : cat("(", t, ")~", o(0));
    case Scalar::shl: return cat("(", t, ")((", u, ")", o(0), " << ", o(1), ")");
    case Scalar::shr: return cat("(", t, ")(", o(0), " >> ", o(1), ")");
    case Scalar::select: return cat(o(0), " ? ", o(1), " : ", o(2));
    default: return {};
  }
}

// --- blocks

bool Printer::waits(const KInst& i) const {
  if (i.type.lanes <= k_.register_lanes || is_uniform(i)) return false;
  return i.op != KOp::lane_fold && i.op != KOp::any && i.op != KOp::extract;
}

static bool is_plain_scalar(const KInst& i) {
  return (i.op == KOp::scalar && i.type.lanes == 1) || i.op == KOp::splat || i.op == KOp::constant ||
         i.op == KOp::word || i.op == KOp::item_begin || i.op == KOp::item_end;
}

void Printer::flush(std::vector<KValue>& run) {
  // Vectors of different lane counts do not mix in one run.
  for (size_t from = 0; from < run.size();) {
    const int lanes = inst(run[from]).type.lanes;
    size_t to = from;
    while (to < run.size() && inst(run[to]).type.lanes == lanes) ++to;
    for (int part = 0; part < parts(lanes); ++part)
      for (size_t n = from; n < to; ++n) statement(run[n], part);
    from = to;
  }
  run.clear();
}

void Printer::block(BlockId b) {
  std::vector<KValue> run;
  for (KValue v : k_.blocks[b].insts) {
    const KInst& i = inst(v);
    if (waits(i)) {
      run.push_back(v);
      continue;
    }
    if (i.op == KOp::constant && i.type.lanes == 1) continue;
    if (!is_plain_scalar(i)) flush(run);
    if (i.op == KOp::for_range) {
      const std::string n = name(v, 0);
      if (const std::string hint = loop_hint(i); !hint.empty()) line(hint);
      line_of("for (i64 ", n, " = ", name(i.operand[0], 0), "; ", n, " < ", name(i.operand[1], 0), "; ", n, " += ",
              name(i.operand[2], 0), ") {");
    } else if (i.op == KOp::if_true) {
      line_of("if (", name(i.operand[0], 0), ") {");
    } else {
      statement(v, 0);
      continue;
    }
    ++depth_;
    block(i.body);
    if (i.other != no_block) {
      --depth_;
      line("} else {");
      ++depth_;
      block(i.other);
    }
    --depth_;
    line("}");
  }
  flush(run);
}

void Printer::body() { block(0); }

}  // namespace phlox

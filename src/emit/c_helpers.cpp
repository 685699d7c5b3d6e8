#include "emit/c_helpers.h"

#include <cstdio>

#include "base/error.h"
#include "base/format.h"

namespace phlox {

std::string c_prologue() {
  return "typedef signed char i8; typedef unsigned char u8; typedef short i16; typedef unsigned short u16;\n"
         "typedef int i32; typedef unsigned u32; typedef long i64; typedef unsigned long u64;\n"
         "typedef float f32; typedef double f64;\n"
         "#ifdef __clang__\n"
         "#define NO_UNROLL _Pragma(\"clang loop unroll(disable) vectorize(disable) interleave(disable)\")\n"
         "#define STREAM(p, x) __builtin_nontemporal_store(x, p)\n"
         "#else\n"
         "#define NO_UNROLL _Pragma(\"GCC unroll 1\")\n"
         "#define STREAM(p, x) __asm__(\"vmovntps %1, %0\" : \"=m\"(*(p)) : \"v\"(x))\n"
         "#endif\n"
         "#define INLINE static inline __attribute__((always_inline))\n";
}

static const char* element(DType d) {
  static const char* const names[] = {"u8", "u8", "i8", "i16", "i32", "i64", "u16", "u16", "f32", "f64"};
  if (int(d) < 10) return names[int(d)];
  return d == DType::u16 ? "u16" : d == DType::u32 ? "u32" : "u64";
}
static DType signed_of(DType d) {
  switch (dtype_bytes(d)) {
    case 1: return DType::i8;
    case 2: return DType::i16;
    case 4: return DType::i32;
    default: return DType::i64;
  }
}
static DType unsigned_of(DType d) {
  switch (dtype_bytes(d)) {
    case 1: return DType::u8;
    case 2: return DType::u16;
    case 4: return DType::u32;
    default: return DType::u64;
  }
}

CHelpers::CHelpers(HelperSink& sink, const Target& target) : sink_(sink), target_(target) {
  avx512_ = target.has("avx512f") && target.has("avx512bw") && target.has("avx512vl") && target.has("avx512dq") &&
            target.vector_bits >= 512;
  avx2_ = target.has("avx2");
}

void CHelpers::add(const std::string& name, std::string_view result, std::string_view args, std::string_view body) {
  sink_.add_helper(name, cat("INLINE ", result, " ", name, "(", args, ") { ", body, " }\n"));
}

// "e(0), e(1), ..." with $ replaced by the lane.
static std::string each_lane(int n, std::string_view text, std::string_view separator = ", ") {
  std::string s;
  for (int l = 0; l < n; ++l) {
    if (l) s += separator;
    for (char c : text) {
      if (c == '$') s += cat(l);
      else s += c;
    }
  }
  return s;
}

bool CHelpers::native(DType d, int n, int least_bits) const {
  const int bits = int(dtype_bytes(d)) * n * 8;
  return bits >= least_bits && bits <= target_.vector_bits;
}

// By two factors where there is no instruction: the first product is exact.
std::string CHelpers::scale_exponent(DType d, int n) {
  const bool wide = d == DType::f64;
  const DType whole = wide ? DType::i64 : DType::i32, natural = wide ? DType::u64 : DType::u32;
  const std::string t = n == 1 ? element(d) : sink_.vector(d, n), i = n == 1 ? element(whole) : sink_.vector(whole, n);
  const std::string u = n == 1 ? element(natural) : sink_.vector(natural, n), name = cat("scale_", t);
  std::string body;
  if (avx512_ && int(dtype_bytes(d)) * n == 64) {
    body = cat("return __builtin_ia32_scalef", wide ? "pd" : "ps", "512_mask(a, n, a, -1, 4);");
  } else {
    const auto bits = [&](DType to, DType from, const std::string& type, const std::string& x) { return n == 1 ? bit_cast(to, from, x) : cat("(", type, ")(", x, ")"); };
    const int mantissa = wide ? 52 : 23;
    body = cat("const ", i, " biased = ", bits(whole, d, i, "shifted"), " + ", wide ? "(2046l - 0x4338000000000000l)" : "(254 - 0x4b400000)", ", half = (", i, ")((", u,
               ")biased >> 1); return a * ", bits(d, whole, t, cat("half << ", mantissa)), " * ", bits(d, whole, t, cat("(biased - half) << ", mantissa)), ";");
  }
  add(name, t, cat(t, " a, ", t, " n, ", t, " shifted"), body);
  return name;
}

std::string CHelpers::lookup(math::Table t, int n) {
  const std::string table = cat("table_", int(t));
  std::string values;
  for (int i = 0; i < math::table_size; ++i) {
    char text[32];
    std::snprintf(text, sizeof text, "%s%.9e", i % 8 ? ", " : i ? ",\n  " : "", double(math::tables[t][i]));
    values += text;
  }
  sink_.add_helper(table, cat("static const f32 ", table, "[", math::table_size, "] __attribute__((aligned(64))) = {\n  ", values, "};\n"));
  const std::string v = n == 1 ? "f32" : sink_.vector(DType::f32, n), i = n == 1 ? "i32" : sink_.vector(DType::i32, n);
  const std::string name = cat("lookup_", int(t), "_", n);
  const auto quarter = [&](int at) { return cat("*(const ", v, "*)(", table, " + ", at, ")"); };
  if (n == 1) {
    add(name, v, "i32 i", cat("return ", table, "[i & ", math::table_size - 1, "];"));
  } else if (n == 16 && avx512_) {
    add(name, v, cat(i, " i"), cat("\n#ifdef __clang__\n  return __builtin_ia32_vpermi2varps512(", quarter(0), ", i, ", quarter(16),
        ");\n#else\n  return __builtin_ia32_vpermt2varps512_mask(i, ", quarter(0), ", ", quarter(16), ", (u16)-1);\n#endif\n"));
  } else if (n == 8 && avx2_) {
    const auto part = [&](int at) { return cat("__builtin_ia32_permvarsf256(", quarter(at), ", i)"); };
    add(name, v, cat(i, " i"), cat("\n  const ", v, " odd = (", v, ")(i << 28), high = (", v, ")(i << 27);\n  return __builtin_ia32_blendvps256("
        "__builtin_ia32_blendvps256(", part(0), ", ", part(8), ", odd), __builtin_ia32_blendvps256(", part(16), ", ", part(24), ", odd), high);\n"));
  } else {
    add(name, v, cat(i, " i"), cat("return (", v, "){", each_lane(n, cat(table, "[i[$] & ", math::table_size - 1, "]")), "};"));
  }
  return name;
}

std::string CHelpers::splat(DType d, int n) {
  const std::string t = sink_.vector(d, n), name = cat("splat_", t);
  // Two instructions instead of one a lane before they are folded; gcc makes its broadcast of the plain form.
  add(name, t, cat(element(d), " x"),
      cat("\n#ifdef __clang__\n  return __builtin_shufflevector((", t, "){x}, (", t, "){x}, ", each_lane(n, "0"), ");\n#else\n  return (", t,
          "){", each_lane(n, "x"), "};\n#endif\n"));
  return name;
}

std::string CHelpers::bit_cast(DType to, DType from, std::string_view x) {
  if (std::string_view(element(to)) == element(from)) return std::string(x);
  if (!is_float(to) == !is_float(from) || is_reduced_float(to) || is_reduced_float(from))
    return cat("(", element(to), ")", x);
  const std::string name = cat("bits_", element(from), "_", element(to));
  add(name, element(to), cat(element(from), " x"),
      cat("union { ", element(from), " a; ", element(to), " b; } u = {x}; return u.b;"));
  return cat(name, "(", x, ")");
}

std::string CHelpers::pick(DType d, int n) {
  const std::string t = sink_.vector(d, n), m = sink_.vector(signed_of(d), n), name = cat("pick_", t);
  add(name, t, cat(m, " m, ", t, " a, ", t, " b"), cat("return (", t, ")((m & (", m, ")a) | (~m & (", m, ")b));"));
  return name;
}

std::string CHelpers::fma(DType d, int n) {
  const std::string t = sink_.vector(d, n), name = cat("fma_", t);
  const bool wide = d == DType::f64;
  std::string gcc = cat("return (", t, "){", each_lane(n, cat("__builtin_fma", wide ? "" : "f", "(a[$], b[$], c[$])")), "};");
  const int bits = int(dtype_bytes(d)) * n * 8;
  if (avx512_ && bits == 512) gcc = cat("return __builtin_ia32_vfmadd", wide ? "pd" : "ps", "512_mask(a, b, c, -1, 4);");
  else if (avx2_ && bits == 256) gcc = cat("return __builtin_ia32_vfmadd", wide ? "pd" : "ps", "256(a, b, c);");
  add(name, t, cat(t, " a, ", t, " b, ", t, " c"),
      cat("\n#ifdef __clang__\n  return __builtin_elementwise_fma(a, b, c);\n#else\n  ", gcc, "\n#endif\n"));
  return name;
}

// The remainder is exact: long division, one bit of the quotient at a time.
std::string CHelpers::fmod(DType d) {
  const bool wide = d == DType::f64;
  const char* t = element(d);
  const char* u = wide ? "u64" : "u32";
  const std::string name = cat("fmod_", t);
  const int mantissa = wide ? 52 : 23;
  const std::string one = wide ? "1ul" : "1u";
  bit_cast(unsigned_of(d), d, "");
  bit_cast(d, unsigned_of(d), "");
  add(name, t, cat(t, " x, ", t, " y"),
      cat("\n  ", u, " ax = bits_", t, "_", u, "(x), ay = bits_", t, "_", u, "(y);\n",
          "  const ", u, " sign = ax & (", one, " << ", wide ? 63 : 31, "), inf = ", wide ? "0x7fful" : "0xffu", " << ", mantissa, ";\n",
          "  ax ^= sign; ay &= ~(", one, " << ", wide ? 63 : 31, ");\n",
          "  if (ay == 0 || ax >= inf || ay > inf) return (x * y) / (x * y);\n",
          "  if (ax < ay) return x;\n",
          "  i64 ex = (i64)(ax >> ", mantissa, "), ey = (i64)(ay >> ", mantissa, ");\n",
          "  ", u, " mx = ax & ((", one, " << ", mantissa, ") - 1), my = ay & ((", one, " << ", mantissa, ") - 1);\n",
          "  if (ex) mx |= ", one, " << ", mantissa, "; else for (ex = 1; !(mx >> ", mantissa, "); --ex) mx <<= 1;\n",
          "  if (ey) my |= ", one, " << ", mantissa, "; else for (ey = 1; !(my >> ", mantissa, "); --ey) my <<= 1;\n",
          "  for (; ex > ey; --ex) { if (mx >= my) mx -= my; mx <<= 1; }\n",
          "  if (mx >= my) mx -= my;\n",
          "  if (mx == 0) return bits_", u, "_", t, "(sign);\n",
          "  for (; !(mx >> ", mantissa, "); --ey) mx <<= 1;\n",
          "  mx = ey >= 1 ? (mx ^ (", one, " << ", mantissa, ")) | ((", u, ")ey << ", mantissa, ") : mx >> (1 - ey);\n",
          "  return bits_", u, "_", t, "(mx | sign);\n"));
  return name;
}

std::string CHelpers::rounding(Scalar s, DType d, int n) {
  const std::string t = sink_.vector(d, n), op = scalar_info(s).name, name = cat(op, "_", t);
  const bool wide = d == DType::f64;
  const char* builtin = s == Scalar::round ? "roundeven" : scalar_info(s).name;
  std::string gcc = cat("return (", t, "){", each_lane(n, cat("__builtin_", builtin, wide ? "" : "f", "(a[$])")), "};");
  const int bits = int(dtype_bytes(d)) * n * 8;
  const char* p = wide ? "pd" : "ps";
  const int mode = s == Scalar::floor ? 9 : s == Scalar::ceil ? 10 : s == Scalar::trunc ? 11 : 8;
  if (avx512_ && bits == 512)
    gcc = s == Scalar::sqrt ? cat("return __builtin_ia32_sqrt", p, "512_mask(a, a, -1, 4);")
                            : cat("return __builtin_ia32_rndscale", p, "_mask(a, ", mode, ", a, -1, 4);");
  else if (avx2_ && bits == 256)
    gcc = s == Scalar::sqrt ? cat("return __builtin_ia32_sqrt", p, "256(a);")
                            : cat("return __builtin_ia32_round", p, "256(a, ", mode, ");");
  add(name, t, cat(t, " a"),
      cat("\n#ifdef __clang__\n  return __builtin_elementwise_", builtin, "(a);\n#else\n  ", gcc, "\n#endif\n"));
  return name;
}

std::string CHelpers::arithmetic(Scalar s, DType d, int n, const std::string& t, const std::string& a,
                                 const std::string& b) {
  const bool f = is_float(d);
  const std::string u = f ? t : sink_.vector(unsigned_of(d), n);
  const auto wrap = [&](const char* op) {  // integers wrap: unsigned arithmetic
    return f ? cat(a, op, b) : cat("(", t, ")((", u, ")", a, op, "(", u, ")", b, ")");
  };
  const std::string m = sink_.vector(signed_of(d), n);
  switch (s) {
    case Scalar::add: return wrap(" + ");
    case Scalar::sub: return wrap(" - ");
    case Scalar::mul: return wrap(" * ");
    case Scalar::div: return cat(a, " / ", b);
    case Scalar::neg: return f ? cat("-", a) : cat("(", t, ")((", u, "){0} - (", u, ")", a, ")");
    case Scalar::abs: {
      if (f) {
        const std::string bits = sink_.vector(unsigned_of(d), n);
        return cat("(", t, ")((", bits, ")", a, " & ", d == DType::f64 ? "0x7ffffffffffffffful" : "0x7fffffffu", ")");
      }
      if (is_unsigned(d)) return a;
      return cat(pick(d, n), "((", m, ")(", a, " < (", t, "){0}), (", t, ")((", u, "){0} - (", u, ")", a, "), ", a, ")");
    }
    case Scalar::min: case Scalar::max: {
      const std::string name = cat(scalar_info(s).name, "_", t), p = pick(d, n);
      const std::string better = cat(p, "((", m, ")(a ", s == Scalar::max ? ">" : "<", " b), a, b)");
      add(name, t, cat(t, " a, ", t, " b"),
          f ? cat("return ", p, "((", m, ")(a != a), a, ", better, ");") : cat("return ", better, ";"));
      return cat(name, "(", a, ", ", b, ")");
    }
    case Scalar::sqrt: case Scalar::floor: case Scalar::ceil: case Scalar::trunc: case Scalar::round:
      return cat(rounding(s, d, n), "(", a, ")");
    case Scalar::band: return cat(a, " & ", b);
    case Scalar::bor: return cat(a, " | ", b);
    case Scalar::bxor: return cat(a, " ^ ", b);
    case Scalar::bnot: return cat("~", a);
    case Scalar::shl: return cat("(", t, ")((", u, ")", a, " << (", u, ")", b, ")");
    case Scalar::shr: return cat(a, " >> ", b);
    case Scalar::fmod: {
      const std::string name = cat("fmod_", t), one = fmod(d);
      add(name, t, cat(t, " a, ", t, " b"),
          cat("union { ", t, " v; ", element(d), " e[", n, "]; } x = {a}, y = {b}; for (int l = 0; l < ", n,
              "; ++l) x.e[l] = ", one, "(x.e[l], y.e[l]); return x.v;"));
      return cat(name, "(", a, ", ", b, ")");
    }
    default: break;
  }
  PHLOX_CHECK(false, "no C text for ", scalar_info(s).name);
}

// --- conversions

// The integer algorithms of base/small_float.h.
std::string CHelpers::scalar_small_float(DType d, bool to) {
  bit_cast(DType::f32, DType::u32, "");
  bit_cast(DType::u32, DType::f32, "");
  if (d == DType::bf16) {
    if (!to) {
      add("f32_of_bf16", "f32", "u16 h", "return bits_u32_f32((u32)h << 16);");
      return "f32_of_bf16";
    }
    add("bf16_of_f32", "u16", "f32 f",
        "u32 u = bits_f32_u32(f); return (u & 0x7fffffffu) > 0x7f800000u ? (u16)((u >> 16) | 0x40) : "
        "(u16)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);");
    return "bf16_of_f32";
  }
  if (!to) {
    add("f32_of_f16", "f32", "u16 h",
        "u32 s = (u32)(h & 0x8000) << 16, m = h & 0x7fff; if (m >= 0x7c00) return bits_u32_f32(s | 0x7f800000u | (m & "
        "0x3ff) << 13); if (m >= 0x400) return bits_u32_f32(s | ((m << 13) + (112u << 23))); return bits_u32_f32(s | "
        "bits_f32_u32((f32)m * 0x1p-24f));");
    return "f32_of_f16";
  }
  add("f16_of_f32", "u16", "f32 f",
      "u32 u = bits_f32_u32(f), s = (u >> 16) & 0x8000, m = u & 0x7fffffffu; if (m > 0x7f800000u) return (u16)(s | "
      "0x7e00 | ((m >> 13) & 0x3ff)); if (m >= 0x477ff000u) return (u16)(s | 0x7c00); if (m < 0x38800000u) return "
      "(u16)(s | (bits_f32_u32(bits_u32_f32(m) + 0.5f) - 0x3f000000u)); return (u16)(s | ((m + 0xc8000fffu + ((m >> 13) "
      "& 1)) >> 13));");
  return "f16_of_f32";
}

std::string CHelpers::cast_scalar(DType from, DType to, const std::string& x) {
  if (is_bool(to)) return is_reduced_float(from) ? cat("(", x, " & 0x7fff) != 0") : cat(x, " != 0");
  if (is_reduced_float(from)) return cast_scalar(DType::f32, to, cat(scalar_small_float(from, false), "(", x, ")"));
  if (is_reduced_float(to)) return cat(scalar_small_float(to, true), "((f32)", x, ")");
  // As the hardware: through i32 to the narrower ones, through i64 to u32.
  if (is_float(from) && is_int(to) && dtype_bytes(to) < 4) return cat("(", element(to), ")(i32)", x);
  if (is_float(from) && to == DType::u32) return cat("(u32)(i64)", x);
  return cat("(", element(to), ")", x);
}

std::string CHelpers::lanes_of(DType d, int n) const { return cat(element(d), "x", n); }

std::string CHelpers::to_f32(DType d, int n, const std::string& x) {
  const std::string h = sink_.vector(DType::u16, n), f = sink_.vector(DType::f32, n), u = sink_.vector(DType::u32, n);
  const std::string name = cat(f, d == DType::bf16 ? "_of_bf16" : "_of_f16");
  if (d == DType::bf16) {
    add(name, f, cat(h, " x"), cat("return (", f, ")(__builtin_convertvector(x, ", u, ") << 16);"));
  } else if (avx512_ && n == 16) {
    add(name, f, cat(h, " x"), cat("return __builtin_ia32_vcvtph2ps512_mask((", sink_.vector(DType::i16, n), ")x, (", f, "){0}, -1, 4);"));
  } else if (avx2_ && n == 8) {
    add(name, f, cat(h, " x"), cat("return (", f, ")__builtin_ia32_vcvtph2ps256((", sink_.vector(DType::i16, n), ")x);"));
  } else {
    const std::string one = scalar_small_float(d, false);
    add(name, f, cat(h, " x"), cat("return (", f, "){", each_lane(n, cat(one, "(x[$])")), "};"));
  }
  return cat(name, "(", x, ")");
}

std::string CHelpers::from_f32(DType d, int n, const std::string& x) {
  const std::string h = sink_.vector(DType::u16, n), f = sink_.vector(DType::f32, n), u = sink_.vector(DType::u32, n);
  const std::string name = cat(h, d == DType::bf16 ? "_bf16" : "_f16");
  if (d == DType::bf16) {
    const std::string p = pick(DType::u32, n), m = sink_.vector(DType::i32, n);
    add(name, h, cat(f, " x"),
        cat(u, " a = (", u, ")x; ", u, " r = a + 0x7fffu + ((a >> 16) & 1u); ", u, " q = a | 0x400000u; ", m, " nan = (", m,
            ")((a & 0x7fffffffu) > 0x7f800000u); return __builtin_convertvector(", p, "(nan, q, r) >> 16, ", h, ");"));
  } else if (avx512_ && n == 16) {
    add(name, h, cat(f, " x"),
        cat("\n#ifdef __clang__\n  return (", h, ")__builtin_ia32_vcvtps2ph512_mask(x, 0, (", sink_.vector(DType::i16, n),
            "){0}, -1);\n#else\n  return (", h, ")__builtin_ia32_vcvtps2ph512_mask(x, 0, (", sink_.vector(DType::i16, n),
            "){0}, -1);\n#endif\n"));
  } else if (avx2_ && n == 8) {
    add(name, h, cat(f, " x"), cat("return (", h, ")__builtin_ia32_vcvtps2ph256(x, 0);"));
  } else {
    const std::string one = scalar_small_float(d, true);
    add(name, h, cat(f, " x"), cat("return (", h, "){", each_lane(n, cat(one, "(x[$])")), "};"));
  }
  return cat(name, "(", x, ")");
}

std::string CHelpers::cast_vector(DType from, DType to, int n, std::string x) {
  if (is_reduced_float(from)) {
    x = to_f32(from, n, x);
    from = DType::f32;
    if (to == from) return x;
  }
  const auto convert = [&](DType d) { return cat("__builtin_convertvector(", x, ", ", sink_.vector(d, n), ")"); };
  if (is_reduced_float(to)) {
    if (from != DType::f32) x = convert(DType::f32);
    return from_f32(to, n, x);
  }
  if (is_float(from) && is_int(to) && dtype_bytes(to) < 4) x = convert(DType::i32);
  if (is_float(from) && to == DType::u32) x = convert(DType::i64);
  return convert(to);
}

std::string CHelpers::from_mask(DType to, int n, const std::string& m) {
  const char* one = to == DType::f32 ? "0x3f800000" : to == DType::f64 ? "0x3ff0000000000000l" : to == DType::bf16 ? "0x3f80"
                    : to == DType::f16 ? "0x3c00" : "1";
  return cat("(", sink_.vector(to, n), ")(", m, " & ", one, ")");
}

// Lane l with lane l + half, in whole registers: the upper lanes hold what nobody reads.
std::string CHelpers::fold(Combine c, Scalar s, DType d, int n) {
  const std::string t = sink_.vector(d, n), name = cat("fold_", combine_name(c), "_", t);
  std::string body;
  int step = 0;
  std::string v = "a";
  for (int half = n / 2; half >= 1; half /= 2, ++step) {
    std::string lanes;
    for (int l = 0; l < n; ++l) lanes += cat(", ", l < half ? l + half : l);
    const std::string h = cat("h", step), r = cat("r", step);
    body += cat("const ", t, " ", h, " = __builtin_shufflevector(", v, ", ", v, lanes, "); ");
    body += cat("const ", t, " ", r, " = ", arithmetic(s, d, n, t, v, h), "; ");
    v = r;
  }
  add(name, element(d), cat(t, " a"), cat(body, "return ", v, "[0];"));
  return name;
}

}  // namespace phlox

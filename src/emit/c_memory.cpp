// Partial, masked, strided and gathered access in C.
#include "base/format.h"
#include "emit/c_helpers.h"

namespace phlox {

static const char* element(DType d) {
  switch (dtype_bytes(d)) {
    case 1: return d == DType::i8 ? "i8" : "u8";
    case 2: return d == DType::i16 ? "i16" : "u16";
    case 4: return d == DType::f32 ? "f32" : d == DType::i32 ? "i32" : "u32";
    default: return d == DType::f64 ? "f64" : d == DType::i64 ? "i64" : "u64";
  }
}
static DType mask_dtype(DType d) {
  const int w = int(dtype_bytes(d));
  return w == 1 ? DType::i8 : w == 2 ? DType::i16 : w == 4 ? DType::i32 : DType::i64;
}

// The names of masked moves: by element size and register size, the same in clang and gcc.
static std::string masked_builtin(bool load, DType d, int bits) {
  const char* kind = dtype_bytes(d) == 1 ? "dquqi" : dtype_bytes(d) == 2 ? "dquhi" : dtype_bytes(d) == 4 ? "ups" : "upd";
  return cat("__builtin_ia32_", load ? "load" : "store", kind, bits, "_mask");
}
static DType moved_as(DType d) {  // the vector type that the builtin takes
  const int w = int(dtype_bytes(d));
  return w == 1 ? DType::i8 : w == 2 ? DType::i16 : w == 4 ? DType::f32 : DType::f64;
}
static const char* bits_type(int n) { return n <= 8 ? "u8" : n == 16 ? "u16" : n == 32 ? "u32" : "u64"; }

// The mask type that maskload names: gcc tells long from long long.
static const char* lane_mask(DType d) {
  return dtype_bytes(d) == 4 ? "int __attribute__((vector_size(32)))" : "long long __attribute__((vector_size(32)))";
}

// The first n of count lanes, as bits.
static std::string count_bits(int n) {
  return cat("const ", bits_type(n), " k = (", bits_type(n), ")(n >= ", n, " ? ~0ul : n <= 0 ? 0 : (1ul << n) - 1); ");
}
// A mask vector as bits.
std::string CHelpers::mask_bits(DType d, int n) {
  const int bits = int(dtype_bytes(d)) * n * 8;
  const char* kind = dtype_bytes(d) == 1 ? "b" : dtype_bytes(d) == 2 ? "w" : dtype_bytes(d) == 4 ? "d" : "q";
  return cat("const ", bits_type(n), " k = (", bits_type(n), ")__builtin_ia32_cvt", kind, "2mask", bits, "(m); ");
}

// clang spells the types of the 8- and 16-bit element vectors with char and short, as we do; plain `char` differs.
static std::string moved_type(HelperSink& sink, DType d, int n) {
  const DType m = moved_as(d);
  if (m != DType::i8) return sink.vector(m, n);
  return cat("char __attribute__((vector_size(", n, ")))");
}

std::string CHelpers::load_partial(DType d, int n) {
  const std::string t = sink_.vector(d, n), name = cat("load_partial_", t), e = element(d);
  std::string body;
  if (avx512_ && native(d, n, 128)) {
    const std::string v = moved_type(sink_, d, n);
    body = cat(count_bits(n), "typedef ", v.find("char") == 0 ? cat("char w __attribute__((vector_size(", n, "))); ") : cat(v, " w; "),
               "return (", t, ")", masked_builtin(true, d, int(dtype_bytes(d)) * n * 8), "((const void*)p, (w){0}, k);");
  } else if (avx2_ && dtype_bytes(d) >= 4 && (native(d, n, 256))) {
    const std::string m = sink_.vector(mask_dtype(d), n), f = sink_.vector(moved_as(d), n);
    body = cat(partial_mask(d, n), "return (", t, ")__builtin_ia32_maskload", dtype_bytes(d) == 4 ? "ps" : "pd",
               "256((const void*)p, (", lane_mask(d), ")m);");
  } else {
    body = cat("union { ", t, " v; ", e, " e[", n, "]; } u = {(", t, "){0}}; NO_UNROLL\n  for (i64 l = 0; l < ", n,
               " && l < n; ++l) u.e[l] = p[l]; return u.v;");
  }
  add(name, t, cat("const ", e, "* p, i64 n"), body);
  return name;
}

// "M m = lanes < n" with n brought into range first, so that it fits the lane type.
std::string CHelpers::partial_mask(DType d, int n) {
  const std::string m = sink_.vector(mask_dtype(d), n);
  std::string lanes;
  for (int l = 0; l < n; ++l) lanes += cat(l ? ", " : "", l);
  return cat("const ", element(mask_dtype(d)), " c = (", element(mask_dtype(d)), ")(n > ", n, " ? ", n, " : n < 0 ? 0 : n); const ", m,
             " m = (", m, ")((", m, "){", lanes, "} < ", splat(mask_dtype(d), n), "(c)); ");
}

std::string CHelpers::store_partial(DType d, int n) {
  const std::string t = sink_.vector(d, n), name = cat("store_partial_", t), e = element(d);
  std::string body;
  if (avx512_ && native(d, n, 128)) {
    const std::string v = moved_type(sink_, d, n);
    body = cat(count_bits(n), "typedef ", v.find("char") == 0 ? cat("char w __attribute__((vector_size(", n, "))); ") : cat(v, " w; "),
               masked_builtin(false, d, int(dtype_bytes(d)) * n * 8), "((void*)p, (w)x, k);");
  } else if (avx2_ && dtype_bytes(d) >= 4 && native(d, n, 256)) {
    const std::string f = sink_.vector(moved_as(d), n);
    body = cat(partial_mask(d, n), "__builtin_ia32_maskstore", dtype_bytes(d) == 4 ? "ps" : "pd", "256((void*)p, (", lane_mask(d), ")m, (", f, ")x);");
  } else {
    body = cat("union { ", t, " v; ", e, " e[", n, "]; } u = {x}; NO_UNROLL\n  for (i64 l = 0; l < ", n,
               " && l < n; ++l) p[l] = u.e[l];");
  }
  add(name, "void", cat(e, "* p, ", t, " x, i64 n"), body);
  return name;
}

bool CHelpers::can_stream(DType d, int n) const {
  const int64_t bytes = dtype_bytes(d) * n;
  return target_.kind == DeviceKind::cpu && ((avx512_ && bytes == 64) || (avx2_ && (bytes == 32 || bytes == 16)));
}
std::string CHelpers::store_stream(DType d, int n) {
  const std::string t = sink_.vector(d, n), name = cat("store_stream_", t), e = element(d);
  add(name, "void", cat(e, "* p, ", t, " x, i64 bytes"),
      cat("if (bytes >= ", stream_bytes, " && !((u64)p & ", dtype_bytes(d) * n - 1, ")) STREAM((", t, "*)p, x); else *(", t, "_u*)p = x;"));
  return name;
}

std::string CHelpers::load_masked(DType d, int n) {
  const std::string t = sink_.vector(d, n), m = sink_.vector(mask_dtype(d), n), name = cat("load_masked_", t);
  const std::string e = element(d);
  std::string body;
  if (avx512_ && native(d, n, 128)) {
    const std::string v = moved_type(sink_, d, n);
    const bool bytes = dtype_bytes(d) == 1;
    body = cat("typedef ", bytes ? cat("char w __attribute__((vector_size(", n, "))); ") : cat(v, " w; "),
               bytes ? cat("const ", bits_type(n), " k = (", bits_type(n), ")__builtin_ia32_cvtb2mask", n * 8, "((w)m); ") : mask_bits(d, n),
               "return (", t, ")", masked_builtin(true, d, int(dtype_bytes(d)) * n * 8), "((const void*)p, (w){0}, k);");
  } else if (avx2_ && dtype_bytes(d) >= 4 && native(d, n, 256)) {
    body = cat("return (", t, ")__builtin_ia32_maskload", dtype_bytes(d) == 4 ? "ps" : "pd", "256((const void*)p, (", lane_mask(d), ")m);");
  } else {
    body = cat("union { ", t, " v; ", e, " e[", n, "]; } u = {(", t, "){0}}; union { ", m, " v; ", element(mask_dtype(d)), " e[", n,
               "]; } b = {m}; NO_UNROLL\n  for (i64 l = 0; l < ", n, "; ++l) if (b.e[l]) u.e[l] = p[l]; return u.v;");
  }
  add(name, t, cat("const ", e, "* p, ", m, " m"), body);
  return name;
}

std::string CHelpers::store_masked(DType d, int n) {
  const std::string t = sink_.vector(d, n), m = sink_.vector(mask_dtype(d), n), name = cat("store_masked_", t);
  const std::string e = element(d);
  std::string body;
  if (avx512_ && native(d, n, 128)) {
    const std::string v = moved_type(sink_, d, n);
    const bool bytes = dtype_bytes(d) == 1;
    body = cat("typedef ", bytes ? cat("char w __attribute__((vector_size(", n, "))); ") : cat(v, " w; "),
               bytes ? cat("const ", bits_type(n), " k = (", bits_type(n), ")__builtin_ia32_cvtb2mask", n * 8, "((w)m); ") : mask_bits(d, n),
               masked_builtin(false, d, int(dtype_bytes(d)) * n * 8), "((void*)p, (w)x, k);");
  } else if (avx2_ && dtype_bytes(d) >= 4 && native(d, n, 256)) {
    const std::string f = sink_.vector(moved_as(d), n);
    body = cat("__builtin_ia32_maskstore", dtype_bytes(d) == 4 ? "ps" : "pd", "256((void*)p, (", lane_mask(d), ")m, (", f, ")x);");
  } else {
    body = cat("union { ", t, " v; ", e, " e[", n, "]; } u = {x}; union { ", m, " v; ", element(mask_dtype(d)), " e[", n,
               "]; } b = {m}; NO_UNROLL\n  for (i64 l = 0; l < ", n, "; ++l) if (b.e[l]) p[l] = u.e[l];");
  }
  add(name, "void", cat(e, "* p, ", t, " x, ", m, " m"), body);
  return name;
}

static std::string lanes(int n, std::string_view before, std::string_view after, std::string_view separator) {
  std::string s;
  for (int l = 0; l < n; ++l) s += cat(l ? separator : "", before, l, after);
  return s;
}

std::string CHelpers::load_strided(DType d, int n) {
  const std::string t = sink_.vector(d, n), name = cat("load_strided_", t), e = element(d);
  add(name, t, cat("const ", e, "* p, i64 s"), cat("return (", t, "){", lanes(n, "p[", " * s]", ", "), "};"));
  return name;
}
std::string CHelpers::store_strided(DType d, int n) {
  const std::string t = sink_.vector(d, n), name = cat("store_strided_", t), e = element(d);
  std::string body;
  for (int l = 0; l < n; ++l) body += cat("p[", l, " * s] = x[", l, "]; ");
  add(name, "void", cat(e, "* p, ", t, " x, i64 s"), body);
  return name;
}
std::string CHelpers::load_gather(DType d, int n, bool masked) {
  const std::string t = sink_.vector(d, n), a = sink_.vector(DType::i64, n), e = element(d);
  const std::string name = cat(masked ? "gather_masked_" : "gather_", t);
  if (!masked) {
    add(name, t, cat("const ", e, "* p, ", a, " a"), cat("return (", t, "){", lanes(n, "p[a[", "]]", ", "), "};"));
    return name;
  }
  const std::string m = sink_.vector(mask_dtype(d), n);
  add(name, t, cat("const ", e, "* p, ", a, " a, ", m, " m"),
      cat("union { ", t, " v; ", e, " e[", n, "]; } u = {(", t, "){0}}; union { ", m, " v; ", element(mask_dtype(d)), " e[", n,
          "]; } b = {m}; union { ", a, " v; i64 e[", n, "]; } i = {a}; NO_UNROLL\n  for (i64 l = 0; l < ", n,
          "; ++l) if (b.e[l]) u.e[l] = p[i.e[l]]; return u.v;"));
  return name;
}
std::string CHelpers::store_scatter(DType d, int n, bool masked) {
  const std::string t = sink_.vector(d, n), a = sink_.vector(DType::i64, n), e = element(d);
  const std::string name = cat(masked ? "scatter_masked_" : "scatter_", t), m = sink_.vector(mask_dtype(d), n);
  add(name, "void", cat(e, "* p, ", a, " a, ", t, " x", masked ? cat(", ", m, " m") : std::string()),
      cat("union { ", t, " v; ", e, " e[", n, "]; } u = {x}; ", masked ? cat("union { ", m, " v; ", element(mask_dtype(d)), " e[", n, "]; } b = {m}; ") : std::string(),
          "union { ", a, " v; i64 e[", n, "]; } i = {a}; NO_UNROLL\n  for (i64 l = 0; l < ", n, "; ++l) ",
          masked ? "if (b.e[l]) " : "", "p[i.e[l]] = u.e[l];"));
  return name;
}

}  // namespace phlox

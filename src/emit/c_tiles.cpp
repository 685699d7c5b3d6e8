#include "emit/c_tiles.h"

#include "base/error.h"
#include "base/format.h"

namespace phlox {

void CTiles::prepare(const KTile& t) {
  dtype_ = t.dtype;
  vl_ = t.lanes;
  e_ = t.dtype == DType::f64 ? "f64" : "f32";
  v_ = sink_.vector(t.dtype, vl_);
  splat_ = helpers_.splat(t.dtype, vl_);
  fma_ = helpers_.fma(t.dtype, vl_);
  load_partial_ = helpers_.load_partial(t.dtype, vl_);
  store_partial_ = helpers_.store_partial(t.dtype, vl_);
}

std::string CTiles::function(const KTile& t) {
  prepare(t);
  switch (t.kind) {
    case KTile::Kind::multiply: return multiply(t);
    case KTile::Kind::pack_rows: return pack_rows(t);
    case KTile::Kind::pack_columns: return pack_columns(t);
    case KTile::Kind::pack_any: return pack_any(t);
    case KTile::Kind::pack_windows: return pack_windows(t);
    case KTile::Kind::copy_rows: return copy_rows(t);
    case KTile::Kind::row_dot: return row_dot(t);
    case KTile::Kind::row_sweep: return row_sweep(t);
    case KTile::Kind::skinny: break;
  }
  PHLOX_CHECK(false, "no C text for a GPU's leaf");
  return {};
}

void CTiles::add(const std::string& name, std::string_view arguments, std::string_view body) {
  std::string s;
  // Without the attribute, 512-bit vectors are split on targets that prefer 256 bits.
  if (target_.vector_bits >= 512) s = "#ifdef __clang__\n__attribute__((min_vector_width(512)))\n#endif\n";
  sink_.add_helper(name, cat(s, "static __attribute__((noinline)) void ", name, "(", arguments, ") {\n", body, "}\n"));
}

std::string CTiles::load(std::string_view p) const { return cat("*(const ", v_, "_u*)(", p, ")"); }
std::string CTiles::store(std::string_view p, std::string_view v) const { return cat("*(", v_, "_u*)(", p, ") = ", v, ";"); }

// The edge of a tile that lies in `t`: only its first `cols` columns exist.
std::string CTiles::edge(const KTile& t) {
  const std::string name = cat("tile_edge_", v_);
  (void)t;
  add(name, cat("const ", e_, "* t, i64 h, i64 w, ", e_, "* c, i64 cs, i64 first, i64 cols"),
      cat("  for (i64 i = 0; i < h; ++i, c += cs, t += w)\n    for (i64 j = 0; j < cols; j += ", vl_, ") {\n      ", v_,
          " x = ", load("t + j"), ";\n      if (!first) x = ", load_partial_, "(c + j, cols - j) + x;\n      ",
          store_partial_, "(c + j, x, cols - j);\n    }\n"));
  return name;
}

// rows x vectors accumulators in registers. The inner loop is unrolled only where A is [k][rows]: with rows at a stride
// the compiler would gather the broadcasts of several steps and run out of registers.
std::string CTiles::multiply(const KTile& t) {
  const int h = t.rows, nv = t.vectors, vl = vl_, line = 64 / int(dtype_bytes(dtype_));
  const bool strided = t.flags & KTile::row_major_a, ahead = t.flags & KTile::prefetch, masked = t.flags & KTile::short_rows;
  const bool wide = vl * int(dtype_bytes(dtype_)) == 64;  // masked moves cost nothing there
  const int ahead_rows = t.flags & KTile::ahead_4 ? 4 : t.flags & KTile::ahead_2 ? 2 : 1;
  const std::string name = cat("tile_", v_, "_", h, "x", nv, strided ? "_r" : "_c", ahead ? "p" : "", masked ? "s" : "",
                               ahead && !strided && ahead_rows > 1 ? cat(ahead_rows) : std::string());
  std::string s = cat("  const ", e_, " *a = (const ", e_, "*)a_, *b = (const ", e_, "*)b_; ", e_, "* c = (", e_,
                      "*)c_; const char *cx = (const char*)cx_, *bx = (const char*)bx_; (void)cx; (void)bx; (void)live;\n");
  for (int v = 0; v < nv; ++v) {
    s += cat("  ", v_);
    for (int i = 0; i < h; ++i) s += cat(i ? ", " : " ", "c", i, "_", v, " = {0}");
    s += ";\n";
  }
  const int bytes = int(dtype_bytes(dtype_));
  if (ahead)
    for (int i = 0; i < h; ++i) {
      for (int x = 0; x < nv * vl; x += line) s += cat("  __builtin_prefetch(c + ", i, " * cs + ", x, ", 1);");
      s += cat(" __builtin_prefetch(c + ", i, " * cs + ", nv * vl - 1, ", 1);\n");
    }
  if (strided)
    for (int g = 1; g < (h + 2) / 3; ++g) s += cat("  const ", e_, "* a", g, " = a + ", 3 * g, " * as;\n");
  const auto group = [](int g) { return g == 0 ? std::string("a") : cat("a", g); };
  const auto ahead_line = [&](const char* p, const char* step) {
    std::string r = "    ";
    for (int x = 0; x < nv * vl; x += line) r += cat("__builtin_prefetch(", p, " + ", x * bytes, ", 0, 2); ");
    if (p[0] == 'c') r += cat("__builtin_prefetch(cx + ", (nv * vl - 1) * bytes, ", 0, 2); ");
    return r + cat(p, " += ", step, " * ", bytes, ";\n");
  };
  const auto step = [&] {
    std::string r = "    {\n";
    for (int v = 0; v < nv; ++v) r += cat("      const ", v_, " b", v, " = ", load(cat("b + ", v * vl)), ";\n");
    if (ahead && strided) r += "      __builtin_prefetch(bx, 0, 2); bx += 64;\n";
    for (int i = 0; i < h; ++i) {
      const std::string at = !strided ? cat("a[", i, "]") : cat(group(i / 3), "[", i % 3, " * as]");
      r += cat("      { const ", v_, " x = ", splat_, "(", at, ");");
      for (int v = 0; v < nv; ++v) r += cat(" c", i, "_", v, " = ", fma_, "(x, b", v, ", c", i, "_", v, ");");
      r += " }\n";
    }
    r += "      b += bs;";
    if (!strided) r += " a += as;";
    else for (int g = 0; g < (h + 2) / 3; ++g) r += cat(" ", group(g), " += 1;");
    return r + "\n    }\n";
  };
  if (ahead) {
    // Rows of the next tile of A come a line a step, one row every 16 steps.
    s += "  while (kc > 0) {\n";
    if (!strided) s += ahead_line("cx", "cs");
    for (int n = 0; n < ahead_rows && !strided; ++n) s += ahead_line("bx", "bxs");
    s += "    i64 q = kc < 16 ? kc : 16;\n    kc -= q;\n    NO_UNROLL\n    for (; q > 0; --q) {\n" + step() + "    }\n";
    s += strided ? "    bx += bxs - 1024;\n  }\n" : "  }\n";
  } else {
    s += "  NO_UNROLL\n  for (; kc > 0; --kc) {\n" + step() + "  }\n";
  }
  // Sums of earlier chunks are added where there are any: not zeros, which would turn a -0 into +0.
  const auto rows = [&] {
    std::string r;
    const char* kind = bytes == 8 ? "upd512_mask" : "ups512_mask";
    if (wide)
      for (int v = 0; v < nv; ++v) {
        const char* bits = vl == 16 ? "u16" : "u8";
        r += cat("    const ", bits, " k", v, " = (", bits, ")(cols >= ", (v + 1) * vl, " ? -1 : cols <= ", v * vl, " ? 0 : (1 << (cols - ", v * vl, ")) - 1);\n");
      }
    r += "    if (!first) {\n";
    for (int i = 0; i < h; ++i) {
      r += "     ";
      for (int v = 0; v < nv; ++v) {
        const std::string p = cat("c + ", i, " * cs + ", v * vl), x = cat("c", i, "_", v);
        r += cat(" ", x, " = ", wide ? cat("__builtin_ia32_load", kind, "((const void*)(", p, "), (", v_, "){0}, k", v, ")") : load(p), " + ", x, ";");
      }
      r += "\n";
    }
    r += "    }\n";
    for (int i = 0; i < h; ++i) {
      r += "   ";
      for (int v = 0; v < nv; ++v) {
        const std::string p = cat("c + ", i, " * cs + ", v * vl), x = cat("c", i, "_", v);
        r += wide ? cat(" __builtin_ia32_store", kind, "((void*)(", p, "), ", x, ", k", v, ");") : " " + store(p, x);
      }
      r += "\n";
    }
    return r;
  };
  if (wide && !masked) {
    s += rows();
  } else {
    const std::string whole = wide ? cat("live == ", h) : cat("cols == ", nv * vl, masked ? cat(" && live == ", h) : std::string());
    s += cat("  if (__builtin_expect(", whole, ", 1)) {\n", rows(), "  } else {\n");
    s += cat("    ", e_, " t[", h * nv * vl, "] __attribute__((aligned(64)));\n");
    for (int i = 0; i < h; ++i)
      for (int v = 0; v < nv; ++v) s += cat("    ", store(cat("t + ", (i * nv + v) * vl), cat("c", i, "_", v)), "\n");
    s += cat("    ", edge(t), "(t, ", masked ? std::string("live") : cat(h), ", ", nv * vl, ", c, cs, first, cols);\n  }\n");
  }
  add(name, "i64 a_, i64 as, i64 b_, i64 bs, i64 c_, i64 cs, i64 kc, i64 first, i64 cols, i64 cx_, i64 bx_, i64 bxs, i64 live", s);
  return name;
}

// r0 ... of vl rows become their columns: pairs of elements, pairs of pairs, then 16-byte lanes.
std::string CTiles::transpose() {
  const int vl = vl_, per = 16 / int(dtype_bytes(dtype_)), lanes = vl / per;
  std::string s;
  const auto shuffle = [&](const std::string& to, const std::string& a, const std::string& b, auto&& index) {
    s += cat("      const ", v_, " ", to, " = __builtin_shufflevector(", a, ", ", b);
    for (int l = 0; l < vl; ++l) s += cat(", ", index(l));
    s += ");\n";
  };
  // Inside 16-byte lanes. After it, u[g * per + j] holds column j of each lane for rows g * per ...
  if (per == 2) {
    for (int i = 0; i < vl; i += 2)
      for (int j = 0; j < 2; ++j)
        shuffle(cat("u", i + j), cat("r", i), cat("r", i + 1), [&](int l) { return (l & 1 ? vl : 0) + (l & ~1) + j; });
  } else {
    for (int i = 0; i < vl; i += 2)
      for (int j = 0; j < 2; ++j)
        shuffle(cat("t", i + j), cat("r", i), cat("r", i + 1),
                [&](int l) { return (l & 1 ? vl : 0) + (l & ~3) + 2 * j + (l >> 1 & 1); });
    for (int g = 0; g < vl; g += 4)
      for (int j = 0; j < 4; ++j)
        shuffle(cat("u", g + j), cat("t", g + j / 2), cat("t", g + 2 + j / 2),
                [&](int l) { return (l & 2 ? vl : 0) + (l & ~3) + 2 * (j & 1) + (l & 1); });
  }
  // Lanes of the groups: column lane * per + j takes lane `lane` of u[g * per + j] for every g.
  for (int j = 0; j < per; ++j) {
    if (lanes == 1) { s += cat("      r", j, " = u", j, ";\n"); continue; }
    if (lanes == 2) {
      for (int lane = 0; lane < 2; ++lane) {
        const std::string to = cat("y", lane * per + j);
        shuffle(to, cat("u", j), cat("u", per + j), [&](int l) { return (l / per ? vl : 0) + lane * per + l % per; });
      }
      continue;
    }
    for (int half = 0; half < 2; ++half)  // lanes 0 and 2, or 1 and 3, of two groups each
      for (int odd = 0; odd < 2; ++odd) {
        const int g = half * 2;
        shuffle(cat("p", odd, half, "_", j), cat("u", g * per + j), cat("u", (g + 1) * per + j), [&](int l) {
          const int q = l / per;  // 0, 1: the first group's lanes odd, odd + 2; 2, 3: the second's
          return (q >= 2 ? vl : 0) + (q % 2 * 2 + odd) * per + l % per;
        });
      }
    for (int odd = 0; odd < 2; ++odd)
      for (int high = 0; high < 2; ++high)
        shuffle(cat("y", (odd + 2 * high) * per + j), cat("p", odd, "0_", j), cat("p", odd, "1_", j), [&](int l) {
          const int q = l / per;  // group q of 0 ... 3
          return (q >= 2 ? vl : 0) + (q % 2 * 2 + high) * per + l % per;
        });
  }
  if (lanes > 1) {
    s += "     ";
    for (int i = 0; i < vl; ++i) s += cat(" r", i, " = y", i, ";");
    s += "\n";
  }
  return s;
}

// dst[k * w + i] = src[i * rs + k] for i < n <= w, k < kc. Lanes n ... w - 1 of a row get copies of the last row. A store
// may run up to a vector past the row it fills: the next row overwrites it, and the buffer has room for one more.
std::string CTiles::pack_rows(const KTile&) {
  const std::string name = cat("pack_rows_", v_);
  const int vl = vl_;
  // From the last group of rows to the first: a whole vector of the last one reaches over the line's end into the next
  // line, whose beginning the first group writes afterwards.
  std::string s = cat("  for (i64 i0 = (w - 1) / ", vl, " * ", vl, "; i0 >= 0; i0 -= ", vl,
                      ") {\n    i64 last = n - 1 - i0; if (last > ", vl - 1, ") last = ", vl - 1, "; if (last < 0) continue;\n    const ", e_, "* s = (const ", e_, "*)src + i0 * rs; ", e_, "* d = (", e_,
                      "*)dst + i0; i64 k = 0;\n    if (kc >= ", vl, ") for (;;) {\n");
  for (int i = 0; i < vl; ++i)
    s += cat("      ", v_, " r", i, " = ", load(cat("s + (", i, " < last ? ", i, " : last) * rs + k")), "; __builtin_prefetch(s + (", i, " + w) * rs + k);\n");
  s += transpose();
  for (int i = 0; i < vl; ++i) s += cat("      ", store(cat("d + (k + ", i, ") * w"), cat("r", i)), "\n");
  s += cat("      if (k + ", vl, " == kc) break;\n      k += ", vl, "; if (k > kc - ", vl, ") k = kc - ", vl, ";\n    } else {\n",
           "      NO_UNROLL\n      for (; k < kc; ++k) { NO_UNROLL\n        for (i64 i = 0; i <= last; ++i) d[k * w + i] = s[i * rs + k]; }\n    }\n  }\n");
  add(name, "i64 src, i64 rs, i64 n, i64 kc, i64 dst, i64 w", s);
  return name;
}

// dst[k * w + i] = src[k * ks + i] for i < n. A row's last vector may reach into the next row, which follows; the last
// row ends where it should, since what lies behind it may be there already.
std::string CTiles::pack_columns(const KTile&) {
  const std::string name = cat("pack_columns_", v_);
  const int vl = vl_;
  std::string s = cat("  const ", e_, "* s = (const ", e_, "*)src; ", e_, "* d = (", e_, "*)dst; const i64 full = n & -", vl, "l;\n");
  s += cat("  if (n == ", 2 * vl, ") { NO_UNROLL\n    for (; kc >= 2; kc -= 2, s += 2 * ks, d += 2 * w) {\n",
           "      __builtin_prefetch(s + 16 * ks); __builtin_prefetch(s + 16 * ks + ", vl, "); __builtin_prefetch(s + 17 * ks); __builtin_prefetch(s + 17 * ks + ", vl, ");\n",
           "      const ", v_, " x = ", load("s"), ", y = ", load(cat("s + ", vl)), ", z = ", load("s + ks"), ", u = ", load(cat("s + ks + ", vl)), ";\n      ",
           store("d", "x"), " ", store(cat("d + ", vl), "y"), " ", store("d + w", "z"), " ", store(cat("d + w + ", vl), "u"), "\n    }\n  }\n");
  // Part of a vector a row: tiles of A. All but the last row may be stored as whole vectors.
  s += cat("  if (full == 0) { NO_UNROLL\n    for (; kc > 2; kc -= 2, s += 2 * ks, d += 2 * w) {\n",
           "      __builtin_prefetch(s + 16 * ks); __builtin_prefetch(s + 17 * ks);\n",
           "      const ", v_, " x = ", load_partial_, "(s, n), y = ", load_partial_, "(s + ks, n);\n      ", store("d", "x"), " ", store("d + w", "y"), "\n    }\n  }\n");
  s += cat("  NO_UNROLL\n  for (; kc > 0; --kc, s += ks, d += w) { NO_UNROLL\n    for (i64 i = 0; i < full; i += ", vl, ") { __builtin_prefetch(s + 12 * ks + i); ", store("d + i", load("s + i")),
           " }\n    if (full < n) { const ", v_, " x = ", load_partial_, "(s + full, n - full); if (kc > 1) { ", store("d + full", "x"), " } else ", store_partial_,
           "(d + full, x, w - full); }\n  }\n");
  add(name, "i64 src, i64 ks, i64 n, i64 kc, i64 dst, i64 w", s);
  return name;
}

std::string CTiles::pack_any(const KTile&) {
  const std::string name = cat("pack_any_", e_);
  add(name, "i64 src, i64 is, i64 ks, i64 n, i64 kc, i64 dst, i64 w",
      cat("  const ", e_, "* s = (const ", e_, "*)src; ", e_, "* d = (", e_, "*)dst;\n  NO_UNROLL\n  for (i64 k = 0; k < kc; ++k, s += ks, d += w) {",
          " NO_UNROLL\n    for (i64 i = 0; i < n; ++i) d[i] = s[i * is]; }\n"));
  return name;
}

// Windows of an image: a vector of positions covers a few of its rows, each a masked load; the masks do not depend on k.
std::string CTiles::pack_windows(const KTile&) {
  const std::string name = cat("pack_windows_", v_);
  const int vl = vl_;
  const DType lane = dtype_ == DType::f64 ? DType::i64 : DType::i32;
  const std::string m = sink_.vector(lane, vl_), le = dtype_ == DType::f64 ? "i64" : "i32", part = helpers_.load_masked(dtype_, vl_),
                    lanes = cat("lanes_", m);
  std::string iota = cat("(", m, "){");
  for (int l = 0; l < vl; ++l) iota += cat(l ? ", " : "", l);
  iota += "}";
  const std::string all = helpers_.splat(lane, vl_);
  sink_.add_helper(lanes, cat("INLINE ", m, " ", lanes, "(i64 from, i64 to) { return (", m, ")(", iota, " >= ", all, "((", le, ")from)) & (", m, ")(", iota,
                              " < ", all, "((", le, ")to)); }\n"));
  const auto bits = [&](const std::string& x) { return cat("(", m, ")", x); };
  std::string s = cat("  const ", e_, "* base = (const ", e_, "*)src; const i64* t = (const i64*)table;\n  NO_UNROLL\n  for (i64 v = 0; v < n; v += ", vl, ") {\n",
                      "    const i64 p = p0 + v, x = p % row, c = n - v < ", vl, " ? n - v : ", vl, ", shift = step - row;\n    const ", e_,
                      "* s = base + (p / row) * step + x; ", e_, "* d = (", e_, "*)dst + v;\n",
                      "    const i64 e0 = row - x < c ? row - x : c, e1 = e0 + row < c ? e0 + row : c, e2 = e1 + row < c ? e1 + row : c;\n",
                      "    const ", m, " m0 = ", lanes, "(0, e0), m1 = ", lanes, "(e0, e1), m2 = ", lanes, "(e1, e2);\n");
  const auto each = [&](const std::string& condition, const std::string& value) {
    s += cat("    if (", condition, ") { NO_UNROLL\n      for (i64 k = 0; k < count; ++k, d += w) { const ", e_, "* q = s + t[k]; ", store("d", value), " }\n      continue; }\n");
  };
  each(cat("e0 == ", vl), load("q"));
  each("e0 == c", part + "(q, m0)");
  each("e1 == c", cat("(", v_, ")(", bits(part + "(q, m0)"), " | ", bits(part + "(q + shift, m1)"), ")"));
  each("e2 == c", cat("(", v_, ")(", bits(part + "(q, m0)"), " | ", bits(part + "(q + shift, m1)"), " | ", bits(part + "(q + 2 * shift, m2)"), ")"));
  s += cat("    NO_UNROLL\n    for (i64 k = 0; k < count; ++k, d += w) { NO_UNROLL\n      for (i64 i = 0; i < c; ++i) d[i] = s[t[k] + i + (x + i) / row * shift]; }\n  }\n");
  add(name, "i64 src, i64 table, i64 count, i64 p0, i64 n, i64 row, i64 step, i64 dst, i64 w", s);
  return name;
}

// Pieces of rows of an image are short: one or two vectors each, so that most of them take no loop.
std::string CTiles::copy_rows(const KTile&) {
  const std::string name = cat("copy_rows_", v_);
  const auto lines = [&](const std::string& body) {
    return cat("    NO_UNROLL\n    for (i64 i = 0; i < n; ++i, d += ds) { const ", e_, "* q = s + t[i]; ", body, " }\n");
  };
  const std::string one = store("d", load("q")), two = cat("const ", v_, " x = ", load("q"), ", y = ", load(cat("q + ", vl_)), "; ", store("d", "x"), " ", store(cat("d + ", vl_), "y"));
  add(name, "i64 src, i64 table, i64 n, i64 count, i64 dst, i64 ds",
      cat("  const ", e_, "* s = (const ", e_, "*)src; const i64* t = (const i64*)table; ", e_, "* d = (", e_, "*)dst;\n  if (count <= ", vl_, ") {\n", lines(one),
          "  } else if (count <= ", 2 * vl_, ") {\n", lines(two), "  } else {\n",
          lines(cat("NO_UNROLL for (i64 k = 0; k < count; k += ", vl_, ") { ", store("d + k", load("q + k")), " }")), "  }\n"));
  return name;
}

// A few rows times B given as rows of k (the weights of a linear layer), transposed in registers and never stored:
// one vector of columns, all of k.
std::string CTiles::row_dot(const KTile& t) {
  const int h = t.rows, vl = vl_;
  const std::string name = cat("row_dot_", v_, "_", h);
  const auto each = [&](auto&& f) { std::string r; for (int i = 0; i < h; ++i) r += f(i); return r; };
  std::string s = cat("  const ", e_, "* a = (const ", e_, "*)a_; const ", e_, "* b = (const ", e_, "*)b_; ", e_, "* c = (", e_, "*)c_; const i64 last = cols - 1;\n  ");
  s += each([&](int i) { return cat(v_, " s", i, " = {0}; "); });
  s += cat("\n  for (i64 pc = 0; pc < kn; pc += ", chain_chunk, ") {\n    const i64 end = kn - pc < ", chain_chunk, " ? kn : pc + ", chain_chunk, "; i64 k = pc;\n    ");
  s += each([&](int i) { return cat(v_, " c", i, " = {0}; "); });
  s += cat("\n    NO_UNROLL\n    for (; k + ", vl, " <= end; k += ", vl, ") {\n");
  for (int i = 0; i < vl; ++i)
    s += cat("      const ", e_, "* q", i, " = b + (", i, " < last ? ", i, " : last) * bs + k; ", v_, " r", i, " = ", load(cat("q", i)), "; __builtin_prefetch(q", i, " + 64);\n");
  s += transpose();
  for (int u = 0; u < vl; ++u)
    s += "      " + each([&](int i) { return cat("c", i, " = ", fma_, "(", splat_, "(a[", i, " * as + k + ", u, "]), r", u, ", c", i, "); "); }) + "\n";
  s += cat("    }\n    NO_UNROLL\n    for (; k < end; ++k) {\n      ", e_, " t[", vl, "] __attribute__((aligned(64)));\n      NO_UNROLL\n      for (i64 i = 0; i < ", vl,
           "; ++i) t[i] = b[(i < last ? i : last) * bs + k];\n      const ", v_, " x = ", load("t"), ";\n      ");
  s += each([&](int i) { return cat("c", i, " = ", fma_, "(", splat_, "(a[", i, " * as + k]), x, c", i, "); "); });
  s += "\n    }\n    if (pc) { " + each([&](int i) { return cat("s", i, " = s", i, " + c", i, "; "); }) + "} else { " +
       each([&](int i) { return cat("s", i, " = c", i, "; "); }) + "}\n  }\n  ";
  s += each([&](int i) { return cat(store_partial_, "(c + ", i, " * cs, s", i, ", cols); "); }) + "\n";
  add(name, "i64 a_, i64 as, i64 b_, i64 bs, i64 cols, i64 c_, i64 cs, i64 kn", s);
  return name;
}

// A few rows times B as it lies: whole rows of B stream by, and the running chains wait in `t`, rows of `ts` elements
// (storing and reloading a chain changes no bit). A step that does not exist is skipped, not multiplied by zero.
std::string CTiles::row_sweep(const KTile& t) {
  const int h = t.rows, vl = vl_, u = h <= 2 ? 8 : 4;
  const std::string name = cat("row_sweep_", v_, "_", h);
  const auto each = [&](auto&& f) { std::string r; for (int i = 0; i < h; ++i) r += f(i); return r; };
  std::string s = cat("  const ", e_, "* a = (const ", e_, "*)a_; const ", e_, "* b = (const ", e_, "*)b_; ", e_, "* c = (", e_, "*)c_; ", e_, "* t = (", e_, "*)t_;\n");
  s += cat("  for (i64 pc = 0; pc < kn; pc += ", chain_chunk, ") {\n    const i64 end = kn - pc < ", chain_chunk, " ? kn : pc + ", chain_chunk, ";\n",
           "    NO_UNROLL\n    for (i64 k = pc; k < end; k += ", u, ") {\n      const int whole = k + ", u, " <= end, fin = k + ", u, " >= end;\n");
  for (int i = 0; i < h; ++i) {
    for (int q = 0; q < u; ++q)
      s += cat(q ? " " : "      ", "const ", v_, " a", i, "_", q, " = ", splat_, "(k + ", q, " < end ? a[", i, " * as + (k + ", q, ") * ak] : 0);");
    s += "\n";
  }
  s += cat("      const ", e_, "* q0 = b + k * bs;\n      NO_UNROLL\n      for (i64 j = 0; j < n; j += ", vl, ") {\n        const i64 m = n - j;\n        ");
  s += each([&](int i) { return cat(v_, " t", i, " = {0}; if (k != pc) t", i, " = ", load(cat("t + ", i, " * ts + j")), "; "); });
  const auto fmas = [&](int q) { return each([&](int i) { return cat("t", i, " = ", fma_, "(a", i, "_", q, ", x, t", i, "); "); }); };
  s += cat("\n        if (whole && m >= ", vl, ") {\n");
  for (int q = 0; q < u; ++q)
    s += cat("          { const ", v_, " x = ", load(cat("q0 + ", q, " * bs + j")), "; __builtin_prefetch(q0 + ", q, " * bs + j + 128); ", fmas(q), "}\n");
  s += "        } else {\n";
  for (int q = 0; q < u; ++q)
    s += cat("          if (k + ", q, " < end) { const ", v_, " x = ", load_partial_, "(q0 + ", q, " * bs + j, m); ", fmas(q), "}\n");
  s += "        }\n        if (!fin) { " + each([&](int i) { return store(cat("t + ", i, " * ts + j"), cat("t", i)) + " "; }) + "}\n";
  s += "        else if (pc) { " + each([&](int i) {
         return cat(store_partial_, "(c + ", i, " * cs + j, ", load_partial_, "(c + ", i, " * cs + j, m) + t", i, ", m); "); }) + "}\n";
  s += "        else { " + each([&](int i) { return cat(store_partial_, "(c + ", i, " * cs + j, t", i, ", m); "); }) + "}\n";
  s += "      }\n    }\n  }\n";
  add(name, "i64 a_, i64 as, i64 ak, i64 b_, i64 bs, i64 n, i64 c_, i64 cs, i64 kn, i64 t_, i64 ts", s);
  return name;
}

}  // namespace phlox

// The C dialect: GCC vector extensions, for clang and for gcc from 12.
//
// A bool vector is a mask: a signed integer vector of 0 and -1 whose element width is that of the comparison that made
// it. Widths are converted only where two of them meet, so comparing and selecting f32 needs no conversion at all.
#include <algorithm>

#include "emit/c_helpers.h"
#include "emit/c_tiles.h"
#include "emit/emit.h"
#include "emit/printer.h"

#include "base/error.h"
#include "base/format.h"

namespace phlox {

namespace {

class CPrinter final : public Printer, public HelperSink {
 public:
  CPrinter(const Kernel& k, const Target& target) : Printer(k), helpers_c_(*this, target), tiles_(*this, helpers_c_, target), target_(target) {
    const int share = target.vector_bits / 8 / k.register_lanes;
    default_width_ = share >= 8 ? 8 : share >= 4 ? 4 : share >= 2 ? 2 : 1;
    width_.assign(k.insts.size(), 0);
  }

  std::string run(std::string_view entry, bool list) {
    body();
    std::string params;
    for (size_t p = 0; p < k_.params.size(); ++p) {
      const char* t = scalar_type(k_.params[p].dtype);
      const char* c = k_.params[p].written ? "" : "const ";
      params += cat("  ", c, t, "* const p", p, " = (", c, t, "*)w[", k_.params[p].word, "];\n");
    }
    std::string s = guarded("PHLOX_C", c_prologue());
    s += types_;
    s += helpers_;
    // Without the attribute, 512-bit vectors are split on targets that prefer 256 bits.
    const std::string_view width = target_.vector_bits >= 512 ? "#ifdef __clang__\n__attribute__((min_vector_width(512)))\n#endif\n" : "";
    const std::string text = cat("(const u64* w, i64 begin, i64 end) {\n", params, out_, order_streams(), "}\n");
    if (!list) return cat(s, width, "void ", entry, text);
    return cat(s, width, "static inline __attribute__((always_inline)) void ", entry, "_one", text, width, list_entry(entry));
  }

 private:
  // The row of the first item by halving, then row after row.
  std::string list_entry(std::string_view entry) const {
    const size_t row = k_.words.size() + 1;
    return cat("void ", entry, "(const u64* w, i64 begin, i64 end) {\n"
               "  i64 row = 0, last = (i64)w[0];\n"
               "  while (last - row > 1) {\n"
               "    const i64 m = (row + last) / 2;\n"
               "    if ((i64)w[1 + m * ", row, "] <= begin) row = m; else last = m;\n"
               "  }\n"
               "  for (; begin < end; ++row) {\n"
               "    const u64* r = w + 1 + row * ", row, ";\n"
               "    i64 to = (i64)r[", row, "];\n"
               "    if (to > end) to = end;\n"
               "    if (begin < to) { ", entry, "_one(r + 1, begin - (i64)r[0], to - (i64)r[0]); begin = to; }\n"
               "  }\n"
               "}\n");
  }

  // --- types and masks
  std::string type_name(KType t) override {
    if (t.lanes == 1) return scalar_type(t.dtype);
    return vector(t.dtype, t.lanes);
  }
  void add_helper(std::string_view name, std::string_view text) override { helper(name, text); }
  std::string vector(DType d, int n) override {
    const std::string e = scalar_type(d), name = cat(e, "x", n);
    if (types_.find(cat(" ", name, " ")) == std::string::npos) {
      const int bytes = int(dtype_bytes(d));
      types_ += guarded(cat("PHLOX_", name), cat("typedef ", e, " ", name, " __attribute__((vector_size(", bytes * n, ")));\ntypedef ", e, " ", name,
                        "_u __attribute__((vector_size(", bytes * n, "), aligned(", bytes, "), may_alias));\n"));
    }
    return name;
  }
  static DType int_of(int width) {
    return width == 1 ? DType::i8 : width == 2 ? DType::i16 : width == 4 ? DType::i32 : DType::i64;
  }
  int width_of(KValue v) const {  // of a mask, in bytes
    const int w = width_[v];
    return w ? w : default_width_;
  }
  std::string mask_type(int width, int n) { return vector(int_of(width), n); }
  std::string mask_as(KValue v, int part, int width) {
    const int n = part_lanes(inst(v).type.lanes), w = width_of(v);
    if (w == width) return name(v, part);
    return cat("__builtin_convertvector(", name(v, part), ", ", mask_type(width, n), ")");
  }

  // The value as an operand of part `part`.
  std::string o(const KInst& i, int n, int part) const { return name(i.operand[n], part); }
  void define_mask(KValue v, int part, int width, std::string_view text) {
    width_[v] = uint8_t(width);
    const int n = part_lanes(inst(v).type.lanes);
    line_of("const ", mask_type(width, n), " ", name(v, part), " = ", text, ";");
  }
  void result(KValue v, int part, std::string_view text) {
    const KInst& i = inst(v);
    if (is_bool(i.type.dtype) && i.type.lanes > 1) define_mask(v, part, width_of(v), text);
    else define(v, part, i.type, text);
  }

  // --- statements
  void statement(KValue v, int part) override {
    const KInst& i = inst(v);
    const int n = part_lanes(i.type.lanes);
    switch (i.op) {
      case KOp::constant: return splat(v, literal(i.type.dtype, i.imm), n);
      case KOp::word: return word(v);
      case KOp::item_begin: return result(v, 0, "begin");
      case KOp::item_end: return result(v, 0, "end");
      case KOp::scalar: return i.type.lanes == 1 && result_is_scalar(i) ? scalar(v) : vector_op(v, part);
      case KOp::splat: return splat(v, o(i, 0, 0), n);
      case KOp::iota: return iota(v, part, n);
      case KOp::extract: {
        const int lane = int(i.imm), pl = part_lanes(operand(i, 0).type.lanes);
        const std::string e = cat(o(i, 0, lane / pl), "[", lane % pl, "]");
        return result(v, 0, is_bool(i.type.dtype) ? cat(e, " != 0") : e);
      }
      case KOp::interleave: case KOp::every_other: return shuffle(v, part, n);
      case KOp::lane_fold: return fold(v);
      case KOp::any: return any(v);
      case KOp::scale_exponent:
        return result(v, part, cat(helpers_c_.scale_exponent(i.type.dtype, n), "(", o(i, 0, part), ", ", o(i, 1, part), ", ", o(i, 2, part), ")"));
      case KOp::lookup: return result(v, part, cat(helpers_c_.lookup(math::Table(i.imm), n), "(", o(i, 0, part), ")"));
      case KOp::var: case KOp::get: case KOp::set: return variable(v, part);
      case KOp::local:
        return line_of(scalar_type(i.type.dtype), " v", v, "[", i.imm, "] __attribute__((aligned(64)));");
      case KOp::report:
        return line_of("if (", o(i, 0, 0), ") { i64* s = (i64*)w[", i.imm, "]; if (!*s) *s = ", o(i, 1, 0), " < 0 ? ",
                       o(i, 1, 0), " : ", o(i, 1, 0), " + 1; }");
      case KOp::address: return result(v, 0, cat("(i64)(p", i.imm, " + ", o(i, 0, 0), ")"));
      case KOp::tile: {
        const KTile& t = k_.tiles[size_t(i.imm)];
        std::string call = tiles_.function(t) + "(";
        for (size_t n = 0; n < t.operands.size(); ++n) call += cat(n ? ", " : "", name(t.operands[n], 0));
        return line(call + ");");
      }
      case KOp::prefetch: return line_of("__builtin_prefetch(p", i.imm, " + ", o(i, 0, 0), ");");
      default: break;
    }
    if (has_effect(i.op)) store(v, part, n);
    else load(v, part, n);
  }
  bool result_is_scalar(const KInst& i) const { return operand(i, 0).type.lanes == 1; }

  void word(KValue v) {
    const KInst& i = inst(v);
    const DType d = i.type.dtype;
    if (d == DType::f64) return result(v, 0, helpers_c_.bit_cast(DType::f64, DType::u64, cat("w[", i.imm, "]")));
    if (d == DType::f32) return result(v, 0, helpers_c_.bit_cast(DType::f32, DType::u32, cat("(u32)w[", i.imm, "]")));
    result(v, 0, cat("(", scalar_type(d), ")w[", i.imm, "]"));
  }
  void splat(KValue v, const std::string& x, int n) {
    const DType d = inst(v).type.dtype;
    if (is_bool(d)) { define_mask(v, 0, default_width_, cat(helpers_c_.splat(int_of(default_width_), n), "(", x, " ? -1 : 0)")); return; }
    define(v, 0, inst(v).type, cat(helpers_c_.splat(d, n), "(", x, ")"));
  }
  void iota(KValue v, int part, int n) {
    std::string s = cat("(", type_name({inst(v).type.dtype, uint16_t(n)}), "){");
    for (int l = 0; l < n; ++l) s += cat(l ? ", " : "", part * n + l);
    result(v, part, s + "}");
  }
  void scalar(KValue v) {
    const KInst& i = inst(v);
    if (i.scalar == Scalar::cast) return result(v, 0, helpers_c_.cast_scalar(operand(i, 0).type.dtype, i.type.dtype, o(i, 0, 0)));
    if (i.scalar == Scalar::bitcast) return result(v, 0, helpers_c_.bit_cast(i.type.dtype, operand(i, 0).type.dtype, o(i, 0, 0)));
    if (i.scalar == Scalar::fmod) return result(v, 0, cat(helpers_c_.fmod(i.type.dtype), "(", o(i, 0, 0), ", ", o(i, 1, 0), ")"));
    result(v, 0, scalar_text(i));
  }

  void vector_op(KValue v, int part) {
    const KInst& i = inst(v);
    const int n = part_lanes(i.type.lanes);
    const DType d = operand(i, i.operand_count - 1).type.dtype;
    if (is_bool(d) && i.scalar != Scalar::cast) return mask_op(v, part, n);
    const std::string a = o(i, 0, part), b = i.operand_count > 1 ? o(i, 1, part) : "";
    const std::string t = type_name({d, uint16_t(n)});
    switch (i.scalar) {
      case Scalar::lt: case Scalar::le: case Scalar::eq: case Scalar::ne: {
        const int w = int(dtype_bytes(d));
        define_mask(v, part, w, cat("(", mask_type(w, n), ")(", a, compare(i.scalar), b, ")"));
        return;
      }
      case Scalar::select:
        return result(v, part, cat(helpers_c_.pick(d, n), "(", mask_as(i.operand[0], part, int(dtype_bytes(d))), ", ", b,
                                   ", ", o(i, 2, part), ")"));
      case Scalar::cast: return cast(v, part, n);
      case Scalar::bitcast: return result(v, part, cat("(", type_name({i.type.dtype, uint16_t(n)}), ")", a));
      case Scalar::fma: return result(v, part, cat(helpers_c_.fma(d, n), "(", a, ", ", b, ", ", o(i, 2, part), ")"));
      default: return result(v, part, helpers_c_.arithmetic(i.scalar, d, n, t, a, b));
    }
  }
  static const char* compare(Scalar s) {
    return s == Scalar::lt ? " < " : s == Scalar::le ? " <= " : s == Scalar::eq ? " == " : " != ";
  }

  // Logic on masks: in the width of the first operand that has one.
  void mask_op(KValue v, int part, int n) {
    const KInst& i = inst(v);
    int w = 0;
    for (int k = 0; k < i.operand_count && !w; ++k) w = width_[i.operand[k]];
    if (!w) w = default_width_;
    const auto m = [&](int k) { return mask_as(i.operand[k], part, w); };
    std::string s;
    switch (i.scalar) {
      case Scalar::band: case Scalar::min: case Scalar::mul: s = cat(m(0), " & ", m(1)); break;
      case Scalar::bor: case Scalar::max: case Scalar::add: s = cat(m(0), " | ", m(1)); break;
      case Scalar::bxor: case Scalar::ne: s = cat(m(0), " ^ ", m(1)); break;
      case Scalar::eq: s = cat("~(", m(0), " ^ ", m(1), ")"); break;
      case Scalar::lt: s = cat("~", m(0), " & ", m(1)); break;
      case Scalar::le: s = cat("~", m(0), " | ", m(1)); break;
      case Scalar::bnot: s = cat("~", m(0)); break;
      case Scalar::select: s = cat("(", m(0), " & ", m(1), ") | (~", m(0), " & ", m(2), ")"); break;
      default: PHLOX_CHECK(false, "scalar op ", scalar_info(i.scalar).name, " on bool");
    }
    define_mask(v, part, w, cat("(", mask_type(w, n), ")(", s, ")"));
  }

  void cast(KValue v, int part, int n) {
    const KInst& i = inst(v);
    const DType from = operand(i, 0).type.dtype, to = i.type.dtype;
    if (is_bool(to)) {
      if (is_bool(from)) { define_mask(v, part, width_of(i.operand[0]), o(i, 0, part)); return; }
      const int w = int(dtype_bytes(from));
      const std::string zero = cat("(", type_name({from, uint16_t(n)}), "){0}");
      define_mask(v, part, w, cat("(", mask_type(w, n), ")(", o(i, 0, part), " != ", zero, ")"));
      return;
    }
    if (is_bool(from)) {
      const int w = int(dtype_bytes(to));
      return result(v, part, helpers_c_.from_mask(to, n, mask_as(i.operand[0], part, w)));
    }
    result(v, part, helpers_c_.cast_vector(from, to, n, o(i, 0, part)));
  }

  // --- across lanes
  // Two registers hold what one of the result takes; fewer where they are not full.
  void shuffle(KValue v, int part, int n) {
    const KInst& i = inst(v);
    const bool joins = i.op == KOp::interleave;
    const int from = part_lanes(operand(i, 0).type.lanes);  // lanes of a source register
    std::string a, b, lanes;
    if (joins) {
      const int source = from < n ? 0 : part / 2;
      a = o(i, 0, source), b = o(i, 1, source);
      const int first = from < n ? 0 : part % 2 * n / 2;
      for (int l = 0; l < n; ++l) lanes += cat(", ", first + l / 2 + l % 2 * from);
    } else {
      const bool two = from < 2 * n;
      a = o(i, 0, two ? 2 * part : 0), b = o(i, 0, two ? 2 * part + 1 : 0);
      for (int l = 0; l < n; ++l) lanes += cat(", ", 2 * l + i.imm);
    }
    result(v, part, cat("__builtin_shufflevector(", a, ", ", b, lanes, ")"));
  }
  void fold(KValue v) {
    const KInst& i = inst(v);
    const KInst& x = operand(i, 0);
    const int n = part_lanes(x.type.lanes);
    int count = parts(x.type.lanes);
    const bool mask = is_bool(x.type.dtype);
    const int w = mask ? width_of(i.operand[0]) : 0;
    const DType d = mask ? int_of(w) : x.type.dtype;
    std::vector<std::string> p;
    for (int q = 0; q < count; ++q) p.push_back(name(i.operand[0], q));
    const std::string t = type_name({d, uint16_t(n)});
    const Scalar s = fold_op(i.combine);
    for (int step = 0; count > 1; count /= 2, ++step)
      for (int q = 0; q < count / 2; ++q) {
        const std::string r = cat("f", v, "_", step, "_", q);
        line_of("const ", t, " ", r, " = ", helpers_c_.arithmetic(s, d, n, t, p[q], p[q + count / 2]), ";");
        p[q] = r;
      }
    const std::string r = n == 1 ? p[0] : cat(helpers_c_.fold(i.combine, s, d, n), "(", p[0], ")");
    define(v, 0, i.type, mask ? cat(r, " != 0") : r);
  }
  static Scalar fold_op(Combine c) {
    switch (c) {
      case Combine::add: return Scalar::add;
      case Combine::mul: return Scalar::mul;
      case Combine::min: return Scalar::min;
      case Combine::max: return Scalar::max;
      case Combine::band: return Scalar::band;
      case Combine::bor: return Scalar::bor;
    }
    return Scalar::add;
  }
  void any(KValue v) {
    const KInst& i = inst(v);
    const KInst& x = operand(i, 0);
    const int n = part_lanes(x.type.lanes), w = width_of(i.operand[0]);
    std::string all = name(i.operand[0], 0);
    for (int q = 1; q < (is_uniform(x) ? 1 : parts(x.type.lanes)); ++q) all += cat(" | ", name(i.operand[0], q));
    define(v, 0, i.type, cat(helpers_c_.fold(Combine::bor, Scalar::bor, int_of(w), n), "(", all, ") != 0"));
  }

  // --- variables
  void variable(KValue v, int part) {
    const KInst& i = inst(v);
    const KValue var = i.op == KOp::var ? v : i.operand[0];
    const bool mask = is_bool(inst(var).type.dtype) && inst(var).type.lanes > 1;
    if (mask) width_[var] = uint8_t(default_width_);
    const auto value = [&](KValue x) { return mask ? mask_as(x, part, default_width_) : name(x, part); };
    const int n = part_lanes(inst(var).type.lanes);
    const std::string t = mask ? mask_type(default_width_, n) : type_name({inst(var).type.dtype, uint16_t(n)});
    if (i.op == KOp::var) line_of(t, " ", name(v, part), " = ", value(i.operand[0]), ";");
    if (i.op == KOp::set) line_of(name(var, part), " = ", value(i.operand[1]), ";");
    if (i.op == KOp::get) {
      if (mask) width_[v] = uint8_t(default_width_);
      line_of("const ", t, " ", name(v, part), " = ", name(var, part), ";");
    }
  }

  // --- memory. Bool is kept as bytes of 0 and 1.
  std::string pointer(const KInst& i, int part, int n) const {
    if (i.op == KOp::local_load || i.op == KOp::local_store)
      return cat("v", i.operand[0], " + ", name(i.operand[1], 0), offset(part, n));
    return cat("p", i.imm, " + ", name(i.operand[0], 0), offset(part, n));
  }
  static std::string offset(int part, int n) { return part ? cat(" + ", part * n) : std::string(); }

  void load(KValue v, int part, int n) {
    const KInst& i = inst(v);
    const DType d = is_bool(i.type.dtype) ? DType::u8 : i.type.dtype;
    std::string s;
    if (n == 1) {
      const std::string at = cat("*(", pointer(i, part, n), ")");
      switch (i.op) {
        case KOp::load_partial: s = cat(o(i, 1, 0), " > 0 ? ", at, " : 0"); break;
        case KOp::load_masked: s = cat(o(i, 1, 0), " ? ", at, " : 0"); break;
        case KOp::load_gather: s = i.operand_count == 2 ? cat(o(i, 1, 0), " ? ", at, " : 0") : at; break;
        default: s = at;
      }
      return define(v, part, {d, 1}, s);
    }
    const std::string t = type_name({d, uint16_t(n)});
    const int w = int(dtype_bytes(d));
    switch (i.op) {
      case KOp::load: case KOp::local_load: s = cat("*(const ", t, "_u*)(", pointer(i, part, n), ")"); break;
      case KOp::load_partial:
        s = cat(helpers_c_.load_partial(d, n), "(", pointer(i, part, n), ", ", o(i, 1, 0), part ? cat(" - ", part * n) : "", ")");
        break;
      case KOp::load_masked:
        s = cat(helpers_c_.load_masked(d, n), "(", pointer(i, part, n), ", ", mask_as(i.operand[1], part, w), ")");
        break;
      case KOp::load_strided:
        s = cat(helpers_c_.load_strided(d, n), "(p", i.imm, " + ", o(i, 0, 0), part ? cat(" + ", part * n, " * ", o(i, 1, 0)) : "",
                ", ", o(i, 1, 0), ")");
        break;
      case KOp::load_gather:
        s = cat(helpers_c_.load_gather(d, n, i.operand_count == 2), "(p", i.imm, ", ", o(i, 0, part));
        if (i.operand_count == 2) s += cat(", ", mask_as(i.operand[1], part, w));
        s += ")";
        break;
      default: PHLOX_CHECK(false, "no C text for ", kernel_op_info(i.op).name);
    }
    if (!is_bool(i.type.dtype)) return define(v, part, i.type, s);
    define_mask(v, part, 1, cat("(", mask_type(1, n), ")(", s, " != (", t, "){0})"));
  }

  void store(KValue v, int part, int n) {
    const KInst& i = inst(v);
    const bool local = i.op == KOp::local_store;
    const KValue value = i.operand[local ? 2 : 1];
    const bool mask = is_bool(i.type.dtype);
    const DType d = mask ? DType::u8 : i.type.dtype;
    const std::string at = pointer(i, part, n);
    if (n == 1) {
      const char* guard_end = i.op == KOp::store_partial ? " > 0" : "";
      const bool guarded = i.op == KOp::store_partial || i.op == KOp::store_masked ||
                           (i.op == KOp::store_scatter && i.operand_count == 3);
      line_of(guarded ? cat("if (", o(i, 2, 0), guard_end, ") ") : std::string(), "*(", at, ") = ", name(value, 0), ";");
      return;
    }
    const std::string t = type_name({d, uint16_t(n)});
    const int w = int(dtype_bytes(d));
    const std::string x = mask ? cat("(", t, ")(", mask_as(value, part, 1), " & 1)") : name(value, part);
    switch (i.op) {
      case KOp::store:
        if (i.operand_count == 3 && helpers_c_.can_stream(d, n)) {
          line_of(helpers_c_.store_stream(d, n), "(", at, ", ", x, ", ", o(i, 2, 0), ");");
          break;
        }
        [[fallthrough]];
      case KOp::local_store: line_of("*(", t, "_u*)(", at, ") = ", x, ";"); break;
      case KOp::store_partial:
        line_of(helpers_c_.store_partial(d, n), "(", at, ", ", x, ", ", o(i, 2, 0), part ? cat(" - ", part * n) : "", ");");
        break;
      case KOp::store_masked:
        line_of(helpers_c_.store_masked(d, n), "(", at, ", ", x, ", ", mask_as(i.operand[2], part, w), ");");
        break;
      case KOp::store_strided:
        line_of(helpers_c_.store_strided(d, n), "(p", i.imm, " + ", o(i, 0, 0), part ? cat(" + ", part * n, " * ", o(i, 2, 0)) : "",
                ", ", x, ", ", o(i, 2, 0), ");");
        break;
      case KOp::store_scatter: {
        std::string s = cat(helpers_c_.store_scatter(d, n, i.operand_count == 3), "(p", i.imm, ", ", o(i, 0, part), ", ", x);
        if (i.operand_count == 3) s += cat(", ", mask_as(i.operand[2], part, w));
        line(s + ");");
        break;
      }
      default: PHLOX_CHECK(false, "no C text for ", kernel_op_info(i.op).name);
    }
  }

  // Stores past the caches are ordered by no lock: what follows the kernel must see them.
  std::string order_streams() {
    SmallVector<KValue, 4> seen;
    std::string s;
    for (const KInst& i : k_.insts) {
      if (i.op != KOp::store || i.operand_count != 3 || std::find(seen.begin(), seen.end(), i.operand[2]) != seen.end()) continue;
      if (!helpers_c_.can_stream(is_bool(i.type.dtype) ? DType::u8 : i.type.dtype, part_lanes(i.type.lanes))) continue;
      seen.push_back(i.operand[2]);
      s += cat("  if (", name(i.operand[2], 0), " >= ", CHelpers::stream_bytes, ") __builtin_ia32_sfence();\n");
    }
    return s;
  }

  CHelpers helpers_c_;
  CTiles tiles_;
  const Target& target_;
  int default_width_;
  std::vector<uint8_t> width_;  // of masks, in bytes; 0: not known yet, then default_width_
};

}  // namespace

std::string emit_c(const Kernel& k, const Target& target, std::string_view entry, int rows) {
  return CPrinter(k, target).run(entry, rows > 0);
}

}  // namespace phlox

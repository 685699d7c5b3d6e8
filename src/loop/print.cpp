// The text of a Loop: one line an instruction, exact (parse_loop gives the same Loop back, bit for bit).
#include <bit>
#include <charconv>
#include <cmath>

#include "base/format.h"
#include "base/small_float.h"
#include "loop/loop.h"
#include "loop/text.h"

namespace phlox {

namespace {

// The shortest decimal that reads back to the same value of this type.
template <class T>
std::string shortest(T v) {
  char b[40];
  return {b, std::to_chars(b, b + sizeof b, v).ptr};
}

std::string float_text(DType d, int64_t bits) {
  if (d == DType::f64) return shortest(std::bit_cast<double>(bits));
  if (d == DType::f32) return shortest(std::bit_cast<float>(int32_t(bits)));
  const float v = d == DType::bf16 ? float_from_bf16(uint16_t(bits)) : float_from_f16(uint16_t(bits));
  for (int digits = 1; digits < 9; ++digits) {  // a 16-bit float needs at most five
    char b[40];
    const std::string s(b, std::to_chars(b, b + sizeof b, v, std::chars_format::general, digits).ptr);
    double back = 0;
    std::from_chars(s.data(), s.data() + s.size(), back);
    if (constant_bits(d, back) == bits) return s;
  }
  return shortest(v);
}

std::string axis_set(AxisMask m) {
  std::string s = "{";
  for (int a = 0; a < 64; ++a)
    if (m >> a & 1) s += cat(s.size() > 1 ? ", a" : "a", a);
  return s + "}";
}

std::string inst_text(const Inst& i) {
  const char* name = scalar_info(i.op).name;
  auto v = [&](int k) { return cat("%", i.operand[k]); };
  switch (i.op) {
    case Scalar::constant: return cat(name, " ", constant_text(i.dtype, i.imm));
    case Scalar::dim: return cat(name, " ", Dim::from_raw(i.imm));
    case Scalar::axis: return cat(name, " a", i.imm);
    case Scalar::number: return cat(name, " p", i.imm);
    case Scalar::load: return cat(name, " p", i.imm, "[", v(0), "]", i.operand_count == 2 ? cat(" if ", v(1)) : "");
    case Scalar::reduce:
      return cat(name, " ", combine_name(i.combine), " ", order_name(i.order), " ", v(0), " over ", axis_set(i.axes));
    case Scalar::scan: return cat(name, " ", combine_name(i.combine), " ", v(0), " over ", axis_set(i.axes));
    default: {
      std::string s = name;
      if (i.op == Scalar::philox) s += cat(" ", i.imm);
      for (int k = 0; k < i.operand_count; ++k) s += cat(k ? ", " : " ", v(k));
      return s;
    }
  }
}

}  // namespace

const char* param_kind_name(Param::Kind k) {
  static const char* const names[] = {"in", "out", "inout", "number"};
  return names[int(k)];
}

std::string constant_text(DType d, int64_t bits) {
  if (is_bool(d)) return bits ? "true" : "false";
  if (d == DType::u64) return cat(uint64_t(bits));
  if (!is_float(d)) return cat(bits);
  if (!std::isnan(constant_value({.op = Scalar::constant, .dtype = d, .imm = bits}))) return float_text(d, bits);
  if (bits == constant_bits(d, std::nan(""))) return "nan";
  char b[20];
  return cat("nan(0x", std::string_view(b, size_t(std::to_chars(b, b + sizeof b, uint64_t(bits), 16).ptr - b)), ")");
}

std::string print_loop(const Loop& loop) {
  std::string s = "loop {\n";
  for (size_t a = 0; a < loop.axes.size(); ++a) s += cat(a ? ", a" : "  axes a", a, ": ", loop.axes[a].extent);
  if (!loop.axes.empty()) s += "\n";
  for (size_t p = 0; p < loop.params.size(); ++p)
    s += cat(p ? ", p" : "  params p", p, ": ", param_kind_name(loop.params[p].kind), " ", loop.params[p].dtype);
  if (!loop.params.empty()) s += "\n";
  for (size_t id = 0; id < loop.insts.size(); ++id)
    s += cat("  %", id, " = ", inst_text(loop.insts[id]), " : ", loop.insts[id].dtype, "\n");
  for (const Store& t : loop.stores) {
    s += cat("  store p", t.param, "[%", t.address, "] = %", t.value, " over ", axis_set(t.domain));
    if (t.predicate != no_value) s += cat(" if %", t.predicate);
    if (t.conflict != Conflict::unique) s += cat(" ", conflict_name(t.conflict));
    s += "\n";
  }
  return s + "}\n";
}

}  // namespace phlox

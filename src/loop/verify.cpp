#include "loop/verify.h"

#include "base/error.h"

namespace phlox {

namespace {

bool is_number(DType d) { return is_int(d) || is_float(d); }
bool is_bits(DType d) { return is_int(d) || is_bool(d); }

bool combine_fits(Combine c, DType d) {
  switch (c) {
    case Combine::add: case Combine::mul: return is_number(d);
    case Combine::min: case Combine::max: return true;
    case Combine::band: case Combine::bor: return is_bits(d);
  }
  return false;
}

bool conflict_fits(Conflict c, DType d) {
  switch (c) {
    case Conflict::unique: case Conflict::last: case Conflict::ordered_min: case Conflict::ordered_max: return true;
    case Conflict::ordered_add: case Conflict::ordered_mul: return is_number(d);
  }
  return false;
}

// Operand types that a `same` or `test` op accepts.
bool accepts(Scalar op, DType d) {
  if (is_math(op)) return is_float(d);
  switch (op) {
    case Scalar::add: case Scalar::sub: case Scalar::mul: case Scalar::div: case Scalar::fmod:
    case Scalar::neg: case Scalar::abs: return is_number(d);
    case Scalar::floordiv: case Scalar::floormod: case Scalar::shl: case Scalar::shr: return is_int(d);
    case Scalar::fma: case Scalar::sqrt: case Scalar::floor: case Scalar::ceil: case Scalar::trunc:
    case Scalar::round: return is_float(d);
    case Scalar::band: case Scalar::bor: case Scalar::bxor: case Scalar::bnot: return is_bits(d);
    default: return true;  // min, max, lt, le, eq, ne
  }
}

struct Checker {
  const Loop& loop;
  AxisMask all_axes;

  DType type(const Inst& i, int k) const { return loop.insts[i.operand[k]].dtype; }

  std::string shape(size_t id, const Inst& i) const {
    if (int(i.op) >= scalar_op_count) return "unknown op";
    if (int(i.dtype) >= dtype_count || !is_loop_dtype(i.dtype)) return "a type that loops do not compute with";
    const int most = scalar_info(i.op).operands;
    const bool optional = i.op == Scalar::load;
    if (i.operand_count > most || i.operand_count < most - optional)
      return cat("has ", int(i.operand_count), " operands, expected ", most);
    for (int k = 0; k < 3; ++k) {
      if (k >= i.operand_count && i.operand[k] != no_value) return "an unused operand slot is set";
      if (k < i.operand_count && i.operand[k] >= id) return cat("operand ", k, " does not precede its user");
    }
    const bool combines = i.op == Scalar::reduce || i.op == Scalar::scan;
    if (!combines && (i.combine != Combine::add || i.order != Order::tree32 || i.axes))
      return "combine, order or axes are set on an op that has none";
    if (combines && (int(i.combine) > int(Combine::bor) || int(i.order) > int(Order::chain)))
      return "unknown combine or order";
    switch (i.op) {
      case Scalar::constant: case Scalar::dim: case Scalar::axis: case Scalar::number: case Scalar::load:
      case Scalar::philox: return {};
      default: return i.imm ? "an immediate on an op that has none" : std::string();
    }
  }

  std::string param(const Inst& i, bool number) const {
    if (i.imm < 0 || size_t(i.imm) >= loop.params.size()) return cat("parameter p", i.imm, " does not exist");
    const Param& p = loop.params[size_t(i.imm)];
    if (number != (p.kind == Param::Kind::number) || p.kind == Param::Kind::out)
      return cat("parameter p", i.imm, " cannot be read this way");
    if (p.dtype != i.dtype) return cat("is ", i.dtype, " but p", i.imm, " is ", p.dtype);
    return {};
  }

  std::string combining(const Inst& i) const {
    if (!i.axes || (i.axes & ~all_axes)) return "axes that do not exist, or none";
    if (type(i, 0) != i.dtype) return "changes the type of its operand";
    if (!combine_fits(combine_on(i.dtype, i.combine), i.dtype)) return cat(combine_name(i.combine), " of ", i.dtype);
    if (i.op == Scalar::reduce) {
      if (i.order == Order::chain && i.combine != Combine::add) return "a chain that does not add";
      return {};
    }
    if (i.axes & (i.axes - 1)) return "a scan over more than one axis";
    return i.order != Order::tree1 ? "a scan in an order of its own" : std::string();
  }

  std::string own(const Inst& i) const {
    const DType d = i.dtype;
    switch (i.op) {
      case Scalar::constant:
        return is_int(d) || is_bool(d)
                   ? i.imm != constant_bits_int(d, i.imm) ? "bits outside of the type" : std::string()
               : d != DType::f64 && (uint64_t(i.imm) >> (8 * dtype_bytes(d))) ? "bits outside of the type"
                                                                            : std::string();
      case Scalar::dim: return d != DType::i64 ? "a size that is not i64" : std::string();
      case Scalar::axis:
        if (d != DType::i64) return "a position that is not i64";
        return i.imm < 0 || size_t(i.imm) >= loop.axes.size() ? cat("axis a", i.imm, " does not exist") : std::string();
      case Scalar::number: return param(i, true);
      case Scalar::load:
        if (type(i, 0) != DType::i64) return "an address that is not i64";
        if (i.operand_count == 2 && !is_bool(type(i, 1))) return "a predicate that is not bool";
        return param(i, false);
      case Scalar::reduce: case Scalar::scan: return combining(i);
      case Scalar::cast: return {};
      case Scalar::bitcast:
        return dtype_bytes(type(i, 0)) != dtype_bytes(d) ? "a bitcast between sizes"
               : is_bool(d) && !is_bool(type(i, 0)) ? "a bitcast to bool" : std::string();
      case Scalar::select:
        if (!is_bool(type(i, 0))) return "a condition that is not bool";
        return type(i, 1) != d || type(i, 2) != d ? "choices of other types than the result" : std::string();
      case Scalar::checked_index: case Scalar::philox:
        if (i.op == Scalar::philox && (i.imm < 0 || i.imm > 3)) return "a word outside of 0..3";
        for (int k = 0; k < i.operand_count; ++k) if (type(i, k) != DType::i64) return "an operand that is not i64";
        return d != DType::i64 ? "a result that is not i64" : std::string();
      default: return "unknown op";
    }
  }

  std::string inst(size_t id) const {
    const Inst& i = loop.insts[id];
    if (std::string s = shape(id, i); !s.empty()) return s;
    const ScalarResult result = scalar_info(i.op).result;
    if (result == ScalarResult::own) {
      if (std::string s = own(i); !s.empty()) return s;
    } else {
      const DType d = type(i, 0);
      for (int k = 1; k < i.operand_count; ++k) if (type(i, k) != d) return cat("of ", d, " and ", type(i, k));
      if (!accepts(scalar_on(d, i.op), d)) return cat("of ", d);
      if (i.dtype != (result == ScalarResult::test ? DType::boolean : d)) return cat("with result ", i.dtype);
    }
    if (loop.depends[id] != depends_of(loop, i)) return "a wrong set of axes that it varies over";
    return {};
  }

  std::string store(const Store& s) const {
    const size_t n = loop.insts.size();
    if (s.param >= loop.params.size()) return cat("parameter p", s.param, " does not exist");
    const Param& p = loop.params[s.param];
    if (p.kind != Param::Kind::out && p.kind != Param::Kind::inout) return cat("p", s.param, " is not written");
    if (s.address >= n || s.value >= n || (s.predicate != no_value && s.predicate >= n)) return "a value that does not exist";
    if (s.domain & ~all_axes) return "a domain over axes that do not exist";
    if (loop.insts[s.address].dtype != DType::i64) return "an address that is not i64";
    if (loop.insts[s.value].dtype != p.dtype) return cat("of ", loop.insts[s.value].dtype, " to ", p.dtype);
    AxisMask needed = loop.depends[s.address] | loop.depends[s.value];
    if (s.predicate != no_value) {
      if (!is_bool(loop.insts[s.predicate].dtype)) return "a predicate that is not bool";
      needed |= loop.depends[s.predicate];
    }
    if (needed & ~s.domain) return "a value that varies over an axis outside of the domain";
    if (int(s.conflict) > int(Conflict::ordered_max)) return "unknown conflict rule";
    if (!conflict_fits(s.conflict, p.dtype)) return cat(conflict_name(s.conflict), " of ", p.dtype);
    return {};
  }
};

}  // namespace

LoopDefect loop_defect(const Loop& loop) {
  if (loop.axes.size() > 64) return {"more than 64 axes"};
  if (loop.depends.size() != loop.insts.size()) return {"depends does not match the instructions"};
  for (const Param& p : loop.params)
    if (int(p.kind) > int(Param::Kind::number) || int(p.dtype) >= dtype_count || !is_loop_dtype(p.dtype))
      return {"a parameter of a type that loops do not compute with"};
  const size_t n = loop.axes.size();
  const Checker c{loop, n == 64 ? ~AxisMask(0) : (AxisMask(1) << n) - 1};
  for (size_t id = 0; id < loop.insts.size(); ++id)
    if (std::string s = c.inst(id); !s.empty()) return {std::move(s), int64_t(id)};
  for (size_t k = 0; k < loop.stores.size(); ++k)
    if (std::string s = c.store(loop.stores[k]); !s.empty()) return {std::move(s), -1, int64_t(k)};
  return {};
}

void verify_loop(const Loop& loop) {
  const LoopDefect d = loop_defect(loop);
  if (d.text.empty()) return;
  std::string where = "the loop";
  if (d.inst >= 0) {
    const Scalar op = loop.insts[size_t(d.inst)].op;
    where = cat("%", d.inst, " = ", int(op) < scalar_op_count ? scalar_info(op).name : "?");
  } else if (d.store >= 0) {
    where = cat("store ", d.store);
  }
  PHLOX_CHECK(d.text.empty(), where, ": ", d.text);
}

}  // namespace phlox

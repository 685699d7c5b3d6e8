// A second, tiny interpreter: one point at a time, straight from the documentation of loop.h and scalar_ops.def, with
// no sharing of code with the real one but the math functions. Slow, and meant to be read.
#pragma once
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <vector>

#include "base/philox.h"
#include "base/small_float.h"
#include "loop/interpret.h"
#include "loop/scalar_math.h"

namespace phlox::naive {

inline double to_double(DType d, int64_t bits) { return constant_value({.op = Scalar::constant, .dtype = d, .imm = bits}); }
inline float to_float(DType d, int64_t bits) { return float(to_double(d, bits)); }  // f32 and smaller only

inline int64_t read(DType d, const void* p, int64_t at) {
  const char* q = static_cast<const char*>(p) + at * dtype_bytes(d);
  int64_t v = 0;
  std::memcpy(&v, q, size_t(dtype_bytes(d)));
  return is_float(d) ? v : constant_bits_int(d, v);
}
inline void write(DType d, void* p, int64_t at, int64_t bits) {
  std::memcpy(static_cast<char*>(p) + at * dtype_bytes(d), &bits, size_t(dtype_bytes(d)));
}
inline int64_t from_float(DType d, float v) { return constant_bits(d, double(v)); }

class Interpreter {
 public:
  Interpreter(const Loop& loop, const LoopArgs& args) : loop_(loop), args_(args) {
    for (const Axis& a : loop.axes) extents_.push_back(evaluate(a.extent, args.symbols));
    index_.resize(loop.axes.size());
  }

  void run() {
    for (const Store& s : loop_.stores)
      each_point(s.domain, [&] {
        if (s.predicate != no_value && !eval(s.predicate)) return;
        const DType d = loop_.params[s.param].dtype;
        void* p = args_.pointers[s.param];
        const int64_t at = eval(s.address), v = eval(s.value);
        const Scalar ops[] = {Scalar::constant, Scalar::constant, Scalar::add, Scalar::mul, Scalar::min, Scalar::max};
        const Scalar op = ops[int(s.conflict)];
        write(d, p, at, op == Scalar::constant ? v : arithmetic(op, d, read(d, p, at), v, 0));
      });
  }

 private:
  template <class F>
  void each_point(AxisMask m, F&& f, int axis = 0) {
    while (axis < int(extents_.size()) && !(m >> axis & 1)) ++axis;
    if (axis >= int(extents_.size())) { f(); return; }
    for (index_[axis] = 0; index_[axis] < extents_[axis]; ++index_[axis]) each_point(m, f, axis + 1);
  }

  static int64_t identity(Combine c, DType d) {
    if (c == Combine::add || c == Combine::bor) return constant_bits_int(d, 0);
    if (c == Combine::mul) return constant_bits_int(d, 1);
    if (c == Combine::band) return constant_bits_int(d, -1);
    const bool low = c == Combine::max;
    if (is_bool(d)) return low ? 0 : 1;
    if (is_float(d)) return constant_bits(d, low ? -INFINITY : INFINITY);
    const int bits = int(8 * dtype_bytes(d));
    if (is_unsigned(d)) return low ? 0 : constant_bits_int(d, -1);
    return constant_bits_int(d, low ? int64_t(1) << (bits - 1) : int64_t(~uint64_t(0) >> (65 - bits)));
  }
  static Scalar op_of(Combine c) {
    const Scalar ops[] = {Scalar::add, Scalar::mul, Scalar::min, Scalar::max, Scalar::band, Scalar::bor};
    return ops[int(c)];
  }

  int64_t reduce(const Inst& i) {
    const DType d = i.dtype, acc = compute_dtype(d);
    auto join = [&](int64_t a, int64_t b) { return arithmetic(op_of(i.combine), acc, a, b, 0); };
    const Inst& x = loop_.insts[i.operand[0]];
    const bool fused = i.order == Order::chain && x.op == Scalar::mul && is_float(d);
    std::vector<int64_t> values, factors;
    const std::vector<int64_t> saved = index_;
    each_point(i.axes, [&] {
      values.push_back(convert(d, acc, eval(fused ? x.operand[0] : i.operand[0])));
      if (fused) factors.push_back(convert(d, acc, eval(x.operand[1])));
    });
    index_ = saved;
    const int64_t n = int64_t(values.size()), zero = identity(i.combine, acc);
    if (n == 0) return identity(i.combine, d);
    std::vector<int64_t> blocks;
    if (i.order == Order::chain) {
      for (int64_t p = 0; p < n; ++p) {
        if (p % 256 == 0) blocks.push_back(zero);
        blocks.back() = fused ? arithmetic(Scalar::fma, acc, values[p], factors[p], blocks.back()) : join(blocks.back(), values[p]);
      }
      int64_t total = blocks[0];
      for (size_t b = 1; b < blocks.size(); ++b) total = join(total, blocks[b]);
      return convert(acc, d, total);
    }
    const int64_t lanes = order_lanes(i.order), block = tree_block(n, int(lanes));
    for (int64_t start = 0; start < n; start += block) {
      std::vector<int64_t> lane(size_t(lanes), zero);
      for (int64_t p = start; p < std::min(n, start + block); ++p) lane[(p - start) % lanes] = join(lane[(p - start) % lanes], values[p]);
      for (int64_t half = lanes / 2; half; half /= 2)
        for (int64_t l = 0; l < half; ++l) lane[l] = join(lane[l], lane[l + half]);
      blocks.push_back(lane[0]);
    }
    while (blocks.size() > 1) {  // neighbours first
      std::vector<int64_t> next;
      for (size_t b = 0; b < blocks.size(); b += 2)
        next.push_back(b + 1 < blocks.size() ? join(blocks[b], blocks[b + 1]) : blocks[b]);
      blocks = next;
    }
    return convert(acc, d, blocks[0]);
  }

  int64_t scan(const Inst& i) {
    const DType d = i.dtype, acc = compute_dtype(d);
    const int axis = std::countr_zero(i.axes);
    const int64_t last = index_[axis];
    int64_t v = identity(i.combine, acc);
    for (index_[axis] = 0; index_[axis] <= last; ++index_[axis])
      v = arithmetic(op_of(i.combine), acc, v, convert(d, acc, eval(i.operand[0])), 0);
    index_[axis] = last;
    return convert(acc, d, v);
  }

  int64_t eval(ValueId id) {
    std::vector<int64_t> key{int64_t(id)};
    for (size_t a = 0; a < index_.size(); ++a) if (loop_.depends[id] >> a & 1) key.push_back(index_[a]);
    auto it = memo_.find(key);
    if (it == memo_.end()) it = memo_.emplace(key, compute(id)).first;
    return it->second;
  }

  int64_t compute(ValueId id) {
    const Inst& i = loop_.insts[id];
    auto v = [&](int k) { return eval(i.operand[k]); };
    auto type = [&](int k) { return loop_.insts[i.operand[k]].dtype; };
    switch (i.op) {
      case Scalar::constant: return i.imm;
      case Scalar::dim: return evaluate(Dim::from_raw(i.imm), args_.symbols);
      case Scalar::axis: return index_[size_t(i.imm)];
      case Scalar::number: return args_.numbers[size_t(i.imm)];
      case Scalar::load:
        if (i.operand_count == 2 && !v(1)) return 0;
        return read(i.dtype, args_.pointers[size_t(i.imm)], v(0));
      case Scalar::reduce: return reduce(i);
      case Scalar::scan: return scan(i);
      case Scalar::cast: return convert(type(0), i.dtype, v(0));
      case Scalar::bitcast: { const int64_t b = v(0); return read(i.dtype, &b, 0); }
      case Scalar::select: return v(0) ? v(1) : v(2);
      case Scalar::checked_index: {
        int64_t x = v(0), size = v(1);
        if (x < 0) x += size;
        if (x >= 0 && x < size) return x;
        if (args_.status && !*args_.status) *args_.status = v(0) < 0 ? v(0) : v(0) + 1;
        return 0;
      }
      case Scalar::philox: return philox_block(uint64_t(v(0)), uint64_t(v(1)), uint64_t(v(2)))[size_t(i.imm)];
      default: {
        const int64_t a = v(0), b = i.operand_count > 1 ? v(1) : 0, c = i.operand_count > 2 ? v(2) : 0;
        return arithmetic(i.op, type(0), a, b, c);
      }
    }
  }

  static int64_t cut(DType d, double v) {  // float to integer, as x86 does
    auto whole = [](double x, double lo, double hi, int64_t bad) { return x >= lo && x < hi ? int64_t(x) : bad; };
    if (d == DType::u64 && v >= 0x1p63) return int64_t(uint64_t(whole(v - 0x1p63, -0x1p63, 0x1p63, INT64_MIN)) ^ (uint64_t(1) << 63));
    if (dtype_bytes(d) == 8 || d == DType::u32) return constant_bits_int(d, whole(v, -0x1p63, 0x1p63, INT64_MIN));
    return constant_bits_int(d, whole(v, -0x1p31, 0x1p31, INT32_MIN));
  }
  static int64_t convert(DType from, DType to, int64_t x) {
    if (from == to) return x;
    if (is_float(from)) {
      const double v = to_double(from, x);
      if (is_bool(to)) return v != 0;
      if (!is_float(to)) return cut(to, v);
      return constant_bits(to, v);  // 16-bit targets by way of f32
    }
    if (!is_float(to)) return constant_bits_int(to, x);
    if (to == DType::f64) return std::bit_cast<int64_t>(from == DType::u64 ? double(uint64_t(x)) : double(x));
    return from_float(to, from == DType::u64 ? float(uint64_t(x)) : float(x));
  }

  static int64_t arithmetic(Scalar op, DType d, int64_t a, int64_t b, int64_t c) {
    if (d == DType::f64) {
      return floats<double>(op, d, std::bit_cast<double>(a), std::bit_cast<double>(b), std::bit_cast<double>(c));
    }
    if (is_float(d)) return floats<float>(op, d, to_float(d, a), to_float(d, b), to_float(d, c));
    return integers(op, d, a, b);
  }
  template <class T>
  static int64_t floats(Scalar op, DType d, T a, T b, T c) {
    auto r = [&](T v) { return constant_bits(d, double(v)); };
    switch (op) {
      case Scalar::add: return r(a + b);
      case Scalar::sub: return r(a - b);
      case Scalar::mul: return r(a * b);
      case Scalar::div: return r(a / b);
      case Scalar::fmod: return r(std::fmod(a, b));
      case Scalar::neg: return r(-a);
      case Scalar::abs: return r(std::abs(a));
      case Scalar::min: return std::isnan(a) ? r(a) : std::isnan(b) ? r(b) : r(a < b ? a : b);
      case Scalar::max: return std::isnan(a) ? r(a) : std::isnan(b) ? r(b) : r(a > b ? a : b);
      case Scalar::fma: return r(std::fma(a, b, c));
      case Scalar::sqrt: return r(std::sqrt(a));
      case Scalar::floor: return r(std::floor(a));
      case Scalar::ceil: return r(std::ceil(a));
      case Scalar::trunc: return r(std::trunc(a));
      case Scalar::round: return r(std::nearbyint(a));
      case Scalar::lt: return a < b;
      case Scalar::le: return a <= b;
      case Scalar::eq: return a == b;
      case Scalar::ne: return a != b;
      default: {
        T out;
        math_block_op(op, sizeof(T) == 4 ? Rep::f32 : Rep::f64, false, d)(&out, &a, &b, nullptr, 1);
        return r(out);
      }
    }
  }
  static int64_t integers(Scalar op, DType d, int64_t a, int64_t b) {
    using Wide = __int128;  // every operand and result fits; then it is cut to the type
    const bool u = is_unsigned(d);
    const Wide x = u && d == DType::u64 ? Wide(uint64_t(a)) : Wide(a), y = u && d == DType::u64 ? Wide(uint64_t(b)) : Wide(b);
    const int bits = is_bool(d) ? 1 : int(8 * dtype_bytes(d));
    Wide r = 0;
    switch (op) {
      case Scalar::add: r = x + y; break;
      case Scalar::sub: r = x - y; break;
      case Scalar::mul: r = Wide((unsigned __int128)x * (unsigned __int128)y); break;
      case Scalar::div: r = y ? x / y : 0; break;
      case Scalar::fmod: r = y ? x % y : 0; break;
      case Scalar::floordiv: r = y ? x / y - (x % y && (x < 0) != (y < 0)) : 0; break;
      case Scalar::floormod: r = y ? x % y + (x % y && (x < 0) != (y < 0) ? y : 0) : 0; break;
      case Scalar::neg: r = -x; break;
      case Scalar::abs: r = x < 0 ? -x : x; break;
      case Scalar::min: r = x < y ? x : y; break;
      case Scalar::max: r = x > y ? x : y; break;
      case Scalar::lt: return x < y;
      case Scalar::le: return x <= y;
      case Scalar::eq: return x == y;
      case Scalar::ne: return x != y;
      case Scalar::band: r = x & y; break;
      case Scalar::bor: r = x | y; break;
      case Scalar::bxor: r = x ^ y; break;
      case Scalar::bnot: r = is_bool(d) ? !x : ~x; break;
      case Scalar::shl: r = x << int(y & (bits - 1)); break;
      case Scalar::shr: r = x >> int(y & (bits - 1)); break;
      default: std::abort();
    }
    return constant_bits_int(d, int64_t(r));
  }

  const Loop& loop_;
  const LoopArgs& args_;
  std::vector<int64_t> extents_, index_;
  std::map<std::vector<int64_t>, int64_t> memo_;
};

}  // namespace phlox::naive

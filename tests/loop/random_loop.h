// Random loops that can be run: every address is in range of its parameter.
#pragma once
#include <algorithm>
#include <random>

#include "loop/builder.h"

namespace phlox::samples {

// A random well-formed loop that touches at most `elements` elements of any parameter.
inline Loop random_loop(uint64_t seed, int64_t elements) {
  std::mt19937_64 rng(seed);
  auto pick = [&](size_t n) { return size_t(rng() % n); };
  LoopBuilder b;
  const int n_axes = int(1 + pick(3));
  const int64_t lengths[] = {1, 2, 3, 5, 8, 17, 33, 70, 257, 300};
  int64_t points = 1;
  for (int a = 0; a < n_axes; ++a) {
    int64_t e = lengths[pick(std::size(lengths))];
    if (points * e > 3000) e = int64_t(1 + pick(3));
    points *= e;
    b.new_axis(pick(3) ? Dim(e) : Dim::symbol(a) * 2 + (e - 2));
  }
  const DType types[] = {DType::f32, DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean};
  std::vector<Sv> values;
  for (int a = 0; a < n_axes; ++a) values.push_back(b.axis(a));
  auto address = [&] {
    std::vector<Sv> longs;
    for (Sv v : values) if (v.dtype() == DType::i64) longs.push_back(v);
    const Sv v = pick(2) ? b.axis(int(pick(size_t(n_axes)))) : longs[pick(longs.size())];
    if (pick(3) == 0) return b.op(Scalar::floormod, v, b.constant_int(DType::i64, elements));
    Sv sum = b.axis(int(pick(size_t(n_axes))));
    const int other = int(pick(size_t(n_axes)));
    sum = b.index_add(b.index_mul(sum, 1 + int64_t(pick(3))), b.axis(other));
    return b.in_bounds(sum, elements).id == b.constant_int(DType::boolean, 1).id ? sum : b.index_mod(sum, elements);
  };
  for (int k = 0; k < 24; ++k) {
    const DType d = types[pick(std::size(types))];
    std::vector<Sv> same, bools;
    for (Sv v : values) {
      if (v.dtype() == d) same.push_back(v);
      if (is_bool(v.dtype())) bools.push_back(v);
    }
    const Sv any = values[pick(values.size())];
    const Sv x = same.empty() ? Sv{} : same[same.size() - 1 - pick(std::min<size_t>(3, same.size()))], y = same.empty() ? Sv{} : same[pick(same.size())];
    const AxisMask mask = 1 + pick((size_t(1) << n_axes) - 1);
    Sv r;
    switch (pick(16)) {
      case 0: r = is_float(d) ? b.constant(d, 0.37 * double(pick(9))) : b.constant_int(d, int64_t(pick(5))); break;
      case 1: case 2: r = b.load(b.param(Param::Kind::in, d), address()); break;
      case 3: r = b.load(b.param(Param::Kind::in, d), address(), bools.empty() ? Sv{} : bools[pick(bools.size())]); break;
      case 4: r = b.number(b.param(Param::Kind::number, d)); break;
      case 5: if (x) r = b.reduce(pick(2) ? Combine::min : Combine::max, pick(2) ? Order::tree32 : Order::tree1, x, mask); break;
      case 6: if (x && !is_bool(d)) r = b.reduce(Combine::add, Order(pick(3)), pick(2) ? x * y : x, mask); break;
      case 7: if (x && !is_bool(d)) r = b.scan(pick(2) ? Combine::add : Combine::max, x, int(pick(size_t(n_axes)))); break;
      case 8: r = b.cast(any, d); break;
      case 9: if (x && is_float(d)) r = b.op(Scalar(int(Scalar::exp) + int(pick(10))), x); break;
      case 10: if (x) r = b.op(pick(2) ? Scalar::lt : Scalar::ne, x, y); break;
      case 11: if (x && !is_bool(d)) r = b.op(pick(2) ? Scalar::sub : Scalar::mul, x, y); break;
      case 12: if (x && !bools.empty()) r = b.select(bools[pick(bools.size())], x, y); break;
      case 13: if (x && !is_float(d)) r = b.op(pick(2) ? Scalar::bxor : Scalar::bnot, x, y); break;
      case 14: if (x && is_float(d)) r = b.op(Scalar::fma, x, y, x); break;
      case 15: if (d == DType::f32) r = b.bitcast(b.cast(any, DType::i32), d); break;
    }
    if (r) values.push_back(r);
  }
  for (int s = 0; s < 2; ++s) {
    const Sv v = values[values.size() - 1 - pick(std::min<size_t>(6, values.size()))];
    const AxisMask domain = v.axes() | (pick(2) ? AxisMask(1) << pick(size_t(n_axes)) : 0);
    Sv at = b.constant_int(DType::i64, 0);  // its own element for every point of the value
    for (int a = 0; a < n_axes; ++a) if (v.axes() >> a & 1) at = b.index_add(b.index_mul(at, b.loop().axes[size_t(a)].extent), b.axis(a));
    b.store(b.param(Param::Kind::out, v.dtype()), at, v, domain);
  }
  return b.take();
}

}  // namespace phlox::samples

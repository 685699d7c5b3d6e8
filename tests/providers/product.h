// Loops of matrix products in all layouts, for tests of the matcher and of the template.
#pragma once
#include "check.h"
#include "loop/builder.h"
#include "providers/match.h"
#include "providers/providers.h"

namespace phlox::harness {

struct Product {
  Dim m, n, k, batch = 1;
  bool a_transposed = false, b_transposed = false, c_transposed = false;
  int64_t pad = 0;                 // unused elements at the end of each row
  enum Epilogue { none, bias, bias_gelu, residual, two_stores, to_bf16, bias_rows } epilogue = none;
  DType in = DType::f32, sum = DType::f32;
  bool wild = false;               // sizes are symbols s0 = m, s1 = n, s2 = k, s3 = batch
};

struct ProductLoop { Loop loop; std::vector<int64_t> counts; };

inline ProductLoop product_loop(const Product& p) {
  LoopBuilder b;
  ProductLoop r;
  const Dim pad = p.pad, M = p.wild ? Dim::symbol(0) : p.m, N = p.wild ? Dim::symbol(1) : p.n, K = p.wild ? Dim::symbol(2) : p.k,
            Z = p.wild ? Dim::symbol(3) : p.batch;
  const auto size = [](Dim d) { return d.value(); };
  const int za = b.new_axis(Z), ia = b.new_axis(M), ja = b.new_axis(N), ka = b.new_axis(K);
  const Sv z = b.axis(za), i = b.axis(ia), j = b.axis(ja), k = b.axis(ka);
  const AxisMask domain = AxisMask(1) << za | AxisMask(1) << ia | AxisMask(1) << ja;
  const auto matrix = [&](Param::Kind kind, DType d, Sv r0, Sv c0, Dim rows, Dim columns, bool transposed, Dim count, uint32_t& param) {
    param = b.param(kind, d);
    const Dim inner = (transposed ? rows : columns) + pad, outer = transposed ? columns : rows;
    const Sv index[3] = {z, transposed ? c0 : r0, transposed ? r0 : c0};
    const Dim strides[3] = {outer * inner, inner, 1};
    (void)count;
    return b.linear(index, strides);
  };
  const auto elements = [&](Dim rows, Dim columns, bool t) { return size(p.batch) * (size(t ? columns : rows)) * (size(t ? rows : columns) + p.pad); };
  uint32_t pa, pb, pc;
  const Sv aa = matrix(Param::Kind::in, p.in, i, k, M, K, p.a_transposed, 0, pa);
  r.counts.push_back(elements(p.m, p.k, p.a_transposed));
  const Sv ba = matrix(Param::Kind::in, p.in, k, j, K, N, p.b_transposed, 0, pb);
  r.counts.push_back(elements(p.k, p.n, p.b_transposed));
  Sv extra;
  if (p.epilogue == Product::bias || p.epilogue == Product::bias_gelu || p.epilogue == Product::two_stores) {
    extra = b.load(b.param(Param::Kind::in, DType::f32), j);
    r.counts.push_back(size(p.n));
  } else if (p.epilogue == Product::bias_rows) {
    extra = b.load(b.param(Param::Kind::in, DType::f32), i);
    r.counts.push_back(size(p.m));
  } else if (p.epilogue == Product::residual) {
    uint32_t pr;
    const Sv at = matrix(Param::Kind::in, DType::f32, i, j, M, N, p.c_transposed, 0, pr);
    extra = b.load(pr, at);
    r.counts.push_back(elements(p.m, p.n, p.c_transposed));
  }
  const Sv product = b.cast(b.load(pa, aa), p.sum) * b.cast(b.load(pb, ba), p.sum);
  Sv v = b.reduce(Combine::add, Order::chain, product, AxisMask(1) << ka);
  const Sv sum = v;
  if (extra) v = v + b.cast(extra, p.sum);
  if (p.epilogue == Product::bias_gelu) v = v * b.op(Scalar::normal_cdf, v);
  if (p.epilogue == Product::to_bf16) v = b.cast(v, DType::bf16);
  const Sv ca = matrix(Param::Kind::out, v.dtype(), i, j, M, N, p.c_transposed, 0, pc);
  r.counts.push_back(elements(p.m, p.n, p.c_transposed));
  b.store(pc, ca, v, domain);
  if (p.epilogue == Product::two_stores) {
    uint32_t p2;
    const Sv at = matrix(Param::Kind::out, DType::f32, i, j, M, N, !p.c_transposed, 0, p2);
    b.store(p2, at, sum, domain);
    r.counts.push_back(elements(p.m, p.n, !p.c_transposed));
  }
  r.loop = b.take();
  return r;
}

inline Arguments product_arguments(const Product& p, const ProductLoop& l, bool special = false) {
  Arguments a;
  for (size_t n = 0; n < l.counts.size(); ++n) {
    a.buffers.emplace_back(l.loop.params[n].dtype, l.counts[n]);
    fill(a.buffers.back(), n + 1, special);
  }
  a.numbers.resize(l.loop.params.size());
  a.symbols = {p.m.value(), p.n.value(), p.k.value(), p.batch.value()};
  return a;
}

}  // namespace phlox::harness

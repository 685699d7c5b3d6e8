#include "ops/arith.h"

namespace phlox {

// --- promotion

static int category(DType d) { return is_complex(d) ? 3 : is_float(d) ? 2 : is_bool(d) ? 0 : 1; }

DType result_dtype(std::span<const Val> vals) {
  // One candidate per standing: 0 = with dims, 1 = 0-d tensor, 2 = number.
  std::optional<DType> best[3];
  for (const Val& v : vals) {
    if (!v) continue;
    const TensorType& t = v.type();
    const int standing = t.weak ? 2 : t.rank() == 0 ? 1 : 0;
    DType d = t.dtype;
    if (standing == 2) d = is_float(d) ? default_float : is_complex(d) ? DType::c64 : d;
    best[standing] = best[standing] ? promote(*best[standing], d) : d;
  }
  std::optional<DType> r;
  for (int s = 0; s < 3; ++s) {
    if (!best[s]) continue;
    if (!r) r = best[s];
    else if (category(*best[s]) > category(*r)) r = promote(*r, *best[s]);
  }
  return *r;
}

DType to_floating(DType d) { return is_float(d) || is_complex(d) ? d : default_float; }

// --- broadcasting

Dims broadcast_shapes(const char* op, const Dims& a, const Dims& b) {
  const size_t rank = std::max(a.size(), b.size());
  Dims r(rank);
  for (size_t i = 0; i < rank; ++i) {
    const size_t from_end = rank - i;
    const Dim x = from_end <= a.size() ? a[a.size() - from_end] : Dim(1);
    const Dim y = from_end <= b.size() ? b[b.size() - from_end] : Dim(1);
    if (x == y || y.is(1)) r[i] = x;
    else if (x.is(1)) r[i] = y;
    else if (dim_eq(x, y)) r[i] = x.is_const() ? x : y;
    else if (!y.is_const() && dim_eq(y, 1)) r[i] = x;
    else if (!x.is_const() && dim_eq(x, 1)) r[i] = y;
    else
      fail(ErrorCode::invalid_argument,
           {.op = op, .fact = "shapes cannot be broadcast together", .got = cat(shape_text(a), " and ", shape_text(b)),
            .expected = "sizes that are equal or 1, aligned at the last dimension",
            .remedy = cat("dimension ", int64_t(i) - int64_t(rank), " has ", x, " and ", y)});
  }
  return r;
}

Val broadcast_to(Val a, const Dims& shape, const char* op) {
  if (a.shape() == shape) return a;
  if (a.rank() > int(shape.size()) || !(broadcast_shapes(op, a.shape(), shape) == shape))
    fail(ErrorCode::invalid_argument, {.op = op, .fact = "a tensor cannot be expanded to this shape",
                                       .got = shape_text(a.shape()), .expected = cat("something that fits ", shape_text(shape))});
  Ints dims;
  for (int k = 0; k < a.rank(); ++k) dims.push_back(int64_t(shape.size()) - a.rank() + k);
  return broadcast_in(a, shape, dims);
}

static void promote_all(const char* op, std::span<Val> vals, std::optional<DType> dtype = {}) {
  const DType d = dtype ? *dtype : result_dtype(vals);
  Dims shape = vals[0].shape();
  for (size_t i = 1; i < vals.size(); ++i) shape = broadcast_shapes(op, shape, vals[i].shape());
  for (Val& v : vals) v = broadcast_to(cast(v, d), shape, op);
}

Val binary(const char* op, Scalar s, Val a, Val b) {
  Val v[2] = {a, b};
  promote_all(op, v);
  return map(s, v[0], v[1]);
}

Val unary_float(Scalar s, Val a) { return map(s, cast(a, to_floating(a.dtype()))); }

Val where(Val cond, Val a, Val b) {
  Val v[2] = {a, b};
  promote_all("where", v);
  const Dims shape = broadcast_shapes("where", v[0].shape(), cond.shape());
  return map(Scalar::select, broadcast_to(cast(cond, DType::boolean), shape, "where"), broadcast_to(v[0], shape, "where"),
             broadcast_to(v[1], shape, "where"));
}

// --- operators

Val like(Val a, double v) { return full(*a.g, {}, a.dtype(), v); }
Val constant_like(Val a, double v) { return broadcast_to(like(a, v), a.shape()); }
Val select(Val cond, Val a, Val b) { return map(Scalar::select, cond, a, b); }
Val sign_bit(Val a) {
  if (is_unsigned(a.dtype()) || is_bool(a.dtype())) return full_int(*a.g, a.shape(), DType::boolean, 0);
  const DType d = a.dtype();
  const Val b = is_float(d) ? bitcast(a, dtype_bytes(d) == 2 ? DType::i16 : d == DType::f64 ? DType::i64 : DType::i32) : a;
  return map(Scalar::lt, b, constant_like(b, 0));
}
Val wide(Val a) { return cast(a, compute_dtype(to_floating(a.dtype()))); }
Val rounded(Val a, DType d) { return cast(cast(a, d), a.dtype()); }
Val round_like(Val result, Val a) { return cast(result, to_floating(a.dtype())); }

static Val number(Val a, double v) {
  // A C++ literal takes part like a Python number: an int stays an int next to ints.
  const bool whole = v == double(int64_t(v)) && !is_float(a.dtype()) && !is_complex(a.dtype());
  Val n = whole ? full_int(*a.g, {}, DType::i64, int64_t(v)) : full(*a.g, {}, is_float(a.dtype()) ? a.dtype() : DType::f64, v);
  a.g->graph().set_weak(n.id);
  return n;
}
Val operator+(Val a, Val b) { return binary("add", Scalar::add, a, b); }
Val operator-(Val a, Val b) { return binary("sub", Scalar::sub, a, b); }
Val operator*(Val a, Val b) { return binary("mul", Scalar::mul, a, b); }
Val operator/(Val a, Val b) {
  Val v[2] = {a, b};
  promote_all("div", v, to_floating(result_dtype(v)));
  return map(Scalar::div, v[0], v[1]);
}
Val operator-(Val a) { return map(Scalar::neg, a); }
Val operator+(Val a, double b) { return a + number(a, b); }
Val operator-(Val a, double b) { return a - number(a, b); }
Val operator*(Val a, double b) { return a * number(a, b); }
Val operator/(Val a, double b) { return a / number(a, b); }
Val operator+(double a, Val b) { return number(b, a) + b; }
Val operator-(double a, Val b) { return number(b, a) - b; }
Val operator*(double a, Val b) { return number(b, a) * b; }
Val operator/(double a, Val b) { return number(b, a) / b; }
Val operator<(Val a, Val b) { return binary("lt", Scalar::lt, a, b); }
Val operator<=(Val a, Val b) { return binary("le", Scalar::le, a, b); }
Val operator>(Val a, Val b) { return binary("gt", Scalar::lt, b, a); }
Val operator>=(Val a, Val b) { return binary("ge", Scalar::le, b, a); }
Val equal(Val a, Val b) { return binary("eq", Scalar::eq, a, b); }
Val not_equal(Val a, Val b) { return binary("ne", Scalar::ne, a, b); }
Val operator<(Val a, double b) { return a < number(a, b); }
Val operator>(Val a, double b) { return a > number(a, b); }
Val operator&(Val a, Val b) { return binary("bitwise_and", Scalar::band, a, b); }
Val operator|(Val a, Val b) { return binary("bitwise_or", Scalar::bor, a, b); }
Val logical_not(Val a) { return map(Scalar::bnot, a); }
Val to_bool(Val a) { return is_bool(a.dtype()) ? a : cast(a, DType::boolean); }
Val maximum(Val a, Val b) { return binary("maximum", Scalar::max, a, b); }
Val minimum(Val a, Val b) { return binary("minimum", Scalar::min, a, b); }
Val is_nan(Val a) { return map(Scalar::ne, a, a); }

// --- reductions

Ints all_dims(int rank) {
  Ints d;
  for (int i = 0; i < rank; ++i) d.push_back(i);
  return d;
}

Val take_along(Val a, Val index, int dim) {
  if (a.rank() == 0) return a;
  std::vector<Val> at;
  for (int d = 0; d < a.rank(); ++d) at.push_back(d == dim ? index : iota(*a.g, index.shape(), d, DType::i64));
  return gather(a, at, all_dims(a.rank()));
}

Ints reduce_dims(const Args& a, int arg, int rank, bool empty_is_all) {
  if (!a.has(arg)) return all_dims(rank);
  Ints dims = a.ints(arg);
  if (dims.empty() && empty_is_all) return all_dims(rank);
  for (int64_t& d : dims) d = wrap_dim(d, rank, a.name());
  for (size_t i = 0; i < dims.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (dims[i] == dims[j]) a.error("a dimension is listed twice", cat(dims[i]), "distinct dimensions");
  if (rank == 0) dims.clear();
  return dims;
}

Val count_of(Val a, const Ints& dims) {
  Dim n = 1;
  for (int64_t d : dims) n = n * a.shape()[d];
  return dim_value(*a.g, n, a.dtype());
}

Val mean(Val a, Ints dims, bool keepdim) { return sum(a, dims, keepdim) / count_of(a, dims); }

}  // namespace phlox

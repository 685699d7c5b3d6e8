#include "ops/composite.h"

#include <algorithm>

#include "graph/rewrite.h"
#include "ops/complex.h"

namespace phlox {

Vals call(GraphBuilder& g, const char* op, std::initializer_list<Arg> args) {
  const OpInfo* info = find_op(op);
  if (!info) fail(ErrorCode::not_implemented, {.op = op, .fact = "phlox does not have this op yet"});
  return g.call(*info, std::span(args.begin(), args.size()));
}

void type_by_expand(const Args& a, Types& out) {
  Graph scratch;
  GraphBuilder b(scratch);
  const Graph& from = a.builder().graph();
  SmallVector<Arg, 8> given;
  for (size_t i = 0; i < a.size(); ++i) given.push_back(a.raw(int(i)));
  ArgMap arguments;
  const std::span<const Arg> args = arguments(given, [&](GraphValue v) {
    return b.input(from.type(v), from.value(v).node == no_node && from.is_number(v)).id;
  });
  for (Val v : a.op().op->record.expand(Args(b, a.op(), args))) {
    TensorType t = v.type();
    t.strides.clear();
    t.weak = false;
    out.push_back(t);
  }
}

Val widen(Val a) { return cast(a, compute_dtype(a.dtype())); }
Val fill_like(Val a, double v) { return broadcast_to(like(a, v), a.shape()); }
Val cast_like(Val a, Val like) { return cast(a, like.dtype()); }
Val iota_like(const Dims& shape, int dim, Val a, DType d) { return iota(*a.g, shape, dim, d); }

Ints other_dims(int rank, const Ints& dims) {
  Ints r;
  for (int d = 0; d < rank; ++d) if (std::find(dims.begin(), dims.end(), d) == dims.end()) r.push_back(d);
  return r;
}

Val along(Val v, int rank, int dim) {
  Dims shape(size_t(rank), Dim(1));
  shape[dim] = v.shape()[0];
  return reshape(v, shape);
}

Val expand_at(Val a, int dim, Dim n) {
  Dims shape = a.shape();
  shape.insert(size_t(dim), n);
  return broadcast_to(unsqueeze(a, dim), shape);
}

Val clamp(Val a, double lo, double hi) { return minimum(maximum(a, like(a, lo)), like(a, hi)); }
Val floor_div(Val a, Dim d) { return binary("floor_divide", Scalar::floordiv, a, dim_value(*a.g, d, a.dtype())); }
Val abs_val(Val a) { return abs_of(a); }
Val exp_val(Val a) { return unary_float(Scalar::exp, a); }
Val log_val(Val a) { return unary_float(Scalar::log, a); }
Val sqrt_val(Val a) { return unary_float(Scalar::sqrt, a); }

Val reduce_loss(const Args& a, Val loss, int64_t reduction) {
  if (reduction == 0) return loss;
  const Val wide = widen(loss);
  if (reduction == 1) return cast_like(mean(wide, all_dims(wide.rank())), loss);
  require(a, reduction == 2, "unknown reduction", cat(reduction), "0 (none), 1 (mean) or 2 (sum)");
  return cast_like(sum(wide, all_dims(wide.rank())), loss);
}

void require(const Args& a, bool ok, const char* fact, std::string got, std::string expected) {
  if (!ok) a.error(fact, std::move(got), std::move(expected));
}
void require_real(const Args& a, Val v, const char* name) {
  if (!is_float(v.dtype())) a.error(cat("'", name, "' must be a real floating tensor"), cat(v.type()), "a float dtype", "cast it first");
}
void require_float(const Args& a, Val v, const char* name) {
  if (!is_float(v.dtype()) && !is_complex(v.dtype()))
    a.error(cat("'", name, "' must be a floating point tensor"), cat(v.dtype()), "a float dtype", "cast it with .to(float32)");
}
std::string shape_of(Val v) {
  std::string s;
  append(s, v.type());
  return s;
}

}  // namespace phlox

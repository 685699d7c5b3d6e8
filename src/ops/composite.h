// What composites of several families share: calls by name, the type of a composite that stays a node, and the
// shapes, fills and index values that they build with. Nothing here adds meaning of its own.
#pragma once
#include <initializer_list>

#include "ops/arith.h"

namespace phlox {

using Types = SmallVector<TensorType, 2>;

// Calls an op by its full name; missing trailing arguments take the schema's defaults.
Vals call(GraphBuilder& g, const char* op, std::initializer_list<Arg> args);
inline Arg arg_of(Val v) { return v ? Arg::of_value(v.id) : Arg{}; }

// A list argument and the storage that it points to.
struct ListArg {
  SmallVector<Arg, 6> items;
  explicit ListArg(const Ints& v) { for (int64_t x : v) items.push_back(Arg::of_dim(x)); }
  explicit ListArg(const Dims& v) { for (Dim x : v) items.push_back(Arg::of_dim(x)); }
  explicit ListArg(const std::vector<Val>& v) { for (Val x : v) items.push_back(arg_of(x)); }
  operator Arg() const { return Arg::of_list(items); }
};

// The type rule of a composite that stays a node because it has a gradient rule: its expansion, typed in a graph that
// is thrown away.
void type_by_expand(const Args& a, Types& out);

Val widen(Val a);                                // 16-bit floats as f32, where sums must not round in between
Val fill_like(Val a, double v);                  // of a's shape and dtype
Val cast_like(Val a, Val like);                  // to like's dtype
Val iota_like(const Dims& shape, int dim, Val a, DType d = DType::i64);  // the index along dim, in a's graph
Ints other_dims(int rank, const Ints& dims);     // those that are not in `dims`
Val along(Val v, int rank, int dim);             // a vector as a tensor of this rank that varies along `dim` alone
Val expand_at(Val a, int dim, Dim n);            // a new dim of size n in front of `dim`, repeating a
Val clamp(Val a, double lo, double hi);
Val floor_div(Val a, Dim d);                     // i64 values by a positive size
Val abs_val(Val a);
Val exp_val(Val a);
Val log_val(Val a);
Val sqrt_val(Val a);

// ATen's loss reductions: 0 none, 1 mean, 2 sum.
Val reduce_loss(const Args& a, Val loss, int64_t reduction);

void require(const Args& a, bool ok, const char* fact, std::string got = {}, std::string expected = {});
void require_float(const Args& a, Val v, const char* name);
void require_real(const Args& a, Val v, const char* name);  // a float dtype that is not complex
std::string shape_of(Val v);                     // "f32[2,3]"

}  // namespace phlox

// The primitives: ops whose meaning is given as loops. Composites are written with these functions; each appends one
// node. Shapes must already agree (ops/arith.h broadcasts and promotes as ATen does).
#pragma once
#include <vector>

#include "graph/builder.h"
#include "loop/loop.h"
#include "ops/registry.h"
#include "ops/sample.h"

namespace phlox {

OpFamily map_family();
OpFamily view_family();
OpFamily reduce_family();
OpFamily index_family();
OpFamily contract_family();
void install_number_rule();  // lets Args turn numbers into values

// Elementwise: a scalar op at every point. Operands of one shape and (but for select) one dtype.
Val map(Scalar op, Val a, Val b = {}, Val c = {});
Val cast(Val a, DType d);
Val bitcast(Val a, DType d);
Val copy(Val a);          // a new tensor with the same values
Val stop_gradient(Val a);
Val full(GraphBuilder& g, const Dims& shape, DType d, double v);
Val full_int(GraphBuilder& g, const Dims& shape, DType d, int64_t v);
Val iota(GraphBuilder& g, const Dims& shape, int dim, DType d);  // the index along dim
Val dim_value(GraphBuilder& g, Dim d, DType dtype);              // a size as a 0-d value
Val random_bits(Val seed_offset, const Dims& shape, int word);   // uniform u32 as i64; Philox counter = linear index
Val random_keep(Val seed_offset, const Dims& shape, double p);   // true with probability p, from word 0

// Views: only indices move.
Val broadcast_in(Val a, const Dims& shape, const Ints& dims);  // a's dim k becomes dim dims[k]; size 1 repeats
Val permute(Val a, const Ints& perm);
Val transpose(Val a, int x, int y);
Val reshape(Val a, const Dims& shape);
Val unsqueeze(Val a, int dim);
Val squeeze(Val a, int dim);
Val slice(Val a, int dim, Dim start, Dim count, int64_t step = 1);  // elements start, start + step, ...
Val flip(Val a, int dim);
Val select_index(Val a, int dim, Dim index);
Val pad(Val a, const Dims& low, const Dims& high, const Ints& interior = {});  // zeros; negative amounts crop
Val unfold(Val a, int dim, Dim size, int64_t step, int64_t dilation = 1);      // windows; the new last dim runs in one
Val fold(Val a, int dim, Dim length, int64_t step, int64_t dilation = 1);      // its transpose: overlaps add
Val diagonal(Val a, int d1, int d2, int64_t offset);                           // the new last dim runs along it
Val diag_embed(Val a, int64_t offset, int d1, int d2);
Val as_strided(Val a, const Dims& size, const Dims& stride, std::optional<Dim> offset);  // of row-major elements
Val concat(const std::vector<Val>& parts, int dim);

// Reductions and scans. Kinds: "sum" "prod" "min" "max" "and" "or".
Val reduce(Val a, Ints dims, std::string_view kind, bool keepdim = false);
Val scan(Val a, int dim, std::string_view kind);
inline Val sum(Val a, Ints dims, bool keepdim = false) { return reduce(a, std::move(dims), "sum", keepdim); }

// Gathers and scatters. Index tensors (i64, any one shape I) pick positions of the listed dims of a; the result has
// shape I followed by a's other dims. Negative indices count from the end; others out of range are an error.
Val gather(Val a, const std::vector<Val>& index, const Ints& dims);
enum class ScatterMode : uint8_t { set, add, mul, min, max };
Val scatter(Val base, const std::vector<Val>& index, const Ints& dims, Val values, ScatterMode mode);

// Contractions: sums of products along paired dims, in chain order. Result: batch dims, a's free dims, b's free dims.
// `unrounded`: 16-bit operands give the f32 sums, for a caller that rounds once it has added to them.
Val contract(Val a, Val b, const Ints& batch_a, const Ints& batch_b, const Ints& sum_a, const Ints& sum_b, bool unrounded = false);
struct ConvParams {
  Ints stride, pad_low, pad_high, lhs_dilation, rhs_dilation;
  int64_t groups = 1;
};
Val conv(Val x, Val w, const ConvParams& p, bool unrounded = false);  // x[N, C, S...], w[O, C/groups, K...]

}  // namespace phlox

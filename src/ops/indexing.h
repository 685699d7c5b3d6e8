// Index lists for prim gather and scatter, and the reductions by index that several families share.
#pragma once
#include "ops/composite.h"

namespace phlox {

// The picks of a tensor of this rank, one index tensor a dim: `index` along `dim`, each position's own place elsewhere.
std::vector<Val> picks_along(Val index, int dim);
Val gather_along(Val a, int dim, Val index);             // as ATen's gather; a 0-d tensor counts as one element
Val scatter_along(Val base, int dim, Val index, Val values, ScatterMode mode);  // as ATen's scatter
Val pick(Val a, int dim, Val index);                     // as index_select: a vector of positions along dim
Val index_values(const Args& a, int arg);                // an index argument as i64

// sum, prod, mean, amax, amin of `values` into `base`; without include_self only what is scattered counts.
Val scatter_reduce(const Args& a, Val base, const std::vector<Val>& index, const Ints& dims, Val values, std::string_view how,
                   bool include_self);

Val sorted_positions(Val a, int dim, bool descending);   // stable argsort; NaN counts as the greatest
double lowest_of(DType d);
double highest_of(DType d);

}  // namespace phlox

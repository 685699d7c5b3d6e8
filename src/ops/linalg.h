// Linear algebra on graph values: the factorisations of op_linalg_factor.cpp and what op_linalg.cpp builds around them.
// Every matrix is the last two dims of a batch. Nothing here checks shapes or dtypes: its callers have.
#pragma once
#include <string_view>
#include <vector>

#include "graph/builder.h"

namespace phlox {

// The results of factorisation or solve `what` of matrices with equal batch dims and dtype.
// Flags: triangular and cholesky_solve 1 upper, 2 unit diagonal; cholesky 1 reads the upper half; qr and svd 1 full.
std::vector<Val> factor(std::string_view what, const std::vector<Val>& in, int64_t flag = 0);
Val solve_upper(Val a, Val b, bool is_upper, bool unit = false);  // a triangular; lower unless is_upper
Val adjoint(Val a);
Val product(Val a, Val b);
Val scale_columns(Val a, Val v);
Val scale_rows(Val a, Val v);
Val identity_like(Val a);

}  // namespace phlox

// The list of op families: the one place that a new family is named.
#pragma once
#include "ops/prims.h"

namespace phlox {

OpFamily arith_family();
OpFamily unary_family();
OpFamily binary_family();

inline std::vector<OpFamily> op_families() {
  return {map_family(), view_family(), reduce_family(), index_family(), contract_family(), arith_family(),
          unary_family(), binary_family()};
}

}  // namespace phlox

// The list of op families: the one place that a new family is named.
#pragma once
#include "ops/prims.h"

namespace phlox {

OpFamily arith_family();
OpFamily complex_family();
OpFamily unary_family();
OpFamily binary_family();
OpFamily creation_family();
OpFamily view_op_family();
OpFamily join_family();
OpFamily statistics_family();
OpFamily reduction_family();
OpFamily scan_family();
OpFamily special_family();
OpFamily fft_family();
OpFamily linalg_family();
OpFamily linalg_factor_family();
OpFamily matmul_family();
OpFamily conv_family();
OpFamily softmax_family();
OpFamily norm_family();
OpFamily activation_family();
OpFamily random_family();
OpFamily loss_family();
OpFamily attention_family();
OpFamily pool_family();
OpFamily segments_family();
OpFamily distance_family();
OpFamily margin_loss_family();
OpFamily grid_family();
OpFamily einsum_family();
OpFamily padding_family();
OpFamily adaptive_pool_family();
OpFamily resample_family();
OpFamily gather_family();
OpFamily scatter_family();
OpFamily sort_family();
OpFamily search_family();
OpFamily unique_family();

inline std::vector<OpFamily> op_families() {
  return {
      map_family(),
      view_family(),
      reduce_family(),
      index_family(),
      contract_family(),
      arith_family(),
      complex_family(),
      unary_family(),
      binary_family(),
      creation_family(),
      view_op_family(),
      join_family(),
      statistics_family(),
      reduction_family(),
      scan_family(),
      special_family(),
      fft_family(),
      linalg_family(),
      linalg_factor_family(),
      matmul_family(),
      conv_family(),
      softmax_family(),
      norm_family(),
      activation_family(),
      random_family(),
      loss_family(),
      attention_family(),
      pool_family(),
      segments_family(),
      distance_family(),
      margin_loss_family(),
      grid_family(),
      einsum_family(),
      padding_family(),
      adaptive_pool_family(),
      resample_family(),
      gather_family(),
      scatter_family(),
      sort_family(),
      search_family(),
      unique_family(),
  };
}

}  // namespace phlox

// search_sorted: positions of values in sorted sequences, for ops of other families.
#pragma once
#include "ops/composite.h"

namespace phlox {

Val search_sorted(Val sequence, Val values, bool right);  // promoted to one dtype; no gradient

}  // namespace phlox

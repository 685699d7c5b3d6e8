// Views in eager: an op that only moves indices gives tensors that share their operand's storage, where strides can
// say it; and stores through views of any strides.
#pragma once
#include "eager/call.h"

namespace phlox {

// Fills `views` and returns true when every result aliases tensor 0. False: the caller computes a copy; where the op
// must alias, Error instead.
bool alias_views(Signature& s, const OpInfo& op, const CallKey& key, Tensors& views);
void write_view(const Tensor& dst, const Tensor& src);  // values of src, cast and broadcast, into dst's strides
// The strides that show a tensor of these sizes and strides in another shape without moving data, if there are any.
bool view_strides(const Ints& sizes, const Ints& strides, const Ints& shape, Ints& out);

}  // namespace phlox

#include "compile/lower.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/event.h"
#include "base/hash.h"
#include "compile/lower_cpu.h"
#include "providers/providers.h"

namespace phlox {

Lowered lower_loop(const Loop& loop, const Target& target, const ScheduleOptions& options) {
  if (target.kind != DeviceKind::cpu)
    fail(ErrorCode::not_implemented, {.op = "lower_loop", .fact = "no schedule for this class of target",
                                      .got = device_kind_name(target.kind), .expected = "cpu"});
  const Loop simple = collapse_axes(loop);
  // A contraction is worth an event when nobody takes it; other loops are no provider's business.
  const bool contraction = std::any_of(simple.insts.begin(), simple.insts.end(), [](const Inst& i) {
    return i.op == Scalar::reduce && i.order == Order::chain;
  });
  if (contraction && options.providers) {
    std::string refusal;
    if (auto k = provide_kernel(simple, target, refusal)) {
      Lowered r;
      r.kernels.push_back(std::move(*k));
      return r;
    }
    if (events_visible(EventKind::provider)) emit_event(EventKind::provider, cat("loop ", hash_of(loop)), cat("no matrix kernel: ", refusal));
  }
  Lowered r;
  SplitReductions split;
  std::vector<ValueId> known;
  while (true) {
    const CpuPlan plan = plan_cpu(simple, target, options, known);
    std::vector<ValueId> group;
    if (plan.too_few && options.split_reductions) group = next_split(simple, known);
    if (group.empty()) {
      r.kernels.push_back(CpuLowering(simple, plan, options, split).run());
      return r;
    }
    // The blocks of these as a kernel of their own; the next ones find the results in memory.
    const CpuPlan blocks = plan_cpu(simple, target, options, known, group);
    for (ValueId v : group) {
      split.known.push_back({v, uint32_t(simple.params.size() + r.temps.size()), blocks.vector_axis});
      Dim count = blocks.blocks;
      for (AxisMask m = simple.depends[v]; m; m &= m - 1) count = count * simple.axes[size_t(std::countr_zero(m))].extent;
      r.temps.push_back({compute_dtype(simple.insts[v].dtype), count});
    }
    split.group = group;
    r.kernels.push_back(CpuLowering(simple, blocks, options, split).run());
    split.group.clear();
    known.insert(known.end(), group.begin(), group.end());
  }
}

}  // namespace phlox

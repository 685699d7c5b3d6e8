#include "compile/lower.h"

#include "base/error.h"
#include "compile/lower_cpu.h"

namespace phlox {

Lowered lower_loop(const Loop& loop, const Target& target, const ScheduleOptions& options) {
  if (target.kind != DeviceKind::cpu)
    fail(ErrorCode::not_implemented, {.op = "lower_loop", .fact = "no schedule for this class of target",
                                      .got = device_kind_name(target.kind), .expected = "cpu"});
  const Loop simple = collapse_axes(loop);
  const CpuPlan plan = plan_cpu(simple, target, options);
  Lowered r;
  r.kernels.push_back(CpuLowering(simple, plan, options).run());
  return r;
}

}  // namespace phlox

#include "providers/providers.h"

#include <cstdlib>
#include <string_view>

#include "providers/gemm.h"
#include "providers/skinny.h"

namespace phlox {

bool providers_off() {
  const char* v = std::getenv("PHLOX_PROVIDERS");
  return v && std::string_view(v) == "off";
}

static bool plan(const Loop& loop, const Target& target, ContractionMatch& match, GemmPlan& plan, std::string& refusal) {
  if (providers_off()) {
    refusal = "PHLOX_PROVIDERS=off";
    return false;
  }
  match = match_contraction(loop);
  refusal = match.refusal;
  return match.matched && plan_gemm(match.contraction, target, plan, refusal);
}

std::optional<Kernel> provide_kernel(const Loop& loop, const Target& target, std::string& refusal, int roomy) {
  if (target.kind == DeviceKind::cuda && !providers_off()) return skinny_kernel(loop, target, refusal);
  ContractionMatch match;
  GemmPlan p;
  if (!plan(loop, target, match, p, refusal)) return std::nullopt;
  return GemmTemplate(loop, match.contraction, p, uint32_t(roomy)).run();
}

bool provided(const Loop& loop, const Target& target, std::string& refusal) {
  if (target.kind == DeviceKind::cuda && !providers_off()) return takes_skinny(loop, target, refusal);
  ContractionMatch match;
  GemmPlan p;
  return plan(loop, target, match, p, refusal);
}

}  // namespace phlox

#include "compile/provider_answers.h"

#include "compile/collapse.h"
#include "providers/providers.h"

namespace phlox {

const ProviderAnswers::Answer& ProviderAnswers::ask(Loop loop) {
  const uint64_t hash = hash_of(loop);
  for (auto [it, end] = answers_.equal_range(hash); it != end; ++it)
    if (same_loop(it->second.first, loop)) return it->second.second;
  Answer a;
  a.taken = provided(collapse_axes(loop), target_, a.refusal);
  return answers_.emplace(hash, std::pair(std::move(loop), std::move(a)))->second.second;
}

}  // namespace phlox

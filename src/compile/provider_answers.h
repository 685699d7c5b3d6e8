// What providers say of loops. Asked once for each loop of a graph: equal layers ask for equal ones.
#pragma once
#include <string>
#include <unordered_map>

#include "loop/loop.h"
#include "type/target.h"

namespace phlox {

class ProviderAnswers {
 public:
  struct Answer { bool taken; std::string refusal; };
  explicit ProviderAnswers(const Target& target) : target_(target) {}
  const Answer& ask(Loop loop);

 private:
  const Target& target_;
  std::unordered_multimap<uint64_t, std::pair<Loop, Answer>> answers_;  // by a hash of the loop
};

}  // namespace phlox

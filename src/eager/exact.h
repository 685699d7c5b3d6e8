// ExactKey: the shortest way of an eager call. A call with exactly the sizes, strides, static arguments and modes of a recent
// one of this thread finds its program, plan and gradient record by one comparison of a few words; nothing is checked or
// derived again.
//
// Invariants: two calls with equal words are the same call but for the values of tensors and of run-time numbers; an entry is
// made only of a call that has passed all checks. The arguments that a key is made of need not be checked: what does not fit
// has no entry. Refuses (encode is false): traced tensors, complex numbers, generators, devices as arguments, and calls with
// more operands than fit.
#pragma once
#include "eager/call.h"

namespace phlox {

struct ExactEntry {
  uint64_t hash = 0;
  SmallVector<uint64_t, 16> words;
  Ref<Signature> signature;
  Recorded* recorded = nullptr;        // when the call is recorded
  Executable* executable = nullptr;    // of the forward program then
  const Executable::Plan* plan = nullptr;
  SmallVector<int64_t, 2> defaults;    // run-time numbers that the call left to the schema
  Ints symbols;
  Device* device = nullptr;
  uint32_t results = 0;                // of the call; its program may give values to save besides
};

class ExactKey {
 public:
  ExactKey() {}  // nothing to set up: encode() writes what is read

  // Missing trailing arguments are allowed.
  bool encode(const OpInfo& op, std::span<const Arg> args);
  const ExactEntry* find() const;
  // `inputs` are those of the whole call: this key's own first.
  void remember(const Ref<Signature>& s, std::span<const CallInput> inputs, const Ints& symbols, Device& device) const;

  std::span<TensorImpl* const> tensors() const { return {tensors_, n_tensors_}; }
  std::span<const int64_t> numbers() const { return {numbers_, n_numbers_}; }

  static constexpr uint32_t max_words = 64, max_tensors = 12, max_numbers = 6, max_defaults = 6, max_results = 4;

 private:
  bool add(const Arg& a, const SchemaParam& p, bool fixed);
  bool add_tensor(TensorImpl* t);
  bool room(size_t n) const { return n_words_ + n <= max_words; }

  uint32_t n_words_, n_tensors_, n_numbers_;
  uint64_t hash_;
  uint64_t words_[max_words];
  TensorImpl* tensors_[max_tensors];
  int64_t numbers_[max_numbers];
};

}  // namespace phlox

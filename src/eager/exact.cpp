#include "eager/exact.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "eager/autocast.h"
#include "eager/trace.h"

namespace phlox {

namespace {

constexpr size_t slots = 1024;
using Table = std::array<std::unique_ptr<ExactEntry>, slots>;
thread_local constinit Table* table = nullptr;

struct Owner {  // apart from the pointer, so that reaching that is one address
  std::unique_ptr<Table> table_of_thread = std::make_unique<Table>();
  Owner() { table = table_of_thread.get(); }
  ~Owner() { table = nullptr; }
};
std::unique_ptr<ExactEntry>* slot_of(uint64_t hash) {
  static thread_local Owner owner;
  (void)owner;
  return table ? &(*table)[hash % slots] : nullptr;  // null while the thread ends
}

}  // namespace

bool ExactKey::encode(const OpInfo& op, std::span<const Arg> args) {
  if (Tracer::current() || autocast_on() || args.size() > op.schema.params.size()) return false;
  n_tensors_ = n_numbers_ = 0;
  n_words_ = 1;
  words_[0] = reinterpret_cast<uint64_t>(&op) | uint64_t(grad_enabled()) | uint64_t(inference_enabled()) << 1;
  const uint64_t fixed = op.op->record.static_args;
  for (size_t i = 0; i < args.size(); ++i) {
    const Arg& a = args[i];
    if (a.kind == ArgKind::value ? !add_tensor(reinterpret_cast<TensorImpl*>(a.bits)) : !add(a, op.schema.params[i], fixed >> i & 1))
      return false;
  }
  uint64_t h = n_words_;
  for (uint32_t i = 0; i < n_words_; ++i) h = (h ^ words_[i]) * 0x9e3779b97f4a7c15ull, h ^= h >> 32;
  hash_ = h;
  return true;
}

bool ExactKey::add_tensor(TensorImpl* t) {
  if (!t || t->storage->traced || n_tensors_ == max_tensors || !room(1 + 2 * t->sizes.size())) return false;
  // A pointer has 48 bits at most where this matters: the rest is the type.
  const uint64_t type = uint64_t(t->dtype) << 3 | uint64_t(t->contiguous) << 2 | uint64_t(t->requires_grad) << 1 | uint64_t(t->inference);
  words_[n_words_++] = reinterpret_cast<uint64_t>(t->storage->device) ^ (type << 56 | uint64_t(t->sizes.size()) << 48);
  for (int64_t n : t->sizes) words_[n_words_++] = uint64_t(n);
  if (!t->contiguous)
    for (int64_t n : t->strides) words_[n_words_++] = uint64_t(n);
  tensors_[n_tensors_++] = t;
  return true;
}

bool ExactKey::add(const Arg& a, const SchemaParam& p, bool fixed) {
  switch (a.kind) {
    case ArgKind::value: return add_tensor(reinterpret_cast<TensorImpl*>(a.bits));
    case ArgKind::list:
      if (!room(1) || (a.count && !a.list)) return false;
      words_[n_words_++] = ~uint64_t(a.count);
      for (const Arg& i : a.items())
        if (!add(i, p, fixed)) return false;
      return true;
    case ArgKind::string:  // its bytes, eight to a word
      if (!room(2 + a.count / 8) || (a.count && !a.string)) return false;
      words_[n_words_++] = uint64_t(ArgKind::string) | uint64_t(a.count) << 8;
      for (uint32_t at = 0; at < a.count; at += 8) {
        uint64_t word = 0;
        std::memcpy(&word, a.string + at, std::min<size_t>(8, a.count - at));
        words_[n_words_++] = word;
      }
      return true;
    case ArgKind::complex: case ArgKind::generator: case ArgKind::device: return false;
    default:
      if (!room(2)) return false;
      words_[n_words_++] = uint64_t(a.kind);
      if (p.type == ParamType::scalar && !fixed && !a.is_none()) {
        if (n_numbers_ == max_numbers) return false;
        numbers_[n_numbers_++] = int64_t(a.bits);
      } else {
        words_[n_words_++] = a.bits;
      }
      return true;
  }
}

const ExactEntry* ExactKey::find() const {
  if (!table) return nullptr;
  const ExactEntry* e = (*table)[hash_ % slots].get();
  if (!e || e->hash != hash_ || e->words.size() != n_words_) return nullptr;
  const uint64_t* known = e->words.data();
  uint64_t different = 0;
  for (uint32_t i = 0; i < n_words_; ++i) different |= words_[i] ^ known[i];
  return different ? nullptr : e;
}

void ExactKey::remember(const Ref<Signature>& s, std::span<const CallInput> inputs, const Ints& symbols, Device& device) const {
  std::unique_ptr<ExactEntry>* slot = slot_of(hash_);
  const size_t own = n_tensors_ + n_numbers_;
  if (!slot || inputs.size() < own || inputs.size() - own > max_defaults) return;
  // Arguments may have been converted on their way: then this is not the call that the key describes.
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i < n_tensors_ ? inputs[i].tensor != tensors_[i] : inputs[i].tensor != nullptr) return;
    if (i >= n_tensors_ && i < own && inputs[i].number != numbers_[i - n_tensors_]) return;
  }
  auto e = std::make_unique<ExactEntry>();
  e->recorded = recorded_for(*s, inputs, symbols);
  Signature& forward = e->recorded ? *e->recorded->forward : *s;
  if (!forward.settled(device, symbols)) return;
  e->executable = &forward.executable(device, symbols);
  e->plan = &e->executable->plan(symbols);
  e->results = uint32_t(s->outputs.size());
  if (e->plan->outputs.size() > max_results) return;
  e->signature = s;
  for (size_t i = own; i < inputs.size(); ++i) e->defaults.push_back(inputs[i].number);
  e->symbols = symbols;
  e->device = &device;
  e->words.append(words_, words_ + n_words_);
  e->hash = hash_;
  *slot = std::move(e);
}

}  // namespace phlox

// Training state in files: everything that a run needs to go on as if it had not stopped, in one safetensors
// file.
//
//   save_checkpoint("run.safetensors", {.model = &net, .optimizer = &opt, .step = step});
//   int64_t step = load_checkpoint("run.safetensors", {.model = &net, .optimizer = &opt}).step;
//
// Files are replaced in one step: a crash while saving leaves the one before. Loading compares all names and
// shapes of a part before it changes the part.
#pragma once
#include <charconv>

#include "phlox/nn/module.hpp"
#include "phlox/optim/schedulers.hpp"

namespace phlox {
inline namespace v1 {

using Metadata = std::vector<std::pair<std::string, std::string>>;

inline void save_safetensors(const std::string& path, const StateDict& tensors,
                             const Metadata& metadata = {}) {
  std::vector<const char*> names, keys, values;
  std::vector<phlox_tensor*> handles;
  for (const auto& [name, t] : tensors) {
    names.push_back(name.c_str());
    handles.push_back(t.handle());
  }
  for (const auto& [key, value] : metadata) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  detail::check(phlox_save_safetensors(path.c_str(), names.data(), handles.data(), int64_t(names.size()),
                                       keys.data(), values.data(), int64_t(keys.size())));
}

struct LoadedTensors {
  StateDict tensors;
  Metadata metadata;
  const std::string* find(std::string_view key) const {
    for (const auto& [k, v] : metadata)
      if (k == key) return &v;
    return nullptr;
  }
};
inline LoadedTensors load_safetensors(const std::string& path, const Device& device = {}) {
  phlox_tensor_map* raw = nullptr;
  detail::check(phlox_load_safetensors(path.c_str(), device.raw(), &raw));
  const std::unique_ptr<phlox_tensor_map, void (*)(phlox_tensor_map*)> map(raw, phlox_tensor_map_free);
  LoadedTensors r;
  for (int64_t i = 0; i < phlox_tensor_map_size(raw); ++i)
    r.tensors.set(phlox_tensor_map_name(raw, i), Tensor::share(phlox_tensor_map_tensor(raw, i)));
  for (int64_t i = 0; i < phlox_tensor_map_metadata_size(raw); ++i)
    r.metadata.emplace_back(phlox_tensor_map_metadata_key(raw, i), phlox_tensor_map_metadata_value(raw, i));
  return r;
}

namespace detail {
template <class T>
bool parse_whole(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}
}  // namespace detail

// The generator of random numbers, as text: "seed:offset".
inline std::string rng_state(const Device& device = {}) {
  uint64_t s[2];
  detail::check(phlox_get_rng_state(device.raw(), s));
  return std::to_string(s[0]) + ":" + std::to_string(s[1]);
}
inline void set_rng_state(const std::string& text, const Device& device = {}) {
  const size_t colon = text.find(':');
  uint64_t s[2];
  if (colon == std::string::npos || !detail::parse_whole(std::string_view(text).substr(0, colon), s[0]) ||
      !detail::parse_whole(std::string_view(text).substr(colon + 1), s[1]))
    throw Error(ErrorCode::invalid_argument, "set_rng_state", "this is no state of a generator", text,
                "seed:offset");
  detail::check(phlox_set_rng_state(device.raw(), s));
}

// What a checkpoint is made of. Null: left out.
struct Training {
  nn::Module* model = nullptr;
  optim::Optimizer* optimizer = nullptr;
  optim::Scheduler* scheduler = nullptr;
  bool rng = true;
  int64_t step = 0;  // how many steps are done: for the caller
  Metadata notes{};  // more of the caller's
};
inline void save_checkpoint(const std::string& path, const Training& t) {
  StateDict all;
  if (t.model) all.merge(t.model->state_dict(), "model.");
  if (t.optimizer) all.merge(t.optimizer->state_dict(), "optimizer.");
  if (t.scheduler) all.merge(t.scheduler->state_dict(), "scheduler.");
  Metadata meta = t.notes;
  meta.emplace_back("step", std::to_string(t.step));
  if (t.rng) meta.emplace_back("rng", rng_state());
  save_safetensors(path, all, meta);
}
// Returns what the file says of step and notes; loads what is not null.
inline Training load_checkpoint(const std::string& path, const Training& into) {
  const LoadedTensors file = load_safetensors(path);
  Training found;
  if (const std::string* step = file.find("step");
      step && !detail::parse_whole(std::string_view(*step), found.step))
    throw Error(ErrorCode::bad_file, "load_checkpoint", "the step is no number", *step);
  for (const auto& [k, v] : file.metadata)
    if (k != "step" && k != "rng") found.notes.emplace_back(k, v);
  if (into.model) into.model->load_state_dict(file.tensors.section("model."));
  if (into.optimizer) into.optimizer->load_state_dict(file.tensors.section("optimizer."));
  if (into.scheduler) into.scheduler->load_state_dict(file.tensors.section("scheduler."));
  if (const std::string* rng = file.find("rng"); rng && into.rng) set_rng_state(*rng);
  return found;
}

}  // namespace v1
}  // namespace phlox

// StateDict: tensors by name, in the order in which they were added. What modules and optimisers hand out and
// take back, and what files hold. Invariant: names are unique. Tensors are shared, not copied: a saved state
// that must not move with training is made with clone().
#pragma once
#include <unordered_map>

#include "phlox/autograd.hpp"

namespace phlox {
inline namespace v1 {

class StateDict {
 public:
  using Item = std::pair<std::string, Tensor>;
  StateDict() = default;
  StateDict(std::initializer_list<Item> items) {
    for (const Item& i : items) set(i.first, i.second);
  }
  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  const Item& operator[](size_t i) const { return items_[i]; }

  const Tensor* find(std::string_view name) const {
    const auto it = index_.find(std::string(name));
    return it == index_.end() ? nullptr : &items_[it->second].second;
  }
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  const Tensor& at(std::string_view name) const {
    if (const Tensor* t = find(name)) return *t;
    throw Error(ErrorCode::not_found, "state_dict", "there is no tensor of this name", std::string(name),
                std::to_string(size()) + " others");
  }
  const Tensor& operator[](std::string_view name) const { return at(name); }
  const Tensor& operator[](const char* name) const { return at(name); }
  void set(std::string name, Tensor t) {
    const auto [it, fresh] = index_.try_emplace(name, items_.size());
    if (fresh)
      items_.emplace_back(std::move(name), std::move(t));
    else
      items_[it->second].second = std::move(t);
  }
  // Everything of `other`, with `prefix` before its names.
  void merge(const StateDict& other, const std::string& prefix = {}) {
    for (const Item& i : other) set(prefix + i.first, i.second);
  }
  // What begins with `prefix`, without it.
  StateDict section(std::string_view prefix) const {
    StateDict r;
    for (const Item& i : items_)
      if (std::string_view(i.first).substr(0, prefix.size()) == prefix)
        r.set(i.first.substr(prefix.size()), i.second);
    return r;
  }
  StateDict clone() const {
    const NoGrad guard;
    StateDict r;
    for (const Item& i : items_) r.set(i.first, i.second.detach().clone());
    return r;
  }

 private:
  std::vector<Item> items_;
  std::unordered_map<std::string, size_t> index_;  // by name: where in items_
};

namespace detail {

inline std::string sizes_text(const Tensor& t) { return t.describe(); }
inline std::string join_names(const std::vector<std::string>& names) {
  std::string s;
  for (size_t i = 0; i < names.size() && i < 8; ++i) s += (i ? ", " : "") + names[i];
  if (names.size() > 8) s += ", and " + std::to_string(names.size() - 8) + " more";
  return s;
}
inline bool same_sizes(const Tensor& a, const Tensor& b) {
  if (a.dim() != b.dim()) return false;
  for (int64_t d = 0; d < a.dim(); ++d)
    if (a.size(d) != b.size(d)) return false;
  return true;
}

}  // namespace detail

struct LoadResult {
  std::vector<std::string> missing;     // in the target only
  std::vector<std::string> unexpected;  // in the source only
};

// Copies the values of `source` into the tensors of `target` that have the same names. Refuses, before it
// changes anything: another shape; and when strict, a name that only one of the two has.
inline LoadResult load_into(const StateDict& target, const StateDict& source, bool strict,
                            const char* op = "load_state_dict") {
  LoadResult r;
  std::vector<std::string> wrong;
  for (const auto& [name, t] : target) {
    const Tensor* s = source.find(name);
    if (!s)
      r.missing.push_back(name);
    else if (!detail::same_sizes(t, *s))
      wrong.push_back(name + " is " + detail::sizes_text(*s) + " and should be " + detail::sizes_text(t));
  }
  for (const auto& [name, s] : source)
    if (!target.contains(name)) r.unexpected.push_back(name);
  if (!wrong.empty())
    throw Error(ErrorCode::invalid_argument, op, "tensors have other shapes", detail::join_names(wrong));
  if (strict && !(r.missing.empty() && r.unexpected.empty())) {
    std::string fact;
    if (!r.missing.empty()) fact += "missing: " + detail::join_names(r.missing);
    if (!r.unexpected.empty())
      fact += (fact.empty() ? "" : "; ") + ("unexpected: " + detail::join_names(r.unexpected));
    throw Error(ErrorCode::invalid_argument, op, std::move(fact), std::to_string(source.size()) + " tensors",
                std::to_string(target.size()), "pass strict = false to load what fits");
  }
  const NoGrad guard;
  for (const auto& [name, t] : target)
    if (const Tensor* s = source.find(name)) t.copy_(*s);
  return r;
}

}  // namespace v1
}  // namespace phlox

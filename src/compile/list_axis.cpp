#include "compile/list_axis.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/hash.h"
#include "emit/emit.h"

namespace phlox {

namespace {

constexpr size_t least_rows = 4;          // fewer launches than that are left alone
constexpr int reach = 16;                 // steps that a temporary may be made earlier, so that memory does not grow
constexpr size_t cuda_words = 500;        // of a launch: parameters are at most 4 KiB

class Joiner {
 public:
  Joiner(Program& p, const Launches& launches, const Target& target)
      : p_(p), launches_(launches), target_(target), last_write_(p.buffers.size(), -1), last_read_(p.buffers.size(), -1) {}

  int run() {
    for (uint32_t i = 0; i < p_.steps.size(); ++i) place(i);
    std::vector<Program::Step> old = std::move(p_.steps);
    p_.steps.clear();
    for (const std::vector<uint32_t>& members : places_) {
      if (members.size() < least_rows) {
        for (uint32_t i : members) p_.steps.push_back(std::move(old[i]));
        continue;
      }
      const size_t row = p_.kernels[old[members[0]].kernel].words.size() + 1;
      const size_t most = target_.kind == DeviceKind::cuda ? std::max<size_t>(1, (cuda_words - 2) / row) : members.size();
      const size_t pieces = (members.size() + most - 1) / most;
      for (size_t k = 0; k < pieces; ++k) {
        const size_t from = members.size() * k / pieces, to = members.size() * (k + 1) / pieces;
        p_.steps.push_back(list_step(old, std::span(members).subspan(from, to - from)));
      }
    }
    drop_unused_kernels();
    return int(std::count_if(p_.steps.begin(), p_.steps.end(), [](const auto& s) { return s.kind == Program::Step::Kind::launch; }));
  }

 private:
  bool may_join(const Program::Step& s) const {
    return s.kind == Program::Step::Kind::launch && launches_.forms[s.kernel];
  }
  bool writes(uint32_t step, size_t buffer) const {
    const Program::Step& s = p_.steps[step];
    if (s.kind == Program::Step::Kind::copy) return buffer == 0;
    return s.kind == Program::Step::Kind::native || buffer >= launches_.only_read[step];
  }

  // Gives the step a place of its own, or that of earlier launches of its kernel.
  void place(uint32_t i) {
    const Program::Step& s = p_.steps[i];
    int at = int(places_.size());
    if (may_join(s))
      if (const auto it = open_.find(s.kernel); it != open_.end() && can_move(i, it->second)) at = it->second;
    if (at == int(places_.size())) {
      places_.push_back({});
      if (may_join(s)) open_[s.kernel] = at;
    }
    places_[size_t(at)].push_back(i);
    for (size_t b = 0; b < s.buffers.size(); ++b) {
      last_read_[s.buffers[b]] = std::max(last_read_[s.buffers[b]], at);
      if (writes(i, b)) last_write_[s.buffers[b]] = std::max(last_write_[s.buffers[b]], at);
    }
  }
  bool can_move(uint32_t i, int to) const {
    const Program::Step& s = p_.steps[i];
    bool makes_temps = false;
    for (size_t b = 0; b < s.buffers.size(); ++b) {
      const uint32_t buffer = s.buffers[b];
      if (last_write_[buffer] >= to) return false;
      if (!writes(i, b)) continue;
      if (last_read_[buffer] >= to) return false;
      makes_temps |= p_.buffers[buffer].kind == Program::Buffer::Kind::temp;
    }
    return !makes_temps || int(places_.size()) - to <= reach;
  }

  Program::Step list_step(const std::vector<Program::Step>& old, std::span<const uint32_t> members) {
    Program::Step s = old[members[0]];
    s.kernel = list_kernel(s.kernel, uint32_t(members.size()));
    s.rows = uint32_t(members.size());
    for (uint32_t i : members.subspan(1)) {
      s.buffers.insert(s.buffers.end(), old[i].buffers.begin(), old[i].buffers.end());
      s.sizes.insert(s.sizes.end(), old[i].sizes.begin(), old[i].sizes.end());
    }
    s.name += cat(" x", members.size());
    return s;
  }

  uint32_t list_kernel(uint32_t kernel, uint32_t rows) {
    if (target_.kind == DeviceKind::cpu) rows = 1;  // one text for all numbers of them
    const auto [it, fresh] = lists_.try_emplace({kernel, rows}, uint32_t(p_.kernels.size()));
    if (!fresh) return it->second;
    Program::Kernel k = p_.kernels[kernel];
    const std::string key = cat("list of ", rows, " ", k.entry);
    k.entry = "k_" + hex(hash256(key.data(), key.size())).substr(0, 24);
    k.source = emit_kernel(*launches_.forms[kernel], target_, k.entry, int(rows));
    k.list = true;
    p_.kernels.push_back(std::move(k));
    return it->second;
  }

  void drop_unused_kernels() {
    std::vector<uint32_t> now(p_.kernels.size(), ~0u);
    for (const Program::Step& s : p_.steps)
      if (s.kind == Program::Step::Kind::launch) now[s.kernel] = 0;
    std::vector<Program::Kernel> kept;
    for (size_t k = 0; k < now.size(); ++k) {
      if (now[k] == ~0u) continue;
      now[k] = uint32_t(kept.size());
      kept.push_back(std::move(p_.kernels[k]));
    }
    p_.kernels = std::move(kept);
    for (Program::Step& s : p_.steps)
      if (s.kind == Program::Step::Kind::launch) s.kernel = now[s.kernel];
  }

  Program& p_;
  const Launches& launches_;
  const Target& target_;
  std::vector<int> last_write_, last_read_;        // by buffer: places
  std::vector<std::vector<uint32_t>> places_;      // steps that run as one
  std::map<uint32_t, int> open_;                   // by kernel: the place that launches may still join
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> lists_;
};

}  // namespace

bool can_have_list(const Kernel& k) {
  return k.tiles.empty() && std::all_of(k.words.begin(), k.words.end(), [](const Word& w) {
    return w.kind == Word::Kind::pointer || w.kind == Word::Kind::dim || w.kind == Word::Kind::number;
  });
}

int join_launches(Program& p, const Launches& launches, const Target& target) { return Joiner(p, launches, target).run(); }

}  // namespace phlox

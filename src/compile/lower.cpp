#include "compile/lower.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/event.h"
#include "base/hash.h"
#include "compile/frame.h"
#include "compile/lower_cpu.h"
#include "compile/lower_gpu.h"
#include "compile/split_axes.h"
#include "providers/providers.h"

namespace phlox {

namespace {

class Lowering {
 public:
  Lowering(const Loop& loop, const Target& target, const ScheduleOptions& options)
      : params_(loop.params.size()), target_(target), options_(options) {}

  // One loop, as the kernels that it takes.
  void lower(const Loop& loop) {
    Loop simple = collapse_axes(target_.kind == DeviceKind::cpu ? split_axes(loop) : loop);
    if (provided(simple)) return;
    for (ValueId v; (v = tangled_value(simple)) != no_value;) {
      auto [first, rest] = materialise(simple, v);
      lower(first);
      simple = collapse_axes(rest);
    }
    if (separate_stores(simple)) return;
    kernels(simple);
  }

  Lowered result;

 private:
  uint32_t add_temp(DType d, Dim count) {
    result.temps.push_back({d, count});
    return uint32_t(params_ + result.temps.size()) - 1;
  }

  // A loop that stores v into a temporary, and the loop that loads it from there.
  std::pair<Loop, Loop> materialise(const Loop& loop, ValueId v) {
    const AxisMask axes = loop.depends[v];
    const DType d = loop.insts[v].dtype;
    Dim count = 1;
    Affine place{.ok = true};
    for (int a = 63; a >= 0; --a) {
      if (!(axes >> a & 1)) continue;
      place.terms.insert(0, {a, count});
      count = count * loop.axes[size_t(a)].extent;
    }
    const uint32_t temp = add_temp(d, count);
    LoopCopy first(loop), rest(loop);
    for (LoopCopy* c : {&first, &rest}) {
      c->to.axes = loop.axes;
      c->to.params = loop.params;
      while (c->to.params.size() <= temp) {  // temporaries keep their numbers
        const size_t n = c->to.params.size() - params_;
        c->to.params.push_back({Param::Kind::in, result.temps[n].dtype});
      }
    }
    first.to.params[temp].kind = Param::Kind::out;
    for (ValueId i = 0; i <= v; ++i) first.rename(i, first.add(first.with_renamed_operands(loop.insts[i])));
    first.to.stores.push_back({.param = temp, .address = first.affine(place), .value = first.renamed(v), .domain = axes});
    for (ValueId i = 0; i < loop.insts.size(); ++i) {
      if (i != v) { rest.rename(i, rest.add(rest.with_renamed_operands(loop.insts[i]))); continue; }
      Inst load{.op = Scalar::load, .dtype = d, .operand_count = 1, .imm = int64_t(temp)};
      load.operand[0] = rest.affine(place);
      rest.rename(i, rest.add(load));
    }
    for (Store s : loop.stores) {
      s.address = rest.renamed(s.address);
      s.value = rest.renamed(s.value);
      if (s.predicate != no_value) s.predicate = rest.renamed(s.predicate);
      rest.to.stores.push_back(s);
    }
    return {std::move(first.to), std::move(rest.to)};
  }

  // A contraction is worth an event when nobody takes it; other loops are no provider's business.
  bool provided(const Loop& loop) {
    const bool contraction = std::any_of(loop.insts.begin(), loop.insts.end(), [](const Inst& i) {
      return i.op == Scalar::reduce && i.order == Order::chain;
    });
    if (!contraction || !options_.providers) return false;
    std::string refusal;
    Loop numbered = loop;
    for (size_t n = numbered.params.size() - params_; n < result.temps.size(); ++n)  // temporaries keep their numbers
      numbered.params.push_back({Param::Kind::in, result.temps[n].dtype});
    if (auto f = target_.kind == DeviceKind::cpu ? frame_factor(numbered) : std::nullopt) {
      if (auto k = provide_kernel(f->rest, target_, refusal, int(numbered.params.size()))) {
        add_temp(f->dtype, f->count);
        lower(f->copy);
        result.kernels.push_back(std::move(*k));
        return true;
      }
    }
    if (auto k = provide_kernel(loop, target_, refusal)) {
      result.kernels.push_back(std::move(*k));
      return true;
    }
    if (events_visible(EventKind::provider)) emit_event(EventKind::provider, cat("loop ", hash_of(loop)), cat("no matrix kernel: ", refusal));
    return false;
  }

  // Stores over different axes have no loops in common; together they would be one work item.
  bool separate_stores(const Loop& loop) {
    if (loop.stores.size() < 2) return false;
    if (target_.kind == DeviceKind::cpu ? !plan_cpu(loop, target_, options_).few_items : plan_gpu(loop, target_).outer_points >= 64) return false;
    for (const Store& s : loop.stores)
      if (loop.params[s.param].kind == Param::Kind::inout) return false;  // other stores may need what it overwrites
    std::vector<AxisMask> domains;
    for (const Store& s : loop.stores)
      if (std::find(domains.begin(), domains.end(), s.domain) == domains.end()) domains.push_back(s.domain);
    if (domains.size() < 2) return false;
    for (AxisMask d : domains) {
      Loop part = loop;
      std::erase_if(part.stores, [&](const Store& s) { return s.domain != d; });
      lower(part);
    }
    return true;
  }

  void kernels(const Loop& loop) {
    if (target_.kind == DeviceKind::cuda) return lower_gpu(loop, params_, target_, options_, result);
    SplitReductions split;
    std::vector<ValueId> known;
    while (true) {
      const CpuPlan plan = plan_cpu(loop, target_, options_, known);
      std::vector<ValueId> group;
      if (plan.too_few && options_.split_reductions) group = next_split(loop, known);
      if (group.empty()) {
        result.kernels.push_back(CpuLowering(loop, plan, options_, split).run());
        return;
      }
      // The blocks of these as a kernel of their own; the next ones find the results in memory.
      const CpuPlan blocks = plan_cpu(loop, target_, options_, known, group);
      for (ValueId v : group) {
        Dim count = blocks.blocks;
        for (AxisMask m = loop.depends[v]; m; m &= m - 1) count = count * loop.axes[size_t(std::countr_zero(m))].extent;
        split.known.push_back({v, add_temp(compute_dtype(loop.insts[v].dtype), count), blocks.vector_axis});
      }
      split.group = group;
      result.kernels.push_back(CpuLowering(loop, blocks, options_, split).run());
      split.group.clear();
      known.insert(known.end(), group.begin(), group.end());
    }
  }

  size_t params_;
  const Target& target_;
  const ScheduleOptions& options_;
};

}  // namespace

Lowered lower_loop(const Loop& loop, const Target& target, const ScheduleOptions& options) {
  Lowering l(loop, target, options);
  l.lower(loop);
  return std::move(l.result);
}

}  // namespace phlox

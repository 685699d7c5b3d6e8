#include "ops/fuse.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/hash.h"
#include "ops/element.h"

namespace phlox {

namespace {

class Fuser : public ElementSource {
 public:
  Fuser(const Graph& g, const std::vector<bool>& is_buffer, const std::vector<bool>& wide)
      : g_(g), is_buffer_(is_buffer), wide_(wide) {}

  FusedLoop run(std::span<const GraphValue> outputs) {
    // Values of higher rank first, so that the axes of smaller ones are found among theirs.
    std::vector<GraphValue> order(outputs.begin(), outputs.end());
    std::stable_sort(order.begin(), order.end(), [&](GraphValue a, GraphValue b) { return g_.type(a).rank() > g_.type(b).rank(); });
    struct Pending { GraphValue v; Sv address, value; AxisMask domain; };
    std::vector<Pending> pending;
    for (GraphValue v : order) {
      const ValueInfo& info = g_.value(v);
      if (info.node != no_node && g_.node(info.node).op->op->record.stores) return run_stores(v);
      // Row-major memory is the same under every shape: a lone result that only reshapes another value is stored in that
      // value's shape, which needs no divisions.
      GraphValue source = v;
      if (outputs.size() == 1 && info.type.strides.empty()) source = behind_reshapes(v);
      const Dims& shape = g_.type(source).shape;
      SmallVector<Sv, 6> index;
      AxisMask used = 0, domain = 0;
      for (Dim d : shape) {
        if (d.is(1)) { index.push_back(b_.constant_int(DType::i64, 0)); continue; }
        const int axis = b_.axis_for(d, used);
        used |= (AxisMask(2) << axis) - 1;
        domain |= AxisMask(1) << axis;
        index.push_back(b_.axis(axis));
      }
      const Sv value = b_.cast(compute(source, index, {}), stored_dtype(v));  // the store's own rounding
      pending.push_back({v, b_.linear(index, source == v ? strides_of(info.type) : contiguous_strides(shape)), value, domain});
    }
    for (GraphValue v : outputs)
      for (const Pending& p : pending)
        if (p.v == v) {
          const uint32_t param = b_.param(Param::Kind::out, stored_dtype(v));
          b_.store(param, p.address, p.value, p.domain);
          result_.outputs.push_back(v);
          break;
        }
    result_.loop = b_.take();
    return std::move(result_);
  }

  Sv element(GraphValue v, std::span<const Sv> index, Sv predicate) override {
    if (is_buffer_[v]) return rounded(v, load(v, index, predicate));
    const Node& node = g_.node(g_.value(v).node);
    // 16-bit results are rounded where a user-level op ends; inside one they stay in f32.
    const bool boundary = node.group != group_ && is_reduced_float(g_.type(v).dtype) && !node.op->op->record.view;
    const Sv s = compute(v, index, predicate);
    return boundary ? b_.cast(b_.cast(s, g_.type(v).dtype), DType::f32) : s;
  }

  Sv element_at(GraphValue v, Sv position, Sv predicate) override {
    if (!is_buffer_[v] || !g_.type(v).strides.empty() || number(v)) return {};
    return rounded(v, load_at(v, position, predicate));
  }

 private:
  // A wide buffer holds what its op has not rounded yet: for other ops it is rounded where they read it.
  Sv rounded(GraphValue v, Sv s) {
    const bool rounds = is_wide(v) && g_.node(g_.value(v).node).group != group_;
    return rounds ? b_.cast(b_.cast(s, g_.type(v).dtype), DType::f32) : s;
  }
  bool is_wide(GraphValue v) const { return v < wide_.size() && wide_[v]; }
  DType stored_dtype(GraphValue v) const { return is_wide(v) ? compute_dtype(g_.type(v).dtype) : g_.type(v).dtype; }

  GraphValue behind_reshapes(GraphValue v) const {
    while (!is_buffer_[v] && g_.value(v).node != no_node) {
      const Node& node = g_.node(g_.value(v).node);
      if (node.op->schema.name != "prim::reshape" && node.op->schema.name != "prim::copy") break;
      v = node.args[0].value;
    }
    return v;
  }

  Sv compute(GraphValue v, std::span<const Sv> index, Sv predicate) {
    if (is_buffer_[v]) return load(v, index, predicate);
    uint64_t key = combine(v, predicate ? predicate.id : no_value);
    for (Sv s : index) key = combine(key, s.id);
    for (auto [it, end] = memo_.equal_range(key); it != end; ++it)
      if (it->second.matches(v, index, predicate)) return it->second.value;
    const ValueInfo& info = g_.value(v);
    PHLOX_CHECK(info.node != no_node, "a graph input that is no buffer");
    const Node& node = g_.node(info.node);
    const OpRecord& record = node.op->op->record;
    PHLOX_CHECK(record.loop, node.op->schema.full_name(), " has no loop rule and must be a buffer");
    ElementContext context(*this, b_, g_, node, int(info.index), predicate);
    const uint32_t outer = std::exchange(group_, record.view ? group_ : node.group);
    Sv s = record.loop(context, index);
    group_ = outer;
    // Ops that compute (not only move) give nonzero values for masked-out operands; the element itself must be 0.
    if (predicate && !record.view) s = b_.select(predicate, s, b_.constant_int(s.dtype(), 0));
    Memo m{v, {}, predicate ? predicate.id : no_value, s};
    for (Sv i : index) m.index.push_back(i.id);
    memo_.emplace(key, std::move(m));
    return s;
  }

  Sv load(GraphValue v, std::span<const Sv> index, Sv predicate) {
    return number(v) ? b_.number(param_of(v)) : load_at(v, b_.linear(index, strides_of(g_.type(v))), predicate);
  }
  Sv load_at(GraphValue v, Sv position, Sv predicate) {
    return b_.cast(b_.load(param_of(v), position, predicate), compute_dtype(g_.type(v).dtype));
  }
  uint32_t param_of(GraphValue v) {
    size_t i = 0;  // a loop has few inputs
    while (i < result_.inputs.size() && result_.inputs[i] != v) ++i;
    if (i == result_.inputs.size()) {
      params_.push_back(b_.param(number(v) ? Param::Kind::number : Param::Kind::in, stored_dtype(v)));
      result_.inputs.push_back(v);
    }
    return params_[i];
  }

  bool number(GraphValue v) const { return g_.value(v).node == no_node && g_.is_number(v); }

  FusedLoop run_stores(GraphValue v) {
    const Node& node = g_.node(g_.value(v).node);
    const uint32_t out = b_.param(Param::Kind::inout, g_.type(v).dtype);
    ElementContext context(*this, b_, g_, node, int(g_.value(v).index), {});
    group_ = node.group;
    node.op->op->record.stores(context, out);
    // Params follow the order inputs, outputs: move the out param behind the inputs.
    Loop loop = b_.take();
    const uint32_t last = uint32_t(loop.params.size()) - 1;
    auto moved = [&](int64_t p) { return p == int64_t(out) ? int64_t(last) : p > int64_t(out) ? p - 1 : p; };
    for (Inst& i : loop.insts) if (i.op == Scalar::load || i.op == Scalar::number) i.imm = moved(i.imm);
    for (Store& s : loop.stores) s.param = uint32_t(moved(s.param));
    std::rotate(loop.params.begin() + out, loop.params.begin() + out + 1, loop.params.end());
    result_.outputs.push_back(v);
    result_.loop = std::move(loop);
    return std::move(result_);
  }

  struct Memo {
    GraphValue v;
    SmallVector<ValueId, 6> index;
    ValueId predicate;
    Sv value;
    bool matches(GraphValue w, std::span<const Sv> i, Sv p) const {
      if (w != v || (p ? p.id : no_value) != predicate || i.size() != index.size()) return false;
      for (size_t k = 0; k < i.size(); ++k) if (i[k].id != index[k]) return false;
      return true;
    }
  };

  const Graph& g_;
  const std::vector<bool>& is_buffer_;
  const std::vector<bool>& wide_;
  std::vector<uint32_t> params_;  // of the inputs
  LoopBuilder b_;
  FusedLoop result_;
  std::unordered_multimap<uint64_t, Memo> memo_;
  uint32_t group_ = 0;
};

}  // namespace

FusedLoop fuse_loop(const Graph& g, std::span<const GraphValue> outputs, const std::vector<bool>& is_buffer,
                    const std::vector<bool>& wide) {
  return Fuser(g, is_buffer, wide).run(outputs);
}

}  // namespace phlox

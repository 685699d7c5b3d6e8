#include "graph/generalise.h"

#include <optional>

#include "base/error.h"
#include "graph/rewrite.h"

namespace phlox {

namespace {

std::optional<Dim> explain(int64_t a, int64_t b, std::span<const SymbolSample> symbols) {
  if (a == b) return Dim(a);
  for (size_t i = 0; i < symbols.size(); ++i)
    if (symbols[i].a == a && symbols[i].b == b) return Dim::symbol(int(i));
  for (size_t i = 0; i < symbols.size(); ++i) {
    const SymbolSample s = symbols[i];
    if (s.a != 0 && a % s.a == 0 && a / s.a * s.b == b) return Dim(a / s.a) * Dim::symbol(int(i));
  }
  for (size_t i = 0; i < symbols.size(); ++i)
    for (size_t k = i; k < symbols.size(); ++k) {
      const int64_t pa = symbols[i].a * symbols[k].a, pb = symbols[i].b * symbols[k].b;
      if (pa != 0 && a % pa == 0 && a / pa * pb == b) return Dim(a / pa) * Dim::symbol(int(i)) * Dim::symbol(int(k));
    }
  for (size_t i = 0; i < symbols.size(); ++i) {
    const SymbolSample s = symbols[i];
    if ((a - b) % (s.a - s.b) != 0) continue;
    const int64_t k = (a - b) / (s.a - s.b);
    return Dim(k) * Dim::symbol(int(i)) + Dim(a - k * s.a);
  }
  return std::nullopt;
}

class Generaliser {
 public:
  Generaliser(const Graph& a, const Graph& b, std::span<const SymbolSample> symbols, Graph& result)
      : a_(a), b_(b), symbols_(symbols), out_(result), map_(a.value_count(), ~0u), twin_(b.value_count(), ~0u) {}

  bool run(std::string& why) {
    const bool ok = graph();
    why = why_;
    return ok;
  }

 private:
  bool refuse(std::string reason) {
    if (why_.empty()) why_ = std::move(reason);
    return false;
  }

  bool graph() {
    if (a_.inputs().size() != b_.inputs().size() || a_.outputs().size() != b_.outputs().size()) return refuse("other tensors take part");
    for (size_t i = 0; i < a_.inputs().size(); ++i) {
      const GraphValue v = a_.inputs()[i], w = b_.inputs()[i];
      TensorType t;
      if (a_.is_number(v) != b_.is_number(w) || !type(a_.type(v), b_.type(w), t)) return refuse(cat("input ", i, " has another type"));
      map_[v] = out_.add_input(t, a_.is_number(v));
      twin_[w] = v;
    }
    const std::vector<bool> live_a = live_nodes(a_), live_b = live_nodes(b_);
    NodeId n = 0, m = 0;
    const auto skip = [](const std::vector<bool>& live, NodeId& at) { while (at < live.size() && !live[at]) ++at; };
    for (;; ++n, ++m) {
      skip(live_a, n);
      skip(live_b, m);
      if (n == live_a.size() || m == live_b.size()) break;
      if (!node(a_.node(n), b_.node(m))) return false;
    }
    if (n != live_a.size() || m != live_b.size()) return refuse("one has more calls than the other");
    SmallVector<GraphValue, 4> outputs;
    for (size_t i = 0; i < a_.outputs().size(); ++i) {
      if (twin_[b_.outputs()[i]] != a_.outputs()[i]) return refuse("other results");
      outputs.push_back(map_[a_.outputs()[i]]);
    }
    out_.set_outputs(outputs);
    return true;
  }

  bool node(const Node& x, const Node& y) {
    const std::string& name = x.op->schema.name;
    if (x.op != y.op || x.args.size() != y.args.size() || x.group != y.group)
      return refuse(cat("other calls: ", name, " and ", y.op->schema.name));
    store_.clear();
    SmallVector<Arg, 4> args;
    for (size_t i = 0; i < x.args.size(); ++i) {
      Arg r;
      if (!arg(x.args[i], y.args[i], r)) return refuse(cat("an argument of ", name, " depends on the size in a way that is no formula"));
      args.push_back(r);
    }
    SmallVector<TensorType, 2> types;
    for (size_t i = 0; i < x.results.size(); ++i) {
      types.push_back({});
      if (!type(a_.type(x.results[i]), b_.type(y.results[i]), types.back())) return refuse(cat("the size of a result of ", name, " is no formula"));
      twin_[y.results[i]] = x.results[i];
    }
    out_.current_group = x.group;
    out_.current_location = x.location;
    const NodeId id = out_.add_node(*x.op, args, types);
    for (size_t i = 0; i < x.results.size(); ++i) map_[x.results[i]] = out_.node(id).results[i];
    return true;
  }

  bool arg(const Arg& x, const Arg& y, Arg& r) {
    r = x;
    if (x.kind != y.kind || x.extra != y.extra || x.count != y.count) return false;
    switch (x.kind) {
      case ArgKind::value:
        r.value = map_[x.value];
        return twin_[y.value] == x.value;
      case ArgKind::dim: {
        const auto d = dim(x.as_dim(), y.as_dim());
        if (d) r.dim = d->raw();
        return d.has_value();
      }
      case ArgKind::list: {
        std::vector<Arg> items(x.count);
        for (uint32_t i = 0; i < x.count; ++i) if (!arg(x.list[i], y.list[i], items[i])) return false;
        store_.push_back(std::move(items));
        r.list = store_.back().data();
        return true;
      }
      default: return same_args({&x, 1}, {&y, 1});
    }
  }

  std::optional<Dim> dim(Dim x, Dim y) const {
    if (!x.is_const() || !y.is_const()) return x == y ? std::optional(x) : std::nullopt;
    return explain(x.value(), y.value(), symbols_);
  }
  bool dims(const Dims& x, const Dims& y, Dims& r) const {
    if (x.size() != y.size()) return false;
    r.clear();
    for (size_t i = 0; i < x.size(); ++i) {
      const auto d = dim(x[i], y[i]);
      if (!d) return false;
      r.push_back(*d);
    }
    return true;
  }
  bool type(const TensorType& x, const TensorType& y, TensorType& r) const {
    r = x;
    return x.dtype == y.dtype && x.device == y.device && x.weak == y.weak && dims(x.shape, y.shape, r.shape) && dims(x.strides, y.strides, r.strides);
  }

  const Graph &a_, &b_;
  std::span<const SymbolSample> symbols_;
  Graph& out_;
  std::vector<GraphValue> map_;   // of a: in the result
  std::vector<GraphValue> twin_;  // of b: in a
  std::deque<std::vector<Arg>> store_;
  std::string why_;
};

bool dims_at(const Dims& x, const Dims& y, std::span<const int64_t> symbols) {
  if (x.size() != y.size()) return false;
  for (size_t i = 0; i < x.size(); ++i) if (evaluate(x[i], symbols) != evaluate(y[i], symbols)) return false;
  return true;
}
bool type_at(const TensorType& x, const TensorType& y, std::span<const int64_t> symbols) {
  return x.dtype == y.dtype && x.device == y.device && x.weak == y.weak && dims_at(x.shape, y.shape, symbols) && dims_at(x.strides, y.strides, symbols);
}
bool arg_at(const Arg& x, const Arg& y, std::span<const int64_t> symbols, const std::vector<GraphValue>& twin) {
  if (x.kind != y.kind || x.extra != y.extra || x.count != y.count) return false;
  if (x.kind == ArgKind::value) return twin[y.value] == x.value;
  if (x.kind == ArgKind::dim) return evaluate(x.as_dim(), symbols) == evaluate(y.as_dim(), symbols);
  if (x.kind != ArgKind::list) return same_args({&x, 1}, {&y, 1});
  for (uint32_t i = 0; i < x.count; ++i) if (!arg_at(x.list[i], y.list[i], symbols, twin)) return false;
  return true;
}

}  // namespace

bool generalise(const Graph& a, const Graph& b, std::span<const SymbolSample> symbols, Graph& result, std::string& why) {
  return Generaliser(a, b, symbols, result).run(why);
}

bool same_at(const Graph& s, const Graph& g, std::span<const int64_t> symbols, std::string& why) {
  why = "other tensors take part";
  if (s.inputs().size() != g.inputs().size() || s.outputs().size() != g.outputs().size()) return false;
  std::vector<GraphValue> twin(g.value_count(), ~0u);  // in the symbolic graph
  for (size_t i = 0; i < s.inputs().size(); ++i) {
    if (!type_at(s.type(s.inputs()[i]), g.type(g.inputs()[i]), symbols)) return false;
    twin[g.inputs()[i]] = s.inputs()[i];
  }
  const std::vector<bool> live = live_nodes(g);
  NodeId n = 0;
  for (NodeId m = 0; m < live.size(); ++m) {
    if (!live[m]) continue;
    const Node& y = g.node(m);
    why = cat("it calls ", y.op->schema.name, " otherwise");
    if (n == s.nodes().size()) return false;
    const Node& x = s.node(n++);
    if (x.op != y.op || x.args.size() != y.args.size() || x.group != y.group) return false;
    for (size_t i = 0; i < x.args.size(); ++i) if (!arg_at(x.args[i], y.args[i], symbols, twin)) return false;
    for (size_t i = 0; i < x.results.size(); ++i) {
      if (!type_at(s.type(x.results[i]), g.type(y.results[i]), symbols)) return false;
      twin[y.results[i]] = x.results[i];
    }
  }
  why = "it has fewer calls";
  if (n != s.nodes().size()) return false;
  why = "other results";
  for (size_t i = 0; i < s.outputs().size(); ++i) if (twin[g.outputs()[i]] != s.outputs()[i]) return false;
  return true;
}

}  // namespace phlox

#include "graph/verify.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "graph/builder.h"
#include "graph/rewrite.h"

namespace phlox {

namespace {

bool kind_fits(ArgKind k, ParamType t) {
  const bool whole = k == ArgKind::dim || k == ArgKind::boolean;
  switch (t) {
    case ParamType::tensor: return k == ArgKind::value;
    case ParamType::scalar: return k == ArgKind::value || k == ArgKind::real || k == ArgKind::complex || whole;
    case ParamType::integer: return whole;
    case ParamType::real: return k == ArgKind::real || k == ArgKind::value || whole;
    case ParamType::boolean: return k == ArgKind::boolean;
    case ParamType::string: return k == ArgKind::string;
    case ParamType::dtype: return k == ArgKind::dtype;
    case ParamType::device: return k == ArgKind::device;
    case ParamType::layout: return k == ArgKind::layout;
    case ParamType::memory_format: return k == ArgKind::memory_format;
    case ParamType::generator: return k == ArgKind::generator;
  }
  return false;
}

bool may_be_none(const SchemaParam& p) { return p.optional || (p.has_default && p.default_value.is_none()); }

class Checker {
 public:
  explicit Checker(const Graph& g) : g_(g) {
    if (const DimEnv* env = current_dim_env()) {
      env_ = *env;  // questions asked here are no guards of the graph
      known_.assign(env->hints().size(), true);
    }
  }

  GraphDefect run() {
    for (size_t i = 0; i < g_.inputs().size(); ++i) {
      const GraphValue v = g_.inputs()[i];
      if (v >= g_.value_count() || g_.value(v).node != no_node || g_.value(v).index != i)
        return {cat("input ", i, " is not the value that it names")};
      for (Dim d : g_.type(v).shape) if (d.symbol_id() >= 0) collect_symbols(d, known_);
      for (Dim d : g_.type(v).strides) if (d.symbol_id() >= 0) collect_symbols(d, known_);
    }
    for (GraphValue v : g_.inputs())
      if (std::string t = type(g_.type(v)); !t.empty()) return {cat("input %", v, " ", t)};
    for (NodeId n = 0; n < g_.nodes().size(); ++n) {
      std::string t = node(n);
      if (!t.empty()) return {cat(g_.node(n).op ? g_.node(n).op->schema.full_name() : std::string("a call"), " ", t), n};
    }
    for (GraphValue v : g_.outputs())
      if (v >= g_.value_count()) return {cat("output %", v, " does not exist")};
    return {};
  }

 private:
  std::string unknown_symbol(Dim d) {
    std::vector<bool> used;
    collect_symbols(d, used);
    for (size_t i = 0; i < used.size(); ++i)
      if (used[i] && (i >= known_.size() || !known_[i])) return cat("uses symbol s", i, ", which no input has");
    return {};
  }

  std::string type(const TensorType& t) {
    if (int(t.dtype) >= dtype_count) return "has no element type";
    if (!t.strides.empty() && t.strides.size() != t.shape.size()) return cat("has ", t.strides.size(), " strides for ", t.rank(), " sizes");
    for (Dim d : t.shape) {
      if (d.is_const() && d.value() < 0) return cat("has the negative size ", d);
      if (std::string s = unknown_symbol(d); !s.empty()) return s;
    }
    for (Dim d : t.strides) if (std::string s = unknown_symbol(d); !s.empty()) return s;
    if (known_product(t.shape)) product(t.shape);  // throws where it does not fit
    return {};
  }
  static bool known_product(const Dims& shape) {
    for (Dim d : shape) if (!d.is_const()) return false;
    return true;
  }

  std::string argument(const Arg& a, const SchemaParam& p, GraphValue limit, bool item) {
    if (a.kind == ArgKind::none) return (item ? p.optional_items : may_be_none(p)) ? "" : cat("argument '", p.name, "' is missing");
    if (a.kind == ArgKind::list && p.list && !item) {
      for (const Arg& i : a.items()) if (std::string t = argument(i, p, limit, true); !t.empty()) return t;
      return {};
    }
    if (!item && p.list && p.type != ParamType::tensor && !p.fixed_size) return cat("argument '", p.name, "' must be a list");
    if (!kind_fits(a.kind, p.type)) return cat("argument '", p.name, "' is no ", param_type_name(p.type), ": ", print_arg(a, p.type));
    if (a.kind == ArgKind::dtype && a.bits >= uint64_t(dtype_count)) return cat("argument '", p.name, "' is no dtype");
    if (a.kind == ArgKind::value && a.value >= limit) return cat("uses %", a.value, " before it is defined");
    if (a.kind == ArgKind::dim) return unknown_symbol(a.as_dim());
    return {};
  }

  std::string node(NodeId id) {
    const Node& n = g_.node(id);
    if (!n.op) return "has no op";
    const Schema& s = n.op->schema;
    if (n.args.size() != s.params.size()) return cat("has ", n.args.size(), " arguments, expected ", s.params.size());
    const GraphValue limit = n.results.empty() ? GraphValue(g_.value_count()) : n.results[0];
    for (size_t i = 0; i < n.args.size(); ++i)
      if (std::string t = argument(n.args[i], s.params[i], limit, false); !t.empty()) return t;
    bool list = false;
    for (const SchemaParam& r : s.returns) list = list || r.list;
    if (!list && n.results.size() != s.returns.size()) return cat("has ", n.results.size(), " results, expected ", s.returns.size());
    for (size_t i = 0; i < n.results.size(); ++i) {
      const GraphValue v = n.results[i];
      if (v >= g_.value_count() || g_.value(v).node != id || g_.value(v).index != i) return cat("does not own its result %", v);
      if (std::string t = type(g_.type(v)); !t.empty()) return cat("result %", v, " ", t);
    }
    return rule(n);
  }

  // Asks the op's rule for the types of its results, in a graph that has only the operands.
  std::string rule(const Node& n) {
    const OpRecord& r = n.op->op->record;
    if (!r.type) return r.expand ? "has no type rule: it should have been expanded" : "";
    bool symbolic = false;
    Graph scratch;
    GraphBuilder b(scratch);
    ArgMap arguments;
    const std::span<const Arg> args = arguments.each(n.args, [&](Arg a) {
      if (a.kind == ArgKind::value) {
        for (Dim d : g_.type(a.value).shape) symbolic = symbolic || !d.is_const();
        a.value = scratch.add_input(g_.type(a.value), g_.is_number(a.value));
      } else if (a.kind == ArgKind::dim) {
        symbolic = symbolic || !a.as_dim().is_const();
      }
      return a;
    });
    if (symbolic && !env_) return {};
    TensorType state;
    state.dtype = DType::i64;
    state.shape = {2};
    b.random_state = b.input(state);
    std::optional<DimEnvScope> scope;
    if (env_) scope.emplace(*env_);
    SmallVector<TensorType, 2> types;
    try {
      r.type(Args(b, *n.op, args), types);
    } catch (const Error& e) {
      return cat("is refused by its own rule: ", e.what());
    }
    if (types.size() != n.results.size()) return cat("has ", n.results.size(), " results, its rule gives ", types.size());
    if (has(r.effects, Effects::host_read)) return {};  // sizes come from data
    for (size_t i = 0; i < types.size(); ++i)
      if (!same(types[i], g_.type(n.results[i])))
        return cat("result %", n.results[i], " is ", g_.type(n.results[i]), ", its rule gives ", types[i]);
    return {};
  }
  static bool same(const TensorType& a, const TensorType& b) {
    if (a.dtype != b.dtype || a.rank() != b.rank()) return false;
    for (int d = 0; d < a.rank(); ++d) {
      const Dim x = a.shape[d], y = b.shape[d];
      if (x == y) continue;
      if ((x.is_const() && y.is_const()) || !current_dim_env() || !dim_eq(x, y)) return false;
    }
    return true;
  }

  const Graph& g_;
  std::optional<DimEnv> env_;
  std::vector<bool> known_;
};

}  // namespace

GraphDefect graph_defect(const Graph& g) { return Checker(g).run(); }

bool same_graph(const Graph& a, const Graph& b) {
  const auto same_ids = [](const auto& x, const auto& y) { return std::equal(x.begin(), x.end(), y.begin(), y.end()); };
  if (a.value_count() != b.value_count() || a.nodes().size() != b.nodes().size() || !same_ids(a.inputs(), b.inputs()) ||
      !same_ids(a.outputs(), b.outputs()))
    return false;
  for (GraphValue v : a.inputs()) if (a.is_number(v) != b.is_number(v)) return false;
  for (GraphValue v = 0; v < a.value_count(); ++v) {
    const ValueInfo &x = a.value(v), &y = b.value(v);
    if (!(x.type == y.type) || x.node != y.node || x.index != y.index) return false;
  }
  for (size_t n = 0; n < a.nodes().size(); ++n) {
    const Node &x = a.nodes()[n], &y = b.nodes()[n];
    if (x.op != y.op || x.group != y.group || !same_args(x.args, y.args) || !same_ids(x.results, y.results)) return false;
  }
  return true;
}

void verify_graph(const Graph& g) {
  const GraphDefect d = graph_defect(g);
  PHLOX_CHECK(d.text.empty(), "malformed graph: ", d.text, d.node == no_node ? "" : cat(" (call ", d.node, ")"));
}

}  // namespace phlox

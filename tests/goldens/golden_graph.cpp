// The engines "interpreter" and "compiled": the case as one Graph with its gradient appended, run by the graph interpreter
// or as one program.
#include <cstdio>
#include <unordered_map>

#include "base/error.h"
#include "compile/compile.h"
#include "eager/signature.h"
#include "golden_engine.h"
#include "graph/verify.h"
#include "ops/host_args.h"
#include "ops/interpret.h"
#include "ops/prims.h"
#include "ops/staged.h"
#include "transform/vjp.h"

namespace phlox {

namespace {

using RunGraph = std::vector<HostTensor> (*)(const Graph& g, std::span<const HostTensor> inputs);

// Results of ops whose sizes depend on data: they are run while the graph is built, and become inputs of it.
using Known = std::unordered_map<std::string, std::vector<HostTensor>>;

// An op that must be run before the graph can go on: its name among the known results, which it gives.
struct RunFirst {
  std::string name;
  std::vector<HostTensor> results;
};

class GraphCase {
 public:
  GraphCase(const GoldenFile& file, const GoldenCase& c, const Known& known, bool print)
      : file_(file), case_(c), known_(known), print_(print) {
    for (const std::string& n : c.inputs) add_input(n, file.tensor(c, "in:" + n));
    for (const std::string& n : c.consts) add_input(n, file.tensor(c, "const:" + n));
    for (const auto& [name, tensors] : known) {
      Vals vals;
      for (const HostTensor& t : tensors) vals.push_back(input(t));
      values_[name] = vals;
    }
    for (int64_t i : c.grad_of) cotangents_.push_back(input(file.tensor(c, cat("cot:", i))));
    HostTensor state = make_host_tensor(DType::i64, {2});
    state.as<int64_t>()[0] = 1234;
    state.as<int64_t>()[1] = 0;
    builder_.random_state = input(state);
  }

  // The name of a node that must be run first, with its results in `results`; empty when the graph is complete.
  std::string build(std::vector<HostTensor>& results) {
    for (const GoldenNode& n : case_.nodes) {
      if (known_.count(n.name)) continue;
      if (n.op == "getitem") {
        const Vals& from = values_.at(n.args[0].text);
        values_[n.name] = {from[size_t(n.args[1].integer)]};
        continue;
      }
      const GoldenOp found = find_golden_op(n.op);
      const GoldenArgs args(*found.op, n, [](void* self, const std::string& name) { return static_cast<GraphCase*>(self)->lookup(name); }, this);
      const OpRecord& r = found.op->op->record;
      graph_.current_group = ++group_;
      const bool by_data = has(r.effects, Effects::host_read) && !r.expand;
      if (r.staged && (by_data || takes_mask(args.args()))) {
        Stages stages(*this, n.name, args.args());
        try {
          if (r.staged(stages)) {
            for (const Arg& a : stages.results) values_[n.name].push_back(builder_.wrap(a.value));
            continue;
          }
        } catch (RunFirst& first) {
          results = std::move(first.results);
          return first.name;
        }
      }
      if (by_data) {
        results = run_now(*found.op, args.args());
        return n.name;
      }
      const Vals out = builder_.call(*found.op, args.args());
      values_[n.name] = out;
      if (found.in_place && !n.args.empty() && n.args[0].kind == GoldenArg::Kind::value) values_[n.args[0].text] = out;
    }
    return {};
  }

  GoldenResult run(RunGraph run_graph) {
    std::vector<Val> outputs;
    for (const GoldenArg& o : case_.outputs) {
      const Vals& v = values_.at(o.text);
      outputs.insert(outputs.end(), v.begin(), v.end());
    }
    const size_t count = outputs.size();
    if (count != case_.out_dtypes.size())
      fail(ErrorCode::invalid_argument, {.op = case_.op, .fact = "wrong number of results", .got = cat(count),
                                         .expected = cat(case_.out_dtypes.size())});
    std::vector<Val> grads;
    if (!case_.grad_wrt.empty()) {
      std::vector<GraphValue> of, wrt;
      for (int64_t i : case_.grad_of) of.push_back(outputs[size_t(i)].id);
      for (const std::string& n : case_.grad_wrt) wrt.push_back(inputs_.at(n).id);
      graph_.current_group = ++group_;
      grads = append_vjp(builder_, of, cotangents_, wrt);
      for (const Val& g : grads) if (g) outputs.push_back(g);
    }
    builder_.outputs(outputs);
    if (print_) std::fputs(print_graph(graph_).c_str(), stdout);
    const Graph whole = prune(graph_);
    verify_graph(whole);
    if (!same_graph(parse_graph(print_graph(whole), find_op), whole))
      fail(ErrorCode::internal, {.op = case_.op, .fact = "the text of the graph reads back as another graph"});
    const std::vector<HostTensor> all = run_graph(whole, data_);
    GoldenResult r;
    r.outputs.assign(all.begin(), all.begin() + int64_t(count));
    size_t next = count;
    for (size_t i = 0; i < grads.size(); ++i) if (grads[i]) r.grads[case_.grad_wrt[i]] = all[next++];
    return r;
  }

 private:
  // A call in stages as nodes of the graph; those whose sizes depend on data are run first.
  class Stages : public StagedCall {
   public:
    Stages(GraphCase& c, const std::string& name, std::span<const Arg> given) : case_(c), name_(name) { args = given; }
    DType dtype(const Arg& t) const override { return type(t).dtype; }
    Ints sizes(const Arg& t) const override {
      Ints r;
      for (Dim d : type(t).shape) r.push_back(d.value());
      return r;
    }
    std::vector<Arg> call(std::string_view name, std::span<const Arg> given) override {
      const OpInfo* op = find_op(name);
      PHLOX_CHECK(op, "no op ", name);
      std::vector<Arg> all(given.begin(), given.end()), r;
      for (size_t i = all.size(); i < op->schema.params.size(); ++i) all.push_back(op->schema.params[i].default_value);
      if (op->op->record.staged && case_.takes_mask(all)) {
        Stages inner(case_, cat(name_, "#", count_++), all);
        if (op->op->record.staged(inner)) return inner.results;
      }
      Vals vals;
      if (has(op->op->record.effects, Effects::host_read) && !op->op->record.expand) {
        const std::string key = cat(name_, "#", count_++);
        if (!case_.known_.count(key)) throw RunFirst{key, case_.run_now(*op, all)};
        vals = case_.values_.at(key);
      } else {
        vals = case_.builder_.call(*op, all);
      }
      for (const Val& v : vals) r.push_back(Arg::of_value(v.id));
      return r;
    }
    void assign(const Arg&, const Arg&) override { PHLOX_CHECK(false, "an operand of a picking op is changed"); }

   private:
    const TensorType& type(const Arg& t) const { return case_.graph_.type(t.value); }
    GraphCase& case_;
    const std::string name_;
    int count_ = 0;
  };
  bool takes_mask(std::span<const Arg> args) const {
    bool mask = false;
    for_each_value(args, [&](const Arg& a) { mask |= is_bool(graph_.type(a.value).dtype); });
    return mask;
  }

  Val input(const HostTensor& t) {
    TensorType type;
    type.dtype = t.dtype;
    for (int64_t n : t.shape) type.shape.push_back(n);
    data_.push_back(t);
    return builder_.input(type);
  }
  void add_input(const std::string& name, const HostTensor& t) {
    const Val v = input(t);
    inputs_[name] = v;
    values_[name] = {v};
  }
  std::vector<Arg> lookup(const std::string& name) {
    std::vector<Arg> r;
    for (const Val& v : values_.at(name)) r.push_back(Arg::of_value(v.id));
    return r;
  }

  // Runs the graph so far for the operands of `op`, then its reference.
  std::vector<HostTensor> run_now(const OpInfo& op, std::span<const Arg> args) {
    std::vector<Val> operands;
    for_each_value(args, [&](const Arg& a) { operands.push_back(builder_.wrap(a.value)); });
    builder_.outputs(operands);
    Node node;
    node.op = &op;
    for (const Arg& a : args) node.args.push_back(a);
    HostCall call = host_call(node);
    call.in = interpret_graph(prune(graph_), data_);
    call.out.resize(op.schema.returns.size());
    op.op->record.reference(call);
    return call.out;
  }

  const GoldenFile& file_;
  const GoldenCase& case_;
  const Known& known_;
  const bool print_;
  Graph graph_;
  GraphBuilder builder_{graph_};
  std::vector<HostTensor> data_;
  std::unordered_map<std::string, Val> inputs_;
  std::unordered_map<std::string, Vals> values_;
  std::vector<Val> cotangents_;
  uint32_t group_ = 0;
};

std::vector<HostTensor> interpret(const Graph& g, std::span<const HostTensor> inputs) { return interpret_graph(g, inputs); }

std::vector<HostTensor> compile_and_run(const Graph& g, std::span<const HostTensor> inputs) {
  Device& device = cpu_device();
  CompileOptions options;
  options.whole_ops = makes_code(device);
  const Ref<Executable> e = make_executable(compile_graph(g, device.target(), options), device);
  const Executable::Plan& plan = e->plan({});
  SmallVector<void*, 8> in, out;
  const SmallVector<int64_t, 8> numbers(inputs.size(), 0);
  for (const HostTensor& t : inputs) in.push_back(t.data);
  std::vector<HostTensor> results;
  const Program& p = e->program();
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    if (p.output_alias[i] >= 0) results.push_back(inputs[size_t(p.output_alias[i])]);
    else results.push_back(make_host_tensor(p.outputs[i].dtype, plan.output_shapes[i]));
    out.push_back(p.output_alias[i] >= 0 ? nullptr : results.back().data);
  }
  e->run(plan, in, numbers, out, 0);
  return results;
}

class GraphEngine : public GoldenEngine {
 public:
  GraphEngine(RunGraph run_graph, bool print) : run_graph_(run_graph), print_(print) {}
  GoldenResult run(const GoldenFile& file, const GoldenCase& c) override {
    for (Known known;;) {
      GraphCase g(file, c, known, print_);
      std::vector<HostTensor> results;
      const std::string first = g.build(results);
      if (first.empty()) return g.run(run_graph_);
      known[first] = std::move(results);
    }
  }

 private:
  const RunGraph run_graph_;
  const bool print_;
};

}  // namespace

std::unique_ptr<GoldenEngine> interpreter_engine(bool print) { return std::make_unique<GraphEngine>(interpret, print); }
std::unique_ptr<GoldenEngine> compiled_engine(bool print) { return std::make_unique<GraphEngine>(compile_and_run, print); }

}  // namespace phlox

#include "reduce.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "base/error.h"
#include "graph/rewrite.h"
#include "ops/registry.h"

namespace phlox::fuzz {

std::string in_child(const std::function<std::string()>& check) {
  int ends[2];
  PHLOX_CHECK(pipe(ends) == 0, "no pipe");
  std::fflush(stdout);
  const pid_t child = fork();
  PHLOX_CHECK(child >= 0, "no process");
  if (child == 0) {
    close(ends[0]);
    alarm(60);
    std::string words;
    try {
      words = check();
    } catch (const Error& e) {
      words = e.what();
    }
    words.resize(std::min<size_t>(words.size(), 4000));
    const ssize_t written = write(ends[1], words.data(), words.size());
    _exit(written == ssize_t(words.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string words;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) words.append(buffer, size_t(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? cat("ended by signal ", WTERMSIG(status)) : words;
}

// The kind of a failure: its words up to the first colon that follows.
static std::string kind_of(const std::string& words) { return words.substr(0, words.find(':')); }

FuzzProgram reduce_program(FuzzProgram p) {
  const auto failure = [](const FuzzProgram& q) {
    return in_child([&] {
      Tally tally;
      return check_program(q, false, tally);
    });
  };
  const std::string kind = kind_of(failure(p));
  if (kind.empty()) return p;
  const auto fails = [&](const FuzzProgram& q) { return kind_of(failure(q)) == kind; };
  for (bool again = true; again;) {
    again = false;
    for (size_t i = p.outputs.size(); i-- > 0 && p.outputs.size() > 1;) {
      FuzzProgram q = p;
      q.outputs.erase(q.outputs.begin() + int64_t(i));
      if (fails(q)) p = std::move(q), again = true;
    }
    for (size_t i = p.steps.size(); i-- > 0;) {
      if (p.steps[i].off) continue;
      FuzzProgram q = p;
      q.steps[i].off = true;
      // What was returned may be gone now: its operands are returned instead.
      for (const FuzzArg& a : p.steps[i].args)
        if (a.kind == FuzzArg::Kind::value && std::find(p.outputs.begin(), p.outputs.end(), p.steps[i].first_result) != p.outputs.end())
          q.outputs.push_back(size_t(a.integer));
      if (fails(q)) p = std::move(q), again = true;
    }
  }
  FuzzProgram q = p;
  q.gradient = false;
  if (p.gradient && fails(q)) p = q;
  for (FuzzInput& in : p.inputs) {
    const FuzzInput before = in;
    for (auto change : {+[](FuzzInput& i) { i.layout = FuzzInput::Layout::dense; }, +[](FuzzInput& i) { i.captured = false; },
                        +[](FuzzInput& i) { i.special = false; }, +[](FuzzInput& i) { i.requires_grad = false; }}) {
      const FuzzInput now = in;
      change(in);
      if (!fails(p)) in = now;
    }
  }
  return p;
}

// --- graphs

namespace {

// A copy with other outputs, in which the values of `cut` are inputs.
TracedProgram rebuilt(const TracedProgram& t, const std::vector<bool>& keep_output, GraphValue cut, GraphValue instead) {
  constexpr GraphValue nothing = ~0u;
  TracedProgram r;
  const Graph& g = t.graph;
  std::vector<GraphValue> map(g.value_count());
  std::vector<int> old_input;
  for (GraphValue v : g.inputs()) map[v] = r.graph.add_input(g.type(v));
  for (size_t i = 0; i < g.inputs().size(); ++i) r.sources.push_back(int(i));
  if (cut != nothing && instead == nothing) {
    TensorType type = g.type(cut);
    type.weak = false;
    map[cut] = r.graph.add_input(type);
    r.sources.push_back(-1);
  }
  ArgMap arguments;
  for (const Node& n : g.nodes()) {
    const NodeId id = copy_node(r.graph, g, n, arguments(n.args, [&](GraphValue v) { return map[v]; }));
    for (size_t i = 0; i < n.results.size(); ++i) {
      if (n.results[i] == cut) {
        if (instead != nothing) map[cut] = map[instead];
        continue;
      }
      map[n.results[i]] = r.graph.node(id).results[i];
    }
  }
  SmallVector<GraphValue, 4> outputs;
  for (uint32_t i = 0; i < g.outputs().size(); ++i) {
    if (!keep_output[i]) continue;
    for (auto [output, input] : t.donate) if (output == i) r.donate.push_back({uint32_t(outputs.size()), input});
    r.results += i < t.results;
    outputs.push_back(map[g.outputs()[i]]);
  }
  r.graph.set_outputs(outputs);
  r.graph = prune(r.graph);
  return r;
}

// Without the inputs that nothing reads.
TracedProgram without_idle_inputs(const TracedProgram& t) {
  const Graph& g = t.graph;
  std::vector<bool> used(g.value_count());
  for (const Node& n : g.nodes()) for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) { used[a.value] = true; });
  for (GraphValue v : g.outputs()) used[v] = true;
  for (auto [output, input] : t.donate) used[g.inputs()[input]] = true;
  std::string text = print_graph(g), head = "graph(";
  std::vector<uint32_t> number(g.inputs().size());
  uint32_t next = 0;
  for (size_t i = 0; i < g.inputs().size(); ++i) {
    if (!used[g.inputs()[i]]) continue;
    head += cat(next ? ", " : "", "%", g.inputs()[i], ": ", g.type(g.inputs()[i]));
    number[i] = next++;
  }
  TracedProgram r;
  r.graph = parse_graph(head + text.substr(text.find(") {\n")), find_op);
  for (auto [output, input] : t.donate) r.donate.push_back({output, number[input]});
  r.results = t.results;
  return r;
}

std::string case_failure(const TracedProgram& t, uint64_t seed, PassSet off = 0) {
  return in_child([&] { return check_graph(t, random_graph_inputs(t.graph, seed), off); });
}

std::string case_text(const TracedProgram& t, uint64_t seed) {
  std::string s = seed == 1 ? "" : cat("# seed ", seed, "\n");
  for (auto [output, input] : t.donate) s += cat("# donate ", output, " ", input, "\n");
  return s + print_graph(t.graph);
}

// The passes that make the difference: without any one of them the case passes.
std::string guilty_passes(const TracedProgram& t, uint64_t seed) {
  std::string s;
  for (int p = 0; p < pass_count; ++p)
    if (case_failure(t, seed, pass_bit(Pass(p))).empty()) s += cat(s.empty() ? "" : ", ", pass_name(Pass(p)));
  return s.empty() ? "none of the passes alone" : s;
}

}  // namespace

std::string reduce_graph(const FuzzProgram& p) {
  TracedProgram t = trace_program(p, make_inputs(p));
  t = without_idle_inputs(t);
  uint64_t seed = 1;
  std::string words;
  for (; seed <= 8 && words.empty(); ++seed) words = case_failure(t, seed);
  --seed;
  const std::string kind = kind_of(words);
  if (kind.empty()) return {};
  const auto fails = [&](const TracedProgram& q) {
    try {
      return kind_of(case_failure(q, seed)) == kind;
    } catch (const Error&) {
      return false;
    }
  };
  for (bool again = true; again;) {
    again = false;
    for (size_t i = 0; i < t.graph.outputs().size() && t.graph.outputs().size() > 1; ++i) {
      std::vector<bool> keep(t.graph.outputs().size(), true);
      keep[i] = false;
      TracedProgram q = rebuilt(t, keep, ~0u, ~0u);
      if (fails(q)) t = std::move(q), again = true, --i;
    }
    for (GraphValue v = GraphValue(t.graph.value_count()); v-- > 0;) {
      if (v >= t.graph.value_count() || t.graph.value(v).node == no_node) continue;
      const std::vector<bool> keep(t.graph.outputs().size(), true);
      const Node& n = t.graph.node(t.graph.value(v).node);
      std::vector<GraphValue> instead;
      for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) {
        if (t.graph.type(a.value) == t.graph.type(v)) instead.push_back(a.value);
      });
      instead.push_back(~0u);
      for (GraphValue i : instead) {
        TracedProgram q = rebuilt(t, keep, v, i);
        if (q.graph.nodes().size() >= t.graph.nodes().size() || !fails(q)) continue;
        t = std::move(q);
        again = true;
        break;
      }
    }
    if (TracedProgram q = without_idle_inputs(t); q.graph.inputs().size() < t.graph.inputs().size() && fails(q)) t = std::move(q), again = true;
  }
  words = case_failure(t, seed);
  return cat("# ", words.substr(0, words.find('\n')), "\n# passes without which it is right: ", guilty_passes(t, seed), "\n", case_text(t, seed));
}

std::string check_case(const std::string& text) {
  TracedProgram t;
  t.graph = parse_graph(text, find_op);
  uint64_t seed = 1;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hash, what;
    uint32_t a = 0, b = 0;
    if (!(words >> hash >> what >> a) || hash != "#") continue;
    if (what == "seed") seed = a;
    if (what == "donate" && words >> b) t.donate.push_back({a, b});
  }
  t.results = t.graph.outputs().size() - t.donate.size();
  return check_graph(t, random_graph_inputs(t.graph, seed));
}

}  // namespace phlox::fuzz

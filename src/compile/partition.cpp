// partition: which values get memory, and which are computed by one kernel.
//
// Every computing node (elementwise, reduction, gather, random) joins a cluster. A cluster has a full domain (points of
// its widest values) and, once it holds a reduction, a row domain (points that are left). A node joins the cluster of
// one of its producers when its domain is one of these and no cycle arises; clusters of one domain that meet at a node
// merge. Views and constants belong to no cluster: whoever reads them computes their indices. Values that cross clusters
// become buffers, unless computing them again costs less than the memory traffic. At last a contraction joins a cluster
// of maps that reads it, as its epilogue, when a provider takes the two as one.
#include <algorithm>
#include <span>

#include "base/error.h"
#include "base/event.h"
#include "compile/claim.h"
#include "compile/collapse.h"
#include "compile/compile.h"
#include "compile/few_rows.h"
#include "compile/node_kind.h"
#include "compile/provider_answers.h"
#include "ops/fuse.h"
#include "providers/library_matmul.h"

namespace phlox {

namespace {

struct Cluster {
  Dim full = 0, row = 0;
  bool has_row = false;
  Ints reduced;                      // dims that its reductions remove, with the rank they are counted in
  int reduced_rank = 0;
  std::vector<NodeId> nodes;
  std::vector<uint64_t> ancestors;   // bit set over clusters: all that it depends on
  std::vector<uint32_t> successors;  // clusters that read it directly
  std::vector<uint32_t> stored;      // clusters whose results it reads from memory only: never one with them
  uint32_t merged_into = ~0u;
  bool alone = false;
};

class Partitioner {
 public:
  Partitioner(const Graph& g, const CompileOptions& options, const Target& target)
      : g_(g), options_(options), fuse_(options.fuse && options.on(Pass::fuse)), target_(target), kind_(g.nodes().size()), cluster_(g.nodes().size(), ~0u), with_(g.nodes().size(), no_node), forced_(g.value_count()), providers_(target) {}

  Partition run() {
    for (size_t n = 0; n < kind_.size(); ++n) kind_[n] = kind_of(g_.nodes()[n]);
    force_buffers();
    if (gpu() && fuse_ && options_.on(Pass::epilogue)) join_few_rows(g_, providers_, forced_, with_);
    if (target_.has("cublaslt") && options_.fuse) join_biases();
    for (NodeId n = 0; n < kind_.size(); ++n)
      if (kind_[n] != NodeKind::leaf && kind_[n] != NodeKind::view) place(n);
    choose_buffers();
    if (gpu() && fuse_)
      for (uint32_t c = 0; c < clusters_.size(); ++c) set_column_sums_apart(c);
    if (fuse_ && options_.on(Pass::rows))
      for (Cluster& c : clusters_) {
        if (!gpu()) narrow(c);
        store_row_inputs(c);
      }
    for (bool again = true; again;) again = split_costly_groups();
    if (fuse_ && options_.on(Pass::epilogue))
      for (NodeId n = 0; n < kind_.size(); ++n)
        if (is_contraction(g_.node(n)) && !gpu()) join_epilogue(n);
    if (gpu() && fuse_ && options_.on(Pass::epilogue)) join_prologues();
    return order_groups();
  }

 private:
  bool computing(GraphValue v) const {
    const NodeId n = g_.value(v).node;
    return n != no_node && kind_[n] != NodeKind::leaf && kind_[n] != NodeKind::view;
  }

  // Calls f(value) for the computing producers (and inputs) behind an operand, through views.
  template <class F>
  void behind(GraphValue v, F&& f) const {
    const NodeId n = g_.value(v).node;
    if (n == no_node || forced_[v] || computing(v)) { f(v); return; }
    for_each_value(std::span<const Arg>(g_.node(n).args), [&](const Arg& a) { behind(a.value, f); });
  }
  template <class F>
  void producers(NodeId n, F&& f) const {
    for_each_value(std::span<const Arg>(g_.node(n).args), [&](const Arg& a) { behind(a.value, f); });
  }

  void force_buffers() {
    for (GraphValue v : g_.inputs()) forced_[v] = true;
    for (NodeId n = 0; n < kind_.size(); ++n) {
      const Node& node = g_.node(n);
      if (kind_[n] == NodeKind::alone || kind_[n] == NodeKind::external) for (GraphValue v : node.results) forced_[v] = true;
      for (int i = 0; i < int(node.args.size()); ++i) {
        const bool whole = (kind_[n] == NodeKind::external && !reads_views(node)) || (node.op->op->record.stores && i == 0);
        if (!whole && !reads_views(node) && (!needs_buffer(node, i) || gathers_little(node))) continue;
        for_each_value(std::span<const Arg>(&node.args[i], 1), [&](const Arg& a) {
          // Externs and in-place stores take dense memory; others read through views.
          if (whole) forced_[a.value] = true;
          else if (reads_views(node) && !even_rows(a.value)) forced_[a.value] = true;
          else behind(a.value, [&](GraphValue v) { forced_[v] = true; });
        });
      }
    }
    for (GraphValue v : g_.outputs()) forced_[v] = true;
  }

  // Providers that take operands as they lie in memory, when their rows do so evenly.
  bool reads_views(const Node& n) const {
    return ((gpu() || options_.whole_ops) && runs_whole(g_, n, target_)) || (gpu() && n.op->schema.name == "prim::attend_one");
  }
  bool even_rows(GraphValue v) const {
    std::vector<bool> buffers = forced_;
    buffers[v] = false;
    behind(v, [&](GraphValue x) { buffers[x] = true; });
    return buffers[v] || even_operand(g_, v, buffers).has_value();
  }

  // A few elements of a large value: the loss of each row. They are computed again where they are looked up.
  bool gathers_little(const Node& n) const {
    if (!gpu() || n.op->schema.name != "prim::gather") return false;
    const Dim all = g_.type(n.args[0].value).numel(), some = g_.type(n.results[0]).numel();
    return computing(n.args[0].value) && all.is_const() && some.is_const() && some.value() <= all.value() / 256;
  }

  // The rows of such products are computed by every block while the matrix is on its way, where nobody else needs them.
  void join_prologues() {
    for (GraphValue v = 0; v < g_.value_count(); ++v) {
      const NodeId made = g_.value(v).node;
      if (made == no_node || kind_[made] != NodeKind::map || !buffer_[v] || users_[v].empty() || with_[made] != no_node) continue;
      if (std::find(g_.outputs().begin(), g_.outputs().end(), v) != g_.outputs().end()) continue;
      if (!std::all_of(users_[v].begin(), users_[v].end(), [&](NodeId u) { return has_few_rows(g_.node(u), g_); })) continue;
      bool taken = true;
      for (NodeId u : users_[v]) {
        const std::vector<GraphValue> outputs = group_outputs(clusters_[root(cluster_[u])]);
        std::vector<bool> read = buffer_;
        read[v] = false;
        for (GraphValue o : outputs) read[o] = false;
        const ProviderAnswers::Answer& a = providers_.ask(fuse_loop(g_, outputs, read).loop);
        if (!a.taken && events_visible(EventKind::fusion_refused))
          emit_event(EventKind::fusion_refused, g_.node(made).op->schema.name, cat("no product's kernel computes it: ", a.refusal));
        taken &= a.taken;
      }
      if (taken) buffer_[v] = false;
    }
  }

  // A product of the library with a vector added before it is rounded: one group, whose result is the rounded value.
  void join_biases() {
    std::vector<std::vector<NodeId>> users(g_.value_count());
    for (NodeId n = 0; n < kind_.size(); ++n)
      for_each_value(std::span<const Arg>(g_.node(n).args), [&](const Arg& a) { users[a.value].push_back(n); });
    for (GraphValue v : g_.outputs()) users[v].resize(2);  // somebody else sees it
    const auto only_user = [&](GraphValue v, const char* op) -> const Node* {
      if (users[v].size() != 1) return nullptr;
      const Node& n = g_.node(users[v][0]);
      return n.op->schema.name == op ? &n : nullptr;
    };
    for (NodeId n = 0; n < kind_.size(); ++n) {
      if (g_.node(n).op->schema.name != "prim::contract" || std::find(with_.begin(), with_.end(), n) != with_.end()) continue;
      const GraphValue v = g_.node(n).results[0];
      const Node* sum = only_user(v, "prim::add");
      const Node* rounded = sum ? only_user(sum->results[0], "prim::cast") : nullptr;
      if (!rounded) continue;
      GraphValue added = sum->args[sum->args[0].value == v].value;
      const auto through = [&](const char* op) {
        const NodeId from = g_.value(added).node;
        if (from != no_node && g_.node(from).op->schema.name == op) added = g_.node(from).args[0].value;
      };
      through("prim::broadcast");
      through("prim::cast");
      const GraphValue w = rounded->results[0];
      if (g_.type(added).dtype != g_.type(w).dtype) continue;
      std::vector<bool> buffers = forced_;
      buffers[v] = buffers[w] = false;
      buffers[added] = true;
      std::string refusal;
      if (!match_library_matmul(collapse_axes(fuse_loop(g_, std::span(&w, 1), buffers).loop), refusal)) {
        if (events_visible(EventKind::provider)) emit_event(EventKind::provider, "matmul", cat("its bias is added apart: ", refusal));
        continue;
      }
      forced_ = std::move(buffers);
      forced_[w] = true;
      with_[users[v][0]] = with_[users[sum->results[0]][0]] = n;
    }
  }

  uint32_t root(uint32_t c) const {
    while (clusters_[c].merged_into != ~0u) c = clusters_[c].merged_into;
    return c;
  }
  bool is_ancestor(uint32_t a, uint32_t of) const {
    const auto& s = clusters_[of].ancestors;
    return a / 64 < s.size() && (s[a / 64] >> (a % 64) & 1);
  }
  // `c` now also depends on `a` and on all that `a` depends on; so does everything that depends on c.
  void add_ancestor(uint32_t c, uint32_t a) {
    std::vector<uint32_t>& next = clusters_[a].successors;
    if (std::find(next.begin(), next.end(), c) == next.end()) next.push_back(c);
    if (is_ancestor(a, c)) return;
    std::vector<uint64_t> add = clusters_[a].ancestors;
    if (add.size() <= a / 64) add.resize(a / 64 + 1);
    add[a / 64] |= uint64_t(1) << (a % 64);
    spread(c, add);
  }
  // These become ancestors of c and of what depends on it; who has all of them has passed them on before.
  void spread(uint32_t first, std::span<const uint64_t> add) {
    std::vector<uint32_t> todo{first};
    while (!todo.empty()) {
      const uint32_t c = todo.back();
      todo.pop_back();
      std::vector<uint64_t>& s = clusters_[c].ancestors;
      if (s.size() < add.size()) s.resize(add.size());
      uint64_t fresh = 0;
      for (size_t i = 0; i < add.size(); ++i) {
        fresh |= add[i] & ~s[i];
        s[i] |= add[i];
      }
      if (!fresh) continue;
      for (uint32_t next : clusters_[c].successors)
        if (const uint32_t x = root(next); x != c) todo.push_back(x);
    }
  }
  // Whether something else lies on a way from cluster p to cluster c: then a direct reader of p does.
  bool between(uint32_t p, uint32_t c) const {
    for (uint32_t s : clusters_[p].successors)
      if (const uint32_t x = root(s); x != c && x != p && is_ancestor(x, c)) return true;
    return false;
  }
  // Cluster p becomes part of `home`, which depends on what p did; what read p depends on `home`.
  void absorb(uint32_t home, uint32_t p) {
    clusters_[p].merged_into = home;
    const std::vector<uint64_t> up = clusters_[p].ancestors;
    spread(home, up);
    for (size_t i = 0; i < clusters_[p].successors.size(); ++i)
      if (const uint32_t x = root(clusters_[p].successors[i]); x != home) add_ancestor(x, home);
  }

  struct Domain { Dim full, row; bool reduces = false; Ints dims; int rank = 0; };
  Domain domain(NodeId n) const {
    const Node& node = g_.node(n);
    Domain d;
    d.full = g_.type(node.results[0]).numel();
    if (kind_[n] == NodeKind::reduce) {
      const TensorType& in = g_.type(node.args[0].value);
      d.row = d.full;
      d.full = in.numel();
      d.reduces = true;
      d.rank = in.rank();
      for (const Arg& a : node.args[1].items()) d.dims.push_back(a.as_dim().value());
    }
    return d;
  }
  static bool fits(const Cluster& c, const Domain& d) {
    if (c.alone) return false;
    if (d.reduces)
      return d.full == c.full && (!c.has_row || (c.row == d.row && c.reduced == d.dims && c.reduced_rank == d.rank));
    return d.full == c.full || (c.has_row && d.full == c.row);
  }
  static void take(Cluster& c, const Domain& d) {
    if (!d.reduces || c.has_row) return;
    c.has_row = true;
    c.row = d.row;
    c.reduced = d.dims;
    c.reduced_rank = d.rank;
  }

  // Calls f(cluster, stored) for the clusters that a node depends on; stored: what lies between them is memory, because the
  // node asks for it or because a view of the cluster's result has memory of its own.
  template <class F>
  void before(GraphValue v, bool stored, F&& f) const {
    const NodeId n = g_.value(v).node;
    if (n == no_node) return;
    if (computing(v)) return f(root(cluster_[n]), stored);
    for_each_value(std::span<const Arg>(g_.node(n).args), [&](const Arg& a) { before(a.value, stored || forced_[v], f); });
  }
  bool reads_stored(const Cluster& c, uint32_t other) const {
    return std::any_of(c.stored.begin(), c.stored.end(), [&](uint32_t x) { return root(x) == other; });
  }

  void place(NodeId n) {
    std::vector<uint32_t> before, stored;  // clusters of the producers, latest first
    const Node& node = g_.node(n);
    for (int i = 0; i < int(node.args.size()); ++i)
      for_each_value(std::span<const Arg>(&node.args[i], 1), [&](const Arg& a) {
        this->before(a.value, needs_buffer(node, i), [&](uint32_t c, bool from_memory) {
          if (std::find(before.begin(), before.end(), c) == before.end()) before.push_back(c);
          if (from_memory) stored.push_back(c);
        });
      });
    std::sort(before.rbegin(), before.rend());
    if (with_[n] != no_node) {
      const uint32_t home = cluster_[n] = cluster_[with_[n]];
      clusters_[home].nodes.push_back(n);
      for (uint32_t p : before) if (p != home) add_ancestor(home, p);
      return;
    }
    const Domain d = domain(n);
    uint32_t home = ~0u;
    // A number made of several reductions is no part of one of them: these can share a launch then.
    const bool gathers = kind_[n] == NodeKind::map && d.full.is(1) && before.size() > 1;
    if (fuse_ && kind_[n] != NodeKind::alone && kind_[n] != NodeKind::external)
      for (uint32_t c : before) {
        if (gathers && !clusters_[c].full.is(1)) continue;
        if (!fits(clusters_[c], d) || clusters_[c].nodes.size() >= 150) continue;
        if (std::find(stored.begin(), stored.end(), c) != stored.end()) continue;
        bool cycle = false;
        for (uint32_t p : before) cycle |= p != c && is_ancestor(c, p);
        if (!cycle) { home = c; break; }
      }
    if (home == ~0u) {
      home = uint32_t(clusters_.size());
      Cluster c;
      c.full = d.full;
      // A domain without points says nothing about its axes: all such are equal, whatever belongs together.
      c.alone = kind_[n] == NodeKind::alone || kind_[n] == NodeKind::external || !fuse_ || d.full.is(0);
      clusters_.push_back(c);
    }
    take(clusters_[home], d);
    clusters_[home].nodes.push_back(n);
    cluster_[n] = home;
    clusters_[home].stored.insert(clusters_[home].stored.end(), stored.begin(), stored.end());
    for (uint32_t p : before) if (p != home) add_ancestor(home, p);
    for (uint32_t p : before) if (p != home) try_merge(home, p);
  }

  // Merges cluster p, which feeds `home`, into it when the domains agree and nothing lies between them.
  void try_merge(uint32_t home, uint32_t p) {
    Cluster &a = clusters_[home], &b = clusters_[p];
    if (a.alone || b.alone || b.merged_into != ~0u || a.full != b.full || a.nodes.size() + b.nodes.size() > 150) return;
    if (a.has_row && b.has_row && !(a.row == b.row && a.reduced == b.reduced && a.reduced_rank == b.reduced_rank)) return;
    if (reads_stored(a, p) || reads_stored(b, home)) return;
    // A cluster between p and home would end up both before and after the merged one.
    if (between(p, home)) return;
    if (!a.has_row && b.has_row) { a.has_row = true; a.row = b.row; a.reduced = b.reduced; a.reduced_rank = b.reduced_rank; }
    a.nodes.insert(a.nodes.end(), b.nodes.begin(), b.nodes.end());
    std::sort(a.nodes.begin(), a.nodes.end());
    a.stored.insert(a.stored.end(), b.stored.begin(), b.stored.end());
    absorb(home, p);
  }

  // --- buffers

  bool crosses(GraphValue v) const {
    bool out = false;
    const uint32_t home = root(cluster_[g_.value(v).node]);
    for (NodeId user : users_[v]) out = out || root(cluster_[user]) != home;
    return out;
  }

  // How many other clusters read v.
  int64_t outside(GraphValue v) const {
    std::vector<uint32_t> all;
    const uint32_t home = root(cluster_[g_.value(v).node]);
    for (NodeId user : users_[v])
      if (const uint32_t c = root(cluster_[user]); c != home && std::find(all.begin(), all.end(), c) == all.end()) all.push_back(c);
    return int64_t(all.size());
  }

  int64_t points(GraphValue v) const {
    const Dim n = g_.type(v).numel();
    return n.is_const() || current_dim_env() ? dim_hint_or(n, 0) : int64_t(1) << 40;
  }
  int64_t bytes(GraphValue v) const { return points(v) * dtype_bytes(g_.type(v).dtype); }

  // Computing v again in another cluster: the additions it takes at each of `all` points, or a large number; reductions
  // on the way are noted, and what is read at so many points. Values of rows cost nothing.
  int again_cost(GraphValue v, std::vector<GraphValue>& wide_reads, std::vector<GraphValue>& reductions, int depth, int64_t all) const {
    // Without this, values that are used several times on every way down make it endless.
    constexpr int most_visits = 5000;
    if (depth == 0) again_visits_ = 0;
    if (++again_visits_ > most_visits) return 1000;
    const NodeId n = g_.value(v).node;
    const bool small = !gpu() && points(v) <= all / 8;
    if (n == no_node || forced_[v] || buffer_[v]) {
      if (small) return 0;
      if (std::find(wide_reads.begin(), wide_reads.end(), v) == wide_reads.end()) wide_reads.push_back(v);
      return 0;
    }
    if (kind_[n] == NodeKind::leaf) return 0;
    if (kind_[n] == NodeKind::reduce) { reductions.push_back(v); return 0; }
    // A value of each row among wide ones costs nothing, or is made once and read.
    if (gpu() && kind_[n] == NodeKind::map && depth > 0 && depth < 100 && is_row_of(v, again_points_)) {
      std::vector<GraphValue> row_reads, row_reductions;
      if (again_cost(v, row_reads, row_reductions, 100, all) > 6 || !row_reductions.empty()) reductions.push_back(v);
      else for (GraphValue r : row_reads) if (std::find(wide_reads.begin(), wide_reads.end(), r) == wide_reads.end()) wide_reads.push_back(r);
      return 0;
    }
    if (depth % 100 > 16) return 1000;
    int cost = kind_[n] == NodeKind::view || small ? 0 : op_cost(g_.node(n));
    for_each_value(std::span<const Arg>(g_.node(n).args),
                   [&](const Arg& a) { if (cost < 1000) cost += again_cost(a.value, wide_reads, reductions, depth + 1, all); });
    return cost;
  }

  // A GPU computes some forty additions in the time that it takes to store a value and to read it again.
  bool gpu() const { return target_.kind != DeviceKind::cpu; }
  // On a GPU a value is computed again where that reads less than storing it once and reading it in each other cluster.
  bool few_reads(GraphValue v, const std::vector<GraphValue>& reads) const {
    if (!gpu()) return reads.size() <= 2;
    if (again_points_ <= 1 << 16) return reads.size() <= 6;  // a launch costs more than they do
    int64_t bytes = 0;
    for (GraphValue r : reads) bytes += is_row_of(r, again_points_) ? 0 : dtype_bytes(g_.type(r).dtype);
    const int64_t own = dtype_bytes(g_.type(v).dtype), readers = outside(v);
    return (bytes <= own || bytes * readers < own * (1 + readers)) && reads.size() <= 6;
  }
  bool is_row_of(GraphValue v, int64_t points) const {
    const int64_t own = dim_hint_or(g_.type(v).numel(), 0);
    return own > 1 && own <= points / 16;
  }
  // Whether readers in other clusters should compute v again; then reductions on the way become buffers.
  bool cheap_again(GraphValue v, std::vector<GraphValue>& reductions) {
    std::vector<GraphValue> reads;
    again_points_ = dim_hint_or(g_.type(v).numel(), 0);
    const int cost = again_cost(v, reads, reductions, 0, points(v));
    if (gpu()) return cost <= 48 && few_reads(v, reads);
    int weight = 0;  // quarters of a read
    for (GraphValue r : reads) weight += is_bool(g_.type(r).dtype) ? 1 : 4;
    return cost <= 12 && weight <= 9;
  }

  void choose_buffers() {
    users_.assign(g_.value_count(), {});
    for (NodeId n = 0; n < kind_.size(); ++n)
      if (cluster_[n] != ~0u) producers(n, [&](GraphValue v) { users_[v].push_back(n); });
    buffer_ = forced_;
    for (NodeId n = 0; n < kind_.size(); ++n) {
      if (kind_[n] != NodeKind::map && kind_[n] != NodeKind::reduce) continue;
      for (GraphValue v : g_.node(n).results) {
        if (buffer_[v] || !crosses(v)) continue;
        std::vector<GraphValue> reductions;
        if (kind_[n] == NodeKind::map && cheap_again(v, reductions)) {
          for (GraphValue r : reductions) buffer_[r] = true;
          continue;
        }
        buffer_[v] = true;
      }
    }
    for (NodeId n = 0; n < kind_.size(); ++n)
      if (kind_[n] == NodeKind::view && forced_[g_.node(n).results[0]]) store_sums_behind(n);
  }

  // A view that is stored is a kernel of its own, over its own elements: sums are not taken again for each of them.
  void store_sums_behind(NodeId view) {
    producers(view, [&](GraphValue v) {
      if (buffer_[v] || !computing(v)) return;
      if (kind_[g_.value(v).node] == NodeKind::reduce) {
        buffer_[v] = points(g_.node(view).results[0]) > points(v);
        return;
      }
      std::vector<GraphValue> reads, reductions;
      again_points_ = dim_hint_or(g_.type(v).numel(), 0);
      buffer_[v] = again_cost(v, reads, reductions, 0, points(v)) >= 1000 || !reductions.empty();
    });
  }

  // On a GPU sums over the rows of a matrix are a kernel of their own where nothing else of the cluster reads them: the
  // maps beside them then run at the full width of memory.
  void set_column_sums_apart(uint32_t index) {
    std::vector<NodeId> sums;
    bool stores_maps = false;
    if (column_sums(index, sums, stores_maps) && stores_maps) apart_.insert(apart_.end(), sums.begin(), sums.end());
  }
  // Whether the reductions of a cluster are such sums, and which; stores_maps: whether the cluster stores maps as well.
  bool column_sums(uint32_t index, std::vector<NodeId>& sums, bool& stores_maps) const {
    const Cluster& c = clusters_[index];
    if (c.merged_into != ~0u || c.alone || !c.has_row) return false;
    if (std::find(c.reduced.begin(), c.reduced.end(), c.reduced_rank - 1) != c.reduced.end()) return false;
    for (NodeId n : c.nodes) {
      const GraphValue v = g_.node(n).results[0];
      if (kind_[n] != NodeKind::reduce) {
        // What is stored for each sum would wait for it.
        if (buffer_[v] && g_.type(v).numel() != c.full) return false;
        stores_maps |= buffer_[v];
        continue;
      }
      if (!buffer_[v]) return false;
      for (NodeId user : users_[v])
        if (root(cluster_[user]) == index && g_.type(g_.node(user).results[0]).numel() != c.row) return false;
      sums.push_back(n);
    }
    return true;
  }
  // The same where the maps are to be the epilogue of a product: every sum is of stored values.
  bool sums_of_stored(uint32_t index, std::vector<NodeId>& sums) const {
    bool stored = true;
    if (!column_sums(index, sums, stored)) return false;
    for (NodeId n : sums) producers(n, [&](GraphValue v) { stored &= buffer_[v] && (!computing(v) || kind_[g_.value(v).node] == NodeKind::map); });
    return stored;
  }

  // Several values that leave a cluster are often cheap functions of one inside it: storing that one is less memory.
  void narrow(const Cluster& c) {
    if (c.merged_into != ~0u || c.alone) return;
    for (bool again = true; again;) {
      again = false;
      std::vector<GraphValue> leaving;
      for (NodeId n : c.nodes)
        if (kind_[n] == NodeKind::map)
          for (GraphValue v : g_.node(n).results)
            if (buffer_[v] && !forced_[v]) leaving.push_back(v);
      if (leaving.empty()) return;
      std::vector<GraphValue> candidates;
      for (GraphValue v : leaving) inside(v, c, candidates);
      GraphValue best = ~0u;
      int64_t most = 0;
      std::vector<GraphValue> freed_by_best;
      for (GraphValue u : candidates) {
        buffer_[u] = true;
        std::vector<GraphValue> freed;
        int64_t gain = -bytes(u);
        for (size_t i = leaving.size(); i-- > 0;) {
          const GraphValue v = leaving[i];
          std::vector<GraphValue> reductions;
          buffer_[v] = false;
          if (cheap_again(v, reductions) && reductions.empty()) {
            freed.push_back(v);
            gain += bytes(v);
          } else {
            buffer_[v] = true;
          }
        }
        for (GraphValue v : freed) buffer_[v] = true;
        buffer_[u] = false;
        if (gain > most) most = gain, best = u, freed_by_best = freed;
      }
      if (best == ~0u) return;
      buffer_[best] = true;
      for (GraphValue v : freed_by_best) buffer_[v] = false;
      again = true;
    }
  }
  // The maps of a cluster that v is computed from, up to what has a buffer.
  void inside(GraphValue v, const Cluster& c, std::vector<GraphValue>& out) const {
    producers(g_.value(v).node, [&](GraphValue x) {
      const NodeId n = g_.value(x).node;
      if (n == no_node || buffer_[x] || kind_[n] != NodeKind::map || &clusters_[root(cluster_[n])] != &c ||
          std::find(out.begin(), out.end(), x) != out.end()) return;
      out.push_back(x);
      inside(x, c, out);
    });
  }

  std::vector<GraphValue> group_outputs(const Cluster& c) const {
    std::vector<GraphValue> out;
    for (NodeId n : c.nodes) for (GraphValue v : g_.node(n).results) if (buffer_[v]) out.push_back(v);
    return out;
  }

  // Several passes over rows that are too long to keep compute what they read several times: a value made of many
  // others is stored once instead.
  void store_row_inputs(const Cluster& c) {
    if (c.merged_into != ~0u || c.alone || !c.has_row || dim_hint_or(c.full, 0) / std::max<int64_t>(dim_hint_or(c.row, 1), 1) < 8192) return;
    struct Candidate { GraphValue v; size_t reads; };
    std::vector<Candidate> candidates;
    size_t reductions = 0;
    for (NodeId n : c.nodes) {
      if (kind_[n] != NodeKind::reduce) continue;
      ++reductions;
      producers(n, [&](GraphValue v) {
        if (const size_t reads = large_reads(v, c)) candidates.push_back({v, reads});
      });
    }
    if (reductions < 2) return;
    std::stable_sort(candidates.begin(), candidates.end(), [](auto& a, auto& b) { return a.reads < b.reads; });
    for (auto [v, unused] : candidates) {
      const size_t reads = large_reads(v, c);  // what was stored before may serve here as well
      if (reads < 4) continue;
      for (bool down = true; down;) {  // to the smallest value that is made of all of them
        down = false;
        producers(g_.value(v).node, [&](GraphValue x) {
          if (!down && large_reads(x, c) == reads) v = x, down = true;
        });
      }
      buffer_[v] = true;
      apart_.push_back(g_.value(v).node);
      if (events_visible(EventKind::fusion_refused))
        emit_event(EventKind::fusion_refused, g_.node(g_.value(v).node).op->schema.name,
                   cat("several passes over long rows read it, and it is made of ", reads, " others: it is stored once"));
    }
  }
  // How many large buffers a map of the cluster is computed from; 0 where it cannot be stored before the cluster runs.
  size_t large_reads(GraphValue v, const Cluster& c) const {
    const NodeId n = g_.value(v).node;
    if (n == no_node || buffer_[v] || kind_[n] != NodeKind::map || &clusters_[root(cluster_[n])] != &c) return 0;
    std::vector<GraphValue> reads, reductions;
    if (again_cost(v, reads, reductions, 0, points(v)) >= 1000 || !reductions.empty()) return 0;
    size_t large = 0;
    for (GraphValue r : reads) {
      Dim points = 1;
      for (Dim d : g_.type(r).shape) points = points * d;
      large += dim_hint_or(points, 0) >= dim_hint_or(c.full, 1) / 8;
    }
    return large;
  }

  // Fusing is only right while no value is computed at more points than its cluster has. Where a reduction would be
  // repeated for other points (its result is read along other axes than its own), it becomes a buffer of its own.
  bool split_costly_groups() {
    bool changed = false;
    for (Cluster& c : clusters_) {
      if (c.merged_into != ~0u || c.alone || !c.has_row) continue;
      const std::vector<GraphValue> outputs = group_outputs(c);
      if (outputs.empty()) continue;
      std::vector<bool> read = buffer_;
      for (GraphValue v : outputs) read[v] = false;
      const FusedLoop f = fuse_loop(g_, outputs, read);
      bool nested = false;
      for (size_t i = 0; i < f.loop.insts.size(); ++i) {
        const Inst& inst = f.loop.insts[i];
        if (inst.op != Scalar::reduce) continue;
        Dim points = 1;
        const AxisMask m = f.loop.depends[inst.operand[0]] | inst.axes | f.loop.depends[i];
        for (size_t a = 0; a < f.loop.axes.size(); ++a) if (m >> a & 1) points = points * f.loop.axes[a].extent;
        nested |= points != c.full && dim_hint_or(points, 1) > dim_hint_or(c.full, 1);
      }
      if (!nested) continue;
      for (NodeId n : c.nodes) {
        if (kind_[n] != NodeKind::reduce) continue;
        const GraphValue v = g_.node(n).results[0];
        if (!buffer_[v]) { buffer_[v] = true; changed = true; }
        apart_.push_back(n);
      }
      if (changed) {
        emit_event(EventKind::fusion_refused, g_.node(c.nodes[0]).op->schema.name,
                   "a reduction's result is read along other axes than its own: it becomes a kernel of its own");
        c.alone = true;
      }
    }
    return changed;
  }
  // The clusters that read a value: also those that compute again what another one makes of it, without storing that.
  void find_readers(GraphValue v, std::vector<uint32_t>& readers, std::vector<GraphValue>& seen) const {
    if (std::find(seen.begin(), seen.end(), v) != seen.end()) return;
    seen.push_back(v);
    for (NodeId user : users_[v]) {
      const uint32_t c = root(cluster_[user]);
      if (std::find(readers.begin(), readers.end(), c) == readers.end()) readers.push_back(c);
      for (GraphValue r : g_.node(user).results)
        if (!buffer_[r]) find_readers(r, readers, seen);
    }
  }

  // The first cluster of maps over the contraction's points that reads it takes it in; sums over its rows then read what
  // it stored. Its result stays a buffer where somebody else needs it: then the kernel stores it too.
  void join_epilogue(NodeId n) {
    const GraphValue v = g_.node(n).results[0];
    const uint32_t own = root(cluster_[n]);
    std::vector<uint32_t> readers;
    std::vector<GraphValue> seen;
    find_readers(v, readers, seen);
    std::sort(readers.begin(), readers.end());
    const bool output = std::find(g_.outputs().begin(), g_.outputs().end(), v) != g_.outputs().end();
    for (uint32_t c : readers) {
      Cluster& to = clusters_[c];
      std::vector<NodeId> sums;
      if (c == own || to.alone || to.full != clusters_[own].full || between(own, c) || reads_stored(to, own)) continue;
      if (to.has_row && !sums_of_stored(c, sums)) continue;
      const bool kept = output || readers.size() > 1;
      buffer_[v] = kept;
      std::vector<GraphValue> outputs = group_outputs(to);
      std::erase_if(outputs, [&](GraphValue o) { return std::find(sums.begin(), sums.end(), g_.value(o).node) != sums.end(); });
      if (kept) outputs.push_back(v);
      std::vector<bool> read = buffer_;
      for (GraphValue o : outputs) read[o] = false;
      const auto& [taken, refusal] = providers_.ask(fuse_loop(g_, outputs, read).loop);
      if (taken) {
        apart_.insert(apart_.end(), sums.begin(), sums.end());
        to.nodes.insert(std::lower_bound(to.nodes.begin(), to.nodes.end(), n), n);
        absorb(c, own);
        return;
      }
      buffer_[v] = true;
      if (events_visible(EventKind::fusion_refused))
        emit_event(EventKind::fusion_refused, g_.node(n).op->schema.name, cat("its result is no epilogue's input: ", refusal));
    }
  }

  static int64_t dim_hint_or(Dim d, int64_t otherwise) {
    if (d.is_const()) return d.value();
    return current_dim_env() ? dim_hint(d) : otherwise;
  }

  // --- order

  Partition order_groups() {
    // Groups: a cluster's buffers, but for reductions that were set apart, externs, and buffered views and constants.
    Partition p;
    p.is_buffer = buffer_;
    // Where a user-level op is cut into kernels must not be seen in its bits. (GPU results have a numerics of their own.)
    p.wide.resize(buffer_.size());
    for (GraphValue v = 0; v < buffer_.size(); ++v)
      p.wide[v] = buffer_[v] && !forced_[v] && computing(v) && is_reduced_float(g_.type(v).dtype) && target_.kind == DeviceKind::cpu;
    std::vector<uint32_t> group_of(g_.value_count(), ~0u);
    std::vector<Partition::Group> groups;
    auto add_group = [&](std::vector<GraphValue> outputs, NodeId external) {
      for (GraphValue v : outputs) group_of[v] = uint32_t(groups.size());
      groups.push_back({std::move(outputs), external});
    };
    for (const Cluster& c : clusters_) {
      if (c.merged_into != ~0u) continue;
      if (c.nodes.size() == 1 && kind_[c.nodes[0]] == NodeKind::external) {
        std::vector<GraphValue> results(g_.node(c.nodes[0]).results.begin(), g_.node(c.nodes[0]).results.end());
        add_group(std::move(results), c.nodes[0]);
        continue;
      }
      std::vector<GraphValue> together;
      for (NodeId n : c.nodes) {
        const bool apart = std::find(apart_.begin(), apart_.end(), n) != apart_.end();
        for (GraphValue v : g_.node(n).results) {
          if (!buffer_[v]) continue;
          if (apart || c.alone) add_group({v}, no_node);
          else together.push_back(v);
        }
      }
      if (!together.empty()) add_group(std::move(together), no_node);
    }
    for (GraphValue v = 0; v < g_.value_count(); ++v) {
      const NodeId n = g_.value(v).node;
      if (n != no_node && buffer_[v] && group_of[v] == ~0u) add_group({v}, no_node);
    }
    // Depth-first over what each group reads.
    std::vector<uint8_t> state(groups.size());
    for (uint32_t i = 0; i < groups.size(); ++i) visit(i, groups, group_of, state, p);
    return p;
  }

  template <class F>
  void reads_of(GraphValue v, std::vector<bool>& seen, F&& f) const {
    const NodeId n = g_.value(v).node;
    if (n == no_node) return;
    for_each_value(std::span<const Arg>(g_.node(n).args), [&](const Arg& a) {
      if (seen[a.value]) return;
      seen[a.value] = true;
      if (buffer_[a.value]) f(a.value);
      else reads_of(a.value, seen, f);
    });
  }

  void visit(uint32_t i, std::vector<Partition::Group>& groups, const std::vector<uint32_t>& group_of,
             std::vector<uint8_t>& state, Partition& p) {
    if (state[i] == 2) return;
    PHLOX_CHECK(state[i] == 0, "a cycle between kernels");
    state[i] = 1;
    std::vector<bool> seen(g_.value_count());
    for (GraphValue v : groups[i].outputs)
      reads_of(v, seen, [&](GraphValue r) {
        if (group_of[r] != ~0u && group_of[r] != i) visit(group_of[r], groups, group_of, state, p);
      });
    state[i] = 2;
    p.groups.push_back(groups[i]);
  }

  const Graph& g_;
  const CompileOptions& options_;
  const bool fuse_;
  const Target& target_;
  std::vector<NodeKind> kind_;
  std::vector<uint32_t> cluster_;
  std::vector<NodeId> with_;             // the product that a node is part of
  std::vector<Cluster> clusters_;
  std::vector<bool> forced_, buffer_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<NodeId> apart_;
  ProviderAnswers providers_;
  mutable int64_t again_points_ = 0;  // of the value that again_cost is asked about
  mutable int again_visits_ = 0;      // by that call
};

}  // namespace

Partition partition(const Graph& g, const CompileOptions& options, const Target& target) {
  return Partitioner(g, options, target).run();
}

}  // namespace phlox

#include "compile/compile.h"

#include <atomic>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "base/error.h"
#include "base/hash.h"
#include "providers/attention.h"
#include "providers/library_matmul.h"
#include "providers/one_query.h"
#include "providers/providers.h"
#include "providers/scatter_rows.h"
#include "compile/claim.h"
#include "compile/collapse.h"
#include "base/event.h"
#include "compile/flatten.h"
#include "compile/list_axis.h"
#include "compile/lower.h"
#include "emit/emit.h"
#include "graph/builder.h"
#include "kernel/kernel.h"
#include "ops/decompose.h"
#include "ops/fuse.h"
#include "ops/host_args.h"
#include "program/verify.h"

namespace phlox {

namespace {

constexpr uint32_t no_buffer = ~0u;

// PHLOX_DUMP=dir writes every stage there.
void dump(const std::string& name, const std::string& text) {
  static const char* dir = std::getenv("PHLOX_DUMP");
  if (!dir) return;
  std::error_code ignored;  // opening the file tells
  std::filesystem::create_directories(dir, ignored);
  const std::string path = cat(dir, "/", name);
  if (FILE* f = std::fopen(path.c_str(), "w")) {
    std::fwrite(text.data(), 1, text.size(), f);
    std::fclose(f);
  } else {
    emit_event(EventKind::compile, "PHLOX_DUMP", cat("cannot write ", path, ": ", std::strerror(errno)));
  }
}
void dump(const char* pass, const Graph& g) {
  static std::atomic<int> serial{0};
  static const bool on = std::getenv("PHLOX_DUMP");
  if (on) dump(cat(++serial, ".", pass, ".graph"), print_graph(g));
}

// A line a step: its number in traces, kernel, name, and what it reads and writes.
void dump(const char* name, const Program& p) {
  static std::atomic<int> serial{0};
  static const bool on = std::getenv("PHLOX_DUMP");
  if (!on) return;
  std::string text;
  for (size_t i = 0; i < p.steps.size(); ++i) {
    const Program::Step& s = p.steps[i];
    text += cat(i, " ", s.kind == Program::Step::Kind::launch ? p.kernels[s.kernel].entry : "-", " ", s.name);
    for (uint32_t b : s.buffers) {
      const Program::Buffer& buf = p.buffers[b];
      text += cat(" b", b, ":");
      if (buf.kind == Program::Buffer::Kind::temp) append(text, buf.bytes);
      else text += cat(buf.kind == Program::Buffer::Kind::input ? "in" : "out", buf.index);
    }
    text += "\n";
  }
  dump(cat(++serial, ".", name), text);
}

// Runs a check behind a pass: what it finds names the pass.
template <class F>
void checked(const char* pass, F&& check) {
  try {
    check();
  } catch (const InternalError& e) {
    PHLOX_CHECK(false, "after the pass '", pass, "': ", e.parts().fact, " ", e.parts().got);
  }
}

class Planner {
 public:
  // `interface`: the graph as it came in; its inputs and outputs have the types that callers see.
  Planner(const Graph& g, const Graph& interface, const Target& target, const CompileOptions& options)
      : g_(g), interface_(interface), target_(target), options_(options), program_(make_ref<Program>()), buffer_of_(g.value_count(), no_buffer) {}

  Ref<Program> run(const Partition& p) {
    wide_ = p.wide;
    declare_inputs();
    declare_outputs();
    count_readers(p);
    find_equal_reductions(p);
    for (size_t i = 0; i < p.groups.size(); ++i) {
      at_ = i;
      if (p.groups[i].extern_node != no_node) {
        const Node& n = g_.node(p.groups[i].extern_node);
        if (!add_attention(n, p.is_buffer) && !add_one_query(n, p.is_buffer)) add_extern(n);
      }
      else add_group(p.groups[i], p.is_buffer);
    }
    copy_aliased_outputs();
    for (auto& [input, v] : donated_copies_) add_copy(input, buffer(v), bytes_of(v));
    if (options_.fuse) launches = join_launches(*program_, launches_, target_);
    set_lifetimes();
    return program_;
  }
  int launches = 0;

 private:
  Dim bytes_of(GraphValue v) const {
    const DType d = g_.type(v).dtype;
    return g_.type(v).numel() * dtype_bytes(v < wide_.size() && wide_[v] ? compute_dtype(d) : d);
  }

  uint32_t add_buffer(Program::Buffer::Kind kind, uint32_t index, Dim bytes) {
    program_->buffers.push_back({kind, index, bytes, 0, 0});
    return uint32_t(program_->buffers.size()) - 1;
  }
  uint32_t buffer(GraphValue v) {
    if (buffer_of_[v] == no_buffer) buffer_of_[v] = add_buffer(Program::Buffer::Kind::temp, 0, bytes_of(v));
    return buffer_of_[v];
  }

  void declare_inputs() {
    std::vector<bool> known;
    for (size_t i = 0; i < g_.inputs().size(); ++i) {
      const GraphValue v = g_.inputs()[i];
      const TensorType& t = interface_.type(interface_.inputs()[i]);
      program_->inputs.push_back({t, g_.is_number(v)});
      buffer_of_[v] = add_buffer(Program::Buffer::Kind::input, uint32_t(i), 0);
      auto symbol = [&](Dim d, Program::Symbol::Kind kind, int dim) {
        const int id = d.symbol_id();
        if (id < 0) return;
        if (known.size() <= size_t(id)) { known.resize(size_t(id) + 1); program_->symbols.resize(size_t(id) + 1); }
        if (known[size_t(id)]) return;
        known[size_t(id)] = true;
        program_->symbols[size_t(id)] = {kind, uint32_t(i), uint32_t(dim)};
      };
      for (int d = 0; d < t.rank(); ++d) symbol(t.shape[d], Program::Symbol::Kind::size, d);
      for (size_t d = 0; d < t.strides.size(); ++d) symbol(t.strides[d], Program::Symbol::Kind::stride, int(d));
    }
  }

  void declare_outputs() {
    for (size_t i = 0; i < g_.outputs().size(); ++i) {
      const GraphValue v = g_.outputs()[i];
      TensorType t = interface_.type(interface_.outputs()[i]);
      t.strides.clear();
      t.weak = false;
      program_->outputs.push_back(t);
      program_->output_alias.push_back(-1);
      if (donate(uint32_t(i), v)) continue;
      const uint32_t b = add_buffer(Program::Buffer::Kind::output, uint32_t(i), bytes_of(v));
      if (buffer_of_[v] == no_buffer && !donated_to_.count(v)) buffer_of_[v] = b;
      else aliased_.push_back({v, b});  // an input, or an earlier output once more
    }
  }

  // The output is the new value of an input: remember which input's memory v should be written to.
  bool donate(uint32_t output, GraphValue v) {
    for (auto& [o, input] : options_.donate) {
      if (o != output) continue;
      program_->output_alias[output] = int32_t(input);
      const GraphValue old = g_.inputs()[input];
      if (v == old) return true;  // nothing changed
      const bool fresh = buffer_of_[v] == no_buffer && !donated_to_.count(v);  // no input, and no other output
      if (fresh) donated_to_[v] = old;
      else donated_copies_.push_back({buffer_of_[old], v});
      return true;
    }
    return false;
  }

  // In place where this group is the last to read the old value, and reads each element of it only where the new one
  // is stored.
  bool can_overwrite(GraphValue v, GraphValue old, FusedLoop& f) const {
    if (!options_.on(Pass::in_place)) return false;
    if (last_reader_[old] > int(at_) || !g_.type(old).strides.empty() || g_.type(old).dtype != g_.type(v).dtype) return false;
    uint32_t out_param = ~0u, in_param = ~0u;
    for (size_t i = 0; i < f.outputs.size(); ++i) if (f.outputs[i] == v) out_param = uint32_t(f.inputs.size() + i);
    for (size_t i = 0; i < f.inputs.size(); ++i) if (f.inputs[i] == old) in_param = uint32_t(i);
    if (in_param == ~0u) return true;
    ValueId stored = no_value;
    for (const Store& s : f.loop.stores) if (s.param == out_param) stored = s.address;
    for (const Inst& i : f.loop.insts)
      if (i.op == Scalar::load && uint32_t(i.imm) == in_param && i.operand[0] != stored) return false;
    // It holds the old value: a contraction may not keep unfinished sums in it, and all reductions read before it is
    // written.
    f.loop.params[out_param].kind = Param::Kind::inout;
    return true;
  }

  // A scatter into an input that it is the new value of, as a step of a decoder into its cache: only its elements are written.
  bool stores_into(const Node& n, GraphValue old, const FusedLoop& f) const {
    if (!options_.on(Pass::in_place) || n.args[0].value != old || last_reader_[old] > int(at_) || !g_.type(old).strides.empty()) return false;
    return std::find(f.inputs.begin(), f.inputs.end(), old) == f.inputs.end();
  }

  // A large value that is read here for the last time gives its memory to a result that is stored where it was read.
  void take_over_memory(FusedLoop& f) {
    constexpr int64_t large = 256 << 20;
    for (GraphValue v : f.outputs) {
      const Dim bytes = bytes_of(v);
      if (buffer_of_[v] != no_buffer || !bytes.is_const() || bytes.value() < large) continue;
      for (GraphValue old : f.inputs) {
        if (g_.value(old).node == no_node || buffer_of_[old] == no_buffer || last_reader_[old] != int(at_)) continue;
        if (program_->buffers[buffer_of_[old]].kind != Program::Buffer::Kind::temp || bytes_of(old) != bytes) continue;
        if (std::count_if(buffer_of_.begin(), buffer_of_.end(), [&](uint32_t b) { return b == buffer_of_[old]; }) != 1) continue;
        if (!can_overwrite(v, old, f)) continue;
        buffer_of_[v] = buffer_of_[old];
        break;
      }
    }
  }

  // The last group that reads each value.
  void count_readers(const Partition& p) {
    last_reader_.assign(g_.value_count(), -1);
    std::vector<uint32_t> seen(g_.value_count(), ~0u);
    for (size_t i = 0; i < p.groups.size(); ++i) {
      std::vector<GraphValue> todo = p.groups[i].outputs;
      while (!todo.empty()) {
        const NodeId n = g_.value(todo.back()).node;
        todo.pop_back();
        if (n == no_node) continue;
        for_each_value(std::span<const Arg>(g_.node(n).args), [&](const Arg& a) {
          if (seen[a.value] == i) return;
          seen[a.value] = uint32_t(i);
          if (p.is_buffer[a.value]) last_reader_[a.value] = int(i);
          else todo.push_back(a.value);
        });
      }
    }
    for (auto& [v, unused] : aliased_) last_reader_[v] = int(p.groups.size());  // copied at the end
    for (const DonatedCopy& c : donated_copies_) last_reader_[c.v] = int(p.groups.size());
    for (auto& [v, unused] : donated_to_) last_reader_[v] = int(p.groups.size());  // as well, where it cannot be written in place
  }

  void add_step(Program::Step s, size_t only_read = 0) {
    program_->steps.push_back(std::move(s));
    launches_.only_read.push_back(uint32_t(only_read));
  }

  void add_copy(uint32_t dst, uint32_t src, Dim bytes) {
    Program::Step s;
    s.kind = Program::Step::Kind::copy;
    s.buffers = {dst, src};
    s.bytes = bytes;
    s.name = "copy";
    add_step(std::move(s));
  }

  // A scatter's result starts as its base: in place when nothing reads the base afterwards.
  // Not in place either where its values or indices are computed from the base: they are read while elements change.
  void prepare_in_place(GraphValue v, const FusedLoop& f) {
    const GraphValue base = g_.node(g_.value(v).node).args[0].value;
    if (buffer_of_[v] != no_buffer && buffer_of_[v] == buffer_of_[base]) return;
    const bool reads = std::find(f.inputs.begin(), f.inputs.end(), base) != f.inputs.end();
    const bool dies = !reads && last_reader_[base] == int(at_) && buffer_of_[base] != no_buffer &&
                      program_->buffers[buffer_of_[base]].kind == Program::Buffer::Kind::temp;
    if (dies && (buffer_of_[v] == no_buffer || program_->buffers[buffer_of_[v]].kind == Program::Buffer::Kind::temp)) {
      buffer_of_[v] = buffer_of_[base];
      return;
    }
    if (dies) {  // v is an output: let the base be written there from the start
      const uint32_t old = buffer_of_[base], now = buffer_of_[v];
      for (Program::Step& s : program_->steps) for (uint32_t& b : s.buffers) if (b == old) b = now;
      buffer_of_[base] = now;
      program_->buffers[old].bytes = 0;
      return;
    }
    add_copy(buffer(v), buffer(base), bytes_of(v));
  }

  FusedLoop fuse(const Partition::Group& group, std::vector<bool> is_buffer) const {
    for (GraphValue v : group.outputs) is_buffer[v] = false;
    return fuse_loop(g_, group.outputs, is_buffer, wide_);
  }

  // Reductions of whole tensors to a number that differ in the number of elements only, as the norms of all gradients:
  // one kernel with a size of its own serves all of them.
  void find_equal_reductions(const Partition& p) {
    std::unordered_map<std::string, std::vector<size_t>> same;
    for (size_t i = 0; options_.fuse && i < p.groups.size(); ++i) {
      const Partition::Group& group = p.groups[i];
      if (group.extern_node != no_node || group.outputs.size() != 1 || !g_.type(group.outputs[0]).numel().is(1)) continue;
      if (g_.node(g_.value(group.outputs[0]).node).op->op->record.stores) continue;
      if (std::optional<Flattened> flat = flatten_reduction(fuse(group, p.is_buffer).loop)) {
        same[print_loop(flat->loop)].push_back(i);
        whole_reductions_.emplace(i, std::move(*flat));
      }
    }
    for (const auto& [text, groups] : same)
      if (groups.size() < 4) for (size_t i : groups) whole_reductions_.erase(i);
  }

  std::optional<Flattened> flattened(const Loop& loop) {
    const bool in_place = std::any_of(loop.params.begin(), loop.params.end(), [](const Param& p) { return p.kind == Param::Kind::inout; });
    if (const auto it = whole_reductions_.find(at_); it != whole_reductions_.end() && !in_place) return std::move(it->second);
    return options_.on(Pass::flatten) ? flatten(loop) : std::nullopt;
  }

  void add_group(const Partition::Group& group, const std::vector<bool>& is_buffer) {
    FusedLoop f = fuse(group, is_buffer);
    const Node& first = g_.node(g_.value(group.outputs[0]).node);
    for (GraphValue v : group.outputs)
      if (auto it = donated_to_.find(v); it != donated_to_.end()) {
        if (first.op->op->record.stores ? stores_into(first, it->second, f) : can_overwrite(v, it->second, f)) buffer_of_[v] = buffer_of_[it->second];
        else donated_copies_.push_back({buffer_of_[it->second], v});
      }
    if (target_.kind != DeviceKind::cpu && !first.op->op->record.stores) take_over_memory(f);
    if (first.op->op->record.stores) {
      prepare_in_place(group.outputs[0], f);
      if (add_scattered_rows(first, is_buffer)) return;
    }
    if (add_library_matmul(f)) return;
    if (options_.verify > 1) checked("partition", [&] { verify_loop(f.loop); });
    const std::optional<Flattened> flat = flattened(f.loop);
    if (options_.verify > 1 && flat) checked("flatten", [&] { verify_loop(flat->loop); });
    const Lowering& l = lowering(flat ? flat->loop : f.loop, flat ? &flat->extent : nullptr);
    std::vector<uint32_t> temps;
    for (const Lowered::Temp& t : l.temps) {
      const Dim count = flat ? substitute(t.count, std::span(&flat->extent, 1)) : t.count;
      temps.push_back(add_buffer(Program::Buffer::Kind::temp, 0, count * dtype_bytes(t.dtype)));
    }
    for (uint32_t k : l.kernels) {
      Program::Step s;
      s.kind = Program::Step::Kind::launch;
      s.kernel = k;
      s.name = step_name(group);
      if (flat) s.sizes = {flat->extent};
      s.inputs = uint32_t(f.inputs.size());
      for (GraphValue v : f.inputs) s.buffers.push_back(buffer(v));
      for (GraphValue v : f.outputs) s.buffers.push_back(buffer(v));
      s.buffers.insert(s.buffers.end(), temps.begin(), temps.end());
      add_step(std::move(s), f.inputs.size());
      ++launches;
    }
  }

  // A matrix product that the target's library runs.
  bool add_library_matmul(const FusedLoop& f) {
    if (!target_.has("cublaslt")) return false;
    const bool contraction = std::any_of(f.loop.insts.begin(), f.loop.insts.end(), [](const Inst& i) {
      return i.op == Scalar::reduce && i.order == Order::chain;
    });
    if (!contraction) return false;
    std::string refusal;
    const Loop simple = collapse_axes(f.loop);
    if (options_.on(Pass::providers) && provided(simple, target_, refusal)) return false;
    const auto m = match_library_matmul(simple, refusal);
    if (!m) {
      emit_event(EventKind::provider, cat("loop ", hash_of(f.loop)), cat("not for cuBLASLt: ", refusal));
      return false;
    }
    const auto value = [&](uint32_t p) { return p < f.inputs.size() ? f.inputs[p] : f.outputs[p - f.inputs.size()]; };
    Program::Step s;
    s.kind = Program::Step::Kind::native;
    s.name = "cublaslt.matmul";
    SmallVector<uint32_t, 4> params;
    for (uint32_t p : {m->c, m->a, m->b}) params.push_back(p);
    if (m->bias >= 0) params.push_back(uint32_t(m->bias));
    for (uint32_t p : params) {
      s.buffers.push_back(buffer(value(p)));
      s.types.push_back({});
      s.types.back().dtype = f.loop.params[p].dtype;
    }
    for (int i = 0; i + 1 < int(params.size()); ++i) {
      s.args.push_back({});
      s.args.back().kind = HostAttr::Kind::tensor;
      s.args.back().integer = i;
    }
    s.sizes.assign(m->sizes.begin(), m->sizes.end());
    add_step(std::move(s));
    return true;
  }

  // A name for traces: the ops of the group's results.
  std::string step_name(const Partition::Group& group) const {
    std::string s;
    for (GraphValue v : group.outputs) {
      const std::string& n = g_.node(g_.value(v).node).op->schema.name;
      if (s.size() + n.size() > 60) return s + "+...";
      s += cat(s.empty() ? "" : "+", n.substr(n.find("::") == n.npos ? 0 : n.find("::") + 2));
    }
    return s;
  }

  void add_extern(const Node& n) {
    Program::Step s;
    s.kind = Program::Step::Kind::native;
    const OpRecord& r = n.op->op->record;
    s.name = r.native ? r.native : n.op->schema.full_name();
    s.args = host_call(n).args;
    s.no_capture = has(r.effects, Effects::no_capture);
    auto use = [&](GraphValue v) {
      s.buffers.push_back(buffer(v));
      s.types.push_back(g_.type(v));
    };
    for (GraphValue v : n.results) use(v);
    for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) { use(a.value); });
    add_step(std::move(s));
  }

  // Attention that a provider runs whole: claim() has asked it.
  bool add_attention(const Node& n, const std::vector<bool>& is_buffer) {
    if ((target_.kind == DeviceKind::cpu && !options_.whole_ops) || !runs_whole(g_, n, target_)) return false;
    const bool packed = n.op->schema.name == "prim::flash_backward_packed", backward = packed || n.op->schema.name == "prim::flash_backward";
    const size_t q = backward ? 1 : 0;
    Program::Step s;
    s.kind = Program::Step::Kind::launch;
    s.name = backward ? "attention_backward" : "attention";
    AttentionOperand at[4];
    for (size_t i = 0; i < q + 3; ++i) {
      const std::optional<EvenOperand> o = even_operand(g_, n.args[i].value, is_buffer);
      PHLOX_CHECK(o, "an operand of attention whose rows do not lie evenly");
      at[i] = {o->base, o->steps[0], o->steps[1], o->steps[2]};
      s.buffers.push_back(buffer(o->buffer));
    }
    for (size_t i = q + 3; backward && i < 6; ++i) s.buffers.push_back(buffer(n.args[i].value));
    s.inputs = uint32_t(s.buffers.size());
    for (GraphValue v : n.results) s.buffers.push_back(buffer(v));
    const TensorType &tq = g_.type(n.args[q].value), &tk = g_.type(n.args[q + 1].value);
    const AttentionShape shape{tq.dtype, tq.shape[0], tq.shape[1], tk.shape[1], tq.shape[2], tq.shape[3].value(),
                               n.args[n.args.size() - 2].real, n.args[n.args.size() - 1].bits != 0, packed};
    if (target_.kind == DeviceKind::cpu) {
      add_launch(s, attention_kernel(shape, backward, at));
    } else if (!backward) {
      add_launch(s, attention_forward(shape, {at[0], at[1], at[2]}, target_));
    } else {
      add_launch(s, attention_backward_queries(shape, at, target_));
      add_launch(s, attention_backward_keys(shape, at, target_));
    }
    return true;
  }

  // Equal layers ask for equal kernels.
  struct WholeKernel { AttentionShape shape; bool backward; std::array<AttentionOperand, 4> at; Program::Kernel kernel; };
  const Program::Kernel& attention_kernel(const AttentionShape& shape, bool backward, const AttentionOperand (&at)[4]) {
    const std::array<AttentionOperand, 4> operands{at[0], at[1], at[2], at[3]};
    for (const WholeKernel& w : whole_kernels_)
      if (w.shape == shape && w.backward == backward && w.at == operands) return w.kernel;
    const Kernel k = backward ? attention_backward_cpu(shape, target_, at) : attention_forward_cpu(shape, target_, {at[0], at[1], at[2]});
    if (options_.verify > 1) checked("claim", [&] { verify_kernel(k); });
    whole_kernels_.push_back({shape, backward, operands, program_kernel(k)});
    return whole_kernels_.back().kernel;
  }

  bool add_one_query(const Node& n, const std::vector<bool>& is_buffer) {
    if (n.op->schema.name != "prim::attend_one" || target_.kind != DeviceKind::cuda) return false;
    Program::Step s;
    s.kind = Program::Step::Kind::launch;
    s.name = "attention of one query";
    OneQueryOperand at[3];
    for (size_t i = 0; i < 3; ++i) {
      const std::optional<EvenOperand> o = even_operand(g_, n.args[i].value, is_buffer);
      PHLOX_CHECK(o, "an operand of attention whose rows do not lie evenly");
      at[i] = {o->base, o->steps[0], o->steps[1], o->steps[2]};
      s.buffers.push_back(buffer(o->buffer));
    }
    const bool mask = !n.args[3].is_none();
    if (mask) {
      const std::optional<EvenOperand> o = even_operand(g_, n.args[3].value, is_buffer);
      PHLOX_CHECK(o && o->base.is(0), "a mask that does not lie as a row");
      s.buffers.push_back(buffer(o->buffer));
    }
    s.inputs = uint32_t(s.buffers.size());
    s.buffers.push_back(buffer(n.results[0]));
    add_launch(s, one_query(g_.type(n.args[0].value), g_.type(n.args[1].value).shape[2], n.args[4].real, mask, at));
    return true;
  }

  // Rows added into a table by a dense index, on a GPU.
  bool add_scattered_rows(const Node& n, const std::vector<bool>& is_buffer) {
    if (target_.kind != DeviceKind::cuda || n.op->schema.name != "prim::scatter" || n.args[4].as_string() != "add") return false;
    if (n.args[1].count != 1 || n.args[2].count != 1 || !n.args[2].items()[0].as_dim().is(0) || n.args[1].items()[0].kind != ArgKind::value) return false;
    const GraphValue table = n.results[0], index = n.args[1].items()[0].value, values = n.args[3].value;
    const TensorType &tt = g_.type(table), &ti = g_.type(index), &tv = g_.type(values);
    if (tt.rank() != 2 || tt.dtype != DType::f32 || ti.dtype != DType::i64 || (tv.dtype != DType::f32 && !is_reduced_float(tv.dtype))) return false;
    if (!ti.numel().is_const() || ti.numel().value() > most_scattered_rows || tv.numel() != ti.numel() * tt.shape[1]) return false;
    Program::Step s;
    for (GraphValue v : {index, values}) {
      const std::optional<EvenOperand> o = even_operand(g_, v, is_buffer);
      if (!o || !o->base.is(0)) return false;
      Dim step = 1;
      for (int d = g_.type(v).rank(); d-- > 0; step = step * g_.type(v).shape[d])
        if (!g_.type(v).shape[d].is(1) && o->steps[size_t(d)] != step) return false;
      s.buffers.push_back(buffer(o->buffer));
    }
    s.kind = Program::Step::Kind::launch;
    s.name = "scatter rows";
    s.inputs = 2;
    s.buffers.push_back(buffer(table));
    add_launch(s, scatter_rows(tv.dtype, ti.numel(), tt.shape[1], tt.shape[0]));
    return true;
  }

  // A launch of a provider's kernel.
  void add_launch(Program::Step& s, Program::Kernel k) {
    if (target_.kind != DeviceKind::cpu) k.item_cost = 1000;
    s.kernel = uint32_t(program_->kernels.size());
    for (uint32_t i = 0; i < program_->kernels.size(); ++i)
      if (program_->kernels[i].entry == k.entry && same_words(program_->kernels[i], k)) s.kernel = i;
    if (s.kernel == program_->kernels.size()) {
      program_->kernels.push_back(std::move(k));
      launches_.forms.push_back(nullptr);
    }
    add_step(s, s.inputs);
    ++launches;
  }
  static bool same_words(const Program::Kernel& a, const Program::Kernel& b) {
    return a.items == b.items && std::equal(a.words.begin(), a.words.end(), b.words.begin(), b.words.end(), [](const auto& x, const auto& y) {
      return x.kind == y.kind && x.param == y.param && x.dim == y.dim;
    });
  }

  struct Lowering { std::vector<uint32_t> kernels; std::vector<Lowered::Temp> temps; Loop loop; int64_t like; };

  // GPU schedules look at sizes: a kernel whose size is a symbol of its own serves sizes of one magnitude.
  int64_t magnitude(const Dim* extent) const {
    if (target_.kind == DeviceKind::cpu || !extent) return 0;
    const int64_t n = extent->is_const() ? extent->value() : current_dim_env() ? dim_hint(*extent) : 1024;
    return int64_t(std::bit_ceil(uint64_t(std::max<int64_t>(n, 1))));
  }

  // Equal loops are lowered once: equal layers of a model share their kernels.
  // `own_size`: what the loop's own symbol is here.
  const Lowering& lowering(const Loop& loop, const Dim* own_size) {
    const int64_t like = magnitude(own_size);
    const uint64_t hash = hash_of(loop) ^ uint64_t(like);
    if (!options_.on(Pass::dedup)) lowered_.clear();
    for (auto [it, end] = lowered_.equal_range(hash); it != end; ++it)
      if (it->second.like == like && same_loop(it->second.loop, loop)) return it->second;
    const std::string text = print_loop(loop);
    DimEnv example(std::span(&like, 1));
    std::optional<DimEnvScope> scope;
    if (like) scope.emplace(example);
    const ScheduleOptions schedule{.split_reductions = options_.on(Pass::split), .providers = options_.on(Pass::providers),
                                   .row_scratch = options_.on(Pass::row_scratch)};
    const Lowered low = lower_loop(loop, target_, schedule);
    scope.reset();
    if (options_.verify > 1)
      checked("lower", [&] { for (const Kernel& k : low.kernels) verify_kernel(k); });

    Lowering l;
    l.temps = low.temps;
    for (size_t i = 0; i < low.kernels.size(); ++i) {
      const Kernel& k = low.kernels[i];
      Program::Kernel pk = program_kernel(k, own_size);
      if (i == 0) dump(pk.entry + ".loop", text);
      if (options_.keep_loop_text && i == 0) pk.loop_text = text;
      pk.part = i > 0;
      l.kernels.push_back(uint32_t(program_->kernels.size()));
      launches_.forms.push_back(can_have_list(k) ? std::make_shared<const Kernel>(k) : nullptr);
      program_->kernels.push_back(std::move(pk));
    }
    l.loop = loop;
    l.like = like;
    return lowered_.emplace(hash, std::move(l))->second;
  }
  Program::Kernel program_kernel(const Kernel& k, const Dim* own_size = nullptr) const {
    Program::Kernel pk;
    std::tie(pk.entry, pk.source) = named_text(k);
    dump(pk.entry + ".c", pk.source);
    for (const Word& w : k.words) pk.words.push_back({Program::KernelWord::Kind(w.kind), w.param, w.dim});
    pk.items = k.items;
    pk.item_cost = double(dim_cost(own_size ? substitute(k.item_cost, std::span(own_size, 1)) : k.item_cost));
    pk.scratch_bytes = k.scratch_bytes;
    pk.threads = k.threads;
    pk.shared_bytes = k.shared_bytes;
    pk.cluster = k.cluster;
    pk.early = k.early;
    return pk;
  }
  // A kernel is named by its text alone: whoever else comes to the same text, at another time and for a machine with
  // other caches, finds its code.
  std::pair<std::string, std::string> named_text(const Kernel& k) const {
    const std::string blank = "k_" + std::string(24, '0');
    std::string text = emit_kernel(k, target_, blank);
    const std::string name = "k_" + hex(hash256(text.data(), text.size())).substr(0, 24);
    for (size_t at = 0; (at = text.find(blank, at)) != text.npos; at += name.size()) text.replace(at, name.size(), name);
    return {name, std::move(text)};
  }
  static int64_t dim_cost(Dim d) { return d.is_const() ? d.value() : current_dim_env() ? dim_hint(d) : 1000; }

  void copy_aliased_outputs() {
    for (auto& [v, b] : aliased_) {
      PHLOX_CHECK(g_.value(v).node != no_node || g_.type(v).strides.empty(), "an input with strides is a result");
      add_copy(b, buffer_of_[v], bytes_of(v));
    }
  }

  void set_lifetimes() {
    std::vector<bool> met(program_->buffers.size());
    for (uint32_t i = 0; i < program_->steps.size(); ++i)
      for (uint32_t b : program_->steps[i].buffers) {
        Program::Buffer& buf = program_->buffers[b];
        if (!met[b]) buf.first_step = i;
        met[b] = true;
        buf.last_step = i;
      }
  }

  const Graph& g_;
  const Graph& interface_;
  const Target& target_;
  const CompileOptions& options_;
  Ref<Program> program_;
  std::vector<uint32_t> buffer_of_;
  std::vector<std::pair<GraphValue, uint32_t>> aliased_;
  std::unordered_map<GraphValue, GraphValue> donated_to_;  // new value -> the input whose memory it takes
  struct DonatedCopy { uint32_t input; GraphValue v; };  // at the end: v into an input's buffer
  std::vector<DonatedCopy> donated_copies_;
  std::vector<int> last_reader_;
  std::vector<bool> wide_;
  std::unordered_multimap<uint64_t, Lowering> lowered_;  // by a hash of the loop
  std::vector<WholeKernel> whole_kernels_;
  Launches launches_;
  std::unordered_map<size_t, Flattened> whole_reductions_;  // by group
  size_t at_ = 0;
};

}  // namespace

Ref<Program> compile_graph(const Graph& graph, const Target& target, const CompileOptions& options, CompileReport* report) {
  using Clock = std::chrono::steady_clock;
  auto last = Clock::now();
  auto passed = [&](const char* name) {
    const auto now = Clock::now();
    if (report) report->passes.push_back({name, std::chrono::duration<double, std::milli>(now - last).count()});
    last = now;
  };
  for (int p = 0; p < pass_count; ++p)
    if (!options.on(Pass(p))) emit_event(EventKind::fallback, cat("pass ", pass_name(Pass(p))), "switched off by the options of this compilation");
  auto verified = [&](const char* pass, const Graph& g) {
    if (options.verify > 0) checked(pass, [&] { verify_graph(g); });
  };
  verified("build", graph);
  const bool claims = (options.whole_ops || target.kind != DeviceKind::cpu) && options.on(Pass::providers) && has_claimable(graph);
  Graph g = claims ? decompose(claim(graph, target), options.adds_guards) : decompose(graph, options.adds_guards);
  verified("decompose", g);
  passed("decompose");
  dump("decompose", g);
  if (options.on(Pass::simplify)) {
    g = simplify(g, target.kind != DeviceKind::cpu);
    verified("simplify", g);
    passed("simplify");
    dump("simplify", g);
  }
  if (claims) {
    g = pack_gradients(std::move(g));
    verified("pack gradients", g);
  }
  const Partition p = partition(g, options, target);
  if (options.verify > 0)
    checked("partition", [&] {
      const std::string defect = partition_defect(g, p);
      PHLOX_CHECK(defect.empty(), defect);
    });
  passed("partition");
  Planner planner(g, graph, target, options);
  Ref<Program> program = planner.run(p);
  if (options.verify > 0) checked("plan", [&] { verify_program(*program); });
  passed("lower and plan");
  dump("program", *program);
  if (report) {
    report->graph_nodes = int(g.nodes().size());
    report->unique_kernels = int(program->kernels.size());
    report->kernels = planner.launches;
    report->steps = int(program->steps.size());
  }
  return program;
}

}  // namespace phlox

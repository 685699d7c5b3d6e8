#include "runtime/executable.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <cstring>
#include <string_view>
#include <shared_mutex>
#include <unordered_map>

#include "base/checked.h"
#include "base/error.h"
#include "base/event.h"
#include "base/hash.h"
#include "base/root.h"
#include "base/trace.h"
#include "loop/interpret.h"
#include "runtime/replay.h"

namespace phlox {

Executable::Executable(Ref<Program> program, Device& device, std::vector<void*> entries, std::vector<Ref<Module>> modules)
    : program_(std::move(program)), device_(device), entries_(entries.size()), modules_(std::move(modules)), loops_(entries.size()) {
  for (size_t i = 0; i < entries.size(); ++i) entries_[i].store(entries[i], std::memory_order_relaxed);
}
Executable::~Executable() = default;

const Executable::Plan& Executable::plan(const Ints& symbols) {
  if (const Plan* last = last_plan_.load(std::memory_order_acquire); last && last->symbols == symbols) return *last;
  std::lock_guard lock(mutex_);
  const Plan* found = nullptr;
  const uint64_t hash = hash_bytes(symbols.data(), symbols.size() * sizeof(int64_t));
  for (auto [it, end] = plans_.equal_range(hash); it != end; ++it)
    if (it->second->symbols == symbols) found = it->second.get();
  if (!found) found = plans_.emplace(hash, make_plan(symbols))->second.get();
  last_plan_.store(found, std::memory_order_release);
  return *found;
}

namespace {

constexpr int64_t alignment = 64;

size_t count_tensors(const HostAttr& a) {
  size_t n = a.kind == HostAttr::Kind::tensor;
  for (const HostAttr& i : a.items) n += count_tensors(i);
  return n;
}
bool trace_waits() {
  static const bool on = std::getenv("PHLOX_TRACE_SYNC") != nullptr;
  return on;
}

// Offsets for temporaries that live between steps: largest first, each at the lowest place that is free while it lives.
void lay_out(const Program& p, std::span<const int64_t> bytes, std::vector<int64_t>& offset, int64_t& total) {
  std::vector<uint32_t> order;
  for (uint32_t b = 0; b < p.buffers.size(); ++b)
    if (p.buffers[b].kind == Program::Buffer::Kind::temp && bytes[b] > 0) order.push_back(b);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return bytes[a] > bytes[b]; });
  std::vector<uint32_t> placed;
  for (uint32_t b : order) {
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (uint32_t o : placed)
      if (p.buffers[o].first_step <= p.buffers[b].last_step && p.buffers[b].first_step <= p.buffers[o].last_step)
        taken.push_back({offset[o], offset[o] + bytes[o]});
    std::sort(taken.begin(), taken.end());
    int64_t at = 0;
    for (auto& [begin, end] : taken) {
      if (at + bytes[b] <= begin) break;
      at = std::max(at, (end + alignment - 1) / alignment * alignment);
    }
    offset[b] = at;
    total = std::max(total, at + bytes[b]);
    placed.push_back(b);
  }
}

// Temporaries that live at the same time lie apart. The steps are walked once, with the places that are taken.
void check_layout(const Program& p, std::span<const int64_t> bytes, std::span<const int64_t> offset) {
  std::vector<std::vector<uint32_t>> begins(p.steps.size()), ends(p.steps.size());
  for (uint32_t b = 0; b < p.buffers.size(); ++b) {
    if (offset[b] < 0) continue;
    begins[p.buffers[b].first_step].push_back(b);
    ends[p.buffers[b].last_step].push_back(b);
  }
  std::map<int64_t, int64_t> taken;  // begin, end
  for (size_t step = 0; step < p.steps.size(); ++step) {
    for (uint32_t b : begins[step]) {
      const auto next = taken.lower_bound(offset[b]);
      const bool free = (next == taken.end() || next->first >= offset[b] + bytes[b]) && (next == taken.begin() || std::prev(next)->second <= offset[b]);
      PHLOX_CHECK(free, "the memory plan puts buffer ", b, " where another one lives at step ", step);
      taken[offset[b]] = offset[b] + bytes[b];
    }
    for (uint32_t b : ends[step]) taken.erase(offset[b]);
  }
}

// A piece of work should take at least a few microseconds.
int64_t grain_of(const Program::Kernel& k) { return std::max<int64_t>(1, int64_t(4000 / std::max(k.item_cost, 1.0))); }

// The words of a list: emit/emit.h.
Executable::StepPlan plan_list(const Program& p, const Program::Step& s, const Ints& symbols) {
  const Program::Kernel& k = p.kernels[s.kernel];
  const size_t buffers = s.buffers.size() / s.rows, sizes = s.sizes.size() / s.rows;
  Executable::StepPlan sp;
  sp.words.push_back(s.rows);
  for (size_t row = 0; row < s.rows; ++row) {
    Ints own;
    for (size_t i = 0; i < sizes; ++i) own.push_back(evaluate(s.sizes[row * sizes + i], symbols));
    if (!sizes) own = symbols;
    sp.words.push_back(uint64_t(sp.items));
    for (const Program::KernelWord& word : k.words) {
      const uint32_t at = uint32_t(sp.words.size());
      sp.words.push_back(0);
      const uint32_t buffer = s.buffers[row * buffers + word.param];
      switch (word.kind) {
        case Program::KernelWord::Kind::pointer: sp.pointers.push_back({at, buffer}); break;
        case Program::KernelWord::Kind::dim: sp.words[at] = uint64_t(evaluate(word.dim, own)); break;
        case Program::KernelWord::Kind::number: sp.numbers.push_back({at, p.buffers[buffer].index}); break;
        default: PHLOX_CHECK(false, "a list kernel with a status or scratch word");
      }
    }
    sp.items += std::max<int64_t>(evaluate(k.items, own), 0);
    if (sizes || row == 0) for (int64_t n : own) sp.sizes.push_back(n);
  }
  sp.words.push_back(uint64_t(sp.items));
  sp.threads = k.threads;
  sp.shared_bytes = k.shared_bytes;
  sp.grain = grain_of(k);
  return sp;
}

}  // namespace

std::unique_ptr<Executable::Plan> Executable::make_plan(const Ints& symbols) const {
  const Program& p = *program_;
  auto plan = std::make_unique<Plan>();
  plan->symbols = symbols;
  for (const TensorType& t : p.outputs) {
    Ints shape;
    for (Dim d : t.shape) shape.push_back(evaluate(d, symbols));
    Plan::Output o{t.dtype, Ints(shape.size()), dtype_bytes(t.dtype)};
    int64_t step = 1;
    for (size_t i = shape.size(); i-- > 0;) {
      o.strides[i] = step;
      step *= shape[i] > 0 ? shape[i] : 1;
    }
    for (int64_t n : shape) {
      if (n < 0)
        fail(ErrorCode::invalid_argument, {.op = "call", .fact = "a size of the result would be negative",
                                           .got = cat("[", join(shape, ","), "]"), .expected = "sizes of 0 or more"});
      o.bytes = checked_mul(o.bytes, n, "tensor");
    }
    plan->outputs.push_back(std::move(o));
    plan->output_shapes.push_back(std::move(shape));
  }
  std::vector<int64_t> bytes(p.buffers.size());
  plan->temp_offset.assign(p.buffers.size(), -1);
  for (size_t b = 0; b < p.buffers.size(); ++b)
    if (p.buffers[b].kind == Program::Buffer::Kind::temp) bytes[b] = std::max<int64_t>(evaluate(p.buffers[b].bytes, symbols), 0);
  lay_out(p, bytes, plan->temp_offset, plan->temp_bytes);
  if (plan->temp_bytes > 0) check_layout(p, bytes, plan->temp_offset);
  plan->empty.resize(p.buffers.size());
  bool any_empty = false;
  for (size_t b = 0; b < p.buffers.size(); ++b) {
    const Program::Buffer& buf = p.buffers[b];
    if (buf.kind == Program::Buffer::Kind::temp) plan->empty[b] = bytes[b] == 0;
    else if (buf.kind == Program::Buffer::Kind::input && !p.inputs[buf.index].number) plan->empty[b] = evaluate(p.inputs[buf.index].type.numel(), symbols) == 0;
    else if (buf.kind == Program::Buffer::Kind::output) plan->empty[b] = evaluate(p.outputs[buf.index].numel(), symbols) == 0;
    any_empty = any_empty || plan->empty[b];
  }
  if (any_empty) plan->spare_bytes = 64;
  const auto room = [&](const TensorType& t) {
    int64_t n = dtype_bytes(t.dtype);
    for (Dim d : t.shape) n *= std::max<int64_t>(evaluate(d, symbols), 1);
    plan->spare_bytes = std::max(plan->spare_bytes, n);
  };
  if (any_empty) for (const auto& i : p.inputs) room(i.type);
  if (any_empty) for (const TensorType& t : p.outputs) room(t);
  for (const Program::Step& s : p.steps) {
    StepPlan sp;
    if (s.kind == Program::Step::Kind::copy) sp.bytes = evaluate(s.bytes, symbols);
    if (s.kind == Program::Step::Kind::launch) {
      const Program::Kernel& k = p.kernels[s.kernel];
      if (k.list) {
        plan->steps.push_back(plan_list(p, s, symbols));
        continue;
      }
      Ints own;  // a kernel that serves several shapes has symbols of its own
      for (Dim d : s.sizes) own.push_back(evaluate(d, symbols));
      const Ints& sizes = s.sizes.empty() ? symbols : own;
      sp.words.resize(k.words.size());
      for (uint32_t w = 0; w < k.words.size(); ++w) {
        const Program::KernelWord& word = k.words[w];
        switch (word.kind) {
          case Program::KernelWord::Kind::pointer: sp.pointers.push_back({w, s.buffers[word.param]}); break;
          case Program::KernelWord::Kind::dim: sp.words[w] = uint64_t(evaluate(word.dim, sizes)); break;
          case Program::KernelWord::Kind::number: sp.numbers.push_back({w, p.buffers[s.buffers[word.param]].index}); break;
          case Program::KernelWord::Kind::status: sp.status_word = int32_t(w); break;
          case Program::KernelWord::Kind::scratch: sp.scratch_word = int32_t(w); break;
        }
      }
      sp.items = evaluate(k.items, sizes);
      sp.threads = k.threads;
      sp.shared_bytes = k.shared_bytes;
      sp.sizes = sizes;
      sp.scratch_bytes = std::max<int64_t>(evaluate(k.scratch_bytes, sizes), 0);
      sp.grain = grain_of(k);
    }
    plan->steps.push_back(std::move(sp));
  }
  choose_direct(*plan);
  return plan;
}

static constexpr size_t max_direct_words = 32;

void Executable::choose_direct(Plan& plan) const {
  const Program& p = *program_;
  if (device_.id().kind != DeviceKind::cpu || p.steps.size() != 1 || p.steps[0].kind != Program::Step::Kind::launch) return;
  const StepPlan& sp = plan.steps[0];
  if (plan.temp_bytes > 0 || plan.spare_bytes > 0 || sp.scratch_word >= 0 || sp.words.size() > max_direct_words || sp.items <= 0) return;
  for (const StepPlan::Patch& patch : sp.pointers) {
    const Program::Buffer& b = p.buffers[patch.buffer];
    if (b.kind == Program::Buffer::Kind::temp || b.index > UINT16_MAX) return;
    plan.sources.push_back({uint16_t(patch.word), uint16_t(b.index), b.kind == Program::Buffer::Kind::output});
  }
  plan.direct = true;
}

static void check_status(int64_t status, const Program::Step& s) {
  if (status) [[unlikely]]
    fail(ErrorCode::out_of_range, {.op = s.name, .fact = "index out of range", .expected = "indices inside the indexed dimension"});
}

bool Executable::run_direct(const Plan& plan, std::span<void* const> inputs, std::span<const int64_t> numbers,
                            std::span<void* const> outputs) {
  const Program::Step& s = program_->steps[0];
  const StepPlan& sp = plan.steps[0];
  void* const entry = entries_[s.kernel].load(std::memory_order_acquire);
  if (!entry) return false;
  TraceScope scope("step", s.name);
  uint64_t words[max_direct_words];
  const size_t n = sp.words.size();
  std::memcpy(words, sp.words.data(), n * sizeof words[0]);
  for (const Plan::Source& from : plan.sources)
    words[from.word] = reinterpret_cast<uint64_t>(from.output ? outputs[from.index] : inputs[from.index]);
  for (const StepPlan::Number& number : sp.numbers) words[number.word] = uint64_t(numbers[number.input]);
  int64_t status = 0;
  if (sp.status_word >= 0) words[sp.status_word] = reinterpret_cast<uint64_t>(&status);
  if (sp.items <= sp.grain)  // what launch() would come to
    reinterpret_cast<void (*)(const uint64_t*, int64_t, int64_t)>(entry)(words, 0, sp.items);
  else
    device_.launch({.entry = entry, .words = {words, n}, .items = sp.items, .grain = sp.grain, .scratch_word = -1}, 0);
  check_status(status, s);
  return true;
}

bool writes_buffer(const Program::Step& s, size_t i) {
  switch (s.kind) {
    case Program::Step::Kind::copy: return i == 0;
    case Program::Step::Kind::launch: return i % (s.buffers.size() / std::max(s.rows, 1u)) >= s.inputs;
    case Program::Step::Kind::native: break;
  }
  size_t operands = 0;
  for (const HostAttr& a : s.args) operands += count_tensors(a);
  return i < s.buffers.size() - operands;
}

void Executable::bind(const Plan& plan, std::span<void* const> inputs, std::span<void* const> outputs, void* temp, std::span<void*> buffers) const {
  for (size_t b = 0; b < buffers.size(); ++b) {
    const Program::Buffer& buf = program_->buffers[b];
    buffers[b] = buf.kind == Program::Buffer::Kind::input ? inputs[buf.index]
                 : buf.kind == Program::Buffer::Kind::output ? outputs[buf.index]
                 : plan.temp_offset[b] >= 0 ? static_cast<char*>(temp) + plan.temp_offset[b] : nullptr;
  }
}

// --- replays of the plans that were used last

struct Executable::Replays {
  static constexpr size_t most = 8;  // each keeps graphs and copies of arguments
  std::mutex mutex;
  std::unique_ptr<bool[]> moving;
  size_t inputs = 0;
  struct Entry { const Plan* plan; std::shared_ptr<Replay> replay; };
  std::vector<Entry> entries;        // used last first
  std::shared_ptr<Replay> of(Executable& e, const Plan& plan, Device& device) {
    std::lock_guard lock(mutex);
    for (size_t i = 0; i < entries.size(); ++i)
      if (entries[i].plan == &plan) {
        std::rotate(entries.begin(), entries.begin() + int64_t(i), entries.begin() + int64_t(i) + 1);
        return entries[0].replay;
      }
    if (entries.size() == most) {
      emit_event(EventKind::capture, e.program().steps.empty() ? "program" : e.program().steps[0].name,
                 cat("more than ", most, " sizes are in use: the graphs of those used longest ago are dropped"));
      entries.pop_back();
    }
    entries.insert(entries.begin(), {&plan, std::make_shared<Replay>(e, plan, device, std::span(moving.get(), inputs))});
    return entries[0].replay;
  }
};

void Executable::enable_replay(std::vector<bool> moving) {
  if (!device_.can_record()) return;
  if (const char* v = std::getenv("PHLOX_CAPTURE"); v && std::string_view(v) == "off") return;
  PHLOX_CHECK(plans_.empty() && moving.size() == program_->inputs.size(), "replay is enabled before the first plan");
  program_ = arrange_for_replay(*program_, device_);
  replays_ = std::make_unique<Replays>();
  replays_->inputs = moving.size();
  replays_->moving = std::make_unique<bool[]>(moving.size());
  for (size_t i = 0; i < moving.size(); ++i) replays_->moving[i] = moving[i];
}

std::string Executable::replay_report() const {
  if (!replays_) return {};
  std::lock_guard lock(replays_->mutex);
  std::string s = "[";
  for (const auto& e : replays_->entries) {
    const Replay::Stats& t = e.replay->stats();
    s += cat(s.size() > 1 ? ", " : "", "{\"runs\": ", t.runs, ", \"replays\": ", t.replays, ", \"recordings\": ", t.recordings,
             ", \"graphs\": ", t.graphs, ", \"cuts\": ", t.cuts, "}");
  }
  return s + "]";
}

void Executable::run(const Plan& plan, std::span<void* const> inputs, std::span<const int64_t> numbers,
                     std::span<void* const> outputs, StreamId stream) {
  if (plan.direct && run_direct(plan, inputs, numbers, outputs)) return;
  if (replays_) return replays_->of(*this, plan, device_)->run(inputs, numbers, outputs, stream);
  run_plain(plan, inputs, numbers, outputs, stream);
}

void Executable::run_plain(const Plan& plan, std::span<void* const> inputs, std::span<const int64_t> numbers,
                           std::span<void* const> outputs, StreamId stream) {
  SmallVector<void*, 16> buffers(program_->buffers.size());
  char* temp = plan.temp_bytes ? static_cast<char*>(device_.alloc(plan.temp_bytes, stream)) : nullptr;
  struct Free {
    Device& d; void* p; StreamId s;
    ~Free() { if (p) d.free(p, s); }
  } free_temp{device_, temp, stream};
  bind(plan, inputs, outputs, temp, buffers);
  // A bad index into a dimension is reported and reads as 0; where that dimension has no elements at all, there must be
  // something to read all the same.
  char* spare = plan.spare_bytes ? static_cast<char*>(device_.alloc(plan.spare_bytes, stream)) : nullptr;
  Free free_spare{device_, spare, stream};
  if (spare && device_.id().kind == DeviceKind::cpu) std::memset(spare, 0, size_t(plan.spare_bytes));
  if (spare) for (size_t b = 0; b < buffers.size(); ++b) if (plan.empty[b]) buffers[b] = spare;
  for (size_t i = 0; i < program_->steps.size(); ++i) run_step(i, plan, buffers, numbers, stream);
}

void Executable::run_step(size_t i, const Plan& plan, std::span<void* const> buffers, std::span<const int64_t> numbers, StreamId stream) {
  const Program& p = *program_;
  const bool on_gpu = device_.id().kind != DeviceKind::cpu;
  const Program::Step& s = p.steps[i];
  const StepPlan& sp = plan.steps[i];
  if (s.kind == Program::Step::Kind::copy)
    return device_.copy(buffers[s.buffers[0]], buffers[s.buffers[1]], sp.bytes, Device::CopyKind::on_device, stream);
  TraceScope scope("step", s.name, {"step", int64_t(i)}, {"items", sp.items});
  // PHLOX_TRACE_SYNC: spans of a device that works on its own last until it is done. Not while it records.
  struct Wait {
    Device* d; StreamId s;
    ~Wait() { if (d) try { d->synchronize(s); } catch (...) {} }
  } wait{on_gpu && stream == 0 && trace_is_on() && trace_waits() ? &device_ : nullptr, stream};
  if (s.kind == Program::Step::Kind::native) return run_native(s, plan, buffers, stream);
  int64_t status = 0;
  void* const entry = entries_[s.kernel].load(std::memory_order_acquire);
  // The interpreter runs a loop whole at its first part, which has no items where a reduction is over nothing.
  if (sp.items <= 0 && (entry || on_gpu)) return;
  if (entry) {
    SmallVector<uint64_t, 24> words;
    words.append(sp.words.begin(), sp.words.end());
    for (auto& patch : sp.pointers) words[patch.word] = reinterpret_cast<uint64_t>(buffers[patch.buffer]);
    for (auto& n : sp.numbers) words[n.word] = uint64_t(numbers[n.input]);
    if (sp.status_word >= 0)
      words[size_t(sp.status_word)] = reinterpret_cast<uint64_t>(on_gpu ? device_status(device_, stream) : &status);
    if (on_gpu && words.empty()) words.push_back(0);  // a kernel declares at least one
    Launch launch{.entry = entry, .words = words, .items = sp.items, .grain = sp.grain,
                  .scratch_word = sp.scratch_word, .scratch_bytes = sp.scratch_bytes};
    if (on_gpu) {
      PHLOX_CHECK(sp.items <= INT32_MAX, "a launch of ", sp.items, " blocks");
      launch.grid[0] = uint32_t(sp.items);
      launch.block[0] = sp.threads;
      launch.shared_bytes = sp.shared_bytes;
      launch.early = p.kernels[s.kernel].early;
    }
    device_.launch(launch, stream);
  } else if (on_gpu) {
    fail(ErrorCode::device, {.op = s.name, .fact = "there is no compiler for kernels of this device",
                             .got = cat(device_.id()), .expected = "NVRTC (libnvrtc.so.12 or newer)",
                             .remedy = "install the CUDA toolkit's runtime compiler, or set PHLOX_CUDA_PATH to its folder"});
  } else if (!p.kernels[s.kernel].part) {
    interpret(sp, s, buffers, numbers, &status);
  }
  check_status(status, s);
}

void Executable::interpret(const StepPlan& sp, const Program::Step& step, std::span<void* const> buffers,
                           std::span<const int64_t> numbers, int64_t* status) {
  const Program::Kernel& k = program_->kernels[step.kernel];
  PHLOX_CHECK(!k.loop_text.empty(), "kernel ", k.entry, " has neither code nor a loop");
  {
    std::lock_guard lock(mutex_);
    if (!loops_[step.kernel]) loops_[step.kernel] = std::make_unique<Loop>(parse_loop(k.loop_text));
  }
  const Loop& loop = *loops_[step.kernel];
  const size_t per_row = step.buffers.size() / step.rows, own = step.sizes.size() / step.rows;
  for (size_t row = 0; row < step.rows; ++row) {
    std::vector<void*> pointers;
    std::vector<int64_t> bits;
    for (size_t i = 0; i < loop.params.size(); ++i) {
      const uint32_t buffer = step.buffers[row * per_row + i];
      pointers.push_back(buffers[buffer]);
      bits.push_back(loop.params[i].kind == Param::Kind::number ? numbers[program_->buffers[buffer].index] : 0);
    }
    const std::span<const int64_t> all = sp.sizes, symbols = own ? all.subspan(row * own, own) : all;
    interpret_loop(loop, {.pointers = pointers, .numbers = bits, .symbols = symbols, .status = status});
  }
}

void Executable::run_native(const Program::Step& step, const Plan& plan, std::span<void* const> buffers, StreamId stream) {
  const DeviceKind kind = device_.id().kind;
  const DeviceFunction own = kind == DeviceKind::cpu ? nullptr : find_device_native(kind, step.name);
  const HostFunction f = own ? nullptr : find_native(step.name);
  if (!f && !own) fail(ErrorCode::not_found, {.op = step.name, .fact = "no native function of this name is linked in"});
  HostCall call;
  call.args = step.args;
  // Results come first: those that no argument names.
  size_t operands = 0;
  for (const HostAttr& a : step.args) operands += count_tensors(a);
  const size_t results = step.buffers.size() - operands;
  for (size_t i = 0; i < step.buffers.size(); ++i) {
    HostTensor t;
    t.dtype = step.types[i].dtype;
    for (Dim d : step.types[i].shape) t.shape.push_back(evaluate(d, plan.symbols));
    t.data = buffers[step.buffers[i]];
    (i < results ? call.out : call.in).push_back(std::move(t));
  }
  if (own) {
    Ints sizes;
    for (Dim d : step.sizes) sizes.push_back(evaluate(d, plan.symbols));
    return own({device_, stream, call, sizes});
  }
  if (kind == DeviceKind::cpu) return f(call);
  // On the host, between copies.
  emit_event(EventKind::fallback, step.name, cat("runs on the host: ", device_.id(), " has no function of its own"));
  std::vector<std::vector<std::byte>> memory;
  SmallVector<void*, 8> out;
  const auto to_host = [&](HostTensor& t, bool read) {
    memory.emplace_back(size_t(std::max<int64_t>(t.bytes(), 1)));
    if (read && t.bytes() > 0) device_.copy(memory.back().data(), t.data, t.bytes(), Device::CopyKind::to_host, stream);
    t.data = memory.back().data();
  };
  for (HostTensor& t : call.out) { out.push_back(t.data); to_host(t, false); }
  for (HostTensor& t : call.in) to_host(t, true);
  device_.synchronize(stream);
  f(call);
  for (size_t i = 0; i < call.out.size(); ++i)
    if (call.out[i].bytes() > 0) device_.copy(out[i], call.out[i].data, call.out[i].bytes(), Device::CopyKind::to_device, stream);
}

// --- natives

namespace {
struct Natives {
  std::shared_mutex mutex;
  std::unordered_map<std::string, HostFunction> table;
  std::unordered_map<std::string, DeviceFunction> on_devices;  // by kind and name
};
struct DeviceStatus {
  std::mutex mutex;
  std::unordered_map<Device*, int64_t*> words;
};
}  // namespace

int64_t* device_status(Device& device, StreamId stream) {
  DeviceStatus& s = root_object<DeviceStatus>();
  std::lock_guard lock(s.mutex);
  int64_t*& word = s.words[&device];
  if (!word) {
    word = static_cast<int64_t*>(device.alloc(sizeof *word, stream));
    device.fill_zero(word, sizeof *word, stream);
    device.synchronize(stream);
  }
  return word;
}

void check_device_status(Device& device) {
  if (device.id().kind == DeviceKind::cpu) return;
  DeviceStatus& s = root_object<DeviceStatus>();
  int64_t bad = 0;
  {
    std::lock_guard lock(s.mutex);
    const auto it = s.words.find(&device);
    if (it == s.words.end()) return;
    device.copy(&bad, it->second, sizeof bad, Device::CopyKind::to_host, 0);
    device.synchronize(0);
    if (bad) device.fill_zero(it->second, sizeof bad, 0);
  }
  if (bad)
    fail(ErrorCode::out_of_range, {.op = cat("a kernel on ", device.id()), .fact = "index out of range",
                                   .got = cat(bad > 0 ? bad - 1 : bad), .expected = "indices inside the indexed dimension"});
}

void register_device_native(DeviceKind kind, const std::string& name, DeviceFunction f) {
  Natives& n = root_object<Natives>();
  std::unique_lock lock(n.mutex);
  n.on_devices[cat(device_kind_name(kind), " ", name)] = f;
}
DeviceFunction find_device_native(DeviceKind kind, const std::string& name) {
  Natives& n = root_object<Natives>();
  std::shared_lock lock(n.mutex);
  auto it = n.on_devices.find(cat(device_kind_name(kind), " ", name));
  return it == n.on_devices.end() ? nullptr : it->second;
}

void register_native(const std::string& name, HostFunction f) {
  Natives& n = root_object<Natives>();
  std::unique_lock lock(n.mutex);
  n.table[name] = f;
}
HostFunction find_native(const std::string& name) {
  Natives& n = root_object<Natives>();
  std::shared_lock lock(n.mutex);
  auto it = n.table.find(name);
  return it == n.table.end() ? nullptr : it->second;
}

}  // namespace phlox

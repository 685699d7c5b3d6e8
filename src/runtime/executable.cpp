#include "runtime/executable.h"

#include <algorithm>
#include <cstring>
#include <shared_mutex>
#include <unordered_map>

#include "base/checked.h"
#include "base/error.h"
#include "base/root.h"
#include "base/trace.h"
#include "loop/interpret.h"

namespace phlox {

Executable::Executable(Ref<Program> program, Device& device, std::vector<void*> entries)
    : program_(std::move(program)), device_(device), entries_(entries.size()), loops_(entries.size()) {
  for (size_t i = 0; i < entries.size(); ++i) entries_[i].store(entries[i], std::memory_order_relaxed);
}
Executable::~Executable() = default;

const Executable::Plan& Executable::plan(const Ints& symbols) {
  if (const Plan* last = last_plan_.load(std::memory_order_acquire); last && last->symbols == symbols) return *last;
  std::lock_guard lock(mutex_);
  const Plan* found = nullptr;
  for (auto& p : plans_) if (p->symbols == symbols) found = p.get();
  if (!found) found = plans_.emplace_back(make_plan(symbols)).get();
  last_plan_.store(found, std::memory_order_release);
  return *found;
}

namespace {

constexpr int64_t alignment = 64;

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

}  // namespace

std::unique_ptr<Executable::Plan> Executable::make_plan(const Ints& symbols) const {
  const Program& p = *program_;
  auto plan = std::make_unique<Plan>();
  plan->symbols = symbols;
  for (const TensorType& t : p.outputs) {
    Ints shape;
    for (Dim d : t.shape) shape.push_back(evaluate(d, symbols));
    plan->output_shapes.push_back(std::move(shape));
  }
  std::vector<int64_t> bytes(p.buffers.size());
  plan->temp_offset.assign(p.buffers.size(), -1);
  for (size_t b = 0; b < p.buffers.size(); ++b)
    if (p.buffers[b].kind == Program::Buffer::Kind::temp) bytes[b] = std::max<int64_t>(evaluate(p.buffers[b].bytes, symbols), 0);
  lay_out(p, bytes, plan->temp_offset, plan->temp_bytes);
  for (const Program::Step& s : p.steps) {
    StepPlan sp;
    if (s.kind == Program::Step::Kind::copy) sp.bytes = evaluate(s.bytes, symbols);
    if (s.kind == Program::Step::Kind::launch) {
      const Program::Kernel& k = p.kernels[s.kernel];
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
      sp.sizes = sizes;
      sp.scratch_bytes = std::max<int64_t>(evaluate(k.scratch_bytes, sizes), 0);
      // A piece of work should take at least a few microseconds.
      sp.grain = std::max<int64_t>(1, int64_t(4000 / std::max(k.item_cost, 1.0)));
    }
    plan->steps.push_back(std::move(sp));
  }
  return plan;
}

void Executable::run(const Plan& plan, std::span<void* const> inputs, std::span<const int64_t> numbers,
                     std::span<void* const> outputs, StreamId stream) {
  const Program& p = *program_;
  SmallVector<void*, 16> buffers(p.buffers.size());
  char* temp = plan.temp_bytes ? static_cast<char*>(device_.alloc(plan.temp_bytes, stream)) : nullptr;
  struct Free {
    Device& d; void* p; StreamId s;
    ~Free() { if (p) d.free(p, s); }
  } free_temp{device_, temp, stream};
  for (size_t b = 0; b < p.buffers.size(); ++b) {
    const Program::Buffer& buf = p.buffers[b];
    buffers[b] = buf.kind == Program::Buffer::Kind::input ? inputs[buf.index]
                 : buf.kind == Program::Buffer::Kind::output ? outputs[buf.index]
                 : plan.temp_offset[b] >= 0 ? temp + plan.temp_offset[b] : nullptr;
  }
  for (size_t i = 0; i < p.steps.size(); ++i) {
    const Program::Step& s = p.steps[i];
    const StepPlan& sp = plan.steps[i];
    if (s.kind == Program::Step::Kind::copy) {
      device_.copy(buffers[s.buffers[0]], buffers[s.buffers[1]], sp.bytes, Device::CopyKind::on_device, stream);
      continue;
    }
    TraceScope scope("step", s.name);
    if (s.kind == Program::Step::Kind::native) { run_native(s, plan, buffers); continue; }
    if (sp.items <= 0) continue;
    int64_t status = 0;
    if (void* entry = entries_[s.kernel].load(std::memory_order_acquire)) {
      SmallVector<uint64_t, 24> words;
      words.append(sp.words.begin(), sp.words.end());
      for (auto& patch : sp.pointers) words[patch.word] = reinterpret_cast<uint64_t>(buffers[patch.buffer]);
      for (auto& n : sp.numbers) words[n.word] = uint64_t(numbers[n.input]);
      if (sp.status_word >= 0) words[size_t(sp.status_word)] = reinterpret_cast<uint64_t>(&status);
      device_.launch({.entry = entry, .words = words, .items = sp.items, .grain = sp.grain,
                      .scratch_word = sp.scratch_word, .scratch_bytes = sp.scratch_bytes}, stream);
    } else if (!p.kernels[s.kernel].part) {
      interpret(sp, s, buffers, numbers, &status);
    }
    if (status)
      fail(ErrorCode::out_of_range, {.op = s.name, .fact = "index out of range",
                                     .expected = "indices inside the indexed dimension"});
  }
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
  std::vector<void*> pointers;
  std::vector<int64_t> bits;
  for (size_t i = 0; i < loop.params.size(); ++i) {
    const Program::Buffer& b = program_->buffers[step.buffers[i]];
    pointers.push_back(buffers[step.buffers[i]]);
    bits.push_back(loop.params[i].kind == Param::Kind::number ? numbers[b.index] : 0);
  }
  interpret_loop(loop, {.pointers = pointers, .numbers = bits, .symbols = sp.sizes, .status = status});
}

void Executable::run_native(const Program::Step& step, const Plan& plan, std::span<void* const> buffers) {
  HostFunction f = find_native(step.name);
  if (!f) fail(ErrorCode::not_found, {.op = step.name, .fact = "no native function of this name is linked in"});
  HostCall call;
  call.args = step.args;
  // Results come first: those that no argument names.
  size_t operands = 0;
  auto count = [&](auto&& self, const HostAttr& a) -> void {
    if (a.kind == HostAttr::Kind::tensor) ++operands;
    for (const HostAttr& i : a.items) self(self, i);
  };
  for (const HostAttr& a : step.args) count(count, a);
  const size_t results = step.buffers.size() - operands;
  for (size_t i = 0; i < step.buffers.size(); ++i) {
    HostTensor t;
    t.dtype = step.types[i].dtype;
    for (Dim d : step.types[i].shape) t.shape.push_back(evaluate(d, plan.symbols));
    t.data = buffers[step.buffers[i]];
    (i < results ? call.out : call.in).push_back(std::move(t));
  }
  f(call);
}

// --- natives

namespace {
struct Natives {
  std::shared_mutex mutex;
  std::unordered_map<std::string, HostFunction> table;
};
}  // namespace

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

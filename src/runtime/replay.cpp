#include "runtime/replay.h"

#include <algorithm>

#include "base/error.h"
#include "base/event.h"
#include "base/root.h"
#include "base/trace.h"

namespace phlox {

// Temporaries of all replays of a device.
struct TempBlock final : RefCounted {
  Device& device;
  void* data;
  int64_t bytes;
  TempBlock(Device& d, int64_t n) : device(d), data(d.alloc(n, 0)), bytes(n) {}
  ~TempBlock() { device.free(data, 0); }
};

namespace {

constexpr int64_t copied_at_once = 4 << 20;  // a copy of 4 MiB takes 3 microseconds of a GPU: less than recording again
constexpr int patience = 3;                  // moves of an address before its contents are copied

struct ReplayMemory {
  std::mutex mutex;
  std::vector<Ref<TempBlock>> blocks;
  struct Recorder { Device* device; StreamId stream; };
  std::vector<Recorder> recorders;
  std::mutex recording;  // one at a time in the process
};

Ref<TempBlock> temp_block(Device& device, int64_t bytes) {
  ReplayMemory& m = root_object<ReplayMemory>();
  std::lock_guard lock(m.mutex);
  for (const Ref<TempBlock>& b : m.blocks)
    if (&b->device == &device && b->bytes >= bytes) return b;
  // A larger one takes the place of those that nobody uses any more.
  std::erase_if(m.blocks, [&](const Ref<TempBlock>& b) { return &b->device == &device && b->use_count() == 1; });
  m.blocks.push_back(make_ref<TempBlock>(device, bytes));
  return m.blocks.back();
}
// Gives back what only the registry holds.
void drop_temp_blocks() {
  ReplayMemory& m = root_object<ReplayMemory>();
  std::lock_guard lock(m.mutex);
  std::erase_if(m.blocks, [](const Ref<TempBlock>& b) { return b->use_count() == 1; });
}

// Work of other threads goes on while one records: it does so on a stream that nobody else knows.
StreamId recording_stream(Device& device) {
  ReplayMemory& m = root_object<ReplayMemory>();
  std::lock_guard lock(m.mutex);
  for (const auto& r : m.recorders)
    if (r.device == &device) return r.stream;
  m.recorders.push_back({&device, device.create_stream()});
  return m.recorders.back().stream;
}

int64_t bytes_of(const TensorType& t, const Ints& symbols) {
  return evaluate(t.numel(), symbols) * dtype_bytes(t.dtype);
}

}  // namespace

std::string replay_refusal(const Program::Step& s, const Device& device) {
  if (s.no_capture) return "the op says that it cannot be captured";
  if (s.kind != Program::Step::Kind::native) return {};
  const DeviceKind kind = device.id().kind;
  if (!find_device_native(kind, s.name)) return cat("it runs on the host: ", device.id(), " has no function of its own for it");
  return {};
}

Ref<Program> arrange_for_replay(const Program& p, const Device& device) {
  Ref<Program> r = make_ref<Program>();
  r->inputs = p.inputs, r->outputs = p.outputs, r->output_alias = p.output_alias, r->symbols = p.symbols;
  r->buffers = p.buffers, r->kernels = p.kernels;
  const size_t n = p.steps.size();
  std::vector<bool> cut(n);
  for (size_t i = 0; i < n; ++i) cut[i] = !replay_refusal(p.steps[i], device).empty();

  // Who waits for whom: readers for the last writer, writers for everybody before.
  std::vector<std::vector<uint32_t>> next(n);
  std::vector<uint32_t> waits(n);
  std::vector<int64_t> writer(p.buffers.size(), -1);
  std::vector<std::vector<uint32_t>> readers(p.buffers.size());
  const auto after = [&](size_t step, int64_t before) {
    if (before < 0 || size_t(before) == step) return;
    next[size_t(before)].push_back(uint32_t(step));
    ++waits[step];
  };
  for (size_t i = 0; i < n; ++i) {
    const Program::Step& s = p.steps[i];
    for (const bool writes : {false, true})
      for (size_t b = 0; b < s.buffers.size(); ++b) {
        if (writes_buffer(s, b) != writes) continue;
        const uint32_t buffer = s.buffers[b];
        after(i, writer[buffer]);
        if (!writes) {
          readers[buffer].push_back(uint32_t(i));
          continue;
        }
        for (uint32_t x : readers[buffer]) after(i, x);
        readers[buffer].clear();
        writer[buffer] = int64_t(i);
      }
  }
  // Of what can run: all that can be recorded first, in the order it had, then everything else at once.
  std::vector<uint32_t> order;
  std::vector<bool> done(n);
  while (order.size() < n) {
    const size_t before = order.size();
    for (const bool cuts : {false, true}) {
      const size_t from = order.size();
      for (bool again = true; again;) {
        again = false;
        for (uint32_t i = 0; i < n; ++i) {
          if (done[i] || waits[i] || cut[i] != cuts) continue;
          done[i] = true;
          order.push_back(i);
          if (cuts) continue;  // what waits for it may be such a step too, but comes with the next round of them
          for (uint32_t k : next[i]) --waits[k];
          again = true;
        }
        if (cuts) break;
      }
      if (cuts)
        for (size_t k = from; k < order.size(); ++k)
          for (uint32_t x : next[order[k]]) --waits[x];
    }
    PHLOX_CHECK(order.size() > before, "steps that wait for each other");
  }
  for (uint32_t i : order) r->steps.push_back(p.steps[i]);
  std::vector<bool> met(r->buffers.size());
  for (uint32_t i = 0; i < n; ++i)
    for (uint32_t b : r->steps[i].buffers) {
      if (!met[b]) r->buffers[b].first_step = i;
      met[b] = true;
      r->buffers[b].last_step = i;
    }
  return r;
}

Replay::Replay(Executable& executable, const Executable::Plan& plan, Device& device, std::span<const bool> moving)
    : executable_(executable), plan_(plan), program_(executable.program()), device_(device) {
  for (const Program::Input& i : program_.inputs) off_ |= i.number;
  off_ |= !device.can_record();
  find_slots(moving);
  find_pieces();
}

Replay::~Replay() {
  for (Slot& s : slots_)
    if (s.own) device_.free(s.own, 0);
  pieces_.clear();
  temp_ = {};
  drop_temp_blocks();
}

void Replay::find_slots(std::span<const bool> moving) {
  std::vector<bool> changed(program_.inputs.size());
  for (int32_t alias : program_.output_alias)
    if (alias >= 0) changed[size_t(alias)] = true;
  for (uint32_t i = 0; i < program_.inputs.size(); ++i) {
    const TensorType& t = program_.inputs[i].type;
    const int64_t bytes = bytes_of(t, plan_.symbols);
    Slot s{.index = i, .output = false, .bytes = bytes, .written = changed[i]};
    // Views with gaps stay where they are.
    if (moving[i] && bytes <= copied_at_once && t.strides.empty()) s.moves = patience + 1;
    slots_.push_back(s);
  }
  for (uint32_t i = 0; i < program_.outputs.size(); ++i) {
    if (program_.output_alias[i] >= 0) continue;
    const int64_t bytes = bytes_of(program_.outputs[i], plan_.symbols);
    slots_.push_back({.index = i, .output = true, .bytes = bytes, .moves = bytes <= copied_at_once ? patience + 1 : 0});
  }
}

// Runs of one or two steps are not worth a graph.
void Replay::find_pieces() {
  for (size_t i = 0; i < program_.steps.size();) {
    const std::string why = replay_refusal(program_.steps[i], device_);
    size_t last = i + 1;
    if (!why.empty()) {
      ++stats_.cuts;
      emit_event(EventKind::capture, program_.steps[i].name, cat("cut: ", why));
    } else {
      while (last < program_.steps.size() && replay_refusal(program_.steps[last], device_).empty()) ++last;
    }
    pieces_.push_back({i, last, why.empty() && last - i > 2, {}});
    i = last;
  }
}

void Replay::copy_from_now_on(Slot& s, StreamId stream, bool expected) {
  s.own = device_.alloc(std::max<int64_t>(s.bytes, 1), stream);
  if (!expected)
    emit_event(EventKind::capture, cat(s.output ? "output " : "input ", s.index),
               cat("it was somewhere else ", s.moves, " times: its ", s.bytes, " bytes are copied at every call"));
}

// False: something must be recorded again.
bool Replay::addresses_hold(std::span<void* const> inputs, std::span<void* const> outputs, StreamId stream) {
  bool hold = made_;
  for (Slot& s : slots_) {
    if (s.own) continue;
    void* const now = s.output ? outputs[s.index] : inputs[s.index];
    if (s.recorded == now && made_) continue;
    hold = false;
    if (made_) ++s.moves;
    if (s.moves > patience && s.bytes > 0 && (s.output || program_.inputs[s.index].type.strides.empty()))
      copy_from_now_on(s, stream, !made_);
    s.recorded = s.own ? s.own : now;
  }
  return hold;
}

void Replay::record(std::span<const int64_t> numbers) {
  if (!temp_ && plan_.temp_bytes) temp_ = temp_block(device_, plan_.temp_bytes);
  std::vector<void*> in(program_.inputs.size()), out(program_.outputs.size());
  for (const Slot& s : slots_) (s.output ? out : in)[s.index] = s.recorded;
  for (size_t i = 0; i < out.size(); ++i)
    if (program_.output_alias[i] >= 0) out[i] = in[size_t(program_.output_alias[i])];
  buffers_.resize(program_.buffers.size());
  executable_.bind(plan_, in, out, temp_ ? temp_->data : nullptr, buffers_);

  const StreamId recorder = recording_stream(device_);
  std::lock_guard lock(root_object<ReplayMemory>().recording);
  Ref<Recording> together;
  stats_.graphs = 0;
  for (Piece& p : pieces_) {
    if (!p.recorded) continue;
    device_.begin_recording(recorder, together);
    try {
      for (size_t i = p.first; i < p.last; ++i) executable_.run_step(i, plan_, buffers_, numbers, recorder);
    } catch (...) {
      device_.cancel_recording(recorder);
      throw;
    }
    p.recording = device_.end_recording(recorder, p.recording);
    together = p.recording;
    ++stats_.graphs;
  }
  ++stats_.recordings;
  made_ = true;
  emit_event(EventKind::capture, program_.steps.empty() ? "program" : program_.steps[0].name,
             cat(stats_.recordings == 1 ? "recorded: " : "recorded again: ", program_.steps.size(), " steps in ", stats_.graphs,
                 " graphs, ", stats_.cuts, " cuts"));
}

void Replay::run(std::span<void* const> inputs, std::span<const int64_t> numbers, std::span<void* const> outputs, StreamId stream) {
  std::lock_guard lock(mutex_);
  if (off_ || stats_.runs++ == 0) return executable_.run_plain(plan_, inputs, numbers, outputs, stream);
  if (!addresses_hold(inputs, outputs, stream)) {
    try {
      record(numbers);
    } catch (const Error& e) {
      off_ = true;
      emit_event(EventKind::capture, "recording", cat("refused, the program runs step by step: ", e.what()));
      return executable_.run_plain(plan_, inputs, numbers, outputs, stream);
    }
  }
  const auto copy = [&](void* to, void* from, int64_t n) {
    if (n > 0) device_.copy(to, from, n, Device::CopyKind::on_device, stream);
  };
  for (const Slot& s : slots_)
    if (s.own && !s.output) copy(s.own, inputs[s.index], s.bytes);
  for (const Piece& p : pieces_) {
    if (p.recorded) {
      TraceScope scope("graph", "replay");
      device_.replay(*p.recording, stream);
    } else {
      for (size_t i = p.first; i < p.last; ++i) executable_.run_step(i, plan_, buffers_, numbers, stream);
    }
  }
  for (const Slot& s : slots_) {
    if (!s.own) continue;
    if (s.output) copy(outputs[s.index], s.own, s.bytes);
    else if (s.written) copy(inputs[s.index], s.own, s.bytes);
  }
  ++stats_.replays;
}

}  // namespace phlox

// Executable: a Program with its code. plan() fixes all sizes: argument words, memory layout, work shares; run() only
// patches pointers and launches. Plans are kept, so a program that meets the same sizes again does no arithmetic.
// Kernels without code (no compiler, or not ready) run in the loop interpreter.
#pragma once
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "device/device.h"
#include "native/device_call.h"
#include "program/program.h"

namespace phlox {

struct Loop;
class Replay;

// Whether a step writes its buffer number i.
bool writes_buffer(const Program::Step& s, size_t i);

class Executable : public RefCounted {
 public:
  // `entries`: per kernel of the program its code, or null. `modules` are what they lie in, where that needs an owner.
  Executable(Ref<Program> program, Device& device, std::vector<void*> entries, std::vector<Ref<Module>> modules = {});
  ~Executable();

  struct StepPlan {
    std::vector<uint64_t> words;
    struct Patch { uint32_t word, buffer; };
    std::vector<Patch> pointers;
    struct Number { uint32_t word, input; };
    std::vector<Number> numbers;
    int32_t status_word = -1, scratch_word = -1;
    int64_t items = 0, grain = 1, bytes = 0, scratch_bytes = 0;
    uint32_t threads = 1, shared_bytes = 0;  // of a block (cuda)
    Ints sizes;                         // what the kernel's symbols are here; of a list, one row after another
  };
  struct Plan {
    Ints symbols;
    std::vector<StepPlan> steps;
    std::vector<int64_t> temp_offset;   // by buffer, -1: not a temp
    int64_t temp_bytes = 0;
    std::vector<bool> empty;            // by buffer: it has no elements
    int64_t spare_bytes = 0;            // see run(): 0 where no buffer is empty
    std::vector<Ints> output_shapes;
    struct Output { DType dtype = DType::f32; Ints strides; int64_t bytes = 0; };  // of a dense tensor
    std::vector<Output> outputs;
    // Programs of one launch on the CPU with nothing but their inputs and outputs, as eager's mostly are: where each
    // pointer comes from.
    struct Source { uint16_t word, index; bool output; };
    SmallVector<Source, 6> sources;
    bool direct = false;
  };
  const Plan& plan(const Ints& symbols);

  // From the second run on with the same sizes the device records the steps and replays them, where it can
  // (runtime/replay.h). Before the first plan(). `moving`: inputs whose memory is another one at every call.
  void enable_replay(std::vector<bool> moving);
  std::string replay_report() const;  // JSON; empty where nothing is replayed

  // Runs on `stream`. `inputs` and `outputs` by the program's order; `numbers` holds the bits of number inputs.
  void run(const Plan& plan, std::span<void* const> inputs, std::span<const int64_t> numbers,
           std::span<void* const> outputs, StreamId stream);
  void run_plain(const Plan& plan, std::span<void* const> inputs, std::span<const int64_t> numbers,
                 std::span<void* const> outputs, StreamId stream);
  // The pieces of a run, for Replay: where each buffer lies, and one step.
  void bind(const Plan& plan, std::span<void* const> inputs, std::span<void* const> outputs, void* temp, std::span<void*> buffers) const;
  void run_step(size_t step, const Plan& plan, std::span<void* const> buffers, std::span<const int64_t> numbers, StreamId stream);

  const Program& program() const { return *program_; }
  void set_entry(uint32_t kernel, void* entry) { entries_[kernel].store(entry, std::memory_order_release); }

 private:
  std::unique_ptr<Plan> make_plan(const Ints& symbols) const;
  void choose_direct(Plan& plan) const;
  bool run_direct(const Plan& plan, std::span<void* const> inputs, std::span<const int64_t> numbers, std::span<void* const> outputs);
  void interpret(const StepPlan& sp, const Program::Step& step, std::span<void* const> buffers,
                 std::span<const int64_t> numbers, int64_t* status);
  void run_native(const Program::Step& step, const Plan& plan, std::span<void* const> buffers, StreamId stream);

  Ref<Program> program_;
  Device& device_;
  std::vector<std::atomic<void*>> entries_;
  std::vector<Ref<Module>> modules_;
  std::mutex mutex_;
  std::unordered_multimap<uint64_t, std::unique_ptr<Plan>> plans_;  // by a hash of the symbols
  std::atomic<const Plan*> last_plan_{nullptr};  // looked at before the lock is taken
  std::vector<std::unique_ptr<Loop>> loops_;  // parsed on demand for the interpreter
  struct Replays;
  std::unique_ptr<Replays> replays_;
};

// Bad indices on a device that works on its own are met when the host next waits for it. The status word of a device
// lies in its memory; check_device_status reads it, clears it, and throws what a CPU would have thrown at once.
int64_t* device_status(Device& device, StreamId stream);
void check_device_status(Device& device);

// Native steps on the device itself, by stable name; where there is none, the host function runs on copies.
void register_device_native(DeviceKind kind, const std::string& name, DeviceFunction f);
DeviceFunction find_device_native(DeviceKind kind, const std::string& name);

// Host functions of native steps, by stable name. Later registrations of a name win.
void register_native(const std::string& name, HostFunction f);
HostFunction find_native(const std::string& name);

}  // namespace phlox

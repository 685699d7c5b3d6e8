// Replay: one plan of an Executable on memory that stays, recorded by the device and replayed as a whole.
//
// The first run is an ordinary one: it loads libraries and chooses algorithms. The second one records. Steps that cannot
// be recorded (they run on the host, or say so) cut the program into pieces; each cut is an event with its reason, and
// arrange_for_replay has put the steps into an order with few of them. Recorded addresses:
//   temporaries   one block, shared by all replays of the device: they run one after another
//   inputs        in place, as parameters and state mostly stay where they are. When one moves, the pieces are recorded
//                 again; one that moves again and again is copied into memory of the replay's own instead
//   moving inputs (arguments) and outputs: small ones are copied at once, large ones as above
// So what a caller was given is never written again: an output's memory is either the caller's own, looked up at each
// call, or a copy. A replay gives the same bits as the plain run.
//
// Refuses: programs with numbers by value, devices that cannot record. A recording that fails is an event, and the
// plan runs without from then on.
#pragma once
#include <mutex>
#include <string>

#include "runtime/executable.h"

namespace phlox {

// The same program with its steps in an order that cuts it into few pieces; lifetimes follow.
Ref<Program> arrange_for_replay(const Program& p, const Device& device);
// Why a step cannot be recorded; empty where it can.
std::string replay_refusal(const Program::Step& s, const Device& device);

struct TempBlock;

class Replay {
 public:
  Replay(Executable& executable, const Executable::Plan& plan, Device& device, std::span<const bool> moving);
  ~Replay();
  void run(std::span<void* const> inputs, std::span<const int64_t> numbers, std::span<void* const> outputs, StreamId stream);

  struct Stats { int64_t runs = 0, replays = 0, recordings = 0, graphs = 0, cuts = 0; };
  const Stats& stats() const { return stats_; }

 private:
  // An input or output of the program.
  struct Slot {
    uint32_t index;        // of the input or output
    bool output;
    int64_t bytes;
    void* recorded = nullptr;
    void* own = nullptr;   // a copy's memory
    int moves = 0;
    bool written = false;  // an input that the program changes
  };
  struct Piece { size_t first, last; bool recorded; Ref<Recording> recording; };

  void find_slots(std::span<const bool> moving);
  void find_pieces();
  void copy_from_now_on(Slot& s, StreamId stream, bool expected);
  bool addresses_hold(std::span<void* const> inputs, std::span<void* const> outputs, StreamId stream);
  void record(std::span<const int64_t> numbers);

  Executable& executable_;
  const Executable::Plan& plan_;
  const Program& program_;
  Device& device_;
  std::mutex mutex_;
  std::vector<Slot> slots_;
  std::vector<Piece> pieces_;
  std::vector<void*> buffers_;     // by the program's buffers, as recorded
  Ref<TempBlock> temp_;
  bool off_ = false, made_ = false;
  Stats stats_;
};

}  // namespace phlox

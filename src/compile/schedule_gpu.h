// The GPU rows of the schedule: how a Loop is spread over blocks and threads. Decisions only; lower_gpu carries them out.
//
// threads: a thread computes points of the outer axes, neighbouring threads neighbouring points of the vector axis, and
//   loops over inner axes by itself, or with the other `slices` of its block that stand at the same point.
// rows: a group of threads (a warp, a block, or a cluster of blocks) computes one point of the outer axes and shares the inner axes.
// Sizes that are symbols are taken as their example, or as large.
#pragma once
#include "compile/collapse.h"
#include "type/target.h"

namespace phlox {

// A reduction over one axis in pieces: `block_axis` counts them, each is `size` long.
struct GpuSplit { int axis = -1, block_axis = -1; Dim size = 1; };

struct GpuPlan {
  AxisMask outer = 0;
  bool rows = false;
  int vector_axis = -1;          // threads: of the outer axes; rows: the inner axis that the threads of a group share
  int lanes = 1;                 // elements of one access of a thread, where memory is aligned
  int unroll = 1;                // maps: accesses of a thread
  int threads = 256;             // of a block
  int slices = 1;                // threads: how many share a point's inner axes
  bool linear = false;           // threads: blocks are filled with points of all outer axes, not of the vector axis alone
  int group = 32;                // rows: threads of a group
  int scan_axis = -1;            // threads share the scans along it: the vector axis (rows), or across it (slices, unroll rows of each)
  int cluster = 1;               // rows: blocks of a group, which meet in distributed shared memory
  int resident = 0;              // rows: accesses of a row that a thread keeps in registers; 0: rows are read again
  int row_words() const { return threads > 512 || cluster > 1 ? 32 : 64; }  // rows: registers of a thread for what it keeps
  std::vector<char> by_lane;     // addresses that are contiguous but cannot be aligned
  std::vector<Dim> multiples;    // bytes that must be multiples of 16 for wide accesses, beside the pointers
  std::vector<uint32_t> aligned_params;
  int64_t inner_points = 1, outer_points = 1;  // of the example
};

// `spread`: columns give up wide accesses where there are fewer blocks than processors.
GpuPlan plan_gpu(const Loop& loop, const Target& target, const GpuSplit& split = {}, bool spread = true);
int64_t gpu_size_hint(Dim d);
int gpu_processors(const Target& t);
bool starts_early(const Target& t);  // sm_90 and later: a launch may start while the one before it runs

}  // namespace phlox

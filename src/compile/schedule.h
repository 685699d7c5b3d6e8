// Schedule: how a Loop is spread over work items, vectors and serial loops on one class of target. Decisions only; the
// lowering carries them out. Pure: sizes that are symbols are taken as large.
#pragma once
#include "compile/collapse.h"
#include "type/target.h"

namespace phlox {

struct ScheduleOptions {
  int64_t item_points = 4096;     // points of a work item of a map
  int unroll = 2;                 // registers of a vector over an outer axis
  bool split_reductions = true;   // reductions with few results over blocks
  bool providers = true;          // ask the providers first
  int64_t split_points = 65536;   // points below which one item may do everything
  bool row_scratch = true;        // keep costly values of a row for its later passes
};

// One loop around the points of the outer axes.
struct NestLoop {
  static constexpr int block_axis = -1;
  int axis;            // block_axis: the block of a reduction
  int64_t chunk = 1;   // positions of an item along the axis
  bool item = false;   // its position comes from the work item; else a loop inside the item
};

struct CpuPlan {
  AxisMask outer = 0;
  int vector_axis = -1;                // of the outer axes; -1: each pass over inner axes picks its own
  int lanes = 1, register_lanes = 1;
  SmallVector<NestLoop, 6> nest;       // outermost first; the vector axis is the last one
  Dim items = 1, item_cost = 1, blocks = 1;
  bool few_items = false;              // to share among threads, while there is work for many
  bool too_few = false;                // the same, because of reductions
};

// `known`: reductions whose results lie in memory. `group`: the kernel computes only these, a block an item.
CpuPlan plan_cpu(const Loop& loop, const Target& target, const ScheduleOptions& options,
                 std::span<const ValueId> known = {}, std::span<const ValueId> group = {});

// A reduction or scan that no nest of loops can compute where it is needed, so that it must be stored first; or no_value.
ValueId tangled_value(const Loop& loop);

// The next reductions to compute over blocks, all over the same axes; empty when there is none that can be.
std::vector<ValueId> next_split(const Loop& loop, std::span<const ValueId> known);

// Axes of a store's domain whose points may meet in one element; the others never do.
AxisMask conflicting_axes(const Loop& loop, const Store& s);
// The inner axis that a pass which only stores should be vectorised over; -1: none is worth it.
int store_vector_axis(const Loop& loop, std::span<const Store* const> stores, AxisMask axes, AxisMask forbidden);

}  // namespace phlox

// The matrix product template for CPUs: a contraction as one Kernel, bit for bit what its loop means (docs/gemm.md).
// Factors that are plain loads are read in place or packed by leaves of their own; all others are computed while they
// are packed (the prologue hole). What the stores compute runs over each finished tile (the epilogue hole).
#pragma once
#include "kernel/body.h"
#include "providers/gemm_plan.h"

namespace phlox {

class GemmTemplate {
 public:
  // roomy: a parameter behind whose last element a vector more may be read; no_param: none
  GemmTemplate(const Loop& loop, const Contraction& c, const GemmPlan& plan, uint32_t roomy = no_param);
  static constexpr uint32_t no_param = ~0u;
  Kernel run();

 private:
  using Operand = Contraction::Operand;
  using Axes = Contraction::Axes;
  struct Block { Kv m0, rows, n0, columns; };     // of the results
  struct Tiles { Kv count, low, high, most, rows; };  // `high` tiles of low + 1 rows, then tiles of low; any_size: all of low
  struct Chunk { Kv from, count, first, last; };  // of k; first and last as 0 or 1, last as a condition
  struct Panel { Kv at, width, columns; };        // first column in the block; vectors; columns that exist

  // --- building blocks
  template <class F> void loop(Kv from, Kv to, int64_t step, const F& body);
  template <class Then, class Else> void choose(Kv condition, const Then& then, const Else& otherwise);
  template <class Then> void when(Kv condition, const Then& then) { choose(condition, then, [] {}); }
  enum class Walk : uint8_t { points, vectors, whole_vectors };  // whole: the last one may go past the end
  template <class F> void walk(const Axes& axes, Kv from, Kv to, Walk how, const F& point);
  template <class F> void walk_inner(const Axes& axes, size_t at, Kv from, Kv to, Kv base, Walk how, const F& point);
  void bind_flat(const Axes& axes, Kv position);
  Kv index(int64_t v) { return b_.index(v); }
  Kv least(Kv a, Kv b) { return b_.op(Scalar::min, a, b); }
  Kv divide(Kv a, Kv b) { return b_.op(Scalar::div, a, b); }
  Kv known_select(Kv condition, Kv a, Kv b);
  void leaf(KTile::Kind kind, int rows, int vectors, int flags, std::initializer_list<Kv> operands);

  // --- the parts of docs/gemm.md
  void item(Kv number);
  void pack_shared();
  Tiles tiles_of(Kv rows);
  void block(const Block& b);
  void few_rows(const Block& b, int rows);
  void chunk(const Block& b, const Tiles& t, const Chunk& c);
  Kv tile_row(const Tiles& t, Kv tile);
  Kv leaf_rows(Kv rows);
  Kv tile_rows(const Tiles& t, Kv tile);
  Panel panel(const Block& b, Kv number, Kv vectors);
  void pack(const Operand& o, const Axes& axes, Kv first, Kv rows, const Chunk& c, Kv to, Kv width);
  void pack_segments(const Operand& o, Kv first, Kv rows, const Chunk& c, Kv to, Kv width);
  void make_table(const Chunk& c);
  void pack_windows(Kv first, Kv columns, const Chunk& c, Kv to, Kv width);
  void pack_tiles(const Block& b, const Tiles& t, const Chunk& c, Kv t0, Kv t1);
  Kv tile_place(const Tiles& t, const Chunk& c, Kv tile, Kv t0);
  void copy_rows(Kv first, Kv rows, const Chunk& c, Kv to);
  void compute_rows(const Operand& o, const Axes& axes, Kv first, Kv rows, const Chunk& c, Kv to);
  void pack_computed(const Operand& o, const Axes& axes, Kv first, Kv rows, const Chunk& c, Kv to, Kv width);
  bool vector_over_k(const Operand& o, const Axes& axes) const;
  void panel_tiles(const Block& b, const Tiles& t, const Chunk& c, const Panel& p, Kv t0, Kv t1, Kv b_at, Kv b_stride, Kv next_b, Kv next_step);
  void multiply(Kv rows, Kv vectors, std::initializer_list<Kv> operands, int flags);
  void epilogue(Kv row, Kv rows, Kv column, Kv columns, Kv c_index);
  void find_far_operands();
  void fetch_far_operands(Kv row, Kv rows, Kv column);

  uint32_t buffer(const Operand& o) { return body_.buffer(o.param, false); }
  Kv element(const Operand& o, Kv row, Kv k);     // index of a plain factor's element
  Kv c_index(const Block& b, Kv row, Kv column);  // of the sum at a row and column of the block
  Kv c_address(Kv index) { return b_.address(c_buffer_, index); }

  const Loop& loop_;
  const Contraction& c_;
  const GemmPlan& plan_;
  const uint32_t roomy_;
  KernelBuilder b_;
  BodyLowering body_;
  uint32_t scratch_ = 0, c_buffer_ = 0;
  int64_t panels_at_ = 0, tiles_at_ = 0, stage_at_ = 0, sums_at_ = 0, table_at_ = 0;  // places in the scratch memory, in elements
  int64_t sums_stride_ = 0, stage_stride_ = 0;
  bool shared_a_ = false;   // A is the same in every batch item: it is packed once a call, all of k
  bool rows_of_a_ = false;  // A is computed along k and read as rows
  bool copies_rows_ = false;  // these are stretches of an image
  // What the epilogue reads and writes beside the sums, along the columns: it is fetched while a tile is computed.
  struct Far { uint32_t param; bool written; ValueId address; };
  std::vector<Far> far_;
  Kv base_of(const Affine& a);
  Kv a_base_, b_base_, c_base_, c_stride_;
};

}  // namespace phlox

// The meaning of the matrix leaves (KTile), element by element.
#include <cmath>

#include "base/error.h"
#include "kernel/interpret.h"

namespace phlox {

namespace {

template <class T>
T* pointer(int64_t address) { return reinterpret_cast<T*>(address); }

// One chain of fused multiply-adds from +0.
template <class T>
T chain(const T* a, int64_t a_step, const T* b, int64_t b_step, int64_t count) {
  T sum = 0;
  for (int64_t k = 0; k < count; ++k) sum = std::fma(a[k * a_step], b[k * b_step], sum);
  return sum;
}

// Chunks of chain_chunk, added in order; the first one is the start.
template <class T>
T chunks(const T* a, int64_t a_step, const T* b, int64_t b_step, int64_t count) {
  T sum = 0;
  for (int64_t k = 0; k < count; k += chain_chunk) {
    const T part = chain(a + k * a_step, a_step, b + k * b_step, b_step, std::min<int64_t>(chain_chunk, count - k));
    sum = k == 0 ? part : sum + part;
  }
  return sum;
}

template <class T>
void run(const KTile& t, std::span<const int64_t> o) {
  switch (t.kind) {
    case KTile::Kind::multiply: {
      const T *a = pointer<const T>(o[0]), *b = pointer<const T>(o[2]);
      T* c = pointer<T>(o[4]);
      const bool by_rows = t.flags & KTile::row_major_a;
      const int64_t rows = t.flags & KTile::short_rows ? o[12] : t.rows;
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < o[8]; ++j) {
          const T s = by_rows ? chain(a + i * o[1], 1, b + j, o[3], o[6]) : chain(a + i, o[1], b + j, o[3], o[6]);
          T& to = c[i * o[5] + j];
          to = o[7] ? s : to + s;
        }
      return;
    }
    case KTile::Kind::pack_rows: case KTile::Kind::pack_columns: {
      const T* src = pointer<const T>(o[0]);
      const bool rows = t.kind == KTile::Kind::pack_rows;
      for (int64_t k = 0; k < o[3]; ++k)
        for (int64_t i = 0; i < o[2]; ++i) pointer<T>(o[4])[k * o[5] + i] = src[rows ? i * o[1] + k : k * o[1] + i];
      return;
    }
    case KTile::Kind::pack_any:
      for (int64_t k = 0; k < o[4]; ++k)
        for (int64_t i = 0; i < o[3]; ++i) pointer<T>(o[5])[k * o[6] + i] = pointer<const T>(o[0])[i * o[1] + k * o[2]];
      return;
    case KTile::Kind::pack_windows:
      for (int64_t k = 0; k < o[2]; ++k)
        for (int64_t i = 0; i < o[4]; ++i) {
          const int64_t p = o[3] + i;
          pointer<T>(o[7])[k * o[8] + i] = pointer<const T>(o[0])[pointer<const int64_t>(o[1])[k] + p / o[5] * o[6] + p % o[5]];
        }
      return;
    case KTile::Kind::copy_rows:
      for (int64_t i = 0; i < o[2]; ++i)
        for (int64_t k = 0; k < o[3]; ++k)
          pointer<T>(o[4])[i * o[5] + k] = pointer<const T>(o[0])[pointer<const int64_t>(o[1])[i] + k];
      return;
    case KTile::Kind::row_dot:
      for (int64_t i = 0; i < t.rows; ++i)
        for (int64_t j = 0; j < o[4]; ++j)
          pointer<T>(o[5])[i * o[6] + j] = chunks(pointer<const T>(o[0]) + i * o[1], 1, pointer<const T>(o[2]) + j * o[3], 1, o[7]);
      return;
    case KTile::Kind::skinny: fail(ErrorCode::not_implemented, {.op = "interpret kernel", .fact = "a leaf of a GPU's block"});
    case KTile::Kind::row_sweep:
      for (int64_t i = 0; i < t.rows; ++i)
        for (int64_t j = 0; j < o[5]; ++j)
          pointer<T>(o[6])[i * o[7] + j] = chunks(pointer<const T>(o[0]) + i * o[1], o[2], pointer<const T>(o[3]) + j, o[4], o[8]);
      return;
  }
}

}  // namespace

void interpret_tile(const KTile& t, std::span<const int64_t> operands) {
  if (t.dtype == DType::f64) run<double>(t, operands);
  else run<float>(t, operands);
}

}  // namespace phlox

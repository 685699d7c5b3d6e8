// The text of the attention kernels, for matrix units of sm_80 and later. D, TILES and KEYS are defined before it, as are
// the element type's names.
//
// A block owns 128 rows of one head, a warp TILES x 16 of them; the other side passes through shared memory in two
// stages that asynchronous copies fill. Rows of D elements lie there in pieces of 16 bytes, piece p of row r at place
// p ^ (r & 7), so that the matrix loads of 8 rows meet all banks. Nothing is accumulated by atomics: the gradient of the
// queries and those of keys and values are kernels of their own, so results are the same bits at every run.
#pragma once

namespace phlox {

inline constexpr char attention_common[] = R"text(
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
#define WARPS (128 / (16 * TILES))
#define THREADS (32 * WARPS)
#define ROW (D * 2)
#define CHUNKS (D / 8)
#define LOG2E 1.4426950408889634f
__device__ __forceinline__ u32 place(u32 base, int row, int chunk) { return base + row * ROW + ((chunk ^ (row & 7)) << 4); }
__device__ __forceinline__ void load4(u32* r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
}
__device__ __forceinline__ void load4t(u32* r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
}
__device__ __forceinline__ void multiply(float* c, const u32* a, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ u32 pack(float low, float high) {
  u32 r;
  asm("cvt.rn." TYPE "x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ __forceinline__ float power2(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
__device__ __forceinline__ void arrived_but(int) { asm volatile("cp.async.wait_group 1;"); }
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;"); }
// Rows first, first + 1 ... of a matrix into shared memory; rows that there are not become zeros.
__device__ __forceinline__ void fetch(u32 to, const char* from, long long step, int first, int rows, int end) {
  const bool wide = (((u64)from | (u64)(step * 2)) & 15) == 0;
  for (int i = threadIdx.x; i < rows * CHUNKS; i += THREADS) {
    const int row = i / CHUNKS, chunk = i % CHUNKS, at = first + row;
    const char* g = from + (at < end ? (long long)at * step * 2 : 0) + chunk * 16;
    const u32 s = place(to, row, chunk);
    if (wide) {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(s), "l"(g), "r"(at < end ? 16 : 0));
    } else {
      const u16* e = (const u16*)g;
      u32 v[4];
      for (int k = 0; k < 4; ++k) v[k] = at < end ? e[2 * k] | (u32)e[2 * k + 1] << 16 : 0;
      asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" : : "r"(s), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]) : "memory");
    }
  }
}
// The factor from the left: 16 rows, 16 elements from k * 16.
__device__ __forceinline__ void left(u32* a, u32 tile, int row, int k, int lane) { load4(a, place(tile, row + (lane & 15), 2 * k + (lane >> 4))); }
// The factor from the right whose columns are rows of the tile: two columns of 8, elements from k * 16.
__device__ __forceinline__ void right_rows(u32* b, u32 tile, int row, int k, int lane) {
  load4(b, place(tile, row + (lane & 7) + ((lane >> 4) << 3), 2 * k + ((lane >> 3) & 1)));
}
// The factor from the right whose rows are rows of the tile: rows from `row`, two columns of 8 from chunk c.
__device__ __forceinline__ void right_columns(u32* b, u32 tile, int row, int c, int lane) {
  load4t(b, place(tile, row + (lane & 7) + (((lane >> 3) & 1) << 3), c + (lane >> 4)));
}
// Two neighbouring accumulator tiles as a factor from the left.
__device__ __forceinline__ void as_left(u32* a, const float* x, const float* y) {
  a[0] = pack(x[0], x[1]);
  a[1] = pack(x[2], x[3]);
  a[2] = pack(y[0], y[1]);
  a[3] = pack(y[2], y[3]);
}
// 16 x TILES rows of N accumulator tiles, cleared.
template <int N> __device__ __forceinline__ void clear(float (&x)[TILES][N][4]) {
#pragma unroll
  for (int m = 0; m < TILES; ++m)
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) x[m][n][e] = 0;
}
// acc += s, rounded, times the KEYS rows of a tile.
__device__ __forceinline__ void add_product(float (&acc)[TILES][D / 8][4], const float (&s)[TILES][KEYS / 8][4], u32 tile, int lane) {
#pragma unroll
  for (int i = 0; i < KEYS / 16; ++i) {
    u32 p[TILES][4];
#pragma unroll
    for (int m = 0; m < TILES; ++m) as_left(p[m], s[m][2 * i], s[m][2 * i + 1]);
#pragma unroll
    for (int n = 0; n < D / 16; ++n) {
      u32 r[4];
      right_columns(r, tile, i * 16, 2 * n, lane);
#pragma unroll
      for (int m = 0; m < TILES; ++m) {
        multiply(acc[m][2 * n], p[m], r[0], r[1]);
        multiply(acc[m][2 * n + 1], p[m], r[2], r[3]);
      }
    }
  }
}
// 16 rows of D accumulators, times f of each row, as dense rows of the result.
__device__ __forceinline__ void put(u16* to, long long step, float (*acc)[4], int row, int end, float f0, float f1, int lane) {
  for (int half = 0; half < 2; ++half) {
    const int at = row + (lane >> 2) + 8 * half;
    if (at >= end) continue;
    u32* line = (u32*)(to + at * step);
    const float f = half ? f1 : f0;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) line[n * 4 + (lane & 3)] = pack(acc[n][2 * half] * f, acc[n][2 * half + 1] * f);
  }
}
__device__ __forceinline__ const char* head(const u64* w, int pointer, int strides, int b, int h) {
  const long long* s = (const long long*)w + strides;
  return (const char*)w[pointer] + (s[0] + b * s[1] + h * s[3]) * 2;
}
)text";

// Words: q k v | out lse | queries, keys, heads, then (base, batch, row, head) steps of q, k and v.
inline constexpr char attention_forward_text[] = R"text(
extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ WORDS words) {
  extern __shared__ __align__(128) unsigned char memory[];
  const u64* w = words.w;
  const int queries = (int)w[5], keys = (int)w[6], heads = (int)w[7];
  const int blocks = (queries + 127) / 128, groups = gridDim.x / blocks;
  const int q0 = (blocks - 1 - (int)blockIdx.x / groups) * 128, bh = blockIdx.x % groups, b = bh / heads, h = bh % heads;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row0 = warp * 16 * TILES;
  const u32 base = (u32)__cvta_generic_to_shared(memory), tq = base, tk = tq + 128 * ROW, tv = tk + 2 * KEYS * ROW;
  const char *q = head(w, 0, 8, b, h), *k = head(w, 1, 12, b, h), *v = head(w, 2, 16, b, h);
  const long long qs = (long long)w[10], ks = (long long)w[14], vs = (long long)w[18];
  int last = (keys + KEYS - 1) / KEYS;
  if (CAUSAL) last = min(last, (q0 + 128 + KEYS - 1) / KEYS);
  fetch(tq, q, qs, q0, 128, queries);
  fetch(tk, k, ks, 0, KEYS, keys);
  commit();
  fetch(tv, v, vs, 0, KEYS, keys);
  commit();
  float acc[TILES][D / 8][4], most[TILES][2], sum[TILES][2];
  u32 aq[TILES][D / 16][4];
  clear(acc);
#pragma unroll
  for (int m = 0; m < TILES; ++m) {
    most[m][0] = most[m][1] = __int_as_float(0xff800000);
    sum[m][0] = sum[m][1] = 0;
  }
  for (int kb = 0; kb < last; ++kb) {
    const u32 tkk = tk + (kb & 1) * KEYS * ROW, tvv = tv + (kb & 1) * KEYS * ROW;
    const int k0 = kb * KEYS;
    arrived_but(1);
    __syncthreads();
    if (kb == 0) {
#pragma unroll
      for (int m = 0; m < TILES; ++m)
#pragma unroll
        for (int i = 0; i < D / 16; ++i) left(aq[m][i], tq, row0 + 16 * m, i, lane);
    }
    if (kb + 1 < last) fetch(tk + ((kb + 1) & 1) * KEYS * ROW, k, ks, k0 + KEYS, KEYS, keys);
    commit();
    float s[TILES][KEYS / 8][4];
    clear(s);
#pragma unroll
    for (int i = 0; i < D / 16; ++i)
#pragma unroll
      for (int n = 0; n < KEYS / 16; ++n) {
        u32 r[4];
        right_rows(r, tkk, n * 16, i, lane);
#pragma unroll
        for (int m = 0; m < TILES; ++m) {
          multiply(s[m][2 * n], aq[m][i], r[0], r[1]);
          multiply(s[m][2 * n + 1], aq[m][i], r[2], r[3]);
        }
      }
    if (k0 + KEYS > keys || (CAUSAL && k0 + KEYS > q0 + row0)) {
#pragma unroll
      for (int m = 0; m < TILES; ++m)
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int key = k0 + n * 8 + (lane & 3) * 2 + (e & 1), query = q0 + row0 + m * 16 + (lane >> 2) + (e >> 1) * 8;
            if (key >= keys || (CAUSAL && key > query)) s[m][n][e] = __int_as_float(0xff800000);
          }
    }
#pragma unroll
    for (int m = 0; m < TILES; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float top = most[m][half];
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) top = fmaxf(top, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        const float from = top == __int_as_float(0xff800000) ? 0.f : top * (SCALE * LOG2E);
        const float shrink = power2(most[m][half] * (SCALE * LOG2E) - from);
        most[m][half] = top;
        float total = 0;
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) total += s[m][n][e] = power2(s[m][n][e] * (SCALE * LOG2E) - from);
        sum[m][half] = sum[m][half] * shrink + total;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) acc[m][n][2 * half] *= shrink, acc[m][n][2 * half + 1] *= shrink;
      }
    arrived_but(1);
    __syncthreads();
    if (kb + 1 < last) fetch(tv + ((kb + 1) & 1) * KEYS * ROW, v, vs, k0 + KEYS, KEYS, keys);
    commit();
    add_product(acc, s, tvv, lane);
  }
  u16* out = (u16*)w[3] + ((long long)b * queries * heads + h) * D;
  float* lse = (float*)w[4] + (long long)bh * queries;
#pragma unroll
  for (int m = 0; m < TILES; ++m) {
    float f[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = sum[m][half];
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      f[half] = 1.f / total;
      const int query = q0 + row0 + m * 16 + (lane >> 2) + 8 * half;
      if ((lane & 3) == 0 && query < queries) lse[query] = most[m][half] * SCALE + __logf(total);
    }
    put(out, (long long)heads * D, acc[m], q0 + row0 + m * 16, queries, f[0], f[1], lane);
  }
}
)text";

// Words: g q k v lse row | result(s) | queries, keys, heads at 9, then steps of g, q, k and v from 12.
inline constexpr char attention_backward_words[] = R"text(
#define QUERIES (int)w[9]
#define ALL_KEYS (int)w[10]
#define HEADS (int)w[11]
// Where a row of gradients lies: alone, or as a third of a packed row.
__device__ __forceinline__ u16* gradient(u64 pointer, int part, int b, int rows, int heads, int h) {
  return (u16*)pointer + (((long long)b * rows * (PACKED ? 3 : 1) + (PACKED ? part : 0)) * heads + h) * D;
}
#define GRADIENT_STEP ((long long)heads * D * (PACKED ? 3 : 1))
)text";

inline constexpr char attention_queries_text[] = R"text(
extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ WORDS words) {
  extern __shared__ __align__(128) unsigned char memory[];
  const u64* w = words.w;
  const int queries = QUERIES, keys = ALL_KEYS, heads = HEADS;
  const int blocks = (queries + 127) / 128, groups = gridDim.x / blocks;
  const int q0 = (blocks - 1 - (int)blockIdx.x / groups) * 128, bh = blockIdx.x % groups, b = bh / heads, h = bh % heads;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row0 = warp * 16 * TILES;
  const u32 base = (u32)__cvta_generic_to_shared(memory), tq = base, tg = tq + 128 * ROW, tk = tg + 128 * ROW, tv = tk + 2 * KEYS * ROW;
  const char *g = head(w, 0, 12, b, h), *q = head(w, 1, 16, b, h), *k = head(w, 2, 20, b, h), *v = head(w, 3, 24, b, h);
  const long long gs = (long long)w[14], qs = (long long)w[18], ks = (long long)w[22], vs = (long long)w[26];
  int last = (keys + KEYS - 1) / KEYS;
  if (CAUSAL) last = min(last, (q0 + 128 + KEYS - 1) / KEYS);
  fetch(tq, q, qs, q0, 128, queries);
  fetch(tg, g, gs, q0, 128, queries);
  fetch(tk, k, ks, 0, KEYS, keys);
  fetch(tv, v, vs, 0, KEYS, keys);
  commit();
  float acc[TILES][D / 8][4], lse[TILES][2], row[TILES][2];
  u32 aq[TILES][D / 16][4], ag[TILES][D / 16][4];
  clear(acc);
#pragma unroll
  for (int m = 0; m < TILES; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = q0 + row0 + m * 16 + (lane >> 2) + 8 * half;
      lse[m][half] = query < queries ? ((const float*)w[4])[(long long)bh * queries + query] * LOG2E : 0;
      row[m][half] = query < queries ? ((const float*)w[5])[((long long)b * queries + query) * heads + h] : 0;
    }
  }
  for (int kb = 0; kb < last; ++kb) {
    const u32 tkk = tk + (kb & 1) * KEYS * ROW, tvv = tv + (kb & 1) * KEYS * ROW;
    const int k0 = kb * KEYS;
    if (kb + 1 < last) {
      fetch(tk + ((kb + 1) & 1) * KEYS * ROW, k, ks, k0 + KEYS, KEYS, keys);
      fetch(tv + ((kb + 1) & 1) * KEYS * ROW, v, vs, k0 + KEYS, KEYS, keys);
    }
    commit();
    arrived_but(1);
    __syncthreads();
    if (kb == 0) {
#pragma unroll
      for (int m = 0; m < TILES; ++m)
#pragma unroll
        for (int i = 0; i < D / 16; ++i) {
          left(aq[m][i], tq, row0 + 16 * m, i, lane);
          left(ag[m][i], tg, row0 + 16 * m, i, lane);
        }
    }
    float s[TILES][KEYS / 8][4], d[TILES][KEYS / 8][4];
    clear(s);
    clear(d);
#pragma unroll
    for (int i = 0; i < D / 16; ++i)
#pragma unroll
      for (int n = 0; n < KEYS / 16; ++n) {
        u32 r[4], t[4];
        right_rows(r, tkk, n * 16, i, lane);
        right_rows(t, tvv, n * 16, i, lane);
#pragma unroll
        for (int m = 0; m < TILES; ++m) {
          multiply(s[m][2 * n], aq[m][i], r[0], r[1]);
          multiply(s[m][2 * n + 1], aq[m][i], r[2], r[3]);
          multiply(d[m][2 * n], ag[m][i], t[0], t[1]);
          multiply(d[m][2 * n + 1], ag[m][i], t[2], t[3]);
        }
      }
    const bool edge = k0 + KEYS > keys || (CAUSAL && k0 + KEYS > q0 + row0);
#pragma unroll
    for (int m = 0; m < TILES; ++m)
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float p = power2(s[m][n][e] * (SCALE * LOG2E) - lse[m][e >> 1]);
          if (edge) {
            const int key = k0 + n * 8 + (lane & 3) * 2 + (e & 1), query = q0 + row0 + m * 16 + (lane >> 2) + (e >> 1) * 8;
            if (key >= keys || (CAUSAL && key > query)) p = 0;
          }
          s[m][n][e] = p * (d[m][n][e] - row[m][e >> 1]);
        }
    add_product(acc, s, tkk, lane);
    __syncthreads();
  }
  u16* out = gradient(w[6], 0, b, queries, heads, h);
#pragma unroll
  for (int m = 0; m < TILES; ++m) put(out, GRADIENT_STEP, acc[m], q0 + row0 + m * 16, queries, SCALE, SCALE, lane);
}
)text";

inline constexpr char attention_keys_text[] = R"text(
extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ WORDS words) {
  extern __shared__ __align__(128) unsigned char memory[];
  const u64* w = words.w;
  const int queries = QUERIES, keys = ALL_KEYS, heads = HEADS;
  const int blocks = (keys + 127) / 128, groups = gridDim.x / blocks;
  const int k0 = ((int)blockIdx.x / groups) * 128, bh = blockIdx.x % groups, b = bh / heads, h = bh % heads;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row0 = warp * 16 * TILES;
  const u32 base = (u32)__cvta_generic_to_shared(memory), tk = base, tv = tk + 128 * ROW, tq = tv + 128 * ROW, tg = tq + 2 * KEYS * ROW;
  float* const numbers = (float*)(memory + 256 * ROW + 4 * KEYS * ROW);  // lse and row sums of two stages of queries
  const char *g = head(w, 0, 12, b, h), *q = head(w, 1, 16, b, h), *k = head(w, 2, 20, b, h), *v = head(w, 3, 24, b, h);
  const long long gs = (long long)w[14], qs = (long long)w[18], ks = (long long)w[22], vs = (long long)w[26];
  const float* lse = (const float*)w[4] + (long long)bh * queries;
  const float* row = (const float*)w[5] + (long long)b * queries * heads + h;
  const int first = CAUSAL ? k0 / KEYS : 0, last = (queries + KEYS - 1) / KEYS;
  const auto stage = [&](int qb) {
    const int at = qb & 1;
    fetch(tq + at * KEYS * ROW, q, qs, qb * KEYS, KEYS, queries);
    fetch(tg + at * KEYS * ROW, g, gs, qb * KEYS, KEYS, queries);
    if (threadIdx.x < KEYS) {
      const int query = qb * KEYS + threadIdx.x;
      numbers[at * 2 * KEYS + threadIdx.x] = query < queries ? lse[query] * LOG2E : 0;
      numbers[at * 2 * KEYS + KEYS + threadIdx.x] = query < queries ? row[(long long)query * heads] : 0;
    }
  };
  fetch(tk, k, ks, k0, 128, keys);
  fetch(tv, v, vs, k0, 128, keys);
  if (first < last) stage(first);
  commit();
  float ak[TILES][D / 8][4], av[TILES][D / 8][4];
  clear(ak);
  clear(av);
  for (int qb = first; qb < last; ++qb) {
    if (qb + 1 < last) stage(qb + 1);
    commit();
    arrived_but(1);
    __syncthreads();
    const u32 tqq = tq + (qb & 1) * KEYS * ROW, tgg = tg + (qb & 1) * KEYS * ROW;
    const float* const n_lse = numbers + (qb & 1) * 2 * KEYS;
    const float* const n_row = n_lse + KEYS;
    float s[TILES][KEYS / 8][4], d[TILES][KEYS / 8][4];
    clear(s);
    clear(d);
#pragma unroll
    for (int i = 0; i < D / 16; ++i) {
      u32 fk[TILES][4], fv[TILES][4];
#pragma unroll
      for (int m = 0; m < TILES; ++m) {
        left(fk[m], tk, row0 + 16 * m, i, lane);
        left(fv[m], tv, row0 + 16 * m, i, lane);
      }
#pragma unroll
      for (int n = 0; n < KEYS / 16; ++n) {
        u32 r[4], t[4];
        right_rows(r, tqq, n * 16, i, lane);
        right_rows(t, tgg, n * 16, i, lane);
#pragma unroll
        for (int m = 0; m < TILES; ++m) {
          multiply(s[m][2 * n], fk[m], r[0], r[1]);
          multiply(s[m][2 * n + 1], fk[m], r[2], r[3]);
          multiply(d[m][2 * n], fv[m], t[0], t[1]);
          multiply(d[m][2 * n + 1], fv[m], t[2], t[3]);
        }
      }
    }
    const int q0 = qb * KEYS;
    const bool edge = q0 + KEYS > queries || (CAUSAL && q0 < k0 + row0 + 16 * TILES);
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int column = n * 8 + (lane & 3) * 2 + c, query = q0 + column;
        const float l = n_lse[column], r = n_row[column];
#pragma unroll
        for (int m = 0; m < TILES; ++m)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int e = 2 * half + c, key = k0 + row0 + m * 16 + (lane >> 2) + 8 * half;
            float p = power2(s[m][n][e] * (SCALE * LOG2E) - l);
            if (edge && (query >= queries || (CAUSAL && key > query))) p = 0;
            s[m][n][e] = p;
            d[m][n][e] = p * (d[m][n][e] - r);
          }
      }
#pragma unroll
    for (int i = 0; i < KEYS / 16; ++i) {
      u32 p[TILES][4], x[TILES][4];
#pragma unroll
      for (int m = 0; m < TILES; ++m) {
        as_left(p[m], s[m][2 * i], s[m][2 * i + 1]);
        as_left(x[m], d[m][2 * i], d[m][2 * i + 1]);
      }
#pragma unroll
      for (int n = 0; n < D / 16; ++n) {
        u32 r[4], t[4];
        right_columns(r, tgg, i * 16, 2 * n, lane);
        right_columns(t, tqq, i * 16, 2 * n, lane);
#pragma unroll
        for (int m = 0; m < TILES; ++m) {
          multiply(av[m][2 * n], p[m], r[0], r[1]);
          multiply(av[m][2 * n + 1], p[m], r[2], r[3]);
          multiply(ak[m][2 * n], x[m], t[0], t[1]);
          multiply(ak[m][2 * n + 1], x[m], t[2], t[3]);
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int m = 0; m < TILES; ++m) {
    put(gradient(w[7], 1, b, keys, heads, h), GRADIENT_STEP, ak[m], k0 + row0 + m * 16, keys, SCALE, SCALE, lane);
    put(gradient(w[8], 2, b, keys, heads, h), GRADIENT_STEP, av[m], k0 + row0 + m * 16, keys, 1.f, 1.f, lane);
  }
}
)text";

}  // namespace phlox

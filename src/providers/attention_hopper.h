// The text of the attention kernels for sm_90a, whose matrix units take both factors from shared memory and work on their
// own. D, WGS, KEYS, STAGES and BLOCKS are defined before it, as are the element type's names.
//
// A block owns 64 rows of one head for each of its WGS groups of four warps; the other side passes in tiles of KEYS rows
// through STAGES stages that asynchronous copies fill. A tile lies as panels of 64 elements, rows of 128 bytes, 16 bytes
// number c of row r at place c ^ (r & 7): the layout that the matrix units read, along rows or across them. Scores and
// probabilities never leave registers: the accumulators of one product are the left factor of the next. The order of all
// sums is fixed. Where products of one group run, the others soften; a barrier a tile keeps them within one tile.
#pragma once

namespace phlox {

inline constexpr char hopper_common[] = R"text(
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
#define THREADS (128 * WGS)
#define ROWS (64 * WGS)
#define CHUNKS (D / 8)
#define LOG2E 1.4426950408889634f
template <int N> struct Mma;
#define F4(c, x) c(x[0]), c(x[1]), c(x[2]), c(x[3])
#define F32(c, d, o) F4(c, d[o]), F4(c, d[o + 1]), F4(c, d[o + 2]), F4(c, d[o + 3]), F4(c, d[o + 4]), F4(c, d[o + 5]), F4(c, d[o + 6]), F4(c, d[o + 7])
#define R16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define F16(c, d) F4(c, d[0]), F4(c, d[1]), F4(c, d[2]), F4(c, d[3])
#define R32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define R64 R32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define NO "{ .reg .pred p; setp.ne.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64"
#define YES "{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64"
#define IF(x) "{ .reg .pred p; setp.ne.b32 p, " x ", 0; wgmma.mma_async.sync.aligned.m64"
#define KIND "k16.f32." TYPE "." TYPE " {"
#define INLINE static __device__ __forceinline__
template <> struct Mma<32> {
  INLINE void first(float (&d)[4][4], u64 a, u64 b) { asm volatile(NO "n32" KIND R16 "}, %16, %17, p, 1, 1, 0, 0; }" : F16("=f", d) : "l"(a), "l"(b)); }
  INLINE void more(float (&d)[4][4], u64 a, u64 b) { asm volatile(YES "n32" KIND R16 "}, %16, %17, p, 1, 1, 0, 0; }" : F16("+f", d) : "l"(a), "l"(b)); }
};
template <> struct Mma<64> {
  INLINE void first(float (&d)[8][4], u64 a, u64 b) { asm volatile(NO "n64" KIND R32 "}, %32, %33, p, 1, 1, 0, 0; }" : F32("=f", d, 0) : "l"(a), "l"(b)); }
  INLINE void more(float (&d)[8][4], u64 a, u64 b) { asm volatile(YES "n64" KIND R32 "}, %32, %33, p, 1, 1, 0, 0; }" : F32("+f", d, 0) : "l"(a), "l"(b)); }
  INLINE void rs(float (&d)[8][4], const u32* a, u64 b, int add) {
    asm volatile(IF("%37") "n64" KIND R32 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1; }"
        : F32("+f", d, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
  }
};
template <> struct Mma<128> {
  INLINE void first(float (&d)[16][4], u64 a, u64 b) {
    asm volatile(NO "n128" KIND R64 "}, %64, %65, p, 1, 1, 0, 0; }" : F32("=f", d, 0), F32("=f", d, 8) : "l"(a), "l"(b));
  }
  INLINE void more(float (&d)[16][4], u64 a, u64 b) {
    asm volatile(YES "n128" KIND R64 "}, %64, %65, p, 1, 1, 0, 0; }" : F32("+f", d, 0), F32("+f", d, 8) : "l"(a), "l"(b));
  }
  INLINE void rs(float (&d)[16][4], const u32* a, u64 b, int add) {
    asm volatile(IF("%69") "n128" KIND R64 "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1; }"
        : F32("+f", d, 0), F32("+f", d, 8) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
  }
};
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
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;"); }
template <int N> __device__ __forceinline__ void arrived() {
  asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory");
  asm volatile("fence.proxy.async.shared::cta;" : : : "memory");
  __syncthreads();
}
__device__ __forceinline__ void mma_begin() { asm volatile("wgmma.fence.sync.aligned;" : : : "memory"); }
__device__ __forceinline__ void mma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory"); }
template <int N, int M> __device__ __forceinline__ void hold(float (&x)[N][M]) {
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int e = 0; e < M; ++e) asm volatile("" : "+f"(x[n][e]) : : "memory");
}
template <int N> __device__ __forceinline__ void mma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" : : "n"(N) : "memory"); }
// Tiles: panels of 64 elements, rows of 128 bytes, swizzled within 8 rows.
template <int R> __device__ __forceinline__ void fetch(u32 to, const char* from, long long step, bool wide, int first, int end) {
#pragma unroll
  for (int i = 0; i < (R * CHUNKS + THREADS - 1) / THREADS; ++i) {
    const int t = i * THREADS + threadIdx.x;
    if (R * CHUNKS % THREADS && t >= R * CHUNKS) break;
    const int row = t / CHUNKS, chunk = t % CHUNKS, at = first + row;
    const char* g = from + (at < end ? (long long)at * step : 0) + chunk * 16;
    const u32 s = to + (chunk >> 3) * (R * 128) + row * 128 + (((chunk & 7) ^ (row & 7)) << 4);
    if (wide) {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(s), "l"(g), "r"(at < end ? 16 : 0) : "memory");
    } else {
      const u16* e = (const u16*)g;
      u32 v[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = at < end ? e[2 * k] | (u32)e[2 * k + 1] << 16 : 0;
      asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" : : "r"(s), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]) : "memory");
    }
  }
}
// Descriptor of a tile of R rows.
template <int R> __device__ __forceinline__ u64 tile_of(u32 at) {
  return (u64)(at >> 4) | (u64)(R * 128 >> 4) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}
// Its elements from 16 i along the rows, and its rows from 16 i.
template <int R> __device__ __forceinline__ u64 along(u64 tile, int i) { return tile + (i >> 2) * (R * 128 >> 4) + (i & 3) * 2; }
__device__ __forceinline__ u64 down(u64 tile, int i) { return tile + i * 128; }
template <int N> __device__ __forceinline__ void pack_left(u32 (&a)[N][4], const float (&x)[2 * N][4]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    a[i][0] = pack(x[2 * i][0], x[2 * i][1]);
    a[i][1] = pack(x[2 * i][2], x[2 * i][3]);
    a[i][2] = pack(x[2 * i + 1][0], x[2 * i + 1][1]);
    a[i][3] = pack(x[2 * i + 1][2], x[2 * i + 1][3]);
  }
}
__device__ __forceinline__ void put(u16* to, long long step, const float (&acc)[D / 8][4], int row, int end, float f0, float f1, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = row + (lane >> 2) + 8 * half;
    if (at >= end) continue;
    u32* line = (u32*)(to + at * step);
    const float f = half ? f1 : f0;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) line[n * 4 + (lane & 3)] = pack(acc[n][2 * half] * f, acc[n][2 * half + 1] * f);
  }
}
// x = the product of 64 rows of a tile of R and the rows of a tile of N, both along D.
template <int R, int N> __device__ __forceinline__ void product(float (&x)[N / 8][4], u64 a, u64 b) {
  Mma<N>::first(x, a, b);
#pragma unroll
  for (int i = 1; i < D / 16; ++i) Mma<N>::more(x, along<R>(a, i), along<N>(b, i));
  mma_commit();
}
struct Operand { const char* at; long long step; bool wide; };
__device__ __forceinline__ Operand operand(const u64* w, int pointer, int strides, int b, int h) {
  const long long* s = (const long long*)w + strides;
  Operand o;
  o.at = (const char*)w[pointer] + (s[0] + b * s[1] + h * s[3]) * 2;
  o.step = s[2] * 2;
  o.wide = (((u64)o.at | (u64)o.step) & 15) == 0;
  return o;
}
// Where a row of gradients lies: alone, or as a third of a packed row.
__device__ __forceinline__ u16* gradient(u64 pointer, int part, int b, int rows, int heads, int h) {
  return (u16*)pointer + (((long long)b * rows * (PACKED ? 3 : 1) + (PACKED ? part : 0)) * heads + h) * D;
}
#define GRADIENT_STEP ((long long)heads * D * (PACKED ? 3 : 1))
)text";

// Words: q k v | out lse | queries, keys, heads, then (base, batch, row, head) steps of q, k and v.
inline constexpr char hopper_forward_text[] = R"text(
#define INF __int_as_float(0x7f800000)
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) NAME(const __grid_constant__ WORDS words) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const u64* w = words.w;
  const int queries = (int)w[5], keys = (int)w[6], heads = (int)w[7];
  const int blocks = (queries + ROWS - 1) / ROWS, groups = gridDim.x / blocks;
  const int q0 = (blocks - 1 - (int)blockIdx.x / groups) * ROWS, bh = blockIdx.x % groups, b = bh / heads, h = bh % heads;
  const int lane = threadIdx.x & 31, row0 = (threadIdx.x >> 7) * 64, row = q0 + row0 + ((threadIdx.x >> 5) & 3) * 16;
  const u32 base = ((u32)__cvta_generic_to_shared(memory) + 1023) & ~1023u, tq = base, stages = tq + ROWS * D * 2;
  const Operand q = operand(w, 0, 8, b, h), k = operand(w, 1, 12, b, h), v = operand(w, 2, 16, b, h);
  int last = (keys + KEYS - 1) / KEYS;
  if (CAUSAL) last = min(last, (q0 + ROWS + KEYS - 1) / KEYS);
  const auto stage = [&](int j) {
    const u32 to = stages + j % STAGES * (KEYS * D * 4);
    if (j < last) {
      fetch<KEYS>(to, k.at, k.step, k.wide, j * KEYS, keys);
      fetch<KEYS>(to + KEYS * D * 2, v.at, v.step, v.wide, j * KEYS, keys);
    }
    commit();
  };
  fetch<ROWS>(tq, q.at, q.step, q.wide, q0, queries);
#pragma unroll
  for (int j = 0; j < STAGES - 1; ++j) stage(j);
  float acc[D / 8][4], s[KEYS / 8][4], most[2], sum[2], shrink[2];
  u32 p[KEYS / 16][4];
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) acc[n][e] = 0;
  most[0] = most[1] = -INF;
  sum[0] = sum[1] = 0;
  const u64 dq = tile_of<ROWS>(tq) + row0 * 8;
  const auto scores = [&](int j) {
    const u64 dk = tile_of<KEYS>(stages + j % STAGES * (KEYS * D * 4));
    mma_begin();
product<ROWS, KEYS>(s, dq, dk);
  };
  const auto soften = [&](int j) {
    const int k0 = j * KEYS;
    if (k0 + KEYS > keys || (CAUSAL && k0 + KEYS > q0 + row0)) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = k0 + n * 8 + (lane & 3) * 2 + (e & 1), query = row + (lane >> 2) + (e >> 1) * 8;
          if (key >= keys || (CAUSAL && key > query)) s[n][e] = -INF;
        }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = most[half];
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n) top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      const float from = top * (SCALE * LOG2E);
      shrink[half] = power2(most[half] * (SCALE * LOG2E) - from);
      most[half] = top;
      float total = 0;
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) total += s[n][e] = power2(s[n][e] * (SCALE * LOG2E) - from);
      sum[half] = sum[half] * shrink[half] + total;
    }
  };
  const auto add_values = [&](int j) {
    const u64 dv = tile_of<KEYS>(stages + j % STAGES * (KEYS * D * 4) + KEYS * D * 2);
    mma_begin();
#pragma unroll
    for (int i = 0; i < KEYS / 16; ++i) Mma<D>::rs(acc, p[i], down(dv, i), 1);
    mma_commit();
  };
  arrived<STAGES - 2>();
  scores(0);
  mma_wait<0>();
  hold(s);
  soften(0);
  pack_left(p, s);
#pragma unroll 1
  for (int j = 0; j + 1 < last; ++j) {
    arrived<STAGES - 3>();
    stage(j + STAGES - 1);
    scores(j + 1);
    add_values(j);
    mma_wait<1>();
    hold(s);
    soften(j + 1);
    mma_wait<0>();
    hold(acc);
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) acc[n][e] *= shrink[e >> 1];
    pack_left(p, s);
  }
  add_values(last - 1);
  mma_wait<0>();
  hold(acc);
  u16* out = (u16*)w[3] + ((long long)b * queries * heads + h) * D;
  float* lse = (float*)w[4] + (long long)bh * queries;
  float f[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float total = sum[half];
    total += __shfl_xor_sync(~0u, total, 1);
    total += __shfl_xor_sync(~0u, total, 2);
    f[half] = 1.f / total;
    const int query = row + (lane >> 2) + 8 * half;
    if ((lane & 3) == 0 && query < queries) lse[query] = most[half] * SCALE + __logf(total);
  }
  put(out, (long long)heads * D, acc, row, queries, f[0], f[1], lane);
}
)text";

// Words: g q k v lse row | result(s) | queries, keys, heads at 9, then steps of g, q, k and v from 12.
inline constexpr char hopper_queries_text[] = R"text(
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) NAME(const __grid_constant__ WORDS words) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const u64* w = words.w;
  const int queries = (int)w[9], keys = (int)w[10], heads = (int)w[11];
  const int blocks = (queries + ROWS - 1) / ROWS, groups = gridDim.x / blocks;
  const int q0 = (blocks - 1 - (int)blockIdx.x / groups) * ROWS, bh = blockIdx.x % groups, b = bh / heads, h = bh % heads;
  const int lane = threadIdx.x & 31, row0 = (threadIdx.x >> 7) * 64, row = q0 + row0 + ((threadIdx.x >> 5) & 3) * 16;
  const u32 base = ((u32)__cvta_generic_to_shared(memory) + 1023) & ~1023u, tq = base, tg = tq + ROWS * D * 2, stages = tg + ROWS * D * 2;
  const Operand g = operand(w, 0, 12, b, h), q = operand(w, 1, 16, b, h), k = operand(w, 2, 20, b, h), v = operand(w, 3, 24, b, h);
  int last = (keys + KEYS - 1) / KEYS;
  if (CAUSAL) last = min(last, (q0 + ROWS + KEYS - 1) / KEYS);
  const auto stage = [&](int j) {
    const u32 to = stages + j % STAGES * (KEYS * D * 4);
    if (j < last) {
      fetch<KEYS>(to, k.at, k.step, k.wide, j * KEYS, keys);
      fetch<KEYS>(to + KEYS * D * 2, v.at, v.step, v.wide, j * KEYS, keys);
    }
    commit();
  };
  fetch<ROWS>(tq, q.at, q.step, q.wide, q0, queries);
  fetch<ROWS>(tg, g.at, g.step, g.wide, q0, queries);
#pragma unroll
  for (int j = 0; j < STAGES - 2; ++j) stage(j);
  float acc[D / 8][4], s[KEYS / 8][4], d[KEYS / 8][4], lse[2], total[2];
  u32 p[KEYS / 16][4];
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) acc[n][e] = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = row + (lane >> 2) + 8 * half;
    lse[half] = query < queries ? ((const float*)w[4])[(long long)bh * queries + query] * LOG2E : 0;
    total[half] = query < queries ? ((const float*)w[5])[((long long)b * queries + query) * heads + h] : 0;
  }
  const u64 dq = tile_of<ROWS>(tq) + row0 * 8, dg = tile_of<ROWS>(tg) + row0 * 8;
#pragma unroll 1
  for (int j = 0; j < last; ++j) {
    arrived<STAGES - 3>();
    stage(j + STAGES - 2);
    const u64 dk = tile_of<KEYS>(stages + j % STAGES * (KEYS * D * 4)), dv = dk + (KEYS * D * 2 >> 4);
    const int k0 = j * KEYS;
    mma_begin();
product<ROWS, KEYS>(s, dq, dk);
product<ROWS, KEYS>(d, dg, dv);
    mma_wait<1>();
    hold(s);
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[n][e] = power2(s[n][e] * (SCALE * LOG2E) - lse[e >> 1]);
    if (k0 + KEYS > keys || (CAUSAL && k0 + KEYS > q0 + row0)) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = k0 + n * 8 + (lane & 3) * 2 + (e & 1), query = row + (lane >> 2) + (e >> 1) * 8;
          if (key >= keys || (CAUSAL && key > query)) s[n][e] = 0;
        }
    }
    mma_wait<0>();
    hold(d);
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[n][e] *= d[n][e] - total[e >> 1];
    pack_left(p, s);
    mma_begin();
#pragma unroll
    for (int i = 0; i < KEYS / 16; ++i) Mma<D>::rs(acc, p[i], down(dk, i), 1);
    mma_commit();
    mma_wait<0>();
  }
  mma_wait<0>();
  hold(acc);
  put(gradient(w[6], 0, b, queries, heads, h), GRADIENT_STEP, acc, row, queries, SCALE, SCALE, lane);
}
)text";

inline constexpr char hopper_keys_text[] = R"text(
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) NAME(const __grid_constant__ WORDS words) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const u64* w = words.w;
  const int queries = (int)w[9], keys = (int)w[10], heads = (int)w[11];
  const int blocks = (keys + ROWS - 1) / ROWS, groups = gridDim.x / blocks;
  const int k0 = (int)blockIdx.x / groups * ROWS, bh = blockIdx.x % groups, b = bh / heads, h = bh % heads;
  const int lane = threadIdx.x & 31, row0 = (threadIdx.x >> 7) * 64, row = k0 + row0 + ((threadIdx.x >> 5) & 3) * 16;
  const u32 base = ((u32)__cvta_generic_to_shared(memory) + 1023) & ~1023u, tk = base, tv = tk + ROWS * D * 2, stages = tv + ROWS * D * 2;
  const u32 numbers = stages + STAGES * (KEYS * D * 4);  // lse and row sums of each stage
  const Operand g = operand(w, 0, 12, b, h), q = operand(w, 1, 16, b, h), k = operand(w, 2, 20, b, h), v = operand(w, 3, 24, b, h);
  const float* lse = (const float*)w[4] + (long long)bh * queries;
  const float* total = (const float*)w[5] + (long long)b * queries * heads + h;
  const int first = CAUSAL ? k0 / KEYS : 0, last = (queries + KEYS - 1) / KEYS;
  const auto stage = [&](int j) {
    const u32 to = stages + (j - first) % STAGES * (KEYS * D * 4);
    if (j < last) {
      fetch<KEYS>(to, q.at, q.step, q.wide, j * KEYS, queries);
      fetch<KEYS>(to + KEYS * D * 2, g.at, g.step, g.wide, j * KEYS, queries);
      if (threadIdx.x < 2 * KEYS) {
        const int query = j * KEYS + threadIdx.x % KEYS;
        const float* from = threadIdx.x < KEYS ? lse + query : total + (long long)query * heads;
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" : : "r"(numbers + ((j - first) % STAGES * 2 * KEYS + threadIdx.x) * 4),
            "l"(query < queries ? from : lse), "r"(query < queries ? 4 : 0) : "memory");
      }
    }
    commit();
  };
  fetch<ROWS>(tk, k.at, k.step, k.wide, k0, keys);
  fetch<ROWS>(tv, v.at, v.step, v.wide, k0, keys);
#pragma unroll
  for (int j = 0; j < STAGES - 2; ++j) stage(first + j);
  float ak[D / 8][4], av[D / 8][4], s[KEYS / 8][4], d[KEYS / 8][4];
  u32 p[KEYS / 16][4], x[KEYS / 16][4];
  const u64 dk = tile_of<ROWS>(tk) + row0 * 8, dv = tile_of<ROWS>(tv) + row0 * 8;
#pragma unroll 1
  for (int j = first; j < last; ++j) {
    arrived<STAGES - 3>();
    stage(j + STAGES - 2);
    const int at = (j - first) % STAGES;
    const u64 dq = tile_of<KEYS>(stages + at * (KEYS * D * 4)), dg = dq + (KEYS * D * 2 >> 4);
    const u32 number = numbers + (at * 2 * KEYS + (lane & 3) * 2) * 4;
    const int q0 = j * KEYS;
    mma_begin();
product<ROWS, KEYS>(s, dk, dq);
product<ROWS, KEYS>(d, dv, dg);
    mma_wait<1>();
    hold(s);
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
      float l[2];
      asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(l[0]), "=f"(l[1]) : "r"(number + n * 32));
      l[0] *= LOG2E, l[1] *= LOG2E;
#pragma unroll
      for (int e = 0; e < 4; ++e) s[n][e] = power2(s[n][e] * (SCALE * LOG2E) - l[e & 1]);
    }
    if (q0 + KEYS > queries || (CAUSAL && q0 < k0 + row0 + 64)) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int query = q0 + n * 8 + (lane & 3) * 2 + (e & 1), key = row + (lane >> 2) + (e >> 1) * 8;
          if (query >= queries || (CAUSAL && key > query)) s[n][e] = 0;
        }
    }
    pack_left(p, s);
    mma_begin();
#pragma unroll
    for (int i = 0; i < KEYS / 16; ++i) Mma<D>::rs(av, p[i], down(dg, i), j - first + i);
    mma_commit();
    mma_wait<1>();
    hold(d);
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
      float t[2];
      asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(t[0]), "=f"(t[1]) : "r"(number + KEYS * 4 + n * 32));
#pragma unroll
      for (int e = 0; e < 4; ++e) s[n][e] *= d[n][e] - t[e & 1];
    }
    pack_left(x, s);
    mma_begin();
#pragma unroll
    for (int i = 0; i < KEYS / 16; ++i) Mma<D>::rs(ak, x[i], down(dq, i), j - first + i);
    mma_commit();
  }
  mma_wait<0>();
  hold(ak);
  hold(av);
  if (first >= last) {
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) ak[n][e] = av[n][e] = 0;
  }
  put(gradient(w[7], 1, b, keys, heads, h), GRADIENT_STEP, ak, row, keys, SCALE, SCALE, lane);
  put(gradient(w[8], 2, b, keys, heads, h), GRADIENT_STEP, av, row, keys, 1.f, 1.f, lane);
}
)text";

}  // namespace phlox

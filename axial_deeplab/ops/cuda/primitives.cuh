// What the kernels need of the machine: matrix products of a warp, matrices of 8 x 8 between registers and shared memory.
//
// Fragments. With lane = 4 * g + t, a register of a matrix of 8 x 8 halves holds row g, columns 2t and 2t + 1. A product of
// 16 x 8 takes as its left operand the rows 0-7, then 8-15, of the first eight columns, then of the next eight; as its right
// operand, transposed, one such matrix for every eight columns; and it yields floats for row g, columns 2t and 2t + 1, then
// for row g + 8.
//
// The file compiles for a GPU (NVRTC; no header of CUDA is needed) and, with EMULATED defined, for the emulator of the tests.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
typedef u16 bf16;  // the bits of a bfloat16; arithmetic is in float

#ifdef EMULATED
#include "emulator.hpp"
#else
#define WARP_INLINE __device__ __forceinline__
#define INFINITY_F __int_as_float(0x7f800000)
#define SHARED_MEMORY(name) extern __shared__ Unit name[]

WARP_INLINE u32 shared_address(const void* pointer) { return (u32)__cvta_generic_to_shared(pointer); }

// c += a * b, with 16 or 8 columns of a.
WARP_INLINE void multiply16(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  float d0, d1, d2, d3;  // apart from c, so that a sum that begins with zero needs no registers set to zero
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
  c[0] = d0, c[1] = d1, c[2] = d2, c[3] = d3;
}
WARP_INLINE void multiply8(float (&c)[4], u32 a0, u32 a1, u32 b0) {
  float d0, d1, d2, d3;
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
      : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3)
      : "r"(a0), "r"(a1), "r"(b0), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
  c[0] = d0, c[1] = d1, c[2] = d2, c[3] = d3;
}

// Lane 8 * i + j gives the address of row j of matrix i; `transposed` hands out columns as rows.
template <bool TRANSPOSED>
WARP_INLINE void load_matrices4(u32* r, u32 row) {
  if (TRANSPOSED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
}
template <bool TRANSPOSED>
WARP_INLINE void load_matrices2(u32* r, u32 row) {
  if (TRANSPOSED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(row) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(row) : "memory");
}
template <bool TRANSPOSED>
WARP_INLINE void load_matrices1(u32* r, u32 row) {
  if (TRANSPOSED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(row) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(row) : "memory");
}
WARP_INLINE void store_matrices4(u32 row, u32 r0, u32 r1, u32 r2, u32 r3) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(row), "r"(r0), "r"(r1), "r"(r2), "r"(r3)
               : "memory");
#else
  const int lane = threadIdx.x % 32;
  const u32 r[4] = {r0, r1, r2, r3};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    u32 address = __shfl_sync(0xffffffffu, row, 8 * i + lane / 4) + lane % 4 * 4;
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(r[i]) : "memory");
  }
#endif
}

// The transposed of a matrix of 8 x 8 halves.
WARP_INLINE u32 transpose(u32 x) {
  u32 y;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

// Two floats as bfloat16, the first in the low half.
WARP_INLINE u32 pack(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
WARP_INLINE float low_half(u32 x) { return __uint_as_float(x << 16); }
WARP_INLINE float high_half(u32 x) { return __uint_as_float(x & 0xffff0000u); }

// Two floats as float16, which holds logits eight times as exactly, up to 65504.
WARP_INLINE u32 pack_fine(float low, float high) {
  u32 r;
  asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
WARP_INLINE float low_fine(u32 x) {
  float y;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(y) : "r"(x));
  return y;
}
WARP_INLINE float high_fine(u32 x) {
  float y;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h;}" : "=f"(y) : "r"(x));
  return y;
}
WARP_INLINE u32 add_fine(u32 x, u32 y) {
  u32 r;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(x), "r"(y));
  return r;
}
WARP_INLINE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
WARP_INLINE float invert_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
WARP_INLINE float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
WARP_INLINE float exchange(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }

// Keeps the compiler from computing a branch in advance.
WARP_INLINE void stay_here() { asm volatile("" ::: "memory"); }

// The same number, of which the compiler knows nothing: what depends on it is computed here, not kept from an earlier round.
WARP_INLINE int forget(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// Threads of `count`, a multiple of 32, that share the barrier `id` wait for each other.
WARP_INLINE void wait_for(int id, int count) {
  if (count == 32)
    __syncwarp();
  else
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}
#endif

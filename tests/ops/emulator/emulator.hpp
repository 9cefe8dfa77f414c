// Runs the CUDA kernels on a CPU, one block at a time: every thread is a fiber, and what a warp does together happens when its
// last lane arrives. Fragments and addresses are those of the PTX manual (mma, ldmatrix, movmatrix), so that what is wrong with
// them is wrong here too. Shared memory begins as NaN.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define WARP_INLINE inline
#define __device__
#define __global__
#define __launch_bounds__(...)
#define __restrict__
#define INFINITY_F INFINITY
#define SHARED_MEMORY(name) Unit* const name = (Unit*)emulator::shared

struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct Index {
  int x, y, z;
};
using std::max;
using std::min;

namespace emulator {
constexpr int SHARED_BYTES = 232 * 1024, STACK = 256 * 1024;
alignas(128) inline unsigned char shared[SHARED_BYTES];
struct Lane {
  u32 in[12];  // what a lane gives to a collective, and takes from it
  u32 out[4];
};
struct Barrier {
  int arrived = 0, generation = 0, any = 0, result = 0;
};
inline std::vector<ucontext_t> fibers;
inline std::vector<char> finished;
inline std::vector<Lane> lanes;
inline std::vector<Barrier> warps;
inline Barrier barriers[17];
inline ucontext_t scheduler;
inline Index thread_index, block_index, grid_size;
inline int num_threads, shared_bytes;  // of a block
inline std::function<void()> kernel;

inline void yield() {
  int self = thread_index.x;
  swapcontext(&fibers[self], &scheduler);
  thread_index.x = self;
}
inline int meet(Barrier& barrier, int count, int any, const std::function<void()>& last) {
  int generation = barrier.generation;
  barrier.any |= any;
  if (++barrier.arrived == count) {
    last();
    barrier.result = barrier.any, barrier.any = barrier.arrived = 0, barrier.generation++;
  } else {
    while (barrier.generation == generation) yield();
  }
  return barrier.result;
}
inline Lane& own() { return lanes[thread_index.x]; }
// All lanes of the warp arrive; the last one computes for all.
inline void together(const std::function<void(Lane*)>& compute) {
  int warp = thread_index.x / 32;
  meet(warps[warp], 32, 0, [&] { compute(&lanes[warp * 32]); });
}
inline void start() {
  kernel();
  finished[thread_index.x] = 1;
  for (;;) yield();
}
inline void run_block() {
  memset(shared, 0xff, sizeof shared);
  std::vector<char> stacks((size_t)num_threads * STACK);
  fibers.assign(num_threads, {}), finished.assign(num_threads, 0), lanes.assign(num_threads, {}), warps.assign(num_threads / 32, {});
  for (Barrier& barrier : barriers) barrier = {};
  for (int i = 0; i < num_threads; i++) {
    getcontext(&fibers[i]);
    fibers[i].uc_stack.ss_sp = &stacks[(size_t)i * STACK], fibers[i].uc_stack.ss_size = STACK;
    makecontext(&fibers[i], (void (*)())start, 0);
  }
  for (size_t rounds = 0;; rounds++) {
    bool left = false;
    for (int i = 0; i < num_threads; i++)
      if (!finished[i]) {
        left = true;
        thread_index = {i, 0, 0};
        swapcontext(&scheduler, &fibers[i]);
      }
    if (!left) break;
    if (rounds > 100000000) fprintf(stderr, "the threads wait for each other\n"), abort();
  }
  for (int i = shared_bytes; i < SHARED_BYTES; i++)
    if (shared[i] != 0xff) fprintf(stderr, "byte %d of shared memory was written, of %d\n", i, shared_bytes), abort();
}
template <class... Types, class... Values>
void launch(void (*function)(Types...), Index grid, int threads, int bytes, Values... values) {
  grid_size = grid, num_threads = threads, shared_bytes = bytes;
  kernel = [=] { function(values...); };
  for (int z = 0; z < grid.z; z++)
    for (int y = 0; y < grid.y; y++)
      for (int x = 0; x < grid.x; x++) block_index = {x, y, z}, run_block();
}
inline float as_float(u32 x) {
  float y;
  memcpy(&y, &x, 4);
  return y;
}
inline u32 as_bits(float x) {
  u32 y;
  memcpy(&y, &x, 4);
  return y;
}
inline u32 round_half(float x) {  // to the nearest bfloat16, ties to even
  u32 bits = as_bits(x);
  if (std::isnan(x)) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
inline float half_of(u32 x, int which) { return as_float(which ? x & 0xffff0000u : x << 16); }
inline float fine_of(u32 x, int which) {
  u16 bits = which ? x >> 16 : x;
  _Float16 half;
  memcpy(&half, &bits, 2);
  return (float)half;
}
inline void check(u32 address, u32 bytes) {
  if (address % bytes || address + bytes > (u32)shared_bytes) fprintf(stderr, "bad address %u in shared memory\n", address), abort();
}
inline void multiply(float (&c)[4], const u32* a, const u32* b, int units) {
  Lane& lane = own();
  for (int i = 0; i < 4; i++) lane.in[i] = as_bits(c[i]);
  for (int i = 0; i < 2 * units; i++) lane.in[4 + i] = a[i];
  for (int i = 0; i < units; i++) lane.in[8 + i] = b[i];
  together([&](Lane* all) {
    static float left[16][16], right[16][8];
    for (int l = 0; l < 32; l++)
      for (int u = 0; u < units; u++)
        for (int w = 0; w < 2; w++) {
          int g = l / 4, k = 8 * u + 2 * (l % 4) + w;
          left[g][k] = half_of(all[l].in[4 + 2 * u], w), left[g + 8][k] = half_of(all[l].in[5 + 2 * u], w);
          right[k][g] = half_of(all[l].in[8 + u], w);
        }
    for (int l = 0; l < 32; l++)
      for (int i = 0; i < 4; i++) {
        int row = l / 4 + i / 2 * 8, column = 2 * (l % 4) + i % 2;
        float sum = 0;
        for (int k = 0; k < 8 * units; k++) sum += left[row][k] * right[k][column];
        all[l].out[i] = as_bits(as_float(all[l].in[i]) + sum);
      }
  });
  for (int i = 0; i < 4; i++) c[i] = as_float(own().out[i]);
}
inline void load(u32* r, u32 row, int count, bool transposed) {
  own().in[0] = row;
  together([&](Lane* all) {
    for (int m = 0; m < count; m++)
      for (int l = 0; l < 32; l++) {
        u32 word = 0;
        for (int w = 0; w < 2; w++) {
          int i = l / 4, j = 2 * (l % 4) + w;
          if (transposed) std::swap(i, j);
          u32 address = all[8 * m + i].in[0];
          check(address, 16);
          u16 half;
          memcpy(&half, shared + address + 2 * j, 2);
          word |= (u32)half << 16 * w;
        }
        all[l].out[m] = word;
      }
  });
  for (int m = 0; m < count; m++) r[m] = own().out[m];
}
}  // namespace emulator
#define threadIdx emulator::thread_index
#define blockIdx emulator::block_index
#define gridDim emulator::grid_size

inline u32 shared_address(const void* pointer) { return (u32)((const unsigned char*)pointer - emulator::shared); }
inline void multiply16(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  u32 a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
  emulator::multiply(c, a, b, 2);
}
inline void multiply8(float (&c)[4], u32 a0, u32 a1, u32 b0) {
  u32 a[2] = {a0, a1}, b[1] = {b0};
  emulator::multiply(c, a, b, 1);
}
template <bool TRANSPOSED>
void load_matrices4(u32* r, u32 row) { emulator::load(r, row, 4, TRANSPOSED); }
template <bool TRANSPOSED>
void load_matrices2(u32* r, u32 row) { emulator::load(r, row, 2, TRANSPOSED); }
template <bool TRANSPOSED>
void load_matrices1(u32* r, u32 row) { emulator::load(r, row, 1, TRANSPOSED); }
inline void store_matrices4(u32 row, u32 r0, u32 r1, u32 r2, u32 r3) {
  u32* in = emulator::own().in;
  in[0] = row, in[1] = r0, in[2] = r1, in[3] = r2, in[4] = r3;
  emulator::together([&](emulator::Lane* all) {
    for (int m = 0; m < 4; m++)
      for (int l = 0; l < 32; l++) {
        u32 address = all[8 * m + l / 4].in[0];
        emulator::check(address, 16);
        memcpy(emulator::shared + address + l % 4 * 4, &all[l].in[1 + m], 4);
      }
  });
}
inline u32 transpose(u32 x) {
  emulator::own().in[0] = x;
  emulator::together([&](emulator::Lane* all) {
    for (int l = 0; l < 32; l++) {
      u32 word = 0;
      for (int w = 0; w < 2; w++) {
        int i = 2 * (l % 4) + w, j = l / 4;  // of the source
        word |= (all[4 * i + j / 2].in[0] >> 16 * (j % 2) & 0xffff) << 16 * w;
      }
      all[l].out[0] = word;
    }
  });
  return emulator::own().out[0];
}
inline u32 pack(float low, float high) { return emulator::round_half(low) | emulator::round_half(high) << 16; }
inline float low_half(u32 x) { return emulator::half_of(x, 0); }
inline float high_half(u32 x) { return emulator::half_of(x, 1); }
inline u32 pack_fine(float low, float high) {
  u32 word = 0;
  for (int i = 0; i < 2; i++) {
    float x = i ? high : low;
    _Float16 half = (_Float16)(x > 65504.f ? 65504.f : x < -65504.f ? -65504.f : x);
    u16 bits;
    memcpy(&bits, &half, 2);
    word |= (u32)bits << 16 * i;
  }
  return word;
}
inline float low_fine(u32 x) { return emulator::fine_of(x, 0); }
inline float high_fine(u32 x) { return emulator::fine_of(x, 1); }
inline u32 add_fine(u32 x, u32 y) { return pack_fine(low_fine(x) + low_fine(y), high_fine(x) + high_fine(y)); }
inline float exp2_fast(float x) { return std::exp2(x); }
inline float invert_fast(float x) { return 1 / x; }
inline float log2_fast(float x) { return std::log2(x); }
inline float exchange(float x, int mask) {
  emulator::own().in[0] = emulator::as_bits(x);
  emulator::together([&](emulator::Lane* all) {
    for (int l = 0; l < 32; l++) all[l].out[0] = all[l ^ mask].in[0];
  });
  return emulator::as_float(emulator::own().out[0]);
}
inline void stay_here() {}
inline int forget(int x) { return x; }
inline void wait_for(int id, int count) {
  if (count == 32)
    emulator::together([](emulator::Lane*) {});
  else
    emulator::meet(emulator::barriers[id], count, 0, [] {});
}
inline int __syncthreads_or(int any) { return emulator::meet(emulator::barriers[0], emulator::num_threads, any, [] {}); }
inline void __syncthreads() { __syncthreads_or(0); }

// Gradients of the position tables: what a warp sums over a tile, by distance, and how a block adds it up.
#pragma once
#include "tile.cuh"

constexpr int MTILES = GROUP_WARPS == 1 ? 2 : 1;                        // halves of the table rows a warp looks after
constexpr int SHARES = GROUP_WARPS == 1 ? 1 : GROUP_WARPS / 2;          // warps among which the units of a row are shared
constexpr int KEY_SHARE = (KEY_UNITS + SHARES - 1) / SHARES, VALUE_SHARE = (VALUE_UNITS + SHARES - 1) / SHARES;

constexpr int GRAD_COLUMNS = (HAS_QUERY + HAS_KEY) * KEY_UNITS * UNIT + HAS_VALUE * VALUE_UNITS * UNIT;
constexpr int GRAD_PITCH = GRAD_COLUMNS % 16 == 0 ? GRAD_COLUMNS + 8 : GRAD_COLUMNS;  // floats; 8 modulo 16 spreads the banks

// What a warp has summed over a tile for its share of the rows of a table: rows of MTILES * 16 distances.
template <int COUNT>
struct TableSums {
  float x[COUNT][MTILES][4];
  WARP_INLINE void clear() {
#pragma unroll
    for (int n = 0; n < COUNT; n++)
#pragma unroll
      for (int m = 0; m < MTILES; m++) x[n][m][0] = x[n][m][1] = x[n][m][2] = x[n][m][3] = 0;
  }
};

// sums[distance][channel] += sum over heads of exchange[position, distance][head] * x[position][head][channel], for all 16
// positions, where `pair(i, d)` is the address of the exchange's row for position i and distance d in the tile, from -16 to 15,
// a row of zeros for pairs outside, and `x(i)` that of position i's first head.
template <int UNITS, int ROW, int COUNT, class Pair, class X>
WARP_INLINE void sum_by_distance(TableSums<COUNT>& sums, const Place& place, Pair pair, X x) {
  const Place at = place.again();
  sums.clear();
  const int share = at.part / 2 % SHARES, turn = at.part % 2;
#pragma unroll
  for (int i = 0; i < TILE; i += 2) {
    u32 a[2][2 * MTILES];
#pragma unroll
    for (int n = 0; n < 2; n++)
      load_all<2 * MTILES, false>(a[n], at.matrix, [&](int m) {
        int first = MTILES == 2 ? -16 : turn * 16 - 16;
        return pair(i + n, first + m * 8 + at.row);
      });
#pragma unroll
    for (int c = 0; c < COUNT; c++) {
      int unit = c * SHARES + share;
      if (UNITS % SHARES && unit >= UNITS) continue;
      u32 b[2];
      load_matrices2<true>(b, x(i + at.matrix % 2) + (at.row * ROW + unit) * 16);
#pragma unroll
      for (int m = 0; m < MTILES; m++)
        multiply16(sums.x[c][m], a[0][2 * m], a[0][2 * m + 1], a[1][2 * m], a[1][2 * m + 1], b[0], b[1]);
    }
  }
}

// Adds what a warp has for the rows of this turn.
template <int UNITS, int COUNT>
WARP_INLINE void add_to_rows(float* grads, const TableSums<COUNT>& sums, const Place& place, int turn, int first, int column) {
  const Place at = place.again();
  if (MTILES == 1 && at.part % 2 != turn) return;
  const int share = at.part / 2 % SHARES;
#pragma unroll
  for (int c = 0; c < COUNT; c++) {
    int unit = c * SHARES + share;
    if (UNITS % SHARES && unit >= UNITS) continue;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float2* target = (float2*)(grads + (first + turn * 16 - 16 + at.g + half * 8) * GRAD_PITCH + column + unit * UNIT + 2 * at.t);
      float2 value = *target;
      const float(&sum)[4] = sums.x[c][MTILES == 2 ? turn : 0];
      value.x += sum[2 * half], value.y += sum[2 * half + 1];
      *target = value;
    }
  }
}

// What a warp has of all three tables.
struct AllTableSums {
  TableSums<KEY_SHARE> query, key;
  TableSums<VALUE_SHARE> value;
};

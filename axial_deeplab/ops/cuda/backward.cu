// Position-sensitive axial attention, backward: gradients of queries, keys, values, tables and scales in one pass.
//
// A block has GROUPS * 16 keys of a line, one tile of keys a group, and goes along the line, 16 queries at a time, the same
// for all groups; then it takes another line. With P the weights and dP = dcontent . v + dposition . rv, a logit has the
// gradient dX = P (dP - delta), delta = dcontent . content + dposition . position. Nothing of a tile is kept.
//
//   keys, values     summed in registers along the line
//   queries          each group's share meets in shared memory after every tile; shares of several blocks are summed later
//   tables, scales   summed by the block over all its lines, in shared memory and registers; summed over blocks later
//
// Every sum has a fixed order: nothing is added atomically. Groups add to the tables' gradients in two turns, the rows of
// negative distance within the tile, then the others, because in one turn no two groups have the same rows.
//
// Constants from outside: those of tile.cuh, KEY_BLOCKS_ONE (whether a block has all keys of a line), BLOCKS.
#include "tile.cuh"

constexpr int MTILES = GROUP_WARPS == 1 ? 2 : 1;                        // halves of the table rows a warp looks after
constexpr int SHARES = GROUP_WARPS == 1 ? 1 : GROUP_WARPS / 2;          // warps among which the units of a row are shared
constexpr int KEY_SHARE = (KEY_UNITS + SHARES - 1) / SHARES, VALUE_SHARE = (VALUE_UNITS + SHARES - 1) / SHARES;

// Shared memory, in units.
constexpr int BLOCK_KEYS = GROUPS * TILE;
constexpr int KEY_SPACE = BLOCK_KEYS * KEY_PITCH, VALUE_SPACE = BLOCK_KEYS * VALUE_PITCH;
constexpr int QUERY_SPACE = TILE * KEY_PITCH, GRAD_SPACE = TILE * VALUE_PITCH;
constexpr int STATS_SPACE = TILE * HEADS / 4;                           // floats of every query and head
constexpr int PARTS_ROW = HEADS * PADDED_KEY + 4;                       // floats of one position in `parts`
constexpr int PARTS_SPACE = TILE * PARTS_ROW / 4;
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

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_backward(const bf16* __restrict__ qkv, const float* __restrict__ rows, const float* __restrict__ scales,
                       const bf16* __restrict__ retrieved, const float* __restrict__ lse, const bf16* __restrict__ grad_retrieved,
                       bf16* __restrict__ grad_qkv, bf16* __restrict__ query_shares, float* __restrict__ row_shares,
                       float* __restrict__ scale_shares, int num_lines, int inner, int length, int reach, int first_row) {
  SHARED_MEMORY(memory);
  const Place place(threadIdx.x);
  Unit* const k_content = memory;
  Unit* const k_position = k_content + KEY_SPACE;
  Unit* const values = k_position + HAS_KEY * KEY_SPACE;
  Unit* const q_content = values + VALUE_SPACE;
  Unit* const q_position = q_content + QUERY_SPACE;
  Unit* const grad_content = q_position + HAS_QUERY * QUERY_SPACE;
  Unit* const grad_position = grad_content + GRAD_SPACE;
  Unit* const exchanges = grad_position + HAS_VALUE * GRAD_SPACE;
  Unit* const zero = exchanges + GROUPS * EXCHANGE_UNITS;
  float* const lses = (float*)(zero + 1);                // [head][query]
  float* const deltas = lses + 4 * STATS_SPACE;          // [query][head]
  float* const parts = deltas + 4 * STATS_SPACE;         // [group][content, position][query or key][head][channel]
  float* const grad_rows = parts + GROUPS * 2 * 4 * PARTS_SPACE;
  const int block_key = blockIdx.y * BLOCK_KEYS, block_end = min(block_key + BLOCK_KEYS, length);
  const int first_distance = max(-reach, block_key - length + 1), last_distance = min(reach, block_end - 1);
  const int margin = Tables::find_margin(length, reach), num_rows = last_distance - first_distance + 1 + 2 * margin;
  const Tables tables((Unit*)(grad_rows + num_rows * GRAD_PITCH), first_distance, last_distance, margin);
  tables.fill_all(rows + (i64)(first_distance + reach + first_row) * TABLE_PITCH);
  for (int i = place.thread; i < num_rows * GRAD_PITCH; i += THREADS) grad_rows[i] = 0;
  if (place.thread == 0) *zero = {0, 0, 0, 0};

  const int head0 = blockIdx.z * HEADS;
  const float a1 = scales[head0 + place.own_head], a2 = scales[NUM_HEADS + head0 + place.own_head], a3 = scales[2 * NUM_HEADS + head0 + place.own_head];
  float grad_a1 = 0, grad_a2 = 0, grad_a3 = 0;

  Tile tile;
  tile.key = block_key + place.group * TILE;
  tile.rows = exchanges + place.group * EXCHANGE_UNITS;
  tile.exchange = shared_address(tile.rows);
  const u32 zero_row = shared_address(zero);
  const u32 k_rows = shared_address(k_content + place.group * TILE * KEY_PITCH);
  const u32 k3_rows = shared_address(k_position + place.group * TILE * KEY_PITCH);
  const u32 v_rows = shared_address(values + place.group * TILE * VALUE_PITCH);
  const u32 q_rows = shared_address(q_content), q2_rows = shared_address(q_position);
  const u32 gc_rows = shared_address(grad_content), gp_rows = shared_address(grad_position);
  float* const content_part = parts + place.group * 2 * 4 * PARTS_SPACE;
  float* const position_part = content_part + 4 * PARTS_SPACE;
  const int first_query = max(0, block_key - reach) / TILE * TILE, end_query = min(length, block_end + reach);

  auto store_position_part = [&](const float(&c)[PAIRS][KEY_UNITS][4]) {
    const Place at = place.again();
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
#pragma unroll
      for (int u = 0; u < KEY_UNITS; u++) {
        int channel = u * UNIT + 2 * at.t;
        float* target = position_part + (at.part * PAIRS + i) * PARTS_ROW + at.g * PADDED_KEY + channel;
        if (channel < PADDED_KEY) {
          *(float2*)target = float2{c[i][u][0], c[i][u][1]};
          *(float2*)(target + 8 * PARTS_ROW) = float2{c[i][u][2], c[i][u][3]};
        }
      }
  };
  auto meets = [&](int group, int query) {  // whether a group has anything to do with a tile of queries
    int key = block_key + group * TILE;
    return key < length && key - (query + TILE - 1) <= reach && query - (key + TILE - 1) <= reach;
  };

  for (int line = blockIdx.x; line < num_lines; line += gridDim.x) {
    const i64 pixel = (i64)(line / inner) * length * inner + line % inner;
    const i64 step = (i64)inner * CHANNELS, out_step = (i64)inner * OUT_CHANNELS;
    const bf16* const line_q = qkv + pixel * CHANNELS + head0 * KEY_DIM;
    const bf16* const line_k = line_q + NUM_HEADS * KEY_DIM;
    const bf16* const line_v = qkv + pixel * CHANNELS + 2 * NUM_HEADS * KEY_DIM + head0 * VALUE_DIM;
    const i64 out_offset = pixel * OUT_CHANNELS + head0 * VALUE_DIM;

    __syncthreads();
    const Place fetching = place.again();
    for (int p = fetching.own_position; p < BLOCK_KEYS; p += OWN_STEP) {
      bool exists = block_key + p < length;
      u32 key[KEY_UNITS * 4], value[VALUE_UNITS * 4];
      load_row<KEY_DIM>(key, line_k + (block_key + p) * step + fetching.own_head * KEY_DIM, exists);
      load_row<VALUE_DIM>(value, line_v + (block_key + p) * step + fetching.own_head * VALUE_DIM, exists);
      store_row(k_content + p * KEY_PITCH + fetching.own_head * KEY_ROW, key);
      if (HAS_KEY) store_row_scaled(k_position + p * KEY_PITCH + fetching.own_head * KEY_ROW, key, a3 * LOG2_E);
      store_row(values + p * VALUE_PITCH + fetching.own_head * VALUE_ROW, value);
    }

    float grad_v[HEADS_WARP][VALUE_UNITS][4], grad_k[HEADS_WARP][KEY_UNITS][4], grad_k3[PAIRS][KEY_UNITS][4];
#pragma unroll
    for (int h = 0; h < HEADS_WARP; h++) {
#pragma unroll
      for (int u = 0; u < VALUE_UNITS; u++) grad_v[h][u][0] = grad_v[h][u][1] = grad_v[h][u][2] = grad_v[h][u][3] = 0;
#pragma unroll
      for (int u = 0; u < KEY_UNITS; u++) grad_k[h][u][0] = grad_k[h][u][1] = grad_k[h][u][2] = grad_k[h][u][3] = 0;
    }
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
#pragma unroll
      for (int u = 0; u < KEY_UNITS; u++) grad_k3[i][u][0] = grad_k3[i][u][1] = grad_k3[i][u][2] = grad_k3[i][u][3] = 0;

    for (tile.query = first_query; tile.query < end_query; tile.query += TILE) {
      __syncthreads();
      const Place fetching = place.again();
      for (int o = fetching.own_position; o < TILE; o += OWN_STEP) {
        bool exists = tile.query + o < length;
        u32 row[KEY_UNITS * 4];
        load_row<KEY_DIM>(row, line_q + (tile.query + o) * step + fetching.own_head * KEY_DIM, exists);
        store_row_scaled(q_content + o * KEY_PITCH + fetching.own_head * KEY_ROW, row, a1 * LOG2_E);
        if (HAS_QUERY) store_row_scaled(q_position + o * KEY_PITCH + fetching.own_head * KEY_ROW, row, a2 * LOG2_E);
        u32 grad[VALUE_UNITS * 4], out[VALUE_UNITS * 4];
        const i64 from = out_offset + (tile.query + o) * out_step + fetching.own_head * VALUE_DIM;
        load_row<VALUE_DIM>(grad, grad_retrieved + from, exists);
        load_row<VALUE_DIM>(out, retrieved + from, exists);
        store_row(grad_content + o * VALUE_PITCH + fetching.own_head * VALUE_ROW, grad);
        float delta = dot_rows(grad, out);
        if (HAS_VALUE) {
          load_row<VALUE_DIM>(grad, grad_retrieved + from + NUM_HEADS * VALUE_DIM, exists);
          load_row<VALUE_DIM>(out, retrieved + from + NUM_HEADS * VALUE_DIM, exists);
          store_row(grad_position + o * VALUE_PITCH + fetching.own_head * VALUE_ROW, grad);
          delta += dot_rows(grad, out);
        }
        deltas[o * HEADS + fetching.own_head] = delta;
        lses[fetching.own_head * TILE + o] =
            exists ? lse[((i64)(tile.query + o) * num_lines + line) * NUM_HEADS + head0 + fetching.own_head] : INFINITY_F;
      }
      __syncthreads();

      const bool active = meets(place.group, tile.query);
      TableSums<KEY_SHARE> query_sums, key_sums;
      TableSums<VALUE_SHARE> value_sums;
      if (active) {
        const Place at = place.again();
        const bool edge = tile.is_border(length, reach) || Tile::ends_within_half(tile.query, length) ||
                          Tile::ends_within_half(tile.key, length);
        const bool both = tile.query + 8 < length;      // whether the tile's second eight queries exist
        const bool both_keys = tile.key + 8 < length;   // and keys
        u32 seen = 0;                               // of a thread's pairs, one bit each
        if (edge) {
          stay_here();
#pragma unroll
          for (int i = 0; i < 8; i++)
            seen |= Tile::sees(tile.query + 2 * at.t + i % 2 + i / 4 * 8, tile.key + at.g + i / 2 % 2 * 8, length, reach) << i;
        }
        auto of_query = [&](int o, int distance) { return tile.pair_of_query(o, distance, zero_row); };
        auto of_key = [&](int p, int distance) { return tile.pair_of_key(p, distance, zero_row); };
        Words<WORDS> pairs[8];  // of keys g, g + 8 and queries 2t, 2t + 1, 2t + 8, 2t + 9, transposed to the forward kernel
        auto read_pairs = [&] {
#pragma unroll
          for (int i = 0; i < 8; i++)
            pairs[i] = *(Words<WORDS>*)(tile.words(2 * at.t + i % 2 + i / 4 * 8, at.g + i / 2 % 2 * 8) + at.part * WORDS);
        };
        auto write_pairs = [&] {
#pragma unroll
          for (int i = 0; i < 8; i++)
            *(Words<WORDS>*)(tile.words(2 * at.t + i % 2 + i / 4 * 8, at.g + i / 2 % 2 * 8) + at.part * WORDS) = pairs[i];
          place.wait_for_group();
        };

        // The weights, and the gradient of the values.
        meet_positions(place, tile, length, tables, q2_rows, k3_rows);
        read_pairs();
#pragma unroll
        for (int w = 0; w < WORDS; w++) {
          const int head = at.part * HEADS_WARP + 2 * w;
          u32 a[4 * KEY_UNITS], b[4 * KEY_UNITS], weights[2][4];
          load_all<4 * KEY_UNITS, false>(a, at.matrix, [&](int m) {
            int n = m / (2 * KEY_UNITS), u = m % (2 * KEY_UNITS) / 2, half = m % 2;
            return k_rows + ((half * 8 + at.row) * KEY_PITCH + (head + n) * KEY_ROW + u) * 16;
          });
          load_all<4 * KEY_UNITS, false>(b, at.matrix, [&](int m) {
            int n = m / (2 * KEY_UNITS), half = m % (2 * KEY_UNITS) / KEY_UNITS, u = m % KEY_UNITS;
            return q_rows + ((half * 8 + at.row) * KEY_PITCH + (head + n) * KEY_ROW + u) * 16;
          });
          float x[2][8];
#pragma unroll
          for (int half = 0; half < 2; half++) {
            if (half == 1 && !both) {
#pragma unroll
              for (int i = 4; i < 8; i++) x[0][i] = x[1][i] = 0;
              weights[0][2] = weights[0][3] = weights[1][2] = weights[1][3] = 0;
              continue;
            }
#pragma unroll
            for (int n = 0; n < 2; n++) {
              float c[4];
#pragma unroll
              for (int i = 0; i < 4; i++) {
                u32 word = pairs[half * 4 + i].x[w];
                c[i] = HAS_QUERY || HAS_KEY ? n ? high_fine(word) : low_fine(word) : 0.f;
              }
              multiply<KEY_UNITS>(c, a + n * 2 * KEY_UNITS, b + n * 2 * KEY_UNITS + half * KEY_UNITS);
              float2 less = *(const float2*)(lses + (head + n) * TILE + half * 8 + 2 * at.t);
#pragma unroll
              for (int i = 0; i < 4; i++) c[i] = exp2_fast(c[i] - (i % 2 ? less.y : less.x));
              if (!both_keys) c[2] = c[3] = 0;
              if (edge) {
#pragma unroll
                for (int i = 0; i < 4; i++)
                  if (!(seen >> (half * 4 + i) & 1)) c[i] = 0;
              }
#pragma unroll
              for (int i = 0; i < 4; i++) x[n][half * 4 + i] = c[i];
#pragma unroll
              for (int i = 0; i < 2; i++) weights[n][half * 2 + i] = pack(c[2 * i], c[2 * i + 1]);
            }
          }
#pragma unroll
          for (int i = 0; i < 8; i++) pairs[i].x[w] = pack(x[0][i], x[1][i]);
#pragma unroll
          for (int u = 0; u < VALUE_UNITS; u++) {
            u32 grad[4];  // of both heads, queries 0-7 and 8-15
            load_all<4, true>(grad, at.matrix, [&](int m) {
              return gc_rows + ((m % 2 * 8 + at.row) * VALUE_PITCH + (head + m / 2) * VALUE_ROW + u) * 16;
            });
#pragma unroll
            for (int n = 0; n < 2; n++)
              multiply16(grad_v[2 * w + n][u], weights[n][0], weights[n][1], weights[n][2], weights[n][3], grad[2 * n], grad[2 * n + 1]);
          }
        }

        // The gradient of the value table; then what the weights' gradient owes to it, in place of the weights.
        if (HAS_VALUE) {
          write_pairs();
          sum_by_distance<VALUE_UNITS, VALUE_ROW>(value_sums, place, of_query, [&](int o) { return gp_rows + o * VALUE_PITCH * 16; });
          place.wait_for_group();
          meet_rows_by_query<VALUE_UNITS, VALUE_ROW, VALUE_PITCH, false>(
              place, tile, length, tables, shared_address(tables.value), gp_rows, [&](int o) {
                float2 delta = *(const float2*)(deltas + o * HEADS + 2 * at.t);
                return float2{-delta.x, -delta.y};
              });
          place.wait_for_group();
        }

        // The gradient of the logits, and what content owes to it.
        const Place here = place.again();
#pragma unroll
        for (int w = 0; w < WORDS; w++) {
          const int head = here.part * HEADS_WARP + 2 * w;
          u32 words[8];
          if (HAS_VALUE) {
#pragma unroll
            for (int i = 0; i < 8; i++) words[i] = tile.words(2 * here.t + i % 2 + i / 4 * 8, here.g + i / 2 % 2 * 8)[here.part * WORDS + w];
          }
          float x[2][8];
#pragma unroll
          for (int n = 0; n < 2; n++)
#pragma unroll
            for (int i = 0; i < 8; i++)
              x[n][i] = HAS_VALUE ? n ? high_half(words[i]) : low_half(words[i])
                                  : -deltas[(2 * here.t + i % 2 + i / 4 * 8) * HEADS + head + n];
#pragma unroll
          for (int u = 0; u < VALUE_UNITS; u += 2) {
            constexpr int BOTH = VALUE_UNITS > 1 ? 2 : 1;
            const int count = u + 1 < VALUE_UNITS ? 2 : 1;
            u32 a[4 * BOTH], b[4 * BOTH];
            load_all<4 * BOTH, false>(a, here.matrix, [&](int m) {
              int n = m / (2 * BOTH), k = m % (2 * BOTH) / 2, half = m % 2;
              return v_rows + ((half * 8 + here.row) * VALUE_PITCH + (head + n) * VALUE_ROW + u + min(k, count - 1)) * 16;
            });
            load_all<4 * BOTH, false>(b, here.matrix, [&](int m) {
              int n = m / (2 * BOTH), half = m % (2 * BOTH) / BOTH, k = m % BOTH;
              return gc_rows + ((half * 8 + here.row) * VALUE_PITCH + (head + n) * VALUE_ROW + u + min(k, count - 1)) * 16;
            });
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
              for (int half = 0; half < 2; half++) {
                float(&c)[4] = *(float(*)[4])(x[n] + 4 * half);
                if (count == 2)
                  multiply<BOTH>(c, a + n * 2 * BOTH, b + n * 2 * BOTH + half * BOTH);
                else
                  multiply<1>(c, a + n * 2 * BOTH, b + n * 2 * BOTH + half * BOTH);
              }
          }
          u32 grads[2][4];
#pragma unroll
          for (int n = 0; n < 2; n++) {
#pragma unroll
            for (int i = 0; i < 8; i++) x[n][i] *= n ? high_half(pairs[i].x[w]) : low_half(pairs[i].x[w]);
#pragma unroll
            for (int i = 0; i < 4; i++) grads[n][i] = pack(x[n][2 * i], x[n][2 * i + 1]);
          }
#pragma unroll
          for (int i = 0; i < 8; i++) pairs[i].x[w] = pack(x[0][i], x[1][i]);
          u32 turned[2][4];
#pragma unroll
          for (int n = 0; n < 2; n++) {
            turned[n][0] = transpose(grads[n][0]), turned[n][1] = transpose(grads[n][2]);
            turned[n][2] = transpose(grads[n][1]), turned[n][3] = transpose(grads[n][3]);
          }
#pragma unroll
          for (int u = 0; u < KEY_UNITS; u++) {
            u32 q[4], k[4];  // of both heads, positions 0-7 and 8-15
            load_all<4, true>(q, here.matrix, [&](int m) {
              return q_rows + ((m % 2 * 8 + here.row) * KEY_PITCH + (head + m / 2) * KEY_ROW + u) * 16;
            });
            load_all<4, true>(k, here.matrix, [&](int m) {
              return k_rows + ((m % 2 * 8 + here.row) * KEY_PITCH + (head + m / 2) * KEY_ROW + u) * 16;
            });
#pragma unroll
            for (int n = 0; n < 2; n++) {
              multiply16(grad_k[2 * w + n][u], grads[n][0], grads[n][1], grads[n][2], grads[n][3], q[2 * n], q[2 * n + 1]);
              float c[4] = {0, 0, 0, 0};
              multiply16(c, turned[n][0], turned[n][1], turned[n][2], turned[n][3], k[2 * n], k[2 * n + 1]);
              int channel = u * UNIT + 2 * here.t;
              if (channel < PADDED_KEY) {
                float* target = content_part + here.g * PARTS_ROW + (head + n) * PADDED_KEY + channel;
                *(float2*)target = float2{c[0], c[1]};
                *(float2*)(target + 8 * PARTS_ROW) = float2{c[2], c[3]};
              }
            }
          }
        }

        // What positions owe to it.
        if (HAS_QUERY || HAS_KEY) {
          write_pairs();
          if (HAS_QUERY) {
            float c[PAIRS][KEY_UNITS][4];
#pragma unroll
            for (int i = 0; i < PAIRS; i++)
#pragma unroll
              for (int u = 0; u < KEY_UNITS; u++) c[i][u][0] = c[i][u][1] = c[i][u][2] = c[i][u][3] = 0;
            gather_rows<KEY_UNITS, KEY_ROW>(c, place, tile, tables, shared_address(tables.query), length - tile.query, of_query);
            store_position_part(c);
          }
          if (HAS_KEY)
            gather_rows<KEY_UNITS, KEY_ROW>(grad_k3, place, tile, tables, shared_address(tables.key), length - tile.key, of_key);
          if (HAS_QUERY)
            sum_by_distance<KEY_UNITS, KEY_ROW>(query_sums, place, of_query, [&](int o) { return q2_rows + o * KEY_PITCH * 16; });
          if (HAS_KEY)
            sum_by_distance<KEY_UNITS, KEY_ROW>(key_sums, place, of_key, [&](int p) { return k3_rows + p * KEY_PITCH * 16; });
        }
      }

      // Shares of the groups: first turn of the tables, then queries, then second turn.
      auto add_turn = [&](int turn) {
        const int first = tables.find(tile.key - tile.query);
        if (HAS_QUERY) add_to_rows<KEY_UNITS>(grad_rows, query_sums, place, turn, first, 0);
        if (HAS_KEY) add_to_rows<KEY_UNITS>(grad_rows, key_sums, place, turn, first, HAS_QUERY * KEY_UNITS * UNIT);
        if (HAS_VALUE) add_to_rows<VALUE_UNITS>(grad_rows, value_sums, place, turn, first, (HAS_QUERY + HAS_KEY) * KEY_UNITS * UNIT);
      };
      if (active) add_turn(0);
      __syncthreads();
      for (int o = place.own_position; o < TILE; o += OWN_STEP) {
        if (tile.query + o >= length) break;
        u32 row[KEY_UNITS * 4];
        load_row<KEY_DIM>(row, line_q + (tile.query + o) * step + place.own_head * KEY_DIM, true);
#pragma unroll
        for (int c = 0; c < PADDED_KEY; c += 4) {
          float4 content = {0, 0, 0, 0}, position = {0, 0, 0, 0};
          for (int group = 0; group < GROUPS; group++) {
            if (!meets(group, tile.query)) continue;
            const float* part = parts + group * 2 * 4 * PARTS_SPACE + o * PARTS_ROW + place.own_head * PADDED_KEY + c;
            float4 more = *(const float4*)part;
            content.x += more.x, content.y += more.y, content.z += more.z, content.w += more.w;
            if (HAS_QUERY) {
              more = *(const float4*)(part + 4 * PARTS_SPACE);
              position.x += more.x, position.y += more.y, position.z += more.z, position.w += more.w;
            }
          }
          float q[4] = {low_half(row[c / 2]), high_half(row[c / 2]), low_half(row[c / 2 + 1]), high_half(row[c / 2 + 1])};
          grad_a1 += q[0] * content.x + q[1] * content.y + q[2] * content.z + q[3] * content.w;
          grad_a2 += q[0] * position.x + q[1] * position.y + q[2] * position.z + q[3] * position.w;
          float grad[4] = {a1 * content.x + a2 * position.x, a1 * content.y + a2 * position.y, a1 * content.z + a2 * position.z,
                           a1 * content.w + a2 * position.w};
          const i64 where = pixel + (i64)(tile.query + o) * inner;
#pragma unroll
          for (int j = 0; j < 4; j += 2) {
            if (c + j >= KEY_DIM) break;
            int channel = (head0 + place.own_head) * KEY_DIM + c + j;
            if (KEY_BLOCKS_ONE) {
              *(u32*)(grad_qkv + where * CHANNELS + channel) = pack(grad[j], grad[j + 1]);
            } else {
              const i64 pixels = (i64)num_lines * length;
              *(u32*)(query_shares + (blockIdx.y * pixels + where) * NUM_HEADS * KEY_DIM + channel) = pack(grad[j], grad[j + 1]);
            }
          }
        }
      }
      if (active) add_turn(1);
    }

    // Keys and values of the line.
    __syncthreads();
    if (tile.key < length) {
      const Place at = place.again();
#pragma unroll
      for (int h = 0; h < HEADS_WARP; h++) {
        const int head = at.part * HEADS_WARP + h;
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int p = at.g + half * 8;
#pragma unroll
          for (int u = 0; u < VALUE_UNITS; u++) {
            int channel = u * UNIT + 2 * at.t;
            if (tile.key + p < length && channel < VALUE_DIM)
              *(u32*)(grad_qkv + (line_v - qkv) + (tile.key + p) * step + head * VALUE_DIM + channel) =
                  pack(grad_v[h][u][2 * half], grad_v[h][u][2 * half + 1]);
          }
#pragma unroll
          for (int u = 0; u < KEY_UNITS; u++) {
            int channel = u * UNIT + 2 * at.t;
            if (channel < PADDED_KEY)
              *(float2*)(content_part + p * PARTS_ROW + head * PADDED_KEY + channel) = float2{grad_k[h][u][2 * half], grad_k[h][u][2 * half + 1]};
          }
        }
      }
      if (HAS_KEY) store_position_part(grad_k3);
    }
    __syncthreads();
    for (int p = place.own_position; p < BLOCK_KEYS; p += OWN_STEP) {
      if (block_key + p >= length) break;
      u32 row[KEY_UNITS * 4];
      load_row<KEY_DIM>(row, line_k + (block_key + p) * step + place.own_head * KEY_DIM, true);
      const float* part = parts + p / TILE * 2 * 4 * PARTS_SPACE + p % TILE * PARTS_ROW + place.own_head * PADDED_KEY;
#pragma unroll
      for (int c = 0; c < KEY_DIM; c += 2) {
        float2 content = *(const float2*)(part + c), position = {0, 0};
        if (HAS_KEY) position = *(const float2*)(part + 4 * PARTS_SPACE + c);
        grad_a3 += low_half(row[c / 2]) * position.x + high_half(row[c / 2]) * position.y;
        // `grad_k` was summed over queries times a1 * log2(e).
        *(u32*)(grad_qkv + (line_k - qkv) + (block_key + p) * step + place.own_head * KEY_DIM + c) =
            pack(content.x * LN_2 + a3 * position.x, content.y * LN_2 + a3 * position.y);
      }
    }
  }

  // What the block has summed over its lines.
  const i64 share = ((i64)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  __syncthreads();
  float* const scale_sums = parts;  // [scale][thread]
  scale_sums[place.thread] = grad_a1, scale_sums[THREADS + place.thread] = grad_a2, scale_sums[2 * THREADS + place.thread] = grad_a3;
  __syncthreads();
  for (int i = place.thread; i < 3 * HEADS; i += THREADS) {
    float sum = 0;
    for (int j = i % HEADS; j < THREADS; j += HEADS) sum += scale_sums[i / HEADS * THREADS + j];
    scale_shares[share * 3 * HEADS + i] = sum;
  }
  if (HAS_QUERY || HAS_KEY || HAS_VALUE) {
    for (int i = place.thread; i < (2 * reach + 1) * TABLE_PITCH; i += THREADS) {
      int distance = i / TABLE_PITCH - reach, channel = i % TABLE_PITCH, column = channel;
      float factor = LN_2;  // what met the gradients of the logits was scaled by log2(e)
      if (channel >= (HAS_QUERY + HAS_KEY) * PADDED_KEY) {
        column = channel - (HAS_QUERY + HAS_KEY) * PADDED_KEY + (HAS_QUERY + HAS_KEY) * KEY_UNITS * UNIT;
        factor = 1;
      } else if (channel >= PADDED_KEY) {
        column = channel - PADDED_KEY + KEY_UNITS * UNIT;
      }
      bool met = distance >= first_distance && distance <= last_distance;
      row_shares[share * (2 * reach + 1) * TABLE_PITCH + i] = met ? grad_rows[tables.find(distance) * GRAD_PITCH + column] * factor : 0;
    }
  }
}

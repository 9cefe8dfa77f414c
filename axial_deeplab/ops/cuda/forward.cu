// Position-sensitive axial attention, forward: what every query retrieves, and the log-sum-exp of its logits.
//
// A block has GROUPS * 16 queries of a line in shared memory and goes along the line, KEYS keys at a time; then it takes
// another line. A query's weights are exp2(logit), without the largest logit subtracted: a bfloat16 has the exponents of a
// float, so nothing is lost between 2^-100 and 2^100. Where a sum of weights falls outside, which training does not see, the
// block goes along the line again, first to find the largest logits, then to subtract them.
//
// Constants from outside: those of tile.cuh, KEYS (a multiple of 16), KEEP_LSE, BLOCKS (a multiprocessor should hold), MERGE (each
// result is scaled and shifted by channel, and position added to content), RELU (then).
#include "tile.cuh"

constexpr float SMALLEST_SUM = 7.9e-31f, LARGEST_SUM = 1.27e30f;  // 2^-100, 2^100
constexpr u32 ONES = 0x3f803f80u;
constexpr int VALUE_CHANNELS = NUM_HEADS * VALUE_DIM, RESULT_CHANNELS = MERGE ? VALUE_CHANNELS : OUT_CHANNELS;
enum Pass { DIRECT, FIND_LARGEST, SUBTRACT_LARGEST };

// Shared memory, in units.
constexpr int QUERIES = GROUPS * TILE;
constexpr int QUERY_SPACE = QUERIES * KEY_PITCH, KEY_SPACE = KEYS * KEY_PITCH, VALUE_SPACE = KEYS * VALUE_PITCH;
constexpr int FLOATS_SPACE = QUERIES * HEADS / 4;

// What a thread has of its tile of queries. Content: query g, then g + 8, channels 2t and 2t + 1 of every unit. Position: head
// g of the queries PAIRS * part + i, then eight further, the same channels. The sums of weights are those of query g, twice, and query
// g + 8, twice: products with a column of ones, so that what is divided by them has the same weights, rounded.
struct Retrieved {
  float content[HEADS_WARP][VALUE_UNITS][4], position[PAIRS][VALUE_UNITS][4], sum[HEADS_WARP][4];
  WARP_INLINE void clear(float first) {
#pragma unroll
    for (int h = 0; h < HEADS_WARP; h++) {
      sum[h][0] = sum[h][1] = sum[h][2] = sum[h][3] = first;
#pragma unroll
      for (int u = 0; u < VALUE_UNITS; u++) content[h][u][0] = content[h][u][1] = content[h][u][2] = content[h][u][3] = 0;
    }
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
#pragma unroll
      for (int u = 0; u < VALUE_UNITS; u++) position[i][u][0] = position[i][u][1] = position[i][u][2] = position[i][u][3] = 0;
  }
};

// Where a group's share of shared memory begins (addresses), and its line's length.
struct Group {
  u32 q_content, q_position, zero;
  const float* largest;  // [query of the group][head]
  int length, reach;
};

// Two neighboring channels of content, or of position, as they are written; `merge` holds a scale for each of OUT_CHANNELS, then a
// shift. Position is added to what has been written of content.
WARP_INLINE u32 finish_content(float x, float y, const float* merge, int channel) {
  if (!MERGE) return pack(x, y);
  const float2 scale = *(const float2*)(merge + channel), shift = *(const float2*)(merge + OUT_CHANNELS + channel);
  x = x * scale.x + shift.x, y = y * scale.y + shift.y;
  if (HAS_VALUE) {
    const float2 more = *(const float2*)(merge + OUT_CHANNELS + VALUE_CHANNELS + channel);
    x += more.x, y += more.y;
  } else if (RELU) {
    x = x < 0 ? 0 : x, y = y < 0 ? 0 : y;  // what is not a number stays so
  }
  return pack(x, y);
}
WARP_INLINE u32 finish_position(float x, float y, const float* merge, int channel, const bf16* content) {
  if (!MERGE) return pack(x, y);
  const float2 scale = *(const float2*)(merge + VALUE_CHANNELS + channel);
  const u32 before = *(const u32*)content;
  x = low_half(before) + x * scale.x, y = high_half(before) + y * scale.y;
  if (RELU) x = x < 0 ? 0 : x, y = y < 0 ? 0 : y;
  return pack(x, y);
}

// Adds a tile to what its queries retrieve. EDGE: of eight keys some do not exist or are out of sight. CAREFUL: not the first
// pass.
template <bool EDGE, bool CAREFUL>
WARP_INLINE void attend(Retrieved& got, const Place& place, const Tile& tile, const Group& group, const Tables& tables, u32 k_content,
                        u32 k_position, u32 values, int pass) {
  place.wait_for_group();  // the tile before has left the exchange
  meet_positions(place, tile, group.length, tables, group.q_position, k_position);

  // One head at a time; a thread has queries g and g + 8, keys 2t, 2t + 1, 2t + 8, 2t + 9.
  const Place at = place.again();
  const bool both = tile.key + 8 < group.length;  // whether the tile's second eight keys exist
  u32 seen = 0;                                   // of a thread's pairs, one bit each
  if (EDGE) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int o = tile.query + at.g + i / 2 % 2 * 8, p = tile.key + 2 * at.t + i % 2 + i / 4 * 8;
      seen |= Tile::sees(o, p, group.length, group.reach) << i;
    }
  }
  Words<WORDS> pairs[8];
#pragma unroll
  for (int i = 0; i < 8; i++)
    pairs[i] = *(Words<WORDS>*)(tile.words(at.g + i / 2 % 2 * 8, 2 * at.t + i % 2 + i / 4 * 8) + at.part * WORDS);
#pragma unroll
  for (int w = 0; w < WORDS; w++) {
    const int head = at.part * HEADS_WARP + 2 * w;
    u32 a[4 * KEY_UNITS], b[4 * KEY_UNITS], weights[2][4];
    load_all<4 * KEY_UNITS, false>(a, at.matrix, [&](int m) {
      int n = m / (2 * KEY_UNITS), u = m % (2 * KEY_UNITS) / 2, half = m % 2;
      return group.q_content + ((half * 8 + at.row) * KEY_PITCH + (head + n) * KEY_ROW + u) * 16;
    });
    load_all<4 * KEY_UNITS, false>(b, at.matrix, [&](int m) {
      int n = m / (2 * KEY_UNITS), half = m % (2 * KEY_UNITS) / KEY_UNITS, u = m % KEY_UNITS;
      return k_content + ((half * 8 + at.row) * KEY_PITCH + (head + n) * KEY_ROW + u) * 16;
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
        if (EDGE) {
#pragma unroll
          for (int i = 0; i < 4; i++)
            if (!(seen >> (half * 4 + i) & 1)) c[i] = -INFINITY_F;
        }
        if (CAREFUL) {
#pragma unroll
          for (int i = 0; i < 4; i++) {
            if (pass == FIND_LARGEST)
              got.sum[2 * w + n][i] = fmaxf(got.sum[2 * w + n][i], c[i]);
            else
              c[i] -= group.largest[(at.g + i / 2 * 8) * HEADS + head + n];
          }
          if (pass == FIND_LARGEST) continue;
        }
#pragma unroll
        for (int i = 0; i < 4; i++) x[n][half * 4 + i] = exp2_fast(c[i]);
#pragma unroll
        for (int i = 0; i < 2; i++) weights[n][half * 2 + i] = pack(x[n][half * 4 + 2 * i], x[n][half * 4 + 2 * i + 1]);
      }
    }
    if (CAREFUL && pass == FIND_LARGEST) continue;
#pragma unroll
    for (int i = 0; i < 8; i++) pairs[i].x[w] = pack(x[0][i], x[1][i]);
#pragma unroll
    for (int n = 0; n < 2; n++)
      multiply16(got.sum[2 * w + n], weights[n][0], weights[n][1], weights[n][2], weights[n][3], ONES, ONES);
#pragma unroll
    for (int u = 0; u < VALUE_UNITS; u++) {
      u32 v[4];  // of both heads, keys 0-7 and 8-15
      load_all<4, true>(v, at.matrix, [&](int m) {
        return values + ((m % 2 * 8 + at.row) * VALUE_PITCH + (head + m / 2) * VALUE_ROW + u) * 16;
      });
#pragma unroll
      for (int n = 0; n < 2; n++)
        multiply16(got.content[2 * w + n][u], weights[n][0], weights[n][1], weights[n][2], weights[n][3], v[2 * n], v[2 * n + 1]);
    }
  }
  if (!HAS_VALUE || (CAREFUL && pass == FIND_LARGEST)) return;
#pragma unroll
  for (int i = 0; i < 8; i++)
    *(Words<WORDS>*)(tile.words(at.g + i / 2 % 2 * 8, 2 * at.t + i % 2 + i / 4 * 8) + at.part * WORDS) = pairs[i];
  place.wait_for_group();
  gather_rows<VALUE_UNITS, VALUE_ROW>(got.position, place, tile, tables, shared_address(tables.value), group.length - tile.query,
                                      [&](int o, int d) { return tile.pair_of_query(o, d, group.zero); });
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_forward(const bf16* __restrict__ qkv, const float* __restrict__ rows, const float* __restrict__ scales,
                      const float* __restrict__ affine, const float* __restrict__ merge, bf16* __restrict__ retrieved,
                      float* __restrict__ lse, int num_lines, int inner, int length, int reach, int first_row) {
  SHARED_MEMORY(memory);
  const Place place(threadIdx.x);
  Unit* const q_content = memory;  // queries times the scale of the content term, and of the query term
  Unit* const q_position = q_content + QUERY_SPACE;
  Unit* const k_content = q_position + HAS_QUERY * QUERY_SPACE;
  Unit* const k_position = k_content + KEY_SPACE;
  Unit* const values = k_position + HAS_KEY * KEY_SPACE;
  Unit* const exchanges = values + VALUE_SPACE;
  Unit* const zero = exchanges + GROUPS * EXCHANGE_UNITS;
  float* const sums = (float*)(zero + 1);             // [query][head] of the block
  float* const largest = sums + 4 * FLOATS_SPACE;     // the same
  const int block_query = blockIdx.y * QUERIES, block_end = min(block_query + QUERIES, length);
  const Tables tables((Unit*)(largest + 4 * FLOATS_SPACE), max(-reach, 1 - block_end), min(reach, length - 1 - block_query),
                      Tables::find_margin(length, reach));
  tables.fill_all(rows + (i64)(tables.first + reach + first_row) * TABLE_PITCH);
  if (place.thread == 0) *zero = {0, 0, 0, 0};

  const int local_query = place.group * TILE;  // in the block
  Tile tile;
  tile.query = block_query + local_query;
  tile.rows = exchanges + place.group * EXCHANGE_UNITS;
  tile.exchange = shared_address(tile.rows);
  Group group;
  group.q_content = shared_address(q_content + local_query * KEY_PITCH);
  group.q_position = shared_address(q_position + local_query * KEY_PITCH);
  group.zero = shared_address(zero);
  group.largest = largest + local_query * HEADS;
  group.length = length, group.reach = reach;
  const bool has_queries = tile.query < length;
  const int first_key = max(0, block_query - reach) / TILE * TILE, end_key = min(length, block_end + reach);

  for (int item = blockIdx.x; item < num_lines * HEAD_BLOCKS; item += gridDim.x) {
    const int line = item / HEAD_BLOCKS, head0 = item % HEAD_BLOCKS * HEADS;
    const i64 pixel = (i64)(line / inner) * length * inner + line % inner;
    const i64 step = (i64)inner * CHANNELS;
    const bf16* const line_q = qkv + pixel * CHANNELS + head0 * KEY_DIM;
    const bf16* const line_k = line_q + NUM_HEADS * KEY_DIM;
    const bf16* const line_v = qkv + pixel * CHANNELS + 2 * NUM_HEADS * KEY_DIM + head0 * VALUE_DIM;

    __syncthreads();
    {
      const Place at = place.again();
      const float a1 = scales[head0 + at.own_head] * LOG2_E, a2 = scales[NUM_HEADS + head0 + at.own_head] * LOG2_E;
      const bf16* source = line_q + (block_query + at.own_position) * step + at.own_head * KEY_DIM;
      Unit* target = q_content + at.own_position * KEY_PITCH + at.own_head * KEY_ROW;
      for (int o = at.own_position; o < QUERIES; o += OWN_STEP) {
        u32 row[KEY_UNITS * 4];
        load_normed_row<KEY_DIM>(row, source, affine + (head0 + at.own_head) * KEY_DIM, block_query + o < length);
        store_row_scaled(target, row, a1);
        if (HAS_QUERY) store_row_scaled(target + QUERY_SPACE, row, a2);
        source += OWN_STEP * step, target += OWN_STEP * KEY_PITCH;
      }
    }

    Retrieved got;
    int pass = DIRECT;
    for (;;) {
      got.clear(pass == FIND_LARGEST ? -INFINITY_F : 0.f);
      for (int chunk = first_key; chunk < end_key; chunk += KEYS) {
        __syncthreads();
        {
          const Place at = place.again();
          const float a3 = scales[2 * NUM_HEADS + head0 + at.own_head] * LOG2_E;
          const bf16* source_k = line_k + (chunk + at.own_position) * step + at.own_head * KEY_DIM;
          const float* const affine_k = affine + (NUM_HEADS + head0 + at.own_head) * KEY_DIM;
          const float* const affine_v = affine + 2 * NUM_HEADS * KEY_DIM + (head0 + at.own_head) * VALUE_DIM;
          const bf16* source_v = line_v + (chunk + at.own_position) * step + at.own_head * VALUE_DIM;
          Unit* target = k_content + at.own_position * KEY_PITCH + at.own_head * KEY_ROW;
          Unit* target_v = values + at.own_position * VALUE_PITCH + at.own_head * VALUE_ROW;
          const int chunk_end = min(KEYS, (end_key + TILE - 1) / TILE * TILE - chunk);
          for (int p = at.own_position; p < chunk_end; p += OWN_STEP) {
            u32 key[KEY_UNITS * 4], value[VALUE_UNITS * 4];
            load_normed_row<KEY_DIM>(key, source_k, affine_k, chunk + p < length);
            load_normed_row<VALUE_DIM>(value, source_v, affine_v, chunk + p < length);
            store_row(target, key);
            if (HAS_KEY) store_row_scaled(target + KEY_SPACE, key, a3);
            store_row(target_v, value);
            source_k += OWN_STEP * step, source_v += OWN_STEP * step;
            target += OWN_STEP * KEY_PITCH, target_v += OWN_STEP * VALUE_PITCH;
          }
        }
        __syncthreads();
        for (int local = 0; local < KEYS && chunk + local < end_key; local += TILE) {
          tile.key = chunk + local;
          if (!has_queries || tile.key - (tile.query + TILE - 1) > reach || tile.query - (tile.key + TILE - 1) > reach) continue;
          const u32 k1 = shared_address(k_content + local * KEY_PITCH), k3 = shared_address(k_position + local * KEY_PITCH);
          const u32 v = shared_address(values + local * VALUE_PITCH);
          if (pass != DIRECT)
            attend<true, true>(got, place, tile, group, tables, k1, k3, v, pass);
          else if (tile.is_border(length, reach) || Tile::ends_within_half(tile.key, length))
            attend<true, false>(got, place, tile, group, tables, k1, k3, v, pass);
          else
            attend<false, false>(got, place, tile, group, tables, k1, k3, v, pass);
        }
      }

      // Is there a sum that a float cannot hold?
      const Place at = place.again();
      bool fits = true;
#pragma unroll
      for (int h = 0; h < HEADS_WARP; h++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          float s = got.sum[h][2 * half];
          if (pass == FIND_LARGEST) {
            s = fmaxf(s, got.sum[h][2 * half + 1]);
            s = fmaxf(s, exchange(s, 1)), s = fmaxf(s, exchange(s, 2));
          }
          int o = at.g + half * 8, i = (local_query + o) * HEADS + at.part * HEADS_WARP + h;
          if (tile.query + o < length && !(s >= SMALLEST_SUM && s <= LARGEST_SUM)) fits = false;
          if (at.t == 0) (pass == FIND_LARGEST ? largest : sums)[i] = s;
        }
      if (pass == SUBTRACT_LARGEST) break;
      if (pass == DIRECT && !__syncthreads_or(!fits)) break;
      pass++;
    }
    __syncthreads();

    // What was retrieved, divided by the sums, and the log-sum-exp.
    const Place at = place.again();
    const i64 out_step = (i64)inner * RESULT_CHANNELS;
    bf16* const out = retrieved + pixel * RESULT_CHANNELS + head0 * VALUE_DIM;
    if (has_queries) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int o = at.g + half * 8, head = at.part * HEADS_WARP;
        if (tile.query + o >= length) break;
        bf16* const target = out + (tile.query + o) * out_step + head * VALUE_DIM + 2 * at.t;
#pragma unroll
        for (int h = 0; h < HEADS_WARP; h++) {
          float share = invert_fast(sums[(local_query + o) * HEADS + head + h]);
#pragma unroll
          for (int u = 0; u < VALUE_UNITS; u++)
            if (u * UNIT + 2 * at.t < VALUE_DIM)
              *(u32*)(target + h * VALUE_DIM + u * UNIT) =
                  finish_content(got.content[h][u][2 * half] * share, got.content[h][u][2 * half + 1] * share, merge,
                                 (head0 + head + h) * VALUE_DIM + u * UNIT + 2 * at.t);
        }
      }
      if (MERGE) at.wait_for_group();  // what was written of content is read again
      if (HAS_VALUE) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int first = at.part * PAIRS + half * 8;
          const int offset = at.g * VALUE_DIM + 2 * at.t;
          bf16* target = out + (MERGE ? 0 : VALUE_CHANNELS) + (tile.query + first) * out_step + offset;
#pragma unroll
          for (int i = 0; i < PAIRS; i++) {
            if (tile.query + first + i >= length) break;
            float share = invert_fast(sums[(local_query + first + i) * HEADS + at.g]);
#pragma unroll
            for (int u = 0; u < VALUE_UNITS; u++)
              if (u * UNIT + 2 * at.t < VALUE_DIM)
                *(u32*)(target + u * UNIT) =
                    finish_position(got.position[i][u][2 * half] * share, got.position[i][u][2 * half + 1] * share, merge,
                                    head0 * VALUE_DIM + offset + u * UNIT, target + u * UNIT);
            target += out_step;
          }
        }
      }
    }
    if (KEEP_LSE) {
      float* target = lse + ((i64)(block_query + at.own_position) * num_lines + line) * NUM_HEADS + head0 + at.own_head;
      for (int o = at.own_position; o < QUERIES && block_query + o < length; o += OWN_STEP) {
        *target = log2_fast(sums[o * HEADS + at.own_head]) + (pass == SUBTRACT_LARGEST ? largest[o * HEADS + at.own_head] : 0);
        target += (i64)OWN_STEP * num_lines * NUM_HEADS;
      }
    }
  }
}

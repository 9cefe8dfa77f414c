// One tile in the backward pass: all gradients that its pairs contribute to.
#pragma once
#include "table_gradients.cuh"

constexpr int PARTS_ROW = HEADS * PADDED_KEY + 4;  // floats of one position in the shares of gradients of queries or keys

// Gradients of a group's keys and values, summed along the line. Heads of the warp: key g, then g + 8, channels 2t and 2t + 1 of
// every unit. `position`: head g of the keys PAIRS * part + i, then eight further, the same channels.
struct KeyGradients {
  float values[HEADS_WARP][VALUE_UNITS][4], content[HEADS_WARP][KEY_UNITS][4], position[PAIRS][KEY_UNITS][4];
  WARP_INLINE void clear() {
#pragma unroll
    for (int h = 0; h < HEADS_WARP; h++) {
#pragma unroll
      for (int u = 0; u < VALUE_UNITS; u++) values[h][u][0] = values[h][u][1] = values[h][u][2] = values[h][u][3] = 0;
#pragma unroll
      for (int u = 0; u < KEY_UNITS; u++) content[h][u][0] = content[h][u][1] = content[h][u][2] = content[h][u][3] = 0;
    }
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
#pragma unroll
      for (int u = 0; u < KEY_UNITS; u++) position[i][u][0] = position[i][u][1] = position[i][u][2] = position[i][u][3] = 0;
  }
};

// Where things are in shared memory: addresses of rows, of a row of zeros; statistics; this group's shares of the gradients of
// queries, from content and from positions.
struct Group {
  u32 k_rows, k3_rows, v_rows, q_rows, q2_rows, gc_rows, gp_rows, zero_row;
  const float *lses, *deltas;  // [head][query], [query][head]
  float *content_part, *position_part;
  int length, reach;
};

// Stores what `gather_rows` has summed for the queries or keys of a tile.
WARP_INLINE void store_position_part(const float (&c)[PAIRS][KEY_UNITS][4], float* part, const Place& place) {
  const Place at = place.again();
#pragma unroll
  for (int i = 0; i < PAIRS; i++)
#pragma unroll
    for (int u = 0; u < KEY_UNITS; u++) {
      int channel = u * UNIT + 2 * at.t;
      float* target = part + (at.part * PAIRS + i) * PARTS_ROW + at.g * PADDED_KEY + channel;
      if (channel < PADDED_KEY) {
        *(float2*)target = float2{c[i][u][0], c[i][u][1]};
        *(float2*)(target + 8 * PARTS_ROW) = float2{c[i][u][2], c[i][u][3]};
      }
    }
}

// Adds a tile to the gradients of its keys and values, and leaves its shares of those of queries and tables.
WARP_INLINE void differentiate(KeyGradients& grads, AllTableSums& sums, const Place& place, const Tile& tile, const Group& group,
                               const Tables& tables) {
  const int length = group.length, reach = group.reach;
  const u32 k_rows = group.k_rows, k3_rows = group.k3_rows, v_rows = group.v_rows, zero_row = group.zero_row;
  const u32 q_rows = group.q_rows, q2_rows = group.q2_rows, gc_rows = group.gc_rows, gp_rows = group.gp_rows;
  const float *lses = group.lses, *deltas = group.deltas;
  float* const content_part = group.content_part;
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
        multiply16(grads.values[2 * w + n][u], weights[n][0], weights[n][1], weights[n][2], weights[n][3], grad[2 * n], grad[2 * n + 1]);
    }
  }

  // The gradient of the value table; then what the weights' gradient owes to it, in place of the weights.
  if (HAS_VALUE) {
    write_pairs();
    sum_by_distance<VALUE_UNITS, VALUE_ROW>(sums.value, place, of_query, [&](int o) { return gp_rows + o * VALUE_PITCH * 16; });
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
  constexpr int AT_A_TIME = WORDS > 1 ? 2 : 1;  // more would fill the registers, one would read four times from a bank
  Words<AT_A_TIME> words[8];
#pragma unroll
  for (int w = 0; w < WORDS; w++) {
    const int head = here.part * HEADS_WARP + 2 * w;
    if (HAS_VALUE && w % AT_A_TIME == 0) {
#pragma unroll
      for (int i = 0; i < 8; i++)
        words[i] = *(Words<AT_A_TIME>*)(tile.words(2 * here.t + i % 2 + i / 4 * 8, here.g + i / 2 % 2 * 8) + here.part * WORDS + w);
    }
    float x[2][8];
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
      for (int i = 0; i < 8; i++)
        x[n][i] = HAS_VALUE ? n ? high_half(words[i].x[w % AT_A_TIME]) : low_half(words[i].x[w % AT_A_TIME])
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
    u32 logits[2][4];
#pragma unroll
    for (int n = 0; n < 2; n++) {
#pragma unroll
      for (int i = 0; i < 8; i++) x[n][i] *= n ? high_half(pairs[i].x[w]) : low_half(pairs[i].x[w]);
#pragma unroll
      for (int i = 0; i < 4; i++) logits[n][i] = pack(x[n][2 * i], x[n][2 * i + 1]);
    }
#pragma unroll
    for (int i = 0; i < 8; i++) pairs[i].x[w] = pack(x[0][i], x[1][i]);
    u32 turned[2][4];
#pragma unroll
    for (int n = 0; n < 2; n++) {
      turned[n][0] = transpose(logits[n][0]), turned[n][1] = transpose(logits[n][2]);
      turned[n][2] = transpose(logits[n][1]), turned[n][3] = transpose(logits[n][3]);
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
        multiply16(grads.content[2 * w + n][u], logits[n][0], logits[n][1], logits[n][2], logits[n][3], q[2 * n], q[2 * n + 1]);
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
      store_position_part(c, group.position_part, place);
    }
    if (HAS_KEY)
      gather_rows<KEY_UNITS, KEY_ROW>(grads.position, place, tile, tables, shared_address(tables.key), length - tile.key, of_key);
    if (HAS_QUERY)
      sum_by_distance<KEY_UNITS, KEY_ROW>(sums.query, place, of_query, [&](int o) { return q2_rows + o * KEY_PITCH * 16; });
    if (HAS_KEY)
      sum_by_distance<KEY_UNITS, KEY_ROW>(sums.key, place, of_key, [&](int p) { return k3_rows + p * KEY_PITCH * 16; });
  }
}

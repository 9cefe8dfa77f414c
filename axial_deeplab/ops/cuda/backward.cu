// Position-sensitive axial attention, backward: gradients of queries, keys, values, tables and scales in one pass.
//
// A block has GROUPS * 16 keys of a line, one tile of keys a group, and goes along the line, 16 queries at a time, the same
// for all groups; then it takes another line. With P the weights and dP = dcontent . v + dposition . rv, a logit has the
// gradient dX = P (dP - delta), delta = dcontent . content + dposition . position. Nothing of a tile is kept.
//
//   keys, values     summed in registers along the line
//   queries          each group's share meets in shared memory after every tile; shares of several blocks are summed later,
//                    for which a launch takes only as many lines, `first_line` to `end_line`, as there is space for
//   tables, scales   summed by the block over all its lines, in shared memory and registers; summed over blocks later
//
// Every sum has a fixed order: nothing is added atomically. Groups add to the tables' gradients in two turns, the rows of
// negative distance within the tile, then the others, because in one turn no two groups have the same rows.
//
// Constants from outside: those of tile.cuh, KEY_BLOCKS_ONE (whether a block has all keys of a line), BLOCKS.
#include "tile_backward.cuh"

// Shared memory, in units.
constexpr int BLOCK_KEYS = GROUPS * TILE;
constexpr int KEY_SPACE = BLOCK_KEYS * KEY_PITCH, VALUE_SPACE = BLOCK_KEYS * VALUE_PITCH;
constexpr int QUERY_SPACE = TILE * KEY_PITCH, GRAD_SPACE = TILE * VALUE_PITCH;
constexpr int STATS_SPACE = TILE * HEADS / 4;                           // floats of every query and head
constexpr int PARTS_SPACE = TILE * PARTS_ROW / 4;

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_backward(const bf16* __restrict__ qkv, const float* __restrict__ rows, const float* __restrict__ scales,
                       const float* __restrict__ affine, const bf16* __restrict__ retrieved, const float* __restrict__ lse,
                       const bf16* __restrict__ grad_retrieved, bf16* __restrict__ grad_qkv, bf16* __restrict__ query_shares,
                       float* __restrict__ row_shares, float* __restrict__ scale_shares, int num_lines, int inner, int length,
                       int reach, int first_row, int first_line, int end_line) {
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
  Group group;
  group.zero_row = shared_address(zero);
  group.k_rows = shared_address(k_content + place.group * TILE * KEY_PITCH);
  group.k3_rows = shared_address(k_position + place.group * TILE * KEY_PITCH);
  group.v_rows = shared_address(values + place.group * TILE * VALUE_PITCH);
  group.q_rows = shared_address(q_content), group.q2_rows = shared_address(q_position);
  group.gc_rows = shared_address(grad_content), group.gp_rows = shared_address(grad_position);
  group.lses = lses, group.deltas = deltas;
  group.content_part = parts + place.group * 2 * 4 * PARTS_SPACE;
  group.position_part = group.content_part + 4 * PARTS_SPACE;
  group.length = length, group.reach = reach;
  const int first_query = max(0, block_key - reach) / TILE * TILE, end_query = min(length, block_end + reach);

  const float* const affine_q = affine + head0 * KEY_DIM;
  const float* const affine_k = affine_q + NUM_HEADS * KEY_DIM;
  const float* const affine_v = affine + 2 * NUM_HEADS * KEY_DIM + head0 * VALUE_DIM;

  auto meets = [&](int group, int query) {  // whether a group has anything to do with a tile of queries
    int key = block_key + group * TILE;
    return key < length && key - (query + TILE - 1) <= reach && query - (key + TILE - 1) <= reach;
  };

  for (int line = first_line + blockIdx.x; line < end_line; line += gridDim.x) {
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
      const int h = fetching.own_head;
      load_normed_row<KEY_DIM>(key, line_k + (block_key + p) * step + h * KEY_DIM, affine_k + h * KEY_DIM, exists);
      load_normed_row<VALUE_DIM>(value, line_v + (block_key + p) * step + h * VALUE_DIM, affine_v + h * VALUE_DIM, exists);
      store_row(k_content + p * KEY_PITCH + fetching.own_head * KEY_ROW, key);
      if (HAS_KEY) store_row_scaled(k_position + p * KEY_PITCH + fetching.own_head * KEY_ROW, key, a3 * LOG2_E);
      store_row(values + p * VALUE_PITCH + fetching.own_head * VALUE_ROW, value);
    }

    KeyGradients grads;
    grads.clear();
    for (tile.query = first_query; tile.query < end_query; tile.query += TILE) {
      __syncthreads();
      const Place fetching = place.again();
      for (int o = fetching.own_position; o < TILE; o += OWN_STEP) {
        bool exists = tile.query + o < length;
        u32 row[KEY_UNITS * 4];
        const bf16* const query = line_q + (tile.query + o) * step + fetching.own_head * KEY_DIM;
        load_normed_row<KEY_DIM>(row, query, affine_q + fetching.own_head * KEY_DIM, exists);
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
      AllTableSums table_sums;
      if (active) differentiate(grads, table_sums, place, tile, group, tables);

      // Shares of the groups: first turn of the tables, then queries, then second turn.
      auto add_turn = [&](int turn) {
        const int first = tables.find(tile.key - tile.query);
        if (HAS_QUERY) add_to_rows<KEY_UNITS>(grad_rows, table_sums.query, place, turn, first, 0);
        if (HAS_KEY) add_to_rows<KEY_UNITS>(grad_rows, table_sums.key, place, turn, first, HAS_QUERY * KEY_UNITS * UNIT);
        if (HAS_VALUE) add_to_rows<VALUE_UNITS>(grad_rows, table_sums.value, place, turn, first, (HAS_QUERY + HAS_KEY) * KEY_UNITS * UNIT);
      };
      if (active) add_turn(0);
      __syncthreads();
      for (int o = place.own_position; o < TILE; o += OWN_STEP) {
        if (tile.query + o >= length) break;
        u32 row[KEY_UNITS * 4];
        const bf16* const query = line_q + (tile.query + o) * step + place.own_head * KEY_DIM;
        load_normed_row<KEY_DIM>(row, query, affine_q + place.own_head * KEY_DIM, true);
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
#pragma unroll
          for (int j = 0; j < 4; j += 2) {
            if (c + j >= KEY_DIM) break;
            int channel = (head0 + place.own_head) * KEY_DIM + c + j;
            if (KEY_BLOCKS_ONE) {
              *(u32*)(grad_qkv + (pixel + (i64)(tile.query + o) * inner) * CHANNELS + channel) = pack(grad[j], grad[j + 1]);
            } else {
              const i64 row = ((i64)blockIdx.y * (end_line - first_line) + line - first_line) * length + tile.query + o;
              *(u32*)(query_shares + row * NUM_HEADS * KEY_DIM + channel) = pack(grad[j], grad[j + 1]);
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
                  pack(grads.values[h][u][2 * half], grads.values[h][u][2 * half + 1]);
          }
#pragma unroll
          for (int u = 0; u < KEY_UNITS; u++) {
            int channel = u * UNIT + 2 * at.t;
            if (channel < PADDED_KEY)
              *(float2*)(group.content_part + p * PARTS_ROW + head * PADDED_KEY + channel) = float2{grads.content[h][u][2 * half], grads.content[h][u][2 * half + 1]};
          }
        }
      }
      if (HAS_KEY) store_position_part(grads.position, group.position_part, place);
    }
    __syncthreads();
    for (int p = place.own_position; p < BLOCK_KEYS; p += OWN_STEP) {
      if (block_key + p >= length) break;
      u32 row[KEY_UNITS * 4];
      const bf16* const key = line_k + (block_key + p) * step + place.own_head * KEY_DIM;
      load_normed_row<KEY_DIM>(row, key, affine_k + place.own_head * KEY_DIM, true);
      const float* part = parts + p / TILE * 2 * 4 * PARTS_SPACE + p % TILE * PARTS_ROW + place.own_head * PADDED_KEY;
#pragma unroll
      for (int c = 0; c < KEY_DIM; c += 2) {
        float2 content = *(const float2*)(part + c), position = {0, 0};
        if (HAS_KEY) position = *(const float2*)(part + 4 * PARTS_SPACE + c);
        grad_a3 += low_half(row[c / 2]) * position.x + high_half(row[c / 2]) * position.y;
        // The content's share was summed over queries times a1 * log2(e).
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

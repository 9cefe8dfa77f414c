// A tile: 16 queries times 16 keys of one line, for 8 heads, and the pieces of work that forward and backward share.
//
// The difficulty is that two kinds of products meet in every logit. Content needs one head at a time: queries times keys. A
// position table is shared by the heads and shifts with the query, so it needs one query (or key) at a time: heads times
// table rows. Both are products of small matrices; between them values change hands through the exchange, which holds one
// 16-byte row of eight heads for every pair of the tile: a row can be read as part of a matrix for a fixed query, for a fixed
// key, or, by one thread, for all heads.
//
// A group of GROUP_WARPS warps owns a tile. In the head phases each warp takes HEADS_WARP of the heads; in the position
// phases, POSITIONS_WARP of the queries or keys.
//
// Constants from outside: KEY_DIM, VALUE_DIM (channels of one head, multiples of two), NUM_HEADS (a multiple of 8),
// HAS_QUERY, HAS_KEY, HAS_VALUE (position terms), GROUP_WARPS (1, 2, 4), GROUPS (of a block), NORMED (the batch norm of queries,
// keys and values is applied as they are loaded).
#pragma once
#include "primitives.cuh"

constexpr int TILE = 16, HEADS = 8, UNIT = 8;  // a unit is eight halves, 16 bytes
constexpr int HEAD_BLOCKS = NUM_HEADS / HEADS;
constexpr int HEADS_WARP = HEADS / GROUP_WARPS, POSITIONS_WARP = TILE / GROUP_WARPS;
constexpr int THREADS = 32 * GROUP_WARPS * GROUPS, GROUP_THREADS = 32 * GROUP_WARPS;
constexpr int OWN_STEP = THREADS / HEADS;  // from one position to the next of those that a thread fetches or sums
constexpr int WORDS = HEADS_WARP / 2;  // of a thread in a row of the exchange

// Rows in shared memory, in units: padded with zeros to whole units, and an odd number apart, so that eight heads of one
// position, eight positions of one head and eight rows of a table all lie in different banks.
constexpr int KEY_UNITS = (KEY_DIM + UNIT - 1) / UNIT, VALUE_UNITS = (VALUE_DIM + UNIT - 1) / UNIT;
constexpr int KEY_ROW = KEY_UNITS | 1, VALUE_ROW = VALUE_UNITS | 1;
constexpr int KEY_PITCH = HEADS * KEY_ROW + 1, VALUE_PITCH = HEADS * VALUE_ROW + 1;  // from one position to the next
constexpr int EXCHANGE_PITCH = TILE + 1;                                             // from one query to the next
constexpr int EXCHANGE_UNITS = TILE * EXCHANGE_PITCH;

constexpr int CHANNELS = NUM_HEADS * (2 * KEY_DIM + VALUE_DIM);
constexpr int OUT_CHANNELS = (1 + HAS_VALUE) * NUM_HEADS * VALUE_DIM;
constexpr int PADDED_KEY = (KEY_DIM + 3) / 4 * 4, PADDED_VALUE = (VALUE_DIM + 3) / 4 * 4;
constexpr int TABLE_PITCH = (HAS_QUERY + HAS_KEY) * PADDED_KEY + HAS_VALUE * PADDED_VALUE;  // floats, in global memory
constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

struct alignas(16) Unit {
  u32 x[4];
};
template <int N>
struct alignas(4 * N) Words {
  u32 x[N];
};

// What of a thread's place is used everywhere. Every phase begins with `again`: else the compiler keeps the addresses that
// all phases compute from it in registers, a hundred of them, for the whole kernel.
struct Place {
  int thread, lane, g, t, row, matrix, group, part, own_head, own_position;
  WARP_INLINE Place again() const { return Place(forget(thread)); }
  WARP_INLINE explicit Place(int index) {
    thread = index;
    lane = thread % 32;
    g = lane / 4, t = lane % 4;            // of a fragment
    row = lane % 8, matrix = lane / 8;     // of an address for load_matrices
    group = thread / GROUP_THREADS;
    part = thread / 32 % GROUP_WARPS;      // of the warp in its group
    own_head = thread % HEADS, own_position = thread / HEADS;  // of rows that the block fetches or sums together
  }
  WARP_INLINE void wait_for_group() const { wait_for(1 + group, GROUP_THREADS); }
};

// Loads COUNT matrices; `address(i)` is where this lane's row of matrix i begins.
template <int COUNT, bool TRANSPOSED, class Address>
WARP_INLINE void load_all(u32 (&r)[COUNT], int matrix, Address address) {
#pragma unroll
  for (int i = 0; i + 4 <= COUNT; i += 4) load_matrices4<TRANSPOSED>(r + i, address(i + matrix));
  constexpr int DONE = COUNT / 4 * 4;
  if (COUNT % 4 >= 2) load_matrices2<TRANSPOSED>(r + DONE, address(DONE + matrix % 2));
  if (COUNT % 2) load_matrices1<TRANSPOSED>(r + COUNT - 1, address(COUNT - 1));
}

// c += a * b over UNITS * 8 channels: a holds rows 0-7 and 8-15 of every unit, b one matrix a unit.
template <int UNITS>
WARP_INLINE void multiply(float (&c)[4], const u32* a, const u32* b) {
#pragma unroll
  for (int u = 0; u + 2 <= UNITS; u += 2) multiply16(c, a[2 * u], a[2 * u + 1], a[2 * u + 2], a[2 * u + 3], b[u], b[u + 1]);
  if (UNITS % 2) multiply8(c, a[2 * UNITS - 2], a[2 * UNITS - 1], b[UNITS - 1]);
}

// ---- global memory -> shared memory ----

constexpr int gcd16(int bytes) { return bytes % 16 == 0 ? 16 : bytes % 8 == 0 ? 8 : 4; }

// One row of DIM halves, padded with zeros; all zeros where it is not `valid`.
template <int DIM>
WARP_INLINE void load_row(u32 (&row)[(DIM + 7) / 8 * 4], const bf16* source, bool valid) {
  constexpr int WIDTH = gcd16(2 * DIM) / 4;
  constexpr int TOTAL = (DIM + 7) / 8 * 4;
#pragma unroll
  for (int i = 0; i < TOTAL; i++) row[i] = 0;
  if (valid) {
#pragma unroll
    for (int i = 0; i < DIM / 2; i += WIDTH) {
      Words<WIDTH> words = *(const Words<WIDTH>*)(source + 2 * i);
#pragma unroll
      for (int j = 0; j < WIDTH; j++) row[i + j] = words.x[j];
    }
  }
}
// The same of queries, keys or values; with NORMED, what the batch norm before the attention makes of them, rounded as if it had
// been stored. `affine` holds the scales of all channels, from the row's first one on, then the shifts.
template <int DIM>
WARP_INLINE void load_normed_row(u32 (&row)[(DIM + 7) / 8 * 4], const bf16* source, const float* affine, bool valid) {
  load_row<DIM>(row, source, valid);
  if (!NORMED || !valid) return;
#pragma unroll
  for (int i = 0; i < DIM / 2; i++) {
    float2 scale = *(const float2*)(affine + 2 * i), shift = *(const float2*)(affine + CHANNELS + 2 * i);
    row[i] = pack(low_half(row[i]) * scale.x + shift.x, high_half(row[i]) * scale.y + shift.y);
  }
}
template <int N>
WARP_INLINE void store_row(Unit* target, const u32 (&row)[N]) {
#pragma unroll
  for (int i = 0; i < N / 4; i++) target[i] = {row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]};
}
template <int N>
WARP_INLINE void store_row_scaled(Unit* target, const u32 (&row)[N], float factor) {
  u32 scaled[N];
#pragma unroll
  for (int i = 0; i < N; i++) scaled[i] = pack(low_half(row[i]) * factor, high_half(row[i]) * factor);
  store_row(target, scaled);
}
template <int N>
WARP_INLINE float dot_rows(const u32 (&x)[N], const u32 (&y)[N]) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N; i++) sum += low_half(x[i]) * low_half(y[i]) + high_half(x[i]) * high_half(y[i]);
  return sum;
}

// The position tables in shared memory: rows for the distances `first` to `last`, and `margin` rows of zeros before and after.
struct Tables {
  int first, count, margin;
  Unit *query, *key, *value;
  // How far beyond the distances in use a tile may reach, at the end of a line or at the border of what a query sees.
  static WARP_INLINE int find_margin(int length, int reach) { return reach < length - 1 ? 2 * TILE : TILE; }
  WARP_INLINE Tables(Unit* memory, int first, int last, int margin) : first(first), count(last - first + 1), margin(margin) {
    int total = count + 2 * margin;
    query = memory;
    key = query + HAS_QUERY * total * KEY_ROW;
    value = key + HAS_KEY * total * KEY_ROW;
  }
  // The row of a distance.
  WARP_INLINE int find(int distance) const { return distance - first + margin; }
  template <int DIM, int PADDED, int ROW>
  WARP_INLINE void fill(Unit* table, const float* rows) const {  // `rows` begins at the first distance in use
    constexpr int UNITS = (DIM + 7) / 8;
    for (int i = threadIdx.x; i < (count + 2 * margin) * UNITS; i += THREADS) {
      int r = i / UNITS, u = i % UNITS;
      bool used = r >= margin && r < margin + count;
      const float* source = rows + (i64)(r - margin) * TABLE_PITCH + u * UNIT;
      u32 packed[4];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int channel = u * UNIT + 2 * j;
        packed[j] = used && channel < DIM ? pack(source[2 * j], channel + 1 < DIM ? source[2 * j + 1] : 0.f) : 0;
      }
      table[r * ROW + u] = {packed[0], packed[1], packed[2], packed[3]};
    }
  }
  WARP_INLINE void fill_all(const float* rows) const {
    if (HAS_QUERY) fill<KEY_DIM, PADDED_KEY, KEY_ROW>(query, rows);
    if (HAS_KEY) fill<KEY_DIM, PADDED_KEY, KEY_ROW>(key, rows + HAS_QUERY * PADDED_KEY);
    if (HAS_VALUE) fill<VALUE_DIM, PADDED_VALUE, VALUE_ROW>(value, rows + (HAS_QUERY + HAS_KEY) * PADDED_KEY);
  }
};

// ---- position phases: one query or one key at a time ----

// Which tile, and where its data begins in shared memory (addresses; rows of KEY_PITCH or VALUE_PITCH a position).
struct Tile {
  int query, key;  // the first of each, on the line
  Unit* rows;      // of the exchange
  u32 exchange;    // its address
  // Whether some pair that exists is out of sight.
  WARP_INLINE bool is_border(int length, int reach) const {
    int last_query = min(query + TILE, length) - 1, last_key = min(key + TILE, length) - 1;
    return last_query - key > reach || last_key - query > reach;
  }
  // Whether a line ends within the eight positions of a half tile; whole halves are left out otherwise.
  static WARP_INLINE bool ends_within_half(int first, int length) { return length - first < TILE && (length - first) % 8 != 0; }
  // Whether a pair exists and is in sight.
  static WARP_INLINE bool sees(int query, int key, int length, int reach) {
    int distance = key - query;
    return query < length && key < length && distance <= reach && -distance <= reach;
  }
  WARP_INLINE u32 pair(int o, int p) const { return exchange + (o * EXCHANGE_PITCH + p) * 16; }
  // The pair of a query, or of a key, and the position at some distance; `zero` if that is not in the tile.
  WARP_INLINE u32 pair_of_query(int o, int distance, u32 zero) const {
    u32 p = o + distance;
    return p < TILE ? pair(o, p) : zero;
  }
  WARP_INLINE u32 pair_of_key(int p, int distance, u32 zero) const {
    u32 o = p - distance;
    return o < TILE ? pair(o, p) : zero;
  }
  WARP_INLINE u32* words(int o, int p) const { return (u32*)(rows + o * EXCHANGE_PITCH + p); }
};

// How many positions a warp takes at once: enough to hide the latency of what they wait for.
template <int UNITS>
constexpr int AT_ONCE = UNITS == 1 ? 4 : 2;

// For every query of the warp's share that exists: exchange[o][p][head] = start + <table[p - o], x[o][head]>.
// `start(o)` gives, for heads 2t and 2t + 1, what the sum begins with.
// FINE: into float16, else bfloat16.
template <int UNITS, int ROW, int PITCH, bool FINE, class Start>
WARP_INLINE void meet_rows_by_query(const Place& place, const Tile& tile, int length, const Tables& tables, u32 table, u32 x, Start start) {
  constexpr int N = AT_ONCE<UNITS>;
  const Place at = place.again();
  const int begin = at.part * POSITIONS_WARP, count = length - tile.query - begin;
  const u32 row = table + (tables.find(tile.key - tile.query) - begin + at.row) * ROW * 16;
  const u32 own = x + (begin * PITCH + at.row * ROW) * 16;
  const u32 target = tile.pair(begin + at.matrix / 2, at.matrix % 2 * 8 + at.row);
#pragma unroll
  for (int i = 0; i < POSITIONS_WARP; i += N) {
    if (i >= count) break;
    u32 a[N][2 * UNITS], b[N][UNITS], words[N][2];
    load_all<N * 2 * UNITS, false>((u32(&)[N * 2 * UNITS])a, at.matrix, [&](int m) {
      int n = m / (2 * UNITS), u = m % (2 * UNITS) / 2, half = m % 2;
      return row + ((half * 8 - n) * ROW + u) * 16 - i * ROW * 16;
    });
    load_all<N * UNITS, false>((u32(&)[N * UNITS])b, at.matrix, [&](int m) {
      return own + (m / UNITS * PITCH + m % UNITS) * 16 + i * PITCH * 16;
    });
#pragma unroll
    for (int n = 0; n < N; n++) {
      float2 first = start(begin + i + n);
      float c[4] = {first.x, first.y, first.x, first.y};
      multiply<UNITS>(c, a[n], b[n]);
#pragma unroll
      for (int half = 0; half < 2; half++)
        words[n][half] = FINE ? pack_fine(c[2 * half], c[2 * half + 1]) : pack(c[2 * half], c[2 * half + 1]);
    }
#pragma unroll
    for (int n = 0; n < N; n += 2)
      store_matrices4(target + (i + n) * EXCHANGE_PITCH * 16, words[n][0], words[n][1], words[n + 1][0], words[n + 1][1]);
  }
}

// For every key of the warp's share that exists: exchange[o][p][head] (+)= <table[p - o], x[p][head]>, in
// float16.
template <bool ADD>
WARP_INLINE void meet_rows_by_key(const Place& place, const Tile& tile, int length, const Tables& tables, u32 table, u32 x) {
  constexpr int UNITS = KEY_UNITS, ROW = KEY_ROW, N = AT_ONCE<UNITS>;
  const Place at = place.again();
  const int begin = at.part * POSITIONS_WARP, count = length - tile.key - begin;
  const u32 row = table + (tables.find(tile.key - tile.query) + begin - at.row) * ROW * 16;
  const u32 own = x + (begin * KEY_PITCH + at.row * ROW) * 16;
  const u32 target = tile.pair(at.matrix % 2 * 8 + at.row, begin + at.matrix / 2);
#pragma unroll
  for (int i = 0; i < POSITIONS_WARP; i += N) {
    if (i >= count) break;
    u32 a[N][2 * UNITS], b[N][UNITS], words[N][2], before[N][2];
    load_all<N * 2 * UNITS, false>((u32(&)[N * 2 * UNITS])a, at.matrix, [&](int m) {
      int n = m / (2 * UNITS), u = m % (2 * UNITS) / 2, half = m % 2;
      return row + ((n - half * 8) * ROW + u) * 16 + i * ROW * 16;
    });
    load_all<N * UNITS, false>((u32(&)[N * UNITS])b, at.matrix, [&](int m) {
      return own + (m / UNITS * KEY_PITCH + m % UNITS) * 16 + i * KEY_PITCH * 16;
    });
    if (ADD) {
#pragma unroll
      for (int n = 0; n < N; n += 2) load_matrices4<false>(before[n], target + (i + n) * 16);
    }
#pragma unroll
    for (int n = 0; n < N; n++) {
      float c[4] = {0, 0, 0, 0};
      multiply<UNITS>(c, a[n], b[n]);
      words[n][0] = pack_fine(c[0], c[1]), words[n][1] = pack_fine(c[2], c[3]);
      if (ADD) words[n][0] = add_fine(words[n][0], before[n][0]), words[n][1] = add_fine(words[n][1], before[n][1]);
    }
#pragma unroll
    for (int n = 0; n < N; n += 2) store_matrices4(target + (i + n) * 16, words[n][0], words[n][1], words[n + 1][0], words[n + 1][1]);
  }
}

// Both position terms of the logits into the exchange, as float16; the group must have left it, and waits at the end.
WARP_INLINE void meet_positions(const Place& at, const Tile& tile, int length, const Tables& tables, u32 q, u32 k) {
  if (HAS_QUERY) {
    auto none = [](int) { return float2{0, 0}; };
    meet_rows_by_query<KEY_UNITS, KEY_ROW, KEY_PITCH, true>(at, tile, length, tables, shared_address(tables.query), q, none);
  }
  if (HAS_QUERY && HAS_KEY) at.wait_for_group();
  if (HAS_KEY) meet_rows_by_key<HAS_QUERY != 0>(at, tile, length, tables, shared_address(tables.key), k);
  at.wait_for_group();
}

// sums[i][unit] += sum over distances of exchange[position, distance][head] * table[distance][channel], for the warp's pairs of
// positions, PAIRS * part + i and eight further: rows 0-7 of the product are the heads of the first, rows 8-15 of the second.
// In the tile distances go from -16 to 15; `pair(position, distance)` is the address of the exchange's row, of a row of zeros
// for pairs outside; `count` positions of the tile exist.
constexpr int PAIRS = POSITIONS_WARP / 2;
template <int UNITS, int ROW, class Pair>
WARP_INLINE void gather_rows(float (&sums)[PAIRS][UNITS][4], const Place& place, const Tile& tile, const Tables& tables, u32 table,
                             int count, Pair pair) {
  constexpr bool KEPT = UNITS == 1;
  const Place at = place.again();
  const u32 rows = table + (tables.find(tile.key - tile.query) - 16 + at.matrix * 8 + at.row) * ROW * 16;
  u32 b[4];
  if (KEPT) load_matrices4<true>(b, rows);
#pragma unroll
  for (int i = 0; i < PAIRS; i++) {
    const int position = at.part * PAIRS + i;
    if (position >= count) break;
    u32 a[2][4];
#pragma unroll
    for (int step = 0; step < 2; step++)
      load_matrices4<true>(a[step], pair(position + at.matrix % 2 * 8, step * 16 - 16 + at.matrix / 2 * 8 + at.row));
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
      if (!KEPT) load_matrices4<true>(b, rows + u * 16);
      multiply16(sums[i][u], a[0][0], a[0][1], a[0][2], a[0][3], b[0], b[1]);
      multiply16(sums[i][u], a[1][0], a[1][1], a[1][2], a[1][3], b[2], b[3]);
    }
  }
}

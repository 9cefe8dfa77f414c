"""How a call is cut for the CUDA kernels: constants, threads and shared memory, or why the kernels cannot take it."""

from dataclasses import dataclass
from functools import lru_cache

from axial_deeplab.ops.triton_tiles import Geometry, round_up

TILE, HEADS = 16, 8
MAX_KEY_DIM, MAX_VALUE_DIM = 32, 64
WARP, REGISTERS, MOST_REGISTERS, MAX_THREADS = 32, 65536, 255, 384
GROUPS = (1, 2, 3, 4, 5)
PROCESSORS = 132
"""int: Multiprocessors of an H100 or H200; a plan for another number is as right, if not as fast."""


@dataclass(frozen=True)
class Plan:
    """One kernel for one kind of call; see cuda/tile.cuh for the terms.

    Attributes:
        group_warps: Warps that share a tile of 16 queries and 16 keys.
        groups: Tiles that a block has at a time.
        keys: Keys in shared memory at a time (forward only).
        shared_bytes: Shared memory of a block.
        constants: What the source leaves open.
    """

    group_warps: int
    groups: int
    keys: int
    shared_bytes: int
    constants: tuple[tuple[str, int], ...]

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return WARP * self.group_warps * self.groups

    @property
    def positions(self) -> int:
        """Queries (forward) or keys (backward) of a block."""
        return TILE * self.groups


def explain_dims(num_heads: int, key_dim: int, value_dim: int) -> str | None:
    """Return why the kernels cannot take heads of such a size, or `None` if they can."""
    if num_heads % HEADS:
        return f"the CUDA kernels take {HEADS} heads at a time, not {num_heads}"
    if key_dim % 2 or value_dim % 2:
        return "the CUDA kernels read pairs of channels"
    if not 2 <= key_dim <= MAX_KEY_DIM or not 4 <= value_dim <= MAX_VALUE_DIM:
        return f"the CUDA kernels have space for 2 to {MAX_KEY_DIM} key and 4 to {MAX_VALUE_DIM} value channels"
    return None


@lru_cache(maxsize=1024)
def plan_forward(
    g: Geometry,
    shared_limit: int,
    *,
    keep_lse: bool,
    normed: bool = False,
    merge: bool = False,
    relu: bool = False,
    processors: int = PROCESSORS,
) -> Plan | None:
    """Return how to run the forward kernel, or `None` if shared memory does not suffice.

    Args:
        g: The call.
        shared_limit: Shared memory of a block in bytes; a multiprocessor has 1 KiB more.
        keep_lse: Whether gradients will be wanted.
        normed: Whether the kernel applies a batch norm to what it loads.
        merge: Whether it scales and shifts what it retrieves, and adds position to content.
        relu: Whether a ReLU follows.
        processors: Multiprocessors of the GPU.
    """
    whole = g.length <= GROUPS[-1] * TILE
    if g.width <= 4:  # few registers, so that two blocks of eight warps fit
        ways = {2: 128} if whole else {2: 168, 1: MOST_REGISTERS}
    elif g.width <= 8:
        ways = {2: 168}
    elif g.width <= 16:
        ways = {4: 168} if whole else {4: 168, 2: MOST_REGISTERS}
    else:
        ways = {4: MOST_REGISTERS}
    keys = min(64 if g.width <= 8 else 32, round_up(g.length, TILE))
    for fewer_keys in sorted({keys, 16}, reverse=True):
        space = {n: _count_forward_bytes(g, n, fewer_keys) for n in GROUPS}
        items = g.num_lines * (g.num_heads // HEADS)
        chosen = _choose(g, ways, space, shared_limit, items=items, others=1, processors=processors)
        if chosen is not None:
            group_warps, groups, blocks = chosen
            more = (("KEYS", fewer_keys), ("KEEP_LSE", int(keep_lse)), ("MERGE", int(merge)), ("RELU", int(relu)))
            constants = _list_constants(g, group_warps, groups, blocks, normed=normed)
            return Plan(group_warps, groups, fewer_keys, space[groups], constants + more)
    return None


@lru_cache(maxsize=1024)
def plan_backward(g: Geometry, shared_limit: int, *, normed: bool = False, processors: int = PROCESSORS) -> Plan | None:
    """Return how to run the backward kernel, or `None` if shared memory does not suffice; arguments as in `plan_forward`."""
    tiles = -(-g.length // TILE)
    narrow = 1 if tiles <= 4 else 2 if tiles <= 20 else 4
    group_warps = narrow if g.width <= 4 else 2 if g.width <= 8 else 4
    space = {n: _count_backward_bytes(g, n) for n in GROUPS}
    others = g.num_heads // HEADS
    ways = {group_warps: 168}
    chosen = _choose(g, ways, space, shared_limit, items=g.num_lines, others=others, processors=processors)
    if chosen is None:
        return None
    group_warps, groups, blocks = chosen
    constants = _list_constants(g, group_warps, groups, min(2, blocks), normed=normed)
    return Plan(group_warps, groups, 0, space[groups], (*constants, ("KEY_BLOCKS_ONE", int(groups >= tiles))))


def count_slots(items: int, others: int, resident: int) -> int:
    """Return how many blocks share the items, so that all are at work at once; one too many would make the rest wait for it.

    Args:
        items: Lines, or lines and blocks of heads, that a block takes one after the other.
        others: Blocks along the other directions of the grid.
        resident: Blocks that the GPU holds at a time.
    """
    return max(1, min(items, resident // others))


def _choose(
    g: Geometry,
    ways: dict[int, int],
    space: dict[int, int],
    shared_limit: int,
    *,
    items: int,
    others: int,
    processors: int,
) -> tuple[int, int, int] | None:
    """Return warps of a tile, tiles of a block and blocks of a multiprocessor, such that the last block ends soonest.

    Blocks take lines in rounds. The tiles of a multiprocessor share its arithmetic, however many warps they have, so that a
    round lasts as long as there are tiles; a little longer with fewer than twelve warps, where all may wait at once, and a
    little less with one warp a tile, which waits for no other. Within 10 % of what an H100 needed for 64 to 512 positions.

    Args:
        g: The call.
        ways: Registers that a thread needs, by the warps of a tile.
        space: Bytes that a block needs, by the number of its tiles.
        shared_limit: As in `plan_forward`.
        items: As in `count_slots`.
        others: Blocks of heads that are not among the items.
        processors: As in `plan_forward`.
    """
    tiles, best, shortest = -(-g.length // TILE), None, float("inf")
    for group_warps, registers in ways.items():
        for groups, shared in space.items():
            threads = WARP * group_warps * groups
            if groups > tiles or shared > shared_limit or threads > MAX_THREADS or threads * registers > REGISTERS:
                continue
            blocks = min(REGISTERS // (threads * registers), (shared_limit + 1024) // (shared + 1024))
            in_grid = -(-tiles // groups) * others
            slots = count_slots(items, in_grid, processors * blocks)
            rounds = -(-items // slots) * -(-in_grid * slots // (processors * blocks))
            warps = blocks * group_warps * groups
            alone = group_warps == 1 and groups < tiles
            waits = 0.94 + 0.04 * max(0, 8 - warps) if alone else 1 + 0.03 * max(0, 12 - warps)
            duration = rounds * groups * blocks * waits
            if groups == tiles:
                duration /= 1.5  # every key and query is fetched once, and no sums over blocks
            if duration <= shortest:
                best, shortest = (group_warps, groups, blocks), duration
    return best


def _list_constants(
    g: Geometry, group_warps: int, groups: int, blocks: int, *, normed: bool
) -> tuple[tuple[str, int], ...]:
    query, key, value = map(int, g.terms)
    return (
        ("KEY_DIM", g.key_dim),
        ("VALUE_DIM", g.value_dim),
        ("NUM_HEADS", g.num_heads),
        ("HAS_QUERY", query),
        ("HAS_KEY", key),
        ("HAS_VALUE", value),
        ("GROUP_WARPS", group_warps),
        ("GROUPS", groups),
        ("BLOCKS", blocks),
        ("NORMED", int(normed)),
    )


def _count_rows(g: Geometry, groups: int) -> int:
    """Return the table rows that a block may need, those of zeros included."""
    in_use = min(2 * g.reach + 1, g.length - 1 + min(g.length, groups * TILE))
    return in_use + 2 * (TILE if g.sees_all else 2 * TILE)


def _measure_rows(g: Geometry) -> tuple[int, int, int, int, int, int]:
    """Return units of a key and of a value, then from one row and from one position to the next, as in cuda/tile.cuh."""
    key, value = -(-g.key_dim // 8), -(-g.value_dim // 8)
    key_row, value_row = key | 1, value | 1
    return key, value, key_row, value_row, HEADS * key_row + 1, HEADS * value_row + 1


def _count_table_units(g: Geometry, groups: int) -> int:
    _, _, key_row, value_row, _, _ = _measure_rows(g)
    return _count_rows(g, groups) * ((g.terms[0] + g.terms[1]) * key_row + g.terms[2] * value_row)


def _count_forward_bytes(g: Geometry, groups: int, keys: int) -> int:
    _, _, _, _, key_pitch, value_pitch = _measure_rows(g)
    queries = (1 + g.terms[0]) * groups * TILE * key_pitch
    staged = (1 + g.terms[1]) * keys * key_pitch + keys * value_pitch
    floats = 2 * groups * TILE * HEADS // 4
    return 16 * (queries + staged + groups * TILE * (TILE + 1) + 1 + floats + _count_table_units(g, groups))


def _count_backward_bytes(g: Geometry, groups: int) -> int:
    key, value, _, _, key_pitch, value_pitch = _measure_rows(g)
    query_term, key_term, value_term = g.terms
    keys = groups * TILE * ((1 + key_term) * key_pitch + value_pitch)
    queries = TILE * ((1 + query_term) * key_pitch + (1 + value_term) * value_pitch)
    columns = 8 * ((query_term + key_term) * key + value_term * value)
    grad_floats = _count_rows(g, groups) * (columns + 8 if columns % 16 == 0 else columns)
    parts = groups * 2 * TILE * (HEADS * round_up(g.key_dim, 4) + 4)
    units = keys + queries + groups * TILE * (TILE + 1) + 1 + _count_table_units(g, groups)
    return 16 * units + 4 * (2 * TILE * HEADS + parts + grad_floats)

"""How a call is cut for the CUDA kernels: constants, threads and shared memory, or why the kernels cannot take it."""

from dataclasses import dataclass

from axial_deeplab.ops.triton_tiles import Geometry, round_up

TILE, HEADS = 16, 8
MAX_KEY_DIM, MAX_VALUE_DIM = 32, 64
WARP, REGISTERS, MAX_THREADS, ENOUGH = 32, 65536, 384, 168
GROUPS = (1, 2, 3, 4, 5)


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


def plan_forward(g: Geometry, shared_limit: int, *, keep_lse: bool, normed: bool = False) -> Plan | None:
    """Return how to run the forward kernel, or `None` if shared memory does not suffice.

    Args:
        g: The call.
        shared_limit: Shared memory of a multiprocessor in bytes.
        keep_lse: Whether gradients will be wanted.
        normed: Whether the kernel applies a batch norm to what it loads.
    """
    group_warps = 2 if g.width <= 8 else 4
    keys = min(64 if g.width <= 8 else 32, round_up(g.length, TILE))
    for fewer_keys in sorted({keys, 16}, reverse=True):
        space = {n: _count_forward_bytes(g, n, fewer_keys) for n in GROUPS}
        # A narrow head needs few registers, so that two blocks of eight warps fit.
        chosen = _choose_groups(g, group_warps, shared_limit, space, full=128 if g.width <= 4 else ENOUGH)
        if chosen is not None:
            groups, blocks = chosen
            more = (("KEYS", fewer_keys), ("KEEP_LSE", int(keep_lse)))
            constants = _list_constants(g, group_warps, groups, blocks, normed=normed)
            return Plan(group_warps, groups, fewer_keys, space[groups], constants + more)
    return None


def plan_backward(g: Geometry, shared_limit: int, *, normed: bool = False) -> Plan | None:
    """Return how to run the backward kernel, or `None` if shared memory does not suffice; arguments as in `plan_forward`."""
    tiles = -(-g.length // TILE)
    narrow = 1 if tiles <= 4 else 2 if tiles <= 20 else 4
    group_warps = narrow if g.width <= 4 else 2 if g.width <= 8 else 4
    space = {n: _count_backward_bytes(g, n) for n in GROUPS}
    chosen = _choose_groups(g, group_warps, shared_limit, space, full=ENOUGH)
    if chosen is None:
        return None
    groups, blocks = chosen
    constants = _list_constants(g, group_warps, groups, min(2, blocks), normed=normed)
    return Plan(group_warps, groups, 0, space[groups], (*constants, ("KEY_BLOCKS_ONE", int(groups >= tiles))))


def _choose_groups(
    g: Geometry, group_warps: int, shared_limit: int, space: dict[int, int], *, full: int
) -> tuple[int, int] | None:
    """Return how many tiles a block takes and how many blocks a multiprocessor, to have many warps at work and few tiles idle.

    Twelve warps a multiprocessor with 168 registers each were the best of all that was measured, for lines that one block does
    not hold.

    Args:
        g: The call.
        group_warps: Warps of a tile.
        shared_limit: Shared memory of a multiprocessor in bytes.
        space: Bytes that a block needs, by the number of its tiles.
        full: Registers of a thread where a block of 256 has a whole line.
    """
    tiles, best, most = -(-g.length // TILE), None, 0.0
    for groups, shared in space.items():
        threads = WARP * group_warps * groups
        if groups > tiles or shared > shared_limit or threads > MAX_THREADS:
            continue
        blocks = max(1, REGISTERS // (threads * (full if groups == tiles and threads == 256 else ENOUGH)))
        blocks = min(blocks, shared_limit // shared)
        at_work = min(blocks * group_warps * groups, 12) * tiles / (-(-tiles // groups) * groups)
        if groups == tiles:
            at_work *= 1.5  # no sums over blocks
        if at_work >= most:
            best, most = (groups, blocks), at_work
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

"""How a call is cut for the CUDA kernels: constants, threads and shared memory, or why the kernels cannot take it."""

from dataclasses import dataclass

from axial_deeplab.ops.triton_tiles import Geometry, round_up

TILE, HEADS = 16, 8
MAX_KEY_DIM, MAX_VALUE_DIM = 32, 64
WARP, REGISTERS = 32, 65536


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


def plan_forward(g: Geometry, shared_limit: int, *, keep_lse: bool) -> Plan | None:
    """Return how to run the forward kernel, or `None` if shared memory does not suffice."""
    tiles = -(-g.length // TILE)
    group_warps = 2 if g.width <= 8 else 4
    for groups in _order_groups(tiles, (4, 2, 3, 5, 1) if g.width <= 4 else (3, 2, 5, 1) if g.width <= 8 else (3, 1)):
        for keys in (64, 32, 16):
            if keys > 16 and keys >= 2 * tiles * TILE:
                continue
            shared = _count_forward_bytes(g, groups, keys)
            if shared <= shared_limit and not (keys == 64 and g.width > 8):
                threads = WARP * group_warps * groups
                blocks = max(1, REGISTERS // (threads * (128 if threads == 256 else 168)))
                more = (("KEYS", keys), ("KEEP_LSE", int(keep_lse)))
                return Plan(group_warps, groups, keys, shared, _list_constants(g, group_warps, groups, blocks) + more)
    return None


def plan_backward(g: Geometry, shared_limit: int) -> Plan | None:
    """Return how to run the backward kernel, or `None` if shared memory does not suffice."""
    tiles = -(-g.length // TILE)
    group_warps = 1 if g.width <= 4 and tiles <= 4 else 2 if g.width <= 4 or (tiles <= 4 and g.width <= 8) else 4
    for groups in _order_groups(tiles, (4, 3, 2, 1) if tiles <= 4 else (3, 2, 1)):
        shared = _count_backward_bytes(g, groups)
        if shared <= shared_limit:
            threads = WARP * group_warps * groups
            blocks = max(1, min(2, REGISTERS // (threads * 168)))
            constants = _list_constants(g, group_warps, groups, blocks)
            return Plan(group_warps, groups, 0, shared, (*constants, ("KEY_BLOCKS_ONE", int(groups >= tiles))))
    return None


def _order_groups(tiles: int, candidates: tuple[int, ...]) -> list[int]:
    """Return the candidates that leave the fewest groups idle first, in their own order where equal."""
    return sorted((n for n in candidates if n <= tiles), key=lambda n: -(-tiles // n) * n)


def _list_constants(g: Geometry, group_warps: int, groups: int, blocks: int) -> tuple[tuple[str, int], ...]:
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

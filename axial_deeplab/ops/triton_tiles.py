"""How a call is cut for the kernels: what is known of its tensors, tile sizes, compile-time constants."""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from axial_deeplab.ops.triton_forward import attention_forward

INTERPRETED = not isinstance(attention_forward, triton.runtime.JITFunction)
"""bool: Whether the kernels run in Triton's interpreter, on the CPU."""

LANES = 32
MAX_THREAD_WIDTH = 32
"""int: Widest head (see `Geometry.width`) that a thread's registers hold; wider ones are multiplied in tiles."""
MAX_KEY_DIM, MAX_VALUE_DIM = 128, 256


class Merge(NamedTuple):
    """How a kernel ends at inference: every channel scaled and shifted, position added to content, perhaps a ReLU.

    `affine` is float32 [2, channel], scales and shifts of what would be retrieved.
    """

    affine: Tensor
    relu: bool


class Geometry(NamedTuple):
    """What a kernel has to know about the tensors of one call."""

    num_lines: int
    inner: int
    length: int
    reach: int
    num_heads: int
    key_dim: int
    value_dim: int
    terms: tuple[bool, bool, bool]  # query, key and value positions

    @property
    def pitch(self) -> int:
        """Floats from one table row to the next."""
        return sum(round_up(dim, 4) for dim, on in zip(self.row_dims, self.terms, strict=True) if on)

    @property
    def width(self) -> int:
        """Channels that decide how much a thread can keep: of a key, or half of a value where that is more."""
        return max(self.key_dim, -(-self.value_dim // 2))

    @property
    def is_wide(self) -> bool:
        """Whether the kernels for wide heads take the call."""
        return self.width > MAX_THREAD_WIDTH

    @property
    def has_wide_keys(self) -> bool:
        """Whether the kernels for wide heads take the statistics, in which values have no part."""
        return self.key_dim > MAX_THREAD_WIDTH

    @property
    def kind(self) -> tuple[int, int, int, tuple[bool, bool, bool]]:
        """What kernels are compiled for, beside tile sizes and types."""
        return self.num_heads, self.key_dim, self.value_dim, self.terms

    @property
    def sees_all(self) -> bool:
        """Whether every query sees every key."""
        return self.reach == self.length - 1

    def count_outputs(self, merge: Merge | None = None) -> int:
        """Return the channels that are retrieved: content and position, or their sum."""
        return (1 + (self.terms[2] and merge is None)) * self.num_heads * self.value_dim

    @property
    def row_dims(self) -> tuple[int, int, int]:
        return self.key_dim, self.key_dim, self.value_dim


class Tiles(NamedTuple):
    """How a pass is cut: queries (or keys) a thread, keys (or queries) at a time, warps a program."""

    kept: int
    at_once: int
    warps: int


def choose_tiles(width: int, purpose: str) -> Tiles:
    """Return the tiles of a pass: as much as the registers hold, because rows and keys are shared by what a thread keeps."""
    small, medium, wide, widest = {
        "forward": (Tiles(2, 4, 1), Tiles(2, 2, 1), Tiles(1, 1, 4), Tiles(1, 1, 1)),
        "queries": (Tiles(4, 2, 1), Tiles(2, 2, 1), Tiles(1, 2, 1), Tiles(1, 1, 2)),
        "keys": (Tiles(4, 2, 1), Tiles(2, 2, 1), Tiles(1, 1, 4), Tiles(1, 1, 4)),
        "tables": (Tiles(4, 4, 1), Tiles(2, 4, 1), Tiles(1, 2, 1), Tiles(1, 1, 1)),
    }[purpose]
    return small if width <= 4 else medium if width <= 8 else wide if width <= 16 else widest


WARPS_WANTED = 132 * 32
"""int: Warps among which sums over all lines are split; fixed, so that the order of the sums is."""


def compute_margin(width: int) -> int:
    """Return how many rows of zeros the widest tile can touch beyond the distances in use."""
    passes = [choose_tiles(width, purpose) for purpose in ("forward", "queries", "keys", "tables")]
    return max(tiles.warps * tiles.kept + tiles.at_once for tiles in passes) + 1


def describe_sizes(g: Geometry, margin: int) -> tuple[int, int, int, int, int]:
    return g.num_lines, g.inner, g.length, g.reach, g.reach + margin


def specialize(g: Geometry, dtype: torch.dtype, tiles: Tiles) -> dict[str, int]:
    """Return the compile-time constants of a launch."""
    per_word = 4 // dtype.itemsize
    constants = {
        "HEADS": g.num_heads,
        "D": g.key_dim,
        "E": g.value_dim,
        "HAS_QUERY": int(g.terms[0]),
        "HAS_KEY": int(g.terms[1]),
        "HAS_VALUE": int(g.terms[2]),
        "MASKED": 2 if g.reach < g.length - 1 else int(g.length % tiles.at_once != 0),
        "D_WORDS": _choose_words(g.key_dim, g, per_word),
        "E_WORDS": _choose_words(g.value_dim, g, per_word),
        "ROW_WORDS": 0 if INTERPRETED else 4,
        "OG": tiles.warps,
        "OT": tiles.kept,
        "BG": LANES,
        "CH": tiles.at_once,
    }
    return constants if INTERPRETED else constants | {"num_warps": tiles.warps}


def specialize_tables(g: Geometry, dtype: torch.dtype, tiles: Tiles) -> dict[str, int]:
    """Return the compile-time constants of the pass over tables, which keeps distances and takes queries at once."""
    constants = specialize(g, dtype, tiles)
    for name in ("OG", "CH", "MASKED"):
        del constants[name]
    return constants | {"OT": tiles.at_once, "CD": tiles.kept}


def _choose_words(dim: int, g: Geometry, per_word: int) -> int:
    """Return the widest access, in 32-bit words, at which a head's vectors are aligned wherever they begin."""
    if INTERPRETED:
        return 0
    starts = (dim, g.num_heads * g.key_dim, g.num_heads * (2 * g.key_dim + g.value_dim), g.num_heads * g.value_dim)
    for words in (4, 2, 1):
        if all(start % (words * per_word) == 0 for start in starts):
            return words
    return 0


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

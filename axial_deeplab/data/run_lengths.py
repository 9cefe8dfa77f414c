"""Masks as run lengths in the form of COCO: down the columns, starting with pixels that do not belong.

Compressed, each number takes as many characters as it needs, five bits in each, lowest first, with a sixth bit where more
follow; from the fourth number on it is the difference to the number two places before.

Source: cocodataset/cocoapi, common/maskApi.c, for the form; written anew on arrays.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.data.panoptic_png import find_runs
from axial_deeplab.records import VOID_ID

_CHARACTER_ZERO = 48
_SIGN_BIT, _MORE_BIT = 0x10, 0x20


def encode_segments(ids: NDArray[np.integer], wanted: Collection[int] | None = None) -> dict[int, str]:
    """Return the compressed run lengths of the segments of a map, in one pass over it.

    Args:
        ids: Integer [height, width]; `VOID_ID` is passed over.
        wanted: The ids to encode, all by default; those that are not in the map are left out.
    """
    pixels = ids.T.reshape(-1)
    last, length = find_runs(pixels)
    owner = pixels.take(last)
    kept = owner != VOID_ID if wanted is None else np.isin(owner, list(wanted))
    owner, end, length = owner[kept], last[kept] + 1, length[kept]
    order = np.argsort(owner, kind="stable")
    owner, end, length = owner[order], end[order], length[order]
    found, first = np.unique(owner, return_index=True)
    if not found.size:
        return {}
    groups = zip(np.split(end, first[1:]), np.split(length, first[1:]), strict=True)
    counts = [_list_counts(*group, total=pixels.size) for group in groups]
    return dict(zip(found.tolist(), _compress(counts), strict=True))


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """Return the compressed run lengths of one mask, bool [height, width]."""
    return encode_segments(mask.astype(np.uint8)).get(1, _compress([np.array([mask.size])])[0])


def compress_runs(counts: Sequence[int]) -> str:
    """Return the compressed form of run lengths."""
    return _compress([np.asarray(counts, np.int64)])[0]


def parse_compressed_runs(text: str) -> list[int]:
    """Read the run lengths of COCO's compressed form.

    Raises:
        ValueError: The text ends within a number or holds other characters.
    """
    bits = np.array([ord(character) for character in text], np.int64) - _CHARACTER_ZERO
    if not bits.size:
        return []
    if wrong := np.flatnonzero((bits < 0) | (bits >= 64)).tolist():
        raise ValueError(f"{text[wrong[0]]!r} is no character of compressed run lengths")
    end = np.flatnonzero((bits & _MORE_BIT) == 0)
    if not end.size or end[-1] != bits.size - 1:
        raise ValueError("the compressed run lengths are cut short")
    first = np.append(0, end[:-1] + 1)
    if (end - first).max() > 9:  # ten groups of five bits fill what a run length can need
        raise ValueError("the compressed run lengths hold a number that is too large")
    place = np.arange(bits.size) - np.repeat(first, end - first + 1)
    values = np.add.reduceat((bits & 0x1F) << (5 * place), first)
    values -= np.where(bits[end] & _SIGN_BIT, np.int64(1) << (5 * (end - first + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values.tolist()


def decode_runs(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode run lengths to a mask, bool [height, width].

    Raises:
        ValueError: They do not add up to the pixels of the image.
    """
    lengths = np.asarray(counts, dtype=np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"the run lengths do not add up to {size[0]}×{size[1]} pixels")
    values = np.arange(lengths.size) % 2 == 1
    return np.repeat(values, lengths).reshape(size[1], size[0]).T


def _list_counts(end: NDArray, length: NDArray, *, total: int) -> NDArray[np.int64]:
    """Return the run lengths of a mask whose runs end before `end`, in a map of `total` pixels."""
    counts = np.empty((len(end), 2), np.int64)
    counts[:, 0] = end - length
    counts[1:, 0] -= end[:-1]
    counts[:, 1] = length
    rest = total - int(end[-1])
    return np.append(counts.reshape(-1), rest) if rest else counts.reshape(-1)


def _compress(masks: Sequence[NDArray[np.int64]]) -> list[str]:
    """Return the compressed form of the run lengths of each mask; one pass over all of them."""
    differences = []
    for counts in masks:
        values = counts.copy()
        values[3:] -= counts[1:-2]
        differences.append(values)
    rest, active = np.concatenate(differences), np.ones(sum(map(len, masks)), bool)
    codes, written = [], []
    while active.any():
        low = rest & 0x1F
        rest = rest >> 5
        more = np.where(low & _SIGN_BIT, rest != -1, rest != 0)
        codes.append((low | _MORE_BIT * more) + _CHARACTER_ZERO)
        written.append(active)
        active = active & more
    used = np.stack(written, 1)
    text = np.stack(codes, 1)[used].astype(np.uint8).tobytes().decode("ascii")
    ends = np.cumsum(used.sum(1))[np.cumsum([len(counts) for counts in masks]) - 1].tolist()
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]

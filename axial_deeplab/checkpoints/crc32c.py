"""CRC-32C (Castagnoli), the checksum in TensorFlow's files, in NumPy: about as fast as a disk, without a compiled package.

A cyclic redundancy check is linear over bits: the remainder of two strings one after the other is the remainder of the first,
moved on by the length of the second, plus the remainder of the second. So the bytes are cut into many lanes of equal length,
all lanes advance together, four bytes a step, and pairs of neighbors are joined until one remainder is left.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # reflected
_ONES = 0xFFFFFFFF
_NUM_LANES = 4096
_SMALL = 4 * _NUM_LANES * 8  # bytes below which lanes are not worth their joining

Words = NDArray[np.uint32]


def compute_crc32c(data: NDArray[np.uint8]) -> int:
    """Return the checksum of bytes, uint8 [length], as 0 .. 2**32 - 1."""
    whole = len(data) // (4 * _NUM_LANES) * (4 * _NUM_LANES) if len(data) >= _SMALL else 0
    remainder = _move_on(_ONES, whole)
    if whole:
        remainder ^= _divide_in_lanes(data[:whole])
    table = _make_byte_table()
    for byte in data[whole:].tobytes():
        remainder = (remainder >> 8) ^ table[(remainder ^ byte) & 0xFF]
    return remainder ^ _ONES


def unmask_crc32c(masked: int) -> int:
    """Undo the masking under which TensorFlow stores a checksum: a rotation by 15 bits and a constant."""
    rotated = (masked - 0xA282EAD8) & _ONES
    return ((rotated >> 17) | (rotated << 15)) & _ONES


def _divide_in_lanes(data: NDArray[np.uint8]) -> int:
    """Return the remainder from zero of bytes whose number is a multiple of `4 * _NUM_LANES`."""
    lanes = np.ascontiguousarray(data).view("<u4").reshape(_NUM_LANES, -1)
    low, high = _make_word_tables()
    state: Words = np.zeros(_NUM_LANES, np.uint32)
    for step in range(lanes.shape[1]):
        state ^= lanes[:, step]
        state = low[state & 0xFFFF] ^ high[state >> 16]
    length = 4 * lanes.shape[1]
    while len(state) > 1:
        columns = _make_advance(length)
        state = _apply(columns, state[0::2]) ^ state[1::2]
        length *= 2
    return int(state[0])


@cache
def _make_byte_table() -> tuple[int, ...]:
    """Return the remainder of each byte."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


@cache
def _make_word_tables() -> tuple[Words, Words]:
    """Return what the lower and the upper half of a remainder become four bytes of zeros later."""
    table = np.array(_make_byte_table(), np.uint32)
    halves = []
    for shift in (0, 16):
        state = np.arange(1 << 16, dtype=np.uint32) << np.uint32(shift)
        for _ in range(4):
            state = (state >> np.uint32(8)) ^ table[state & 0xFF]
        halves.append(state)
    return halves[0], halves[1]


@cache
def _make_advance(length: int) -> tuple[int, ...]:
    """Return what each of the 32 bits of a remainder becomes `length` bytes of zeros later."""
    if length == 1:
        table = _make_byte_table()
        return tuple(((1 << bit) >> 8) ^ table[(1 << bit) & 0xFF] for bit in range(32))
    half = _make_advance(length // 2)
    columns = _apply(half, np.array(half, np.uint32))
    if length % 2:
        columns = _apply(_make_advance(1), columns)
    return tuple(int(column) for column in columns)


def _apply(columns: tuple[int, ...], state: Words) -> Words:
    """Multiply remainders by a matrix of bits."""
    moved: Words = np.zeros_like(state)
    for bit, column in enumerate(columns):
        moved ^= np.where(state >> np.uint32(bit) & 1, np.uint32(column), np.uint32(0))
    return moved


def _move_on(remainder: int, length: int) -> int:
    """Return what a remainder becomes `length` bytes of zeros later."""
    return int(_apply(_make_advance(length), np.array([remainder], np.uint32))[0]) if length else remainder

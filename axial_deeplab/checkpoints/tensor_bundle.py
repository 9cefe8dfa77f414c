"""TensorFlow checkpoints ("tensor bundles") without TensorFlow: `PREFIX.index` and `PREFIX.data-00000-of-00001`.

The index is a sorted table in LevelDB's form; its values are small protocol buffers that say where each tensor lies in the
data. Every block of the index and every tensor carries a checksum, and all of those that are read are checked.

Source: tensorflow, core/protobuf/tensor_bundle.proto and core/util/tensor_bundle; leveldb, doc/table_format.md.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from axial_deeplab.checkpoints.crc32c import compute_crc32c, unmask_crc32c
from axial_deeplab.errors import InputError

_MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5  # bytes: two block handles and the magic number; kind of compression and checksum of a block

_BFLOAT16 = 14
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", _BFLOAT16: "<u2", 19: "<f2"}
"""Numbers of TensorFlow's DataType; bfloat16 is read as its bits. Strings (7) and all others are not read."""


class BundleEntry(NamedTuple):
    """Where one tensor lies."""

    dtype: int  # TensorFlow's DataType
    shape: tuple[int, ...]
    shard: int
    offset: int  # bytes
    size: int  # bytes
    checksum: int  # CRC-32C, masked
    is_sliced: bool  # in parts, as partitioned variables are


def read_bundle(prefix: str | Path, choose: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """Read the numeric tensors of a checkpoint; strings, such as the object graph, are passed over.

    Args:
        prefix: Path without `.index`.
        choose: Says by its name whether a tensor is wanted; others are not read.

    Raises:
        InputError: If a file is missing, damaged, cut short, or in a form that is not read here.
    """
    prefix = Path(prefix)
    num_shards, entries = read_index(prefix.with_name(f"{prefix.name}.index"))
    return {
        name: _read_tensor(prefix, num_shards, name, entry)
        for name, entry in entries.items()
        if entry.dtype in _DTYPES and choose(name)
    }


def read_index(path: Path) -> tuple[int, dict[str, BundleEntry]]:
    """Return the number of data files, and every entry by name.

    Raises:
        InputError: If the file is missing, damaged or no index of a checkpoint.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): expected the index of a checkpoint") from None
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise InputError(f"{path} is no index of a TensorFlow checkpoint, or is cut short: its last bytes are others")
    try:
        return _parse_index(data)
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except (ValueError, TypeError, IndexError, struct.error, OverflowError):
        raise InputError(f"{path} is damaged: expected the index of a TensorFlow checkpoint") from None


def _parse_index(data: bytes) -> tuple[int, dict[str, BundleEntry]]:
    position = _skip_handle(data, len(data) - _FOOTER)  # that of the block of filters, which bundles do not have
    blocks = [handle for _, handle in _iterate_block(_read_block(data, position))]
    items = [item for handle in blocks for item in _iterate_block(_read_block(handle, 0, data))]
    header = dict(_iterate_fields(items[0][1]))
    if items[0][0] or header.get(2, 0):
        raise InputError("is in big-endian order or has no header: not read here")
    entries = {key.decode(): _parse_entry(value) for key, value in items[1:]}
    return int(header.get(1, 0)), entries


def _skip_handle(data: bytes, position: int) -> int:
    for _ in range(2):
        _, position = _read_varint(data, position)
    return position


def _read_block(handle: bytes, position: int, data: bytes | None = None) -> bytes:
    """Return the block that the handle at `position` points to, in `data` or in the same bytes."""
    offset, position = _read_varint(handle, position)
    size, _ = _read_varint(handle, position)
    whole = (handle if data is None else data)[offset : offset + size + _TRAILER]
    if len(whole) != size + _TRAILER:
        raise ValueError("a block lies outside of the file")
    kind, checksum = struct.unpack("<BI", whole[size:])
    if compute_crc32c(np.frombuffer(whole[: size + 1], np.uint8)) != unmask_crc32c(checksum):
        raise InputError("is damaged: the checksum of a block differs")
    if kind != 0:
        raise InputError("has compressed blocks: not read here; save the checkpoint again with TensorFlow 2")
    return whole[:size]


def _iterate_block(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values; a key leaves out what it shares with the one before."""
    (num_restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (num_restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _read_varint(block, position)
        rest, position = _read_varint(block, position)
        size, position = _read_varint(block, position)
        key = key[:shared] + block[position : position + rest]
        position += rest
        yield key, block[position : position + size]
        position += size


def _parse_entry(value: bytes) -> BundleEntry:
    fields = dict(_iterate_fields(value))
    sizes = [
        dict(_iterate_fields(part)).get(1, 0) for number, part in _iterate_fields(fields.get(2, b"")) if number == 2
    ]
    if fields.get(4, 0) < 0 or fields.get(5, 0) < 0 or any(size < 0 or size >= 1 << 63 for size in sizes):
        raise ValueError("a negative size")
    return BundleEntry(
        dtype=fields.get(1, 0),
        shape=tuple(sizes),
        shard=fields.get(3, 0),
        offset=fields.get(4, 0),
        size=fields.get(5, 0),
        checksum=fields.get(6, 0),
        is_sliced=7 in fields,
    )


def _iterate_fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a protocol buffer: whole numbers, or bytes of what has a length."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        if tag & 7 == 0:
            value, position = _read_varint(message, position)
            yield tag >> 3, value
        elif tag & 7 == 2:
            size, position = _read_varint(message, position)
            yield tag >> 3, message[position : position + size]
            position += size
        elif tag & 7 == 5:
            yield tag >> 3, struct.unpack("<I", message[position : position + 4])[0]
            position += 4
        else:
            raise ValueError(f"a field of wire type {tag & 7}")


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, seven a byte, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")


def _read_tensor(prefix: Path, num_shards: int, name: str, entry: BundleEntry) -> np.ndarray:
    path = prefix.with_name(f"{prefix.name}.data-{entry.shard:05d}-of-{num_shards:05d}")
    if entry.is_sliced:
        raise InputError(f"{path}: variable {name} is stored in parts: not read here")
    dtype, count = np.dtype(_DTYPES[entry.dtype]), 1
    for side in entry.shape:
        count *= side
    if count * dtype.itemsize != entry.size:
        raise InputError(f"{path}: variable {name} has {entry.size} bytes, not those of {entry.shape}")
    try:
        if path.stat().st_size < entry.offset + entry.size:
            raise InputError(f"{path} is cut short: variable {name} ends at byte {entry.offset + entry.size}")
        values = np.fromfile(path, dtype, count, offset=entry.offset)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): expected the data of a checkpoint") from None
    if compute_crc32c(values.view(np.uint8)) != unmask_crc32c(entry.checksum):
        raise InputError(f"{path} is damaged: the checksum of variable {name} differs")
    if entry.dtype == _BFLOAT16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(entry.shape)

"""Write TensorFlow checkpoints for tests, by the same public descriptions of the format and without the reader's code."""

import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "bool": 10, "float16": 19}


def checksum(data: bytes) -> bytes:
    """Return the masked CRC-32C, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def write_block(file: bytearray, items: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    """Append a block, each key sharing its beginning with the one before, and return its handle."""
    block, before = b"", b""
    for key, value in items:
        shared = next(
            (i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before))
        )
        block += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    block += struct.pack("<II", 0, 1)
    handle = varint(len(file)) + varint(len(block))
    file += block + bytes([compression]) + checksum(block + bytes([compression]))
    return handle


def make_index(entries: Mapping[str, bytes], *, num_shards: int = 1, compression: int = 0, per_block: int = 3) -> bytes:
    """Return an index whose entries are spread over several blocks."""
    file = bytearray()
    items = [(b"", number(1, num_shards)), *sorted((name.encode(), entry) for name, entry in entries.items())]
    handles = []
    for start in range(0, len(items), per_block):
        part = items[start : start + per_block]
        handles.append((part[-1][0], write_block(file, part, compression)))
    meta = write_block(file, [])
    footer = meta + write_block(file, handles)
    return bytes(file) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def make_entry(
    dtype: int, shape: tuple[int, ...], data: bytes, *, offset: int = 0, shard: int = 0, extra: bytes = b""
) -> bytes:
    dims = b"".join(message(2, number(1, side)) for side in shape)
    location = number(3, shard) + number(4, offset) + number(5, len(data))
    return number(1, dtype) + message(2, dims) + location + varint(6 << 3 | 5) + checksum(data) + extra


def write_bundle(prefix: Path, tensors: Mapping[str, np.ndarray], *, num_shards: int = 1) -> Path:
    """Write a checkpoint, tensors in turns to the shards, and return its prefix."""
    shards, entries = [b""] * num_shards, {}
    for position, (name, value) in enumerate(sorted(tensors.items())):
        shard, data = position % num_shards, value.tobytes()
        entries[name] = make_entry(DTYPES[str(value.dtype)], value.shape, data, offset=len(shards[shard]), shard=shard)
        shards[shard] += data
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for shard, data in enumerate(shards):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{num_shards:05d}").write_bytes(data)
    prefix.with_name(f"{prefix.name}.index").write_bytes(make_index(entries, num_shards=num_shards))
    return prefix


def pack(archive: Path, files: Mapping[str, Path]) -> Path:
    """Write a .tar.gz with files under names that may be anything."""
    with tarfile.open(archive, "w:gz") as tar:
        for name, path in files.items():
            tar.add(path, arcname=name)
    return archive

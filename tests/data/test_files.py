"""Files appear whole or not at all."""

import errno
import json
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from axial_deeplab.data.files import write_atomic, write_json, write_png
from axial_deeplab.errors import InputError


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces_and_makes_folders(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file.bin"
    write_atomic(target, lambda file: file.write(b"first"))
    assert target.read_bytes() == b"first"
    write_atomic(target, lambda file: file.write(b"second"))
    assert target.read_bytes() == b"second"
    assert list_names(target.parent) == ["file.bin"]


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "atomic", lambda file: file.write(b""))
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, b"older"])
def test_a_failing_writer_leaves_everything_as_it_was(
    tmp_path: Path, error: BaseException, before: bytes | None
) -> None:
    target = tmp_path / "file.bin"
    if before is not None:
        target.write_bytes(before)

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomic(target, fail)
    assert list_names(tmp_path) == ([] if before is None else ["file.bin"])
    if before is not None:
        assert target.read_bytes() == before


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"older")

    def fill(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"file\.bin cannot be written \(No space left on device\): free some space"):
        write_atomic(target, fill)
    assert list_names(tmp_path) == ["file.bin"]
    assert target.read_bytes() == b"older"


def test_a_full_disk_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(InputError, match=r"file\.bin"):
        write_atomic(tmp_path / "file.bin", lambda file: file.write(b"all"))
    assert list_names(tmp_path) == []


def test_a_folder_or_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder cannot be written"):
        write_atomic(tmp_path / "folder", lambda file: file.write(b""))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="inside cannot be written"):
        write_atomic(tmp_path / "file" / "inside", lambda file: file.write(b""))
    assert list_names(tmp_path) == ["file", "folder"]


def test_json(tmp_path: Path) -> None:
    value = {"name": "café", "list": [1, 2.5, None, True]}
    write_json(tmp_path / "a.json", value)
    write_json(tmp_path / "b.json", value, indent=2)
    for name in ("a.json", "b.json"):
        assert json.loads((tmp_path / name).read_text(encoding="utf-8")) == value
    assert (tmp_path / "a.json").read_text(encoding="utf-8").count("\n") == 1
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "c.json", float("nan"))
    assert list_names(tmp_path) == ["a.json", "b.json"]


def test_png(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "array.png", colors)
    write_png(tmp_path / "image.png", Image.fromarray(colors[..., 0]))
    with Image.open(tmp_path / "array.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), colors)
    with Image.open(tmp_path / "image.png") as image:
        np.testing.assert_array_equal(np.asarray(image), colors[..., 0])

"""TensorFlow checkpoints without TensorFlow: every type and shape, checksums, damage, archives."""

import random
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from axial_deeplab.checkpoints import crc32c
from axial_deeplab.checkpoints.bundle_files import list_files, open_bundle
from axial_deeplab.checkpoints.crc32c import compute_crc32c
from axial_deeplab.checkpoints.tensor_bundle import read_bundle, read_index
from axial_deeplab.errors import InputError
from tests.checkpoints.bundle_maker import make_entry, make_index, message, pack, write_bundle

TENSORS = {
    "encoder/_a/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "encoder/_a/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE": np.ones(3, np.float32),
    "encoder/_b/gamma/.ATTRIBUTES/VARIABLE_VALUE": np.array([1.5, -2.0]),
    "flags": np.array([True, False]),
    "global_step/.ATTRIBUTES/VARIABLE_VALUE": np.array(3, np.int64),
    "half": np.array([0.5, 65504.0], np.float16),
    "nothing": np.zeros((0, 4), np.float32),
    "small": np.array([[250]], np.uint8),
    "whole": np.array([-7, 2**31 - 1], np.int32),
}


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "run" / "ckpt-7", TENSORS)


@pytest.mark.parametrize("data", [b"", b"a", bytes(32), b"123456789"])
def test_checksums_of_the_standard(data: bytes) -> None:
    known = {
        b"": 0,
        b"a": 0xC1D04330,
        bytes(32): 0x8A9136AA,
        b"123456789": 0xE3069283,
    }  # RFC 3720, appendix B.4, and the usual check values
    assert compute_crc32c(np.frombuffer(data, np.uint8)) == known[data]


@pytest.mark.parametrize("length", [0, 1, 4 * 4096 * 8, 4 * 4096 * 9 + 5, 4 * 4096 * 11 - 3])
def test_lanes_agree_with_bytes(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    in_lanes = compute_crc32c(data)
    monkeypatch.setattr(crc32c, "_SMALL", length + 1)
    assert compute_crc32c(data) == in_lanes


@pytest.mark.parametrize("num_shards", [1, 3])
def test_every_tensor_comes_back(tmp_path: Path, num_shards: int) -> None:
    prefix = write_bundle(tmp_path / "ckpt-1", TENSORS, num_shards=num_shards)
    read = read_bundle(prefix)
    assert list(read) == sorted(TENSORS)
    for name, value in TENSORS.items():
        assert read[name].dtype == value.dtype, name
        np.testing.assert_array_equal(read[name], value)


def test_unwanted_tensors_are_not_read(prefix: Path) -> None:
    data = prefix.with_name("ckpt-7.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:96])  # what is left holds the first tensor alone
    assert list(read_bundle(prefix, lambda name: name == sorted(TENSORS)[0])) == sorted(TENSORS)[:1]
    with pytest.raises(InputError, match=r"is cut short: variable .* ends at byte"):
        read_bundle(prefix)


def test_bfloat16_becomes_float32_and_strings_are_passed_over(tmp_path: Path) -> None:
    values = np.array([1.0, -3.140625], np.float32)
    data = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    entries = {"b": make_entry(14, (2,), data), "graph": make_entry(7, (), b"text")}
    (tmp_path / "c.data-00000-of-00001").write_bytes(data)
    (tmp_path / "c.index").write_bytes(make_index(entries))
    read = read_bundle(tmp_path / "c")
    assert list(read) == ["b"]
    np.testing.assert_array_equal(read["b"], values)


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        (make_index({"a": make_entry(1, (1,), bytes(4))}, compression=1), "has compressed blocks"),
        (make_index({"a": make_entry(1, (1,), bytes(4), extra=message(7, b""))}), "is stored in parts"),
        (make_index({"a": make_entry(1, (5,), bytes(4))}), r"has 4 bytes, not those of \(5,\)"),
        (make_index({"a": b"\x0b"}), "is damaged: expected the index"),
        (b"nothing", "is no index of a TensorFlow checkpoint"),
    ],
)
def test_what_is_not_read_is_said(tmp_path: Path, index: bytes, problem: str) -> None:
    (tmp_path / "c.index").write_bytes(index)
    (tmp_path / "c.data-00000-of-00001").write_bytes(bytes(4))
    with pytest.raises(InputError, match=problem):
        read_bundle(tmp_path / "c")


def test_any_damage_is_found(prefix: Path) -> None:
    chance = random.Random(0)
    for path in list_files(prefix):
        whole = path.read_bytes()
        cuts = [whole[: chance.randrange(len(whole))] for _ in range(40)]
        flips = []
        for _ in range(120):
            position = chance.randrange(len(whole))
            flips.append(
                whole[:position] + bytes([whole[position] ^ (1 << chance.randrange(8))]) + whole[position + 1 :]
            )
        for number, damaged in enumerate([*cuts, *flips]):
            path.write_bytes(damaged)
            with suppress(InputError):
                read = read_bundle(prefix)
                # Padding of the footer, and the block of filters that nobody reads, carry nothing.
                assert path.suffix == ".index", number
                assert all((read[name] == value).all() for name, value in TENSORS.items())
        path.write_bytes(whole)


def test_missing_files_are_named(prefix: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.index cannot be read"):
        read_index(tmp_path / "absent.index")
    prefix.with_name("ckpt-7.data-00000-of-00001").unlink()
    with pytest.raises(InputError, match=r"data-00000-of-00001 cannot be read \(No such file"):
        read_bundle(prefix)


@pytest.mark.parametrize("form", ["ckpt-7", "ckpt-7.index", "ckpt-7.data-00000-of-00001", "."])
def test_a_checkpoint_is_found_by_any_of_its_names(prefix: Path, form: str) -> None:
    with open_bundle(prefix.parent / form) as found:
        assert found == prefix
    assert [path.name for path in list_files(prefix)] == ["ckpt-7.data-00000-of-00001", "ckpt-7.index"]


def test_the_note_of_a_folder_chooses_among_several(prefix: Path) -> None:
    write_bundle(prefix.with_name("ckpt-9"), TENSORS)
    with pytest.raises(InputError, match="holds 2 checkpoints"), open_bundle(prefix.parent):
        pass
    (prefix.parent / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/ckpt-9"\n')
    with open_bundle(prefix.parent) as found:
        assert found.name == "ckpt-9"


def test_nothing_of_an_archive_leaves_the_temporary_folder(prefix: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.write_text("outside")
    files = {f"../../{path.name}": path for path in list_files(prefix)}
    archive = pack(tmp_path / "evil.tar.gz", {**files, "/etc/stranger": stranger, "../stranger.txt": stranger})
    before = sorted(tmp_path.rglob("*"))
    with open_bundle(archive) as found:
        inside = found.parent
        assert sorted(path.name for path in inside.iterdir()) == ["checkpoint.data-00000-of-00001", "checkpoint.index"]
        assert len(read_bundle(found)) == len(TENSORS)
    assert not inside.exists()
    assert sorted(tmp_path.rglob("*")) == before


def test_links_in_an_archive_are_not_followed(prefix: Path, tmp_path: Path) -> None:
    link = tmp_path / "c.index"
    link.symlink_to(prefix.with_name("ckpt-7.index"))
    with (
        pytest.raises(InputError, match="holds no checkpoint"),
        open_bundle(pack(tmp_path / "a.tar.gz", {link.name: link})),
    ):
        pass


def test_bad_archives_are_named(prefix: Path, tmp_path: Path) -> None:
    whole = pack(tmp_path / "a.tar.gz", {path.name: path for path in list_files(prefix)})
    two = {f"{folder}/{path.name}": path for folder in "ab" for path in list_files(prefix)}
    cut, text = tmp_path / "cut.tar.gz", tmp_path / "page.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-200])
    text.write_text("<html>Not found</html>")
    for path, problem in (
        (cut, "is damaged, or no archive"),
        (text, "is damaged, or no archive"),
        (pack(tmp_path / "two.tar.gz", two), re.escape("holds 2 checkpoints (a/ckpt-7, b/ckpt-7)")),
        (tmp_path / "absent", "is no checkpoint: expected"),
    ):
        with pytest.raises(InputError, match=problem), open_bundle(path):
            pass

"""Images in tar shards: written from folders, read like them, in WebDataset's form; what is refused."""

import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from axial_deeplab.cli import main
from axial_deeplab.data.classification.augment import ClassAugmentConfig
from axial_deeplab.data.classification.image_tree import ImageTree
from axial_deeplab.data.classification.records import EncodedImage
from axial_deeplab.data.classification.shards import ClassifiedShards
from axial_deeplab.data.classification.splits import open_classified, open_split
from axial_deeplab.data.classification.write_shards import write_shards
from axial_deeplab.errors import InputError
from axial_deeplab.training.class_data_module import ClassSamples, collate_images
from tests.training.class_images import write_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path / "folders", train=4, val=2)


@pytest.fixture
def shards(root: Path, tmp_path: Path) -> Path:
    write_shards(root, tmp_path / "shards", images_per_shard=5)
    return tmp_path / "shards"


def read_all(images: ImageTree | ClassifiedShards) -> dict[str, tuple[bytes, int]]:
    read = [images.read(index) for index in range(len(images))]
    assert len({image.file_name for image in read}) == len(read)
    return {image.file_name: (image.data, image.label) for image in read}


def test_shards_hold_the_files_unchanged(root: Path, shards: Path) -> None:
    for split in ("train", "val"):
        tree, read = ImageTree(root, split), open_split(shards, split)
        assert isinstance(read, ClassifiedShards)
        assert read_all(read) == read_all(tree)
        assert (read.categories, read.folders) == (tree.categories, tree.folders)
    assert open_split(shards, "train").parts == (5, 5, 2)
    assert sorted(path.name for path in shards.glob("*.tar")) == [
        *(f"train-00000{number}.tar" for number in range(3)),
        *(f"val-00000{number}.tar" for number in range(2)),
    ]
    image = open_split(shards, "train")[3]
    assert (image.image.shape, image.image.dtype) == ((3, 40, 48), torch.uint8)


def test_classes_are_mixed_within_shards(shards: Path) -> None:
    labels = [open_split(shards, "train").read(index).label for index in range(5)]
    assert labels != sorted(labels)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves files to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_them(root: Path, shards: Path) -> None:
    import webdataset

    samples = webdataset.WebDataset([str(path) for path in sorted(shards.glob("train-*.tar"))], shardshuffle=False)
    read = {f"{sample['__key__']}.png": (sample["png"], int(sample["cls"])) for sample in samples}
    assert read == read_all(ImageTree(root, "train"))


def test_names_with_dots_and_equal_stems_stay_apart(root: Path, tmp_path: Path) -> None:
    folder = root / "train" / "red"
    for name in ("a.b.png", "a_b.png", "a_b.PNG.png"):
        (folder / name).write_bytes((folder / "0.png").read_bytes())
    write_shards(root, tmp_path / "shards")
    names = set(read_all(open_split(tmp_path / "shards", "train")))
    assert {"red/a_b.png", "red/a_b_2.png", "red/a_b_PNG.png"} <= names
    assert len(names) == 15


def test_foreign_shards_need_an_index_once(root: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = read_all(open_split(shards, "train"))
    for path in (*shards.glob("*-index.json"), shards / "classes.json"):
        path.unlink()
    with pytest.raises(InputError, match=r"train-index.json does not exist: `axial-deeplab dataset shards"):
        open_split(shards, "train")
    assert main(["dataset", "shards", str(shards)]) == 0
    assert "train: 12 images in 3 shards" in capsys.readouterr().out
    train, _ = open_classified(shards, "train", "val")
    assert read_all(train) == expected  # type: ignore[arg-type]
    assert [category.name for category in train.categories] == ["0", "1", "2"]


def test_command_writes_shards(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "out")
    assert main(["dataset", "shards", str(root), "--output", output, "--images-per-shard", "5"]) == 0
    assert "val: 6 images in 2 shards" in capsys.readouterr().out
    assert main(["dataset", "shards", str(root), "--output", output]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["dataset", "shards", str(root)]) == 2
    assert "--output is missing" in capsys.readouterr().err
    assert main(["dataset", "shards", output, "--output", str(tmp_path / "again")]) == 2
    assert "holds shards already" in capsys.readouterr().err


def test_nothing_is_left_where_writing_fails(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(tree: ImageTree, index: int) -> EncodedImage:
        if index == 5:
            raise InputError("the disk is gone")
        return EncodedImage(b"some bytes", 0, f"red/{index}.png")

    (root / "val" / "yellow").mkdir()
    for match in ("yellow has no image", "only val has yellow"):
        with pytest.raises(InputError, match=match):
            write_shards(root, tmp_path / "out")
        (root / "val" / "yellow" / "0.png").write_bytes(b"")
    (root / "val" / "yellow" / "0.png").unlink()
    (root / "val" / "yellow").rmdir()
    monkeypatch.setattr(ImageTree, "read", break_off)
    with pytest.raises(InputError, match="the disk is gone"):
        write_shards(root, tmp_path / "out", images_per_shard=3)
    assert [path.name for path in tmp_path.iterdir()] == ["folders"]


@pytest.mark.parametrize("fault", ["cut", "gone", "longer", "index", "class"])
def test_shards_at_fault_end_training_with_one_line(
    shards: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    path, index = shards / "train-000001.tar", shards / "train-index.json"
    length = path.stat().st_size
    match fault:
        case "cut":
            path.write_bytes(path.read_bytes()[:-3000])
        case "gone":
            path.unlink()
        case "longer":
            path.write_bytes(path.read_bytes() + b"\0" * 512)
        case "index":
            index.write_text(index.read_text()[:-20])
        case "class":
            (shards / "classes.json").write_text('{"blue": "blue", "green": "green"}')
    expected = {
        "cut": f"train-000001.tar has {length - 3000} bytes, not {length}: it was cut short",
        "gone": "train-000001.tar cannot be read (No such file",
        "longer": "the index",
        "index": "train-index.json is no index of shards",
        "class": "train has class 2, but classes.json names 2",
    }
    capsys.readouterr()
    assert main(["train", "flowers5_resnet50", "--data.root", str(shards), "--output", str(shards / "run")]) == 2
    error = capsys.readouterr().err.strip()
    assert expected[fault] in error
    assert "\n" not in error


@pytest.mark.parametrize("length", [-1, -9728, 700, 100])
def test_shards_cut_short_get_no_index(shards: Path, length: int) -> None:
    path = shards / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"train-000001.tar cannot be read to its end .*copy it again"):
        index_train(shards)


def index_train(shards: Path) -> None:
    from axial_deeplab.data.classification.shard_index import write_index

    write_index(shards, "train")


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"a.jpg": b"", "b.cls": b"0"}, "a has no class"),
        ({"a.cls": b"0"}, "a has no image"),
        ({"a.jpg": b"", "a.cls": b"cat"}, "class of a is b'cat'"),
        ({}, "no image"),
    ],
)
def test_samples_at_fault_are_named(tmp_path: Path, files: dict[str, bytes], match: str) -> None:
    with tarfile.open(tmp_path / "train-000000.tar", "w") as tar:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            tar.add(tmp_path / name, name)
    with pytest.raises(InputError, match=match):
        index_train(tmp_path)


def test_a_shard_cut_while_training_goes_on(shards: Path) -> None:
    samples = ClassSamples(open_split(shards, "train"), ClassAugmentConfig(crop=16), seed=0)
    path = shards / "train-000001.tar"
    with path.open("r+b") as file:
        file.truncate(700)
    batch = collate_images([samples[number] for number in range(12)])
    assert batch.images.shape == (12, 3, 16, 16)
    assert all("train-000001.tar: it was cut short" in problem for problem in batch.damaged)
    assert batch.damaged


def test_damaged_images_in_shards_are_replaced(root: Path, tmp_path: Path) -> None:
    (root / "train" / "green" / "1.png").write_bytes(b"\x89PNG no more")
    write_shards(root, tmp_path / "shards", images_per_shard=5)
    samples = ClassSamples(open_split(tmp_path / "shards", "train"), ClassAugmentConfig(crop=16), seed=0)
    batch = collate_images([samples[number] for number in range(12)])
    assert len(batch.damaged) == 1
    assert "green/1.png" in batch.damaged[0]
    assert len(set(batch.file_names)) == 11


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking a process that has threads
def test_processes_share_an_epoch(shards: Path) -> None:
    images = open_split(shards, "train")
    images.read(0)  # a descriptor that the processes inherit
    samples = ClassSamples(images, ClassAugmentConfig(crop=16), seed=3)
    batches = [range(start, start + 2) for start in range(0, 12, 2)]
    loader = torch.utils.data.DataLoader(samples, batch_sampler=batches, num_workers=2, collate_fn=collate_images)
    seen = list(loader)
    assert sorted(name for batch in seen for name in batch.file_names) == sorted(read_all(images))
    again = [collate_images([samples[number] for number in batch]) for batch in batches[3:]]
    assert all(torch.equal(a.images, b.images) for a, b in zip(seen[3:], again, strict=True))


def test_pickled_and_with_few_open_files(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("axial_deeplab.data.classification.shards.OPEN_SHARDS", 1)
    images = open_split(shards, "train")
    order = np.random.default_rng(0).permutation(12)
    expected = [images.read(index) for index in range(12)]
    copy = pickle.loads(pickle.dumps(images))
    for index in order:
        assert copy.read(index) == expected[index]


def test_index_names_the_images_of_each_shard(shards: Path) -> None:
    content = json.loads((shards / "train-index.json").read_text())
    assert [shard["images"] for shard in content["shards"]] == [5, 5, 2]
    assert [shard["file"] for shard in content["shards"]] == [f"train-00000{number}.tar" for number in range(3)]

"""What `dataset check` finds: every kind of problem, and nothing in a sound set."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from axial_deeplab.data.check.problems import ERRORS, WARNINGS, Problem, ProblemList
from axial_deeplab.data.check.run import check_dataset
from axial_deeplab.data.check.split import DataSource
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.errors import InputError
from tests.data.check_sources import HEIGHT, IDS, WIDTH, edit, get_segment, repaint, write_set
from tests.data.layout_sources import write_cityscapes, write_coco_panoptic, write_mapillary

LABEL = "annotations/panoptic_train/1.png"
LIST = "annotations/panoptic_train.json"


def add(values: np.ndarray, number: int) -> None:
    values[30:33, :4] = number


def remove_class(root: Path) -> None:
    """Leave no dirt in train."""
    for name in ("1.png", "2.png"):
        repaint(root, lambda ids: np.where(ids == IDS["dirt"], IDS["glass"], ids))
        if name == "2.png":
            shutil.copy(root / LABEL, root / "annotations/panoptic_train" / name)

    def drop(content: dict) -> None:
        for annotation in content["annotations"]:
            annotation["segments_info"] = [s for s in annotation["segments_info"] if s["id"] != IDS["dirt"]]
            for segment in annotation["segments_info"]:
                segment["area"] += (HEIGHT - 36) * WIDTH if segment["id"] == IDS["glass"] else 0

    edit(root, drop)


def divide(root: Path) -> None:
    """Give the glass of image 1 a second segment."""
    repaint(root, lambda ids: add(ids, 301))

    def describe(content: dict) -> None:
        glass = get_segment(content, "glass")
        glass["area"] -= 12
        content["annotations"][0]["segments_info"].append({**glass, "id": 301, "area": 12})

    edit(root, describe)


def copy_image(source: str, target: str) -> Callable[[Path], object]:
    return lambda root: shutil.copy(root / "images" / source, root / "images" / target)


CASES: dict[str, tuple[Callable[[Path], object], str, int | str | None, int | None]] = {
    # kind: the damage, the file that is named, image id, segment id
    "unusable-split": (lambda r: (r / LIST).write_text("{"), "", None, None),
    "malformed-entry": (lambda r: edit(r, lambda c: get_segment(c, "dirt").update(area="few")), LIST, 1, IDS["dirt"]),
    "duplicate-image": (
        lambda r: edit(r, lambda c: c["images"].append({"id": 1, "file_name": "2.png"})),
        LIST,
        1,
        None,
    ),
    "duplicate-annotation": (
        lambda r: edit(r, lambda c: c["annotations"].append(c["annotations"][0])),
        LIST,
        1,
        None,
    ),
    "duplicate-segment": (
        lambda r: edit(r, lambda c: c["annotations"][0]["segments_info"].append(get_segment(c, "dirt"))),
        LIST,
        1,
        IDS["dirt"],
    ),
    "unannotated-image": (lambda r: edit(r, lambda c: c["annotations"].pop(0)), LIST, 1, None),
    "unlisted-image": (lambda r: edit(r, lambda c: c["images"].pop(0)), LIST, 1, None),
    "unknown-category": (
        lambda r: edit(r, lambda c: get_segment(c, "cell 1").update(category_id=99)),
        LIST,
        1,
        IDS["cell 1"],
    ),
    "missing-image": (lambda r: (r / "images/train/1.png").unlink(), "images/train/1.png", 1, None),
    "unreadable-image": (lambda r: (r / "images/train/1.png").write_text("no"), "images/train/1.png", 1, None),
    "missing-label": (lambda r: (r / LABEL).unlink(), LABEL, 1, None),
    "unreadable-label": (lambda r: (r / LABEL).write_text("no"), LABEL, 1, None),
    "unequal-sizes": (lambda r: repaint(r, lambda ids: ids[:-1]), LABEL, 1, None),
    "unlisted-segment": (lambda r: repaint(r, lambda ids: add(ids, 6)), LABEL, 1, 6),
    "absent-segment": (
        lambda r: repaint(r, lambda ids: np.where(ids == IDS["cell 2"], 0, ids)),
        LABEL,
        1,
        IDS["cell 2"],
    ),
    "wrong-area": (lambda r: edit(r, lambda c: get_segment(c, "cell 1").update(area=81)), LABEL, 1, IDS["cell 1"]),
    "shared-image": (copy_image("train/1.png", "val/1001.png"), "images/val/1001.png", 1001, None),
    "differing-classes": (
        lambda r: edit(r, lambda c: c["categories"][1].update(name="slide"), "val"),
        "annotations/panoptic_val.json",
        None,
        None,
    ),
    "empty-image": (
        lambda r: [
            repaint(r, np.zeros_like),
            edit(r, lambda c: c["annotations"][0].update(segments_info=[])),
        ],
        LABEL,
        1,
        None,
    ),
    "repeated-image": (copy_image("train/1.png", "train/2.png"), "images/train/2.png", 2, None),
    "stuff-crowd": (lambda r: edit(r, lambda c: get_segment(c, "dirt").update(iscrowd=1)), LABEL, 1, IDS["dirt"]),
    "divided-stuff": (divide, LABEL, 1, IDS["glass"]),
    "absent-class": (remove_class, LIST, None, None),
}

CONSEQUENCES = {"unlisted-segment": {"wrong-area"}}
"""dict: What is wrong in consequence; the pixels of the other id are missing from a listed segment."""


def test_every_kind_has_a_case() -> None:
    assert CASES.keys() == ERRORS.keys() | WARNINGS.keys()


@pytest.mark.parametrize("kind", CASES)
def test_a_problem_is_named_with_file_and_ids(kind: str, tmp_path: Path) -> None:
    damage, file, image_id, segment_id = CASES[kind]
    root = write_set(tmp_path)
    damage(root)
    problems = check_dataset(DataSource(str(root))).problems
    assert problems.counts.keys() - CONSEQUENCES.get(kind, set()) == {kind}
    assert problems.counts[kind] == 1
    (problem,) = problems.kept[kind]
    assert problem[1:2] + problem[3:] == (str(root / file), image_id, segment_id)
    lines = problems.format_lines()
    assert problem.format_line() in "\n".join(lines)
    assert len(lines) == 2 * len(problems.counts)
    assert problems.num_errors == sum(count for name, count in problems.counts.items() if name in ERRORS)


@pytest.mark.parametrize("kind", sorted(ERRORS.keys() - {"shared-image", "wrong-area", "differing-classes"}))
def test_the_reader_refuses_what_is_an_error(kind: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    CASES[kind][0](root)
    with pytest.raises(InputError):
        list(CocoPanopticDataset(root, "train"))


def test_many_problems_are_all_counted_and_the_rest_of_the_set_too(tmp_path: Path) -> None:
    root = write_set(tmp_path, images=12)
    for number in range(1, 8):
        (root / "images" / "train" / f"{number}.png").unlink()
    edit(root, lambda c: [s.update(area=9) for a in c["annotations"] for s in a["segments_info"][:1]])
    edit(root, lambda c: c["categories"][0].pop("name"), "val")
    check = check_dataset(DataSource(str(root)), limit=3)
    assert check.problems.counts == {"unusable-split": 1, "missing-image": 7, "wrong-area": 5}
    assert [len(kept) for kept in check.problems.kept.values()] == [3, 3, 1]
    assert "  and 4 more" in check.problems.format_lines()
    assert check.statistics["train"].images == 5
    assert check.problems.to_json()["missing-image"]["count"] == 7


def test_a_list_of_problems_merges_in_order() -> None:
    first, second = ProblemList(2), ProblemList(2)
    first.extend([Problem("missing-image", "a", "")])
    second.extend([Problem("missing-image", name, "") for name in "bcd"])
    first.merge(second)
    assert first.counts == {"missing-image": 4}
    assert [problem.file for problem in first.kept["missing-image"]] == ["a", "b"]


def test_processes_find_the_same(tmp_path: Path) -> None:
    root = write_set(tmp_path, images=20)
    repaint(root, lambda ids: add(ids, 6))
    copy_image("train/3.png", "train/19.png")(root)  # in two chunks
    alone, together = (check_dataset(DataSource(str(root)), workers=workers) for workers in (0, 2))
    assert alone.problems == together.problems
    assert alone.problems.counts.keys() == {"unlisted-segment", "wrong-area", "repeated-image"}
    own, other = alone.statistics["train"], together.statistics["train"]
    np.testing.assert_array_equal(own.levels, other.levels)
    assert (own.sizes, own.neighbors, own.class_pixels) == (other.sizes, other.neighbors, other.class_pixels)


@pytest.mark.parametrize("layout", ["coco", "cityscapes", "mapillary"])
def test_every_layout_is_checked(layout: str, tmp_path: Path) -> None:
    if layout == "mapillary":
        write_mapillary(tmp_path, "2.0")
    else:
        {"coco": write_coco_panoptic, "cityscapes": write_cityscapes}[layout](tmp_path)
    source = DataSource(str(tmp_path), version="2.0" if layout == "mapillary" else None)
    check = check_dataset(source)
    train = CocoPanopticDataset(tmp_path, "train", version=source.version)
    assert check.statistics["train"].images == len(train)
    pixels = sum(segment.area for record in train for segment in record.segments)  # type: ignore[attr-defined]
    assert check.statistics["train"].class_pixels.total() == pixels
    # The last: of instance ids the first file is looked at when the split is opened.
    label = max(train.paths.masks.rglob("*instanceIds.png" if layout == "cityscapes" else "*.png"))
    label.write_text("no")
    problems = check_dataset(source, ["train"]).problems
    assert problems.counts["unreadable-label"] == 1
    assert problems.kept["unreadable-label"][0].file == str(label)
    if layout == "mapillary":
        assert "unusable-split" in check_dataset(DataSource(str(tmp_path))).problems.counts


def test_cityscapes_ids_of_another_size(tmp_path: Path) -> None:
    label = max((write_cityscapes(tmp_path) / "gtFine" / "train").rglob("*instanceIds.png"))
    with Image.open(label) as image:
        smaller = image.resize((image.width, image.height - 1), Image.Resampling.NEAREST)
    smaller.save(label)
    problems = check_dataset(DataSource(str(tmp_path))).problems
    assert problems.num_errors == problems.counts["unequal-sizes"] == 1
    assert problems.kept["unequal-sizes"][0].file == str(label)


def test_a_gray_label_is_no_panoptic_png(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    Image.new("L", (WIDTH, HEIGHT)).save(root / LABEL)
    (problem,) = check_dataset(DataSource(str(root))).problems.kept["unreadable-label"]
    assert "mode L" in problem.message

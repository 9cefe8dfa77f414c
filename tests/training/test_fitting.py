"""Settings fitted to data: what they follow from, what they reach, and that training reads them back."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from axial_deeplab.cli import main
from axial_deeplab.commands.dataset_check import _describe_data
from axial_deeplab.data.check.run import check_dataset
from axial_deeplab.data.check.split import CheckedSplit, DataSource
from axial_deeplab.data.check.statistics import Statistics
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.data.transforms import measure_segments
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.records import PanopticPrediction, PanopticRecord, Segment
from axial_deeplab.training.ceiling import Ceiling, Geometry, measure_ceilings, send_through
from axial_deeplab.training.choosing import CITYSCAPES, choose_values
from axial_deeplab.training.config import TargetConfig
from axial_deeplab.training.fitting import FittedValue, apply_values, fit_recipe, format_recipe
from axial_deeplab.training.load_recipe import load_recipe
from tests.data.check_sources import CATEGORIES, IDS, edit, get_segment, make_map, write_set

SIDE, DISTANCE = 9, 12


def write_cells(root: Path, images: int = 10) -> Path:
    """Write dark images of 100 x 130 pixels full of cells of 9 pixels, 12 apart, and 8 rows of dirt at the bottom."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        with PanopticWriter(root / "annotations" / f"panoptic_{split}.json", CATEGORIES) as writer:
            for number in range(images):
                ids, segments = make_cells(generator)
                pixels = generator.integers(0, 20, (*ids.shape, 3), dtype=np.uint8)
                (root / "images" / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / "images" / split / f"{number}.png")
                writer.add(number, f"{number}.png", PanopticPrediction(torch.from_numpy(ids), segments))
    return root


def make_cells(generator: np.random.Generator) -> tuple[np.ndarray, list[Segment]]:
    ids = np.full((100, 130), 1, np.int32)
    ids[92:] = 2
    segments = [Segment(1, 1, False), Segment(2, 2, False)]
    for top in range(2, 80, DISTANCE):
        for left in range(2, 120, DISTANCE):
            y, x = top + generator.integers(0, 2), left + generator.integers(0, 2)
            number = 10 + len(segments)
            ids[y : y + SIDE, x : x + SIDE] = number
            segments.append(Segment(number, 0, True))
    return ids, segments


def fit(root: Path) -> dict[str, FittedValue]:
    check = check_dataset(DataSource(str(root)), ["train"])
    return {value.field: value for value in fit_recipe(check.statistics["train"])}


def test_every_value_follows_from_its_statistic(tmp_path: Path) -> None:
    values = fit(write_cells(tmp_path))
    assert values["augment.crop_size"].value == [113, 145]
    assert values["augment.min_scale"].value == 0.89  # 8 of 9 pixels
    assert values["targets.sigma"].value == 2.0  # 9 / 6, but not less than half the stride of the heads
    assert values["targets.small_instance_area"].value == 81
    assert values["targets.small_instance_weight"].value == 3.0  # none is smaller than the median
    assert values["loss.offset"].value == pytest.approx(0.5 / (20 / 9), abs=0.01)
    assert values["postprocess.nms_kernel"].value == 7  # a third of 9 pixels on both sides
    assert values["postprocess.stuff_area_limit"].value == 100 * 130 // 100  # half of 1040 would be more
    assert values["preprocess.mean"].value == pytest.approx([9.5 / 255] * 3, abs=0.002)
    assert "0.45" in values["preprocess.mean"].reason
    assert all(value.reason for value in values.values())
    few = fit(write_cells(tmp_path / "few", images=2))
    assert few.keys() == values.keys() - {"preprocess.mean", "preprocess.std"}  # two images say little about colors


def test_larger_objects_get_larger_numbers() -> None:
    statistics = Statistics(CATEGORIES)
    statistics.heights, statistics.widths = Counter({1024: 5}), Counter({2048: 4, 3000: 1})
    statistics.sizes[0] = Counter({900: 2, 100: 1})
    statistics.sizes[1] = Counter({300: 100})
    statistics.neighbors = Counter({60: 3})
    statistics.object_pixels, statistics.offset_sum = 16300, 16300 * 30.0
    statistics.levels[:, 60], statistics.levels[:, 180] = 1, 1
    statistics.images = 10
    values = {value.field: value.value for value in fit_recipe(statistics)}
    assert values == {
        "augment.crop_size": [833, 2481],  # 1025 x 3009 has too many pixels
        "augment.longest_side": None,
        "preprocess.longest_side": None,
        "augment.min_scale": 0.8,
        "targets.sigma": 15.0,
        "targets.small_instance_area": 8100,
        "targets.small_instance_weight": 3.0,
        "loss.offset": 0.017,
        "postprocess.nms_kernel": 41,
        "postprocess.stuff_area_limit": 450,
    }
    assert values["augment.crop_size"][0] * values["augment.crop_size"][1] <= 1025 * 2049


def test_sets_without_things_and_without_stuff(tmp_path: Path) -> None:
    for kept, absent in (("stuff_area_limit", "targets.sigma"), ("sigma", "postprocess.stuff_area_limit")):
        statistics = Statistics(CATEGORIES)
        statistics.heights = statistics.widths = Counter({64: 1})
        statistics.levels[:, 60] = 64 * 64
        if kept == "sigma":
            statistics.sizes[0], statistics.object_pixels = Counter({100: 1}), 100
        else:
            statistics.sizes[1] = Counter({640: 1})
        fields = [value.field for value in fit_recipe(statistics)]
        assert absent not in fields
        assert any(field.endswith(kept) for field in fields)
        assert not {"preprocess.mean", "preprocess.std"} & {*fields}  # one color has no deviation


def test_the_recipe_reads_back(tmp_path: Path) -> None:
    values = fit_recipe(check_dataset(DataSource(str(write_cells(tmp_path))), ["train"]).statistics["train"])
    data = {"dataset": "coco_panoptic", "root": "C: \\cells # 1", "train_split": "train", "val_split": "val"}
    path = tmp_path / "recipe.yaml"
    path.write_text(format_recipe(values, data, "cells: 1", CATEGORIES))
    recipe = load_recipe(str(path))
    assert recipe == apply_values(values, data, "cells: 1")
    assert recipe.data.root == "C: \\cells # 1"
    assert recipe.augment.crop_size == (113, 145)
    assert recipe.postprocess.nms_kernel == 7
    lines = path.read_text().splitlines()
    assert "# class 0: cell (thing)" in lines
    for value in values:
        key = f"  {value.field.partition('.')[2]}: {json.dumps(value.value)}"
        assert lines[lines.index(key) - 1] == f"  # {value.reason}"


def test_perfect_heads_give_the_labels_back() -> None:
    ids = torch.from_numpy(make_map())
    listed = [Segment(IDS["cell 1"], 0, True), Segment(IDS["cell 2"], 0, True, is_crowd=True)]
    listed += [Segment(IDS["glass"], 1, False), Segment(IDS["dirt"], 2, False)]
    segments = tuple(measure_segments(ids, listed))
    record = PanopticRecord(torch.zeros(3, *ids.shape, dtype=torch.uint8), ids, segments, 1, "1.png")
    prediction = send_through(record, CATEGORIES, Geometry(), 1)
    assert [segment.category_id for segment in prediction.segments] == [0, 1, 2]
    for segment, number in zip(prediction.segments, (IDS["cell 1"], IDS["glass"], IDS["dirt"]), strict=True):
        assert torch.equal(prediction.panoptic_map == segment.id, ids == number)
    coarse = send_through(record, CATEGORIES, Geometry(), 4)
    assert [segment.category_id for segment in coarse.segments] == [0, 1, 2]
    cell = coarse.panoptic_map == coarse.segments[0].id
    truth = ids == IDS["cell 1"]
    assert (cell & truth).sum() / (cell | truth).sum() > 0.7
    limited = Geometry(TargetConfig(), PostprocessConfig(stuff_area_limit=200))  # dirt has 192 pixels
    assert [s.category_id for s in send_through(record, CATEGORIES, limited, 1).segments] == [0, 1]


def test_an_image_of_crowd_alone_has_no_segment() -> None:
    ids = torch.full((20, 30), 9, dtype=torch.int32)
    crowd = (Segment(9, 0, True, area=600, is_crowd=True),)
    record = PanopticRecord(torch.zeros(3, 20, 30, dtype=torch.uint8), ids, crowd, 1, "1.png")
    assert [send_through(record, CATEGORIES, Geometry(), stride).segments for stride in (1, 4)] == [[], []]


def test_the_ceiling_tells_windows_and_sigmas_apart(tmp_path: Path) -> None:
    split = CheckedSplit(DataSource(str(write_cells(tmp_path))), "train")
    narrow = Geometry(TargetConfig(sigma=0.8), PostprocessConfig(nms_kernel=5))
    wide = Geometry(TargetConfig(sigma=2.0), PostprocessConfig(nms_kernel=31))
    right = Geometry(TargetConfig(sigma=2.0), PostprocessConfig(nms_kernel=5))
    ceilings = measure_ceilings(split, [narrow, wide, right, CITYSCAPES], sample=2)
    assert all(ceiling[1].things == 1 for ceiling in ceilings)
    assert ceilings[2][4].things > 0.7
    assert ceilings[0][4].things < 0.1  # peaks between the positions of the heads fade
    assert ceilings[1][4].things < 0.1  # neighbors in one window
    assert ceilings[3][1].stuff < 0.6  # dirt, 1040 pixels, is below the limit
    together = measure_ceilings(split, [right], sample=2)
    assert together[0] == ceilings[2]


def test_what_lowers_the_ceiling_goes_back_to_the_default(tmp_path: Path) -> None:
    split = CheckedSplit(DataSource(str(write_cells(tmp_path))), "train")
    good = FittedValue("targets.sigma", 2.0, "good")
    bad = FittedValue("postprocess.stuff_area_limit", 2000, "bad")
    choice = choose_values([good, bad], split, sample=2)
    assert choice.values[0] == good
    assert choice.values[1].value == 0
    assert "the default: 2000" in choice.values[1].reason
    assert choice.ceilings["fitted"][1].all == choice.ceilings["default"][1].all == 1
    worse = [FittedValue("targets.sigma", 0.3, ""), FittedValue("postprocess.nms_kernel", 61, ""), bad]
    choice = choose_values(worse, split, sample=2)
    assert [value.value for value in choice.values] == [8.0, 7, 0]
    assert choose_values([good], split, sample=2).ceilings["fitted"][4] >= choice.ceilings["default"][4]
    assert isinstance(choice.ceilings["cityscapes"][4], Ceiling)


def test_command_prints_writes_and_training_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, path = write_cells(tmp_path / "cells"), tmp_path / "recipe.yaml"
    assert main(["dataset", "check", str(root), "--output", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "0 errors, 0 warnings" in printed
    assert "train: 10 of 10 images could be used" in printed
    assert "targets.sigma 2.0: a sixth of the median size" in printed
    assert "every pixel       100.0 (100.0, 100.0)" in printed
    written = yaml.safe_load(path.read_text())
    assert (written["name"], written["data"]["root"]) == ("cells", str(root))
    for arguments in ([str(path)], ["scenes_small", "--config", str(path)]):
        assert main(["train", *arguments, "--print-config"]) == 0
        config = yaml.safe_load(capsys.readouterr().out)
        assert config["targets"]["sigma"] == 2.0
        assert config["augment"]["crop_size"] == [113, 145]
        assert config["data"]["root"] == str(root)
    small = ["--model.name", "axial_deeplab_nano", "--iterations", "1", "--batch_size", "1", "--reference_batch", "1"]
    run = ["--val_every", "1", "--data.workers", "0", "--output", str(tmp_path / "run")]
    assert main(["train", str(path), *small, *run]) == 0


def test_command_names_errors_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path)
    assert main(["dataset", "check", str(root), "--json"]) == 0
    capsys.readouterr()
    edit(root, lambda content: get_segment(content, "cell 1").update(area=1))
    (root / "images" / "val" / "1001.png").unlink()
    assert main(["dataset", "check", str(root), "--json", "--sample", "1"]) == 2
    content = json.loads(capsys.readouterr().out)
    assert (content["errors"], content["warnings"]) == (2, 3)  # of val nothing is left
    assert content["problems"]["missing-image"]["first"][0]["file"] == str(root / "images" / "val" / "1001.png")
    assert content["splits"]["train"]["objects"] == 4
    assert content["ceilings"]["default"]["1"]["all"] == 1
    assert {value["field"] for value in content["fitted"]} >= {"augment.crop_size", "targets.sigma"}


def test_command_with_nothing_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    assert main(["dataset", "check", str(tmp_path / "absent"), "--output", str(path)]) == 2
    printed = capsys.readouterr().out
    assert "absent is not a folder" in printed
    assert "recipe.yaml is not written" in printed
    assert not path.exists()
    assert main(["dataset", "check", str(write_set(tmp_path / "set")), "--output", str(tmp_path / "a.txt")]) == 2
    assert "must end in .yaml" in capsys.readouterr().err


def test_fitted_ceilings_of_real_data(shared_data: Path) -> None:
    """Nuclei 8 to 20 pixels wide: the fitted numbers keep them as well as the defaults, and better than Cityscapes'."""
    source = DataSource(str(shared_data / "nuclei-mini"))
    check = check_dataset(source, ["train"])
    choice = choose_values(fit_recipe(check.statistics["train"]), check.splits["train"], sample=6)
    default, cityscapes, fitted = (choice.ceilings[name] for name in ("default", "cityscapes", "fitted"))
    assert fitted[1].all >= default[1].all >= 0.999
    assert fitted[4].all >= default[4].all
    assert fitted[4].things > cityscapes[4].things


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train", "val", "test"], {"val_split": "val"}),
        (["train", "test", "validation"], {"val_split": "validation"}),
        (["a", "b"], {"val_split": "b"}),
        (["train"], {}),
    ],
)
def test_weights_are_not_chosen_on_the_test_split(splits: list[str], expected: dict[str, str]) -> None:
    data = _describe_data(DataSource("root"), splits)
    assert {key: value for key, value in data.items() if key == "val_split"} == expected

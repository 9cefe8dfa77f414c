"""One image in Python, and files and folders from end to end."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from axial_deeplab.checkpoints.load import CheckpointConfig, save_checkpoint
from axial_deeplab.cli import main
from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.coco_results import read_instance_results
from axial_deeplab.data.files import write_json
from axial_deeplab.data.panoptic_png import read_ids
from axial_deeplab.data.run_lengths import decode_runs, parse_compressed_runs
from axial_deeplab.data.scenes import SCENE_CATEGORIES, make_scene
from axial_deeplab.data.transforms import Preprocess
from axial_deeplab.errors import InputError
from axial_deeplab.models import build_model
from axial_deeplab.panoptic.labels import to_instances, to_semantic
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.predict import Predictor, choose_names, load, predict_files
from axial_deeplab.records import Category, PanopticOutput
from axial_deeplab.serialization import to_plain


def make_config(**preprocess: int) -> CheckpointConfig:
    return CheckpointConfig(
        model="axial_deeplab_nano",
        categories=SCENE_CATEGORIES,
        preprocess=to_plain(Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **preprocess)),
        postprocess=to_plain(PostprocessConfig()),
    )


VISTAS = tuple(category._replace(id=number) for number, category in enumerate(SCENE_CATEGORIES, start=1))
"""tuple: The classes of scenes with the ids that Mapillary Vistas would give them."""


def write_vistas(root: Path, images: dict[str, Image.Image]) -> None:
    """Write images as Mapillary Vistas has them, with a configuration that evaluates `VISTAS` and not one class more."""
    labels = [{"readable": c.name, "name": c.name, "instances": c.is_thing} for c in VISTAS]
    labels.append({"readable": "Unlabeled", "name": "void--unlabeled", "instances": False, "evaluate": False})
    write_json(root / "config_v2.0.json", {"labels": labels})
    (root / "testing" / "images").mkdir(parents=True)
    for name, image in images.items():
        image.save(root / "testing" / "images" / name)


class RedIsBox(nn.Module):
    """Call red pixels a box with its center where green is 1, everything else sky."""

    def forward(self, images: torch.Tensor) -> PanopticOutput:
        red, green = images[:, 0], images[:, 1]
        logits = images.new_zeros(len(images), len(SCENE_CATEGORIES), *images.shape[2:])
        logits[:, 4] = 20 * (red - 0.5)
        return PanopticOutput(
            logits, (green > 0.99).float()[:, None], images.new_zeros(len(images), 2, *images.shape[2:])
        )


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(RedIsBox(), make_config(), "cpu")


def draw_photo(height: int = 40, width: int = 60) -> Image.Image:
    """Draw a red box with a green center in the left upper corner of a dark image."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[4:14, 6:26, 0] = 255
    pixels[9, 16, 1] = 255
    return Image.fromarray(pixels)


def test_every_form_of_an_image_gives_the_same(predictor: Predictor, tmp_path: Path) -> None:
    photo = draw_photo()
    photo.save(tmp_path / "photo.png")
    array = np.asarray(photo)
    forms = [
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        photo,
        photo.convert("RGBA"),
        array,
        torch.tensor(array),
    ]
    predictions = [predictor(form) for form in forms]
    for prediction in predictions:
        assert torch.equal(prediction.panoptic_map, predictions[0].panoptic_map)
    box, sky = predictions[0].segments
    assert (box.category_id, box.is_thing, box.area) == (4, True, 200)
    assert (sky.category_id, sky.is_thing, sky.area) == (0, False, 40 * 60 - 200)
    assert predictions[0].panoptic_map.dtype == torch.int32
    assert int(predictions[0].panoptic_map[5, 7]) == box.id


def test_prediction_has_the_size_and_orientation_that_a_viewer_shows(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    draw_photo().save(tmp_path / "turned.png", exif=exif)
    prediction = predictor(tmp_path / "turned.png")
    assert prediction.panoptic_map.shape == (60, 40)
    assert int(prediction.panoptic_map[7, 39 - 5]) == prediction.segments[0].id


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (97, 64)])
def test_any_size_works_resized_or_not(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = build_model("axial_deeplab_nano", num_classes=len(SCENE_CATEGORIES))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for preprocess in ({}, {"longest_side": 48}):
        prediction, output = Predictor(model, make_config(**preprocess), "cpu").predict_with_heads(image)
        assert prediction.panoptic_map.shape == size
        assert sum(segment.area for segment in prediction.segments) == int((prediction.panoptic_map > 0).sum())
        expected = size if not preprocess else tuple(max(1, round(side * 48 / max(size))) for side in size)
        assert output.offset.shape == (1, 2, *expected)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(predictor: Predictor, image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"uint8 \[height, width, 3\]"):
        predictor(image)


def test_classifier_is_refused() -> None:
    config = CheckpointConfig("resnet50", SCENE_CATEGORIES, preprocess={}, task="classification")
    with pytest.raises(InputError, match="resnet50 does not segment images"):
        Predictor(nn.Identity(), config)


def test_loaded_checkpoint_predicts_as_the_model_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, config = build_model("axial_deeplab_nano", num_classes=len(SCENE_CATEGORIES)), make_config()
    save_checkpoint(tmp_path, model, config)
    image = make_scene(0, 64).image.permute(1, 2, 0)
    expected, loaded = Predictor(model, config, "cpu")(image), load(tmp_path, "cpu")
    assert loaded.categories == SCENE_CATEGORIES
    assert torch.equal(loaded(image).panoptic_map, expected.panoptic_map)


def test_folder_run_goes_on_past_a_bad_file(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    draw_photo().save(photos / "a.png")
    (photos / "b.jpg").write_bytes(b"no image")
    draw_photo(33, 50).save(photos / "c.png")
    summary = predict_files([str(photos)], predictor, tmp_path / "out")
    assert ([path.name for path in summary.done], [path.name for path in summary.failed]) == (
        ["a.png", "c.png"],
        ["b.jpg"],
    )
    assert "b.jpg cannot be read" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir()) == ["a.png", "c.png"]
    dataset = CocoPanopticDataset(
        tmp_path, "any", images=photos, annotations=tmp_path / "out" / "predictions.json"
    )  # the result is a valid set of its own
    assert torch.equal(dataset[1].panoptic_map, predictor(photos / "c.png").panoptic_map)
    assert dataset.categories == SCENE_CATEGORIES


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    out, photo = tmp_path / "out", str(tmp_path / "testing" / "images" / "a.png")
    write_vistas(tmp_path, {"a.png": draw_photo()})
    predictor = Predictor(RedIsBox(), replace(make_config(), categories=VISTAS), "cpu")
    predict_files([photo], predictor, out, write=["instances", "semantic"], submissions=["mapillary-panoptic"])
    written = {
        "instances.json",
        "semantic/a.png",
        "mapillary-panoptic/panoptic.json",
        "mapillary-panoptic/panoptic/a.png",
    }
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == written
    (found,) = read_instance_results(out / "instances.json", VISTAS)["a"]
    prediction = predictor(photo)
    (box,) = to_instances(prediction)
    assert found.segment._replace(id=box[0].id) == box[0]
    np.testing.assert_array_equal(decode_runs(parse_compressed_runs(found.runs), found.size), box[1].numpy())
    np.testing.assert_array_equal(np.asarray(Image.open(out / "semantic" / "a.png")), to_semantic(prediction) + 1)
    content = json.loads((out / "mapillary-panoptic" / "panoptic.json").read_text())
    assert [entry["image_id"] for entry in content["annotations"]] == ["a"]


def test_unknown_outputs_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    draw_photo().save(tmp_path / "a.png")
    for options in ({"write": ["instance"]}, {"submissions": ["kitti"]}):
        with pytest.raises(InputError, match="is not written: choose of overlays, panoptic, instances"):
            predict_files([str(tmp_path)], predictor, tmp_path / "out", **options)


@pytest.mark.parametrize(
    ("submission", "name", "message"),
    [
        ("cityscapes-panoptic", "a_0_1.png", "the classes are not those of Cityscapes"),
        ("cityscapes-instance", "a.png", "is not named CITY_SEQUENCE_FRAME"),
        ("cityscapes-semantic", "a_0_1_b.png", "are both image a_0_1"),
        ("coco-panoptic", "a.png", "is no image of COCO"),
        ("coco-instance", "000000000001.png", "COCO has no class 'sky' with the id 0"),
        ("mapillary-panoptic", "a.png", "does not lie where Mapillary Vistas has it"),
    ],
)
def test_what_no_server_would_take_is_refused_before_the_first_image(
    predictor: Predictor, tmp_path: Path, submission: str, name: str, message: str
) -> None:
    draw_photo().save(tmp_path / name)
    if "both" in message:
        draw_photo().save(tmp_path / "a_0_1_c.png")
    with pytest.raises(InputError, match=message):
        predict_files([str(tmp_path)], predictor, tmp_path / "out", write=[], submissions=[submission])
    assert not list((tmp_path / "out").rglob("*.png"))


def test_classes_that_mapillary_does_not_evaluate_are_refused(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_vistas(tmp_path, {"a.png": draw_photo()})
    save_checkpoint(tmp_path / "ckpt", build_model("axial_deeplab_nano", len(SCENE_CATEGORIES)), make_config())
    arguments = ["--checkpoint", str(tmp_path / "ckpt"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    images = str(tmp_path / "testing" / "images")
    assert main(["predict", images, *arguments, "--submission", "mapillary-panoptic"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"not those that {tmp_path / 'config_v2.0.json'} evaluates: they differ in 'sky' (0)" in line
    assert not list((tmp_path / "out").rglob("*.png"))


class RedIsCar(nn.Module):
    """Call red pixels a car with its center where green is 1, everything else void, class 0."""

    def forward(self, images: torch.Tensor) -> PanopticOutput:
        logits = images.new_zeros(len(images), 20, *images.shape[2:])
        logits[:, 14] = 20 * (images[:, 0] - 0.5)
        center = (images[:, 1] > 0.99).float()[:, None]
        return PanopticOutput(logits, center, images.new_zeros(len(images), 2, *images.shape[2:]))


def test_void_of_a_network_is_in_no_file(tmp_path: Path) -> None:
    street = load_catalog("cityscapes")
    void = Category(255, "void", False)
    config = replace(make_config(), categories=(void, *street), void_class=0)
    draw_photo().save(tmp_path / "a_0_1.png")
    servers = ["cityscapes-panoptic", "cityscapes-instance", "cityscapes-semantic"]
    out = tmp_path / "out"
    predict_files([str(tmp_path)], Predictor(RedIsCar(), config, "cpu"), out, submissions=servers, formats=["coco"])
    content = json.loads((out / "cityscapes-panoptic" / "panoptic.json").read_text())
    assert [entry["id"] for entry in content["categories"]] == [category.id for category in street]
    (segment,) = content["annotations"][0]["segments_info"]
    assert (segment["category_id"], segment["area"]) == (26, 200)
    assert " 26 " in (out / "cityscapes-instance" / "a_0_1_pred.txt").read_text()
    labels = np.asarray(Image.open(out / "cityscapes-semantic" / "a_0_1_pred.png"))
    assert np.bincount(labels.ravel()).nonzero()[0].tolist() == [0, 26]
    assert "void" not in {entry["name"] for entry in json.loads((out / "predictions.json").read_text())["categories"]}


def test_files_of_one_name_do_not_overwrite_each_other(predictor: Predictor, tmp_path: Path) -> None:
    for name, size in (("x/a.png", (40, 60)), ("y/a.png", (41, 50)), ("y/a.bmp", (42, 50))):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        draw_photo(*size).save(path)
    predict_files([str(tmp_path / "x"), str(tmp_path / "y")], predictor, tmp_path / "out")
    heights = {
        name: read_ids(tmp_path / "out" / "predictions" / f"{name}.png").shape[0] for name in ("a", "a_2", "a_3")
    }
    assert heights == {"a": 40, "a_2": 42, "a_3": 41}
    annotations = json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]
    assert [entry["image_id"] for entry in annotations] == ["a", "a_2", "a_3"]


def test_numbered_names_are_not_taken_twice() -> None:
    paths = [Path(name) for name in ("x/a_2.png", "x/a.png", "y/a.png", "y/a_2.png")]
    assert choose_names(paths) == ["a_2", "a", "a_3", "a_2_2"]


def test_killed_run_leaves_no_json(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png"):
        draw_photo().save(tmp_path / name)
    predict_files([str(tmp_path)], predictor, tmp_path / "out")
    monkeypatch.setattr(predictor.model, "forward", lambda images: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        predict_files([str(tmp_path)], predictor, tmp_path / "out")
    assert not (tmp_path / "out" / "predictions.json").exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
def test_unknown_devices_are_named(device: str) -> None:
    with pytest.raises(InputError, match=f"device {device} cannot be used"):
        Predictor(nn.Linear(1, 1), make_config(), device)


def test_image_too_large_for_the_gpu_is_left_out(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        draw_photo().save(tmp_path / f"{name}.png")
    calls = iter([torch.OutOfMemoryError("CUDA out of memory"), None])
    predict_one = Predictor.__call__

    def fail_once(self: Predictor, image: np.ndarray) -> object:
        if (error := next(calls)) is not None:
            raise error
        return predict_one(self, image)

    monkeypatch.setattr(Predictor, "__call__", fail_once)
    summary = predict_files([str(tmp_path)], predictor, tmp_path / "out")
    assert [path.name for path in summary.failed] == ["a.png"]
    assert [path.name for path in summary.done] == ["b.png"]
    assert "too large for the GPU's memory" in capsys.readouterr().err

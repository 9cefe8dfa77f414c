"""Checkpoint folders in transformers: the same weights, the same segments, and the way back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.checkpoints.load import CheckpointConfig, load_checkpoint, save_checkpoint, save_weights
from axial_deeplab.classify import ClassPredictor
from axial_deeplab.cli import main
from axial_deeplab.data.panoptic_png import read_ids
from axial_deeplab.errors import InputError
from axial_deeplab.loading import load
from axial_deeplab.models import build_model
from axial_deeplab.predict import Predictor
from axial_deeplab.records import PanopticPrediction
from axial_deeplab.serialization import to_plain
from tests.huggingface.loopback_hub import serve_hub
from tests.huggingface.networks import draw_picture, make_config, make_network, save

transformers = pytest.importorskip("transformers", minversion="5.17", reason="needs the extra 'hf'")

from transformers.models.auto.image_processing_auto import AutoImageProcessor  # noqa: E402

from axial_deeplab import huggingface  # noqa: E402

AUTO = ("AutoModelForUniversalSegmentation", "AutoModelForImageSegmentation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("nano") / "checkpoint", make_config())


def predict(folder: Path, image: Image.Image) -> PanopticPrediction:
    predictor = load(folder, "cpu")
    assert isinstance(predictor, Predictor)
    return predictor(image)


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["axial_deeplab_s", "deeplab2_described", "panoptic_deeplab_resnet50_projection"])
def test_round_trip_is_exact(name: str, tmp_path: Path) -> None:
    """Ours to transformers and back: every byte of every file, and so the predictions."""
    config = make_config(name)
    first = save(tmp_path / "first", config)
    model = transformers.AutoModelForUniversalSegmentation.from_pretrained(first)
    model.save_pretrained(tmp_path / "second")
    assert read_files(tmp_path / "second") == read_files(first)
    image = draw_picture(65, 81)
    before, after = Predictor(make_network(config), config, "cpu")(image), predict(tmp_path / "second", image)
    assert torch.equal(before.panoptic_map, after.panoptic_map)
    assert before.segments == after.segments
    assert {segment.is_thing for segment in before.segments} == {True, False}


@pytest.mark.parametrize("name", AUTO)
def test_auto_classes_open_the_folder(folder: Path, name: str) -> None:
    model = getattr(transformers, name).from_pretrained(folder)
    assert isinstance(model, huggingface.AxialDeepLabForUniversalSegmentation)
    assert not model.training
    network = load_checkpoint(folder)[0]
    images = torch.randn(2, 3, 33, 49)
    with torch.no_grad():
        expected, output = network(images), model(images)
    assert torch.equal(output.semantic_logits, expected.semantic_logits)
    assert torch.equal(output.center_heatmap, expected.center_heatmap)
    assert torch.equal(output.offset, expected.offset)


@pytest.mark.parametrize(
    ("name", "longest_side"),
    [
        ("axial_deeplab_nano", None),
        ("axial_deeplab_nano", 97),
        ("axial_deeplab_nano", 49),
        ("deeplab2_described", None),
    ],
)
def test_pipeline_gives_the_segments_of_predict(name: str, longest_side: int | None, tmp_path: Path) -> None:
    """Ids, classes, areas and masks are those in the files of `axial-deeplab predict`; also from a photo stored sideways."""
    folder = save(tmp_path / "checkpoint", make_config(name, longest_side=longest_side))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to look at it
    draw_picture().save(tmp_path / "photo.png", exif=exif)
    arguments = ["predict", str(tmp_path / "photo.png"), "--checkpoint", str(folder), "--device", "cpu"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "predictions.json").read_text())
    ids = read_ids(tmp_path / "out" / "predictions" / "photo.png")
    names = {category["id"]: category["name"] for category in result["categories"]}

    found = transformers.pipeline("image-segmentation", model=str(folder), device="cpu")(str(tmp_path / "photo.png"))
    expected = result["annotations"][0]["segments_info"]
    assert len(found) == len(expected) > 3
    for segment, mine in zip(found, expected, strict=True):
        mask = np.asarray(segment["mask"]) > 0
        assert np.array_equal(mask, np.asarray(ids) == mine["id"])
        assert (segment["label"], mask.sum()) == (names[mine["category_id"]], mine["area"])
    assert {segment.score for segment in predict(folder, Image.open(tmp_path / "photo.png")).segments} == {
        segment["score"] for segment in found
    }


def test_processor_gives_ids_and_the_other_tasks(folder: Path) -> None:
    processor = AutoImageProcessor.from_pretrained(folder)
    assert isinstance(processor, huggingface.AxialDeepLabImageProcessor)
    model = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder)
    image = draw_picture()
    with torch.no_grad():
        outputs = model(**processor(image))
    expected = predict(folder, image)
    (panoptic,) = processor.post_process_panoptic_segmentation(outputs, target_sizes=[(61, 83)])
    assert torch.equal(panoptic["segmentation"], expected.panoptic_map)
    rows = [(s["id"], s["label_id"], s["score"], s["area"], s["is_thing"]) for s in panoptic["segments_info"]]
    assert rows == [(s.id, s.category_id, s.score, s.area, s.is_thing) for s in expected.segments]

    (things,) = processor.post_process_instance_segmentation(outputs, target_sizes=[(61, 83)])
    assert [s["id"] for s in things["segments_info"]] == [s.id for s in expected.segments if s.is_thing]
    assert set(things["segmentation"].unique().tolist()) - {0} == {s["id"] for s in things["segments_info"]}

    (classes,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[(61, 83)])
    for segment in expected.segments:
        if not segment.is_thing:
            assert torch.equal(expected.panoptic_map == segment.id, classes == segment.category_id)


def test_thresholds_mean_something_or_are_refused(folder: Path) -> None:
    segment = transformers.pipeline("image-segmentation", model=str(folder), device="cpu")
    image = draw_picture()
    scores = [found["score"] for found in segment(image)]
    middle = sorted(scores)[len(scores) // 2]
    assert [found["score"] for found in segment(image, threshold=middle)] == [s for s in scores if s >= middle]
    assert len(segment(image, subtask="instance")) < len(scores)
    assert {found["label"] for found in segment(image, subtask="semantic")} <= set(
        segment.model.config.id2label.values()
    )
    with pytest.raises(InputError, match="have no meaning here"):
        segment(image, mask_threshold=0.3)


def test_batches_of_one_size_are_exact_and_of_several_are_padded(folder: Path) -> None:
    images = [draw_picture(seed=1), draw_picture(seed=2)]
    segment = transformers.pipeline("image-segmentation", model=str(folder), device="cpu")
    for batch, alone in zip(segment(images, batch_size=2), map(segment, images), strict=True):
        assert [found["label"] for found in batch] == [found["label"] for found in alone]
        assert all(np.array_equal(a["mask"], b["mask"]) for a, b in zip(batch, alone, strict=True))
    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = processor([draw_picture(20, 60), draw_picture(40, 30)]).pixel_values
    assert pixels.shape == (2, 3, 49, 65)
    assert pixels[0, :, 33:].abs().sum() == 0
    outputs = huggingface.AxialDeepLabOutput(
        torch.zeros(2, 6, 49, 65), torch.zeros(2, 1, 49, 65), torch.zeros(2, 2, 49, 65)
    )
    found = processor.post_process_semantic_segmentation(outputs, target_sizes=[(20, 60), (40, 30)])
    assert [tuple(classes.shape) for classes in found] == [(20, 60), (40, 30)]


def test_processor_and_config_save_what_they_read(folder: Path, tmp_path: Path) -> None:
    AutoImageProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    transformers.AutoConfig.from_pretrained(folder).save_pretrained(tmp_path)
    for name in ("preprocessor_config.json", "config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((folder / name).read_text())


def test_changed_labels_become_names_of_classes(folder: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder)
    model.config.id2label[0] = "heaven"
    model.save_pretrained(tmp_path / "new")
    assert load_checkpoint(tmp_path / "new")[1].categories[0].name == "heaven"
    with pytest.raises(InputError, match="has 6 classes"):
        transformers.AutoModelForUniversalSegmentation.from_pretrained(folder, num_labels=4)


def test_saving_takes_other_weights_and_one_process(folder: Path, tmp_path: Path) -> None:
    network, config = load_checkpoint(folder)
    model = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder)
    halved = {name: value / 2 for name, value in model.state_dict().items()}
    model.save_pretrained(tmp_path / "half", state_dict=halved)
    model.save_pretrained(tmp_path / "none", is_main_process=False)
    loaded, same = load_checkpoint(tmp_path / "half")
    assert same == config
    assert torch.equal(loaded.state_dict()["center_head.predict.weight"], network.center_head.predict.weight / 2)
    assert not (tmp_path / "none").exists()


def test_weights_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    model, info = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    weights = model.network.state_dict()
    name, value = weights.popitem()
    for changed, message in (
        (weights, "1 missing_keys"),
        (weights | {name: value, "extra": value.clone()}, "1 unexpected_keys"),
    ):
        save_weights(tmp_path / "new", changed, make_config())
        with pytest.raises(InputError, match=message):
            transformers.AutoModelForUniversalSegmentation.from_pretrained(tmp_path / "new")


def test_random_parts_do_not_predict(tmp_path: Path) -> None:
    config = replace(make_config(), untrained=("semantic_head",))
    folder = save(tmp_path / "checkpoint", config)
    model = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder)
    with pytest.raises(InputError, match="random weights in semantic_head"):
        model(torch.zeros(1, 3, 33, 33))
    assert model.train()(torch.zeros(2, 3, 33, 33)).offset.shape == (2, 2, 33, 33)


def test_push_uploads_exactly_the_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder)
    with serve_hub(monkeypatch, str(tmp_path / "cache")) as hub:
        assert model.push_to_hub("user/network", token="hf_none").startswith(f"{hub.address}/user/network/commit/")
        assert hub.files == read_files(folder)
        assert "POST /api/repos/create" in hub.requests
        assert predict_from_hub(draw_picture()) == predict(folder, draw_picture()).segments


def predict_from_hub(image: Image.Image) -> object:
    predictor = load("hf://user/network", "cpu")
    assert isinstance(predictor, Predictor)
    return predictor(image).segments


def test_classifier(tmp_path: Path) -> None:
    categories = make_config().categories
    preprocess = {"resize": 36, "crop": 33, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    config = CheckpointConfig("axial_resnet_nano", categories, preprocess, task="classification")
    torch.manual_seed(0)
    first, second = tmp_path / "first", tmp_path / "second"
    save_checkpoint(first, build_model("axial_resnet_nano", num_classes=6), config)
    model = transformers.AutoModelForImageClassification.from_pretrained(first)
    model.save_pretrained(second)
    assert read_files(first) == read_files(second)
    draw_picture().save(tmp_path / "photo.png")
    predictor = load(second, "cpu")
    assert isinstance(predictor, ClassPredictor)
    expected = predictor(tmp_path / "photo.png").list_best(5)
    classify = transformers.pipeline("image-classification", model=str(first), device="cpu")
    found = classify(str(tmp_path / "photo.png"))
    assert [(row["label"], pytest.approx(row["score"])) for row in found] == expected
    loss = model(torch.zeros(2, 3, 33, 33), labels=torch.tensor([0, 1])).loss
    assert loss.requires_grad
    with pytest.raises(InputError, match="is for the task panoptic, not classification"):
        huggingface.AxialDeepLabConfig(**to_plain(config))

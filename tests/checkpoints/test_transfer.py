"""Weights go from one network to another: whole encoders, classes by name, positions by distance; the report says so."""

from pathlib import Path

import pytest
import torch
from torch import nn

from axial_deeplab.checkpoints import transfer
from axial_deeplab.checkpoints.load import CheckpointConfig, save_checkpoint
from axial_deeplab.checkpoints.position_rows import find_crop, fit_rows, measure_distances
from axial_deeplab.checkpoints.sources import Source, read_source
from axial_deeplab.checkpoints.transfer import Colors, match_classes, transfer_weights
from axial_deeplab.checkpoints.transfer_report import TransferReport
from axial_deeplab.errors import InputError
from axial_deeplab.layers import AxialAttention
from axial_deeplab.models import build_model
from axial_deeplab.models.axial_resnet import AxialBlock
from axial_deeplab.models.classifier import Classifier
from axial_deeplab.models.encoder import Encoder, build_conv_stem
from axial_deeplab.serialization import to_plain
from tests.checkpoints.checkpoint_files import make_categories, make_resnet_weights, save_network

NANO = "axial_deeplab_nano"


def start(model: nn.Module, path: str | Path, *classes: str, crop: tuple[int, int] | None = None) -> TransferReport:
    return transfer_weights(model, read_source(path), make_categories(*classes), crop=crop)


def build_axial(max_distance: int) -> nn.Module:
    layer = AxialAttention(16, "height", key_dim=2, value_dim=4, num_heads=4, max_distance=max_distance)
    encoder = Encoder(build_conv_stem(16, max_pool=False), [nn.Sequential(layer)], strides=[2], channels=[16])
    return Classifier(encoder, 2)


def test_segmenter_starts_from_a_classifier_of_the_same_encoder(tmp_path: Path) -> None:
    path = save_network(tmp_path / "a", "resnet50", "rose", "tulip")
    model = build_model("panoptic_deeplab_resnet50_projection", 3)
    report = start(model, path, "rose", "sky", "road")
    source = read_source(path)
    for name, value in model.state_dict().items():
        assert not name.startswith("encoder.") or torch.equal(value, source.weights[name]), name
    assert report.encoder_share == 1
    assert 0 < report.share < 1
    assert report.unused == ["fc.weight", "fc.bias"]
    assert set(report.at_random.values()) == {transfer.ABSENT}
    assert {name.split(".")[0] for name in report.at_random} == {
        "semantic_decoder",
        "instance_decoder",
        "semantic_head",
        "center_head",
        "offset_head",
    }
    text = report.describe()
    assert "(100.0% of the encoder's)" in text
    assert "unused tensors of the checkpoint: fc (2)" in text
    assert "norms add 0.001 to the variance, in the checkpoint's network 1e-05" in text
    assert "max-pool in the stem: no, in the checkpoint's network yes" in text


def test_classifier_starts_from_a_segmenter(tmp_path: Path) -> None:
    path = save_network(tmp_path / "a", NANO, "sky", "road")
    segmenter = read_source(path)
    classifier = Classifier(build_model(NANO, 2).encoder, 2)
    report = start(classifier, path, "sky", "road")
    assert report.encoder_share == 1
    assert list(report.at_random) == ["fc.weight", "fc.bias"]
    weights = classifier.state_dict()
    assert all(torch.equal(weights[name], segmenter.weights[name]) for name in weights if name.startswith("encoder."))


def test_outputs_of_classes_with_the_same_name_are_taken_over(tmp_path: Path) -> None:
    path = save_network(tmp_path / "a", NANO, "sky", "road", "tree")
    given = read_source(path).weights["semantic_head.predict.weight"]
    model = build_model(NANO, 4)
    own = model.semantic_head.predict.weight.detach().clone()
    report = start(model, path, "tree", "cell", "sky", "car")
    weight = model.semantic_head.predict.weight
    assert torch.equal(weight[[0, 2]], given[[2, 0]])
    assert torch.equal(weight[[1, 3]], own[[1, 3]])
    assert (report.kept_classes, report.new_classes) == (["tree", "sky"], ["cell", "car"])
    assert "classes taken over by name: tree, sky; new: cell, car" in report.describe()
    assert report.share < 1


def test_head_of_as_many_other_classes_is_not_taken_for_the_same(tmp_path: Path) -> None:
    path = save_network(tmp_path / "a", NANO, "sky", "road")
    model = build_model(NANO, 2)
    own = model.semantic_head.predict.weight.detach().clone()
    report = start(model, path, "cell", "nucleus")
    assert torch.equal(model.semantic_head.predict.weight, own)
    assert report.at_random == dict.fromkeys(
        ("semantic_head.predict.weight", "semantic_head.predict.bias"), "other classes"
    )


def test_classes_match_by_unique_names() -> None:
    assert match_classes(make_categories("a", "a"), make_categories("a", "a")) == {0: 0, 1: 1}
    assert match_classes(make_categories("a", "b", "c"), make_categories("a", "c", "c", "b")) == {0: 0, 1: 3}


def test_plain_resnet_starts_both_kinds(tmp_path: Path) -> None:
    weights = make_resnet_weights(num_classes=4)
    torch.save(weights, tmp_path / "resnet50.pth")
    classifier = build_model("resnet50", 4)
    report = start(classifier, tmp_path / "resnet50.pth", "a", "b", "c", "d")
    assert (report.loaded, report.at_random, report.unused) == (report.tensors, {}, [])
    assert torch.equal(classifier.encoder.stages[2][5].conv.norm.running_var, weights["layer3.5.bn2.running_var"])
    other = start(build_model("resnet50", 3), tmp_path / "resnet50.pth", "a", "b", "c")
    assert other.at_random == dict.fromkeys(("fc.weight", "fc.bias"), "other shape")


def test_norm_stays_with_its_convolution() -> None:
    convolution = build_model("resnet50", 2)
    source = Source("a", convolution.encoder, dict(convolution.state_dict()), None)
    source.weights["encoder.stages.0.0.conv.conv.weight"] = torch.zeros(64, 64, 5, 5)
    report = transfer_weights(build_model("resnet50", 2), source, make_categories("a", "b"))
    place = "encoder.stages.0.0.conv"
    assert report.at_random == {f"{place}.conv.weight": "other shape"} | {
        f"{place}.norm.{name}": transfer.NEW_WEIGHT for name in ("weight", "bias", "running_mean", "running_var")
    }


def test_rest_of_a_layer_stays_with_its_weight() -> None:
    given = build_axial(4)
    source = Source("a", given.encoder, dict(given.state_dict()), None)
    source.weights["encoder.stages.0.0.qkv.weight"] = torch.zeros(1)
    source.weights["fc.weight"] = torch.zeros(2, 5)
    report = transfer_weights(build_axial(4), source, make_categories("a", "b"))
    layer = {name for name in given.state_dict() if name.startswith(("encoder.stages.0.0.", "fc."))}
    assert set(report.at_random) == layer
    assert report.at_random["fc.bias"] == report.at_random["encoder.stages.0.0.query_table"] == transfer.NEW_WEIGHT
    assert report.tables == []


@pytest.mark.parametrize("distance", [3, 20])
def test_layer_with_tables_of_another_length_computes_the_same(distance: int) -> None:
    torch.manual_seed(0)
    source, target = (
        AxialAttention(8, "width", key_dim=2, value_dim=4, num_heads=2, max_distance=reach).eval()
        for reach in (9, distance)
    )
    weights = source.state_dict()
    for name in ("query_table", "key_table", "value_table"):
        weights[name] = fit_rows(weights[name], 2 * distance + 1)
        assert torch.equal(weights[name][distance], source.state_dict()[name][9])  # distance 0
    target.load_state_dict(weights)
    short, long = torch.randn(1, 8, 2, 4), torch.randn(1, 8, 2, 17)
    for x in (short, long) if distance > 9 else (short,):  # a shorter table gives up distances
        assert torch.equal(target(x), source(x))


def test_tables_are_copied_by_distance_and_repeated_rows_named() -> None:
    given, model = build_axial(2), build_axial(4)
    source = Source("a", given.encoder, dict(given.state_dict()), None)
    report = transfer_weights(model, source, make_categories("a", "b"), crop=(9, 33))
    name = "encoder.stages.0.0.query_table"
    table, before = model.state_dict()[name], given.state_dict()[name]
    assert torch.equal(table[2:7], before)
    assert torch.equal(table[:2], before[:1].expand(2, -1))
    assert report.tables == [("stages.0.0", 9, 5, None, 4)]
    assert "not known, the checkpoint records no crop size" in report.describe()


@pytest.mark.parametrize("size", [{"crop_size": [65, 33]}, {"crop": [65, 33]}])
def test_rows_that_training_reached_follow_from_the_recorded_crop(tmp_path: Path, size: dict) -> None:
    path = save_network(tmp_path / "a", NANO, "sky", "road", recipe={"augment": size})
    report = start(build_model(NANO, 2), path, "sky", "road", crop=(129, 129))
    rows = {table.layer: table for table in report.tables}
    # At stride 4 the crop has 17 x 9 positions; the new one 33 x 33, of which span 65 sees distances up to 32.
    assert rows["stages.0.0.height_attention"][1:] == (509, 509, 16, 32)
    assert rows["stages.0.0.width_attention"][1:] == (509, 509, 8, 32)
    assert rows["stages.3.0.height_attention"][1:] == (509, 509, 4, 8)
    assert (
        "(1 layers): 33 of 509 rows trained (distances up to 16); this recipe uses distances up to 32, 32 rows not trained yet"
        in report.describe()
    )
    assert not report.continues


def test_untouched_rows_have_no_gradient_and_touched_ones_have() -> None:
    torch.manual_seed(0)
    model = build_model(NANO, 2).encoder
    distances = measure_distances(model, (65, 49))
    for block in model.modules():
        if isinstance(block, AxialBlock):
            nn.init.ones_(block.up.norm.weight)  # a new block passes on nothing
    sum(feature.square().mean() for feature in model(torch.randn(2, 3, 65, 49)).values()).backward()
    for name, layer in model.named_modules():
        if isinstance(layer, AxialAttention):
            touched = layer.query_table.grad.abs().sum(1).nonzero()[:, 0]
            middle = layer.query_table.shape[0] // 2
            assert (int(touched.min()), int(touched.max())) == (middle - distances[name], middle + distances[name])


def test_crop_is_found_in_recipes_of_both_tasks_or_not_known() -> None:
    assert find_crop({"augment": {"crop": 224}}) == (224, 224)
    assert find_crop({"augment": {"crop_size": (513, 1025)}}) == (513, 1025)
    for recipe in ({}, {"augment": None}, {"augment": {"crop_size": "large"}}, {"augment": {"crop_size": [1]}}):
        assert find_crop(recipe) is None


def test_checkpoint_that_was_started_from_another_may_have_trained_more(tmp_path: Path) -> None:
    recipe = {"augment": {"crop_size": [33, 33]}, "model": {"init": "elsewhere"}}
    path = save_network(tmp_path / "a", NANO, "sky", "road", recipe=recipe)
    text = start(build_model(NANO, 2), path, "sky", "road").describe()
    assert "at least 17 of 509 rows trained" in text


def test_nothing_that_fits_is_an_error(tmp_path: Path) -> None:
    path = save_network(tmp_path / "a", "resnet50", "rose", "tulip")
    with pytest.raises(InputError, match="has no weights that fit") as error:
        start(build_model("axial_deeplab_s", 2), path, "a", "b")
    assert "\n" not in str(error.value)


def test_other_colors_are_named(tmp_path: Path) -> None:
    half, given = Colors((0.5,) * 3, (0.5,) * 3), Colors((0.1, 0.2, 0.3), (0.25,) * 3)
    network = build_model(NANO, 2)
    config = CheckpointConfig(NANO, make_categories("sky", "road"), preprocess=given._asdict())
    save_checkpoint(tmp_path, network, config)  # JSON keeps lists
    source, classes = read_source(tmp_path), make_categories("sky", "road")
    (note,) = transfer_weights(network, source, classes, colors=half).notes
    assert "--preprocess.mean '[0.1, 0.2, 0.3]' --preprocess.std '[0.25, 0.25, 0.25]'" in note
    for same in (given, None):
        assert transfer_weights(network, source, classes, colors=same).notes == []


def test_report_is_plain_json(tmp_path: Path) -> None:
    path = save_network(tmp_path / "a", NANO, "sky", "road")
    values = to_plain(start(build_model(NANO, 3), path, "sky", "road", "cell"))
    assert values["loaded"] == values["tensors"]
    assert values["tables"][0]["layer"] == "stages.0.0.height_attention"

"""Every network by name: counts against published and measured figures, shapes at odd sizes."""

import pytest
import torch

from axial_deeplab.layers.folding import fold_norms
from axial_deeplab.models import (
    CLASSIFIERS,
    MODELS,
    PUBLISHED,
    SEGMENTERS,
    axial_resnet50_s,
    build_model,
    count_multiply_adds,
    count_parameters,
    get_default_size,
)
from axial_deeplab.records import PanopticOutput

EXACT_PARAMETERS = {
    "authors_axial26s": 5_944_936,
    "authors_axial50s": 11_586_216,
    "authors_axial50m": 25_179_400,
    "authors_axial50l": 43_973_480,
    "deeplab2_axial_deeplab_s": 12_455_910,
    "deeplab2_axial_deeplab_l": 45_286_982,
    "deeplab2_max_deeplab_s_backbone": 42_788_486,
    "deeplab2_max_deeplab_l_backbone": 137_844_454,  # without 38,716,000 of a stacked decoder that no output reads
    "deeplab2_axial_swidernet_1_1_1": 137_844_454,
    "deeplab2_axial_swidernet_1_1_3": 395_380_582,
    "deeplab2_axial_swidernet_1_1_4.5": 571_791_974,
    "panoptic_deeplab_resnet50": 54_973_702,
    "panoptic_deeplab_resnet50_projection": 24_953_094,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
}

MULTIPLY_ADDS_1025X2049 = {
    "axial_deeplab_s": 220.8,
    "axial_deeplab_m": 419.6,
    "axial_deeplab_l": 687.4,
    "axial_deeplab_xl": 2446.8,
}

LOCAL = ("sasa_resnet50", "position_sensitive_resnet50")


@pytest.mark.parametrize("name", EXACT_PARAMETERS)
def test_parameters_are_exactly_the_reference_s(name: str) -> None:
    with torch.device("meta"):
        assert count_parameters(build_model(name)) == EXACT_PARAMETERS[name]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith(("axial_", "authors_"))] + [*LOCAL])
def test_cost_is_close_to_the_paper_s(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    published, size = PUBLISHED[name], get_default_size(name)
    assert count_parameters(model) / 1e6 == pytest.approx(published["params_m"], rel=0.025)
    if "multiply_adds_g" in published:
        tolerance = 0.08 if name in CLASSIFIERS and name not in LOCAL else 0.04
        assert count_multiply_adds(model, size, size) / 1e9 == pytest.approx(
            published["multiply_adds_g"], rel=tolerance
        )
    if name in MULTIPLY_ADDS_1025X2049:
        ours = count_multiply_adds(model, 1025, 2049) / 1e9
        assert ours == pytest.approx(MULTIPLY_ADDS_1025X2049[name], rel=0.04)


def test_multiply_adds_of_one_layer_follow_the_convention() -> None:
    from axial_deeplab.layers import AxialAttention

    positions, channels, key, value = 12 * 20, 24, 8 * 2, 8 * 3
    layer = AxialAttention(channels, "width", key_dim=2, value_dim=3, span=5)
    wrapped = torch.nn.Sequential(torch.nn.Conv2d(3, channels, 1), layer)
    convolution = positions * 3 * channels
    expected = positions * (channels * (2 * key + value) + 5 * (3 * key + 2 * value))
    assert count_multiply_adds(wrapped, 12, 20) == convolution + expected


def test_multiply_adds_of_a_window_follow_the_convention() -> None:
    from axial_deeplab.layers.local_attention import LocalAttention

    positions, channels, key, value = 12 * 20, 24, 8 * 2, 8 * 4
    layer = LocalAttention(channels, key_dim=2, value_dim=4, window=5, value_rpe=True)
    wrapped = torch.nn.Sequential(torch.nn.Conv2d(3, channels, 1), layer)
    expected = positions * (3 * channels + channels * (2 * key + value) + 25 * (2 * key + 2 * value))
    assert count_multiply_adds(wrapped, 12, 20) == expected


@pytest.mark.parametrize("size", [(33, 49), (40, 37), (1, 1)])
@pytest.mark.parametrize(
    "name",
    [
        "axial_deeplab_nano",
        "deeplab2_axial_deeplab_s",
        "panoptic_deeplab_resnet50",
        "resnet50_deeplab",
        "position_sensitive_deeplab_aspp",
    ],
)
def test_outputs_have_the_size_of_the_input(name: str, size: tuple[int, int]) -> None:
    model = build_model(name, num_classes=5).eval()
    with torch.no_grad():
        output = model(torch.randn(1, 3, *size))
    assert output.semantic_logits.shape == (1, 5, *size)
    assert output.center_heatmap.shape == (1, 1, *size)
    assert output.offset.shape == (1, 2, *size)


@pytest.mark.parametrize("name", ["axial_resnet26_s", "authors_axial26s", "axial_resnet50_s_full", "resnet50", *LOCAL])
def test_classifiers_take_any_size(name: str) -> None:
    model = build_model(name, num_classes=4).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, 65, 50)).shape == (2, 4)


def test_features_come_keyed_by_output_stride() -> None:
    encoder = axial_resnet50_s(features_only=True).eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 3, 64, 96))
    assert {stride: tuple(x.shape) for stride, x in features.items()} == {
        4: (1, 128, 16, 24),
        8: (1, 256, 8, 12),
        16: (1, 512, 4, 6),
        32: (1, 1024, 2, 3),
    }


@pytest.mark.parametrize("name", LOCAL)
def test_networks_with_windows_fold_their_norms(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=4)
    images = torch.randn(2, 3, 65, 50)
    model(images)
    model.eval()
    with torch.no_grad():
        before = model(images)
        fold_norms(model)
        torch.testing.assert_close(model(images), before, rtol=1e-3, atol=1e-4)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean axial_deeplab_s"):
        build_model("axial_deeplab_z")


def test_every_model_is_listed_once() -> None:
    assert list(MODELS) == [*CLASSIFIERS, *SEGMENTERS]
    assert set(PUBLISHED) <= set(MODELS)


def test_outputs_are_resized_in_float32() -> None:
    """Two equal neighbors in bfloat16 around a peak would tie over all pixels between them."""
    heatmap = torch.tensor([0.0, 0.9957, 0.9961, 0.0]).expand(1, 1, 4, 4).bfloat16()
    output = PanopticOutput(torch.zeros(1, 2, 4, 4).bfloat16(), heatmap, torch.ones(1, 2, 4, 4).bfloat16())
    for head in output.resize(13, 13):
        assert head.dtype == torch.float32
    assert all(head.dtype == torch.float32 for head in output.resize(4, 4))

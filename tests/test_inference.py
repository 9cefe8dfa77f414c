"""Scales, mirror images and tiles: averages against plain loops, tiles against the whole image."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axial_deeplab.errors import InputError
from axial_deeplab.inference import InferenceConfig, infer, place_tiles, run_tiles, weigh_tiles
from axial_deeplab.models.axial_deeplab import PanopticDeepLab
from axial_deeplab.models.axial_resnet import AttentionConfig, build_axial_resnet
from axial_deeplab.models.segmenters import NANO
from axial_deeplab.panoptic.postprocess import postprocess
from axial_deeplab.records import PanopticOutput
from tests.oracles.inference import infer_slowly


class SmallConvolutions(nn.Module):
    """Heads at stride 4 from two 3x3 convolutions, resized as every network here does: sees 7 pixels far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, 2, 1)).double()

    @torch.no_grad()
    def forward(self, images: Tensor) -> PanopticOutput:
        return self.compute_heads(images).resize(*images.shape[2:])

    def compute_heads(self, images: Tensor) -> PanopticOutput:
        logits, heatmap, offset = self.layers(images).split((3, 1, 2), 1)
        return PanopticOutput(3 * logits, heatmap, offset)


def draw_images(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


@pytest.mark.parametrize(("scales", "flip"), [((0.5, 1.0, 1.7), False), ((1.0,), True), ((0.7, 1.3), True)])
def test_averages_equal_plain_loops(scales: tuple[float, ...], flip: bool) -> None:
    network, images = SmallConvolutions(), draw_images(1, 3, 14, 11)

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits, heatmap, offset = network(torch.from_numpy(image.copy())[None])
        return logits[0].numpy(), heatmap[0, 0].numpy(), offset[0].numpy()

    probs, heatmap, offset = infer_slowly(run, images[0].numpy(), scales, flip=flip)
    output = infer(network, images, InferenceConfig(scales, flip))
    torch.testing.assert_close(output.semantic_logits.softmax(1)[0], torch.from_numpy(probs))
    torch.testing.assert_close(output.center_heatmap[0, 0], torch.from_numpy(heatmap))
    torch.testing.assert_close(output.offset[0], torch.from_numpy(offset))


def test_plain_inference_is_the_network_itself() -> None:
    network, images = SmallConvolutions(), draw_images(2, 3, 14, 11)
    for ours, expected in zip(infer(network, images), network(images), strict=True):
        assert torch.equal(ours, expected)


def test_mirrored_images_give_mirrored_answers() -> None:
    network, images = SmallConvolutions(), draw_images(1, 3, 33, 18)
    config = InferenceConfig((0.5, 1.0), flip=True)
    output, mirrored = infer(network, images, config), infer(network, images.flip(3), config)
    torch.testing.assert_close(mirrored.semantic_logits, output.semantic_logits.flip(3))
    torch.testing.assert_close(mirrored.center_heatmap, output.center_heatmap.flip(3))
    torch.testing.assert_close(mirrored.offset, output.offset.flip(3) * torch.tensor([1.0, -1.0])[:, None, None])


def test_offsets_from_other_scales_point_to_the_same_place() -> None:
    def point_to_a_third(images: Tensor) -> PanopticOutput:
        height, width = images.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        offset = torch.stack(((height - 1) / 3 - y, (width - 1) / 3 - x))[None]
        return PanopticOutput(images.new_zeros(1, 2, height, width), images.new_zeros(1, 1, height, width), offset)

    images = torch.zeros(1, 3, 33, 65)
    expected = point_to_a_third(images).offset
    for scale in (0.25, 0.5, 2.0, 3.0):
        torch.testing.assert_close(infer(point_to_a_third, images, InferenceConfig((scale,))).offset, expected)


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.75, 1.25])
def test_resizing_twice_is_deeplab2s_resizing_from_the_heads(scale: float) -> None:
    """Linear pieces between heads end on pixels of the scaled image, if its sides are 4 k + 1: nothing is lost there."""
    network, images = SmallConvolutions(), draw_images(1, 3, 97, 161)
    size = [round((side - 1) * scale) + 1 for side in (97, 161)]
    scaled = F.interpolate(images, size, mode="bilinear", align_corners=True)
    expected = network.compute_heads(scaled).resize(97, 161)
    for ours, theirs in zip(infer(network, images, InferenceConfig((scale,))), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_impossible_probabilities_stay_finite() -> None:
    def be_certain(images: Tensor) -> PanopticOutput:
        logits = torch.stack((images[:, 0], images[:, 0] - 1e4), 1)
        return PanopticOutput(logits, images[:, :1], images[:, :2])

    output = infer(be_certain, torch.zeros(1, 3, 5, 5), InferenceConfig(flip=True))
    assert output.semantic_logits.isfinite().all()
    assert torch.equal(output.resize(9, 9).semantic_logits.argmax(1), torch.zeros(1, 9, 9, dtype=torch.int64))


@pytest.mark.parametrize(("height", "width", "tile"), [(145, 97, 65), (97, 49, 70), (49, 209, 81), (33, 33, 65)])
def test_tiles_equal_the_whole_where_the_network_sees_a_quarter_of_the_overlap(
    height: int, width: int, tile: int
) -> None:
    network, images = SmallConvolutions(), draw_images(1, 3, height, width)
    sizes = set()

    def run(part: Tensor) -> PanopticOutput:
        sizes.add(part.shape[2:])
        return network(part)

    for ours, expected in zip(run_tiles(run, images, tile, 32), network(images), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)
    side = -(-(tile - 1) // 16) * 16 + 1
    assert sizes == {(min(height, side), min(width, side))}


def test_a_network_that_sees_farther_is_smooth_across_cuts() -> None:
    """Each tile says its own constant: where they meet, no step is larger than the ramp's."""
    calls = iter(range(100))

    def say_number(part: Tensor) -> PanopticOutput:
        value = torch.full((1, 1, *part.shape[2:]), float(next(calls)))
        return PanopticOutput(value, value, value.expand(-1, 2, -1, -1))

    row = run_tiles(say_number, torch.zeros(1, 3, 17, 161), 65, 32).center_heatmap[0, 0]
    assert (float(row.min()), float(row.max())) == (0.0, float(next(calls) - 1))
    assert float((row[:, 1:] - row[:, :-1]).abs().max()) <= 1 / 16 + 1e-6


@pytest.mark.parametrize("length", [1, 16, 17, 65, 66, 100, 300])
@pytest.mark.parametrize(("side", "overlap"), [(17, 0), (17, 1), (65, 16), (65, 32), (65, 49)])
def test_tiles_cover_and_weights_add_up(length: int, side: int, overlap: int) -> None:
    spans = place_tiles(length, side, overlap)
    weights = weigh_tiles(spans, overlap)
    assert (spans[0].start, spans[-1].stop) == (0, length)
    assert all(span.start % 16 == 0 for span in spans)
    assert all(span.stop - span.start == side for span in spans[:-1])
    assert all(first.stop - second.start >= overlap for first, second in pairwise(spans))
    torch.testing.assert_close(weights.sum(0), torch.ones(length))
    for span, row in zip(spans, weights, strict=True):
        assert not row[: span.start].any()
        assert not row[span.stop :].any()
        if span.start > 0:
            assert not row[span.start : span.start + overlap // 4].any()


def draw_objects(height: int, width: int) -> Tensor:
    """Paint a bar across all columns, a pole across all rows and a small disk: class and center, offset y, offset x."""
    image = torch.zeros(3, height, width)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    masks = [(y - 20).abs() < 6, ((x - width // 2).abs() < 5) & (y > 40), (y - 70) ** 2 + (x - 20) ** 2 < 64]
    for mask, (row, column) in zip(masks, [(20, width // 2), (height // 2, width // 2), (70, 20)], strict=True):
        image[0, mask] = 1
        image[1, mask], image[2, mask] = (row - y[mask]).float(), (column - x[mask]).float()
        image[0, row, column] = 2
    return image[None]


def test_objects_that_cross_tiles_come_out_whole() -> None:
    def read(images: Tensor) -> PanopticOutput:
        logits = torch.stack((images[:, 0] < 0.5, images[:, 0] > 0.5), 1).float()
        return PanopticOutput(logits, (images[:, :1] > 1.5).float(), images[:, 1:])

    images = draw_objects(161, 241)
    (whole,) = postprocess(read(images), [False, True])
    (tiled,) = postprocess(infer(read, images, InferenceConfig(tile=49, overlap=16)), [False, True])
    assert [segment.is_thing for segment in whole.segments] == [True, True, True, False]
    assert torch.equal(tiled.panoptic_map, whole.panoptic_map)
    assert [(s.id, s.area) for s in tiled.segments] == [(s.id, s.area) for s in whole.segments]


def test_tiles_scales_and_mirror_images_together() -> None:
    network, images = SmallConvolutions(), draw_images(1, 3, 145, 97)
    config = InferenceConfig((1.0, 2.0), flip=True)
    tiled = infer(network, images, replace(config, tile=65, overlap=32))
    for ours, expected in zip(tiled, infer(network, images, config), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 1300), (1300, 1), (35, 50)])
@pytest.mark.parametrize("config", [InferenceConfig(), InferenceConfig((0.5, 1.3), True, tile=257)])
def test_any_size_with_global_attention_beyond_its_tables(size: tuple[int, int], config: InferenceConfig) -> None:
    """At stride 4, 1300 pixels are 325 positions; tables hold distances up to 254."""
    torch.manual_seed(0)
    attention = AttentionConfig(span=None, num_heads=4)
    network = PanopticDeepLab(build_axial_resnet(replace(NANO, attention=attention)), 3).eval()
    with torch.inference_mode():
        output = infer(network, torch.rand(1, 3, *size), config)
    assert output.offset.shape == (1, 2, *size)
    assert all(head.isfinite().all() for head in output)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scales": ()}, "at least one"),
        ({"scales": (1.0, 0.0)}, "positive"),
        ({"scales": (float("nan"),)}, "positive"),
        ({"overlap": 4}, "needs a tile"),
        ({"tile": 0}, "tile must be at least 1"),
        ({"tile": 64, "overlap": 64}, "overlap in 0"),
        ({"tile": 64, "overlap": -1}, "overlap in 0"),
    ],
)
def test_values_without_a_meaning_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        InferenceConfig(**fields)  # type: ignore[arg-type]


def test_tiles_that_cannot_advance_are_refused() -> None:
    with pytest.raises(InputError, match="overlap less"):
        infer(SmallConvolutions(), draw_images(1, 3, 97, 97), InferenceConfig(tile=65, overlap=60))

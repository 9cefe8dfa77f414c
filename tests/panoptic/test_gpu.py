"""The same results on a CUDA device."""

import pytest
import torch

from axial_deeplab.panoptic.labels import split_panoptic_map, to_semantic
from axial_deeplab.panoptic.losses import panoptic_loss
from axial_deeplab.panoptic.postprocess import PostprocessConfig, postprocess
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.records import PanopticOutput, PanopticTargets
from tests.panoptic.label_maps import IS_THING, VOID_CLASS, make_label_map

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def make_targets(device: str) -> PanopticTargets:
    """Return the targets of four label maps, computed on the device."""
    maps = [
        split_panoptic_map(panoptic_map.to(device), segments)
        for panoptic_map, segments in map(make_label_map, range(4))
    ]
    return encode_targets(*(torch.stack(part) for part in zip(*maps, strict=True)), sigma=4.0)


def make_noisy_output(device: str) -> PanopticOutput:
    """Return the same random heads on any device."""
    generator = torch.Generator().manual_seed(1)
    heads = (
        torch.randn(4, len(IS_THING), 97, 129, generator=generator) * 2,
        torch.rand(4, 1, 97, 129, generator=generator),
        torch.randn(4, 2, 97, 129, generator=generator) * 9,
    )
    return PanopticOutput(*(head.to(device) for head in heads))


def test_targets_are_equal() -> None:
    expected = make_targets("cpu")
    for name, value in make_targets("cuda")._asdict().items():
        assert value.device.type == "cuda"
        assert torch.equal(value.cpu(), getattr(expected, name)), name


@pytest.mark.parametrize("top_k", [0.2, 1.0])
def test_losses_are_equal(top_k: float) -> None:
    expected = panoptic_loss(make_noisy_output("cpu"), make_targets("cpu"), top_k=top_k)
    losses = panoptic_loss(make_noisy_output("cuda"), make_targets("cuda"), top_k=top_k)
    for name, value in losses.items():
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-5), name


def test_predictions_are_equal() -> None:
    config = PostprocessConfig(stuff_area_limit=100)
    expected = postprocess(make_noisy_output("cpu"), IS_THING, config, void_class=VOID_CLASS)
    predictions = postprocess(make_noisy_output("cuda"), IS_THING, config, void_class=VOID_CLASS)
    for ours, theirs in zip(predictions, expected, strict=True):
        assert ours.panoptic_map.device.type == "cuda"
        assert torch.equal(ours.panoptic_map.cpu(), theirs.panoptic_map)
        assert torch.equal(to_semantic(ours).cpu(), to_semantic(theirs))
        assert [segment[:3] for segment in ours.segments] == [segment[:3] for segment in theirs.segments]
        scores = [segment.score for segment in theirs.segments]
        assert [segment.score for segment in ours.segments] == pytest.approx(scores, rel=1e-5)


def test_targets_and_predictions_repeat_under_deterministic_algorithms() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert all(map(torch.equal, make_targets("cuda"), make_targets("cuda")))
        first, second = (postprocess(make_noisy_output("cuda"), IS_THING) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert [prediction.segments for prediction in first] == [prediction.segments for prediction in second]

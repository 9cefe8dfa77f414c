"""encode_targets against the golden targets and the float64 loops."""

import numpy as np
import pytest
import torch

from axial_deeplab.panoptic import targets as module
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.records import IGNORE_LABEL, PanopticTargets
from tests.oracles.targets import encode_slowly
from tests.panoptic.golden_cases import LossCase


def test_equals_golden(loss_case: LossCase) -> None:
    ours, golden = loss_case.targets, loss_case.arrays
    pairs = {
        "semantic_loss_weight": ours.semantic_weight,
        "instance_center_gt": ours.center_heatmap,
        "center_loss_weight": ours.center_weight,
        "instance_regression_gt": ours.offset.permute(0, 2, 3, 1),
        "regression_loss_weight": ours.offset_weight,
    }
    for name, value in pairs.items():
        np.testing.assert_array_equal(value.numpy(), golden[f"target/{name}"], err_msg=name)
    semantic = golden["target/semantic_gt"]
    expected = np.where(semantic == loss_case.meta["ignore_label"], IGNORE_LABEL, semantic)
    np.testing.assert_array_equal(ours.semantic.numpy(), expected)


def make_labels(seed: int, shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return random labels whose instances are scattered, large and small, some of them crowd or ignored."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, 6, (shape[0], shape[1] // 3 + 1, shape[2] // 3 + 1), generator=generator)
    instance = cells.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, : shape[1], : shape[2]]
    instance = torch.where(torch.rand(shape, generator=generator) < 0.02, 9, instance)
    semantic = torch.where(torch.rand(shape, generator=generator) < 0.1, IGNORE_LABEL, instance % 3)
    crowd = torch.rand(shape, generator=generator) < 0.1
    return semantic, instance, crowd


@pytest.mark.parametrize("shape", [(2, 17, 23), (1, 1, 1), (3, 1, 29), (1, 33, 8)])
@pytest.mark.parametrize("sigma", [8.0, 2.5, 1.0])
def test_equals_loops(shape: tuple[int, int, int], sigma: float) -> None:
    semantic, instance, crowd = make_labels(int(sigma), shape)
    ours = encode_targets(semantic, instance, crowd, sigma=sigma, small_instance_area=40, small_instance_weight=2.0)
    for index in range(shape[0]):
        slow = encode_slowly(
            *(labels[index].numpy() for labels in (semantic, instance, crowd)),
            sigma=sigma,
            small_area=40,
            small_weight=2.0,
        )
        for name in slow._fields:
            value = getattr(ours, name)[index].numpy()
            np.testing.assert_allclose(value, getattr(slow, name), rtol=1e-6, atol=0, err_msg=name)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = make_labels(5, (2, 40, 40))
    whole = encode_targets(*labels)
    monkeypatch.setattr(module, "PATCH_VALUES_AT_ONCE", 1)
    for name, value in encode_targets(*labels)._asdict().items():
        assert torch.equal(value, getattr(whole, name)), name


def test_ids_may_be_large_and_of_any_integer_type() -> None:
    semantic, instance, crowd = make_labels(7, (2, 20, 20))
    expected = encode_targets(semantic, instance, crowd)
    large = torch.where(instance > 0, 2**31 - 1 - instance, 0).to(torch.int32)
    for given in (large, instance.to(torch.uint8)):
        for name, value in encode_targets(semantic.to(torch.uint8), given, crowd)._asdict().items():
            assert torch.equal(value, getattr(expected, name)), name


@pytest.mark.parametrize(("length", "center"), [(2, 0), (4, 2), (6, 2), (8, 4), (5, 2)])
def test_centers_round_half_to_even(length: int, center: int) -> None:
    instance = torch.zeros(1, 1, 16, dtype=torch.int32)
    instance[..., :length] = 1
    heatmap = encode_targets(torch.zeros_like(instance), instance, sigma=1.0).center_heatmap
    assert heatmap[0, 0].argmax() == center
    assert heatmap.max() == 1


def test_no_instance_and_no_label() -> None:
    nothing = encode_targets(torch.full((2, 5, 7), IGNORE_LABEL), torch.ones(2, 5, 7, dtype=torch.int32))
    for value in (nothing.center_heatmap, nothing.center_weight, nothing.offset, nothing.offset_weight):
        assert not value.any()
    stuff = encode_targets(torch.zeros(2, 5, 7, dtype=torch.uint8), torch.zeros(2, 5, 7, dtype=torch.int32))
    assert not stuff.center_heatmap.any()
    assert stuff.center_weight.all()
    assert not stuff.offset_weight.any()


def test_dtypes() -> None:
    result = encode_targets(*make_labels(0, (2, 9, 9)))
    assert result.semantic.dtype == torch.int64
    for name in PanopticTargets._fields[1:]:
        assert getattr(result, name).dtype == torch.float32, name
    assert result.offset.shape == (2, 2, 9, 9)


def test_bad_arguments() -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match="one shape"):
        encode_targets(labels, labels[0])
    with pytest.raises(ValueError, match="one shape"):
        encode_targets(labels, labels, torch.zeros(1, 4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="sigma"):
        encode_targets(labels, labels, sigma=0)

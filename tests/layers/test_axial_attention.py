"""The attention layer as a product of its own: any axis, any length, one to three dimensions, switches, norms."""

import pytest
import torch

from axial_deeplab.layers import AxialAttention, freeze_norms


def make_layer(axis: str = "width", **options: object) -> AxialAttention:
    torch.manual_seed(0)
    layer = AxialAttention(6, axis, key_dim=2, value_dim=3, num_heads=4, **options)  # type: ignore[arg-type]
    for norm in (layer.qkv_norm, layer.similarity_norm, layer.retrieved_norm):
        torch.nn.init.normal_(norm.weight, 1.0, 0.1)
        torch.nn.init.normal_(norm.bias, 0.0, 0.1)
    return layer


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        ("width", (5,)),
        ("height", (5, 4)),
        ("width", (5, 4)),
        ("depth", (3, 5, 4)),
        ("height", (3, 5, 4)),
        ("width", (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_shapes(axis: str, shape: tuple[int, ...], training: bool) -> None:
    layer = make_layer(axis).train(training)
    batch = 2  # one value per channel has no variance
    assert layer(torch.randn(batch, 6, *shape)).shape == (batch, 12, *shape)


@pytest.mark.parametrize("training", [False, True])
def test_axes_are_mirror_images(training: bool) -> None:
    height, width = make_layer("height").train(training), make_layer("width").train(training)
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(height(x), width(x.mT).mT)


def test_lines_do_not_see_each_other() -> None:
    layer = make_layer("width").eval()
    x = torch.randn(1, 6, 4, 9)
    changed = x.clone()
    changed[:, :, 2] += 1
    difference = (layer(changed) - layer(x)).abs().amax((0, 1, 3))
    assert difference[2] > 1e-3
    assert difference[[0, 1, 3]].max() == 0


@pytest.mark.parametrize(("span", "reach"), [(1, 0), (3, 1), (5, 2)])
def test_local_span_limits_what_a_position_sees(span: int, reach: int) -> None:
    layer = make_layer("width", span=span).eval()
    x = torch.randn(1, 6, 1, 11)
    changed = x.clone()
    changed[..., 5] += 1
    touched = (layer(changed) - layer(x)).abs().amax((0, 1, 2)).nonzero().flatten()
    assert touched.tolist() == list(range(5 - reach, 6 + reach))


@pytest.mark.parametrize("shape", [(0, 5, 4), (2, 0, 4), (2, 5, 0)])
@pytest.mark.parametrize("training", [False, True])
def test_empty_batch_passes_through_and_leaves_the_statistics_alone(shape: tuple[int, ...], training: bool) -> None:
    layer = make_layer("height").train(training)
    before = {name: value.clone() for name, value in layer.named_buffers()}
    x = torch.zeros(shape[0], 6, *shape[1:], requires_grad=True)
    out = layer(x)
    out.sum().backward()
    assert out.shape == (shape[0], 12, *shape[1:])
    assert x.grad is not None
    assert not any(p.grad.any() for p in layer.parameters() if p.grad is not None)
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())
    with torch.no_grad():
        assert layer(x).shape == out.shape


def test_wide_span_equals_global() -> None:
    x = torch.randn(1, 6, 3, 8)
    torch.testing.assert_close(make_layer(span=15).eval()(x), make_layer(span=None).eval()(x))


@pytest.mark.parametrize("switch", ["query_rpe", "key_rpe", "value_rpe"])
def test_every_relative_term_can_be_switched_off(switch: str) -> None:
    x = torch.randn(2, 6, 3, 8)
    full, without = make_layer(), make_layer(**{switch: False})
    name = switch.replace("rpe", "table")
    assert name not in without.state_dict()
    assert name in full.state_dict()
    assert without(x).shape == full(x).shape


def test_weights_do_not_depend_on_the_length() -> None:
    layer = make_layer()
    for length in (1, 2, 33, 600):  # beyond 255 positions the outermost rows are shared
        assert layer(torch.randn(2, 6, 1, length)).isfinite().all()


def test_frozen_norms_keep_their_statistics_and_learn_their_weights() -> None:
    layer = make_layer().train()
    freeze_norms(layer)
    before = {name: value.clone() for name, value in layer.named_buffers()}
    x = torch.randn(2, 6, 3, 4)
    out = layer(x)
    out.square().mean().backward()
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())
    assert layer.qkv_norm.weight.grad is not None
    assert torch.equal(out, layer.eval()(x))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="axis must be one of depth, height, width"):
        make_layer("time")
    with pytest.raises(ValueError, match="span must be a positive odd number"):
        make_layer(span=4)
    with pytest.raises(ValueError, match="the depth axis needs 3 spatial dimensions"):
        make_layer("depth")(torch.randn(1, 6, 4, 4))

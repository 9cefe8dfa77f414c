"""Attention in a window against loops in float64: outputs, gradients, norms, borders, and what it costs."""

import pytest
import torch

from axial_deeplab.layers.local_attention import (
    LocalAttention,
    compute_window_terms,
    compute_window_visibility,
    compute_window_weights,
    retrieve_from_window,
)
from axial_deeplab.ops import RelativeTables
from tests.oracles.local_attention import attend_in_window, list_terms

FORMS = {"query only": (True, False, False), "position-sensitive": (True, True, True), "content only": (False,) * 3}


def draw_tables(form: str, *, window: int, key_dim: int, value_dim: int) -> RelativeTables:
    dims = (key_dim, key_dim, value_dim)
    return RelativeTables(
        *(
            torch.randn(2, window, dim // 2, dtype=torch.float64) if used else None
            for used, dim in zip(FORMS[form], dims, strict=True)
        )
    )


@pytest.mark.parametrize(("size", "window"), [((4, 5), 3), ((2, 3), 7), ((1, 1), 3), ((6, 1), 5)])
@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_loops(form: str, size: tuple[int, int], window: int) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 3, 4, *size, dtype=torch.float64)
    v = torch.randn(2, 3, 6, *size, dtype=torch.float64)
    tables = draw_tables(form, window=window, key_dim=4, value_dim=6)
    terms = compute_window_terms(q, k, tables, window)
    scales = torch.rand(len(terms), 3, dtype=torch.float64)
    visible = compute_window_visibility(*size, window, q.device)
    weights = compute_window_weights(terms, scales, visible)
    out = retrieve_from_window(weights, v, tables.value, window)
    for image in range(2):
        content, position = attend_in_window(q[image], k[image], v[image], tables, scales, window)
        torch.testing.assert_close(out[image, :18], content.flatten(0, 1))
        if tables.value is not None:
            torch.testing.assert_close(out[image, 18:], position.flatten(0, 1))
    assert out.shape[1] == (36 if tables.value is not None else 18)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_finite_differences(form: str) -> None:
    torch.manual_seed(1)
    layer = make_layer(form).double()
    names = [name for name, parameter in layer.named_parameters() if parameter.requires_grad]
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    parameters = [layer.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


def make_layer(form: str) -> LocalAttention:
    query, key, value = FORMS[form]
    return LocalAttention(
        3, key_dim=2, value_dim=4, num_heads=2, window=3, query_rpe=query, key_rpe=key, value_rpe=value
    )


@pytest.mark.parametrize("form", FORMS)
def test_batch_statistics_are_those_of_the_visible_pairs(form: str) -> None:
    torch.manual_seed(2)
    layer = make_layer(form).double()
    norm = layer.similarity_norm
    norm.momentum = layer.qkv_norm.momentum = 1.0
    x = torch.randn(1, 3, 4, 3, dtype=torch.float64)
    layer(x)
    with torch.no_grad():
        raw = layer.qkv(x)
        packed = torch.nn.functional.batch_norm(raw, None, None, training=True, eps=layer.qkv_norm.eps)[0]
    q, k, _ = packed.split([4, 4, 8])
    tables = RelativeTables(*(None if table is None else table.detach() for table in layer.tables))
    for head, pairs in enumerate(list_terms(q.view(2, 2, 4, 3), k.view(2, 2, 4, 3), tables, 3)):
        terms = torch.tensor(pairs, dtype=torch.float64)
        torch.testing.assert_close(norm.running_mean[:, head], terms.mean(0))
        torch.testing.assert_close(norm.running_var[:, head], terms.var(0, correction=0))


def test_evaluation_uses_the_running_statistics() -> None:
    torch.manual_seed(3)
    layer = make_layer("position-sensitive")
    x = torch.randn(2, 3, 5, 6)
    before = layer.eval()(x)
    layer.similarity_norm.running_var.mul_(4.0)
    assert not torch.allclose(before, layer(x))
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]))


def test_a_key_outside_of_the_window_changes_nothing() -> None:
    torch.manual_seed(4)
    layer = make_layer("position-sensitive").eval()
    x = torch.randn(1, 3, 6, 7)
    changed = x.clone()
    changed[..., 2, 3] += 1
    differs = (layer(x) != layer(changed)).any(1)[0]
    expected = torch.zeros(6, 7, dtype=torch.bool)
    expected[1:4, 2:5] = True
    assert torch.equal(differs, expected)


def test_bfloat16_and_the_relu_at_the_end() -> None:
    torch.manual_seed(5)
    layer = make_layer("position-sensitive")
    x = torch.randn(2, 3, 9, 8)
    exact = layer(x, relu=True)
    assert exact.min() == 0
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x, relu=True)
    torch.testing.assert_close(rounded.float(), exact, atol=0.15, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"window": 4}, "positive odd"), ({"key_dim": 3}, "even"), ({"value_dim": 3, "value_rpe": True}, "even")],
)
def test_refuses_what_has_no_meaning(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalAttention(8, **({"key_dim": 2, "value_dim": 2} | options))


def test_keys_and_values_are_not_kept_once_for_every_offset() -> None:
    """What is kept for the backward pass: a few maps of logits, and maps of channels, but no map of both."""
    layer = LocalAttention(32, key_dim=16, value_dim=16, num_heads=2, window=7, key_rpe=True, value_rpe=True)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    positions = 24 * 24
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(torch.randn(1, 32, 24, 24))
    logits, channels = 4 * positions * 2 * 49, 4 * positions * 32
    assert sum(kept.values()) < 8 * logits + 20 * channels < 49 * channels


def test_an_empty_batch_gives_an_empty_output() -> None:
    layer = make_layer("query only")
    assert layer(torch.zeros(0, 3, 4, 4)).shape == (0, 8, 4, 4)

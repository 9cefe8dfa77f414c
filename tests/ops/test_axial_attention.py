"""The reference op against loops that follow the paper's equation, its gradients, and its closed-form statistics."""

import pytest
import torch
from torch import Tensor

from axial_deeplab.ops import RelativeTables, axial_attention, chunked, compute_similarity_moments
from axial_deeplab.ops.geometry import compute_visibility
from axial_deeplab.ops.reference import compute_similarity_terms
from tests.oracles.axial_attention import attend_with_loops

SWITCHES = [(True, True, True), (False, False, False), (True, False, False), (False, True, True)]


def make_inputs(
    length: int,
    *,
    switches: tuple[bool, bool, bool] = (True, True, True),
    rows: int = 9,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor, RelativeTables, Tensor]:
    generator = torch.Generator().manual_seed(length)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    q, k, v = draw(2, 3, length, 4), draw(2, 3, length, 4), draw(2, 3, length, 5)
    dims = (4, 4, 5)
    tables = RelativeTables(*(draw(rows, dim) if on else None for dim, on in zip(dims, switches, strict=True)))
    return q, k, v, tables, draw(1 + switches[0] + switches[1], 3)


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("span", [None, 1, 3, 7])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_matches_the_equation(length: int, span: int | None, switches: tuple[bool, bool, bool]) -> None:
    q, k, v, tables, scales = make_inputs(length, switches=switches)
    content, position = axial_attention(q, k, v, tables=tables, scales=scales, span=span)
    expected_content, expected_position = attend_with_loops(q, k, v, tables, scales, span)
    torch.testing.assert_close(content, expected_content)
    if tables.value is None:
        assert position is None
    else:
        torch.testing.assert_close(position, expected_position)


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("span", [None, 3, 7])
@pytest.mark.parametrize("at_once", [1, 60, 2**18])
@torch.no_grad()
def test_chunks_equal_the_whole(
    at_once: int, span: int | None, switches: tuple[bool, bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "LOGITS_AT_ONCE", at_once)
    monkeypatch.setattr(chunked, "SMALLEST_BLOCK", 1)
    q, k, v, tables, scales = make_inputs(11, switches=switches)
    expected = axial_attention(q, k, v, tables=tables, scales=scales, span=span, backend="reference")
    actual = axial_attention(q, k, v, tables=tables, scales=scales, span=span, backend="chunked")
    torch.testing.assert_close(actual, expected)


@torch.no_grad()
def test_chunks_work_under_autocast_and_in_half_precision() -> None:
    q, k, v, tables, scales = make_inputs(11, dtype=torch.float32)
    expected = axial_attention(q, k, v, tables=tables, scales=scales, span=5, backend="reference")
    with torch.autocast("cpu", torch.bfloat16):
        actual = axial_attention(q, k, v, tables=tables, scales=scales, span=5, backend="chunked")
    torch.testing.assert_close(actual, expected)
    half = axial_attention(q.half(), k.half(), v.half(), tables=tables, scales=scales, span=5, backend="chunked")
    assert half[0].dtype == torch.float16
    torch.testing.assert_close(half[0].float(), expected[0], rtol=2e-2, atol=2e-2)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0)])
def test_chunks_of_nothing_are_nothing(shape: tuple[int, int, int]) -> None:
    _, _, _, tables, scales = make_inputs(5)
    q, v = (torch.zeros(*shape, dim, dtype=torch.float64) for dim in (4, 5))
    content, position = axial_attention(q, q, v, tables=tables, scales=scales, backend="chunked")
    assert content.shape == v.shape
    assert position is not None
    assert position.shape == v.shape


def test_chunks_have_no_gradients() -> None:
    q, k, v, tables, scales = make_inputs(4)
    with pytest.raises(ValueError, match="no gradients"):
        axial_attention(q, k, v, tables=tables, scales=scales, backend="chunked")


def test_distances_beyond_the_table_use_its_ends() -> None:
    q, k, v, tables, scales = make_inputs(8, rows=5)
    longer = RelativeTables(
        *(torch.cat([t[:1].expand(5, -1), t, t[-1:].expand(5, -1)]) for t in tables if t is not None)
    )
    ours = axial_attention(q, k, v, tables=tables, scales=scales)
    theirs = axial_attention(q, k, v, tables=longer, scales=scales)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("span", [None, 3])
def test_gradients(span: int | None) -> None:
    q, k, v, tables, scales = make_inputs(4, rows=5)
    leaves = [x.requires_grad_() for x in (q, k, v, *tables, scales) if x is not None]

    def run(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor | None]:
        return axial_attention(q, k, v, tables=RelativeTables(*rest[:3]), scales=rest[3], span=span)

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("span", [None, 1, 3, 7])
@pytest.mark.parametrize(("length", "rows"), [(1, 9), (2, 9), (7, 9), (12, 9), (12, 31)])
def test_moments_equal_those_of_materialised_terms(
    length: int, rows: int, span: int | None, switches: tuple[bool, bool, bool]
) -> None:
    q, k, _, tables, _ = make_inputs(length, rows=rows, switches=switches)
    mean, variance = compute_similarity_moments(q, k, tables, span=span).compute_mean_and_variance()
    visible = compute_visibility(length, span, q.device)
    for index, term in enumerate(compute_similarity_terms(q, k, tables)):
        values = term if visible is None else term[:, :, visible]
        values = values.transpose(0, 1).flatten(1)
        torch.testing.assert_close(mean[index], values.mean(1))
        torch.testing.assert_close(variance[index], values.var(1, correction=0), atol=1e-12, rtol=1e-7)


@pytest.mark.parametrize("span", [None, 3])
def test_gradients_of_moments(span: int | None) -> None:
    q, k, _, tables, _ = make_inputs(5, rows=7)
    leaves = [x.requires_grad_() for x in (q, k, tables.query, tables.key) if x is not None]

    def run(q: Tensor, k: Tensor, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        moments = compute_similarity_moments(q, k, RelativeTables(query, key, None), span=span)
        return moments.compute_mean_and_variance()

    assert torch.autograd.gradcheck(run, leaves)


def test_bad_arguments_are_named() -> None:
    q, k, v, tables, scales = make_inputs(4)
    with pytest.raises(ValueError, match="span must be a positive odd number"):
        axial_attention(q, k, v, tables=tables, scales=scales, span=4)
    with pytest.raises(ValueError, match=r"scales must be \[3, 3\]"):
        axial_attention(q, k, v, tables=tables, scales=scales[:2])
    with pytest.raises(ValueError, match="equal lines"):
        axial_attention(q, k[:, :, :3], v, tables=tables, scales=scales)
    with pytest.raises(ValueError, match="the value table must be"):
        axial_attention(q, k, v, tables=tables._replace(value=tables.key), scales=scales)
    with pytest.raises(ValueError, match="backend must be one of auto, cuda, triton, chunked, reference"):
        axial_attention(q, k, v, tables=tables, scales=scales, backend="fast")  # type: ignore[arg-type]

"""Attention on a CPU without gradients: the reference's arithmetic, a few lines and queries at a time.

The logits of a chunk stay in the cache instead of going through memory for every term, and no more than a chunk of them exists.
Scales are folded into queries and keys, so that each term is one batched matrix product that adds to the others.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from axial_deeplab.ops.geometry import compute_reach, gather_rows
from axial_deeplab.ops.reference import RelativeTables

LOGITS_AT_ONCE = 2**19
"""int: Logits of a chunk, about; 2 MiB in float32."""
SMALLEST_BLOCK = 16
SHORTEST_ROW = 16


def axial_attention_chunked(
    q: Tensor, k: Tensor, v: Tensor, *, tables: RelativeTables, scales: Tensor, span: int | None
) -> tuple[Tensor, Tensor | None]:
    """Compute `ops.axial_attention` chunk by chunk, without gradients; see there for the contract."""
    content = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    position = None if tables.value is None else torch.empty_like(content)
    maps = [x if x is None else x[:, None] for x in (q, k, v, content, position)]
    _attend(*maps, tables=tables, scales=scales, span=span)
    return content, position


def attend_packed_chunked(
    qkv: Tensor, *, tables: RelativeTables, scales: Tensor, num_heads: int, key_dim: int, span: int | None
) -> Tensor:
    """Compute `ops.attend_packed` chunk by chunk, without gradients: maps are read and written in place."""
    value_channels = qkv.shape[3] - 2 * num_heads * key_dim
    parts = 1 + (tables.value is not None)
    retrieved = qkv.new_empty((*qkv.shape[:3], parts * value_channels))
    maps = [
        part.unflatten(3, (num_heads, -1)).permute(0, 2, 3, 1, 4)
        for part in (
            *qkv.split([num_heads * key_dim, num_heads * key_dim, value_channels], dim=3),
            *retrieved.split(value_channels, dim=3),
        )
    ]
    _attend(*maps, *[None] * (2 - parts), tables=tables, scales=scales, span=span)
    return retrieved


@torch.autocast("cpu", enabled=False)
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    content: Tensor,
    position: Tensor | None,
    *,
    tables: RelativeTables,
    scales: Tensor,
    span: int | None,
) -> None:
    """Fill `content` and `position`; all maps are [outer, inner, head, length, dim] in any order in memory."""
    outer, inner, num_heads, length, _ = q.shape
    dtype = torch.promote_types(q.dtype, torch.float32)
    # One factor a term and head, [1, head, 1, 1]; those of terms that are switched off are absent.
    content_factor, *factors = scales.to(dtype)[:, None, :, None, None].unbind(0)
    reach = compute_reach(length, span)
    if content.numel() == 0:
        return
    # Under a local span, blocks of queries about as wide as what they see keep the cost linear in the span; on a line that is
    # not much longer they save nothing.
    wanted = length if length <= 3 * reach + 1 else max(SMALLEST_BLOCK, 2 * reach)
    width = min(length, wanted + 2 * reach)  # keys that a block sees
    block = max(1, min(length, wanted, LOGITS_AT_ONCE // (num_heads * width)))
    block = -(-length // -(-length // block))  # blocks of one size, none of a few queries
    chunk = max(1, LOGITS_AT_ONCE // (num_heads * block * width))
    for start in range(0, length, block):
        queries = slice(start, min(start + block, length))
        keys = slice(max(start - reach, 0), min(start + block + reach, length))
        query_rows, key_rows, value_rows = (
            None if table is None else gather_rows(table.to(dtype), length, queries)[:, keys] for table in tables
        )  # each [query, key, dim]
        hidden = _find_hidden(queries, keys, reach) if reach < length - 1 else None
        for lines in _cut_lines(outer, inner, chunk):
            q_part, k_part, v_part = (
                x[(*lines, slice(None), seen)].to(dtype).reshape(-1, num_heads, seen.stop - seen.start, x.shape[4])
                for x, seen in ((q, queries), (k, keys), (v, keys))
            )
            shape = content[(*lines, slice(None), queries)].shape
            # [pair, query, key], a pair being a line and a head
            pairs = torch.bmm((q_part * content_factor).flatten(0, 1), k_part.flatten(0, 1).mT)
            if query_rows is not None:
                by_query = (q_part * factors[0]).flatten(0, 1).transpose(0, 1)  # [query, pair, dim]
                pairs.transpose(0, 1).baddbmm_(by_query, query_rows.mT)
            if key_rows is not None:
                by_key = (k_part * factors[-1]).flatten(0, 1).transpose(0, 1)  # [key, pair, dim]
                pairs += torch.bmm(by_key, key_rows.permute(1, 2, 0)).permute(1, 2, 0)
            if hidden is not None:
                pairs.masked_fill_(hidden, -torch.inf)
            weights = _compute_softmax(pairs)
            content[(*lines, slice(None), queries)] = torch.bmm(weights, v_part.flatten(0, 1)).view(shape)
            if position is not None and value_rows is not None:
                retrieved = torch.bmm(weights.transpose(0, 1), value_rows)  # [query, pair, dim]
                position[(*lines, slice(None), queries)] = retrieved.transpose(0, 1).view(shape)


def _compute_softmax(logits: Tensor) -> Tensor:
    """Return the softmax over the last dimension. PyTorch's takes rows that do not fill a vector register one by one."""
    if logits.shape[-1] >= SHORTEST_ROW:
        return logits.softmax(-1)
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(-1, keepdim=True))


def _cut_lines(outer: int, inner: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Cut a map into parts of about `chunk` lines: several rows of `inner` lines, or parts of one."""
    rows, columns = max(1, chunk // inner), min(chunk, inner)
    for first in range(0, outer, rows):
        for start in range(0, inner, columns):
            yield slice(first, first + rows), slice(start, start + columns)


def _find_hidden(queries: slice, keys: slice, reach: int) -> Tensor:
    """Return which keys of a block its queries do not see, bool [query, key]."""
    distance = torch.arange(keys.start, keys.stop) - torch.arange(queries.start, queries.stop)[:, None]
    return distance.abs() > reach

"""Attention on a CPU without gradients: the reference's arithmetic, a few lines and queries at a time.

The logits of a chunk stay in the cache instead of going through memory for every term, and no more than a chunk of them exists.
Scales are folded into queries and keys, so that each term is one batched matrix product that adds to the others.
"""

import torch
from torch import Tensor

from axial_deeplab.ops.geometry import compute_reach, gather_rows
from axial_deeplab.ops.reference import RelativeTables

LOGITS_AT_ONCE = 2**19
"""int: Logits of a chunk, about; 2 MiB in float32."""
SMALLEST_BLOCK = 16


@torch.autocast("cpu", enabled=False)
def axial_attention_chunked(
    q: Tensor, k: Tensor, v: Tensor, *, tables: RelativeTables, scales: Tensor, span: int | None
) -> tuple[Tensor, Tensor | None]:
    """Compute `ops.axial_attention` chunk by chunk, without gradients; see there for the contract."""
    num_lines, num_heads, length, _ = q.shape
    dtype = torch.promote_types(q.dtype, torch.float32)
    # One factor a term and head, [1, head, 1, 1]; those of terms that are switched off are absent.
    content_factor, *factors = scales.to(dtype)[:, None, :, None, None].unbind(0)
    content = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    position = None if tables.value is None else torch.empty_like(content)
    reach = compute_reach(length, span)
    if content.numel() == 0:
        return content, position
    # Under a local span, blocks of queries about as wide as what they see keep the cost linear in the span.
    wanted = length if reach == length - 1 else max(SMALLEST_BLOCK, 2 * reach)
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
        for first in range(0, num_lines, chunk):
            lines = slice(first, first + chunk)
            q_part = q[lines, :, queries].to(dtype)
            k_part, v_part = k[lines, :, keys].to(dtype), v[lines, :, keys].to(dtype)
            logits = (q_part * content_factor) @ k_part.mT
            pairs = logits.flatten(0, 1)  # [pair, query, key], a pair being a line and a head
            if query_rows is not None:
                by_query = (q_part * factors[0]).flatten(0, 1).transpose(0, 1)  # [query, pair, dim]
                pairs.transpose(0, 1).baddbmm_(by_query, query_rows.mT)
            if key_rows is not None:
                by_key = (k_part * factors[-1]).flatten(0, 1).transpose(0, 1)  # [key, pair, dim]
                pairs += torch.bmm(by_key, key_rows.permute(1, 2, 0)).permute(1, 2, 0)
            if reach < length - 1:
                pairs.masked_fill_(_find_hidden(queries, keys, reach), -torch.inf)
            weights = pairs.softmax(-1)
            content[lines, :, queries] = (
                torch.bmm(weights, v_part.flatten(0, 1)).view(*logits.shape[:3], -1).to(v.dtype)
            )
            if position is not None and value_rows is not None:
                retrieved = torch.bmm(weights.transpose(0, 1), value_rows).transpose(0, 1)  # [pair, query, dim]
                position[lines, :, queries] = retrieved.reshape(*logits.shape[:3], -1).to(v.dtype)
    return content, position


def _find_hidden(queries: slice, keys: slice, reach: int) -> Tensor:
    """Return which keys of a block its queries do not see, bool [query, key]."""
    distance = torch.arange(keys.start, keys.stop) - torch.arange(queries.start, queries.stop)[:, None]
    return distance.abs() > reach

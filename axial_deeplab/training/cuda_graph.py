"""Replay the passes of an encoder or a classifier as CUDA graphs: thousands of launches a step are too many for Python."""

import torch
from torch import Tensor, nn

from axial_deeplab.errors import InputError
from axial_deeplab.training.config import RunConfig


def check_graphable(recipe: RunConfig, world_size: int) -> None:
    """Raise `InputError` if the recipe asks for graphs that this run cannot have."""
    if not recipe.cuda_graph:
        return
    if not torch.cuda.is_available():
        raise InputError("cuda_graph needs a GPU: leave it off")
    if world_size > 1:
        raise InputError(f"cuda_graph works on one device, not on {world_size}: give --devices 1 or leave it off")


def replay_encoder(model: nn.Module, images: Tensor, *, bfloat16: bool) -> None:
    """Let `model.encoder` replay its passes, as `replay_module` says."""
    encoder = model.encoder
    assert isinstance(encoder, nn.Module)
    replay_module(encoder, images, bfloat16=bfloat16)


def replay_module(module: nn.Module, images: Tensor, *, bfloat16: bool) -> None:
    """Let a module replay its forward and its backward pass in training, for images of this shape.

    Buffers are left as they were. Gradients of the parameters lie in memory that the next backward pass overwrites: no second
    one may come before the optimizer's step. In evaluation mode nothing changes.

    Args:
        module: An encoder or a classifier in training mode, on the GPU, whose parameters will only be changed in place.
        images: float32 [batch, 3, height, width] on the GPU; normal ones, because the capture runs some passes with them.
        bfloat16: Whether training is under autocast to bfloat16.
    """
    before = [buffer.clone() for buffer in module.buffers()]
    # Gradients come from the stream of the capture and are added on the stream of the step; autograd waits for them, and warns.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16, cache_enabled=False):
        torch.cuda.make_graphed_callables(module, (images.clone(),), allow_unused_input=True)
    for buffer, value in zip(module.buffers(), before, strict=True):
        buffer.copy_(value)

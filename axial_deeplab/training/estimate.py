"""What a recipe would need on this machine, from a few steps on random images. Nothing is written."""

import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from axial_deeplab.errors import InputError
from axial_deeplab.models.catalog import get_default_classes
from axial_deeplab.panoptic.losses import panoptic_loss
from axial_deeplab.training.class_config import ClassificationRecipe, resolve_epochs
from axial_deeplab.training.class_data_module import ClassBatch, normalize_images, open_images
from axial_deeplab.training.class_task import compute_loss
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.cuda_graph import check_graphable, replay_encoder, replay_module
from axial_deeplab.training.data_module import Batch, encode_batch
from axial_deeplab.training.hardware import fit_to_hardware
from axial_deeplab.training.kinds import AnyRecipe
from axial_deeplab.training.networks import build_network
from axial_deeplab.training.optimizers import build_optimizer
from axial_deeplab.training.parts import check_model
from axial_deeplab.training.run import choose_precision, count_devices

WARMUP_STEPS, TIMED_STEPS = 2, 3


class Cost(NamedTuple):
    """What a run needs, loading and scoring left out."""

    iterations: int
    seconds_per_step: float
    images_per_second: float  # of all devices
    peak_gib: float  # of one device's memory, or of this process on a CPU


def estimate_cost(recipe: AnyRecipe) -> Cost:
    """Time a few steps of one device on random images at the recipe's crop and batch size; only epochs need the data set.

    Raises:
        InputError: If they do not fit into the GPU's memory, or there are no images to count for epochs.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_model(recipe)
    if isinstance(recipe, ClassificationRecipe) and recipe.epochs:
        recipe = resolve_epochs(recipe, len(open_images(recipe.data)[0]))
    world_size = count_devices(recipe)
    check_graphable(recipe, world_size)
    fitted = fit_to_hardware(recipe, world_size)
    try:
        seconds = recipe.accumulate * time_step(fitted, device)
    except torch.OutOfMemoryError:
        raise InputError("the GPU's memory is too small: lower batch_size and raise accumulate as much") from None
    images = recipe.batch_size * recipe.accumulate * world_size
    return Cost(fitted.iterations, seconds, images / seconds, measure_peak(device))


def time_step(recipe: AnyRecipe, device: torch.device) -> float:
    """Return the seconds of one forward and backward pass with an optimizer step."""
    num_classes = get_default_classes(recipe.model.name)
    model = build_network(recipe.model, num_classes).to(device)
    if recipe.compile:
        model.compile()
    optimizer = build_optimizer(model, recipe.optimizer)
    half = choose_precision(recipe) == "bf16-mixed"
    images, measure = prepare_step(recipe, num_classes, device)
    if recipe.cuda_graph:
        replay = replay_encoder if isinstance(recipe, Recipe) else replay_module
        replay(model, images, bfloat16=half)
    started = 0.0
    for step in range(WARMUP_STEPS + TIMED_STEPS):
        if step == WARMUP_STEPS:
            started = _read_clock(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            output = model(images)
        optimizer.zero_grad()
        measure(output).backward()
        optimizer.step()
    return (_read_clock(device) - started) / TIMED_STEPS


def prepare_step(recipe: AnyRecipe, num_classes: int, device: torch.device) -> tuple[Tensor, Callable[[Any], Tensor]]:
    """Return random images, and the function from the network's output for them to the loss."""
    if isinstance(recipe, Recipe):
        batch = encode_batch(draw_batch(recipe, num_classes, device), recipe)
        weights, top_k = recipe.loss.weights, recipe.loss.top_k
        return batch.images, lambda output: panoptic_loss(output, batch.targets, weights=weights, top_k=top_k)["total"]
    shape = (recipe.batch_size, 3, recipe.augment.crop, recipe.augment.crop)
    images = torch.randint(256, shape, dtype=torch.uint8, device=device)
    labels = torch.arange(recipe.batch_size, device=device) % num_classes
    normed = normalize_images(ClassBatch(images, labels, ()), recipe.preprocess).images
    return normed, partial(compute_loss, labels=labels, smoothing=recipe.label_smoothing)


def draw_batch(recipe: Recipe, num_classes: int, device: torch.device) -> Batch:
    """Draw the images of one forward pass: noise, with 64 blocks that are an instance each."""
    height, width = recipe.augment.crop_size
    blocks = torch.arange(1.0, 65.0, device=device).view(1, 1, 8, 8).expand(recipe.batch_size, 1, 8, 8)
    instance = F.interpolate(blocks, (height, width))[:, 0].int()
    return Batch(
        images=torch.randint(256, (recipe.batch_size, 3, height, width), dtype=torch.uint8, device=device),
        semantic=(instance % num_classes).to(torch.uint8),
        instance=instance,
        crowd=torch.zeros(instance.shape, dtype=torch.bool, device=device),
        file_names=(),
    )


def measure_peak(device: torch.device) -> float:
    """Return the largest memory so far, in GiB: what was taken from the GPU, that of graphs included, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def describe_estimate(cost: Cost) -> str:
    """Say it in two lines."""
    hours = cost.iterations * cost.seconds_per_step / 3600
    return (
        f"{cost.seconds_per_step:.3g} s a step, {cost.images_per_second:.3g} images/s, peak memory {cost.peak_gib:.3g} GiB "
        f"a device\n{cost.iterations} steps take {hours:.2g} hours, loading and scoring not counted"
    )


def _read_clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

"""Time whole networks on a GPU: Axial-ResNet-S at 224 pixels beside ResNet-50, the segmentation backbone at 1024 and 2048,
and all of Axial-DeepLab-S, with outputs of the input's size, at 2049 and 4097.

    python -m benchmarks.model [--output benchmarks/results/model.json]

bfloat16 autocast, channels-last. A training step is forward, backward and SGD. For inference the norms first see a batch, so
that logits are as large as in a trained network, and are then folded. "graph" replays the same step as one CUDA graph: what the
GPU needs once Python is out of the way. The largest inputs are not replayed: a graph keeps memory of its own, and launches
do not matter there.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from axial_deeplab.data.files import write_json
from axial_deeplab.layers.folding import fold_norms
from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm
from axial_deeplab.models import build_model
from axial_deeplab.models.axial_deeplab import PanopticDeepLab
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialResNetConfig, build_axial_resnet
from axial_deeplab.models.encoder import Encoder
from benchmarks.gpu_timing import capture, describe_machine, measure_ms


def build_backbone() -> Encoder:
    """Build the encoder of Axial-DeepLab-S with global span."""
    attention = AttentionConfig(span=None)
    return build_axial_resnet(AxialResNetConfig(width=0.5, stem="inception", output_stride=16, attention=attention))


def build_segmenter() -> nn.Module:
    """Build Axial-DeepLab-S with global span, for 19 classes."""
    return PanopticDeepLab(build_backbone(), 19)


class Case(NamedTuple):
    """One network on one size of input."""

    build: Callable[[], nn.Module]
    batch: int
    side: int
    trained: bool
    replayed: bool = True


CASES = {
    "Axial-ResNet-S 224, batch 128, train": Case(lambda: build_model("axial_resnet50_s"), 128, 224, True),
    "Axial-ResNet-S 224, batch 128, eval": Case(lambda: build_model("axial_resnet50_s"), 128, 224, False),
    "ResNet-50 224, batch 128, train": Case(lambda: build_model("resnet50"), 128, 224, True),
    "ResNet-50 224, batch 128, eval": Case(lambda: build_model("resnet50"), 128, 224, False),
    "S backbone 1024, train": Case(build_backbone, 1, 1024, True),
    "S backbone 1024, eval": Case(build_backbone, 1, 1024, False),
    "S backbone 2048, eval": Case(build_backbone, 1, 2048, False),
    "Axial-DeepLab-S 2049, eval": Case(build_segmenter, 1, 2049, False, replayed=False),
    "Axial-DeepLab-S 4097, eval": Case(build_segmenter, 1, 4097, False, replayed=False),
}


def main() -> int:
    """Time every case, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="names of cases, or parts of them")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA device")
    results: dict[str, Any] = {"machine": describe_machine()}
    for name, case in CASES.items():
        if not options.only or any(part in name for part in options.only):
            results[name] = measure(case)
            print(name, {key: round(value, 2) for key, value in results[name].items()}, flush=True)
    if options.output:
        write_json(options.output, results, indent=2)
    return 0


def measure(case: Case) -> dict[str, float]:
    """Return the time of a step, of its replay as a graph, and the peak of memory."""
    torch.manual_seed(0)
    model = case.build().cuda().train(case.trained)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(case.batch, 3, case.side, case.side, device="cuda").contiguous(
        memory_format=torch.channels_last
    )
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)

    grads: list[Tensor] = []

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            output = model(images)
        maps: list[Tensor] = list(output.values()) if isinstance(output, dict) else [output]
        if not grads:  # what a loss would send back; a loss of its own would cost time and memory too
            grads.extend(torch.randn_like(x) / x.numel() for x in maps)
        torch.autograd.backward(maps, grads)
        optimizer.step()

    @torch.inference_mode()
    def infer() -> None:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            model(images)

    if not case.trained:
        calibrate_norms(model, images)
        fold_norms(model, dtype=torch.bfloat16)
    call = step if case.trained else infer
    call()
    torch.cuda.reset_peak_memory_stats()
    result = {"ms": measure_ms(call, 8), "peak_gib": torch.cuda.max_memory_allocated() / 2**30}
    if case.replayed:
        result["graph_ms"] = measure_ms(capture(call), 10)
    torch.cuda.empty_cache()
    return result


def calibrate_norms(model: nn.Module, images: Tensor) -> None:
    """Let the running statistics be those of a batch."""
    for norm in model.modules():
        if isinstance(norm, BatchNorm | SimilarityNorm):
            norm.momentum = 1.0
    model.train()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        model(images)
    model.eval()


if __name__ == "__main__":
    sys.exit(main())

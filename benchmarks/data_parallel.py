"""Time data-parallel training on the GPUs of one machine, norms synchronized: images a second, and memory.

    torchrun --nproc_per_node N -m benchmarks.data_parallel [--model axial_resnet50_s] [--batch 128] [--side 224] [--graph]
        [--output FILE]

A step is forward, backward, the exchange of gradients and SGD, in bfloat16 autocast and channels-last, on random images; each
process has `--batch` of them. `--graph` replays forward and backward as CUDA graphs, exchanges of the norms included. With one
process norms share nothing. Compare runs with different N of one machine.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from axial_deeplab.data.files import write_json
from axial_deeplab.layers import synchronize_norms
from axial_deeplab.models import build_model
from axial_deeplab.training.cuda_graph import replay_module
from benchmarks.gpu_timing import describe_machine

WARMUP, TIMED = 12, 30
"""int: Steps; the first ones compile kernels, and DDP rearranges its buckets in them."""


def main() -> int:
    """Time one configuration in every process; the first prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="axial_resnet50_s", help="a classifier")
    parser.add_argument("--batch", type=int, default=128, help="images of one process")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--graph", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available() or "LOCAL_RANK" not in os.environ:
        sys.exit("this benchmark needs CUDA devices, and torchrun to start it")
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    processes = dist.get_world_size()
    seconds = time_step(options)
    memory = torch.tensor(torch.cuda.max_memory_reserved() / 2**30, device="cuda")
    dist.all_reduce(memory, dist.ReduceOp.MAX)
    if dist.get_rank() == 0:
        result = {
            "processes": processes,
            "model": options.model,
            "batch": options.batch,
            "graph": options.graph,
            "ms": 1000 * seconds,
            "images_per_second": processes * options.batch / seconds,
            "peak_gib": float(memory),
        }
        print(result, flush=True)
        if options.output:
            write_json(options.output, {"machine": describe_machine()} | result, indent=2)
    dist.destroy_process_group()
    return 0


def time_step(options: argparse.Namespace) -> float:
    """Return the seconds of one step, the mean of `TIMED`."""
    torch.manual_seed(dist.get_rank())
    model = build_model(options.model, num_classes=1000).cuda().train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    synchronize_norms(model)
    images = torch.randn(options.batch, 3, options.side, options.side, device="cuda")
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(1000, (options.batch,), device="cuda")
    if options.graph:
        replay_module(model, images, bfloat16=True)
    parallel = DistributedDataParallel(model, device_ids=[torch.cuda.current_device()], broadcast_buffers=False)
    optimizer = torch.optim.SGD(parallel.parameters(), 1e-3, momentum=0.9, nesterov=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            loss = F.cross_entropy(parallel(images).float(), labels)
        loss.backward()
        optimizer.step()

    for _ in range(WARMUP):
        step()
    torch.cuda.synchronize()
    dist.barrier()
    started = time.perf_counter()
    for _ in range(TIMED):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / TIMED


if __name__ == "__main__":
    sys.exit(main())

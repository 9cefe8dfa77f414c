"""Time a layer in inference on the CPU: by chunks against the plain path, with equal threads.

    python -m benchmarks.attention_cpu [--threads 2]

The two take turns, so that other load on the machine meets both; the ratio of medians is what counts.
"""

import argparse
import statistics
import time

import torch

from axial_deeplab.layers import AxialAttention

# channels, height, width, images, span
CASES = [
    (64, 56, 56, 8, None),
    (128, 28, 28, 8, None),
    (256, 14, 14, 8, None),
    (64, 129, 129, 1, None),
    (64, 257, 257, 1, None),
    (64, 257, 257, 1, 65),
    (128, 129, 129, 1, 65),
    (256, 65, 65, 1, 65),
]


def main() -> None:
    """Check, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    for channels, height, width, batch, span in CASES:
        torch.manual_seed(0)
        layer = AxialAttention(channels, "height", key_dim=channels // 16, value_dim=channels // 8, span=span).eval()
        images = torch.randn(batch, channels, height, width).contiguous(memory_format=torch.channels_last)
        seconds: dict[str, list[float]] = {"reference": [], "chunked": []}
        outputs = {}
        with torch.inference_mode():
            for _ in range(4):
                for backend, times in seconds.items():
                    layer.backend = backend  # type: ignore[assignment]
                    start = time.perf_counter()
                    outputs[backend] = layer(images)
                    times.append(time.perf_counter() - start)
        torch.testing.assert_close(outputs["chunked"], outputs["reference"], rtol=1e-4, atol=1e-4)
        plain, chunked = (1e3 * statistics.median(times[1:]) for times in seconds.values())
        name = f"C{channels} {height}x{width}, {batch}, span {span}"
        print(f"{name:28} reference {plain:7.1f} ms, chunked {chunked:6.1f} ms: {plain / chunked:.1f} times faster")


if __name__ == "__main__":
    main()

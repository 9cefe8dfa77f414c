"""Time what one core loads for the training of a classifier: file to augmented tensor, from a folder and from shards.

    python -m benchmarks.image_loading [--images 256] [--rounds 5] [--output benchmarks/results/image_loading.json]

The images are generated, 500 x 375 pixels, with coarse shapes, texture and grain, and stored as JPEG of quality 90. Every way
loads the same samples: decoding, inception crop to 224 x 224, mirroring, batches of 128. Ways take turns; figures are medians
over rounds of images a second of CPU time in one process with one thread, so that other work on the machine matters little.
Files are warm in memory: a disk or a network comes on top.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image, features

from axial_deeplab.data.classification import decode
from axial_deeplab.data.classification.augment import ClassAugmentConfig, cut_resized, draw_crop
from axial_deeplab.data.classification.image_tree import ImageTree
from axial_deeplab.data.classification.records import ClassifiedImages
from axial_deeplab.data.classification.shards import ClassifiedShards
from axial_deeplab.data.classification.write_shards import write_shards
from axial_deeplab.data.files import write_json
from axial_deeplab.training.class_data_module import ClassSamples, collate_images, seed_torch

HEIGHT, WIDTH = 375, 500
QUALITY = 90
BATCH = 128
DECODERS = ("simplejpeg", "Pillow")
NEEDED = 2600 / 16
"""float: Images a second and core that 16 cores need for Axial-ResNet-S, which trains on 128 images in 49 ms."""


def main() -> int:
    """Time every way, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder, shards = Path(temporary) / "folder", Path(temporary) / "shards"
        size = write_photographs(folder / "train" / "all", options.images)
        write_shards(folder, shards, ("train",), images_per_shard=64)
        places = {"folder": ImageTree(folder, "train"), "shards": ClassifiedShards(shards, "train")}
        rates = measure_rates(places, options.rounds)
        parts = measure_parts(places["folder"], options.rounds)
    print(
        f"{options.images} images of {size / 1e3:.1f} KB; images a second and core, of the {NEEDED:.1f} that are needed"
    )
    for name, rate in rates.items():
        print(f"{name:24} {rate:7.1f}   {rate / NEEDED:.2f} x")
    print("ms an image: " + "; ".join(f"{part} {value:.2f}" for part, value in parts.items()))
    if options.output:
        result = {
            "machine": describe_machine(),
            "bytes": round(size),
            "images_per_second": rates,
            "milliseconds": parts,
        }
        write_json(options.output, result, indent=2)
    return 0


def make_photograph(seed: int) -> Image.Image:
    """Make an image with a spectrum like a photograph's: octaves of noise, brightness more than color, and grain."""
    random = np.random.default_rng(seed)
    planes = []
    for strength in (1.0, 0.35, 0.25):  # brightness and two directions of color
        plane = np.zeros((HEIGHT, WIDTH), np.float32)
        for level in range(2, 9):
            coarse = random.normal(size=(max(2, HEIGHT * 2**level // 512), max(2, WIDTH * 2**level // 512)))
            big = Image.fromarray(coarse.astype(np.float32)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            plane += np.asarray(big) * strength * 0.72**level
        planes.append(plane)
    light, red, blue = (80 * plane for plane in planes)
    pixels = 120 + np.stack([light + red, light - (red + blue) / 2, light + blue], axis=2)
    pixels += random.normal(scale=8, size=(HEIGHT, WIDTH, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_photographs(folder: Path, count: int) -> float:
    """Write images and return the mean of their bytes."""
    folder.mkdir(parents=True)
    for number in range(count):
        make_photograph(number).save(folder / f"{number}.jpg", quality=QUALITY)
    return statistics.mean(path.stat().st_size for path in folder.iterdir())


def choose_decoder(name: str) -> mock._patch:
    """Return a context in which JPEG is decoded by the library of this name."""
    library = decode.find_simplejpeg() if name == "simplejpeg" else None
    if name == "simplejpeg" and library is None:
        raise SystemExit("simplejpeg is not installed: pip install 'axial-deeplab[fast]'")
    return mock.patch.object(decode, "find_simplejpeg", return_value=library)


def measure_rates(places: dict[str, ClassifiedImages], rounds: int) -> dict[str, float]:
    """Return images a second of each decoder and place, joined in batches as a worker joins them."""
    ways = {f"{decoder}, {place}": (decoder, place) for decoder in DECODERS for place in places}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first one warms up
        for name, (decoder, place) in ways.items():
            samples = ClassSamples(places[place], ClassAugmentConfig(), seed=0)
            with choose_decoder(decoder):
                seconds = take_time(partial(load_batches, samples))
            if number:
                rates[name].append(len(places[place]) / seconds)
    return {name: round(statistics.median(values), 1) for name, values in rates.items()}


def load_batches(samples: ClassSamples) -> None:
    """Load an epoch."""
    count = len(samples.records)
    for start in range(0, count, BATCH):
        collate_images([samples[number] for number in range(start, min(start + BATCH, count))])


def measure_parts(images: ClassifiedImages, rounds: int) -> dict[str, float]:
    """Return milliseconds an image of reading, of decoding all of it, of resizing crops, of drawing them."""
    count, config = len(images), ClassAugmentConfig()
    encoded = [images.read(index) for index in range(count)]
    decoded = [decode.decode_image(image.data, image.file_name) for image in encoded]
    crops = [draw_crop((HEIGHT, WIDTH), config, seed_torch(number, seed=0)) for number in range(count)]

    def decode_by(decoder: str) -> None:
        with choose_decoder(decoder):
            for image in encoded:
                decode.decode_image(image.data, image.file_name)

    ways: dict[str, Callable[[], object]] = {
        "read": lambda: [images.read(index) for index in range(count)],
        **{f"decode, {decoder}": partial(decode_by, decoder) for decoder in DECODERS},
        "resize": lambda: [cut_resized(image, crop, 224) for image, crop in zip(decoded, crops, strict=True)],
        "draw": lambda: [draw_crop((HEIGHT, WIDTH), config, seed_torch(n, seed=0)) for n in range(count)],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(take_time(way))
    return {name: round(1e3 * statistics.median(values) / count, 3) for name, values in times.items()}


def take_time(work: Callable[[], object]) -> float:
    """Return seconds of CPU time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def describe_machine() -> dict[str, str]:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "torch": torch.__version__,
        "pillow": Image.__version__,
        "simplejpeg": version("simplejpeg"),
        "libjpeg-turbo of Pillow": str(features.version("libjpeg_turbo")),
        "python": platform.python_version(),
        "date": str(date.today()),
    }


if __name__ == "__main__":
    raise SystemExit(main())

"""From photographs to panoptic predictions: one image in Python, or files and folders to overlays, id maps and JSON."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from axial_deeplab.checkpoints.load import CheckpointConfig, load_checkpoint
from axial_deeplab.data.files import write_png
from axial_deeplab.data.image_folder import find_images, read_image, to_rgb_array
from axial_deeplab.data.prelabels import PRELABELS
from axial_deeplab.data.submissions import SUBMISSIONS, WRITTEN, identify_images
from axial_deeplab.data.transforms import Preprocess, find_segments, prepare, restore_output
from axial_deeplab.errors import InputError
from axial_deeplab.inference import DEFAULT_CONFIG, InferenceConfig, infer
from axial_deeplab.layers.folding import fold_norms
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.records import Category, PanopticOutput, PanopticPrediction
from axial_deeplab.serialization import from_plain
from axial_deeplab.visualize import draw_overlay

ImageLike = str | Path | Image.Image | np.ndarray | Tensor


class Predictor:
    """Segment images with one network.

    Args:
        model: Maps normalised images to `PanopticOutput`; moved to the device and put into evaluation mode.
        config: From the network's checkpoint.
        device: Where to run; `None` takes a GPU if there is one.
        use_bfloat16: Compute in bfloat16 where that is safe; `None` does so on GPUs that can.
        inference: Scales, mirror image and tiles.

    Attributes:
        categories: The class table; `Segment.category_id` is a position in it.
    """

    def __init__(
        self,
        model: nn.Module,
        config: CheckpointConfig,
        device: str | torch.device | None = None,
        *,
        use_bfloat16: bool | None = None,
        inference: InferenceConfig = DEFAULT_CONFIG,
    ) -> None:
        if config.task != "panoptic" or config.postprocess is None:
            raise InputError(f"{config.model} does not segment images: its checkpoint is for {config.task}")
        if config.untrained:
            parts = ", ".join(config.untrained)
            raise InputError(f"{config.model} has random weights in {parts}: fine-tune it with train RECIPE --init")
        self.model, self.device, self.use_bfloat16 = place_model(model, device, use_bfloat16)
        self.inference = inference
        self.config, self.categories = config, config.categories
        self.preprocess = from_plain(Preprocess, config.preprocess, where="the checkpoint's preprocess")
        self.postprocess = from_plain(PostprocessConfig, config.postprocess, where="the checkpoint's postprocess")

    def __call__(self, image: ImageLike) -> PanopticPrediction:
        """Segment one image: a path, a PIL image, or uint8 [height, width, 3].

        Returns:
            A prediction of the image's own size, turned upright as its EXIF data say, on the CPU.
        """
        return self.predict_with_heads(image)[0]

    @torch.inference_mode()
    def predict_with_heads(
        self, image: ImageLike, *, preprocess: Preprocess | None = None
    ) -> tuple[PanopticPrediction, PanopticOutput]:
        """Segment one image and return the heads too, at the size that the network saw without its padding.

        `preprocess` stands in for the checkpoint's, to show the network another size.
        """
        preprocess = preprocess or self.preprocess
        pixels, geometry = prepare(to_tensor(image), preprocess)
        output = infer(self._run_network, pixels[None], self.inference, multiple=preprocess.multiple)
        output = restore_output(output, geometry._replace(image_size=geometry.resized_size))
        is_thing = [category.is_thing for category in self.categories]
        prediction = find_segments(output, geometry, is_thing, self.postprocess, void_class=self.config.void_class)
        return prediction, PanopticOutput(*(head.float().cpu() for head in output))

    def _run_network(self, images: Tensor) -> PanopticOutput:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bfloat16):
            return self.model(images.to(self.device))


class PredictSummary(NamedTuple):
    """What became of the files: those segmented, and those that could not be read."""

    done: list[Path]
    failed: list[Path]


def load(
    checkpoint: str | Path,
    device: str | torch.device | None = None,
    *,
    inference: InferenceConfig = DEFAULT_CONFIG,
) -> Predictor:
    """Load a checkpoint that segments, as `loading.load` does for those of any task."""
    model, config = load_checkpoint(checkpoint)
    predictor = Predictor(model, config, device, inference=inference)
    if predictor.use_bfloat16:
        fold_norms(predictor.model, dtype=torch.bfloat16)
    return predictor


def place_model(
    model: nn.Module, device: str | torch.device | None, use_bfloat16: bool | None
) -> tuple[nn.Module, torch.device, bool]:
    """Bring a network to its device for prediction; return it, the device, and whether to compute in bfloat16.

    Raises:
        InputError: If there is no such device.
    """
    try:
        chosen = choose_device() if device is None else torch.device(device)
        model = model.to(chosen).eval()
    except (RuntimeError, AssertionError) as error:  # what torch raises for devices that it does not know or have
        raise InputError(f"device {device} cannot be used: {str(error).splitlines()[0]}") from None
    if chosen.type == "cuda":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if use_bfloat16 is None:
        use_bfloat16 = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return model, chosen, use_bfloat16


def choose_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def to_tensor(image: ImageLike) -> Tensor:
    """Turn whatever holds an image into uint8 [3, height, width], RGB."""
    if isinstance(image, str | Path):
        image = read_image(image)
    if isinstance(image, Image.Image):
        image = to_rgb_array(image)
    pixels = image if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.numel() == 0:
        raise InputError(f"an image must be uint8 [height, width, 3], got {pixels.dtype} {list(pixels.shape)}")
    return pixels.permute(2, 0, 1)


def predict_files(
    inputs: Sequence[str],
    predictor: Predictor,
    output: str | Path,
    *,
    write: Sequence[str] = ("overlays", "panoptic"),
    submissions: Sequence[str] = (),
    formats: Sequence[str] = (),
) -> PredictSummary:
    """Segment files, folders and glob patterns; write overlays and a COCO-panoptic result, or what is asked for.

    `output` gets `overlays/NAME.png`, `predictions/NAME.png` with the segment ids, and at the end `predictions.json`. A file
    that cannot be read is named on stderr and left out. Files of one name get different numbers.

    Args:
        inputs: What to segment.
        predictor: The network.
        output: Folder for the results.
        write: Some of "overlays", "panoptic", "instances" (`instances.json`, a COCO results file) and "semantic"
            (`semantic/NAME.png` with the ids of the classes, 255 for void).
        submissions: Names of `data.submissions.SUBMISSIONS`, each written to a folder of its name.
        formats: Names of `data.prelabels.PRELABELS`: labels to correct, each in a folder of its name, with the images.

    Raises:
        InputError: If the inputs name no file, the images or the classes are not those of a benchmark, or the output cannot
            be written.
    """
    output = Path(output)
    paths = find_images(inputs)
    names = choose_names(paths)
    if unknown := sorted(
        {*write} - {"overlays", *WRITTEN} | {*submissions} - {*SUBMISSIONS} | {*formats} - {*PRELABELS}
    ):
        forms_known = ", ".join([*WRITTEN, *SUBMISSIONS, *PRELABELS])
        raise InputError(f"'{unknown[0]}' is not written: choose of overlays, {forms_known}")
    forms = [*(WRITTEN[name] for name in write if name in WRITTEN), *(SUBMISSIONS[name] for name in submissions)]
    identities = [identify_images(form, paths, names) for form in forms]
    categories, positions = leave_out(predictor.categories, predictor.config.void_class)
    for form in forms:
        form.check(paths, categories)
    summary = PredictSummary([], [])
    with ExitStack() as stack:
        writers = [stack.enter_context(form.open(output, categories)) for form in forms]
        prelabelers = [stack.enter_context(PRELABELS[name](output, categories)) for name in formats]
        for position, (path, name) in enumerate(zip(paths, names, strict=True)):
            show_progress(position + 1, len(paths))
            try:
                pixels = to_rgb_array(read_image(path))
                prediction = predictor(pixels)
            except (InputError, torch.OutOfMemoryError) as error:
                memory = f"{path} is too large for the GPU's memory: use --tile 1025, or --device cpu"
                print(memory if isinstance(error, torch.OutOfMemoryError) else error, file=sys.stderr)
                summary.failed.append(path)
                continue
            if "overlays" in write:
                write_png(output / "overlays" / f"{name}.png", draw_overlay(pixels, prediction, predictor.categories))
            prediction = translate_classes(prediction, positions)
            for writer, known in zip(writers, identities, strict=True):
                writer.add(*known[position], prediction)
            for prelabeler in prelabelers:
                prelabeler.add(path, name, prediction)
            summary.done.append(path)
    return summary


def leave_out(categories: Sequence[Category], void_class: int | None) -> tuple[tuple[Category, ...], list[int]]:
    """Return the classes without the one that stands for void, and for each old class its new position, -1 for void."""
    kept = [position for position in range(len(categories)) if position != void_class]
    positions = [kept.index(position) if position in kept else -1 for position in range(len(categories))]
    return tuple(categories[position] for position in kept), positions


def translate_classes(prediction: PanopticPrediction, positions: Sequence[int]) -> PanopticPrediction:
    """Return the prediction with each class replaced by `positions[class]`."""
    segments = [segment._replace(category_id=positions[segment.category_id]) for segment in prediction.segments]
    return PanopticPrediction(prediction.panoptic_map, segments)


def choose_names(paths: Iterable[Path]) -> list[str]:
    """Return a different name for each path: its stem, with _2, _3, ... where one comes again."""
    names: dict[str, None] = {}
    for path in paths:
        name, number = path.stem, 1
        while name in names:
            number += 1
            name = f"{path.stem}_{number}"
        names[name] = None
    return list(names)


def show_progress(number: int, total: int) -> None:
    """Keep one line of a terminal up to date; write nothing where stderr is a file."""
    if sys.stderr.isatty():
        print(f"\rimage {number} of {total}", end="" if number < total else "\n", file=sys.stderr, flush=True)

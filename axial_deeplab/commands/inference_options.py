"""The options that say how a network is asked at test time, the same for every command that predicts."""

from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from axial_deeplab.errors import InputError

if TYPE_CHECKING:
    from axial_deeplab.inference import InferenceConfig


def add_inference_options(parser: ArgumentParser, *, scales: bool = True) -> None:
    """Add the options that `read_inference` reads; `scales=False` leaves out the one of that name."""
    if scales:
        parser.add_argument("--scales", help="input scales to average over, such as 0.5,1,2")
    parser.add_argument("--flip", action="store_true", help="average with the mirror image")
    parser.add_argument("--tile", type=int, help="cut what is larger into tiles of this many pixels, such as 1025")
    parser.add_argument("--overlap", type=int, help="pixels that tiles share at least (default: a quarter of the tile)")


def read_inference(options: Namespace, *, scales: bool = True) -> "InferenceConfig":
    """Return what the options of `add_inference_options` say.

    Raises:
        InputError: If a value has no meaning, or two do not go together.
    """
    from axial_deeplab.inference import InferenceConfig

    fields = {name: options[name] for name in ("flip", "tile", "overlap")}
    if scales and options.scales is not None:
        fields["scales"] = parse_numbers(options.scales)
    return InferenceConfig(**fields)


def parse_numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of a list such as "0.5,1,2".

    Raises:
        InputError: If a part is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"scales must be numbers with commas between them, such as 0.5,1,2, not {text!r}") from None

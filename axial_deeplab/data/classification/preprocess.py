"""What lies between a photograph and the input of a classifier, as a checkpoint keeps it."""

from dataclasses import dataclass

from torch import Tensor

from axial_deeplab.data.classification.prepare import ScoringConfig, prepare_class
from axial_deeplab.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from axial_deeplab.errors import InputError


@dataclass(frozen=True)
class ClassPreprocess:
    """How an image is scored.

    Attributes:
        resize: The short side becomes this many pixels, the longer one in proportion.
        crop: Height and width of the square that is cut from the center; 0 keeps the whole image at its own size.
        mean: Color (R, G, B) that becomes zero, in units of 0..1.
        std: Divisor of the colors, in the same units.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InputError(f"mean and std need one number for R, G and B, std above 0: {self}")
        self.make_scoring()

    def make_scoring(self) -> ScoringConfig:
        """Return the part that decides about pixels."""
        return ScoringConfig(self.resize, self.crop)

    def prepare(self, image: Tensor) -> Tensor:
        """Resize and cut an image, uint8 [3, height, width]; not yet normalised."""
        return prepare_class(image, self.make_scoring())

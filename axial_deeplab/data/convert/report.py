"""What a conversion found, for people."""

from collections import Counter
from dataclasses import dataclass, field

from axial_deeplab.data.convert.draw import Drawing
from axial_deeplab.records import Category


@dataclass
class ConversionReport:
    """Counts over a conversion.

    Attributes:
        format: The source format.
        categories: The classes written, by contiguous id.
        images: Images by split.
        segments: Segments by contiguous class.
        pixels: Their pixels, likewise.
        void: Pixels without a segment.
        overlapped: Pixels of segments that later shapes took.
        hidden: Segments that later shapes took whole.
        empty: Shapes that hold the center of no pixel.
        overlapped_images: Overlapped pixels by file name, with the split in front, where there are any.
    """

    format: str
    categories: tuple[Category, ...]
    images: Counter[str] = field(default_factory=Counter)
    segments: Counter[int] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)
    void: int = 0
    overlapped: int = 0
    hidden: int = 0
    empty: int = 0
    overlapped_images: dict[str, int] = field(default_factory=dict)

    def add(self, split: str, file_name: str, drawing: Drawing) -> None:
        """Count one image."""
        self.images[split] += 1
        for segment in drawing.segments:
            self.segments[segment.category_id] += 1
            self.pixels[segment.category_id] += segment.area
        self.void += drawing.ids.size - sum(segment.area for segment in drawing.segments)
        self.overlapped += drawing.overlapped
        self.hidden += drawing.hidden
        self.empty += drawing.empty
        if drawing.overlapped:
            self.overlapped_images[f"{split}/{file_name}"] = drawing.overlapped

    def format_table(self) -> str:
        """Lay the counts out: splits, classes, and what was lost."""
        total = max(1, sum(self.pixels.values()) + self.void)
        splits = ", ".join(f"{split} {count}" for split, count in self.images.items())
        lines = [f"{self.format}: {sum(self.images.values())} images ({splits})", ""]
        width = max(5, *(len(category.name) for category in self.categories))
        lines.append(f"{'class':<{width}}  {'kind':<5}{'segments':>10}{'pixels':>9}")
        for position, category in enumerate(self.categories):
            kind = "thing" if category.is_thing else "stuff"
            share = f"{self.pixels[position] / total:.1%}"
            lines.append(f"{category.name:<{width}}  {kind:<5}{self.segments[position]:>10}{share:>9}")
        lines.append(f"{'void':<{width}}  {'':<5}{'':>10}{f'{self.void / total:.1%}':>9}")
        return "\n".join([*lines, "", *self._list_losses()])

    def _list_losses(self) -> list[str]:
        worst = max(self.overlapped_images, key=lambda name: self.overlapped_images[name], default="")
        most = f", most in {worst} ({self.overlapped_images[worst]})" if worst else ""
        return [
            f"overlapped: {self.overlapped} pixels under later shapes, in {len(self.overlapped_images)} images{most}",
            f"hidden: {self.hidden} segments whole under later shapes",
            f"empty: {self.empty} shapes too small for a pixel",
        ]

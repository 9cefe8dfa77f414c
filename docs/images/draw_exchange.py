"""Draw exchange.png for docs/kernels.md: `python docs/images/draw_exchange.py`."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SCALE, POSITIONS, CELL = 2, 8, 22
VIEWS: list[tuple[str, str, Callable[[int, int], bool], str]] = [
    ("one query", "#1f77b4", lambda o, p: o == 3, "positions: q.rq, rows p - o\nof a table x eight heads"),
    ("one key", "#d95f02", lambda o, p: p == 4, "positions: k.rk,\nthe mirror image"),
    ("one pair", "#7b4fa3", lambda o, p: (o, p) == (3, 4), "heads: softmax, products\nwith k and v of one head"),
    ("one distance", "#2a9d5c", lambda o, p: p - o == 2, "gradients of\none table row"),
]


def main() -> None:
    """Draw a tile four times, each time with the rows of the exchange that are read together."""
    picture = Image.new("RGB", (930 * SCALE, 300 * SCALE), "white")
    draw = ImageDraw.Draw(picture)
    font, small = (ImageFont.load_default(size * SCALE) for size in (15, 13))
    for index, (title, color, is_read, text) in enumerate(VIEWS):
        left, top = (36 + 232 * index) * SCALE, 66 * SCALE
        draw.text((left, top - 54 * SCALE), title, "black", font)
        draw.text((left, top - 24 * SCALE), "keys p", "#555555", small)
        draw.text((left - 20 * SCALE, top), "o", "#555555", small)
        for o in range(POSITIONS):
            for p in range(POSITIONS):
                x, y = left + p * CELL * SCALE, top + o * CELL * SCALE
                box = (x, y, x + (CELL - 3) * SCALE, y + (CELL - 3) * SCALE)
                draw.rectangle(box, color if is_read(o, p) else "#e6e6e6")
        draw.multiline_text((left, top + (POSITIONS * CELL + 6) * SCALE), text, "#222222", small)
    picture.save(Path(__file__).with_name("exchange.png"), optimize=True)


if __name__ == "__main__":
    main()

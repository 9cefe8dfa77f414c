"""`axial-deeplab models`: every network with its size and cost."""

import json
from typing import Any

from axial_deeplab.commands.parsing import make_parser, parse


def run(arguments: list[str]) -> int:
    """Print the table, or JSON."""
    parser = make_parser("models", "List the networks with parameters and multiply-adds for one image.")
    parser.add_argument(
        "--height", type=int, help="of the input in pixels (default: the published one of each network)"
    )
    parser.add_argument("--width", type=int, help="of the input in pixels")
    parser.add_argument("--json", action="store_true", help="print a list of objects instead of a table")
    options = parse(parser, arguments)
    rows = list_models(options.height, options.width)
    print(json.dumps(rows, indent=2) if options.json else format_models(rows))
    return 0


def list_models(height: int | None = None, width: int | None = None) -> list[dict[str, Any]]:
    """Describe every network; sizes that are not given are the published ones."""
    import torch

    from axial_deeplab.models import MODELS, build_model, count_multiply_adds, count_parameters
    from axial_deeplab.models.catalog import PUBLISHED, get_default_classes, get_default_size

    rows = []
    for name in MODELS:
        size = height or get_default_size(name), width or get_default_size(name)
        with torch.device("meta"):
            model = build_model(name)
        rows.append(
            {
                "name": name,
                "params": count_parameters(model),
                "multiply_adds": count_multiply_adds(model, *size),
                "classes": get_default_classes(name),
                "height": size[0],
                "width": size[1],
                "published": PUBLISHED.get(name, {}),
            }
        )
    return rows


def format_models(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out for people: millions of parameters, billions of multiply-adds."""
    lines = [f"{'name':<38}{'params':>9}{'mult-adds':>11}  {'classes':>7}  {'input':<10}published"]
    for row in rows:
        published = ", ".join(f"{key} {value}" for key, value in row["published"].items())
        size = f"{row['height']}x{row['width']}"
        lines.append(
            f"{row['name']:<38}{row['params'] / 1e6:>8.1f}M{row['multiply_adds'] / 1e9:>10.1f}G  "
            f"{row['classes']:>7}  {size:<10}{published}".rstrip()
        )
    return "\n".join(lines)

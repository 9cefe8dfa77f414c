"""Train without the command line's parser: `python -m axial_deeplab.training RECIPE [FIELD=VALUE ...] [--output RUN]`.

RECIPE is a name or a YAML file; a FIELD is dotted: `data.root=PATH optimizer.lr=1e-4 batch_size=16`.
"""

import argparse
import sys
from pathlib import Path

from axial_deeplab.errors import InputError
from axial_deeplab.training.load_recipe import load_recipe


def main() -> int:
    """Train; exit status 0 done, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m axial_deeplab.training", description="Train a network by a recipe."
    )
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="such as data.root=PATH or optimizer.lr=1e-4"
    )
    parser.add_argument("--output", help="folder of the run (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue a killed run, or begin it if there is none")
    options = parser.parse_intermixed_args()

    from axial_deeplab.training.run import train

    try:
        recipe = load_recipe(options.recipe, options.overrides)
        train(recipe, Path(options.output or f"runs/{recipe.name}"), resume=options.resume)
    except InputError as error:
        print(f"axial_deeplab.training: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

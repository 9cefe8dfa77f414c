"""`axial-deeplab train`: run a recipe, with any of its fields changed."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser

from axial_deeplab.commands.parsing import make_parser, parse
from axial_deeplab.errors import InputError
from axial_deeplab.serialization import to_plain
from axial_deeplab.training.kinds import AnyRecipe, build_recipe
from axial_deeplab.training.load_recipe import load_recipe
from axial_deeplab.training.recipes import RECIPES

OWN_OPTIONS = ("recipe", "config", "output", "resume", "estimate", "print_config", "init", "freeze")


def run(arguments: list[str]) -> int:
    """Train, estimate, or print the recipe."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        raise InputError("train needs a recipe first, a name that axial-deeplab recipes lists, or a YAML file")
    base = load_recipe(arguments[0]) if not arguments[0].startswith("-") else RECIPES["scenes_small"]()
    options = parse(make_train_parser(base), order_arguments(arguments, base.name)).as_dict()
    fields = {name: value for name, value in options.items() if name not in OWN_OPTIONS}
    values = to_plain(fields)
    values["model"] |= {name: options[name] for name in ("init", "freeze") if options[name] is not None}
    recipe = build_recipe(values, where=arguments[0])
    if options["print_config"]:
        print(yaml.safe_dump(to_plain(recipe), sort_keys=False), end="")
        return 0
    try:
        return estimate(recipe) if options["estimate"] else train(recipe, options["output"], resume=options["resume"])
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("lightning", "tensorboard", "tqdm"):
            raise
        raise InputError(f"training needs {error.name}: pip install 'axial-deeplab[train]'") from None


def order_arguments(arguments: Sequence[str], name: str) -> list[str]:
    """Put files first, so that options win wherever they stand, and the recipe's name behind them, so that it stays."""
    files, options = list[str](), list[str]()
    rest = iter(arguments)
    for argument in rest:
        if argument == "--config":
            files += [argument, *islice(rest, 1)]
        else:
            (files if argument.startswith("--config=") else options).append(argument)
    return [*files, f"--name={name}", *options] if files else options


def make_train_parser(base: AnyRecipe) -> ArgumentParser:
    """Return the parser; every field of the recipe is an option, its default taken from `base`."""
    parser = make_parser(
        "train", "Train by a recipe; axial-deeplab recipes lists them. Fields below default to RECIPE's."
    )
    parser.add_argument(
        "recipe", metavar="RECIPE", help="name of a recipe, or a YAML file such as --print-config prints"
    )
    parser.add_argument(
        "--config",
        action=ActionConfigFile,
        help="YAML file with fields to change, other than the name; options win over it",
    )
    parser.add_argument("--output", help="folder of the run (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue a killed run, or begin it if there is none")
    parser.add_argument("--init", metavar="CKPT", help="weights to start from, short for --model.init")
    parser.add_argument("--freeze", choices=("none", "encoder", "norms"), help="what stays, short for --model.freeze")
    parser.add_argument("--estimate", action="store_true", help="measure a few steps on random data; train nothing")
    parser.add_argument("--print-config", action="store_true", help="print the recipe with all changes; train nothing")
    parser.add_class_arguments(type(base))
    parser.set_defaults(to_plain(base))
    return parser


def train(recipe: AnyRecipe, output: str | None, *, resume: bool) -> int:
    """Train and print the score."""
    from axial_deeplab.training.run import print_once
    from axial_deeplab.training.run import train as run_recipe

    folder = Path(output or f"runs/{recipe.name}")
    result = run_recipe(recipe, folder, resume=resume)
    print_once(json.dumps({"output": str(folder), **pick_scores(recipe, result)}))
    return 0


def pick_scores(recipe: AnyRecipe, result: dict[str, Any]) -> dict[str, Any]:
    """Return the main scores of a finished run, rounded."""
    if recipe.task == "classification":
        return {name: round(result[name], 4) for name in ("top1", "top5") if result[name] is not None}
    return {name: {key: round(value, 4) for key, value in result[name].items()} for name in ("All", "Things", "Stuff")}


def estimate(recipe: AnyRecipe) -> int:
    """Print what the run would need."""
    from axial_deeplab.training.estimate import describe_estimate, estimate_cost

    print(describe_estimate(estimate_cost(recipe)))
    return 0

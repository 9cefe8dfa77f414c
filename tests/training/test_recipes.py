"""Recipes build, round-trip, and refuse what they do not know."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from axial_deeplab.errors import InputError
from axial_deeplab.models import build_model
from axial_deeplab.serialization import to_plain
from axial_deeplab.training.config import ModelConfig, Recipe
from axial_deeplab.training.hardware import describe_small_statistics, fit_to_hardware
from axial_deeplab.training.imagenet_recipes import IMAGENET_RECIPES
from axial_deeplab.training.kinds import build_recipe
from axial_deeplab.training.load_recipe import load_recipe
from axial_deeplab.training.networks import build_network
from axial_deeplab.training.paper_recipes import PAPER_RECIPES
from axial_deeplab.training.recipes import RECIPES

NAMES = list(RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_names_itself_and_round_trips_through_yaml(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    text = yaml.safe_dump(to_plain(recipe))
    assert build_recipe(yaml.safe_load(text), where=name) == recipe


COUNTED = PAPER_RECIPES.keys() | IMAGENET_RECIPES.keys()  # tests of their costs build them


@pytest.mark.parametrize("name", [name for name in NAMES if name not in COUNTED])
def test_recipe_builds_its_model(name: str) -> None:
    recipe = RECIPES[name]()
    with torch.device("meta"):
        model = build_model(recipe.model.name, num_classes=5)
        output = model(torch.zeros(2, 3, 65, 65))
    if recipe.task == "classification":
        assert output.shape == (2, 5)
    else:
        assert output.semantic_logits.shape == (2, 5, 65, 65)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_states_source_scores_cost_and_command(name: str) -> None:
    text = RECIPES[name].__doc__ or ""
    for word in ("Source:", "Published:", "Measured:", "Cost:", f"Command: axial-deeplab train {name}"):
        assert word in text


def test_overrides_reach_nested_fields() -> None:
    recipe = load_recipe("scenes_small", ["optimizer.lr=1e-4", "data.root=/data/x", "augment.crop_size=[65, 97]"])
    assert recipe.optimizer.lr == 1e-4
    assert recipe.data.root == "/data/x"
    assert recipe.augment.crop_size == (65, 97)


def test_file_holds_a_part_of_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: mine\noptimizer: {lr: 1e-3}\n")  # YAML reads 1e-3 as text
    assert load_recipe(str(path)) == dataclasses.replace(Recipe("mine"))


@pytest.mark.parametrize(
    ("source", "overrides", "message"),
    [
        ("scenes_smal", [], "did you mean 'scenes_small'"),
        ("scenes_small", ["optimizer.lrr=1"], "did you mean 'lr'"),
        ("scenes_small", ["optimizer.lr=fast"], "must be a number"),
        ("scenes_small", ["batch_size=2.5"], "must be a whole number"),
        ("scenes_small", ["model.norm=layer"], "must be one of batch, frozen"),
        ("scenes_small", ["batch_size"], "not of the form field=value"),
        ("scenes_small", ["batch_size=[1"], "cannot be read"),
        ("scenes_small", ["seed.deep=1"], "has no fields"),
        ("scenes_small", ["iterations=0"], "iterations must be at least 1"),
        ("scenes_small", ["loss.top_k=0"], "top_k must lie in 0 .. 1"),
        ("scenes_small", ["targets.sigma=0"], "sigma must be positive"),
        ("scenes_small", ["data.workers=-1"], "workers starts at 0"),
        ("scenes_small", ["optimizer.lookahead=-1"], "lookahead starts at 0"),
        ("scenes_small", ["optimizer.lookahead_rate=2"], "lookahead_rate must lie in 0 .. 1"),
        ("scenes_small", ["postprocess.nms_kernel=0"], "nms_kernel at 1"),
        ("absent.yaml", [], "absent.yaml"),
    ],
)
def test_bad_input_is_named_in_one_line(source: str, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(source, overrides)
    assert "\n" not in str(caught.value)


def test_reference_batch_scales_rate_and_durations() -> None:
    recipe = dataclasses.replace(
        RECIPES["nuclei_axial_deeplab_s"](), batch_size=8, reference_batch=32, iterations=4000, val_every=500
    )
    fitted = fit_to_hardware(recipe, world_size=2)
    assert fitted.optimizer.lr == pytest.approx(recipe.optimizer.lr / 2)
    assert (fitted.iterations, fitted.val_every) == (8000, 1000)
    assert fitted.optimizer.warmup == 2 * recipe.optimizer.warmup


@pytest.mark.parametrize(("iterations", "val_every"), [(1001, 250), (10, 2000), (7, 2), (1, 1), (100, 100)])
def test_the_last_step_is_always_scored(iterations: int, val_every: int) -> None:
    recipe = dataclasses.replace(RECIPES["scenes_small"](), iterations=iterations, val_every=val_every)
    fitted = fit_to_hardware(recipe, world_size=1)
    assert fitted.iterations % fitted.val_every == 0
    assert iterations - fitted.iterations < max(2, iterations / val_every)


def test_small_batches_are_warned_about_unless_norms_are_frozen() -> None:
    segmenter, classifier = "axial_deeplab_nano", "axial_resnet_nano"
    for name in (segmenter, classifier):
        model = build_network(ModelConfig(name), 3)
        assert "--model.norm frozen" in (describe_small_statistics(model, 3) or "")
        assert describe_small_statistics(model, 4) is None
        assert describe_small_statistics(build_network(ModelConfig(name, norm="frozen"), 3), 1) is None
    # A classifier has no norms but those of its encoder.
    assert describe_small_statistics(build_network(ModelConfig(segmenter, freeze="encoder"), 3), 1) is not None
    assert describe_small_statistics(build_network(ModelConfig(classifier, freeze="encoder"), 3), 1) is None


def test_version_may_be_a_number_to_yaml() -> None:
    assert load_recipe("mapillary_axial_deeplab_l", ["data.version=2.0"]).data.version == "2.0"

"""Measured rows: what a file may hold, and how they stand beside the published ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from axial_deeplab.cli import main
from axial_deeplab.errors import InputError
from axial_deeplab.training.measured import read_measured, read_own_rows
from axial_deeplab.training.paper_recipes import EXPERIMENTS, describe_recipe
from axial_deeplab.training.recipes import RECIPES

ROW = {
    "recipe": "cityscapes_axial_deeplab_l",
    "pq": 12.5,
    "miou": 30.25,
    "hardware": "8 NVIDIA H100",
    "date": "2026-12-24",
    "commit": "abc1234",
}


def write(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(rows))
    return path


def test_own_rows_belong_to_recipes() -> None:
    rows = read_own_rows()
    assert rows
    assert {row.recipe for row in rows} <= set(RECIPES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pq": 101}, "0 .. 100"),
        ({"pq": "high"}, "must be a number"),
        ({"pq": None, "miou": None}, "at least one of pq"),
        ({"date": "24.12.2026"}, "YYYY-MM-DD"),
        ({"commit": " "}, "commit must not be empty"),
        ({"scales": "many"}, "one of single, multi"),
        ({"pqq": 3}, "did you mean 'pq'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, ROW, ROW | changes)
    with pytest.raises(InputError, match=message) as caught:
        read_measured(path)
    assert f"{path}: row 2" in str(caught.value)


@pytest.mark.parametrize("text", ["{", '{"recipe": 1}'])
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"mine\.json"):
        read_measured(path)


def list_measured(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert main(["recipes", "--measured", str(path), "--json", *options]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_a_measured_row_stands_beside_those_of_its_scales_and_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, ROW, ROW | {"scales": "multi", "pq": 20.0}, ROW | {"split": "test", "pq": 30.0})
    rows = list_measured(path, capsys, "--table", "5")
    chosen = {(row["table"], row["scales"]): row["measured"] for row in rows if row["recipe"] == ROW["recipe"]}
    assert {key: [each["pq"] for each in measured] for key, measured in chosen.items()} == {
        ("5a", "single"): [12.5],
        ("5a", "multi"): [20.0],
        ("5b", "unstated"): [30.0],
    }
    assert main(["recipes", "--measured", str(path), "--table", "5a"]) == 0
    line = capsys.readouterr().out.splitlines()[2]
    assert line.startswith(ROW["recipe"])
    assert line.endswith("PQ 12.5, mIoU 30.2 (2026-12-24)")


def test_without_a_table_every_recipe_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["recipe"] for row in rows} == set(RECIPES)
    nuclei = next(row for row in rows if row["recipe"] == "nuclei_axial_deeplab_s")
    assert nuclei["measured"][0]["pq"] == 74.6


def test_docstrings_take_measured_rows(tmp_path: Path) -> None:
    (experiment,) = (experiment for experiment in EXPERIMENTS if experiment.name == ROW["recipe"])
    text = describe_recipe(experiment, read_measured(write(tmp_path, ROW)))
    assert "Measured: PQ 12.5, mIoU 30.2 on val, single scale, 8 NVIDIA H100, 2026-12-24, abc1234." in text
    assert "not yet measured" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "3"], "there is no table '3'"),
        (["--measured", "absent.json"], "absent.json"),
        (["--table", ""], "no table"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_row_of_no_recipe_gets_a_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--measured", str(write(tmp_path, ROW | {"recipe": "cityscapes_axial_deeplab"}))]) == 2
    assert "did you mean 'cityscapes_axial_deeplab_" in capsys.readouterr().err

"""The command line from end to end: exit status, one line for what went wrong, files where they belong."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from axial_deeplab.checkpoints.load import save_checkpoint
from axial_deeplab.cli import COMMANDS, main
from axial_deeplab.data.scenes import SCENE_CATEGORIES
from axial_deeplab.inference import InferenceConfig, infer
from axial_deeplab.models import MODELS, build_model, count_parameters
from axial_deeplab.records import PanopticOutput
from axial_deeplab.serialization import from_plain, to_plain
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.recipes import RECIPES
from tests.test_evaluate import root  # noqa: F401  # a fixture
from tests.test_predict import VISTAS, draw_photo, make_config, write_vistas


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "ckpt", build_model("axial_deeplab_nano", len(SCENE_CATEGORIES)), make_config())
    return tmp_path / "ckpt"


def test_help_names_every_command_without_torch() -> None:
    code = (
        "import sys\nfrom axial_deeplab.cli import main\n"
        "assert main(['--help']) == 0\nprint([name for name in ('torch', 'lightning', 'jsonargparse') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in result.stdout for name in COMMANDS)
    assert result.stdout.splitlines()[-1] in ("[]", "['torch']")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"axial-deeplab {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["train"], "train needs a recipe first"),
        (["train", "--data.root", "x"], "train needs a recipe first"),
        (["train", "scenes_smal"], "did you mean 'scenes_small'"),
        (["train", "absent.yaml"], "absent.yaml"),
        (["train", "scenes_small", "--optimizer.lrr", "1"], "--optimizer.lrr"),
        (["train", "scenes_small", "--optimizer.lr", "fast"], "optimizer.lr"),
        (["train", "scenes_small", "--optimizer.name", "adagrad"], "optimizer.name"),
        (["train", "scenes_small", "--config", "absent.yaml"], "absent.yaml"),
        (["train", "scenes_small", "--model.name", "resnet50"], "resnet50"),
        (["train", "nuclei_axial_deeplab_s"], "--data.root"),
        (["train", "nuclei_axial_deeplab_s", "--data.root", "absent"], "absent is not a folder"),
        (["predict", "x.png", "--checkpoint", "absent", "--output", "out"], "absent does not exist"),
        (["predict", "x.png"], "predict: the following arguments are required: checkpoint, output"),
        (["evaluate", "--checkpoint", "absent", "--data.root", "nowhere", "--output", "out"], "absent does not exist"),
        (
            ["predict", "x", "--checkpoint", "c", "--output", "o", "--tile", "64", "--overlap", "64"],
            "overlap in 0 .. tile",
        ),
        (["evaluate", "--checkpoint", "c", "--data.root", "d", "--output", "o", "--scales", "1,big"], "scales"),
        (["stress", "--checkpoint", "absent", "--data.root", "nowhere", "--output", "out"], "nowhere"),
        (["score", "--ground-truth", "a.json", "--predictions", "b.json"], "a.json"),
        (["score", "--ground-truth", "a", "--predictions", "b", "--tasks", "depth"], "depth"),
        (["predict", "x.png", "--checkpoint", "c", "--output", "o", "--submission", "kitti"], "kitti"),
        (["compare", "absent"], "holds no finished run"),
        (["models", "--heigth", "3"], "did you mean '--height'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_interrupt_is_130_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("axial_deeplab.cli.run_command", interrupt)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "axial-deeplab: interrupted\n"


def test_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m axial_deeplab train scenes_small --print-config | true"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_printed_config_reads_back_as_recipe_and_as_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["train", "nuclei_axial_deeplab_s", "--optimizer.lr", "3e-4", "--data.root", "D", "--print-config"]) == 0
    )
    text = capsys.readouterr().out
    printed = from_plain(Recipe, yaml.safe_load(text), where="printed")
    assert (printed.optimizer.lr, printed.data.root) == (3e-4, "D")
    assert to_plain(printed)["augment"] == to_plain(RECIPES["nuclei_axial_deeplab_s"]())["augment"]
    path = tmp_path / "run.yaml"
    path.write_text(text)
    for arguments in ([str(path)], ["nuclei_axial_deeplab_s", "--config", str(path)]):
        assert main(["train", *arguments, "--print-config"]) == 0
        assert capsys.readouterr().out == text


@pytest.mark.parametrize("form", [["--config", "fit.yaml"], ["--config=fit.yaml"]])
def test_options_win_over_a_file_and_the_recipe_keeps_its_name(
    form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit.yaml").write_text("name: fitted\ndata: {root: FILE, layout: coco}\nloss: {offset: 0.5}\n")
    for name in ([], ["--name", "mine"]):
        for options in ([*name, "--data.root", "MINE", *form], [*form, *name, "--data.root", "MINE"]):
            assert main(["train", "nuclei_axial_deeplab_s", *options, "--print-config"]) == 0
            recipe = from_plain(Recipe, yaml.safe_load(capsys.readouterr().out), where="printed")
            assert recipe.name == (name[-1] if name else "nuclei_axial_deeplab_s")
            assert (recipe.data.root, recipe.data.layout, recipe.loss.offset) == ("MINE", "coco", 0.5)


def test_training_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['lightning'] = None\nfrom axial_deeplab.cli import main\n"
        f"sys.exit(main(['train', 'scenes_small', '--output', {str(tmp_path / 'run')!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert "pip install 'axial-deeplab[train]'" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json", "--height", "65", "--width", "129"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(MODELS)
    assert all(
        row.keys() == {"name", "params", "multiply_adds", "classes", "height", "width", "published"} for row in rows
    )
    small = next(row for row in rows if row["name"] == "axial_deeplab_s")
    assert (small["height"], small["width"], small["classes"]) == (65, 129, 19)
    assert small["params"] == count_parameters(build_model("axial_deeplab_s"))


def test_predict_reports_partly_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, images = tmp_path / "ckpt", tmp_path / "testing" / "images"
    save_checkpoint(
        checkpoint, build_model("axial_deeplab_nano", len(VISTAS)), replace(make_config(), categories=VISTAS)
    )
    write_vistas(tmp_path, {"good.png": draw_photo()})
    (images / "bad.png").write_text("no image")
    arguments = ["predict", str(images / "*.png"), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]
    written = [
        *arguments,
        "--submission",
        "mapillary-panoptic",
        "--output",
        str(tmp_path / "server"),
        "--device",
        "cpu",
    ]
    assert main(written) == 2
    assert [path.name for path in (tmp_path / "server").iterdir()] == ["mapillary-panoptic"]
    capsys.readouterr()
    assert main([*arguments, "--device", "cpu"]) == 2
    assert "1 of 2 images segmented" in capsys.readouterr().err
    with Image.open(tmp_path / "out" / "overlays" / "good.png") as overlay:
        assert overlay.size == (60, 40)
    (images / "bad.png").unlink()
    assert main(arguments) == 0


def test_evaluate_then_score_agree(checkpoint: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    out = root / "out"
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--data.root", str(root), "--output", str(out)]) == 0
    table = capsys.readouterr().out
    pair = [
        "--ground-truth",
        str(root / "annotations" / "panoptic_val.json"),
        "--predictions",
        str(out / "predictions.json"),
    ]
    assert main(["score", *pair, "--output", str(out / "score.json")]) == 0
    assert capsys.readouterr().out == table
    assert json.loads((out / "score.json").read_text()) == json.loads((out / "report.json").read_text())


def test_test_time_options_reach_the_network(
    checkpoint: Path,
    root: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[InferenceConfig] = []

    def note(run: object, images: torch.Tensor, config: InferenceConfig, *, multiple: int) -> PanopticOutput:
        seen.append(config)
        return infer(run, images, config, multiple=multiple)  # type: ignore[arg-type]

    monkeypatch.setattr("axial_deeplab.predict.infer", note)
    common = ["--checkpoint", str(checkpoint), "--output", str(root / "out"), "--device", "cpu"]
    image = str(root / "images" / "val" / "scene_00000000.png")
    tiles = ["--flip", "--tile", "49", "--overlap", "16"]
    assert main(["predict", image, *common, "--scales", "0.5,1", *tiles]) == 0
    assert main(["evaluate", "--data.root", str(root), *common, "--tile", "33"]) == 0
    assert main(["stress", "--data.root", str(root), *common, "--scales", "0.5", *tiles]) == 0
    assert seen == [
        InferenceConfig((0.5, 1.0), True, 49, 16),
        *[InferenceConfig(tile=33)] * 3,
        *[InferenceConfig((1.0,), True, 49, 16)] * 3,
    ]
    assert (root / "out" / "stress.csv").read_text().count("\n") == 2


def write_run(folder: Path, pq: float, **changes: object) -> str:
    folder.mkdir()
    recipe = to_plain(RECIPES["scenes_small"]()) | changes
    (folder / "recipe.json").write_text(json.dumps(recipe))
    result = {group: {"pq": pq} for group in ("All", "Things", "Stuff")}
    (folder / "result.json").write_text(json.dumps(result))
    return str(folder)


def test_compare_takes_seeds_together_and_shows_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path / f"a{seed}", 0.5 + seed / 100, seed=seed) for seed in range(3)]
    runs.append(write_run(tmp_path / "b", 0.25, batch_size=3))
    assert main(["compare", *runs]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    batch = RECIPES["scenes_small"]().batch_size
    assert first.split() == ["3", *("51.0", "+-", "1.0") * 3, f"batch_size={batch}"]
    assert second.split() == ["1", "25.0", "25.0", "25.0", "batch_size=3"]


@pytest.mark.slow
def test_train_in_a_process_of_its_own(tmp_path: Path) -> None:
    fields = {"data.scene_size": "64", "data.val_scenes": "2", "augment.crop_size": "[65, 65]", "iterations": "2"}
    options = [part for name, value in fields.items() for part in (f"--{name}", value)]
    command = [
        sys.executable,
        "-m",
        "axial_deeplab",
        "train",
        "scenes_small",
        "--output",
        str(tmp_path / "run"),
        *options,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["output"] == str(tmp_path / "run")
    plain = [sys.executable, "-m", "axial_deeplab.training", "scenes_small", "--output", str(tmp_path / "plain")]
    subprocess.run([*plain, *(f"{name}={value}" for name, value in fields.items())], capture_output=True, check=True)
    recipes = [json.loads((tmp_path / name / "recipe.json").read_text()) for name in ("run", "plain")]
    assert recipes[0] == recipes[1]


def test_estimate_prints_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "scenes_small", "--estimate", "--augment.crop_size", "[33, 33]", "--batch_size", "2"]) == 0
    assert "peak memory" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

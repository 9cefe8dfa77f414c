"""`axial-deeplab import` from files to checkpoints that predict, and every way in which a file can be wrong."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.checkpoints.load import load_checkpoint
from axial_deeplab.cli import main
from axial_deeplab.models import build_model
from tests.checkpoints.bundle_maker import pack, write_bundle
from tests.checkpoints.foreign_files import build_tiny, build_tiny_authors, list_variables, save_authors_file

TRAINING = {
    "global_step/.ATTRIBUTES/VARIABLE_VALUE": np.array(3),
    "save_counter/.ATTRIBUTES/VARIABLE_VALUE": np.array(1),
    "optimizer/_variables/7/.ATTRIBUTES/VARIABLE_VALUE": np.ones(2, np.float32),
    "encoder/_stem/_conv/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE": np.ones(2, np.float32),
}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line and return status, output and error output."""
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def check_equal(ours: torch.nn.Module, expected: torch.nn.Module) -> None:
    state = expected.state_dict()
    assert ours.state_dict().keys() == state.keys()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(
    ("num_classes", "classes", "void"), [(19, "cityscapes", None), (134, "coco", 0), (133, "coco", None)]
)
def test_a_network_goes_through_a_file_unchanged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], num_classes: int, classes: str, void: int | None
) -> None:
    model = build_tiny(num_classes)
    prefix = write_bundle(tmp_path / "ckpt-3", list_variables(model) | TRAINING)
    status, out, _ = run(capsys, "import", "deeplab2", prefix, "--output", tmp_path / "out")
    assert status == 0
    assert f"{num_classes} classes ({classes})" in out
    assert "passed over, state of the training: 4" in out
    loaded, config = load_checkpoint(tmp_path / "out")
    check_equal(loaded, model)
    assert (config.void_class, len(config.categories)) == (void, num_classes)
    assert config.postprocess is not None
    assert config.postprocess["nms_kernel"] == {"cityscapes": 13, "coco": 41}[classes]
    assert [file["name"] for file in config.recipe["imported"]["files"]] == [
        "ckpt-3.data-00000-of-00001",
        "ckpt-3.index",
    ]


def test_an_imported_network_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_bundle(tmp_path / "ckpt", list_variables(build_tiny(3)))
    classes = tmp_path / "classes.json"
    listed = [{"id": 5 + number, "name": name, "isthing": number} for number, name in enumerate(("sky", "cell"))]
    classes.write_text(json.dumps({"categories": listed}))
    status, out, _ = run(capsys, "import", "deeplab2", prefix, "--output", tmp_path / "out", "--classes", classes)
    assert (status, "3 classes" in out) == (0, True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "image.png")
    status, _, err = run(
        capsys, "predict", tmp_path / "image.png", "--checkpoint", tmp_path / "out", "--output", tmp_path / "seen"
    )
    assert status == 0, err
    result = json.loads((tmp_path / "seen" / "predictions.json").read_text())
    assert {category["id"] for category in result["categories"]} <= {0, 5, 6}


def test_an_archive_gives_the_same_as_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_bundle(tmp_path / "run" / "ckpt", list_variables(build_tiny(19)))
    archive = pack(tmp_path / "model.tar.gz", {f"zoo/{path.name}": path for path in prefix.parent.iterdir()})
    for source, name in ((prefix, "a"), (archive, "b")):
        assert run(capsys, "import", "deeplab2", source, "--output", tmp_path / name)[0] == 0
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    (file,) = load_checkpoint(tmp_path / "b")[1].recipe["imported"]["files"]
    assert (file["name"], file["bytes"]) == ("model.tar.gz", archive.stat().st_size)


@pytest.mark.parametrize("root", ["encoder", "backbone/_encoder"])
def test_an_encoder_gets_heads_that_do_not_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], root: str
) -> None:
    model = build_tiny(19)
    variables = list_variables(model, heads=False)
    variables = {name.replace("encoder/", f"{root}/", 1): value for name, value in variables.items()}
    prefix = write_bundle(tmp_path / "ckpt", variables | {"classifier/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.ones(3)})
    status, out, _ = run(capsys, "import", "deeplab2", prefix, "--output", tmp_path / "out")
    assert status == 0
    assert "random weights: semantic_decoder, instance_decoder" in out
    assert "left over: classifier/kernel/.ATTRIBUTES/VARIABLE_VALUE" in out
    loaded, config = load_checkpoint(tmp_path / "out")
    check_equal(loaded.encoder, model.encoder)
    assert len(config.untrained) == 5
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    status, _, err = run(
        capsys, "predict", tmp_path / "image.png", "--checkpoint", tmp_path / "out", "--output", tmp_path / "seen"
    )
    assert (status, err.count("\n")) == (2, 1)
    assert "has random weights in semantic_decoder" in err


def test_the_stacked_decoder_is_passed_over_and_names_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stacked = {
        "encoder/_decoder_stage1/_block1/_conv1_bn_act/_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.ones(4, np.float32),
        "encoder/_decoder_stage2_resized_fuse/_resized_conv_bn1/_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.ones(2),
    }
    prefix = write_bundle(tmp_path / "ckpt", list_variables(build_tiny(19)) | stacked)
    status, out, _ = run(capsys, "import", "deeplab2", prefix, "--output", tmp_path / "out")
    assert status == 0
    assert "passed over, stacked decoder that no output reads: 2" in out


def test_authors_classifier_goes_through_a_file_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_tiny_authors(3)
    path, names = save_authors_file(tmp_path / "3.pth", model), tmp_path / "names.txt"
    names.write_text("cat\ndog\nowl\n")
    status, out, _ = run(capsys, "import", "official-pytorch", path, "--output", tmp_path / "out", "--classes", names)
    assert (status, "3 classes" in out) == (0, True)
    loaded, config = load_checkpoint(tmp_path / "out")
    check_equal(loaded, model)
    assert [category.name for category in config.categories] == ["cat", "dog", "owl"]


def test_a_known_classifier_gets_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_authors_file(tmp_path / "26s.pth", build_model("authors_axial26s", num_classes=2))  # type: ignore[arg-type]
    status, out, _ = run(capsys, "import", "official-pytorch", path, "--output", tmp_path / "out")
    assert (status, out.startswith("authors_axial26s: ")) == (0, True)
    assert load_checkpoint(tmp_path / "out")[1].architecture is None


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "it ran"
    torch.save({"net": {"conv1.weight": torch.ones(1)}, "trap": Trap(mark)}, tmp_path / "zip.pth")
    torch.save({"trap": Trap(mark)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(mark)))
    for name in ("zip.pth", "old.pth", "plain.pth"):
        status, _, err = run(capsys, "import", "official-pytorch", tmp_path / name, "--output", tmp_path / "out")
        assert (status, err.count("\n")) == (2, 1)
        assert "was not unpickled" in err
    assert not mark.exists()
    assert not (tmp_path / "out").exists()
    pickle.loads((tmp_path / "plain.pth").read_bytes())
    assert mark.exists()  # the trap works


def make_foreign(folder: Path) -> list[tuple[str, Path, list[str], str]]:
    """Write files that are wrong in one way each: form, path, further arguments, what is said."""
    whole = save_authors_file(folder / "whole.pth", build_tiny_authors(3)).read_bytes()
    (folder / "cut.pth").write_bytes(whole[:-3000])
    (folder / "text.pth").write_text("nothing")
    (folder / "empty.pth").write_bytes(b"")
    torch.save(torch.ones(3), folder / "tensor.pth")
    torch.save({"layer.weight": torch.ones(3)}, folder / "other.pth")
    torch.save({"net": {"conv1.weight": "text"}}, folder / "words.pth")
    saved = torch.load(folder / "whole.pth", weights_only=True)
    for name, change in (
        ("wide", {"module.layer3.0.conv_up.weight": torch.ones(7, 7)}),
        ("more", {"module.layer5.0.weight": torch.ones(1)}),
        ("late", {"module.layer4.1.bn1.weight": torch.ones(128)}),
        ("flat", {"module.layer2.0.hight_block.relative": torch.ones(3)}),
    ):
        torch.save({"net": saved["net"] | change}, folder / f"{name}.pth")
    variables = list_variables(build_tiny(4))
    kernel = next(name for name in variables if "_stage4/_block2/_attention/_height_axis/qkv_kernel" in name)
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    for name, change in (
        ("turned", {kernel: np.ascontiguousarray(variables[kernel].T)}),
        ("flat", {kernel: variables[kernel].ravel()}),
        ("extra", {f"encoder/_stage2/_block1/_squeeze/kernel{suffix}": np.ones(2, np.float32)}),
        ("fine", {}),
    ):
        write_bundle(folder / name, variables | change)
    write_bundle(folder / "lacking", {name: value for name, value in variables.items() if name != kernel})
    write_bundle(folder / "strange", {f"model/dense/kernel{suffix}": np.ones(2, np.float32)})
    damaged = folder / "fine.data-00000-of-00001"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    (folder / "bad.json").write_text("[1]")
    pytorch, deeplab2 = "official-pytorch", "deeplab2"
    return [
        (pytorch, folder / "absent.pth", [], "does not exist: expected a .pth file"),
        (pytorch, folder / "cut.pth", [], "is damaged, or no file of PyTorch"),
        (pytorch, folder / "text.pth", [], "or is damaged"),
        (pytorch, folder / "empty.pth", [], "is damaged, or no file of PyTorch"),
        (pytorch, folder / "tensor.pth", [], "holds no weights by name"),
        (pytorch, folder / "other.pth", [], "not a classifier of the authors' PyTorch code: conv1.weight is missing"),
        (pytorch, folder / "words.pth", [], "words.pth: "),
        (pytorch, folder / "wide.pth", [], "weight layer3.0.conv_up.weight has shape (7, 7)"),
        (pytorch, folder / "more.pth", [], "weight layer5.0.weight has no place in this network"),
        (pytorch, folder / "late.pth", [], "weights are missing, such as that of encoder.stages.3.1"),
        (pytorch, folder / "flat.pth", [], "flat.pth: "),
        (pytorch, folder / "whole.pth", ["--classes", str(folder / "bad.json")], "class 0 must be an object"),
        (pytorch, folder / "whole.pth", ["--classes", "cityscapes"], "has 3 classes, and the list cityscapes has 19"),
        (deeplab2, folder / "absent", [], "is no checkpoint: expected"),
        (deeplab2, folder / "whole.pth", [], "is damaged, or no archive"),
        (deeplab2, folder / "turned", [], "expected"),
        (deeplab2, folder / "flat", [], "expected 2 dimensions"),
        (deeplab2, folder / "extra", [], "1 variables have no place in this network: encoder/stage2/block1/squeeze"),
        (deeplab2, folder / "lacking", [], "height_axis/qkv_kernel is missing"),
        (deeplab2, folder / "strange", [], "not a deeplab2 network: variable encoder/stem"),
        (deeplab2, folder / "fine", [], "is damaged: the checksum of variable"),
        (deeplab2, folder / "turned", ["--output-stride", "12"], "output"),
        ("deeplab3", folder / "turned", [], "did you mean 'deeplab2'"),
        ("axial26s", folder / "turned", [], "is downloaded and takes no file"),
    ]


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, path, options, problem in make_foreign(tmp_path):
        status, out, err = run(capsys, "import", form, path, "--output", tmp_path / "out", *options)
        assert (status, out, err.count("\n")) == (2, "", 1), (form, path.name, err)
        assert problem in err, (form, path.name)
        assert not (tmp_path / "out" / "config.json").exists()


def test_heads_of_unknown_classes_need_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_bundle(tmp_path / "ckpt", list_variables(build_tiny(4)))
    status, _, err = run(capsys, "import", "deeplab2", prefix, "--output", tmp_path / "out")
    assert (status, "has 4 classes and cannot name them: add --classes FILE.json" in err) == (2, True)


def test_a_described_architecture_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_bundle(tmp_path / "ckpt", list_variables(build_tiny(19)))
    assert run(capsys, "import", "deeplab2", prefix, "--output", tmp_path / "out")[0] == 0
    path = tmp_path / "out" / "config.json"
    for change, problem in (
        ({"context": "pyramid"}, "context must be one of"),
        ({"encoder": None}, "must be a table of fields"),
        ({"colour": 1}, "has no field 'colour'"),
    ):
        config = json.loads(path.read_text())
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / "model.safetensors").write_bytes((tmp_path / "out" / "model.safetensors").read_bytes())
        config["architecture"] |= change
        (tmp_path / "bad" / "config.json").write_text(json.dumps(config))
        status, _, err = run(
            capsys, "predict", tmp_path, "--checkpoint", tmp_path / "bad", "--output", tmp_path / "seen"
        )
        assert (status, err.count("\n"), problem in err) == (2, 1, True), err

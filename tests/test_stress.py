"""The stress test shows the network other sizes, and scores at the size of the labels."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from axial_deeplab.data.scenes import SCENE_CATEGORIES, SceneDataset
from axial_deeplab.errors import InputError
from axial_deeplab.evaluate import evaluate
from axial_deeplab.predict import Predictor
from axial_deeplab.records import PanopticOutput
from axial_deeplab.stress import draw_curves, format_rows, predict_scaled, stress
from tests.test_predict import RedIsBox, make_config


class WatchedNetwork(RedIsBox):
    """Remember the sizes of what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> PanopticOutput:
        self.sizes.append(tuple(images.shape[2:]))
        return super().forward(images)


def test_network_sees_the_scaled_image_and_the_map_has_the_size_of_the_label() -> None:
    network, image = WatchedNetwork(), torch.zeros(3, 40, 60, dtype=torch.uint8)
    for preprocess in ({}, {"longest_side": 120}):
        predictor = Predictor(network, make_config(**preprocess), "cpu")
        for scale in (0.25, 1.0, 2.0):
            prediction = predict_scaled(predictor, image, scale)
            assert prediction.panoptic_map.shape == (40, 60)
            assert sum(segment.area for segment in prediction.segments) == 40 * 60
    assert network.sizes == [(17, 17), (49, 65), (81, 129), (33, 33), (81, 129), (161, 241)]  # 16 k + 1


def test_scale_1_is_evaluation(tmp_path: Path) -> None:
    dataset, predictor = SceneDataset(3, size=64), Predictor(RedIsBox(), make_config(), "cpu")
    reports = stress(predictor, dataset, (2.0, 1.0), tmp_path / "stress")
    assert [row.scale for row in reports] == [1.0, 2.0]
    expected = evaluate(predictor, dataset, tmp_path / "out")
    assert reports[0].report == expected
    assert reports[1].report != expected
    with (tmp_path / "stress" / "stress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["scale"]) for row in rows] == [1.0, 2.0]
    assert list(rows[0]) == [
        "scale",
        *(f"{key}{group}" for group in ("", "_things", "_stuff") for key in ("pq", "sq", "rq")),
    ]
    assert float(rows[0]["pq_stuff"]) == pytest.approx(100 * expected.stuff.pq, rel=1e-5)
    assert len(format_rows(reports).splitlines()) == 3
    with Image.open(tmp_path / "stress" / "stress.png") as chart:
        assert chart.tobytes() == draw_curves(reports).tobytes()


@pytest.mark.parametrize("scales", [(), (1.0, 1.0), (0.0,), (float("inf"),)])
def test_bad_scales_are_refused(scales: tuple[float, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="different positive numbers"):
        stress(Predictor(RedIsBox(), make_config(), "cpu"), SceneDataset(1, size=64), scales, tmp_path)


def test_what_does_not_fit_on_the_gpu_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(images: torch.Tensor) -> PanopticOutput:
        raise torch.OutOfMemoryError("CUDA out of memory")

    predictor = Predictor(RedIsBox(), make_config(), "cpu")
    monkeypatch.setattr(predictor.model, "forward", fail)
    with pytest.raises(InputError, match=r"scene_0+\.png at scale 4 is too large .* --tile"):
        stress(predictor, SceneDataset(1, size=64), (4.0,), tmp_path)


def test_classes_must_agree(tmp_path: Path) -> None:
    dataset = SceneDataset(1, size=64)
    dataset.categories = SCENE_CATEGORIES[:5]  # type: ignore[misc]
    with pytest.raises(InputError, match="differ in the categories"):
        stress(Predictor(RedIsBox(), make_config(), "cpu"), dataset, (1.0,), tmp_path)

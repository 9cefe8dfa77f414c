"""Scores of classification against counts by hand."""

import pytest
import torch

from axial_deeplab.metrics.class_scores import ClassScores
from axial_deeplab.records import Category


def make_scores(classes: int) -> ClassScores:
    return ClassScores([Category(number, f"class {number}", False) for number in range(classes)])


def test_counts_by_hand() -> None:
    scores = make_scores(7)
    logits = torch.tensor(
        [[6.0, 5, 4, 3, 2, 1, 0], [6, 5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5, 6], [1, 0, 0, 0, 0, 0, 2]]
    )
    scores.update(logits, torch.tensor([0, 4, 1, 6]))
    report = scores.compute()
    assert (report.top1, report.top5, report.images) == (0.5, 0.75, 4)
    assert report.confusion[4][0] == 1
    assert report.confusion[1][6] == 1
    assert report.per_class["class 0"] == {"accuracy": 1.0, "images": 1}
    assert report.per_class["class 2"] == {"accuracy": None, "images": 0}
    assert "top-5" in report.format_table()


def test_five_classes_have_no_top5() -> None:
    scores = make_scores(5)
    scores.update(torch.eye(5), torch.arange(5))
    report = scores.compute()
    assert (report.top1, report.top5) == (1.0, None)
    assert "top-5" not in report.format_table()


def test_merged_counts_are_those_of_all_images() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(40, 9, generator=generator), torch.randint(9, (40,), generator=generator)
    whole, first, second = make_scores(9), make_scores(9), make_scores(9)
    whole.update(logits, labels)
    first.update(logits[:13], labels[:13])
    second.update(logits[13:], labels[13:])
    first.merge(second)
    assert first.compute() == whole.compute()
    share = torch.tensor([label in row.topk(5).indices for row, label in zip(logits, labels, strict=True)])
    assert whole.compute().top5 == pytest.approx(float(share.double().mean()))

"""The warmed-up average against the formula, through PyTorch's own bookkeeping."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from axial_deeplab.training.averaging import make_average


def test_average_follows_the_formula_for_weights_and_buffers() -> None:
    model = nn.BatchNorm1d(1, track_running_stats=True)
    del model.num_batches_tracked
    averaged = AveragedModel(model, multi_avg_fn=make_average(0.3), use_buffers=True)
    expected = 0.0
    for update in range(8):
        with torch.no_grad():
            model.weight.fill_(float(update))
            model.running_mean.fill_(float(-update))
        averaged.update_parameters(model)
        kept = 0.0 if update == 0 else min(0.3, (1 + update) / (10 + update))
        expected = kept * expected + (1 - kept) * update
    assert averaged.module.weight.item() == pytest.approx(expected)
    assert averaged.module.running_mean.item() == pytest.approx(-expected)

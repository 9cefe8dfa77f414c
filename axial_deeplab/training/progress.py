"""The progress bar of a run: steps with the time left, the losses, the speed, and each score as a line of its own."""

import sys

import lightning.pytorch as pl
from lightning.pytorch.callbacks import LambdaCallback
from tqdm import tqdm  # type: ignore[import-untyped]

from axial_deeplab.training.training_task import TrainingTask

REFRESH_SECONDS = 0.5 if sys.stderr.isatty() else 30.0


def make_progress_bar() -> LambdaCallback:
    """Return the callback that draws the bar on the first process."""
    bar = tqdm(disable=True)

    def start(trainer: pl.Trainer, task: pl.LightningModule) -> None:
        nonlocal bar
        assert isinstance(task, TrainingTask)
        bar = tqdm(
            total=task.recipe.iterations,
            initial=trainer.global_step,
            desc=task.recipe.name,
            unit="step",
            mininterval=REFRESH_SECONDS,
            dynamic_ncols=True,
            disable=not trainer.is_global_zero,
        )

    def update(trainer: pl.Trainer, task: pl.LightningModule, *_: object) -> None:
        assert isinstance(task, TrainingTask)
        if trainer.global_step % 10 == 0:
            bar.set_postfix(describe_step(task), refresh=False)
        bar.update(trainer.global_step - bar.n)

    def show_score(trainer: pl.Trainer, task: pl.LightningModule) -> None:
        assert isinstance(task, TrainingTask)
        if trainer.is_global_zero:
            bar.write(f"step {trainer.global_step}: {task.describe_score()}", file=sys.stderr)

    def stop(*_: object) -> None:
        bar.close()

    return LambdaCallback(
        on_train_start=start,
        on_train_batch_end=update,
        on_validation_end=show_score,
        on_train_end=stop,
        on_exception=stop,
    )


def describe_step(task: TrainingTask) -> dict[str, str]:
    """Return the losses of the latest step, images per second of all processes, and the share of time without data."""
    losses = {name: f"{float(loss):.3g}" for name, loss in task.losses.items()}
    speed = task.throughput.images_per_second * task.trainer.world_size
    return losses | {"images/s": f"{speed:.3g}", "waiting": f"{task.throughput.waiting_share:.0%}"}

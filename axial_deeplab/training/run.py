"""Run a recipe: build everything, train, score, and leave the best weights where `axial_deeplab.load` finds them."""

import logging
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from axial_deeplab.checkpoints.load import load_checkpoint, save_checkpoint
from axial_deeplab.data.files import write_json
from axial_deeplab.errors import InputError
from axial_deeplab.models import count_parameters
from axial_deeplab.serialization import to_plain
from axial_deeplab.training.averaging import make_average
from axial_deeplab.training.config import RunConfig
from axial_deeplab.training.cuda_graph import check_graphable
from axial_deeplab.training.hardware import describe_fit, describe_small_statistics, fit_to_hardware
from axial_deeplab.training.kinds import AnyRecipe
from axial_deeplab.training.networks import build_network, start_from
from axial_deeplab.training.parts import prepare_parts
from axial_deeplab.training.progress import make_progress_bar
from axial_deeplab.training.run_folder import prepare_run
from axial_deeplab.training.training_task import TrainingTask


def train(recipe: AnyRecipe, output: str | Path, *, resume: bool = False) -> dict[str, Any]:
    """Train a network and return what `result.json` holds.

    A killed run continues with `resume` from its last score, with the samples, learning rates and averages it would have
    had. With several devices this function runs once in each process and returns the same in all.

    Args:
        recipe: The experiment.
        output: Folder of the run; see `run_folder` for what it gets.
        resume: Continue the run in `output`, or begin it if there is none.

    Raises:
        InputError: If recipe, data or folder are at fault, or the loss is no longer finite.
    """
    output = Path(output)
    world_size = count_devices(recipe)
    check_graphable(recipe, world_size)
    parts = prepare_parts(recipe)
    fitted = fit_to_hardware(parts.recipe, world_size)
    if parts.num_scored < world_size:
        raise InputError(
            f"{parts.num_scored} images to score cannot be shared by {world_size} processes: lower --devices"
        )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no advertisements
    pl.seed_everything(recipe.seed, verbose=False)
    last = output / "checkpoints" / "last.ckpt"
    resumes = resume and last.exists()
    model = build_network(recipe.model, len(parts.categories), world_size=world_size)
    # A run that resumes has its weights itself.
    transferred = None if resumes else start_from(model, recipe, parts.categories)
    if recipe.compile:
        model.compile()
    rank_zero_only(prepare_run)(output, recipe, resume=resume, processes=world_size)
    if transferred is not None:
        rank_zero_only(write_json)(output / "init.json", to_plain(transferred), indent=2)
        rank_zero_only(print)(transferred.describe(), file=sys.stderr)
    small = describe_small_statistics(model, recipe.batch_size * world_size)
    notes = (describe_fit(parts.recipe, fitted, world_size), small)
    rank_zero_only(print)(*filter(None, notes), sep="\n", file=sys.stderr)
    task = parts.make_task(model, fitted)
    trainer = build_trainer(fitted, output, world_size, monitor=task.MONITOR)
    fit(trainer, task, parts.make_data(fitted), checkpoint=last if resumes else None)
    return finish(trainer, task, output)


def count_devices(recipe: RunConfig) -> int:
    """Return the number of processes that the recipe asks for, one for each GPU unless it says otherwise."""
    return recipe.devices or torch.cuda.device_count() or 1


def print_once(text: str) -> None:
    """Print a line, in the first of a run's processes alone."""
    rank_zero_only(print)(text)


def choose_precision(recipe: RunConfig) -> Literal["32-true", "bf16-mixed"]:
    """Resolve "auto" for the hardware at hand."""
    if recipe.precision != "auto":
        return recipe.precision
    return (
        "bf16-mixed"
        if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        else "32-true"
    )


def build_trainer(recipe: RunConfig, output: Path, world_size: int, *, monitor: str) -> pl.Trainer:
    """Build Lightning's loop for a fitted recipe. The whole run is one epoch of it, so a step is a step."""
    table = CSVLogger(output, name="logs", flush_logs_every_n_steps=1)
    loggers = [table, TensorBoardLogger(output, name="logs", version=table.version)]
    return pl.Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=world_size,
        strategy="ddp" if world_size > 1 else "auto",
        precision=choose_precision(recipe),
        max_epochs=1,
        accumulate_grad_batches=recipe.accumulate,
        val_check_interval=recipe.val_every * recipe.accumulate,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, recipe.iterations),
        use_distributed_sampler=False,
        default_root_dir=output,
        logger=loggers,
        callbacks=build_callbacks(recipe, output / "checkpoints", monitor=monitor),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class MovableCheckpoint(ModelCheckpoint):
    """Remember the best score also where the run's folder has been moved since it was killed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = Path(str(self.dirpath))
        state = state_dict | {"dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = state[name] and str(folder / Path(state[name]).name)
        state["best_k_models"] = {
            str(folder / Path(path).name): score for path, score in state_dict["best_k_models"].items()
        }
        super().load_state_dict(state)


def build_callbacks(recipe: RunConfig, folder: Path, *, monitor: str) -> list[Callback]:
    """Build the averaging, the stopping rule, the progress bar, and the two checkpoints, written after each score."""
    best = MovableCheckpoint(
        folder, "best", monitor=monitor, mode="max", enable_version_counter=False, save_on_train_epoch_end=False
    )
    last = MovableCheckpoint(folder, "last", enable_version_counter=False, save_on_train_epoch_end=False)
    callbacks: list[Callback] = [make_progress_bar(), best, last]
    if recipe.patience:
        callbacks.append(EarlyStopping(monitor, mode="max", patience=recipe.patience))
    if recipe.ema_decay:
        callbacks.append(WeightAveraging(multi_avg_fn=make_average(recipe.ema_decay)))
    return callbacks


def fit(trainer: pl.Trainer, task: TrainingTask, data: pl.LightningDataModule, *, checkpoint: Path | None) -> None:
    """Run the loop from the beginning or from a checkpoint.

    Raises:
        InputError: If the GPU's memory is too small.
        KeyboardInterrupt: If the run was interrupted.
    """
    with warnings.catch_warnings():
        # The loader begins at the step of the checkpoint by itself, workers are the recipe's business, and `prepare_run`
        # has looked into the folder.
        warnings.filterwarnings("ignore", message=".*dataloader is not resumable")
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message="Checkpoint directory .* is not empty")
        # Scores are gathered before they are logged.
        warnings.filterwarnings("ignore", message=".*sync_dist=True")
        # Inside Lightning, nothing that a caller could change.
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.")
        try:
            trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
        except torch.OutOfMemoryError:
            raise InputError("the GPU's memory is too small: lower batch_size and raise accumulate as much") from None
        except SystemExit:  # how Lightning leaves after Ctrl-C, which it then ignores for good
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None


def finish(trainer: pl.Trainer, task: TrainingTask, output: Path) -> dict[str, Any]:
    """Export the best weights, and record scores and costs in `result.json`."""
    model, config = load_checkpoint(output / "checkpoints" / "best.ckpt")
    recipe = task.recipe
    images = recipe.batch_size * recipe.accumulate * trainer.world_size * trainer.global_step
    result = config.measured | {
        "name": recipe.name,
        "seed": recipe.seed,
        "steps": trainer.global_step,
        "images": images,
        "seconds": task.throughput.seconds,
        "images_per_second": images / task.throughput.seconds,
        "waiting_for_data": task.throughput.waiting_share,
        "parameters": count_parameters(model),
    }
    if trainer.is_global_zero:
        save_checkpoint(output / "checkpoint", model, config)
        write_json(output / "result.json", result, indent=2)
    return result

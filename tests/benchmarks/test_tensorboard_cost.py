"""What TensorBoard costs: at most 3 % of the training time, of a run of the pipeline with all that it shows."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import pytest
import torch
from comparing import all_cores, rounded, seconds_of, threads
from trainings import DEFAULT, FAST, network, noise, steps_of, training_of

from mnist_dvc.report.tensorboard import HISTOGRAMS, TensorBoardReport
from mnist_dvc.running.measuring import MOST_MEASURED
from mnist_dvc.training.events import EpochEnded, EpochRow, Measured
from mnist_dvc.training.selection import Schedule

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.training.engine import Training

STEPS, WARM_UP = 12, 2
ROW = EpochRow(epoch=1, train_loss=0.5, val_loss=0.5, train_accuracy=0.9, val_accuracy=0.9, lr=0.1)


@pytest.mark.benchmark(group="tensorboard")
@pytest.mark.parametrize(("recipe", "images"), [("default", 55_000), ("fast", 60_000)])
def test_tensorboard_against_the_training(
    benchmark: Any, device: torch.device, tmp_path: Path, recipe: str, images: int
) -> None:
    """Opening, epochs, those with histograms, measured steps; steps are timed in the same run. A trial shows less."""
    chosen = {"default": DEFAULT, "fast": FAST}[recipe]
    params, model = chosen.train, network(chosen.model.name)
    with threads(all_cores()):
        training = training_of(model, noise(params.batch_size * STEPS), params, device)
        take = steps_of(training)
        take(WARM_UP)
        step = statistics.median(seconds_of(lambda: take(1), device) for _ in range(STEPS))
        reports: list[TensorBoardReport] = []
        opening = seconds_of(lambda: reports.append(report_of(tmp_path, model, timed=recipe == "fast")), device)
        point = Measured(step=1, loss=0.5, lr=0.1, gradient_norm=1.0)
        measuring = statistics.median(
            seconds_of(lambda: measure_once(training, reports[0], point), device) for _ in range(50)
        )
        ended = EpochEnded(row=ROW, images_per_second=1.0, gradient_norm=1.0)
        benchmark.pedantic(lambda: reports[0].handle(ended), rounds=5)
    steps = Schedule(images, params).steps
    points = min(steps, MOST_MEASURED)
    epoch = benchmark.stats.stats.median
    cost = opening + points * measuring + min(params.epochs, HISTOGRAMS) * epoch
    benchmark.extra_info |= {
        "recipe": recipe,
        "threads": all_cores(),
        "opening_seconds": rounded(opening),
        "epoch_with_histograms_seconds": rounded(epoch),
        "measured_step_seconds": rounded(measuring),
        "step_seconds": round(step, 5),
        "tensorboard_over_training": round(cost / (step * steps), 5),
    }


def report_of(folder: Path, model: torch.nn.Module, *, timed: bool) -> TensorBoardReport:
    fed_N1HW = None if timed else torch.rand(64, 1, 28, 28)
    return TensorBoardReport(folder, model, fed_N1HW=fed_N1HW, params={"seed": 1}, card="card", epochs=1, say=print)


def measure_once(training: Training, report: TensorBoardReport, point: Measured) -> None:
    training.capture()  # before the step
    training.capture()  # after it
    report.handle(point)

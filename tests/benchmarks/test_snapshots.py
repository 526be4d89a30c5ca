"""What snapshots cost: at most 1 % of the training time, at the rate at which the stage saves them."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import ROOT, blobs

from mnist_dvc.data.digits import Digits
from mnist_dvc.model import build
from mnist_dvc.params import ModelParams, load_params
from mnist_dvc.running.run import SNAPSHOT_EVERY
from mnist_dvc.runtime import choose_precision
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import Stepped
from mnist_dvc.training.snapshot import Snapshot, SnapshotFolder

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = 55_000
"""Training images of a default run; the benchmark trains on fewer and counts the steps of as many."""
STEPS = 12


def training() -> Training:
    """The reference network under the committed recipe."""
    params = load_params(ROOT / "params.yaml")
    model = build(ModelParams(name="reference", dropout=0.0), torch.Generator().manual_seed(0))
    digits = Digits.on(torch.device("cpu"), blobs(params.train.batch_size * STEPS // 10 + 1))
    torch.set_num_threads(params.train.threads)
    precision = choose_precision(params.train.precision, torch.device("cpu"))
    return Training(Job(model=model, digits=digits, validation=None, params=params.train, precision=precision))


@pytest.mark.benchmark(group="snapshots")
def test_snapshot_against_the_training_between_two(benchmark: Any, tmp_path: Path) -> None:
    """Steps are timed in the same run, so that a busy machine slows both."""
    run, seconds = training(), []
    events, last = run.events(), time.perf_counter()
    for event in events:
        now = time.perf_counter()
        if isinstance(event, Stepped):
            seconds.append(now - last)
        last = now
        if len(seconds) == STEPS:
            break
    folder = SnapshotFolder(tmp_path, {"code": "benchmark"})
    benchmark(lambda: folder.save(Snapshot(state=run.capture(), began=0.0, seconds=0.0)))
    step = statistics.median(seconds)
    epoch = step * (IMAGES // load_params(ROOT / "params.yaml").train.batch_size)
    saved = benchmark.stats.stats.median
    benchmark.extra_info |= {
        "threads": torch.get_num_threads(),
        "step_seconds": round(step, 5),
        "epoch_seconds": round(epoch, 2),
        "snapshot_over_epoch": round(saved / epoch, 6),
        "snapshot_over_interval": round(saved / min(epoch, SNAPSHOT_EVERY), 6),
        "snapshot_bytes": folder.paths()[0].stat().st_size,
    }

"""What snapshots cost: at most 1 % of the training time, at the rate at which the stage saves them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import pytest
from comparing import all_cores, rounded, seconds_of, synchronised, threads
from trainings import DEFAULT, network, noise, steps_of, training_of

from mnist_dvc.running.run import SNAPSHOT_EVERY
from mnist_dvc.training.snapshot import Snapshot, SnapshotFolder

if TYPE_CHECKING:
    from pathlib import Path

    import torch

IMAGES = 55_000
"""Training images of a default run; the benchmark trains on fewer and counts the steps of as many."""
STEPS, WARM_UP = 12, 2


@pytest.mark.benchmark(group="snapshots")
def test_snapshot_against_the_training_between_two(benchmark: Any, device: torch.device, tmp_path: Path) -> None:
    """From the state on the device to bytes on the disk; steps are timed in the same run, so that load slows both."""
    params = DEFAULT.train
    with threads(all_cores()):
        training = training_of(network(DEFAULT.model.name), noise(params.batch_size * STEPS), params, device)
        take = steps_of(training)
        take(WARM_UP)
        step = statistics.median(seconds_of(lambda: take(1), device) for _ in range(STEPS))
        folder = SnapshotFolder(tmp_path, {"code": "benchmark"})
        benchmark(synchronised(device, lambda: folder.save(Snapshot(state=training.capture(), began=0.0, seconds=0.0))))
    epoch, saved = step * (IMAGES // params.batch_size), benchmark.stats.stats.median
    benchmark.extra_info |= {
        "network": DEFAULT.model.name,
        "threads": all_cores(),
        "seconds": rounded(saved),
        "step_seconds": round(step, 5),
        "epoch_seconds": round(epoch, 2),
        "snapshot_over_epoch": round(saved / epoch, 6),
        "snapshot_over_interval": round(saved / min(epoch, SNAPSHOT_EVERY), 6),
        "snapshot_bytes": folder.paths()[0].stat().st_size,
    }

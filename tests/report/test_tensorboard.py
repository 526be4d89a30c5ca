from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_dvc.report.tensorboard import TensorBoardReport
from mnist_dvc.training.events import EpochEnded, EpochRow, Stepped

if TYPE_CHECKING:
    from pathlib import Path

TAGS = {
    "loss/train",
    "loss/val",
    "accuracy/train",
    "accuracy/val",
    "lr",
    "throughput/images_per_second",
    "grad_norm",
}


def ended(epoch: int, val: float | None = 0.5) -> EpochEnded:
    row = EpochRow(epoch=epoch, train_loss=1 / epoch, val_loss=val, train_accuracy=0.5, val_accuracy=val, lr=0.25)
    return EpochEnded(row=row, images_per_second=1000.0, gradient_norm=2.0)


def written(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def test_each_epoch_is_a_point_under_the_fixed_tags_in_one_run(tmp_path: Path) -> None:
    with TensorBoardReport(tmp_path, say=print) as report:
        report.handle(Stepped(step=1))
        for epoch in (1, 2, 4):
            report.handle(ended(epoch))
    (file,) = tmp_path.iterdir()
    assert file.is_file()
    accumulator = written(tmp_path)
    tags = accumulator.Tags()
    assert set(tags["scalars"]) == TAGS
    points = accumulator.Scalars("loss/train")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5), (4, 0.25)]
    assert "custom_scalars__config__" in tags["tensors"]


def test_epochs_are_visible_before_the_run_ends(tmp_path: Path) -> None:
    with TensorBoardReport(tmp_path, say=print) as report:
        report.handle(ended(1))
        assert written(tmp_path).Scalars("lr")[0].value == pytest.approx(0.25)


def test_without_validation_there_are_no_such_curves(tmp_path: Path) -> None:
    with TensorBoardReport(tmp_path, say=print) as report:
        report.handle(ended(1, val=None))
    assert set(written(tmp_path).Tags()["scalars"]) == TAGS - {"loss/val", "accuracy/val"}

"""A training whose process is lost on the way: its snapshots stay, and nothing of it was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from helpers import params, prepared_workspace

from mnist_dvc.pipeline.train import train
from mnist_dvc.training.engine import Training

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.paths import Paths

STEPS, LOST_AT = 14, 9
"""The process is lost in the middle of step 9, so that the snapshots of steps 7 and 8 stay."""


class LostError(Exception):
    """Stands for the end of the process."""


def lost_training(folder: Path) -> Paths:
    """A workspace in ``folder`` with the snapshots of such a training."""
    paths = prepared_workspace(folder)
    train_on = Training._train_on

    def lose(self: Training, *batch: Any) -> None:
        if self.step == LOST_AT - 1:
            raise LostError
        train_on(self, *batch)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Training, "_train_on", lose)
        with pytest.raises(LostError):
            train(params(), paths, snapshot_every=0.0)
    return paths

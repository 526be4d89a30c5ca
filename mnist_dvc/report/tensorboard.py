"""A training as TensorBoard curves: one run directory, no sub-runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from torch.utils.tensorboard import SummaryWriter

from mnist_dvc.training.events import EpochEnded

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.training.events import Event

__all__ = ["TensorBoardReport"]

LAYOUT = {
    "training against validation": {
        "loss": ["Multiline", ["loss/train", "loss/val"]],
        "accuracy": ["Multiline", ["accuracy/train", "accuracy/val"]],
    }
}


class TensorBoardReport:
    """Writes the scalars of each epoch under their fixed tags; a context manager that closes the event file."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is this run's own; an event file carries the time and the host, so it is no tracked output."""
        self._writer = SummaryWriter(str(folder))
        self._writer.add_custom_scalars(LAYOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def handle(self, event: Event) -> None:
        """Write an epoch's figures, flushed so that a running TensorBoard shows them; ignore other events."""
        if not isinstance(event, EpochEnded):
            return
        row = event.row
        scalars = {
            "loss/train": row.train_loss,
            "loss/val": row.val_loss,
            "accuracy/train": row.train_accuracy,
            "accuracy/val": row.val_accuracy,
            "lr": row.lr,
            "throughput/images_per_second": event.images_per_second,
            "grad_norm": event.gradient_norm,
        }
        for tag, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(tag, value, row.epoch)
        self._writer.flush()

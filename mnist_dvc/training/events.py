"""What a training tells while it runs; the engine yields these, reports and stages consume them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["HISTORY_COLUMNS", "EpochEnded", "EpochRow", "Event", "Finished", "Measured", "Started", "Stepped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """A row of the history: what an epoch came to. The same on every run of the same training.

    Training figures are of the newest augmented version of each image, whichever epoch saw it, and of the weights at
    that step (the loss with its label smoothing); validation figures are of the clean images and the averaged weights,
    after the epoch. Losses are in nats per image, accuracies fractions; ``lr`` is the rate of the epoch's last step.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    train_accuracy: float
    val_accuracy: float | None
    lr: float


HISTORY_COLUMNS = tuple(field.name for field in fields(EpochRow))
"""Names and order of the columns of history.csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The first event: what is about to run, with ``auto`` resolved, and what an earlier process did of it."""

    epochs: int
    steps: int
    device: str
    precision: str
    train_images: int
    validation_images: int
    step: int
    history: tuple[EpochRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """After each step; ``step`` counts from 1 to ``Started.steps``."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """After some of the steps, evenly spaced: what that one came to, the norm before it was clipped."""

    step: int
    loss: float
    lr: float
    gradient_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded:
    """After each epoch and its validation: the row, and what depends on the clock or interests a curve only."""

    row: EpochRow
    images_per_second: float
    gradient_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event: ``model`` is the averaged network, in evaluation mode."""

    model: nn.Module
    raw_model_state: dict[str, Any]
    optimizer_state: dict[str, Any]
    history: tuple[EpochRow, ...]


Event = Started | Stepped | Measured | EpochEnded | Finished

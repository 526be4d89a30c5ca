"""Loss, learning rate and gradient norm of single steps, for so many of them that a curve has its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_dvc.training.events import EpochEnded, Measured, Stepped
from mnist_dvc.training.optim import learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from mnist_dvc.training.engine import Job, Training
    from mnist_dvc.training.events import Event

__all__ = ["MOST_MEASURED", "measured"]

MOST_MEASURED = 200
"""Steps of a training: enough for the shape of a curve, few enough that a GPU, which waits at each, loses nothing."""


def measured(events: Iterable[Event], training: Training, job: Job) -> Iterator[Event]:
    """``events``, those of ``training``, with a ``Measured`` after every so many steps.

    Which steps depends on the job alone, and what they came to on the training alone, so one that is gone on with gives
    the same. The engine sums over an epoch: a step is the difference that it made, to the last digits of a float32.
    """
    every = -(-job.steps // MOST_MEASURED)
    before = _totals(training)
    for event in events:
        yield event
        match event:
            case Stepped(step=step) if step % every == 0:
                after = _totals(training)
                loss, gradient_norm = (after - before).tolist()
                rate = learning_rate(step - 1, job.steps, job.params)
                yield Measured(step=step, loss=loss, lr=rate, gradient_norm=gradient_norm)
                before = after
            case Stepped(step=step) if (step + 1) % every == 0:
                before = _totals(training)
            case EpochEnded():
                before = _totals(training)


def _totals(training: Training) -> Tensor:
    """Loss and gradient norm, summed over the steps of this epoch so far."""
    return training.capture().tensors["totals"]

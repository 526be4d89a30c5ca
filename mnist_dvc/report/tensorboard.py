"""A training and its evaluation as TensorBoard shows them: one run directory, no sub-runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch

from mnist_dvc.data.arrays import CLASSES, SIDE
from mnist_dvc.report.eventlog import EventLog
from mnist_dvc.training.events import EpochEnded, Finished, Measured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from mnist_dvc.metrics import Predictions
    from mnist_dvc.training.events import Event

__all__ = ["TensorBoardReport", "show_scores", "show_test"]

LAYOUT = {
    "training against validation": {
        "loss": ["Multiline", ["loss/train", "loss/val"]],
        "accuracy": ["Multiline", ["accuracy/train", "accuracy/val"]],
    }
}
METRICS = ("test/accuracy", "test/errors", "test/nll", "accuracy/val", "loss/val")
"""What stands beside the params in the HPARAMS tab."""
OF_A_STEP, OF_THE_TEST = "step/", "test/"
HISTOGRAMS = 5
"""Of each tensor, at most, spread over the epochs."""


class TensorBoardReport:
    """Writes what a training tells; a context manager that closes the event file.

    At the beginning: a card, the params, the graph and what the network is fed. Per step, of those that are measured:
    loss, learning rate, gradient norm. Per epoch: the scalars under their fixed tags. Every few epochs: histograms of
    the moving weights and of the gradients of the last step. What costs a second or more, the graph, the pictures and
    the histograms, can be left out.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        *,
        fed_N1HW: Tensor | None,
        params: Mapping[str, Any],
        card: str,
        epochs: int,
        step: int = 0,
        epochs_done: int = 0,
        say: Callable[[str], None],
    ) -> None:
        """Begin the run in ``folder``, or go on with it.

        Args:
            folder: of this run alone.
            model: the network that is trained, on its way.
            fed_N1HW: a few images as the network is fed them, in [0, 1]; None for neither these, graph nor histograms.
            params: by dotted key.
            card: Markdown.
            epochs: of the whole training.
            step: steps done by earlier processes; what these may have written beyond is forgotten.
            epochs_done: the same of epochs.
            say: receives the words about a failure.
        """

        def keep(tag: str, at: int) -> bool:
            return at <= (step if tag.startswith(OF_A_STEP) else epochs_done)

        self._log = EventLog(folder, keep=keep, say=say)
        self._model = model
        self._every = None if fed_N1HW is None else -(-epochs // HISTOGRAMS)
        if not self._log.opened:
            self._open(fed_N1HW, params, card)

    def _open(self, fed_N1HW: Tensor | None, params: Mapping[str, Any], card: str) -> None:
        with self._log.writing() as writer:
            if writer is not None:
                writer.add_custom_scalars(LAYOUT)
                writer.add_text("card", card, 0)
                if fed_N1HW is not None:
                    writer.add_images("fed/distorted", fed_N1HW.clamp(0.0, 1.0), 0)
        if fed_N1HW is not None:
            self._log.graph(self._model, torch.zeros(1, 1, SIDE, SIDE))
        self._log.begin_session(params, METRICS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._log.__exit__(*details)

    def handle(self, event: Event) -> None:
        """Write what ``event`` tells, flushed so that a running TensorBoard shows it."""
        match event:
            case Measured():
                values = {"loss": event.loss, "lr": event.lr, "grad_norm": event.gradient_norm}
                self._log.scalars({f"{OF_A_STEP}{name}": value for name, value in values.items()}, event.step)
            case EpochEnded():
                self._log.scalars(_scalars(event), event.row.epoch)
                if self._every is not None and event.row.epoch % self._every == 0:
                    self._histograms(event.row.epoch)
            case Finished():
                self._log.end_session()

    def _histograms(self, epoch: int) -> None:
        named = list(self._model.named_parameters())
        self._log.histograms("weights", named, epoch)
        self._log.histograms("gradients", ((name, parameter.grad) for name, parameter in named), epoch)


def _scalars(event: EpochEnded) -> dict[str, float | None]:
    row = event.row
    return {
        "loss/train": row.train_loss,
        "loss/val": row.val_loss,
        "accuracy/train": row.train_accuracy,
        "accuracy/val": row.val_accuracy,
        "lr": row.lr,
        "throughput/images_per_second": event.images_per_second,
        "grad_norm": event.gradient_norm,
    }


def show_scores(folder: Path, step: int, scores: Mapping[str, float], say: Callable[[str], None]) -> None:
    """Write the test scores of a training into its run, in place of what was there; arguments as :func:`show_test`."""
    with EventLog(folder, keep=_not_of_the_test, say=say) as log:
        log.scalars(_tagged(scores), step)


def _not_of_the_test(tag: str, _step: int) -> bool:
    return not tag.startswith(OF_THE_TEST)


def _tagged(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {f"{OF_THE_TEST}{name}": value for name, value in scores.items()}


def show_test(
    folder: Path,
    step: int,
    *,
    scores: Mapping[str, float],
    predictions: Predictions,
    pictures: Mapping[str, bytes],
    features_MD: Tensor,
    images_NHW: NDArray[np.uint8],
    classes: Sequence[str] = (),
    say: Callable[[str], None],
) -> None:
    """Write what an evaluation came to into the run of its training, in place of what an earlier one wrote.

    Args:
        folder: of the run.
        step: epochs of the training.
        scores: by name.
        predictions: of all N test images.
        pictures: PNG bytes by name.
        features_MD: what the last layer was given for the first M of them.
        images_NHW: the images.
        classes: what the labels 0, 1, ... are called; none where they are digits.
        say: receives the words about a failure.
    """
    names = [f"class_{name}" for name in classes] or [f"digit_{digit}" for digit in range(CLASSES)]
    with EventLog(folder, keep=_not_of_the_test, say=say) as log:
        log.scalars(_tagged(scores), step)
        for name, png in pictures.items():
            log.picture(f"{OF_THE_TEST}{name}", png, step)
        with log.writing() as writer:
            for label, name in enumerate(names):
                if writer is not None:
                    right_N, probabilities_N = predictions.labels_N == label, predictions.probabilities_NK[:, label]
                    writer.add_pr_curve(f"{OF_THE_TEST}{name}", right_N, probabilities_N, step)
        shown = len(features_MD)
        images_M1HW = torch.from_numpy(images_NHW[:shown]).unsqueeze(1).float() / 255.0
        labels = [classes[label] if classes else str(label) for label in predictions.labels_N[:shown].tolist()]
        log.projector("test_digits", features_MD, labels, images_M1HW, step)

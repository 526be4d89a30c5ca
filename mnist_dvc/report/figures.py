"""The figures of an evaluation as PNG bytes, the same bytes for the same numbers."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mnist_dvc.report.classes import answer_names, shortened, shown_classes
from mnist_dvc.report.png import png_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mnist_dvc.metrics import Predictions

__all__ = ["confusion_figure", "curves_figure", "mistakes_figure"]

TRAIN_COLOUR, VALIDATION_COLOUR = "#0072B2", "#D55E00"  # two of Okabe and Ito's, told apart by colour-blind readers


def curves_figure(history: Mapping[str, Sequence[float]]) -> bytes:
    """Loss and accuracy over the epochs.

    Args:
        history: the columns of history.csv by name; those of a validation that did not take place are absent.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    _curve(loss, history, "loss")
    loss.set(title="Loss", ylabel="nats per image", yscale="log")
    _curve(accuracy, history, "accuracy")
    accuracy.set(title="Accuracy", ylim=_accuracy_limits(history))
    accuracy.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
    return png_bytes(figure)


def _accuracy_limits(history: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Room for five times the median error, so that the first epochs do not flatten the rest."""
    errors = [1.0 - value for name, values in history.items() if name.endswith("_accuracy") for value in values]
    room = max(0.002, min(1.0, 5.0 * median(errors)))
    return 1.0 - room, 1.0 + room / 50


def _curve(axes: Axes, history: Mapping[str, Sequence[float]], what: str) -> None:
    epochs = history["epoch"]
    axes.plot(epochs, history[f"train_{what}"], ".-", color=TRAIN_COLOUR, label="training, augmented")
    if f"val_{what}" in history:
        axes.plot(epochs, history[f"val_{what}"], ".-", color=VALIDATION_COLOUR, label="validation, averaged weights")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def confusion_figure(confusion_KK: NDArray[np.int64], classes: Sequence[str] = ()) -> bytes:
    """The confusion matrix with its counts; colour shows the mistakes only, or the diagonal would drown them.

    Args:
        confusion_KK: counts, row actual, column predicted; classes without any are left out.
        classes: their names, none where they are digits.
    """
    shown, names = shown_classes(confusion_KK), answer_names(classes)
    confusion_KK = confusion_KK[np.ix_(shown, shown)]
    labels = [shortened(names[label]) for label in shown]
    mistakes_KK = confusion_KK.copy()
    mistakes_KK[range(len(shown)), range(len(shown))] = 0
    figure = Figure(figsize=(6.4, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes_KK, cmap="Oranges", vmin=0, vmax=max(1, int(mistakes_KK.max())))
    darkest = mistakes_KK.max() / 2
    for actual in range(len(shown)):
        for predicted in range(len(shown)):
            count = confusion_KK[actual, predicted]
            right = actual == predicted
            axes.text(
                predicted,
                actual,
                str(count),
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold" if right else "normal",
                color="white" if mistakes_KK[actual, predicted] > darkest else "black" if count else "lightgrey",
            )
    images, wrong = int(confusion_KK.sum()), int(mistakes_KK.sum())
    axes.set(
        title=f"{wrong} mistakes in {images:,} test images",
        xlabel="predicted",
        ylabel="actual",
    )
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if classes else {}
    axes.set_xticks(range(len(shown)), labels, parse_math=False, **slanted)
    axes.set_yticks(range(len(shown)), labels, parse_math=False)
    return png_bytes(figure)


def mistakes_figure(
    images_NHW: NDArray[np.uint8], predictions: Predictions, count: int, classes: Sequence[str] = ()
) -> bytes:
    """The ``count`` most confident mistakes with their position, label and answer.

    Args:
        images_NHW: the evaluated images, 0 background to 255 ink.
        predictions: what was said of them, in the same order.
        count: at most so many; an evaluation without mistakes says so in the picture.
        classes: names of the classes, none where they are digits.
    """
    names = [shortened(name) for name in answer_names(classes)]
    worst_M = predictions.worst_mistakes(count)
    columns = max(1, min(5, len(worst_M)))
    rows = max(1, -(-len(worst_M) // columns))
    figure = Figure(figsize=(1.7 * max(columns, 3), 2.0 * rows + 0.4), layout="constrained")
    figure.suptitle("The most confident mistakes" if len(worst_M) else "No mistakes", fontsize=11)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, position in zip(figure.axes, worst_M, strict=False):
        axes.imshow(images_NHW[position], cmap="gray_r", vmin=0, vmax=255)
        label, answer = names[predictions.labels_N[position]], names[predictions.predicted_N[position]]
        confidence = predictions.confidence_N[position]
        told = f"#{position}: {label}\nread as {answer} ({100 * confidence:.0f} %)"
        axes.set_title(told, fontsize=8, parse_math=False)
    return png_bytes(figure)

"""The charts of the report: learning curves, confusion matrix, reliability diagram, each part with words of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from scipy.stats import binomtest

from mnist_dvc.report.classes import answer_names, shortened, shown_classes
from mnist_dvc.report.svg import INK, MUTED, RIGHT, STYLE, TRAINING, VALIDATION, WRONG, svg_text
from mnist_dvc.report.text import per_cent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mnist_dvc.metrics import Predictions

__all__ = ["Bin", "accuracy_chart", "confidence_bins", "confusion_chart", "loss_chart", "reliability_chart"]

BINS = 10
MOST_TOLD = 200
"""Epochs that the mouse can ask for; of more, every second or third."""
SERIES = {"train": ("training, augmented", TRAINING), "val": ("validation, averaged weights", VALIDATION)}


@dataclass(frozen=True, slots=True)
class Bin:
    """The answers whose confidence is from ``low`` to below ``high``; all are fractions but ``images``.

    ``accuracy_low`` and ``accuracy_high`` are its exact 95 % binomial interval.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def confidence_bins(predictions: Predictions) -> list[Bin]:
    """The bins of a tenth that hold any answer, the least confident first.

    Not those of the expected calibration error, which hold equally many answers: nearly all of them lie at 1.
    """
    which_N = np.minimum((predictions.confidence_N * BINS).astype(int), BINS - 1)
    correct_N = predictions.predicted_N == predictions.labels_N
    return [
        _bin(place, correct_N[which_N == place], predictions.confidence_N[which_N == place])
        for place in np.unique(which_N).tolist()
    ]


def _bin(place: int, correct_M: NDArray[np.bool_], confidence_M: NDArray[np.float64]) -> Bin:
    right, images = int(correct_M.sum()), len(correct_M)
    interval = binomtest(right, images).proportion_ci(method="exact")
    return Bin(
        low=place / BINS,
        high=(place + 1) / BINS,
        images=images,
        confidence=float(confidence_M.mean()),
        accuracy=right / images,
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
    )


@mpl.rc_context(STYLE)
def loss_chart(history: Mapping[str, Sequence[float]]) -> str:
    """Loss over the epochs on a logarithmic axis.

    Args:
        history: the columns of history.csv by name; those of a validation that did not take place are absent.
    """
    figure, axes = _curves(history, "loss", "loss, nats per image")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    return _questioned(figure, axes, history, "loss", lambda value: f"{value:.4f}")


@mpl.rc_context(STYLE)
def accuracy_chart(history: Mapping[str, Sequence[float]]) -> str:
    """Accuracy over the epochs; the first tenth of them may lie below the picture, or they would flatten the rest.

    Args:
        history: as of :func:`loss_chart`.
    """
    figure, axes = _curves(history, "accuracy", "accuracy")
    skipped = len(history["epoch"]) // 10
    low = min(value for name, values in history.items() if name.endswith("_accuracy") for value in values[skipped:])
    room = max(1.0 - low, 0.002)
    axes.set_ylim(max(0.0, 1.0 - 1.1 * room), 1.0)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=" %"))
    return _questioned(figure, axes, history, "accuracy", per_cent)


def _curves(history: Mapping[str, Sequence[float]], what: str, label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.3), layout="constrained")
    axes = figure.subplots()
    for series, (name, colour) in SERIES.items():
        values = history.get(f"{series}_{what}")
        if values is not None:
            style = {"train": "o--", "val": "s-"}[series]
            axes.plot(history["epoch"], values, style, color=colour, label=name, linewidth=1.4)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid()
    axes.legend()
    return figure, axes


def _questioned(
    figure: Figure,
    axes: Axes,
    history: Mapping[str, Sequence[float]],
    what: str,
    shown: Callable[[float], str],
) -> str:
    """The curves with a band over each epoch that tells its values, wherever in the band the mouse is."""
    told = {}
    every = -(-len(history["epoch"]) // MOST_TOLD)
    for place in range(0, len(history["epoch"]), every):
        epoch = int(history["epoch"][place])
        values = {series: history.get(f"{series}_{what}") for series in SERIES}
        lines = [f"{SERIES[series][0]}: {shown(found[place])}" for series, found in values.items() if found is not None]
        _touched(axes, epoch - every / 2, epoch + every / 2, f"e{epoch}")
        told[f"e{epoch}"] = "\n".join([f"epoch {epoch}, {what}", *lines])
    axes.set_xlim(0.5, history["epoch"][-1] + 0.5)
    ends = [f"{SERIES[key][0]} {shown(history[f'{key}_{what}'][-1])}" for key in SERIES if f"{key}_{what}" in history]
    about = f"Curves of the {what} over {len(history['epoch'])} epochs; in the last one: {', '.join(ends)}."
    return svg_text(figure, what, about, told)


def _touched(axes: Axes, left: float, right: float, gid: str) -> None:
    """A part without colour, of the whole height, for the mouse alone."""
    axes.axvspan(left, right, facecolor="none", edgecolor="none", zorder=9, gid=gid)


@mpl.rc_context(STYLE)
def confusion_chart(confusion_KK: NDArray[np.int64], classes: Sequence[str] = ()) -> str:
    """The confusion matrix with its counts; strength of colour shows the mistakes, or the diagonal would drown them.

    Args:
        confusion_KK: counts, row actual, column predicted; classes without any are left out.
        classes: their names, none where they are digits.
    """
    shown = shown_classes(confusion_KK)
    confusion_KK, names = confusion_KK[np.ix_(shown, shown)], [answer_names(classes)[label] for label in shown]
    wrong_KK = confusion_KK * (1 - np.eye(len(shown), dtype=np.int64))
    most = max(1, int(wrong_KK.max()))
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    told = {}
    for (actual, predicted), count in np.ndenumerate(confusion_KK):
        right, gid = actual == predicted, f"c{actual}{predicted}"
        strength = 0.0 if not count else 1.0 if right else 0.25 + 0.75 * count / most
        cell = Rectangle((predicted - 0.47, actual - 0.47), 0.94, 0.94, gid=gid, linewidth=0)
        cell.set(facecolor=RIGHT if right else WRONG, alpha=strength)
        axes.add_patch(cell)
        told[gid] = f"actual {names[actual]}, read as {names[predicted]}: {_images(int(count))}"
        if count:
            weight = "bold" if right else "normal"
            axes.text(predicted, actual, str(count), ha="center", va="center", fontweight=weight, fontsize=9)
    axes.set(xlim=(-0.5, len(shown) - 0.5), ylim=(len(shown) - 0.5, -0.5), aspect="equal")
    axes.set(xlabel="predicted", ylabel="actual")
    labels = [shortened(name) for name in names]
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if classes else {}
    axes.set_xticks(range(len(shown)), labels, parse_math=False, **slanted)
    axes.set_yticks(range(len(shown)), labels, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    images, wrong = int(confusion_KK.sum()), int(wrong_KK.sum())
    about = f"Confusion matrix of {images:,} test images, {wrong:,} of them off the diagonal."
    return svg_text(figure, "confusion", about, told)


@mpl.rc_context(STYLE)
def reliability_chart(bins: Sequence[Bin]) -> str:
    """Accuracy over confidence with its intervals, above the number of answers in each bin.

    Args:
        bins: those of :func:`confidence_bins`.
    """
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1, label="confidence = accuracy")
    told = {}
    for number, bin_ in enumerate(bins):
        middle, width = (bin_.low + bin_.high) / 2, 0.92 / BINS
        above.bar(middle, bin_.accuracy, width, color=TRAINING, alpha=0.55)
        interval = [[bin_.accuracy - bin_.accuracy_low], [bin_.accuracy_high - bin_.accuracy]]
        above.errorbar(bin_.confidence, bin_.accuracy, np.abs(interval), fmt="o", color=INK, capsize=3, clip_on=False)
        below.bar(middle, bin_.images, width, color=TRAINING, alpha=0.55)
        for axes, name in ((above, "r"), (below, "n")):
            _touched(axes, bin_.low, bin_.high, f"{name}{number}")
            told[f"{name}{number}"] = _told(bin_)
    above.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1))
    below.set(ylabel="images", xlabel="confidence", yscale="log", ylim=(0.7, None))
    below.yaxis.set_major_locator(LogLocator(numticks=4))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    below.yaxis.set_minor_formatter(NullFormatter())
    for axis in (above.yaxis, below.xaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=" %"))
    above.grid()
    above.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    about = "Reliability diagram: accuracy over confidence. " + "; ".join(map(_told, bins)) + "."
    return svg_text(figure, "reliability", about.replace("\n", ", "), told)


def _told(bin_: Bin) -> str:
    interval = f"{per_cent(bin_.accuracy_low)} to {per_cent(bin_.accuracy_high)}"
    return (
        f"confidence {100 * bin_.low:.0f} to {100 * bin_.high:.0f} %\n{_images(bin_.images)}\n"
        f"mean confidence {per_cent(bin_.confidence)}\naccuracy {per_cent(bin_.accuracy)} ({interval})"
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"

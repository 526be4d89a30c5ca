"""The figures of the studies: accuracy against parameters, and every seed of every study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mnist_dvc.report.png import png_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["frontier_figure", "seeds_figure"]

OURS, OTHERS, MEANS = "#0072B2", "#999999", "#D55E00"  # of Okabe and Ito, told apart by colour-blind readers
SIZES = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 300_000, 1_000_000)
ERRORS = (0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5)


def frontier_figure(points: Sequence[Mapping[str, Any]], published: Sequence[Mapping[str, str]], about: str) -> bytes:
    """Test error over parameters, both on logarithmic axes.

    Args:
        points: our networks: ``parameters``, ``accuracy_mean`` and its interval, as in a summary.
        published: rows of published.csv; those whose ``how`` begins with "mean" are drawn apart from single runs.
        about: kept in the file.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    means = [row for row in published if row["how"].startswith("mean")]
    singles = [row for row in published if row not in means]
    for rows, colour, label in (
        (singles, OTHERS, "published, one run, often the best epoch on the test images"),
        (means, MEANS, "published, mean of many seeds, last epoch"),
    ):
        errors = [100 * (1 - float(row["accuracy"])) for row in rows]
        axes.plot([int(row["parameters"]) for row in rows], errors, "s", color=colour, label=label)
    middle = [100 * (1 - point["accuracy_mean"]) for point in points]
    half = [_half_interval(point) for point in points]
    sizes = [point["parameters"] for point in points]
    axes.errorbar(
        sizes, middle, yerr=half, fmt="o-", color=OURS, capsize=3, label="ours, mean of the seeds, last epoch"
    )
    axes.axvline(20_000, color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="trainable parameters", ylabel="test error, %")
    axes.set(xlim=(SIZES[0], 1.6 * SIZES[-1]), title="MNIST: error against parameters (lower left is better)")
    axes.xaxis.set_major_locator(FixedLocator(SIZES))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(FixedLocator(ERRORS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelrotation=30)
    axes.grid(alpha=0.3)
    axes.legend()
    return png_bytes(figure, about)


def _half_interval(summary: Mapping[str, Any]) -> float:
    """Half the width of the interval of the mean in percentage points; 0 where one seed has none."""
    high = summary["accuracy_mean_high"]
    return 0.0 if high is None else 100 * (high - summary["accuracy_mean"])


def seeds_figure(summaries: Mapping[str, Mapping[str, Any]], about: str) -> bytes:
    """Each seed of each study as a dot, its mean and the 95 % interval of the mean beside them."""
    figure = Figure(figsize=(8, 0.8 + 0.7 * len(summaries)), layout="constrained")
    axes = figure.subplots()
    for height, summary in enumerate(reversed(list(summaries.values()))):
        accuracies = [100 * accuracy for accuracy in summary["accuracies"]]
        mean = 100 * summary["accuracy_mean"]
        axes.plot(accuracies, [height + 0.12] * len(accuracies), "o", color=OURS, alpha=0.6)
        axes.errorbar([mean], [height - 0.12], xerr=[_half_interval(summary)], fmt="D", color=MEANS, capsize=3)
    names = [f"{name}: {summary['network']}" for name, summary in reversed(list(summaries.items()))]
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel="test accuracy, %", ylim=(-0.6, len(names) - 0.4))
    axes.set_title("Every seed (dots), mean and its 95 % interval (diamonds)", fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    return png_bytes(figure, about)

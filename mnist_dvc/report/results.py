"""Summaries of the studies and figures of the benchmarks as Markdown: what README.md and docs/results.md show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnist_dvc.report.text import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["benchmark_table", "choices_table", "headline_table", "seed_table", "with_block"]

Summary = dict[str, Any]


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([_row(*header), "|" + "---|" * len(header), *(_row(*row) for row in rows)])


def points(fraction: float | None) -> str:
    """A deviation as ``0.041``, in percentage points; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.3f}"


def _mean(summary: Summary) -> str:
    return f"**{100 * summary['accuracy_mean']:.3f} %**"


def _interval(summary: Summary) -> str:
    if summary["accuracy_mean_low"] is None:
        return "-"
    return f"{100 * summary['accuracy_mean_low']:.3f} to {100 * summary['accuracy_mean_high']:.3f} %"


def headline_table(summaries: Mapping[str, Summary]) -> str:
    """A row per study: network, parameters, mean over the seeds, its interval, spread, NLL, time of one training."""
    header = ["study", "network", "parameters", "seeds", "mean test accuracy", "95 % interval of the mean"]
    header += ["deviation", "NLL", "training"]
    rows = [
        (
            f"[`{name}`](studies/{name}/dvc.yaml)",
            f"`{summary['network']}`",
            f"{summary['parameters']:,}",
            len(summary["seeds"]),
            _mean(summary),
            _interval(summary),
            points(summary["accuracy_sd"]),
            f"{summary['nll_mean']:.4f}",
            f"{duration(summary['train_seconds_mean'])}, {_threads(summary['threads'])}",
        )
        for name, summary in summaries.items()
    ]
    return _table(header, rows)


def _threads(count: int) -> str:
    return f"{count} thread" + ("s" if count > 1 else "")


def seed_table(summary: Summary) -> str:
    """Every seed of a study, or of each of its networks: nothing is left out of a mean."""
    header = ["network", "parameters", "epochs", "accuracy of each seed, %", "mean, %", "95 % interval", "deviation"]
    header += ["NLL", "ECE", "seconds"]
    rows = [
        (
            f"`{point['network']}`",
            f"{point['parameters']:,}",
            point["epochs"],
            " ".join(f"{100 * accuracy:.2f}" for accuracy in point["accuracies"]),
            f"{100 * point['accuracy_mean']:.3f}",
            _interval(point),
            points(point["accuracy_sd"]),
            f"{point['nll_mean']:.4f}",
            f"{point['ece_mean']:.4f}",
            f"{point['train_seconds_mean']:.1f}",
        )
        for point in summary.get("points", [summary])
    ]
    return _table(header, rows)


def machine_line(summary: Summary) -> str:
    """Where a study ran."""
    machine, versions = summary["machine"], summary["versions"]
    if isinstance(machine, list) or isinstance(versions, list):
        return "Ran on several machines or versions; see its timing.json files."
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['processor']}, {machine['cpus']} logical CPUs, {_threads(summary['threads'])} a training; {named}."
    )


HIDDEN = {"benchmark", "group", "processor", "cpus", "torch"}


def benchmark_table(figures: Sequence[Mapping[str, Any]]) -> str:
    """A row per benchmark of one group, a column per figure."""
    columns = list(dict.fromkeys(key for figure in figures for key in figure if key not in HIDDEN))
    header = ("benchmark", *(column.replace("_", " ") for column in columns))
    return _table(
        header, [(figure["benchmark"], *(figure.get(column, "") for column in columns)) for figure in figures]
    )


def choices_table(rows: Sequence[Mapping[str, str]], question: str) -> str:
    """What was compared for one question of docs/choices.csv, on validation images."""
    header = ("network", "seed", "recipe", "validation images", "errors", "NLL")
    columns = ("network", "seed", "recipe", "images", "errors", "nll")
    return _table(header, [tuple(row[column] for column in columns) for row in rows if row["question"] == question])


def with_block(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between its lines ``<!-- name: begin -->`` and ``<!-- name: end -->``.

    Raises:
        ValueError: the lines are not there, once each and in this order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end or begin in after or end in after:
        raise ValueError(f"expected one block between {begin} and {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"

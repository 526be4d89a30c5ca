"""Summaries of the studies and figures of the benchmarks as Markdown: what README.md and docs/results.md show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnist_dvc.report.text import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "benchmark_table",
    "choices_table",
    "device_line",
    "headline_table",
    "parts_table",
    "rivals_table",
    "seed_table",
    "speed_section",
    "with_block",
]

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


def _threads(count: int | list[int]) -> str:
    """``2 threads``; where the trials had different numbers of them, all."""
    told = " or ".join(map(str, count)) if isinstance(count, list) else count
    return f"{told} thread" + ("" if count == 1 else "s")


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


_IN_COLUMNS = {"benchmark", "group", "network", "threads", "seconds", "calibration_seconds", "images_per_second"}
_IN_THE_HEAD = {"build", "device", "driver", "machine", "load_before", "processor", "cpus", "torch"}
_MICRO, _MILLI = 1e-3, 1.0
_WHOLE = 100
"""From here on, three digits are no fraction."""


def benchmark_table(figures: Sequence[Mapping[str, Any]], compared: Mapping[str, str] | None = None) -> str:
    """A row per benchmark; a column that would be empty is left out.

    Args:
        figures: what the benchmarks found out, seconds, ratios (``x_...``) and others by name.
        compared: words for a last column, by the name of the benchmark.
    """
    rows = [
        {
            "benchmark": figure["benchmark"],
            "threads": figure.get("threads", ""),
            "time": _time(figure.get("seconds")),
            "GEMMs": _gemms(figure),
            "others take, times ours": ", ".join(
                f"{_words(key.removeprefix('x_'))} {value:.3g}" for key, value in figure.items() if key.startswith("x_")
            ),
            "images/s": _value(figure.get("images_per_second", "")),
            "notes": ", ".join(f"{_words(key)} {_value(value)}" for key, value in _notes(figure).items()),
            "load": _load(figure.get("load_before")),
            "against": (compared or {}).get(figure["benchmark"], ""),
        }
        for figure in figures
    ]
    header = [column for column in rows[0] if any(row[column] != "" for row in rows)]
    return _table(header, [[row[column] for column in header] for row in rows])


def _words(key: str) -> str:
    return key.replace("_", " ")


def _time(seconds: float | None) -> str:
    """Three digits with the unit that suits them."""
    if seconds is None:
        return ""
    if seconds < _MICRO:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < _MILLI else f"{seconds:.3g} s"


def _gemms(figure: Mapping[str, Any]) -> str:
    """The seconds in units of what the same device, with as many threads, multiplied matrices in beside them."""
    if "seconds" not in figure or "calibration_seconds" not in figure:
        return ""
    times = figure["seconds"] / figure["calibration_seconds"]
    return f"{times:,.0f}" if times >= _WHOLE else f"{times:.3g}"


def _notes(figure: Mapping[str, Any]) -> dict[str, Any]:
    """What has no column of its own; the seconds of others are told as ratios, a network by the benchmark's name."""
    network = figure.get("network")
    shown = {"network": network} if network is not None and network not in figure["benchmark"] else {}
    hidden = _IN_COLUMNS | _IN_THE_HEAD
    rest = {k: v for k, v in figure.items() if k not in hidden and not k.startswith(("x_", "seconds_"))}
    return shown | rest


def _value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _load(load: float | None) -> str:
    return "" if load is None else f"{load:.1f}"


def device_line(told: Mapping[str, Any]) -> str:
    """What a file of benchmarks was measured on: device and driver, processor, system and versions."""
    machine = told["machine"]
    processor = f"{machine['processor']}{_in_brackets(machine.get('instructions'))}"
    here = f"{processor}, {machine['cpus']} logical CPUs, {machine['system']}"
    device = machine.get("device", "cpu")
    accelerator = f"{machine.get('accelerator')}{_in_brackets(machine.get('driver'), 'driver ')} of a machine with "
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"device {device}: {'' if device == 'cpu' else accelerator}{here}; {versions}"


def _in_brackets(text: str | None, before: str = "") -> str:
    return f" ({before}{text})" if text else ""


def on_a_gpu(told: Mapping[str, Any]) -> bool:
    """Whether a file of benchmarks is about one."""
    return bool(told["machine"].get("device", "cpu") != "cpu")


def parts_table(benchmarks: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the seconds of a training go, on each machine: the group ``profile``."""
    rows = [
        {"machine": f"`{name}`"} | {_words(k): _value(v) for k, v in figure.items() if k not in hidden}
        for name, told in benchmarks.items()
        for hidden in [_IN_THE_HEAD | {"benchmark", "group", "calibration_seconds", "step_seconds"}]
        for figure in told["figures"]
        if figure["group"] == "profile"
    ]
    header = list(dict.fromkeys(column for row in rows for column in row))
    return _table(header, [[row.get(column, "") for column in header] for row in rows]) if rows else NOT_MEASURED


NOT_MEASURED = "Not measured yet."


def speed_section(benchmarks: Mapping[str, Mapping[str, Any]]) -> str:
    """All tables of all machines, those with a GPU last, each under a heading; that none has one is said."""
    parts = []
    for name in sorted(benchmarks, key=lambda name: (on_a_gpu(benchmarks[name]), name)):
        told = benchmarks[name]
        parts += [f"### {'GPU' if on_a_gpu(told) else 'CPU'}: `{name}`", f"{device_line(told)}."]
        for group in dict.fromkeys(figure["group"] for figure in told["figures"]):
            if group != "profile":
                table = benchmark_table([figure for figure in told["figures"] if figure["group"] == group])
                parts += [f"#### {name}: {group}", table]
    if not any(map(on_a_gpu, benchmarks.values())):
        parts += ["### GPU", NOT_MEASURED]
    return "\n\n".join(parts)


def choices_table(rows: Sequence[Mapping[str, str]], question: str) -> str:
    """What was compared for one question on validation images, and how far students were from their teachers."""
    asked = [row for row in rows if row["question"] == question]
    header: tuple[str, ...] = ("network", "seed", "recipe", "validation images", "errors", "NLL")
    columns: tuple[str, ...] = ("network", "seed", "recipe", "images", "errors", "nll")
    if any("divergence" in row for row in asked):
        header += ("of the teachers", "of both", "divergence", "in a view taught", "in a fresh view")
        columns += ("teachers_errors", "shared_errors", "divergence", "divergence_taught", "divergence_fresh")
    return _table(header, [tuple(row.get(column, "") for column in columns) for row in asked])


def rivals_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Examples of other frameworks beside ours, all of one machine, in the order in which they ran."""
    header = (
        *("framework", "example", "parameters", "epochs", "images/s", "seconds"),
        *("test accuracy at the end", "seconds until it was 99.40 %"),
    )
    cells = [
        (
            *(row["framework"], row["example"], f"{int(row['parameters']):,}", row["epochs"]),
            *(f"{int(row['images_per_second']):,}", row["seconds"]),
            *(f"{100 * float(row['accuracy']):.2f} %", row["seconds_to_goal"]),
        )
        for row in rows
    ]
    machines = ", ".join(dict.fromkeys(row["machine"] for row in rows))
    return f"{_table(header, cells)}\n\n{machines}."


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

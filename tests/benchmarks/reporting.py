"""Facts of the machine beside every figure, and all figures as a Markdown table and as JSON for docs/results.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mnist_dvc.runtime import machine

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", metavar="FILE", help="write the figures as JSON to this file, too")


@pytest.fixture(autouse=True)
def facts(benchmark: Any) -> Iterator[None]:
    """The load before the first round tells whether the run had the machine to itself."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    yield
    here = machine()
    benchmark.extra_info |= {"load_before": load, "processor": here["processor"], "cpus": here["cpus"]}
    benchmark.extra_info |= {"torch": here["versions"]["torch"]}


def pytest_sessionfinish(session: pytest.Session) -> None:
    done = getattr(session.config, "_benchmarksession", None)
    figures = [
        {"benchmark": bench.name.removeprefix("test_"), "group": bench.group, **bench.extra_info}
        for bench in (done.benchmarks if done else [])
        if not bench.has_error
    ]
    if not figures:
        return
    table = markdown(figures)
    print(f"\n{table}")  # noqa: T201
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(table)
    results = session.config.getoption("--results")
    if results:
        told = {"machine": machine(), "figures": figures}
        Path(results).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


FACTS = ("benchmark", "group", "processor", "cpus", "torch", "load_before")


def markdown(figures: list[dict[str, Any]]) -> str:
    """A row per benchmark with everything that it found out."""
    first = figures[0]
    lines = [
        f"### Benchmarks on {first['processor']}, {first['cpus']} logical CPUs, torch {first['torch']}",
        "",
        "| benchmark | load before | figures |",
        "|---|---|---|",
    ]
    for figure in figures:
        told = ", ".join(f"{key} {value}" for key, value in figure.items() if key not in FACTS)
        lines.append(f"| {figure['benchmark']} | {figure['load_before']} | {told} |")
    return "\n".join(lines) + "\n"

"""Facts of the machine beside every figure, all figures as a Markdown table and as JSON, and against stored ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from calibrating import calibration
from comparing import all_cores, rounded, set_up_for_all
from devices import driver, installed

from mnist_dvc.report.results import benchmark_table, device_line
from mnist_dvc.runtime import machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MACHINE = ("processor", "instructions", "cpus", "accelerator", "system", "device", "backend")
"""What must be the same for figures to be compared; the versions may differ, which is what one may want to know."""
LEGEND = (
    "against: calibrated seconds over the stored ones (above 1 is slower now), then what others take, in times ours, "
    "over the stored ratio (below 1 is slower now)."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", metavar="FILE", help="write the figures of the benchmarks as JSON to this file, too")
    parser.addoption("--against", metavar="FILE", help="compare them with such a file of the same machine and device")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a file of another machine before minutes are spent, and leave the table to us."""
    against = config.getoption("--against", None)
    if against:
        stored_figures(Path(against), described(torch.device(config.getoption("--device", "cpu"))))
    if hasattr(config.option, "benchmark_quiet"):
        config.option.benchmark_quiet = True


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``count`` threads: one, and all; a GPU is driven by one."""
    if "count" in metafunc.fixturenames:
        on_a_gpu = metafunc.config.getoption("--device", "cpu") != "cpu"
        metafunc.parametrize("count", [1] if on_a_gpu else sorted({1, all_cores()}))


@pytest.fixture(autouse=True)
def facts(benchmark: Any, device: torch.device) -> Iterator[None]:
    """The load before the first round tells whether the run had the machine to itself; a product, how fast it was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    set_up_for_all()
    yield
    if benchmark.stats is None:  # skipped
        return
    here = described(device)
    count = benchmark.extra_info.setdefault("threads", 1)
    where = torch.device(benchmark.extra_info.get("calibrated_on", device))
    benchmark.extra_info |= {"calibration_seconds": rounded(calibration(where, count)), "load_before": load}
    benchmark.extra_info |= {
        "build": f"torch {here['versions']['torch']}, torchvision {here['versions']['torchvision']}",
        "device": here["device"] if here["device"] == "cpu" else f"{here['device']}: {here['accelerator']}",
        "driver": here["driver"],
        "machine": f"{here['processor']} ({here['instructions']}), {here['cpus']} logical CPUs, {here['system']}",
    }


def described(device: torch.device) -> dict[str, Any]:
    """``machine()`` with the device, the processor's instructions, what torch was built for, and the driver."""
    backend = next((name for name in ("cuda", "hip", "xpu") if getattr(torch.version, name, None)), "cpu")
    here = machine()
    return here | {
        "device": device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "backend": backend,
        "driver": driver() if device.type == "cuda" else None,
        "versions": here["versions"] | {"torchvision": installed("torchvision")},
    }


def stored_figures(path: Path, here: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures in a file that ``--results`` wrote, by benchmark.

    Raises:
        UsageError: it cannot be read, or is of another machine, device or build.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        there, figures = stored["machine"], {figure["benchmark"]: figure for figure in stored["figures"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise pytest.UsageError(f"--against {path}: got {error!r}, expected a file that --results wrote") from error
    if other := [key for key in MACHINE if there.get(key) != here[key]]:
        got, expected = (", ".join(f"{key} {facts.get(key)}" for key in other) for facts in (there, here))
        raise pytest.UsageError(f"--against {path}: of another machine: got {got}; expected this one's {expected}")
    return figures


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the figures where they are asked for."""
    figures = figures_of(session.config)
    results = session.config.getoption("--results", None)
    if figures and results:
        told = {"machine": described(device_of(session.config)), "figures": figures}
        Path(results).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table, on GitHub in the summary of the job, too."""
    figures = figures_of(config)
    if not figures:
        return
    here, against = described(device_of(config)), config.getoption("--against", None)
    table = markdown(here, figures, stored_figures(Path(against), here) if against else None)
    terminalreporter.write_line(f"\n{table}")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"{table}\n")


def device_of(config: pytest.Config) -> torch.device:
    return torch.device(config.getoption("--device", "cpu"))


def figures_of(config: pytest.Config) -> list[dict[str, Any]]:
    """What the benchmarks that ran to their end have found out."""
    done = getattr(config, "_benchmarksession", None)
    return [
        {"benchmark": bench.name.removeprefix("test_"), "group": bench.group, **bench.extra_info}
        for bench in (done.benchmarks if done else [])
        if not bench.has_error and "load_before" in bench.extra_info
    ]


def markdown(
    here: Mapping[str, Any],
    figures: list[dict[str, Any]],
    stored: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """A heading that says what it was measured on, a row per benchmark, and a column against the ``stored`` ones."""
    loads = [figure["load_before"] for figure in figures if figure["load_before"] is not None]
    load = f"load before each {min(loads):.1f} to {max(loads):.1f}" if loads else "load unknown"
    threads = " and ".join(str(count) for count in sorted({figure["threads"] for figure in figures}))
    lines = [f"### Benchmarks, {device_line({'machine': here})}; threads {threads}; {load}", ""]
    if stored is None:
        return "\n".join([*lines, benchmark_table(figures), ""])
    compared = {figure["benchmark"]: against(figure, stored.get(figure["benchmark"])) for figure in figures}
    return "\n".join([*lines, benchmark_table(figures, compared), "", LEGEND, ""])


def against(figure: Mapping[str, Any], stored: Mapping[str, Any] | None) -> str:
    """Each figure that does not depend on how busy the machine was over the stored one."""
    if stored is None:
        return "new"
    now, then = calibrated(figure), calibrated(stored)
    told = [f"{now / then:.2f}"] if now and then else []
    ratios = [key for key in figure if key.startswith("x_") and stored.get(key)]
    told += [f"{key.removeprefix('x_').replace('_', ' ')} {figure[key] / stored[key]:.2f}" for key in ratios]
    return ", ".join(told)


def calibrated(figure: Mapping[str, Any]) -> float | None:
    """Seconds over those of the calibration, or None where one of them is missing."""
    seconds, calibrating = figure.get("seconds"), figure.get("calibration_seconds")
    return seconds / calibrating if seconds and calibrating else None

"""What the benchmarks say and compare, and how they wait for a device, where there is nothing to be timed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import comparing
import pytest
import torch
from helpers import ROOT, augment_params, write_params
from reporting import (
    MACHINE,
    described,
    markdown,
    pytest_configure,
    pytest_sessionfinish,
    pytest_terminal_summary,
    stored_figures,
)
from test_time_to_accuracy import seeds_of_the_study, trained
from trainings import network, noise, our_epoch, params_text
from usual import usual_transforms

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.paths import Paths

CPU = torch.device("cpu")
STEP: dict[str, Any] = {
    "benchmark": "training_against_the_usual_loop[sprint-1]",
    "group": "training",
    "network": "sprint",
    "threads": 1,
    "seconds": 0.054,
    "seconds_usual": 0.54,
    "x_usual": 10.0,
    "images_per_second": 23_353,
    "share_of_step": 0.25,
    "calibration_seconds": 0.027,
    "load_before": 0.25,
    "build": "torch 2.15.0, torchvision 0.29.2",
}


class Options:
    """As much of pytest's configuration as is asked for."""

    option = None

    def __init__(self, **given: object) -> None:
        self.given = given

    def getoption(self, name: str, default: object = None) -> object:
        return self.given.get(name.removeprefix("--"), default)


def stored(folder: Path, **other: object) -> Path:
    """A file that ``--results`` wrote on this machine, or, by a key of it, on another."""
    path = folder / "stored.json"
    path.write_text(json.dumps({"machine": described(CPU) | other, "figures": [STEP]}))
    return path


def finished(*figures: dict[str, Any], failed: bool = False, **options: object) -> Any:
    """The configuration of a run whose benchmarks have found out ``figures``."""
    config: Any = Options(device="cpu", **options)
    config._benchmarksession = SimpleNamespace(
        benchmarks=[
            SimpleNamespace(
                name=f"test_{figure['benchmark']}",
                group=figure["group"],
                extra_info={key: value for key, value in figure.items() if key not in ("benchmark", "group")},
                has_error=failed,
            )
            for figure in figures
        ]
    )
    return config


def row(table: str) -> str:
    (found,) = (line for line in table.splitlines() if line.startswith(f"| {STEP['benchmark']}"))
    return found


# ---------------------------------------------------------------------------------------------------------- the table


def test_table_says_what_it_was_measured_on() -> None:
    head = markdown(described(CPU), [STEP, STEP | {"threads": 2, "load_before": 1.5}]).splitlines()[0]
    assert head.startswith("### Benchmarks, device cpu: ")
    for told in (
        torch.backends.cpu.get_cpu_capability(),
        f"torch {torch.__version__}, torchvision ",
        "; threads 1 and 2; load before each 0.2 to 1.5",
    ):
        assert told in head


def test_gpu_is_named_with_its_driver() -> None:
    here = described(CPU) | {"device": "cuda", "accelerator": "NVIDIA H100", "driver": "580.95"}
    assert "device cuda: NVIDIA H100 (driver 580.95) of a machine with " in markdown(here, [STEP])


def test_row_has_time_calibrated_time_ratio_speed_and_what_else_was_found() -> None:
    assert row(markdown(described(CPU), [STEP])) == (
        "| training_against_the_usual_loop[sprint-1] | 1 | 54 ms | 2 | usual 10 | 23,353 | share of step 0.25 | 0.2 |"
    )


def test_system_without_a_load_says_so() -> None:
    assert "load unknown" in markdown(described(CPU), [STEP | {"load_before": None}])


def test_table_is_shown_and_added_to_the_summary_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    reporter: Any = SimpleNamespace(write_line=shown.append)
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    pytest_terminal_summary(reporter, finished(STEP))
    assert row(shown[0]) in summary.read_text()
    assert summary.read_text().startswith("before\n### Benchmarks, ")


@pytest.mark.parametrize("config", [finished(), finished(STEP, failed=True), Options(device="cpu")])
def test_nothing_is_told_of_no_benchmark(config: Any, tmp_path: Path) -> None:
    shown: list[str] = []
    config.given["results"] = str(tmp_path / "results.json")
    pytest_terminal_summary(SimpleNamespace(write_line=shown.append), config)  # type: ignore[arg-type]
    pytest_sessionfinish(SimpleNamespace(config=config))  # type: ignore[arg-type]
    assert not shown
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------- against a stored file


def test_what_was_written_can_be_compared_with(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    pytest_sessionfinish(SimpleNamespace(config=finished(STEP, results=str(path))))  # type: ignore[arg-type]
    assert stored_figures(path, described(CPU)) == {STEP["benchmark"]: STEP}
    shown: list[str] = []
    again = finished(STEP | {"seconds": 0.027}, against=str(path))
    pytest_terminal_summary(SimpleNamespace(write_line=shown.append), again)  # type: ignore[arg-type]
    assert row(shown[0]).endswith("| 0.50, usual 1.00 |")


def test_twice_as_slow_beside_the_same_calibration_shows() -> None:
    slower = STEP | {"seconds": 0.108, "x_usual": 5.0}
    table = markdown(described(CPU), [slower], {STEP["benchmark"]: STEP})
    assert row(table).endswith("| 2.00, usual 0.50 |")
    assert "above 1 is slower now" in table


def test_busier_machine_does_not_show() -> None:
    busy = STEP | {"seconds": 0.108, "calibration_seconds": 0.054}
    assert row(markdown(described(CPU), [busy], {STEP["benchmark"]: STEP})).endswith("| 1.00, usual 1.00 |")


def test_new_benchmark_and_one_without_calibration_are_told() -> None:
    assert row(markdown(described(CPU), [STEP], {})).endswith("| new |")
    uncalibrated = {key: value for key, value in STEP.items() if key != "calibration_seconds"}
    assert row(markdown(described(CPU), [STEP], {STEP["benchmark"]: uncalibrated})).endswith("| usual 1.00 |")


def test_file_of_this_machine_is_taken_even_of_another_version(tmp_path: Path) -> None:
    path = stored(tmp_path, versions={"torch": "2.10.0"})
    assert stored_figures(path, described(CPU)) == {STEP["benchmark"]: STEP}


@pytest.mark.parametrize("key", MACHINE)
def test_file_of_another_machine_is_refused_in_one_line(key: str, tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError) as refusal:
        stored_figures(stored(tmp_path, **{key: "other"}), described(CPU))
    assert re.search(f"of another machine: got {key} other; expected this one's {key} ", str(refusal.value))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", [None, "no JSON", "[]", '{"machine": {}}'])
def test_file_that_is_none_is_refused_in_one_line(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "stored.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(pytest.UsageError, match="stored.json: got .*, expected a file that --results wrote") as refusal:
        stored_figures(path, described(CPU))
    assert "\n" not in str(refusal.value)


def test_refusal_comes_before_anything_runs(tmp_path: Path) -> None:
    pytest_configure(Options(against=str(stored(tmp_path)), device="cpu"))  # type: ignore[arg-type]
    command = ["tests/benchmarks", "--override-ini=addopts=--import-mode=importlib"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *command, f"--against={stored(tmp_path, cpus=1000)}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONOPTIMIZE": ""},  # without asserts pytest would warn
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert ran.stdout == ""
    assert ran.stderr.strip().startswith(f"ERROR: --against {tmp_path}/stored.json: of another machine: got cpus 1000;")


# -------------------------------------------------------------------------------------------------- what is timed, how


def test_work_ends_when_the_device_has_done_it(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: order.append(f"wait for {device}"))
    comparing.synchronised(torch.device("cuda"), lambda: order.append("work"))()
    comparing.seconds_of(lambda: order.append("more"), torch.device("cuda"))
    assert order == ["work", "wait for cuda", "wait for cuda", "more", "wait for cuda"]
    comparing.synchronised(CPU, lambda: order.append("work"))()
    assert order[5:] == ["work"]


def test_our_steps_are_taken_as_a_stage_takes_them_and_nothing_else_is() -> None:
    inside: list[comparing.Switches] = []
    model = network("sprint")
    model.register_forward_hook(lambda *_: inside.append(comparing.switches()))
    before = comparing.switches()
    our_epoch(model, noise(512), CPU)()
    assert inside == [comparing.switches_of_a_stage()] * 2 != [before] * 2
    assert comparing.switches() == before


@pytest.mark.parametrize("error", ["ImportError('gone')", "RuntimeError('operator torchvision::nms does not exist')"])
def test_without_torchvision_the_usual_loop_is_skipped_in_words(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert usual_transforms().ToTensor
    (tmp_path / "torchvision.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(pytest.skip.Exception, match="the usual loop needs torchvision, .*(gone|nms does not exist)"):
        usual_transforms()


def test_params_are_those_committed_but_for_what_is_replaced() -> None:
    text, committed = params_text("params.yaml", torch.device("cuda")), (ROOT / "params.yaml").read_text()
    assert text.replace("device: cuda ", "device: auto ") == committed != text
    with pytest.raises(ValueError, match=r"params.yaml: epochs: 21 : got 0 of it, expected one to replace"):
        params_text("params.yaml", CPU, {"epochs: 21 ": ""})


def test_each_seed_of_a_study_is_trained_timed_and_scored(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--device=cuda` times, here with a training of a second; the seeds are those of the study."""
    assert seeds_of_the_study() == list(range(1, 11))
    write_params(workspace.root, {"model": {"name": "sprint"}}, epochs=1, augment=augment_params())
    first, second = trained(workspace.root, (1, 2), CPU, monkeypatch)
    for seed, told in ((1, first), (2, second)):
        scored = json.loads((workspace.trial("sprint", seed) / "metrics.json").read_text())
        timing = json.loads((workspace.trial("sprint", seed) / "timing.json").read_text())
        assert told["accuracy"] == scored["accuracy"]
        assert 0 < told["train"] <= timing["train_seconds"] + 0.001 <= told["written"] + 0.001

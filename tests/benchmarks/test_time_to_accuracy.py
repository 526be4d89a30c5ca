"""The time to 99.40 % on a GPU: the study `fast` again, every seed of it, trained as `study trial` trains."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from json import loads
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any, Self

import pytest
from comparing import rounded, synchronise
from helpers import ROOT
from ruamel.yaml import YAML
from trainings import FAST, params_text

from mnist_dvc.data.prepared import write_prepared
from mnist_dvc.data.sources import _search, read_folder
from mnist_dvc.data.splits import split
from mnist_dvc.params import Change, load_params
from mnist_dvc.paths import Paths
from mnist_dvc.study.trial import trial
from mnist_dvc.training.events import Finished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch

    from mnist_dvc.training.events import Event

ENOUGH = 0.994


def seeds_of_the_study() -> list[int]:
    """They were fixed before the first of them ran."""
    stages = YAML(typ="safe", pure=True).load((ROOT / "studies/fast/dvc.yaml").read_text(encoding="utf-8"))["stages"]
    listed: list[int] = stages["trial"]["matrix"]["seed"]
    return listed


@pytest.fixture
def study(device: torch.device, tmp_path: Path) -> Path:
    """A folder with all of MNIST prepared in it, and the recipe for ``device``."""
    if device.type == "cpu":
        pytest.skip("on a CPU the study `fast` itself is this measurement: see studies/fast/summary.json")
    folder = _search(ROOT, os.environ)
    if folder is None:
        pytest.skip("the MNIST files are not on this machine: put them into data/raw or name them by MNIST_DVC_DATA")
    raw = read_folder(folder)
    write_prepared(Paths(tmp_path).prepared, raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    text = params_text("studies/fast/params.yaml", device)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    return tmp_path


class Clock:
    """A report that times the steps: from when the digits lie ready until the device has done the last."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds = 0.0

    def __enter__(self) -> Self:
        synchronise(self._device)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def handle(self, event: Event) -> None:
        if isinstance(event, Finished):
            synchronise(self._device)
            self.seconds = time.perf_counter() - self._began


def trained(
    folder: Path, seeds: Sequence[int], device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, float]]:
    """Of each seed: seconds of the steps, seconds until its scores are written, and accuracy, read once."""
    for seed in seeds:
        clock = Clock(device)
        monkeypatch.setattr("mnist_dvc.study.trial.ConsoleReport", lambda clock=clock: clock)
        chosen = Change("train.seed", seed, "--seed")
        params, paths = load_params(folder / "params.yaml", [chosen]), Paths(folder)
        began = time.perf_counter()
        trial(params, paths)
        written = time.perf_counter() - began
        scored = loads((paths.trial(params.model.name, seed) / "metrics.json").read_text(encoding="utf-8"))
        yield {"train": clock.seconds, "written": written, "accuracy": scored["accuracy"]}


def process_seconds(folder: Path, seed: int) -> float:
    """One of them in a process of its own, from its start, with importing torch, to its end."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "mnist_dvc", "study", "trial", "--seed", str(seed)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # on a GPU, torch warns of each kernel that has no deterministic twin
@pytest.mark.benchmark(group="time to 99.40 %")
def test_time_to_accuracy(benchmark: Any, device: torch.device, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clocks: the steps alone, and a whole process."""
    seeds = seeds_of_the_study()
    process = process_seconds(study, seeds[0])
    done = benchmark.pedantic(lambda: list(trained(study, seeds, device, monkeypatch)), rounds=1)
    accuracies = [trial["accuracy"] for trial in done]
    benchmark.extra_info |= {
        "network": FAST.model.name,
        "threads": FAST.train.threads,
        "seconds": rounded(median(trial["train"] for trial in done)),
        "seeds": len(seeds),
        "mean_per_cent": round(100 * mean(accuracies), 3),
        "deviation_points": round(100 * stdev(accuracies), 3),
        "seeds_that_reach_it": sum(accuracy >= ENOUGH for accuracy in accuracies),
        "accuracies_per_cent": [round(100 * accuracy, 2) for accuracy in accuracies],
        "train_seconds": [rounded(trial["train"]) for trial in done],
        "until_scored_seconds": rounded(median(trial["written"] for trial in done)),
        "process_seconds": rounded(process),
    }

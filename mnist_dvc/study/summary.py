"""What the trials of a study come to: every seed, mean, spread and interval, as summary.json."""

from __future__ import annotations

import json
import math
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from scipy.stats import t as students_t

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import json_bytes, write_atomically
from mnist_dvc.running.inputs import Inputs
from mnist_dvc.study.records import read_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mnist_dvc.paths import Paths

__all__ = ["CONFIDENCE_LEVEL", "study_summary", "summarise"]

CONFIDENCE_LEVEL = 0.95
EXPECTED = "what `study trial` writes"
FILES = ("metrics.json", "timing.json")


class _Metrics(BaseModel):
    """What is read of a trial's metrics.json."""

    model_config = ConfigDict(frozen=True, strict=True)

    dataset: str
    network: str
    seed: int
    parameters: int
    epochs: int
    accuracy: float
    nll: float
    brier: float
    ece: float


class _Machine(BaseModel):
    """Where a trial ran."""

    model_config = ConfigDict(frozen=True, strict=True)

    processor: str
    cpus: int
    accelerator: str | None
    system: str
    versions: dict[str, str]


class _Timing(BaseModel):
    """What is read of a trial's timing.json."""

    model_config = ConfigDict(frozen=True, strict=True)

    train_seconds: float
    threads: int
    machine: _Machine


Trial = tuple[_Metrics, _Timing]


def study_summary(paths: Paths) -> None:
    """Read ``trials/*/*/`` of the study that the working folder is, and write ``summary.json``.

    The figures at the top level are those of the study's largest network; where it has several, ``points`` holds the
    figures of each.

    Raises:
        ArtifactError: a trial's file is missing or damaged, there are none, or they are of several data sets.
        ChangedError: a trial was done again meanwhile.
        OSError: the summary cannot be written.
    """
    folders = sorted(path.parent for path in (paths.root / "trials").glob("*/*/metrics.json"))
    inputs = Inputs.of(__name__, files=tuple(folder / name for folder in folders for name in FILES))
    trials = _trials(folders, paths.root / "trials")
    points = sorted((summarise(of_network) for of_network in trials.values()), key=lambda point: point["parameters"])
    summary = {"study": paths.root.resolve().name} | points[-1]
    if len(points) > 1:
        summary["points"] = points
    target = paths.root / "summary.json"
    with inputs.publishing():
        write_atomically(target, json_bytes(summary))
    print(f"Summed up {len(folders)} trials  ->  {target}")


def _trials(folders: Sequence[Path], where: Path) -> dict[str, list[Trial]]:
    """What stands in the folders of trials, by network.

    Raises:
        ArtifactError: a file is missing or damaged, there are no trials, or they are of several data sets.
    """
    trials: dict[str, list[Trial]] = {}
    for folder in folders:
        metrics, timing = (folder / name for name in FILES)
        trial = read_record(metrics, _Metrics, EXPECTED), read_record(timing, _Timing, EXPECTED)
        trials.setdefault(trial[0].network, []).append(trial)
    if not trials:
        raise ArtifactError(where, "trials", got="none", expected="one or more that `study trial` wrote")
    datasets = sorted({metrics.dataset for of_network in trials.values() for metrics, _ in of_network})
    if len(datasets) > 1:
        raise ArtifactError(where, "data sets", got=" and ".join(datasets), expected="one")
    return trials


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """The figures of several seeds of one network: accuracies are fractions, NLL is in nats per image.

    ``accuracy_mean_low`` and ``_high`` are the 95 % interval of the mean by Student's t (Biometrika 6, 1908): what
    another such set of seeds would give, on these test images; ``accuracy_sd`` is the deviation between seeds.
    """
    trials = sorted(trials, key=lambda trial: trial[0].seed)
    metrics, timings = [trial[0] for trial in trials], [trial[1] for trial in trials]
    accuracies = [m.accuracy for m in metrics]
    middle, spread = mean(accuracies), stdev(accuracies) if len(accuracies) > 1 else None
    low, high = _interval(middle, spread, len(accuracies))
    seconds = [timing.train_seconds for timing in timings]
    return {
        "network": _one(m.network for m in metrics),
        "dataset": _one(m.dataset for m in metrics),
        "parameters": _one(m.parameters for m in metrics),
        "epochs": _one(m.epochs for m in metrics),
        "seeds": [m.seed for m in metrics],
        "accuracies": accuracies,
        "accuracy_mean": _rounded(middle),
        "accuracy_sd": _rounded(spread),
        "accuracy_mean_low": _rounded(low),
        "accuracy_mean_high": _rounded(high),
        "nll_mean": _rounded(mean(m.nll for m in metrics)),
        "brier_mean": _rounded(mean(m.brier for m in metrics)),
        "ece_mean": _rounded(mean(m.ece for m in metrics)),
        "train_seconds": seconds,
        "train_seconds_mean": round(mean(seconds), 3),
        "threads": _one(timing.threads for timing in timings),
        "machine": _one(timing.machine.model_dump(exclude={"versions"}) for timing in timings),
        "versions": _one(timing.machine.versions for timing in timings),
    }


def _interval(middle: float, spread: float | None, count: int) -> tuple[float | None, float | None]:
    if spread is None:
        return None, None
    half = float(students_t.ppf((1 + CONFIDENCE_LEVEL) / 2, count - 1)) * spread / math.sqrt(count)
    return middle - half, middle + half


def _rounded(value: float | None) -> float | None:
    """To 1e-8: sums in another order must not show."""
    return None if value is None else round(value, 8)


def _one(values: Any) -> Any:
    """The value that all trials share, or the list of the different ones."""
    different = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    return different[0] if len(different) == 1 else different

from __future__ import annotations

import json
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import pytest
from studying import MACHINE, write_trial

from mnist_dvc.errors import ArtifactError
from mnist_dvc.paths import Paths
from mnist_dvc.study.summary import study_summary

if TYPE_CHECKING:
    from pathlib import Path

ERRORS = {1: 40, 2: 36, 10: 32}
ACCURACIES = {1: 0.9960, 2: 0.9964, 10: 0.9968}


def summed_up(root: Path) -> dict[str, Any]:
    study_summary(Paths(root))
    loaded: dict[str, Any] = json.loads((root / "summary.json").read_text())
    return loaded


def test_every_seed_counts_in_the_order_of_the_seeds(tmp_path: Path) -> None:
    for seed, errors in reversed(ERRORS.items()):
        write_trial(tmp_path, "compact", seed, errors=errors)
    summary = summed_up(tmp_path)
    assert (summary["study"], summary["network"], summary["parameters"]) == (tmp_path.name, "compact", 19_706)
    assert summary["seeds"] == [1, 2, 10]
    assert summary["accuracies"] == list(ACCURACIES.values())
    assert summary["accuracy_mean"] == pytest.approx(mean(ACCURACIES.values()))
    assert summary["accuracy_sd"] == pytest.approx(stdev(ACCURACIES.values()))
    assert summary["nll_mean"] == pytest.approx(0.1 + 0.13 / 3)
    assert summary["train_seconds_mean"] == pytest.approx(10 + 13 / 3, abs=1e-3)
    assert (summary["threads"], summary["versions"]) == (2, {"torch": "2.15"})
    assert summary["machine"] == {key: value for key, value in MACHINE.items() if key != "versions"}
    assert "points" not in summary


def test_interval_is_students(tmp_path: Path) -> None:
    for seed, errors in ERRORS.items():
        write_trial(tmp_path, "compact", seed, errors=errors)
    summary = summed_up(tmp_path)
    half = 4.302653 * 0.0004 / 3**0.5  # the 97.5 % point of Student's t with two degrees of freedom, from tables
    assert summary["accuracy_mean_low"] == pytest.approx(0.9964 - half, abs=1e-7)
    assert summary["accuracy_mean_high"] == pytest.approx(0.9964 + half, abs=1e-7)


def test_one_seed_has_no_spread_and_no_interval(tmp_path: Path) -> None:
    write_trial(tmp_path, "compact", 1, errors=100)
    summary = summed_up(tmp_path)
    assert [summary[f"accuracy_{key}"] for key in ("sd", "mean_low", "mean_high")] == [None] * 3


def test_several_networks_are_points_and_the_largest_leads(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_trial(tmp_path, "compact", seed, errors=50)
        write_trial(tmp_path, "compact-1k", seed, errors=200, parameters=886)
    summary = summed_up(tmp_path)
    assert [point["parameters"] for point in summary["points"]] == [886, 19_706]
    assert summary["accuracy_mean"] == 0.995
    assert all(point["seeds"] == [1, 2] for point in summary["points"])


def test_different_machines_are_all_told(tmp_path: Path) -> None:
    write_trial(tmp_path, "compact", 1, errors=100)
    write_trial(tmp_path, "compact", 2, errors=100, machine=MACHINE | {"processor": "Q"})
    assert [machine["processor"] for machine in summed_up(tmp_path)["machine"]] == ["P", "Q"]


def test_same_trials_same_bytes(tmp_path: Path) -> None:
    for seed, errors in ERRORS.items():
        write_trial(tmp_path, "compact", seed, errors=errors)
    summed_up(tmp_path)
    first = (tmp_path / "summary.json").read_bytes()
    summed_up(tmp_path)
    assert (tmp_path / "summary.json").read_bytes() == first


def test_no_trials_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="trials: got none"):
        study_summary(Paths(tmp_path))
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("metrics.json", "{", "metrics.json: content"),
        ("metrics.json", "{}", "metrics.json: accuracy: got Field required"),
        ("timing.json", '{"train_seconds": "7", "threads": 1, "machine": {}}', "timing.json: train_seconds"),
        ("timing.json", None, "timing.json: file"),
    ],
)
def test_damaged_trial_is_refused(tmp_path: Path, file: str, content: str | None, told: str) -> None:
    folder = write_trial(tmp_path, "compact", 1, errors=100)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(ArtifactError, match=told):
        study_summary(Paths(tmp_path))


def test_trials_on_different_data_sets_are_not_averaged(tmp_path: Path) -> None:
    write_trial(tmp_path, "compact", 1, errors=100)
    write_trial(tmp_path, "compact", 2, errors=100, dataset="mnist-5k")
    with pytest.raises(ArtifactError, match="data sets: got mnist and mnist-5k"):
        study_summary(Paths(tmp_path))

"""A real process, killed with SIGKILL at random moments and started again until it is done: the same bytes, always.

The default suite kills a few trainings; `nox -s faults` kills twenty, or as many as MNIST_DVC_KILLED says.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from helpers import params_of, posix, raw_digits
from killing import TRAIN, Report, Zygote, kill_until_done, tracked
from ruamel.yaml import YAML

from mnist_dvc.data.prepared import write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = posix

KILLED = int(os.environ.get("MNIST_DVC_KILLED", "20"))
"""Trainings in the marked test."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A workspace before its training: 28 steps in 4 epochs, about half a second, and files of several blocks."""
    paths = Paths(tmp_path_factory.mktemp("template"))
    raw, chosen = raw_digits(), params_of("compact", epochs=4)
    parts = split(raw, validation=chosen.data.validation, seed=chosen.data.seed)
    write_prepared(paths.prepared, raw, parts, validation=chosen.data.validation, seed=chosen.data.seed)
    with (paths.root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(chosen.model_dump(), file)
    return paths


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as processes:
        yield processes


class Uninterrupted:
    """What a training gives that nobody kills, and how long it takes."""

    def __init__(self, zygote: Zygote, template: Paths, folder: Path) -> None:
        for attempt in ("warm-up", "measured"):
            shutil.copytree(template.root, folder / attempt)
            began = time.perf_counter()
            assert zygote.run(folder / attempt, *TRAIN) == 0
            self.seconds = time.perf_counter() - began
        self.outputs = tracked(Paths(folder / "measured"))
        assert self.outputs == tracked(Paths(folder / "warm-up"))


@pytest.fixture(scope="module")
def uninterrupted(zygote: Zygote, template: Paths, tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    return Uninterrupted(zygote, template, tmp_path_factory.mktemp("uninterrupted"))


def kill(zygote: Zygote, template: Paths, folder: Path, golden: Uninterrupted, seeds: range) -> Report:
    """A training for each seed, killed after at most half of what it takes."""
    report = Report()
    for seed in seeds:
        where = folder / str(seed)
        report += kill_until_done(zygote, template, where, golden.outputs, seed=seed, longest=golden.seconds / 2)
        shutil.rmtree(where)
    return report


def test_killed_training_ends_with_the_same_bytes(
    zygote: Zygote, template: Paths, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    report = kill(zygote, template, tmp_path, uninterrupted, range(3))
    assert report.wrong == []
    assert report.kills.total() >= 1


@pytest.mark.faults
def test_many_killed_trainings_end_with_the_same_bytes(
    zygote: Zygote, template: Paths, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    report = kill(zygote, template, tmp_path, uninterrupted, range(100, 100 + KILLED))
    print(f"{KILLED} trainings, {report.kills.total()} kills: {dict(report.kills)}")  # noqa: T201  (figures to quote)
    assert report.wrong == []
    assert report.kills.total() >= KILLED // 2


@pytest.mark.faults
@pytest.mark.parametrize(
    ("sabotage", "expected"),
    [("naive save", "is damaged"), ("missing generator state", "other bytes at the end")],
)
def test_the_test_of_kills_can_fail(
    zygote: Zygote,
    template: Paths,
    tmp_path: Path,
    uninterrupted: Uninterrupted,
    monkeypatch: pytest.MonkeyPatch,
    *,
    sabotage: str,
    expected: str,
) -> None:
    """A few trainings suffice to see it; where other work shifts the moments of the kills, some more."""
    wrong: list[str] = []
    monkeypatch.setattr(zygote, "sabotage", sabotage)
    for seed in range(50):
        wrong += kill(zygote, template, tmp_path, uninterrupted, range(seed, seed + 1)).wrong
        if any(expected in line for line in wrong):
            return
    pytest.fail(f"fifty trainings with {sabotage} and nothing seen but {wrong}")

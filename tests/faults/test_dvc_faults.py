"""`dvc repro` killed, interrupted, orphaned and started twice: no partial model on record, always the same bytes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from helpers import posix
from repository import Repository, Repro
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.faults, posix]

SMALL: dict[str, dict[str, Any]] = {
    "data": {"source": "sample"},
    "model": {"name": "sprint"},
    "train": {"epochs": 6, "batch_size": 100, "threads": 1},
    "evaluate": {"threads": 1},
}


def repository(folder: Path) -> Repository:
    """This working tree with short params."""
    made = Repository(folder, warm=True)
    yaml = YAML(typ="safe", pure=True)
    path = folder / "params.yaml"
    values = yaml.load(path.read_text())
    for section, changes in SMALL.items():
        values[section] |= changes
    with path.open("w") as file:
        yaml.dump(values, file)
    return made


class Uninterrupted(NamedTuple):
    """A run that nothing interrupts."""

    lock: bytes
    """dvc.lock, with the digests of every output."""
    seconds: float
    """How long it took, by processes that need not import the libraries: half as long as by those that are killed."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    made = repository(tmp_path_factory.mktemp("golden") / "repository")
    began = time.perf_counter()
    made.dvc("repro")
    return Uninterrupted(lock_of(made), time.perf_counter() - began)


@pytest.fixture
def golden(uninterrupted: Uninterrupted) -> dict[str, Any]:
    return stages_in(uninterrupted.lock)


TRAINING = ("prepare", "train")
"""All that is run where the trainer alone is disturbed."""


def lock_of(made: Repository) -> bytes:
    return (made.folder / "dvc.lock").read_bytes()


def stages_in(lock: bytes) -> dict[str, Any]:
    """What dvc.lock has on record of them."""
    stages = YAML(typ="safe", pure=True).load(lock)["stages"]
    return {name: stages[name] for name in TRAINING if name in stages}


@pytest.mark.parametrize("seed", range(2))
def test_repro_killed_at_random_moments_ends_with_the_same_bytes(
    tmp_path: Path, uninterrupted: Uninterrupted, seed: int
) -> None:
    made, draw, kills = repository(tmp_path / "repository"), np.random.default_rng(seed), 0
    for _ in range(50):
        run = Repro(made)
        try:
            # The first is killed before it can end, however busy the machine was when the time was taken.
            run.process.wait(draw.uniform(1.0, 2 * uninterrupted.seconds) if kills else 1.0)
        except subprocess.TimeoutExpired:
            os.killpg(run.process.pid, signal.SIGKILL)
            kills += 1
        if run.end() == 0:
            break
    assert lock_of(made) == uninterrupted.lock
    assert kills > 0
    assert "up to date" in made.dvc("status")


ROW = r"^ +2 +\d"
"""The row of the second epoch: a snapshot of the first is safe by then."""


# DVC tells how its shell ended: one that hands over to the command ends as that does, one that waits for it dies of the
# Ctrl-C itself.
@pytest.mark.parametrize(
    ("number", "codes"), [(signal.SIGTERM, "143"), (signal.SIGINT, "130|-2")], ids=["SIGTERM", "Ctrl-C"]
)
def test_interrupted_trainer_fails_the_stage_and_goes_on_next_time(
    tmp_path: Path, golden: dict[str, Any], number: signal.Signals, codes: str
) -> None:
    made = repository(tmp_path / "repository")
    run = Repro(made, "train")
    run.until(ROW)
    if number is signal.SIGINT:  # a terminal sends it to every process of the group
        os.killpg(run.process.pid, number)
    else:
        os.kill(run.holder(), number)
    assert run.end() != 0
    assert re.search(rf"exited with ({codes})$", run.printed, re.MULTILINE)
    assert "train" not in stages_in(lock_of(made))
    again = made.dvc("repro", "train")
    assert "Resuming from .mnist_dvc/resume/" in again
    assert stages_in(lock_of(made)) == golden


def test_orphan_holds_the_lock_until_it_ends(tmp_path: Path) -> None:
    """DVC is killed and takes nobody with it; its next run finds no rwlock, and ours."""
    made = repository(tmp_path / "repository")
    first = Repro(made, "train")
    first.until(ROW)
    orphan = first.holder()
    first.process.kill()
    first.process.wait()
    os.kill(orphan, signal.SIGSTOP)  # or it may have ended before the next one looks at the lock
    second = Repro(made, "train")
    code = second.end()
    os.kill(orphan, signal.SIGCONT)
    assert code != 0
    assert f"workspace that process {orphan} (mnist-dvc train, since" in second.printed
    assert "exited with 75" in second.printed
    first.end()
    assert "Training completed." in first.printed
    assert "train" not in stages_in(lock_of(made))
    assert made.dvc("repro", "train").count("Running stage") == 1


def test_orphan_that_is_stopped_leaves_its_work_to_the_next(tmp_path: Path) -> None:
    made = repository(tmp_path / "repository")
    first = Repro(made, "train")
    first.until(ROW)
    orphan = first.holder()
    first.process.kill()
    os.kill(orphan, signal.SIGTERM)
    first.end()
    assert "stopped by SIGTERM after step" in first.printed
    assert "Resuming from .mnist_dvc/resume/" in made.dvc("repro", "train")


def test_of_two_repros_one_works(tmp_path: Path, golden: dict[str, Any]) -> None:
    made = repository(tmp_path / "repository")
    first = Repro(made, "train")
    first.until(ROW)
    second = Repro(made, "train")
    assert second.end() != 0
    assert first.end() == 0
    assert stages_in(lock_of(made)) == golden

"""Students learn from what teachers said, of the same distortions of the same digits, and from nothing else."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from asking import ask, plant
from helpers import augment_params, params, raw_digits

from mnist_dvc.data.prepared import write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError, ParamsError, StoppedError
from mnist_dvc.study.trial import teacher, trial
from mnist_dvc.training.engine import Training

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths


@pytest.fixture
def teachers(workspace: Paths) -> list[Path]:
    return [plant(workspace, seed) for seed in (101, 102)]


def student(paths: Paths, **changes: Any) -> list[bytes]:
    """What a short trial writes that does not depend on the clock."""
    trial(small(**({"distillation": 1.0} | changes)), paths)
    folder = paths.trial("compact-1k", 1)
    return [(folder / name).read_bytes() for name in ("model.safetensors", "metrics.json")]


def small(**changes: Any) -> Params:
    whole = params(**changes)
    return whole.model_copy(update={"model": whole.model.model_copy(update={"name": "compact-1k"})})


def test_students_learn_from_what_teachers_say(workspace: Paths) -> None:
    """The whole way: teachers that are trained, asked, and learnt from, twice."""
    for seed in (101, 102):
        whole = params(seed=seed, epochs=1)
        teacher(whole.model_copy(update={"model": whole.model.model_copy(update={"name": "teacher"})}), workspace)
    trained = [workspace.trial("teacher", seed) / "model.safetensors" for seed in (101, 102)]
    ask(workspace, trained)
    first = student(workspace)
    assert json.loads(first[1])["network"] == "compact-1k"
    assert student(workspace) == first
    assert student(workspace, distillation=0.0)[0] != first[0]
    ask(workspace, trained[:1])
    assert student(workspace)[0] != first[0]


def test_answers_are_read_only_if_they_are_asked_for(workspace: Paths) -> None:
    with pytest.raises(ArtifactError, match=r"teaching\.safetensors: file: got nothing, expected the answers that"):
        student(workspace)
    workspace.teaching.write_bytes(b"damage")
    with pytest.raises(ArtifactError, match=r"teaching\.safetensors: header: got damage"):
        student(workspace)
    assert student(workspace, distillation=0.0)


def test_answers_of_another_study_may_be_named(workspace: Paths, teachers: list[Path]) -> None:
    ask(workspace, teachers)
    first = student(workspace)
    elsewhere = workspace.root / "elsewhere.safetensors"
    workspace.teaching.rename(elsewhere)
    trial(small(distillation=1.0), workspace, teaching=elsewhere)
    assert (workspace.trial("compact-1k", 1) / "model.safetensors").read_bytes() == first[0]
    with pytest.raises(ArtifactError, match="file: got nothing"):
        student(workspace)


def test_student_of_other_distortions_is_refused(workspace: Paths, teachers: list[Path]) -> None:
    ask(workspace, teachers)
    with pytest.raises(ParamsError, match="train.augment: got other distortions than the teachers saw"):
        student(workspace, augment=augment_params(rotation=6.0))
    assert student(workspace)


def test_student_of_other_digits_is_refused(workspace: Paths, teachers: list[Path]) -> None:
    ask(workspace, teachers)
    raw = raw_digits()
    write_prepared(workspace.prepared, raw, split(raw, validation=100, seed=1), validation=100, seed=1)
    with pytest.raises(ArtifactError, match="digits it is about: got .*; run `study teach` again"):
        student(workspace)
    ask(workspace, teachers)
    assert student(workspace)


def test_stopped_student_goes_on_under_the_same_answers_only(
    workspace: Paths, teachers: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(workspace, teachers)
    whole = student(workspace)
    train_on = Training._train_on

    def train_and_signal(self: Training, *batch: Any) -> None:
        train_on(self, *batch)
        if self.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    def stop() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Training, "_train_on", train_and_signal)
            with pytest.raises(StoppedError):
                student(workspace)
        capsys.readouterr()

    stop()
    assert student(workspace) == whole
    assert "Going on after step 9 of 14" in capsys.readouterr().out
    stop()
    ask(workspace, teachers[:1])
    assert student(workspace) != whole
    printed = capsys.readouterr().out
    assert "Starting anew: the training in " in printed
    assert "Going on" not in printed

"""Weights that are no numbers any more are neither published nor kept: what is written is what its reader takes back.

A rate of 8.5 with a weight decay of 1 makes a variance of BatchNorm infinite three steps before the end, of which
neither loss nor gradient tells: the network in training divides by the variance of the batch, and no image is held out
to ask it about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import NETWORK, params, raw_digits
from killing import published

from mnist_dvc.data.prepared import write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError, DivergedError
from mnist_dvc.model.weights import read_model
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.train import train
from mnist_dvc.running import run as running
from mnist_dvc.study.trial import trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mnist_dvc.training.events import Finished

RUINED = params(epochs=4, learning_rate=8.5, weight_decay=1.0, warmup=0.99, ema_decay=0.0)
STEPS = 40
MESSAGE = (
    r"training diverged: tensor 'model/.*running_var': got NaN or infinity, expected finite numbers; try a smaller"
)


@pytest.fixture
def unvalidated(tmp_path: Path) -> Paths:
    """A folder with 400 prepared blobs to train on and none held out."""
    paths, raw = Paths(tmp_path), raw_digits()
    write_prepared(paths.prepared, raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    return paths


def kept(folder: Path) -> list[int]:
    """The steps of the snapshots."""
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.rglob("*.snapshot"))


def test_train_publishes_nothing_and_ends_the_same_way_when_it_goes_on(
    unvalidated: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DivergedError, match=MESSAGE):
        train(RUINED, unvalidated, snapshot_every=0.0)
    steps = kept(unvalidated.state)
    assert 30 < steps[-1] < STEPS
    with pytest.raises(DivergedError, match=MESSAGE):
        train(RUINED, unvalidated, snapshot_every=0.0)
    assert f"Going on after step {steps[-1]} of {STEPS}" in capsys.readouterr().out
    assert kept(unvalidated.state) == steps
    assert published(unvalidated) == {}


def test_train_without_a_snapshot_within_the_epoch_notices_at_its_end(unvalidated: Paths) -> None:
    with pytest.raises(DivergedError, match=MESSAGE):
        train(RUINED, unvalidated, snapshot_every=1e9)
    assert kept(unvalidated.state) == [20, 30]
    assert published(unvalidated) == {}


def test_trial_publishes_nothing_and_ends_the_same_way_when_it_goes_on(
    unvalidated: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    for done in (0, 30):
        with pytest.raises(DivergedError, match=MESSAGE):
            trial(RUINED, unvalidated)
        assert (f"Going on after step {done} of {STEPS}" in capsys.readouterr().out) == bool(done)
        assert kept(unvalidated.state) == [20, 30]
        assert list(unvalidated.trial(NETWORK, 1).glob("*")) == []


def test_without_the_look_at_what_is_written_it_would_be_published(
    unvalidated: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: without this and the question put to the result, nothing notices until the file is read."""
    with monkeypatch.context() as patched:
        patched.setattr("mnist_dvc.running.run._refuse_without_answers", lambda *_: None)
        patched.setattr("mnist_dvc.model.weights.not_finite", lambda _: None)
        train(RUINED, unvalidated)
    with pytest.raises(ArtifactError, match=r"tensor '.*running_var': got NaN or infinity"):
        read_model(unvalidated.model)


def test_without_the_look_at_snapshots_nothing_could_be_gone_on_with(
    unvalidated: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: both snapshots would be of no use, and be called damaged."""
    with monkeypatch.context() as patched:
        patched.setattr("mnist_dvc.training.snapshot.refuse_divergence", lambda _: None)
        with pytest.raises(DivergedError):
            train(RUINED, unvalidated, snapshot_every=0.0)
    assert kept(unvalidated.state) == [STEPS - 1, STEPS]
    with pytest.raises(ArtifactError, match="snapshots: got 2, none of them whole"):
        train(RUINED, unvalidated)


def test_same_training_at_a_usual_rate_is_published(unvalidated: Paths) -> None:
    """The twin of all: the folder and the number of steps are no reason to refuse."""
    usual = params(epochs=4, ema_decay=0.0)
    train(usual, unvalidated, snapshot_every=0.0)
    trial(usual, unvalidated)
    for path in (unvalidated.model, unvalidated.trial(NETWORK, 1) / "model.safetensors"):
        assert read_model(path)[1].network == NETWORK


def overflowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result of a training has weights that are finite and too large to compute with."""
    follow = running._follow

    def enlarge(*arguments: Any) -> Finished:
        finished = follow(*arguments)
        with torch.no_grad():
            for weight in finished.model.parameters():
                if weight.ndim > 1:
                    weight.fill_(1e38)
        return finished

    monkeypatch.setattr(running, "_follow", enlarge)


@pytest.mark.parametrize("run", [train, trial])
def test_result_without_answers_is_not_published(
    unvalidated: Paths, monkeypatch: pytest.MonkeyPatch, run: Callable[..., None]
) -> None:
    overflowing(monkeypatch)
    with pytest.raises(DivergedError, match="after the last step: got answers that are infinite or no numbers"):
        run(params(), unvalidated)
    assert published(unvalidated) == {}
    assert list(unvalidated.root.glob("trials/*/*/*.json")) == []
    assert kept(unvalidated.state) != []


def test_without_the_question_it_would_be_published(unvalidated: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    overflowing(monkeypatch)
    monkeypatch.setattr(running, "_refuse_without_answers", lambda *_: None)
    train(params(), unvalidated)
    assert unvalidated.model.is_file()

"""A stage that is stopped, refused, or out of room leaves everything whole, and the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import params, posix
from killing import golden, published, tracked
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_dvc import runtime
from mnist_dvc.errors import ArtifactError, DivergedError, StoppedError
from mnist_dvc.pipeline.prepare import prepare
from mnist_dvc.pipeline.train import train
from mnist_dvc.running import inputs
from mnist_dvc.running.interruption import Interruption
from mnist_dvc.training.engine import Training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mnist_dvc.paths import Paths

    Arm = Callable[..., None]


pytestmark = posix


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Send this process a real signal right after a step; step 0 for none."""
    armed: dict[int, signal.Signals] = {}
    train_on = Training._train_on

    def train_and_signal(self: Training, *batch: Any) -> None:
        train_on(self, *batch)
        if self.step in armed:
            os.kill(os.getpid(), armed[self.step])

    def arm(step: int, number: signal.Signals = signal.SIGTERM) -> None:
        armed.clear()
        armed[step] = number

    monkeypatch.setattr(Training, "_train_on", train_and_signal)
    return arm


def snapshots(workspace: Paths) -> list[Path]:
    return sorted((workspace.state / "resume").glob("*/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 7, 10, 14])
def test_signal_stops_after_the_step_and_the_next_run_goes_on(
    workspace: Paths,
    stop_after: Arm,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    step: int,
) -> None:
    whole = golden(workspace)
    stop_after(step, number)
    with pytest.raises(StoppedError, match=rf"stopped by \S+ after step {step}; the same command goes on") as caught:
        train(params(), workspace)
    assert caught.value.exit_code == 128 + number
    assert published(workspace) == {}
    capsys.readouterr()
    stop_after(0)
    train(params(), workspace)
    printed = capsys.readouterr().out
    assert f"step-{step:09d}.snapshot" in printed
    assert f"Going on after step {step} of 14" in printed
    assert tracked(workspace) == whole
    assert snapshots(workspace) == []


def test_handlers_of_before_are_back_afterwards(workspace: Paths, stop_after: Arm) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stop_after(2)
    with pytest.raises(StoppedError):
        train(params(), workspace)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.received is signal.SIGTERM
        with pytest.raises(SystemExit, match="130"):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_while_publishing_never_ends_in_success(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = golden(workspace)
    replace = os.replace

    def replace_and_signal(temporary: Path, path: Path) -> None:
        replace(temporary, path)
        if path == workspace.checkpoint:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(os, "replace", replace_and_signal)
    with pytest.raises(StoppedError):
        train(params(), workspace)
    assert tracked(workspace) == whole
    assert snapshots(workspace) != []
    monkeypatch.undo()
    train(params(), workspace)
    assert tracked(workspace) == whole


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signal_outside_the_training_ends_with_its_own_code_too(workspace: Paths, number: str, code: int) -> None:
    """It reaches `prepare` while that reads its params."""
    script = (
        "import os, signal, sys, mnist_dvc.cli as cli, mnist_dvc.program as program\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell has its background jobs ignore it
        f"cli.loaded_params = lambda *_: os.kill(os.getpid(), signal.{number})\n"
        "sys.argv = ['mnist-dvc', 'prepare']\n"
        "program.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=workspace.root, capture_output=True, text=True, check=False
    )
    assert result.returncode == code
    assert "Traceback" not in result.stderr


def test_fresh_forgets_what_was_done(workspace: Paths, stop_after: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    stop_after(7)
    with pytest.raises(StoppedError):
        train(params(), workspace)
    stop_after(0)
    train(params(), workspace, fresh=True)
    printed = capsys.readouterr().out
    assert "Resuming" not in printed
    assert snapshots(workspace) == []


@pytest.mark.parametrize("change", ["params", "data", "code", "machine"])
def test_changed_training_starts_anew_and_says_so(
    workspace: Paths,
    stop_after: Arm,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    stop_after(7)
    with pytest.raises(StoppedError):
        train(params(), workspace)
    capsys.readouterr()
    stop_after(0)
    chosen = params()
    match change:
        case "params":
            chosen = params(learning_rate=0.01)
        case "data":
            path = workspace.prepared / "manifest.json"
            path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
            (workspace.prepared / "SHA256SUMS").unlink()  # as where DVC brings other digits
        case "code":
            monkeypatch.setattr(inputs, "code_digest", lambda _: "new")
        case "machine":
            monkeypatch.setattr(runtime, "__version__", "9.9")
    train(chosen, workspace)
    printed = capsys.readouterr().out
    assert "Starting anew: the training in " in printed
    assert "Going on" not in printed
    assert len(snapshots(workspace)) == 1  # of the other training, which is still unfinished


def test_damaged_snapshot_is_skipped_aloud_and_the_older_one_taken(
    workspace: Paths, stop_after: Arm, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = golden(workspace)
    stop_after(9)
    with pytest.raises(StoppedError):
        train(params(), workspace)
    older, newest = snapshots(workspace)
    newest.write_bytes(newest.read_bytes()[:-1])
    capsys.readouterr()
    stop_after(0)
    train(params(), workspace)
    told = capsys.readouterr()
    assert f"skipped a snapshot: {newest}: SHA-256: got" in told.err
    assert f"Resuming from {older}" in told.out
    assert tracked(workspace) == whole


def test_several_snapshots_and_none_whole_is_an_error_that_destroys_nothing(workspace: Paths, stop_after: Arm) -> None:
    stop_after(9)
    with pytest.raises(StoppedError):
        train(params(), workspace)
    for path in snapshots(workspace):
        path.write_bytes(b"damage")
    stop_after(0)
    with pytest.raises(ArtifactError, match="snapshots: got 2, none of them whole, expected a whole one"):
        train(params(), workspace)
    assert [path.read_bytes() for path in snapshots(workspace)] == [b"damage"] * 2


def test_divergence_keeps_the_last_good_snapshot(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    entropy = torch.nn.functional.cross_entropy
    calls = iter(range(1000))

    def fail_late(*arguments: Any, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = entropy(*arguments, **options)
        return loss * torch.nan if next(calls) == 9 else loss

    monkeypatch.setattr("torch.nn.functional.cross_entropy", fail_late)
    with pytest.raises(DivergedError, match="step 9 of 14"):
        train(params(), workspace, snapshot_every=0.0)
    assert [path.name for path in snapshots(workspace)] == ["step-000000007.snapshot", "step-000000008.snapshot"]
    assert published(workspace) == {}


def curves(workspace: Paths) -> tuple[list[int], list[tuple[int, float]]]:
    """The epochs that have a point, and the steps with theirs."""
    (run,) = workspace.runs.iterdir()
    events = EventAccumulator(str(run)).Reload()
    points = [(event.step, event.value) for event in events.Scalars("step/loss")]
    return [event.step for event in events.Scalars("loss/train")], points


def test_curves_go_on_in_the_same_run_without_a_step_twice(
    workspace: Paths, stop_after: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(params(epochs=4), workspace)
    whole = curves(workspace)
    assert whole[0] == [1, 2, 3, 4]
    assert [step for step, _ in whole[1]] == list(range(1, 29))
    shutil.rmtree(workspace.runs)
    shutil.rmtree(workspace.dated_checkpoints)
    monkeypatch.setenv("DVC_EXP_NAME", "first-name")
    stop_after(16)
    with pytest.raises(StoppedError):
        train(params(epochs=4), workspace)
    stop_after(0)
    monkeypatch.setenv("DVC_EXP_NAME", "another-name")
    train(params(epochs=4), workspace)
    assert curves(workspace) == whole
    assert len(list(workspace.dated_checkpoints.iterdir())) == 1


def test_epoch_that_is_done_twice_shows_once(workspace: Paths, stop_after: Arm) -> None:
    """The newest snapshot is damaged, so steps and an epoch whose curves are written already are trained again."""
    stop_after(15)
    with pytest.raises(StoppedError):
        train(params(epochs=4), workspace)
    older, newest = snapshots(workspace)
    assert older.name == "step-000000014.snapshot"
    newest.unlink()
    older.rename(older.with_name("step-000000099.snapshot"))
    stop_after(0)
    train(params(epochs=4), workspace)
    epochs, points = curves(workspace)
    assert epochs == [1, 2, 3, 4]
    assert [step for step, _ in points] == list(range(1, 29))


def test_curves_that_cannot_be_written_do_not_stop_the_training(
    workspace: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.runs.write_text("a file where a folder belongs")
    train(params(), workspace)
    assert "no TensorBoard curves from here on: [Errno " in capsys.readouterr().err
    assert workspace.model.is_file()


def test_prepare_leaves_nothing_half_done_when_it_is_stopped(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in workspace.prepared.iterdir()}

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    chosen = params().model_copy(update={"data": params().data.model_copy(update={"source": "sample"})})
    with pytest.raises(KeyboardInterrupt):
        prepare(chosen, workspace)
    assert {path.name: path.read_bytes() for path in workspace.prepared.iterdir()} == before


def test_running_twice_costs_no_snapshot_and_no_stray(workspace: Paths) -> None:
    train(params(), workspace)
    assert sorted(path.name for path in workspace.state.rglob("*")) == ["lock", "resume"]
    assert json.loads(workspace.train_metrics.read_text())["epochs"] == 2

"""Trials of a study: one training, scored once, and no two of them in each other's way; teachers see no test image."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import (
    NETWORK,
    PARAMETERS,
    params,
    params_of,
    posix,
    prepared_workspace,
    raw_digits,
    remove_split,
    write_params,
    write_scores,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError, BusyError, DataError, DeviceError, ParamsError, StoppedError
from mnist_dvc.files import exclusive, name_in, sha256sums
from mnist_dvc.inference import logits_of
from mnist_dvc.model import TEACHERS
from mnist_dvc.model.weights import read_model
from mnist_dvc.pipeline.evaluate import evaluate
from mnist_dvc.pipeline.export import export
from mnist_dvc.pipeline.predict import predict
from mnist_dvc.pipeline.train import train
from mnist_dvc.study import trial as stage
from mnist_dvc.study.trial import teacher, trial
from mnist_dvc.training.engine import Training

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

FILES = ["metrics.json", "model.safetensors", "timing.json"]
TRAINING = [
    "seed", "dataset", "network", "parameters", "epochs", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
]  # fmt: skip
SCORES = ["accuracy", "errors", "images", "accuracy_low", "accuracy_high", "nll", "brier", "ece"]


def chosen(name: str = NETWORK, **changes: Any) -> Params:
    """Params of a short training of ``name``."""
    return params_of(name, **({"epochs": 1} | changes))


def loaded(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def repeatable(folder: Path) -> list[bytes]:
    """What a trial writes that does not depend on the clock."""
    return [(folder / name).read_bytes() for name in ("model.safetensors", "metrics.json")]


def state_of(paths: Paths, name: str = NETWORK, seed: int = 1) -> Path:
    """Where the lock and the snapshots of a trial are."""
    return paths.state / "trials" / name / str(seed)


def published(paths: Paths) -> list[Path]:
    """Every file that looks like a result."""
    return [
        path for path in paths.root.rglob("*") if path.suffix in {".json", ".safetensors"} and "data" not in path.parts
    ]


# ------------------------------------------------------------------------------------------------------ what is written


def test_trial_writes_its_files_and_tells_the_result(workspace: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    trial(chosen(seed=7), workspace)
    folder = workspace.trial(NETWORK, 7)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    printed = capsys.readouterr().out
    assert f"{NETWORK}, seed 7: " in printed
    assert str(folder) in printed
    assert sorted(path.name for path in workspace.root.iterdir()) == [".mnist_dvc", "data", "runs", "trials"]
    (run,) = workspace.runs.glob(f"*_{NETWORK}_seed7")
    (point,) = EventAccumulator(str(run)).Reload().Scalars("test/accuracy")
    assert point.value == pytest.approx(json.loads((folder / "metrics.json").read_text())["accuracy"])


def test_metrics_of_a_trial_are_those_of_training_and_test(workspace: Paths) -> None:
    trial(chosen(seed=7, epochs=2), workspace)
    metrics = loaded(workspace.trial(NETWORK, 7) / "metrics.json")
    assert list(metrics) == TRAINING + SCORES
    assert (metrics["seed"], metrics["network"], metrics["parameters"]) == (7, NETWORK, PARAMETERS)
    assert (metrics["epochs"], metrics["images"]) == (2, 100)


def test_scores_are_those_of_the_model_that_is_written(workspace: Paths) -> None:
    trial(chosen(epochs=3), workspace)
    folder = workspace.trial(NETWORK, 1)
    model, card = read_model(folder / "model.safetensors")
    test = Digits.on(torch.device("cpu"), Prepared.open(workspace.prepared).read("test"))
    wrong = int((logits_of(model, test, 7).argmax(dim=1) != test.labels_N).sum())
    metrics = loaded(folder / "metrics.json")
    assert metrics["errors"] == wrong
    assert metrics["accuracy"] == pytest.approx(1 - wrong / 100)
    assert (card.network, card.data_digest) == (NETWORK, Prepared.open(workspace.prepared).digest)


def test_timing_says_how_long_and_on_what(workspace: Paths) -> None:
    trial(chosen(), workspace)
    timing = loaded(workspace.trial(NETWORK, 1) / "timing.json")
    assert list(timing) == ["train_seconds", "threads", "machine"]
    assert list(timing["machine"]) == ["processor", "cpus", "accelerator", "system", "versions"]
    assert timing["train_seconds"] > 0
    assert timing["threads"] == 1


@pytest.mark.parametrize(("name", "run"), [(NETWORK, trial), ("teacher", teacher)])
def test_second_run_writes_the_same_bytes_and_another_seed_others(workspace: Paths, name: str, run: Any) -> None:
    run(chosen(name), workspace)
    first = repeatable(workspace.trial(name, 1))
    run(chosen(name), workspace)
    assert repeatable(workspace.trial(name, 1)) == first
    run(chosen(name, seed=2), workspace)
    assert all(a != b for a, b in zip(first, repeatable(workspace.trial(name, 2)), strict=True))


def test_trial_publishes_the_very_model_that_train_does(workspace: Paths) -> None:
    trial(chosen(), workspace)
    train(chosen(), workspace)
    assert (workspace.trial(NETWORK, 1) / "model.safetensors").read_bytes() == workspace.model.read_bytes()


def test_teacher_writes_the_same_files_without_a_figure_of_the_test(
    workspace: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher(chosen("teacher", seed=3), workspace)
    folder = workspace.trial("teacher", 3)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    metrics = loaded(folder / "metrics.json")
    assert list(metrics) == TRAINING
    assert metrics["parameters"] == 217_322
    assert list(loaded(folder / "timing.json")) == ["train_seconds", "threads", "machine"]
    assert " on the validation images, trained in " in capsys.readouterr().out


def test_teacher_may_learn_from_all_images(workspace: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    raw = raw_digits()
    write_prepared(workspace.prepared, raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    teacher(chosen("teacher", seed=3), workspace)
    assert list(loaded(workspace.trial("teacher", 3) / "metrics.json")) == TRAINING[:-2]
    assert " on its distorted digits, none held out, trained in " in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- what is never looked at


def test_teacher_never_reads_the_test_images(workspace: Paths) -> None:
    remove_split(workspace.prepared, "test")
    teacher(chosen("teacher"), workspace)
    assert (workspace.trial("teacher", 1) / "model.safetensors").is_file()


def test_trial_does_so_the_test_above_can_fail(workspace: Paths) -> None:
    remove_split(workspace.prepared, "test")
    with pytest.raises(DataError, match="test_images"):
        trial(chosen(), workspace)
    assert published(workspace) == []


@pytest.mark.parametrize(
    ("run", "name", "expected"),
    [
        (trial, "teacher", "got 'teacher', expected one of reference, compact, "),
        (trial, "compact-3k", "got 'compact-3k', expected one of reference, .*; did you mean compact-"),
        (teacher, "compact", "got 'compact', expected one of teacher$"),
        (teacher, "reference", "got 'reference', expected one of teacher$"),
    ],
)
def test_each_command_refuses_the_networks_of_the_other(workspace: Paths, run: Any, name: str, expected: str) -> None:
    with pytest.raises(ParamsError, match=f"model.name: {expected}"):
        run(chosen(name), workspace)
    assert published(workspace) == []


@pytest.mark.parametrize("run", [trial, teacher])
@pytest.mark.parametrize("name", ["nonsense", "../../outside"])
def test_unknown_network_leaves_no_folder(workspace: Paths, run: Any, name: str) -> None:
    before = sorted(workspace.root.rglob("*"))
    with pytest.raises(ParamsError, match="model.name: got "):
        run(chosen(name), workspace)
    assert sorted(workspace.root.rglob("*")) == before


def test_known_network_leaves_some_so_the_test_above_can_fail(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError):
        trial(chosen(device="cuda"), workspace)
    assert state_of(workspace).is_dir()


def test_train_refuses_a_teacher(workspace: Paths) -> None:
    with pytest.raises(ParamsError, match="model.name: got 'teacher', expected one of reference, compact"):
        train(chosen("teacher"), workspace)
    assert published(workspace) == []


@pytest.mark.parametrize("command", ["evaluate", "export", "predict"])
def test_no_other_command_takes_a_teacher_for_a_model(workspace: Paths, command: str) -> None:
    train(chosen(), workspace)
    teacher(chosen("teacher"), workspace)
    content = (workspace.trial("teacher", 1) / "model.safetensors").read_bytes()
    own = workspace.model.read_bytes()

    def run(content: bytes) -> None:
        workspace.model.write_bytes(content)
        history = name_in(workspace.sums, workspace.history)
        contents = {workspace.model.name: content, history: workspace.history.read_bytes()}
        workspace.sums.write_bytes(sha256sums(contents))
        match command:
            case "evaluate":
                evaluate(params(), workspace)
            case "export":
                export(params(), workspace)
            case "predict":
                predict([], workspace.model, as_json=True)

    with pytest.raises(ArtifactError, match="network: got 'teacher', expected one of reference, compact"):
        run(content)
    assert not workspace.test_report.exists()
    assert not workspace.onnx.exists()
    assert read_model(workspace.model, TEACHERS)[1].network == "teacher"  # the file itself is whole
    workspace.model.write_bytes(own)
    write_scores(workspace, PARAMETERS)
    run(own)


# ------------------------------------------------------------------------------------------------ side by side, in turn


def test_trials_of_other_seeds_networks_and_kinds_run_side_by_side(workspace: Paths) -> None:
    with exclusive(state_of(workspace), "mnist-dvc study trial"):
        trial(chosen(seed=2), workspace)
        trial(chosen("sprint", seed=1), workspace)
        teacher(chosen("teacher", seed=1), workspace)
    assert len(list(workspace.root.glob("trials/*/*/model.safetensors"))) == 3


@pytest.mark.parametrize(("name", "run"), [(NETWORK, trial), ("teacher", teacher)])
def test_same_trial_is_refused_while_it_runs(workspace: Paths, name: str, run: Any) -> None:
    with (
        exclusive(state_of(workspace, name), "mnist-dvc study"),
        pytest.raises(BusyError, match=f"trials/{name}/1/lock: got a workspace that process {os.getpid()}"),
    ):
        run(chosen(name), workspace)
    assert published(workspace) == []
    run(chosen(name), workspace)
    assert len(published(workspace)) == len(FILES)


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process a real signal right after ``step``."""
    train_on = Training._train_on

    def train_and_signal(self: Training, *batch: Any) -> None:
        train_on(self, *batch)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "_train_on", train_and_signal)


@pytest.mark.parametrize(("name", "run"), [(NETWORK, trial), ("teacher", teacher)])
def test_stopped_trial_goes_on_to_the_same_bytes(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, run: Any
) -> None:
    run(chosen(name), workspace)
    whole = repeatable(workspace.trial(name, 1))
    for path in published(workspace):
        path.unlink()
    with monkeypatch.context() as patched:
        stop_after(patched, 4)
        with pytest.raises(StoppedError, match="stopped by SIGTERM after step 4; the same command goes on from there"):
            run(chosen(name), workspace)
    assert published(workspace) == []
    run(chosen(name, seed=2), workspace)  # another trial leaves its snapshots alone
    capsys.readouterr()
    run(chosen(name), workspace)
    assert "Going on after step 4 of 7" in capsys.readouterr().out
    assert repeatable(workspace.trial(name, 1)) == whole
    assert list(workspace.state.rglob("*.snapshot")) == []


def test_name_taken_by_a_folder_is_met_before_the_training(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.trial(NETWORK, 1) / "metrics.json" / "inside").mkdir(parents=True)
    monkeypatch.setattr(Training, "events", lambda _: pytest.fail("it trained"))
    with pytest.raises(IsADirectoryError):
        trial(chosen(), workspace)


def test_absent_device_is_refused(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError):
        trial(chosen(device="cuda"), workspace)
    assert published(workspace) == []


@pytest.mark.parametrize(("name", "run"), [(NETWORK, trial), ("teacher", teacher)])
def test_disk_that_is_full_at_the_end_does_not_cost_the_training(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, run: Any
) -> None:
    """As in `train`: snapshots stay until everything is published."""

    def refuse(_: dict[Path, bytes], record: Path) -> None:
        raise OSError(28, "No space left on device", str(record))

    with monkeypatch.context() as patched:
        patched.setattr(stage, "publish", refuse)
        with pytest.raises(OSError, match="No space left"):
            run(chosen(name), workspace)
    capsys.readouterr()
    run(chosen(name), workspace)
    assert "Going on after step 7 of 7" in capsys.readouterr().out


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from mnist_dvc.params import load_params
from mnist_dvc.paths import Paths
from mnist_dvc.study.trial import trial

replace = os.replace

def killed(temporary, path):
    if path.name == target:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(temporary, path)

for folder in sys.argv[1:]:
    target, child = Path(folder).name, os.fork()
    if child == 0:
        os.chdir(folder)
        os.replace = killed
        trial(load_params(Path("params.yaml")), Paths())
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Trials in folders that are called as the file at which each is killed, forked from one that imports all once."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Paths]:
    """The workspaces of those."""
    places = {name: prepared_workspace(tmp_path_factory.mktemp("killed") / name) for name in FILES}
    for paths in places.values():
        write_params(paths.root, epochs=1)
    words = [sys.executable, "-c", KILLED_AT, *(str(paths.root) for paths in places.values())]
    told = subprocess.check_output(words, text=True)
    assert re.findall(r"^-?\d+$", told, re.MULTILINE) == [str(-signal.SIGKILL)] * len(FILES)
    return places


@posix
@pytest.mark.parametrize("target", FILES)
def test_trial_killed_while_publishing_keeps_its_snapshots(
    workspace: Paths, killed: dict[str, Paths], capsys: pytest.CaptureFixture[str], target: str
) -> None:
    trial(chosen(), workspace)
    paths = killed[target]
    folder = paths.trial(NETWORK, 1)
    assert not (folder / target).exists()
    assert list(paths.state.rglob("*.snapshot"))
    capsys.readouterr()
    trial(chosen(), paths)
    assert "Going on after step 7 of 7" in capsys.readouterr().out
    assert repeatable(folder) == repeatable(workspace.trial(NETWORK, 1))
    assert list(paths.state.rglob("*.snapshot")) == []

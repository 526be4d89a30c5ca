from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import params, read_csv, remove_split

from mnist_dvc.data.prepared import Prepared
from mnist_dvc.errors import DataError, DeviceError, DivergedError, ParamsError
from mnist_dvc.model.weights import read_model
from mnist_dvc.pipeline.train import train
from mnist_dvc.training import engine

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.paths import Paths

TRACKED = (
    "models/model.safetensors",
    "models/checkpoint.pth",
    "reports/train/history.csv",
    "reports/train/metrics.json",
)


def digests(root: Path) -> list[str]:
    return [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in TRACKED]


def test_every_output_is_written_and_told(workspace: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    train(params(), workspace)
    printed = capsys.readouterr().out
    assert all((workspace.root / name).is_file() for name in TRACKED)
    assert all(name in printed for name in TRACKED)
    assert re.search(r"^Training completed\. Validation accuracy: \d+\.\d\d %  \(\d", printed, re.MULTILINE)
    (run,) = workspace.runs.iterdir()
    assert re.fullmatch(r"\d{8}_\d{6}_compact-1k_seed1", run.name)


def test_metrics_and_history_tell_the_same_story(workspace: Paths) -> None:
    train(params(epochs=3), workspace)
    rows = read_csv(workspace.root / "reports/train/history.csv")
    assert list(rows[0]) == ["epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    metrics = json.loads((workspace.root / "reports/train/metrics.json").read_text())
    assert metrics["trained_on"] == "mnist"
    for key in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
        assert float(rows[-1][key]) == metrics[key]


def test_history_grows_by_whole_rows(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    validate = engine._validate

    def look(*arguments: Any) -> tuple[float, float]:
        seen.append([row["epoch"] for row in read_csv(workspace.history)] if workspace.history.exists() else [])
        return validate(*arguments)

    monkeypatch.setattr(engine, "_validate", look)
    train(params(epochs=3), workspace)
    assert seen == [[], ["1"], ["1", "2"]]
    assert [row["epoch"] for row in read_csv(workspace.history)] == ["1", "2", "3"]


def test_queued_experiment_leaves_its_run_where_it_was_called(
    workspace: Paths, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC removes the copy that it runs the experiment in."""
    called_in = tmp_path_factory.mktemp("workspace")
    monkeypatch.setenv("DVC_ROOT", str(called_in))
    monkeypatch.setenv("DVC_EXP_NAME", "wavy/bogs")
    train(params(), workspace)
    (run,) = (called_in / "runs").iterdir()
    assert re.fullmatch(r"\d{8}_\d{6}_compact-1k_seed1_wavy-bogs", run.name)
    assert len(list((called_in / "checkpoints").iterdir())) == 1
    assert not (workspace.root / "runs").exists()
    assert not (workspace.root / "checkpoints").exists()


@pytest.mark.parametrize("root", ["", "nowhere", "."])
def test_without_another_workspace_the_run_stays_here(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("DVC_ROOT", root)
    assert workspace.runs == workspace.root / "runs"


def test_checkpoint_holds_state_history_and_accuracy_under_both_names(workspace: Paths) -> None:
    train(params(), workspace)
    content = torch.load(workspace.checkpoint, weights_only=True)
    assert {"model_state_dict", "optimizer_state_dict", "history", "val_accuracy"} <= set(content)
    assert content["about"]["params"]["train"]["augment"]["shift"] == 1.0
    (dated,) = workspace.dated_checkpoints.iterdir()
    match = re.fullmatch(r"mnist_model_\d{8}_\d{6}_acc(\d+\.\d\d)\.pth", dated.name)
    assert match is not None
    assert float(match[1]) == pytest.approx(100 * content["val_accuracy"], abs=0.005)
    assert dated.read_bytes() == workspace.checkpoint.read_bytes()


def test_model_file_and_checkpoint_hold_the_same_weights(workspace: Paths) -> None:
    train(params(), workspace)
    model, card = read_model(workspace.model)
    state = torch.load(workspace.checkpoint, weights_only=True)["model_state_dict"]
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert card.data_digest == Prepared.open(workspace.prepared).digest
    assert card.provenance["threads"] == 1


def test_twice_the_same_bytes_in_every_tracked_output(workspace: Paths) -> None:
    train(params(), workspace)
    first = digests(workspace.root)
    train(params(), workspace)
    assert digests(workspace.root) == first


def test_another_seed_gives_other_bytes(workspace: Paths) -> None:
    train(params(), workspace)
    first = digests(workspace.root)
    train(params(seed=2), workspace)
    assert all(a != b for a, b in zip(first, digests(workspace.root), strict=True))


def test_test_images_are_never_read(workspace: Paths) -> None:
    remove_split(workspace.prepared, "test")
    train(params(), workspace)
    assert workspace.model.is_file()


def test_training_images_are_read_so_the_test_above_can_fail(workspace: Paths) -> None:
    remove_split(workspace.prepared, "train")
    with pytest.raises(DataError, match="train_images"):
        train(params(), workspace)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"batch_size": 301}, ParamsError),
        ({"device": "cuda"}, DeviceError),
        ({"learning_rate": 10.0, "weight_decay": 0.0, "gradient_clip": 1e6, "epochs": 200}, DivergedError),
    ],
    ids=["batch", "device", "divergence"],
)
def test_failed_training_publishes_nothing(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], error: type[Exception]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if error is DivergedError:  # BatchNorm tames any learning rate in range, so the loss itself is made to fail
        monkeypatch.setattr(
            "torch.nn.functional.cross_entropy",
            lambda _, labels_N, **__: torch.full(labels_N.shape, torch.inf, requires_grad=True),
        )
    with pytest.raises(error):
        train(params(**change), workspace)
    assert not any((workspace.root / name).exists() for name in TRACKED)
    assert not workspace.dated_checkpoints.exists() or not list(workspace.dated_checkpoints.iterdir())

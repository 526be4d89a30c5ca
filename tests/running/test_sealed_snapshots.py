"""Snapshots with the right digest that no training wrote cost no more than damaged ones, and never end in 70."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import copy_of, params
from hostile_tensors import changed, told
from killing import published, tracked
from lost import lost_training

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import sha256
from mnist_dvc.pipeline.train import train
from mnist_dvc.running import resumable

if TYPE_CHECKING:
    from pathlib import Path

    from hostile_tensors import Change

    from mnist_dvc.paths import Paths


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return lost_training(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def whole(template: Paths, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a training leaves that nothing happens to."""
    paths = copy_of(template, tmp_path_factory.mktemp("whole"))
    train(params(), paths, fresh=True)
    return tracked(paths)


@pytest.fixture
def workspace(template: Paths, tmp_path: Path) -> Paths:
    return copy_of(template, tmp_path)


def filled(name: str, value: bytes) -> Change:
    """The bytes of a tensor, over and over the same."""

    def change(header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        start, stop = header[name]["data_offsets"]
        return header, body[:start] + value * ((stop - start) // len(value)) + body[stop:]

    return change


def spoil(path: Path, change: Change) -> None:
    payload = changed(path.read_bytes().partition(b"\n")[2], change)
    path.write_bytes(f"mnist_dvc snapshot 1 {sha256(payload)}\n".encode() + payload)


def snapshots(paths: Paths) -> list[Path]:
    """Newest first."""
    return sorted((paths.state / "resume").glob("*/step-*"), reverse=True)


LARGE = torch.tensor([1e30]).numpy().tobytes()
HOSTILE: dict[str, tuple[Change, str]] = {
    "generator of zeros": (filled("order", b"\0"), "generator order: got no state of a generator, expected one"),
    "sums of 1e30": (filled("totals", LARGE), "tensor totals: got more than 1e+20, expected smaller numbers"),
    "step of another epoch": (told(step=77), "step: got 77, expected one of "),
    "NaN history": (told(history=[{"epoch": 1, "train_loss": float("nan")}]), "content: got damage (history.0."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_snapshot_is_skipped_aloud_and_the_older_one_taken(
    workspace: Paths, whole: dict[str, bytes], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    change, words = HOSTILE[name]
    newest, older = snapshots(workspace)
    spoil(newest, change)
    capsys.readouterr()
    train(params(), workspace)
    printed = capsys.readouterr()
    assert printed.err.startswith(f"train: skipped a snapshot: {newest}: ")
    assert words in printed.err
    assert f"Resuming from {older}" in printed.out
    assert tracked(workspace) == whole


def test_none_but_hostile_ones_end_in_65_and_stay(workspace: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    for path in snapshots(workspace):
        spoil(path, HOSTILE["generator of zeros"][0])
    before = {path: path.read_bytes() for path in snapshots(workspace)}
    for _ in range(2):
        with pytest.raises(ArtifactError, match="snapshots: got 2, none of them whole, expected a whole one") as caught:
            train(params(), workspace)
        assert caught.value.exit_code == 65
    assert capsys.readouterr().err.count("generator order: got no state of a generator") == 4
    assert {path: path.read_bytes() for path in snapshots(workspace)} == before
    assert published(workspace) == {}


def test_resealed_without_a_change_the_newest_is_taken(
    workspace: Paths, whole: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """The twin: it is not the resealing that is refused."""
    newest = snapshots(workspace)[0]
    spoil(newest, told())
    train(params(), workspace)
    assert f"Resuming from {newest}" in capsys.readouterr().out
    assert tracked(workspace) == whole


def test_without_the_check_each_rerun_would_end_in_an_error_of_pytorch(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: the kind that is reported as a fault of ours, with 70."""
    spoil(snapshots(workspace)[0], HOSTILE["generator of zeros"][0])
    monkeypatch.setattr(resumable, "refuse_impossible", lambda *_: None)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
            train(params(), workspace)

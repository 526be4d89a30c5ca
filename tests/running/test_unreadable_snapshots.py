"""A snapshot that cannot be read costs no more than a damaged one: the older is taken, and the next save succeeds."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers import NO_FILES, copy_of, params, prepared_workspace
from killing import published, tracked
from lost import LOST_AT, STEPS, lost_training

from mnist_dvc.errors import ArtifactError
from mnist_dvc.pipeline.train import train
from mnist_dvc.training.snapshot import SnapshotFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnist_dvc.paths import Paths

    Spoil = Callable[[Path, pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a training leaves that nothing happens to."""
    paths = prepared_workspace(tmp_path_factory.mktemp("whole"))
    train(params(), paths)
    return tracked(paths)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return lost_training(tmp_path_factory.mktemp("template"))


@pytest.fixture
def workspace(template: Paths, tmp_path: Path) -> Paths:
    return copy_of(template, tmp_path)


def snapshots(paths: Paths) -> list[Path]:
    """Newest first."""
    return sorted((paths.state / "resume").glob("*/step-*"), reverse=True)


def no_opening(number: int) -> Spoil:
    """The system refuses to open the file."""

    def spoil(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        system_open = os.open

        def refuse(name: Any, *rest: Any, **options: Any) -> int:
            if Path(name) == path:
                raise OSError(number, os.strerror(number), str(path))
            return system_open(name, *rest, **options)

        monkeypatch.setattr(os, "open", refuse)

    return spoil


def no_reading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file opens, and a sector of it is gone; such an error names no file."""
    read = SnapshotFolder.read

    def refuse(self: SnapshotFolder, name: Path) -> Any:
        if name == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(self, name)

    monkeypatch.setattr(SnapshotFolder, "read", refuse)


def no_file(make: Callable[[Path], None]) -> Spoil:
    def spoil(path: Path, _: pytest.MonkeyPatch) -> None:
        path.unlink()
        make(path)

    return spoil


def full_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


NOT_A_FILE = "file: got something else than a file, expected a snapshot that `train` writes"
UNREADABLE: dict[str, tuple[Spoil, str]] = {
    "EIO on opening": (no_opening(errno.EIO), "Input/output error"),
    "EIO on reading": (no_reading, "Input/output error"),
    "EACCES": (no_opening(errno.EACCES), "Permission denied"),
    "circle": (no_file(NO_FILES["circle"]), "Too many levels of symbolic links"),
    "dangling link": (no_file(NO_FILES["dangling link"]), "file: got nothing, expected a snapshot that `train` writes"),
    "folder": (no_file(NO_FILES["folder"]), NOT_A_FILE),
    "full folder": (no_file(full_folder), NOT_A_FILE),
    "pipe": (no_file(NO_FILES["pipe"]), NOT_A_FILE),
    "device": (no_file(NO_FILES["device"]), NOT_A_FILE),
}
ONE_OF_EACH = ("EIO on opening", "dangling link", "full folder")
REFUSED_BY_THE_SYSTEM = ("EIO on opening", "EIO on reading", "EACCES", "circle")


def goes_on_from_the_older(paths: Paths, printed: pytest.CaptureFixture[str], words: str) -> None:
    newest, older = snapshots(paths)
    printed.readouterr()
    train(params(), paths, snapshot_every=0.0)
    told = printed.readouterr()
    assert told.err == f"train: skipped a snapshot: {newest}: {words}\n"
    assert f"Resuming from {older}" in told.out
    assert f"Going on after step {LOST_AT - 2} of {STEPS}" in told.out


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_snapshot_is_skipped_aloud_and_the_older_one_taken(
    workspace: Paths,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    spoil, words = UNREADABLE[name]
    spoil(snapshots(workspace)[0], monkeypatch)
    goes_on_from_the_older(workspace, capsys, words)
    assert tracked(workspace) == whole
    assert snapshots(workspace) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_snapshot_without_permission_is_skipped_too(
    workspace: Paths, whole: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    snapshots(workspace)[0].chmod(0)
    goes_on_from_the_older(workspace, capsys, "Permission denied")
    assert tracked(workspace) == whole


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_newest_is_taken_whatever_the_older_one_is(
    workspace: Paths,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """The twin: none is skipped that can be read, and the older one is not even tried."""
    newest, older = snapshots(workspace)
    UNREADABLE[name][0](older, monkeypatch)
    capsys.readouterr()
    train(params(), workspace, snapshot_every=0.0)
    told = capsys.readouterr()
    assert (told.err, f"Resuming from {newest}" in told.out) == ("", True)
    assert tracked(workspace) == whole


@pytest.mark.parametrize("name", REFUSED_BY_THE_SYSTEM)
def test_system_that_refuses_all_of_them_is_the_error_and_nothing_is_lost(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spoil, words = UNREADABLE[name]
    before = snapshots(workspace)
    for path in before:
        spoil(path, monkeypatch)
    with pytest.raises(OSError, match=words):
        train(params(), workspace)
    assert snapshots(workspace) == before
    assert published(workspace) == {}


@pytest.mark.parametrize("damaged", [0, 1], ids=["newest", "older"])
def test_one_unreadable_and_one_damaged_is_none_whole(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch, damaged: int
) -> None:
    before = snapshots(workspace)
    before[damaged].write_bytes(b"damage")
    no_opening(errno.EIO)(before[1 - damaged], monkeypatch)
    with pytest.raises(ArtifactError, match="snapshots: got 2, none of them whole, expected a whole one"):
        train(params(), workspace)
    assert snapshots(workspace) == before


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_only_snapshot_that_is_unreadable_costs_what_it_held(
    workspace: Paths,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """It was the first to be saved, so the training is young."""
    newest, older = snapshots(workspace)
    older.unlink()
    UNREADABLE[name][0](newest, monkeypatch)
    capsys.readouterr()
    train(params(), workspace, snapshot_every=0.0)
    told = capsys.readouterr()
    assert told.err == f"train: skipped a snapshot: {newest}: {UNREADABLE[name][1]}\n"
    assert "Resuming" not in told.out
    assert tracked(workspace) == whole


def test_without_the_removal_a_folder_would_end_the_training(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the folders above."""
    no_file(full_folder)(snapshots(workspace)[0], monkeypatch)
    monkeypatch.setattr(SnapshotFolder, "_remove_strangers", lambda _: None)
    with pytest.raises(IsADirectoryError):
        train(params(), workspace, snapshot_every=0.0)

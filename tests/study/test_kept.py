"""Kept views with the right digest that no teacher gave are asked about again; those of other digits are let alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from helpers import NO_FILES, augment_params, prepared_workspace
from hostile_tensors import changed, entry, framed, resealed, told

from mnist_dvc.data.prepared import Prepared
from mnist_dvc.errors import DataError
from mnist_dvc.study.kept import forget_unfit_views
from mnist_dvc.training.teaching import TENSOR, Lesson, Teaching, read_teaching, teaching_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mnist_dvc.paths import Paths


@pytest.fixture
def workspace(tmp_path: Path) -> Paths:
    return prepared_workspace(tmp_path, train=20)


def view(paths: Paths, images: int | None = None, digest: str | None = None, value: float | None = None) -> bytes:
    """A kept view, by default one that fits."""
    prepared = Prepared.open(paths.prepared)
    lesson = Lesson(
        augment=augment_params(),
        seed=0,
        dataset=prepared.dataset,
        data_digest=digest or prepared.digest,
        teachers=["a" * 64],
        precision="float32",
    )
    count = len(prepared.read("train")) if images is None else images
    logits_VNK = torch.randn((1, count, 10), generator=torch.Generator().manual_seed(0)).log_softmax(dim=2).half()
    if value is not None:
        logits_VNK[0, 0, 0] = value
    return teaching_bytes(Teaching(lesson, logits_VNK))


def keep(paths: Paths, content: bytes, name: str = "question/view-0.safetensors") -> Path:
    path = paths.state / "teach" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


UNFIT: dict[str, tuple[Callable[[Paths], bytes], str]] = {
    "fewer images": (lambda paths: view(paths, images=7), "float16 (1, 7, 10)"),
    "more images": (lambda paths: view(paths, images=999), "float16 (1, 999, 10)"),
    "infinity": (lambda paths: view(paths, value=torch.inf), "answer about image 0 in view 0: got probabilities that"),
    "NaN": (lambda paths: view(paths, value=torch.nan), "tensors: got "),
    "too sure": (lambda paths: view(paths, value=3.0), "answer about image 0 in view 0: got probabilities that"),
    "damage": (lambda _: b"damage", "header: got damage"),
    "a large header": (lambda _: framed(b" " * 70_000 + b"{}", b""), "header: got damage (70,002 bytes long"),
    "another type": (
        lambda paths: resealed(changed(view(paths), entry(TENSOR, dtype="F4"))),
        "got log_probabilities F4",
    ),
    "another digest": (lambda paths: changed(view(paths), told(sha256="a" * 64)), "SHA-256: got"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_view_that_no_teacher_gave_is_forgotten_aloud(
    workspace: Paths, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    make, words = UNFIT[name]
    good, bad = keep(workspace, view(workspace), "question/view-1.safetensors"), keep(workspace, make(workspace))
    forget_unfit_views(workspace)
    assert (good.exists(), bad.exists()) == (True, False)
    printed = capsys.readouterr().err
    assert printed.startswith(f"teach: forgot a kept view: {bad}: ")
    assert words in printed
    assert printed.count("\n") == 1


def test_view_that_fits_and_those_of_other_digits_stay(workspace: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    """The twin: what another asking may go on with is not taken from it."""
    kept = [keep(workspace, view(workspace)), keep(workspace, view(workspace, 7, "e" * 64), "other/view-3.safetensors")]
    forget_unfit_views(workspace)
    assert [path.exists() for path in kept] == [True, True]
    assert capsys.readouterr().err == ""


def test_without_the_look_such_a_view_would_be_taken(workspace: Paths) -> None:
    """The twin: nothing but the digest and the lesson would be compared."""
    path = keep(workspace, UNFIT["too sure"][0](workspace))
    assert read_teaching(path, Prepared.open(workspace.prepared).digest).views == 1


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(workspace: Paths, kind: str) -> None:
    path = keep(workspace, b"")
    path.unlink()
    NO_FILES[kind](path)
    if kind == "folder":
        with pytest.raises(OSError, match="irectory"):
            forget_unfit_views(workspace)
    else:
        forget_unfit_views(workspace)
        assert not path.is_symlink()


def test_without_kept_views_nothing_is_read(tmp_path: Path) -> None:
    from mnist_dvc.paths import Paths  # noqa: PLC0415

    forget_unfit_views(Paths(tmp_path))
    keep(Paths(tmp_path), b"damage")
    with pytest.raises(DataError, match=r"manifest\.json: file: got nothing"):
        forget_unfit_views(Paths(tmp_path))

"""Teachers are asked once, a stopped asking goes on, and nothing is taken from others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from asking import VIEWS, ask, plant
from helpers import augment_params, params, prepared_workspace, raw_digits, remove_split

from mnist_dvc.augment import distort
from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError, BusyError, DataError
from mnist_dvc.files import exclusive, sha256, write_atomically
from mnist_dvc.model import TEACHERS
from mnist_dvc.model.weights import read_model
from mnist_dvc.running.inputs import Inputs
from mnist_dvc.runtime import provenance
from mnist_dvc.study import teach as stage
from mnist_dvc.training.teaching import Lesson, Teaching, read_teaching, teaching_bytes, view_distortions

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from mnist_dvc.paths import Paths


IMAGES = 100
"""To train on: a third of the usual, since each is asked about many times."""


@pytest.fixture
def workspace(tmp_path: Path) -> Paths:
    return prepared_workspace(tmp_path, train=20)


@pytest.fixture
def teachers(workspace: Paths) -> list[Path]:
    return [plant(workspace, seed) for seed in (101, 102)]


def answers(paths: Paths) -> Tensor:
    return read_teaching(paths.teaching, Prepared.open(paths.prepared).digest).log_probabilities_VNK


def kept(paths: Paths) -> list[str]:
    return sorted(path.name for path in (paths.state / "teach").rglob("view-*"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The views that teachers are really asked about, as they come."""
    views: list[int] = []
    answer = stage._ClassRoom.answers

    def count(self: stage._ClassRoom, view: int) -> Tensor:
        views.append(view)
        return answer(self, view)

    monkeypatch.setattr(stage._ClassRoom, "answers", count)
    return views


# ------------------------------------------------------------------------------------------------------ what is written


def test_answers_are_written_with_what_they_are_about(
    workspace: Paths, teachers: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ask(workspace, teachers, seed=5)
    prepared = Prepared.open(workspace.prepared)
    written = read_teaching(workspace.teaching, prepared.digest)
    assert written.lesson == Lesson(
        augment=params().train.augment,
        seed=5,
        dataset="mnist",
        data_digest=prepared.digest,
        teachers=[sha256(path.read_bytes()) for path in teachers],
        precision="float32",
    )
    assert (written.views, written.images) == (VIEWS, IMAGES)
    assert f"Asked 2 teachers on 3 views of {IMAGES} images  ->  {workspace.teaching}" in capsys.readouterr().out
    assert [path.name for path in (workspace.state / "teach").iterdir()] == ["lock"]


def test_answers_are_the_mean_of_what_the_teachers_say_of_each_view(workspace: Paths, teachers: list[Path]) -> None:
    """Asked anew, one after the other, about all images at once."""
    ask(workspace, teachers)
    prepared = Prepared.open(workspace.prepared)
    written = read_teaching(workspace.teaching, prepared.digest)
    digits = Digits.on(torch.device("cpu"), prepared.read("train"))
    models = [read_model(path, TEACHERS)[0] for path in teachers]
    expected = []
    for view in range(VIEWS):
        images_N1HW, _ = digits.batch(torch.arange(IMAGES))
        distortions = view_distortions(written.lesson, view, IMAGES, torch.device("cpu"))
        assert distortions is not None
        images_N1HW = normalise(distort(images_N1HW, distortions))
        with torch.no_grad():
            expected.append(sum(model(images_N1HW).double().softmax(dim=1) for model in models) / 2)
    probabilities_VNK = written.log_probabilities_VNK.double().exp()
    for view in range(VIEWS):
        for other in range(VIEWS):
            close = torch.allclose(probabilities_VNK[view], torch.as_tensor(expected[other]), atol=2e-3)
            assert close == (view == other)


def test_same_question_gives_the_same_bytes(workspace: Paths, teachers: list[Path]) -> None:
    assert ask(workspace, teachers) == ask(workspace, teachers)


@pytest.mark.parametrize("change", ["seed", "augment", "fewer teachers", "other order"])
def test_other_question_gives_other_bytes(workspace: Paths, teachers: list[Path], change: str) -> None:
    first = ask(workspace, teachers)
    match change:
        case "seed":
            assert ask(workspace, teachers, seed=1) != first
        case "augment":
            assert ask(workspace, teachers, augment=augment_params(rotation=6.0)) != first
        case "fewer teachers":
            assert ask(workspace, teachers[:1]) != first
        case "other order":
            assert ask(workspace, teachers[::-1]) != first


def test_more_views_leave_the_first_ones_as_they_are(workspace: Paths, teachers: list[Path]) -> None:
    ask(workspace, teachers, views=2)
    two = answers(workspace)
    ask(workspace, teachers, views=4)
    assert torch.equal(answers(workspace)[:2], two)


def test_without_distortions_the_images_are_asked_about_as_they_are(workspace: Paths, teachers: list[Path]) -> None:
    ask(workspace, teachers, augment=augment_params())
    assert all(torch.equal(view, answers(workspace)[0]) for view in answers(workspace))


def test_neither_test_nor_validation_images_are_read(workspace: Paths, teachers: list[Path]) -> None:
    whole = ask(workspace, teachers)
    for name in ("test", "validation"):
        remove_split(workspace.prepared, name)
    assert ask(workspace, teachers) == whole
    remove_split(workspace.prepared, "train")
    with pytest.raises(DataError, match="train_images"):
        ask(workspace, teachers)


# ---------------------------------------------------------------------------------------------------- stopped, going on


def test_stopped_asking_goes_on_from_the_views_that_it_kept(
    workspace: Paths, teachers: list[Path], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask(workspace, teachers)
    workspace.teaching.unlink()
    assert asked == [0, 1, 2]
    asked.clear()
    answer = stage._ClassRoom.answers

    def stop(self: stage._ClassRoom, view: int) -> Tensor:
        if view == 2:
            raise KeyboardInterrupt
        return answer(self, view)

    with monkeypatch.context() as patched:
        patched.setattr(stage._ClassRoom, "answers", stop)
        with pytest.raises(KeyboardInterrupt):
            ask(workspace, teachers)
    assert not workspace.teaching.exists()
    assert kept(workspace) == ["view-0.safetensors", "view-1.safetensors"]
    asked.clear()
    assert ask(workspace, teachers) == whole
    assert asked == [2]
    assert kept(workspace) == []


def test_disk_that_is_full_at_the_end_keeps_all_views(
    workspace: Paths, teachers: list[Path], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:

    def refuse(path: Path, content: bytes) -> None:
        if path == workspace.teaching:
            raise OSError(28, "No space left on device", str(path))
        write_atomically(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "write_atomically", refuse)
        with pytest.raises(OSError, match="No space left"):
            ask(workspace, teachers)
    asked.clear()
    ask(workspace, teachers)
    assert asked == []


def kept_for(workspace: Paths, teachers: list[Path]) -> Path:
    """The folder of the views that are kept for what ``ask`` asks."""
    machine = provenance(1, torch.device("cpu"), "float32")
    files = (*Prepared.files(workspace.prepared), *teachers)
    return workspace.state / "teach" / Inputs.of(stage.__name__, params(), stage.READ, files, machine).name


def planted_view(workspace: Paths, teachers: list[Path], changes: dict[str, Any] | None = None) -> tuple[Path, Tensor]:
    """A kept first view that no teacher ever gave, of the question that ``ask`` asks, or of another one."""
    prepared = Prepared.open(workspace.prepared)
    lesson = Lesson(
        augment=params().train.augment,
        seed=0,
        dataset="mnist",
        data_digest=prepared.digest,
        teachers=[sha256(path.read_bytes()) for path in teachers],
        precision="float32",
    ).model_copy(update=changes or {})
    answers_NK = torch.randn((IMAGES, 10), generator=torch.Generator().manual_seed(0)).log_softmax(dim=1).half()
    path = kept_for(workspace, teachers) / "view-0.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(teaching_bytes(Teaching(lesson, answers_NK[None])))
    return path, answers_NK


def test_kept_view_of_the_same_question_is_used(workspace: Paths, teachers: list[Path], asked: list[int]) -> None:
    _, planted_NK = planted_view(workspace, teachers)
    ask(workspace, teachers)
    assert asked == [1, 2]
    assert torch.equal(answers(workspace)[0], planted_NK)


OTHER: dict[str, dict[str, Any]] = {
    "teachers": {"teachers": ["a" * 64, "b" * 64]},
    "seed": {"seed": 1},
    "distortions": {"augment": augment_params(rotation=6.0)},
    "digits": {"data_digest": "d" * 64},
    "data set": {"dataset": "mnist-5k"},
    "precision": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("name", OTHER)
def test_kept_view_of_another_question_is_not_used(
    workspace: Paths, teachers: list[Path], asked: list[int], name: str
) -> None:
    _, planted_NK = planted_view(workspace, teachers, OTHER[name])
    ask(workspace, teachers)
    assert asked == [0, 1, 2]
    assert not torch.equal(answers(workspace)[0], planted_NK)
    assert kept(workspace) == []


def test_kept_view_of_another_precision_is_not_used(
    workspace: Paths, teachers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers of one file are of one kind, whatever was kept before the params were changed."""
    teacher = teachers[:1]  # without the processor's help, bfloat16 is slow
    whole = ask(workspace, teacher, views=2, precision="bfloat16")
    answer = stage._ClassRoom.answers

    def stop(self: stage._ClassRoom, view: int) -> Tensor:
        if view == 1:
            raise KeyboardInterrupt
        return answer(self, view)

    with monkeypatch.context() as patched:
        patched.setattr(stage._ClassRoom, "answers", stop)
        with pytest.raises(KeyboardInterrupt):
            ask(workspace, teacher, views=2, precision="float32")
    assert ask(workspace, teacher, views=2, precision="bfloat16") == whole


def test_damaged_kept_view_is_not_used(workspace: Paths, teachers: list[Path], asked: list[int]) -> None:
    path, planted_NK = planted_view(workspace, teachers)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    ask(workspace, teachers)
    assert asked == [0, 1, 2]
    assert not torch.equal(answers(workspace)[0], planted_NK)


# ------------------------------------------------------------------------------------------------------ what is refused


def test_asking_is_refused_while_another_process_asks(workspace: Paths, teachers: list[Path]) -> None:
    with (
        exclusive(workspace.state / "teach", "mnist-dvc study teach"),
        pytest.raises(BusyError, match=r"teach/lock: got a workspace that process \d+ \(mnist-dvc study teach, since"),
    ):
        ask(workspace, teachers)
    assert not workspace.teaching.exists()
    ask(workspace, teachers)
    assert workspace.teaching.is_file()


def test_student_is_no_teacher(workspace: Paths, teachers: list[Path]) -> None:
    with pytest.raises(ArtifactError, match="network: got 'compact', expected one of teacher"):
        ask(workspace, [*teachers, plant(workspace, 1, name="compact")])
    assert not workspace.teaching.exists()


def test_teacher_of_another_data_set_is_refused(workspace: Paths, teachers: list[Path]) -> None:
    """The 5,000 sample digits are MNIST training images: one who learned from MNIST has seen those of their test."""
    told = r"data it was trained on: got mnist-5k \(0{12}\), expected the prepared mnist \([0-9a-f]{12}\)"
    with pytest.raises(ArtifactError, match=told):
        ask(workspace, [*teachers, plant(workspace, 103, dataset="mnist-5k")])
    assert not workspace.teaching.exists()


def test_teacher_of_another_split_of_one_pool_is_refused(workspace: Paths) -> None:
    """The sample is one pool: a teacher of another split has learned from what is test here."""
    raw = raw_digits(dataset="mnist-5k")
    write_prepared(workspace.prepared, raw, split(raw, validation=100, seed=0), validation=100, seed=0)
    digest = Prepared.open(workspace.prepared).digest
    fit, unfit = plant(workspace, 101, dataset="mnist-5k", digest=digest), plant(workspace, 102, dataset="mnist-5k")
    told = rf"data it was trained on: got mnist-5k \(0{{12}}\), expected the prepared mnist-5k \({digest[:12]}\)"
    with pytest.raises(ArtifactError, match=told):
        ask(workspace, [fit, unfit])
    assert not workspace.teaching.exists()
    assert ask(workspace, [fit])


def test_teacher_of_another_split_of_mnist_is_taken(workspace: Paths, teachers: list[Path]) -> None:
    """The twin: the test images of MNIST are a file of their own, so no split of the others holds any of them."""
    assert read_model(teachers[0], TEACHERS)[1].data_digest != Prepared.open(workspace.prepared).digest
    assert ask(workspace, teachers)


def test_name_taken_by_a_folder_is_met_before_anybody_is_asked(
    workspace: Paths, teachers: list[Path], asked: list[int]
) -> None:
    (workspace.teaching / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        ask(workspace, teachers)
    assert asked == []


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_unfit_teacher_is_refused(workspace: Paths, teachers: list[Path], fault: str) -> None:
    content = teachers[1].read_bytes()
    if fault == "missing":
        teachers[1].unlink()
    else:
        teachers[1].write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
    with pytest.raises(ArtifactError, match="102/model.safetensors: (file: got nothing|SHA-256: got)"):
        ask(workspace, teachers)
    assert not workspace.teaching.exists()


def test_missing_digits_say_what_makes_them(workspace: Paths, teachers: list[Path]) -> None:
    (workspace.prepared / "manifest.json").unlink()
    with pytest.raises(DataError, match="`prepare` writes"):
        ask(workspace, teachers)

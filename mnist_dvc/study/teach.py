"""Ask the teachers: what they say, together, of every training image under many fixed distortions."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import torch
from rich.progress import track

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import check_writable, exclusive, write_atomically
from mnist_dvc.running.inputs import Inputs
from mnist_dvc.runtime import choose_device, choose_precision, provenance, set_up
from mnist_dvc.study.ensemble import Ensemble
from mnist_dvc.training.teaching import Lesson, Teaching, read_teaching, teaching_bytes, view_distortions

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["teach"]

READ = ("train.augment", "train.device", "train.precision", "train.threads")
"""Params of the students that the answers depend on."""


def teach(params: Params, paths: Paths, teachers: list[Path], *, views: int, seed: int) -> None:
    """Write the mean of the teachers' probabilities for ``views`` distorted versions of every training image.

    The distortions are those of ``train.augment``. Each view is kept as soon as it is there, so that the same command
    goes on where it was stopped.

    Args:
        params: the params of the students.
        paths: the workspace of the students.
        teachers: model files that ``study teacher`` wrote.
        views: distorted versions of each image, the number of epochs in which none of them comes twice.
        seed: of the distortions.

    Raises:
        ArtifactError: a teacher is missing, damaged, or learned from another data set.
        DataError: the prepared digits are missing or damaged.
        DeviceError: the device of ``params`` is absent.
        ChangedError: what was read stands there no more; the views stay for when it does again.
        BusyError: another process asks teachers here.
        OSError: the answers cannot be written.
    """
    state = paths.state / "teach"
    with exclusive(state, "mnist-dvc study teach", paths.teaching.parent):
        device = choose_device(params.train.device)
        precision = choose_precision(params.train.precision, device)
        threads = set_up(params.train.threads, _say)
        files = (*Prepared.files(paths.prepared), *teachers)
        inputs = Inputs.of(__name__, params, READ, files, provenance(threads, device, precision))
        check_writable(paths.teaching)
        prepared = Prepared.open(paths.prepared)
        asked = Ensemble.of_teachers(teachers, prepared, device, precision)
        lesson = Lesson(
            augment=params.train.augment,
            seed=seed,
            dataset=prepared.dataset,
            data_digest=prepared.digest,
            teachers=[str(inputs.files[path]) for path in teachers],
            precision=precision,
        )
        class_room = _ClassRoom(asked, Digits.on(device, prepared.read("train")), lesson)
        kept = state / inputs.name
        answers_VNK = torch.stack([_kept(class_room, kept, view) for view in track(range(views), "asking teachers")])
        content = teaching_bytes(Teaching(lesson, answers_VNK))
        with inputs.publishing():
            write_atomically(paths.teaching, content)
        shutil.rmtree(kept)
    print(f"Asked {len(teachers)} teachers on {views} views of {answers_VNK.shape[1]:,} images  ->  {paths.teaching}")


def _say(line: str) -> None:
    print(f"teach: {line}", file=sys.stderr)


class _ClassRoom:
    """Teachers before the images that they are asked about."""

    def __init__(self, teachers: Ensemble, digits: Digits, lesson: Lesson) -> None:
        self._teachers = teachers
        self._digits = digits
        self.lesson = lesson

    def answers(self, view: int) -> Tensor:
        """Log-probabilities (N, K), float16, on the CPU."""
        device = self._digits.labels_N.device
        distortions = view_distortions(self.lesson, view, len(self._digits), device)
        return self._teachers.answers(self._digits, distortions).log().half().cpu()


def _kept(class_room: _ClassRoom, folder: Path, view: int) -> Tensor:
    """The answers about ``view``, from an earlier, unfinished asking of the same inputs if there was one."""
    part = folder / f"view-{view}.safetensors"
    try:
        kept = read_teaching(part, class_room.lesson.data_digest)
    except ArtifactError:
        kept = None
    if kept is not None and kept.lesson == class_room.lesson:
        return kept.log_probabilities_VNK[0]
    answers_NK = class_room.answers(view)
    write_atomically(part, teaching_bytes(Teaching(class_room.lesson, answers_NK.unsqueeze(0))))
    return answers_NK

"""Answers of teachers with the right digest and another content: refused before they are read, or before they teach."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import augment_params, posix
from hostile_tensors import bare, changed, entry, framed, more, parts, resealed, told, twice

from mnist_dvc.errors import ArtifactError
from mnist_dvc.training import answers as module
from mnist_dvc.training.answers import read_answers
from mnist_dvc.training.teaching import TENSOR, Lesson, Teaching, read_teaching, teaching_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from hostile_tensors import Change

DIGITS, VIEWS, IMAGES = "d" * 64, 3, 4
LESSON = Lesson(
    augment=augment_params(rotation=5.0),
    seed=3,
    dataset="blobs",
    data_digest=DIGITS,
    teachers=["a" * 64, "b" * 64],
    precision="float32",
)


def answers(images: int = IMAGES, classes: int = 10) -> torch.Tensor:
    logits_VNK = 3.0 * torch.randn((VIEWS, images, classes), generator=torch.Generator().manual_seed(0))
    return logits_VNK.log_softmax(dim=2).half()


GOOD = teaching_bytes(Teaching(LESSON, answers()))


def lesson(**changes: Any) -> Change:
    return told(lesson=LESSON.model_dump() | changes)


def distorted(**changes: float) -> Change:
    return lesson(augment=LESSON.augment.model_dump() | changes)


def values(log_probabilities_VNK: torch.Tensor) -> Change:
    """Other answers, and an entry that tells of them."""

    def change(header: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        body = log_probabilities_VNK.contiguous().view(torch.uint8).numpy().tobytes()
        header[TENSOR] |= {"shape": [*log_probabilities_VNK.shape], "data_offsets": [0, len(body)]}
        return header, body

    return change


def with_one(value: float, view: int = 0, image: int = 0) -> Change:
    log_probabilities_VNK = answers()
    log_probabilities_VNK[view, image, 0] = value
    return values(log_probabilities_VNK)


OTHER_TENSORS = f"header, tensors: got {TENSOR} "
HOSTILE: dict[str, tuple[Change, str]] = {
    "about more images": (values(answers(images=9)), f"{OTHER_TENSORS}float16 (3, 9, 10), expected {TENSOR}"),
    "about fewer images": (values(answers(images=3)), f"{OTHER_TENSORS}float16 (3, 3, 10)"),
    "about no image": (values(answers(images=0)), f"{OTHER_TENSORS}float16 (3, 0, 10)"),
    "in no view": (values(answers()[:0]), f"{OTHER_TENSORS}float16 (0, 4, 10)"),
    "of nine classes": (values(answers(classes=9)), f"{OTHER_TENSORS}float16 (3, 4, 9)"),
    "of eleven classes": (values(answers(classes=11)), f"{OTHER_TENSORS}float16 (3, 4, 11)"),
    "without an axis": (values(answers()[0]), f"{OTHER_TENSORS}float16 (4, 10)"),
    "an axis more": (values(answers()[None]), f"{OTHER_TENSORS}float16 (1, 3, 4, 10)"),
    **{f"of {name}": (entry(TENSOR, dtype=name), OTHER_TENSORS) for name in ("F4", "F8_E8M0", "BF16", "I16", "F32")},
    "empty shape that overflows": (entry(TENSOR, shape=[0, 2**63]), f"{TENSOR}.shape.1: Input should be less than"),
    "more images than bytes": (entry(TENSOR, shape=[2**20, 4, 10]), "got bytes 0 to 240, expected 0 to 83886080"),
    "offsets behind the end": (entry(TENSOR, data_offsets=[240, 480]), "got bytes 240 to 480, expected 0 to 240"),
    "bytes behind the answers": (lambda h, b: (h, b + bytes(2)), "content: got 242 bytes of tensors, expected 240"),
    "cut": (lambda h, b: (h, b[:-2]), "content: got 238 bytes of tensors, expected 240"),
    "two tensors": (more("F16", [1], 2), f"{OTHER_TENSORS}float16 (3, 4, 10) and more"),
    "another name": (lambda h, b: (h | {"logits": h.pop(TENSOR)}, b), "header, tensors: got logits float16 (3, 4, 10)"),
    "no tensor": (lambda h, _: ({"__metadata__": h["__metadata__"]}, b""), "header, tensors: got none"),
    "a tensor twice": (twice(TENSOR, shape=[6, 2, 10]), "header: got damage (ValueError)"),
    "a deep header": (bare(b"[" * 60_000), "header: got damage (RecursionError)"),
    "a large header": (bare(b" " * 70_000 + b"{}"), "header: got damage (70,002 bytes long by its own account)"),
    "+inf": (with_one(torch.inf), "answer about image 0 in view 0: got probabilities that sum to inf, expected 1"),
    "NaN": (with_one(torch.nan), "tensors: got log_probabilities, expected log_probabilities, float16"),
    "-inf in all": (values(torch.full((3, 4, 10), -torch.inf).half()), "probabilities that sum to 0, expected 1"),
    "zeros": (values(torch.zeros(3, 4, 10).half()), "answer about image 0 in view 0: got probabilities that sum to 10"),
    "probabilities": (values(answers().exp()), "answer about image 0 in view 0: got probabilities that sum to"),
    "one answer too sure": (with_one(0.5, 2, 3), "answer about image 3 in view 2: got probabilities that sum to"),
    "largest numbers": (with_one(65504.0, 1), "answer about image 0 in view 1: got probabilities that sum to inf"),
    "other digits": (lesson(data_digest="e" * 64), "got blobs (eeeeeeeeeeee), expected blobs (dddddddddddd); run"),
    "another data set": (lesson(dataset="mnist"), "digits it is about: got mnist (dddddddddddd), expected blobs"),
    "a digest of another form": (lesson(data_digest="d" * 63), "lesson.data_digest: String should match"),
    "no teacher": (lesson(teachers=[]), "lesson.teachers: List should have at least 1"),
    "a teacher of another form": (lesson(teachers=["../model"]), "lesson.teachers.0: String should match"),
    "another precision": (lesson(precision="float8"), "lesson.precision: Input should be 'float32' or 'bfloat16'"),
    "a negative seed": (lesson(seed=-1), "lesson.seed: Input should be greater"),
    "a seed of truth": (lesson(seed=True), "lesson.seed: Input should be a valid integer"),
    "distortions beyond range": (distorted(rotation=1e9), "lesson.augment.rotation: "),
    "distortions of NaN": (distorted(shift=float("nan")), "lesson.augment.shift: "),
    "more than a lesson": (lesson(code="os.system"), "lesson.code: Extra inputs are not permitted"),
}  # fmt: skip


def sealed(change: Change) -> bytes:
    content = changed(GOOD, change)
    try:
        return resealed(content)
    except (LookupError, TypeError, ValueError, RecursionError):
        return content


def read(path: Path) -> Teaching:
    return read_answers(path, dataset="blobs", data_digest=DIGITS, images=IMAGES)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_refused(tmp_path: Path, name: str) -> None:
    change, expected = HOSTILE[name]
    path = tmp_path / "teaching.safetensors"
    path.write_bytes(sealed(change))
    with pytest.raises(ArtifactError) as caught:
        read(path)
    text = str(caught.value)
    assert (text.startswith(f"{path}: "), text.isprintable(), caught.value.exit_code) == (True, True, 65)
    assert expected in text


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**63, 2**64 - 1])
def test_header_that_lies_about_its_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "teaching.safetensors"
    path.write_bytes(framed(*parts(GOOD), length=length))
    with pytest.raises(ArtifactError, match="header: got damage"):
        read(path)


def test_made_with_the_same_tools_good_answers_are_read(tmp_path: Path) -> None:
    """The twin, with classes that all teachers rule out."""
    path = tmp_path / "teaching.safetensors"
    path.write_bytes(sealed(lambda header, body: (header, body)))
    assert read(path).lesson == LESSON
    sure_VNK = torch.full((2, IMAGES, 10), -torch.inf).half()
    sure_VNK[:, :, 7] = 0.0
    path.write_bytes(sealed(values(sure_VNK)))
    assert torch.equal(read(path).log_probabilities_VNK, sure_VNK)


@pytest.mark.parametrize("name", ["about more images", "about fewer images", "+inf", "zeros", "no teacher"])
def test_without_the_check_they_would_be_learned_from(tmp_path: Path, name: str) -> None:
    """The twin: the reader of the file knows neither how many images there are nor what a probability is."""
    path = tmp_path / "teaching.safetensors"
    path.write_bytes(sealed(HOSTILE[name][0]))
    assert read_teaching(path, DIGITS).views == VIEWS


LIMITED = """
import json, resource, sys
from pathlib import Path
import torch
from mnist_dvc.errors import ArtifactError
from mnist_dvc.training.answers import read_answers
from mnist_dvc.training.teaching import read_teaching
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]), used + int(sys.argv[3])))
try:
    if sys.argv[2] == "checked":
        read_answers(Path(sys.argv[1]), dataset="blobs", data_digest="d" * 64, images=4)
    else:
        read_teaching(Path(sys.argv[1]), "d" * 64)
except ArtifactError as error:
    print(error.exit_code, error.problem)
except MemoryError:
    print("out of memory")
"""


def limited(path: Path, how: str, room: int) -> str:
    """What a process with ``room`` bytes of memory makes of the file."""
    command = [sys.executable, "-c", LIMITED, str(path), how, str(room)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@posix
def test_large_header_takes_neither_memory_nor_time(tmp_path: Path) -> None:
    """30 MB of tensors without a value: each a dictionary with two lists, before anyone has asked what is in it."""
    path = tmp_path / "teaching.safetensors"
    entries = ",".join(f'"{i}":{{"dtype":"F16","shape":[0],"data_offsets":[0,0]}}' for i in range(500_000))
    path.write_bytes(framed(b"{" + entries.encode() + b"}", b""))
    assert limited(path, "checked", 64 * 2**20).startswith("65 header: got damage (2")
    assert limited(path, "unchecked", 64 * 2**20) == "out of memory\n"  # the twin


def test_header_of_many_teachers_is_far_below_the_largest() -> None:
    many = LESSON.model_copy(update={"teachers": ["a" * 64] * 100})
    header, _ = parts(teaching_bytes(Teaching(many, answers())))
    assert len(json.dumps(header)) < module.LARGEST_HEADER / 4

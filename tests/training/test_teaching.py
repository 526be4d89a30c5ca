"""Answers of teachers on disk: what was written is read, anything else is refused; and which view an epoch sees."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from helpers import NO_FILES, augment_params

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import sha256
from mnist_dvc.training import teaching as module
from mnist_dvc.training.teaching import (
    METADATA_KEY,
    TENSOR,
    Lesson,
    Teaching,
    read_teaching,
    teaching_bytes,
    view_distortions,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.augment import Distortions

CPU = torch.device("cpu")
DIGITS = "d" * 64
LESSON = Lesson(
    augment=augment_params(rotation=5.0, shift=1.0, elastic=0.5),
    seed=3,
    dataset="blobs",
    data_digest=DIGITS,
    teachers=["a" * 64, "b" * 64],
    precision="float32",
)


def answers(views: int = 3, images: int = 4) -> torch.Tensor:
    """Log-probabilities as teachers give them, a new set each time and the same values every time."""
    logits_VNK = torch.randn((views, images, 10), generator=torch.Generator().manual_seed(0))
    return logits_VNK.log_softmax(dim=2).half()


def taught(**changes: Any) -> Teaching:
    return Teaching(LESSON.model_copy(update=changes), answers())


GOOD = teaching_bytes(taught())


def written(folder: Path, content: bytes) -> Path:
    path = folder / "teaching.safetensors"
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------------------------------- the file


def test_round_trip_gives_back_every_value(tmp_path: Path) -> None:
    read = read_teaching(written(tmp_path, GOOD), DIGITS)
    assert read.lesson == LESSON
    assert torch.equal(read.log_probabilities_VNK, answers())
    assert (read.views, read.images) == (3, 4)
    assert read.digest.encode() in GOOD


def test_same_values_give_the_same_bytes() -> None:
    again = answers().transpose(0, 2).contiguous().transpose(0, 2)  # laid out otherwise in memory
    assert not again.is_contiguous()
    assert teaching_bytes(Teaching(LESSON, again)) == GOOD


def test_digest_of_an_earlier_reading_does_not_matter(tmp_path: Path) -> None:
    assert teaching_bytes(read_teaching(written(tmp_path, GOOD), DIGITS)) == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"augment": augment_params(rotation=5.0)},
        {"dataset": "mnist"},
        {"data_digest": "e" * 64},
        {"teachers": ["b" * 64, "a" * 64]},
        {"precision": "bfloat16"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_lesson_gives_other_bytes_and_another_digest(tmp_path: Path, change: dict[str, Any]) -> None:
    content = teaching_bytes(taught(**change))
    assert content != GOOD
    other = read_teaching(written(tmp_path, content), change.get("data_digest", DIGITS))
    assert other.digest != read_teaching(written(tmp_path, GOOD), DIGITS).digest


def told(content: bytes) -> dict[str, Any]:
    """The value of the metadata key."""
    length = int.from_bytes(content[:8], "little")
    loaded: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][METADATA_KEY])
    return loaded


def signed(metadata: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bytes:
    """A whole file with the digest that belongs to it, as someone who means ill would hand it over."""
    blank = safetensors.torch.save(tensors, metadata={METADATA_KEY: json.dumps({"sha256": "0" * 64} | metadata)})
    return blank.replace(b"0" * 64, sha256(blank).encode(), 1)


PLAIN = {"lesson": LESSON.model_dump()}


def regions(content: bytes) -> dict[str, range]:
    """The bytes of a file by what they are for."""
    header = 8 + int.from_bytes(content[:8], "little")
    digest = content.index(told(content)["sha256"].encode())
    return {
        "length": range(8),
        "header before the digest": range(8, digest),
        "digest": range(digest, digest + 64),
        "header after the digest": range(digest + 64, header),
        "tensor": range(header, len(content)),
    }


@pytest.mark.parametrize("region", regions(GOOD))
def test_any_flipped_bit_is_refused(tmp_path: Path, region: str) -> None:
    for byte in regions(GOOD)[region]:
        flipped = bytearray(GOOD)
        flipped[byte] ^= 1 << byte % 8
        with pytest.raises(ArtifactError, match="(content: got damage|SHA-256: got|tensors: got)"):
            read_teaching(written(tmp_path, bytes(flipped)), DIGITS)


def test_regions_are_the_whole_file() -> None:
    """Else a flipped bit between two of them would have gone untested."""
    assert [byte for region in regions(GOOD).values() for byte in region] == list(range(len(GOOD)))


def test_without_the_digest_a_flipped_bit_would_pass(tmp_path: Path) -> None:
    """Safetensors does not look: a changed answer loads as if nothing had happened."""
    changed = bytearray(GOOD)
    changed[-1] ^= 1
    tensors = safetensors.torch.load(bytes(changed))
    assert not torch.equal(tensors[TENSOR], answers())
    read = read_teaching(written(tmp_path, signed(PLAIN, tensors)), DIGITS)
    assert torch.equal(read.log_probabilities_VNK, tensors[TENSOR])


def test_any_cut_is_refused(tmp_path: Path) -> None:
    for length in range(0, len(GOOD), 3):
        with pytest.raises(ArtifactError):
            read_teaching(written(tmp_path, GOOD[:length]), DIGITS)


def without(key: str) -> dict[str, Any]:
    return {"lesson": {name: value for name, value in LESSON.model_dump().items() if name != key}}


def with_first(value: float) -> torch.Tensor:
    """Answers of which the first is ``value``."""
    changed_VNK = answers()
    changed_VNK[0, 0, 0] = value
    return changed_VNK


HALF = {TENSOR: answers()}
BAD = {
    "empty": (b"", "content: got damage"),
    "text": (b"no answers\n" * 100, "content: got damage"),
    "only zeros": (bytes(1000), "content: got damage"),
    "header length": (b"\xff" * 8 + GOOD[8:], "content: got damage"),
    "one byte more": (GOOD + b"x", "content: got damage"),
    "no metadata": (safetensors.torch.save(HALF), "content: got damage (KeyError)"),
    "nested metadata": (
        safetensors.torch.save(HALF, metadata={METADATA_KEY: "[" * 50_000}), "content: got damage (ValidationError)"
    ),
    "unsigned change": (
        safetensors.torch.save(HALF, metadata={METADATA_KEY: json.dumps(told(GOOD) | PLAIN | {"sha256": "0" * 64})}),
        "SHA-256: got",
    ),
    "no seed": (signed(without("seed"), HALF), "content: got damage (ValidationError)"),
    "no teachers": (signed(without("teachers"), HALF), "content: got damage (ValidationError)"),
    "no precision": (signed(without("precision"), HALF), "content: got damage (ValidationError)"),
    "more than a lesson": (signed(PLAIN | {"_target_": "os.system"}, HALF), "content: got damage (ValidationError)"),
    "seed of another type": (
        signed({"lesson": LESSON.model_dump() | {"seed": "3"}}, HALF), "content: got damage (ValidationError)"
    ),
    "float32": (signed(PLAIN, {TENSOR: answers().float()}), f"tensors: got {TENSOR}, expected {TENSOR}, float16"),
    "a single view without its axis": (signed(PLAIN, {TENSOR: answers()[0]}), "expected log_probabilities, float16"),
    "an axis more": (signed(PLAIN, {TENSOR: answers()[None]}), "expected log_probabilities, float16 (V, N, 10)"),
    "no views": (signed(PLAIN, {TENSOR: answers()[:0]}), "expected log_probabilities, float16 (V, N, 10) without NaN"),
    "no images": (signed(PLAIN, {TENSOR: answers(images=0)}), "expected log_probabilities, float16 (V, N, 10)"),
    "nine classes": (signed(PLAIN, {TENSOR: answers()[:, :, 1:].contiguous()}), "expected log_probabilities, float16"),
    "NaN": (signed(PLAIN, {TENSOR: with_first(torch.nan)}), "float16 (V, N, 10) without NaN"),
    "another name": (signed(PLAIN, {"logits": answers()}), "tensors: got logits, expected log_probabilities"),
    "two tensors": (signed(PLAIN, HALF | {"more": torch.zeros(1)}), "tensors: got "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_unfit_file_is_refused(tmp_path: Path, name: str) -> None:
    content, expected = BAD[name]
    path = written(tmp_path, content)
    with pytest.raises(ArtifactError) as caught:
        read_teaching(path, DIGITS)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 65


def test_signed_file_is_read_so_the_table_above_tests_more_than_the_digest(tmp_path: Path) -> None:
    content = signed(PLAIN, HALF)
    assert read_teaching(written(tmp_path, content), DIGITS).lesson == LESSON


def test_minus_infinity_is_an_answer_so_it_is_nan_that_the_table_above_refuses(tmp_path: Path) -> None:
    """The logarithm of what a teacher rules out."""
    ruled_out_VNK = with_first(-torch.inf)
    read = read_teaching(written(tmp_path, signed(PLAIN, {TENSOR: ruled_out_VNK})), DIGITS)
    assert torch.equal(read.log_probabilities_VNK, ruled_out_VNK)


def test_answers_about_other_digits_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    with pytest.raises(ArtifactError, match="digits it is about: got d{12}, expected e{12}, .*run `study teach` again"):
        read_teaching(path, "e" * 64)
    assert read_teaching(path, DIGITS).lesson.data_digest == DIGITS


def test_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match="file: got nothing, expected the answers that `mnist-dvc study teach` writes"
    ):
        read_teaching(tmp_path / "teaching.safetensors", DIGITS)


@pytest.mark.parametrize("kind", sorted(NO_FILES.keys() - {"circle"}))
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "teaching.safetensors"
    NO_FILES[kind](path)
    with pytest.raises(ArtifactError, match="file: got (nothing|something else than a file), expected the answers"):
        read_teaching(path, DIGITS)


def test_file_beyond_the_largest_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, GOOD)
    monkeypatch.setattr(module, "LARGEST", len(GOOD))
    read_teaching(path, DIGITS)
    monkeypatch.setattr(module, "LARGEST", len(GOOD) - 1)
    with pytest.raises(ArtifactError, match=rf"size: got more than {len(GOOD) - 1:,} bytes"):
        read_teaching(path, DIGITS)


# ------------------------------------------------------------------------------------------------------------ the views


def order(views: int, seed: int, epochs: range) -> list[int]:
    return [Teaching(LESSON, answers(views)).view_of_epoch(epoch, seed) for epoch in epochs]


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_as_many_epochs_as_views_see_each_view_once(seed: int) -> None:
    assert Counter(order(12, seed, range(12))) == Counter(range(12))


def test_each_seed_has_an_order_of_its_own() -> None:
    orders = {tuple(order(12, seed, range(12))) for seed in range(5)}
    assert len(orders) == 5
    assert tuple(range(12)) not in orders


def test_views_come_again_in_the_same_order() -> None:
    assert order(12, 1, range(12, 36)) == order(12, 1, range(12)) * 2
    assert order(12, 1, range(1, 13)) != order(12, 1, range(12))  # the twin: any other distance is no repetition


def test_single_view_serves_every_epoch() -> None:
    assert order(1, 1, range(3)) == [0, 0, 0]


def affine(distortions: Distortions | None) -> torch.Tensor:
    assert distortions is not None
    assert distortions.elastic_N2GG is not None
    return torch.cat((distortions.affine_N23.flatten(1), distortions.elastic_N2GG.flatten(1)), dim=1)


def test_distortions_of_a_view_depend_on_nothing_else() -> None:
    first = [affine(view_distortions(LESSON, view, 20, CPU)) for view in range(3)]
    torch.manual_seed(7)
    again = [affine(view_distortions(LESSON, view, 20, CPU)) for view in (2, 1, 0)]
    assert all(torch.equal(one, other) for one, other in zip(first, reversed(again), strict=True))
    asked = Teaching(LESSON, answers(3, 20))
    assert torch.equal(affine(asked.distortions(1, CPU)), first[1])


def test_each_view_and_each_seed_of_a_lesson_has_distortions_of_its_own() -> None:
    """The twin of the test above: it would not notice if all were the same."""
    other = LESSON.model_copy(update={"seed": 4})
    drawn = [affine(view_distortions(lesson, view, 20, CPU)) for lesson in (LESSON, other) for view in range(3)]
    assert not any(torch.equal(one, two) for i, one in enumerate(drawn) for two in drawn[:i])
    assert len({tuple(row.tolist()) for row in drawn[0]}) == 20


def test_lesson_without_distortions_has_none() -> None:
    assert view_distortions(LESSON.model_copy(update={"augment": augment_params()}), 0, 20, CPU) is None


# ---------------------------------------------------------------------------------------------------------- the answers


def test_answers_are_the_probabilities_of_the_images_asked_for() -> None:
    index_N = torch.tensor([3, 0])
    asked_NK = taught().answers(1, index_N)
    assert asked_NK.dtype == torch.float32
    torch.testing.assert_close(asked_NK, answers()[1, index_N].double().exp().float(), atol=2e-3, rtol=0.0)
    torch.testing.assert_close(asked_NK.sum(dim=1), torch.ones(2))
    assert not torch.allclose(asked_NK, taught().answers(2, index_N), atol=2e-3)
    assert not torch.allclose(asked_NK, taught().answers(1, index_N.flip(0)), atol=2e-3)


def test_class_that_teachers_exclude_has_probability_0() -> None:
    sure_VNK = torch.full((1, 1, 10), -torch.inf).half()
    sure_VNK[0, 0, 7] = 0.0
    probabilities_NK = Teaching(LESSON, sure_VNK).answers(0, torch.tensor([0]))
    assert torch.equal(probabilities_NK, torch.eye(10)[7:8])


def test_answers_on_a_device_are_the_same_answers(tmp_path: Path) -> None:
    read = read_teaching(written(tmp_path, GOOD), DIGITS)
    assert read.to(CPU).digest == read.digest
    assert re.fullmatch("[0-9a-f]{64}", read.digest)
    assert torch.equal(read.to(CPU).log_probabilities_VNK, answers())

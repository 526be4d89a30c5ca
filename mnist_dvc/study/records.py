"""The JSON files of a study, each as one class for its writer and its readers: typed, ranged, in its own place."""

from __future__ import annotations

import re
from math import sqrt
from statistics import mean, stdev
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, StringConstraints, model_validator

from mnist_dvc.description import BUDGET
from mnist_dvc.errors import ArtifactError, ParamsError, one_line
from mnist_dvc.files import read_regular
from mnist_dvc.records import CONFIDENCE_LEVEL, Fraction, Name, Positive, Record, Scored, parsed
from mnist_dvc.study.defined import refuse_other_md5

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "METRICS",
    "SUMMARY",
    "TIMING",
    "Candidate",
    "Fidelity",
    "FileName",
    "Learned",
    "Point",
    "Summary",
    "Timing",
    "Trial",
    "check_file_name",
    "read_record",
]

METRICS, TIMING, SUMMARY = "metrics.json", "timing.json", "summary.json"
LARGEST = 2**20
"""Bytes; the largest, a summary of five networks, takes fewer than 10,000."""
T = TypeVar("T", bound=BaseModel)

_Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Epochs = Annotated[int, Field(ge=1, le=10_000)]
_Seconds = Annotated[float, Field(ge=0.0)]
_FILE_NAME = r"[A-Za-z0-9]([A-Za-z0-9 .,_-]{0,78}[A-Za-z0-9])?"
FileName = Annotated[str, StringConstraints(pattern=f"^{_FILE_NAME}$")]
"""What may name a folder on every system, and stand in a table."""
_SEVERAL = Field(min_length=2)
"""Where the trials differ, all that there are."""
_Score = Annotated[float, Field(ge=0.0)]


class Learned(Record):
    """metrics.json of a teacher, and the first part of a trial's; losses are in nats per image."""

    seed: _Seed
    dataset: Name
    network: Name
    parameters: Positive
    epochs: _Epochs
    train_loss: _Score
    train_accuracy: Fraction
    val_loss: _Score | None = None
    val_accuracy: Fraction | None = None


class Trial(Learned, Scored):
    """metrics.json of a trial."""

    parameters: Annotated[int, Field(ge=1, lt=BUDGET)]


class Fidelity(Record):
    """A student beside its teachers: wrong answers on the images held out, and mean divergences in nats per image.

    ``divergence`` is of the images held out, the others of distorted training images, in a view that was taught and in
    one that was not.
    """

    teachers_errors: Annotated[int, Field(ge=0)]
    shared_errors: Annotated[int, Field(ge=0)]
    divergence: _Score
    divergence_taught: _Score
    divergence_fresh: _Score


class Candidate(Record):
    """What a candidate came to on the images held out: a row of the answer to ``question``; NLL in nats per image."""

    question: FileName
    recipe: FileName
    seed: _Seed
    network: Name
    images: Positive
    errors: Annotated[int, Field(ge=0)]
    nll: _Score
    fidelity: Fidelity | None = None

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.errors > self.images:
            raise ValueError(f"{self.errors} errors, of {self.images} images")
        if self.fidelity and self.fidelity.shared_errors > min(self.errors, self.fidelity.teachers_errors):
            raise ValueError(f"{self.fidelity.shared_errors} shared errors, more than one of the two has")
        return self


class _Machine(Record):
    processor: str
    cpus: Positive | None
    accelerator: str | None
    system: str


class _Versioned(_Machine):
    versions: dict[str, str]


class Timing(Record):
    """timing.json of a trial and of a teacher: how long, with how many threads, where."""

    train_seconds: _Seconds
    threads: Positive
    machine: _Versioned


class Point(Record):
    """What the seeds of one network come to; the interval is Student's, as ``study summary`` writes it."""

    network: Name
    dataset: Name
    parameters: Annotated[int, Field(ge=1, lt=BUDGET)]
    epochs: _Epochs
    seeds: Annotated[list[_Seed], Field(min_length=1)]
    accuracies: list[Fraction]
    accuracy_mean: Fraction
    accuracy_sd: Fraction | None
    accuracy_mean_low: float | None
    accuracy_mean_high: float | None
    nll_mean: _Score
    brier_mean: Annotated[float, Field(ge=0.0, le=2.0)]
    ece_mean: Fraction
    train_seconds: list[_Seconds]
    train_seconds_mean: _Seconds
    threads: Positive | Annotated[list[Positive], _SEVERAL]
    machine: _Machine | Annotated[list[_Machine], _SEVERAL]
    versions: dict[str, str] | Annotated[list[dict[str, str]], _SEVERAL]

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if self.seeds != sorted(set(self.seeds)):
            raise ValueError(f"seeds {self.seeds}, not each once in their order")
        if not len(self.seeds) == len(self.accuracies) == len(self.train_seconds):
            raise ValueError("not one accuracy and one time for each seed")
        for name, value in self._recomputed().items():
            told = getattr(self, name)
            if told != value:
                raise ValueError(f"{name} {told}, where its own figures come to {value}")
        return self

    def _recomputed(self) -> dict[str, float | None]:
        from scipy.stats import t as students_t  # noqa: PLC0415  (takes a third of a second, for these four alone)

        middle, count = mean(self.accuracies), len(self.accuracies)
        spread = stdev(self.accuracies) if count > 1 else None
        bounds: tuple[float, float] | tuple[None, None] = (None, None)
        if spread is not None:
            half = float(students_t.ppf((1 + CONFIDENCE_LEVEL) / 2, count - 1)) * spread / sqrt(count)
            bounds = round(middle - half, 8), round(middle + half, 8)
        return {
            "accuracy_mean": round(middle, 8),
            "accuracy_sd": None if spread is None else round(spread, 8),
            "accuracy_mean_low": bounds[0],
            "accuracy_mean_high": bounds[1],
            "train_seconds_mean": round(mean(self.train_seconds), 3),
        }


class Summary(Point):
    """summary.json: the figures of the largest network, and where there are several, those of each, smallest first."""

    study: Name
    points: Annotated[list[Point], Field(min_length=2)] | None = None

    @property
    def of_each(self) -> list[Point]:
        """The figures of each network."""
        return self.points or [self]

    @model_validator(mode="after")
    def _leads(self) -> Self:
        if self.points is None:
            return self
        sizes = [point.parameters for point in self.points]
        if sizes != sorted(sizes) or len({point.network for point in self.points}) < len(sizes):
            raise ValueError("points that are not of one network each, the smallest first")
        if self.model_dump(exclude={"study", "points"}) != self.points[-1].model_dump():
            raise ValueError("other figures at the top than those of the largest network")
        return self


def check_file_name(option: str, name: str) -> None:
    """Refuse a name that a :class:`Candidate` could not have, before it becomes part of a path.

    Raises:
        ParamsError: it is none; ``option`` tells where it was given.
    """
    if re.fullmatch(_FILE_NAME, name) is None:
        expected = "up to 80 letters, digits, spaces and . , _ - between letters or digits"
        raise ParamsError(option, [f"got {one_line(repr(name), 60)}, expected {expected}"])


KINDS: Mapping[str, type[Record]] = {METRICS: Trial, TIMING: Timing, SUMMARY: Summary}


def read_record(path: Path, kind: type[T], expected: str) -> T:
    """What ``path`` says, of the class ``kind``, once the whole file was seen to be the record that its name tells of.

    Args:
        path: a record of a study, ``summary.json`` or ``trials/<network>/<seed>/metrics.json`` or ``timing.json``.
        kind: what is asked of it; the whole of it or a part.
        expected: what belongs there, for the words of a refusal.

    Raises:
        ArtifactError: the file is missing, no JSON, stands where another belongs, is another one than DVC recorded,
            or a value of it is missing, left over, wrong or at odds with others: the first is named.
    """
    content = read_regular(path, LARGEST, ArtifactError, expected)
    whole = KINDS[path.name]
    record = parsed(content, path, whole, expected, ArtifactError)
    root = path.parent if isinstance(record, Summary) else path.parents[3]
    for what, (got, belongs) in _places(record, path).items():
        if got != belongs:
            raise ArtifactError(path, what, got=got, expected=f"{belongs}, as its folder says")
    refuse_other_md5(root, path, content)
    if isinstance(record, kind):
        return record
    return parsed(content, path, kind, expected, ArtifactError)


def _places(record: Record, path: Path) -> dict[str, tuple[Any, Any]]:
    """What the record says of itself, beside what the names of its folders say."""
    if isinstance(record, Summary):
        return {"study": (record.study, path.parent.resolve().name)}
    if isinstance(record, Trial):
        return {"network": (record.network, path.parent.parent.name), "seed": (str(record.seed), path.parent.name)}
    return {}

"""JSON files that one stage writes and another reads: checked by one class on the way out and on the way back in."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mnist_dvc.files import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mnist_dvc.errors import RefusalError

__all__ = [
    "CONFIDENCE_LEVEL",
    "Count",
    "Fraction",
    "Name",
    "Positive",
    "Record",
    "Result",
    "Scored",
    "parsed",
    "record_bytes",
]

CONFIDENCE_LEVEL = 0.95
CLOSE = 1e-9
"""Of a bound of an interval: two versions of scipy search for it in other steps."""

Count = Annotated[int, Field(ge=0, le=10**9)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f|<>`]*$")]
"""What can stand in a table and on a terminal."""
Positive = Annotated[int, Field(ge=1, le=10**9)]
T = TypeVar("T", bound=BaseModel)


class Record(BaseModel):
    """What a file says: these keys and no other, of these types, finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Scored(Record):
    """The scores on the test images as :class:`mnist_dvc.metrics.Scores` has them, in agreement with each other."""

    accuracy: Fraction
    errors: Count
    images: Positive
    accuracy_low: Fraction
    accuracy_high: Fraction
    nll: Annotated[float, Field(ge=0.0)]
    brier: Annotated[float, Field(ge=0.0, le=2.0)]
    ece: Fraction

    @model_validator(mode="after")
    def _agree(self) -> Self:
        from scipy.stats import binomtest  # noqa: PLC0415  (a third of a second's import, for those who read scores)

        right = self.images - self.errors
        if right < 0 or self.accuracy != right / self.images:
            raise ValueError(f"accuracy {self.accuracy} of {self.errors} errors in {self.images} images")
        interval = binomtest(right, self.images).proportion_ci(CONFIDENCE_LEVEL, method="exact")
        told = (self.accuracy_low, self.accuracy_high)
        if not all(math.isclose(*pair, abs_tol=CLOSE) for pair in zip(told, interval, strict=True)):
            raise ValueError(f"an interval from {told[0]} to {told[1]} around {self.accuracy}")
        # A wrong answer leaves at most half of the probability to the right one.
        least = self.errors / self.images
        if self.nll < least * math.log(2) - CLOSE or self.brier < least / 2 - CLOSE:
            raise ValueError(f"nll {self.nll} and brier {self.brier}, too low for {self.errors} errors")
        return self


class Result(Scored):
    """reports/test/metrics.json: what ``evaluate`` finds out; accuracies are fractions, ``nll`` in nats per image."""

    dataset: Name
    parameters: Positive


def record_bytes(kind: type[Record], told: Mapping[str, Any]) -> bytes:
    """``told`` as the JSON file that a reader will take for a ``kind``; ``told`` has its keys in their order.

    Raises:
        ValidationError: it would not.
    """
    kind.model_validate(told)
    return json_bytes(told)


def parsed(content: bytes, where: Path, kind: type[T], expected: str, refusal: type[RefusalError]) -> T:
    """The record that :func:`record_bytes` made ``content`` of.

    Args:
        content: the whole file.
        where: it stands.
        kind: the class of the record.
        expected: what belongs there, for the words of a refusal.
        refusal: the error to raise.

    Raises:
        RefusalError: of the class ``refusal``: no JSON, another spelling of it than ours, or a value that is missing,
            left over, wrong or at odds with others: the first is named.
    """
    try:
        plain = json.loads(content.decode("utf-8"))
        record = kind.model_validate(plain)
        canonical = json_bytes(plain) == content
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise refusal(where, place, got=first["msg"].removeprefix("Value error, "), expected=expected) from error
    except (ValueError, RecursionError) as error:
        raise refusal(where, "content", got=f"no JSON ({error})", expected=expected) from error
    if not canonical:  # two spellings of one record would have two digests; a key twice would have two meanings
        raise refusal(where, "content", got="another spelling", expected=f"{expected}, to the byte")
    return record

"""The JSON files that one stage writes and another reads, as checked values."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_record"]

LARGEST = 2**20
"""Bytes; the largest, a summary of five networks, takes fewer than 10,000."""
T = TypeVar("T", bound=BaseModel)


def read_record(path: Path, kind: type[T], expected: str) -> T:
    """What ``path`` says, of the class ``kind``.

    Args:
        path: a JSON file.
        kind: what is read of it, and in which ranges.
        expected: what belongs there, for the words of a refusal.

    Raises:
        ArtifactError: the file is missing, no JSON, or a value of it is missing or wrong: the first is named.
    """
    try:
        return kind.model_validate_json(read_regular(path, LARGEST, ArtifactError, expected))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise ArtifactError(path, place, got=first["msg"], expected=expected) from error

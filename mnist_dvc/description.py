"""What a network is made of, as plain values that need no torch: layers, parameters, and the budget for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, refuse_other_digest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BUDGET", "Description", "Layer", "Parameter", "description_json", "read_description"]

BUDGET = 20_000
"""Every registered network has fewer trainable parameters than this, while it trains and when it ships."""
LARGEST = 2**20
"""Bytes; the description of the reference network takes 10,000."""
EXPECTED = "the description of a network, as `summary --json` prints it"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A trainable tensor: dotted name, shape, number of values."""

    name: str
    shape: tuple[int, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A top-level module: its name, trainable values, and the shape it turns one image into (without N)."""

    name: str
    parameters: int
    output_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """A whole network; ``multiply_adds`` are those of convolutions and matrix products for one image."""

    network: str
    parameters: tuple[Parameter, ...]
    layers: tuple[Layer, ...]
    total: int
    multiply_adds: int

    @property
    def budget_left(self) -> int:
        """How many parameters could be added while staying below the budget."""
        return BUDGET - 1 - self.total


_DESCRIPTION = TypeAdapter(Description)


def description_json(description: Description) -> dict[str, Any]:
    """The same as plain values, ``budget`` and ``budget_left`` included."""
    return asdict(description) | {"budget": BUDGET, "budget_left": description.budget_left}


def read_description(path: Path) -> Description:
    """What :func:`description_json` left in the JSON file at ``path``.

    Raises:
        ArtifactError: the file is missing, damaged, or another one than the digests beside it say.
    """
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_other_digest(path, content)
    try:
        return _DESCRIPTION.validate_json(content)
    except ValidationError as error:
        raise ArtifactError(path, "content", got="damage", expected=EXPECTED) from error

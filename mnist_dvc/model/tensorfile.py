"""A safetensors file from anyone: what its header claims is checked before anything of it becomes a tensor."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import safetensors.torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError

from mnist_dvc.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["METADATA_KEY", "TensorFile", "damage", "first_difference"]

METADATA_KEY = "mnist_dvc"
"""The only metadata key: with more than one, safetensors writes them in a random order."""
_LENGTH_BYTES = 8
"""The length of the header, little-endian, stands before it."""
_BYTES_OF = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "I16": ("int16", 2),
    "I32": ("int32", 4),
    "I64": ("int64", 8),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
}
"""Element types that our writers may use: their names in PyTorch, and bytes. Those of less than a byte are not read."""
_MOST = 2**40
_Size = Annotated[int, Field(ge=0, lt=_MOST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Entry(_Strict):
    """What the header says of one tensor; offsets are of its first byte and the one behind, from the header's end."""

    dtype: Annotated[str, Field(max_length=20)]
    shape: Annotated[list[_Size], Field(max_length=8)]
    data_offsets: Annotated[list[_Size], Field(min_length=2, max_length=2)]

    @field_validator("shape")
    @classmethod
    def _can_be_counted(cls, shape: list[int]) -> list[int]:
        """Strides are products of the other axes, also where one of them is 0 and there is not a single value."""
        if math.prod(max(size, 1) for size in shape) >= _MOST:
            raise ValueError("more values than any file holds")
        return shape

    @property
    def kind(self) -> str:
        """Type and shape as :func:`mnist_dvc.model.weights.kind_of` tells them of the tensor."""
        name, _ = _BYTES_OF.get(self.dtype, (self.dtype, 0))
        return f"{name} {tuple(self.shape)}"


class _Metadata(_Strict):
    text: Annotated[str, Field(alias=METADATA_KEY)]


class _Header(BaseModel):
    """Every other key is the name of a tensor."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, _Entry]

    metadata: Annotated[_Metadata, Field(alias="__metadata__")]


@dataclass(frozen=True, slots=True)
class TensorFile:
    """The header of safetensors bytes, read and typed, and where they come from; no tensor exists yet."""

    where: Path
    expected: str
    metadata: str
    """The text under the metadata key."""
    _start: int
    _entries: Mapping[str, _Entry]

    @classmethod
    def of(cls, content: bytes, where: Path, expected: str, largest_header: int) -> TensorFile:
        """Read the header at the beginning of ``content``; what follows need not be there.

        Args:
            content: from the first byte of the file, at least as far as its header goes.
            where: the file, for errors.
            expected: what belongs there, for errors.
            largest_header: bytes beyond which a header is not looked at.

        Raises:
            ArtifactError: the header is cut, longer, no JSON, or does not say of each tensor what it has to, once.
        """
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        start = _LENGTH_BYTES + length
        if length > largest_header or start > len(content):
            got = f"damage ({length:,} bytes long by its own account)"
            raise ArtifactError(
                where, "header", got=got, expected=f"{expected}, at most {largest_header:,} bytes of it"
            )
        try:
            plain = json.loads(content[_LENGTH_BYTES:start], object_pairs_hook=_each_once)
            header = _Header.model_validate(plain)
        except (ValidationError, ValueError, RecursionError) as error:
            raise ArtifactError(where, "header", got=damage(error), expected=expected) from error
        return cls(where, expected, header.metadata.text, start, header.__pydantic_extra__)

    @property
    def kinds(self) -> dict[str, str]:
        """Type and shape of each tensor by its name, such as ``float32 (10,)``."""
        return {name: entry.kind for name, entry in self._entries.items()}

    def refuse_misplaced(self, size: int) -> None:
        """Compare the places of the tensors with what their types and shapes take, and with the ``size`` of the file.

        Raises:
            ArtifactError: a tensor is of an unknown type or of another length, two overlap, or bytes belong to none.
        """
        at = 0
        for name, entry in sorted(self._entries.items(), key=lambda item: item[1].data_offsets):
            what, kind = f"content, tensor {name[:80]!r}", entry.kind
            if entry.dtype not in _BYTES_OF:
                raise ArtifactError(self.where, what, got=f"damage ({kind})", expected=f"one of {', '.join(_BYTES_OF)}")
            end = at + math.prod(entry.shape) * _BYTES_OF[entry.dtype][1]
            if entry.data_offsets != [at, end]:
                first, after = entry.data_offsets
                raise ArtifactError(
                    self.where, what, got=f"bytes {first} to {after}", expected=f"{at} to {end}, as {kind} takes"
                )
            at = end
        if self._start + at != size:
            got, expected = f"{size - self._start} bytes of tensors", f"{at}, as the header says"
            raise ArtifactError(self.where, "content", got=got, expected=expected)

    def unpack(self, content: bytes) -> dict[str, Tensor]:
        """The tensors in ``content``, the whole file, by name, on the CPU; they take as much memory as the file.

        Raises:
            ArtifactError: as :meth:`refuse_misplaced`, or safetensors finds something that escaped us.
        """
        self.refuse_misplaced(len(content))
        try:
            return safetensors.torch.load(content)
        except SafetensorError as error:
            raise ArtifactError(self.where, "content", got=damage(error), expected=self.expected) from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dictionary; of a key that comes twice, two readers may take different values."""
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise ValueError("a key twice")
    return plain


def damage(error: Exception) -> str:
    """``damage`` and, in brackets, what kind; of typed JSON the place and the first thing that is wrong there."""
    if not isinstance(error, ValidationError):
        return f"damage ({type(error).__name__})"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"damage ({place}: {first['msg']})" if place else f"damage ({first['msg']})"


def first_difference(got: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The first name, in order, of which two mappings say different things, and these; None if there is none."""
    for name in sorted(wanted.keys() | got.keys()):
        if got.get(name) != wanted.get(name):
            return name, got.get(name, "nothing"), wanted.get(name, "nothing")
    return None

"""Training state to verified bytes and back, and the folder in which the newest of them survive a killed process."""

from __future__ import annotations

import json
import re
import shutil
import stat
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import safetensors.torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import json_bytes, read_regular, sha256, write_atomically
from mnist_dvc.model.tensorfile import METADATA_KEY, TensorFile, damage
from mnist_dvc.model.weights import not_finite, refuse_divergence
from mnist_dvc.training.events import EpochRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["Snapshot", "SnapshotFolder", "TrainingState", "parse_snapshot", "snapshot_bytes"]

SCHEMA = 1
KEEP = 2
"""Snapshots that stay, so that there is a whole one even if the newest is damaged later."""
LARGEST = 256 * 2**20
LARGEST_HEADER = 4 * 2**20
"""Bytes; the history of 10,000 epochs, the most that there can be, takes 2 million."""
FIRST_LINE = re.compile(rb"mnist_dvc snapshot (\d{1,9}) ([0-9a-f]{64})")
_END_OF_TIME = 1e11
"""Seconds since 1970, in the year 5138; the calendar takes no number that is much larger."""
EXPECTED = "a snapshot that `train` writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """A training between two steps: ``step`` of them done, the rows of the finished epochs, and everything else.

    ``tensors`` are the weights, averages, moments, sums and generator states by name, as the engine captures them.
    """

    step: int
    history: tuple[EpochRow, ...]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A state, and when its training ``began`` (seconds since 1970) and how many ``seconds`` it has run."""

    state: TrainingState
    began: float
    seconds: float


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


_Seconds = Annotated[float, Field(ge=0.0, lt=_END_OF_TIME)]
_Loss = Annotated[float, Field(ge=0.0)]
_Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class _Row(_Strict):
    """An :class:`EpochRow`, as it may be."""

    epoch: Annotated[int, Field(ge=1)]
    train_loss: _Loss
    val_loss: _Loss | None
    train_accuracy: _Fraction
    val_accuracy: _Fraction | None
    lr: _Loss


class _Header(_Strict):
    """What a snapshot says beside its tensors."""

    identity: dict[str, Any]
    step: Annotated[int, Field(ge=0)]
    history: list[_Row]
    began: _Seconds
    seconds: _Seconds


def snapshot_bytes(snapshot: Snapshot, identity: Mapping[str, Any]) -> bytes:
    """A line with the schema and the SHA-256 of the rest, then safetensors with one metadata key.

    ``identity``, plain JSON values, is what the bits of the training depend on.

    Raises:
        DivergedError: a tensor is not finite, which :func:`parse_snapshot` would refuse.
    """
    state = snapshot.state
    refuse_divergence(state.tensors)
    header = {
        "identity": dict(identity),
        "step": state.step,
        "history": [asdict(row) for row in state.history],
        "began": snapshot.began,
        "seconds": snapshot.seconds,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    payload = safetensors.torch.save(tensors, metadata={METADATA_KEY: json.dumps(header, allow_nan=False)})
    return f"mnist_dvc snapshot {SCHEMA} {sha256(payload)}\n".encode() + payload


def parse_snapshot(content: bytes, where: Path, identity: Mapping[str, Any]) -> Snapshot:
    """Bytes to a snapshot of the training with ``identity``; nothing in them is executed.

    Raises:
        ArtifactError: damage of any kind, another schema, another training, or a number that is not finite.
    """
    line, _, payload = content.partition(b"\n")
    match = FIRST_LINE.fullmatch(line)
    if match is None:
        raise ArtifactError(where, "first line", got=repr(line[:40]), expected=EXPECTED)
    schema, digest = int(match[1]), match[2].decode()
    if schema != SCHEMA:
        raise ArtifactError(where, "schema", got=schema, expected=f"{SCHEMA}, the one of this version")
    if sha256(payload) != digest:
        raise ArtifactError(where, "SHA-256", got=sha256(payload), expected=digest)
    header, tensors = _parse_payload(payload, where)
    if header.identity != identity:
        got = "; ".join(_differences(header.identity, identity))
        raise ArtifactError(where, "training it belongs to", got=got, expected="this one")
    broken = not_finite(tensors)
    if broken is not None:
        raise ArtifactError(where, f"tensor {broken}", got="NaN or infinity", expected="finite numbers")
    history = tuple(EpochRow(**row.model_dump()) for row in header.history)
    state = TrainingState(step=header.step, history=history, tensors=tensors)
    return Snapshot(state=state, began=header.began, seconds=header.seconds)


def _parse_payload(payload: bytes, where: Path) -> tuple[_Header, dict[str, Tensor]]:
    file = TensorFile.of(payload, where, EXPECTED, LARGEST_HEADER)
    try:
        header = _Header.model_validate_json(file.metadata)
    except ValidationError as error:
        raise ArtifactError(where, "content", got=damage(error), expected=EXPECTED) from error
    return header, file.unpack(payload)


def _differences(found: Any, wanted: Any, key: str = "") -> list[str]:
    """``dotted.key A, not B`` for each value in which two nested mappings differ."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if found == wanted else [f"{key} {found!r}, not {wanted!r}"]
    keys = list(dict.fromkeys([*wanted, *found]))
    return [line for k in keys for line in _differences(found.get(k), wanted.get(k), f"{key}.{k}".lstrip("."))]


class SnapshotFolder:
    """The snapshots of one training: all that share its identity, and no others."""

    def __init__(self, root: Path, identity: Mapping[str, Any]) -> None:
        """``root`` holds a folder for each unfinished training, named by the digest of its identity."""
        self._root = root
        self._identity = identity
        self.path = root / sha256(json_bytes(identity))[:16]

    def paths(self) -> list[Path]:
        """The snapshots, newest first, not yet looked into."""
        return sorted(self.path.glob("step-*.snapshot"), reverse=True)

    def others(self) -> list[Path]:
        """The folders of unfinished trainings with another identity."""
        return sorted({path.parent for path in self._root.glob("*/step-*.snapshot")} - {self.path})

    def read(self, path: Path) -> Snapshot:
        """One of :meth:`paths`, verified.

        Raises:
            ArtifactError: as :func:`parse_snapshot`; or it is no regular file, or too large for one.
        """
        return parse_snapshot(read_regular(path, LARGEST, ArtifactError, EXPECTED), path, self._identity)

    def save(self, snapshot: Snapshot) -> Path:
        """Write a snapshot and, once it is safe, remove all but the newest ``KEEP``.

        Those of later steps go as well: a training that had verified one of them would have gone on from there.

        Raises:
            DivergedError: as :func:`snapshot_bytes`; the older ones are untouched.
            OSError: the system refused; the older ones are untouched.
        """
        path = self.path / f"step-{snapshot.state.step:09d}.snapshot"
        content = snapshot_bytes(snapshot, self._identity)
        self._remove_strangers()
        write_atomically(path, content)
        present = self.paths()
        newest = present[present.index(path) :][:KEEP]
        for old in set(present) - set(newest):
            old.unlink()
        return path

    def _remove_strangers(self) -> None:
        """What has a snapshot's name and is no file: a folder could not be replaced, and any would be kept for one."""
        for path in self.paths():
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                shutil.rmtree(path)
            elif not stat.S_ISREG(mode):
                path.unlink()

    def clear(self) -> None:
        """Remove the folder: its training is finished, or to be forgotten."""
        shutil.rmtree(self.path, ignore_errors=True)

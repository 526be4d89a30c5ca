"""The training checkpoint: a PyTorch file, byte for byte repeatable, that is read without running anything in it."""

from __future__ import annotations

import copy
import io
import warnings
import zipfile
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import torch

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, refuse_other_digest
from mnist_dvc.model.weights import Card, network_of, refuse_divergence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from mnist_dvc.training.events import EpochRow

__all__ = ["checkpoint_bytes", "read_checkpoint"]

SCHEMA = 1
LARGEST = 16 * 2**20
"""Bytes; four copies of 20,000 parameters and the history of 10,000 epochs take 4 million."""
EXPECTED = "the checkpoint that `train` writes"


def checkpoint_bytes(
    *,
    model_state: dict[str, Any],
    raw_model_state: dict[str, Any],
    optimizer_state: dict[str, Any],
    history: Sequence[EpochRow],
    about: dict[str, Any],
) -> bytes:
    """Everything about a finished training, as the bytes of a ``.pth`` file.

    Keys: ``schema``; ``model_state_dict``, the averaged weights, which are the published ones;
    ``raw_model_state_dict``, the weights that ``optimizer_state_dict`` belongs to; ``history``, a dictionary per
    epoch; ``val_accuracy``, the last one's (None without validation images); ``about``, plain values that say which
    network, data and params. All tensors are on the CPU, since PyTorch reads a file only where the devices in it are.

    Raises:
        DivergedError: a tensor of any of them is not finite.
    """
    content = {
        "schema": SCHEMA,
        "model_state_dict": model_state,
        "raw_model_state_dict": raw_model_state,
        "optimizer_state_dict": optimizer_state,
        "history": [asdict(row) for row in history],
        "val_accuracy": history[-1].val_accuracy,
        "about": about,
    }
    content = _on_cpu(content)
    refuse_divergence(dict(_tensors(content)))
    # Into memory first: torch.save(path) would write the file's name into the file, and leave half of it on an error.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _on_cpu(tree: dict[Any, Any]) -> dict[Any, Any]:
    """The same nested dictionaries with every tensor on the CPU."""
    moved = copy.copy(tree)  # also what a state_dict() carries beside its items
    for key, value in tree.items():
        if isinstance(value, dict):
            moved[key] = _on_cpu(value)
        elif isinstance(value, torch.Tensor):
            moved[key] = value.cpu()
    return moved


def _tensors(tree: dict[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dictionaries, under the keys that lead to it: ``optimizer_state_dict/state/0/exp_avg``."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from ((f"{key}/{name}", tensor) for name, tensor in _tensors(value))
        elif isinstance(value, torch.Tensor):
            yield str(key), value


def read_checkpoint(path: Path) -> tuple[nn.Module, Card]:
    """Build the network that ``path`` names and load its averaged weights, in evaluation mode, on the CPU.

    Raises:
        ArtifactError: the file is missing, too large, damaged, another one than the digests beside it say, holds
            anything but tensors and plain values, or does not fit the network that it names.
    """
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_other_digest(path, content)
    _refuse_unfit_archive(content, path)
    try:
        told = _unpickled(content)
        schema, about, state = told["schema"], told["about"], told["model_state_dict"]
        card = Card(**{field.name: about[field.name] for field in fields(Card) if field.name in about})
        state = dict(state.items())
    except Exception as error:  # the unpickler of untrusted bytes raises what it likes; there is no second try
        got = f"damage ({type(error).__name__})"
        raise ArtifactError(path, "content", got=got, expected=EXPECTED) from error
    if schema != SCHEMA:
        raise ArtifactError(path, "schema", got=repr(schema)[:40], expected=f"{SCHEMA}, so train it again")
    return network_of(card, state, path), card


def _unpickled(content: bytes) -> dict[str, Any]:
    """The dictionary in an archive: tensors and plain values, or an error of whatever kind."""
    with warnings.catch_warnings(action="ignore"):
        told = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(told, dict):
        raise TypeError("not a dictionary")
    return told


def _refuse_unfit_archive(content: bytes, where: Path) -> None:
    """Let only archives through that PyTorch itself writes: nothing compressed, nothing twice, every CRC right.

    PyTorch checks no CRC and believes the sizes that an archive claims (measured: 383 of 400 flipped bits unnoticed).
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            plain = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            small = sum(member.file_size for member in members) <= len(content)
            single = len({member.filename for member in members}) == len(members)
            damaged = archive.testzip() if plain and small and single else "the list of its members"
    except Exception as error:  # zipfile raises a dozen kinds for bytes that it cannot read
        got = f"no archive ({type(error).__name__})"
        raise ArtifactError(where, "content", got=got, expected=EXPECTED) from error
    if damaged is not None:
        raise ArtifactError(where, "archive", got=f"damage in {damaged[:80]!r}", expected=EXPECTED)

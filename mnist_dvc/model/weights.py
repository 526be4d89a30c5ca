"""The published model file: weights and what they are, as deterministic safetensors bytes, and back to a network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import safetensors.torch
from safetensors import SafetensorError

from mnist_dvc.errors import ArtifactError
from mnist_dvc.model import NETWORKS

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["METADATA_KEY", "Card", "read_model", "weights_bytes"]

METADATA_KEY = "mnist_dvc"
"""The only metadata key: with more than one, safetensors writes them in a random order."""
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Card:
    """What a model file says of itself: the network, the data it was trained on, and the versions that trained it."""

    network: str
    parameters: int
    dataset: str
    data_digest: str
    provenance: dict[str, Any]


def weights_bytes(state: dict[str, Tensor], card: Card) -> bytes:
    """The safetensors file of ``state`` and ``card``: same values, same bytes."""
    told = {"schema": SCHEMA, **asdict(card)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return safetensors.torch.save(tensors, metadata={METADATA_KEY: json.dumps(told, sort_keys=True)})


def read_model(path: Path) -> tuple[nn.Module, Card]:
    """Build the network that ``path`` names and load its weights, in evaluation mode, on the CPU.

    Raises:
        ArtifactError: the file is missing or damaged, or its tensors do not fit the network it names.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(path, "file", got="nothing", expected="the model that `train` writes") from error
    try:
        state = safetensors.torch.load(content)
        card = _read_card(content)
        model = NETWORKS[card.network](0.0)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        got = f"damage ({type(error).__name__}: {error})"
        raise ArtifactError(path, "content", got=got, expected="a model file of this package") from error
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(path, "tensors", got=reason, expected=f"those of {card.network}") from error
    return model.eval(), card


def _read_card(content: bytes) -> Card:
    """The card in the header of safetensors bytes that were already parsed once: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][METADATA_KEY])
    if told["schema"] != SCHEMA:
        raise ValueError(f"schema {told['schema']}, expected {SCHEMA}")
    return Card(**{field.name: told[field.name] for field in fields(Card)})

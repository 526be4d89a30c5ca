"""The published model file: weights and what they are, as deterministic safetensors bytes, and back to a network.

The file carries the SHA-256 of itself, since neither safetensors nor PyTorch notices a flipped bit in a tensor.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import safetensors.torch
import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from mnist_dvc.errors import ArtifactError, DivergedError
from mnist_dvc.files import BLANK, read_regular, refuse_broken_seal, refuse_other_digest, sealed
from mnist_dvc.model import NETWORKS
from mnist_dvc.model.tensorfile import METADATA_KEY, TensorFile, damage, first_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    Networks = Mapping[str, Callable[[float], nn.Module]]

__all__ = [
    "Card",
    "kind_of",
    "network_of",
    "not_finite",
    "read_model",
    "refuse_divergence",
    "weights_bytes",
]

SCHEMA = 2
LARGEST = 2**20
"""Bytes; the 217,322 parameters of a teacher take 880,000, the 20,000 of a network 80,000."""
LARGEST_HEADER = 64 * 2**10
"""Bytes; those of the released models are 3,000 and 9,800."""
EXPECTED = "the model that `train` writes"
_Name = Annotated[str, Field(min_length=1, max_length=100)]


@dataclass(frozen=True, slots=True, config=ConfigDict(strict=True, extra="forbid"))
class Card:
    """What a model file says of itself: the network, the data it was trained on, and the versions that trained it."""

    network: _Name
    parameters: Annotated[int, Field(gt=0)]
    dataset: _Name
    data_digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    provenance: Annotated[dict[_Name, Annotated[str, Field(max_length=1000)] | int], Field(max_length=100)]
    classes: Annotated[tuple[_Name, ...], Field(max_length=10)] = ()
    """Names of the answers 0, 1, ...; none where they are the digits."""

    def told(self) -> dict[str, Any]:
        """The card as it stands in files; where the answers are digits nothing is said of them."""
        return {key: value for key, value in asdict(self).items() if key != "classes" or value}


@dataclass(frozen=True, slots=True, config=ConfigDict(strict=True, extra="forbid"))
class _Told:
    """The value of the metadata key; ``sha256`` is of the whole file with 64 zeros in its place."""

    schema: int
    sha256: str
    card: Card


_TOLD = TypeAdapter(_Told)


def weights_bytes(state: Mapping[str, Tensor], card: Card) -> bytes:
    """The safetensors file of ``state`` and ``card``: same values, same bytes.

    Raises:
        DivergedError: as :func:`refuse_divergence`, so that nothing is written that :func:`read_model` would refuse.
    """
    refuse_divergence(state)
    told = {"schema": SCHEMA, "sha256": BLANK, "card": card.told()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return sealed(safetensors.torch.save(tensors, metadata={METADATA_KEY: json.dumps(told)}))


def read_model(path: Path, networks: Networks = NETWORKS) -> tuple[nn.Module, Card]:
    """Build the network that ``path`` names and load its weights, in evaluation mode, on the CPU.

    Raises:
        ArtifactError: the file is missing, damaged, another one than the digests beside it say, or of another version;
            or its tensors, or what it says of them, do not fit the network that it names.
    """
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_other_digest(path, content)
    file = TensorFile.of(content, path, EXPECTED, LARGEST_HEADER)
    told = _read_told(file)
    refuse_broken_seal(path, content, told.sha256)
    model = _empty(told.card, file.kinds, path, networks)  # before any of the file becomes a tensor
    return _filled(model, file.unpack(content), path), told.card


def _read_told(file: TensorFile) -> _Told:
    """What the file says of itself."""
    try:
        schema = json.loads(file.metadata)["schema"]
        if schema == SCHEMA:
            return _TOLD.validate_json(file.metadata)
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(file.where, "header", got=damage(error), expected=EXPECTED) from error
    raise ArtifactError(file.where, "schema", got=repr(schema)[:40], expected=f"{SCHEMA}, so train it again")


def network_of(card: Card, state: Mapping[str, Tensor], where: Path, networks: Networks = NETWORKS) -> nn.Module:
    """The network that ``card`` names with the weights ``state``, in evaluation mode, on the CPU.

    Raises:
        ArtifactError: no such network, one of another number of parameters, or a tensor that is missing, left over, of
            another shape or type, or not finite.
    """
    kinds = {str(name): kind_of(tensor) for name, tensor in state.items()}
    return _filled(_empty(card, kinds, where, networks), state, where)


def _empty(card: Card, kinds: Mapping[str, str], where: Path, networks: Networks) -> nn.Module:
    """The network that ``card`` names, which tensors of these ``kinds`` fit."""
    if card.network not in networks:
        expected = f"one of {', '.join(networks)}"
        raise ArtifactError(where, "network", got=repr(card.network)[:40], expected=expected)
    model = networks[card.network](0.0)
    wanted = {name: kind_of(tensor) for name, tensor in model.state_dict().items()}
    differing = first_difference(kinds, wanted)
    if differing is not None:
        name, got, expected = differing
        raise ArtifactError(where, f"tensor {name[:80]!r} of {card.network}", got=got, expected=expected)
    count = sum(parameter.numel() for parameter in model.parameters())
    if card.parameters != count:
        raise ArtifactError(where, f"parameters of {card.network}", got=card.parameters, expected=count)
    return model


def _filled(model: nn.Module, state: Mapping[str, Tensor], where: Path) -> nn.Module:
    """``model`` with the weights ``state``, which fit it."""
    broken = not_finite(state)
    if broken is not None:
        raise ArtifactError(where, f"tensor {broken!r}", got="NaN or infinity", expected="finite numbers")
    model.load_state_dict(state)
    return model.eval()


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor that holds NaN or infinity, None if none does; integers are finite."""
    return next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)


def refuse_divergence(tensors: Mapping[str, Tensor]) -> None:
    """End a training here rather than write what no reader of ours takes back.

    Raises:
        DivergedError: a tensor holds NaN or infinity.
    """
    broken = not_finite(tensors)
    if broken is not None:
        raise DivergedError(
            f"training diverged: tensor {broken!r}: got NaN or infinity, expected finite numbers; try a smaller "
            "train.learning_rate"
        )


def kind_of(value: object) -> str:
    """Type and shape of a tensor, as they must agree on any device; anything else, and one without values, by class."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta:
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"

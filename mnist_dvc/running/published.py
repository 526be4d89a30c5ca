"""The published model as a stage after the training takes it: on record, of this network, of these digits."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mnist_dvc.data.prepared import Prepared
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import recorded_sha256
from mnist_dvc.model.weights import Card, read_model
from mnist_dvc.running.inputs import Inputs
from mnist_dvc.runtime import provenance, set_up

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["Published", "published"]


@dataclass(frozen=True, slots=True)
class Published:
    """The model in evaluation mode on the CPU, what it says of itself, its digits, and what else the stage has read.

    ``sha256`` is of the model file.
    """

    model: nn.Module
    card: Card
    sha256: str
    prepared: Prepared
    inputs: Inputs


def published(
    stage: str,
    params: Params,
    section: str,
    paths: Paths,
    *,
    threads: int,
    others: tuple[Path, ...] = (),
) -> Published:
    """Set this process up and take the model of the workspace.

    Args:
        stage: the module that asks, such as ``mnist_dvc.pipeline.evaluate``.
        params: the whole of a params file.
        section: the one that the stage reads beside ``model``; what is said about threads begins with its name.
        paths: the workspace.
        threads: CPU threads that are asked for.
        others: files that the stage reads as well.

    Raises:
        ArtifactError: the model is missing, damaged, not the recorded one, of another network than ``model.name``, or
            trained on other digits than the prepared ones.
        DataError: the prepared digits are missing or damaged.
    """
    granted = set_up(threads, lambda line: print(f"{section}: {line}", file=sys.stderr))
    files = (paths.model, paths.sums, *Prepared.files(paths.prepared), *others)
    machine = provenance(granted, torch.device("cpu"), "float32")
    inputs = Inputs.of(stage, params, ("model", section), files, machine)
    model, card = read_model(paths.model)
    recorded = recorded_sha256(paths.model)
    if recorded is None:
        raise ArtifactError(paths.sums, "file", got="nothing", expected="the digests that `train` writes")
    if card.network != params.model.name:
        expected = f"{params.model.name}, as {params.place('model.name')} says; run `train` again"
        raise ArtifactError(paths.model, "network", got=card.network, expected=expected)
    prepared = Prepared.open(paths.prepared)
    _refuse_other_data(card, prepared, paths.model)
    return Published(model, card, recorded, prepared, inputs)


def _refuse_other_data(card: Card, prepared: Prepared, where: Path) -> None:
    """Refuse test images that the model may have learned from: the sample's are all among MNIST's training images."""
    if (card.dataset, card.data_digest) != (prepared.dataset, prepared.digest):
        raise ArtifactError(
            where,
            "data it was trained on",
            got=f"{card.dataset} ({card.data_digest[:12]})",
            expected=f"the prepared {prepared.dataset} ({prepared.digest[:12]}); run `train` again",
        )
    if card.classes != prepared.classes:
        expected = f"{', '.join(prepared.classes) or 'the digits'}, as prepared; run `train` again"
        raise ArtifactError(where, "classes", got=", ".join(card.classes) or "the digits", expected=expected)

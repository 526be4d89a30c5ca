"""Teachers that know nothing, and a way to ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from helpers import params

from mnist_dvc.model import NETWORKS, TEACHERS, build
from mnist_dvc.model.weights import Card, weights_bytes
from mnist_dvc.params import ModelParams
from mnist_dvc.study.teach import teach

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.paths import Paths

VIEWS = 3


def plant(paths: Paths, seed: int, name: str = "teacher", dataset: str = "mnist", digest: str = "0" * 64) -> Path:
    """A model file as ``study teacher`` writes it, of a network that has learnt nothing but its norms' statistics."""
    model = build(ModelParams(name=name, dropout=0.0), torch.Generator().manual_seed(seed), NETWORKS | TEACHERS)
    with torch.no_grad():
        model.train()(torch.randn((50, 1, 28, 28), generator=torch.Generator().manual_seed(seed)))
    path = paths.trial(name, seed) / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(weights_bytes(model.state_dict(), Card(name, 217_322, dataset, digest, {})))
    return path


def ask(paths: Paths, teachers: list[Path], *, views: int = VIEWS, seed: int = 0, **changes: Any) -> bytes:
    """Ask the teachers; what that wrote."""
    teach(params(**changes), paths, teachers, views=views, seed=seed)
    return paths.teaching.read_bytes()

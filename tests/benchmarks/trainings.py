"""Trainings to be timed: a network and digits in memory to our engine's steps, with the settings of the stages."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from comparing import as_stages_compute
from helpers import ROOT

from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.digits import Digits
from mnist_dvc.model import build
from mnist_dvc.params import ModelParams, load_params
from mnist_dvc.runtime import choose_precision
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import Stepped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from mnist_dvc.params import TrainParams

DEFAULT = load_params(ROOT / "params.yaml")
FAST = load_params(ROOT / "studies/fast/params.yaml")
ENOUGH_EPOCHS = 1000
"""That none of them ends while it is timed."""


def params_text(name: str, device: torch.device, replaced: Mapping[str, str] | None = None) -> str:
    """The committed params file ``name`` for ``device``, with other beginnings of lines in place of those given."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for line, ours in {"device: auto ": f"device: {device.type} ", **(replaced or {})}.items():
        if text.count(line) != 1:
            raise ValueError(f"{name}: {line}: got {text.count(line)} of it, expected one to replace")
        text = text.replace(line, ours)
    return text


def network(name: str) -> nn.Module:
    return build(ModelParams(name=name, dropout=0.0), torch.Generator().manual_seed(0))


def noise(count: int) -> LabelledImages:
    """So many images of nothing: a step takes as long on them as on digits."""
    random = np.random.default_rng(0)
    images_NHW = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return LabelledImages(images_NHW, random.integers(0, 10, count, dtype=np.uint8), "noise")


def training_of(model: nn.Module, digits: LabelledImages, params: TrainParams, device: torch.device) -> Training:
    """Without an end in sight, on digits that lie on ``device``."""
    job = Job(
        model=model.to(device),
        digits=Digits.on(device, digits),
        validation=None,
        params=params.model_copy(update={"epochs": ENOUGH_EPOCHS}),
        precision=choose_precision(params.precision, device),
    )
    return Training(job)


def steps_of(training: Training) -> Callable[[int], None]:
    """What takes that many steps of ``training``, the ends of its epochs included."""
    steps = (event for event in training.events() if isinstance(event, Stepped))

    def take(count: int) -> None:
        with as_stages_compute():
            taken = sum(1 for _ in islice(steps, count))
        if taken != count:
            raise RuntimeError(f"the training ended: got {taken} steps, expected {count}")

    return take


def our_epoch(
    model: nn.Module, digits: LabelledImages, device: torch.device, params: TrainParams = DEFAULT.train
) -> Callable[[], None]:
    """A pass of our engine, distortions included."""
    take = steps_of(training_of(model, digits, params, device))
    return lambda: take(len(digits.labels_N) // params.batch_size)

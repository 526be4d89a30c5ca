"""The input path: resident tensors against one image at a time, and what the distortions cost of a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparing import compare, threads
from helpers import ROOT, blobs
from test_training import our_epoch
from usual import usual_loader

from mnist_dvc.augment import Distortions, distort
from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.model import build
from mnist_dvc.params import ModelParams, load_params

IMAGES = 2_560
BATCH = 256
DIGITS = blobs(IMAGES // 10)
AUGMENT = load_params(ROOT / "params.yaml").train.augment
RESIDENT = Digits.on(torch.device("cpu"), DIGITS)


def our_pass(*, distorted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    distortions = Distortions.draw(IMAGES, AUGMENT, generator) if distorted else None
    for index_N in torch.split(torch.randperm(IMAGES, generator=generator), BATCH):
        images_N1HW, _ = RESIDENT.batch(index_N)
        normalise(images_N1HW if distortions is None else distort(images_N1HW, distortions[index_N]))


def their_pass(*, distorted: bool) -> None:
    for _ in usual_loader(DIGITS, distorted=distorted, batch_size=BATCH):
        pass


@pytest.mark.benchmark(group="input")
@pytest.mark.parametrize("distorted", [False, True], ids=["plain", "distorted"])
def test_input_path_against_one_image_at_a_time(benchmark: Any, *, distorted: bool) -> None:
    with threads(1):
        told = compare(
            benchmark, lambda: our_pass(distorted=distorted), {"per_image": lambda: their_pass(distorted=distorted)}
        )
    benchmark.extra_info |= {"threads": 1, "images_per_second": round(IMAGES / told["seconds"])} | told


@pytest.mark.benchmark(group="input")
@pytest.mark.parametrize("name", ["reference", "compact", "sprint"])
def test_share_of_a_step_that_distortions_take(benchmark: Any, name: str) -> None:
    model = build(ModelParams(name=name, dropout=0.0), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    images_N1HW, _ = RESIDENT.batch(torch.arange(BATCH))

    def distortion() -> None:
        distortions = Distortions.draw(BATCH, AUGMENT, generator)
        assert distortions is not None
        distort(images_N1HW, distortions[torch.arange(BATCH)])

    with threads(1):
        told = compare(benchmark, distortion, {"epoch": our_epoch(model)})
    share = told["seconds"] * (IMAGES // BATCH) / told["seconds_epoch"]
    benchmark.extra_info |= {"network": name, "threads": 1, "share_of_step": round(share, 4)} | told

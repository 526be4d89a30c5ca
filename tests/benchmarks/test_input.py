"""The input path: resident tensors against one image at a time, and what the distortions cost of a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparing import compare, threads
from trainings import DEFAULT, network, noise, our_epoch
from usual import usual_loader

from mnist_dvc.augment import Distortions, distort
from mnist_dvc.data.digits import Digits, normalise

IMAGES = 2_560
BATCH = 256
AUGMENT = DEFAULT.train.augment
NOISE = noise(IMAGES)


def our_pass(resident: Digits, *, distorted: bool) -> None:
    device = resident.labels_N.device
    generator = torch.Generator(device).manual_seed(0)
    distortions = Distortions.draw(IMAGES, AUGMENT, generator) if distorted else None
    for index_N in torch.split(torch.randperm(IMAGES, generator=generator, device=device), BATCH):
        images_N1HW, _ = resident.batch(index_N)
        normalise(images_N1HW if distortions is None else distort(images_N1HW, distortions[index_N]))


def their_pass(device: torch.device, *, distorted: bool) -> None:
    for images_N1HW, labels_N in usual_loader(NOISE, distorted=distorted, batch_size=BATCH):
        images_N1HW.to(device)
        labels_N.to(device)


@pytest.mark.benchmark(group="input")
@pytest.mark.parametrize("distorted", [False, True], ids=["plain", "distorted"])
def test_input_path_against_one_image_at_a_time(benchmark: Any, device: torch.device, *, distorted: bool) -> None:
    resident = Digits.on(device, NOISE)
    with threads(1):
        told = compare(
            benchmark,
            lambda: our_pass(resident, distorted=distorted),
            {"per_image": lambda: their_pass(device, distorted=distorted)},
            device=device,
        )
    benchmark.extra_info |= {"threads": 1, "images_per_second": round(IMAGES / told["seconds"])} | told


@pytest.mark.benchmark(group="input")
@pytest.mark.parametrize("name", ["reference", "compact", "sprint"])
def test_share_of_a_step_that_distortions_take(benchmark: Any, device: torch.device, name: str) -> None:
    generator = torch.Generator(device).manual_seed(0)
    index_N = torch.arange(BATCH, device=device)
    images_N1HW, _ = Digits.on(device, NOISE).batch(index_N)

    def distortion() -> None:
        distortions = Distortions.draw(BATCH, AUGMENT, generator)
        if distortions is None:
            raise RuntimeError("the default recipe distorts nothing")
        distort(images_N1HW, distortions[index_N])

    with threads(1):
        told = compare(benchmark, distortion, {"epoch": our_epoch(network(name), NOISE, device)}, device=device)
    share = told["seconds"] * (IMAGES // BATCH) / told["seconds_epoch"]
    benchmark.extra_info |= {"network": name, "threads": 1, "share_of_step": round(share, 4)} | told

"""Small jobs of training, and what a network sees of its images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from helpers import NETWORK, blobs, params
from torch import nn

from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.model import build
from mnist_dvc.params import AugmentParams, ModelParams
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import Finished
from mnist_dvc.training.teaching import Lesson, Teaching

CPU = torch.device("cpu")
TRAIN = Digits.on(CPU, blobs(20, seed=1))
VALIDATION = Digits.on(CPU, blobs(5, seed=2))


def job(
    *,
    dropout: float = 0.1,
    precision: str = "float32",
    digits: Digits = TRAIN,
    validation: Digits | None = VALIDATION,
    teaching: Teaching | None = None,
    **changes: Any,
) -> Job:
    model = build(ModelParams(name=NETWORK, dropout=dropout), torch.Generator().manual_seed(0))
    return Job(
        model=model,
        digits=digits,
        validation=validation,
        params=params(**changes).train,
        precision=precision,
        teaching=teaching,
    )


def teaching(seed: int = 0, *, views: int = 3, augment: AugmentParams | None = None) -> Teaching:
    """What teachers might say of TRAIN under ``augment``, by default the distortions of ``params()``."""
    lesson = Lesson(
        augment=augment or params().train.augment,
        seed=0,
        dataset="blobs",
        data_digest="d" * 64,
        teachers=["a" * 64],
        precision="float32",
    )
    logits_VNK = 3.0 * torch.randn((views, len(TRAIN), 10), generator=torch.Generator().manual_seed(seed))
    return Teaching(lesson, logits_VNK.log_softmax(dim=2).half())


OTHER_LABELS = Digits(TRAIN.images_N1HW, (TRAIN.labels_N + 1) % 10)


def finish(job: Job) -> Finished:
    *_, last = Training(job).events()
    assert isinstance(last, Finished)
    return last


def weights(finished: Finished) -> dict[str, torch.Tensor]:
    return dict(finished.model.state_dict())


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


class Spy(nn.Module):
    """Passes images on to the network and keeps those that it is trained on, in the order of the epochs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[torch.Tensor] = []

    def forward(self, images_N1HW: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(images_N1HW.detach().clone())
        result: torch.Tensor = self.inner(images_N1HW)
        return result


def epochs_seen(**changes: Any) -> list[torch.Tensor]:
    """The sums of the pixels of all images as the network saw them, epoch by epoch, in the order of TRAIN.

    An epoch is a single step, and the order of its images is undone.
    """
    plain = job(batch_size=200, **changes)
    spy = Spy(plain.model)
    job_of_spy = replace(plain, model=spy, validation=None)
    orders = torch.Generator()
    orders.set_state(Training(plain).capture().tensors["order"])
    finish(job_of_spy)
    restored = []
    for images_N1HW in spy.seen:
        order_N = torch.randperm(len(TRAIN), generator=orders)
        restored.append(images_N1HW[order_N.argsort()].sum(dim=(1, 2, 3)))
    return restored


def sums_of(images_N1HW: torch.Tensor) -> torch.Tensor:
    return normalise(images_N1HW).sum(dim=(1, 2, 3))


def clean() -> torch.Tensor:
    """The same sums of TRAIN as it is."""
    return sums_of(TRAIN.batch(torch.arange(len(TRAIN)))[0])


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-2, rtol=1e-4)

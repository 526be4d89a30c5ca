"""Training throughput: our step and data path against the usual MNIST loop, and each with the other's network."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import torch
from comparing import all_cores, compare, threads
from helpers import ROOT, blobs
from usual import UsualNet, usual_epoch, usual_loader

from mnist_dvc.data.digits import Digits
from mnist_dvc.model import build
from mnist_dvc.params import ModelParams, load_params
from mnist_dvc.runtime import choose_precision
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import Stepped

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

IMAGES = 1_280
CPU = torch.device("cpu")
PARAMS = load_params(ROOT / "params.yaml")
DIGITS = blobs(IMAGES // 10)


def network(name: str) -> nn.Module:
    return build(ModelParams(name=name, dropout=0.0), torch.Generator().manual_seed(0))


def our_epoch(model: nn.Module) -> Callable[[], object]:
    """A pass of our engine, distortions included, over images that lie in memory."""
    params = PARAMS.train.model_copy(update={"epochs": 1000})
    precision = choose_precision("auto", CPU)
    job = Job(model=model, digits=Digits.on(CPU, DIGITS), validation=None, params=params, precision=precision)
    steps = (event for event in Training(job).events() if isinstance(event, Stepped))
    return lambda: list(islice(steps, job.steps_per_epoch))


def their_epoch(model: nn.Module) -> Callable[[], object]:
    """A pass of the usual loop, without distortions, which it does not have."""
    loader = usual_loader(DIGITS)
    return lambda: usual_epoch(model, loader)


@pytest.mark.benchmark(group="training")
@pytest.mark.parametrize("count", sorted({1, all_cores()}))
@pytest.mark.parametrize("name", ["reference", "compact", "sprint"])
def test_training_against_the_usual_loop(benchmark: Any, name: str, count: int) -> None:
    with threads(count):
        others = {
            "usual": their_epoch(UsualNet()),
            "our_network_in_usual_loop": their_epoch(network(name)),
            "usual_network_in_our_loop": our_epoch(UsualNet()),
        }
        told = compare(benchmark, our_epoch(network(name)), others, rounds=3)
    speed = {"images_per_second": round(IMAGES / told["seconds"])}
    benchmark.extra_info |= {"network": name, "threads": count} | told | speed

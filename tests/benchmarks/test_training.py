"""Training throughput: our step and data path against the usual MNIST loop, and each with the other's network."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
import torch
from comparing import CPU, all_cores, compare, rounded, seconds_of, synchronised, threads
from trainings import DEFAULT, FAST, network, noise, our_epoch, steps_of, training_of
from usual import UsualNet, usual_epoch, usual_loader

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from mnist_dvc.data.arrays import LabelledImages

IMAGES, IMAGES_ON_GPU = 1_280, 5_120
"""A GPU needs more of them for a pass that a clock can tell."""
WARM_UP = 3
"""Steps; the first of them chooses kernels and sets up libraries."""


def their_epoch(model: nn.Module, digits: LabelledImages, device: torch.device) -> Callable[[], object]:
    """A pass of the usual loop, without distortions, which it does not have."""
    loader, there = usual_loader(digits), model.to(device)
    return lambda: usual_epoch(there, loader, device)


@pytest.mark.benchmark(group="training")
@pytest.mark.parametrize("name", ["reference", "compact", "sprint"])
def test_training_against_the_usual_loop(benchmark: Any, device: torch.device, name: str, count: int) -> None:
    digits = noise(IMAGES if device == CPU else IMAGES_ON_GPU)
    with threads(count):
        others = {
            "usual": their_epoch(UsualNet(), digits, device),
            "our_network_in_usual_loop": their_epoch(network(name), digits, device),
            "usual_network_in_our_loop": our_epoch(UsualNet(), digits, device),
        }
        told = compare(benchmark, our_epoch(network(name), digits, device), others, device=device, rounds=3)
    speed = {"images_per_second": round(len(digits.labels_N) / told["seconds"])}
    benchmark.extra_info |= {"network": name, "threads": count} | told | speed


@pytest.mark.benchmark(group="training")
@pytest.mark.parametrize(("recipe", "images"), [("default", 55_000), ("fast", 60_000)])
def test_epoch(benchmark: Any, device: torch.device, recipe: str, images: int) -> None:
    """A whole pass at the size of MNIST by as many threads as there are: digits resident, first steps not counted."""
    params = {"default": DEFAULT, "fast": FAST}[recipe]
    held = start_of_memory(device)
    with threads(all_cores()):
        take = steps_of(training_of(network(params.model.name), noise(images), params.train, device))
        warm_up = seconds_of(lambda: take(WARM_UP), device)
        steps = images // params.train.batch_size
        benchmark.pedantic(synchronised(device, lambda: take(steps)), rounds=1)
    seconds = benchmark.stats.stats.data[0]
    benchmark.extra_info |= {
        "network": params.model.name,
        "batch": params.train.batch_size,
        "threads": all_cores(),
        "seconds": rounded(seconds),
        "images_per_second": round(steps * params.train.batch_size / seconds),
        "step_seconds": rounded(seconds / steps),
        "warm_up_seconds": rounded(warm_up),
    } | memory_since(held, device)


def start_of_memory(device: torch.device) -> int:
    """Bytes that earlier benchmarks still hold on a GPU, where from now on the most that is held is kept."""
    if device.type != "cuda":
        return 0
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def memory_since(held: int, device: torch.device) -> dict[str, int]:
    """The most that tensors took on a GPU beyond ``held``; what a process takes on a CPU is another benchmark."""
    if device.type != "cuda":
        return {}
    return {"cuda_peak_mb": round((torch.cuda.max_memory_allocated(device) - held) / 1e6)}

"""What the device does at best, and how far a training step is from that: multiplications and bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calibrating import MULTIPLY_ADDS, copy_rate, product_seconds
from comparing import compare, rounded, synchronised, threads
from torch import Tensor, nn
from trainings import DEFAULT, network, noise, our_epoch

from mnist_dvc.describe import describe
from mnist_dvc.runtime import choose_precision

IMAGES = 1_280
BATCH = DEFAULT.train.batch_size


def dtype_of(device: torch.device) -> torch.dtype:
    """What our steps multiply in on ``device``."""
    return torch.bfloat16 if choose_precision("auto", device) == "bfloat16" else torch.float32


@pytest.mark.benchmark(group="calibration")
def test_calibration(benchmark: Any, device: torch.device, count: int) -> None:
    """The benchmark is the product in float32 that the column GEMMs counts in; the rates are the best of some."""
    with threads(count):
        a, b = torch.rand(1024, 1024, device=device), torch.rand(1024, 1024, device=device)
        benchmark.pedantic(synchronised(device, lambda: a @ b), rounds=5, warmup_rounds=1)
        rates = {"float32_gmac_per_second": round(MULTIPLY_ADDS / 1e9 / product_seconds(device), 1)}
        if dtype_of(device) == torch.bfloat16:  # emulated, it would tell nothing, and take a hundred times as long
            rates["bfloat16_gmac_per_second"] = round(MULTIPLY_ADDS / 1e9 / product_seconds(device, torch.bfloat16), 1)
        rates["copied_gigabytes_per_second"] = round(copy_rate(device) / 1e9, 1)
    benchmark.extra_info |= {"threads": count, "seconds": rounded(benchmark.stats.stats.median)} | rates


def activations(model: nn.Module) -> int:
    """Values that leave the layers without parts of their own, for one image: what a step writes and reads back."""
    counted: list[int] = []

    def count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counted.append(output.numel())

    handles = [m.register_forward_hook(count) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 1, 28, 28))
    for handle in handles:
        handle.remove()
    return sum(counted)


@pytest.mark.benchmark(group="floor")
@pytest.mark.parametrize("name", ["reference", "compact", "sprint"])
def test_step_against_its_floor(benchmark: Any, device: torch.device, name: str) -> None:
    """A step takes three passes of the multiply-adds, and reads and writes each activation about three times each."""
    dtype = dtype_of(device)
    with threads(1):
        told = compare(benchmark, our_epoch(network(name), noise(IMAGES), device), {}, device=device, rounds=5)
        rate, bandwidth = MULTIPLY_ADDS / product_seconds(device, dtype), copy_rate(device)
    step = told["seconds"] / (IMAGES // BATCH)
    products = 3 * BATCH * describe(name, network(name)).multiply_adds / rate
    traffic = 3 * 2 * dtype.itemsize * BATCH * activations(network(name)) / bandwidth  # in and out, three times
    benchmark.extra_info |= {
        "network": name,
        "threads": 1,
        "step_over_floor": round(step / max(products, traffic), 2),
        "batch": BATCH,
        "precision": str(dtype).removeprefix("torch."),
        "step_seconds": rounded(step),
        "floor_multiply_adds_seconds": rounded(products),
        "floor_bytes_seconds": rounded(traffic),
    }

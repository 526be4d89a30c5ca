"""How far a training step is from what the processor could do at best: multiplications and bytes."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from comparing import compare, threads
from test_training import IMAGES, network, our_epoch
from torch import Tensor, nn

from mnist_dvc.describe import describe

BATCH = 256
SIDE = 1024
BYTES_COPIED = 2**28


def best_seconds(of: Any, repeats: int = 7) -> float:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        of()
        taken.append(time.perf_counter() - began)
    return min(taken)


def multiply_adds_per_second(dtype: torch.dtype) -> float:
    """The best rate of a product of square matrices."""
    a, b = torch.rand(SIDE, SIDE).to(dtype), torch.rand(SIDE, SIDE).to(dtype)
    return SIDE**3 / best_seconds(lambda: a @ b)


def bytes_per_second() -> float:
    """The best rate of a copy that no cache holds, reads and writes counted."""
    source = torch.zeros(BYTES_COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * BYTES_COPIED / best_seconds(lambda: target.copy_(source))


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
def test_step_against_its_floor(benchmark: Any, name: str) -> None:
    """A step takes three passes of the multiply-adds, and reads and writes each activation about three times each."""
    with threads(1):
        told = compare(benchmark, our_epoch(network(name)), {}, rounds=5)
        rate, bandwidth = multiply_adds_per_second(torch.bfloat16), bytes_per_second()
    step = told["seconds"] / (IMAGES // BATCH)
    products = 3 * BATCH * describe(name, network(name)).multiply_adds / rate
    traffic = 3 * 2 * 2 * BATCH * activations(network(name)) / bandwidth  # 2 bytes of bfloat16, in and out, three times
    benchmark.extra_info |= {
        "network": name,
        "threads": 1,
        "step_seconds": float(f"{step:.4g}"),
        "bfloat16_gmac_per_second": round(rate / 1e9, 1),
        "gigabytes_per_second": round(bandwidth / 1e9, 1),
        "floor_multiply_adds_seconds": float(f"{products:.4g}"),
        "floor_bytes_seconds": float(f"{traffic:.4g}"),
        "step_over_floor": round(step / max(products, traffic), 2),
    }

"""What a device does at best, a matrix product and a copy, so that the figures of two machines can be compared."""

from __future__ import annotations

import torch
from comparing import CPU, as_stages_compute, seconds_of, threads

MULTIPLY_ADDS = 2**30
"""Of the product that times are told in: square matrices of side 1,024."""
SIDES = {"cpu": 1024}
LARGE_SIDE = 4096
"""On a GPU: there a product of the smaller matrices takes less time than to ask for it."""
BYTES_COPIED = 2**28


def product_seconds(device: torch.device = CPU, dtype: torch.dtype = torch.float32, repeats: int = 5) -> float:
    """The least seconds of MULTIPLY_ADDS as a product of matrices."""
    side = SIDES.get(device.type, LARGE_SIDE)
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    with as_stages_compute():  # else a GPU may multiply in fewer digits than float32 has
        best = min(seconds_of(lambda: a @ b, device) for _ in range(repeats + 1))
    return best * MULTIPLY_ADDS / side**3


def copy_rate(device: torch.device = CPU, repeats: int = 7) -> float:
    """The most bytes per second of a copy that no cache holds, reads and writes counted."""
    source = torch.zeros(BYTES_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * BYTES_COPIED / min(seconds_of(lambda: target.copy_(source), device) for _ in range(repeats))


def calibration(device: torch.device, count: int) -> float:
    """``product_seconds`` in float32 with ``count`` threads: what the seconds of a benchmark are divided by."""
    with threads(count):
        return product_seconds(device)

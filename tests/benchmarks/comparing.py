"""Side by side in one run: what our path costs against others, as ratios that a busy machine changes little."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def all_cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch computes with ``count`` threads in here."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compare(
    benchmark: Any, ours: Callable[[], object], others: Mapping[str, Callable[[], object]], *, rounds: int = 7
) -> dict[str, float]:
    """Time ``ours`` as the benchmark and each of ``others`` in turn before every round: A B C A B C.

    Returns:
        ``seconds`` of ours, and for each other its seconds and, as ``x_<name>``, how many times longer it takes:
        medians over the rounds, the ratio taken within each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in others}

    def run_others() -> None:
        for name, other in others.items():
            began = time.perf_counter()
            other()
            seconds[name].append(time.perf_counter() - began)

    benchmark.pedantic(ours, setup=run_others, rounds=rounds, warmup_rounds=1)
    own = benchmark.stats.stats.data
    told = {"seconds": median(own)}
    for name, taken in seconds.items():
        told[f"seconds_{name}"] = median(taken[-rounds:])
        told[f"x_{name}"] = median(other / mine for other, mine in zip(taken[-rounds:], own, strict=True))
    return {key: float(f"{value:.4g}") for key, value in told.items()}

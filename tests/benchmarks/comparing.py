"""Side by side in one run: what our path costs against others, as ratios that a busy machine changes little."""

from __future__ import annotations

import os
import time
import warnings
from contextlib import contextmanager
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import torch

from mnist_dvc.runtime import set_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Work = Callable[[], object]

CPU = torch.device("cpu")


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


Switches = tuple[int, bool]


def switches() -> Switches:
    """What ``set_up`` sets for the whole process that may cost time: deterministic kernels, and float32 in float32."""
    return torch.get_deterministic_debug_mode(), torch.backends.cudnn.allow_tf32


def switch(to: Switches) -> None:
    """Set what :func:`switches` tells."""
    torch.set_deterministic_debug_mode(to[0])
    torch.backends.cudnn.allow_tf32 = to[1]


def set_up_for_all() -> Switches:
    """Set up as a stage does, but for its switches, which are returned: the usual loop sets none of them."""
    with warnings.catch_warnings(action="ignore"):  # of some torch, about the switch of TF32
        before = switches()
        set_up(torch.get_num_threads())
        of_a_stage = switches()
        switch(before)
    return of_a_stage


switches_of_a_stage = cache(set_up_for_all)


@contextmanager
def as_stages_compute() -> Iterator[None]:
    """With the switches of a stage: what is measured of us pays for them."""
    with warnings.catch_warnings(action="ignore"):  # the same, and of kernels on a GPU that have no deterministic twin
        of_a_stage, before = switches_of_a_stage(), switches()
        switch(of_a_stage)
        try:
            yield
        finally:
            switch(before)


def synchronise(device: torch.device) -> None:
    """Wait until ``device`` has done all that it was told: a GPU is only told, and a clock would read that."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def synchronised(device: torch.device, work: Work) -> Work:
    """``work``, ended when ``device`` has done it."""

    def done() -> None:
        work()
        synchronise(device)

    return work if device.type == "cpu" else done


def seconds_of(work: Work, device: torch.device = CPU) -> float:
    """How long ``work`` takes, begun and ended with nothing left to do for ``device``."""
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def rounded(value: float) -> float:
    """Four digits, more than which no clock of a shared machine has to tell."""
    return float(f"{value:.4g}")


def compare(
    benchmark: Any, ours: Work, others: Mapping[str, Work], *, device: torch.device = CPU, rounds: int = 7
) -> dict[str, float]:
    """Time ``ours`` as the benchmark and each of ``others`` in turn before every round: A B C A B C.

    A first round of all is not counted.

    Returns:
        ``seconds`` of ours, and for each other its seconds and, as ``x_<name>``, how many times longer it takes:
        medians over the rounds, the ratio taken within each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in others}

    def run_others() -> None:
        for name, other in others.items():
            seconds[name].append(seconds_of(other, device))

    benchmark.pedantic(synchronised(device, ours), setup=run_others, rounds=rounds, warmup_rounds=1)
    own = benchmark.stats.stats.data
    told = {"seconds": median(own)}
    for name, taken in seconds.items():
        told[f"seconds_{name}"] = median(taken[-rounds:])
        told[f"x_{name}"] = median(other / mine for other, mine in zip(taken[-rounds:], own, strict=True))
    return {key: rounded(value) for key, value in told.items()}


def timed_on_the_cpu(device: torch.device) -> dict[str, str]:
    """For the record of what is the CPU's work, all or most of it, while others compute on ``device``."""
    return {} if device.type == "cpu" else {"calibrated_on": "cpu"}


def only_on_the_cpu(device: torch.device, why: str) -> None:
    """Skip what another device changes nothing of."""
    if device.type != "cpu":
        pytest.skip(f"{why}: measured with --device=cpu")

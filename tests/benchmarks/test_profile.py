"""Where the seconds of the shortest training go: each part of a step by itself, and reading the digits once."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import torch
from comparing import as_stages_compute, rounded, seconds_of, synchronise, threads
from helpers import raw_digits
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from trainings import FAST, network, noise, steps_of, training_of

from mnist_dvc.augment import Distortions, distort
from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.runtime import choose_precision
from mnist_dvc.training.flat import Flat
from mnist_dvc.training.optim import AdamW, Average
from mnist_dvc.training.selection import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGES = 60_000
STEPS = 40
WARM_UP = 5
PROFILED = 20


def step_parts(device: torch.device) -> dict[str, float]:
    """Median seconds of each part of a step of the fast recipe, in the order in which the engine does them.

    A GPU is waited for after each part, which the engine does not do: there they add up to more than a step takes.
    """
    train = FAST.train
    model = network(FAST.model.name).to(device).to(memory_format=torch.channels_last).train()
    digits, generator = Digits.on(device, noise(IMAGES // 10)), torch.Generator(device).manual_seed(0)
    average, flat = Average(model, train.ema_decay), Flat.of(model)
    adamw = AdamW(model, flat, train)
    bfloat16 = choose_precision(train.precision, device) == "bfloat16"
    seconds: dict[str, list[float]] = defaultdict(list)

    def now() -> float:
        synchronise(device)
        return time.perf_counter()

    for step in range(STEPS + WARM_UP):
        clock = [now()]
        index_N = torch.randint(len(digits), (train.batch_size,), generator=generator, device=device)
        images_N1HW, labels_N = digits.batch(index_N)
        distortions = Distortions.draw(train.batch_size, train.augment, generator)
        if distortions is not None:
            images_N1HW = distort(images_N1HW, distortions)
        images_N1HW = normalise(images_N1HW)
        clock.append(now())
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            logits_NK = model(images_N1HW)
        loss = F.cross_entropy(logits_NK.float(), labels_N)
        clock.append(now())
        adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clock.append(now())
        adamw.clip(train.gradient_clip)
        adamw.step()
        average.update(flat, step)
        clock.append(now())
        for part, begin, end in zip(("input", "forward", "backward", "update"), clock, clock[1:], strict=False):
            seconds[part].append(end - begin)
    return {part: median(taken[WARM_UP:]) for part, taken in seconds.items()}


def whole_steps(device: torch.device) -> tuple[float, Callable[[int], None]]:
    """Seconds of a step as the engine takes it, and what takes more of them."""
    take = steps_of(training_of(network(FAST.model.name), noise(IMAGES // 10), FAST.train, device))
    take(WARM_UP)
    return seconds_of(lambda: take(STEPS), device) / STEPS, take


def work_of_a_gpu(take: Callable[[int], None], step: float, device: torch.device) -> dict[str, float]:
    """What a step launches on a GPU and the share of the step that this keeps it busy: the rest it waits for us."""
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with warnings.catch_warnings(action="ignore"), profile(activities=activities) as profiler:  # a warning of cycles
        take(PROFILED)
        synchronise(device)
    launched = [event for event in profiler.events() or () if event.device_type.name == "CUDA"]
    if not launched:  # where the driver lets nobody count
        return {}
    busy = sum(event.time_range.elapsed_us() for event in launched) / PROFILED / 1e6
    return {"launches_per_step": round(len(launched) / PROFILED, 1), "share_busy": round(busy / step, 3)}


@pytest.mark.benchmark(group="profile")
def test_where_the_seconds_of_the_fast_recipe_go(
    benchmark: Any, device: torch.device, tmp_path: Path, count: int
) -> None:
    raw = raw_digits(train=IMAGES // 10, test=10)
    write_prepared(tmp_path, raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    with threads(count):
        with as_stages_compute():
            parts = benchmark.pedantic(lambda: step_parts(device), rounds=1)
        step, take = whole_steps(device)
        reading = seconds_of(lambda: Digits.on(device, Prepared.open(tmp_path).read("train")), device)
        gpu = work_of_a_gpu(take, step, device) if device.type == "cuda" else {}
    steps = Schedule(IMAGES, FAST.train).steps
    benchmark.extra_info |= {"threads": count, "steps": steps, "reading_seconds": round(reading, 3)}
    benchmark.extra_info |= {f"{part}_seconds": round(taken * steps, 3) for part, taken in parts.items()}
    benchmark.extra_info |= {"all_steps_seconds": round(step * steps, 3), "step_seconds": rounded(step)} | gpu

"""Where the seconds of the shortest training go: each part of a step by itself, and reading the digits once."""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import torch
from comparing import all_cores, threads
from helpers import ROOT, blobs, raw_digits
from torch import nn
from torch.nn import functional as F

from mnist_dvc.augment import Distortions, distort
from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.model import build
from mnist_dvc.params import load_params
from mnist_dvc.runtime import choose_precision
from mnist_dvc.training.optim import AdamW, Average

if TYPE_CHECKING:
    from pathlib import Path

PARAMS = load_params(ROOT / "studies/fast/params.yaml")
CPU = torch.device("cpu")
IMAGES = 60_000
STEPS = 40
WARM_UP = 5


def step_parts() -> dict[str, float]:
    """Median seconds of each part of a step of the fast recipe, in the order in which the engine does them."""
    train = PARAMS.train
    model = build(PARAMS.model, torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last).train()
    digits, generator = Digits.on(CPU, blobs(IMAGES // 100)), torch.Generator().manual_seed(0)
    adamw, average = AdamW(model, train), Average(model, train.ema_decay)
    bfloat16 = choose_precision(train.precision, CPU) == "bfloat16"
    seconds: dict[str, list[float]] = defaultdict(list)
    for step in range(STEPS + WARM_UP):
        clock = [time.perf_counter()]
        index_N = torch.randint(len(digits), (train.batch_size,), generator=generator)
        images_N1HW, labels_N = digits.batch(index_N)
        distortions = Distortions.draw(train.batch_size, train.augment, generator)
        if distortions is not None:
            images_N1HW = distort(images_N1HW, distortions)
        images_N1HW = normalise(images_N1HW)
        clock.append(time.perf_counter())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits_NK = model(images_N1HW)
        loss = F.cross_entropy(logits_NK.float(), labels_N)
        clock.append(time.perf_counter())
        adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clock.append(time.perf_counter())
        nn.utils.clip_grad_norm_(model.parameters(), train.gradient_clip)
        adamw.step()
        average.update(model, step)
        clock.append(time.perf_counter())
        for part, begin, end in zip(("input", "forward", "backward", "update"), clock, clock[1:], strict=False):
            seconds[part].append(end - begin)
    return {part: median(taken[WARM_UP:]) for part, taken in seconds.items()}


@pytest.mark.benchmark(group="profile")
@pytest.mark.parametrize("count", sorted({1, all_cores()}))
def test_where_the_seconds_of_the_fast_recipe_go(benchmark: Any, tmp_path: Path, count: int) -> None:
    raw = raw_digits(train=IMAGES // 10, test=10)
    write_prepared(tmp_path, raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    with threads(count):
        parts = benchmark.pedantic(step_parts, rounds=1)
        began = time.perf_counter()
        Digits.on(CPU, Prepared.open(tmp_path).read("train"))
        reading = time.perf_counter() - began
    steps = IMAGES // PARAMS.train.batch_size * PARAMS.train.epochs
    benchmark.extra_info |= {"threads": count, "steps": steps, "reading_seconds": round(reading, 3)}
    benchmark.extra_info |= {f"{part}_seconds": round(taken * steps, 3) for part, taken in parts.items()}

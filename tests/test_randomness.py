from __future__ import annotations

import torch

from mnist_dvc.randomness import generator


def draw(seed: int, purpose: str) -> list[float]:
    values: list[float] = torch.rand(4, generator=generator(seed, purpose)).tolist()
    return values


def test_streams_repeat_and_differ_by_seed_and_purpose() -> None:
    assert draw(1, "order") == draw(1, "order")
    assert len({tuple(draw(seed, purpose)) for seed in (0, 1, 2**63 - 1) for purpose in ("order", "weights")}) == 6


def test_global_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    draw(1, "order")
    assert torch.equal(torch.random.get_rng_state(), before)

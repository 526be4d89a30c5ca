"""Independent streams of random numbers from one seed: the only place where a generator is made."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["generator"]


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The stream for ``purpose`` (such as "weights" or "order") under ``seed``, on ``device``.

    Streams of different purposes or seeds share no state, so that switching one distortion off changes nothing else.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)

"""Trials as ``study trial`` leaves them, without the training, whose figures agree with each other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest

from mnist_dvc.files import json_bytes

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MACHINE", "write_lock", "write_pipeline", "write_trial"]

MACHINE = {"processor": "P", "cpus": 2, "accelerator": None, "system": "Linux", "versions": {"torch": "2.15"}}


def write_trial(root: Path, network: str, seed: int, *, errors: int, images: int = 10_000, **changes: Any) -> Path:
    """The records of a trial of the study in ``root`` and their folder; ``changes`` take the place of values."""
    low, high = binomtest(images - errors, images).proportion_ci(0.95, method="exact")
    metrics = {"seed": seed, "dataset": "mnist", "network": network, "parameters": 19_706, "epochs": 3}
    metrics |= {"train_loss": 0.1 + seed / 1000, "train_accuracy": 0.97}
    metrics |= {"accuracy": (images - errors) / images, "errors": errors, "images": images}
    metrics |= {"accuracy_low": float(low), "accuracy_high": float(high)}
    metrics |= {"nll": 0.1 + seed / 100, "brier": 0.1, "ece": 0.001}
    timing = {"train_seconds": 10.0 + seed, "threads": 2, "machine": MACHINE}
    folder = root / f"trials/{network}/{seed}"
    folder.mkdir(parents=True)
    for name, content in {"metrics.json": metrics, "timing.json": timing}.items():
        known = {key: value for key, value in changes.items() if key in content}
        (folder / name).write_bytes(json_bytes(content | known))
    return folder


def write_pipeline(root: Path, network: str, seeds: list[int]) -> None:
    """The dvc.yaml of a study of ``network`` with these seeds."""
    outs = [f"trials/{network}/${{item.seed}}/{name}" for name in ("metrics.json", "timing.json")]
    trial = {"matrix": {"seed": seeds}, "cmd": "true", "outs": [{out: {"cache": False}} for out in outs]}
    (root / "dvc.yaml").write_bytes(json_bytes({"stages": {"trial": trial}}))  # JSON is YAML


def write_lock(root: Path) -> None:
    """The dvc.lock of the study in ``root`` as its trials and its summary are now."""
    files = [*root.glob("trials/*/*/*"), *root.glob("summary.json")]
    outs = [{"path": path.relative_to(root).as_posix(), "md5": md5(path.read_bytes())} for path in files]
    (root / "dvc.lock").write_bytes(json_bytes({"stages": {"all": {"outs": outs}}}))


def md5(content: bytes) -> str:
    """As DVC records it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()

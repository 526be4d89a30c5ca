"""The TensorBoard run of a training: what its folder is called, and how later stages find it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from mnist_dvc.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from mnist_dvc.paths import Paths

__all__ = ["mark_run", "run_of_model", "stamp", "training_run"]

MODEL = "model.sha256"
"""In a run: the digest of the model that came of it."""


def stamp(began: datetime) -> str:
    """A moment as it stands in names: 20261126_184500."""
    return f"{began:%Y%m%d_%H%M%S}"


def training_run(paths: Paths, network: str, seed: int, began: datetime) -> Path:
    """The folder of a training: time, network, seed and, where DVC gives one, the experiment's name.

    DVC invents another name for each `dvc exp run`, so one that goes on with a training finds the folder by the rest.
    """
    name = f"{stamp(began)}_{network}_seed{seed}"
    experiment = re.sub(r"[^\w.-]", "-", os.environ.get("DVC_EXP_NAME", ""))
    wanted = paths.runs / (f"{name}_{experiment}" if experiment else name)
    others = [path for path in paths.runs.glob(f"{name}*") if path.name == name or path.name.startswith(f"{name}_")]
    return others[0] if not wanted.exists() and len(others) == 1 else wanted


def mark_run(run: Path, sha256: str, say: Callable[[str], None]) -> None:
    """Leave word in ``run`` that the model with this digest came of it; ``say`` receives why that failed."""
    try:
        write_atomically(run / MODEL, f"{sha256}\n".encode())
    except OSError as error:
        say(f"the TensorBoard run will not show what the model comes to: {error}")


def run_of_model(paths: Paths, sha256: str) -> Path | None:
    """The newest run that the model with this digest came of; None if it was trained elsewhere."""
    for path in sorted(paths.runs.glob(f"*/{MODEL}"), reverse=True):
        try:
            if path.read_text(encoding="utf-8").strip() == sha256:
                return path.parent
        except (OSError, UnicodeDecodeError):
            continue
    return None

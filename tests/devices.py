"""The device that the tests were asked to compute on, and small jobs of training there."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import NETWORK, augment_params, blobs, params
from torch import Tensor

from mnist_dvc.data.digits import Digits
from mnist_dvc.model import NETWORKS, TEACHERS, build
from mnist_dvc.params import ModelParams
from mnist_dvc.training.checkpoint import checkpoint_bytes
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import EpochEnded, Event, Finished, Stepped
from mnist_dvc.training.snapshot import Snapshot, TrainingState, parse_snapshot, snapshot_bytes

if TYPE_CHECKING:
    from mnist_dvc.training.teaching import Teaching

TRAIN, VALIDATION = blobs(20, seed=1), blobs(5, seed=2)


def take(name: str) -> torch.device:
    """The device that the option ``--device`` names, made ready; without it the whole run ends in one line."""
    if name == "cuda":
        if not torch.cuda.is_available():
            raise pytest.UsageError(f"no CUDA device: torch {torch.__version__} finds none")
        # cuBLAS looks at it once, before its first product: whichever test that is in, the later ones must repeat.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device(name)


def told(device: torch.device) -> str:
    """What computes on ``device``, in a line: ``torch 2.15.0+cu132, torchvision 0.29.2, device cpu``."""
    gpu = f" ({torch.cuda.get_device_name(device)}, driver {driver()})" if device.type == "cuda" else ""
    return f"torch {torch.__version__}, torchvision {installed('torchvision')}, device {device.type}{gpu}"


def installed(package: str) -> str | None:
    """Its version, without importing it: a torchvision that does not go with torch cannot be."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def driver() -> str | None:
    """The version of NVIDIA's driver, from the library that comes with it; None where that does not tell."""
    version = ctypes.create_string_buffer(96)
    with contextlib.suppress(OSError):
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(version, len(version)) == 0:
            return version.value.decode()
    return None


def training_on(
    device: torch.device,
    name: str = NETWORK,
    *,
    dropout: float = 0.1,
    precision: str = "float32",
    teaching: Teaching | None = None,
    **changes: Any,
) -> Training:
    """A training on ``device`` of two epochs of five steps, with distortions, from the same weights on any."""
    drawn = torch.Generator().manual_seed(0)
    return Training(
        Job(
            model=build(ModelParams(name=name, dropout=dropout), drawn, NETWORKS | TEACHERS).to(device),
            digits=Digits.on(device, TRAIN),
            validation=Digits.on(device, VALIDATION),
            params=params(**changes).train,
            precision=precision,
            teaching=None if teaching is None else teaching.to(device),
        )
    )


def outcome(run: Training) -> bytes:
    """All that the stage publishes of a run, as bytes: weights, averages, moments and history."""
    *_, finished = run.events()
    assert isinstance(finished, Finished)
    return checkpoint_bytes(
        model_state=finished.model.state_dict(),
        raw_model_state=finished.raw_model_state,
        optimizer_state=finished.optimizer_state,
        history=finished.history,
        about={},
    )


def stopped_after(step: int, run: Training, kind: type[Event] = Stepped) -> TrainingState:
    """The state of ``run`` after ``step``, or after the end of its epoch, through the bytes of a snapshot and back."""
    for event in run.events():
        if isinstance(event, kind) and run.step == step:
            content = snapshot_bytes(Snapshot(state=run.capture(), began=0.0, seconds=0.0), {})
            return parse_snapshot(content, Path("here"), {}).state
    raise AssertionError("never got there")


@dataclass(frozen=True, slots=True)
class Course:
    """How a short training went: its first gradient, both losses after each step, and how far it moved the weights."""

    gradient: Tensor
    losses: Tensor
    moved: Tensor


def course_on(device: torch.device, name: str, **changes: Any) -> Course:
    """Three steps without chance: all images at once, in whatever order, undistorted and without dropout.

    The rate is small, because Adam takes steps of one size by the signs of the gradients, and of one that is all but 0
    the sign is rounding: at larger rates two float32 trainings part within ten steps, on one device, too.
    """
    plain: dict[str, Any] = {"epochs": 3, "batch_size": 200, "learning_rate": 0.001, "augment": augment_params()}
    run = training_on(device, name, dropout=0.0, **(plain | changes))
    before, gradient, losses = _flat(run, "average/"), None, []
    for event in run.events():
        if isinstance(event, Stepped) and gradient is None:
            gradient = _flat(run, "adamw/exp_avg/")
        elif isinstance(event, EpochEnded):
            losses += [event.row.train_loss, event.row.val_loss]
    assert gradient is not None
    return Course(gradient, torch.tensor(losses), _flat(run, "average/") - before)


def _flat(run: Training, prefix: str) -> Tensor:
    """A copy of what a state holds of the parameters under ``prefix``, in one row."""
    tensors = run.capture().tensors
    names = [f"{prefix}{name}" for name, _ in run._job.model.named_parameters()]
    return torch.cat([tensors[name].flatten() for name in names])

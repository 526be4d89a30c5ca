"""The machine that a stage runs on: device, precision, threads, and what of it belongs into a record."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mnist_dvc import __version__
from mnist_dvc.errors import DeviceError
from mnist_dvc.files import sha256

if TYPE_CHECKING:
    from mnist_dvc.params import TrainParams

__all__ = ["choose_device", "choose_precision", "code_digest", "machine", "provenance", "set_up"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def choose_device(wanted: str) -> torch.device:
    """``auto`` to the best device present, a name to that device.

    Raises:
        DeviceError: the named device is absent; there is no quiet fallback to a slower one.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present[wanted]:
        have = ", ".join(name for name, there in present.items() if there)
        raise DeviceError(
            f"params: train.device: got {wanted}, expected a device that torch {torch.__version__} finds here ({have})"
        )
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """``auto`` to bfloat16 where ``device`` computes in it by itself, else to float32; a name to itself."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # torch says it nowhere in public; the emulation on older processors is slower than float32.
        native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001
    return "bfloat16" if native else "float32"


def set_up(threads: int) -> None:
    """Make this process compute the same bits every time: thread count, deterministic kernels, no denormals.

    Denormal weights, which training drifts into, can slow a convolution forty-fold (pytorch/pytorch#19651).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    # The same switch as use_deterministic_algorithms, which imports the compiler (1.1 s) to tell it, too.
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs, and finds bugs only
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let the allocator of glibc hold on to what a step frees: the next one wants as much again.

    Else it hands the larger maps back to the kernel and has them cleared anew at every step, which takes up to a fifth
    of it. Other systems are left as they are. The values are mallopt(3)'s: 32 MiB is the most that it takes.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def provenance(params: TrainParams, device: torch.device, precision: str) -> dict[str, Any]:
    """What decides the bits of a result beside code, params and data: versions, device, precision, threads."""
    return {
        "mnist_dvc": __version__,
        "torch": str(torch.__version__),
        "device": device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "precision": precision,
        "threads": params.threads,
    }


def machine() -> dict[str, Any]:
    """What decides how long a computation takes: processor, logical CPUs, accelerator, system and versions."""
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "versions": {
            "mnist_dvc": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
    }


def _processor() -> str:
    """The processor's name where Linux tells it, else what Python knows of it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def code_digest() -> str:
    """SHA-256 over the names and contents of the package's source files."""
    package = Path(__file__).parent
    sources = sorted((path.relative_to(package).as_posix(), path.read_bytes()) for path in package.rglob("*.py"))
    return sha256("\n".join(f"{sha256(content)} {name}" for name, content in sources).encode())

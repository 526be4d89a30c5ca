"""The machine that a stage runs on: device, precision, threads, and what of it belongs into a record."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mnist_dvc.errors import DeviceError, one_line
from mnist_dvc.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["choose_device", "choose_precision", "machine", "provenance", "set_up"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_Semaphore = ctypes.c_uint64 * 8
"""More than the sem_t of any C library on Linux, and aligned as it must be; that of glibc takes 32 bytes."""
_TRUE = ("true", "t", "yes", "y", "on", "1")
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Without it, or with most other values, cuBLAS computes other bits from one time to the next."""
_FALSE_ALARM = "adaptive_max_pool2d_backward_cuda does not have a deterministic implementation"
"""torch says so of any size; over whole maps, as here, each gradient has an address of its own, so no order matters."""

_DECIDING = (
    "ATEN_",
    "CUBLAS",  # CUBLAS_ and CUBLASLT_
    "CUDA_FORCE_PTX_JIT",
    "CUDNN_",
    "DISABLE_ADDMM_CUDA_LT",
    "DNNL_",
    "GLIBC_TUNABLES",  # chooses between variants of exp, log and cos
    "GOMP_",
    "KMP_DETERMINISTIC_REDUCTION",
    "KMP_FORCE_REDUCTION",
    "MKL_",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "PYTORCH_MPS_",
    "PYTORCH_TUNABLEOP_",
    "TORCH_ALLOW_TF32_",
    "TORCH_BLAS_",
    "TORCH_CUDNN_",
    "TORCH_LINALG_",
    "TORCH_LINEAR_",
    "TORCH_MKLDNN_",
)
"""Beginnings of the environment variables that choose between kernels, or may: what is in doubt stands here."""
_NOT_DECIDING = re.compile(
    r"(MKL|OMP|OPENBLAS)_NUM_THREADS"
    r"|OMP_(AFFINITY_FORMAT|PLACES|PROC_BIND|THREAD_LIMIT|WAIT_POLICY)"
    r"|GOMP_(CPU_AFFINITY|DEBUG|SPINCOUNT)"
    r"|.*(_DISPLAY_|_LOG|_STACKSIZE|_VERBOSE|_VERSION|JIT_DUMP|JIT_PROFILE).*"
)
"""Those of them that count threads, which the record does by itself, and those that only place or show something."""


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
        expected = f"a device that torch {torch.__version__} finds here ({have})"
        raise DeviceError("params", [f"train.device: got {wanted}, expected {expected}"])
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


def set_up(threads: int, say: Callable[[str], None] | None = None) -> int:
    """Make this process compute the same bits every time: thread count, deterministic kernels, no denormals.

    On a GPU, float32 then is float32, as on a CPU: left alone, cuDNN rounds what it convolves to ten bits (TF32).
    Denormal weights, which training drifts into, can slow a convolution forty-fold (pytorch/pytorch#19651). To be
    called by the thread that trains: OpenMP keeps its settings for each thread that opens parallel regions.

    Args:
        threads: how many to compute with, at least 1.
        say: told in one line if fewer are granted, how many and why.

    Returns:
        The threads that are granted, 1 to ``threads``: at most the logical CPUs of this process, and no more than
        OpenMP gives to a parallel region.
    """
    os.environ.setdefault(*_WORKSPACE)
    torch.set_flush_denormal(True)  # first: OpenMP's threads take it over from the one that starts them
    granted, limit = _granted(threads)
    if granted < threads and say is not None:
        say(f"{threads:,} threads asked for, {granted:,} granted ({limit})")
    torch.set_num_threads(granted)
    # The same switch as use_deterministic_algorithms, which imports the compiler (1.1 s) to tell it, too.
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs, and finds bugs only
    warnings.filterwarnings("ignore", _FALSE_ALARM)
    with warnings.catch_warnings(action="ignore"):  # torch 2.11 prefers another switch, which its exporter fails over
        torch.backends.cudnn.allow_tf32 = False
    _keep_freed_memory()
    return granted


def _granted(threads: int) -> tuple[int, str]:
    """How many of ``threads`` there will be in every parallel region, and what allows no more.

    With fewer than torch believes in, oneDNN's backward pass waits for the missing ones for ever, or adds up what they
    never wrote (pytorch/pytorch#91547).
    """
    openmp = _openmp()
    limits = _limits(openmp)
    granted = min(threads, *limits.values())
    if openmp is not None:
        team = _team_size(openmp, granted)
        if team < granted:
            granted, limits = team, {"OpenMP": team}
    return granted, ", ".join(name for name, limit in limits.items() if limit == granted)


def _openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime that torch computes with, or None where there is none, or none that is asked like GCC's.

    Other packages bring copies of their own; only torch's is loaded for all to see.
    """
    if os.name == "nt":
        return None
    library = ctypes.CDLL(None)
    names = ("GOMP_parallel", "omp_get_num_procs", "omp_set_dynamic", "sem_getvalue", "sem_init", "sem_post")
    return library if all(hasattr(library, name) for name in names) else None


def _limits(openmp: ctypes.CDLL | None) -> dict[str, int]:
    """The most threads that each limit allows, at least 1, by what to call it."""
    # OMP_PROC_BIND ties the first thread to one CPU, so that its affinity no longer tells how many there are.
    limits = {"logical CPUs of this process": (openmp.omp_get_num_procs() if openmp else _cpus()) or 1}
    limit = os.environ.get("OMP_THREAD_LIMIT", "").strip()
    if re.fullmatch(r"[1-9][0-9]{0,9}", limit):
        limits[f"OMP_THREAD_LIMIT={limit}"] = int(limit)
    if os.environ.get("OMP_MAX_ACTIVE_LEVELS", "").strip() == "0":
        limits["OMP_MAX_ACTIVE_LEVELS=0"] = 1
    if openmp is None and os.environ.get("OMP_DYNAMIC", "").strip().lower() in _TRUE:
        limits["OMP_DYNAMIC"] = 1
    return limits


def _team_size(openmp: ctypes.CDLL, threads: int) -> int:
    """How many threads work on a parallel region that asks for ``threads``: each of them posts a semaphore once.

    Tried, since a runtime has more limits than it tells, and from then on the same for every region of this thread.
    """
    # Else the load of the machine decides anew for each region, and with it the last bits.
    openmp.omp_set_dynamic(0)
    semaphore = _Semaphore()
    openmp.sem_init(semaphore, 0, 0)
    openmp.GOMP_parallel(openmp.sem_post, semaphore, threads, 0)
    count = ctypes.c_int()
    openmp.sem_getvalue(semaphore, ctypes.byref(count))
    return count.value


def _cpus() -> int | None:
    """The logical CPUs that this process may run on; None where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _keep_freed_memory() -> None:
    """Let the allocator of glibc hold on to what a step frees: the next one wants as much again.

    Else it hands the larger maps back to the kernel and has them cleared anew at every step, which takes up to a fifth
    of it. Other systems are left as they are. The values are mallopt(3)'s: 32 MiB is the most that it takes.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def provenance(threads: int, device: torch.device, precision: str) -> dict[str, Any]:
    """What decides the bits of a result beside code, params and data: versions, device, precision, threads.

    On an NVIDIA GPU, its name and the version of cuDNN follow. Where environment variables decide, too, they come last,
    as one string, ``environment``; without any the key is absent.

    Args:
        threads: those that :func:`set_up` granted.
        device: that of the computation.
        precision: ``float32`` or ``bfloat16``.
    """
    record = {
        "mnist_dvc": __version__,
        "torch": str(torch.__version__),
        "device": device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "precision": precision,
        "threads": threads,
    }
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        record |= {"accelerator": torch.cuda.get_device_name(device), "cudnn": str(cudnn)}
    environment = " ".join(
        f"{name}={one_line(value)}" for name, value in sorted(os.environ.items()) if _decides(name, value)
    )
    return record | ({"environment": environment} if environment else {})


def _decides(name: str, value: str) -> bool:
    """Whether an environment variable may decide bits.

    A path decides none: it says where something lies or is to be written, and is nobody else's business.
    """
    told = name.startswith(_DECIDING) and not _NOT_DECIDING.fullmatch(name)
    return told and not re.search(r"[/\\]", value) and (name, value) != _WORKSPACE


def machine() -> dict[str, Any]:
    """What decides how long a computation takes: processor, logical CPUs, accelerator, system and versions."""
    return {
        "processor": _processor(),
        "cpus": _cpus(),
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

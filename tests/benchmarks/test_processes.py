"""What a process costs: start-up of the command line and of a stage, and the memory of a training."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from comparing import compare
from helpers import ROOT, raw_digits

from mnist_dvc.data.prepared import write_prepared
from mnist_dvc.data.splits import split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MNIST_PER_CLASS = 6_000
ONE_EPOCH = ("train", "--params", "params.yaml", "--fresh")


def python(*arguments: str, folder: Path = ROOT) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.benchmark(group="processes")
def test_help(benchmark: Any) -> None:
    """Against the bare interpreter."""
    told = compare(benchmark, python("-m", "mnist_dvc", "--help"), {"python": python("-c", "pass")})
    benchmark.extra_info |= told


def workspace(folder: Path, per_class: int) -> Path:
    """A folder with as many digits and the params of one epoch."""
    raw = raw_digits(train=per_class, test=10)
    write_prepared(folder / "data/prepared", raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    shutil.copy(ROOT / "params.yaml", folder)
    text = (folder / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(text.replace("epochs: 20 ", "epochs: 1 "), encoding="utf-8")
    return folder


@pytest.mark.benchmark(group="processes")
def test_stage_beyond_importing_torch(benchmark: Any, tmp_path: Path) -> None:
    """A `train` of a single step, less a process that imports torch."""
    folder = workspace(tmp_path, 26)
    told = compare(
        benchmark,
        python("-m", "mnist_dvc", *ONE_EPOCH, folder=folder),
        {"import_torch": python("-c", "import torch")},
        rounds=3,
    )
    overhead = told["seconds"] - told["seconds_import_torch"]
    benchmark.extra_info |= {"overhead_seconds": round(overhead, 3)} | told


PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def peak_bytes(*arguments: str, folder: Path) -> int:
    """The largest resident set of a process, told by a small parent: a child counts what that had when it forked."""
    command = [sys.executable, "-c", PEAK, sys.executable, *arguments]
    ran = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return int(ran.stdout) * 1024  # Linux counts in KiB


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's")
@pytest.mark.benchmark(group="processes")
def test_memory_of_training(benchmark: Any, tmp_path: Path) -> None:
    """One epoch of the default recipe on 60,000 images."""
    folder = workspace(tmp_path, MNIST_PER_CLASS)
    bare = peak_bytes("-c", "import torch", folder=folder)
    peak = benchmark.pedantic(lambda: peak_bytes("-m", "mnist_dvc", *ONE_EPOCH, folder=folder), rounds=1)
    megabytes = {"import_torch_mb": round(bare / 1e6), "train_mb": round(peak / 1e6)}
    benchmark.extra_info |= megabytes | {"above_import_torch_mb": round((peak - bare) / 1e6)}

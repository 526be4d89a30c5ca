"""What a process costs: start-up of the command line, of an answer and of a stage, and the memory of a training."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from comparing import compare, only_on_the_cpu, timed_on_the_cpu
from helpers import ROOT, raw_digits
from PIL import Image, ImageDraw
from trainings import DEFAULT, params_text

from mnist_dvc.data.prepared import write_prepared
from mnist_dvc.data.splits import split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

MNIST_PER_CLASS = 6_000
ONE_EPOCH = ("train", "--params", "params.yaml", "--fresh")
START = "no device is needed to start"


def python(*arguments: str, folder: Path = ROOT) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.benchmark(group="processes")
def test_help(benchmark: Any, device: torch.device) -> None:
    """Against the bare interpreter."""
    only_on_the_cpu(device, START)
    benchmark.extra_info |= compare(benchmark, python("-m", "mnist_dvc", "--help"), {"python": python("-c", "pass")})


@pytest.mark.benchmark(group="processes")
def test_predict(benchmark: Any, device: torch.device, tmp_path: Path) -> None:
    """The released network on a drawn stroke, from the start of the process to its answer; it imports no torch."""
    only_on_the_cpu(device, START)
    draw(tmp_path / "one.png")
    command = ("-m", "mnist_dvc", "predict", "--model", "compact", "one.png")
    told = compare(benchmark, python(*command, folder=tmp_path), {"python": python("-c", "pass")})
    benchmark.extra_info |= {"network": "compact"} | told


@pytest.mark.benchmark(group="processes")
def test_predict_of_a_thousand(benchmark: Any, device: torch.device, tmp_path: Path) -> None:
    """A folder of 1,000 small pictures, from the start of the process to the table, against one of them."""
    only_on_the_cpu(device, START)
    (tmp_path / "many").mkdir()
    for number in range(1_000):
        draw(tmp_path / f"many/{number:03}.png")
    command = ("-m", "mnist_dvc", "predict", "--model", "compact")
    one = python(*command, "many/000.png", folder=tmp_path)
    told = compare(benchmark, python(*command, "many", folder=tmp_path), {"one_picture": one}, rounds=2)
    benchmark.extra_info |= {"network": "compact"} | told


def draw(path: Path) -> None:
    """A stroke on 64 x 64 pixels of paper."""
    picture = Image.new("L", (64, 64), 255)
    ImageDraw.Draw(picture).line([(36, 8), (28, 56)], fill=0, width=6)
    picture.save(path)


def workspace(folder: Path, per_class: int, device: torch.device) -> Path:
    """A folder with as many digits and the params of one epoch on ``device``."""
    raw = raw_digits(train=per_class, test=10)
    write_prepared(folder / "data/prepared", raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    text = params_text("params.yaml", device, {f"epochs: {DEFAULT.train.epochs} ": "epochs: 1 "})
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.benchmark(group="processes")
def test_stage_beyond_importing_torch(benchmark: Any, device: torch.device, tmp_path: Path) -> None:
    """A `train` of a single step, less a process that imports torch and has it wake the device."""
    folder = workspace(tmp_path, 26, device)
    wake = f"import torch; torch.zeros(1, device={device.type!r})"
    command = python("-m", "mnist_dvc", *ONE_EPOCH, folder=folder)
    told = compare(benchmark, command, {"import_torch": python("-c", wake)}, rounds=2)
    overhead = told["seconds"] - told["seconds_import_torch"]
    benchmark.extra_info |= {"threads": DEFAULT.train.threads, "overhead_seconds": round(overhead, 3)} | told
    benchmark.extra_info |= timed_on_the_cpu(device)


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
def test_memory_of_training(benchmark: Any, device: torch.device, tmp_path: Path) -> None:
    """One epoch of the default recipe on 60,000 images; what a GPU holds is told by `test_epoch`."""
    folder = workspace(tmp_path, MNIST_PER_CLASS, device)
    bare = peak_bytes("-c", "import torch", folder=folder)
    peak = benchmark.pedantic(lambda: peak_bytes("-m", "mnist_dvc", *ONE_EPOCH, folder=folder), rounds=1)
    megabytes = {"import_torch_mb": round(bare / 1e6), "train_mb": round(peak / 1e6)}
    told = megabytes | {"above_import_torch_mb": round((peak - bare) / 1e6)}
    benchmark.extra_info |= {"threads": DEFAULT.train.threads} | told | timed_on_the_cpu(device)

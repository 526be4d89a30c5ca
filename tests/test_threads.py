"""Real processes under the variables by which batch systems bound threads, and under those that choose kernels."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest
from helpers import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="the variables are those of GCC's OpenMP")

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
ONE_CPU = pytest.mark.skipif(CPUS == 1, reason="one CPU is the first limit met")
FEW_CPUS = pytest.mark.skipif(CPUS < 4, reason="the CPUs are the first limit met")

NETWORKS = ("reference", "compact")
"""With a thread too few, the backward pass of the first waits for ever, that of the second gives wrong gradients."""

BACKWARD = """
import ctypes
import json
import sys
from pathlib import Path

import torch

from mnist_dvc.model import build
from mnist_dvc.params import ModelParams, load_params
from mnist_dvc.runtime import set_up
from mnist_dvc.training.flat import Flat
from mnist_dvc.training.optim import AdamW

IMAGES = 64
OPENMP = ctypes.CDLL(None)
CALLED = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def granted_now():
    # Whether OpenMP may give fewer threads, and how many it gives to a region of as many as torch believes in.
    sizes = []
    count = CALLED(lambda _: sizes.append(OPENMP.omp_get_num_threads()))
    OPENMP.GOMP_parallel(count, None, torch.get_num_threads(), 0)
    return bool(OPENMP.omp_get_dynamic()), len(sizes)


def made(network):
    return build(ModelParams(name=network, dropout=0.0), torch.Generator().manual_seed(0))


def step(network, kind, seen):
    model = made(network).to(kind).train()
    images_N1HW = torch.rand((IMAGES, 1, 28, 28), generator=torch.Generator().manual_seed(0)).to(kind)
    loss = torch.nn.functional.cross_entropy(model(images_N1HW), torch.arange(IMAGES) % 10)
    next(model.parameters()).register_hook(lambda _: seen.append(granted_now()))
    loss.backward()
    parameters = list(model.parameters())
    found = torch.cat([parameter.grad.flatten() for parameter in parameters]).double()
    updated = made(network)  # in float32, as the engine has it
    AdamW(updated, Flat.of(updated), PARAMS.train).step()
    return found


PARAMS = load_params(Path(sys.argv[3]))
threads, said, seen = int(sys.argv[2]), [], []
granted = set_up(threads, said.append) if sys.argv[1] == "ours" else torch.set_num_threads(threads)
print(json.dumps([granted, said, torch.get_num_threads(), *granted_now()]), flush=True)
for network in sys.argv[4:]:
    # oneDNN does not compute in float64, and torch's own kernels look at how many threads have come.
    true = step(network, torch.float64, [])
    errors = [float((step(network, torch.float32, seen) - true).norm() / true.norm()) for _ in range(2)]
    print(json.dumps([all(error < 0.01 for error in errors), *seen[-1]]), flush=True)
"""

TRAINING = """
import torch

from jobs import finish, job, weights
from mnist_dvc.files import sha256
from mnist_dvc.runtime import provenance, set_up

threads = set_up(2)
state = weights(finish(job(epochs=1)))
print(sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))))
print(provenance(threads, torch.device("cpu"), "float32").get("environment", ""))
"""


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """No other variables of this kind than these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATEN", "GOMP", "MKL", "O"))}
    return kept | {"PYTHONPATH": str(ROOT / "tests")} | dict(variables)


def child(code: str, *arguments: str, variables: Mapping[str, str]) -> list[str]:
    """The lines that ``code`` prints."""
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.check_output(words, env=environment(variables), text=True, timeout=LONG).splitlines()


LONG = 240
"""Seconds for what must come to an end."""
STUCK = 10
"""Seconds after which what has taken no step never will; with all its threads a step takes a fraction of one."""


def until_killed(*words: str, seconds: int, variables: Mapping[str, str]) -> list[str]:
    """The lines that are printed until so long after the first: what comes before that is the import of torch."""
    with subprocess.Popen(words, env=environment(variables), stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("no pipe")
        lines: list[str] = []
        for limit, read in ((LONG, process.stdout.readline), (seconds, process.stdout.read)):
            timer = threading.Timer(limit, process.kill)
            timer.start()
            lines += read().splitlines()
            timer.cancel()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"exit {process.returncode}")
    return lines


class Told(NamedTuple):
    granted: int | None
    said: list[str]
    believed: int
    """Threads that torch believes in."""
    may_differ: bool
    """Whether OpenMP may give fewer from one region to the next."""
    counted: int
    """Threads that came to a region of as many as torch believes in."""
    steps: list[tuple[bool, bool, int]]
    """For each network that came to an end: whether its gradients are right; the last two as in its backward pass."""


def process(setting: str, threads: int, *networks: str, variables: Mapping[str, str], seconds: int = LONG) -> Told:
    words = (sys.executable, "-c", BACKWARD, setting, str(threads), str(ROOT / "params.yaml"), *networks)
    first, *steps = until_killed(*words, seconds=seconds, variables=variables)
    return Told(*[*json.loads(first), [tuple(json.loads(step)) for step in steps]])


@pytest.mark.parametrize(
    ("threads", "granted", "limit", "variables"),
    [
        pytest.param(2, 1, "OMP_THREAD_LIMIT=1", {"OMP_THREAD_LIMIT": "1"}, marks=ONE_CPU),
        pytest.param(
            2, 1, "OMP_MAX_ACTIVE_LEVELS=0", {"OMP_MAX_ACTIVE_LEVELS": "0"}, marks=[ONE_CPU, pytest.mark.faults]
        ),
        pytest.param(4, 3, "OMP_THREAD_LIMIT=3", {"OMP_THREAD_LIMIT": "3"}, marks=FEW_CPUS),
        (1024, CPUS, "logical CPUs of this process", {"OMP_DYNAMIC": "true", "OMP_THREAD_LIMIT": "none"}),
    ],
)
def test_fewer_threads_than_asked_for_are_taken_and_said(
    threads: int, granted: int, limit: str, variables: dict[str, str]
) -> None:
    words = f"{threads:,} threads asked for, {granted:,} granted ({limit})"
    told = process("ours", threads, *NETWORKS, variables=variables)
    assert told == Told(granted, [words], granted, False, granted, [(True, False, granted)] * 2)


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"OMP_PROC_BIND": "true"}, marks=pytest.mark.faults),
        {"OMP_DYNAMIC": "true", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_DYNAMIC": "true"},
    ],
    ids=["bound", "dynamic"],
)
def test_what_is_no_limit_takes_no_thread(variables: dict[str, str]) -> None:
    told = process("ours", CPUS, *NETWORKS, variables=variables)
    assert told == Told(CPUS, [], CPUS, False, CPUS, [(True, False, CPUS)] * 2)


DENORMALS = """
import sys
import torch
from mnist_dvc.runtime import set_up

if sys.argv[1] == "ours":
    set_up(2)
else:
    torch.set_num_threads(2)
    torch.ones(10**6).neg()
    torch.set_flush_denormal(True)
denormal = torch.full((10**6,), 2**16, dtype=torch.int32).view(torch.float32)
print(*((half != 0).sum().item() for half in (denormal + denormal).view(torch.int32).chunk(2)))
"""


@ONE_CPU
def test_every_thread_flushes_denormals() -> None:
    """The twin within: threads that OpenMP has started before the switch keep theirs, and with them other last bits."""
    assert child(DENORMALS, "ours", variables={}) == ["0 0"]
    assert child(DENORMALS, "plain", variables={}) == ["0 500000"]


@ONE_CPU
def test_the_test_of_gradients_can_fail() -> None:
    """Where torch is merely told a number, gradients are sums over what no thread has written, or never there."""
    told = process("plain", 2, "compact", variables={"OMP_THREAD_LIMIT": "1"}, seconds=STUCK)
    assert (told.believed, told.counted) == (2, 1)
    assert not any(right for right, _, _ in told.steps)


def test_the_test_of_dynamic_threads_can_fail() -> None:
    told = process("plain", CPUS + 1, variables={"OMP_DYNAMIC": "true"})
    assert told.may_differ
    assert told.counted < told.believed


@pytest.mark.faults
@pytest.mark.parametrize("variables", [{"OMP_THREAD_LIMIT": "1"}, {"OMP_DYNAMIC": "true"}], ids=" ".join)
def test_the_test_of_an_end_can_fail(variables: dict[str, str]) -> None:
    told = process("plain", CPUS + 1, "reference", variables=variables, seconds=STUCK)
    assert told.counted < told.believed
    assert not any(right for right, _, _ in told.steps)


@pytest.fixture(scope="module")
def plain() -> str:
    """The weights of a training under none of the variables."""
    weights, environment = child(TRAINING, variables={})
    assert not environment
    return weights


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "value"),
    [("ATEN_CPU_CAPABILITY", "default"), ("ONEDNN_MAX_CPU_ISA", "SSE41"), ("MKL_CBWR", "COMPATIBLE")],
)
def test_variables_that_are_recorded_decide_bits(plain: str, name: str, value: str) -> None:
    weights, environment = child(TRAINING, variables={name: value})
    assert environment == f"{name}={value}"
    if weights == plain:
        pytest.skip("this machine computes the same")


@pytest.mark.faults
def test_variables_that_are_left_out_decide_none(plain: str) -> None:
    """OMP_DYNAMIC is recorded, since only OpenMP's own word says that it could be switched off."""
    left_out = dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_VERBOSE"), "1")
    left_out |= {"GOMP_SPINCOUNT": "0", "OMP_PROC_BIND": "true", "OMP_STACKSIZE": "8M", "OMP_WAIT_POLICY": "passive"}
    *_, weights, environment = child(TRAINING, variables=left_out | {"OMP_DYNAMIC": "true"})
    assert environment == "OMP_DYNAMIC=true"
    assert weights == plain

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import params

from mnist_dvc.errors import DeviceError
from mnist_dvc.runtime import choose_device, choose_precision, machine, provenance, set_up

CPU = torch.device("cpu")


def present(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:  # noqa: FBT001
    present(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto").type == expected


def test_named_device_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    present(monkeypatch, cuda=False, mps=False)
    assert choose_device("cpu") == CPU
    for name in ("cuda", "mps"):
        with pytest.raises(DeviceError, match=rf"train.device: got {name}, expected .* finds here \(cpu\)") as caught:
            choose_device(name)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:  # noqa: FBT001
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("auto", torch.device("mps")) == "float32"


def test_named_precision_is_kept() -> None:
    assert choose_precision("bfloat16", CPU) == "bfloat16"


def test_set_up_takes_the_threads_and_asks_for_determinism() -> None:
    set_up(2)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert float(torch.tensor(1e-40) * 1.0) == 0.0


FAULTS = """
import ctypes
import resource
import sys

import torch

from mnist_dvc import runtime

# glibc's own value from the start on, or it would adapt to what it meets, and differently each time.
ctypes.CDLL(None).mallopt(-3, 128 * 2**10)
if sys.argv[1] == "plain":
    runtime._keep_freed_memory = lambda: None
runtime.set_up(1)


def step():
    maps = [torch.zeros(2**20) for _ in range(5)]
    return len(maps)


for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is that of glibc")
def test_set_up_keeps_what_a_step_frees() -> None:
    faults = {
        kind: int(
            subprocess.run([sys.executable, "-c", FAULTS, kind], check=True, capture_output=True, text=True).stdout
        )
        for kind in ("plain", "kept")
    }
    assert faults["kept"] < 100
    assert faults["plain"] > 1_000


def test_provenance_names_what_decides_the_bits() -> None:
    record = provenance(params(threads=3).train, CPU, "float32")
    assert record["threads"] == 3
    assert record["torch"] == torch.__version__
    assert set(record) == {"mnist_dvc", "torch", "device", "cpu", "precision", "threads"}


def test_machine_names_what_decides_the_time_and_nobody_s_computer() -> None:
    record = machine()
    assert list(record) == ["processor", "cpus", "accelerator", "system", "versions"]
    assert record["processor"]
    assert record["cpus"] >= 1
    assert list(record["versions"]) == ["mnist_dvc", "numpy", "python", "torch"]
    told = json.dumps(record)
    assert json.loads(told) == record
    assert str(Path.home()) not in told


def test_machine_without_proc_still_has_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "a machine")
    assert machine()["processor"] == "a machine"


@pytest.mark.parametrize("there", [True, False])
def test_machine_names_an_accelerator_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert machine()["accelerator"] == ("a card" if there else None)

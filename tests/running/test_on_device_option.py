"""The option that says what the tests compute on: taken at its word, or the whole run ends in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

import pytest
import torch
from devices import driver, installed, take, told
from helpers import ROOT

CPU = f"torch {torch.__version__}, torchvision {metadata.version('torchvision')}, device cpu"


def test_run_says_what_it_computes_on(request: pytest.FixtureRequest) -> None:
    """In what pytest has asked for before the tests, and prints."""
    lines = request.config.hook.pytest_report_header(config=request.config, start_path=ROOT)
    assert told(torch.device(request.config.getoption("device"))) in lines


def test_absent_gpu_ends_the_run_in_one_line() -> None:
    """In a process that sees no GPU, and that has its asserts, of whose lack pytest would warn."""
    plain = ("-p", "no:cacheprovider", "-p", "no:xdist", "--collect-only", "tests/architecture/test_networks.py")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *plain, "--device=cuda"],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONOPTIMIZE": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.splitlines() == [f"ERROR: no CUDA device: torch {torch.__version__} finds none", ""]
    assert "collected" not in result.stdout


def test_other_devices_are_no_choice() -> None:
    """Nor does a run begin that has only read its options."""
    read = ("-p", "no:cacheprovider", "-p", "no:xdist", "--capture=no", str(ROOT / "tests"))
    assert pytest.Config.fromdictargs({}, [*read, "--device=cpu"]).getoption("device") == "cpu"
    with pytest.raises(pytest.UsageError, match="--device: invalid choice: 'tpu'"):
        pytest.Config.fromdictargs({}, [*read, "--device=tpu"])


def test_gpu_is_named_with_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    monkeypatch.setattr("devices.driver", lambda: "580.1")
    assert told(torch.device("cpu")) == CPU
    assert told(torch.device("cuda")) == CPU.replace("device cpu", "device cuda (a card, driver 580.1)")


def test_versions_that_are_not_to_be_had_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr("ctypes.CDLL", refuse)
    assert driver() is None
    assert installed("no-such-package") is None
    assert installed("torch") is not None


class Nvml:
    """NVIDIA's library as far as it is asked."""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlSystemGetDriverVersion(self, version: object, length: int) -> int:
        assert length >= 80
        version.value = b"580.159.04"  # type: ignore[attr-defined]
        return 0


def test_driver_is_what_its_own_library_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: Nvml())
    assert driver() == "580.159.04"


def test_gpu_is_made_ready_before_its_first_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert take("cpu") == torch.device("cpu")
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert take("cuda") == torch.device("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_device_is_the_one_that_was_asked_for(device: torch.device, request: pytest.FixtureRequest) -> None:
    assert device.type == request.config.getoption("device")

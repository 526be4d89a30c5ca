from __future__ import annotations

import signal
import socket
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
import warm
from devices import take, told
from helpers import prepared_workspace
from hypothesis import settings

from mnist_dvc.runtime import set_up

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mnist_dvc.paths import Paths

# The same examples on every run, and no verdict on how long one took: the machine may be busy.
settings.register_profile("mnist_dvc", deadline=None, derandomize=True)
settings.load_profile("mnist_dvc")


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "what the tests with a fixture `device` compute on"
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help=words)


def pytest_configure(config: pytest.Config) -> None:
    take(config.getoption("device"))
    if given := getattr(config, "workerinput", {}).get("warm"):
        warm.share(given)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each worker of pytest-xdist which server of warm processes is theirs."""
    if warm.HERE:
        node.workerinput["warm"] = str(warm.own_folder())


def pytest_report_header(config: pytest.Config) -> str:
    return told(torch.device(config.getoption("device")))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """What the option ``--device`` names: a test that takes it proves its point there, by the same code as here."""
    return torch.device(request.config.getoption("device"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"the tests use no network, not even {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(autouse=True)
def _fresh_torch() -> Iterator[None]:
    """One thread, since two of them crawl on a busy machine, and none of the process-wide settings of a stage."""
    torch.set_num_threads(1)
    yield
    torch.set_flush_denormal(False)
    torch.set_deterministic_debug_mode("default")
    with warnings.catch_warnings(action="ignore"):
        torch.backends.cudnn.allow_tf32 = True


@pytest.fixture
def _as_a_stage() -> None:
    """Determinism, and float32 in float32, as every stage sets them up."""
    set_up(1)


@pytest.fixture(autouse=True)
def _called_by_no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What DVC tells its stages, which may be where the tests were started from."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _signals_of_a_terminal() -> Iterator[None]:
    """A shell has its background jobs ignore Ctrl-C, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def workspace(tmp_path: Path) -> Paths:
    """A folder with prepared blobs: 300 to train on, 100 to validate, 100 to test."""
    return prepared_workspace(tmp_path)

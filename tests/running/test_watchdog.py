"""A process that is stuck where Python runs no handler ends all the same, and a stop in good order is not hurried."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import params, posix, write_params
from killing import published, tracked

from mnist_dvc.pipeline.train import train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mnist_dvc.paths import Paths

pytestmark = posix

ENDINGS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
FOREVER = 3600.0

STUCK = """
import ctypes, signal, sys, threading
from mnist_dvc.running import interruption

interruption.GRACE = {grace}
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)  # a shell has its background jobs ignore Ctrl-C
library, mutex, going = ctypes.CDLL(None), ctypes.create_string_buffer(256), threading.Lock()
library.pthread_mutex_init(mutex, None)
library.pthread_mutex_lock(mutex)
going.acquire()


def tell():
    going.acquire()
    print("stuck", flush=True)


threading.Thread(target=tell, daemon=True).start()


def stick():
    sys.setswitchinterval(3600)  # so that the other thread speaks only when this one is in the call
    going.release()
    library.pthread_mutex_lock(mutex)


{sabotage}
"""
"""A wait in C that a signal does not end, as in a barrier of oneDNN: a lock that this thread itself holds."""

SMALL = "with interruption.Watchdog():\n    stick()"
TRAINING = """
from mnist_dvc import program
from mnist_dvc.training.engine import Training

train_on = Training._train_on


def stick_in_the_middle(self, *batch):
    if self.step == 9:
        stick()
    train_on(self, *batch)


Training._train_on = stick_in_the_middle
sys.argv = ["mnist-dvc", "train", "--snapshot-every", "0"]
program.main()
"""
NO_WATCHDOG = """
interruption.Watchdog.__enter__ = lambda self: self
interruption.Watchdog.__exit__ = lambda *_: None
"""


@contextlib.contextmanager
def stuck(script: str, *, grace: float, cwd: Path, sabotage: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs ``script`` and is in the call that does not return; killed if still there at the end."""
    code = STUCK.format(grace=grace, sabotage=sabotage) + script
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert any(line == b"stuck\n" for line in process.stdout)
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    return process.stderr.read().decode()


def line(number: signal.Signals) -> str:
    return (
        f"mnist-dvc: stopped by {ENDINGS[number]} in a step that did not end; "
        "the same command goes on from what it has saved\n"
    )


# ---------------------------------------------------------------------------------------------------- a step that hangs


def test_training_that_is_stuck_ends_and_the_next_run_goes_on(
    workspace: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(workspace.root)
    with stuck(TRAINING, grace=0.2, cwd=workspace.root) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert told(process) == line(signal.SIGTERM)
    snapshots = sorted(path.name for path in workspace.state.glob("resume/*/*"))
    assert snapshots == ["step-000000008.snapshot", "step-000000009.snapshot"]
    assert published(workspace) == {}
    capsys.readouterr()
    train(params(), workspace)
    assert "Going on after step 9 of 14" in capsys.readouterr().out
    resumed = tracked(workspace)
    train(params(), workspace)
    assert "Going on" not in capsys.readouterr().out
    assert tracked(workspace) == resumed


def test_without_the_watchdog_the_stuck_training_survives_both_signals(workspace: Paths) -> None:
    write_params(workspace.root)
    with stuck(TRAINING, grace=0.2, cwd=workspace.root, sabotage=NO_WATCHDOG) as process:
        for number in ENDINGS:
            process.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)


@pytest.mark.parametrize("number", ENDINGS)
def test_stuck_process_ends_after_the_grace(tmp_path: Path, number: signal.Signals) -> None:
    with stuck(SMALL, grace=0.2, cwd=tmp_path) as process:
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert told(process) == line(number)


@pytest.mark.parametrize("number", ENDINGS)
def test_stuck_process_ends_at_another_signal_without_any_grace(tmp_path: Path, number: signal.Signals) -> None:
    with stuck(SMALL, grace=FOREVER, cwd=tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        for _ in range(600):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                break
            process.send_signal(number)
        assert process.returncode == 128 + number
        assert told(process) == line(number)


@pytest.mark.parametrize("sabotage", [NO_WATCHDOG, ""], ids=["no watchdog", "a long grace"])
def test_stuck_process_survives_a_single_signal_so_the_tests_above_can_fail(tmp_path: Path, sabotage: str) -> None:
    with stuck(SMALL, grace=FOREVER, cwd=tmp_path, sabotage=sabotage) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)


FULL_PIPE = (
    "import os\nos.set_blocking(2, False)\ntry:\n    while os.write(2, b'x' * 512): pass\nexcept OSError: pass\n"
)
FULL_PIPE += "os.set_blocking(2, True)\n"
"""Fills its standard error, which the test does not read."""


@pytest.mark.parametrize("sabotage", [FULL_PIPE, "import os\nos.close(2)"], ids=["full", "closed"])
def test_stuck_process_ends_though_nobody_reads_its_last_words(tmp_path: Path, sabotage: str) -> None:
    with stuck(SMALL, grace=0.2, cwd=tmp_path, sabotage=sabotage) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


def test_words_that_are_not_looked_at_first_would_hold_it(tmp_path: Path) -> None:
    """The twin: as if every descriptor could be written to."""
    unseeing = FULL_PIPE + "interruption.select.select = lambda *lists: lists"
    with stuck(SMALL, grace=0.2, cwd=tmp_path, sabotage=unseeing) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)


# ------------------------------------------------------------------------------------------------ a stop in good order


ORDERLY = """
import os, signal, threading, time
from mnist_dvc import program
from mnist_dvc.running import interruption
from mnist_dvc.training.engine import Training
from mnist_dvc.training.snapshot import SnapshotFolder

interruption.GRACE = {grace}
save, train_on = SnapshotFolder.save, Training._train_on


def save_slowly(self, snapshot):
    {wait}
    save(self, snapshot)


def train_and_signal(self, *batch):
    train_on(self, *batch)
    if self.step == 5:
        os.kill(os.getpid(), signal.SIGTERM)


SnapshotFolder.save, Training._train_on = save_slowly, train_and_signal
program.sys.argv = ["mnist-dvc", "train"]
program.main()
"""


def stopped(workspace: Paths, *, grace: float, wait: str) -> tuple[int, str, list[str]]:
    """What becomes of a training that gets a signal and waits before it saves: exit code, words, snapshots."""
    write_params(workspace.root)
    code = ORDERLY.format(grace=grace, wait=wait)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=workspace.root, capture_output=True, text=True, check=False, timeout=240
    )
    return result.returncode, result.stderr, [path.name for path in workspace.state.glob("resume/*/*")]


def test_stop_that_takes_its_time_to_save_is_not_hurried(workspace: Paths) -> None:
    code, words, snapshots = stopped(workspace, grace=120.0, wait="time.sleep(0.5)")
    assert (code, snapshots) == (143, ["step-000000005.snapshot"])
    assert words == "mnist-dvc: stopped by SIGTERM after step 5; the same command goes on from there\n"


def test_stop_that_takes_for_ever_ends_so_the_test_above_can_fail(workspace: Paths) -> None:
    code, words, snapshots = stopped(workspace, grace=0.2, wait="threading.Event().wait()")
    assert (code, words, snapshots) == (143, line(signal.SIGTERM), [])


DOWNLOAD = """
import signal, sys
import torchvision.datasets
from mnist_dvc import program
from mnist_dvc.running import interruption

interruption.GRACE = 3600
signal.signal(signal.SIGINT, signal.default_int_handler)
torchvision.datasets.MNIST.mirrors = [sys.argv[1]]
sys.argv = ["mnist-dvc", "prepare"]
program.main()
"""


def test_download_that_stalls_ends_at_the_first_signal(tmp_path: Path) -> None:
    write_params(tmp_path, {"data": {"source": "mnist"}})
    with socket.create_server(("127.0.0.1", 0)) as mirror:
        url = f"http://127.0.0.1:{mirror.getsockname()[1]}/"
        arguments = [sys.executable, "-c", DOWNLOAD, url]
        direct = {key: value for key, value in os.environ.items() if not key.lower().endswith("proxy")}
        with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, env=direct) as process:
            mirror.settimeout(120)
            with mirror.accept()[0]:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
            assert "in a step that did not end" not in told(process)

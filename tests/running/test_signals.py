"""Signals within one process: which are taken note of, which start a clock, and whose handlers are back afterwards."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from helpers import posix

from mnist_dvc import program
from mnist_dvc.running import interruption
from mnist_dvc.running.interruption import Interruption, Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = posix

ENDINGS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
FOREVER = 3600.0


@pytest.fixture
def quiet() -> Iterator[None]:
    """Signals that would end this process do nothing, whatever its handlers were, which are back afterwards."""
    numbers = [*ENDINGS, signal.SIGUSR1, signal.SIGHUP]
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the signals that the watchdog would have left with."""
    numbers: list[int] = []
    monkeypatch.setattr(interruption, "_leave", numbers.append)
    return numbers


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> list[threading.Timer]:
    """The clocks that a first signal has started."""
    started: list[threading.Timer] = []

    class Clock(threading.Timer):
        def start(self) -> None:
            started.append(self)
            super().start()

    monkeypatch.setattr(threading, "Timer", Clock)
    return started


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.usefixtures("quiet")
def test_command_that_ends_in_time_stops_the_clock(clocks: list[threading.Timer], left: list[int]) -> None:
    with Watchdog():
        send(signal.SIGTERM)
    (clock,) = clocks
    clock.join(60)
    assert clock.finished.is_set()
    assert left == []


@pytest.mark.usefixtures("quiet")
def test_other_signals_start_no_clock(clocks: list[threading.Timer]) -> None:
    with Watchdog():
        send(signal.SIGUSR1, signal.SIGHUP)
    assert clocks == []


@pytest.mark.usefixtures("quiet")
def test_signal_that_is_sent_twice_at_once_is_one(monkeypatch: pytest.MonkeyPatch, left: list[int]) -> None:
    monkeypatch.setattr(interruption, "SAME", FOREVER)
    with Watchdog():
        send(signal.SIGTERM, signal.SIGTERM)
    assert left == []


@pytest.mark.usefixtures("quiet")
def test_signal_that_comes_twice_is_a_demand(monkeypatch: pytest.MonkeyPatch, left: list[int]) -> None:
    """The twin of the test above."""
    monkeypatch.setattr(interruption, "SAME", 0.0)
    with Watchdog():
        send(signal.SIGTERM, signal.SIGINT)
    assert left == [signal.SIGINT]


def watchdogs() -> int:
    return sum(thread.name == "watchdog" for thread in threading.enumerate())


def test_all_is_as_before_afterwards() -> None:
    """The descriptor that Python tells signals to, the open files, the threads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)
    try:
        files = os.listdir("/dev/fd")  # noqa: PTH208  (names only)
        with Watchdog():
            assert len(os.listdir("/dev/fd")) == len(files) + 2  # noqa: PTH208
            assert watchdogs() == 1
        assert os.listdir("/dev/fd") == files  # noqa: PTH208
        assert watchdogs() == 0
    finally:
        assert signal.set_wakeup_fd(before) == writing
        os.close(reading)
        os.close(writing)


def test_elsewhere_than_in_the_main_thread_it_does_nothing() -> None:
    found: list[int] = []

    def run() -> None:
        with Watchdog():
            found.append(watchdogs())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [0]


@pytest.mark.usefixtures("quiet")
def test_every_command_runs_under_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[bool] = []

    def run(**_: Any) -> None:
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        watched.append(descriptor != -1)

    monkeypatch.setattr(program, "app", run)
    assert program._run() == 0
    run()
    assert watched == [True, False]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("number", [*ENDINGS, signal.SIGHUP])
def test_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """A shell has its background jobs ignore Ctrl-C, and `nohup` ignores the terminal's end."""
    signal.signal(number, signal.SIG_IGN)

    def run(**_: Any) -> None:
        with Interruption() as within:
            assert signal.getsignal(number) is signal.SIG_IGN
            send(number)
            assert within.received is None
        assert signal.getsignal(number) is signal.SIG_IGN

    monkeypatch.setattr(program, "app", run)
    assert program._run() == 0


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("number", ENDINGS)
def test_signal_that_is_not_ignored_is_taken_note_of(number: signal.Signals) -> None:
    """The twin of the test above."""
    with Interruption() as within:
        send(number)
    assert within.received is number


@pytest.mark.usefixtures("quiet")
def test_terminal_that_is_closed_stops_no_training_and_the_handler_is_back() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with Interruption() as within:
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        send(signal.SIGHUP)
    assert within.received is None
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.usefixtures("quiet", "left")
def test_sigterm_unwinds_a_command_outside_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    unwound: list[str] = []

    def run(**_: Any) -> None:
        try:
            send(signal.SIGTERM)
        finally:
            unwound.append("unwound")

    monkeypatch.setattr(program, "app", run)
    assert program._run() == 143
    assert unwound == ["unwound"]

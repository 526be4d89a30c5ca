"""Signals that end a process: taken note of where work is under way, so that it stops in good order, or at all."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | None

__all__ = ["Interruption", "Watchdog"]

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
GRACE = 5.0
"""Seconds for a stop in good order: a step and a snapshot take well below one, and ``docker stop`` kills after ten."""
SAME = 0.2
"""Seconds within which a second signal is the first one again: ``timeout`` sends it to the process and to its group."""
STANDARD_ERROR = 2


class Interruption:
    """A context manager in which Ctrl-C and SIGTERM set ``received`` instead of ending the process.

    The second one ends it at once, with 128 plus the signal's number: never with 0, which would tell DVC that the
    outputs are whole. A terminal that is closed (SIGHUP) ends nothing. What was ignored before stays so, as Ctrl-C does
    in a background job. The handlers of before are back after it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._before = {number: _replace(number, self._handle) for number in NAMES}
        if os.name == "posix":
            self._before[signal.SIGHUP] = _replace(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = signal.Signals(number)

    @property
    def name(self) -> str:
        """What people call the signal that was received."""
        return "" if self.received is None else NAMES[self.received]


class Watchdog:
    """A context manager in which Ctrl-C and SIGTERM end the process also in a step that never returns.

    Python runs its handlers between two bytecodes of the main thread, and none come while a library is stuck in a call.
    A thread waits for the same signals: it leaves the main one a few seconds for a stop in good order and then ends the
    process, or at once when another signal comes. Files are whole even so, since each is written under another name
    first. Nothing can be done about a library that is stuck without giving Python's lock back.

    Elsewhere than in the main thread, where no signal arrives, it does nothing.
    """

    def __enter__(self) -> Self:
        self._thread: threading.Thread | None = None
        if threading.current_thread() is threading.main_thread():
            signals, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._thread = threading.Thread(target=_watch, args=(signals,), name="watchdog", daemon=True)
            self._thread.start()
            self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            signal.set_wakeup_fd(self._before)
            os.close(self._writing)
            self._thread.join()


def _watch(signals: int) -> None:
    """Read the numbers of ``signals`` from the pipe, up to its end, and leave in place of a main thread that does not.

    The first one starts a clock; one that comes later than ``SAME`` after it is a demand.
    """
    clock, began = None, 0.0
    while number := int.from_bytes(os.read(signals, 1)):
        if number not in NAMES:
            continue
        if clock is None:
            clock, began = threading.Timer(GRACE, _leave, [number]), time.monotonic()
            clock.daemon = True
            try:
                clock.start()
            except RuntimeError:  # there is no room for another thread
                _leave(number)
        elif time.monotonic() - began >= SAME:
            _leave(number)
    if clock is not None:
        clock.cancel()
    os.close(signals)


def _leave(number: int) -> None:
    name = NAMES[signal.Signals(number)]
    _say(f"mnist-dvc: stopped by {name} in a step that did not end; the same command goes on from what it has saved\n")
    os._exit(128 + number)


def _say(line: str) -> None:
    """Write ``line``, if that needs no waiting: neither for a lock that the main thread holds, nor for a reader."""
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [STANDARD_ERROR], [], 0)[1]:
            io.FileIO(STANDARD_ERROR, "w", closefd=False).write(line.encode())


def _replace(number: signal.Signals, handler: Handler) -> Handler:
    """Install ``handler`` unless the signal is ignored, and return that of before."""
    before = signal.getsignal(number)
    if before is not signal.SIG_IGN:
        signal.signal(number, handler)
    return before

"""Signals that end a process: taken note of where work is under way, so that it stops in good order."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Interruption"]

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Interruption:
    """A context manager in which Ctrl-C and SIGTERM set ``received`` instead of ending the process.

    The second one ends it at once, with 128 plus the signal's number: never with 0, which would tell DVC that the
    outputs are whole. The handlers of before are back after it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in NAMES}
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

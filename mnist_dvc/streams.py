"""Standard output and error: a console that is gone is outlived, a product that does not arrive is an error."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

__all__ = ["STANDARD_OUTPUT", "delivery", "fill_descriptors", "name_output", "outlive_errors", "outlive_output"]

STANDARD_OUTPUT = "standard output"
INPUT, OUTPUT, ERRORS = 0, 1, 2
"""The descriptors that a process is started with."""
ESCAPED = "backslashreplace"
"""A locale may lack the letters of a file name."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""There may be room again later, where a reader who has gone does not come back."""


class OutlivingIO(io.FileIO):
    """A descriptor that takes every byte: what nobody is there to read, or has no room, is dropped without an error."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor`` is open, for whatever; it is not closed together with this object."""
        super().__init__(descriptor, "w", closefd=False)

    def write(self, content: ReadableBuffer, /) -> int:
        """Write ``content``, to the null device once the reader has gone; all of it counts as written."""
        rest = memoryview(content)
        size = len(rest)
        try:
            while rest:
                rest = rest[self._some(rest) :]
        except OSError as error:
            if error.errno not in FULL:
                _point_nowhere(self.fileno())
        return size

    def _some(self, rest: memoryview) -> int:
        """How many bytes the descriptor took; one that would not block is waited for as any other."""
        taken = super().write(rest)
        if not taken:
            select.select([], [self], [])
        return taken or 0


class NamedIO(io.FileIO):
    """Standard output whose refusals say that they are of it; one that was closed takes nothing."""

    def __init__(self, descriptor: int, *, closed: bool) -> None:
        """``descriptor`` is not closed together with this object; ``closed`` is what it was when the process began."""
        super().__init__(descriptor, "w", closefd=False)
        self._closed = closed

    def write(self, content: ReadableBuffer, /) -> int:
        """As of any file."""
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), STANDARD_OUTPUT)
        try:
            return super().write(content)
        except OSError as error:
            error.filename = STANDARD_OUTPUT
            raise


def fill_descriptors() -> None:
    """Point each closed one of the three descriptors at the null device.

    The number would be given to the next file that is opened, a snapshot say, and what a library written in C prints
    would stand in it.
    """
    for descriptor in (INPUT, OUTPUT, ERRORS):
        try:
            os.fstat(descriptor)
        except OSError:
            _point_nowhere(descriptor)


def name_output() -> None:
    """From here on, a refusal of standard output says what it is of, also where it was closed before the beginning."""
    sys.stdout = _replaced(sys.stdout, OUTPUT, NamedIO(OUTPUT, closed=sys.stdout is None))


def outlive_output() -> None:
    """From here on, nothing that becomes of standard output ends the process."""
    sys.stdout = _outliving(sys.stdout, OUTPUT)


def outlive_errors() -> None:
    """The same for standard error; where it is closed, ``print`` would put its lines into standard output."""
    sys.stderr = _outliving(sys.stderr, ERRORS)


@contextlib.contextmanager
def delivery() -> Iterator[TextIO]:
    """Standard output, for what the user has asked for: at the end of the block it has been written.

    Raises:
        OSError: it has not; the file that the error names is standard output.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), STANDARD_OUTPUT)
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        error.filename = STANDARD_OUTPUT
        raise


def _outliving(stream: TextIO | None, descriptor: int) -> TextIO:
    """A stream that outlives its readers, to be put in the place of ``stream``; of a closed one, into nowhere."""
    if stream is None:
        descriptor = os.open(os.devnull, os.O_WRONLY)
    return _replaced(stream, descriptor, OutlivingIO(descriptor))


def _replaced(stream: TextIO | None, descriptor: int, raw: io.FileIO) -> TextIO:
    """A stream with the manners of ``stream`` that writes to ``raw``.

    One that does not write to ``descriptor`` is left as it is: somebody, a test say, has put it there.
    """
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors=ESCAPED)
    if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != descriptor:
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=ESCAPED,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _point_nowhere(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # without a null device each write fails anew, and is dropped anew
        null = os.open(os.devnull, os.O_RDWR)
        if null == descriptor:
            os.set_inheritable(null, True)
        else:
            os.dup2(null, descriptor)
            os.close(null)

"""Standard output and error as streams: what is dropped, what is waited for, what must have arrived."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from helpers import redirected

from mnist_dvc import streams
from mnist_dvc.streams import STANDARD_OUTPUT, OutlivingIO, delivery, fill_descriptors, outlive_output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NULL, FULL = os.stat(os.devnull).st_rdev, "/dev/full"  # noqa: PTH116  (the number of a device)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe; a test leaves one by ``leave``, since a number that is closed twice may be another's."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def leave(end: int) -> None:
    """Close the end of a pipe, and keep its number."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, end)
    os.close(null)


def device(descriptor: int) -> int:
    return os.fstat(descriptor).st_rdev


def test_descriptor_without_a_reader_becomes_the_null_device(pipe: tuple[int, int]) -> None:
    leave(pipe[0])
    stream = OutlivingIO(pipe[1])
    assert [stream.write(b"seven"), device(pipe[1])] == [5, NULL]
    assert os.write(pipe[1], b"whoever writes there without the stream") > 0


def test_plain_stream_without_a_reader_raises_so_the_test_above_can_fail(pipe: tuple[int, int]) -> None:
    leave(pipe[0])
    with pytest.raises(BrokenPipeError):
        io.FileIO(pipe[1], "w", closefd=False).write(b"seven")


def test_descriptor_that_is_not_open_for_writing_becomes_the_null_device(pipe: tuple[int, int]) -> None:
    assert OutlivingIO(pipe[0]).write(b"seven") == 5
    assert device(pipe[0]) == NULL


def test_full_disk_may_have_room_again() -> None:
    with open(FULL, "wb", buffering=0) as full:  # noqa: PTH123  (a device)
        before = device(full.fileno())
        assert OutlivingIO(full.fileno()).write(b"seven") == 5
        assert device(full.fileno()) == before != NULL


def test_where_there_is_no_null_device_every_write_is_dropped(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leave(pipe[0])
    monkeypatch.setattr(os, "devnull", str(tmp_path / "none"))
    stream = OutlivingIO(pipe[1])
    assert [stream.write(b"seven"), stream.write(b"eight")] == [5, 5]


CONTENT = bytes(range(256)) * 2000
"""More than a pipe holds."""


def test_reader_who_is_slow_is_waited_for(pipe: tuple[int, int]) -> None:
    """The other end has made the pipe one that does not block, as some programs leave a terminal."""
    os.set_blocking(pipe[1], False)
    got = io.BytesIO()

    def read() -> None:
        while chunk := os.read(pipe[0], 1000):
            got.write(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    stream = io.BufferedWriter(OutlivingIO(pipe[1]))
    stream.write(CONTENT)
    stream.flush()
    leave(pipe[1])
    reader.join(60)
    assert got.getvalue() == CONTENT


def test_plain_stream_does_not_wait_so_the_test_above_can_fail(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    with pytest.raises(BlockingIOError):
        io.BufferedWriter(io.FileIO(pipe[1], "w", closefd=False)).write(CONTENT)


@pytest.mark.parametrize("write_through", [False, True])
def test_stream_keeps_the_manners_of_the_one_it_replaces(pipe: tuple[int, int], *, write_through: bool) -> None:
    plain = io.FileIO(pipe[1], "w", closefd=False)
    before = io.TextIOWrapper(
        plain if write_through else io.BufferedWriter(plain),
        encoding="latin-1",
        line_buffering=not write_through,
        write_through=write_through,
    )
    after = streams._outliving(before, pipe[1])
    assert isinstance(after, io.TextIOWrapper)
    assert (after.encoding, after.errors) == ("latin-1", "backslashreplace")
    assert (after.line_buffering, after.write_through) == (not write_through, write_through)
    after.write("ü七" if write_through else "ü七\n")
    assert os.read(pipe[0], 100) == "ü\\u4e03".encode("latin-1") + (b"" if write_through else b"\n")


def test_stream_that_somebody_has_put_there_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    own = io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    outlive_output()
    assert sys.stdout is own


def test_closed_stream_gets_one_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    outlive_output()
    print("七")  # noqa: T201
    sys.stdout.flush()
    assert device(sys.stdout.fileno()) == NULL


FILLED = """
import os, sys
{sabotage}
from mnist_dvc.streams import fill_descriptors
fill_descriptors()
with open("file", "wb") as file:
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"printed by a library")
        except OSError:
            pass
"""


def test_closed_descriptor_is_given_to_no_file(tmp_path: Path) -> None:
    assert redirected(tmp_path, "<&- >&- 2>&-", "-c", FILLED.format(sabotage="")).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_closed_descriptor_would_be_given_to_a_file(tmp_path: Path) -> None:
    """The twin: what a library prints stands in the file."""
    sabotage = "import mnist_dvc.streams; mnist_dvc.streams.fill_descriptors = lambda: os.open(os.devnull, os.O_RDONLY)"
    redirected(tmp_path, "<&- >&- 2>&-", "-c", FILLED.format(sabotage=sabotage))
    assert (tmp_path / "file").read_bytes() == b"printed by a library"


def test_open_descriptors_stay_what_they_are() -> None:
    before = [os.fstat(descriptor) for descriptor in range(3)]
    fill_descriptors()
    assert [(found.st_dev, found.st_ino) for found in before] == [
        (found.st_dev, found.st_ino) for found in map(os.fstat, range(3))
    ]


# ------------------------------------------------------------------------------------------ what the user has asked for


@contextlib.contextmanager
def output(pipe: tuple[int, int]) -> Iterator[None]:
    """The pipe, which is not waited for, is standard output."""
    os.set_blocking(pipe[0], False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(io.FileIO(pipe[1], "w", closefd=False))))
        yield


def test_what_is_delivered_has_arrived(pipe: tuple[int, int]) -> None:
    with output(pipe), delivery() as stream:
        stream.write("seven")
        assert stream is sys.stdout
    assert os.read(pipe[0], 100) == b"seven"


def test_what_is_only_printed_has_not_so_the_test_above_can_fail(pipe: tuple[int, int]) -> None:
    with output(pipe):
        print("seven")  # noqa: T201
        with pytest.raises(BlockingIOError):
            os.read(pipe[0], 100)


def test_what_cannot_be_delivered_is_an_error_of_standard_output(pipe: tuple[int, int]) -> None:
    with output(pipe):
        leave(pipe[0])
        with pytest.raises(BrokenPipeError) as caught, delivery() as stream:
            stream.write("seven")
        os.dup2(os.open(os.devnull, os.O_WRONLY), pipe[1])  # where the stream can leave what it holds
    assert caught.value.filename == STANDARD_OUTPUT


def test_closed_output_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="Bad file descriptor") as caught, delivery():
        pass
    assert (caught.value.errno, caught.value.filename) == (errno.EBADF, STANDARD_OUTPUT)

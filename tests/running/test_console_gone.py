"""A console that is gone, closed or full ends no command that writes files, and costs none of their bytes."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pty
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from helpers import params, write_params
from killing import tracked

from mnist_dvc import cli, streams
from mnist_dvc.pipeline.train import train
from mnist_dvc.streams import STANDARD_OUTPUT, OutlivingIO, delivery, fill_descriptors, outlive_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import typer

    from mnist_dvc.paths import Paths

COMMAND = ("-m", "mnist_dvc", "train")
NULL, FULL = os.stat(os.devnull).st_rdev, "/dev/full"  # noqa: PTH116  (the number of a device)


@pytest.fixture
def whole(workspace: Paths) -> dict[str, bytes]:
    """What a training leaves whose console stays; removed again. The params are those of the command, too."""
    write_params(workspace.root)
    train(params(), workspace)
    outputs = tracked(workspace)
    for path in workspace.of_training:
        path.unlink()
    return outputs


GATED = """
import os, sys
from mnist_dvc import cli
from mnist_dvc.running import interruption
from mnist_dvc.training.engine import Training

gate, train_on = int(sys.argv[1]), Training._train_on


def train_after_the_gate(self, *batch):
    if self.step == 9:
        os.read(gate, 1)
    train_on(self, *batch)


Training._train_on = train_after_the_gate
{sabotage}
sys.argv = ["mnist-dvc", "train"]
cli.main()
"""
"""A training that waits in the middle of its second epoch until the other end of a pipe is closed."""

NOT_OUTLIVED = "cli.outlive_output = cli.outlive_errors = lambda: None\n"
LOGIN = "os.login_tty(0)\n"
"""The process leads a session of its own on that terminal, as a shell's in a window does."""
NO_IGNORING = """
import signal
enter = interruption.Interruption.__enter__


def enter_as_others_do(self):
    entered = enter(self)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    return entered


interruption.Interruption.__enter__ = enter_as_others_do
"""


@contextlib.contextmanager
def gate() -> Iterator[tuple[int, Callable[[], None]]]:
    """A descriptor for the process that waits, and what lets it go on."""
    reading, writing = os.pipe()
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, reading)
        opening = contextlib.ExitStack()
        opening.callback(os.close, writing)
        opened.enter_context(opening)
        yield reading, opening.close


def trained_into_a_pipe(folder: Path, sabotage: str = "") -> tuple[int, str]:
    """Train with a reader that goes after two lines, as in ``| head -2``: exit code and standard error."""
    code = GATED.format(sabotage=sabotage)
    with gate() as (waiting, go_on):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(waiting)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[waiting],
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().startswith(b"Training on 300 images")
            assert process.stdout.readline().split()[0] == b"epoch"
            process.stdout.close()
            go_on()
            return process.wait(120), process.stderr.read().decode()


def test_reader_who_goes_ends_no_training(workspace: Paths, whole: dict[str, bytes]) -> None:
    assert trained_into_a_pipe(workspace.root) == (0, "")
    assert tracked(workspace) == whole


@pytest.mark.usefixtures("whole")
def test_reader_who_goes_would_end_a_training_without_the_streams(workspace: Paths) -> None:
    assert trained_into_a_pipe(workspace.root, NOT_OUTLIVED)[0] != 0
    assert tracked(workspace) == {}


def trained_on_a_terminal(folder: Path, sabotage: str = "") -> int:
    """Train on a terminal that is closed after the first epoch: the exit code."""
    master, slave = pty.openpty()
    with gate() as (waiting, go_on):
        code = GATED.format(sabotage=LOGIN + sabotage)
        arguments = [sys.executable, "-c", code, str(waiting)]
        with subprocess.Popen(
            arguments, cwd=folder, pass_fds=[waiting], stdin=slave, stdout=slave, stderr=slave
        ) as process:
            os.close(slave)
            shown = b""
            while not re.search(rb"\d %", shown):  # in the row of the first epoch
                shown += os.read(master, 1000)
            os.close(master)
            go_on()
            return process.wait(120)


def test_terminal_that_is_closed_ends_no_training(workspace: Paths, whole: dict[str, bytes]) -> None:
    assert trained_on_a_terminal(workspace.root) == 0
    assert tracked(workspace) == whole


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("sabotage", [NOT_OUTLIVED, NO_IGNORING], ids=["streams", "SIGHUP"])
def test_terminal_that_is_closed_would_end_a_training_without(workspace: Paths, sabotage: str) -> None:
    """With 1, with 120 if Python meets the lost terminal once more at its own end, or by the signal."""
    assert trained_on_a_terminal(workspace.root, sabotage) in (1, 120, -1)
    assert tracked(workspace) == {}


def redirected(folder: Path, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a shell does with ``redirection`` at the end of the line."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">/dev/full 2>/dev/full"])
def test_closed_or_full_console_ends_no_training(workspace: Paths, whole: dict[str, bytes], redirection: str) -> None:
    result = redirected(workspace.root, redirection, *COMMAND)
    assert (result.returncode, result.stderr) == (0, "")
    assert ("Training completed" in result.stdout) == (redirection == "2>&-")
    assert tracked(workspace) == whole


UNGUARDED = """
import sys
from mnist_dvc import cli
cli.outlive_output = cli.outlive_errors = cli.fill_descriptors = lambda: None
sys.argv = ["mnist-dvc", *sys.argv[1:]]
cli.main()
"""


def test_full_console_would_end_a_training_without_the_streams(workspace: Paths) -> None:
    write_params(workspace.root)
    assert redirected(workspace.root, ">/dev/full", "-c", UNGUARDED, "train").returncode == 74


# ---------------------------------------------------------------------------------------------- what is said of errors


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_error_that_nobody_can_be_told_keeps_its_code(tmp_path: Path, redirection: str) -> None:
    result = redirected(tmp_path, redirection, *COMMAND)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "")


def test_error_would_stand_among_the_output_without_the_streams(tmp_path: Path) -> None:
    result = redirected(tmp_path, "2>&-", "-c", UNGUARDED, "train")
    assert result.stdout.startswith("mnist-dvc: params.yaml: file: got nothing")


def test_error_would_lose_its_code_without_the_streams(tmp_path: Path) -> None:
    assert redirected(tmp_path, "2>/dev/full", "-c", UNGUARDED, "train").returncode not in (2, 74)


# ------------------------------------------------------------------------------------------------- which commands do so


def commands(app: typer.Typer = cli.app, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, those of the studies included."""
    for command in app.registered_commands:
        callback = command.callback
        assert callback is not None
        yield (*before, command.name or callback.__name__)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, (*before, str(group.name)))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_but_the_printing_ones_outlives_the_console(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    outlived: list[bool] = []
    monkeypatch.setattr(cli, "outlive_output", lambda: outlived.append(True))
    cli.app([*words, "--help"], standalone_mode=False)
    assert bool(outlived) == (words not in {("predict",), ("summary",)})


def test_the_commands_of_the_test_above_are_found() -> None:
    found = list(commands())
    assert {("train",), ("predict",), ("study", "trial"), ("study", "summary")} <= set(found)
    assert len(found) == len(set(found)) == 12


# --------------------------------------------------------------------------------------------------- the stream itself


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

"""A console that is gone, closed or full ends no command that writes files, and costs none of their bytes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import params, posix, redirected, write_params
from killing import published, tracked

from mnist_dvc import cli
from mnist_dvc.pipeline.train import train
from mnist_dvc.usage import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import typer

    from mnist_dvc.paths import Paths

pytestmark = posix
pty = pytest.importorskip("pty", exc_type=ModuleNotFoundError)

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
from mnist_dvc import cli, program
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
program.main()
"""
"""A training that waits in the middle of its second epoch until the other end of a pipe is closed."""

NOT_OUTLIVED = "cli.outlive_output = program.outlive_errors = lambda: None\n"
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
    assert published(workspace) == {}


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
    """As an error that could not be told, or by the signal."""
    assert trained_on_a_terminal(workspace.root, sabotage) in (70, 74, -1)
    assert published(workspace) == {}


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">/dev/full 2>/dev/full"])
def test_closed_or_full_console_ends_no_training(workspace: Paths, whole: dict[str, bytes], redirection: str) -> None:
    result = redirected(workspace.root, redirection, *COMMAND)
    assert (result.returncode, result.stderr) == (0, "")
    assert ("Training completed" in result.stdout) == (redirection == "2>&-")
    assert tracked(workspace) == whole


UNGUARDED = """
import sys
from mnist_dvc import cli, program
cli.outlive_output = program.outlive_errors = program.fill_descriptors = lambda: None
sys.argv = ["mnist-dvc", *sys.argv[1:]]
program.main()
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
    monkeypatch.setattr(Command, "invoke", lambda *_: None)
    monkeypatch.setattr(Command, "parse_args", lambda *_: [])
    cli.app([*words], standalone_mode=False)
    assert bool(outlived) == (words not in {("predict",), ("summary",)})


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_of_no_command_outlives_it(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setattr(cli, "outlive_output", lambda: pytest.fail("the help is what was asked for"))
    cli.app([*words, "--help"], standalone_mode=False)


def test_the_commands_of_the_test_above_are_found() -> None:
    found = list(commands())
    assert {("train",), ("predict",), ("study", "trial"), ("study", "summary")} <= set(found)
    assert len(found) == len(set(found)) == 17

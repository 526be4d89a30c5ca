"""Answers of `predict` and `summary` whose reader has gone, or whose console is closed or full, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import command, redirected

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.paths import Paths

either_form = pytest.mark.parametrize("options", [["--json"], []], ids=["lines", "tables"])
gone = pytest.mark.parametrize(
    ("redirection", "reason"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
MORE_THAN_A_PIPE_HOLDS = ["digits"] * 200


@pytest.mark.parametrize(
    ("options", "first"), [(["--json"], b'{"file": "digits/0.png"'), ([], "┏".encode())], ids=["lines", "tables"]
)
def test_command_ends_quietly_when_nobody_reads_on(exported: Paths, options: list[str], first: bytes) -> None:
    """As in ``| head -1``: quiet, but no success."""
    arguments = [sys.executable, "-m", "mnist_dvc", "predict", *options, *MORE_THAN_A_PIPE_HOLDS]
    environment = os.environ | {"PYTHONUTF8": "1"}
    with subprocess.Popen(
        arguments, cwd=exported.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(first)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 74


@either_form
def test_command_whose_answers_are_read_to_the_end_is_a_success(exported: Paths, options: list[str]) -> None:
    """The twin of the test above."""
    result = command("predict", *options, *MORE_THAN_A_PIPE_HOLDS, cwd=exported.root)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.encode()) > 2**16


def asked(folder: Path, redirection: str, *options: str) -> subprocess.CompletedProcess[str]:
    """``predict`` of a picture and of one that is missing, as a shell runs it with ``redirection``."""
    return redirected(folder, redirection, "-m", "mnist_dvc", "predict", *options, "digits/0.png", "missing.png")


@either_form
@gone
def test_answers_that_reach_nobody_end_in_74(
    exported: Paths, redirection: str, reason: str, options: list[str]
) -> None:
    result = asked(exported.root, redirection, *options)
    assert (result.returncode, result.stderr) == (74, f"mnist-dvc: standard output: {reason}\n")


@either_form
def test_what_is_said_of_errors_never_stands_among_the_answers(exported: Paths, options: list[str]) -> None:
    """Not even where standard error is closed, so that Python has none."""
    open_, closed = asked(exported.root, "", *options), asked(exported.root, "2>&-", *options)
    assert (open_.returncode, closed.returncode) == (65, 65)
    assert open_.stderr == "mnist-dvc: pictures: not read: got 1 of 2, expected none\n"
    assert closed.stdout == open_.stdout


def test_print_would_put_it_among_the_answers() -> None:
    """The twin: what Python does where there is no standard error."""
    code = "import sys\nprint('an error', file=sys.stderr)"
    result = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "an error\n"


@either_form
@gone
def test_summary_that_reaches_nobody_ends_in_74(
    tmp_path: Path, redirection: str, reason: str, options: list[str]
) -> None:
    line = f'exec "$0" -m mnist_dvc summary --model compact "$@" {redirection}'
    result = subprocess.run(
        ["sh", "-c", line, sys.executable, *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (74, f"mnist-dvc: standard output: {reason}\n")

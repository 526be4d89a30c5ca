"""How a process of the command line begins and ends: signals, exit codes, and the last words on standard error."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from typing import NoReturn

from mnist_dvc.cli import PROGRAM, app
from mnist_dvc.errors import MnistDvcError, one_line, printable
from mnist_dvc.memory import is_out_of_memory, when_a_library_exits
from mnist_dvc.room import spare_openblas, try_torch_first
from mnist_dvc.running.interruption import Watchdog
from mnist_dvc.streams import fill_descriptors, name_output, outlive_errors
from mnist_dvc.usage import DEBUG

__all__ = ["main"]

EXIT_MISSING, EXIT_INTERNAL, EXIT_IO = 69, 70, 74
EXTRAS = dict.fromkeys(("anyio", "click", "h11", "idna", "starlette", "uvicorn"), "demo")
"""The extra that brings a package, where that is not `train`."""


def main() -> NoReturn:
    """Run the command line and exit: 0 done, otherwise the code of the error, whose lines go to standard error.

    Taking torch apart takes the interpreter a second in which a signal could still turn a finished stage into a failed
    one. Every file is closed and on the disk by then, so there is nothing to wait for.
    """
    spare_openblas()
    try_torch_first()
    fill_descriptors()
    outlive_errors()
    name_output()
    when_a_library_exits(_exited)
    code = EXIT_INTERNAL
    try:
        code = _run()
        with contextlib.suppress(OSError):  # it has been said
            sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _run() -> int:
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)
    return _outcome()


def _outcome() -> int:
    """Run the command and return its exit code, whatever becomes of it."""
    try:
        with Watchdog():
            app(prog_name=PROGRAM)
    except SystemExit as stop:
        gone = isinstance(stop.__context__, BrokenPipeError)  # whoever read the other end of a pipe
        return EXIT_IO if gone else stop.code if isinstance(stop.code, int) else 0
    except MnistDvcError as error:
        return _report(str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001  (whatever it is, it ends in words)
        return _report_unexpected(error)
    return 0


def _report_unexpected(error: Exception) -> int:
    """Tell what a library or the system threw: no package, no memory, no file, or else a defect of ours."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package not in ("", "mnist_dvc"):
        extra = EXTRAS.get(package, "train")
        told = f'got no such package, expected the extra "{extra}": python -m pip install "{PROGRAM}[{extra}]"'
        return _report(f"{package}: {told}", EXIT_MISSING)
    if is_out_of_memory(error):
        words = one_line(str(error).strip().partition("\n")[0] or type(error).__name__)
        less = "" if isinstance(error, ImportError) else "; a smaller batch_size in the params needs less"
        return _report(f"out of memory ({words}){less}", EXIT_IO)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return _report(f"{where}{error.strerror or error}", EXIT_IO)
    traceback.print_exc()  # what the report of a defect needs
    return _report(f"internal error: {type(error).__name__}: {error}", EXIT_INTERNAL)


def _terminate(number: int, _: object) -> NoReturn:
    """SIGTERM unwinds the stack like Ctrl-C does, so that nothing half-written stays behind."""
    raise SystemExit(128 + number)


def _exited() -> int:
    """Tell why a library has ended the process; it has said what it lacks."""
    words = "a library ended the process, with the words before this line"
    return _report(f"out of memory or of threads ({words}); see ulimit -a", EXIT_IO)


def _report(message: str, code: int) -> int:
    """Print each line of ``message`` on standard error, after the traceback if ``--debug`` was given."""
    if DEBUG in sys.argv[1:]:
        traceback.print_exc()
    for line in message.splitlines():
        print(f"{PROGRAM}: {printable(line)}", file=sys.stderr)
    return code

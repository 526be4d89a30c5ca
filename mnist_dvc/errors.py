"""What can go wrong, one class per kind, each with the exit code that it ends the process with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ArtifactError",
    "BusyError",
    "ChangedError",
    "DataError",
    "DeviceError",
    "DivergedError",
    "DownloadError",
    "ImageError",
    "MnistDvcError",
    "ParamsError",
    "RefusalError",
    "RoomError",
    "StoppedError",
    "one_line",
    "printable",
]


def printable(text: str) -> str:
    """``text`` on one line, every character that does not print (control, undecodable byte) as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def one_line(value: object, longest: int = 400) -> str:
    """``value`` as text for a message: at most ``longest`` characters, those that are not printable escaped.

    What stands in a hostile file must not break the line, colour the terminal, or fill the screen.
    """
    shown = printable(str(value)[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


_LONGEST_PATH = 1024


class MnistDvcError(Exception):
    """Root of everything that is reported in words instead of a traceback; ``str()`` is what the user reads."""

    exit_code = 70


class RefusalError(MnistDvcError):
    """One wrong thing in one place: what it is, where it stands, what was found and what belongs there.

    ``problem`` is the message without the place.
    """

    def __init__(self, where: object, what: str, *, got: object, expected: object) -> None:
        self.problem = f"{one_line(what)}: got {one_line(got)}, expected {one_line(expected)}"
        super().__init__(f"{one_line(where, _LONGEST_PATH)}: {self.problem}")


class ParamsError(MnistDvcError):
    """Every problem of a params file at once, one line each: ``file: dotted.key: got ..., expected ...``.

    What an option said of a key is told of the option: ``-S train.epochs=0: got 0, expected ...``.
    """

    exit_code = 2

    def __init__(self, where: object, problems: list[str], options: Mapping[str, str] | None = None) -> None:
        """``options`` are those that took the place of values, as they were given, by the dotted keys of these."""
        self.problems = tuple(one_line(problem) for problem in problems)
        lines = [_told(one_line(where, _LONGEST_PATH), problem, options or {}) for problem in self.problems]
        super().__init__("\n".join(lines))


def _told(where: str, problem: str, options: Mapping[str, str]) -> str:
    """The line of one problem, which begins with its key; an option may have replaced that or a section around it."""
    key, _, rest = problem.partition(": ")
    for changed, option in options.items():
        if key == changed:
            return f"{one_line(option)}: {rest}"
        if key.startswith(f"{changed}."):
            return f"{one_line(option)}: {problem}"
    return f"{where}: {problem}"


class DeviceError(ParamsError):
    """The params ask for a device that this machine or this build of torch does not have."""


class DataError(RefusalError):
    """A data file is missing, truncated, corrupted, or not what its name says."""

    exit_code = 65


class ArtifactError(RefusalError):
    """A file of an earlier stage (model, history) is missing, damaged, or belongs to something else."""

    exit_code = 65


class ChangedError(RefusalError):
    """Params, a file or code that a stage has read became another before the results could be published under it."""

    exit_code = 65


class ImageError(RefusalError):
    """A picture to be classified is missing, damaged, of a kind that is not read, or without a digit."""

    exit_code = 65


class DownloadError(MnistDvcError):
    """The data set could not be fetched."""

    exit_code = 69


class DivergedError(MnistDvcError):
    """Training met a loss, a gradient or a weight that is not finite."""

    exit_code = 70


class BusyError(MnistDvcError):
    """Another process works in the same folder."""

    exit_code = 75


class RoomError(MnistDvcError):
    """A limit leaves the process too little memory to begin with."""

    exit_code = 74


class StoppedError(MnistDvcError):
    """A signal asked the process to end, and it did so in good order; the code is the shell's for that signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

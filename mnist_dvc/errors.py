"""What can go wrong, one class per kind, each with the exit code that it ends the process with."""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "DataError",
    "DeviceError",
    "DivergedError",
    "DownloadError",
    "MnistDvcError",
    "ParamsError",
]


class MnistDvcError(Exception):
    """Root of everything that is reported in words instead of a traceback; ``str()`` is what the user reads."""

    exit_code = 70


class _RefusalError(MnistDvcError):
    """One wrong thing in one place: what it is, where it stands, what was found and what belongs there."""

    def __init__(self, where: object, what: str, *, got: object, expected: object) -> None:
        super().__init__(f"{where}: {what}: got {got}, expected {expected}")


class ParamsError(MnistDvcError):
    """Every problem of a params file at once, one line each: ``file: dotted.key: got ..., expected ...``."""

    exit_code = 2

    def __init__(self, where: object, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{where}: {problem}" for problem in problems))


class DeviceError(MnistDvcError):
    """The params ask for a device that this machine or this build of torch does not have."""

    exit_code = 2


class DataError(_RefusalError):
    """A data file is missing, truncated, corrupted, or not what its name says."""

    exit_code = 65


class ArtifactError(_RefusalError):
    """A file of an earlier stage (model, history) is missing, damaged, or belongs to something else."""

    exit_code = 65


class DownloadError(MnistDvcError):
    """The data set could not be fetched."""

    exit_code = 69


class DivergedError(MnistDvcError):
    """Training met a loss or a gradient that is not finite."""

    exit_code = 70

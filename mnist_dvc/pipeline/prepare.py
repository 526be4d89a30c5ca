"""Stage ``prepare``: find the digits, split them, and write them as one verified file."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from mnist_dvc.data.named import refuse_absent_classes
from mnist_dvc.data.prepared import DIGITS, write_prepared
from mnist_dvc.data.sources import read_digits
from mnist_dvc.data.splits import SPLITS, split
from mnist_dvc.errors import DataError, ImageError
from mnist_dvc.files import exclusive
from mnist_dvc.image import read_picture
from mnist_dvc.running.inputs import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from mnist_dvc.data.splits import RawDigits
    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["prepare"]


def prepare(params: Params, paths: Paths) -> None:
    """Write ``digits.npz`` and ``manifest.json``, and tell what they hold.

    Raises:
        ChangedError: params or code changed meanwhile.
        DataError: a source file is not what it should be, or the digits are too few for the params.
        DownloadError: a data set was asked for by name and cannot be had.
        BusyError: another process works in this workspace.
        OSError: the files cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc prepare", paths.root):
        inputs = Inputs.of(__name__, params, ("data",))
        raw = read_digits(params.data.source, paths.root, environment=os.environ, say=_say, pictures=_read)
        _refuse_large_validation(raw, params.data.validation)
        parts = split(raw, validation=params.data.validation, seed=params.data.seed, holdout=params.data.holdout)
        refuse_absent_classes(parts, raw.pool.where)
        with inputs.publishing():
            chosen = {"validation": params.data.validation, "seed": params.data.seed}
            write_prepared(paths.prepared, raw, parts, **chosen, classes=raw.classes)
    counts = ", ".join(f"{len(parts[name].digits):,} {name}" for name in SPLITS if name in parts)
    print(f"Prepared {raw.dataset}: {counts}  ->  {paths.prepared / DIGITS}")


def _say(line: str) -> None:
    print(f"prepare: {line}", file=sys.stderr)


def _refuse_large_validation(raw: RawDigits, validation: int) -> None:
    """A sample takes fewer by itself; of other digits the user decides how many are left to train on.

    Raises:
        DataError: more than half would be taken.
    """
    most = len(raw.pool) // 2
    if raw.test is not None and validation > most:
        expected = f"at most {most}, half of the training images"
        raise DataError(raw.pool.where, "data.validation", got=validation, expected=expected)


def _read(paths: Sequence[Path]) -> Iterator[NDArray[np.uint8] | ImageError]:
    """Each picture as ``predict`` sees it, or why it sees none; on a terminal, how far that is."""
    console = Console(stderr=True)
    for path in track(paths, "Reading pictures", console=console, transient=True, disable=not console.is_terminal):
        try:
            yield read_picture(path).pixels_HW
        except ImageError as error:
            yield error

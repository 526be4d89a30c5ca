"""Stage ``prepare``: find the digits, split them, and write them as one verified file."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mnist_dvc.data.prepared import DIGITS, write_prepared
from mnist_dvc.data.sources import read_digits
from mnist_dvc.data.splits import SPLITS, split
from mnist_dvc.files import exclusive
from mnist_dvc.running.inputs import Inputs

if TYPE_CHECKING:
    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["prepare"]


def prepare(params: Params, paths: Paths) -> None:
    """Write ``digits.npz`` and ``manifest.json``, and tell what they hold.

    Raises:
        ChangedError: params or code changed meanwhile.
        DataError: a source file is not what it should be.
        DownloadError: MNIST was asked for and cannot be had.
        BusyError: another process works in this workspace.
        OSError: the files cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc prepare"):
        inputs = Inputs.of(__name__, params, ("data",))
        raw = read_digits(params.data.source, paths.root, environment=os.environ, say=_say)
        parts = split(raw, validation=params.data.validation, seed=params.data.seed, holdout=params.data.holdout)
        with inputs.publishing():
            write_prepared(paths.prepared, raw, parts, validation=params.data.validation, seed=params.data.seed)
    counts = ", ".join(f"{len(parts[name].digits):,} {name}" for name in SPLITS if name in parts)
    print(f"Prepared {raw.dataset}: {counts}  ->  {paths.prepared / DIGITS}")


def _say(line: str) -> None:
    print(f"prepare: {line}", file=sys.stderr)

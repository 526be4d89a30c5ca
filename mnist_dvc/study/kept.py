"""Views that an unfinished asking of teachers kept: those that no teacher can have given are asked about again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mnist_dvc.data.prepared import Prepared
from mnist_dvc.errors import ArtifactError, one_line
from mnist_dvc.training.answers import digits_of, read_answers

if TYPE_CHECKING:
    from mnist_dvc.paths import Paths

__all__ = ["forget_unfit_views"]


def forget_unfit_views(paths: Paths) -> None:
    """Remove every kept view of the prepared digits that is damaged or no answer about them, and say so.

    Views of other digits stay: an asking about those may go on with them.

    Args:
        paths: the workspace of the students.

    Raises:
        DataError: there are kept views, and the prepared digits are missing or damaged.
        OSError: a view cannot be read or removed.
    """
    kept = sorted((paths.state / "teach").glob("*/view-*.safetensors"))
    if not kept:
        return
    prepared = Prepared.open(paths.prepared)
    about, images = (prepared.dataset, prepared.digest), len(prepared.read("train"))
    for path in kept:
        try:
            if digits_of(path) == about:
                read_answers(path, dataset=prepared.dataset, data_digest=prepared.digest, images=images)
        except ArtifactError as error:
            print(f"teach: forgot a kept view: {one_line(path, 1024)}: {error.problem}", file=sys.stderr)
            path.unlink(missing_ok=True)

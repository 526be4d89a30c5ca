"""A folder of the user's own IDX files, of any count, with up to ten classes that may have names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_dvc.data.arrays import CLASSES, MOST_IMAGES, LabelledImages
from mnist_dvc.data.known import KNOWN
from mnist_dvc.data.named import EXPECTED_NAME, NamedDigits, class_names, is_name, with_test
from mnist_dvc.data.packed import read_idx
from mnist_dvc.errors import DataError
from mnist_dvc.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CLASS_LIST", "PUBLISHED", "dataset_name", "name_of", "own_files", "read_own_idx"]

PUBLISHED = ("mnist", "mnist-5k", *KNOWN)
"""Names that stand for published bytes, whose digests are demanded."""
CLASS_LIST = "classes.txt"
"""Optional, beside the files: the name of label 0, of label 1, ..., a line each."""
LARGEST_LIST = 4096
TRAIN, TEST = ("train",), ("t10k", "test")
KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
_CLASSES = {
    name: known.classes
    for short, known in KNOWN.items()
    for name in (short, known.published_as.lower(), f"{short}-mnist")
}
"""Those of a folder that is called as a known data set, of which there are several spellings."""


def name_of(folder: Path) -> str:
    """What the data set in ``folder`` is called: as the folder, or as the one around it where that is ``raw``."""
    whole = Path(os.path.abspath(folder))  # noqa: PTH100  (a link has the name that the user gave it)
    return whole.parent.name if whole.name == "raw" else whole.name


def dataset_name(name: str, where: object) -> str:
    """``name`` of a folder as that of a data set of the user's own; with ``-folder`` after it if it stands for others.

    Raises:
        DataError: it cannot stand in a table.
    """
    if not is_name(name):
        raise DataError(where, "name of the folder, which names the data set", got=repr(name), expected=EXPECTED_NAME)
    return f"{name}-folder" if name.lower() in PUBLISHED else name


def own_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The IDX files in ``folder``, by part (train or test) and kind.

    A name may begin with ``t10k`` or ``test``, may have a dot for its last hyphen but one, and may end with ``.gz``.
    """
    found = {}
    for part, prefixes in (("train", TRAIN), ("test", TEST)):
        for kind in KINDS:
            stems = [f"{prefix}-{spelt}" for prefix in prefixes for spelt in (kind, kind.replace("-idx", ".idx"))]
            paths = [folder / f"{stem}{ending}" for stem in stems for ending in ("", ".gz")]
            path = next((path for path in paths if path.exists()), None)
            if path is not None:
                found[part, kind] = path
    return found


def read_own_idx(folder: Path, say: Callable[[str], None]) -> NamedDigits:
    """The IDX files in ``folder``, whose digests are recorded and not demanded, named by :func:`name_of`.

    Raises:
        DataError: a file is missing, too large or damaged, images are not 28 x 28, a label has no class, or a name is
            unfit.
        OSError: a file cannot be read.
    """
    files, name = own_files(folder), name_of(folder)
    dataset = dataset_name(name, folder)
    parts = {part for part, _ in files} | {"train"}
    classes = _read_classes(folder, name)
    origin: dict[str, str] = {}
    read = {part: _read_part(folder, files, part, origin) for part in sorted(parts)}
    for part, images in read.items():
        largest = int(images.labels_N.max())
        if classes and largest >= len(classes):
            names = f"at most {len(classes) - 1}, the last of {len(classes)} names"
            raise DataError(images.where, f"largest label of {part}", got=largest, expected=names)
    say(f"data set {dataset}: files of your own, whose SHA-256 are recorded in the manifest")
    raw = NamedDigits(dataset, origin, read["train"], read.get("test"), classes)
    if raw.test is not None:
        return raw
    say("no test files: every seventh image of each class is kept for the test")
    return with_test(raw)


def _read_part(folder: Path, files: dict[tuple[str, str], Path], part: str, origin: dict[str, str]) -> LabelledImages:
    """Images and labels of one part; their digests are added to ``origin``."""
    arrays = []
    for kind, dimensions in zip(KINDS, (3, 1), strict=True):
        path = files.get((part, kind))
        if path is None:
            raise DataError(folder / f"{part}-{kind}", "file", got="nothing", expected="an IDX file, plain or .gz")
        array, origin[path.name.removesuffix(".gz")] = read_idx(path, dimensions=dimensions)
        if len(array) > MOST_IMAGES:
            raise DataError(path, "count", got=len(array), expected=f"at most {MOST_IMAGES:,}")
        arrays.append(array)
    return LabelledImages(arrays[0], arrays[1], str(files[part, KINDS[0]]))


def _read_classes(folder: Path, name: str) -> tuple[str, ...]:
    """The names that the folder gives, or those of the known data set of this name, or none."""
    path = folder / CLASS_LIST
    if not path.exists():
        return _CLASSES.get(name.lower(), ())
    content = read_regular(path, LARGEST_LIST, DataError, f"up to {CLASSES} names, a line each")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(path, "content", got=f"no UTF-8 ({error.reason})", expected="names, a line each") from error
    return class_names([line.strip() for line in lines if line.strip()], path)

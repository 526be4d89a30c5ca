"""A folder of pictures by class, such as ``train/3/a.png``, as digits; the pictures are read by whoever calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.arrays import CLASSES, MOST_IMAGES, LabelledImages
from mnist_dvc.data.folders import dataset_name, name_of
from mnist_dvc.data.named import NamedDigits, class_names, with_test
from mnist_dvc.errors import DataError, ImageError, printable
from mnist_dvc.files import file_sha256, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Reader = Callable[[Sequence[Path]], Iterator[NDArray[np.uint8] | ImageError]]
    """From files to images (28, 28), 0 background to 255 ink, in their order; or why one shows no digit."""

__all__ = ["Reader", "has_classes", "read_pictures"]

PARTS = {"train": ("train", "training"), "test": ("test", "testing")}
"""What the folders of the two parts may be called."""
MOST_TOLD = 20
"""Refused pictures that have a line of their own."""


def has_classes(folder: Path) -> bool:
    """Whether ``folder`` may be one of pictures by class: there is a folder in it."""
    return folder.is_dir() and bool(_folders(folder))


def _folders(folder: Path) -> dict[str, Path]:
    """The folders in ``folder`` that are not hidden, by name."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}


def read_pictures(folder: Path, read: Reader, say: Callable[[str], None]) -> NamedDigits:
    """The pictures in ``folder``, which is named as they are: ``train/CLASS/...`` and ``test/CLASS/...``.

    Without a folder ``test`` every seventh picture of each class, by name, is the test; without ``train`` and ``test``
    the folders in ``folder`` are the classes. Classes that are called as digits are those digits, others get the labels
    0, 1, ... in the order of their names. Hidden files are passed over.

    Raises:
        DataError: a picture was refused (each is said, with its reason), a class has none, the parts have other
            classes, there are too many, or a name is unfit.
        OSError: the system does not let us look.
    """
    dataset, found = dataset_name(name_of(folder), folder), _folders(folder)
    roots = {part: found[name] for part, names in PARTS.items() for name in names if name in found}
    if "train" not in roots:
        if roots:
            raise DataError(folder / "train", "folder", got="nothing", expected="the classes to learn, beside test")
        roots = {"train": folder}
    else:
        aside = sorted(found.keys() - {root.name for root in roots.values()})
        if aside:
            say(f"not read, neither train nor test: {printable(', '.join(aside))}")
    files = {part: _files(root) for part, root in roots.items()}
    labels, classes = _labels(files, folder)
    origin = {part: _digest(folder, of_class) for part, of_class in files.items()}
    parts = _read_parts(files, labels, roots, read, say)
    raw = NamedDigits(dataset, origin, parts["train"], parts.get("test"), classes)
    if raw.test is not None:
        return raw
    say("no folder test: every seventh picture of each class, by name, is kept for the test")
    return with_test(raw)


def _files(root: Path) -> dict[str, list[Path]]:
    """All files in the folder of each class and in folders within it, by class, in the order of their names.

    Raises:
        DataError: a class has none, or there are too many.
    """
    found = {
        name: sorted(path for path in place.rglob("*") if path.is_file() and not _hidden(path, place))
        for name, place in _folders(root).items()
    }
    for name, paths in found.items():
        if not paths:
            raise DataError(root / name, "folder of a class", got="no files", expected="pictures")
    total = sum(map(len, found.values()))
    if total > MOST_IMAGES:
        raise DataError(root, "pictures", got=total, expected=f"at most {MOST_IMAGES:,}")
    return found


def _hidden(path: Path, place: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(place).parts)


def _labels(files: dict[str, dict[str, list[Path]]], folder: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """The label of each class, and the names of the labels where they are not digits."""
    names = sorted(files["train"])
    for part, of_class in files.items():
        if sorted(of_class) != names:
            raise DataError(folder, f"classes of {part}", got=sorted(of_class), expected=f"{names}, as of train")
    classes = class_names(names, folder)
    digits = [str(digit) for digit in range(CLASSES)]
    if set(names) <= set(digits):
        return {name: int(name) for name in names}, ()
    return {name: label for label, name in enumerate(names)}, classes


def _digest(folder: Path, of_class: dict[str, list[Path]]) -> str:
    """SHA-256 over the digest and the name of each file of a part, so that it is the same wherever they lie."""
    listed = "".join(
        f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for paths in of_class.values() for path in paths
    )
    return sha256(listed.encode(errors="surrogateescape"))


def _read_parts(
    files: dict[str, dict[str, list[Path]]],
    labels: dict[str, int],
    roots: dict[str, Path],
    read: Reader,
    say: Callable[[str], None],
) -> dict[str, LabelledImages]:
    """The images of every part; all that is refused in any of them is said before it ends in an error."""
    pairs = [(part, labels[name], path) for part in files for name, paths in files[part].items() for path in paths]
    images: dict[str, list[NDArray[np.uint8]]] = {part: [] for part in roots}
    refused = 0
    for (part, _, _), found in zip(pairs, read([path for _, _, path in pairs]), strict=True):
        if not isinstance(found, ImageError):
            images[part].append(found)
            continue
        refused += 1
        if refused <= MOST_TOLD:
            say(str(found))
    _refuse(refused, len(pairs), roots["train"], say)
    return {
        part: LabelledImages(
            np.stack(images[part]), np.array([label for of, label, _ in pairs if of == part], np.uint8), str(root)
        )
        for part, root in roots.items()
    }


def _refuse(refused: int, total: int, where: Path, say: Callable[[str], None]) -> None:
    if refused > MOST_TOLD:
        say(f"... and {refused - MOST_TOLD:,} more")
    if refused:
        expected = "none: mend them, or take them away"
        raise DataError(where, "pictures not read", got=f"{refused:,} of {total:,}", expected=expected)

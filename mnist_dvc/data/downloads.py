"""The files of a data set that torchvision knows, from its mirrors, with its digests, bounded in time and size."""

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

from mnist_dvc.errors import DownloadError, one_line
from mnist_dvc.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Resource", "download", "folder_of", "resources"]

TEMPORARY = ".download-"
STALLED_AFTER_S = 30.0
"""Without a byte from a mirror, the next one is asked."""
GIVEN_UP_AFTER_S = 600.0
"""For one file from one mirror; the largest but EMNIST's has 26,421,880 bytes."""
LARGEST_DOWNLOAD = 32 * 2**20
"""Bytes; no more is received, whatever a mirror sends."""
LARGEST_ARCHIVE, ARCHIVE_AFTER_S = 640 * 2**20, 7200.0
"""The same two for EMNIST, which is published as one file of 561,753,746 bytes with all its parts."""
CHUNK = 2**16

_BROKEN = (
    "{} download failed: torchvision, which knows its mirrors, cannot be imported ({}): install the one that goes "
    "with torch: uv pip install --reinstall --torch-backend=auto torch torchvision"
)


@dataclass(frozen=True, slots=True)
class Resource:
    """A published file: its name, its MD5, the addresses that have it, and what is taken from one of them at most."""

    name: str
    md5: str
    urls: tuple[str, ...]
    largest: int
    """Bytes."""
    given_up_after_s: float


class _MirrorError(Exception):
    """A mirror does not give a file; the text says why."""


def resources(dataset: str) -> tuple[Resource, ...]:
    """The files of ``dataset``, the name of a class of torchvision.

    Raises:
        DownloadError: torchvision is here and cannot be imported, as where its build is not that of torch.
    """
    try:
        from torchvision import datasets  # noqa: PLC0415  (imports torch: seconds for a download alone)
    except (ImportError, OSError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "torchvision":
            raise  # the extra is missing, which the command line knows how to say
        raise DownloadError(_BROKEN.format(dataset, one_line(error))) from error
    known = getattr(datasets, dataset)
    if dataset == "EMNIST":
        return (_resource([known.url], known.md5, LARGEST_ARCHIVE, ARCHIVE_AFTER_S),)
    if dataset == "QMNIST":
        return tuple(_resource([url], md5) for part in ("train", "test") for url, md5 in known.resources[part])
    return tuple(_resource([f"{mirror}{name}" for mirror in known.mirrors], md5) for name, md5 in known.resources)


def _resource(urls: list[str], md5: str, largest: int | None = None, after_s: float = GIVEN_UP_AFTER_S) -> Resource:
    """The file at ``urls``, under the name that stands at the end of each."""
    return Resource(urls[0].rpartition("/")[2], md5, tuple(urls), largest or LARGEST_DOWNLOAD, after_s)


def folder_of(dataset: str) -> Path:
    """Where torchvision keeps the files of ``dataset``, relative to its root, and so do we."""
    return Path(dataset, "raw")


def download(dataset: str, target: Path, check: Callable[[Path], object]) -> Path:
    """Fetch the files of ``dataset``, verify them in a temporary folder, move them to ``target``, and return that.

    Args:
        dataset: the name of a class of torchvision.
        target: what torchvision calls the root.
        check: reads the files under a root, and raises if they are not the data set.

    Raises:
        DownloadError: no mirror delivered some file, or torchvision, which knows them, is broken.
        DataError: ``check`` refuses what was delivered.
        OSError: the files cannot be kept.
    """
    wanted = resources(dataset)
    target.mkdir(parents=True, exist_ok=True)
    for left in target.glob(f"{TEMPORARY}*"):  # by a run that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target) as temporary:
        inside = Path(temporary) / folder_of(dataset)
        for resource in wanted:
            _fetch(dataset, resource, inside / resource.name)
        check(Path(temporary))
        try:
            Path(temporary, dataset).replace(target / dataset)  # the files are in place or absent as a whole
        except OSError:
            if not all((target / folder_of(dataset) / resource.name).exists() for resource in wanted):
                raise  # otherwise another run was faster, and its files will be verified like any
    return target


def _fetch(dataset: str, resource: Resource, path: Path) -> None:
    """Write the file ``resource`` to ``path``, from the first mirror that has it whole.

    Raises:
        DownloadError: none has; the message gives the reason of each.
        OSError: it cannot be written.
    """
    reasons = []
    for url in resource.urls:
        try:
            write_atomically(path, _verified(url, resource))
        except _MirrorError as error:
            reasons.append(f"{url.removesuffix(resource.name)}: {error}")
            continue
        return
    raise DownloadError(f"{dataset} download failed: {resource.name}: {one_line('; '.join(reasons), 1000)}")


def _verified(url: str, resource: Resource) -> Iterator[bytes]:
    """What stands at ``url``, in parts; it ends with an error unless the whole is ``resource``.

    Raises:
        _MirrorError: as said, or the mirror does not give it.
    """
    digest, size = hashlib.md5(usedforsecurity=False), 0
    try:
        for chunk in _receive(url, resource.largest, resource.given_up_after_s):
            digest.update(chunk)
            size += len(chunk)
            yield chunk
    except (OSError, HTTPException, ValueError) as error:
        raise _MirrorError(one_line(error, 120)) from error
    if digest.hexdigest() != resource.md5:
        raise _MirrorError(f"{size} bytes with MD5 {digest.hexdigest()}, not {resource.md5}")


def _receive(url: str, largest: int, given_up_after_s: float) -> Iterator[bytes]:
    """What stands at ``url``, in parts, at most ``largest`` bytes of it.

    Raises:
        OSError: the address cannot be reached, says no, says nothing for ``STALLED_AFTER_S``, or is not done after
            ``given_up_after_s``.
        HTTPException, ValueError: it does not speak HTTP, or leads to something that is no address.
    """
    chunks: SimpleQueue[bytes | Exception] = SimpleQueue()
    # A thread, since no timeout of urllib, torchvision, torch.hub or requests ends the look-up of a name or a head that
    # drips in; torchvision and torch.hub also take an endless file, and all four an endless page of a redirection.
    threading.Thread(target=_pump, args=(url, chunks, largest), daemon=True).start()
    start, size = time.monotonic(), 0
    try:
        while chunk := chunks.get(timeout=STALLED_AFTER_S):
            if isinstance(chunk, Exception):
                raise chunk
            size += len(chunk)
            _show(f"\r{url}: {size / 1e6:.1f} MB")
            if size > largest:
                raise ValueError(f"more than {largest} bytes")
            if time.monotonic() - start > given_up_after_s:
                raise TimeoutError(f"not done after {given_up_after_s:g} s")
            yield chunk
    except Empty as error:
        raise TimeoutError(f"no byte for {STALLED_AFTER_S:g} s") from error
    finally:
        _show("\n")


def _pump(url: str, chunks: SimpleQueue[bytes | Exception], largest: int) -> None:
    """Put what stands at ``url`` into ``chunks``, then an empty one or the error; stop soon after the largest size."""
    request = urllib.request.Request(url, headers={"User-Agent": "mnist-dvc"})  # noqa: S310  (torchvision's addresses)
    size = 0
    try:
        # Twice the time of the reader, who gives up first: this one only ends the thread.
        with urllib.request.build_opener(_Redirect).open(request, timeout=2 * STALLED_AFTER_S) as response:
            while size <= largest and (chunk := response.read1(CHUNK)):
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

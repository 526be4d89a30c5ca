"""Files in and out: what is written appears whole under its name or not at all, what is read is regular and bounded."""

from __future__ import annotations

import contextlib
import csv
import errno
import glob
import hashlib
import io
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from filelock import FileLock, Timeout

from mnist_dvc.errors import ArtifactError, BusyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mnist_dvc.errors import RefusalError

__all__ = [
    "BLANK",
    "SUMS",
    "check_writable",
    "csv_bytes",
    "exclusive",
    "file_sha256",
    "json_bytes",
    "name_in",
    "open_regular",
    "own_sums",
    "publish",
    "read_regular",
    "recorded_sha256",
    "refuse_broken_seal",
    "refuse_other_digest",
    "refuse_unrecorded",
    "sealed",
    "sha256",
    "sha256sums",
    "write_atomically",
]

_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_PERMISSIONS = 0o666
"""Of a new file, less what the process masks."""
SUMS = "SHA256SUMS"
"""Name of the list of digests beside the files that it is about."""
BLANK = "0" * 64
"""Stands in a file for the SHA-256 of the whole while that is computed."""
_HOLDER_LENGTH = 200
_SUMS_LENGTH = 10_000
_LARGEST_HASHED = 2**30


def write_atomically(path: Path, content: bytes | Iterator[bytes]) -> None:
    """Replace ``path`` by ``content``: a reader, now or after a crash, sees the old bytes or the new, never a mixture.

    Content that comes in parts is never in memory as a whole; an error that it ends with leaves the old bytes.

    Parent folders are made. The temporary file stands in the same folder, so that the rename cannot become a copy, nor
    be written through a link into a cache; file and folder are flushed to the disk before and after it. What a killed
    process left of an earlier attempt is removed: callers hold the lock of their workspace (:func:`exclusive`), so no
    other process is at it.

    Raises:
        OSError: the system refused; it names a file, the old one is untouched and the temporary one removed.
    """
    with _written(path, content) as temporary:
        os.replace(temporary, path)  # noqa: PTH105  (the tests of crash points count the calls of os)
    _sync_folder(path.parent)


def publish(contents: Mapping[Path, bytes], record: Path) -> None:
    """Replace files that belong together; ``record``, one of them, tells of the others.

    All bytes are on the disk before anything changes, so a full disk changes nothing. Then the record goes first and
    comes back last: whoever finds it, now or after a crash, finds the others as it tells of them.

    Raises:
        OSError: as :func:`write_atomically`.
    """
    others = [path for path in contents if path != record]
    with contextlib.ExitStack() as stack:
        temporaries = {path: stack.enter_context(_written(path, content)) for path, content in contents.items()}
        record.unlink(missing_ok=True)
        _sync_folder(record.parent)
        for path in (*others, record):
            os.replace(temporaries[path], path)  # noqa: PTH105
            _sync_folder(path.parent)


@contextlib.contextmanager
def _written(path: Path, content: bytes | Iterator[bytes]) -> Iterator[Path]:
    """``content`` on the disk in a temporary file beside ``path``, which the body may rename; else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for stray in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        stray.unlink(missing_ok=True)
    temporary = _temporary(path)
    try:
        handle = os.open(temporary, _OPEN_FLAGS, _PERMISSIONS)
        try:
            for part in [content] if isinstance(content, bytes) else content:
                _write_all(handle, part)
            os.fsync(handle)
        finally:
            os.close(handle)
        yield temporary
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # calls that take a handle know no name
            error.filename = str(path)
        raise


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _write_all(handle: int, content: bytes) -> None:
    """The system may take less than it is given, on a disk that fills up for one."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def check_writable(path: Path) -> None:
    """Meet now, before hours of work, what :func:`write_atomically` would meet at their end.

    Raises:
        OSError: a folder has the name of the file, or its own folder cannot be made or written to.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, _OPEN_FLAGS, _PERMISSIONS))
    temporary.unlink()


@contextlib.contextmanager
def exclusive(folder: Path, who: str) -> Iterator[None]:
    """Be the only process between enter and exit that works in the workspace whose state ``folder`` holds.

    The kernel keeps the lock and gives it back when the process ends, however it ends; the note about the holder
    serves the words of a refusal only.

    Args:
        folder: where the lock file stands; made if absent.
        who: the command, for the refusal of others.

    Raises:
        BusyError: another process holds it.
        OSError: the system refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, note = FileLock(folder / "lock", blocking=False), folder / "holder"
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"{folder / 'lock'}: got a workspace that {_holder(note)} works in, expected a free one; "
            "wait for it or stop it: a training that is stopped goes on when the same command runs again"
        ) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_atomically(note, f"process {os.getpid()} ({who}, since {since})".encode())
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _holder(note: Path) -> str:
    try:
        content = read_regular(note, _HOLDER_LENGTH, ArtifactError, "a note")
    except (OSError, ArtifactError):
        return "another process"
    return content.decode("utf-8", "replace")


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the system can open folders (Windows cannot)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_regular(path: Path, largest: int, refusal: type[RefusalError], expected: str) -> bytes:
    """All bytes of ``path``, which may be a link but must lead to a regular file.

    A pipe or a device never blocks the reader, and no file fills the memory, whatever it says of its size.

    Args:
        path: what to read.
        largest: size in bytes beyond which nothing is read.
        refusal: the error to raise.
        expected: what belongs there, for its message.

    Raises:
        RefusalError: of the class ``refusal``: nothing there, not a regular file, or too large.
        OSError: the system refused to read it.
    """
    with open_regular(path, largest, refusal, expected) as file:
        content = file.read(largest + 1)
    if len(content) > largest:  # it grew after it was opened
        raise refusal(path, "size", got=f"more than {largest:,} bytes", expected=expected)
    return content


@contextlib.contextmanager
def open_regular(path: Path, largest: int, refusal: type[RefusalError], expected: str) -> Iterator[BinaryIO]:
    """``path`` opened for reading in parts, under the conditions and with the arguments of :func:`read_regular`.

    Raises:
        RefusalError: as there.
        OSError: as there.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise refusal(path, "file", got="nothing", expected=expected) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise refusal(path, "file", got="something else than a file", expected=expected)
        if status.st_size > largest:
            raise refusal(path, "size", got=f"more than {largest:,} bytes", expected=expected)
        with os.fdopen(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def sha256(content: bytes | memoryview) -> str:
    """SHA-256 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str | None:
    """SHA-256 of the file at ``path``; None where there is none, or none that is read (a pipe, one of gigabytes)."""
    try:
        with open_regular(path, _LARGEST_HASHED, ArtifactError, "a file") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # any opened file will do
    except (ArtifactError, OSError):
        return None


def sha256sums(contents: Mapping[str, bytes]) -> bytes:
    """Digests by file name, in the form that ``sha256sum --check`` reads."""
    return "".join(f"{sha256(content)}  {name}\n" for name, content in contents.items()).encode()


def name_in(sums: Path, path: Path) -> str:
    """What the list of digests ``sums`` calls ``path``: its name relative to the folder of the list."""
    return Path(os.path.relpath(path, sums.parent)).as_posix()


def sealed(content: bytes) -> bytes:
    """``content`` with its own SHA-256 in place of the first ``BLANK``: a file that can tell that it was changed."""
    return content.replace(BLANK.encode(), sha256(content).encode(), 1)


def refuse_broken_seal(path: Path, content: bytes, recorded: str) -> None:
    """Compare a file with the digest ``recorded`` that :func:`sealed` left in it.

    Raises:
        ArtifactError: they differ.
    """
    found = sha256(content.replace(recorded.encode(), BLANK.encode(), 1))
    if found != recorded:
        raise ArtifactError(path, "SHA-256", got=found, expected=f"{recorded}, which the file carries")


def refuse_other_digest(path: Path, content: bytes, sums: Path | None = None) -> None:
    """Compare a file with the digest on record, where there is one.

    DVC trusts a cached file by its permissions and git by its word; this is what sees that it was changed since.

    Args:
        path: the file.
        content: what was read of it.
        sums: the list of digests, by default the one beside it (:func:`recorded_sha256`).

    Raises:
        ArtifactError: they differ, or the list does not name the file.
    """
    recorded, found = recorded_sha256(path, sums), sha256(content)
    if recorded is not None and found != recorded:
        where = f"{_list_with(path).name} beside it" if sums is None else sums
        expected = f"{recorded}, as in {where}"
        raise ArtifactError(path, "SHA-256", got=found, expected=expected)


def refuse_unrecorded(path: Path, content: bytes, sums: Path, expected: str) -> None:
    """Compare a file with its digest in the list ``sums``, which has to be there; ``expected`` says what it is.

    Raises:
        ArtifactError: they differ, the list does not name the file, or there is none.
    """
    if not sums.exists():
        raise ArtifactError(sums, "file", got="nothing", expected=expected)
    refuse_other_digest(path, content, sums)


def own_sums(path: Path) -> Path:
    """The list of digests that holds ``path`` alone."""
    return path.with_name(f"{path.name}.sha256")


def _list_with(path: Path) -> Path:
    own = own_sums(path)
    return own if own.exists() else path.with_name(SUMS)


def recorded_sha256(path: Path, sums: Path | None = None) -> str | None:
    """The digest of ``path`` in ``sums``, by default in a list of its own or the SHA256SUMS of its folder.

    None where there is no list.

    Raises:
        ArtifactError: the list does not name the file, or is no list.
    """
    sums = sums or _list_with(path)
    if not sums.exists():
        return None
    lines = read_regular(sums, _SUMS_LENGTH, ArtifactError, "a list of digests").decode("utf-8", "replace").splitlines()
    recorded = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    name = name_in(sums, path)
    if name not in recorded:
        raise ArtifactError(sums, "list of digests", got=f"nothing for {name}", expected="its SHA-256")
    return recorded[name]


def json_bytes(value: Any) -> bytes:
    """``value`` as indented UTF-8 JSON, the same bytes every time.

    Raises:
        ValueError: a number in ``value`` is NaN or infinite, which JSON cannot say.
    """
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A header and rows as comma-separated UTF-8 text; None becomes an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()

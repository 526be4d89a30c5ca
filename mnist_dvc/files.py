"""Files in and out: what is written appears whole under its name or not at all, what is read is regular and bounded."""

from __future__ import annotations

import contextlib
import csv
import errno
import glob
import hashlib
import io
import itertools
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from filelock import FileLock, Timeout, lock_descriptor

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
_LOCKED_WHILE_RENAMED = os.name != "nt"
"""On Windows a file that is open can be neither renamed nor, by anybody, removed."""
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
    process left of an earlier attempt is removed; several processes may write ``path`` at once, and the last one stays.

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
    for stray in path.parent.glob(_temporaries(path)):
        _remove_if_left(stray)
    with named(path), contextlib.ExitStack() as left, contextlib.ExitStack() as opened:
        handle, temporary = _opened_temporary(path)
        left.callback(temporary.unlink, missing_ok=True)
        opened.callback(os.close, handle)
        for part in [content] if isinstance(content, bytes) else content:
            _write_all(handle, part)
        os.fsync(handle)
        if not _LOCKED_WHILE_RENAMED:
            opened.close()
        yield temporary
        left.pop_all()


def _opened_temporary(path: Path) -> tuple[int, Path]:
    """A new file beside ``path`` that is opened and locked, so that no other process takes it for one that was left."""
    for number in itertools.count():
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{number}.tmp")
        with contextlib.suppress(FileExistsError):  # of a process that has this number on another machine
            handle = os.open(temporary, _OPEN_FLAGS, _PERMISSIONS)
            if _locked(handle) and os.fstat(handle).st_nlink:
                return handle, temporary
            os.close(handle)  # another process was faster, and has removed it
    raise RuntimeError("there is no end to the numbers")


def _locked(handle: int) -> bool:
    """Whether no other process has locked what is open; from now on, this one has, where the system can lock it."""
    try:
        return lock_descriptor(handle, blocking=False)
    except OSError:  # NFS, for one, locks only what is open for writing
        return True


def _remove_if_left(temporary: Path) -> None:
    """Remove what a process that is gone left: the kernel gave its lock back, whereas that of a living one is held."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
        if _LOCKED_WHILE_RENAMED:
            handle = os.open(temporary, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            opened.callback(os.close, handle)
            if not lock_descriptor(handle, blocking=False):
                return
        temporary.unlink()


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """The system's refusal of a handle, which knows no name, or of a temporary file, is told of ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(str(error.filename)).match(_temporaries(path)):
            error.filename, error.filename2 = str(path), None
        raise


def _temporaries(path: Path) -> str:
    """The pattern of all names that :func:`_opened_temporary` gives."""
    return f".{glob.escape(path.name)}.*.tmp"


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
    with named(path):
        handle, temporary = _opened_temporary(path)
        os.close(handle)
        temporary.unlink()


@contextlib.contextmanager
def exclusive(folder: Path, who: str, lasting: Path | None = None) -> Iterator[None]:
    """Be the only process between enter and exit that works in the workspace whose state ``folder`` holds.

    The kernel keeps the lock and gives it back when the process ends, however it ends; the note about the holder
    serves the words of a refusal only. Whoever removes ``folder`` meanwhile removes the name of the lock, under which
    the next process would make and lock another file: so ``lasting`` is locked, too. Windows, which cannot lock a
    folder, removes no file that is open; other systems can, but for some network file systems.

    Args:
        folder: where the lock file stands; made if absent.
        who: the command, for the refusal of others.
        lasting: a folder that is not removed to tidy up, such as the workspace; made if absent. Locks that may be held
            at once do not share it.

    Raises:
        BusyError: another process holds it.
        OSError: the system refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, note = FileLock(folder / "lock", blocking=False, fallback_to_soft=False), folder / "holder"
    with contextlib.ExitStack() as held:
        with named(folder / "lock"):
            try:
                lock.acquire()
            except Timeout as error:
                raise _busy(folder) from error
        held.callback(lock.release)
        if lasting is not None and hasattr(os, "O_DIRECTORY"):
            lasting.mkdir(parents=True, exist_ok=True)
            handle = os.open(lasting, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, handle)
            if not _locked(handle):
                raise _busy(folder)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        held.callback(note.unlink, missing_ok=True)
        write_atomically(note, f"process {os.getpid()} ({who}, since {since})".encode())
        yield


def _busy(folder: Path) -> BusyError:
    holder = "another process"
    with contextlib.suppress(OSError, ArtifactError):
        note = read_regular(folder / "holder", _HOLDER_LENGTH, ArtifactError, "a note")
        holder = note.decode("utf-8", "replace")
    return BusyError(
        f"{folder / 'lock'}: got a workspace that {holder} works in, expected a free one; "
        "wait for it or stop it: a training that is stopped goes on when the same command runs again"
    )


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the system can open folders (Windows cannot)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with named(folder):
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
    with named(path), contextlib.ExitStack() as opened:
        opened.callback(os.close, handle)
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise refusal(path, "file", got="something else than a file", expected=expected)
        if status.st_size > largest:
            raise refusal(path, "size", got=f"more than {largest:,} bytes", expected=expected)
        yield opened.enter_context(os.fdopen(handle, "rb", closefd=False))


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

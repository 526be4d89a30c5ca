"""Address space under a limit (``ulimit -v``), looked at before libraries meet its end, where they hang or crash."""

from __future__ import annotations

import importlib
import mmap
import os
import subprocess
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from typing import TYPE_CHECKING

from mnist_dvc.errors import RoomError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["has_room", "load_openblas", "refuse_little_room", "spare_openblas", "taken", "try_torch_first"]

ROOM = 384 * 2**20
"""Bytes of address space that the smallest command takes; torch takes ten times that."""
SPARE = 64 * 2**20
"""Bytes of address space that must be left over by torch: in its last 50 MB some of its libraries crash."""
LONG = 300
"""Seconds after which torch is not loading but asking for memory, on the slowest disk."""
STATM = "/proc/self/statm"
"""Where Linux tells of the pages that a process has (``man proc_pid_statm``)."""


def has_room(size: int) -> bool:
    """Whether a limit leaves ``size`` bytes of address space. They are asked for and given back; no memory is taken."""
    if os.name == "nt":  # which has no such limits
        return True
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
    except OSError:
        return False
    return True


def refuse_little_room() -> None:
    """Meet now what libraries meet while they are loaded, over which OpenBLAS hangs or sends a Ctrl-C to the process.

    Raises:
        RoomError: a limit leaves less than ``ROOM``.
    """
    if not has_room(ROOM):
        megabytes = ROOM // 2**20
        raise RoomError(f"out of memory: got less than {megabytes} MB of address space, see ulimit -v")


def spare_openblas() -> None:
    """Have the OpenBLAS of numpy and that of scipy take memory for one thread each: nothing of ours is computed there.

    To be called before numpy is imported. What the user has set stays.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def try_torch_first() -> None:
    """Have ``import torch`` tried in a process of its own first, where this one has a limit.

    Where its libraries get no room they end in errors, in ``exit``, in signals (SIGSEGV, SIGABRT) or never, by a few
    megabytes more or less. Without a limit there is nothing to fear, and two seconds to save.
    """
    limit = _limit()
    if limit is not None:
        sys.meta_path.insert(0, _TorchTried(limit))


def _limit() -> int | None:
    """Bytes of address space that the system lets this process have, if it holds it to that and tells of it."""
    if sys.platform != "linux" or not os.path.exists(STATM):  # noqa: PTH110  (nothing is imported for it)
        return None
    import resource  # noqa: PLC0415  (not on Windows)

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def taken() -> int:
    """Bytes of address space that this process has."""
    with open(STATM, encoding="ascii") as file:  # noqa: PTH123  (nothing is imported for it)
        return int(file.read().split()[0]) * mmap.PAGESIZE


_TRIAL = """
import mmap, sys
sys.path[:] = sys.argv[2:]
from mnist_dvc import room
from mnist_dvc.memory import is_out_of_memory
try:
    room.load_openblas()
    taken = mmap.mmap(-1, max(int(sys.argv[1]) - room.taken(), 0) + room.SPARE, prot=0)
    import torch
except Exception as error:
    sys.exit(is_out_of_memory(error))
"""
"""With as little room as its parent has, and a margin less; it runs nothing of the working folder that its parent would
not. An error that is none of memory is the parent's to meet."""


class _TorchTried:
    """A finder of torch whose loader tries it first; to ask whether there is one costs nothing."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As Python finds it, of torch alone."""
        if fullname != "torch":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Tried(self._limit, spec.loader)
        return spec


class _Tried(SourceFileLoader):
    def __init__(self, limit: int, loader: SourceFileLoader) -> None:
        super().__init__(loader.name, loader.path)
        self._limit = limit

    def exec_module(self, module: ModuleType) -> None:
        """As Python does, after the trial.

        Raises:
            RoomError: torch does not fit.
        """
        load_openblas()
        _try_torch(self._limit)
        super().exec_module(module)


def load_openblas() -> None:
    """Load that of numpy and of scipy now: one that gets no memory while it is loaded asks for ever, deaf to signals.

    Raises:
        RoomError: as :func:`refuse_little_room`.
    """
    refuse_little_room()
    importlib.import_module("scipy.special")


def _try_torch(limit: int) -> None:
    command = [sys.executable, "-P", "-c", _TRIAL, str(taken()), *sys.path]
    quiet = subprocess.DEVNULL
    try:
        fits = subprocess.run(  # noqa: S603  (this file's words)
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=LONG, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        fits = 1
    if fits != 0:
        raise RoomError(
            f"out of memory: got {limit // 2**20} MB of address space, into which torch does not fit; see ulimit -v"
        )

"""Out of memory, as Python, torch, onnxruntime and the libraries below them say it, or end the process over it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from typing import TYPE_CHECKING

from mnist_dvc.room import has_room

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_out_of_memory", "when_a_library_exits"]

SCARCE = 64 * 2**20
"""Bytes of address space, less than which a library of torch or scipy takes; where a limit leaves less, it is met."""

_SIGNS = (
    "DefaultCPUAllocator: ",
    "bad allocation",
    "bad_alloc",
    "can't start new thread",
    "cannot allocate memory",
    "could not create a memory",
    "could not create a primitive",
    "failed to allocate memory",
    "failed to map segment",
    "failed to map the segment",
    "thread-pool failed to start",
    "unable to allocate",
    "unable to mmap",
)
"""Parts of what libraries say, in whatever letters."""
_STATIC = "static tls"
"""Of a library that was loaded too late; it cannot be allocated, either, but memory would not help."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or what it was raised over, comes of too little memory, address space or room for threads.

    No library is imported for it. A library that cannot be mapped is an ``ImportError``, and what is imported around it
    may wrap that in another.
    """
    seen: BaseException | None = error
    while seen is not None:
        if _says_so(seen):
            return True
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, SystemError):  # how C code that got no memory and says nothing ends in Python
        return not has_room(SCARCE)
    words = str(error).lower()
    return _STATIC not in words and any(sign.lower() in words for sign in _SIGNS)


_CPP, _LACKING = "libstdc++.so.6", (b"St9bad_alloc", b"St12system_error")
"""What C++ throws where there is no memory, or no thread."""
_FOR_WORDS = 2**20
"""Bytes, given back before anything is said."""
_kept: list[object] = []
"""What libraries are to call; it would be freed with the last name of it."""


def when_a_library_exits(last_words: Callable[[], int]) -> None:
    """Have ``last_words`` called and its result be the exit code where a library ends the process for want of memory.

    OpenBLAS and OpenMP call ``exit`` where they get no memory or no threads, and C++ calls ``terminate``. No exception
    comes of either, and ``atexit`` of Python is too late to change the code. The process itself has to end by
    ``os._exit``, which asks nobody.
    """

    def leave() -> None:
        _kept.remove(room)  # for the words
        os._exit(last_words())

    def terminate() -> None:
        if thrown() in _LACKING:
            leave()
        os.abort()

    if os.name == "nt":  # each library may have a C library of its own there
        return
    room = bytearray(_FOR_WORDS)
    _kept.extend([room, ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: leave()), ctypes.CFUNCTYPE(None)(terminate)])
    ctypes.CDLL(None)["__cxa_atexit"](_kept[1], None, None)
    with contextlib.suppress(OSError):  # another system has another name for it
        cpp = ctypes.CDLL(_CPP)
        thrown = _exception_type(cpp)
        cpp["_ZSt13set_terminatePFvvE"](_kept[2])


def _exception_type(cpp: ctypes.CDLL) -> Callable[[], bytes]:
    """What tells the type of the C++ exception that nobody caught, mangled: the second word of its description."""
    current = cpp["__cxa_current_exception_type"]
    current.restype = ctypes.POINTER(ctypes.c_char_p)
    current()  # ctypes sets itself up by the first call, which takes memory

    def thrown() -> bytes:
        try:
            description = current()
            return description[1] if description else b""
        except MemoryError:
            return _LACKING[0]

    return thrown

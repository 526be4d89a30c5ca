"""Out of memory is told as such, whoever says it, and whoever ends the process over it."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
from helpers import ROOT, posix

from mnist_dvc import memory
from mnist_dvc.memory import is_out_of_memory

SAID = [
    MemoryError(),
    MemoryError("Unable to allocate 3.00 GiB for an array"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ImportError("Exception caught: std::bad_alloc"),
    ImportError("libc10.so: cannot allocate memory"),
    RuntimeError("can't start new thread"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("could not create a primitive"),
    RuntimeError("Failed to allocate memory for requested buffer of size 9"),
    RuntimeError("unable to mmap 9 bytes from file <filename not specified>"),
]
NOT_SAID = [
    ImportError("libgomp.so: cannot allocate memory in static TLS block"),
    ImportError("libcudart.so: cannot open shared object file"),
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("a memory of it"),
]


@pytest.mark.parametrize("error", SAID, ids=str)
def test_out_of_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped = ImportError("cannot import name x")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize("error", NOT_SAID, ids=str)
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_silent_error_of_c_code_is_one_where_no_room_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin within: elsewhere it is a defect."""
    error = SystemError("error return without exception set")
    assert not is_out_of_memory(error)
    monkeypatch.setattr(memory, "SCARCE", 2**62)
    assert is_out_of_memory(error)


ENDS = """
import ctypes
from mnist_dvc import program
def run():
    {way}
    return 0
program._run = run
{sabotage}
program.main()
"""
EXIT = "ctypes.CDLL(None).exit(1)"
TERMINATE = """cpp = ctypes.CDLL("libstdc++.so.6"); cpp[{thrower!r}](*{arguments})"""
BAD_ALLOC = TERMINATE.format(thrower="_ZSt17__throw_bad_allocv", arguments=())
LOGIC = TERMINATE.format(thrower="_ZSt19__throw_logic_errorPKc", arguments=(b"wrong",))


def ended(way: str, sabotage: str = "") -> subprocess.CompletedProcess[str]:
    code = ENDS.format(way=way, sabotage=sabotage)
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


linux = pytest.mark.skipif(sys.platform != "linux", reason="the C++ library has another name")


@pytest.mark.parametrize("way", [pytest.param(EXIT, marks=posix), pytest.param(BAD_ALLOC, marks=linux)])
def test_library_that_ends_the_process_for_want_of_memory_ends_it_in_74(way: str) -> None:
    result = ended(way)
    assert result.returncode == 74
    assert result.stderr.startswith("mnist-dvc: out of memory or of threads (a library ended the process")


@linux
def test_defect_of_a_library_is_not_called_so() -> None:
    result = ended(LOGIC)
    assert result.returncode == -6
    assert "out of memory" not in result.stderr


@linux
@pytest.mark.parametrize(("way", "code"), [(EXIT, 1), (BAD_ALLOC, -6)])
def test_library_would_choose_the_code_without_us(way: str, code: int) -> None:
    """The twin."""
    assert ended(way, "program.when_a_library_exits = lambda _: None").returncode == code

"""Out of memory is told as such, whoever says it, and whoever ends the process over it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT, posix, write_params

from mnist_dvc import memory
from mnist_dvc.errors import RoomError
from mnist_dvc.memory import is_out_of_memory, refuse_little_room

if TYPE_CHECKING:
    from pathlib import Path

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


def test_little_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_little_room()
    monkeypatch.setattr(memory, "ROOM", 2**62)
    with pytest.raises(RoomError, match="out of memory: got less than"):
        refuse_little_room()


def test_silent_error_of_c_code_is_one_where_no_room_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin within: elsewhere it is a defect."""
    error = SystemError("error return without exception set")
    assert not is_out_of_memory(error)
    monkeypatch.setattr(memory, "SCARCE", 2**62)
    assert is_out_of_memory(error)


LIMIT = "resource.setrlimit(resource.RLIMIT_AS, (2**45, resource.getrlimit(resource.RLIMIT_AS)[1]))"
LOADED = """
import os, resource, sys
from mnist_dvc import cli, memory
{before}
sys.argv = ["mnist-dvc", "evaluate"]
memory.spare_openblas()
cli._run()
names = [*sys.modules]
print(names.index("scipy.special") < names.index("torch"), os.environ["OPENBLAS_NUM_THREADS"])
"""


@posix
@pytest.mark.parametrize(
    ("before", "set_by_user", "told"),
    [(LIMIT, {}, "True 1"), (LIMIT, {"OPENBLAS_NUM_THREADS": "3"}, "True 3"), ("", {}, "False 1")],
    ids=["limit", "the user's threads", "twin: no limit"],
)
def test_openblas_is_loaded_before_torch_takes_the_room(
    tmp_path: Path, before: str, set_by_user: dict[str, str], told: str
) -> None:
    write_params(tmp_path)
    kept = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    result = subprocess.run(
        [sys.executable, "-c", LOADED.format(before=before)],
        cwd=tmp_path, env=kept | set_by_user, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stdout == f"{told}\n", result.stderr


ENDS = """
import ctypes
from mnist_dvc import cli
def run():
    {way}
    return 0
cli._run = run
{sabotage}
cli.main()
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
    assert ended(way, "cli.when_a_library_exits = lambda _: None").returncode == code


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) * 2**20,) * 2)
from mnist_dvc import cli
{sabotage}
sys.argv = ["mnist-dvc", *sys.argv[2:]]
cli.main()
"""


def limited(folder: Path, megabytes: int, *words: str, sabotage: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED.format(sabotage=sabotage), str(megabytes), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


COMMANDS = [
    ("prepare", "-S", "data.source=sample"), ("train",), ("evaluate",), ("export",), ("report",), ("summary",),
    ("predict", "x"), ("init", "new"), ("demo", "--no-browser"), ("study", "summary"),
]  # fmt: skip


@linux
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_too_little_memory_for_any_command_ends_in_74_at_once(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = limited(tmp_path, 200, *words)
    assert (result.returncode, result.stdout) == (74, "")
    assert result.stderr == "mnist-dvc: out of memory: got less than 384 MB of address space, see ulimit -v\n"
    assert list(tmp_path.iterdir()) == []


@linux
def test_torch_that_does_not_fit_ends_in_74(tmp_path: Path) -> None:
    """In any build of torch: some of its libraries are larger than what is left."""
    result = limited(tmp_path, 560, "summary", "--model", "compact")
    assert result.returncode == 74
    assert result.stderr.splitlines()[-1].startswith("mnist-dvc: out of memory")


@linux
def test_torch_that_does_not_fit_would_be_an_internal_error(tmp_path: Path) -> None:
    """The twin."""
    sabotage = "cli.is_out_of_memory = lambda _: False; cli.when_a_library_exits = lambda _: None"
    assert limited(tmp_path, 560, "summary", "--model", "compact", sabotage=sabotage).returncode in (70, 1, -6)


@linux
def test_help_needs_little(tmp_path: Path) -> None:
    assert limited(tmp_path, 200, "train", "--help").returncode == 0

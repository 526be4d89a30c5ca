"""Too little address space is told of before a library meets it, whether that would be an error, a signal or a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import write_params
from PIL import Image

from mnist_dvc import room
from mnist_dvc.errors import RoomError
from mnist_dvc.room import refuse_little_room

if TYPE_CHECKING:
    from pathlib import Path


linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems hold nobody to such a limit")


def test_little_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_little_room()
    monkeypatch.setattr(room, "ROOM", 2**62)
    with pytest.raises(RoomError, match="out of memory: got less than"):
        refuse_little_room()


LIMIT = "resource.setrlimit(resource.RLIMIT_AS, (2**45, resource.getrlimit(resource.RLIMIT_AS)[1]))"
LOADED = """
import os, resource, sys
from mnist_dvc import program, room
{before}
sys.argv = ["mnist-dvc", "evaluate"]
room.spare_openblas()
room.try_torch_first()
program._run()
names = [*sys.modules]
print(names.index("scipy.special") < names.index("torch"), os.environ["OPENBLAS_NUM_THREADS"])
"""


@linux
@pytest.mark.parametrize(("before", "told"), [(LIMIT, "True 1"), ("", "False 1")], ids=["limit", "twin: no limit"])
def test_openblas_is_loaded_before_torch_takes_the_room(tmp_path: Path, before: str, told: str) -> None:
    write_params(tmp_path)
    kept = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    result = subprocess.run(
        [sys.executable, "-c", LOADED.format(before=before)],
        cwd=tmp_path, env=kept, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stdout == f"{told}\n", result.stderr


def test_threads_that_the_user_gives_openblas_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    room.spare_openblas()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) * 2**20,) * 2)
from mnist_dvc import program
{sabotage}
sys.argv = ["mnist-dvc", *sys.argv[2:]]
program.main()
"""


def limited(
    folder: Path, megabytes: int, *words: str, sabotage: str = "", path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with so much address space, as the console script: what is in ``folder`` is no package to it.

    What is in ``path`` comes before any other.
    """
    before = ["" if path is None else str(path), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-P", "-c", LIMITED.format(sabotage=sabotage), str(megabytes), *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, before))},
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


TORCH = ("summary", "--model", "compact")
UNTRIED = "program.try_torch_first = lambda: None"
TOLD = "mnist-dvc: out of memory: got 560 MB of address space, into which torch does not fit; see ulimit -v\n"


@linux
def test_torch_that_does_not_fit_ends_in_74(tmp_path: Path) -> None:
    """In any build of torch: some of its libraries are larger than what is left."""
    result = limited(tmp_path, 560, *TORCH)
    assert (result.returncode, result.stdout, result.stderr) == (74, "", TOLD)


@linux
def test_torch_that_does_not_fit_is_known_by_its_error_too(tmp_path: Path) -> None:
    """Where the room goes after the trial."""
    result = limited(tmp_path, 560, *TORCH, sabotage=UNTRIED)
    assert result.returncode == 74
    assert result.stderr.splitlines()[-1].startswith("mnist-dvc: out of memory")


@linux
def test_torch_that_does_not_fit_would_be_an_internal_error(tmp_path: Path) -> None:
    """The twin of both."""
    sabotage = f"{UNTRIED}; program.is_out_of_memory = lambda _: False; program.when_a_library_exits = lambda _: None"
    assert limited(tmp_path, 560, *TORCH, sabotage=sabotage).returncode in (70, 1, -6)


ENDS = {
    "SIGSEGV": ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.Signals.SIGSEGV),
    "abort": ("os.abort()", -signal.Signals.SIGABRT),
    "exit": ("ctypes.CDLL(None).exit(1)", 74),
    "error": ("raise ImportError('libtorch.so: failed to map segment from shared object')", 74),
}


def broken_torch(folder: Path, way: str) -> Path:
    package = folder / "packages" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"import ctypes, os, signal\n{way}\n")
    return package.parent


@linux
@pytest.mark.parametrize("end", ENDS)
def test_however_torch_ends_for_want_of_room_it_is_one_line_and_74(tmp_path: Path, end: str) -> None:
    """Stand-ins that end so whatever the room; what each would end in without the trial, the twin says."""
    path = broken_torch(tmp_path, ENDS[end][0])
    result = limited(tmp_path, 560, *TORCH, path=path)
    assert (result.returncode, result.stdout, result.stderr) == (74, "", TOLD)


@linux
@pytest.mark.parametrize("end", ENDS)
def test_without_the_trial_torch_would_choose_the_end(tmp_path: Path, end: str) -> None:
    """The twin."""
    way, code = ENDS[end]
    result = limited(tmp_path, 560, *TORCH, path=broken_torch(tmp_path, way), sabotage=UNTRIED)
    assert result.returncode == code
    assert result.stderr != TOLD


@linux
def test_torch_that_asks_for_memory_for_ever_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LONG", 0.01)
    monkeypatch.setattr(room, "_TRIAL", "import signal; signal.pause()")
    with pytest.raises(RoomError, match="torch does not fit"):
        room._try_torch(2**30)


@linux
def test_error_that_is_none_of_memory_is_left_to_the_process_itself(tmp_path: Path) -> None:
    path = broken_torch(tmp_path, "raise ImportError('libcudart.so: cannot open shared object file')")
    result = limited(tmp_path, 560, *TORCH, path=path)
    assert "libcudart.so: cannot open shared object file" in result.stderr
    assert "out of memory" not in result.stderr


@linux
def test_nothing_of_the_working_folder_is_run_for_it(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("open('run', 'w')")
    assert limited(tmp_path, 560, *TORCH).stderr == TOLD
    assert not (tmp_path / "run").exists()


@linux
def test_working_folder_that_is_searched_would_be(tmp_path: Path) -> None:
    """The twin: a trial that looks where ``python -c`` does."""
    (tmp_path / "torch.py").write_text("open('run', 'w')")
    sabotage = "from mnist_dvc import room; room._TRIAL = room._TRIAL.replace('sys.argv[2:]', '[\"\", *sys.argv[2:]]')"
    limited(tmp_path, 560, *TORCH, sabotage=sabotage)
    assert (tmp_path / "run").exists()


@linux
def test_what_needs_no_torch_tries_none(tmp_path: Path) -> None:
    image = Image.new("L", (28, 28))
    image.paste(255, (12, 6, 15, 22))
    image.save(tmp_path / "one.png")
    path = broken_torch(tmp_path, ENDS["abort"][0])
    result = limited(tmp_path, 900, "predict", "one.png", path=path)
    assert result.returncode == 0, result.stderr


@linux
def test_help_needs_little(tmp_path: Path) -> None:
    assert limited(tmp_path, 200, "train", "--help").returncode == 0

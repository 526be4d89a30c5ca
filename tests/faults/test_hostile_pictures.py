"""Pictures that ask for minutes or for all memory: read one after the other in a process that the kernel limits."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT, posix
from hostile_pictures import all_files
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [posix, pytest.mark.faults]

SECONDS = 4
"""Of the processor, for each file: it takes 2 at most, where no neighbour slows the core."""
MEMORY = 1100 * 2**20
"""Bytes of data in a process that reads pictures; a WebP of 24 megapixels takes 500 million."""
ALL_TOGETHER = 600

LIMITED = """
import resource, signal, sys
from mnist_dvc.errors import ImageError
from mnist_dvc.image import bounds, parse_picture, upright
sys.path.insert(0, "tests")
from hostile_pictures import all_files
resource.setrlimit(resource.RLIMIT_DATA, ({memory}, {memory}))
{before}
for name, make in all_files().items():
    if not {chosen}:
        continue
    content = make()
    for read in (parse_picture, upright):
        signal.setitimer(signal.ITIMER_PROF, {seconds})  # its signal ends the process, whatever code runs
        try:
            told = "read " + type(read(content, "sent")).__name__
        except ImageError as error:
            told = str(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(f"{{name}}: {{told}}", flush=True)
"""


def limited(chosen: str = "True", before: str = "", seconds: int = SECONDS) -> subprocess.CompletedProcess[str]:
    script = LIMITED.format(memory=MEMORY, seconds=seconds, chosen=chosen, before=before)
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=ALL_TOGETHER, check=False)


def test_no_picture_takes_more_than_seconds_or_fills_the_memory() -> None:
    result = limited()
    assert result.returncode == 0, result.stdout[-300:] + result.stderr[-2000:]
    told = result.stdout.splitlines()
    assert len(told) == 2 * len(all_files())
    assert all(line.isprintable() and len(line) < 300 for line in told)


@pytest.mark.parametrize(
    ("name", "guard"),
    [
        ("JPEG: 30,000 scans", "bounds.MOST_SEGMENTS = bounds.MOST_SCANNED = 10**15"),
        ("PNG: a million empty chunks", "bounds.MOST_READS = 10**9"),
        ("PGM: spaces in the header", "bounds.MOST_READS = 10**9"),
        ("BMP: seven million runs", "bounds.MOST_READS = 10**9"),
    ],
)
def test_without_its_guard_the_picture_takes_too_long(name: str, guard: str) -> None:
    result = limited(f"name == {name!r}", guard, seconds=2)
    assert result.returncode == -27, result.stdout + result.stderr[-500:]  # SIGPROF


MANY = 200
ROOM = 700 * 2**20
"""Bytes of data for a command with its libraries; each of the pictures leaves 6 million, if it is kept."""
AS_A_COMMAND = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({room}, {room}))
from mnist_dvc.program import main
sys.argv[1:] = {arguments}
sys.exit(main())
"""
FROM_PYTHON = """
import resource, sys
from pathlib import Path
import mnist_dvc
from mnist_dvc.image import parse_picture
classifier = mnist_dvc.load()
resource.setrlimit(resource.RLIMIT_DATA, ({room}, {room}))
kept = []
for path in sorted(Path(sys.argv[1]).rglob("*.png")):
    try:
        {read}
    except mnist_dvc.errors.MnistDvcError as error:
        kept.append(error)
print(len(kept))
"""


@pytest.fixture(scope="module")
def blanks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blank pictures by class, each of half a megapixel."""
    folder = tmp_path_factory.mktemp("blanks")
    for number in range(MANY):
        path = folder / f"train/{number % 2}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (710, 710), 255).save(path, compress_level=1)
    return folder


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = AS_A_COMMAND.format(room=ROOM, arguments=list(arguments))
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("options", [("--json",), (), ("--show", "seen"), ("--many",)])
def test_refused_pictures_take_the_memory_of_one(tmp_path: Path, blanks: Path, options: tuple[str, ...]) -> None:
    result = command(tmp_path, "predict", str(blanks), *options)
    assert result.returncode == 65, result.stderr[-2000:]
    assert result.stderr.splitlines()[-1] == f"mnist-dvc: pictures: not read: got {MANY} of {MANY}, expected none"


def test_refused_pictures_by_class_take_the_memory_of_one(tmp_path: Path, blanks: Path) -> None:
    assert command(tmp_path, "init").returncode == 0
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace("source: auto", f"source: {blanks}"))
    result = command(tmp_path, "prepare")
    assert result.returncode == 65, result.stderr[-2000:]
    assert f"got {MANY} of {MANY}" in result.stderr


@pytest.mark.parametrize(
    ("read", "dies"),
    [
        ("classifier.classify(path)", False),
        ("classifier.read(path.read_bytes())", False),
        ("parse_picture.__wrapped__(path.read_bytes(), path)", True),
    ],
)
def test_errors_that_are_kept_hold_no_pixels(blanks: Path, read: str, *, dies: bool) -> None:
    """The twin reads past what takes the pixels out of an error, and dies of what it keeps."""
    script = FROM_PYTHON.format(room=ROOM, read=read)
    result = subprocess.run(
        [sys.executable, "-c", script, str(blanks)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode != 0) is dies, result.stderr[-2000:]
    assert ("MemoryError" in result.stderr) is dies
    assert result.stdout == ("" if dies else f"{MANY}\n")

"""The suite where nothing is as a developer has it: asserts off, no locale, odd paths, nothing to write to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from repository import Repository

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.surroundings

ODD = "naïve folder, 数字"


class Surroundings:
    """A read-only copy of the working tree under an odd path, and commands run from elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.tree = Repository(folder / ODD / "mnist dvc").folder
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        for path in [self.tree, *self.tree.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o555)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run with asserts compiled away, in the poorest locale, at the other end of the day."""
        poor = {
            "PYTHONOPTIMIZE": "1",
            "LC_ALL": "C",
            "TZ": "Pacific/Kiritimati",
            "PYTHONPATH": str(self.tree),
        }
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "COV_", "PYTHON"))
        }
        return subprocess.run(
            [*self._read_only(), *command],
            cwd=self.elsewhere,
            env=kept | poor,
            capture_output=True,
            text=True,
            check=False,
        )

    def _read_only(self) -> list[str]:
        """Permissions do not stop root: for it, the tree is mounted once more, read-only, for this command alone."""
        if os.geteuid() != 0:
            return []
        if shutil.which("unshare") is None:
            pytest.skip("root may write anywhere, and there is no unshare to take that away")
        mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mount, str(self.tree)]

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """pytest, on one thread of its own, leaving nothing in the tree."""
        plain = ("-p", "no:cacheprovider", "-q", "-W", "ignore:assertions not in test modules")
        return self.run(sys.executable, "-m", "pytest", *plain, *arguments)


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


LEFT_OUT = {
    "architecture": "reads the code, or drives copies of the repository anyway",
    "benchmarks": "times nothing here",
    "browser": "a session of its own",
    "builds": "installs elsewhere anyway",
    "data/test_bad_idx.py": "computes only",
    "data/test_bad_prepared.py": "computes only",
    "data/test_download.py": "of mirrors, not of places",
    "dvc": "a session of its own, in copies of the repository",
    "faults": "of damage and moments, not of places",
    "model": "computes only",
    "pipeline/test_export_networks.py": "computes only",
    "pipeline/test_nobody_reads.py": "of consoles, not of places",
    "pipeline/test_on_device_stages.py": "of the processor",
    "running/test_changed_meanwhile.py": "of moments, not of places",
    "running/test_console_gone.py": "of consoles, not of places",
    "running/test_finite.py": "computes only",
    "running/test_interrupted.py": "of moments, not of places",
    "running/test_no_room.py": "of disks, not of places",
    "running/test_on_device_option.py": "of the processor",
    "running/test_unreadable_snapshots.py": "of moments, not of places",
    "running/test_watchdog.py": "of moments, not of places",
    "study/test_bad_records.py": "computes only",
    "study/test_bad_tables.py": "computes only",
    "study/test_students.py": "computes only",
    "study/test_teach.py": "computes only",
    "study/test_trial.py": "computes only, and of moments",
    "test_benchmark_reporting.py": "of a tool for developers",
    "test_confidence.py": "of a tool for developers",
    "test_console_blocks.py": "types what the pages say in a copy of the repository",
    "test_european.py": "of a tool for developers",
    "test_files_crash.py": "of moments, not of places",
    "test_graph.py": "computes only",
    "test_bad_image.py": "computes only",
    "test_image.py": "computes only",
    "test_image_bounds.py": "computes only",
    "test_image_fuzz.py": "computes only",
    "test_image_memory.py": "computes only",
    "test_memory.py": "of memory, not of places",
    "test_missing_extra.py": "of packages that are not there",
    "test_operators.py": "computes only",
    "test_pickled.py": "of what files hold, not of places",
    "test_pictures.py": "computes only",
    "test_registered.py": "computes only",
    "test_room.py": "of memory, not of places",
    "test_runtime.py": "of the processor",
    "test_threads.py": "of the processor",
    "test_warm.py": "of a tool for developers",
    "training": "computes only",
}
"""Tests that would say the same of any surroundings, and why."""


def test_suite_passes_anywhere(surroundings: Surroundings) -> None:
    result = surroundings.pytest(
        "--numprocesses=2", "--dist=loadfile",
        f"--rootdir={surroundings.tree}", f"--config-file={surroundings.tree / 'pyproject.toml'}",
        *(f"--ignore={surroundings.tree / 'tests' / name}" for name in LEFT_OUT),
        str(surroundings.tree / "tests"),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert " passed" in result.stdout
    assert {path.name for path in surroundings.elsewhere.iterdir()} <= {".hypothesis", ".benchmarks"}


def test_failing_test_fails_there_too(surroundings: Surroundings, tmp_path: Path) -> None:
    """Asserts of a test still count where those of the program are compiled away."""
    wrong = tmp_path / "test_wrong.py"
    wrong.write_text("def test_wrong():\n    assert 1 == 2\n")
    result = surroundings.pytest(str(wrong))
    assert result.returncode == 1, result.stdout + result.stderr
    asserts = surroundings.run(sys.executable, "-c", "assert False\nprint(__debug__)")
    assert asserts.stdout == "False\n"


def test_tree_cannot_be_written_to_there(surroundings: Surroundings) -> None:
    result = surroundings.run(sys.executable, "-c", f"open({str(surroundings.tree / 'new')!r}, 'w')")
    assert "Read-only file system" in result.stderr or "Permission denied" in result.stderr

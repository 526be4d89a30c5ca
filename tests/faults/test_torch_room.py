"""The torch that is installed, with a little less and a little more address space than it takes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="other systems hold nobody to such a limit"),
]
TAKEN = """
from mnist_dvc import room
import scipy.special
import torch
print(room.taken())
"""
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv.pop(1)),) * 2)
from mnist_dvc import program
program.main()
"""
AROUND = range(-120, 121, 12)
"""Megabytes below and above what torch takes. Without the trial some of the lower ones end in signals."""


def test_torch_is_refused_or_works_whatever_the_limit(tmp_path: Path) -> None:
    """The ends of a torch that crashes, and of one that is not tried first, are in tests/test_room.py."""
    told = subprocess.run([sys.executable, "-c", TAKEN], capture_output=True, text=True, check=True).stdout
    ends = []
    for megabytes in AROUND:
        limit = int(told) + megabytes * 2**20
        result = subprocess.run(
            [sys.executable, "-c", LIMITED, str(limit), "summary", "--model", "compact"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        ends.append((result.returncode, len(result.stderr.splitlines())))
    assert set(ends) == {(74, 1), (0, 0)}

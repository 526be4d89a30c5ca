"""A temporary git repository with this working tree in it, driven by git and dvc on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers import ROOT

RESULTS = ("reports/", "models/", "dvc.lock")


class Repository:
    """A git repository that holds what this working tree would commit, with short params on the bundled sample."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        listed = subprocess.check_output(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
        )
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(RESULTS):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("start")

    @property
    def environment(self) -> dict[str, str]:
        """This interpreter's programs first, this copy's package before any other, and no network by mistake."""
        identity = {
            f"GIT_{who}_{what}": "tester@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | identity | {"PATH": path, "PYTHONPATH": "", "DVC_NO_ANALYTICS": "1", "COLUMNS": "250"}

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def dvc(self, *arguments: str, within: str = "") -> str:
        return self.run("dvc", *arguments, within=within)

    def run(self, *command: str, within: str = "") -> str:
        """What ``command`` printed, run in the folder ``within``; there, too, with this copy's package."""
        result = subprocess.run(
            command,
            cwd=self.folder / within,
            env=self.environment | {"PYTHONPATH": str(self.folder) if within else ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if result.returncode != 0:
            raise RuntimeError(f"{command}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result.stdout + result.stderr

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def metrics(self, stage: str = "test") -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / f"reports/{stage}/metrics.json").read_text())
        return loaded

"""A temporary git repository with this working tree in it, driven by git and dvc on the command line."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from helpers import ROOT
from ruamel.yaml import YAML
from warm import first_programs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = ("reports/", "models/", "dvc.lock")


def copy_tree(folder: Path, *, without: tuple[str, ...] = ()) -> None:
    """Copy what this working tree would commit to ``folder``, but names that begin with one of ``without``."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file() and not name.startswith(without):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
            target.chmod(target.stat().st_mode | stat.S_IWUSR)  # a copy of a read-only tree is there to be edited


def checked(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``folder``; an exit code other than 0 is an error that shows what was printed."""
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if result.returncode != 0:
        raise RuntimeError(f"{command}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


class Repository:
    """A git repository that holds what this working tree would commit, with short params on the bundled sample."""

    def __init__(self, folder: Path, *, warm: bool = False) -> None:
        """``warm``: its stages are copies of a process that has imported the libraries (warm.py)."""
        self.folder = folder
        self._programs = first_programs() if warm else []
        self._ticks = itertools.count(1)
        copy_tree(folder, without=RESULTS)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("start")

    @property
    def environment(self) -> dict[str, str]:
        """This interpreter's programs first, this copy's package before any other, and no network by mistake."""
        return self.cold | {"PATH": os.pathsep.join([*self._programs, self.cold["PATH"]])}

    @property
    def cold(self) -> dict[str, str]:
        """The same, with processes that import all themselves, and that signals reach."""
        identity = {
            f"GIT_{who}_{what}": "tester@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | identity | {"PATH": path, "PYTHONPATH": "", "DVC_NO_ANALYTICS": "1", "COLUMNS": "250"}

    def git(self, *arguments: str) -> str:
        """Run git, which takes params for unchanged that DVC has edited within the second of its last look at them.

        Another time of the file on each call makes it look at the content.
        """
        tick = next(self._ticks)
        os.utime(self.folder / "params.yaml", (tick, tick))
        return self.run("git", *arguments)

    def dvc(self, *arguments: str, within: str = "", **variables: str) -> str:
        return self.run("dvc", *arguments, within=within, **variables)

    def run(self, *command: str, within: str = "", **variables: str) -> str:
        """What ``command`` printed, run in the folder ``within``; there, too, with this copy's package."""
        environment = self.environment | {"PYTHONPATH": str(self.folder) if within else ""} | variables
        result = checked(command, self.folder / within, environment)
        return result.stdout + result.stderr

    def outputs(self) -> dict[str, bytes]:
        """The outputs of all stages of the pipeline that are there, by their names in dvc.yaml."""
        pipeline = YAML(typ="safe", pure=True).load((self.folder / "dvc.yaml").read_text(encoding="utf-8"))
        names = [name for stage in pipeline["stages"].values() for out in stage["outs"] for name in out]
        return {name: (self.folder / name).read_bytes() for name in names if (self.folder / name).is_file()}

    def published(self) -> dict[str, bytes]:
        """Those of them that appear at the end alone: all but the history, which grows."""
        return {name: content for name, content in self.outputs().items() if name != "reports/train/history.csv"}

    def set_params(self, **values: object) -> None:
        """Edit params.yaml as by hand: ``train_seed=2`` is ``train.seed``, and the comments stay."""
        path = self.folder / "params.yaml"
        text = path.read_text(encoding="utf-8")
        for name, value in values.items():
            section, _, key = name.partition("_")
            pattern = rf"(^{section}:\n(?:  .*\n)*?  {key}:) [^#\n]*"
            text, count = re.subn(pattern, rf"\1 {value} ", text, count=1, flags=re.MULTILINE)
            if count != 1:
                raise ValueError(f"params.yaml has no {section}.{key}")
        path.write_text(text, encoding="utf-8")

    def restore(self, *options: str) -> None:
        """Put files and outputs back as they were committed; ``options`` are those of `dvc checkout`."""
        self.git("checkout", "HEAD", "--", ".")  # not from the index, where DVC has put a new dvc.lock
        self.dvc("checkout", *options)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def metrics(self, stage: str = "test") -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / f"reports/{stage}/metrics.json").read_text())
        return loaded


class Repro:
    """`dvc repro` as the leader of a process group; what it prints is read line by line."""

    def __init__(self, repository: Repository, *targets: str) -> None:
        self.folder = repository.folder
        self.process = subprocess.Popen(
            ["dvc", "repro", *targets],
            cwd=repository.folder,
            env=repository.cold,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.printed = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nobody behind if the test gave up early."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._pipe.close()

    @property
    def _pipe(self) -> IO[str]:
        if self.process.stdout is None:
            raise RuntimeError("no pipe")
        return self.process.stdout

    def until(self, pattern: str) -> None:
        """Read until a line matches."""
        for line in self._pipe:
            self.printed += line
            if re.search(pattern, line):
                return
        raise RuntimeError(f"never printed {pattern}:\n{self.printed}")

    def end(self) -> int:
        """Read to the end: of all processes that hold the pipe, an orphan included."""
        self.printed += self._pipe.read()
        self._pipe.close()
        return self.process.wait()

    def holder(self) -> int:
        """The process that holds the lock, according to its note."""
        found = re.match(r"process (\d+) ", (self.folder / ".mnist_dvc/holder").read_text())
        if found is None:
            raise RuntimeError("nobody holds the lock")
        return int(found[1])

"""noxfile.py as a module, and a session that only writes down what it is asked for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import nox
from helpers import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    import pytest


class Ended(Exception):  # noqa: N818  (what ends a session is not always an error)
    """A session that was skipped or failed, with its words."""


class FakeSession:
    """What noxfile.py asks of a session; commands are written down, and answered as `answers` say."""

    name = "tests(cuda)"
    posargs: tuple[str, ...] = ()

    def __init__(self, folder: Path, answers: dict[str, str] | None = None, backend: str = "uv") -> None:
        self.virtualenv = type("Environment", (), {"location": str(folder)})
        self.answers = answers or {}
        self.venv_backend = backend
        self.env: dict[str, str] = {}
        self.installed: list[tuple[str, ...]] = []
        self.said: list[str] = []

    def install(self, *words: str) -> None:
        self.installed.append(words)

    def run(self, *words: str, **_: object) -> str:
        return self.answers.get(words[0], "")

    def log(self, words: str) -> None:
        self.said.append(words)

    warn = log

    def skip(self, words: str) -> NoReturn:
        raise Ended(f"skipped: {words}")

    def error(self, words: str) -> NoReturn:
        raise Ended(f"error: {words}")


def load_noxfile(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """noxfile.py, as nox itself loads it, on a Linux machine where nobody chose a build."""
    for name in [name for name in os.environ if name.startswith(("MNIST_DVC_", "UV_TORCH", "NOX"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["nox"])
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(nox.registry, "_REGISTRY", {})
    monkeypatch.chdir(ROOT)
    module = type(sys)("noxfile")
    exec(compile((ROOT / "noxfile.py").read_text(encoding="utf-8"), "noxfile.py", "exec"), module.__dict__)  # noqa: S102
    return module

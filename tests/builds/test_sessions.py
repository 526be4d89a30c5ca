"""What sessions decide themselves: if a model is good enough, what a release brings, what an audit found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers import ROOT
from sessions import Ended, FakeSession, load_noxfile

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture
def noxfile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Loaded in the repository, then moved to an empty folder."""
    module = load_noxfile(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return module


def test_every_file_with_a_mark_is_found(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session `faults` collects no other; the empty folder shows that it is the files that are looked at."""
    assert noxfile.marked("faults") == []
    monkeypatch.chdir(ROOT)
    found = noxfile.marked("faults")
    assert {"tests/faults/test_kill.py", "tests/test_threads.py"} < {Path(name).as_posix() for name in found}
    assert "tests/test_cli.py" not in {Path(name).as_posix() for name in found}


def session(folder: Path, *words: str) -> FakeSession:
    made = FakeSession(folder)
    made.posargs = words
    return made


RUN = {"dataset": "mnist", "parameters": 19_392, "accuracy": 0.994, "accuracy_high": 0.9955}
STUDY = {"dataset": "mnist", "parameters": 19_392, "accuracy_mean": 0.9948}


def gate(noxfile: ModuleType, folder: Path, **changes: object) -> list[str]:
    """What the session says of a run like RUN but for ``changes``."""
    for name, told in (("reports/test/metrics.json", RUN | changes), ("studies/default/summary.json", STUDY)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(told))
    held = session(folder)
    noxfile.gate.func(held)
    return held.said


def test_a_model_that_is_as_good_as_those_of_the_study_passes_the_gate(noxfile: ModuleType, tmp_path: Path) -> None:
    """Its interval reaches their mean: what it lacks may be chance."""
    (said,) = gate(noxfile, tmp_path)
    assert said == ("accuracy 99.40%, with 95 % at most 99.550%; the mean of studies/default/summary.json is 99.480%")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accuracy_high": 0.9947}, "got accuracy 99.40%, with 95 % at most 99.470%, expected the mean of .* within"),
        ({"dataset": "mnist-5k"}, "dataset: got mnist-5k, expected mnist"),
        ({"parameters": 19_706}, "parameters: got 19706, expected 19392"),
    ],
    ids=["worse", "other digits", "another network"],
)
def test_another_model_does_not(noxfile: ModuleType, tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(Ended, match=f"^error: reports/test/metrics.json: {words}"):
        gate(noxfile, tmp_path, **changes)


CHANGELOG = "# Changelog\n\n## Unreleased\n- new\n\n## 0.2.0 (2026-11-30)\n\n### Fixes\n- one\n\n## 0.1.0\n- old\n"


@pytest.fixture
def released(tmp_path: Path) -> Path:
    (tmp_path / "mnist_dvc").mkdir()
    (tmp_path / "mnist_dvc/version.py").write_text('__version__ = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def test_notes_are_the_section_of_the_version(noxfile: ModuleType, released: Path) -> None:
    noxfile.notes.func(session(released, "v0.2.0"))
    assert (released / "build/notes.md").read_text() == "### Fixes\n- one\n"


@pytest.mark.parametrize("words", [(), ("v0.1.0",), ("0.2.0",)])
def test_another_tag_than_the_version_s_is_refused(noxfile: ModuleType, released: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(Ended, match=r"^error: [^\n]*expected v0\.2\.0"):
        noxfile.notes.func(session(released, *words))
    assert not (released / "build").exists()


@pytest.mark.parametrize("changelog", ["# Changelog\n", "## 0.2.0\n\n## 0.1.0\n- old\n", "## 0.2.01\n- other\n"])
def test_a_version_without_notes_is_refused(noxfile: ModuleType, released: Path, changelog: str) -> None:
    (released / "CHANGELOG.md").write_text(changelog)
    with pytest.raises(Ended):
        noxfile.notes.func(session(released, "v0.2.0"))


class Asked(FakeSession):
    """A session in which pip-audit writes `found`, if anything, and says `told`."""

    def __init__(self, folder: Path, found: list[dict[str, Any]] | None, told: str = "") -> None:
        super().__init__(folder)
        self.found, self.told = found, told

    def run(self, *words: str, **_: object) -> str:
        if self.found is not None:
            (file,) = (word.removeprefix("--output=") for word in words if word.startswith("--output="))
            Path(file).write_text(json.dumps({"dependencies": self.found}), encoding="utf-8")
        return self.told


GOOD: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
UNKNOWN: dict[str, Any] = {"name": "c", "skip_reason": "c was not found"}


def test_a_vulnerability_fails_the_audit(noxfile: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Ended, match=r"^error: b 2: CVE-1; b 2: CVE-2$"):
        noxfile.look_up_vulnerabilities(Asked(tmp_path, [GOOD, BAD, UNKNOWN]))


def test_what_was_looked_up_is_counted(noxfile: ModuleType, tmp_path: Path) -> None:
    asked = Asked(tmp_path, [GOOD, UNKNOWN])
    noxfile.look_up_vulnerabilities(asked)
    assert asked.said == ["1 of 2 packages looked up, 0 vulnerabilities"]


@pytest.mark.parametrize(
    ("found", "told", "reason"),
    [([UNKNOWN], "", "c was not found"), (None, "trying\nno connection\n", "no connection"), (None, "", "nothing")],
)
def test_a_database_out_of_reach_is_said_and_fails_nothing(
    noxfile: ModuleType, tmp_path: Path, found: list[dict[str, Any]] | None, told: str, reason: str
) -> None:
    asked = Asked(tmp_path, found, told)
    noxfile.look_up_vulnerabilities(asked)
    (line,) = asked.said
    assert line.startswith("no package was looked up")
    assert line.endswith(f"pip-audit says: {reason}")

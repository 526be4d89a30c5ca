"""A folder made by ``init``: what is in it, what it never overwrites, and when the code of a stage is another."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from helpers import NO_FILES, ROOT, command, committed, posix, write_params
from ruamel.yaml import YAML

from mnist_dvc.errors import ArtifactError, ParamsError
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline import init as begin
from mnist_dvc.pipeline.init import CODE, PACKAGE, STARTER, code, init

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN = {".gitignore", ".dvc/.gitignore", ".dvc/config", "params.yaml", "dvc.yaml"}
COPIES = {"params.yaml": "params.yaml", "pipeline.yaml": "dvc.yaml", "gitignore": ".gitignore"}


def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the state of a workspace."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".mnist_dvc/")}


def stale_copies(starter: Path) -> list[str]:
    """Files that the package carries and that are not the repository's."""
    right = {name: (ROOT / original).read_bytes() for name, original in COPIES.items()}
    return [f"cp {COPIES[name]} mnist_dvc/starter/{name}" for name in COPIES if files(starter).get(name) != right[name]]


def test_package_carries_the_files_of_the_repository() -> None:
    assert stale_copies(STARTER) == []
    assert files(STARTER).keys() == COPIES.keys()


def test_package_is_no_pipeline_to_dvc() -> None:
    """DVC takes a dvc.yaml in any folder for one more pipeline of the repository."""
    assert not list(STARTER.rglob("dvc.yaml"))


def test_a_stale_copy_is_seen(tmp_path: Path) -> None:
    shutil.copytree(STARTER, tmp_path / "starter")
    (tmp_path / "starter/params.yaml").write_text("data: {}\n", encoding="utf-8")
    assert stale_copies(tmp_path / "starter") == ["cp params.yaml mnist_dvc/starter/params.yaml"]


def expected(pipeline: dict[str, Any]) -> dict[str, Any]:
    """The repository's pipeline as it must be where the code is no file: no such deps, the digest, the command."""
    for name, stage in pipeline["stages"].items():
        stage["cmd"] = stage["cmd"].replace("python -m mnist_dvc", "mnist-dvc")
        stage["deps"] = [dep for dep in stage["deps"] if not dep.startswith("mnist_dvc/")]
        stage["params"] = [{CODE: [f"code.{name}"]}, *stage["params"]]
        if not stage["deps"]:
            del stage["deps"]
    return pipeline


def test_pipeline_is_that_of_the_repository_without_the_code(tmp_path: Path) -> None:
    init(tmp_path)
    made = parsed((tmp_path / "dvc.yaml").read_text(encoding="utf-8"))
    first = made["stages"].pop("code")
    assert first == {
        "desc": first["desc"],
        "cmd": "mnist-dvc code",
        "always_changed": True,
        "outs": [{CODE: {"cache": False, "persist": True}}],
    }
    right = expected(parsed((ROOT / "dvc.yaml").read_text(encoding="utf-8")))
    assert made == right
    assert list(made["stages"]) == list(right["stages"])
    assert "mnist_dvc" not in (tmp_path / "dvc.yaml").read_text(encoding="utf-8")


def test_comparison_of_the_pipelines_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage whose `params` are not where the rewriting looks for them would be left without its digest."""
    text = (
        (ROOT / "dvc.yaml").read_text(encoding="utf-8").replace("    params:\n      - data\n", "    params: [data]\n")
    )
    monkeypatch.setattr(begin, "_text", lambda name: text if name == "pipeline.yaml" else "\n\n")
    init(tmp_path)
    made = parsed((tmp_path / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert made["prepare"] != expected(parsed(text))["stages"]["prepare"]
    assert made["train"] == expected(parsed(text))["stages"]["train"]


def test_folder_has_all_that_dvc_needs_and_says_what_is_next(tmp_path: Path) -> None:
    result = command("init", "my demo", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Next: cd 'my demo' && dvc repro"
    assert files(tmp_path / "my demo").keys() == WRITTEN
    assert (tmp_path / "my demo/params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    ignored = (tmp_path / "my demo/.gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/runs/", "/checkpoints/", ".mnist_dvc/"} <= {*ignored}
    assert not [line for line in ignored if "cache" in line and not line.startswith("#")]  # those of our own tools


def test_second_time_writes_nothing_and_keeps_the_params_of_the_user(tmp_path: Path) -> None:
    init(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace(committed("epochs"), "epochs: 3 "), encoding="utf-8")
    before = files(tmp_path)
    result = command("init", cwd=tmp_path)
    assert result.stdout.splitlines() == ["Nothing to write  ->  .", "Next: dvc repro"]
    assert files(tmp_path) == before


@pytest.mark.parametrize("lost", sorted(WRITTEN - {"params.yaml"}))
def test_what_a_killed_one_left_out_is_added(tmp_path: Path, lost: str) -> None:
    init(tmp_path)
    whole = files(tmp_path)
    (tmp_path / "dvc.yaml").unlink()  # the last to be written
    (tmp_path / lost).unlink(missing_ok=True)
    if lost == ".dvc/.gitignore":
        (tmp_path / ".dvc/config").unlink()  # which is written after it
    init(tmp_path)
    assert files(tmp_path) == whole


@pytest.mark.parametrize("name", ["dvc.yaml", ".gitignore"])
def test_another_file_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("of the user\n", encoding="utf-8")
    result = command("init", cwd=tmp_path)
    assert result.returncode == 65
    told = f"mnist-dvc: {name}: file: got another, expected none, or the one that `mnist-dvc init` writes; "
    assert result.stderr == f"{told}nothing was written\n"
    assert {path.name for path in tmp_path.iterdir()} == {name}
    (tmp_path / name).unlink()
    assert command("init", cwd=tmp_path).returncode == 0  # the twin


@posix
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    NO_FILES[kind](tmp_path / "dvc.yaml")
    with pytest.raises((ArtifactError, OSError)):
        init(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"dvc.yaml"}


def test_params_that_are_wrong_are_refused_in_their_own_words(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train: 5\n", encoding="utf-8")
    with pytest.raises(ParamsError, match="train: got 5, expected a mapping"):
        init(tmp_path)
    assert files(tmp_path).keys() == {"params.yaml"}


def test_name_of_a_file_ends_in_74(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    result = command("init", "taken", cwd=tmp_path)
    assert result.returncode == 74
    assert result.stderr.startswith("mnist-dvc: taken")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("around", ["", "project", "project/part"])
def test_folder_is_without_git_unless_git_is_around_it(tmp_path: Path, around: str) -> None:
    folder = tmp_path / "project/part"
    folder.mkdir(parents=True)
    if around:
        (tmp_path / around / ".git").mkdir()
    init(folder)
    assert ("no_scm" in (folder / ".dvc/config").read_text(encoding="utf-8")) == (not around)


@pytest.mark.parametrize("around", ["project", "project/part"])
def test_repository_of_dvc_stays_as_it_is(tmp_path: Path, around: str) -> None:
    folder = tmp_path / "project/part"
    folder.mkdir(parents=True)
    config = tmp_path / around / ".dvc/config"
    config.parent.mkdir()
    config.write_text("[core]\n    remote = mine\n", encoding="utf-8")
    init(folder)
    assert config.read_text(encoding="utf-8") == "[core]\n    remote = mine\n"
    written = {name for name in files(tmp_path) if name.endswith(("dvc.yaml", ".dvc/config"))}
    assert written == {"project/part/dvc.yaml", f"{around}/.dvc/config"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which the digests are then about."""
    copied = tmp_path / "site/mnist_dvc"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(begin, "PACKAGE", copied)
    return copied


def digests(folder: Path) -> dict[str, str]:
    code(Paths(folder))
    told: dict[str, dict[str, str]] = json.loads((folder / CODE).read_text(encoding="utf-8"))
    return told["code"]


ALL = ["prepare", "train", "evaluate", "report", "export"]


@pytest.mark.parametrize(
    ("edited", "stages"),
    [
        ("augment.py", ["train"]),
        ("report/templates/report.html", ["report"]),
        ("report/model_card.md.j2", ["export"]),
        ("model/compact.py", ["train", "evaluate", "report", "export"]),
        ("files.py", ALL),
        ("cli.py", []),
        ("model/__pycache__/blocks.pyc", []),
    ],
)
def test_digest_is_another_where_the_code_of_the_stage_is(
    tmp_path: Path, package: Path, edited: str, stages: list[str]
) -> None:
    before = digests(tmp_path)
    assert list(before) == ALL
    assert digests(tmp_path) == before
    path = package / edited
    assert path.is_file() or "__pycache__" in edited
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")
    assert [stage for stage, digest in digests(tmp_path).items() if digest != before[stage]] == stages


def test_file_that_moved_makes_another_digest(tmp_path: Path, package: Path) -> None:
    before = digests(tmp_path)
    os.replace(package / "model/sprint.py", package / "model/sprinter.py")  # noqa: PTH105  (the shortest)
    assert digests(tmp_path)["train"] != before["train"]


def test_every_stage_has_a_digest_and_no_other(tmp_path: Path) -> None:
    assert digests(tmp_path).keys() == parsed((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].keys()


def test_stages_run_there_without_dvc(tmp_path: Path) -> None:
    write_params(tmp_path, {"data": {"source": "sample"}})
    init(tmp_path)
    result = command("prepare", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert command("code", cwd=tmp_path).returncode == 0
    assert (tmp_path / CODE).is_file()

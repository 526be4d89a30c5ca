"""What the repository claims, against what it holds: results come from this code, the README shows these results."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
from typing import Any

import pytest
from helpers import ROOT
from ruamel.yaml import YAML

from mnist_dvc.cli import app, study
from mnist_dvc.model import NETWORKS
from mnist_dvc.report.text import per_cent


def committed(name: str) -> bytes:
    """The file as the last commit has it: a run or an experiment of the reader's own must not fail these tests."""
    shown = subprocess.run(["git", "show", f"HEAD:./{name}"], cwd=ROOT, capture_output=True, check=False)
    if shown.returncode != 0 and b"not a git repository" in shown.stderr:
        pytest.skip("what is committed can only be told in a git repository")
    assert shown.returncode == 0, shown.stderr.decode()
    return shown.stdout


def yaml(name: str) -> Any:
    return YAML(typ="safe", pure=True).load(committed(name))


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def md5(name: str) -> str:
    """As DVC records it: of a file, or of the list of all files in a folder."""
    if not (ROOT / name).is_dir():
        return md5_of(committed(name))
    return folder_md5({path.removeprefix(f"{name}/"): committed(path) for path in committed_files(name)})


def folder_md5(contents: dict[str, bytes]) -> str:
    entries = [{"md5": md5_of(content), "relpath": name} for name, content in sorted(contents.items())]
    return f"{md5_of(json.dumps(entries, sort_keys=True).encode())}.dir"


def committed_files(folder: str) -> list[str]:
    listed = subprocess.check_output(["git", "ls-tree", "-rz", "--name-only", "HEAD", folder], cwd=ROOT, text=True)
    return list(filter(None, listed.split("\0")))


def test_a_folder_has_the_md5_that_dvc_gives_it() -> None:
    """Of the folder with a file ``a`` of one line and a file ``b/c`` without any, taken from a dvc.lock."""
    assert folder_md5({"b/c": b"", "a": b"a\n"}) == "81f0848980384ce2126ed9ea7f83e27d.dir"


def lock() -> dict[str, Any]:
    stages: dict[str, Any] = yaml("dvc.lock")["stages"]
    return stages


def stale(stage: str, files: dict[str, str], params: dict[str, Any]) -> list[str]:
    """Files of git and sections of params that ``dvc.lock`` has in another state than the given one, or not at all."""
    entry, listed = lock()[stage], yaml("dvc.yaml")["stages"][stage]["params"]
    recorded = {item["path"]: item["md5"] for item in [*entry["deps"], *entry["outs"]]}
    changed = [name for name, digest in files.items() if recorded.get(name) != digest]
    return changed + [key for key in listed if entry["params"]["params.yaml"].get(key) != params[key]]


def tracked(stage: str) -> dict[str, str]:
    """The files of ``stage`` that git holds: its code and its metrics."""
    entry = yaml("dvc.yaml")["stages"][stage]
    code = [name for name in entry["deps"] if name.startswith("mnist_dvc/")]
    outs = [item for out in entry["outs"] if isinstance(out, dict) for item in out.items()]
    metrics = [name for name, said in outs if not said.get("cache", True)]
    return {name: md5(name) for name in [*code, *metrics]}


@pytest.mark.parametrize("stage", ["prepare", "train", "evaluate", "export"])
def test_results_come_from_this_code_and_these_params(stage: str) -> None:
    assert stale(stage, tracked(stage), yaml("params.yaml")) == [], "run `dvc repro` and commit what it writes"


def test_a_stale_result_would_be_found() -> None:
    files = tracked("train") | {"mnist_dvc/augment.py": "0" * 32}
    params = yaml("params.yaml") | {"model": {"name": "compact", "dropout": 0.0}}
    assert stale("train", files, params) == ["mnist_dvc/augment.py", "model"]


def told(metrics: dict[str, Any]) -> str:
    """What `evaluate` says of ``metrics``."""
    return (
        f"Test accuracy: {per_cent(metrics['accuracy'])} on {metrics['dataset']} ({metrics['errors']} errors in "
        f"{metrics['images']:,} images; 95 % interval {per_cent(metrics['accuracy_low'])} to "
        f"{per_cent(metrics['accuracy_high'])})  ->  reports/test"
    )


def test_readme_shows_what_the_committed_run_said() -> None:
    metrics = json.loads(committed("reports/test/metrics.json"))
    assert metrics["dataset"] == "mnist"
    assert told(metrics) in committed("README.md").decode()


def test_another_figure_in_the_readme_would_be_found() -> None:
    metrics = json.loads(committed("reports/test/metrics.json"))
    assert told(metrics | {"errors": metrics["errors"] + 1}) not in committed("README.md").decode()


def test_readme_figure_is_the_one_of_the_run() -> None:
    recorded = {out["path"]: out["md5"] for out in lock()["evaluate"]["outs"]}
    assert md5("docs/confusion.png") == recorded["reports/test/confusion.png"]


def test_named_commands_and_sessions_exist() -> None:
    text = (committed("README.md") + committed("CONTRIBUTING.md")).decode()
    nodes = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
    sessions = {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.decorator_list}
    named = set(re.findall(r"nox -s ([a-z]+)", text))
    assert named
    assert named <= sessions
    commands = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"mnist-dvc ([a-z]+)", text)) <= commands | {"study"}
    stages = {command.name or command.callback.__name__ for command in study.registered_commands if command.callback}
    assert set(re.findall(r"mnist-dvc study ([a-z]+)", text)) <= stages
    assert set(re.findall(r"model\.name=(\w+)", text)) <= set(NETWORKS)

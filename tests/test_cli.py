from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from helpers import NETWORK, ROOT, command, params
from ruamel.yaml import YAML

from mnist_dvc.params import Change, load_params
from mnist_dvc.version import __version__

if TYPE_CHECKING:
    from mnist_dvc.paths import Paths

SCRIPT = Path(sys.executable).with_name("mnist-dvc")


def write_params(folder: Path, **train: object) -> Path:
    path = folder / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(params(**train).model_dump(), file)
    return path


def test_script_and_module_are_the_same_program(tmp_path: Path) -> None:
    script = subprocess.run([SCRIPT, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert script.stdout == command("--version", cwd=tmp_path).stdout == f"mnist-dvc {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["prepare", "--help"], ["train", "--help"], ["summary", "--help"]])
def test_help_shows_every_option(tmp_path: Path, arguments: list[str]) -> None:
    result = command(*arguments, cwd=tmp_path)
    assert result.returncode == 0
    commands = ["init", "prepare", "train", "evaluate", "export", "report", "summary", "predict", "demo"]
    assert all(part in result.stdout for part in (commands if arguments == ["--help"] else ["--params"]))


STUDY = {
    "trial": ("--seed", "--network", "--params"),
    "teacher": ("--seed", "--params"),
    "teach": ("MODEL", "--views", "--seed", "--params"),
    "summary": ("summary.json",),
    "release": ("mnist_dvc/pretrained/",),
    "results": ("docs/results.md",),
}


def test_help_shows_the_commands_of_the_studies(tmp_path: Path) -> None:
    assert "study" in command("--help", cwd=tmp_path).stdout
    result = command("study", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert all(f" {name} " in result.stdout for name in STUDY)


@pytest.mark.parametrize("name", STUDY)
def test_help_shows_every_option_of_a_study(tmp_path: Path, name: str) -> None:
    result = command("study", name, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert all(part in result.stdout for part in STUDY[name])
    assert ("--network" in result.stdout) == (name == "trial")


def test_options_of_a_study_take_the_place_of_params(tmp_path: Path) -> None:
    path = write_params(tmp_path, seed=5)
    kept = load_params(path)
    assert load_params(path, [Change("train.seed", 5, "--seed")]).model_dump() == kept.model_dump()
    changed = load_params(path, [Change("train.seed", 7, "--seed"), Change("model.name", "compact-1k", "--network")])
    assert (changed.train.seed, changed.model.name) == (7, "compact-1k")
    assert changed.model_dump() == {
        **kept.model_dump(),
        "train": kept.train.model_dump() | {"seed": 7},
        "model": kept.model.model_dump() | {"name": "compact-1k"},
    }


def test_trial_runs_under_the_seed_and_network_that_it_is_told(workspace: Paths) -> None:
    write_params(workspace.root, epochs=1, seed=5)
    result = command("study", "trial", "--seed", "7", "--network", "compact-1k", cwd=workspace.root)
    assert result.returncode == 0, result.stderr
    (folder,) = workspace.root.glob("trials/*/*")
    assert folder == workspace.trial("compact-1k", 7)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["seed"], metrics["network"], metrics["epochs"]) == (7, "compact-1k", 1)


def test_teacher_is_trained_and_asked_on_the_command_line(workspace: Paths) -> None:
    path = write_params(workspace.root, epochs=1)
    path.write_text(path.read_text().replace(f"name: {NETWORK}", "name: teacher"))
    result = command("study", "teacher", "--seed", "7", cwd=workspace.root)
    assert result.returncode == 0, result.stderr
    result = command("study", "teach", "trials/teacher/7/model.safetensors", "--views", "2", cwd=workspace.root)
    assert result.returncode == 0, result.stderr
    assert "Asked 1 teachers on 2 views of 300 images" in " ".join(result.stdout.split())
    assert workspace.teaching.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trial"], "Missing option '--seed'"),
        (["trial", "--seed", "-1"], "mnist-dvc: --seed: got -1, expected a whole number from 0 to 9223372036854775807"),
        (
            ["trial", "--seed", "1", "--network", "nonsense"],
            "mnist-dvc: --network: got 'nonsense', expected one of reference, ",
        ),
        (
            ["trial", "--seed", "1", "--network", "teacher"],
            "mnist-dvc: --network: got 'teacher', expected one of reference, ",
        ),
        (["teacher", "--seed", "1"], "mnist-dvc: params.yaml: model.name: got 'compact-1k', expected one of teacher"),
        (["teacher", "--seed", "1", "--network", "teacher"], "No such option: --network"),
        (["teach", "--views", "2"], "Missing argument 'MODEL"),
        (["teach", "x.safetensors"], "Missing option '--views'"),
        (["teach", "x.safetensors", "--views", "0"], "greater than or equal to 1"),
    ],
)
def test_usage_errors_of_a_study_end_in_2(workspace: Paths, arguments: list[str], message: str) -> None:
    write_params(workspace.root)
    result = command("study", *arguments, cwd=workspace.root)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert not list(workspace.root.rglob("*.safetensors"))


@pytest.mark.parametrize("name", ["nonsense", "../outside"])
def test_unknown_network_becomes_no_part_of_a_path(workspace: Paths, name: str) -> None:
    write_params(workspace.root)
    result = command("study", "trial", "--seed", "1", "--network", name, cwd=workspace.root)
    assert result.returncode == 2
    assert not [path for path in workspace.root.rglob("*") if path.name == Path(name).name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trial", "--seed"], "mnist-dvc: --seed: got 9223372036854775808, expected a whole number from 0 to "),
        (["teacher", "--seed"], "mnist-dvc: --seed: got 9223372036854775808, expected a whole number from 0 to "),
        (["teach", "x.safetensors", "--views", "1", "--seed"], "Invalid value for '--seed'"),
    ],
)
def test_seed_beyond_the_largest_of_the_params_is_a_usage_error(
    workspace: Paths, arguments: list[str], message: str
) -> None:
    write_params(workspace.root, epochs=1)
    result = command("study", *arguments, str(2**63), cwd=workspace.root)
    assert result.returncode == 2, result.stderr
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["trial", "teacher"])
def test_largest_seed_of_the_params_is_none(workspace: Paths, name: str) -> None:
    """The twin: it comes as far as the name of the network, which is looked at next."""
    path = write_params(workspace.root)
    path.write_text(path.read_text().replace(f"name: {NETWORK}", "name: nonsense"))
    result = command("study", name, "--seed", str(2**63 - 1), cwd=workspace.root)
    assert result.returncode == 2
    assert result.stderr.startswith("mnist-dvc: params.yaml: model.name: got 'nonsense', expected one of ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("summary", "trials: trials: got none, expected one or more that `study trial` wrote"),
        ("release", "studies/record/summary.json: file: got nothing, expected a file of a study that has run"),
        ("results", "studies/record/summary.json: file: got nothing, expected a file of this repository"),
    ],
)
def test_command_of_the_studies_in_the_wrong_folder_ends_in_65(tmp_path: Path, name: str, message: str) -> None:
    result = command("study", name, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (65, f"mnist-dvc: {message}\n")
    assert list(tmp_path.iterdir()) == []


def imported(code: str, *, cwd: Path) -> set[str]:
    """Top-level modules that are loaded after ``code`` ran in a child interpreter."""
    script = f"import sys\nsys.argv = ['mnist-dvc', '--help']\n{code}\nprint(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stderr.split()}


HELP = "from mnist_dvc.program import _run\n_run()"


def test_help_and_params_import_no_heavy_library(tmp_path: Path) -> None:
    modules = imported(HELP, cwd=tmp_path)
    assert "typer" in modules
    assert not modules & {"torch", "torchvision", "numpy", "sklearn", "matplotlib", "tensorboard", "PIL", "onnx"}


def test_prepare_imports_no_torch(tmp_path: Path) -> None:
    modules = imported("import mnist_dvc.pipeline.prepare", cwd=tmp_path)
    assert "numpy" in modules
    assert "torch" not in modules


def test_the_import_check_can_fail(tmp_path: Path) -> None:
    assert "torch" in imported(f"import mnist_dvc.model\n{HELP}", cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["train", "--epochs", "3"], 2, "No such option: --epochs. Did you mean -S train.epochs=3?"),
        (["train", "--learning-rate=0.1"], 2, "Did you mean -S train.learning_rate=0.1?"),
        (["evaluate", "--batch_size", "9"], 2, "Did you mean -S evaluate.batch_size=9?"),
        (["train", "--seed", "3"], 2, "Did you mean -S train.seed=3?"),  # though --set is near
        (["train", "--epoch"], 2, "Did you mean -S train.epochs=VALUE?"),
        (["train", "--fres"], 2, "(Possible options: --fresh)"),
        (["predict", "--epochs", "3", "x.png"], 2, "No such option: --epochs"),
        (["summary", "--model", "compact", "-S", "model.name=x"], 2, "for --set: --model asks no params file"),
        (["summary", "-S", "train.epoch=3"], 2, "mnist-dvc: -S train.epoch=3: unknown key, did you mean train.epochs?"),
        (
            ["summary", "--model", "nonsense"],
            2,
            "mnist-dvc: --model: got 'nonsense', expected one of reference, compact",
        ),
        (["summary", "--model", ""], 2, "mnist-dvc: --model: got '', expected one of reference, compact"),
    ],
)
def test_usage_errors_end_in_2(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    result = command(*arguments, cwd=tmp_path)
    assert result.returncode == code
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


READING = ["prepare", "train", "evaluate", "export", "report", "summary", "study trial --seed 1"]


@pytest.mark.parametrize("line", [*READING, "study teacher --seed 1", "study teach x --views 1"])
def test_empty_folder_is_told_how_to_begin(tmp_path: Path, line: str) -> None:
    result = command(*line.split(), cwd=tmp_path)
    expected = "mnist-dvc: params.yaml: file: got nothing, expected a params file; `mnist-dvc init` writes one\n"
    assert (result.returncode, result.stderr) == (2, expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", READING)
def test_value_on_the_command_line_is_checked_as_in_the_file_and_told_as_it_was_given(
    tmp_path: Path, line: str
) -> None:
    write_params(tmp_path)
    result = command(*line.split(), "-S", "train.epochs=abc", "--set", "export.opset=9", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "mnist-dvc: -S train.epochs=abc: got 'abc', expected a whole number from 1 to 10000",
        "mnist-dvc: -S export.opset=9: got 9, expected a whole number from 18 to 23",
    ]


def test_value_on_the_command_line_is_trained_by_and_recorded(workspace: Paths) -> None:
    path = write_params(workspace.root, epochs=2)
    before = path.read_bytes()
    result = command("train", "-S", "train.epochs=1", "-S", "model.name=compact-2k5", cwd=workspace.root)
    assert result.returncode == 0, result.stderr
    metrics = json.loads(workspace.train_metrics.read_text())
    about = torch.load(workspace.checkpoint, weights_only=True)["about"]
    assert metrics["epochs"] == about["params"]["train"]["epochs"] == 1
    assert about["params"]["model"]["name"] == "compact-2k5"
    assert path.read_bytes() == before
    again = command("evaluate", cwd=workspace.root)
    assert again.returncode == 65
    assert again.stderr.endswith("expected compact-1k, as model.name in params.yaml says; run `train` again\n")
    again = command("evaluate", "-S", "model.name=sprint", cwd=workspace.root)
    assert again.stderr.endswith("expected sprint, as -S model.name=sprint says; run `train` again\n")
    assert command("evaluate", "-S", "model.name=compact-2k5", cwd=workspace.root).returncode == 0


def test_each_problem_of_params_has_its_line(tmp_path: Path) -> None:
    path = write_params(tmp_path)
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 0").replace("dropout: 0.1", "dropout: much"))
    result = command("train", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "mnist-dvc: params.yaml: model.dropout: got 'much', expected a number from 0.0 to 0.9",
        "mnist-dvc: params.yaml: train.epochs: got 0, expected a whole number from 1 to 10000",
    ]


@pytest.mark.parametrize("stage", ["train", "evaluate", "export", "report"])
def test_stage_before_its_inputs_ends_in_65(tmp_path: Path, stage: str) -> None:
    write_params(tmp_path)
    result = command(stage, cwd=tmp_path)
    assert result.returncode == 65
    assert re.fullmatch(r"mnist-dvc: \S+: file: got nothing, expected the \w+ that `\w+` writes\n", result.stderr)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".mnist_dvc", "lock", "params.yaml"]


def test_debug_shows_where_it_happened(tmp_path: Path) -> None:
    write_params(tmp_path)
    result = command("--debug", "evaluate", cwd=tmp_path)
    assert result.returncode == 65
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("mnist-dvc: models/model.safetensors: file: got nothing")


def test_unwritable_output_ends_in_74(tmp_path: Path) -> None:
    write_params(tmp_path)
    (tmp_path / "data").write_text("a file where a folder belongs")
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("source: auto", "source: sample"))
    result = command("prepare", cwd=tmp_path)
    assert result.returncode == 74
    assert result.stderr.splitlines()[-1].startswith("mnist-dvc: data")


def test_whole_chain_works_without_dvc(tmp_path: Path) -> None:
    path = write_params(tmp_path, epochs=1)
    path.write_text(path.read_text().replace("source: auto", "source: sample"))
    for stage in ("prepare", "train", "evaluate", "report", "export"):
        result = command(stage, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / "reports/test/metrics.json").read_text())
    assert (metrics["dataset"], metrics["images"]) == ("mnist-5k", 500)
    assert (tmp_path / "reports/report.html").is_file()
    assert (tmp_path / "models/model.onnx").is_file()
    assert (tmp_path / "models/model.onnx.sha256").is_file()


def test_without_files_and_network_the_sample_is_used_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses stands for the network that is not there."""
    path = write_params(tmp_path)
    for key in [key for key in os.environ if key.lower().endswith("proxy")]:
        monkeypatch.delenv(key)
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("MNIST_DVC_DATA", raising=False)
    inside = tmp_path / "a/b"
    inside.mkdir(parents=True)
    shutil.move(path, inside)
    result = command("prepare", cwd=inside)
    assert result.returncode == 0, result.stderr
    assert "MNIST download failed" in result.stderr
    assert "USING THE 5,000 BUNDLED DIGITS (dataset mnist-5k)" in result.stderr
    assert json.loads((inside / "data/prepared/manifest.json").read_text())["dataset"] == "mnist-5k"


def test_summary_as_json_and_as_table_agree(tmp_path: Path) -> None:
    told = json.loads(command("summary", "--model", "reference", "--json", cwd=tmp_path).stdout)
    assert (told["total"], told["budget_left"]) == (19_392, 607)
    assert "19,392" in command("summary", "--params", str(ROOT / "params.yaml"), cwd=tmp_path).stdout


STARTED = """
import os, sys
from mnist_dvc import cli, program

cli.as_begun = lambda: print("mnist_dvc.pipeline.prepare" in sys.modules, "torch" in sys.modules)
sys.argv = ["mnist-dvc", "prepare", *sys.argv[1:]]
program._run()
print("mnist_dvc.pipeline.prepare" in sys.modules)
"""


def test_sources_are_read_before_what_they_hold_is_imported(tmp_path: Path) -> None:
    """Else an edit in the seconds of the imports would be taken for the code that ran."""
    write_params(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", STARTED], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"MNIST_DVC_DATA": str(tmp_path)},
    )  # fmt: skip
    assert result.stdout.splitlines() == ["False False", "True"], result.stderr

"""dvc.yaml against the code: the files each stage depends on, the params it reads, the outputs it writes."""

from __future__ import annotations

import ast
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grimp
import pytest
from helpers import ROOT
from ruamel.yaml import YAML

from mnist_dvc.params import Params, param_keys

if TYPE_CHECKING:
    from collections.abc import Callable

PIPELINE: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, Any] = PIPELINE["stages"]
STUDIES = (ROOT / "studies").glob("*/dvc.yaml")
SECTIONS = set(Params.model_fields)
GRAPH = grimp.build_graph("mnist_dvc", cache_dir=None)


def module_file(module: str) -> str:
    path = Path(*module.split("."))
    return (path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")).as_posix()


BESIDE = {
    "mnist_dvc/report/page.py": "mnist_dvc/report/templates",
    "mnist_dvc/report/model_card.py": "mnist_dvc/report/model_card.md.j2",
}
"""What a module reads of the package that is no module."""


def imported_files(stage: str) -> set[str]:
    """Every file of the package that the stage's module imports, directly or not, and its own."""
    entry = f"mnist_dvc.pipeline.{stage}"
    return {module_file(module) for module in GRAPH.find_upstream_modules(entry) | {entry}}


def with_data(files: set[str]) -> set[str]:
    """``files`` and what they read of the package that is no module."""
    return files | {data for module, data in BESIDE.items() if module in files}


def modules_in(folder: str) -> set[str]:
    """What depending on ``folder`` means, but for the ``__init__.py`` that makes it a package."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.py")} - {f"{folder}/__init__.py"}


FOLDERS = sorted(path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "mnist_dvc").glob("*/__init__.py"))


def dependencies(files: set[str]) -> set[str]:
    """The shortest list that says ``files``: a folder where they are all that it holds, file by file elsewhere."""
    whole = {folder for folder in FOLDERS if modules_in(folder) and modules_in(folder) <= files}
    return whole | {file for file in files if Path(file).parent.as_posix() not in whole}


def corrections(listed: list[str], files: set[str]) -> list[str]:
    """What to change in the ``deps`` of a stage that imports ``files``; nothing if the list is right."""
    right = dependencies(files)
    remove = [f"remove `- {name}`: {reason(name, files)}" for name in sorted({*listed} - right)]
    twice = [f"remove `- {name}`: it stands there twice" for name in sorted({*listed}) if listed.count(name) > 1]
    return [*(f"add `- {name}`" for name in sorted(right - {*listed})), *remove, *twice]


def reason(name: str, files: set[str]) -> str:
    idle = sorted(Path(file).name for file in modules_in(name) - files)
    if name in FOLDERS:
        return f"the stage imports no {', '.join(idle)} of it; a new module there may want its import first"
    return "its folder is needed whole, and says so in one line" if name in files else "the stage does not import it"


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_exactly_the_code_it_imports(stage: str) -> None:
    listed = [name for name in STAGES[stage]["deps"] if name.startswith("mnist_dvc/")]
    wrong = corrections(listed, with_data(imported_files(stage)))
    assert wrong == [], "\n".join([f"dvc.yaml, deps of {stage}:", *wrong])


@pytest.mark.parametrize(
    ("listed", "files", "wrong"),
    [
        (["mnist_dvc/onnx.py"], {"mnist_dvc/onnx.py", "mnist_dvc/files.py"}, ["add `- mnist_dvc/files.py`"]),
        (["mnist_dvc/onnx.py"], set(), ["remove `- mnist_dvc/onnx.py`: the stage does not import it"]),
        (
            ["mnist_dvc/onnx.py", "mnist_dvc/onnx.py"],
            {"mnist_dvc/onnx.py"},
            ["remove `- mnist_dvc/onnx.py`: it stands there twice"],
        ),
        (
            ["mnist_dvc/training"],
            {"mnist_dvc/training/events.py"},
            [
                "add `- mnist_dvc/training/events.py`",
                (
                    "remove `- mnist_dvc/training`: the stage imports no answers.py, checkpoint.py, consistency.py, "
                    "engine.py, flat.py, optim.py, selection.py, snapshot.py, teaching.py of it; a new module there "
                    "may want its import first"
                ),
            ],
        ),
        (
            [*sorted(modules_in("mnist_dvc/study"))],
            modules_in("mnist_dvc/study"),
            [
                "add `- mnist_dvc/study`",
                *(
                    f"remove `- {file}`: its folder is needed whole, and says so in one line"
                    for file in sorted(modules_in("mnist_dvc/study"))
                ),
            ],
        ),
        (["mnist_dvc/study"], modules_in("mnist_dvc/study"), []),
        (["mnist_dvc/study"], modules_in("mnist_dvc/study") | {"mnist_dvc/study/__init__.py"}, []),
    ],
    ids=["missing", "idle", "twice", "folder with idle files", "files of a whole folder", "right", "right, with init"],
)
def test_wrong_list_is_told_with_the_line_to_write(listed: list[str], files: set[str], wrong: list[str]) -> None:
    assert corrections(listed, files) == wrong


def test_the_import_graph_sees_indirect_imports() -> None:
    """The twin: a file that is reached only through another is in the list, one that is not reached is not."""
    assert "mnist_dvc/data/idx.py" in imported_files("prepare")
    assert "mnist_dvc/training/engine.py" not in imported_files("prepare")
    assert "mnist_dvc/cli.py" not in imported_files("train")


def test_templates_are_needed_by_whom_fills_them_in_and_by_no_other_stage() -> None:
    beside = {path for path in (ROOT / "mnist_dvc/report").iterdir() if path.suffix != ".py" and path.name[0] != "_"}
    assert set(BESIDE.values()) == {path.relative_to(ROOT).as_posix() for path in beside}
    assert "mnist_dvc/report/templates" in with_data(imported_files("report")) - with_data(imported_files("evaluate"))


def test_no_folder_of_the_package_lies_in_another() -> None:
    """Else depending on the outer one would mean files that the checks above do not look at."""
    assert not list((ROOT / "mnist_dvc").glob("*/*/**/*.py"))


def test_params_file_classes_and_pipeline_have_the_same_keys() -> None:
    def leaves(value: Any, prefix: str = "") -> list[str]:
        if not isinstance(value, dict):
            return [prefix]
        return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{prefix}.{key}" if prefix else key)]

    committed = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert leaves(committed) == param_keys()
    assert {key for stage in STAGES.values() for key in stage["params"]} == SECTIONS


def sections_read(source: str) -> set[str]:
    return set(re.findall(r"\bparams\.(\w+)", source)) & SECTIONS


def sections_named(source: str) -> set[str]:
    """Sections that are named where a stage notes what it compares with the file again before it publishes."""
    notes = {"Inputs.of", "published", "trained"}
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and ast.unparse(n.func) in notes]
    quoted = {n.value for n in chain.from_iterable(map(ast.walk, calls)) if isinstance(n, ast.Constant)}
    return {section for section in SECTIONS if section in quoted}


def files_with_params(stage: str) -> set[str]:
    """The stage's own file and those of ``mnist_dvc.running`` that it imports, directly or not: params go no deeper."""
    return {name for name in imported_files(stage) if name.startswith(("mnist_dvc/pipeline/", "mnist_dvc/running/"))}


@pytest.mark.parametrize("sections", [sections_read, sections_named])
@pytest.mark.parametrize("stage", STAGES)
def test_stage_reads_and_guards_exactly_the_sections_it_lists(stage: str, sections: Callable[[str], set[str]]) -> None:
    sources = [(ROOT / name).read_text(encoding="utf-8") for name in sorted(files_with_params(stage))]
    assert set().union(*map(sections, sources)) == set(STAGES[stage]["params"])


def test_the_section_checks_can_fail() -> None:
    assert sections_read("run(params.data.seed, params.train)") == {"data", "train"}
    assert sections_named("Inputs.of(params, ('model', 'dropout')); print('train')") == {"model"}
    assert sections_named("with trained(params, ('model', 'train')): published('evaluate')") == {
        "model",
        "train",
        "evaluate",
    }


def test_the_section_check_looks_at_what_stages_share_and_at_no_other_stage() -> None:
    running = ("inputs", "interruption", "measuring", "resumable", "run", "runs", "shown")
    shared = {f"mnist_dvc/running/{name}.py" for name in running}
    assert files_with_params("train") == {"mnist_dvc/pipeline/train.py"} | shared
    assert sections_read((ROOT / "mnist_dvc/running/run.py").read_text(encoding="utf-8")) == {"model", "train"}


def test_whole_params_are_handed_to_no_module_below_the_stages() -> None:
    """Else a section could be read where the check above does not look."""

    def takes_all(name: str) -> bool:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        return any(isinstance(node, ast.Name) and node.id == "Params" for node in ast.walk(tree))

    takers = {(stage, name) for stage in STAGES for name in imported_files(stage) if takes_all(name)}
    below = {name for stage, name in takers if name not in files_with_params(stage)}
    assert below == {"mnist_dvc/params.py"}  # which makes them
    assert ("train", "mnist_dvc/running/run.py") in takers


def options(stage: dict[str, Any]) -> dict[str, dict[str, bool]]:
    """The outputs of a stage, and what dvc.yaml says of each."""
    return {
        name: said
        for out in stage["outs"]
        for name, said in (out.items() if isinstance(out, dict) else [(out, dict[str, bool]())])
    }


MADE = {name: said for stage in STAGES.values() for name, said in options(stage).items()}


def test_metrics_plots_and_model_are_outputs_of_a_stage() -> None:
    assert set(PIPELINE["metrics"]) <= MADE.keys()
    assert {artifact["path"] for artifact in PIPELINE["artifacts"].values()} <= MADE.keys()
    sources = {plot for plot in PIPELINE["plots"] if isinstance(plot, str)}
    for plot in PIPELINE["plots"]:
        if isinstance(plot, dict):
            sources |= {path for value in plot.values() for path in value["y"]}
    assert sources <= MADE.keys()


def test_reports_digests_and_model_card_stay_in_git_and_the_rest_in_the_cache() -> None:
    """What DVC's views need is there in every clone and at every commit; the page for people can be made of it."""
    uncached = {name for name, said in MADE.items() if not said.get("cache", True)}
    reports = {name for name in MADE if name.startswith("reports/")} - {"reports/report.html"}
    assert uncached == {*reports, "models/SHA256SUMS", "models/model.onnx.sha256", "models/README.md"}
    assert reports >= {*PIPELINE["metrics"]}


def fleeting(pipeline: dict[str, Any]) -> list[str]:
    """Outputs that DVC removes before it runs their stage."""
    return [
        name
        for stage in pipeline["stages"].values()
        for name, said in options(stage).items()
        if not said.get("persist")
    ]


@pytest.mark.parametrize("file", ["dvc.yaml", *sorted(f"studies/{p.parent.name}/dvc.yaml" for p in STUDIES)])
def test_every_output_stays_until_the_stage_has_a_new_one(file: str) -> None:
    pipeline = YAML(typ="safe", pure=True).load((ROOT / file).read_text(encoding="utf-8"))
    assert fleeting(pipeline) == [], f"{file}: give each of these outputs `persist: true`"


def test_the_check_of_outputs_that_stay_can_fail() -> None:
    outs = ["bare", {"in git": {"cache": False}}, {"goes": {"persist": False}}, {"stays": {"persist": True}}]
    assert fleeting({"stages": {"train": {"outs": outs}}}) == ["bare", "in git", "goes"]


def test_what_changes_with_the_clock_is_no_output() -> None:
    assert not [out for out in MADE if out.startswith(("runs", "checkpoints", ".mnist_dvc"))]

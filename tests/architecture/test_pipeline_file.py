"""dvc.yaml against the code: the files each stage depends on, the params it reads, the outputs it writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grimp
import pytest
from helpers import ROOT
from ruamel.yaml import YAML

from mnist_dvc.params import Params, param_keys

PIPELINE: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, Any] = PIPELINE["stages"]
GRAPH = grimp.build_graph("mnist_dvc", cache_dir=None)


def module_file(module: str) -> str:
    path = Path(*module.split("."))
    return (path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")).as_posix()


def imported_files(stage: str) -> set[str]:
    """Every file of the package that the stage's module imports, directly or not, and its own."""
    entry = f"mnist_dvc.stages.{stage}"
    return {module_file(module) for module in GRAPH.find_upstream_modules(entry) | {entry}}


def listed_files(stage: str) -> set[str]:
    return {dependency for dependency in STAGES[stage]["deps"] if dependency.startswith("mnist_dvc/")}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_exactly_the_code_it_imports(stage: str) -> None:
    missing, idle = imported_files(stage) - listed_files(stage), listed_files(stage) - imported_files(stage)
    assert (missing, idle) == (set(), set()), f"dvc.yaml, {stage}: add {sorted(missing)}, remove {sorted(idle)}"


def test_the_import_graph_sees_indirect_imports() -> None:
    """The twin: a file that is reached only through another is in the list, one that is not reached is not."""
    assert "mnist_dvc/data/idx.py" in imported_files("prepare")
    assert "mnist_dvc/training/engine.py" not in imported_files("prepare")
    assert "mnist_dvc/cli.py" not in imported_files("train")


def test_params_file_classes_and_pipeline_have_the_same_keys() -> None:
    def leaves(value: Any, prefix: str = "") -> list[str]:
        if not isinstance(value, dict):
            return [prefix]
        return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{prefix}.{key}" if prefix else key)]

    committed = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert leaves(committed) == param_keys()
    listed = [key for stage in STAGES.values() for key in stage["params"]]
    assert sorted(listed) == sorted(Params.model_fields)


def sections_read(source: str) -> set[str]:
    return set(re.findall(r"\bparams\.(\w+)", source)) & set(Params.model_fields)


def stage_files(stage: str) -> set[str]:
    """The stage's own file and those of ``mnist_dvc.stages`` that it imports, directly or not: params go no deeper."""
    return {name for name in imported_files(stage) if name.startswith("mnist_dvc/stages/")}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_reads_exactly_the_sections_it_lists(stage: str) -> None:
    sources = [(ROOT / name).read_text(encoding="utf-8") for name in sorted(stage_files(stage))]
    assert sections_read("\n".join(sources)) == set(STAGES[stage]["params"])


def test_the_section_check_can_fail() -> None:
    assert sections_read("run(params.data.seed, params.train)") == {"data", "train"}


def test_the_section_check_looks_at_what_a_stage_shares_and_at_no_other_stage() -> None:
    shared = {f"mnist_dvc/stages/{name}.py" for name in ("interruption", "paths", "resumable", "run")}
    assert stage_files("train") - {"mnist_dvc/stages/__init__.py"} == {"mnist_dvc/pipeline/train.py"} | shared
    assert sections_read((ROOT / "mnist_dvc/running/run.py").read_text(encoding="utf-8")) == {"model", "train"}


def test_whole_params_are_handed_to_no_module_below_the_stages() -> None:
    """Else a section could be read where the check above does not look."""

    def takes_all(name: str) -> bool:
        return re.search(r"\bParams\b", (ROOT / name).read_text(encoding="utf-8")) is not None

    takers = {name for stage in STAGES for name in imported_files(stage) if takes_all(name)}
    assert {name for name in takers if not name.startswith("mnist_dvc/stages/")} == {"mnist_dvc/params.py"}
    assert "mnist_dvc/running/run.py" in takers


def outputs(stage: str) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else out for out in STAGES[stage]["outs"]]


def test_metrics_plots_and_model_are_outputs_of_a_stage() -> None:
    made = {out for stage in STAGES for out in outputs(stage)}
    assert set(PIPELINE["metrics"]) <= made
    assert {artifact["path"] for artifact in PIPELINE["artifacts"].values()} <= made
    sources = {plot for plot in PIPELINE["plots"] if isinstance(plot, str)}
    for plot in PIPELINE["plots"]:
        if isinstance(plot, dict):
            sources |= {path for value in plot.values() for path in value["y"]}
    assert sources <= made


def test_metrics_and_digests_stay_in_git_and_the_rest_in_the_cache() -> None:
    uncached = {
        name
        for stage in STAGES.values()
        for out in stage["outs"]
        if isinstance(out, dict)
        for name, options in out.items()
        if options == {"cache": False}
    }
    assert uncached == {*PIPELINE["metrics"], "models/SHA256SUMS", "models/model.onnx.sha256"}


def test_what_changes_with_the_clock_is_no_output() -> None:
    made = [out for stage in STAGES for out in outputs(stage)]
    assert not [out for out in made if out.startswith(("runs", "checkpoints", ".mnist_dvc"))]

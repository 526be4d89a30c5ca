"""Which modules of the package decide the numbers of a study's stage, and which only carry, check or tell them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grimp

from mnist_dvc.model import NETWORKS, TEACHERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

GRAPH = grimp.build_graph("mnist_dvc", cache_dir=None)

TELLING = (
    *("cli", "codebase", "describe", "description", "errors", "files", "params", "paths", "pipeline", "program"),
    *("records", "report", "running", "study", "version", "runtime", "yaml", "inference", "model.weights"),
    *("data.arrays", "data.prepared", "data.splits", "training.snapshot", "training.checkpoint", "training.events"),
    *("model.tensorfile", "training.answers", "training.consistency"),
)
"""Modules and folders of them that carry, check or tell numbers and do not decide them."""


def file_of(network: Callable[[float], nn.Module]) -> str:
    """The module that holds a network of the registry, as ``model.compact``."""
    made = network.func if isinstance(network, functools.partial) else network
    return made.__module__.removeprefix("mnist_dvc.")


NETWORK_FILES = {name: file_of(network) for name, network in (NETWORKS | TEACHERS).items()}


def listed(stage: dict[str, Any]) -> set[str]:
    """The package's modules among the dependencies, as ``training.engine``."""
    files = [dependency for dependency in stage["deps"] if "mnist_dvc/" in dependency]
    return {Path(file.partition("mnist_dvc/")[2]).with_suffix("").as_posix().replace("/", ".") for file in files}


def is_telling(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in TELLING)


def deciding(entry: str, network: str) -> set[str]:
    """What ``entry`` imports and what decides its numbers, with ``network`` as the only one of the networks."""
    names = {name.partition(".")[2] for name in GRAPH.find_upstream_modules(f"mnist_dvc.study.{entry}")}
    registry = {"model"}  # imports every network, and decides nothing
    others = {*NETWORK_FILES.values()} - {NETWORK_FILES[network]}
    return {name for name in names if not is_telling(name)} - registry - others

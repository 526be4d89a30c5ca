"""What the base package does without torch: it starts in a moment, and loads nothing that only the extras bring."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from importlib.metadata import distribution, packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BASE = {
    "mnist_dvc.program": (),
    "mnist_dvc.pipeline.init": (),
    "mnist_dvc.pipeline.predict": (),
    "mnist_dvc.pipeline.summary": (),
    "mnist_dvc.classifier": (),
    "mnist_dvc.registry": (),
    "mnist_dvc.demo.server": ("demo",),
}
"""Modules that need nothing but the base package and these extras."""


@functools.cache
def loaded(*modules: str) -> frozenset[str]:
    """Top-level modules that a child interpreter has loaded after it imported ``modules``."""
    script = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    with tempfile.TemporaryDirectory() as cwd:
        told = subprocess.check_output([sys.executable, "-c", script], cwd=cwd, text=True)
    return frozenset(name.partition(".")[0] for name in told.split())


def brought_by(package: str, extras: tuple[str, ...] = ("",)) -> set[str]:
    """``package`` and all that it requires, directly or not, under these extras, by canonical name."""
    found: set[str] = set()
    waiting = {(canonicalize_name(package), extras)}
    while waiting:
        name, wanted = waiting.pop()
        found.add(name)
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in wanted):
                entry = (canonicalize_name(needed.name), tuple(sorted(needed.extras)) or ("",))
                waiting |= {entry} if entry[0] not in found else set()
    return found


def distributions(modules: frozenset[str]) -> set[str]:
    """Those that ``modules`` come from, but for the standard library."""
    known = packages_distributions()
    return {canonicalize_name(name) for module in modules for name in known.get(module, ())}


def test_predict_and_what_serves_it_load_no_torch() -> None:
    modules = loaded("mnist_dvc.pipeline.predict", "mnist_dvc.serving")
    assert "onnxruntime" in modules
    assert not modules & {"torch", "torchvision", "safetensors"}


def test_demo_loads_no_torch() -> None:
    modules = loaded("mnist_dvc.demo.server")
    assert "starlette" in modules
    assert not modules & {"torch", "torchvision", "safetensors"}


@pytest.mark.parametrize("module", ["mnist_dvc.pipeline.export", "mnist_dvc.model.weights"])
def test_the_check_of_what_is_loaded_can_fail(module: str) -> None:
    assert "torch" in loaded("mnist_dvc.pipeline.predict", module)


@pytest.mark.parametrize("module", BASE)
def test_base_package_loads_only_what_its_own_dependencies_bring(module: str) -> None:
    extra = distributions(loaded(module)) - brought_by("mnist-dvc", ("", *BASE[module])) - AROUND
    assert not extra, f"{module}: got {sorted(extra)}, expected packages that the base dependencies bring"


AROUND = {"virtualenv", "setuptools", "attrs", "sniffio", "charset-normalizer"}
"""What an environment itself loads into every interpreter, and what rich, anyio and numpy take if it is there."""


def test_the_check_of_the_base_can_fail() -> None:
    found = distributions(loaded("mnist_dvc.metrics")) - brought_by("mnist-dvc")
    assert {"joblib", "scikit-learn"} <= found <= brought_by("mnist-dvc", ("train",))
    assert "starlette" in distributions(loaded("mnist_dvc.demo.server")) - brought_by("mnist-dvc")

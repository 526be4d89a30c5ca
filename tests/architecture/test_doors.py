"""Narrow doors: what may be named in one module only. Each check has a twin that shows it can fail."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = ROOT / "mnist_dvc"
MODULES = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of nested attributes, or the empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def names(source: str) -> Iterator[str]:
    """Every module that ``source`` imports and every dotted name that it uses, imported names spelt out in full."""
    tree = ast.parse(source)
    origin = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                origin[alias.asname or alias.name] = alias.name
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                origin[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            name = dotted(node)
            head, _, rest = name.partition(".")
            yield f"{origin.get(head, head)}.{rest}".rstrip(".")


def writes_files(source: str) -> list[str]:
    """Calls that open a file for writing: a mode with w, a, x or +, and the writing shorthands of pathlib and numpy."""
    found = []
    shorthands = {"write_text", "write_bytes", "touch", "savetxt", "tofile", "save_file"}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)
        literals = [
            value.value
            for value in [*node.args, *(k.value for k in node.keywords)]
            if isinstance(value, ast.Constant) and isinstance(value.value, str)
        ]
        opens = name in {"open", "fdopen"} and any(set("wax+") & set(mode) and len(mode) <= 3 for mode in literals)
        if opens or name in shorthands or dotted(node.func) == "os.write":
            found.append(f"line {node.lineno}: {name}")
    return found


def uses(*wanted: str) -> Callable[[str], list[str]]:
    """A check that finds names that are or lie inside one of ``wanted``."""

    def check(source: str) -> list[str]:
        return sorted({name for name in names(source) if any(name == w or name.startswith(f"{w}.") for w in wanted)})

    return check


DOORS: dict[str, tuple[Callable[[str], list[str]], set[str], str]] = {
    "pickle": (
        uses("torch.load", "torch.save", "pickle", "cloudpickle", "joblib", "marshal", "shelve", "numpy.lib.format"),
        {"training/checkpoint.py"},
        "from torch import load\nload('x')",
    ),
    "pictures": (
        uses("PIL"),
        {"image/bounds.py", "image/decode.py", "image/fitting.py", "image/memory.py", "image/sheet.py"},
        "from PIL import Image",
    ),
    "TensorBoard": (
        uses("tensorboard", "torch.utils.tensorboard", "tensorboardX"),
        {"report/eventlog.py"},
        "import torch.utils.tensorboard as tb",
    ),
    "matplotlib": (
        uses("matplotlib"),
        {"report/charts.py", "report/figures.py", "report/png.py", "report/study_figures.py", "report/svg.py"},
        "import matplotlib.pyplot as plt",
    ),
    "templates": (
        uses("jinja2", "markupsafe"),
        {"report/model_card.py", "report/page.py"},
        "from jinja2 import Template",
    ),
    "ONNX": (
        uses("onnx", "onnxruntime", "onnxscript", "torch.onnx"),
        {"graph.py", "onnx.py", "serving.py"},
        "from torch.onnx import export",
    ),
    "torchvision": (uses("torchvision"), {"data/downloads.py"}, "from torchvision.datasets import MNIST"),
    "DVC": (uses("dvc"), set(), "import dvc.api"),
    "YAML": (uses("ruamel", "yaml"), {"yaml.py", "report/model_card.py"}, "import yaml"),
    "generators": (
        uses("torch.Generator"),
        {"randomness.py"},
        "import torch\ng = torch.Generator()",
    ),
    "ambient randomness": (
        uses(
            "random", "secrets", "numpy.random", "np.random", "torch.manual_seed", "torch.seed", "torch.random",
            "torch.cuda.manual_seed", "torch.nn.functional.dropout",
        ),
        set(),
        "import numpy as np\nnp.random.seed(0)",
    ),
    "writing": (writes_files, {"files.py"}, "from pathlib import Path\nPath('x').write_text('y')"),
    "safetensors": (
        uses("safetensors"),
        {"model/tensorfile.py", "model/weights.py", "training/snapshot.py", "training/teaching.py"},
        "import safetensors.torch",
    ),
    "locks": (uses("filelock", "fcntl"), {"files.py"}, "from filelock import FileLock"),
    "signals": (uses("signal"), {"program.py", "demo/server.py", "running/interruption.py"}, "import signal"),
    "web": (uses("starlette", "uvicorn"), {"demo/app.py", "demo/server.py"}, "from starlette.routing import Route"),
    "evaluated text": (uses("eval", "exec", "compile", "importlib"), {"room.py"}, "eval('1')"),
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_only_its_own_module_uses_the_door(door: str) -> None:
    check, allowed, _ = DOORS[door]
    found = {module: check(source) for module, source in MODULES.items()}
    annotations = {"generators": "torch.Generator"}
    users = {module for module, hits in found.items() if hits}
    if door in annotations:  # as a type everyone may name it; only calling it makes a generator
        users = {module for module in users if "torch.Generator(" in MODULES[module]}
    assert users == allowed


@pytest.mark.parametrize("door", DOORS)
def test_the_check_of_the_door_can_fail(door: str) -> None:
    check, _, offence = DOORS[door]
    assert check(offence)


@pytest.mark.parametrize("mode", ["w", "wb", "a", "x", "r+"])
def test_each_writing_mode_is_seen(mode: str) -> None:
    assert writes_files(f"open('f', '{mode}')")
    assert writes_files(f"path.open(mode='{mode}')")
    assert not writes_files("open('f', 'rb')")


def loads(source: str) -> list[str]:
    """What unpickles: :data:`DOORS` lets one module write a pickle, and none read any."""
    return uses("torch.load", "torch.jit.load", "pickle.load", "pickle.loads", "pickle.Unpickler")(source)


def test_no_pickle_is_read() -> None:
    assert {module: loads(source) for module, source in MODULES.items() if loads(source)} == {}


@pytest.mark.parametrize(
    "call",
    [
        "import torch\ntorch.load(f, weights_only=True)",
        "from torch import load\nload(f)",
        "import pickle\npickle.loads(b)",
    ],
)
def test_the_check_of_pickles_can_fail(call: str) -> None:
    assert loads(call)


def random_calls(source: str) -> list[str]:
    """Calls of torch's random functions without an explicit generator."""
    drawing = {"rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal", "uniform_", "normal_"}
    drawing |= {"kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "random_", "rand_like", "randn_like"}
    return [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in drawing
        and "generator" not in {keyword.arg for keyword in node.keywords}
    ]


def test_every_draw_names_its_generator() -> None:
    assert {module: random_calls(source) for module, source in MODULES.items() if random_calls(source)} == {}
    assert any("torch.rand" in source for source in MODULES.values())


def test_the_check_of_draws_can_fail() -> None:
    assert random_calls("import torch\ntorch.rand(3)") == ["line 2"]


def asserts(source: str) -> list[int]:
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]


def test_package_raises_and_never_asserts() -> None:
    assert {module: asserts(source) for module, source in MODULES.items() if asserts(source)} == {}
    assert asserts("assert True") == [1]


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__init__.py")])
def test_every_module_says_what_it_is_for_and_what_it_offers(module: str) -> None:
    tree = ast.parse(MODULES[module])
    docstring = ast.get_docstring(tree)
    assert docstring
    assert docstring.split("\n")[0].endswith((".", "commands"))
    if module != "__main__.py":
        assert any(isinstance(n, ast.Assign) and dotted(n.targets[0]) == "__all__" for n in tree.body)

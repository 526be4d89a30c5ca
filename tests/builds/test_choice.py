"""Which torch a session gets: from an index in reach, from a stand-in for it, or the default one, and what it says."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import nox
import pytest
from helpers import ROOT
from nox.registry import get
from sessions import Ended, FakeSession, load_noxfile

if TYPE_CHECKING:
    from types import ModuleType

CONSTRAINTS = (ROOT / ".ci/constraints.txt").read_text(encoding="utf-8")
TORCH, VISION = (re.findall(rf"^{name}==(\S+)", CONSTRAINTS, re.MULTILINE)[0] for name in ("torch", "torchvision"))


@pytest.fixture
def noxfile(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_noxfile(monkeypatch)


def test_each_build_has_its_sessions_and_plain_names_stay_single(noxfile: ModuleType) -> None:
    names = set(get())
    assert {"lint", "typecheck", "tests", "architecture", "pipeline", "faults", "wheel", "audit"} < names
    tagged = {name for name, session in get().items() if noxfile.BUILD[0] in session.tags}
    assert tagged == {f"{name}({build})" for name in ("tests", "architecture", "bench") for build in ("cpu", "cuda")}
    assert all(session.python is None for session in get().values())


@pytest.mark.usefixtures("noxfile")
def test_each_session_says_in_one_sentence_what_it_needs() -> None:
    for name, session in get().items():
        said = str(session.func.__doc__)
        assert re.fullmatch(r"[^\n]{30,130}\.", said), name


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["-s", "tests"], "", None),
        (["-s", "tests", "-p", "3.12"], "", ["3.12"]),
        (["-p", "3.12", "3.13", "-s", "tests"], "", ["3.12", "3.13"]),
        (["--python", "3.12"], "", ["3.12"]),
        (["--pythons=3.12"], "", ["3.12"]),
        (["-s", "tests"], "3.12,3.13", ["3.12", "3.13"]),
        (["-s", "tests", "--", "-p", "no:cacheprovider"], "", None),
        (["-P", "3.12"], "", None),
    ],
)
def test_sessions_list_the_versions_that_are_asked_for(
    noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: str, expected: object
) -> None:
    monkeypatch.setattr(sys, "argv", ["nox", *arguments])
    monkeypatch.setenv("NOXPYTHON", environment)
    assert noxfile.asked_pythons() == expected


def test_pins_of_a_build_leave_its_files_and_its_cuda_open(noxfile: ModuleType, tmp_path: Path) -> None:
    _, file = noxfile.pins(FakeSession(tmp_path), noxfile.of_any_build)
    text = Path(file).read_text(encoding="utf-8")
    assert f"torch=={TORCH}" in text.splitlines()
    assert f"torchvision=={VISION}" in text.splitlines()
    assert not re.search(r"^(nvidia|cuda|triton)", text, re.MULTILINE)
    entry = re.search(r"^numpy==(?:.*\n +)+.*", CONSTRAINTS, re.MULTILINE)
    assert entry is not None
    assert "--hash=" in entry[0]
    assert entry[0] in text


def test_pip_gets_no_hashes(noxfile: ModuleType, tmp_path: Path) -> None:
    _, file = noxfile.pins(FakeSession(tmp_path, backend="virtualenv"))
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(re.findall(r"^[\w.-]+==", CONSTRAINTS, re.MULTILINE))
    assert not [line for line in lines if "hash" in line or line.endswith("\\")]


def test_uv_gets_the_constraints_as_they_are_but_for_a_build_that_its_own_variable_chooses(
    noxfile: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert noxfile.pins(FakeSession(tmp_path)) == ("--constraint", ".ci/constraints.txt")
    monkeypatch.setenv("UV_TORCH_BACKEND", "cpu")
    _, file = noxfile.pins(FakeSession(tmp_path))
    assert f"torch=={TORCH}" in Path(file).read_text(encoding="utf-8").splitlines()


class Driver:
    """NVIDIA's driver library, with so many devices."""

    def __init__(self, devices: int, error: int = 0) -> None:
        self.devices, self.error = devices, error

    def cuInit(self, _: int) -> int:  # the name is the driver's
        return self.error

    def cuDeviceGetCount(self, count: object) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int)).contents.value = self.devices  # type: ignore[arg-type]
        return 0


def with_driver(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    def load(name: str) -> Driver:
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (None, r"this machine has no NVIDIA driver \(libcuda.so.1\)"),
        (Driver(0), "the NVIDIA driver knows none"),
        (Driver(0, error=100), "the NVIDIA driver answers with error 100"),
    ],
)
def test_cuda_without_a_device_is_skipped_before_anything_is_installed(
    noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: Driver | None, words: str
) -> None:
    with_driver(monkeypatch, driver)
    session = FakeSession(tmp_path)
    with pytest.raises(Ended, match=f"^skipped: no CUDA device: {words}$"):
        noxfile.install_build(session, "cuda")
    assert session.installed == []


def test_cuda_with_a_device_asks_for_the_driver_s_build(
    noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_driver(monkeypatch, Driver(1))
    session = FakeSession(tmp_path, {"uv": "Would install 2 packages", "python": "torch 1, torchvision 1, device cuda"})
    noxfile.install_build(session, "cuda")
    assert "--torch-backend=auto" in session.installed[-1]
    assert session.said == ["torch 1, torchvision 1, device cuda"]


def test_cuda_with_a_torch_that_finds_no_device_fails_in_one_line(
    noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_driver(monkeypatch, Driver(1))
    session = FakeSession(tmp_path, {"python": "a warning\ntorch 1+cpu, torchvision 1, device none\n"})
    with pytest.raises(Ended, match=r"^error: torch 1\+cpu, .*: this torch finds no CUDA device, [^\n]*$"):
        noxfile.install_build(session, "cuda")


def test_a_build_needs_uv(noxfile: ModuleType, tmp_path: Path) -> None:
    session = FakeSession(tmp_path, backend="virtualenv")
    with pytest.raises(Ended, match=r'^error: .* needs uv: python -m pip install "nox\[uv\]"$'):
        noxfile.install_build(session, "cpu")


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_where_the_default_wheels_are_for_the_processor_nothing_is_asked_for(
    noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    session = FakeSession(tmp_path, {"uv": "error: out of reach", "python": "torch 1, torchvision 1, device cpu"})
    noxfile.install_build(session, "cpu")
    assert session.said == ["torch 1, torchvision 1, device cpu"]
    assert not any(word.startswith("--torch-backend") for word in session.installed[-1])


# The real nox and uv, in a folder with our noxfile and packages that hold nothing


def wheel(folder: Path, name: str, version: str, files: dict[str, str], *, script: str = "") -> Path:
    """A package of `files`, with a command of its own name if `script` names the function."""
    folder.mkdir(exist_ok=True)
    information = f"{name}-{version}.dist-info"
    files |= {
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/entry_points.txt": f"[console_scripts]\n{name} = {script}\n" if script else "",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
        archive.writestr(f"{information}/RECORD", "".join(f"{inside},,\n" for inside in files))
    return path


def pair(folder: Path, build: str) -> list[Path]:
    """torch and torchvision of a build; that of the default ones only a file of torch names, as in the real ones."""
    built = build or "+cu132"
    torch = wheel(
        folder, "torch", f"{TORCH}{build}",
        {"torch/__init__.py": "", "torch/version.py": f"__version__ = '{TORCH}{built}'\n"},
    )  # fmt: skip
    return [torch, wheel(folder, "torchvision", f"{VISION}{build}", {"torchvision/__init__.py": ""})]


def index(folder: Path) -> str:
    """The address of a simple index of the wheels in `folder`."""
    for path in folder.glob("*.whl"):
        page = folder / "simple" / path.name.partition("-")[0].replace("_", "-") / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f'<!DOCTYPE html><a href="{path.as_uri()}">{path.name}</a>')
    return (folder / "simple").as_uri()


PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "mnist-dvc"
version = "1"
dependencies = []

[project.optional-dependencies]
train = ["torch", "torchvision"]

[dependency-groups]
test = ["pytest"]
"""
BACKEND = """\
import os, shutil

def build_editable(folder, config_settings=None, metadata_directory=None):
    return os.path.basename(shutil.copy("packages/mnist_dvc-1-py3-none-any.whl", folder))
"""
PYTEST = "import sys\ndef main():\n    print('pytest got', *sys.argv[1:])\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Our noxfile beside a package and a registry of empty ones, whose digests its constraints hold."""
    shutil.copy(ROOT / "noxfile.py", tmp_path)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    packages = tmp_path / "packages"
    wheel(packages, "mnist_dvc", "1", {})
    wheel(packages, "pytest", "1", {"pytest/__init__.py": PYTEST}, script="pytest:main")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in pair(packages, "")]
    index(packages)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/constraints.txt").write_text(
        f"nvidia-cublas==1 \\\n    --hash=sha256:{digests[0]}\n"
        f"torch=={TORCH} \\\n    --hash=sha256:{digests[0]}\ntorchvision=={VISION} \\\n    --hash=sha256:{digests[1]}\n"
    )
    return tmp_path


def run_nox(project: Path, name: str, *words: str, **environment: str) -> str:
    """What a session of `project` printed; every address but those of this machine leads nowhere."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MNIST_DVC_", "NOX", "UV_"))}
    nowhere = {
        "UV_DEFAULT_INDEX": (project / "packages/simple").as_uri(), "UV_CACHE_DIR": str(project / "cache"),
        "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "NO_COLOR": "1",
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-m", "nox", "--script-mode", "none", "-s", name, "--", *words],
        cwd=project, env=plain | nowhere | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the default wheels are those for the processor")
def test_out_of_reach_the_default_wheels_are_used_and_it_is_said(project: Path) -> None:
    told = run_nox(project, "architecture(cpu)", "-k", "some")
    (line,) = re.findall(r"^nox > no cpu build of torch within reach.*$", told, re.MULTILINE)
    assert "so these are the default wheels; uv says: error: " in line
    assert f"nox > torch {TORCH}+cu132, torchvision {VISION}, device cpu\n" in told
    assert re.search(r"^pytest got tests/architecture .*-k some$", told, re.MULTILINE)


def test_a_folder_stands_in_for_the_index_and_an_installed_default_pair_is_replaced(project: Path) -> None:
    pair(project / "wheels", "+cpu")
    assert f"torch {TORCH}+cu132" in run_nox(project, "architecture(cpu)")
    told = run_nox(project, "architecture(cpu)", MNIST_DVC_TORCH_INDEX="wheels")
    assert "within reach" not in told
    assert f"nox > torch {TORCH}+cpu, torchvision {VISION}+cpu, device cpu\n" in told


def test_an_address_stands_in_for_the_index(project: Path) -> None:
    pair(project / "wheels", "+cpu")
    told = run_nox(project, "bench(cpu)", MNIST_DVC_TORCH_INDEX=index(project / "wheels"))
    assert f"nox > torch {TORCH}+cpu, torchvision {VISION}+cpu, device cpu\n" in told
    assert "pytest got tests/benchmarks" in told


def test_a_stand_in_without_the_pinned_pair_fails(project: Path) -> None:
    wheel(project / "wheels", "torch", "1.0+cpu", {"torch/__init__.py": ""})
    with pytest.raises(AssertionError, match=f"torch=={TORCH}"):
        run_nox(project, "architecture(cpu)", MNIST_DVC_TORCH_INDEX="wheels")


def test_the_environment_of_dev_holds_the_nox_that_the_noxfile_asks_for(noxfile: ModuleType) -> None:
    """Otherwise nox would first make itself an environment."""
    (asked,) = nox.project.load_toml(ROOT / "noxfile.py")["dependencies"]
    assert asked in noxfile.group("dev")

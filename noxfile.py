# /// script
# dependencies = ["nox[uv]>=2026.2.9"]
# ///
"""Every check, every build and every run of the project; `nox -l` lists them, plain `nox` runs the default ones."""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import os
import re
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import nox

if TYPE_CHECKING:
    from collections.abc import Callable

nox.needs_version = ">=2026.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True

CONSTRAINTS = os.environ.get("MNIST_DVC_CONSTRAINTS", ".ci/constraints.txt")
"""Exact versions for the sessions; another file, or an empty value for the newest of everything."""
TORCH_BACKEND = os.environ.get("MNIST_DVC_TORCH_BACKEND", "auto")
"""What the cuda sessions ask uv for: auto is what the driver runs, cu130 that version of CUDA."""
TORCH_INDEX = os.environ.get("MNIST_DVC_TORCH_INDEX", "")
"""Where the cpu and cuda sessions take torch and torchvision from instead: a folder of wheels or a simple index."""

PROJECT = nox.project.load_toml("pyproject.toml")
CHECK, BUILD = ["checks"], ["builds"]
"""Tags: what a change must pass, which is what .ci/run runs; and the sessions that choose their build of torch."""
WORKERS = (f"--numprocesses={min(os.cpu_count() or 1, 8)}", "--dist=loadfile")
PLAIN = "--override-ini=addopts=--import-mode=importlib"
"""Without the options of the whole suite, which leaves out benchmarks and marked tests."""


def asked_pythons() -> list[str] | None:
    """The versions of `-p`: nox leaves out each session that does not list them, and ours run on any."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-p", "--pythons", "--python", nargs="*")
    asked = parser.parse_known_args(sys.argv[1:])[0].pythons or os.environ.get("NOXPYTHON", "").split(",")
    return [version for version in asked if version] or None


session = functools.partial(nox.session, python=asked_pythons())


# What is installed


def group(*names: str) -> tuple[str, ...]:
    """The requirements of dependency groups of pyproject.toml."""
    return nox.project.dependency_groups(PROJECT, *names)


def plain(_: str, entry: str) -> str:
    """An entry of CONSTRAINTS without its hashes, beside which pip would refuse an editable package."""
    return entry.partition(" \\")[0]


def of_any_build(name: str, entry: str) -> str:
    """An entry of CONSTRAINTS for another build of torch, whose files are others and which brings its own CUDA."""
    if name in ("torch", "torchvision"):
        return plain(name, entry)
    return "" if name.startswith(("cuda-", "nvidia-", "triton")) else entry


def pins(session: nox.Session, change: Callable[[str, str], str] | None = None) -> tuple[str, ...]:
    """The option that holds an installation to CONSTRAINTS, each entry of which `change` may change or drop."""
    if session.venv_backend != "uv":
        change = plain
    elif "UV_TORCH_BACKEND" in os.environ:  # uv's own way to choose a build for every installation, as CI does
        change = change or of_any_build
    if not CONSTRAINTS or change is None:
        return ("--constraint", CONSTRAINTS) if CONSTRAINTS else ()
    entries = re.findall(r"^[\w.-]+==.*(?:\n +.*)*", Path(CONSTRAINTS).read_text(encoding="utf-8"), re.MULTILINE)
    changed = Path(session.virtualenv.location, "constraints.txt").resolve()
    changed.write_text("\n".join(change(entry.partition("==")[0], entry) for entry in entries), encoding="utf-8")
    return ("--constraint", str(changed))


def install(session: nox.Session, *groups: str, options: tuple[str, ...] = ()) -> None:
    """Install the package, editable, with dependency groups, held to CONSTRAINTS if `options` say nothing else."""
    if session.venv_backend != "none":  # --no-venv takes what is active
        session.install(*(options or pins(session)), "--editable", ".[train]", *group(*groups))
    # Where the shell forbids bytecode files, each start would compile every library anew and take twice as long.
    session.env["PYTHONDONTWRITEBYTECODE"] = ""


def need_uv(session: nox.Session) -> None:
    """End where a session does what only uv can."""
    if session.venv_backend != "uv":
        session.error(f'{session.name} needs uv: python -m pip install "nox[uv]"')


# Builds of torch

ANEW = ("--reinstall-package=torch", "--reinstall-package=torchvision")
"""An installed torch of the right version and the wrong build would satisfy uv."""


def no_cuda() -> str:
    """Why there is no CUDA device, by its driver; empty if there is one."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"this machine has no NVIDIA driver ({name})"
    devices = ctypes.c_int()
    error = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(devices))
    if error:
        return f"the NVIDIA driver answers with error {error}"
    return "" if devices.value else "the NVIDIA driver knows none"


def unreachable(session: nox.Session, *options: str) -> str:
    """Why uv cannot install torch and torchvision so, in its own words; empty if it can."""
    quick = {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"}
    dry = ("uv", "pip", "install", "--dry-run", *options, "torch", "torchvision")
    told = str(session.run(*dry, env=quick, silent=True, log=False, success_codes=range(256)))
    reasons = [line.strip() for line in told.splitlines() if line.strip().startswith(("error: ", "cause: "))]
    return " ... ".join(dict.fromkeys((reasons[0], reasons[-1]))) if reasons else ""


def install_build(session: nox.Session, build: str) -> None:
    """As `install` for the tests, with torch and torchvision of a build, and tell which they are."""
    if build == "cuda" and (why := no_cuda()):
        session.skip(f"no CUDA device: {why}")
    need_uv(session)
    anew = (*pins(session, of_any_build), *ANEW)
    backend = f"--torch-backend={TORCH_BACKEND if build == 'cuda' else 'cpu'}"
    options: tuple[str, ...] = ()
    if TORCH_INDEX:
        place = ("--no-index", "--find-links") if Path(TORCH_INDEX).is_dir() else ("--default-index",)
        session.install(*anew, *place, TORCH_INDEX, "--no-deps", "torch", "torchvision")
        options = pins(session, of_any_build)
    elif build == "cuda" or sys.platform == "linux":  # elsewhere the default wheels are those for the processor
        if why := unreachable(session, *anew, backend):
            session.warn(f"no {build} build of torch within reach, so these are the default wheels; uv says: {why}")
        else:
            options = (*anew, backend)
    install(session, "test", options=options)
    told = str(session.run("python", "-c", WHAT_IS_HERE, build, silent=True, log=False))
    here = told.strip().rpartition("\n")[2]  # after what an old driver may have torch say
    session.log(here)
    if here.endswith("none"):
        session.error(f"{here}: this torch finds no CUDA device, though the driver knows one")


WHAT_IS_HERE = """
import importlib.metadata, importlib.util, pathlib, runpy, sys
version = pathlib.Path(importlib.util.find_spec("torch").origin).with_name("version.py")
device = sys.argv[1]
if device == "cuda":
    from torch import cuda
    device = f"cuda ({cuda.get_device_name()})" if cuda.is_available() else "none"
versions = runpy.run_path(str(version))["__version__"], importlib.metadata.version("torchvision")
print("torch {}, torchvision {}, device".format(*versions), device)
"""
"""From a file of torch: the metadata of the default wheels leave their build out, and an import takes seconds."""


def on_page(session: nox.Session, *command: str) -> None:
    """Put the Markdown that a command prints on the page of the job, where GitHub runs it."""
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a", encoding="utf-8") as file:
            session.run(*command, stdout=file, log=False)


# Checks


@session(tags=CHECK)
def lint(session: nox.Session) -> None:
    """Style, import layers, workflow files: no torch, half a minute; arguments go to ruff."""
    session.install(*pins(session), *group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": str(Path.cwd())})
    check_workflows(session)


def check_workflows(session: nox.Session) -> None:
    """Hold .github to its schemas and to zizmor's rules."""
    workflows = [str(path) for path in sorted(Path(".github/workflows").glob("*.yml"))]
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    actions = [str(path) for path in sorted(Path(".github/actions").glob("*/action.yml"))]
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-actions", *actions)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    session.run("zizmor", "--offline", "--quiet", ".github")


@session(tags=CHECK)
def typecheck(session: nox.Session) -> None:
    """mypy, strict, on the package, the tests and this file: a minute; arguments go to mypy."""
    install(session, "typecheck")
    session.run("mypy", *session.posargs)


def marked(mark: str) -> list[str]:
    """The files with tests of a mark: to look through all the others for some takes a quarter of a minute."""
    files = sorted(Path("tests").rglob("test_*.py"))
    return [str(path) for path in files if f"mark.{mark}" in path.read_text(encoding="utf-8")]


def run_tests(session: nox.Session, *options: str) -> None:
    """The suite."""
    session.run("pytest", *WORKERS, *options, *session.posargs)
    if "--cov" in session.posargs:
        on_page(session, "coverage", "report", "--format=markdown")


def run_architecture(session: nox.Session, *options: str) -> None:
    """The tests of what is built and how it is put together, those that take long, too."""
    chosen = ("tests/architecture", "-m", "")
    session.run("pytest", *chosen, *WORKERS, "--dist=worksteal", *options, *session.posargs)


def run_bench(session: nox.Session, *options: str) -> None:
    """The benchmarks."""
    session.run("pytest", "tests/benchmarks", PLAIN, *options, *session.posargs)


@session(tags=CHECK)
def tests(session: nox.Session) -> None:
    """Unit, property, command-line and architecture tests: 6 minutes; arguments go to pytest, --cov for coverage."""
    install(session, "test")
    run_tests(session)


@session(tags=CHECK)
def architecture(session: nox.Session) -> None:
    """Networks, import doors and pipeline file, against what they promise: a minute; arguments go to pytest."""
    install(session, "test")
    run_architecture(session)


@session(tags=CHECK)
def pipeline(session: nox.Session) -> None:
    """DVC from the outside: repro, experiments, queue, diffs, plots, in temporary copies: 3 minutes."""
    install(session, "test")
    session.run("pytest", "tests/dvc", "-m", "pipeline", *WORKERS, *session.posargs)


@session(default=False, tags=CHECK)
def browser(session: nox.Session) -> None:
    """Report, demo and TensorBoard in a browser, with screenshots: needs Chromium and its driver, 2 minutes."""
    install(session, "test")
    shots = Path("build/screenshots").resolve()
    environment = {"MNIST_DVC_SCREENSHOTS": str(shots)}
    session.run("pytest", "tests/browser", "-m", "browser", *WORKERS, *session.posargs, env=environment)


@session(default=False, tags=CHECK)
def faults(session: nox.Session) -> None:
    """Kills, orphans, damaged and hostile files, fuzzed parsers: 5 minutes."""
    install(session, "test")
    options = ("--durations=10", "-rP", "--show-capture=stdout")
    session.run("pytest", *marked("faults"), "-m", "faults", *WORKERS, *options, *session.posargs)


@session(default=False, tags=CHECK)
def surroundings(session: nox.Session) -> None:
    """The tests in a poor locale, without asserts, under an odd path, in a read-only tree: 2 minutes."""
    install(session, "test")
    session.run("pytest", "tests/test_surroundings.py", "-m", "surroundings", *session.posargs)


@session(default=False, tags=CHECK)
def reproduce(session: nox.Session) -> None:
    """The pipeline in two clean clones, every tracked byte compared: 2 minutes."""
    install(session, "test")
    session.run("pytest", "tests/builds/reproduced.py", PLAIN, "--capture=no", *session.posargs)


@session(default=False)
def minimums(session: nox.Session) -> None:
    """The tests at the lowest versions that pyproject.toml allows: needs uv, 9 minutes."""
    need_uv(session)
    # Without CONSTRAINTS: to hold what comes along to its newest version would lift what brings it.
    install(session, "test", options=("--resolution=lowest-direct", "--upgrade"))
    session.run("pytest", *WORKERS, *session.posargs)


@session(default=False, tags=CHECK)
def docs(session: nox.Session) -> None:
    """The site in build/docs, links checked: half a minute; `-- --links` asks the network about those to elsewhere."""
    session.install(*pins(session), *group("docs"))
    strict = ("sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env")
    asked = "--links" in session.posargs
    session.run(*strict, *(word for word in session.posargs if word != "--links"), "docs", "build/docs")
    if asked:
        session.run("sphinx-build", "--builder=linkcheck", "docs", "build/links")
    session.log(f"open {Path('build/docs/index.html').resolve().as_uri()}")


# What ships


@session(default=False, tags=CHECK)
def wheel(session: nox.Session) -> None:
    """Source archive and wheel: built, checked, used from an empty environment elsewhere: needs uv, 2 minutes."""
    need_uv(session)
    session.install(*pins(session), *group("dist"))
    shutil.rmtree("dist", ignore_errors=True)
    held = [f"--build-constraint={CONSTRAINTS}"] if CONSTRAINTS else []
    session.run("uv", "build", "--quiet", "--out-dir=dist", *held)
    (built,) = Path("dist").resolve().glob("*.whl")
    (source,) = Path("dist").resolve().glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(source), str(built))
    session.run("check-wheel-contents", str(built))
    checks = ("pytest", "--noconftest", PLAIN, "-p", "no:cacheprovider", "--capture=no", *session.posargs)
    session.run(*checks, "tests/builds/contents.py", env={"MNIST_DVC_DIST": str(built.parent)})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as elsewhere:
        session.run("uv", "venv", "--quiet", f"--python={session.virtualenv.location}", elsewhere)
        for extra in ("", "[train]"):
            wanted = f"mnist-dvc{extra} @ {built.as_uri()}"
            session.run("uv", "pip", "install", "--quiet", f"--python={elsewhere}", *pins(session), wanted)
            tried = f"tests/builds/installed_{extra.strip('[]') or 'base'}.py"
            session.run(*checks, tried, env={"MNIST_DVC_INSTALLED": elsewhere})


@session(default=False, tags=CHECK)
def audit(session: nox.Session) -> None:
    """Vulnerabilities, workflows, licences and a bill of materials in build/sbom.json, or a path given: needs uv."""
    need_uv(session)
    session.install(*pins(session), *group("audit"))
    look_up_vulnerabilities(session)
    check_workflows(session)
    shipped = Path(session.virtualenv.location, "shipped")
    session.run("uv", "venv", "--quiet", "--clear", f"--python={session.virtualenv.location}", str(shipped))
    session.run("uv", "pip", "install", "--quiet", f"--python={shipped}", *pins(session), ".[train]")
    python = str(next(shipped.glob("[Sb]*/python*")))
    lines = Path(".ci/licences.txt").read_text(encoding="utf-8").splitlines()
    allowed = f"--allow-only={';'.join(line for line in lines if not line.startswith('#'))}"
    session.run("pip-licenses", f"--python={python}", "--summary", allowed, "--ignore-packages", *KNOWN_LICENCES)
    bill = Path(*(session.posargs or ["build", "sbom.json"]))
    bill.parent.mkdir(parents=True, exist_ok=True)
    session.run("cyclonedx-py", "environment", python, "--pyproject=pyproject.toml", f"-o={bill}")


KNOWN_LICENCES = ("cuda-toolkit", "grandalf")
"""Packages whose metadata say less than their files: cuda-toolkit, an empty one for the NVIDIA ones, says nothing;
grandalf, with which DVC draws its graphs, says GPL-2.0, where its licence file gives the choice of EPL-1.0."""


def look_up_vulnerabilities(session: nox.Session) -> None:
    """Ask pip-audit about CONSTRAINTS; its database may be out of reach, which is told."""
    found = Path(session.virtualenv.location, "audit.json")
    found.unlink(missing_ok=True)
    asked = ("--require-hashes", "--disable-pip", f"--requirement={CONSTRAINTS}", "--format=json", f"--output={found}")
    told = str(session.run("pip-audit", "--progress-spinner=off", *asked, silent=True, success_codes=range(256)))
    answers = json.loads(found.read_text(encoding="utf-8"))["dependencies"] if found.exists() else []
    unknown = [entry["skip_reason"] for entry in answers if "skip_reason" in entry]
    bad = [f"{entry['name']} {entry['version']}: {flaw['id']}" for entry in answers for flaw in entry.get("vulns", ())]
    if len(unknown) == len(answers):
        said = (*unknown, *reversed(told.splitlines()), "nothing")[0]
        session.warn(
            f"no package was looked up, the database of vulnerabilities is out of reach; pip-audit says: {said}"
        )
    else:
        session.log(f"{len(answers) - len(unknown)} of {len(answers)} packages looked up, {len(bad)} vulnerabilities")
    if bad:
        session.error("; ".join(bad))


# Builds and runs


def on_build(run: Callable[..., None], name: str, build: str, needs: str) -> None:
    """Register a session that runs on one build of torch."""

    def chosen(session: nox.Session) -> None:
        install_build(session, build)
        run(session, *(["--device=cuda"] if build == "cuda" else []))

    chosen.__doc__ = f"The same as {name}, {needs}."
    session(name=f"{name}({build})", default=False, tags=BUILD)(chosen)


@session(default=False)
def bench(session: nox.Session) -> None:
    """What things cost, with a Markdown table: nothing else may run beside it; arguments go to pytest."""
    install(session, "test")
    run_bench(session)


@session(default=False)
def rivals(session: nox.Session) -> None:
    """Other frameworks' examples beside studies/fast, one by one: needs MNIST's folder, and Clang for one."""
    session.install("-e", ".[train]", *group("rivals"))
    session.run("python", "tests/rivals/side_by_side.py", *session.posargs)


for _name, _run in {"tests": run_tests, "architecture": run_architecture, "bench": run_bench}.items():
    on_build(
        _run, _name, "cpu", "on a CPU build: needs uv and PyTorch's index, else says so and takes the default build"
    )
    on_build(_run, _name, "cuda", "on a CUDA device: needs uv and the device, else is skipped and says so")


@session(default=False)
def repro(session: nox.Session) -> None:
    """The main job: run the pipeline on the best data within reach and show the metrics; arguments go to dvc repro."""
    install(session)
    session.run("dvc", "repro", *session.posargs)
    session.run("dvc", "metrics", "show")
    on_page(session, "dvc", "metrics", "diff", "--all", "--md")


@session(default=False, venv_backend="none")
def gate(session: nox.Session) -> None:
    """The accuracy of the last repro, which chance alone may hold below that of studies/default: installs nothing."""
    names = ("reports/test/metrics.json", "studies/default/summary.json")
    run, study = (json.loads(Path(name).read_text(encoding="utf-8")) for name in names)
    for key in ("dataset", "parameters"):
        if run[key] != study[key]:
            session.error(f"{names[0]}: {key}: got {run[key]}, expected {study[key]}")
    told = f"accuracy {run['accuracy']:.2%}, with 95 % at most {run['accuracy_high']:.3%}"
    if run["accuracy_high"] < study["accuracy_mean"]:
        session.error(f"{names[0]}: got {told}, expected the mean of {names[1]}, {study['accuracy_mean']:.3%}, within")
    session.log(f"{told}; the mean of {names[1]} is {study['accuracy_mean']:.3%}")


@session(default=False, venv_backend="none")
def notes(session: nox.Session) -> None:
    """What CHANGELOG.md says of the version whose tag is given, in build/notes.md: no installation."""
    tag = session.posargs[0] if session.posargs else "none"
    version = runpy.run_path("mnist_dvc/version.py")["__version__"]
    changelog = Path("CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(version)}\b.*\n((?:(?!## ).*\n?)*)", changelog, re.MULTILINE)
    if tag != f"v{version}" or section is None or not section[1].strip():
        session.error(f"{tag}: got no tag of a version in CHANGELOG.md, expected v{version} and its section there")
    Path("build").mkdir(exist_ok=True)
    Path("build/notes.md").write_text(section[1].strip() + "\n", encoding="utf-8")


@session(default=False)
def dev(session: nox.Session) -> None:
    """All that the other sessions install, in .venv: needs uv; arguments go to uv, as --torch-backend=cpu."""
    need_uv(session)
    options = (*pins(session, of_any_build), *ANEW, *session.posargs) if session.posargs else pins(session)
    session.run("uv", "venv", "--quiet", "--allow-existing", ".venv")
    session.run("uv", "pip", "install", "--python=.venv", *options, "--editable", ".[train]", *group("dev"))
    session.log("activate it with: source .venv/bin/activate")


if __name__ == "__main__":
    nox.main()

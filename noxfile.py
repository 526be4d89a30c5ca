# /// script
# dependencies = ["nox[uv]>=2025.2.9"]
# ///
"""Every check and every run of the project; `nox -l` lists them, plain `nox` runs the default ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True

CONSTRAINTS = os.environ.get("MNIST_DVC_CONSTRAINTS", ".ci/constraints.txt")
"""Exact versions for the sessions; another file, or an empty value for the newest of everything."""


def pins(session: nox.Session) -> list[str]:
    """The option that holds an installation to CONSTRAINTS; pip would refuse an editable package beside hashes."""
    if not CONSTRAINTS:
        return []
    if session.venv_backend == "uv":
        return ["--constraint", CONSTRAINTS]
    lines = Path(CONSTRAINTS).read_text(encoding="utf-8").splitlines()
    plain = Path(session.create_tmp(), "constraints.txt").resolve()
    plain.write_text("\n".join(line.rstrip(" \\") for line in lines if "--hash" not in line), encoding="utf-8")
    return ["--constraint", str(plain)]


def group(*names: str) -> tuple[str, ...]:
    """The requirements of dependency groups of pyproject.toml."""
    return nox.project.dependency_groups(nox.project.load_toml(), *names)


def install(session: nox.Session, *groups: str) -> None:
    """Install the package, editable, with dependency groups, at the versions of CONSTRAINTS."""
    session.install(*pins(session), "--editable", ".", *group(*groups))
    # Where the shell forbids bytecode files, each start would compile every library anew and take twice as long.
    session.env["PYTHONDONTWRITEBYTECODE"] = ""


@nox.session
def lint(session: nox.Session) -> None:
    """Style, import layers, pipeline and workflow files; installs no torch."""
    session.install(*pins(session), *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": str(Path.cwd())})
    workflows = [str(path) for path in sorted(Path(".github/workflows").glob("*.yml"))]
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session
def typecheck(session: nox.Session) -> None:
    """mypy, strict, on the package, the tests and this file."""
    install(session, "typecheck")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit, property, command-line and architecture tests with branch coverage; arguments go to pytest."""
    install(session, "test")
    session.run("pytest", "--numprocesses=2", "--dist=loadfile", "--cov", "--cov-report=term", *session.posargs)


@nox.session
def architecture(session: nox.Session) -> None:
    """The networks, the import doors and the pipeline file, against what they promise."""
    install(session, "test")
    session.run("pytest", "tests/architecture", *session.posargs)


@nox.session
def pipeline(session: nox.Session) -> None:
    """DVC from the outside: repro, experiments, queue, diffs and plots on the sample, in a temporary copy."""
    install(session, "test")
    session.run("pytest", "tests/dvc", "-m", "pipeline", "--numprocesses=2", "--dist=loadfile", *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Processes killed, orphaned and doubled, files damaged, parsers fuzzed, poor surroundings: 10 to 20 minutes."""
    install(session, "test")
    session.run("pytest", "-m", "faults", "--durations=10", "-rP", "--show-capture=stdout", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """What things cost, as ratios within one run, with a Markdown table; nothing else should run beside it."""
    install(session, "test")
    session.run("pytest", "tests/benchmarks", "--override-ini=addopts=--import-mode=importlib", *session.posargs)


@nox.session(default=False)
def repro(session: nox.Session) -> None:
    """The main job: run the pipeline on the best data within reach and print the metrics; arguments go to dvc repro."""
    install(session)
    session.run("dvc", "repro", *session.posargs)
    session.run("dvc", "metrics", "show")


@nox.session(default=False)
def dev(session: nox.Session) -> None:
    """A virtual environment in .venv with everything that the other sessions install."""
    uv = shutil.which("uv")
    if uv is None:
        session.error('dev needs uv: python -m pip install "nox[uv]"')
    session.run(uv, "venv", "--allow-existing", ".venv", external=True)
    session.run(
        uv, "pip", "install", "--python", ".venv", *pins(session), "--editable", ".", *group("dev"), external=True
    )
    session.log("activate it with: source .venv/bin/activate")


if __name__ == "__main__":
    nox.main()

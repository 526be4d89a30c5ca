"""The workflows: pinned, with the least rights, bounded, nothing but nox sessions. Each rule has a twin that fails."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from helpers import ROOT
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").glob("*.yml")}
ACTIONS = {path.parent.name: path.read_text(encoding="utf-8") for path in ROOT.glob(".github/actions/*/action.yml")}
DEPENDABOT = (ROOT / ".github/dependabot.yml").read_text(encoding="utf-8")
CI_RUN = (ROOT / ".ci/run").read_text(encoding="utf-8")

PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
OURS = re.compile(r"\$/\.github/actions/([\w-]+)(?: #.*)?")
INSTALL = 'uv pip install --constraint .ci/constraints.txt "nox[uv]"'
LONGEST = 60
"""Minutes of a job. The slowest sessions take a fifth of that here."""
WRITES = {
    "release.yml/attest": {"attestations", "id-token"},
    "release.yml/publish": {"id-token"},
    "release.yml/describe": {"contents"},
}
"""The only jobs that may write, and what."""
BY_HAND = {"dev"}
"""Sessions that are for a person at a terminal."""


def load(text: str) -> Any:
    """YAML 1.2, in which `on` is a string, without the comments."""
    return YAML(typ="safe", pure=True).load(text)


def steps(text: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each step of a workflow or an action, with its job."""
    tree = load(text)
    for job in [*tree.get("jobs", {}).values(), tree.get("runs", {})]:
        for step in job.get("steps", []):
            yield job, step


def unpinned(_: str, text: str) -> list[str]:
    """Actions of others without a full commit and the tag that it had; ours come from the commit that runs."""
    written = re.findall(r"^ *(?:- )?uses: (.+?) *$", text, re.MULTILINE)
    hidden = len(written) != sum("uses" in step for _, step in steps(text))
    ours = {line: match[1] for line in written if (match := OURS.fullmatch(line))}
    bad = [line for line in written if ours.get(line) not in ACTIONS and not PINNED.fullmatch(line)]
    return bad + ["uses: written in another way than on a line of its own"] * hidden


def careless_checkouts(_: str, text: str) -> list[str]:
    """Checkouts that leave the token behind for the steps after them."""
    return [
        step["uses"]
        for _, step in steps(text)
        if step.get("uses", "").startswith("actions/checkout@")
        and step.get("with", {}).get("persist-credentials") is not False
    ]


def rights(name: str, text: str) -> list[str]:
    """Rights that a workflow gives to all of its jobs, and those of a job beyond reading."""
    tree = load(text)
    bad = [] if tree.get("permissions") == {} else ["permissions: not empty"]
    for job, body in tree["jobs"].items():
        given = body.get("permissions")
        if not isinstance(given, dict):
            bad.append(f"{job}: permissions: {given}")
        elif {right for right, level in given.items() if level != "read"} != WRITES.get(f"{name}/{job}", set()):
            bad.append(f"{job}: {given}")
    return bad


def unbounded(name: str, text: str) -> list[str]:
    """Jobs that may run for ever, hide a failure, or let one failure stop the others; runs that nothing replaces."""
    tree = load(text)
    cancelled = tree.get("concurrency", {}).get("cancel-in-progress")
    bad = [] if cancelled is (name != "release.yml") else ["concurrency"]
    for job, body in tree["jobs"].items():
        if not 0 < body.get("timeout-minutes", 0) <= LONGEST:
            bad.append(f"{job}: timeout-minutes")
        if "strategy" in body and body["strategy"].get("fail-fast") is not False:
            bad.append(f"{job}: fail-fast")
    return bad + ["continue-on-error"] * bool(re.search(r"^[^#\n]*continue-on-error", text, re.MULTILINE))


def cached(_: str, text: str) -> list[str]:
    """Caches in a workflow that a tag starts: what is released comes from the registry, not from another run."""
    tags = any("tags" in (event or {}) for event in load(text)["on"].values())
    found = ["cache" for _, step in steps(text) if "cache" in step.get("with", {}) or "/cache@" in step.get("uses", "")]
    return found if tags else []


def doubled_artifacts(_: str, text: str) -> list[str]:
    """Artifacts of one name, the second of which fails."""
    names = [step["with"]["name"] for _, step in steps(text) if "/upload-artifact@" in step.get("uses", "")]
    return sorted({name for name in names if names.count(name) > 1})


def sessions(job: dict[str, Any], step: dict[str, Any]) -> list[str]:
    """The nox sessions that a step runs, with the variables of its environment and the job's matrix put in."""
    words = shlex.split(step["run"])[2:]
    named = words[: next((at for at, word in enumerate(words) if word.startswith("-")), len(words))]
    matrix = job.get("strategy", {}).get("matrix", {})
    rows = [row["session"] for row in matrix.get("include", []) if "session" in row]
    return [session for word in named for session in (rows if word == "$SESSION" else [word])]


def strangers(_: str, text: str) -> list[str]:
    """Commands other than the installation of nox, a nox session and the making of a release."""

    def known(job: dict[str, Any], step: dict[str, Any]) -> bool:
        run = str(step["run"])
        if run == INSTALL:
            return True
        if re.search(r"[;&|<>`\n]|\$\(|\$\{\{", run):
            return False
        if run.startswith("nox -s "):
            return set(sessions(job, step)) <= set(known_sessions())
        return run.startswith("gh release create ")

    return [step["run"] for job, step in steps(text) if "run" in step and not known(job, step)]


@functools.cache
def known_sessions() -> dict[str, set[str]]:
    """Every session of the noxfile, with its tags; `nox --json` would leave out those that do not run by default."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("NOX")} | {"NO_COLOR": "1"}
    told = subprocess.check_output(
        [sys.executable, "-m", "nox", "--script-mode", "none", "--list-sessions"], cwd=ROOT, text=True, env=plain
    )
    rows = re.findall(r"^[*-] (\S+)(?: \[(.*?)\])? -> ", told, re.MULTILINE)
    return {name: set(tags.split(", ")) for name, tags in rows}


def forgotten(known: Iterable[str], called: set[str]) -> set[str]:
    """Sessions that no workflow runs, not on one build either; a runner has no CUDA device."""
    builds = {session.partition("(")[0] for session in called}
    return {name for name in known if name not in called | builds | BY_HAND and not name.endswith("(cuda)")}


def run_by(script: str) -> set[str]:
    """What the lines of ``script`` that call nox run, by name or by tag."""
    found: set[str] = set()
    for option, line in re.findall(r"^python -m nox (?:--no-\w+ )*(-\w|--\w+) ([^>&|\n]+)", script, re.MULTILINE):
        words, by_tag = shlex.split(line.partition(" -- ")[0]), option in ("-t", "--tags")
        found |= {name for name, tags in known_sessions().items() if tags & set(words)} if by_tag else set(words)
    return found


OURS_USED = """\
      - uses: $/.github/actions/nox # ours
        with:
          cache: some
"""
UPLOAD = f"""\
      - uses: actions/upload-artifact@{"0" * 40} # v1.2.3
        with:
          name: one
"""
GOOD = f"""
on:
  push:
    branches: [main]
permissions: {{}}
concurrency:
  cancel-in-progress: true
jobs:
  check:
    timeout-minutes: 10
    permissions:
      contents: read
    strategy:
      fail-fast: false
      matrix:
        include:
          - {{ session: lint }}
          - {{ session: tests(cpu) }}
    steps:
      - uses: actions/checkout@{"0" * 40} # v1.2.3
        with:
          persist-credentials: false
{OURS_USED}{UPLOAD}      - run: nox -s "$SESSION"
"""
RULES: dict[Callable[[str, str], list[str]], list[tuple[str, str]]] = {
    unpinned: [
        ("0" * 40, "v1"),
        ("0" * 40, "0" * 39),
        (" # v1.2.3", ""),
        (" # v1.2.3", " # main"),
        ("actions/nox", "actions/elsewhere"),
        (OURS_USED, "      - { uses: actions/cache@v1 }\n"),
    ],
    careless_checkouts: [("persist-credentials: false", "fetch-depth: 0")],
    rights: [
        ("permissions: {}", "permissions: { contents: read }"),
        ("permissions: {}\n", ""),
        ("contents: read", "contents: write"),
        ("contents: read", "id-token: write"),
        ("    permissions:\n      contents: read\n", ""),
        ("    permissions:\n      contents: read\n", "    permissions: write-all\n"),
    ],
    unbounded: [
        ("    timeout-minutes: 10\n", ""),
        ("timeout-minutes: 10", "timeout-minutes: 360"),
        ("fail-fast: false", "max-parallel: 2"),
        ("cancel-in-progress: true", "group: one"),
        ("    timeout-minutes", "    continue-on-error: true\n    timeout-minutes"),
    ],
    cached: [("branches: [main]", 'tags: ["v*"]')],
    doubled_artifacts: [(OURS_USED, UPLOAD)],
    strangers: [
        ("nox -s", "pytest"),
        ("nox -s", "true; nox -s"),
        ('nox -s "$SESSION"', "nox -s lint && rm -rf ."),
        ('nox -s "$SESSION"', "nox -s lint ${{ github.head_ref }}"),
        ('nox -s "$SESSION"', "nox -s nothing"),
        ("session: lint", "session: nothing"),
    ],
}


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
@pytest.mark.parametrize("rule", RULES)
def test_a_workflow_keeps_the_rule(rule: Callable[[str, str], list[str]], name: str) -> None:
    assert rule(name, WORKFLOWS[name]) == []


@pytest.mark.parametrize("name", sorted(ACTIONS))
@pytest.mark.parametrize("rule", [unpinned, careless_checkouts, strangers])
def test_an_action_of_ours_keeps_the_rule(rule: Callable[[str, str], list[str]], name: str) -> None:
    assert rule(name, ACTIONS[name]) == []


@pytest.mark.parametrize("rule", RULES)
def test_a_good_workflow_breaks_no_rule(rule: Callable[[str, str], list[str]]) -> None:
    assert rule("good.yml", GOOD) == []


@pytest.mark.parametrize(
    ("rule", "right", "wrong"), [(rule, *change) for rule, all_ in RULES.items() for change in all_]
)
def test_each_rule_can_fail(rule: Callable[[str, str], list[str]], right: str, wrong: str) -> None:
    assert right in GOOD
    assert rule("broken.yml", GOOD.replace(right, wrong, 1)) != []


def test_a_release_is_never_cancelled_half_way() -> None:
    assert unbounded("release.yml", GOOD) == ["concurrency"]


def test_the_rights_of_a_release_are_these_and_no_more() -> None:
    jobs = load(WORKFLOWS["release.yml"])["jobs"]
    assert {f"release.yml/{job}" for job in jobs} > set(WRITES)
    assert rights("ci.yml", WORKFLOWS["release.yml"]) != []


def test_an_action_is_pinned_to_one_commit_everywhere() -> None:
    pins = set(re.findall(r"uses: ([\w./-]+)@(\w+)", "\n".join([*WORKFLOWS.values(), *ACTIONS.values()])))
    assert len(pins) == len({action for action, _ in pins})


def called(*workflows: str) -> set[str]:
    """The sessions that workflows run."""
    runs = [(job, step) for name in workflows for job, step in steps(WORKFLOWS[name]) if "run" in step]
    return {name for job, step in runs if step["run"].startswith("nox ") for name in sessions(job, step)}


def test_every_session_is_run_by_a_workflow() -> None:
    assert forgotten(known_sessions(), called(*WORKFLOWS)) == set()


def test_a_session_that_no_workflow_runs_is_noticed() -> None:
    known = ("lint", "new", "dev", "tests", "tests(cpu)", "tests(cuda)")
    assert forgotten(known, {"lint", "tests(cpu)"}) == {"new"}
    assert forgotten(known, {"lint"}) == {"new", "tests", "tests(cpu)"}


def test_the_script_of_the_checks_runs_each_of_them_and_ci_runs_them_too() -> None:
    ran = run_by(CI_RUN)
    assert ran == run_by("python -m nox --tags checks")
    assert forgotten(ran, called("ci.yml")) == set()


REQUIREMENTS = re.compile(r"^def (\w+)\(session: nox\.Session\).*\n(?: .*\n)*?    install\((.*)\)$", re.MULTILINE)


def test_sessions_that_share_an_environment_would_install_the_same() -> None:
    """.ci/run runs them in that of `tests`, whose requirements are also told from those of another session."""
    installed = dict(REQUIREMENTS.findall((ROOT / "noxfile.py").read_text(encoding="utf-8")))
    sharing = " ".join(re.findall(r"--no-venv -s ([\w ]+?) (?:--.*)?\|\|", CI_RUN)).split()
    assert {"architecture", "faults"} < {*sharing}
    assert {installed[name] for name in sharing} == {installed["tests"]}
    assert installed["typecheck"] != installed["tests"]


NARROWED = re.compile(r"^python -m nox .*-s ([\w ]+) -- (.*?) \|\|", re.MULTILINE)


def test_what_the_script_leaves_out_of_a_session_is_run_by_the_tests() -> None:
    """Those run the whole suite but for what has a mark."""
    assert NARROWED.findall(CI_RUN) == [("architecture", "-m architecture")]
    assert "tests" in run_by(CI_RUN)
    assert NARROWED.findall("python -m nox -s tests -- -k idx || failed=1") == [("tests", "-k idx")]


def test_a_script_is_read_by_name_and_by_tag() -> None:
    assert run_by("python -m nox --no-venv -s docs -- -m some || failed=1") == {"docs"}
    assert run_by('echo nox\npython -m nox -s lint "tests(cpu)"\n') == {"lint", "tests(cpu)"}
    assert run_by('python -m nox --no-venv -s docs > "$told" 2>&1 &\n') == {"docs"}
    assert {"lint", "tests"} <= run_by("python -m nox --tags checks") < set(known_sessions())


def uncovered(text: str) -> list[str]:
    """Folders with actions that Dependabot does not look into, and entries that update one by one or at once."""
    entries = load(text)["updates"]
    actions = next(entry for entry in entries if entry["package-ecosystem"] == "github-actions")
    folders = {"/", *(f"/.github/actions/{name}" for name in ACTIONS)}
    bad = sorted(folders - set(actions.get("directories", [actions.get("directory")])))
    return bad + [entry["package-ecosystem"] for entry in entries if not {"groups", "cooldown"} <= set(entry)]


def test_dependabot_looks_into_every_folder_with_groups_and_a_cooldown() -> None:
    assert uncovered(DEPENDABOT) == []
    assert {entry["package-ecosystem"] for entry in load(DEPENDABOT)["updates"]} == {"github-actions", "uv"}


@pytest.mark.parametrize(
    ("right", "wrong"), [("directories: [/, /.github/actions/nox]", "directory: /"), ("groups:", "labels:")]
)
def test_the_check_of_dependabot_can_fail(right: str, wrong: str) -> None:
    assert right in DEPENDABOT
    assert uncovered(DEPENDABOT.replace(right, wrong, 1)) != []

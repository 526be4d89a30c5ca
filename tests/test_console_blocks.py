"""Every command that a page shows is run here, by a test or session that the page names, or it says why not."""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from consoles import Block, blocks, blocks_of, pages
from helpers import ROOT, posix
from PIL import Image, ImageDraw
from repository import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCKS = [block for page in pages() for block in blocks_of(page)]
HERE = re.compile(r"mnist-dvc (--help|predict|summary|study results)\b|dvc dag$|nox -l$|python -c ")
"""Commands that take no longer than a second or two, which :func:`test_command_runs` runs as they stand."""
CI = 'python -m pip install "nox[uv]"'
"""The first line of .ci/run, which is how every check begins."""
OF_THE_SHELL = ("cd", "source")
GROUPS = ("artifacts", "exp", "metrics", "params", "pip", "plots", "queue", "remote", "study")
"""Commands that have commands of their own."""
SAME = {"-S": "--set-param"}
MOST_NOT_RUN = 14
LEAST_REASON = 30
"""Characters; less is no reason."""


@functools.cache
def sessions() -> frozenset[str]:
    """The nox sessions and their tags."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("NOX")} | {"NO_COLOR": "1"}
    listed = [sys.executable, "-m", "nox", "--script-mode", "none", "--list-sessions"]
    told = subprocess.check_output(listed, cwd=ROOT, text=True, env=plain)
    rows = re.findall(r"^[*-] (\S+)(?: \[(.*?)\])? -> ", told, re.MULTILINE)
    return frozenset(word for name, tags in rows for word in (name, *tags.split(", ")))


@functools.cache
def words_of(file: str) -> frozenset[str]:
    """The words of all texts in a Python file, and the names of what it calls; ``command`` there is our own."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
    told = {word for text in texts for word in (*text.split(), text.partition("=")[0])} | called
    return frozenset(told | ({"mnist-dvc"} if told & {"command", "mnist_dvc"} else set()))


def functions(file: str) -> set[str]:
    """The names of all functions in a Python file; none if there is no such file."""
    path = ROOT / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def parts(block: Block) -> list[str]:
    """The simple commands of a block, without those of the shell itself."""
    found = [part.strip() for line in block.commands for part in line.split(" && ")]
    return [part for part in found if part.split()[0] not in OF_THE_SHELL]


def significant(part: str) -> set[str]:
    """Program, commands and options of a command line, without the values that a test may choose otherwise."""
    plain = re.sub(r"^python -m (?=pip\b)", "", part).replace("python -m mnist_dvc", "mnist-dvc")
    words = shlex.split(plain)
    named = 3 if len(words) > 1 and words[1] in GROUPS else 2
    options = {SAME.get(word, word).partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    return {word for word in words[:named] if re.fullmatch(r"[a-z][a-z_-]*", word)} | options


def shows(target: str, block: Block) -> list[str]:
    """What the named test or session lacks of a block: itself, or words of a command."""
    if target.startswith("nox -s "):
        name, file = target.removeprefix("nox -s "), "noxfile.py"
        if name not in sessions():
            return [f"no session {name}"]
    else:
        file, _, name = target.partition("::")
        if name not in functions(file):
            return [f"no test {target}"]
    there = words_of(file)
    if {block.page, block.heading, "run_section"} <= {*there, *texts_of(file)}:
        return []  # word for word
    return [f"{target} has no {' '.join(sorted(lack))}" for part in parts(block) if (lack := significant(part) - there)]


@functools.cache
def texts_of(file: str) -> frozenset[str]:
    """All texts in a Python file, whole."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def unmarked(block: Block) -> Iterator[str]:
    """Commands of a block without a mark that nobody runs: neither this file nor, as all sessions, the workflows."""
    for part in parts(block):
        words = shlex.split(part)
        if words[0] == "nox" and part != "nox -l":
            unknown = [word for word in words[1:] if not word.startswith("-") and word not in sessions()]
            yield from (f"no session or tag {word}" for word in unknown)
        elif part != CI and not HERE.match(part):
            yield f"nobody runs `{part}`: name who does in a comment before the block, as tests/consoles.py reads it"


def problems(block: Block) -> list[str]:
    """What is wrong with a block, each with its place."""
    kind, _, told = block.mark.partition(": ")
    found: list[str] = []
    if block.language != "console" or not block.commands:
        found.append('expected a block of "console" with its commands after "$ "')
    elif kind == "not run":
        found += [f"`{told}` is no reason"] * (len(told) < LEAST_REASON)
    elif kind in ("run by", "excerpt of"):
        found += [problem for target in told.split(", ") for problem in shows(target, block)]
    else:
        found += unmarked(block)
    return [f"{block.place}: {problem}" for problem in found]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_block_is_run_by_someone(block: Block) -> None:
    assert problems(block) == []


def test_every_page_is_looked_at() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/dvc.md", "docs/install.md"} <= {block.page for block in BLOCKS}


def test_the_first_line_of_ci_is_the_one_that_the_pages_show() -> None:
    assert CI in (ROOT / ".ci/run").read_text(encoding="utf-8").replace("--quiet ", "")


def test_few_blocks_are_not_run() -> None:
    left = [block for block in BLOCKS if block.mark.startswith("not run")]
    for block in left:
        print(f"{block.place}: {block.mark}")  # noqa: T201  (a list to look at, with pytest -rP)
    assert 0 < len(left) <= MOST_NOT_RUN


SEVEN = [(30, 25), (90, 25), (55, 100)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of the repository with pictures under the names that the pages use."""
    made = Repository(tmp_path_factory.mktemp("blocks") / "mnist_dvc", warm=True)
    picture = Image.new("L", (120, 120), 255)
    ImageDraw.Draw(picture).line(SEVEN, fill=0, width=10, joint="curve")
    (made.folder / "mine").mkdir()
    for name in ("one.png", "photo.jpg", "mine/four.png", "mine/photo.jpg"):
        picture.save(made.folder / name)
    Image.new("L", (120, 120), 255).save(made.folder / "mine/blank.png")
    ten = Image.new("L", (220, 120), 255)
    ImageDraw.Draw(ten).line([(70, 25), (60, 95)], fill=0, width=10)
    ImageDraw.Draw(ten).ellipse((120, 25, 170, 95), outline=0, width=10)
    ten.save(made.folder / "ten.png")
    (made.folder / "mine/notes.txt").write_text("no picture", encoding="utf-8")
    return made


def run(workspace: Repository, line: str) -> subprocess.CompletedProcess[str]:
    """A command line in a shell, with the packages of this environment and the package of the copy."""
    environment = workspace.environment | {"PYTHONPATH": str(workspace.folder), "COLUMNS": "120"}
    return subprocess.run(
        ["sh", "-c", line], cwd=workspace.folder, env=environment, capture_output=True, text=True, check=False
    )


TRIED = {part: block for block in BLOCKS if not block.mark for part in parts(block) if HERE.match(part)}


@posix
@pytest.mark.parametrize("part", TRIED)
def test_command_runs(workspace: Repository, part: str) -> None:
    result, block = run(workspace, part), TRIED[part]
    refuses = part.startswith("mnist-dvc predict") and "not read" in block.body
    assert result.returncode in ((0, 65) if refuses else (0,)), result.stderr
    if part.startswith("mnist-dvc summary"):
        shown = [line for line in block.body.splitlines() if not line.startswith(("$ ", "  ..."))]
        assert [line for line in shown if line not in result.stdout] == []


@posix
def test_python_of_the_page_on_pictures_runs(workspace: Repository) -> None:
    page = (ROOT / "docs/predict.md").read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"(?ms)^```python\n(.*?)^```$", page))
    (workspace.folder / "page.py").write_text(script, encoding="utf-8")
    result = run(workspace, "python page.py")
    assert result.returncode == 0, result.stderr
    assert script.count("print(") <= len(result.stdout.splitlines())


def block_of(text: str) -> Block:
    (found,) = blocks(text)
    return found


FENCED = "```console\n$ dvc repro --force\n```\n"
REPRO = "tests/dvc/test_dvc.py::test_forced_repro_gives_the_same_bytes"
FINE = [
    f"<!-- run by: {REPRO} -->\n{FENCED}",
    f"<!-- excerpt of: nox -s repro -->\n\n{FENCED.replace(' --force', '')}",
    f"<!-- not run: the network is out of the reach of a test -->\n{FENCED}",
    '```console\n$ python -m pip install "nox[uv]" && nox -s lint   # both\n$ nox -t checks\n```\n',
    "```console\n$ mnist-dvc predict mine\n```\n",
]
BROKEN = {
    FENCED: "nobody runs `dvc repro --force`",
    f"<!-- run by: {REPRO} -->\n\nwords\n\n{FENCED}": "nobody runs",
    f"<!-- run by: {REPRO} -->\n{FENCED}\n{FENCED.replace('repro', 'gc')}": "nobody runs `dvc gc",
    f"<!-- run by: {REPRO}s -->\n{FENCED}": f"no test {REPRO}s",
    f"<!-- run by: tests/nowhere.py::test_it -->\n{FENCED}": "no test tests/nowhere.py::test_it",
    f"<!-- run by: {REPRO}, nox -s nothing -->\n{FENCED}": "no session nothing",
    f"<!-- run by: {REPRO} -->\n{FENCED.replace('repro', 'gc')}": f"{REPRO} has no gc",
    f"<!-- run by: {REPRO} -->\n{FENCED.replace('--force', '--everything')}": "has no --everything",
    f"<!-- not run: so -->\n{FENCED}": "`so` is no reason",
    "```console\n$ nox -s nothing\n```\n": "no session or tag nothing",
    "```bash\nnox -s lint\n```\n": "expected a block of",
    "```sh\n$ nox -s lint\n```\n": "expected a block of",
    "```\n$ nox -s lint\n```\n": "expected a block of",
    "```console\nnox -s lint\n```\n": "expected a block of",
}


@pytest.mark.parametrize("text", FINE)
def test_a_good_block_passes(text: str) -> None:
    assert problems(block_of(text)) == []


@pytest.mark.parametrize("text", BROKEN)
def test_each_rule_can_fail(text: str) -> None:
    told = [problem for block in blocks(text, "made.md") for problem in problems(block)]
    assert told
    assert BROKEN[text] in told[0]
    assert re.match(r"made\.md:\d+: ", told[0])


def test_a_section_that_is_run_word_for_word_needs_no_words_in_the_test() -> None:
    target = "tests/dvc/test_dvc_remote.py::test_released_model_is_had_by_its_name"
    (block,) = [block for block in BLOCKS if block.heading == "Take a released model"]
    unknown = block._replace(body="$ dvc gc\n")
    assert shows(target, unknown) == []
    assert shows(target, unknown._replace(heading="Another")) == [f"{target} has no gc"]


@posix
def test_a_command_that_fails_is_seen(workspace: Repository, tmp_path: Path) -> None:
    assert run(workspace, f"mnist-dvc predict {tmp_path}/nothing.png").returncode != 0

"""Console blocks of Markdown pages: what stands in them, under which heading, and what is said of who runs them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from helpers import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SHELLS = ("console", "bash", "sh", "shell", "shell-session", "zsh", "powershell", "")
"""Languages of a block that may hold commands; one without a language counts if a line begins with a prompt."""
FENCE = re.compile(r"(?ms)^(?P<fence>```+)(?P<language>[\w-]*)[^\n`]*\n(?P<body>.*?)^(?P=fence) *$")
MARK = re.compile(r"<!-- ((?:(?!-->).)+) -->\n*\Z", re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PROMPT = re.compile(r"^\$ ", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of commands: its page, line and heading, the comment right before it, its lines."""

    page: str
    line: int
    heading: str
    language: str
    mark: str
    body: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The lines after a prompt, without their comments."""
        lines = [line.removeprefix("$ ") for line in self.body.splitlines() if line.startswith("$ ")]
        return [re.sub(r"\s+# .*", "", line).strip() for line in lines]


def blocks(text: str, page: str = "page.md") -> Iterator[Block]:
    """All blocks of ``text`` that hold commands."""
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        if match["language"] not in SHELLS or not (match["language"] or PROMPT.search(match["body"])):
            continue
        headings = HEADING.findall(FENCE.sub("", before))
        mark = MARK.search(before)
        told = " ".join(mark[1].split()) if mark else ""
        line = before.count("\n") + 1
        yield Block(page, line, headings[-1] if headings else "", match["language"], told, match["body"])


def pages() -> list[str]:
    """Every Markdown page of the repository, by its name."""
    tracked = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in tracked)


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page of the repository."""
    return list(blocks((ROOT / page).read_text(encoding="utf-8"), page))


def run_section(
    page: str, heading: str, folder: Path, environment: Mapping[str, str], names: Mapping[str, str]
) -> list[str]:
    """Run what a page shows under a heading, word for word but for ``names``, and return what each block printed.

    Args:
        page: a Markdown page of the repository.
        heading: the heading above the blocks; those that are marked as not run are left out.
        folder: where each block begins.
        environment: the variables of the shell.
        names: what stands in the page for a place on this machine, and that place.
    """
    told = []
    chosen = [block for block in blocks_of(page) if block.heading == heading and not block.mark.startswith("not run")]
    if not chosen:
        raise ValueError(f"{page} has no block to run under {heading!r}")
    for block in chosen:
        script = "\n".join(block.commands)
        for name, place in names.items():
            script = script.replace(name, place)
        result = subprocess.run(
            ["sh", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if result.returncode != 0:
            raise RuntimeError(f"{block.place}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        told.append(result.stdout + result.stderr)
    return told

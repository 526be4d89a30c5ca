"""How Sphinx makes a site of these pages, which are plain Markdown and read the same on GitHub."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Homepage"]

project = "mnist_dvc"
author = "The mnist_dvc developers"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
highlight_language = "text"
html_theme = "furo"
html_title = "mnist_dvc"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}
html_copy_source = html_show_copyright = False
html_show_sphinx = False
nitpicky = True
# What `outside` makes are files of this very commit, which GitHub may not have yet.
linkcheck_ignore = [rf"{re.escape(REPOSITORY)}/"]
linkcheck_timeout = 20
linkcheck_workers = 4


def outside(_: Sphinx, page: str, source: list[str]) -> None:
    """Lead links out of this folder, which are files beside it on GitHub, to the repository; each must be there."""

    def led(match: re.Match[str]) -> str:
        if not (ROOT / match["file"]).exists():
            logging.getLogger(__name__).warning("got a link to ../%s, expected a file", match["file"], location=page)
        return f"]({REPOSITORY}/blob/main/{match['file']}{match['anchor']})"

    source[0] = re.sub(r"\]\(\.\./(?P<file>[^)#]+)(?P<anchor>[^)]*)\)", led, source[0])


def setup(app: Sphinx) -> None:
    """Have Sphinx call us for each page that it reads."""
    app.connect("source-read", outside)

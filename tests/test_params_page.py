"""docs/params.md says what the params classes and params.yaml say."""

from __future__ import annotations

import runpy
import subprocess
import sys

import pytest
from helpers import ROOT, committed

from mnist_dvc.params import param_keys

SCRIPT = ROOT / "docs/params_page.py"
PAGE = (ROOT / "docs/params.md").read_text(encoding="utf-8")
COMMITTED = (ROOT / "params.yaml").read_text(encoding="utf-8")
RENEW = "docs/params.md is not what the params classes and params.yaml say: python docs/params_page.py > docs/params.md"


def made(text: str) -> str:
    """The page for the content of a params file."""
    page: str = runpy.run_path(str(SCRIPT))["page"](text)
    return page


def test_page_is_what_the_script_prints() -> None:
    printed = subprocess.check_output([sys.executable, str(SCRIPT)], cwd=ROOT, text=True)
    assert printed == PAGE, RENEW


def test_page_has_a_row_for_every_key() -> None:
    assert [key for key in param_keys() if PAGE.count(f"| `{key}` |") != 1] == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(committed("epochs"), "epochs: 9 "), ("# above 0, to 10;", "# above 0;"), ("seed: 0 ", "seed: 7 ")],
)
def test_another_params_file_gives_another_page(right: str, wrong: str) -> None:
    assert made(COMMITTED) == PAGE
    assert made(COMMITTED.replace(right, wrong, 1)) != PAGE


def test_script_needs_no_torch() -> None:
    code = f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

"""TensorBoard in a browser: each tab that a training and its evaluation fill is opened and has its content."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import browsing
import pytest
from helpers import params
from selenium.webdriver.support.ui import WebDriverWait

from mnist_dvc.pipeline.evaluate import evaluate
from mnist_dvc.pipeline.train import train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

    from mnist_dvc.paths import Paths

pytestmark = pytest.mark.browser
PATIENCE = 60

SEEN = """
const words = [];
const pictures = [];
function look(node) {
  if (node.nodeType === Node.TEXT_NODE) words.push(node.textContent);
  if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.nodeName)) return;
  if (node.nodeName === "IMG" && node.naturalWidth > 1) pictures.push(node.src);
  if (node.shadowRoot) look(node.shadowRoot);
  node.childNodes.forEach(look);
}
look(document.body);
return [words.join(" ").replace(/\\s+/g, " "), pictures.length];
"""
"""The text of the page and the number of its pictures, shadow trees included."""

TABS = {
    "timeseries": ["accuracy/train", "fed/distorted"],
    "scalars": ["accuracy", "grad_norm", "step", "test"],
    "custom_scalars": ["training against validation"],
    "hparams": ["train.learning_rate", "test/accuracy", "model.name"],
    "images": ["fed/distorted", "test/confusion", "test/mistakes"],
    "graphs": ["CompactNet"],
    "histograms": ["weights", "gradients"],
    "distributions": ["weights", "gradients"],
    "pr_curves": ["test/digit_0"],
    "projector": ["Points:", "Dimension:", "1 tensor found"],
    "text": ["card", "the same again", "dvc repro"],
}
PICTURES = {"images": 3}


@pytest.fixture
def address(workspace: Paths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a TensorBoard that shows one run, trained and evaluated."""
    train(params(epochs=3), workspace)
    evaluate(params(), workspace)
    log = tmp_path_factory.mktemp("tensorboard") / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(workspace.runs), "--port", "0"]
        process = subprocess.Popen([*command, "--host", "127.0.0.1"], stderr=file, stdout=file)
        yield WebDriverWait(log, PATIENCE).until(served)
        process.terminate()
        process.wait(PATIENCE)


def served(log: Path) -> str | None:
    found = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
    return found[0] if found else None


def missing(browser: Chrome, tab: str) -> list[str]:
    text, pictures = browser.execute_script(SEEN)  # type: ignore[no-untyped-call]
    absent = [word for word in TABS[tab] if word not in text]
    return absent if pictures >= PICTURES.get(tab, 0) else [*absent, f"{pictures} pictures"]


def test_every_tab_has_its_content(browser: Chrome, address: str) -> None:
    wrong: dict[str, list[str]] = {}
    for tab in TABS:
        browsing.resize(browser, 1280, 900)
        browser.get("about:blank")
        browser.get(f"{address}#{tab}")
        try:
            WebDriverWait(browser, PATIENCE).until(lambda page, tab=tab: not missing(page, tab))
        except Exception:  # noqa: BLE001  (whatever it is, all tabs are looked at and told)
            wrong[tab] = missing(browser, tab)
        browsing.screenshot(browser, f"tensorboard-{tab}", 1280, 900)
    assert wrong == {}
    foreign = [
        url for url in browsing.requests_of(browser) if not url.startswith((address, "data:", "blob:", "about:"))
    ]
    assert foreign == []

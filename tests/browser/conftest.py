from __future__ import annotations

import os
from typing import TYPE_CHECKING

import browsing
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chrome]:
    """A Chromium that has seen nothing yet; skipped, in words, where there is none."""
    pytest.importorskip("selenium")
    monkeypatch.setenv(browsing.SCREENSHOTS, os.environ.get(browsing.SCREENSHOTS, str(tmp_path / "screenshots")))
    try:
        driver = browsing.started(tmp_path / "profile")
    except LookupError as error:
        pytest.skip(str(error))
    yield driver
    driver.quit()

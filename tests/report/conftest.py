"""A real browser. Where there is none its tests are skipped, and fail under DUPMINE_BROWSER=required."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(
    os.environ.get("DUPMINE_AXE", Path(__file__).parents[2] / ".venv/axe/node_modules/axe-core/axe.min.js")
)


def _missing(what: str) -> None:
    message = f"{what} is not installed; see .ci/run"
    if os.environ.get("DUPMINE_BROWSER") == "required":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        _missing(str(CHROMIUM))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def axe() -> str:
    if not AXE.exists():
        _missing(f"axe-core ({AXE})")
    return AXE.read_text(encoding="utf-8")

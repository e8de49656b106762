"""A page that is watched: whatever its console says or it asks from elsewhere fails the test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Request

_LOCAL = re.compile(r"(file|data|blob):|https?://(127\.0\.0\.1|localhost)[:/]|about:")
DESKTOP, PHONE = (1280, 900), (390, 844)


@contextmanager
def watched_page(
    browser: Browser, *, size: tuple[int, int] = DESKTOP, scheme: Any = "light", network_errors: bool = False
) -> Iterator[Page]:
    """Yield a page; on leaving, there was no console error or warning, and no request to another machine.

    `network_errors` allows the browser to report a server that is gone.
    """
    said: list[str] = []
    asked: list[str] = []
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (network_errors and "net::" in message.text):
            said.append(message.text)

    def on_request(request: Request) -> None:
        asked.append(request.url)

    page = context.new_page()
    page.on("console", on_console)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", on_request)
    yield page
    context.close()
    assert said == []
    assert [url for url in asked if not _LOCAL.match(url)] == []


def violations(page: Page, axe: str) -> list[str]:
    """Return the serious and critical problems of accessibility that axe-core finds."""
    page.evaluate(axe)  # not a script element: the page's policy forbids those, as it should
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary'][:200]}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]

"""How large a report is, how long it takes to make, and how fast its page answers.

    python benchmarks/report.py RUN [--chromium /usr/bin/chromium]

The page is opened in a headless browser; a time ends when the layout of the answer is computed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from dupmine import MiningResult
from dupmine.report.page import render_report, write_report

_TIMED = """async () => {
  const by = (id) => document.getElementById(id);
  const timed = (act) => {
    const start = performance.now();
    act();
    document.body.offsetHeight;
    return performance.now() - start;
  };
  const set = (id, event, value) => timed(() => {
    by(id).value = value;
    by(id).dispatchEvent(new Event(event));
  });
  const places = [...Array(Number(by("slider").max) + 1).keys()];
  const slider = places.map((place) => set("slider", "input", place));
  const sort = ["density", "weakest", "size"].map((order) => set("order", "change", order));
  const search = [];
  for (const words of ["a", "the best way", "zz", ""]) {
    const start = performance.now();
    set("search", "input", words);
    await new Promise((done) => setTimeout(done, 61));  // the page waits for 60 ms without a key
    await new Promise(requestAnimationFrame);
    search.push(performance.now() - start - 61);
  }
  const open = timed(() => document.querySelector(".open").click());
  const worst = (values) => Math.round(Math.max(...values));
  return { slider: worst(slider), sort: worst(sort), search: worst(search), open_largest: Math.round(open) };
}"""


def measure(page: Page, path: Path) -> dict[str, Any]:
    """Return the milliseconds until the page is ready, and the longest of each kind of input."""
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    ready = float(page.evaluate("document.documentElement.dataset.ready"))
    return {"ready": round(ready), **page.evaluate(_TIMED)}


def main() -> None:
    """Make, open, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    result = MiningResult.load(arguments.run)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path, start = Path(folder) / "report.html", time.perf_counter()
        write_report(path, render_report(result, name=arguments.run.name))
        facts: dict[str, Any] = {
            "documents": len(result.row_of),
            "seconds": round(time.perf_counter() - start, 1),
            "megabytes": round(path.stat().st_size / 1e6, 2),
        }
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        facts["milliseconds"] = measure(browser.new_page(), path)
        browser.close()
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()

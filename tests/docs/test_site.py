"""The documentation site: built without a warning and without a network, it shows the public API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dupmine

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    # A proxy that nobody listens at: a build that downloads anything fails.
    offline = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    ended = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | offline | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    return folder


def test_every_public_name_has_its_reference(site: Path) -> None:
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    targets = set(re.findall(r'id="dupmine\.([\w.]+)"', page))
    names = {target.rpartition(".")[2] for target in targets}
    # The settings have a page of their own, made of the configuration file with its comments.
    assert set(dupmine.__all__) - {"MiningSettings"} <= names
    assert {"Miner.mine", "MiningResult.rethreshold", "Store.update"} <= targets
    # Examples are code: a section "Example:" instead of "Examples:" would be shown as a quotation.
    assert 'class="example"' not in page
    assert page.count('<code><span class="gp">') > 4


def test_a_reader_s_browser_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {"api", "nightly"} <= {page.parent.name for page in pages}
    for page in pages:
        loaded = re.findall(r'<(?:script|img|link)[^>]* (?:src|href)="?([^" >]+)', page.read_text("utf-8"))
        assert loaded
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == [], page

"""The report in a real browser: its numbers, lists, pictures and keys, and texts that want to be more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dupmine import MiningResult, OutputError
from dupmine.report import payload
from dupmine.report.health import examine
from dupmine.report.page import render_report, write_report
from dupmine.report.selection import Strategy, select_clusters

from ..helpers.results import HOSTILE, make_result, removed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright")

from ..helpers.watched import PHONE, violations, watched_page


@pytest.fixture(scope="module", params=["guarded", "components"])
def result(request: pytest.FixtureRequest) -> MiningResult:
    return make_result(method=request.param)


@pytest.fixture(scope="module")
def path(result: MiningResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written(result, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written(make_result(hostile=True), tmp_path_factory.mktemp("hostile"))


def _written(result: MiningResult, folder: Path) -> Path:
    path = folder / "report.html"
    write_report(path, render_report(result, name="<b>a run</b>", cache=folder / "thresholds.parquet"))
    return path


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    with watched_page(browser) as page:
        _open(page, path)
        yield page


def _open(page: Page, path: Path, state: str = "") -> None:
    page.goto(path.as_uri() + state)
    page.wait_for_selector("html[data-ready]", state="attached")


def _until(page: Page, name: str, value: str) -> None:
    """Wait until the address says so; the page's policy forbids to wait by an expression inside it."""
    for _ in range(200):
        if parse_qs(urlsplit(page.url).fragment).get(name) == [value]:
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"{name} is not {value} in {page.url}")


def _figures(page: Page) -> dict[str, int]:
    names, values = (page.locator(f"#figures {tag}").all_inner_texts() for tag in ("dt", "dd b"))
    return {name: int(value.replace(",", "")) for name, value in zip(names, values, strict=True)}


def _clusters(page: Page) -> list[int]:
    return [int(text) for text in page.locator("#clusters-table tbody .open .number").all_inner_texts()]


def test_every_stop_of_the_slider_is_what_rethreshold_finds(page: Page, result: MiningResult) -> None:
    slider = page.locator("#slider")
    last = int(slider.get_attribute("max") or 0)
    assert last >= 24
    seen = []
    for place in range(last + 1):
        slider.fill(str(place))
        threshold = float(page.locator("#threshold").inner_text().split()[0])
        seen.append(threshold)
        again = result.rethreshold(threshold)
        counts = again.manifest["counts"]
        assert _figures(page) == {
            "documents that could go": counts["removed_documents"],
            "clusters": counts["clusters"],
            "largest cluster": counts["largest_cluster"],
            "accepted pairs": counts["accepted_pairs"],
        }
        for box, more, less in (("#goes", again, result), ("#stays", result, again)):
            changed = int((removed(more) & ~removed(less)).sum())
            if changed:
                summary = page.locator(f"{box} summary").inner_text()
                assert summary.startswith(f"{changed} document"), threshold
            else:
                assert page.locator(box).is_hidden()
    assert 0.5 in seen
    assert seen == sorted(seen)


def test_the_documents_that_change_sides_are_listed(page: Page, result: MiningResult) -> None:
    page.locator("#slider").fill(page.locator("#slider").get_attribute("max") or "")
    page.locator("#stays summary").click()
    while page.locator("#stays button").is_visible():
        page.locator("#stays button").click()
    threshold = float(page.locator("#threshold").inner_text().split()[0])
    changed = removed(result) & ~removed(result.rethreshold(threshold))
    assert page.locator("#stays li").count() == min(int(changed.sum()), 200)


def test_the_slider_is_in_the_address(page: Page, path: Path) -> None:
    page.locator("#slider").fill("3")
    threshold = page.locator("#threshold").inner_text()
    assert "threshold=" in page.url
    before = _figures(page)
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert (page.locator("#threshold").inner_text(), _figures(page)) == (threshold, before)
    page.locator("#own").click()
    assert page.locator("#threshold").inner_text() == "0.5 (the result's)"
    assert "threshold=" not in page.url


@pytest.mark.parametrize(("order", "column", "sign"), [("size", "size", -1), ("density", "density", 1)])
def test_sorting(page: Page, result: MiningResult, order: str, column: str, sign: int) -> None:
    page.locator("#order").select_option(order)
    health = examine(result)
    value = health.members.size if column == "size" else health.density
    by_id = dict(zip(health.members.cluster_id.tolist(), value.tolist(), strict=True))
    shown = _clusters(page)
    assert len(shown) == 50
    best = sorted(by_id, key=lambda cluster: (sign * round(by_id[cluster], 4), cluster))[:50]
    assert shown == best
    assert f"sort={order}" in page.url


def test_a_heading_sorts_too(page: Page) -> None:
    heading = page.locator("th[data-order=weakest]")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    weakest = [float(cell) for cell in page.locator("td[data-name='weakest link']").all_inner_texts()]
    assert weakest == sorted(weakest)


def test_pages(page: Page, result: MiningResult) -> None:
    total = len(result)
    assert page.locator("#found").inner_text() == f"1 to 50 of {total} clusters"
    first = _clusters(page)
    page.locator("#next").click()
    assert page.locator("#found").inner_text() == f"51 to {min(total, 100)} of {total} clusters"
    second = _clusters(page)
    assert not set(first) & set(second)
    assert len(second) == min(total, 100) - 50
    assert "page=2" in page.url
    page.locator("#previous").click()
    assert _clusters(page) == first


def test_search(page: Page, result: MiningResult) -> None:
    page.locator("#search").fill("QUESTION 77 asked")
    _until(page, "q", "QUESTION 77 asked")
    frame = result.clusters
    lines = (frame["doc_id"] + "\n" + frame["text"]).str.lower()
    has_words = lines.map(lambda line: all(word in line for word in ("question", "77", "asked")))
    assert set(_clusters(page)) == set(frame.loc[has_words, "cluster_id"])
    page.locator("#search").fill("no such words")
    page.wait_for_selector("text=no cluster holds these words")
    assert _clusters(page) == []


def test_a_cluster_opens(page: Page, result: MiningResult) -> None:
    largest = int(result.clusters.sort_values("cluster_size")["cluster_id"].iloc[-1])
    page.locator(f"#toggle-{largest}").click()
    detail = page.locator(f"#cluster-{largest}")
    members = result.clusters[result.clusters["cluster_id"] == largest]
    assert detail.locator("ol.texts > li").count() == min(len(members), 50)
    assert detail.locator("ol.texts > li bdi").first.inner_text() == members["text"].iloc[0]
    detail.locator("svg.graph").wait_for()  # drawn after the page has answered
    pairs = examine(result)
    place = int((pairs.members.cluster_id == largest).argmax())
    detail.locator("details summary").click()
    detail.locator("table.twin tbody tr").first.wait_for()
    assert detail.locator("table.twin tbody tr").count() == min(len(pairs.pairs_of(place)), 200)
    page.locator(f"#toggle-{largest}").click()
    assert page.locator(f"#cluster-{largest}").count() == 0


def test_the_matrix_holds_the_probabilities(page: Page, result: MiningResult) -> None:
    health = examine(result)
    place = int(((health.texts > 3) & (health.texts < 10)).argmax())
    cluster = int(health.members.cluster_id[place])
    page.goto(page.url.split("#")[0] + f"#cluster={cluster}")
    cells = page.locator(f"#cluster-{cluster} .matrix td:not(.same):not(.unknown)").all_inner_texts()
    expected = sorted(health.pairs_of(place).probability.tolist() * 2)
    assert sorted(float(text) for text in cells if text) == pytest.approx(expected, abs=0.0051)


def test_a_link_opens_a_cluster(browser: Browser, path: Path, result: MiningResult) -> None:
    smallest = int(result.clusters["cluster_id"].max())
    with watched_page(browser) as page:
        _open(page, path, f"#cluster={smallest}&threshold=0.7")
        assert page.locator(f"#cluster-{smallest}").is_visible()
        assert page.locator("#threshold").inner_text() == "0.7"
        assert page.locator(f"#toggle-{smallest}").evaluate("e => e.getBoundingClientRect().top") < 900


def test_suspicious_clusters_come_with_reasons(page: Page, result: MiningResult) -> None:
    health = examine(result)
    places = select_clusters(health, Strategy.suspicious, 10).tolist()
    assert places
    shown = page.locator("#suspicious-list > li").all()
    assert len(shown) == len(places)
    reasons = [item.locator(".reasons li").all_inner_texts() for item in shown]
    assert sorted(map(tuple, reasons)) == sorted(tuple(health.reasons[place]) for place in places)
    shown[0].locator("a").click()
    assert page.locator(".detail .reasons li").all_inner_texts() == reasons[0]


def test_borderline_pairs_are_the_nearest(page: Page, result: MiningResult) -> None:
    badges = page.locator("#borderline-list .badge").all_inner_texts()
    expected = result.sample(20, "borderline")["probability"]
    assert badges == [f"{round(float(p), 4):.3f}" for p in expected]


def test_with_the_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    assert "threshold=" in page.url
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "search":
            break
    page.keyboard.type("question")
    _until(page, "q", "question")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "open":
            break
    page.keyboard.press("Enter")
    opened = page.locator(".open[aria-expanded=true]")
    assert opened.count() == 1
    assert opened.evaluate("e => e === document.activeElement")
    page.keyboard.press("Space")
    assert page.locator(".open[aria-expanded=true]").count() == 0


def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, path: Path) -> None:
    with watched_page(browser, size=PHONE) as page:
        _open(page, path)
        page.locator(".open").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        assert page.locator(".detail svg.graph").first.bounding_box()["width"] <= PHONE[0]  # type: ignore[index]


def test_dark_and_light(browser: Browser, path: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    with watched_page(browser, scheme="dark") as page:
        _open(page, path)
        dark = page.evaluate(colour)
        page.locator("#theme").click()
        light = page.evaluate(colour)
    assert (dark, light) == ("rgb(20, 22, 26)", "rgb(255, 255, 255)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(browser: Browser, hostile: Path, axe: str, scheme: Any) -> None:
    with watched_page(browser, scheme=scheme) as page:
        _open(page, hostile, "#threshold=0.7")
        page.locator(".open").first.click()
        for summary in page.locator("summary").all():
            summary.click()
        assert violations(page, axe) == []


def test_texts_stay_texts(browser: Browser, hostile: Path) -> None:
    with watched_page(browser) as page:
        _open(page, hostile)
        for text in HOSTILE:
            query = re.sub(r"\s+", " ", text)[:60].strip()
            page.locator("#search").fill(query)
            _until(page, "q", query)
            assert page.locator(".open").count() >= 1, text
            page.locator(".open").first.click()
            shown = " ".join(page.locator(".detail bdi").all_inner_texts())
            assert _marked(text)[:200] in re.sub(r"\s+", " ", shown), text
        assert page.title() == "<b>a run</b> · dupmine"
        assert page.locator("main script, main img, main iframe").count() == 0
        assert page.locator("h1").inner_text() == "<b>a run</b>"


def _marked(text: str) -> str:
    hidden = "\x07\x1b\u200f\u202e\u2028\u2029\u2066\u2069"
    marked = "".join(f"U+{ord(sign):04X}" if sign in hidden else sign for sign in text)
    return re.sub(r"\s+", " ", marked).strip()


def test_the_policy_allows_nothing_else(browser: Browser, path: Path) -> None:
    html = path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert "unsafe" not in policy[1]
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    context = browser.new_context()
    page = context.new_page()
    _open(page, path)
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))"
    )
    assert page.evaluate("window.owned") is None
    context.close()


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"report\.html exists: give --overwrite or another name"):
        write_report(path, "<p>")
    assert path.read_text() == "mine"


def test_of_many_clusters_a_sample_is_shown(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = make_result(150)
    monkeypatch.setattr(payload, "MOST_DOCUMENTS", 200)
    monkeypatch.setattr(payload, "_WORST", 5)
    path = _written(result, tmp_path)
    health = examine(result)
    with watched_page(browser) as page:
        _open(page, path, "#sort=suspicion")
        shown = int(page.locator("#found").inner_text().split()[-2])
        assert shown < len(result)
        notice = page.locator(".notice").first.inner_text()
        listed = re.search(
            rf"a sample of {shown} of the {len(result)} clusters \((\d+) of \d+ documents\)", notice
        )
        assert listed is not None, notice
        assert 180 <= int(listed[1]) <= 200
        worst = health.members.cluster_id[select_clusters(health, Strategy.suspicious, 5)].tolist()
        assert _clusters(page)[: len(worst)] == worst
        assert _figures(page)["clusters"] == len(result)  # of all

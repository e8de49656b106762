"""The review page in a real browser, with a real server that is killed; and who may not come in."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from dupmine.report.labels import LABELS

from ..helpers.results import HOSTILE, make_result

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright")

from ..helpers.watched import PHONE, violations, watched_page


@dataclass
class Server:
    process: subprocess.Popen[str]
    link: str

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.link.split("/")[2].split(":")
        return host, int(port)

    @property
    def token(self) -> str:
        return self.link.split("token=")[1]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    make_result(30, hostile=True).save(folder)
    return folder


@contextmanager
def served(run: Path, *options: str, reviewer: str = "ann") -> Iterator[Server]:
    command = [sys.executable, "-m", "dupmine", "review", str(run), "--no-browser", "--reviewer", reviewer]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(process, process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()


def _open(page: Page, server: Server) -> None:
    page.goto(server.link)
    page.wait_for_selector("html[data-ready]", state="attached")


def _answers(run: Path, reviewer: str = "ann") -> list[dict[str, Any]]:
    lines = (run.parent / "run.review" / reviewer / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _press(page: Page, key: str, done: int) -> None:
    """Answer by a key, and wait until the page says that it is saved."""
    page.keyboard.press(key)
    page.wait_for_selector(f"#saved:has-text('({done})')")


def test_twenty_answers_outlive_a_killed_server(browser: Browser, run: Path) -> None:
    keys = "dnud" * 5
    with served(run, "--audit", "--size", "60") as server, watched_page(browser, network_errors=True) as page:
        _open(page, server)
        texts = []
        for done, key in enumerate(keys, 1):
            texts.append(sorted(page.locator(".pair bdi").all_inner_texts()))
            _press(page, key, done)
        server.process.kill()
        server.process.wait()
        page.keyboard.press("d")
        page.wait_for_selector("#failure:has-text('Not saved: the server does not answer')")
    answers = _answers(run)
    names = {"d": "duplicate", "n": "different", "u": "unsure"}
    assert [entry["rows"][0]["label"] for entry in answers] == [names[key] for key in keys]
    with served(run, "--audit", "--size", "60") as server, watched_page(browser) as page:
        _open(page, server)
        assert "20 answered before" in page.locator("#count").inner_text()
        assert sorted(page.locator(".pair bdi").all_inner_texts()) not in texts
        _press(page, "n", 1)
        page.reload()
        page.wait_for_selector("html[data-ready]", state="attached")
        assert page.locator("#count").inner_text().startswith("1 of ")
        page.locator("#export").click()
        page.wait_for_selector("#exported-text:has-text('21 labels by ann (21)')")
    table = pq.read_table(run.parent / "run.review" / "labels.parquet")
    assert table.schema.equals(LABELS)
    assert len(table) == 21
    assert set(table["source"].to_pylist()) == {"audit"}
    assert all(0 < value <= 1 for value in table["inclusion_probability"].to_pylist())


def test_undo_goes_back_to_the_start_of_the_session(browser: Browser, run: Path) -> None:
    with served(run, "--borderline", "--size", "10") as server, watched_page(browser) as page:
        _open(page, server)
        first = sorted(page.locator(".pair bdi").all_inner_texts())
        assert page.locator("#undo").is_disabled()
        for done, name in enumerate(("duplicate", "different", "unsure"), 1):
            page.get_by_role("button", name=name).click()
            page.wait_for_selector(f"#saved:has-text('({done})')")
        for done in (2, 1, 0):
            page.keyboard.press("Backspace")
            page.wait_for_selector(f"#count:has-text('{done} of 10')")
        assert sorted(page.locator(".pair bdi").all_inner_texts()) == first
        assert page.locator("#undo").is_disabled()
    entries = _answers(run)
    assert len(entries) == 6
    assert [entry["undo"] for entry in entries[3:]] == [entry["answer"] for entry in entries[2::-1]]


def test_it_is_blind_until_asked(browser: Browser, run: Path) -> None:
    with served(run, "--borderline", "--size", "10") as server, watched_page(browser) as page:
        _open(page, server)
        assert page.locator("#score").is_hidden()
        _press(page, "d", 1)
        page.keyboard.press("s")
        page.wait_for_selector("#score:has-text('threshold 0.5')")
        _press(page, "d", 2)
        assert page.locator("#score").is_hidden()
    assert [entry["rows"][0]["revealed_score"] for entry in _answers(run)] == [False, True]


def test_a_note_is_kept_and_its_letters_are_no_keys(browser: Browser, run: Path) -> None:
    with served(run, "--borderline", "--size", "10") as server, watched_page(browser) as page:
        _open(page, server)
        page.locator("#note").fill("d n u")
        page.locator("#note").press("d")
        page.get_by_role("button", name="unsure").click()
        page.wait_for_selector("#saved:has-text('(1)')")
    [entry] = _answers(run)
    assert (entry["rows"][0]["note"], entry["rows"][0]["label"]) == ("d n ud", "unsure")


def test_a_cluster_at_once(browser: Browser, run: Path) -> None:
    with served(run, "--suspicious", "--size", "5") as server, watched_page(browser) as page:
        _open(page, server)
        ticks = page.locator(".members input")
        count = ticks.count()
        ticks.first.uncheck()
        page.get_by_role("button", name="save").click()
        page.wait_for_selector("#saved:has-text('(1)')")
    [entry] = _answers(run)
    assert [row["label"] for row in entry["rows"]] == ["different"] + ["duplicate"] * (count - 1)
    assert {row["source"] for row in entry["rows"]} == {"cluster"}
    assert len({row["left_id"] for row in entry["rows"]}) == 1


def test_a_session_ends_and_another_begins(browser: Browser, run: Path) -> None:
    with served(run, "--borderline", "--size", "52") as server, watched_page(browser) as page:
        _open(page, server)
        for done in range(1, 51):
            _press(page, "n", done)
        assert page.locator("#question").inner_text() == "Session complete"
        page.locator("#session").click()
        page.wait_for_selector("#count:has-text('0 of 2')")
        assert page.locator("#undo").is_disabled()
        _press(page, "n", 1)
        _press(page, "n", 2)
        assert page.locator("#question").inner_text() == "Nothing is left to ask"
    assert len({entry["rows"][0]["session"] for entry in _answers(run)}) == 2


def test_two_reviewers_and_where_they_disagree(browser: Browser, run: Path) -> None:
    for reviewer, keys in (("ann", "ddn"), ("bob", "dnn")):
        with (
            served(run, "--audit", "--size", "40", reviewer=reviewer) as server,
            watched_page(browser) as page,
        ):
            _open(page, server)
            for done, key in enumerate(keys, 1):
                _press(page, key, done)
            page.locator("#export").click()
            page.wait_for_selector("#exported")
            text = page.locator("#exported-text").inner_text()
            listed = page.locator("#disagreements li").all_inner_texts()
    assert "ann (3), bob (3)" in text
    assert "kappa is 0.40" in text  # agreed 2/3, by chance (2/3 * 1/3 + 1/3 * 2/3) = 4/9
    assert len(listed) == 1
    assert listed[0].endswith("ann duplicate, bob different")


def test_texts_stay_texts(browser: Browser, run: Path) -> None:
    with served(run, "--suspicious", "--size", "40") as server, watched_page(browser) as page:
        _open(page, server)
        seen = ""
        while page.locator("#ask").is_visible():
            seen += " ".join(page.locator("#texts bdi").all_inner_texts())
            page.keyboard.press("u")
            page.wait_for_timeout(100)
        assert page.title() == "Review · dupmine"
        assert page.locator("main script, main img").count() == 0
        assert any(text in seen for text in HOSTILE[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(browser: Browser, run: Path, axe: str, scheme: Any) -> None:
    for mode in ("--audit", "--suspicious"):
        with served(run, mode) as server, watched_page(browser, size=PHONE, scheme=scheme) as page:
            _open(page, server)
            page.keyboard.press("s")
            page.wait_for_selector("#score:visible")
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
            assert violations(page, axe) == []


Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(run: Path) -> Iterator[tuple[Ask, Server]]:
    with served(run, "--audit") as server:
        host, port = server.address

        def ask(
            method: str, path: str, *, headers: dict[str, str] | None = None, body: str = ""
        ) -> tuple[int, str]:
            connection = http.client.HTTPConnection(host, port, timeout=20)
            sent = {"Host": f"{host}:{port}", "Origin": f"http://{host}:{port}"} | (headers or {})
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            return answer.status, answer.headers.get("Set-Cookie") or answer.read().decode()

        yield ask, server


def test_who_may_not_come_in(ask: tuple[Ask, Server], run: Path) -> None:
    call, server = ask
    assert call("GET", "/")[0] == 403
    assert call("GET", "/?token=wrong")[0] == 403
    assert call("GET", f"/?token={server.token}", headers={"Host": "evil.example"})[0] == 403
    status, cookie = call("GET", f"/?token={server.token}")
    assert status == 303
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert call("GET", f"/?token={server.token}")[0] == 403  # once
    mine = {"Cookie": cookie.split(";")[0]}
    assert call("GET", "/", headers=mine)[0] == 200
    assert call("GET", "/", headers=mine | {"Host": f"evil.example:{server.address[1]}"})[0] == 403
    assert call("POST", "/state", headers=mine | {"Origin": "http://evil.example"})[0] == 403
    assert call("POST", "/state", headers={"Cookie": "dupmine_review=guess"})[0] == 403
    status, state = call("POST", "/state", headers=mine)
    assert status == 200
    number = json.loads(state)["question"]["number"]
    refused = {
        "no JSON": "the request is not JSON",
        json.dumps({"number": "old", "answers": ["duplicate"]}): "not the current question",
        json.dumps({"number": number, "answers": ["maybe"]}): "expected 1 of duplicate, different, unsure",
        json.dumps({"number": number, "answers": []}): "expected 1 of",
        "x" * 70_000: "too long",
    }
    for body, reason in refused.items():
        status, text = call("POST", "/answer", headers=mine, body=body)
        assert (status, reason in text) == (409, True), text
    half = json.dumps({"number": number, "answers": ["unsure"], "note": "half \ud83d"})
    assert call("POST", "/answer", headers=mine, body=half)[0] == 200
    assert call("POST", "/export", headers=mine)[0] == 200
    table = pq.read_table(run.parent / "run.review" / "labels.parquet")
    assert table["note"].to_pylist() == ["half ?"]


def test_one_page_for_a_reviewer(run: Path) -> None:
    with served(run, "--audit"):
        command = [sys.executable, "-m", "dupmine", "review", str(run), "--no-browser", "--reviewer", "ann"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 3
    assert "is being written by" in second.stderr

"""Two writers, a writer that died, and readers at any moment of a writer's work."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from dupmine.disk.lock import read_writer
from dupmine.store.store import Store

from ..helpers import shell
from ..helpers.reader import READINGS
from ..helpers.small_store import Kit, documents, files_in
from ..helpers.tiny_models import TinyModels

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def kit(tiny: TinyModels) -> Kit:
    return Kit.make(tiny.folder)


@pytest.fixture
def store(kit: Kit, tmp_path: Path) -> Path:
    kit.make_store(tmp_path / "store")
    return tmp_path / "store"


def keeping_one(kit: Kit, folder: Path) -> Store:
    """Open a store whose writer removes each generation as soon as there is another."""
    opened = Store.open(folder, progress=False, keep_generations=1)
    opened.__dict__["models"] = kit.miner.models
    return opened


@contextmanager
def writer_at_work(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command that updates a store, and wait until it is its writer and reads its input."""
    process = shell.start_process("store", "update", store, "-", "--format", "csv", "-q")
    with process:
        while (read_writer(store) or {}).get("pid") != process.pid:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        yield process


def _say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.close()


def csv(first: int, last: int) -> str:
    return str(documents(first, last).to_csv(index=False))


def twin(kit: Kit, folder: Path, *batches: str) -> dict[str, bytes]:
    """Return the files of a store that was updated with one CSV file after the other."""
    kit.make_store(folder)
    for batch in batches:
        file = folder.with_name("batch.csv")
        file.write_text(batch)
        kit.store(folder).update_files([file])
    return files_in(folder)


def test_a_second_writer_is_refused_at_once_or_waits(kit: Kit, store: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.csv"
    second.write_text(csv(28, 36))
    with writer_at_work(store) as first:
        started = time.monotonic()
        told = shell.dupmine("store", "update", store, second)
        assert time.monotonic() - started < 5
        assert (told.code, told.out) == (3, "")
        assert re.fullmatch(
            rf"dupmine: {store} is being written by \S+ on {re.escape(socket.gethostname())} "
            rf"\(process {first.pid}, since 20\S+\+00:00\); .*--wait SECONDS.*\n",
            told.err,
        )
        threading.Timer(0.5, lambda: _say(first, csv(20, 28))).start()
        waited = shell.dupmine("store", "update", store, second, "--wait", "60", "-q")
        assert (waited.code, waited.err) == (0, "")
        assert time.monotonic() - started > 0.5
    assert first.returncode == 0
    assert files_in(store) == twin(kit, tmp_path / "twin", csv(20, 28), csv(28, 36))


def test_the_lock_of_a_dead_writer_is_free(
    kit: Kit, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with writer_at_work(store) as dead:
        dead.kill()
    again = tmp_path / "again.csv"
    again.write_text(csv(20, 36))
    kit.store(store).update_files([again])
    [message] = caplog.messages
    assert re.fullmatch(
        rf"{store}: taking over from \S+ on {re.escape(socket.gethostname())} "
        rf"\(process {dead.pid}, since 20\S+\+00:00\), which died",
        message,
    )
    assert files_in(store) == twin(kit, tmp_path / "twin", csv(20, 36))


def nights(kit: Kit, folder: Path) -> Iterator[Callable[[], object]]:
    """Yield what a writer does in a row: documents come, change and go, and are compacted."""
    for night in range(4):
        batch = documents(20 + 4 * night, 24 + 4 * night)
        yield partial(keeping_one(kit, folder).update, batch)
        yield partial(keeping_one(kit, folder).delete, batch["id"][:3])
        yield keeping_one(kit, folder).compact


def test_ten_readers_see_whole_generations(kit: Kit, store: Path) -> None:
    names = ["clusters", "changes", "status", "query"]
    known = {name: {READINGS[name](keeping_one(kit, store))} for name in names}
    command = [sys.executable, "-W", "ignore", "-m", "tests.helpers.reader", str(store), "10", *names]
    pipe, env = subprocess.PIPE, os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=env
    ) as readers:
        assert readers.stdout is not None
        assert [readers.stdout.readline() for _ in range(10)] == ["ready\n"] * 10
        for act in nights(kit, store):
            act()
            for name in names:
                known[name].add(READINGS[name](keeping_one(kit, store)))
        out, _ = readers.communicate()
    reports = [json.loads(line) for line in out.splitlines()]
    assert [report["errors"] for report in reports] == [[]] * 10
    assert [
        name for report in reports for name in names if not set(report["seen"][name]) <= known[name]
    ] == []
    assert len(known["status"]) == 13
    assert len({seen for report in reports for seen in report["seen"]["status"]}) > 3


@contextmanager
def seen_looks(folder: Path, seen: Callable[[], None]) -> Iterator[None]:
    """Call `seen` before each look at a file or folder below `folder`."""

    def looked(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any, *rest: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(str(folder)):
                seen()
            return real(path, *rest, **options)

        return look

    with ExitStack() as stack:
        for owner, name in ((os, "stat"), (os, "scandir"), (io, "open"), (pq, "read_table")):
            stack.enter_context(patch.object(owner, name, looked(getattr(owner, name))))
        yield


@pytest.mark.parametrize("name", READINGS)
def test_a_commit_at_any_moment_of_a_reader(name: str, kit: Kit, store: Path) -> None:
    """Before the n-th look of a reader a writer commits, and removes the generation before."""
    here, looks, problems = store.parent / "here", 0, list[str]()
    known = {READINGS[name](kit.store(store))}

    def play(number: int) -> int:
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks == number:
                stack.close()  # the writer's looks are not the reader's
                keeping_one(kit, here).delete(["d4", "d6"])

        shutil.copytree(store, here)
        try:
            with ExitStack() as stack:
                stack.enter_context(seen_looks(here, look))
                found = READINGS[name](kit.store(here))
            known.add(READINGS[name](kit.store(here)))
            problems.extend([] if found in known else [f"{number}: it sees what never was: {found}"])
        except Exception as error:
            problems.append(f"{number}: {error!r}")
        shutil.rmtree(here)
        return looks

    looks = play(0)
    for number in range(1, looks + 1):
        assert play(number) == number
    assert problems == []
    assert looks > 5
    assert len(known) == (1 if name == "verify" else 2)

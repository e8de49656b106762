"""One writer at a time, also after a writer died."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_SH, LOCK_UN, flock
from pathlib import Path

import pytest

from dupmine.disk.lock import current_writer, lock, read_writer
from dupmine.errors import LockError, OutputError

HOLD = "import sys; from pathlib import Path; from dupmine.disk.lock import lock\n"
HOLD += "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


@contextmanager
def other_writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold the lock in a process of its own until its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some network drives answer."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dupmine.disk.lock.flock", refuse)
    with pytest.raises(OutputError) as caught, lock(tmp_path):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: its file system has no locks ({os.strerror(number)}), and without one two writers "
        "could destroy the files of each other: use a local disk, or mount it with locks"
    )
    assert not (tmp_path / "writer.json").exists()


def test_the_lock_says_who_writes_and_not_the_file(tmp_path: Path) -> None:
    assert current_writer(tmp_path) is None
    with other_writer(tmp_path) as process:
        writer = current_writer(tmp_path)
        assert writer is not None
        assert writer["pid"] == process.pid
        (tmp_path / "writer.json").write_text("{")
        assert current_writer(tmp_path) == {}
        (tmp_path / "writer.json").write_text('{"pid": 1}')
        process.kill()
        process.wait()
    assert read_writer(tmp_path) == {"pid": 1}
    assert current_writer(tmp_path) is None


def test_looking_at_a_lock_stops_no_writer(tmp_path: Path) -> None:
    with lock(tmp_path):
        pass
    with (tmp_path / "lock").open() as file:
        flock(file, LOCK_SH)
        threading.Timer(0.1, lambda: flock(file, LOCK_UN)).start()
        with lock(tmp_path):
            assert current_writer(tmp_path) == read_writer(tmp_path)


def test_a_second_writer_is_refused_at_once(tmp_path: Path) -> None:
    with other_writer(tmp_path) as process:
        started = time.monotonic()
        with pytest.raises(LockError) as caught, lock(tmp_path):
            pass
        assert time.monotonic() - started < 1
        assert re.fullmatch(
            rf"{tmp_path} is being written by \S+ on {re.escape(socket.gethostname())} "
            rf"\(process {process.pid}, since 20\S+\+00:00\); wait for that process, end it, "
            r"or give --wait SECONDS if the command has it",
            str(caught.value),
        )
        assert caught.value.exit_code == 3
    with lock(tmp_path):
        pass


def test_waiting_for_the_other_writer(tmp_path: Path) -> None:
    with other_writer(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.close()
        with lock(tmp_path, wait=30):
            writer = read_writer(tmp_path)
    assert writer is not None
    assert writer["pid"] == os.getpid()


def test_a_writer_that_died_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with other_writer(tmp_path) as process:
        process.kill()
        process.wait()
    with caplog.at_level(logging.WARNING, "dupmine"), lock(tmp_path):
        pass
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path}: taking over from ")
    assert f"(process {process.pid}, since " in message


def test_no_warning_about_a_writer_that_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with lock(tmp_path):
            assert set(json.loads((tmp_path / "writer.json").read_bytes())) == {
                "user",
                "host",
                "pid",
                "started",
            }
        assert read_writer(tmp_path) is None
    assert caplog.messages == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_broken_writer_file_is_ignored(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "writer.json").write_bytes(content)
    with lock(tmp_path), pytest.raises(LockError, match="is being written by"), lock(tmp_path):
        pass


def test_a_folder_that_was_moved_under_the_lock(tmp_path: Path) -> None:
    folder, writer_file = tmp_path / "a", tmp_path / "a" / "writer.json"
    folder.mkdir()
    with lock(folder):
        folder.rename(tmp_path / "b")
        folder.mkdir()
        writer_file.write_text('{"pid": 1}')
    assert writer_file.read_text() == '{"pid": 1}'

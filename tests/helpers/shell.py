"""Run the command line as a user would: in this process where speed matters, else in one of its own."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from dupmine.cli import main

QUESTIONS = """\
id,question,score,date
a1,How do I learn Python?,3,2020-01-01
a2,how do i learn  python?,9,2020-01-02
a3,What is the best way to learn Python?,1,2020-01-03
b1,How can I lose weight fast?,5,2020-01-04
b2,What is the fastest way to lose weight?,7,2020-01-05
c1,Where is Paris?,,2020-01-06
d1,Why is the sky blue?,2,2020-01-07
d2,What makes the sky blue?,8,2020-01-08
e1,,8,2020-01-08
"""
MEMBERS = [{"a1", "a2", "a3"}, {"b1", "b2"}, {"d1", "d2"}]
TABLES = {
    "clusters.parquet",
    "deduplicated.parquet",
    "manifest.json",
    "pairs.parquet",
    "removed.parquet",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


def dupmine(*args: str | Path) -> Outcome:
    """Call `main` as the installed command does."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    level = logging.getLogger("dupmine").level
    try:
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            patch.object(sys, "argv", ["dupmine", *map(str, args)]),
        ):
            main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        logging.getLogger("dupmine").setLevel(level)
    return Outcome(code, out.getvalue(), err.getvalue())


def start_process(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
    prefix: tuple[str, ...] = (),
) -> subprocess.Popen[str]:
    """Start `python -m dupmine`; `before` runs in the new process first."""

    def prepare() -> None:
        # A test run in the background or under nohup may have inherited signals that are ignored.
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
        if before is not None:
            before()

    command = [*prefix, sys.executable, "-m", "dupmine", *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=os.environ | dict(env or {}),
        preexec_fn=prepare,
    )


def run_process(
    *args: str | Path,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
    prefix: tuple[str, ...] = (),
) -> Outcome:
    """Run `python -m dupmine` to its end."""
    process = start_process(*args, env=env, before=before, prefix=prefix)
    out, err = process.communicate(stdin, timeout=120)
    return Outcome(process.returncode, out, err)

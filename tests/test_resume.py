"""Interrupted runs: the next run continues them and ends in the same tables."""

from __future__ import annotations

import bisect
import csv
import json
import multiprocessing
import random
import re
import runpy
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import dupmine
from dupmine.disk.folder import TABLES
from dupmine.errors import SpaceError
from dupmine.results.run_folder import open_run

from .helpers import shell
from .helpers.disk import largest_file
from .helpers.planted import plant
from .helpers.tiny_models import TinyModels

HINT = "finished work is kept in .work; run the same command again to continue"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run in a process of its own ended."""

    code: int
    screen: str

    @property
    def steps(self) -> int:
        """The number of its steps on the disk; unknown if it was killed."""
        return int(re.findall(r"^(\d+) steps$", self.screen, re.MULTILINE)[-1])

    @property
    def continued(self) -> str:
        """What it reports about shards of an earlier run."""
        return "".join(re.findall(r"continued: (.+) shards are from", self.screen))


class Runs:
    """Runs over one corpus, each in a process of its own, forked where torch is loaded already."""

    def __init__(self, folder: Path, tiny: TinyModels) -> None:
        self.folder, self.out = folder, folder / "out"
        self.input = folder / "questions.csv"
        with self.input.open("w", newline="") as file:
            csv.writer(file).writerows([("id", "text"), *enumerate(plant(300)[0])])
        settings = ("max_k=8", "threads=1")
        self.settings = [arg for setting in settings for arg in ("--set", setting)]
        self.settings += ["--bi-encoder", tiny["bi-encoder"], "--cross-encoder", tiny["sigmoid"]]
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dupmine.pipeline"])

    def command(self, *args: str | Path, out: Path | None = None) -> list[str]:
        return ["mine", *map(str, (self.input, "--out", out or self.out)), *self.settings, *map(str, args)]

    def mine(
        self, *args: str | Path, out: Path | None = None, step: int = 0, signum: int = signal.SIGKILL
    ) -> Ended:
        """Run `dupmine mine`; it gets the signal at the given step on the disk."""
        screen = self.folder / "screen.txt"
        options = {"folder": (out or self.out).parent, "screen": screen, "step": step, "signum": int(signum)}
        names = {"args": self.command(*args, out=out), "options": options}
        stopped = str(Path(__file__).parent / "helpers" / "stopped.py")
        process = self._context.Process(target=runpy.run_path, args=(stopped, names, "__main__"))
        process.start()
        process.join(120)
        assert process.exitcode is not None, "the run did not end"
        return Ended(process.exitcode, screen.read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModels) -> Runs:
    return Runs(tmp_path_factory.mktemp("resume"), tiny)


@pytest.fixture(scope="module")
def whole(runs: Runs) -> tuple[Path, Ended]:
    """Return the folder of a run that nothing interrupted, and how it ended."""
    out = runs.folder / "whole" / "out"
    ended = runs.mine(out=out)
    assert ended.code == 0, ended.screen
    assert ended.continued == ""
    return out, ended


@pytest.fixture
def unfinished(runs: Runs, tmp_path: Path, whole: tuple[Path, Ended]) -> Path:
    """Return the folder of a run that was killed when nearly all its shards were made."""
    out = tmp_path / "killed" / "out"
    assert runs.mine(out=out, step=whole[1].steps * 3 // 4).code == -signal.SIGKILL
    return out


def tables_in(out: Path) -> dict[str, bytes]:
    assert {path.name for path in out.iterdir()} == shell.TABLES
    return {name: (out / f"{name}.parquet").read_bytes() for name in TABLES}


def check(out: Path, whole: Path) -> None:
    """Check that a run is whole, equals `whole` to the byte, and that nothing else is left of it."""
    assert tables_in(out) == tables_in(whole)
    ours, expected = (json.loads((folder / "manifest.json").read_text()) for folder in (out, whole))
    for manifest in (ours, expected):
        for key in ("created", "seconds", "peak_memory_gib", "shards", "settings"):
            del manifest[key]
    assert ours == expected
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again(seed: int, runs: Runs, whole: tuple[Path, Ended], tmp_path: Path) -> None:
    rng, out, kills = random.Random(seed), tmp_path / "runs" / "out", 0
    while (ended := runs.mine("--overwrite", out=out, step=rng.randrange(1, whole[1].steps))).code:
        assert ended.code == -signal.SIGKILL, ended.screen
        kills += 1
    assert kills > 0
    check(out, whole[0])


def test_killed_while_it_publishes(runs: Runs, whole: tuple[Path, Ended], tmp_path: Path) -> None:
    ready, args = tmp_path / "ready" / "out", ("--overwrite", "--quiet")
    shutil.copytree(whole[0], ready)
    (ready / "pairs.parquet").write_bytes(b"old")
    assert runs.mine(*args, out=ready, step=whole[1].steps - 60).code == -signal.SIGKILL
    steps = runs.mine(*args, out=shutil.copytree(ready.parent, tmp_path / "measured") / "out").steps

    def seen_after(step: int) -> str:
        """Kill a run at a step, return what is there, and continue it."""
        out = shutil.copytree(ready.parent, tmp_path / str(step)) / "out"
        assert runs.mine(*args, out=out, step=step).code == -signal.SIGKILL
        pairs = out / "pairs.parquet"
        seen = "none" if not out.exists() else "old" if pairs.read_bytes() == b"old" else "new"
        assert runs.mine(*args, out=out).code == 0
        check(out, whole[0])
        shutil.rmtree(out.parent)
        return seen

    first = bisect.bisect(range(1, steps), 0, key=lambda step: seen_after(step) == "new")
    seen = [seen_after(step) for step in range(first - 2, first + 6)]
    assert list(dict.fromkeys(seen)) == ["old", "none", "new"]


def test_reused_shards_are_reported(runs: Runs, unfinished: Path, whole: tuple[Path, Ended]) -> None:
    quiet = shutil.copytree(unfinished, unfinished.parent / "quiet" / "out")
    finished = len(list((unfinished / ".work").glob("*.shard")))
    ended = runs.mine("--log-level", "info", out=unfinished)
    shards = json.loads((unfinished / "manifest.json").read_text())["shards"]
    assert shards["found"] == finished > 10
    assert ended.continued == f"{shards['found']} of {sum(shards.values())}"
    assert f"INFO dupmine.disk.work: {unfinished / '.work'}: {finished} finished shards exist" in ended.screen
    assert re.fullmatch(r"\d+ steps\n", runs.mine("--quiet", "--log-level", "error", out=quiet).screen)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal(signum: int, code: int, runs: Runs, whole: tuple[Path, Ended], tmp_path: Path) -> None:
    out = tmp_path / "runs" / "out"
    ended = runs.mine(out=out, step=whole[1].steps // 2, signum=signum)
    assert ended.code == code
    assert f"WARNING dupmine.results.run_folder: {out}: {HINT}\n" in ended.screen
    assert "Traceback" not in ended.screen
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == [".work"]
    assert list(out.glob(".work/.*")) == []
    assert runs.mine(out=out).continued
    check(out, whole[0])


def test_a_signal_before_anything_is_finished(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "out"
    ended = runs.mine(out=out, step=16, signum=signal.SIGTERM)
    assert ended.code == 143
    assert HINT not in ended.screen
    assert list(tmp_path.iterdir()) == []


def test_damaged_shards_are_made_again(runs: Runs, unfinished: Path, whole: tuple[Path, Ended]) -> None:
    flipped, cut, *_ = sorted((unfinished / ".work").glob("scores-*.shard"))
    content = bytearray(flipped.read_bytes())
    content[-40] ^= 1
    flipped.write_bytes(content)
    embeddings = next((unfinished / ".work").glob("embeddings-*.shard"))
    for path in (cut, embeddings):
        path.write_bytes(path.read_bytes()[:-5])
    ended = runs.mine(out=unfinished)
    for path in (flipped, cut, embeddings):
        assert f"WARNING dupmine.disk.work: {path} is damaged: it is computed again\n" in ended.screen
    check(unfinished, whole[0])


def test_other_settings_are_refused(
    runs: Runs, unfinished: Path, whole: tuple[Path, Ended], tiny: TinyModels
) -> None:
    def refusal(*args: str) -> str:
        outcome = shell.dupmine(*runs.command(*args, out=unfinished))
        assert (outcome.code, outcome.out) == (2, "")
        begin = f"dupmine: {unfinished}/.work holds an interrupted run that was started differently ("
        end = "): repeat it as it was started, or discard it with --restart\n"
        assert outcome.err.startswith(begin)
        assert outcome.err.endswith(end)
        return outcome.err[len(begin) : -len(end)]

    shards = sorted((unfinished / ".work").glob("*.shard"))
    assert refusal("--floor", "0.7", "--threshold", "0.9") == (
        "retrieval.floor was 0.6, is 0.7; rerank.threshold was 0.5, is 0.9"
    )
    assert re.fullmatch(
        rf"rerank\.cross_encoder was {tiny['sigmoid']}, is {tiny['softmax']}; "
        r"cross_encoder\.sha256 was \w{64}, is \w{64}; cross_encoder\.head was sigmoid, is softmax",
        refusal("--cross-encoder", tiny["softmax"]),
    )
    content = runs.input.read_bytes()
    try:
        runs.input.write_bytes(content + b"x,Who?\n")
        assert re.fullmatch(
            r"input 1 was questions\.csv \(SHA-256 \w{16}\), is questions\.csv \(SHA-256 \w{16}\)", refusal()
        )
    finally:
        runs.input.write_bytes(content)
    assert sorted((unfinished / ".work").glob("*.shard")) == shards
    assert runs.mine("--threads", "2", "--set", "batch_tokens=5000", out=unfinished).continued
    check(unfinished, whole[0])


def test_restart_discards_finished_work(runs: Runs, unfinished: Path, whole: tuple[Path, Ended]) -> None:
    ended = runs.mine("--restart", "--threshold", "0.9", out=unfinished)
    assert (ended.code, ended.continued) == (0, "")
    assert tables_in(unfinished)["pairs"] != tables_in(whole[0])["pairs"]
    assert runs.mine("--restart", "--overwrite", out=unfinished).code == 0
    check(unfinished, whole[0])


def test_an_error_keeps_finished_work(runs: Runs, unfinished: Path, whole: tuple[Path, Ended]) -> None:
    outcome = shell.dupmine(*runs.command("--text-column", "question", out=unfinished))
    assert outcome.code == 2
    assert HINT not in outcome.err
    assert runs.mine(out=unfinished).continued
    check(unfinished, whole[0])


def test_a_second_run_is_refused_at_once(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_run(out):
        started = time.monotonic()
        outcome = shell.dupmine(*runs.command("no-such-file.csv", out=out))
        assert time.monotonic() - started < 1
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith(f"dupmine: {out}/.work is being written by ")
    assert list(tmp_path.iterdir()) == []


def test_missing_space_is_reported_before_the_work(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    outcome = shell.dupmine(*runs.command(out=tmp_path / "out"))
    assert (outcome.code, outcome.out) == (5, "")
    assert re.fullmatch(
        rf"dupmine: {tmp_path}/out/\.work: about \d+\.\d KiB are needed and 9\.8 KiB are free; "
        r"free some space or give another folder \(nothing was written\)\n",
        outcome.err,
    )
    assert list(tmp_path.iterdir()) == []


def test_no_space_for_temporary_files(tiny: TinyModels) -> None:
    miner = dupmine.Miner(bi_encoder=tiny["bi-encoder"], cross_encoder=tiny["sigmoid"], progress=False)
    with (
        pytest.raises(SpaceError, match=r"dupmine-.+ cannot be written: the disk is full"),
        largest_file(4096),
    ):
        miner.mine([f"a cat {i}" for i in range(300)])

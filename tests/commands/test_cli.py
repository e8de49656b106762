"""The command line: what it prints and writes, where its settings come from, how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import dupmine
from dupmine.settings import MiningSettings

from ..helpers import shell
from ..helpers.planted import plant

FLAGS = [
    "--out",
    "--config",
    "--set",
    "--text-column",
    "--id-column",
    "--format",
    "--encoding",
    "--encoding-errors",
    "--delimiter",
    "--quote",
    "--escape",
    "--header",
    "--no-header",
    "--columns",
    "--nulls",
    "--bi-encoder",
    "--cross-encoder",
    "--threshold",
    "--target-precision",
    "--floor",
    "--keep",
    "--device",
    "--threads",
    "--singletons",
    "--strict-language",
    "--overwrite",
    "--restart",
    "--print-config",
    "--metrics",
    "--metrics-label",
    "--quiet",
    "--log-level",
    "--log-format",
    "--help",
]


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "questions.csv"
    path.write_text(shell.QUESTIONS, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def made(questions: Path) -> tuple[Path, shell.Outcome]:
    """Mine the questions once, in a process of its own; return the folder and what was printed."""
    out = questions.parent / "out"
    return out, shell.run_process("mine", questions, "--out", out)


def clusters_in(out: Path) -> list[set[str]]:
    table = pq.read_table(out / "clusters.parquet").to_pandas()
    return sorted((set(ids) for _, ids in table.groupby("cluster_id")["doc_id"]), key=min)


def representatives_in(out: Path) -> list[str]:
    table = pq.read_table(out / "clusters.parquet").to_pandas()
    return sorted(table.loc[table["is_representative"], "doc_id"])


def effective(*args: str | Path) -> MiningSettings:
    """Return the settings that `--print-config` prints."""
    outcome = shell.dupmine("mine", *args, "--print-config")
    assert (outcome.code, outcome.err) == (0, "")
    return MiningSettings.model_validate(yaml.safe_load(outcome.out))


def test_mine_writes_the_tables(made: tuple[Path, shell.Outcome]) -> None:
    out, outcome = made
    assert outcome.code == 0
    assert {path.name for path in out.iterdir()} == shell.TABLES
    assert {path.name for path in out.parent.iterdir()} == {"questions.csv", "out"}
    assert clusters_in(out) == shell.MEMBERS
    kept = pq.read_table(out / "deduplicated.parquet")
    assert kept.column_names == ["doc_id", "text", "id", "question", "score", "date"]
    assert kept["doc_id"].to_pylist() == ["a1", "b1", "c1", "d1", "e1"]
    assert kept["score"].to_pylist() == ["3", "5", "", "2", "8"]


def test_mine_prints_a_summary_and_no_bars(made: tuple[Path, shell.Outcome]) -> None:
    out, outcome = made
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[:7] == [
        "           9 documents",
        "           1 exact duplicates",
        "           3 candidate pairs",
        "           0 decided by bands of cosine and lexical features",
        "           3 accepted pairs",
        "           3 clusters",
        "           4 documents that could go",
    ]
    assert re.fullmatch(r" +[\d.]+ seconds: .*load \d+\.\d.*", lines[7])
    assert [line for line in lines if line.endswith(":") and not line.startswith(" ")] == [
        "the largest:",
        "the most doubtful:",
        "one at random:",
    ]
    first, *others = [line.partition(":")[0] for line in lines if line.startswith("cluster ")]
    assert first == "cluster 1"
    assert sorted(others) == ["cluster 0", "cluster 2"]
    assert lines[11:13] == ["  stays  a1: How do I learn Python?", "   1.00  a2: how do i learn python?"]
    assert lines[-3:] == [
        f"written to {out}",
        f"look at it: dupmine show {out} --suspicious",
        f"        or: dupmine report {out} --open",
    ]


def test_bars_on_a_terminal(tmp_path: Path, questions: Path) -> None:
    terminal, device = pty.openpty()
    termios.tcsetwinsize(device, (30, 100))
    command = [sys.executable, "-m", "dupmine", "mine", str(questions), "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=device):
        os.close(device)
        shown = b""
        with suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(terminal, 1 << 16):
                shown += piece
    os.close(terminal)
    assert "loading models …" in shown.decode()
    lines = [line.rpartition("\r")[2] for line in shown.decode().split("\r\n")[:-1]]
    rate = r"[\d.]+(?: (\w+)/s|s/ (\w+))"  # the latter where a unit takes longer than a second
    bar = re.compile(rf" *(\S+): 100%\|█+\| (\d+)/\2 \[\d\d:\d\d<\d\d:\d\d, +{rate}\]")
    matches = [match for line in lines if (match := bar.fullmatch(line.rstrip()))]
    assert [(match[1], match[2], match[3] or match[4]) for match in matches] == [
        ("tokenise", "7", "texts"),
        ("embed", "7", "texts"),
        ("retrieve", "7", "texts"),
        ("score", "3", "pairs"),
        ("decide", "3", "pairs"),
    ]
    assert len(lines) == 5


def test_quiet_prints_nothing(tmp_path: Path, questions: Path) -> None:
    outcome = shell.dupmine("mine", questions, "--out", tmp_path / "out", "--quiet")
    assert outcome == shell.Outcome(0, "", "")
    assert clusters_in(tmp_path / "out") == shell.MEMBERS


def test_standard_input_with_log_and_singletons(tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--format", "csv", "--singletons", "--log-level", "info", "--out", out)
    outcome = shell.run_process("mine", "-", *flags, stdin=shell.QUESTIONS)
    assert outcome.code == 0
    assert clusters_in(out) == [*shell.MEMBERS[:2], {"c1"}, shell.MEMBERS[2], {"e1"}]
    sizes = pq.read_table(out / "clusters.parquet")["cluster_size"].to_pylist()
    assert sorted(sizes) == [1, 1, 2, 2, 2, 2, 3, 3, 3]
    lines = outcome.err.splitlines()
    assert "INFO dupmine.corpus.reader: texts from column question, ids from id" in lines
    assert [line for line in lines if not line.startswith("INFO dupmine.")] == []
    assert [line for line in outcome.out.splitlines() if line.endswith("1 documents")] == []
    inputs = json.loads((out / "manifest.json").read_text())["inputs"]
    assert [(file["path"], file["format"], file["documents"]) for file in inputs] == [("-", "csv", 9)]


def test_keep_and_overwrite(tmp_path: Path, questions: Path) -> None:
    out = tmp_path / "out"
    for keep, expected in (("score:desc", ["a2", "b2", "d2"]), ("date:asc", ["a1", "b1", "d1"])):
        outcome = shell.dupmine("mine", questions, "--out", out, "--overwrite", "-q", "--keep", keep)
        assert outcome == shell.Outcome(0, "", "")
        assert representatives_in(out) == expected
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_print_config_goes_through_config(tmp_path: Path) -> None:
    flags = ("--keep", "score:desc", "--floor", "0.7", "--set", "retrieval.nlist=9", "--singletons")
    outcome = shell.dupmine("mine", *flags, "--print-config")
    config = tmp_path / "my.yaml"
    config.write_text(outcome.out)
    assert shell.dupmine("mine", "--config", config, "--print-config") == outcome
    settings = effective("--config", config)
    assert settings == dupmine.load_settings(
        overrides={"keep": "score:desc", "floor": 0.7, "nlist": 9, "singletons": True}
    )


def test_flags_win_over_set_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("retrieval: {floor: 0.1, max_k: 11}\nrerank: {threshold: 0.1}\n")
    by_set = ("--set", "retrieval.floor=0.2", "--set", "nlist=2", "--set", "rerank.symmetric=true")
    settings = effective("--config", config, *by_set, "--floor", "0.3")
    assert (settings.retrieval.floor, settings.retrieval.nlist, settings.retrieval.max_k) == (0.3, 2, 11)
    assert (settings.rerank.threshold, settings.rerank.symmetric) == (0.1, True)


@pytest.mark.parametrize(
    ("flag", "value", "setting", "expected"),
    [
        ("--text-column", "title,body", "corpus.text_column", "title,body"),
        ("--id-column", "key", "corpus.id_column", "key"),
        ("--format", "tsv", "corpus.format", "tsv"),
        ("--encoding-errors", "replace", "corpus.encoding_errors", "replace"),
        ("--encoding", "cp1251", "corpus.encoding", "cp1251"),
        ("--delimiter", "tab", "corpus.delimiter", "\t"),
        ("--quote", "none", "corpus.quote", "none"),
        ("--escape", "spark", "corpus.escape", "spark"),
        ("--columns", "id,text", "corpus.columns", "id,text"),
        ("--nulls", "drop", "corpus.nulls", "drop"),
        ("--bi-encoder", "some/model", "retrieval.bi_encoder", "some/model"),
        ("--cross-encoder", "some/model", "rerank.cross_encoder", "some/model"),
        ("--threshold", "0.8", "rerank.threshold", 0.8),
        ("--floor", "-0.5", "retrieval.floor", -0.5),
        ("--keep", "longest", "clustering.keep", "longest"),
        ("--device", "cuda:1", "compute.device", "cuda:1"),
        ("--threads", "2", "compute.threads", 2),
    ],
)
def test_flag_sets_its_setting(flag: str, value: str, setting: str, expected: object) -> None:
    assert effective(flag, value) == dupmine.load_settings(overrides={setting: expected})


def test_version() -> None:
    assert shell.dupmine("--version") == shell.Outcome(0, f"dupmine {dupmine.__version__}\n", "")


def test_help_names_every_flag() -> None:
    outcome = shell.dupmine("mine", "--help")
    assert outcome.code == 0
    assert [flag for flag in FLAGS if f"{flag} " not in outcome.out] == []
    assert set(re.findall(r"--[a-z-]+", outcome.out)) == set(FLAGS)


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("mine", "--nonsense"), "No such option"),
        (("mine", "q.csv"), "name a folder for the result"),
        (("mine", "--out", "x"), "name at least one file, folder or glob"),
        (("mine", "q.csv", "--out", "x", "--log-level", "loud"), "'loud' is not one of debug, info"),
        (("mine", "--threads", "many"), "for '--threads': "),
        (("undo",), "No such command"),
    ],
)
def test_wrong_usage_ends_with_2(
    args: tuple[str, ...], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = shell.dupmine(*args)
    assert (outcome.code, outcome.out) == (2, "")
    assert complaint in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_leaves_what_was_there(
    signum: signal.Signals, code: int, tmp_path: Path, made: tuple[Path, shell.Outcome]
) -> None:
    path, out = tmp_path / "many.jsonl", tmp_path / "deep" / "out"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in plant(4000)[0]))
    overwritten = signum == signal.SIGTERM
    if overwritten:
        out.mkdir(parents=True)
        for file in made[0].iterdir():
            (out / file.name).write_bytes(file.read_bytes())
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    process = shell.start_process("mine", path, "--out", out, "--overwrite")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("deep/out/.work/embeddings.scratch")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signum)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, "")
    assert "Traceback" not in errors
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    assert (tmp_path / "deep").exists() == overwritten
    assert list(tmp_path.rglob(".*")) == []


def test_evaluate_run(tmp_path: Path, made: tuple[Path, shell.Outcome]) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("id,cluster\na1,1\na2,1\na3,1\nb1,2\nb2,3\nd1,4\nd2,4\nz9,5\n")
    outcome = shell.dupmine("evaluate-run", made[0], gold)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[:5] == [
        "           7 labelled documents",
        "           1 not in the run",
        "      0.8000 pair_precision",
        "      1.0000 pair_recall",
        "      0.8889 pair_f1",
    ]

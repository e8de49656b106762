"""`dupmine store`: output, effects and exit codes of its commands."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dupmine.disk.lock import lock

from ..helpers import shell
from .test_logs import objects
from .test_prometheus import metrics_in

COMMON = {"--quiet", "--log-level", "--log-format", "--help"}
READING = {
    *("--text-column", "--id-column", "--format", "--encoding", "--encoding-errors"),
    *("--delimiter", "--quote", "--escape", "--header", "--no-header", "--columns", "--nulls"),
}
COMPUTING = {"--device", "--threads"}
METRICS = {"--metrics", "--metrics-label"}
FLAGS = {
    "init": {"--config", "--set", "--wait"},
    "update": READING | COMPUTING | METRICS | {"--wait"},
    "delete": COMPUTING | METRICS | {"--ids-from", "--wait"},
    "rebuild": METRICS | {"--config", "--set", "--wait"},
    "compact": METRICS | {"--wait"},
    "rollback": {"--wait"},
    "verify": {"--repair", "--wait"},
    "status": {"--json"},
    "changes": {"--since", "--json"},
    "query": COMPUTING | {"--file", "--top", "--duplicates-only", "--json"},
    "export": {"--out", "--overwrite"},
}


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store at generation 1 with the questions of `shell`."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "questions.csv").write_text(shell.QUESTIONS, encoding="utf-8")
    assert shell.dupmine("store", "init", folder / "s", "-q") == shell.Outcome(0, "", "")
    outcome = shell.dupmine("store", "update", folder / "s", folder / "questions.csv", "-q")
    assert outcome == shell.Outcome(0, "", "")
    return folder / "s"


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    """A copy of the filled store, for one test."""
    return Path(shutil.copytree(filled, tmp_path / "s"))


def run(command: str, *args: str | Path) -> list[str]:
    """Call a command that must succeed; return what it printed."""
    outcome = shell.dupmine("store", command, *args)
    assert (outcome.code, outcome.err) == (0, ""), args
    return outcome.out.splitlines()


def refusal(command: str, *args: str | Path, code: int = 2) -> str:
    """Call a command that must fail; return its message."""
    outcome = shell.dupmine("store", command, *args)
    assert (outcome.code, outcome.out) == (code, "")
    assert re.fullmatch(r"dupmine: [^\n]+\n", outcome.err)
    return outcome.err.removeprefix("dupmine: ").rstrip("\n")


def status(store: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads("\n".join(run("status", store, "--json")))
    return found


def files(store: Path) -> dict[str, bytes]:
    """Return what the store holds, the lock aside."""
    found = {str(path.relative_to(store)): path for path in store.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "lock"}


def damage(store: Path, pattern: str) -> str:
    """Flip a bit of a file and its copy; return the file's name."""
    paths = sorted(store.glob(pattern))
    assert paths
    for path in paths:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    return str(paths[-1].relative_to(store))


def test_help_names_every_flag() -> None:
    for command, flags in FLAGS.items():
        outcome = shell.dupmine("store", command, "--help")
        assert outcome.code == 0
        assert set(re.findall(r"--[a-z-]+", outcome.out)) == flags | COMMON, command


def test_help_lists_every_command_and_exit_code() -> None:
    outcome = shell.dupmine("store", "--help")
    commands, _, codes = outcome.out.partition("Commands:\n")[2].partition("Exit codes:\n")
    assert re.findall(r"^  (\w+)  ", commands, re.MULTILINE) == list(FLAGS)
    assert "..." not in commands
    assert re.findall(r"^ {4}(\d+)  ", codes, re.MULTILINE) == ["0", "1", "2", "3", "4", "5", "130"]


def test_the_nights_of_a_store(tmp_path: Path) -> None:
    store, night = tmp_path / "s", tmp_path / "night.csv"
    assert run("init", store) == [f"made {store}; add documents: dupmine store update {store} FILES"]
    night.write_text(shell.QUESTIONS, encoding="utf-8")
    lines = run("update", store, night)
    assert lines[:5] == [
        "generation 1",
        "           9 documents: 9 new, 0 edited, 0 deleted, 0 unchanged",
        "           7 texts embedded",
        "           3 pairs scored",
        "           3 clusters: 3 created",
    ]
    # Stages of no tenth of a second are left out.
    assert re.fullmatch(r" +\d+\.\d seconds: (none|\w+ \d+\.\d(, \w+ \d+\.\d)*)", lines[5])
    assert lines[6:] == []
    later = shell.QUESTIONS.replace("Where is Paris?", "Where is London?")
    night.write_text(later + "b3,How do I lose weight quickly?,1,\n", encoding="utf-8")
    assert run("update", store, night)[:5] == [
        "generation 2",
        "          10 documents: 1 new, 1 edited, 0 deleted, 8 unchanged",
        "           2 texts embedded",
        "           2 pairs scored",
        "           3 clusters: 1 grew",
    ]
    assert run("update", store, night) == ["generation 2: nothing to do"]
    assert run("delete", store, "b3", "d2")[:2] == [
        "generation 3",
        "           8 documents: 0 new, 0 edited, 2 deleted, 8 unchanged",
    ]
    assert run("changes", store, "--since", "1") == [
        "generation  event      cluster  documents",
        "         2  grew             0  + b3",
        "         3  shrank           0  - b3",
        "         3  dissolved        2  - d1, d2",
    ]
    assert run("changes", store, "--since", "3") == ["no changes"]
    assert json.loads("".join(run("changes", store, "--since", "3", "--json"))) == []
    assert json.loads("".join(run("changes", store, "--since", "2", "--json")))[0] == {
        "generation": 3,
        "event": "shrank",
        "cluster_id": 0,
        "other_id": None,
        "joined": [],
        "left": ["b3"],
        "representative_id": None,
    }


def test_status(store: Path) -> None:
    found = status(store)
    assert list(found) == [
        "generation",
        "operation",
        "updated",
        "kept_generations",
        "documents",
        "unique_texts",
        "pairs",
        "clusters",
        "segments",
        "bytes",
        "compact_frees",
        "models",
        "settings",
        "writer",
    ]
    assert (found["generation"], found["documents"], found["clusters"], found["writer"]) == (1, 9, 3, None)
    lines = run("status", store)
    assert lines[0] == "      generation  1"
    assert "       documents  9" in lines
    assert "          writer  none" in lines
    with lock(store):
        assert re.fullmatch(rf" +writer  user .+, pid {os.getpid()}, started .+", run("status", store)[-1])


def test_status_shows_no_writer_that_died(store: Path) -> None:
    writer = {"user": "eve", "host": "far", "pid": 1, "started": "2026-01-01T00:00:00+00:00"}
    (store / "writer.json").write_text(json.dumps(writer))
    assert status(store)["writer"] is None
    assert run("status", store)[-1] == "          writer  none"


def test_update_takes_the_flags_of_reading(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.BytesIO("key\tQ\nz1\tOù est Paris?\n".encode("latin-1"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(typed))
    flags = ("--format", "tsv", "--text-column", "Q", "--id-column", "key", "--encoding-errors", "replace")
    lines = run("update", store, "-", *flags, "--threads", "1", "--device", "cpu")
    assert lines[1] == "          10 documents: 1 new, 0 edited, 0 deleted, 0 unchanged"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("night.jsonl", ""),
        ("night.jsonl", "\n \n"),
        ("night.csv", ""),
        ("night.csv", "\n"),
        ("night.csv", "id,question\n"),
        ("night.tsv", ""),
        ("night.xml", "<posts/>"),
        ("-", ""),
    ],
)
def test_an_empty_night_is_nothing_to_do(
    name: str, content: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(store)
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / name).write_text(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    inputs = ("-", "--format", "jsonl") if name == "-" else (tmp_path / "night" / name,)
    assert run("update", store, *inputs) == ["generation 1: nothing to do"]
    assert files(store) == before


def test_delete_from_a_file(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbfa1\r\n\r\na2\n")
    assert run("delete", store, "--ids-from", path, "c1")[1] == (
        "           6 documents: 0 new, 0 edited, 3 deleted, 6 unchanged"
    )
    path.write_text("")
    assert run("delete", store, "--ids-from", path) == ["generation 2: nothing to do"]
    assert run("delete", store, "-q", "--", "e1") == []
    assert status(store)["documents"] == 5


def test_an_unknown_id_deletes_nothing(store: Path, tmp_path: Path) -> None:
    before = files(store)
    assert refusal("delete", store, "a1", "zz") == (
        "the store has no document with the id 'zz': nothing was deleted"
    )
    path = tmp_path / "ids.txt"
    assert refusal("delete", store, "--ids-from", path) == (
        f"{path}: cannot be read (No such file or directory): check the name and the permissions"
    )
    path.write_bytes(b"a1\n\xff\n")
    assert refusal("delete", store, "--ids-from", path) == (
        f"{path}, line 2: invalid UTF-8: convert the file to UTF-8"
    )
    assert files(store) == before


def test_query_prints_a_table(store: Path) -> None:
    lines = run("query", store, "How do I learn  Python", "Why is the sky blue?", "", "--top", "3")
    assert lines[0] == "How do I learn Python"
    assert lines[1] == "   rank  probability  cosine  cluster  doc_id  text"
    row = re.fullmatch(
        r"\*     1        (\d\.\d{3})   (\d\.\d{3})        1  a1      How do I learn Python\?", lines[2]
    )
    assert row is not None
    assert min(map(float, row.groups())) > 0.8
    assert [line[:7] for line in lines[2:5]] == ["*     1", "*     2", "      3"]
    assert lines[5:8] == ["", "Why is the sky blue?", lines[1]]
    assert lines[8] == "*     1        1.000   1.000        2  d1      Why is the sky blue?"
    assert lines[11:] == [
        "",
        "",
        "  nothing similar",
        "",
        "* a duplicate: its probability reaches the threshold",
    ]


def test_query_in_json(store: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text("Where is Paris?\n\nWhy is the sky blue?\n", encoding="utf-8")
    [line] = run("query", store, "--file", asked, "--json", "--duplicates-only")
    found = json.loads(line)
    assert [(row["query"], row["rank"], row["doc_id"], row["cluster_id"]) for row in found] == [
        (0, 1, "c1", None),
        (2, 1, "d1", 2),
        (2, 2, "d2", 2),
    ]
    assert list(found[0]) == [
        "query",
        "rank",
        "doc_id",
        "text",
        "cosine",
        "probability",
        "cluster_id",
        "is_duplicate",
    ]
    assert (found[0]["text"], found[0]["probability"], found[0]["is_duplicate"]) == (
        "Where is Paris?",
        1,
        True,
    )
    asked.write_text("")
    assert json.loads("".join(run("query", store, "--file", asked, "--json"))) == []


def test_query_fits_the_terminal(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wide.jsonl"
    texts = ["Why\tis \u001b[31mred\u202e?", "为什么天空是蓝色的而不是绿色的或者红色的呢" * 2]
    path.write_text("".join(json.dumps({"id": f"w{i}", "question": t}) + "\n" for i, t in enumerate(texts)))
    run("update", store, path, "-q")
    monkeypatch.setenv("COLUMNS", "70")
    lines = run("query", store, texts[1], "--top", "20")
    assert lines[0] == texts[1][:34] + "…"
    assert lines[2].endswith("  w1      " + texts[1][:11] + "…")
    assert next(line for line in lines if "w0" in line).endswith("  Why is \\x1b[31mred\\u20…")
    monkeypatch.setenv("COLUMNS", "10")
    assert run("query", store, "Why?", "--top", "20")[1].endswith("text")


def test_json_is_utf8_in_every_locale(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "french.jsonl"
    ids = ("où", "là")
    path.write_text("".join(json.dumps({"id": i, "question": "Où dort le chat?"}) + "\n" for i in ids))
    run("update", store, path, "-q")
    env = {"PYTHONIOENCODING": "latin-1", "LC_ALL": "C"}
    outcome = shell.run_process("store", "changes", store, "--since", "1", "--json", env=env)
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)[0]["joined"] == ["là", "où"]
    assert "où" in outcome.out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Où dort  le chat?\n".encode())))
    assert run("query", store, "--file", "-", "--top", "1")[2].endswith("  où      Où dort le chat?")


def test_query_without_a_text_does_not_wait_for_one(store: Path) -> None:
    outcome = shell.dupmine("store", "query", store)
    assert (outcome.code, outcome.out) == (2, "")
    assert "give at least one text, or a file with --file" in outcome.err
    assert "name at least one id, or a file with --ids-from" in shell.dupmine("store", "delete", store).err
    assert refusal("query", store, "a", "\udcff").startswith("text 1 (counted from 0) is not valid UTF-8: ")


def test_rollback_compact_and_rebuild(store: Path, tmp_path: Path) -> None:
    run("delete", store, "a1", "-q")
    assert run("rollback", store, "1") == [
        "generation 3",
        "           9 documents",
        "           3 clusters: 1 grew, 1 representative changed",
    ]
    assert status(store)["documents"] == 9
    assert refusal("rollback", store, "9").startswith(f"{store}: generation 9 is not kept (kept are ")
    path = tmp_path / "d.prom"
    assert run("compact", store, "--metrics", path)[0] == "generation 4"
    assert (status(store)["operation"], status(store)["segments"]) == ("compact", 1)
    assert (metrics_in(path)["generation",], metrics_in(path)["documents",]) == (4, 9)
    assert run("rebuild", store, "--set", "rerank.threshold=1.0")[0] == "generation 5"
    found = status(store)
    assert (found["clusters"], found["settings"]["rerank"]["threshold"]) == (1, 1.0)  # type: ignore[index]
    assert refusal("rebuild", store, "--set", "treshold=1", "--metrics", path).startswith("unknown setting")
    assert (metrics_in(path)["last_run_exit_code",], metrics_in(path)["generation",]) == (2, 4)


def test_rollback_to_the_empty_store(store: Path) -> None:
    lines = ["generation 2", "           0 documents", "           0 clusters: 3 dissolved"]
    assert run("rollback", store, "0") == lines
    assert run("query", store, "Why?") == ["Why?", "  nothing similar"]
    assert run("status", store)[4] == "       documents  0"


def test_export(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines = run("export", store, "--out", out)
    assert (lines[0], lines[-3]) == ("           9 documents", f"written to {out}")
    assert {path.name for path in out.iterdir()} == shell.TABLES
    table = pq.read_table(out / "clusters.parquet").to_pandas()
    assert sorted((set(ids) for _, ids in table.groupby("cluster_id")["doc_id"]), key=min) == shell.MEMBERS
    assert refusal("export", store, "--out", out).startswith(f"{out} exists and is not empty; ")
    assert run("export", store, "--out", out, "--overwrite", "-q") == []


def test_verify_and_repair(store: Path) -> None:
    assert run("verify", store) == ["intact, at generation 1"]
    assert run("verify", store, "-q") == []
    name = damage(store, "segments/*/embeddings.npy")
    outcome = shell.dupmine("store", "verify", store)
    assert outcome == shell.Outcome(
        4,
        f"damaged: {name}: its checksum does not match\n",
        f"dupmine: {store}: 1 files are damaged: use --repair\n",
    )
    assert run("verify", store, "--repair") == [
        f"repaired: {name}: its checksum does not match",
        "intact, at generation 2",
    ]
    assert run("verify", store) == ["intact, at generation 2"]


def test_a_damaged_store_ends_with_4(store: Path) -> None:
    damage(store, "segments/*/documents*.parquet")
    outcome = shell.run_process("store", "delete", store, "a1")
    assert (outcome.code, outcome.out) == (4, "")
    assert "segments/00000001/documents" in outcome.err
    assert "segments/00000001/documents" in refusal("query", store, "Why?", "--json", code=4)


def test_a_damaged_commit_is_repaired_from_its_copy(store: Path) -> None:
    path = store / "generations" / "00000001.json"
    path.write_bytes(path.read_bytes()[:-9])
    outcome = shell.dupmine("store", "verify", store)
    assert (outcome.code, outcome.out.split(":")[:2]) == (4, ["damaged", " generations/00000001.json"])
    assert shell.dupmine("store", "verify", store, "--repair").code == 0
    assert run("verify", store) == ["intact, at generation 1"]


def test_a_store_whose_newest_commit_is_lost_can_be_repaired(store: Path) -> None:
    """Every message says to run `verify --repair`, which must not need that commit."""
    run("delete", store, "a1", "-q")
    for path in store.glob("generations/00000002*"):
        path.write_bytes(path.read_bytes()[:-9])
    assert "run `dupmine store verify --repair" in refusal("update", store, "x.csv", code=4)
    outcome = shell.dupmine("store", "verify", store)
    assert outcome.code == 4
    assert [line.split(":")[:2] for line in outcome.out.splitlines()] == [
        ["damaged", " generations/00000002.copy.json"],
        ["damaged", " generations/00000002.json"],
    ]
    outcome = shell.dupmine("store", "verify", store, "--repair")
    assert (outcome.code, "repaired: " in outcome.out) == (4, False)
    assert [line.split(":")[0] for line in outcome.out.splitlines()] == ["lost"] * 3
    assert "generation 2 cannot be repaired and is dropped: the store is at generation 1" in outcome.out
    assert outcome.err.endswith(f"dupmine: {store}: 3 losses could not be repaired, see above\n")
    assert run("verify", store) == ["intact, at generation 1"]
    assert status(store)["documents"] == 9


def test_repair_keeps_the_generations_that_the_store_keeps(store: Path) -> None:
    run("rebuild", store, "--set", "store.keep_generations=9", "-q")
    for _ in range(5):
        run("rollback", store, "2", "-q")
    kept = status(store)["kept_generations"]
    assert kept == list(range(8))
    (store / "segments/00000002/documents.parquet").write_bytes(b"damaged")
    assert shell.dupmine("store", "verify", store, "--repair", "-q").code == 0
    assert status(store)["kept_generations"] == kept


@pytest.mark.parametrize("command", sorted(set(FLAGS) - {"init"}))
def test_no_store_ends_with_2(command: str, tmp_path: Path) -> None:
    more = {"update": ["x.csv"], "delete": ["a"], "rollback": ["1"], "query": ["a"], "export": ["--out", "x"]}
    message = refusal(command, tmp_path / "s", *more.get(command, []))
    assert message.startswith(f"{tmp_path / 's'} is not a store of dupmine: ")
    assert list(tmp_path.iterdir()) == []


def test_init_leaves_existing_files_alone(store: Path, tmp_path: Path) -> None:
    before = files(store)
    assert refusal("init", store).startswith(f"{store} is already a store: ")
    assert refusal("init", tmp_path).startswith(f"{tmp_path} is not empty ")
    assert files(store) == before
    assert refusal("init", tmp_path / "new", "--set", "keep_generations=0").startswith(
        "setting store.keep_generations: should be greater than or equal to 1, not 0"
    )
    assert not (tmp_path / "new").exists()


def test_a_setting_of_the_store_is_not_changed_by_an_update(store: Path, tmp_path: Path) -> None:
    assert refusal("update", store, tmp_path / "nowhere.csv").startswith(
        f"{tmp_path / 'nowhere.csv'}: no such"
    )
    assert refusal("update", store, "x.csv", "--device", "gpu").startswith(
        "setting compute.device: should be "
    )


def test_a_held_lock_ends_with_3(store: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "d.prom"
    with lock(store):
        flags = ("--metrics", metrics, "--log-format", "json")
        outcome = shell.run_process("store", "delete", store, "a1", *flags)
        waited = shell.start_process("store", "delete", store, "a1", "--wait", "60")
        [line] = objects(outcome.err)
        assert (outcome.code, outcome.out, line["exit_code"]) == (3, "", 3)
        assert re.search(rf"is being written by .*{os.getpid()}.*--wait", line["message"])
        assert metrics_in(metrics)["last_run_exit_code",] == 3
        time.sleep(1.5)
        assert waited.poll() is None
    out, err = waited.communicate(timeout=60)
    assert (waited.returncode, err) == (0, "")
    assert out.startswith("generation 2\n")


def test_a_full_disk_ends_with_5(store: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    before = files(store)
    outcome = shell.run_process("store", "compact", store, before=limit)
    assert (outcome.code, outcome.out) == (5, "")
    assert re.fullmatch(r"dupmine: .*the disk is full.*\n", outcome.err)
    assert {name: files(store).get(name) for name in before} == before
    assert run("compact", store)[0] == "generation 2"


@pytest.mark.parametrize(
    ("signum", "code", "log_format"),
    [(signal.SIGINT, 130, "text"), (signal.SIGINT, 130, "json"), (signal.SIGTERM, 143, "text")],
)
def test_a_signal_leaves_the_generation_before(
    signum: signal.Signals, code: int, log_format: str, store: Path
) -> None:
    before, flags = files(store), ("--format", "csv", "--log-format", log_format)
    process = shell.start_process("store", "update", store, "-", *flags)
    deadline = time.monotonic() + 60
    while not (store / "writer.json").exists():  # then it waits for standard input
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signum)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, "")
    assert "Traceback" not in errors
    assert files(store) == before


def test_a_writer_that_died_is_told_of_in_json(store: Path) -> None:
    writer = {"user": "eve", "host": "far", "pid": 1, "started": "2026-01-01T00:00:00+00:00"}
    (store / "writer.json").write_text(json.dumps(writer))
    flags = ("--log-format", "json", "--quiet")
    outcome = shell.run_process("store", "compact", store, *flags)
    assert (outcome.code, outcome.out) == (0, "")
    [line] = objects(outcome.err)
    assert (line["level"], line["logger"]) == ("WARNING", "dupmine.disk.lock")
    assert "taking over from eve" in line["message"]


def test_a_reader_that_closes_its_end(store: Path) -> None:
    def many() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dupmine", "store", "changes", str(store)]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, preexec_fn=many)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, b"")

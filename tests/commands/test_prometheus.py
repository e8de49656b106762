"""The metrics of a run: what a textfile collector finds after success, failure and a signal."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dupmine.commands.prometheus import metrics_of_run
from dupmine.errors import OutputError

from ..helpers import shell
from ..helpers.tiny_models import TinyModels

STAGES = {"read", "load", "collapse", "tokenise", "embed", "retrieve", "rerank", "decide", "cluster"}
STAGES |= {"audit", "tables"}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text(shell.QUESTIONS, encoding="utf-8")
    return path


@pytest.fixture
def flags(tiny: TinyModels, tmp_path: Path) -> tuple[str | Path, ...]:
    """Everything but the inputs and --metrics."""
    models = ("--bi-encoder", tiny["bi-encoder"], "--cross-encoder", tiny["sigmoid"])
    return (*models, "--floor", "-1", "--overwrite", "-q", "--out", tmp_path / "out")


def metrics_in(path: Path) -> dict[tuple[str, ...], float]:
    """Return the value of each metric by its name without `dupmine_` and the values of its labels."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        assert (family.type, family.documentation == "") == ("gauge", False)
        for sample in family.samples:
            key = (sample.name.removeprefix("dupmine_"), *(v for _, v in sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def test_a_run_writes_its_metrics(tmp_path: Path, questions: Path, flags: tuple[str | Path, ...]) -> None:
    path, started = tmp_path / "dupmine.prom", time.time()
    outcome = shell.dupmine("mine", questions, *flags, "--metrics", path)
    assert outcome == shell.Outcome(0, "", "")
    found = metrics_in(path)
    assert {key[1] for key in found if key[0] == "stage_seconds"} == STAGES
    assert found["documents",] == found["new_documents",] == 9
    assert found["pairs",] == 7 * 6 / 2
    assert (found["last_run_success",], found["last_run_exit_code",]) == (1, 0)
    assert started <= found["last_success_timestamp_seconds",] == found["last_run_timestamp_seconds",]
    assert found["last_run_timestamp_seconds",] <= time.time()
    assert "dupmine_documents 9.0\n" in path.read_text()
    assert {file.name for file in tmp_path.iterdir()} == {"dupmine.prom", "out", "questions.csv"}


@pytest.mark.parametrize(
    "wrong", [("nowhere.csv",), ("questions.csv", "--set", "threshold=7")], ids=["input", "settings"]
)
def test_a_failure_keeps_the_last_success(
    wrong: tuple[str, ...],
    tmp_path: Path,
    questions: Path,
    flags: tuple[str | Path, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shell.dupmine("mine", questions, *flags, "--metrics", "d.prom").code == 0
    before = metrics_in(Path("d.prom"))
    outcome = shell.dupmine("mine", *wrong, *flags, "--metrics", "d.prom")
    assert outcome.code == 2
    after = metrics_in(Path("d.prom"))
    assert after.pop(("last_run_timestamp_seconds",)) > before["last_run_timestamp_seconds",]
    assert after == {
        key: value for key, value in before.items() if key[0] != "last_run_timestamp_seconds"
    } | {
        ("last_run_success",): 0,
        ("last_run_exit_code",): 2,
    }


def test_a_failure_before_any_success(tmp_path: Path, flags: tuple[str | Path, ...]) -> None:
    path = tmp_path / "dupmine.prom"
    assert shell.dupmine("mine", tmp_path / "nowhere.csv", *flags, "--metrics", path).code == 2
    found = metrics_in(path)
    assert found.pop(("last_run_timestamp_seconds",)) == pytest.approx(time.time(), abs=60)
    assert found == {
        ("last_success_timestamp_seconds",): 0,
        ("last_run_success",): 0,
        ("last_run_exit_code",): 2,
    }


def test_a_signal_is_a_failure(tmp_path: Path, flags: tuple[str | Path, ...]) -> None:
    path, log = tmp_path / "dupmine.prom", ("--log-level", "debug")
    flags = (*flags[:-1], tmp_path / "deep" / "out")
    process = shell.start_process("mine", "-", "--format", "csv", *flags, *log, "--metrics", path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "deep").exists():  # then it waits for standard input
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    found = metrics_in(path)
    assert (process.returncode, found["last_run_exit_code",], found["last_run_success",]) == (143, 143, 0)


def test_labels_distinguish_two_stores(
    tmp_path: Path, questions: Path, flags: tuple[str | Path, ...]
) -> None:
    for name in ("first", 'a "second" \\'):
        label = ("--metrics-label", f"store={name}", "--metrics-label", "team=search")
        path = tmp_path / f"{len(name)}.prom"
        assert shell.dupmine("mine", questions, *flags, "--metrics", path, *label).code == 0
    both = tmp_path / "both"
    both.write_text((tmp_path / "5.prom").read_text())
    found = metrics_in(both) | metrics_in(tmp_path / "12.prom")
    assert found["documents", "first", "search"] == found["documents", 'a "second" \\', "search"] == 9
    assert ("stage_seconds", "read", "first", "search") in found


@pytest.mark.parametrize("label", ["store", "9=x", "stage=x", "__name=x", "a-b=x", "=x"])
def test_a_label_that_is_not_valid(label: str, tmp_path: Path, questions: Path) -> None:
    path = tmp_path / "dupmine.prom"
    outcome = shell.dupmine(
        "mine", questions, "--out", tmp_path / "out", "--metrics", path, "--metrics-label", label
    )
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"dupmine: --metrics-label {label!r}: expected NAME=VALUE, ")
    assert list(tmp_path.iterdir()) == [questions]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nowhere/d.prom", "cannot be written (No such file or directory): its folder must exist"),
        ("folder", "is a folder: name a file in it, as "),
        ("questions.csv/d.prom", "cannot be written (Not a directory): its folder must exist"),
        ("questions.csv", "holds more than the metrics of dupmine: name another file, or remove it"),
        ("d" * 300, "cannot be written (File name too long): "),
        ("/sys/d.prom", "cannot be written (Permission denied): "),
    ],
)
def test_a_file_that_cannot_be_written_is_found_before_the_run(
    name: str, complaint: str, tmp_path: Path, questions: Path
) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    # A model that is nowhere: the run would fail over that, had it begun.
    wrong = ("--bi-encoder", "./no/such/model")
    outcome = shell.dupmine("mine", questions, "--out", tmp_path / "out", "--metrics", path, *wrong)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"dupmine: --metrics {path} {complaint}")
    assert outcome.err.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"folder", "questions.csv"}
    assert questions.read_text(encoding="utf-8") == shell.QUESTIONS


def test_an_empty_file_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    path.touch()
    with metrics_of_run(path) as report:
        report({"documents": 3}, {"read": 0.5})
    found = metrics_in(path)
    assert (found["documents",], found["stage_seconds", "read"]) == (3, 0.5)


OTHERS = "# HELP other_total Of another program\n# TYPE other_total counter\nother_total 3\n"


@pytest.mark.parametrize(
    "content",
    [
        OTHERS,
        "dupmine_documents 3\n" + OTHERS,
        "dupmine_unknown 1\n",
        "# HELP other_total Of another program\n",
    ],
    ids=["another program's", "shared", "of a similar name", "declared only"],
)
def test_a_file_that_holds_metrics_of_others_is_left_alone(content: str, tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    path.write_text(content)
    with (
        pytest.raises(OutputError, match=r"d\.prom holds more than the metrics of dupmine: "),
        metrics_of_run(path),
    ):
        pass
    assert path.read_text() == content


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    os.mkfifo(path)
    with (
        pytest.raises(OutputError, match=r"d\.prom is not a regular file: name another"),
        metrics_of_run(path),
    ):
        pass
    assert path.is_fifo()


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "null"
    path.symlink_to("/dev/null")
    with pytest.raises(OutputError, match="null is not a regular file: name another"), metrics_of_run(path):
        pass
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(exists: bool, tmp_path: Path) -> None:
    link, target = tmp_path / "d.prom", tmp_path / "target.prom"
    link.symlink_to(target)
    if exists:
        target.touch()
    with metrics_of_run(link) as report:
        report({"documents": 3}, {})
    assert link.is_symlink()
    assert metrics_in(target)["documents",] == 3


def test_a_pipe_that_takes_the_place_during_the_run_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "d.prom"
    with metrics_of_run(path):
        os.mkfifo(path)
    assert path.is_fifo()
    assert caplog.messages == [
        f"the metrics were not written to {path}: it is not a regular file: name another"
    ]


def test_a_folder_that_is_gone_after_the_run_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "collector"
    folder.mkdir()
    with caplog.at_level(logging.WARNING), metrics_of_run(folder / "d.prom") as report:
        report({"documents": 3}, {})
        shutil.rmtree(folder)
    assert caplog.messages == [
        f"the metrics were not written to {folder / 'd.prom'}: No such file or directory"
    ]


def test_metrics_without_their_package_end_before_the_run(
    tmp_path: Path, questions: Path, flags: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    outcome = shell.dupmine("mine", questions, "--metrics", tmp_path / "dupmine.prom", *flags)
    assert outcome == shell.Outcome(
        2,
        "",
        "dupmine: --metrics needs prometheus_client, which is not installed: "
        "pip install 'dupmine[nightly]'\n",
    )
    assert {path.name for path in tmp_path.iterdir()} == {"questions.csv"}
    assert shell.dupmine("mine", questions, *flags).code == 0

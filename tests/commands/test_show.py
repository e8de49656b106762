"""`dupmine show`: lists and single clusters in plain words, and tables for a spreadsheet."""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ..helpers import shell
from ..helpers.results import HOSTILE, make_result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show") / "run"
    make_result(30, hostile=True).save(folder)
    return folder


def shown(*args: str | Path) -> list[str]:
    outcome = shell.dupmine("show", *args)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out.splitlines()


def refused(*args: str | Path) -> str:
    outcome = shell.dupmine("show", *args)
    assert (outcome.code, outcome.out) == (2, "")
    return outcome.err


def test_the_largest_come_first(run: Path) -> None:
    lines = shown(run, "-n", "3")
    sizes = [int(line.split()[2]) for line in lines if line.startswith("cluster ")]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == make_result(30, hostile=True).manifest["counts"]["largest_cluster"]


def test_suspicious_clusters_say_why(run: Path) -> None:
    lines = shown(run, "--suspicious", "-n", "2")
    assert sum(line.startswith("cluster ") for line in lines) == 2
    assert any(line.startswith("  ! ") for line in lines)


def test_borderline_pairs(run: Path) -> None:
    lines = shown(run, "--borderline", "-n", "4")
    assert lines[0] == "4 pairs nearest to the threshold 0.5, the nearest first"
    found = [line.split()[:2] for line in lines if line[:1].isdigit() and "pairs" not in line]
    assert len(found) == 4
    for probability, verdict in found:
        assert verdict.rstrip(",") == ("accepted" if float(probability) >= 0.5 else "rejected")


def test_random_ones_are_the_same_each_time(run: Path) -> None:
    assert shown(run, "--random", "-n", "3") == shown(run, "--random", "-n", "3")


def test_one_cluster_and_one_document(run: Path) -> None:
    result = make_result(30, hostile=True)
    members = result.clusters[result.clusters["cluster_id"] == 5]
    lines = shown(run, "5")
    assert lines[0].startswith(f"cluster 5: {len(members)} documents, weakest link ")
    assert [line.split(": ")[0].split()[-1] for line in lines[1:] if not line.startswith("  !")] == members[
        "doc_id"
    ].tolist()
    assert shown(run, members["doc_id"].iloc[-1]) == lines
    assert refused(run, "999") == "dupmine: there is no cluster and no document with the id '999'\n"
    assert refused(run, "5", "--document") == "dupmine: there is no document with the id '5'\n"


def test_what_is_neither_run_nor_store(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith(f"dupmine: {tmp_path} is neither a run nor a store: make one with")


def test_one_list_at_a_time(run: Path) -> None:
    assert "give one of CLUSTER, DOC_ID, --largest" in refused(run, "--random", "--largest")


def test_hostile_texts_stay_on_their_line(run: Path) -> None:
    for number in range(len(HOSTILE)):
        [line] = [line for line in shown(run, f"d{number}", "--document") if f" d{number}: " in line]
        assert line.replace("\u200d", "").isprintable(), line  # emoji are joined by it
    assert any("[U+202E]gnitirw" in line for line in shown(run, "d3", "--document"))


def test_csv(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tables"
    assert shown(run, "--csv", out) == [f"written: {out / 'clusters.csv'}, {out / 'pairs.csv'}"]
    result = make_result(30, hostile=True)
    with (out / "clusters.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["doc_id"] for row in rows] == result.clusters["doc_id"].tolist()
    assert [row["text"] for row in rows] == result.clusters["text"].tolist()
    with (out / "pairs.csv").open(encoding="utf-8-sig", newline="") as file:
        pairs = list(csv.DictReader(file))
    texts = dict(
        zip(
            result.corpus.documents["doc_id"].to_pylist(),
            result.corpus.documents["text"].to_pylist(),
            strict=True,
        )
    )
    assert len(pairs) == len(result.pairs)
    assert all(row["left_text"] == texts[row["left_id"]] for row in pairs)
    assert refused(run, "--csv", out).startswith(f"dupmine: {out / 'clusters.csv'} exists: give --overwrite")
    shown(run, "--csv", out, "--overwrite")


def test_xlsx_holds_texts_not_formulas(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tables.xlsx"
    assert shown(run, "--xlsx", out) == [f"written: {out}"]
    with zipfile.ZipFile(out) as book:
        sheets = [ElementTree.fromstring(book.read(f"xl/worksheets/sheet{i}.xml")) for i in (1, 2)]
    name = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    result = make_result(30, hostile=True)
    lines = [len(sheet.findall(f".//{name}row")) - 1 for sheet in sheets]
    assert lines == [len(result.clusters), len(result.pairs)]
    assert not any(sheet.findall(f".//{name}f") for sheet in sheets)
    texts = {cell.text for cell in sheets[0].iter(f"{name}t")}
    assert HOSTILE[8] in texts
    assert max(len(text or "") for text in texts) < 32_768


def test_it_loads_no_torch(run: Path) -> None:
    program = (
        "import sys; from dupmine.cli import main\n"
        f"sys.argv = ['dupmine', 'show', {str(run)!r}]\nmain()\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)

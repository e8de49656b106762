"""Eleven kinds of files as people have them, mined without any option."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dupmine import Miner, MiningResult

TEXTS = ["How do I learn Python?", "how do i  learn Python?", "Wie groß ist Köln?", 'Who said "Hi"?']
ROWS = [{"id": i, "text": text} for i, text in enumerate(TEXTS, 1)]
POSTS = "".join(
    f'<row Id="{row["id"]}" PostTypeId="1" Title="{str(row["text"]).replace(chr(34), "&quot;")}" />'
    for row in ROWS
)


def csv(separator: str = ",", **options: object) -> str:
    text: str = pd.DataFrame(ROWS).to_csv(sep=separator, index=False, **options)  # type: ignore[call-overload]
    return text


def excel(path: Path) -> None:
    pytest.importorskip("openpyxl", reason="needs openpyxl")
    pd.DataFrame(ROWS).to_excel(path, index=False)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data/q.csv", csv())


def uuids(path: Path) -> None:
    ids = pa.array([uuid.UUID(int=i).bytes for i in range(4)], pa.binary(16))
    column = pa.ExtensionArray.from_storage(pa.uuid(), ids)
    pq.write_table(pa.table({"id": column, "text": TEXTS}), path)


def glue(path: Path) -> None:
    lines = ["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"]
    pairs = [(TEXTS[0], TEXTS[1]), ('"What is love?', TEXTS[2]), (TEXTS[3], 'A 5" screen?')]
    lines += [f"{i}\t{2 * i}\t{2 * i + 1}\t{a}\t{b}\t0" for i, (a, b) in enumerate(pairs)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def kaggle(path: Path) -> None:
    frame = pd.DataFrame({"test_id": [0, 1], "question1": TEXTS[:2], "question2": TEXTS[2:]})
    frame.to_csv(path, index=False)


KINDS: dict[str, tuple[str, Callable[[Path], object], int, dict[str, str]]] = {
    "JSON": ("q.json", lambda path: path.write_text(json.dumps({"data": ROWS}, indent=1)), 4, {}),
    "lines": ("q.txt", lambda path: path.write_text("\n".join(TEXTS), encoding="utf-8"), 4, {}),
    "Excel": ("q.xlsx", excel, 4, {}),
    "semicolons": ("q.csv", lambda path: path.write_text(csv(";"), encoding="utf-8"), 4, {"delimiter": ";"}),
    "cp1252": ("q.csv", lambda path: path.write_bytes(csv().encode("cp1252")), 4, {"encoding": "cp1252"}),
    "GLUE": ("train.tsv", glue, 6, {"quote": "none"}),
    "Kaggle": ("test.csv", kaggle, 4, {}),
    "Stack Exchange": ("Posts.xml", lambda path: path.write_text(f"<posts>{POSTS}</posts>", "utf-8"), 4, {}),
    "zip": ("q.zip", archive, 4, {}),
    "UUIDs": ("q.parquet", uuids, 4, {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_file(kind: str, miner: Miner, tmp_path: Path) -> None:
    name, write, n, guessed = KINDS[kind]
    write(tmp_path / name)
    result = miner.mine_files([tmp_path / name], tmp_path / "out")
    require_documents(result, n)
    assert result.manifest["inputs"][0]["guessed"] == guessed
    require_documents(MiningResult.load(tmp_path / "out"), n)


def test_a_hugging_face_dataset(miner: Miner) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    require_documents(miner.mine(datasets.Dataset.from_list(ROWS)), 4)


def require_documents(result: MiningResult, n: int) -> None:
    assert result.manifest["counts"]["documents"] == n
    found = set(result.corpus.documents["text"].to_pylist())
    assert set(TEXTS) <= found
    assert [set(members["text"]) for members in result] == [set(TEXTS[:2])]

"""A run's folder: whole or not at all, and readable by other libraries."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dupmine import InputError, Miner, MiningResult, OutputError
from dupmine.disk.folder import TABLES
from dupmine.errors import LockError, SpaceError
from dupmine.results.run_folder import open_run, read_run, write_run
from dupmine.schema import CLUSTERS, PAIRS

from ..helpers.disk import largest_file

QUESTIONS = "id,text,tag\n1,How do I learn Python?,x\n2,how do i learn python?,y\n3,Where is Paris?,\n4,,z\n"


@pytest.fixture(scope="session")
def run(miner: Miner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    path = folder / "questions.csv"
    path.write_text(QUESTIONS)
    miner.mine_files([path], folder / "run")
    return folder / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "run")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def mark(folder: Path, token: str) -> None:
    """Mark a folder as a run does that renames it."""
    (folder / ".work").mkdir(parents=True)
    (folder / ".work" / "owner.json").write_text(json.dumps({"made_by": "dupmine", "token": token}))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_run(error: type[BaseException], copy: Path) -> None:
    before = content(copy)

    def write_half() -> None:
        with open_run(copy, overwrite=True) as opened:
            (opened.staging / "clusters.parquet").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert content(copy) == before
    assert names_in(copy.parent) == ["run"]


def test_an_error_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_run(tmp_path / "a" / "b" / "run"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_brings_the_old_run_back(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(copy)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "result":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError), open_run(copy, overwrite=True) as opened:
        (opened.staging / "manifest.json").write_text("{}")
    assert content(copy) == before
    assert names_in(copy.parent) == ["run"]


def test_overwrite_replaces(copy: Path) -> None:
    before = content(copy)
    with open_run(copy, overwrite=True) as opened:
        assert list(opened.staging.iterdir()) == []
        (opened.staging / "manifest.json").write_text("{}")
        assert names_in(copy) == sorted([".work", *before])
    assert content(copy) == {"manifest.json": b"{}"}
    assert names_in(copy.parent) == ["run"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with open_run(folder) as opened:
        (opened.staging / "manifest.json").write_text("{}")
    assert content(folder) == {"manifest.json": b"{}"}


def test_a_link_to_a_run_stays_a_link(copy: Path) -> None:
    link = copy.parent / "latest"
    link.symlink_to(copy)
    with open_run(link, overwrite=True) as opened:
        (opened.staging / "manifest.json").write_text("{}")
    assert link.is_symlink()
    assert content(copy) == {"manifest.json": b"{}"}
    assert names_in(copy.parent) == ["latest", "run"]


def test_a_run_made_meanwhile_is_not_lost(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    staged = open_run(folder)
    (staged.__enter__().staging / "manifest.json").write_text("{}")
    shutil.copytree(run, folder, dirs_exist_ok=True)
    with pytest.raises(OutputError, match="exists and is not empty"):
        staged.__exit__(None, None, None)
    assert content(folder) == content(run)
    assert names_in(tmp_path) == ["run"]


def test_a_second_writer_is_refused(copy: Path) -> None:
    before = content(copy)
    with open_run(copy, overwrite=True) as opened:
        with (
            pytest.raises(LockError, match=rf"^{copy}/\.work is being written by "),
            open_run(copy, overwrite=True),
        ):
            pass
        write_run(opened.staging, {}, {})
    assert before != content(copy) == {"manifest.json": b"{}\n"}
    assert names_in(copy.parent) == ["run"]


def test_finished_work_is_kept_after_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "run"

    def fail() -> None:
        with open_run(folder) as opened:
            opened.work.array("a", lambda: np.arange(3))
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert names_in(folder) == [".work"]
    assert caplog.messages == [
        f"{folder}: finished work is kept in .work; run the same command again to continue"
    ]
    with open_run(folder) as opened:
        assert opened.work.array("a", lambda: np.empty(0)).tolist() == [0, 1, 2]
        (opened.staging / "manifest.json").write_text("{}")
    assert names_in(tmp_path) == ["run"]
    assert names_in(folder) == ["manifest.json"]


def test_what_a_kill_left_beside_is_removed(copy: Path) -> None:
    for role, token in (("old", "0123456789abcdef"), ("stale", "fedcba9876543210")):
        mark(shutil.copytree(copy, copy.with_name(f".run.{role}-{token}")), token)
    mark(copy.with_name(".run2.old-0123456789abcdef"), "0123456789abcdef")
    mark(copy.with_name(".run.old-0000000000000000"), "0123456789abcdef")
    with open_run(copy, overwrite=True) as opened:
        (opened.staging / "manifest.json").write_text("{}")
    assert names_in(copy.parent) == [".run.old-0000000000000000", ".run2.old-0123456789abcdef", "run"]


def test_a_kill_between_the_two_renames_is_undone(copy: Path) -> None:
    mark(copy, "0123456789abcdef")
    before = content(copy.rename(copy.with_name(".run.old-0123456789abcdef")))
    with pytest.raises(OutputError, match="exists and is not empty; give --overwrite"), open_run(copy):
        pass
    assert content(copy) == before
    with open_run(copy, overwrite=True):
        assert content(copy) == before
    assert names_in(copy.parent) == ["run"]


def test_a_writer_between_the_two_renames_is_left_alone(copy: Path) -> None:
    with open_run(copy, overwrite=True) as opened:
        token = json.loads((copy / ".work" / "owner.json").read_bytes())["token"]
        old = copy.rename(copy.with_name(f".run.old-{token}"))
        with pytest.raises(LockError, match="is being written by"), open_run(copy):
            pass
        old.rename(copy)
        (opened.staging / "manifest.json").write_text("{}")
    assert content(copy) == {"manifest.json": b"{}"}


def test_a_mount_point_is_refused() -> None:
    with (
        pytest.raises(OutputError, match=r"^/ is a mount point, .*; give a folder inside it$"),
        open_run(Path("/")),
    ):
        pass


def test_no_space_for_a_table(copy: Path) -> None:
    before = content(copy)
    noise = pa.table({"noise": pa.array([os.urandom(1 << 20)])})
    with (
        pytest.raises(SpaceError, match="cannot be written: the disk is full; free some space"),
        largest_file(1 << 18),
        open_run(copy, overwrite=True) as opened,
    ):
        write_run(opened.staging, {"pairs": noise}, {})
    assert content(copy) == before
    assert names_in(copy.parent) == ["run"]


def test_a_type_that_parquet_lacks(copy: Path) -> None:
    before = content(copy)
    table = pa.table({"span": pa.array([pa.MonthDayNano([1, 2, 3])])})
    with (
        pytest.raises(OutputError, match=r"^pairs\.parquet: .*month_day.*; convert or drop that column$"),
        open_run(copy, overwrite=True) as opened,
    ):
        write_run(opened.staging, {"pairs": table}, {})
    assert content(copy) == before


def test_tables_carry_schema_and_descriptions(run: Path) -> None:
    for name, schema in (("clusters", CLUSTERS), ("pairs", PAIRS)):
        found = pq.read_schema(run / f"{name}.parquet")
        assert found.equals(schema, check_metadata=True)
        assert all(field.metadata[b"description"] for field in found)
    for name in TABLES:
        metadata = pq.read_metadata(run / f"{name}.parquet")
        columns = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
        assert {column.compression for column in columns} == {"ZSTD"}, name


@pytest.mark.parametrize("name", TABLES)
def test_pandas_polars_and_duckdb_read_the_same(run: Path, name: str) -> None:
    path = str(run / f"{name}.parquet")
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == {"clusters": 2, "pairs": 1, "deduplicated": 3, "removed": 1}[name]
    assert pd.read_parquet(path).to_dict("records") == rows
    assert pl.read_parquet(path).to_dicts() == rows
    with duckdb.connect() as connection:
        found = connection.execute("select * from read_parquet(?)", [path]).df()
    assert found.to_dict("records") == rows


def test_manifest(run: Path, miner: Miner) -> None:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    path = run.parent / "questions.csv"
    assert manifest["inputs"] == [
        {
            "path": str(path),
            "format": "csv",
            "documents": 4,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "guessed": {},
        }
    ]
    settled = miner.settings.changed({"rerank.threshold": manifest["threshold"]["value"]})
    assert manifest["settings"] == settled.model_dump()
    assert manifest["columns"] == {"text": "text", "id": "id"}
    assert {"python", "dupmine", "torch", "transformers", "numpy"} <= set(manifest["versions"])
    assert {len(manifest["models"][name]["sha256"]) for name in ("bi_encoder", "cross_encoder")} == {64}
    assert list(manifest["models"]) == ["bi_encoder", "cross_encoder", "decision", "cascade"]
    expected = {
        "documents": 4,
        "unique_texts": 2,
        "empty_texts": 1,
        "exact_duplicates": 1,
        "candidates": 0,
        "accepted_pairs": 0,
        "clusters": 1,
        "clustered_documents": 2,
        "removed_documents": 1,
        "largest_cluster": 2,
        "texts_truncated": 0,
        "invalid_utf8_replaced": 0,
    }
    assert manifest["counts"] | expected == manifest["counts"]
    stages = [
        "read",
        "load",
        "collapse",
        "tokenise",
        "embed",
        "retrieve",
        "rerank",
        "audit",
        "decide",
        "cluster",
        "tables",
    ]
    assert list(manifest["seconds"]) == stages
    assert all(seconds >= 0 for seconds in manifest["seconds"].values())
    assert datetime.fromisoformat(manifest["created"]).tzinfo is not None
    assert manifest["index"] == {"kind": "flat"}


@pytest.mark.parametrize("name", ["manifest.json", *(f"{table}.parquet" for table in TABLES)])
def test_a_missing_or_broken_file_is_named(copy: Path, name: str) -> None:
    (copy / name).write_text("{")
    with pytest.raises(InputError, match=rf"^{copy}: a file of the run is broken: .+$"):
        MiningResult.load(copy)
    (copy / name).unlink()
    with pytest.raises(InputError) as caught:
        read_run(copy)
    assert str(caught.value) == f"{copy} is not a run of dupmine: {name} is missing"


@pytest.mark.parametrize("text", ["[]", "{}", '{"settings": {}}'])
def test_a_foreign_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json is not a manifest of dupmine; mine again$"):
        MiningResult.load(copy)


def test_a_foreign_table_is_refused(copy: Path) -> None:
    clusters = pq.read_table(copy / "clusters.parquet")
    pq.write_table(clusters.select(clusters.column_names[::-1]), copy / "clusters.parquet")
    expected = r"clusters\.parquet does not have the columns that this version of dupmine writes; mine again$"
    with pytest.raises(InputError, match=expected):
        read_run(copy)


def test_a_run_of_an_older_version_is_refused(copy: Path) -> None:
    pairs = pq.read_table(copy / "pairs.parquet")
    older = ["cross_encoder" if name == "pair_probability" else name for name in pairs.column_names]
    pq.write_table(pairs.rename_columns(older), copy / "pairs.parquet")
    with pytest.raises(InputError) as caught:
        MiningResult.load(copy)
    assert str(caught.value) == (
        f"{copy}: pairs.parquet has no column pair_probability: another version of dupmine wrote it; "
        "mine again"
    )

"""A store from call to call: repeated and interrupted updates, readers, queries."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dupmine import InputError, Store
from dupmine.corpus.unique import normalised_key
from dupmine.rerank.cascade import Cascade
from dupmine.rerank.scorer import CrossEncoder
from dupmine.retrieval.encoder import BiEncoder, Embeddings
from dupmine.schema import Floats, Rows, TokenStore
from dupmine.store.commits import latest_commit
from dupmine.store.layout import commit_file

from ..helpers.stores import POOL, Maker, committed, logged, members, numbered, require_equal, table, tables
from ..helpers.tiny_models import TinyModels

DOCUMENTS = numbered([*POOL[:40:2], POOL[4].upper(), "", POOL[8]])
TONIGHT = numbered(POOL[1:20:3], 30) | {"2": ("how can you read math", 1), "9": (POOL[9], 4)}


@pytest.fixture(scope="module")
def maker(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
    loose = {"floor": 0.9, "threshold": 0.45, "agreement": 0.25, "unknown": 0.2}
    return Maker.of(tmp_path_factory.mktemp("store") / "blank", **loose, **models)


@pytest.fixture(scope="module")
def filled(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maker.store(tmp_path_factory.mktemp("filled") / "store", DOCUMENTS).path


@pytest.fixture
def store(maker: Maker, filled: Path, tmp_path: Path) -> Store:
    return maker.open(shutil.copytree(filled, tmp_path / "store"))


def test_the_same_update_twice_commits_nothing(store: Store) -> None:
    before = committed(store.path)
    report = store.update(table(DOCUMENTS))
    assert (report.generation, report.changed, report.events) == (1, False, {})
    assert report.counts["unchanged"] == report.counts["documents"] == len(DOCUMENTS)
    assert committed(store.path) == before
    assert not store.delete([]).changed
    assert committed(store.path) == before


def test_an_update_that_changes_nothing_reports_no_work(store: Store) -> None:
    counts = store.update(table(DOCUMENTS)).counts
    assert (counts["texts_embedded"], counts["pairs_scored"]) == (0, 0)


def play(store: Store) -> dict[str, bytes]:
    store.update(table(TONIGHT))
    store.delete(["7", "0"])
    store.compact()
    store.rollback(2)
    return committed(store.path)


def test_the_same_sequence_gives_the_same_bytes(
    store: Store, filled: Path, maker: Maker, tmp_path: Path
) -> None:
    again = maker.store(tmp_path / "again", DOCUMENTS)
    assert committed(again.path) == committed(filled)
    assert play(again) == play(store)


class Stopping(CrossEncoder):
    """A cross-encoder that Ctrl-C stops at its n-th call; `pairs` counts what it scored."""

    calls = 0
    pairs = 0
    stop_at: int | None = None

    def score(self, tokens: TokenStore, left: Rows, right: Rows, *rest: Any, **more: Any) -> Floats:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.pairs += len(left)
        return super().score(tokens, left, right, *rest, **more)


class Unused(BiEncoder):
    """A bi-encoder that has nothing left to do."""

    def encode(self, *_: Any, **__: Any) -> Embeddings:
        raise AssertionError("the texts were embedded before the interrupt")


@pytest.mark.parametrize("stop_at", [1, 2])
def test_an_interrupted_update_goes_on_and_ends_in_the_same_bytes(
    stop_at: int, store: Store, maker: Maker, tmp_path: Path
) -> None:
    """Ctrl-C after the texts were embedded, and after their pairs were scored, before those of clusters."""
    tonight = table(numbered(POOL[1:40:2], 30))
    twin = maker.open(shutil.copytree(store.path, tmp_path / "twin"))
    scored = twin.update(tonight).counts["pairs_scored"]
    scorer = Stopping(store.settings.rerank, maker.miner.models.compute)
    scorer.stop_at = stop_at
    models = replace(maker.miner.models, scorer=scorer, cascade=Cascade(scorer))
    store.models = models
    before = committed(store.path)
    with pytest.raises(KeyboardInterrupt):
        store.update(tonight)
    assert (store.generation, store.verify(), committed(store.path)) == (1, [], before)
    first, scorer.stop_at = scorer.pairs, None
    again = maker.open(store.path)
    unused = Unused(store.settings.retrieval.bi_encoder, maker.miner.models.compute)
    again.models = replace(models, encoder=unused)
    again.update(tonight)
    assert (first > 0) == (stop_at == 2)
    assert scorer.pairs == scored
    assert committed(store.path) == committed(twin.path)


def test_a_reader_sees_the_generation_after_an_update(store: Store, maker: Maker, tmp_path: Path) -> None:
    reader = maker.open(store.path)
    assert set(reader.clusters()["doc_id"]) <= set(DOCUMENTS)
    assert reader.query(POOL[1], top=1)["doc_id"].tolist() != ["30"]
    store.update(table(TONIGHT))
    assert reader.generation == 2
    require_equal(tables(reader.export(tmp_path / "run")), tables(maker.mine(DOCUMENTS | TONIGHT)))
    assert reader.query(POOL[1], top=1)["doc_id"].tolist() == ["30"]
    assert reader.status()["documents"] == len(DOCUMENTS | TONIGHT)


def test_changes_are_those_after_a_generation(store: Store) -> None:
    store.update(table(TONIGHT))
    store.update(table({"100": ("?", 0)}))  # nothing is like it
    store.delete(["100", "2", "4"])
    found = store.changes()
    assert found.columns.tolist() == ["generation", *logged(store)[0].column_names]
    assert found["generation"].unique().tolist() == [1, 2, 4]
    assert len(found) == sum(map(len, logged(store)))
    assert store.changes(since=2)["generation"].unique().tolist() == [4]
    assert store.changes(since=4).empty
    assert str(found["cluster_id"].dtype) == "Int64"
    assert store.changes(since=2)["event"].tolist() == logged(store)[4]["event"].to_pylist()


def test_the_status_says_what_the_store_holds(store: Store) -> None:
    store.update(table(TONIGHT))
    status, commit = store.status(), latest_commit(store.path)
    assert (status["generation"], status["kept_generations"], status["operation"]) == (2, [0, 1, 2], "update")
    assert status["documents"] == len(DOCUMENTS | TONIGHT)
    texts = {normalised_key(text) for text, _ in (DOCUMENTS | TONIGHT).values()} - {""}
    assert status["unique_texts"] == len(texts)
    assert status["clusters"] == len(members(store))
    assert status["segments"] == 2
    assert status["bytes"] == sum((store.path / name).stat().st_size for name in commit.files)
    assert status["settings"] == store.settings.model_dump()
    assert status["models"]["bi_encoder"]["dim"] == 16
    assert status["writer"] is None
    assert status["updated"] == "2023-11-14T22:13:20+00:00"  # of the tests' DUPMINE_NOW
    os.utime(store.path / commit_file(2), (0, 0))  # as a copy of the store may have
    assert store.status()["updated"] == status["updated"]


def test_a_question_is_answered_by_meaning_and_words(store: Store, maker: Maker) -> None:
    asked = "How do I read guitar"
    answers = store.query(asked, top=1000)
    texts = {normalised_key(text): doc_id for doc_id, (text, _) in reversed(DOCUMENTS.items()) if text}
    assert sorted(answers["doc_id"]) == sorted(texts.values())  # of equal texts the first one
    ends = [sorted((asked, DOCUMENTS[i][0]), key=normalised_key) for i in answers["doc_id"]]
    pairs = [(first, second) for first, second in ends]
    expected = maker.miner.score_pairs(pairs)
    np.testing.assert_allclose(answers["probability"], expected, atol=1e-5)
    assert (answers["probability"] + answers["cosine"]).is_monotonic_decreasing
    assert answers["rank"].tolist() == list(range(1, len(answers) + 1))
    assert answers["text"].tolist() == [DOCUMENTS[i][0] for i in answers["doc_id"]]
    assert (answers["is_duplicate"] == (answers["probability"] >= 0.45)).all()
    numbers = {doc_id: number for number, ids in members(store).items() for doc_id in ids}
    assert answers["cluster_id"].isna().any()
    assert [None if pd.isna(n) else n for n in answers["cluster_id"]] == [
        numbers.get(i) for i in answers["doc_id"]
    ]
    pd.testing.assert_frame_equal(store.query(asked, top=3), answers.head(3))


def test_changes_since_a_generation_to_come_are_refused(store: Store) -> None:
    last = store.generation
    assert store.changes(last).empty
    with pytest.raises(
        InputError, match=f"there is no generation {last + 1}: the last one is {last}; give it"
    ):
        store.changes(last + 1)


def test_an_equal_text_comes_first_and_is_certain(store: Store) -> None:
    assert DOCUMENTS["4"][0] == POOL[8]  # and so has 22
    found = store.query(f" {POOL[8].upper()}\t", top=2)
    assert (found["doc_id"][0], found["probability"][0]) == ("4", 1.0)
    assert bool(found["is_duplicate"][0])
    assert found["probability"][1] < 1.0


def test_several_questions_are_answered_by_number(store: Store) -> None:
    found = store.query(["How do I read guitar", " ", POOL[2], "\u200b"], top=2)
    assert found["query"].tolist() == [0, 0, 2, 2]
    assert found["rank"].tolist() == [1, 2, 1, 2]
    assert found["doc_id"][2] == "1"
    alone = store.query("How do I read guitar", top=2)
    np.testing.assert_allclose(found["probability"][:2], alone["probability"], atol=1e-5)
    for nothing in ([], "", [" ", ""]):
        assert store.query(nothing).empty
        assert store.query(nothing).columns.tolist() == found.columns.tolist()
    assert len(store.query(POOL[2])) == 10


def test_an_empty_store_answers_nothing(maker: Maker, tmp_path: Path) -> None:
    store = maker.store(tmp_path / "store")
    assert store.query(POOL[0]).empty
    assert store.clusters().empty
    assert store.changes().empty
    store.update(table({"1": ("", 0), "2": (" ", 0)}))
    assert store.query(POOL[0]).empty
    assert (store.status()["documents"], store.status()["unique_texts"]) == (2, 0)
    store.update(table({"3": (POOL[0], 0)}))
    assert store.query(POOL[0])["doc_id"].tolist() == ["3"]
    store.delete(["1", "2", "3"])
    assert store.query(POOL[0]).empty


def test_documents_may_come_from_another_kind_of_table(store: Store) -> None:
    """The strings of pandas and polars are other Arrow types than those of a CSV file."""
    rows = table(DOCUMENTS)
    large = rows.cast(
        pa.schema([(n, pa.large_string() if n != "score" else pa.int64()) for n in rows.column_names])
    )
    assert store.update(large).counts["unchanged"] == len(DOCUMENTS)
    assert store.update(rows.to_pandas()).counts["unchanged"] == len(DOCUMENTS)
    assert store.update(table(TONIGHT).to_pandas()).counts["new"] == 7

"""Template families in runs and stores; `corpus/test_templates.py` is about what they are."""

from __future__ import annotations

from pathlib import Path

from dupmine import Miner
from dupmine.corpus.templates import LEAST_OF_NUMBERS

from .helpers.stores import Maker, numbered, require_equal, table, tables
from .helpers.tiny_models import TinyModels

ITEMS = [f"Where is item {i}?" for i in range(3 * LEAST_OF_NUMBERS)]
QUESTIONS = ["How do I learn Python?", "How can I learn Python?", "Where do I find item number 7?"]


def test_a_family_adds_no_pairs_and_no_clusters(miner: Miner) -> None:
    result = miner.mine([*ITEMS, *QUESTIONS])
    counts = result.manifest["counts"]
    assert (counts["template_families"], counts["texts_in_templates"]) == (1, len(ITEMS))
    assert counts["candidates"] <= 2  # those of the questions, and item 7's
    clusters = [set(members["text"]) for members in result]
    assert set(QUESTIONS[:2]) in clusters
    assert all(len(members.intersection(ITEMS)) <= 1 for members in clusters)


def test_fewer_texts_are_compared_as_any_others(miner: Miner) -> None:
    counts = miner.mine(ITEMS[: LEAST_OF_NUMBERS - 1]).manifest["counts"]
    assert (counts["template_families"], counts["texts_in_templates"]) == (0, 0)
    assert counts["candidates"] > 1000  # of 1,176 pairs


def test_a_store_with_families_equals_a_run(tiny: TinyModels, tmp_path: Path) -> None:
    settings = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"], "threshold": 0.45}
    maker = Maker.of(tmp_path / "blank", floor=0.8, **settings)
    documents = numbered([*QUESTIONS, *ITEMS[: LEAST_OF_NUMBERS - 5]])
    store = maker.store(tmp_path / "store", documents)

    def require_same() -> None:
        require_equal(tables(store.export(tmp_path / "out", overwrite=True)), tables(maker.mine(documents)))

    require_same()
    more = numbered([*ITEMS[LEAST_OF_NUMBERS - 5 : LEAST_OF_NUMBERS + 5], "item 7, where?"], start=1000)
    documents |= more  # a family from now on
    assert store.update(table(more)).counts["template_families"] == 1
    require_same()
    another = numbered(["Where is item 123?", "Who sells item no. 8?"], start=2000)
    documents |= another
    store.update(table(another))
    require_same()
    gone = list(documents)[10:30]  # no family any more
    documents = {doc_id: document for doc_id, document in documents.items() if doc_id not in gone}
    assert store.delete(gone).counts["template_families"] == 0
    require_same()

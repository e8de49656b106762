"""The whole run with the models that come with the package, on planted clusters."""

from __future__ import annotations

import random
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
import torch

from dupmine import Miner, MiningResult, Store
from dupmine.corpus.unique import normalised_key
from dupmine.schema import Floats

from .helpers.planted import plant

SMALL = 1200


def partition(result: MiningResult) -> set[frozenset[str]]:
    """Return the clusters as sets of ids."""
    members = result.clusters.groupby("cluster_id")["doc_id"]
    return {frozenset(ids) for _, ids in members}


def planted_partition(gold: list[int]) -> set[frozenset[str]]:
    members = pd.Series(map(str, range(len(gold)))).groupby(gold)
    return {frozenset(ids) for _, ids in members if len(ids) > 1}


@pytest.fixture(scope="module")
def small(miner: Miner) -> MiningResult:
    return miner.mine(plant(SMALL)[0])


def test_planted_clusters_are_found_exactly(miner: Miner) -> None:
    texts, gold = plant(4000)
    result = miner.mine(texts)
    assert partition(result) == planted_partition(gold)
    counts = result.manifest["counts"]
    assert counts["documents"] == 4000
    assert counts["unique_texts"] + counts["exact_duplicates"] == 4000
    assert counts["removed_documents"] == 4000 - len(set(gold))
    assert len(result.deduplicated()) == len(set(gold))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_finds_them_too() -> None:
    texts, gold = plant(SMALL)
    result = Miner(device="cuda", precision="fp32", progress=False).mine(texts)
    assert partition(result) == planted_partition(gold)


def test_the_order_of_the_input_changes_only_the_order_of_rows(miner: Miner, small: MiningResult) -> None:
    frame = pd.DataFrame({"id": [str(i) for i in range(SMALL)], "text": plant(SMALL)[0]})
    shuffled = frame.iloc[random.Random(1).sample(range(SMALL), SMALL)]
    result = miner.mine(shuffled)
    pd.testing.assert_frame_equal(result.clusters, small.clusters, check_exact=True)
    pd.testing.assert_frame_equal(result.pairs, small.pairs, check_exact=True)
    assert set(result.deduplicated()["doc_id"]) == set(small.deduplicated()["doc_id"])


@pytest.mark.parametrize("batch_tokens", [1024, 16384])
def test_the_batch_size_changes_nothing(small: MiningResult, batch_tokens: int) -> None:
    result = Miner(small.settings, batch_tokens=batch_tokens, progress=False).mine(plant(SMALL)[0])
    pd.testing.assert_frame_equal(result.clusters, small.clusters, check_exact=True)
    pd.testing.assert_frame_equal(result.pairs, small.pairs, check_exact=True)


def test_what_else_is_in_a_batch_changes_no_score(miner: Miner, small: MiningResult) -> None:
    texts = dict(zip(map(str, range(SMALL)), plant(SMALL)[0], strict=True))
    some = small.pairs[small.pairs["decided_by"] == "cross-encoder"].iloc[::97]
    for left, right, expected in zip(some["left_id"], some["right_id"], some["probability"], strict=True):
        first, second = sorted([texts[left], texts[right]], key=normalised_key)
        assert miner.score_pairs([(first, second)])[0] == np.float32(expected)


def test_an_ivf_index_finds_what_a_flat_one_finds(small: MiningResult) -> None:
    result = Miner(small.settings, index="ivf", nlist=16, target_recall=1.0, progress=False).mine(
        plant(SMALL)[0]
    )
    assert result.manifest["index"] == {"kind": "ivf", "nlist": 16, "nprobe": 16, "recall": 1.0}
    assert partition(result) == partition(small)


def test_texts_go_into_a_faiss_index(miner: Miner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors that FAISS gets from runs, links, updates and queries, each with the defaults."""
    sizes: list[int] = []
    add = faiss.IndexFlatIP.add

    def counting(index: faiss.IndexFlatIP, vectors: Floats) -> None:
        add(index, vectors)
        sizes.append(index.ntotal)

    def count() -> int:
        total = max(sizes)
        sizes.clear()
        return total

    monkeypatch.setattr(faiss.IndexFlatIP, "add", counting)
    texts = plant(60)[0]
    unique = miner.mine(texts).manifest["counts"]["unique_texts"]
    assert count() == unique > 20
    miner.rank("How are you?", texts)
    assert count() == len(texts)
    miner.link(["How are you?", "how are YOU?", "Where is Mars?"], texts)
    assert count() == 2
    store = Store.create(tmp_path / "store", miner.settings, progress=False)
    vars(store)["models"] = miner.models
    frame = pd.DataFrame({"id": range(len(texts)), "text": texts})
    store.update(frame)
    assert count() == unique
    store.update(pd.DataFrame({"id": [100], "text": ["Where is Mars?"]}))
    assert count() == 1
    store.query("How are you?")
    assert count() == unique + 1

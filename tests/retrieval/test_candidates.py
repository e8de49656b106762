"""Candidate pairs against brute force: the same pairs, in the same order, with the same cosines."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dupmine.disk.work import Work
from dupmine.errors import ModelError
from dupmine.progress import SILENT
from dupmine.retrieval import candidates, index, nearest
from dupmine.retrieval.candidates import SearchFacts, find_candidates, pair_cosines
from dupmine.retrieval.encoder import Embeddings
from dupmine.schema import CandidatePairs
from dupmine.settings import RetrievalSettings

from ..helpers.vectors import Pairs, as_dict, brute_force, grouped_vectors, random_vectors, unit

CPU = torch.device("cpu")


def find(
    embeddings: Embeddings, options: RetrievalSettings, asking: list[int] | None = None
) -> tuple[CandidatePairs, SearchFacts]:
    rows = None if asking is None else np.array(asking, np.int64)
    return find_candidates(embeddings, options, CPU, SILENT, rows=rows)


def found(embeddings: Embeddings, options: RetrievalSettings, asking: list[int] | None = None) -> Pairs:
    return as_dict(find(embeddings, options, asking)[0])


def exact(**values: object) -> RetrievalSettings:
    return RetrievalSettings.model_validate({"index": "flat", **values})


def listed(nlist: int, nprobe: int, **values: object) -> RetrievalSettings:
    return RetrievalSettings.model_validate({"index": "ivf", "nlist": nlist, "nprobe": nprobe, **values})


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few vectors take many chunks, questions and rounds of pruning."""
    monkeypatch.setattr(candidates, "CHUNK", 50)
    monkeypatch.setattr(candidates, "_MEETINGS", 50 * 7)
    monkeypatch.setattr(nearest, "_PENDING", 50)
    monkeypatch.setattr(nearest, "_KEPT", 200)


@pytest.mark.parametrize("dim", [2, 16, 24, 33, 384])
@pytest.mark.parametrize("floor", [-1.0, -0.2, 0.0, 0.6])
def test_equals_brute_force(dim: int, floor: float) -> None:
    embeddings = np.concatenate([random_vectors(80, dim), grouped_vectors([20, 5], dim, noise=0.4)])
    expected = brute_force(embeddings, floor)
    assert found(embeddings, exact(floor=floor)) == expected
    assert found(embeddings, listed(10, 10, floor=floor)) == expected
    assert expected


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.integers(1, 40),
    st.sampled_from([-1.0, 0.5, 0.9]),
    st.tuples(st.integers(1, 90), st.integers(1, 5000)),
)
def test_groups_and_blocks_of_any_size(
    seed: int, sizes: list[int], most: int, floor: float, block: tuple[int, int]
) -> None:
    embeddings = grouped_vectors(sizes, seed=seed)
    options = exact(floor=floor, max_k=most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "CHUNK", block[0])
        patch.setattr(candidates, "_MEETINGS", block[1])
        patch.setattr(nearest, "_PENDING", 20)
        patch.setattr(nearest, "_KEPT", 100)
        assert found(embeddings, options) == brute_force(embeddings, floor, most)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(60)))
def test_the_order_of_the_rows_only_relabels_the_pairs(order: list[int]) -> None:
    embeddings = grouped_vectors([20, 10, 5, 5, 20], noise=0.2)
    options = exact(floor=0.6, max_k=7)
    usual, pairs = found(embeddings, options), found(embeddings[order], options)
    back = [(order[a], order[b], cosine) for (a, b), cosine in pairs.items()]
    assert sorted((min(a, b), max(a, b), c) for a, b, c in back) == [(*pair, c) for pair, c in usual.items()]
    assert len(set(usual.values())) == len(usual), "ties would go by the order"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("tiny_blocks")
def test_many_blocks_and_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = np.concatenate([grouped_vectors([150, 40], noise=0.1), random_vectors(300, seed=1)])
    in_range, used = index.Index._in_range, set()

    def watched(*arguments: Any) -> Any:
        used.add(faiss.omp_get_max_threads())
        return in_range(*arguments)

    monkeypatch.setattr(index.Index, "_in_range", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert found(embeddings, exact(floor=0.5, max_k=12)) == brute_force(embeddings, 0.5, 12)
        assert used == {threads}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["PQ8x4fs,RFlat", "IVF4,Flat"])
def test_an_index_without_a_range_search_grows_what_it_asks_for(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 neighbours are more than are asked for first; what is far from all others has none."""
    monkeypatch.setattr(index.Index, "_in_range", index.Index._grow)
    embeddings = np.concatenate([grouped_vectors([300], noise=0.02), random_vectors(50, seed=1)])
    pairs, facts = find(embeddings, exact(index=kind, floor=0.9, nprobe=4 if "IVF" in kind else None))
    expected = brute_force(embeddings, 0.9)
    assert as_dict(pairs).items() <= expected.items()
    assert len(pairs) >= 0.99 * len(expected) >= 0.99 * 300 * 299 / 2
    assert facts.description["recall"] == pytest.approx(len(pairs) / len(expected), abs=1e-3)


def test_five_thousand_near_identical_texts() -> None:
    embeddings = grouped_vectors([5000], noise=0.001)
    pairs, facts = find(embeddings, exact(floor=0.6, max_k=3))
    vectors = embeddings.astype(np.float64)
    expected = set()
    for row in range(5000):
        cosines = np.clip((vectors @ vectors[row]).astype(np.float32), -1, 1)
        near = np.flatnonzero(cosines >= np.partition(cosines, -4)[-4])
        nearest_first = near[np.argsort(-cosines[near], kind="stable")]
        others = [other for other in nearest_first.tolist() if other != row][:3]
        expected |= {(min(row, other), max(row, other)) for other in others}
    assert set(as_dict(pairs)) == expected
    assert facts.capped == 5000


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("floor", [-1.0, 0.5, 0.9])
@pytest.mark.parametrize(
    ("rows", "others"),
    [
        (range(120), range(120, 200)),
        (range(0, 200, 3), range(60, 170)),
        (range(9), range(200)),
        ((), (1, 2)),
        ((4,), ()),
    ],
)
@pytest.mark.parametrize("kind", ["flat", "IVF4,Flat"])
def test_pairs_between_two_sides(kind: str, rows: Iterable[int], others: Iterable[int], floor: float) -> None:
    """Some texts may be on both; the index holds one side, and pairs inside a side do not count."""
    embeddings = grouped_vectors([70, 70, 30, 30], noise=0.3)
    one, two = set(rows), set(others)
    expected = {
        (a, b): cosine
        for (a, b), cosine in brute_force(embeddings, floor).items()
        if (a in one and b in two) or (a in two and b in one)
    }
    sides = [np.array(sorted(side), np.int64) for side in (one, two)]
    options = exact(index=kind, floor=floor, nprobe=4 if "IVF" in kind else None)
    pairs, facts = find_candidates(embeddings, options, CPU, SILENT, rows=sides[0], others=sides[1])
    assert as_dict(pairs) == expected
    assert facts.description.get("recall", 1.0) == 1.0
    capped, _ = find_candidates(
        embeddings, exact(floor=floor, max_k=3), CPU, SILENT, rows=sides[0], others=sides[1]
    )
    nearest_first = sorted(expected, key=lambda pair: (-expected[pair], pair))
    for row in one:
        own = [pair for pair in nearest_first if row in pair][:3]
        assert set(own) <= set(as_dict(capped)) | {p for p in own if expected[p] == expected[own[-1]]}
    assert set(as_dict(capped)) <= set(expected)


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("most", [1, 3, 29, 30, 500])
def test_of_identical_vectors_the_lower_rows_are_nearer(most: int) -> None:
    same = np.repeat(random_vectors(1), 30, axis=0)
    embeddings = np.concatenate([same, random_vectors(50, seed=1)])
    pairs = found(embeddings, exact(floor=0.99, max_k=most))
    assert pairs == brute_force(embeddings, 0.99, most)
    assert set(pairs) == {(a, b) for a, b in combinations(range(30), 2) if a < most}


@pytest.mark.usefixtures("tiny_blocks")
def test_what_is_kept_is_bounded_by_the_result_not_by_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    most_kept = 0
    settle = nearest.Nearest._settle

    def watched(self: nearest.Nearest) -> None:
        nonlocal most_kept
        settle(self)
        most_kept = max(most_kept, sum(map(len, self._kept)))

    monkeypatch.setattr(nearest.Nearest, "_settle", watched)
    embeddings = np.concatenate([grouped_vectors([300], noise=0.01), random_vectors(100, seed=1)])
    pairs, facts = find(embeddings, exact(floor=0.9, max_k=4))
    assert as_dict(pairs) == brute_force(embeddings, 0.9, 4)
    assert facts.capped == 300
    assert len(pairs) < 1200
    assert most_kept < 5000 < 300 * 299 // 2


def test_the_cap_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    embeddings = np.concatenate([grouped_vectors([60], noise=0.01), random_vectors(40, seed=1)])
    with caplog.at_level(logging.WARNING):
        pairs, facts = find(embeddings, exact(floor=0.95, max_k=20))
    assert facts == SearchFacts({"kind": "flat"}, capped=60)
    assert caplog.messages == ["60 texts have more than 20 neighbours above the floor; raise retrieval.max_k"]
    assert as_dict(pairs) == brute_force(embeddings, 0.95, 20)
    caplog.clear()
    pairs, facts = find(embeddings, exact(floor=0.95, max_k=59))
    assert (facts.capped, caplog.messages) == (0, [])
    assert set(as_dict(pairs)) == set(combinations(range(60), 2))


@pytest.mark.parametrize(
    "options",
    [
        exact(floor=0.5, index="auto"),
        exact(floor=0.5),
        listed(50, 3, floor=0.5),
        exact(floor=0.5, index="HNSW8"),
    ],
)
def test_few_rows(options: RetrievalSettings) -> None:
    one = random_vectors(1)
    for embeddings, expected in (
        (one[:0], []),
        (one, []),
        (np.concatenate([one, one]), [(0, 1)]),
        (np.concatenate([one, -one]), []),
        (np.concatenate([one, -one, one]), [(0, 2)]),
    ):
        pairs, facts = find(embeddings, options)
        assert list(as_dict(pairs)) == expected
        assert facts.capped == 0
        assert [str(side.dtype) for side in (pairs.left, pairs.right, pairs.cosine)] == [
            "int64",
            "int64",
            "float32",
        ]


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("most", [3, 1000])
@pytest.mark.parametrize("asking", [[], [5], [3, 250, 251, 299], list(range(100, 200)), list(range(300))])
def test_pairs_of_some_rows(asking: list[int], most: int) -> None:
    embeddings = np.concatenate([grouped_vectors([60, 30, 10], noise=0.1), random_vectors(200, seed=1)])
    embeddings = embeddings[np.random.default_rng(3).permutation(300)]
    expected = brute_force(embeddings, 0.6, most, asking)
    assert found(embeddings, exact(floor=0.6, max_k=most), asking) == expected
    lists = listed(9, 9, floor=0.6, max_k=most)
    assert found(embeddings, lists, asking) == expected


def test_auto_is_flat_while_that_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "FLAT_MOST", 100)
    embeddings = random_vectors(400)
    assert find(embeddings, exact(index="auto"), list(range(25)))[1].description == {"kind": "flat"}
    assert find(embeddings, exact(index="auto"), list(range(26)))[1].description["kind"] == "ivf"
    assert find(embeddings[:100], exact(index="auto"))[1].description == {"kind": "flat"}
    assert find(embeddings[:101], exact(index="auto"))[1].description["kind"] == "ivf"


def test_a_pair_at_the_floor_is_a_candidate() -> None:
    embeddings = unit(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    at = float(pair_cosines(embeddings, np.array([0]), np.array([1]))[0])
    above = float(np.nextafter(np.float32(at), np.float32(1)))
    assert list(found(embeddings, exact(floor=at))) == [(0, 1), (1, 2)]
    assert found(embeddings, exact(floor=above)) == {}


def test_vectors_that_are_not_finite_are_an_error() -> None:
    embeddings = random_vectors(5)
    embeddings[3, 2] = np.nan
    with pytest.raises(ModelError, match="that are not finite"):
        find(embeddings, exact())


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("index", ["flat", "ivf"])
def test_an_interrupted_search_goes_on(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = np.concatenate([grouped_vectors([90], noise=0.02), random_vectors(300, seed=1)])
    options = exact(floor=0.5, max_k=6, index=index)
    expected, facts = find(embeddings, options)

    class Interrupted(nearest.Nearest):
        shards = 0

        def take(self) -> nearest.Found:
            Interrupted.shards += 1
            if Interrupted.shards == 4:
                raise KeyboardInterrupt
            return super().take()

    def search() -> Work:
        work = Work(tmp_path)
        pairs, again = find_candidates(embeddings, options, CPU, SILENT, work=work)
        assert (as_dict(pairs), again) == (as_dict(expected), facts)
        return work

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "Nearest", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            search()
    resumed = search()
    assert resumed.found == 3
    assert resumed.made > 2
    monkeypatch.setattr(candidates, "train_index", None)
    assert search().made == 0


def test_pair_cosines_do_not_depend_on_the_batch() -> None:
    embeddings = random_vectors(60, dim=384)
    left, right = (side.ravel() for side in np.mgrid[:60, :60])
    whole = pair_cosines(embeddings, left, right)
    vectors = embeddings.astype(np.float64)
    assert whole.tolist() == np.clip((vectors @ vectors.T).astype(np.float32), -1, 1).ravel().tolist()
    some = np.random.default_rng(0).choice(len(left), 777)
    assert pair_cosines(embeddings, left[some], right[some]).tolist() == whole[some].tolist()
    assert pair_cosines(embeddings, right[some], left[some]).tolist() == whole[some].tolist()
    assert pair_cosines(embeddings, left[:0], right[:0]).tolist() == []

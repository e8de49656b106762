"""Stable cluster ids, and a log from which the clusters can be rebuilt."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupmine.store.changes import CHANGES, EVENTS, MEMBERS, find_changes, keep_ids, log_of, replay

EMPTY = MEMBERS.empty_table()
GUIDE = Path(__file__).parents[2] / "docs" / "changes.md"

Clusters = dict[int, str]


def members(clusters: Clusters) -> pa.Table:
    """Make a table of clusters given as id: "documents", one letter each; the first is the representative."""
    lines = [(d, c, d == letters[0]) for c, letters in clusters.items() for d in letters]
    return pa.table([list(column) for column in zip(*lines, strict=True)] or [[], [], []], schema=MEMBERS)


def shuffled(table: pa.Table, random: Random) -> pa.Table:
    order = list(range(len(table)))
    random.shuffle(order)
    return table.take(pa.array(order, pa.int64()))


def in_order(table: pa.Table) -> pa.Table:
    return table.sort_by([("cluster_id", "ascending"), ("doc_id", "ascending")])


def with_ids(table: pa.Table, ids: Any) -> pa.Table:
    return table.set_column(1, MEMBERS.field(1), pa.array(ids))


def kept(before: Clusters, after: Clusters, next_id: int = 10) -> tuple[list[int], int]:
    """Return the stable ids of the clusters of `after`, in order, and the next free id."""
    ids, next_id = keep_ids(members(before), members(after), next_id)
    return list(dict.fromkeys(ids.tolist())), next_id


def events(before: Clusters, after: Clusters) -> list[tuple[Any, ...]]:
    """Return the rows of the log as tuples, with lists of documents as words."""
    changes = find_changes(members(before), members(after))
    assert changes.schema.equals(CHANGES, check_metadata=True)
    changes.validate(full=True)
    return [
        (line["event"], line["cluster_id"], line["other_id"], *_words(line), line["representative_id"])
        for line in changes.to_pylist()
    ]


def _words(line: dict[str, Any]) -> tuple[str, str]:
    return "".join(line["joined"]), "".join(line["left"])


@pytest.mark.parametrize(
    ("before", "after", "ids"),
    [
        pytest.param({}, {5: "ab", 2: "cd"}, [10, 11], id="fresh ids in order of appearance"),
        pytest.param({4: "ab", 3: "cd"}, {0: "dc", 1: "ba"}, [3, 4], id="unchanged"),
        pytest.param({4: "ab"}, {0: "xy", 1: "abz"}, [10, 4], id="grown"),
        pytest.param({4: "abc"}, {0: "bc"}, [4], id="shrunk"),
        pytest.param({4: "abcdef", 3: "xy"}, {0: "xyabcdef"}, [3], id="merged: the older id wins"),
        pytest.param({4: "abcde"}, {0: "ab", 1: "cde"}, [10, 4], id="split: the larger part keeps it"),
        pytest.param({4: "cabd"}, {0: "ab", 1: "cd"}, [10, 4], id="tie: the part of the representative"),
        pytest.param({4: "xabcd"}, {9: "cd", 1: "ab"}, [4, 10], id="tie without it: what comes first"),
        pytest.param({1: "abc", 2: "xyz"}, {0: "abx", 1: "cyz"}, [1, 2], id="redistributed"),
        pytest.param({1: "abcd", 2: "xyz"}, {0: "abxyz", 1: "cd"}, [1, 10], id="merged and split at once"),
        pytest.param({1: "ab", 2: "cd", 3: "ef"}, {0: "bc", 1: "de"}, [1, 3], id="a chain of successors"),
    ],
)
def test_ids_are_stable(before: Clusters, after: Clusters, ids: list[int]) -> None:
    assert kept(before, after) == (ids, 10 + sum(i >= 10 for i in ids))


def test_an_id_that_was_not_given_out_is_refused() -> None:
    with pytest.raises(AssertionError, match="next_id"):
        kept({10: "ab"}, {0: "ab"})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {7: "ba"}, [("created", 7, None, "ab", "", "b")]),
        ({7: "ab"}, {7: "abdc"}, [("grew", 7, None, "cd", "", None)]),
        ({7: "abc"}, {7: "ab"}, [("shrank", 7, None, "", "c", None)]),
        ({7: "abc"}, {}, [("dissolved", 7, None, "", "abc", None)]),
        ({7: "abc"}, {7: "bac"}, [("representative_changed", 7, None, "", "", "b")]),
        (
            {7: "abc"},
            {7: "bc"},
            [("shrank", 7, None, "", "a", None), ("representative_changed", 7, None, "", "", "b")],
        ),
        ({3: "xy", 4: "ab"}, {3: "xyab"}, [("merged", 3, 4, "ab", "", None)]),
        ({3: "xy", 4: "abc"}, {3: "xyab"}, [("merged", 3, 4, "ab", "c", None)]),
        ({3: "xyz"}, {3: "xz", 8: "y"}, [("split", 8, 3, "y", "", "y")]),
        (
            {3: "wxyz"},
            {3: "wx", 8: "qyz"},
            [("created", 8, None, "q", "", "q"), ("split", 8, 3, "yz", "", None)],
        ),
        ({3: "xyz", 4: "ab"}, {3: "xy", 4: "abz"}, [("split", 4, 3, "z", "", None)]),
    ],
    ids=lambda value: "" if isinstance(value, dict) else " ".join(line[0] for line in value),
)
def test_events(before: Clusters, after: Clusters, expected: list[Any]) -> None:
    assert events(before, after) == expected


def test_two_clusters_redistributed_in_new_ones() -> None:
    """4 ends in 3, which holds most of it; the rest of both is a new cluster."""
    before = {3: "abcd", 4: "vwxyz"}
    after = {0: "abcvwx", 1: "dyz"}
    assert kept(before, after, 5) == ([3, 5], 6)
    assert events(before, {3: "abcvwx", 5: "dyz"}) == [
        ("merged", 3, 4, "vwx", "", None),
        ("split", 5, 3, "d", "", "d"),
        ("split", 5, 4, "yz", "", None),
    ]


def test_a_document_moves_in_as_another_leaves_and_one_comes() -> None:
    assert events({1: "abc", 2: "xyz"}, {1: "ab", 2: "ncy"}) == [
        ("split", 2, 1, "c", "", None),
        ("grew", 2, None, "n", "", None),
        ("shrank", 2, None, "", "xz", None),
        ("representative_changed", 2, None, "", "", "n"),
    ]


def test_an_ended_cluster_without_a_larger_part_goes_where_its_representative_is_or_to_the_lower_id() -> None:
    before = {1: "a", 2: "x", 3: "pqr"}
    assert events(before, {1: "aq", 2: "xp"})[0] == ("split", 1, 3, "q", "", None)
    assert events(before, {2: "xr", 1: "aq"})[0] == ("merged", 1, 3, "q", "p", None)


def test_tables_of_no_chunks_and_of_many() -> None:
    none = pa.table([pa.chunked_array([], field.type) for field in MEMBERS], schema=MEMBERS)
    table = members({1: "ab", 2: "cde"})
    many = pa.concat_tables([table.slice(0, 1), none, table.slice(1, 3), table.slice(4)])
    assert keep_ids(none, many, 0)[0].tolist() == [0, 0, 1, 1, 1]
    made, gone = find_changes(none, many), find_changes(many, none)
    assert replay([made]).equals(table)
    cut = pa.concat_tables([made.slice(0, 1), made.slice(1)])
    assert replay([cut]).equals(table)
    assert len(replay([made, gone])) == len(replay([])) == 0


@st.composite
def nights(draw: st.DrawFn) -> list[pa.Table]:
    """Draw a sequence of clusterings of the same few documents, with provisional numbers."""
    n_documents = draw(st.integers(1, 12))
    number = st.integers(-1, draw(st.integers(0, 5)))
    states = []
    for _ in range(draw(st.integers(1, 6))):
        numbers = draw(st.lists(number, min_size=n_documents, max_size=n_documents))
        order = draw(st.permutations(range(n_documents)))
        groups: dict[int, list[int]] = {}
        for document in order:
            if numbers[document] >= 0:
                groups.setdefault(numbers[document], []).append(document)
        lines = [(f"d{d}", c, d == group[0]) for c, group in groups.items() for d in group]
        states.append(pa.table([list(c) for c in zip(*lines, strict=True)] or [[], [], []], schema=MEMBERS))
    return states


def with_stable_ids(states: Iterable[pa.Table]) -> list[pa.Table]:
    """Give a sequence of clusterings stable ids, from an empty start on."""
    tables, next_id = [EMPTY], 0
    for state in states:
        ids, next_id = keep_ids(tables[-1], state, next_id)
        tables.append(with_ids(state, ids))
    return tables


def logs(tables: list[pa.Table]) -> list[pa.Table]:
    return [find_changes(old, new) for old, new in pairwise(tables)]


def steps(tables: list[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table, pa.Table]]:
    return ((before, after, find_changes(before, after)) for before, after in pairwise(tables))


def by_document(table: pa.Table) -> dict[str, int]:
    return dict(zip(table["doc_id"].to_pylist(), table["cluster_id"].to_pylist(), strict=True))


def by_cluster(table: pa.Table) -> dict[int, frozenset[str]]:
    of = by_document(table)
    return {c: frozenset(d for d in of if of[d] == c) for c in of.values()}


def representatives(table: pa.Table) -> dict[int, str]:
    lines = table.filter(table["is_representative"]).to_pylist()
    return {line["cluster_id"]: line["doc_id"] for line in lines}


@given(nights())
def test_replaying_the_log_rebuilds_every_night(states: list[pa.Table]) -> None:
    tables = with_stable_ids(states)
    changes = logs(tables)
    for night, table in enumerate(tables):
        assert replay(changes[:night]).equals(in_order(table))
    assert replay([find_changes(EMPTY, tables[-1])]).equals(in_order(tables[-1]))


@given(nights(), st.data())
def test_the_log_between_any_two_nights_leads_from_one_to_the_other(
    states: list[pa.Table], data: st.DataObject
) -> None:
    """A night may be skipped, and a night may be taken back."""
    tables = with_stable_ids(states)
    first, second = (data.draw(st.sampled_from(tables)) for _ in range(2))
    assert replay([find_changes(EMPTY, first), find_changes(first, second)]).equals(in_order(second))


@given(nights())
def test_ids_follow_their_documents(states: list[pa.Table]) -> None:
    """Successors are found by plain counting, cluster by cluster."""
    tables, next_id = with_stable_ids(states), 0
    for before, after in pairwise(tables):
        old, new, was_representative_of = by_cluster(before), by_cluster(after), representatives(before)
        successors: dict[int, int] = {}
        for a in sorted(old):
            shared = {
                b: (len(old[a] & new[b]), was_representative_of[a] in new[b]) for b in new if old[a] & new[b]
            }
            if shared:
                successors.setdefault(max(shared, key=lambda b: shared[b]), a)
        fresh = iter(range(next_id, next_id + len(new)))
        assert list(new) == [successors[b] if b in successors else next(fresh) for b in new]
        next_id = next(fresh, next_id + len(new))


@given(nights())
def test_an_unchanged_cluster_keeps_its_id_and_an_ended_id_never_returns(states: list[pa.Table]) -> None:
    seen: set[int] = set()
    ended: set[int] = set()
    tables = with_stable_ids(states)
    for before, after in pairwise(tables):
        old, new = by_cluster(before), by_cluster(after)
        for cluster, documents in old.items():
            assert documents not in new.values() or new[cluster] == documents
        ended |= old.keys() - new.keys()
        assert not ended & new.keys()
        assert all(cluster > max(seen, default=-1) for cluster in new.keys() - seen)
        seen |= new.keys()


@given(nights())
def test_nothing_changed_is_no_event(states: list[pa.Table]) -> None:
    for table in with_stable_ids(states):
        assert find_changes(table, table).equals(CHANGES.empty_table())


@given(nights(), st.randoms(use_true_random=False))
def test_the_order_of_lines_does_not_matter(states: list[pa.Table], random: Random) -> None:
    before = with_stable_ids(states[:1])[-1]
    after, next_id = states[-1], 10
    ids = keep_ids(before, after, next_id)[0]
    assert np.array_equal(keep_ids(shuffled(before, random), after, next_id)[0], ids)
    after = with_ids(after, ids)
    changes = find_changes(before, after)
    assert find_changes(shuffled(before, random), shuffled(after, random)).equals(changes)
    columns = changes["cluster_id"].to_pylist(), changes["event"].to_pylist(), changes["other_id"].to_pylist()
    keys = [(c, EVENTS.index(e), -1 if o is None else o) for c, e, o in zip(*columns, strict=True)]
    assert keys == sorted(set(keys))


@given(nights())
def test_every_document_that_moved_now_representative_in_one_list(states: list[pa.Table]) -> None:
    for before, after, changes in steps(with_stable_ids(states)):
        old, new = by_document(before), by_document(after)
        joined = {d: line["cluster_id"] for line in changes.to_pylist() for d in line["joined"]}
        left = {d for line in changes.to_pylist() for d in line["left"]}
        assert joined == {d: c for d, c in new.items() if old.get(d) != c}
        assert left == old.keys() - new.keys()
        named = pc.sum(pc.list_value_length(changes["joined"])).as_py() or 0
        gone = pc.sum(pc.list_value_length(changes["left"])).as_py() or 0
        assert (named, gone) == (len(joined), len(left))


@given(nights())
def test_every_event_says_what_happened(states: list[pa.Table]) -> None:
    for before, after, changes in steps(with_stable_ids(states)):
        old, new, now_representative = by_cluster(before), by_cluster(after), representatives(after)
        for line in changes.to_pylist():
            _check(line, old, new)
        named = [(line["cluster_id"], line["representative_id"]) for line in changes.to_pylist()]
        was_representative_of = representatives(before)
        assert [pair for pair in named if pair[1]] == sorted(
            (c, d) for c, d in now_representative.items() if was_representative_of.get(c) != d
        )
        ended = [line["other_id"] for line in changes.to_pylist() if line["event"] == "merged"]
        ended += [line["cluster_id"] for line in changes.to_pylist() if line["event"] == "dissolved"]
        assert sorted(ended) == sorted(old.keys() - new.keys())


def _check(line: dict[str, Any], old: dict[int, frozenset[str]], new: dict[int, frozenset[str]]) -> None:
    event, cluster, other = line["event"], line["cluster_id"], line["other_id"]
    joined, left = set(line["joined"]), set(line["left"])
    from_none = not any(joined & documents for documents in old.values())
    lives, is_new = cluster in new, cluster not in old
    assert {
        "created": is_new and lives and bool(joined) and from_none and not left,
        "grew": not is_new and lives and bool(joined) and from_none and not left,
        "shrank": not is_new and lives and not joined and left <= old[cluster],
        "dissolved": not lives and left == set(old.get(cluster, ())),
        "merged": other not in new and cluster < (other or 0) and joined | left <= old.get(other, set()),
        "split": joined <= old.get(other, set()) and joined <= new.get(cluster, set()) and not left,
        "representative_changed": not is_new and lives and not joined and not left,
    }[event], line
    assert (other is not None) == (event in {"merged", "split"})
    assert joined or left or event == "representative_changed"
    if event == "merged":
        assert joined == old[other] & new[cluster]
        assert len(joined) == max(len(old[other] & documents) for documents in new.values())


def test_parquet_holds_a_log_and_its_descriptions(tmp_path: Path) -> None:
    changes = find_changes(EMPTY, members({1: "ab"}))
    pq.write_table(changes, tmp_path / "changes.parquet")
    back = pq.read_table(tmp_path / "changes.parquet")
    assert back.equals(changes)
    assert replay([back]).equals(members({1: "ab"}))
    for schema in (back.schema, MEMBERS):
        assert all(field.metadata[b"description"] for field in schema)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def a_week() -> list[pa.Table]:
    nights = [
        {0: "ab", 1: "xyz", 2: "pq", 3: "mn"},
        {0: "abc", 1: "zxy", 2: "p", 3: "mnq"},
        {0: "abzxyc", 2: "mn"},
        {0: "ab", 1: "zxyc", 2: "mno"},
        {0: "cba"},
    ]
    return with_stable_ids(members(night) for night in nights)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pa.Table:
    """Write the log of a week as a store does; return the last night."""
    monkeypatch.chdir(tmp_path)
    folders = [Path("questions.store") / name for name in ("changes", "generations")]
    for folder in folders:
        folder.mkdir(parents=True)
    week = a_week()
    for generation, changes in enumerate(logs(week), start=1):
        for copy in ("", ".copy"):
            pq.write_table(log_of(changes, generation), folders[0] / f"{generation:08}{copy}.parquet")
            (folders[1] / f"{generation:08}{copy}.json").touch()
    merged = [pq.read_table(folders[0] / f"{number:08}.parquet") for number in (3, 4)]
    pq.write_table(pa.concat_tables(merged), folders[0] / "00000004.parquet")  # and 3 is kept for a rollback
    interrupted = log_of(find_changes(week[-1], EMPTY), 99)  # of no committed generation
    pq.write_table(pa.concat_tables([*merged, interrupted]), folders[0] / "00000099.parquet")
    return in_order(week[-1])


def test_the_guide_replays_in_python(example: pa.Table) -> None:
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    assert names["members"].equals(example)


def test_the_guide_applies_lines_in_any_order() -> None:
    names: dict[str, Any] = {}
    exec(blocks("python")[1], names)
    cluster_of: dict[str, int] = {}
    representative_of: dict[int, str] = {}
    week = a_week()
    for before, after in pairwise(week):
        lines = find_changes(before, after).to_pylist()
        names["apply"](reversed(lines), cluster_of, representative_of)
        assert cluster_of == by_document(after)
        assert representative_of == representatives(after)


def test_the_guide_replays_in_sql(example: pa.Table) -> None:
    (query,) = blocks("sql")
    assert duckdb.connect().execute(query).fetchall() == [
        tuple(line.values()) for line in example.to_pylist()
    ]

"""After any history the clusters of a store are those of one run over its documents."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dupmine import Store
from dupmine.schema import BANDS, CROSS_ENCODER, DECIDERS, UNREAD
from dupmine.store.changes import EVENTS, replay

from ..helpers.cascades import bands_by_cosine, fitted_cascade, with_cascade
from ..helpers.decisions import Table, feature, fitted_to, with_decision
from ..helpers.stores import POOL, Maker, logged, members, membership, require_equal, table, tables
from ..helpers.tiny_models import TinyModels

EXAMPLES = int(os.environ.get("STORE_EXAMPLES", "8"))  # per setting
PHASES = set(Phase) - ({Phase.shrink, Phase.explain} if "STORE_QUICK" in os.environ else set())
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # where a sync costs nothing

# Such that random documents of the pool have clusters that grow, merge and split. LOOSE groups have pairs
# below the floor, which clustering asks for.
LOOSE = {"agreement": 0.25, "unknown": 0.2}
SETTINGS: dict[str, dict[str, Any]] = {
    "medoid": {
        "bi_encoder": "static",
        "cross_encoder": "sigmoid",
        "floor": 0.9,
        "threshold": 0.45,
        **LOOSE,
    },
    # Models that tell upper from lower case: another spelling of a text has other neighbours.
    "score:desc": {
        "bi_encoder": "bi-encoder-roberta",
        "cross_encoder": "roberta",
        "floor": 0.9,
        "threshold": 0.055,
        "method": "components",
    },
    "first": {
        "bi_encoder": "bi-encoder",
        "cross_encoder": "nli-enc",
        "floor": 0.96,
        "threshold": 0.5,
        **LOOSE,
        "singletons": True,
    },
    "longest": {
        "bi_encoder": "static",
        "cross_encoder": "regression",
        "floor": 0.8,
        "threshold": 0.9,
        "method": "components",
        "keep_generations": 5,
    },
    # A corpus-aware decision: a new text changes the decision of other pairs. Bands decide some pairs.
    "score:asc": {
        "bi_encoder": "static",
        "cross_encoder": "corpus-aware",
        "decision": "corpus",
        "floor": 0.8,
        "threshold": 0.5,
        **LOOSE,
    },
}
SPELLINGS = (str, str.upper, str.lower, str.title)

texts = st.builds(
    lambda text, spell: spell(text), st.sampled_from([*POOL, *POOL, ""]), st.sampled_from(SPELLINGS)
)
ids = st.integers(0, 39).map(str)
scores = st.integers(0, 4)
numbers = st.sets(st.integers(0, 60), min_size=1, max_size=8)


def puts(fewest: int, most: int) -> st.SearchStrategy[tuple[str, Any]]:
    """Draw documents of an update: some new, some edited, some as they are."""
    documents = st.dictionaries(ids, st.tuples(texts, scores), min_size=fewest, max_size=most)
    return st.tuples(st.just("put"), documents)


steps = st.one_of(
    puts(1, 12),
    puts(1, 3),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("rescore"), numbers),
    st.tuples(st.just("respell"), numbers),
    st.tuples(st.just("repeat"), numbers),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("rollback"), st.integers(0, 4)),
)
plans = st.tuples(puts(10, 25), st.lists(steps, min_size=2, max_size=7)).map(lambda plan: [plan[0], *plan[1]])


@dataclass
class Player:
    """Apply steps to a store and track the expected documents."""

    maker: Maker
    store: Store
    documents: dict[str, tuple[str, int]] = field(default_factory=dict)
    past: dict[int, dict[str, tuple[str, int]]] = field(default_factory=lambda: {0: {}})
    clusters: dict[int, frozenset[str]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)
    unseen: int = 0
    scored_by: set[int] = field(default_factory=set)

    def play(self, kind: str, choice: Any) -> None:
        """Do a step and check everything after it."""
        self.maker.lend(self.store)
        getattr(self, f"_{kind}")(choice)
        generation = self.store.generation
        if generation not in self.past:
            self.past[generation] = dict(self.documents)
            self._check_clusters()
        assert self.past[generation] == self.documents
        self.unseen += len(self.store.snapshot.unseen[0])
        self.scored_by |= set(self.store.snapshot.pairs.scored_by.tolist())
        self._check_ids(rolled_back=kind == "rollback")
        self._check_log()

    def _put(self, documents: dict[str, tuple[str, int]]) -> None:
        changed = {i: d for i, d in documents.items() if self.documents.get(i) != d}
        new = len(changed.keys() - self.documents.keys())
        self.documents |= documents
        report = self.store.update(table(documents))
        assert report.changed == bool(changed)
        assert (report.counts["new"], report.counts["edited"]) == (new, len(changed) - new)
        assert report.counts["unchanged"] == len(documents) - len(changed)
        self.events.update(report.events)

    def _chosen(self, places: set[int]) -> list[str]:
        known = list(self.documents)
        return list(dict.fromkeys(known[place % len(known)] for place in sorted(places))) if known else []

    def _rescore(self, places: set[int]) -> None:
        chosen = {i: self.documents[i] for i in self._chosen(places)}
        self._put({i: (text, (score + 1) % 5) for i, (text, score) in chosen.items()})

    def _respell(self, places: set[int]) -> None:
        chosen = {i: self.documents[i] for i in self._chosen(places)}
        self._put({i: (text.swapcase(), score) for i, (text, score) in chosen.items()})

    def _repeat(self, places: set[int]) -> None:
        self._put({i: self.documents[i] for i in self._chosen(places)})

    def _delete(self, places: set[int]) -> None:
        chosen = self._chosen(places)
        self.documents = {i: d for i, d in self.documents.items() if i not in chosen}
        report = self.store.delete(chosen)
        assert report.counts["deleted"] == len(chosen)
        self.events.update(report.events)

    def _compact(self, _: None) -> None:
        assert self.store.compact().events == {}

    def _rollback(self, back: int) -> None:
        kept = self.store.status()["kept_generations"]
        to = kept[-1 - back % len(kept)]
        self.documents = dict(self.past[to])
        self.store.rollback(to)

    def _check_clusters(self) -> None:
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            exported = self.store.export(Path(folder) / "run")
        require_equal(tables(exported), tables(self.maker.mine(self.documents)))
        assert exported.clusters_table.equals(self.store.clusters_table)

    def _check_ids(self, *, rolled_back: bool) -> None:
        before, now = self.clusters, members(self.store)
        numbers = {documents: number for number, documents in now.items()}
        if not rolled_back:
            assert all(numbers.get(documents, number) == number for number, documents in before.items())
            assert not self.ended & now.keys()
        for number, documents in () if rolled_back else now.items():
            inside = [old for old, held in before.items() if held <= documents]
            assert not inside or number <= min(inside)
        self.ended = (self.ended | before.keys()) - now.keys()
        self.clusters = now

    def _check_log(self) -> None:
        assert replay(logged(self.store)).to_pylist() == membership(self.store)


@pytest.fixture(scope="module")
def maker(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def make(name: str) -> Maker:
        given = SETTINGS[name] | {"keep": name}
        folder = tmp_path_factory.mktemp("store")
        if given["cross_encoder"] == "corpus-aware" and not (tiny.folder / "corpus-aware").exists():
            decision = fitted_to(_more_support_than_objections, n_tokens=500, floor=0.8)
            ends = Path(tiny["sigmoid"]), Path(tiny["static"])
            model = with_decision(*ends, decision, tiny.folder / "corpus-aware")
            bands = bands_by_cosine(0.92, -1.0, 1.5, n_tokens=500)
            with_cascade(model, ends[1], fitted_cascade(bands, floor=0.8), model)
        given |= {key: tiny[given[key]] for key in ("bi_encoder", "cross_encoder")}
        return Maker.of(folder / "blank", **given)

    return make


def _more_support_than_objections(table: Table) -> npt.NDArray[np.bool_]:
    return feature(table, "best_support_low") > feature(table, "best_objection_high") - 0.3


def played(maker: Maker, plan: list[tuple[str, Any]]) -> Player:
    """Play steps on a new store."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        player = Player(maker, maker.store(Path(folder) / "store"))
        for kind, choice in plan:
            player.play(kind, choice)
    return player


@pytest.mark.parametrize("keep", SETTINGS)
@settings(max_examples=EXAMPLES, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(plan=plans)
def test_a_store_is_one_run_over_its_documents(keep: str, plan: list[tuple[str, Any]], maker: Any) -> None:
    played(maker(keep), plan)


@pytest.mark.parametrize("keep", SETTINGS)
def test_a_long_history_has_every_event(keep: str, maker: Any) -> None:
    """Say that the examples are rich: at these settings clusters are made, grow, merge, split and end."""
    random = Random(0)

    def draw(most: int) -> dict[str, tuple[str, int]]:
        chosen = random.sample(range(40), random.randint(1, most))
        return {str(i): (random.choice(SPELLINGS)(random.choice(POOL)), random.randrange(5)) for i in chosen}

    plan: list[tuple[str, Any]] = [("put", draw(25))]
    for _ in range(7):
        plan += [("put", draw(15)), ("delete", set(random.sample(range(40), 5)))]
    player = played(maker(keep), plan)
    assert set(player.events) == set(EVENTS)
    assert (player.unseen > 0) == ("agreement" in SETTINGS[keep])
    by = {DECIDERS[i] for i in player.scored_by} - {UNREAD}  # the tiny tokenizer does not know every word
    assert by == ({BANDS, CROSS_ENCODER} if "decision" in SETTINGS[keep] else {CROSS_ENCODER})

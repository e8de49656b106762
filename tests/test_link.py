"""Links between two corpora: planted ones, those of one run over both, every kind of reference."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import dupmine
from dupmine import InputError, LinkResult, Miner, SettingsError, Store
from dupmine.corpus.unique import normalised_key
from dupmine.disk.folder import LINK_FILES
from dupmine.schema import LINKS, POSITION

from .helpers import shell
from .helpers.planted import plant
from .helpers.tiny_models import TinyModels
from .test_resume import Runs

N = 450
ENDS = ["new_id", "reference_id"]


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two frames of planted texts, each with ids of its own from 0 and the planted clusters."""
    texts, gold = plant(N)
    frame = pd.DataFrame({"text": texts, "gold": gold, "cosine": "mine"})
    parts = [frame[frame.index % 3 < 1], frame[frame.index % 3 >= 1]]
    first, second = (part.reset_index(drop=True).rename_axis("id").reset_index() for part in parts)
    return first, second


@pytest.fixture(scope="module")
def planted(miner: Miner) -> LinkResult:
    return miner.link(*split(), top=50)


def test_planted_duplicates_are_found_exactly(planted: LinkResult) -> None:
    new, reference = split()
    reference["key"] = reference["text"].map(normalised_key)
    texts = reference.sort_values("id").drop_duplicates("key")  # a text is named by its lowest id
    expected = new.merge(texts, on="gold", suffixes=("", "_b"))[["id", "id_b"]].astype(str)
    accepted = planted.links[planted.links["is_duplicate"]]
    assert set(accepted[ENDS].itertuples(index=False, name=None)) == set(
        expected.itertuples(index=False, name=None)
    )
    assert len(expected) > 200
    is_known = new["gold"].isin(reference["gold"])
    assert (~is_known).sum() > 5
    assert planted.new()["text"].tolist() == new[~is_known]["text"].tolist()
    known = planted.known()
    assert known["text"].tolist() == new[is_known]["text"].tolist()
    assert known[POSITION].tolist() == new.index[is_known].tolist()
    gold_of = dict(zip(reference["id"].astype(str), reference["gold"], strict=True))
    assert known["reference_id"].map(gold_of).tolist() == known["gold"].tolist()
    assert set(known["cosine_original"]) == {"mine"}


def test_matches_are_ranked(planted: LinkResult) -> None:
    assert planted.links_table.schema == LINKS
    for _, matches in planted.links.groupby("new_id"):
        assert matches["rank"].tolist() == list(range(1, 1 + len(matches)))
        assert matches["probability"].is_monotonic_decreasing
    texts = [
        dict(zip(frame["id"].astype(str), frame["text"].map(normalised_key), strict=True))
        for frame in split()
    ]
    equal = [texts[0][a] == texts[1][b] for a, b in planted.links[ENDS].itertuples(index=False)]
    assert (planted.links["decided_by"] == "exact").tolist() == equal
    assert set(planted.links[equal]["probability"]) == {1.0}
    assert set(planted.links[equal]["rank"]) == {1}


def orders() -> pd.DataFrame:
    """Return a template family that is on both sides, each order asked for in two wordings."""
    wordings = ("Where is order {} of my shop?", "Where can I find order {} of my shop?")
    texts = [wordings[i % 2].format(i // 2) for i in range(120)]
    return pd.DataFrame({"id": [f"n{i}" for i in range(120)], "question": texts})


def test_links_equal_the_part_of_one_run_between_the_two(miner: Miner) -> None:
    """On the sample, with template families and texts on both sides, to the bit."""
    sample = pd.read_csv(Path(dupmine.__file__).parent / "examples" / "questions.csv")
    frame = pd.concat([sample[:600], orders()], ignore_index=True)
    new, reference = frame[frame.index % 4 == 0], frame[frame.index % 4 != 0]
    shared = reference[:20].assign(id=[f"s{i}" for i in range(20)])
    new = pd.concat([new, shared])
    alone = Miner(miner.settings, decision="pair", progress=False)
    alone._load = miner.models.deciding_by
    both = alone.mine(pd.concat([new, reference]))
    assert both.manifest["counts"]["template_families"] == 2
    found = miner.link(new, reference, top=1000)
    assert found.settings.rerank.accepts_from == both.settings.rerank.accepts_from

    key_of = {
        doc_id: normalised_key(text) for doc_id, text in pd.concat([new, reference]).itertuples(index=False)
    }
    sides = [{key_of[doc_id] for doc_id in side["id"]} for side in (new, reference)]
    columns = ["cosine", "probability", "is_duplicate", "decided_by"]
    expected = {(key, key): [1.0, 1.0, True, "exact"] for key in sides[0] & sides[1]}
    for left, right, *values in both.pairs[["left_id", "right_id", *columns]].itertuples(index=False):
        for a, b in ((key_of[left], key_of[right]), (key_of[right], key_of[left])):
            if a in sides[0] and b in sides[1]:
                expected[a, b] = values
    links = {
        (key_of[a], key_of[b]): values
        for a, b, *values in found.links[ENDS + columns].itertuples(index=False)
    }
    assert links == expected
    assert len(links) > 250
    assert {"bands", "cross-encoder", "exact"} <= set(found.links["decided_by"])


def test_every_kind_of_reference(miner: Miner, tmp_path: Path) -> None:
    new, reference = ["How can I learn Python?", ""], tmp_path / "reference.csv"
    reference.write_text(shell.QUESTIONS)
    mined = miner.mine_files([reference], tmp_path / "run")
    store = Store.create(tmp_path / "store", miner.settings, progress=False)
    vars(store)["models"] = miner.models
    store.update_files([reference])
    kinds = [reference, str(reference), [reference], pd.read_csv(reference, keep_default_na=False)]
    kinds += [mined, tmp_path / "run", store, str(tmp_path / "store")]
    expected = miner.link(new, reference).links
    assert expected["reference_id"].tolist()[0] == "a1"
    for kind in kinds:
        found = miner.link(new, kind)
        pd.testing.assert_frame_equal(found.links, expected)
        assert found.manifest["counts"]["reference_documents"] == 9
        assert found.known()["reference_text"].tolist() == ["How do I learn Python?"]
        assert found.new()["text"].tolist() == [""]


def test_nothing_on_a_side(miner: Miner) -> None:
    empty = pd.DataFrame({"id": [], "text": []}, dtype=str)
    assert miner.link(empty, ["a"]).links.empty
    assert miner.link(["a", "b"], empty).new()["text"].tolist() == ["a", "b"]
    assert miner.link(["", "b"], [""]).known().empty


def test_saved_and_loaded(miner: Miner, planted: LinkResult, tmp_path: Path) -> None:
    planted.save(tmp_path / "links")
    loaded = LinkResult.load(tmp_path / "links")
    assert {path.name for path in (tmp_path / "links").iterdir()} == set(LINK_FILES)
    assert loaded.manifest == planted.manifest
    assert loaded.corpus.documents.equals(planted.corpus.documents)
    assert repr(loaded) == repr(planted)
    for threshold in (0.0, 0.97):
        ours, expected = loaded.rethreshold(threshold), planted.rethreshold(threshold)
        pd.testing.assert_frame_equal(ours.links, expected.links)
        pd.testing.assert_frame_equal(ours.known(), expected.known())
        pd.testing.assert_frame_equal(ours.new(), expected.new())
    assert (
        len(planted.rethreshold(0.0).known()) > len(planted.known()) > len(planted.rethreshold(0.97).known())
    )
    with pytest.raises(SettingsError, match="threshold"):
        planted.rethreshold(2)


def test_within(miner: Miner, tmp_path: Path) -> None:
    new = pd.Series(
        ["Where do pythons live?", "How can I learn Python?", "where do PYTHONS live?"], ["x", "y", "z"]
    )
    found = miner.link(new, ["How do I learn Python?"], within=True)
    assert found.new().to_dict("index") == {"x": {"doc_id": "x", "text": "Where do pythons live?"}}
    assert found.known().index.tolist() == ["y"]
    assert found.within is not None
    assert set(found.within.clusters["doc_id"]) == {"x", "z"}
    assert found.manifest["counts"]["removed_documents"] == 1
    found.save(tmp_path / "links")
    found.save(tmp_path / "links", overwrite=True)
    loaded = LinkResult.load(tmp_path / "links")
    assert loaded.corpus.documents.equals(found.corpus.documents)
    assert loaded.within is not None
    pd.testing.assert_frame_equal(
        loaded.within.clusters, dupmine.MiningResult.load(tmp_path / "links" / "within").clusters
    )
    assert loaded.new()["doc_id"].tolist() == ["x"]
    assert loaded.rethreshold(0.9).new()["doc_id"].tolist() == ["x", "z"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    new, reference = tmp_path / "new.csv", tmp_path / "old.csv"
    new.write_text(
        "id,question\na1,How can I learn Python?\nq,Where do pythons live?\nq2,where do pythons  live?\n"
    )
    reference.write_text(shell.QUESTIONS)
    return new, reference


def test_the_command(files: tuple[Path, Path], tmp_path: Path) -> None:
    new, reference = files
    more = tmp_path / "more.csv"
    more.write_text("id,question\nz,Is Mars red?\n")
    out = tmp_path / "out"
    command: list[Any] = ["link", new, "--against", reference, more, "--out", out, "--top", "1", "--within"]
    command += ["--metrics", tmp_path / "link.prom"]
    outcome = shell.dupmine(*command)
    assert outcome.code == 0, outcome.err
    for line in ("3 new documents", "10 documents in the reference", "2 without", "1 of these could go"):
        assert f" {line}" in outcome.out
    assert "dupmine_documents 3.0\n" in (tmp_path / "link.prom").read_text()
    links = pq.read_table(out / "links.parquet").to_pylist()
    assert [(link["new_id"], link["reference_id"], link["rank"]) for link in links] == [("a1", "a1", 1)]
    assert pq.read_table(out / "new.parquet")["doc_id"].to_pylist() == ["q"]
    assert pq.read_table(out / "known.parquet")["reference_text"].to_pylist() == ["How do I learn Python?"]
    again = shell.dupmine(*command)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "is not empty; give --overwrite" in again.err
    assert shell.dupmine(*command, "--overwrite", "--quiet").code == 0
    # It is no input, and no other command replaces it.
    other = shell.dupmine("mine", new, "--out", out, "--overwrite")
    assert (other.code, "is not only a run of dupmine" in other.err) == (2, True)
    assert LinkResult.load(out).settings.rerank.decision == "pair"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{new}", "--out", "{out}"], "--against"),
        (["--against", "{old}", "{new}", "--out", "{out}"], "INPUT"),
        (["{new}", "--against", "{old}"], "--out"),
        (["{new}", "--against", "no.csv", "--out", "{out}"], "no.csv"),
        (["{new}", "--against", "{old}", "--top", "0", "--out", "{out}"], "--top"),
        (["-", "--against", "-", "--format", "csv", "--out", "{out}"], "standard input (-) is read once"),
        (["{new}", "--against", "{old}", "{run}", "--out", "{out}"], "give it as the only reference"),
        (
            ["{new}", "--against", "{run}", "--out", "{out}"],
            "is not a run of dupmine: clusters.parquet is missing",
        ),
        (["{new}", "--against", "{old}", "--out", "{run}", "--overwrite"], "is not only a run of dupmine"),
    ],
)
def test_bad_input(files: tuple[Path, Path], tmp_path: Path, args: list[str], message: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text("{}")
    (run / "thesis.tex").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    names = {"new": files[0], "old": files[1], "run": run, "out": tmp_path / "out"}
    outcome = shell.dupmine("link", *(arg.format(**names) for arg in args))
    assert outcome.code == 2
    assert outcome.out == ""
    assert message in outcome.err
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_calls(miner: Miner, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^top is 0: "):
        miner.link(["a"], ["b"], top=0)
    with pytest.raises(InputError, match=r"^row 1 \(counted from 0\): the text \(column text\) is null"):
        miner.link(["a"], ["b", None])
    miner.mine(["a"]).save(tmp_path / "run")
    with pytest.raises(InputError, match=r"is not a run of dupmine link: links\.parquet is missing$"):
        LinkResult.load(tmp_path / "run")


class LinkRuns(Runs):
    """Link runs of the corpus of `Runs` against a part of it."""

    def command(self, *args: str | Path, out: Path | None = None) -> list[str]:
        reference = self.folder / "reference.csv"
        reference.write_text("".join(self.input.read_text().splitlines(keepends=True)[:100]))
        _, new, *rest = super().command(*args, out=out)
        return ["link", new, "--against", str(reference), "--within", *rest]


def test_a_killed_run_is_continued(tiny: TinyModels, tmp_path: Path) -> None:
    runs = LinkRuns(tmp_path, tiny)
    whole, out = tmp_path / "whole" / "out", tmp_path / "killed" / "out"
    steps = runs.mine(out=whole).steps
    for part in (0.4, 0.3):  # in the run between the two, and within the new documents
        assert runs.mine(out=out, step=int(steps * part)).code == -signal.SIGKILL
    other = runs.mine("--set", "floor=0.5", out=out)
    assert other.code == 2, other.screen
    assert "started differently (retrieval.floor was" in other.screen
    ended = runs.mine(out=out)
    assert ended.code == 0, ended.screen
    assert ended.continued
    names = {str(path.relative_to(whole)) for path in whole.rglob("*.parquet")}
    assert len(names) == 8
    assert {str(path.relative_to(out)) for path in out.rglob("*.parquet")} == names
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert list(out.parent.iterdir()) == [out]

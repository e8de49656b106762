"""A result in Python: samples, iteration, labels, pictures and the report in a notebook."""

from __future__ import annotations

import html
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from dupmine import InputError, MiningResult
from dupmine.report.bridges import find_bridges
from dupmine.report.health import examine

from ..helpers.results import HOSTILE, make_result
from ..helpers.scored import clique, scored

mpl.use("Agg")


@pytest.fixture(scope="module")
def result() -> MiningResult:
    return make_result(hostile=True)


def test_labels_are_one_a_row_in_input_order(result: MiningResult) -> None:
    by_id = result.clusters.set_index("doc_id")["cluster_id"]
    expected = [int(by_id.get(i, -1)) for i in result.corpus.documents["doc_id"].to_pylist()]
    assert result.labels_.tolist() == expected
    assert -1 in expected


def test_iteration_gives_every_cluster_once(result: MiningResult) -> None:
    clusters = list(result)
    assert len(clusters) == len(result) == result.clusters["cluster_id"].nunique()
    assert [int(members["cluster_id"].iloc[0]) for members in clusters] == sorted(
        set(result.clusters["cluster_id"])
    )
    assert all(
        members["is_representative"].tolist() == [True] + [False] * (len(members) - 1) for members in clusters
    )
    assert result  # one without clusters is a result too
    assert result.rethreshold(1.0)


def test_borderline_sample(result: MiningResult) -> None:
    sample = result.sample(10)
    every = result.scored_pairs.probability.astype(float)
    distance = np.sort(np.abs(np.log(every / (1 - every))))[:10]
    found = sample["probability"].astype(float)
    assert np.abs(np.log(found / (1 - found))).tolist() == pytest.approx(distance.tolist(), abs=1e-5)
    assert (sample["is_duplicate"] == (sample["probability"] >= 0.5)).all()


def test_suspicious_sample_has_reasons_and_the_least_likely_member(result: MiningResult) -> None:
    sample = result.sample(5, "suspicious")
    assert (sample["reason"] != "").all()
    for pair in sample.itertuples():
        members = result.clusters[result.clusters["cluster_id"] == pair.cluster_id]
        assert pair.probability == members["probability"].min()
        assert pair.left_id == members["doc_id"].iloc[0]


def test_random_sample_is_of_accepted_pairs(result: MiningResult) -> None:
    sample = result.sample(30, "random", seed=1)
    assert len(sample) == 30
    assert sample["is_duplicate"].all()
    assert not sample.equals(result.sample(30, "random", seed=2))
    with pytest.raises(ValueError, match="'worst' is not a valid Strategy"):
        result.sample(3, "worst")  # type: ignore[arg-type]


def test_measures_of_a_cluster(result: MiningResult) -> None:
    health = examine(result)
    for place in range(len(health.members)):
        pairs = health.pairs_of(place)
        n = int(health.texts[place])
        accepted = int((pairs.probability >= 0.5).sum())
        assert health.density[place] == (1.0 if n == 1 else accepted / (n * (n - 1) / 2))
        members = result.clusters[result.clusters["cluster_id"] == health.members.cluster_id[place]]
        assert health.lowest[place] == members["probability"].fillna(1).min()


def test_a_bridge_is_found_between_two_cliques() -> None:
    pairs = scored([*clique(range(4), 0.9), *clique(range(4, 7), 0.8), (3, 4, 0.6), (6, 7, 0.7)])
    found = find_bridges(pairs, np.zeros(8, np.int64), np.array([8]))
    assert (found[0].left, found[0].right, sorted(found[0].sides)) == (3, 4, [4, 4])
    assert found[0].probability == pytest.approx(0.6)
    assert find_bridges(scored(clique(range(5), 0.9)), np.zeros(5, np.int64), np.array([5])) == {}


def test_the_summary_escapes_texts(result: MiningResult) -> None:
    summary = result._repr_html_()
    assert "<script" not in summary
    assert re.findall(r"<td>([\d,]+)</td>", summary)[2] == f"{len(result):,}"


def test_the_report_comes_in_a_frame(result: MiningResult, tmp_path: Path) -> None:
    report = result.report(name="mine")
    frame = report._repr_html_()
    source = re.fullmatch(r'<iframe srcdoc="([^"]*)" sandbox="allow-scripts" .*</iframe>', frame, re.DOTALL)
    assert source is not None
    assert html.unescape(source[1]) == report.html
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report.html


def test_pictures(result: MiningResult) -> None:
    bars = result.plot.scores()
    counted = sum(patch.get_height() for patch in bars.containers[0]) + sum(
        patch.get_height() for patch in bars.containers[1]
    )
    assert counted == len(result.scored_pairs)
    assert result.plot.cluster_sizes().get_xlabel() == "documents in the cluster"
    line = result.plot.thresholds([0.3, 0.6]).lines[0]
    expected = [result.rethreshold(t).manifest["counts"]["removed_documents"] for t in (0.3, 0.6)]
    assert np.asarray(line.get_ydata()).tolist() == expected


def test_picture_of_a_cluster(result: MiningResult) -> None:
    cluster = int(result.clusters.loc[result.clusters["doc_id"] == "d7", "cluster_id"].iloc[0])
    axes = result.plot.cluster(cluster)
    axes.figure.canvas.draw()  # a text with dollar signs is no formula
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert any(name.startswith(HOSTILE[7][:20]) for name in names)
    with pytest.raises(InputError, match="there is no cluster 9999"):
        result.plot.cluster(9999)

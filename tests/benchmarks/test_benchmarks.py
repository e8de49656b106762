"""The benchmark scripts, each run to its end on a few questions of the sample."""

from __future__ import annotations

import csv
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dupmine.benchmarks import (
    compare_speed,
    domains,
    few_labels,
    gpu,
    growth,
    guide_example,
    machine,
    profile_run,
    redrawn_splits,
    reference_pipeline,
    side_by_side,
    stage1,
    templates,
)
from dupmine.benchmarks.labelled import Judge, corpus_of, read_questions

ROOT = Path(__file__).parents[2]
QUESTIONS = 60
FOUND = {"labelled_pairs", "precision", "recall", "f1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the benchmarks expect it: each pair of neighbours in the order of clusters is labelled."""
    rows = []
    for name in ("questions", "gold"):
        with (ROOT / "examples" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows.append(list(csv.reader(file))[1:])
    asked = [(int(cluster), text) for (_, text), (_, cluster) in zip(*rows, strict=True)]
    asked = sorted(asked)[:QUESTIONS]
    folder = tmp_path_factory.mktemp("data")
    texts = [text for _, text in asked]
    for name in ("questions-eval.csv", "questions.csv.gz"):
        pd.DataFrame({"qid": range(QUESTIONS), "question": texts}).to_csv(folder / name, index=False)
    same = [a[0] == b[0] for a, b in pairwise(asked)]
    pd.DataFrame(
        {
            "qid1": range(QUESTIONS - 1),
            "qid2": range(1, QUESTIONS),
            "question1": texts[:-1],
            "question2": texts[1:],
            "is_duplicate": np.array(same, int),
            "split": np.where(np.arange(QUESTIONS - 1) % 2, "valid", "test"),
        }
    ).to_parquet(folder / "pairs.parquet")
    return folder


def run(script: Any, *arguments: str | Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a script's `main` and return the figures it wrote."""
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()
    figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return figures


def test_a_part_of_the_corpus_is_that_of_the_first_pairs(data: Path, tmp_path: Path) -> None:
    assert corpus_of(data, None, tmp_path) == data / "questions-eval.csv"
    part = corpus_of(data, 5, tmp_path)
    assert read_questions(part)["qid"].tolist() == ["0", "1", "2", "3", "4"]


def test_labelled_pairs_are_those_inside_the_corpus() -> None:
    pairs = pd.DataFrame({"qid1": ["a", "c", "a"], "qid2": ["b", "a", "x"], "is_duplicate": [1, 0, 1]})
    judge = Judge(pairs, ["c", "b", "a"])
    assert (judge.left.tolist(), judge.right.tolist(), judge.actual.tolist()) == (
        [1, 0],
        [2, 2],
        [True, False],
    )
    assert judge.among(np.array([2]), np.array([1])).tolist() == [True, False]
    assert judge.figures(np.array([True, True])) == {
        "labelled_pairs": 2,
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
    }
    assert len(judge.sample(1)) == 1


def test_the_cost_of_a_transformer() -> None:
    minilm = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}
    assert machine.transformer_gflop(1, 0, minilm) == pytest.approx(0.0212, abs=1e-4)
    assert machine.transformer_gflop(0, 1, minilm) == pytest.approx(6 * 4 * 384 / 1e9)
    limits = machine.matmul_limits(seconds=0.01)
    assert set(limits) == {"fp32", "bf16", "int8"}
    assert min(limits.values()) > 0


def test_the_reference(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "reference.json"
    whole = run(reference_pipeline, data, "--json", out, out=out, monkeypatch=monkeypatch)
    assert not whole["extrapolated"]
    assert whole["pairs_timed"] == whole["counts"]["candidates"]
    assert whole["labelled"]["labelled_pairs"] == QUESTIONS // 2
    assert whole["labelled"]["f1"] > 0.7
    assert whole["labelled"]["candidate_recall"] > 0.9
    part = run(reference_pipeline, data, "--sample", "10", "--json", out, out=out, monkeypatch=monkeypatch)
    assert part["extrapolated"]
    assert part["pairs_timed"] == part["labelled"]["labelled_pairs"] == 10
    assert part["counts"]["candidates"] == whole["counts"]["candidates"]


def test_the_comparison_of_speed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "matmul_limits", lambda: {"fp32": 1.0, "bf16": 2.0, "int8": 4.0})
    out = tmp_path / "speed.json"
    options = ("--rounds", "1", "--limit", "40", "--set", "rerank.decision=pair", "--json", out)
    figures = run(compare_speed, data, *options, out=out, monkeypatch=monkeypatch)
    ours, theirs = figures["dupmine"], figures["reference"]
    assert ours["counts"]["documents"] == theirs["counts"]["questions"] == 40
    assert ours["labelled"]["f1"] == pytest.approx(theirs["labelled"]["f1"], abs=0.1)
    ratio = theirs["seconds_total"] / ours["seconds_total"]
    assert figures["times_faster"]["total"] == pytest.approx(ratio, abs=0.01)
    assert figures["share_of_int8_limit"]["score"] > 0


def test_the_engine_on_a_device(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "gpu.json"
    options = ("--device", "cpu", "--reference", "30", "--vectors", "3000", "--product", "256", "--json", out)
    figures = run(gpu, data, *options, out=out, monkeypatch=monkeypatch)
    assert figures["peak_bf16_gflop_per_second"] > 0
    for stage, unit in (("embed", "questions"), ("score", "pairs")):
        found = figures[stage]
        ratio = found[f"{unit}_per_second_from_texts"] / found[f"sentence_transformers_{unit}_per_second"]
        assert found["times_faster"] == pytest.approx(ratio, rel=0.05)
        assert found["share_of_peak"] > 0
    assert figures["embed"]["questions"] == figures["mine"]["counts"]["documents"] == QUESTIONS
    assert figures["embed"]["cosine_with_fp32"]["mean"] > 0.99
    assert figures["score"]["f1"] == pytest.approx(figures["score"]["f1_of_reference"], abs=0.05)
    flat, ivf = figures["search"]["flat"], figures["search"]["ivf"]
    assert flat["index"] == {"kind": "flat"}
    assert (flat["pairs"], flat["recall_of_planted"]) == (1500, 1.0)
    assert ivf["recall_of_planted"] == pytest.approx(ivf["index"]["recall"], abs=0.05)


def test_growth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "growth"
    options = ("--sizes", "40,0.08k", "--work", tmp_path, "--out", out)
    figures = run(growth, *options, out=out.with_suffix(".json"), monkeypatch=monkeypatch)
    small, large = figures["sizes"]
    assert (small["counts"]["documents"], large["counts"]["documents"]) == (40, 80)
    assert large["planted"]["recall"] >= 0.8
    exponent = figures["exponents"][0]["seconds_total"]
    assert small["seconds_total"] * 2**exponent == pytest.approx(large["seconds_total"], rel=0.01)
    assert out.with_suffix(".svg").read_text(encoding="utf-8").startswith("<?xml")


def test_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "templates.json"
    options = ("--sizes", "60", "--work", tmp_path, "--out", out)
    figures = run(templates, *options, out=out, monkeypatch=monkeypatch)
    [numbers], [names] = (figures[kind]["sizes"] for kind in ("numbers", "names"))
    assert (numbers["texts"], numbers["template_families"], numbers["candidates"]) == (60, 1, 0)
    assert (names["texts"], names["template_families"]) == (60, 0)  # too few


def test_side_by_side(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("semhash", reason="needs semhash")
    out = tmp_path / "side.json"
    figures = run(side_by_side, data, "--json", out, out=out, monkeypatch=monkeypatch)
    for name in ("dupmine", "semhash MiniLM"):
        assert set(figures[name]) >= FOUND | {"seconds", "candidate_recall"}, name
        assert figures[name]["labelled_pairs"] == QUESTIONS // 2
        assert figures[name]["f1"] > 0.5
    assert figures["dupmine"]["candidate_recall"] > 0.9


def test_the_example_of_the_guide(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "guide.json"
    options = ("--sentences", "40", "--sample", "40", "--json", out)
    figures = run(guide_example, data, *options, out=out, monkeypatch=monkeypatch)
    alone = figures["cross_encoder_alone"]
    assert (alone["pairs"], alone["pairs_timed"], alone["extrapolated"]) == (780, 40, True)
    assert alone["seconds"] == pytest.approx(780 / alone["pairs_per_second"], rel=0.01, abs=0.06)  # rounded
    assert figures["dupmine"]["counts"]["documents"] == 40


def test_splits_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = pd.read_csv(ROOT / "examples" / "questions.csv").merge(
        pd.read_csv(ROOT / "examples" / "gold.csv"), on="id"
    )
    questions = questions.sort_values(["cluster", "question"], kind="stable")[:300]
    one, two = questions[:-1], questions[1:]
    split = np.where((one["cluster"] % 3 == 0), "valid", "test")  # a cluster's questions hang together
    pairs = {"question1": one["question"].array, "question2": two["question"].array, "split": split}
    same = np.array(one["cluster"]) == np.array(two["cluster"])
    file = tmp_path / "pairs.parquet"
    pd.DataFrame({**pairs, "is_duplicate": same.astype(int)})[np.arange(299) % 3 > 0].to_parquet(file)
    out = tmp_path / "out.json"
    figures = run(redrawn_splits, file, "--draws", "4", "--out", out, out=out, monkeypatch=monkeypatch)
    low, high = figures["redrawn"]["interval"]
    assert 0 < low <= figures["redrawn"]["median"] <= high < 0.5
    assert low < high
    assert 0 < figures["as_they_are"] < 0.5


def test_groups_are_dealt_whole() -> None:
    group = np.repeat([3, 0, 2, 1], [4, 3, 2, 1])
    for seed in range(20):
        inside = redrawn_splits.dealt(group, 5, np.random.default_rng(seed))
        assert inside.sum() <= 5
        assert all(len(set(inside[group == number])) == 1 for number in range(4))
    assert len({tuple(redrawn_splits.dealt(group, 5, np.random.default_rng(s))) for s in range(20)}) > 3


def test_files_of_few_labels(tmp_path: Path) -> None:
    n = 300
    left, right = [f"is tree {i} old" for i in range(n)], [f"how old is tree {i}" for i in range(n)]
    split = np.repeat(["train", "valid", "test"], [200, 60, 40])
    file = tmp_path / "pairs.parquet"
    table = {"question1": left, "question2": right, "is_duplicate": np.arange(n) % 2, "split": split}
    pd.DataFrame(table).to_parquet(file)
    n_texts = few_labels.write_files(file, tmp_path, 30)
    train, valid, test = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("train", "valid", "test"))
    assert [len(of) for of in (train, valid, test)] == [30, 20, 40]
    texts = set(pd.read_csv(tmp_path / "corpus.csv")["question"])
    assert len(texts) == n_texts
    assert set(valid["question1"]) | set(valid["question2"]) < texts
    assert not texts & (set(test["question1"]) | set(test["question2"]))
    of_train = [text in texts for text in left[:200]]
    assert of_train == [text in texts for text in right[:200]]  # whole groups
    assert 8 <= sum(of_train) <= 35


def test_the_profile_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"compute": {}, "seconds": {"embed": 3.0, "rerank": 1.0}, "counts": {}, "peak_memory_gib": 1.0}
    (tmp_path / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    out = tmp_path / "profile.json"
    assert run(profile_run, tmp_path, "--json", out, out=out, monkeypatch=monkeypatch) == facts
    assert "embed              3.0 s    75.0%" in capsys.readouterr().out


def test_samples_count_for_the_innermost_function_of_the_package() -> None:
    stack = ["main ({}/cli.py:1)", "run ({}/pipeline.py:2)", "dot (/usr/lib/numpy/core.py:3)"]
    samples = f"{';'.join(stack).format(*[profile_run.PACKAGE] * 2)} 3\nstart (/usr/lib/threading.py:9) 1\n"
    assert profile_run.functions(samples) == {"run (pipeline.py)": 0.75, "elsewhere": 0.25}


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        ("Fly from Rome to Oslo", "Fly from Oslo to Rome", "direction"),
        ("I have 2 cats", "I have 3 cats", "number"),
        ("I have two cats", "I have three cats", "number"),
        ("It is late", "It isn't late", "negation"),
        ("We went to Rome", "We went to Oslo", "name"),
        ("Talk faster", "Talk slower", "word"),
    ],
)
def test_what_differs_between_two_texts_is_told(left: str, right: str, kind: str) -> None:
    assert domains.kind_of_difference(left, right) == kind


def test_other_domains_are_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "domains"
    folder.mkdir()
    common = {"dataset": "small", "language": "en", "split": "test"}
    texts = ["How do I learn Python?", "What is the best way to learn Python?", "Why is the sky blue?"]
    pairs = [(texts[0], texts[1], 1), (texts[0], texts[2], 0), (texts[1], texts[2], 0)]
    contrast = [("I have 2 cats", "I have 3 cats", 0), ("Talk faster", "Talk slower", 0)]
    lines = [common | {"text1": a, "text2": b, "duplicate": label} for a, b, label in pairs]
    lines += [
        common | {"dataset": domains.CONTRAST[2], "text1": a, "text2": b, "duplicate": n}
        for a, b, n in contrast
    ]
    pd.DataFrame(lines).to_parquet(folder / "pairs.parquet")
    groups = [common | {"text": text, "group": str(i // 2)} for i, text in enumerate(texts)]
    pd.DataFrame(groups).to_parquet(folder / "groups.parquet")
    out = tmp_path / "domains.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["domains.py", str(tmp_path), "--json", str(out)])
        domains.main()
    figures = json.loads(out.read_text())
    assert figures["pairs"]["small en"]["ap_cross_encoder"] == 1.0
    assert figures["contrast"][f"{domains.CONTRAST[2]} en"]["all"]["pairs"] == 2
    assert figures["groups"]["small en"]["pair_precision"] == 1.0
    assert figures["macro"]["groups_bcubed_f1"] == 1.0
    assert "| small en |" in capsys.readouterr().out


def test_stage1(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "stage1.json"
    files = (data / "questions-eval.csv", "--pairs", data / "pairs.parquet", "--vectors", tmp_path)
    options = ("--index", "flat", "IVF4,Flat", "--other", ROOT, "--json", out)
    monkeypatch.setattr(sys, "argv", ["stage1.py", *map(str, (*files, *options))])
    stage1.main()
    figures = json.loads(out.read_text())
    flat, ivf, other = (figures["searches"][name] for name in ("flat", "IVF4,Flat", "other"))
    for name in ("pairs", "share_of_pairs", "labelled_duplicates_test"):
        assert flat[name] == other[name]
    assert (flat["index"], flat["share_of_pairs"]) == ({"kind": "flat"}, 1.0)
    assert ivf["index"]["recall"] == ivf["share_of_pairs"] == round(ivf["pairs"] / flat["pairs"], 4)
    assert 0.5 < flat["labelled_duplicates_test"] <= 1

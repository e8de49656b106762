"""Models on labelled pairs: scores equal those of the libraries, thresholds come from other pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer
from sklearn.metrics import average_precision_score

from dupmine.errors import DupmineError
from dupmine.evaluation.classification import ClassificationMetrics, CorrelationMetrics, Scores
from dupmine.evaluation.model import EvaluateSettings, evaluate_model, load_model, score_with_loaded
from dupmine.evaluation.thresholds import best_f1_threshold
from dupmine.progress import SILENT
from dupmine.schema import LabelledPairs
from tests.helpers import shell
from tests.helpers.tiny_models import WORDS, TinyModels

SETTINGS = EvaluateSettings.model_validate({"compute": {"device": "cpu", "precision": "fp32"}})


def random_pairs(n: int, seed: int = 0) -> LabelledPairs:
    generator = np.random.default_rng(seed)
    words = generator.choice(WORDS.split(), (2 * n, 5))
    texts = [" ".join(row) for row in words]
    label = (np.arange(n) % 3 == 0).astype(np.float32)
    return LabelledPairs(texts[:n], texts[n:], label, source=f"{n}.csv")


def score(name: str, pairs: LabelledPairs) -> Scores:
    return score_with_loaded(load_model(name, SETTINGS), pairs, SETTINGS.corpus.max_tokens, SILENT)


def test_a_cross_encoders_scores_are_its_logits(tiny: TinyModels) -> None:
    pairs = random_pairs(20)
    model = CrossEncoder(tiny["sigmoid"], device="cpu")
    expected = model.predict(list(zip(pairs.left, pairs.right, strict=True)), apply_softmax=False)
    scores = score(tiny["sigmoid"], pairs)
    assert (scores.kind, scores.calibrated) == ("logit", False)
    np.testing.assert_allclose(scores.probability, 1 / (1 + np.exp(-scores.value)), atol=1e-6)
    # The library applies the logistic function to one logit.
    np.testing.assert_allclose(scores.probability, expected, atol=1e-5)
    assert scores.seconds > 0


def test_a_bi_encoders_scores_are_its_cosines(tiny: TinyModels) -> None:
    pairs = random_pairs(20)
    model = SentenceTransformer(tiny["bi-encoder"], device="cpu")
    left, right = model.encode(pairs.left), model.encode(pairs.right)
    scores = score(tiny["bi-encoder"], pairs)
    assert scores.kind == "cosine"
    np.testing.assert_allclose(scores.value, (left * right).sum(axis=1), atol=2e-3)
    np.testing.assert_array_equal(scores.probability, np.clip(scores.value, 0, 1))
    assert score(tiny["static"], pairs).kind == "cosine"


@pytest.mark.parametrize("name", ["sigmoid", "bi-encoder"])
def test_the_threshold_comes_from_the_validation_pairs(tiny: TinyModels, name: str) -> None:
    test, valid = random_pairs(60), random_pairs(40, seed=1)
    found = evaluate_model(tiny[name], test, valid, SETTINGS, SILENT)
    assert isinstance(found.result, ClassificationMetrics)
    assert found.result.validated is not None
    scores = score(tiny[name], valid)
    assert found.result.validated.threshold == pytest.approx(
        best_f1_threshold(valid.label > 0, scores.decision)
    )
    own = score(tiny[name], test)
    assert found.result.best.threshold == pytest.approx(best_f1_threshold(test.label > 0, own.decision))
    expected = average_precision_score(test.label, own.value)
    assert found.result.average_precision.value == pytest.approx(expected)
    assert (found.kind, len(found.scores.value), found.valid_pairs) == (
        "bi-encoder" if name == "bi-encoder" else "cross-encoder",
        60,
        40,
    )
    assert evaluate_model(tiny[name], test, None, SETTINGS, SILENT).to_dict()["validated"] is None


def test_continuous_labels_are_evaluated_by_correlation(tiny: TinyModels) -> None:
    pairs = random_pairs(30)
    graded = LabelledPairs(pairs.left, pairs.right, np.linspace(0, 1, 30, dtype=np.float32))
    found = evaluate_model(tiny["regression"], graded, None, SETTINGS, SILENT)
    assert isinstance(found.result, CorrelationMetrics)
    worst = found.mistakes(3)
    error = np.abs(graded.label - found.scores.probability)
    assert worst["left"].to_pylist() == [graded.left[i] for i in np.argsort(-error)[:3]]


def test_pairs_of_one_class_and_models_of_neither_kind(tiny: TinyModels) -> None:
    pairs = random_pairs(9)
    with pytest.raises(DupmineError, match=r"^9\.csv: all 3 pairs have the label 1; an evaluation needs"):
        evaluate_model(tiny["sigmoid"], pairs.take(pairs.label > 0), None, SETTINGS, SILENT)
    with pytest.raises(DupmineError, match="without a trained classification head"):
        evaluate_model(tiny["bert"], pairs, None, SETTINGS, SILENT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    frames = []
    for split, n in (("test", 60), ("valid", 40)):
        pairs = random_pairs(n, seed=n)
        ids = [[f"{split}{i}{side}" for i in range(n)] for side in "lr"]
        columns = {"text1": pairs.left, "text2": pairs.right, "id1": ids[0], "id2": ids[1]}
        frames.append(pd.DataFrame(columns | {"label": pairs.label, "split": split}))
    path = tmp_path / "pairs.parquet"
    pd.concat(frames).to_parquet(path)
    return path


def test_evaluate_prints_a_table_and_writes_files(tiny: TinyModels, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = tiny["sigmoid"]
    splits = ("--split", "test", "--valid-split", "valid")
    outcome = shell.dupmine("evaluate", model, file, *splits, "--out", out, "--device", "cpu", "--symmetric")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads((out / "evaluation.json").read_text())
    ap, validated = record["average_precision"], record["validated"]
    assert outcome.out.startswith(f"cross-encoder {model} on 60 pairs of pairs.parquet, ")
    assert f"average precision  {ap['value']:.4f}   {ap['low']:.4f} to {ap['high']:.4f}" in outcome.out
    assert (record["shipped"]["threshold"], sum(record["shipped"]["confusion"].values())) == (0.5, 60)
    assert "from probability 0.5000, where the model accepts a pair taken alone:" in outcome.out
    assert f"from probability {validated['threshold']:.4f}, best F1 on 40 validation pairs:" in outcome.out
    assert ", the best F1 on these same pairs (optimistic):" in outcome.out
    assert (record["pairs"], record["duplicates"], record["valid_pairs"]) == (60, 20, 40)
    assert sum(validated["confusion"].values()) == 60
    assert {path.name for path in out.iterdir()} == {
        "evaluation.json",
        "mistakes.parquet",
        "precision-recall.svg",
        "reliability.svg",
    }
    mistakes = pd.read_parquet(out / "mistakes.parquet")
    error = (mistakes["label"] - mistakes["probability"]).abs()
    assert (len(mistakes), error.is_monotonic_decreasing) == (50, True)
    assert mistakes["left_id"].str.startswith("test").all()


def test_evaluate_without_other_pairs_recommends_valid(tiny: TinyModels, file: Path) -> None:
    outcome = shell.dupmine("evaluate", tiny["bi-encoder"], file, "--split", "test", "--device", "cpu")
    assert outcome.code == 0
    assert "no threshold from other pairs: choose one with --valid" in outcome.out
    assert "of the cosine, which is not a probability" in outcome.out
    assert "from cosine " in outcome.out


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--split", "dev"], "no row has split 'dev'; there are test, valid"),
        (["--split", "test", "--valid-split", "test"], "--valid: these are the test pairs"),
        (["--head", "nli"], "setting rerank.head: nli needs 3"),
        (["--label-max", "0"], "setting pairs.label_max"),
    ],
)
def test_impossible_evaluations(
    tiny: TinyModels, file: Path, tmp_path: Path, args: list[str], problem: str
) -> None:
    outcome = shell.dupmine("evaluate", tiny["sigmoid"], file, "--out", tmp_path / "out", *args)
    assert (outcome.code, outcome.out) == (2, "")
    assert problem in outcome.err
    assert not (tmp_path / "out").exists()

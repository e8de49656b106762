"""The cross-encoder against transformers' own forward pass, pair by pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder as OwnCrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dupmine.disk.work import Work
from dupmine.errors import ModelError, SettingsError
from dupmine.inference.device import DeviceConfig
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.scorer import CrossEncoder, score_pairs
from dupmine.schema import CandidatePairs, Floats, Rows, TokenStore, probabilities
from dupmine.settings import RerankSettings

from ..helpers.sentences import QUESTIONS
from ..helpers.tiny_models import MAX_LENGTH, TinyModels

FP32 = DeviceConfig(torch.device("cpu"), torch.float32, 1024)
SHORT = [text for text in QUESTIONS if len(text) < 25]


def load(name: str, compute: DeviceConfig = FP32, **values: object) -> CrossEncoder:
    return CrossEncoder(RerankSettings.model_validate({"cross_encoder": name, **values}), compute)


def store_for(scorer: CrossEncoder, texts: list[str]) -> TokenStore:
    return tokenise(texts, scorer.tokenizer, max_tokens=4096, progress=SILENT)


def neighbours(n: int) -> tuple[Rows, Rows]:
    """Return pairs of rows 1, 3 and 7 apart, in both orders."""
    left = np.concatenate([np.arange(n)] * 3)
    return left, (left + np.repeat([1, 3, n - 1], n)) % n


def score(scorer: CrossEncoder, texts: list[str]) -> Floats:
    return scorer.score(store_for(scorer, texts), *neighbours(len(texts)), SILENT)


def own_outputs(name: str, texts: list[str], *, swapped: bool = False) -> np.ndarray:
    """Return what the model puts out for each pair alone, `(n_pairs, n_labels)` float64."""
    tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        name, local_files_only=True, dtype=torch.float32
    ).eval()
    left, right = neighbours(len(texts))
    if swapped:
        left, right = right, left
    outputs = []
    with torch.inference_mode():
        for a, b in zip(left, right, strict=True):
            inputs = tokenizer(
                texts[a], texts[b], return_tensors="pt", truncation=True, max_length=MAX_LENGTH
            )
            outputs.append(model(**inputs).logits[0].double().numpy())
    return np.array(outputs)


def log_odds(p: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(p / (1 - p)))


def softmax(raw: np.ndarray) -> np.ndarray:
    powers = np.exp(raw)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_the_shipped_model_equals_its_own_predict() -> None:
    scorer = load("quora-minilm-l6", calibrate=False)
    assert (scorer.head.kind, scorer.max_tokens) == ("sigmoid", 254)
    texts = QUESTIONS[:40:2]
    left, right = neighbours(len(texts))
    model = OwnCrossEncoder(str(scorer.folder), device="cpu", local_files_only=True)
    model.model.float()
    expected = model.predict(
        [(texts[a], texts[b]) for a, b in zip(left, right, strict=True)], show_progress_bar=False
    )
    np.testing.assert_allclose(probabilities(score(scorer, texts)), expected, atol=1e-4)
    assert expected.min() < 0.05
    assert expected.max() > 0.5


@pytest.mark.parametrize("name", ["sigmoid", "roberta"])
def test_sigmoid(tiny: TinyModels, name: str) -> None:
    ours = score(load(tiny[name]), SHORT)
    assert ours.dtype == np.float32
    expected = own_outputs(tiny[name], SHORT)[:, 0]
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert np.ptp(expected) > 0.5


def test_softmax(tiny: TinyModels) -> None:
    scorer = load(tiny["softmax"])
    assert (scorer.head.kind, scorer.head.positive) == ("softmax", 1)
    expected = softmax(own_outputs(tiny["softmax"], SHORT))[:, 1]
    np.testing.assert_allclose(probabilities(score(scorer, SHORT)), expected, atol=1e-5)
    assert np.ptp(expected) > 0.2


@pytest.mark.parametrize(("name", "entailment"), [("nli-cen", 1), ("nli-enc", 0), ("nli-nce", 2)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_nli_takes_the_lesser_of_both_directions(
    tiny: TinyModels, name: str, entailment: int, symmetric: bool
) -> None:
    scorer = load(tiny[name], symmetric=symmetric)
    assert (scorer.head.kind, scorer.head.positive) == ("nli", entailment)
    there = softmax(own_outputs(tiny[name], SHORT))[:, entailment]
    back = softmax(own_outputs(tiny[name], SHORT, swapped=True))[:, entailment]
    np.testing.assert_allclose(probabilities(score(scorer, SHORT)), np.minimum(there, back), atol=1e-5)
    assert np.abs(there - back).max() > 0.05


@pytest.mark.parametrize("score_max", [1.0, 5.0])
def test_a_regression_score(tiny: TinyModels, score_max: float) -> None:
    scorer = load(tiny["regression"], score_max=score_max)
    assert scorer.head.kind == "score"
    expected = np.clip(own_outputs(tiny["regression"], SHORT)[:, 0] / score_max, 0, 1)
    np.testing.assert_allclose(probabilities(score(scorer, SHORT)), expected, atol=1e-5)
    assert expected.min() == 0
    assert expected.max() > 0.05


def test_a_head_that_is_asked_for(tiny: TinyModels) -> None:
    assert load(tiny["regression"], head="sigmoid").head.kind == "sigmoid"
    scorer = load(tiny["sigmoid"], head="score", score_max=2)
    expected = np.clip(own_outputs(tiny["sigmoid"], SHORT)[:, 0] / 2, 1e-6, 1 - 1e-6)
    np.testing.assert_allclose(probabilities(score(scorer, SHORT)), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["sigmoid", "softmax"])
def test_symmetric_averages_the_logits(tiny: TinyModels, name: str) -> None:
    there, back = (own_outputs(tiny[name], SHORT, swapped=swapped) for swapped in (False, True))
    if name == "softmax":
        there, back = (log_odds(softmax(raw)[:, 1:]) for raw in (there, back))
    ours = score(load(tiny[name], symmetric=True), SHORT)
    np.testing.assert_allclose(ours, ((there + back) / 2)[:, 0], atol=1e-4)
    assert np.abs(there - back).max() > 0.1
    scorer = load(tiny[name], symmetric=True)
    left, right = neighbours(len(SHORT))
    swapped = scorer.score(store_for(scorer, SHORT), right, left, SILENT)
    assert swapped.tolist() == ours.tolist()


@pytest.mark.parametrize("batch_tokens", [1, 64, 100_000])
def test_the_batch_size_changes_nothing(tiny: TinyModels, batch_tokens: int) -> None:
    other = load(tiny["sigmoid"], DeviceConfig(FP32.device, FP32.dtype, batch_tokens))
    np.testing.assert_allclose(score(other, SHORT), score(load(tiny["sigmoid"]), SHORT), atol=1e-5)


@pytest.mark.parametrize("name", ["sigmoid", "roberta", "nli-cen"])
def test_texts_over_the_models_limit_are_cut(tiny: TinyModels, name: str) -> None:
    texts = ["a " * 13 + "dog", "cat " * 9, "a " * 500 + "dog", "b " * 13, "dog", "a b c"]
    # Where both are long, an odd number of places leaves one empty here; RoBERTa has an even one.
    texts += ["x" * 35] if name == "roberta" else []
    scorer = load(tiny[name])
    assert scorer.max_tokens == 14
    expected = own_outputs(tiny[name], texts)
    if name == "nli-cen":
        back = own_outputs(tiny[name], texts, swapped=True)
        there, back = (softmax(raw)[:, 1] for raw in (expected, back))
        np.testing.assert_allclose(probabilities(score(scorer, texts)), np.minimum(there, back), atol=1e-5)
    else:
        np.testing.assert_allclose(score(scorer, texts), expected[:, 0], atol=1e-4)


@pytest.mark.parametrize("name", ["sigmoid", "nli-cen", "regression"])
def test_no_pairs(tiny: TinyModels, name: str) -> None:
    scorer = load(tiny[name])
    none = np.empty(0, np.int64)
    for texts in ([], ["a", "b"]):
        logits = scorer.score(store_for(scorer, texts), none, none, SILENT)
        assert (logits.shape, str(logits.dtype)) == ((0,), "float32")


def test_score_pairs_keeps_the_candidates(tiny: TinyModels) -> None:
    scorer = load(tiny["sigmoid"])
    left, right = np.array([0, 0, 2]), np.array([1, 3, 3])
    candidates = CandidatePairs(left, right, np.array([0.9, 0.8, 0.7], np.float32))
    tokens = store_for(scorer, SHORT)
    scored = score_pairs(scorer, tokens, candidates, SILENT)
    assert scored.left.tolist() == [0, 0, 2]
    assert scored.right.tolist() == [1, 3, 3]
    assert scored.cosine.tolist() == candidates.cosine.tolist()
    assert scored.logit.tolist() == scorer.score(tokens, left, right, SILENT).tolist()
    np.testing.assert_allclose(scored.probability, 1 / (1 + np.exp(-scored.logit.astype(float))), rtol=1e-6)


def test_a_long_run_says_so_after_its_first_shard(
    tiny: TinyModels, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = load(tiny["sigmoid"])
    tokens = store_for(scorer, SHORT)
    left, right = neighbours(len(SHORT))
    candidates = CandidatePairs(left, right, np.ones(len(left), np.float32))
    for name in ("short", "long"):
        (tmp_path / name).mkdir()
    score_pairs(scorer, tokens, candidates, SILENT, Work(tmp_path / "short"))
    assert "pairs to score" not in caplog.text
    monkeypatch.setattr("dupmine.rerank.scorer._LONG_RUN", 0)
    score_pairs(scorer, tokens, candidates, SILENT, Work(tmp_path / "short"))  # the shards are there already
    assert "pairs to score" not in caplog.text
    score_pairs(scorer, tokens, candidates, SILENT, Work(tmp_path / "long"))
    assert f"{len(left)} pairs to score, about 0 minutes" in caplog.text


@pytest.mark.parametrize(
    ("name", "head", "problem"),
    [
        ("four", "auto", "has 4 labels; setting rerank.head: auto needs 1 (a logit or a score), 2 "
         "(different, duplicate) or 3 (NLI)"),
        ("four", "nli", "has 4 labels; setting rerank.head: nli needs 3"),
        ("sigmoid", "softmax", "has 1 labels; setting rerank.head: softmax needs 2"),
        ("softmax", "sigmoid", "has 2 labels; setting rerank.head: sigmoid needs 1"),
        ("softmax", "nli", "has 2 labels; setting rerank.head: nli needs 3"),
        ("nli-cen", "score", "has 3 labels; setting rerank.head: score needs 1"),
        ("unnamed", "auto", "has three labels but none is named entailment (label_0, label_1, label_2); "
         "name them in id2label of its config.json"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(tiny: TinyModels, name: str, head: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tiny[name], head=head)
    assert str(caught.value) == f"model {tiny[name]} {problem}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("bert", "BertModel"), ("bi-encoder", "BertModel"), ("bi-encoder-roberta", "RobertaModel")],
)
def test_a_model_without_a_head(tiny: TinyModels, name: str, kind: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(tiny[name])
    assert str(caught.value) == (
        f"model {tiny[name]} is not a cross-encoder: it is a {kind} without a trained classification head; "
        "set rerank.cross_encoder to a sequence classifier over pairs"
    )


def test_the_default_bi_encoder_is_no_cross_encoder() -> None:
    with pytest.raises(
        ModelError, match=r"^model all-MiniLM-L6-v2 is not a cross-encoder: it is a BertModel "
    ):
        load("all-MiniLM-L6-v2")


def test_a_model_of_another_kind(tiny: TinyModels) -> None:
    with pytest.raises(ModelError) as caught:
        load(tiny["static"])
    assert str(caught.value) == (
        f"model {tiny['static']} cannot be loaded as a cross-encoder: "
        f"Unrecognized model in {tiny['static']}. Should have a `model_type` key in its config.json."
    )


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("model.safetensors", b"garbage", " cannot be loaded as a cross-encoder: Error while deserializing"),
        ("model.safetensors", None, " cannot be loaded as a cross-encoder: Error no file named model."),
        ("config.json", b"{", ": config.json cannot be read (Expecting property name"),
        ("config.json", b"{}", " cannot be loaded as a cross-encoder: Unrecognized model in "),
        ("tokenizer.json", b"{", ": its tokenizer cannot be loaded (is tokenizer.json whole?): "),
        ("tokenizer.json", None, ": its tokenizer cannot be loaded (is tokenizer.json whole?): "),
    ],
)
def test_a_broken_model(
    tiny: TinyModels, tmp_path: Path, file: str, content: bytes | None, problem: str
) -> None:
    folder = tiny.broken("sigmoid", tmp_path / "model", {file: content})
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert str(caught.value).startswith(f"model {folder}{problem}")
    assert "\n" not in str(caught.value)


def test_weights_cut_short(tiny: TinyModels, tmp_path: Path) -> None:
    weights = Path(tiny["sigmoid"], "model.safetensors").read_bytes()
    folder = tiny.broken("sigmoid", tmp_path / "model", {"model.safetensors": weights[:5000]})
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"model {folder} cannot be loaded as a cross-encoder: Error while deserializing header: incomplete "
        "metadata, file not fully covered"
    )


def test_a_model_without_its_tokenizer(tiny: TinyModels, tmp_path: Path) -> None:
    missing = {"tokenizer.json": None, "tokenizer_config.json": None}
    folder = tiny.broken("sigmoid", tmp_path / "model", missing)
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert str(caught.value) == f"model {folder} has no tokenizer: its folder lacks tokenizer.json"

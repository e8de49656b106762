"""Training cross-encoders: every head learns, resumes exactly, and loads in every library."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import CrossEncoder
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    DebertaV2Config,
    DebertaV2Model,
    MPNetConfig,
    MPNetForSequenceClassification,
)

import dupmine
from dupmine.errors import DupmineError, InputError, ModelError, OutputError, SettingsError
from dupmine.inference.device import resolve_device
from dupmine.inference.first_token import first_token_only
from dupmine.schema import LabelledPairs
from dupmine.settings import ComputeSettings
from dupmine.staged import load_staged
from dupmine.training.bi_encoder import prepare_bi_encoder
from dupmine.training.cross_encoder import SwappedPairs, freeze, prepare_cross_encoder
from dupmine.training.folder import Target, is_complete, step_number
from dupmine.training.settings import BiEncoderTraining, ClassifierSettings, CrossEncoderTraining
from dupmine.training.trainer import choose_attention

from ..helpers.killed import NEVER, Death, in_process
from ..helpers.tiny_models import SIZES, TinyModels, bert_tokenizer
from ..helpers.trainings import learnable_pairs, losses, quick_settings, train_cross_encoder, write_pairs

ROOT = Path(__file__).parent.parent.parent
SURE = {"model.hidden_dropout": 0.0, "model.attention_dropout": 0.0}
DUPLICATES, OTHERS = ("how cat tree", "how red sea"), ("why cat tree", "why red sea")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("lesson") / "pairs.csv", learnable_pairs(240))


@pytest.mark.parametrize(
    ("base", "head", "labels", "read_as"),
    [
        ("bert", "sigmoid", ["duplicate"], "sigmoid"),
        ("bi-encoder", "softmax", ["different", "duplicate"], "softmax"),
        ("nli-enc", "nli", ["entailment", "neutral", "contradiction"], "nli"),
        ("regression", "score", ["similarity"], "sigmoid"),
    ],
)
def test_a_head_learns_and_is_read_equally_everywhere(  # noqa: PLR0917 - fixtures and parameters
    base: str, head: str, labels: list[str], read_as: str, pairs: Path, tiny: TinyModels, tmp_path: Path
) -> None:
    settings = quick_settings(tiny[base], model__head=head, training__label_smoothing=0.02) | SURE
    out = tmp_path / "model"
    outcome = train_cross_encoder(pairs, Target(out), settings)
    assert np.mean(losses(outcome)[-3:]) < 0.5 * losses(outcome)[0]
    record = json.loads((out / "training.json").read_text())
    measure = "spearman" if head == "score" else "average_precision"
    assert record["validation"][measure]["value"] > (0.8 if head == "score" else 0.95)
    assert (record["steps"], record["data"]["train"]["pairs"]) == (30, 228)

    miner = dupmine.Miner(cross_encoder=str(out), precision="fp32", progress=False)
    mined = miner.score_pairs([DUPLICATES, OTHERS])
    assert mined[0] > 0.6
    assert mined[1] < 0.3
    assert miner.models.scorer.head.kind == read_as
    predicted = torch.as_tensor(CrossEncoder(str(out), device="cpu").predict([DUPLICATES, OTHERS]))
    if len(labels) == 1:  # the logistic is applied by the model's own configuration
        np.testing.assert_allclose(predicted, mined, atol=1e-5)
    plain = AutoModelForSequenceClassification.from_pretrained(out)
    assert list(plain.config.id2label.values()) == labels


def test_the_files_of_a_training(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    target = Target(tmp_path / "model", command="dupmine train cross-encoder pairs.csv")
    outcome = train_cross_encoder(pairs, target, quick_settings(tiny["bert"]))
    files = {path.name for path in target.folder.iterdir()}
    assert {
        "README.md",
        "training.json",
        "loss.svg",
        "pr.svg",
        "model.safetensors",
        "tokenizer.json",
    } <= files
    assert "checkpoints" not in files
    card = (target.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: sentence-transformers\npipeline_tag: text-ranking\n")
    for text in (target.command, "SHA-256", "| average precision |", "learning_rate: 0.01", "30 steps"):
        assert text in card
    assert outcome.best_step in {10, 20, 30}
    assert list(tmp_path.iterdir()) == [target.folder]
    with pytest.raises(OutputError, match="holds a finished training; give --overwrite"):
        train_cross_encoder(pairs, target, quick_settings(tiny["bert"]))
    (target.folder / "mine.txt").write_text("")
    with pytest.raises(OutputError, match=r"holds mine.txt, which this command does not write"):
        train_cross_encoder(pairs, Target(target.folder, overwrite=True), quick_settings(tiny["bert"]))


def test_a_killed_training_resumes_to_the_same_weights(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    settings = quick_settings(tiny["bert"], training__save_every=4)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    end = in_process(lambda: run(pairs, Target(whole), settings), whole, NEVER)
    assert end.result == 30
    death = Death(call=end.calls * 6 // 10)
    assert in_process(lambda: run(pairs, Target(broken), settings), broken, death).killed
    there = {path.name for path in (broken / "checkpoints").glob("checkpoint-*")}
    assert there

    with pytest.raises(OutputError, match="interrupted training: continue it with --resume"):
        run(pairs, Target(broken), settings)
    with pytest.raises(SettingsError, match=r"training.learning_rate was 0.01, is 0.1"):
        run(pairs, Target(broken, resume=True), settings | {"training.learning_rate": 0.1})
    assert {path.name for path in (broken / "checkpoints").glob("checkpoint-*")} == there
    last = max(filter(is_complete, (broken / "checkpoints").glob("checkpoint-*")), key=step_number)
    torn = broken / "checkpoints" / "checkpoint-29"
    shutil.copytree(last, torn)
    (torn / "trainer_state.json").write_text('{"global_step": 2')
    state = json.loads((last / "trainer_state.json").read_text())
    state["log_history"].append({"step": 0, "loss": 42.0})  # a sign that the training continued from here
    (last / "trainer_state.json").write_text(json.dumps(state))

    assert run(pairs, Target(broken, resume=True), settings | {"training.keep_checkpoints": 3}) == 30
    assert {"step": 0, "loss": 42.0} in json.loads((broken / "training.json").read_text())["history"]
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, broken))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    for name in ("steps", "best_step", "validation"):
        first_record, second_record = (json.loads((f / "training.json").read_text()) for f in (whole, broken))
        assert first_record[name] == second_record[name]


def run(pairs: Path, target: Target, settings: dict[str, Any]) -> int:
    return train_cross_encoder(pairs, target, settings).steps


def test_a_stable_rate_is_prolonged(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    settings = quick_settings(
        tiny["bert"], training__schedule="warmup-stable-decay", training__decay=0.2, training__save_every=4
    )
    out = tmp_path / "model"

    def killed_after_step_8() -> int:
        threading.Thread(target=die_after, args=(out / "checkpoints" / "checkpoint-8",), daemon=True).start()
        return run(pairs, Target(out), settings)

    assert in_process(killed_after_step_8, out, NEVER).killed
    with pytest.raises(SettingsError, match=r"training\.warmup was 0\.1, is 0\.9"):
        run(pairs, Target(out, resume=True), settings | {"training.warmup": 0.9})
    assert run(pairs, Target(out, resume=True), settings | {"training.max_steps": 40}) == 40


def die_after(checkpoint: Path) -> None:
    while not is_complete(checkpoint):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_large_config_trains_a_deberta(pairs: Path, tmp_path: Path) -> None:
    tokenizer = bert_tokenizer()
    config = DebertaV2Config(vocab_size=len(tokenizer), max_position_embeddings=32, **SIZES)
    DebertaV2Model(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    settings = quick_settings(str(tmp_path / "base"), training__epochs=1)
    config_file = ROOT / "configs" / "train-deberta-v3-large.yaml"
    outcome = train_cross_encoder(pairs, Target(tmp_path / "model"), settings, config_file)
    assert outcome.settings.training.accumulate == 2
    assert outcome.steps == 8
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert type(plain).__name__ == "DebertaV2ForSequenceClassification"
    assert plain.config.id2label == {0: "different", 1: "duplicate"}


@pytest.mark.parametrize(
    ("base", "head", "targets"),
    [
        ("bert", "sigmoid", [0.05, 0.95]),
        ("bert", "score", [0.05, 0.95]),
        ("bert", "softmax", [0, 1]),
        ("bert", "nli", [2, 1]),  # contradiction, entailment, neutral
        ("nli-enc", "nli", [1, 0]),  # its own order
    ],
)
def test_targets_follow_from_head_and_smoothing(
    base: str, head: str, targets: list[float], tiny: TinyModels
) -> None:
    settings = quick_settings(tiny[base], model__head=head, training__label_smoothing=0.1)
    loaded = load_staged(CrossEncoderTraining, None, settings)
    task = prepare_cross_encoder(learnable_pairs(2), loaded, resolve_device(loaded.compute))
    assert task.columns["label"] == pytest.approx(targets)
    smoothing = getattr(getattr(task.loss.loss, "ce_loss", None), "label_smoothing", None)
    assert smoothing == (0.1 if head in {"softmax", "nli"} else None)


def test_a_pseudo_label_is_not_smoothed(tiny: TinyModels) -> None:
    loaded = load_staged(
        CrossEncoderTraining, None, quick_settings(tiny["bert"], training__label_smoothing=0.1)
    )
    pairs = LabelledPairs(["a", "b", "c"], ["d", "e", "f"], np.array([0, 0.98, 1], np.float32))
    task = prepare_cross_encoder(pairs, loaded, resolve_device(loaded.compute))
    assert task.columns["label"] == pytest.approx([0.05, 0.98, 0.95])
    loaded = loaded.changed({"model.head": "score"})  # there it is a similarity like any other
    task = prepare_cross_encoder(pairs, loaded, resolve_device(loaded.compute))
    assert task.columns["label"] == pytest.approx([0.05, 0.932, 0.95])


def test_frozen_embeddings_do_not_change(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    settings = quick_settings(tiny["sigmoid"], model__freeze_embeddings=True, training__max_steps=3)
    train_cross_encoder(pairs, Target(tmp_path / "model"), settings)
    before, after = (load_file(Path(f) / "model.safetensors") for f in (tiny["sigmoid"], tmp_path / "model"))
    same = {name for name, values in before.items() if np.array_equal(values, after[name])}
    assert {name for name in before if ".embeddings." in name} == same


def mpnet(layers: int) -> MPNetForSequenceClassification:
    config = MPNetConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=8
    )
    return MPNetForSequenceClassification(config)


def test_frozen_layers_and_what_lies_below_do_not_change() -> None:
    model = mpnet(3)
    freeze(ClassifierSettings(base="x", freeze_layers=2), model)
    trained = {name for name, weights in model.named_parameters() if weights.requires_grad}
    above = ("mpnet.encoder.layer.2.", "classifier.")  # not the biases of positions, which all layers share
    assert trained == {name for name, _ in model.named_parameters() if name.startswith(above)}


def test_more_frozen_layers_than_there_are_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"freeze_layers: x has 1 layers; set it to at most that"):
        freeze(ClassifierSettings(base="x", freeze_layers=2), mpnet(1))


@pytest.mark.parametrize(
    ("precision", "longest", "attention"),
    [("bf16", 256, "eager"), ("bf16", 257, "sdpa"), ("bf16", None, "sdpa"), ("fp32", 32, "sdpa")],
)
def test_short_inputs_use_plain_attention_in_bf16(
    precision: Any, longest: int | None, attention: str, tiny: TinyModels
) -> None:
    model = AutoModel.from_pretrained(tiny["bert"])
    choose_attention(model, resolve_device(ComputeSettings(device="cpu", precision=precision)), longest)
    assert model.config._attn_implementation == attention


def test_both_models_are_prepared_with_plain_attention(tiny: TinyModels) -> None:
    quick = {"compute.precision": "bf16", "compute.device": "cpu"}
    classifier = load_staged(CrossEncoderTraining, None, quick_settings(tiny["bert"]) | quick)
    embedder = load_staged(BiEncoderTraining, None, quick_settings(tiny["bi-encoder"]) | quick)
    compute = resolve_device(classifier.compute)
    one = prepare_cross_encoder(learnable_pairs(2), classifier, compute).model.model
    two = prepare_bi_encoder(learnable_pairs(2), embedder, compute).model[0].model
    assert one.config._attn_implementation == two.config._attn_implementation == "eager"


def test_a_step_in_bf16_learns_what_one_in_fp32_does(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    settings = quick_settings(tiny["sigmoid"], training__learning_rate=1e-3, compute__device="cpu") | SURE
    exact, quick = (
        losses(train_cross_encoder(pairs, Target(tmp_path / kind), settings | {"compute.precision": kind}))
        for kind in ("fp32", "bf16")
    )
    assert quick == pytest.approx(exact, abs=0.06)
    assert quick != exact


def test_each_pair_is_shown_in_either_order() -> None:
    shown: list[list[str]] = []

    class Seen(torch.nn.Module):
        def forward(self, inputs: list[list[str]], labels: torch.Tensor) -> torch.Tensor:
            shown[:] = inputs
            return labels

    left, right = [f"l{i}" for i in range(1000)], [f"r{i}" for i in range(1000)]
    torch.manual_seed(1)
    SwappedPairs(Seen())([left, right], torch.zeros(1000))
    assert [set(pair) for pair in zip(*shown, strict=True)] == [set(p) for p in zip(left, right, strict=True)]
    assert 450 < sum(text.startswith("r") for text in shown[0]) < 550
    first = list(shown[0])
    SwappedPairs(Seen())([left, right], torch.zeros(1000))
    assert shown[0] != first


def test_pairs_can_stay_in_their_order(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    settings = quick_settings(tiny["bert"], training__max_steps=1) | SURE
    turned, kept, again = (
        losses(train_cross_encoder(pairs, Target(tmp_path / f"{i}"), settings | {"training.swap": swap}))
        for i, swap in enumerate((True, False, False))
    )
    assert kept == again != turned


@pytest.mark.parametrize("name", ["sigmoid", "roberta"])
def test_the_last_layer_for_the_first_token_changes_nothing(name: str, tiny: TinyModels) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny[name]).eval()
    ids = torch.randint(5, 40, (3, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    outputs, gradients = [], []
    for around in (False, True):
        model.zero_grad()
        if around:
            with first_token_only(model):
                logits = model(input_ids=ids, attention_mask=mask).logits
        else:
            logits = model(input_ids=ids, attention_mask=mask).logits
        logits.square().sum().backward()
        outputs.append(logits.detach())
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*outputs)
    assert model.base_model(ids).last_hidden_state.shape == (3, 12, 32)
    for plain, short in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, short, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"model.base": "nowhere"}, ModelError, "nowhere"),
        (
            {"model.base": "static"},
            ModelError,
            "begins with StaticEmbedding; set model.base to a transformer",
        ),
        ({"model.base": "t5"}, ModelError, "cannot become a cross-encoder"),
        (
            {"pseudo_labels.run": "run", "model.head": "nli"},
            SettingsError,
            "with model.head sigmoid, not nli: set",
        ),
        ({"training.batch_size": 512}, InputError, "228 training pairs are less than one batch of 512"),
        ({"pairs.label_max": 2.0}, InputError, "a label is 0.5, expected 0 .* or 1"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    settings: dict[str, Any],
    kind: type[DupmineError],
    message: str,
    pairs: Path,
    tiny: TinyModels,
    tmp_path: Path,
) -> None:
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text(
        '{"model_type": "marian", "architectures": ["MarianMTModel"]}'
    )
    bases = {"static": tiny["static"], "t5": str(tmp_path / "t5"), "nowhere": str(tmp_path / "nowhere")}
    base = bases.get(settings.get("model.base", ""), tiny["bert"])
    with pytest.raises(kind, match=message) as caught:
        train_cross_encoder(
            pairs, Target(tmp_path / "out"), quick_settings(tiny["bert"]) | settings | {"model.base": base}
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()

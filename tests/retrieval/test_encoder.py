"""The bi-encoder against sentence-transformers' own `encode`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from dupmine import Miner
from dupmine.disk.work import Work
from dupmine.errors import ModelError
from dupmine.inference.device import DeviceConfig
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.retrieval.encoder import BiEncoder, Embeddings, embed

from ..helpers.sentences import QUESTIONS
from ..helpers.tiny_models import MAX_LENGTH, TinyModels

FP32 = DeviceConfig(torch.device("cpu"), torch.float32, 4096)


def embed_with(encoder: BiEncoder, texts: list[str], folder: Path) -> Embeddings:
    tokens = encoder.tokenizer and tokenise(texts, encoder.tokenizer, max_tokens=512, progress=SILENT)
    return np.array(embed(encoder, texts, tokens or None, Work(folder), SILENT))


def own_encode(name: str, texts: list[str]) -> np.ndarray:
    model = SentenceTransformer(name, device="cpu", local_files_only=True)
    return np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False))


def test_the_default_model_equals_its_own_encode(miner: Miner, tmp_path: Path) -> None:
    encoder = BiEncoder("all-MiniLM-L6-v2", FP32)
    ours = embed_with(encoder, QUESTIONS, tmp_path)
    assert ours.dtype == np.float16
    np.testing.assert_allclose(ours, own_encode(str(encoder.folder), QUESTIONS), atol=2e-4)
    np.testing.assert_allclose(np.linalg.norm(ours.astype(np.float32), axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(embed_with(miner.models.encoder, QUESTIONS, tmp_path), ours, atol=1e-2)


@pytest.mark.parametrize("name", ["bi-encoder", "bi-encoder-roberta", "static"])
def test_tiny_models_equal_their_own_encode(tiny: TinyModels, name: str, tmp_path: Path) -> None:
    encoder = BiEncoder(tiny[name], FP32)
    assert (encoder.tokenizer is None) == (name == "static")
    assert encoder.dim == (16 if name == "static" else 32)
    texts = [text for text in QUESTIONS if text not in {"日本語はどうやって勉強しますか"}]
    ours = embed_with(encoder, texts, tmp_path)
    np.testing.assert_allclose(ours, own_encode(tiny[name], texts), atol=5e-4)


def test_a_corpus_is_mined_with_a_static_model(tiny: TinyModels) -> None:
    """A `StaticEmbedding` model, as model2vec makes it: a text's vector is the mean of its tokens."""
    miner = Miner(bi_encoder=tiny["static"], cross_encoder=tiny["sigmoid"], floor=0.99, progress=False)
    pairs = miner.mine(["the cat and the dog", "the dog and the cat", "learn piano fast"]).pairs
    assert pairs[["left_id", "right_id"]].to_numpy().tolist() == [["0", "1"]]
    assert pairs["cosine"][0] == pytest.approx(1, abs=1e-3)  # the order of words does not count


@pytest.mark.parametrize("name", ["bi-encoder", "bi-encoder-roberta"])
def test_texts_over_the_models_limit_are_cut(tiny: TinyModels, name: str, tmp_path: Path) -> None:
    encoder = BiEncoder(tiny[name], FP32)
    assert encoder.max_tokens == MAX_LENGTH - 2
    texts = ["a " * 500 + "dog", "cat " + "a " * 29, "a " * 25 + "dog", "a" * 29 + "a", "a" * 30 + "dog"]
    ours = embed_with(encoder, texts, tmp_path)
    np.testing.assert_allclose(ours, own_encode(tiny[name], texts), atol=5e-4)


@pytest.mark.parametrize("batch_tokens", [64, 500, 100_000])
def test_the_batch_size_changes_at_most_the_last_bit(batch_tokens: int, tmp_path: Path) -> None:
    usual = embed_with(BiEncoder("all-MiniLM-L6-v2", FP32), QUESTIONS, tmp_path)
    other_compute = DeviceConfig(FP32.device, FP32.dtype, batch_tokens)
    other = embed_with(BiEncoder("all-MiniLM-L6-v2", other_compute), QUESTIONS, tmp_path)
    difference = np.abs(usual.astype(np.float32) - other.astype(np.float32))
    assert (difference <= np.maximum(np.spacing(np.abs(usual)), 1e-5)).all()


def test_no_texts(tiny: TinyModels, tmp_path: Path) -> None:
    assert embed_with(BiEncoder(tiny["bi-encoder"], FP32), [], tmp_path).shape == (0, 32)
    assert embed_with(BiEncoder(tiny["static"], FP32), [], tmp_path).shape == (0, 16)


def test_embeddings_lie_in_the_file(tiny: TinyModels, tmp_path: Path) -> None:
    ours = embed_with(BiEncoder(tiny["bi-encoder"], FP32), QUESTIONS, tmp_path)
    assert (tmp_path / "embeddings.scratch").read_bytes() == ours.tobytes()


@pytest.mark.parametrize("name", ["sigmoid", "bert"])
def test_a_model_without_sentence_embeddings(tiny: TinyModels, name: str) -> None:
    with pytest.raises(ModelError) as caught:
        BiEncoder(tiny[name], FP32)
    assert str(caught.value) == (
        f"model {tiny[name]} is not a bi-encoder: {tiny[name]} is not a sentence-transformers embedding "
        "model (it lacks the modules.json of one); set retrieval.bi_encoder to one, such as all-MiniLM-L6-v2"
    )


def test_the_shipped_cross_encoder_is_no_bi_encoder() -> None:
    with pytest.raises(ModelError, match=r"^model quora-minilm-l6 is not a bi-encoder: "):
        BiEncoder("quora-minilm-l6", FP32)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("model.safetensors", b"garbage", "cannot be loaded as a bi-encoder: Error while deserializing"),
        (
            "model.safetensors",
            None,
            "cannot be loaded as a bi-encoder: Error no file named model.safetensors",
        ),
        ("modules.json", b"{", "cannot be loaded as a bi-encoder: Expecting property name"),
        ("modules.json", b"[]", "cannot be loaded as a bi-encoder: An empty modules list"),
        ("modules.json", None, "is not a bi-encoder: "),
        ("config.json", b"{", "config.json cannot be read (Expecting property name"),
        ("config_sentence_transformers.json", b'{"model_type": "CrossEncoder"}', "is not a bi-encoder: "),
        ("tokenizer.json", b"{", "cannot be loaded as a bi-encoder: "),
    ],
)
def test_a_broken_model(
    tiny: TinyModels, tmp_path: Path, file: str, content: bytes | None, problem: str
) -> None:
    folder = tiny.broken("bi-encoder", tmp_path / "model", {file: content})
    with pytest.raises(ModelError) as caught:
        BiEncoder(folder, FP32)
    assert str(caught.value).removeprefix(f"model {folder}").lstrip(": ").startswith(problem)
    assert "\n" not in str(caught.value)


def test_a_model_without_its_tokenizer(tiny: TinyModels, tmp_path: Path) -> None:
    missing = {"tokenizer.json": None, "tokenizer_config.json": None}
    folder = tiny.broken("bi-encoder", tmp_path / "model", missing)
    with pytest.raises(ModelError) as caught:
        BiEncoder(folder, FP32)
    assert str(caught.value) == f"model {folder} has no tokenizer: its folder lacks tokenizer.json"

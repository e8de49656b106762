"""Static models: what they are made of, and the cache they are made into."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from dupmine import Miner
from dupmine.errors import ModelError
from dupmine.inference.compute import Compute
from dupmine.inference.locate import load_tokenizer
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.retrieval import static
from dupmine.retrieval.encoder import BiEncoder
from dupmine.retrieval.static import distil, locate_static, token_frequencies
from dupmine.schema import Floats

from ..helpers.sentences import QUESTIONS
from ..helpers.tiny_models import TinyModels

FP32 = Compute(torch.device("cpu"), torch.float32, 4096)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DUPMINE_CACHE", str(folder))
    return folder


def vectors_of(encoder: BiEncoder, texts: list[str]) -> Floats:
    assert encoder.tokenizer is not None
    out = np.empty((len(texts), encoder.dim), np.float16)
    tokens = tokenise(texts, encoder.tokenizer, max_tokens=512, progress=SILENT)
    encoder.encode(texts, tokens, out, SILENT)
    return out.astype(np.float32)


def test_a_text_is_the_mean_of_its_tokens(tiny: TinyModels) -> None:
    encoder = BiEncoder(f"static:{tiny['bi-encoder']}", FP32)
    tokenizer, vectors = distil("tiny", Path(tiny["bi-encoder"]))
    ids = tokenizer.encode("why is the sky blue?", add_special_tokens=False).ids
    mean = vectors[ids].mean(axis=0)
    np.testing.assert_allclose(
        vectors_of(encoder, ["Why is the sky blue?"])[0], mean / np.linalg.norm(mean), atol=1e-3
    )


def test_it_is_an_ordinary_sentence_transformers_model(tiny: TinyModels) -> None:
    encoder = BiEncoder(f"static:{tiny['bi-encoder']}", FP32)
    own = SentenceTransformer(str(encoder.folder), device="cpu").encode(QUESTIONS, normalize_embeddings=True)
    np.testing.assert_allclose(vectors_of(encoder, QUESTIONS), own, atol=1e-3)


@pytest.mark.parametrize("batch_tokens", [64, 100_000])
def test_the_batch_size_changes_nothing(tiny: TinyModels, batch_tokens: int) -> None:
    name = f"static:{tiny['bi-encoder']}"
    usual = vectors_of(BiEncoder(name, FP32), QUESTIONS)
    other = vectors_of(BiEncoder(name, Compute(FP32.device, FP32.dtype, batch_tokens)), QUESTIONS)
    np.testing.assert_array_equal(usual, other)


def test_a_text_without_tokens_is_near_nothing(tiny: TinyModels) -> None:
    encoder = BiEncoder(f"static:{tiny['bi-encoder']}", FP32)
    assert (vectors_of(encoder, ["\u0301", "dog"]) @ vectors_of(encoder, ["dog"]).T)[0] == 0


def test_frequent_words_count_less(tiny: TinyModels) -> None:
    tokenizer = load_tokenizer(Path(tiny["bi-encoder"]))
    found = token_frequencies(tokenizer)
    mark, article, animal = (found[tokenizer.token_to_id(token)] for token in ("?", "the", "horse"))
    assert mark > article > 0.01
    assert animal == 0


def test_it_is_distilled_once(tiny: TinyModels, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"static:{tiny['bi-encoder']}"
    folder = locate_static(name)
    assert [path.name for path in kept.iterdir()] == [folder.name]
    monkeypatch.setattr(static, "distil", lambda *_: pytest.fail("distilled again"))
    assert locate_static(name) == folder


def test_another_model_has_a_place_of_its_own(tiny: TinyModels) -> None:
    names = [f"static:{tiny[model]}" for model in ("bi-encoder", "bi-encoder-roberta")]
    assert len({locate_static(name) for name in names}) == 2
    assert BiEncoder(names[0], FP32).sha256 != BiEncoder(names[1], FP32).sha256


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"garbage"),
        ("static.json", b"{"),
        ("static.json", b"null"),
        ("static.json", b'["made_of", "sha256"]'),
        ("static.json", None),
        ("tokenizer.json", None),
        ("tokenizer.json", b"{}"),
    ],
)
def test_a_damaged_model_is_made_anew(tiny: TinyModels, file: str, content: bytes | None) -> None:
    name = f"static:{tiny['bi-encoder']}"
    folder = locate_static(name)
    before = BiEncoder(name, FP32)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    after = BiEncoder(name, FP32)
    assert after.sha256 == before.sha256
    np.testing.assert_allclose(vectors_of(after, QUESTIONS), vectors_of(before, QUESTIONS), atol=1e-3)


def test_distilled_again_it_is_the_same_model(tiny: TinyModels, tmp_path: Path, kept: Path) -> None:
    before = BiEncoder(f"static:{tiny['bi-encoder']}", FP32)
    shutil.rmtree(kept)
    moved = shutil.copytree(tiny["bi-encoder"], tmp_path / "elsewhere")
    distilled = static.distil

    def with_other_last_bits(*arguments: object) -> tuple[Tokenizer, Floats]:
        tokenizer, vectors = distilled(*arguments)  # type: ignore[arg-type] # as they came
        return tokenizer, vectors * np.float32(1 + 1e-6)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static, "distil", with_other_last_bits)
        again = BiEncoder(f"static:{moved}", FP32)
    weights = again.folder / "model.safetensors"
    assert again.sha256 == before.sha256
    assert BiEncoder(str(again.folder), FP32).sha256 == before.sha256
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert BiEncoder(str(again.folder), FP32).sha256 != before.sha256


def test_two_processes_at_once(tiny: TinyModels, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"static:{tiny['bi-encoder']}"
    made = static._write

    def slower(*arguments: object) -> None:
        monkeypatch.setattr(static, "_write", made)
        locate_static(name)  # the other one ends first
        made(*arguments)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(static, "_write", slower)
    folder = locate_static(name)
    assert list(kept.iterdir()) == [folder]


def test_a_cache_that_cannot_be_written(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DUPMINE_CACHE", str(tmp_path / "file" / "cache"))
    folder = locate_static(f"static:{tiny['bi-encoder']}")
    assert set(json.loads((folder / "static.json").read_text())) == {"distilled_from", "made_of", "sha256"}
    assert "cannot be written, so that static models are distilled again each time" in caplog.text
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("static", "cannot be distilled; set retrieval.bi_encoder to a model with a transformer and a fast"),
        ("sigmoid", "is no bi-encoder: "),
    ],
)
def test_models_that_cannot_be_distilled(tiny: TinyModels, kept: Path, name: str, problem: str) -> None:
    with pytest.raises(ModelError, match=problem) as caught:
        BiEncoder(f"static:{tiny[name]}", FP32)
    assert "\n" not in str(caught.value)
    assert list(kept.iterdir()) == []


def test_a_corpus_mined_with_one(tiny: TinyModels) -> None:
    miner = Miner(
        bi_encoder=f"static:{tiny['bi-encoder']}", cross_encoder=tiny["sigmoid"], floor=0.5, progress=False
    )
    result = miner.mine(["the cat and the dog", "the dog and the cat", "learn piano fast"])
    pairs = result.pairs
    assert pairs["cosine"].max() == pytest.approx(1, abs=1e-3)  # the order of words is nothing to it
    assert result.manifest["settings"]["retrieval"]["bi_encoder"].startswith("static:")

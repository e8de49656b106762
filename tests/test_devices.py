"""The models and the search on each device of this machine, in half precision, against a CPU in single."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dupmine.inference.device import DeviceConfig, resolve_device
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.scorer import CrossEncoder
from dupmine.retrieval.candidates import find_candidates
from dupmine.retrieval.encoder import BiEncoder
from dupmine.schema import Floats, probabilities
from dupmine.settings import ComputeSettings, RerankSettings, RetrievalSettings

from .helpers.planted import plant
from .helpers.sentences import QUESTIONS
from .helpers.vectors import as_dict, grouped_vectors, random_vectors

FP32 = DeviceConfig(torch.device("cpu"), torch.float32, 4096)
TEXTS = [*QUESTIONS, *plant(200)[0]]
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_GPU)])


def in_halves(device: str) -> DeviceConfig:
    """Return a device in bf16, with batches so small that many are under way."""
    return resolve_device(
        ComputeSettings.model_validate({"device": device, "precision": "bf16", "batch_tokens": 512})
    )


def vectors(compute: DeviceConfig) -> Floats:
    encoder = BiEncoder("all-MiniLM-L6-v2", compute)
    assert encoder.tokenizer is not None
    tokens = tokenise(TEXTS, encoder.tokenizer, max_tokens=128, progress=SILENT)
    return encoder.encode(TEXTS, tokens, SILENT).astype(np.float32)


def scores(compute: DeviceConfig) -> Floats:
    scorer = CrossEncoder(RerankSettings(), compute)
    tokens = tokenise(TEXTS, scorer.tokenizer, max_tokens=128, progress=SILENT)
    left = np.repeat(np.arange(len(TEXTS)), 4)
    right = (left + np.tile([1, 2, 3, 50], len(TEXTS))) % len(TEXTS)
    return probabilities(scorer.score(tokens, left, right, SILENT))


@DEVICES
def test_vectors_in_half_precision_are_near_those_in_single(device: str) -> None:
    cosine = (vectors(in_halves(device)) * vectors(FP32)).sum(1)
    assert cosine.min() >= 0.999


@DEVICES
def test_probabilities_in_half_precision_are_near_those_in_single(device: str) -> None:
    found, expected = scores(in_halves(device)), scores(FP32)
    assert np.abs(found - expected).mean() < 0.002
    assert ((found >= 0.5) != (expected >= 0.5)).mean() < 0.005
    assert (expected >= 0.5).mean() > 0.01


@NO_GPU
@pytest.mark.parametrize("floor", [-1.0, 0.4])
def test_the_search_finds_the_same_on_a_gpu(floor: float) -> None:
    embeddings = np.concatenate([random_vectors(800, 64), grouped_vectors([40, 300, 5], 64, noise=0.4)])
    for options in ({}, {"max_k": 3}, {"index": "ivf", "nlist": 10, "nprobe": 10}):
        settings = RetrievalSettings.model_validate({"floor": floor, **options})
        found, facts = find_candidates(embeddings, settings, torch.device("cuda"), SILENT)
        expected, expected_facts = find_candidates(embeddings, settings, torch.device("cpu"), SILENT)
        assert as_dict(found) == as_dict(expected)
        assert facts == expected_facts
        assert len(expected)

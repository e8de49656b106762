"""Models whose small files demand too much, or do not belong to the weights: refused before any is built."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dupmine.errors import ModelError
from dupmine.inference.device import DeviceConfig
from dupmine.inference.locate import locate_model
from dupmine.inference.sizes import check_sizes
from dupmine.progress import SILENT
from dupmine.rerank.scorer import CrossEncoder
from dupmine.retrieval.encoder import BiEncoder, encode_texts
from dupmine.settings import BUILTIN_BI_ENCODER, BUILTIN_CROSS_ENCODER, RerankSettings

from ..helpers.tiny_models import TinyModels

FP32 = DeviceConfig(torch.device("cpu"), torch.float32, 1024)


def load(kind: str, folder: str) -> None:
    if kind == "bi-encoder":
        BiEncoder(folder, FP32)
    else:
        CrossEncoder(RerankSettings(cross_encoder=folder), FP32)


@pytest.mark.parametrize("kind", ["bi-encoder", "sigmoid"])
@pytest.mark.parametrize(
    "change",
    [
        {"num_labels": 1_000_000_000},
        {"num_hidden_layers": 10_000_000},
        {"hidden_size": 1 << 24},
        {"vocab_size": 1 << 30},
        {"intermediate_size": 65},
        {"max_position_embeddings": 1 << 40},
        {"text_config": {"type_vocab_size": 1 << 30}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_sizes_that_the_weights_do_not_have(
    kind: str, change: dict[str, Any], tiny: TinyModels, tmp_path: Path
) -> None:
    """They took minutes, and gigabytes."""
    config = json.loads(Path(tiny[kind], "config.json").read_text()) | change
    folder = tiny.broken(kind, tmp_path / "model", {"config.json": json.dumps(config).encode()})
    started = time.monotonic()
    with pytest.raises(ModelError) as caught:
        load(kind, folder)
    assert time.monotonic() - started < 5
    [(key, value)] = change.items() if "text_config" not in change else change["text_config"].items()
    assert str(caught.value) == (
        f"model {folder}: config.json says {key}: {value:.10g}, and its weights have no such size: restore "
        "the files that belong together, or take another model"
    )


def test_real_models_fit(tiny: TinyModels) -> None:
    for name in (BUILTIN_BI_ENCODER, BUILTIN_CROSS_ENCODER):
        check_sizes(name, locate_model(name))
    for folder in sorted(tiny.folder.iterdir()):
        check_sizes(folder.name, folder)


def changed_tokenizer(kind: str, tiny: TinyModels, folder: Path, **model: Any) -> str:
    tokenizer = json.loads(Path(tiny[kind], "tokenizer.json").read_text())
    tokenizer["model"] |= model
    return tiny.broken(kind, folder, {"tokenizer.json": json.dumps(tokenizer).encode()})


@pytest.mark.parametrize("kind", ["bi-encoder", "sigmoid"])
@pytest.mark.parametrize("number", [9999, 1 << 31])
def test_a_tokenizer_with_more_tokens_than_the_weights(
    kind: str, number: int, tiny: TinyModels, tmp_path: Path
) -> None:
    """To write a tokenizer with an id of 2^31 takes minutes."""
    vocabulary = json.loads(Path(tiny[kind], "tokenizer.json").read_text())["model"]["vocab"]
    folder = changed_tokenizer(kind, tiny, tmp_path / "model", vocab=vocabulary | {"paris": number})
    with pytest.raises(ModelError) as caught:
        load(kind, folder)
    assert str(caught.value) == (
        f"model {folder}: its tokenizer has the token id {number:,}, and its weights only {len(vocabulary)} "
        "tokens: they do not belong together"
    )


@pytest.mark.parametrize("kind", ["bi-encoder", "sigmoid"])
def test_a_tokenizer_without_a_token_for_the_unknown(kind: str, tiny: TinyModels, tmp_path: Path) -> None:
    folder = changed_tokenizer(kind, tiny, tmp_path / "model", unk_token="[NONE]")
    with pytest.raises(ModelError, match=r"its tokenizer cannot read characters that it does not know \("):
        load(kind, folder)


def change_tokenizer(kind: str, tiny: TinyModels, folder: Path, key: str, value: Any) -> str:
    tokenizer = json.loads(Path(tiny[kind], "tokenizer.json").read_text())
    return tiny.broken(kind, folder, {"tokenizer.json": json.dumps(tokenizer | {key: value}).encode()})


def template(kind: str, *, types: int = 1, last: int = 3) -> dict[str, Any]:
    """Return a post-processor with token types up to `types`, and a special token of the id `last`."""
    text, end = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
    other = {"Sequence": {"id": "B", "type_id": types}}
    single = {"Sequence": {"id": "A", "type_id": types}} if kind == "bi-encoder" else text
    special = {"[SEP]": {"id": "[SEP]", "ids": [last], "tokens": ["[SEP]"]}}
    return {
        "type": "TemplateProcessing",
        "single": [single, end],
        "pair": [text, end, other],
        "special_tokens": special,
    }


@pytest.mark.parametrize("kind", ["bi-encoder", "sigmoid"])
def test_a_tokenizer_with_more_token_types_than_the_weights(
    kind: str, tiny: TinyModels, tmp_path: Path
) -> None:
    load(kind, change_tokenizer(kind, tiny, tmp_path / "fits", "post_processor", template(kind)))
    more = change_tokenizer(kind, tiny, tmp_path / "more", "post_processor", template(kind, types=2))
    with pytest.raises(ModelError) as caught:
        load(kind, more)
    assert str(caught.value) == (
        f"model {more}: its tokenizer has the token type 2, and its weights only 2 types: they do not belong "
        "together"
    )


@pytest.mark.parametrize("kind", ["bi-encoder", "sigmoid"])
def test_a_special_token_beyond_the_weights(kind: str, tiny: TinyModels, tmp_path: Path) -> None:
    folder = change_tokenizer(kind, tiny, tmp_path / "model", "post_processor", template(kind, last=9999))
    with pytest.raises(ModelError, match=r"its tokenizer has the token id 9,999, and its weights only "):
        load(kind, folder)


@pytest.mark.parametrize("kind", ["bi-encoder", "sigmoid"])
def test_a_tokenizer_that_leaves_texts_out(kind: str, tiny: TinyModels, tmp_path: Path) -> None:
    nothing = {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
    folder = change_tokenizer(kind, tiny, tmp_path / "model", "normalizer", nothing)
    with pytest.raises(ModelError, match=r"its tokenizer leaves texts out: correct its tokenizer\.json$"):
        load(kind, folder)


def with_length(kind: str, tiny: TinyModels, folder: Path, length: object) -> str:
    """Copy a model, with another longest input."""
    changed = {}
    for file in ("tokenizer_config.json", "sentence_bert_config.json"):
        if (path := Path(tiny[kind], file)).exists():
            values = json.loads(path.read_text())
            given = {key: length for key in ("model_max_length", "max_seq_length") if key in values}
            changed[file] = json.dumps(values | given).encode()
    return tiny.broken(kind, folder, changed)


@pytest.mark.parametrize(
    ("kind", "length", "shown"),
    [("bi-encoder", 2, 2), ("bi-encoder", -1, -1), ("sigmoid", 4, 4), ("sigmoid", "long", 0)],
)
def test_a_longest_input_without_a_token_for_a_text(
    kind: str, length: object, shown: int, tiny: TinyModels, tmp_path: Path
) -> None:
    """It ended in the middle of a run, in errors about negative dimensions."""
    folder = with_length(kind, tiny, tmp_path / "model", length)
    with pytest.raises(ModelError) as caught:
        load(kind, folder)
    n_special = 2 if kind == "bi-encoder" else 3
    assert str(caught.value) == (
        f"model {folder} reads {shown} tokens at most, and {n_special} of them are special: correct "
        "model_max_length in tokenizer_config.json, or max_seq_length of a bi-encoder"
    )


@pytest.mark.parametrize("kind", ["bi-encoder", "bi-encoder-roberta"])
def test_no_input_is_longer_than_the_positions_of_the_weights(
    kind: str, tiny: TinyModels, tmp_path: Path
) -> None:
    """A bi-encoder may state more, and failed at the first long text."""
    model = BiEncoder(with_length(kind, tiny, tmp_path / "model", 4096), FP32)
    assert model.max_tokens == 32 - 2
    assert np.isfinite(encode_texts(model, ["cat " * 100], SILENT)).all()


def test_a_bi_encoder_that_starts_with_no_reader_of_texts(tiny: TinyModels, tmp_path: Path) -> None:
    modules = json.loads(Path(tiny["bi-encoder"], "modules.json").read_text())
    changed = {"modules.json": json.dumps(modules[1:]).encode()}
    with pytest.raises(ModelError, match=r"starts with Pooling, which reads no text: correct its modules"):
        load("bi-encoder", tiny.broken("bi-encoder", tmp_path / "model", changed))


@pytest.mark.parametrize("kind", ["bi-encoder", "sigmoid"])
def test_weights_that_cannot_be_opened_say_why(kind: str, tiny: TinyModels, tmp_path: Path) -> None:
    """A folder in their place: no permission stops root."""
    folder = Path(tiny.broken(kind, tmp_path / "model", {"model.safetensors": None}))
    (folder / "model.safetensors").mkdir()
    with pytest.raises(ModelError) as caught:
        load(kind, str(folder))
    assert str(caught.value) == (
        f"model {folder}: {folder / 'model.safetensors'} cannot be read (Is a directory)"
    )

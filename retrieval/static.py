"""Static bi-encoders: one vector per token, distilled from a bi-encoder, and no network to run.

`static:NAME` is the model NAME, reduced to what its transformer makes of every single token; a text's vector
is the mean of those of its tokens. That is hundreds of times faster and blind to the order of words, so it
proposes more pairs for the same recall. It is distilled once, into the user's cache (`DUPMINE_CACHE`, else
`~/.cache/dupmine`), and is an ordinary sentence-transformers model there.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from ..disk.files import digest
from ..errors import ModelError
from ..inference.cache import VARIABLE, cache_folder
from ..inference.compute import Compute
from ..inference.layout import LONGEST_INPUT, find_layout
from ..inference.locate import fingerprint, load_tokenizer, locate_model
from ..inference.onnx import Ids
from ..schema import Floats, TokenStore
from .sentences import SentenceModel

log = logging.getLogger(__name__)

PREFIX = "static:"
RECORD = "static.json"  # made here; another static model goes through sentence-transformers

_VERSION = 2  # of the method: another one makes another model
_WEIGHTS = "model.safetensors"
_TOKENIZER = "tokenizer.json"
_FREQUENCIES = "word_frequencies.tsv"
_RARE = 1e-3  # a token of this frequency counts half as much as the rarest: Arora et al., ICLR 2017
_BATCH = 512  # tokens of the vocabulary


class StaticModel:
    """A static model that was distilled here.

    `max_length` is its longest input and `dim` the length of its vectors.
    """

    precision = "fp32"
    needs_filling = False  # a row's sum does not depend on other rows
    precision = "fp32"
    max_length = LONGEST_INPUT

    def __init__(self, folder: Path) -> None:
        """Load the vectors and the tokenizer."""
        from safetensors.torch import load

        self.tokenizer = load_tokenizer(folder)
        self._vectors = load((folder / _WEIGHTS).read_bytes())["embedding.weight"].float()
        self.dim = self._vectors.shape[1]

    def run(self, ids: Ids, types: Ids) -> Floats:
        """Return the vectors of inputs of one length, `(n, length)` each, as `(n, dim) float32`."""
        if not ids.shape[1]:
            return np.zeros((len(ids), self.dim), np.float32)
        with torch.inference_mode():
            bags = torch.nn.functional.embedding_bag(torch.from_numpy(ids), self._vectors, mode="mean")
        vectors: Floats = bags.numpy()
        return vectors


def is_static(folder: Path) -> bool:
    """Whether a model's folder was written by `locate_static`."""
    return (folder / RECORD).is_file()


def static_fingerprint(folder: Path) -> str:
    """Return the SHA-256 of what a model was distilled from, and how; a changed one has that of its files.

    So one that is distilled again, here or elsewhere, is the same model, though its last bits may differ.
    """
    return str(_record(folder)["made_of"]) if _is_whole(folder) else fingerprint(folder)


def locate_static(name: str) -> Path:
    """Return the folder of the static model `static:NAME`; distil it if the cache does not hold it.

    Raises:
        ModelError: NAME cannot be found or loaded, is no bi-encoder or takes no token ids.
    """
    teacher = name.removeprefix(PREFIX)
    folder = locate_model(teacher)
    key = hashlib.sha256(f"{_VERSION} {_frequencies()} {fingerprint(folder)}".encode()).hexdigest()
    kept = _cache() / f"static-{key[:16]}"
    if _is_whole(kept):
        return kept
    log.info("%s: distilled once, into %s", name, kept)
    staging = Path(tempfile.mkdtemp(prefix=".static-", dir=kept.parent))
    try:
        _write(teacher, folder, staging, key)
        return _keep(staging, kept)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def distil(name: str, folder: Path) -> tuple[Tokenizer, Floats]:
    """Return the tokenizer of a bi-encoder and a vector for each of its tokens, `(n_tokens, dim) float32`.

    A token's vector is its state above the last layer, alone in a text, less the mean of all tokens'; then,
    as in Arora et al. (ICLR 2017), the more frequent the less it counts.

    Raises:
        ModelError: the model cannot be loaded, is no bi-encoder or takes no token ids.
    """
    teacher = SentenceModel(name, folder, Compute(torch.device("cpu"), torch.float32, 4096))
    if teacher.tokenizer is None:
        raise ModelError(
            f"model {PREFIX}{name}: {name} takes texts, not tokens, so it cannot be distilled; "
            "set retrieval.bi_encoder to a model with a transformer and a fast tokenizer"
        )
    states = _token_states(teacher, teacher.tokenizer)
    weight = _RARE / (_RARE + token_frequencies(teacher.tokenizer))
    vectors: Floats = (states - states.mean(axis=0)) * weight.astype(np.float32)[:, None]
    return teacher.tokenizer, vectors


def token_frequencies(tokenizer: Tokenizer) -> npt.NDArray[np.float64]:
    """Return how often each token stands among the words of English questions, `(n_tokens,)`.

    Whatever the tokenizer, this follows from the frequent words; a token of none of them has 0.
    """
    lines = [line.split("\t") for line in _frequencies().splitlines()]
    counts = [int(count) for _, count in lines]
    words = tokenizer.encode_batch_fast([f" {word}" for word, _ in lines], add_special_tokens=False)
    found = np.zeros(tokenizer.get_vocab_size())
    for word, count in zip(words, counts, strict=True):
        found[word.ids] += count
    return found / sum(counts)


def _token_states(teacher: SentenceModel, tokenizer: Tokenizer) -> Floats:
    """Return the last layer's state of each token, alone among the special tokens of a text."""
    n = tokenizer.get_vocab_size()
    layout = find_layout(tokenizer, 1)
    tokens = TokenStore(np.arange(n, dtype=np.int32), np.arange(n + 1), 0)
    place = len(layout.frames[0])
    states = []
    with torch.inference_mode():
        for start in range(0, n, _BATCH):
            rows = np.arange(start, min(start + _BATCH, n))
            ids, types = (torch.from_numpy(a) for a in layout.assemble(tokens, (rows,), teacher.max_length))
            features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            if teacher.takes_types:
                features["token_type_ids"] = types
            states.append(teacher.model[0](features)["token_embeddings"][:, place].float())
    found: Floats = torch.cat(states).numpy()
    return found


def _write(name: str, folder: Path, out: Path, made_of: str) -> None:
    """Distil a bi-encoder and save it as sentence-transformers does, with a record of what it holds."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer, vectors = distil(name, folder)
    plain = Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()), "post_processor": None}))
    plain.no_padding()
    plain.no_truncation()
    module = StaticEmbedding(plain, embedding_weights=vectors)
    SentenceTransformer(modules=[module], device="cpu").save(str(out), create_model_card=False)
    record = {"distilled_from": name, "made_of": made_of, "sha256": _sums(out)}
    (out / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _keep(made: Path, kept: Path) -> Path:
    """Move what was made to its place, unless another process did so first."""
    if kept.exists() and not _is_whole(kept):
        log.warning("%s was damaged and is made anew", kept)
        shutil.rmtree(kept)
    with suppress(OSError):
        made.rename(kept)
    if not _is_whole(kept):
        raise ModelError(f"{kept} cannot be written: name another folder in {VARIABLE}")
    return kept


def _is_whole(folder: Path) -> bool:
    """Whether a folder holds a static model as it was written."""
    try:
        record = _record(folder)
        return {"made_of", "sha256"} <= set(record) and bool(record["sha256"] == _sums(folder))
    except (OSError, ValueError, TypeError):
        return False


def _record(folder: Path) -> Any:
    return json.loads((folder / RECORD).read_bytes())


def _sums(folder: Path) -> dict[str, str]:
    return {name: digest(folder / name) for name in (_WEIGHTS, _TOKENIZER)}


def _cache() -> Path:
    """Return the user's cache; a folder of this process where that cannot be written."""
    folder = cache_folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        return folder
    log.warning("%s cannot be written, so that static models are distilled again each time", folder)
    return _own_cache()


@cache
def _own_cache() -> Path:
    folder = tempfile.mkdtemp(prefix="dupmine-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _frequencies() -> str:
    return (files(__package__) / _FREQUENCIES).read_text(encoding="utf-8")

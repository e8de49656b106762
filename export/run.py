"""A model's export: traced, made int8 if asked for, checked against the original, and only then kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer

from ..disk.folder import check_target, replacing, write_json
from ..errors import InputError, ModelError
from ..evaluation.model import EvaluateSettings, is_bi_encoder, score_with_model
from ..inference.batches import length_batches
from ..inference.device import DeviceConfig, resolve_device
from ..inference.layout import find_layout
from ..inference.locate import locate_model, quiet_loading
from ..inference.model_files import NOT_SCORING
from ..inference.onnx import GRAPH, RECORD, Ids, is_exported, open_session
from ..inference.tokens import tokenise
from ..progress import Progress
from ..rerank.classifier import Classifier
from ..retrieval.sentences import SentenceModel
from ..schema import LabelledPairs, TokenStore
from .check import Check, compare
from .graph import trace
from .int8 import NOTHING, Range, exposing, linear_inputs, quantise, widened

if TYPE_CHECKING:
    from onnx import ModelProto

CALIBRATION_PAIRS = 400

_SEED = 42
_BATCH_TOKENS = 512  # all activations of a batch are in memory at once
_COPIED = {".json", ".md", ".model", ".txt"}
_NOT_COPIED = (".", "checkpoint", "onnx", "openvino")  # so they begin
_ON_CPU = {"compute.device": "cpu", "compute.precision": "fp32", "rerank.calibrate": False}


Source = Classifier | SentenceModel


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """Whether weights and activations become int8, and how the result is judged.

    `most_pairs` are drawn from the labelled ones; `max_loss` is what the export may cost of F1 or, with
    continuous labels, of Spearman's correlation.
    """

    int8: bool = False
    max_loss: float = 0.005
    most_pairs: int = 6000


def export_model(
    name: str,
    pairs: LabelledPairs,
    out: Path,
    plan: ExportPlan,
    settings: EvaluateSettings,
    progress: Progress,
) -> Check:
    """Write a bi- or cross-encoder as an ONNX graph, with all beside it that mining needs.

    `out` is new or empty, and stays so if the export fails.

    Raises:
        InputError: all pairs have the same label.
        ModelError: the model cannot be loaded or traced, or loses more than `plan.max_loss`.
        OutputError: there is no writing to `out`.
    """
    check_target(out, (), overwrite=False)
    if len(np.unique(pairs.label)) < 2:
        raise InputError(
            f"{pairs.source}: all {len(pairs):,} pairs have one label; a check needs different ones"
        )
    pairs = _drawn(pairs, plan.most_pairs)
    settings = settings.changed(_ON_CPU)
    with replacing(out, (), overwrite=False) as folder:
        record = _write(name, folder, pairs if plan.int8 else None, settings, progress)
        before, after = (score_with_model(each, pairs, settings, progress) for each in (name, str(folder)))
        check = compare(pairs, before, after)
        if check.loss > plan.max_loss:
            raise ModelError(_refusal(name, plan, check))
        write_json(folder / RECORD, record | {"check": check.to_dict()})
    return check


def _write(
    name: str, out: Path, calibration: LabelledPairs | None, settings: EvaluateSettings, progress: Progress
) -> dict[str, Any]:
    """Write an exported model, in int8 where there are pairs to calibrate it with; return its record."""
    folder = locate_model(name)
    if is_exported(folder):
        raise ModelError(f"model {name} is an export itself; export the model it was made from")
    source, tokenizer = _load(name, folder, resolve_device(settings.compute))
    graph = trace(name, source)
    if calibration is not None:
        drawn = _drawn(calibration, CALIBRATION_PAIRS)
        longest = settings.corpus.max_tokens
        tokens = tokenise([*drawn.left, *drawn.right], tokenizer, max_tokens=longest, progress=progress)
        graph = quantise(graph, _ranges(name, graph, _inputs(source, tokenizer, tokens)))
    _copy_files(folder, out)
    (out / GRAPH).write_bytes(graph.SerializeToString())
    tokenizer.save(str(out / "tokenizer.json"))
    record = {
        "kind": "cross-encoder" if isinstance(source, Classifier) else "bi-encoder",
        "weights": "fp32" if calibration is None else "int8",
        "max_length": source.max_length,
    }
    write_json(out / RECORD, record)
    return record


def _load(name: str, folder: Path, compute: DeviceConfig) -> tuple[Source, Tokenizer]:
    with quiet_loading():
        if not is_bi_encoder(folder):
            classifier = Classifier(name, folder, compute)
            return classifier, classifier.tokenizer
        sentences = SentenceModel(name, folder, compute)
    if sentences.tokenizer is None:
        raise ModelError(
            f"model {name} cannot be exported: it takes texts, not token ids (it has no transformer with a "
            "fast tokenizer, or it has a prompt)"
        )
    return sentences, sentences.tokenizer


def _inputs(source: Source, tokenizer: Tokenizer, tokens: TokenStore) -> Iterator[tuple[Ids, Ids]]:
    """Yield batches of ids and token types: of pairs for a cross-encoder, else of each text alone.

    `tokens` has the left texts of all pairs and behind them the right ones.
    """
    texts = np.arange(len(tokens.lengths))
    rows = tuple(np.split(texts, 2)) if isinstance(source, Classifier) else (texts,)
    layout, limit = find_layout(tokenizer, len(rows)), source.max_length
    for batch in length_batches(layout.lengths(tokens, rows, limit), _BATCH_TOKENS):
        yield layout.assemble(tokens, tuple(of[batch] for of in rows), limit)


def _ranges(name: str, graph: ModelProto, inputs: Iterator[tuple[Ids, Ids]]) -> dict[str, Range]:
    """Return the range of every activation that enters a linear layer."""
    activations = linear_inputs(graph)
    session = open_session(name, exposing(graph, activations), torch.device("cpu"))
    given = [tensor.name for tensor in session.get_inputs()]
    ranges = dict.fromkeys(activations, NOTHING)
    for batch in inputs:
        values = session.run(activations, dict(zip(given, batch, strict=False)))
        ranges = {each: widened(ranges[each], of) for each, of in zip(activations, values, strict=True)}
    return ranges


def _copy_files(folder: Path, out: Path) -> None:
    """Copy a model's files but for its weights."""
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        wanted = path.suffix in _COPIED and not path.name.endswith(".index.json")
        wanted &= place.name not in NOT_SCORING and not place.parts[0].startswith(_NOT_COPIED)
        if wanted and path.is_file():
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / place)


def _drawn(pairs: LabelledPairs, most: int) -> LabelledPairs:
    if len(pairs) <= most:
        return pairs
    return pairs.take(np.sort(np.random.default_rng(_SEED).choice(len(pairs), most, replace=False)))


def _refusal(name: str, plan: ExportPlan, check: Check) -> str:
    advice = "export it without --int8, or" if plan.int8 else "you can"
    return (
        f"model {name} is not exported: its {check.measure} on {check.pairs:,} pairs would fall from "
        f"{check.before:.4f} to {check.after:.4f}, by more than {plan.max_loss:g}; {advice} allow more with "
        "--max-loss"
    )

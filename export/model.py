"""A model's export: traced, made int8 if asked for, checked against the original, and only then kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..disk.folder import check_target, replacing, write_json
from ..errors import InputError, ModelError
from ..evaluation.model import EvaluateSettings, load_model, score_with_loaded
from ..inference.layout import Ids
from ..inference.model_files import EXPORT_RECORD, NOT_SCORING
from ..inference.token_model import TokenModel, input_batches
from ..inference.tokens import tokenise
from ..progress import Progress
from ..rerank.scorer import CrossEncoder
from ..retrieval.encoder import BiEncoder
from ..schema import LabelledPairs, TokenStore
from .check import Check, compare
from .graph import trace
from .int8 import NOTHING, Range, exposing, linear_inputs, quantise, widened
from .session import open_session, with_graph

if TYPE_CHECKING:
    from onnx import ModelProto

GRAPH = "model.onnx"
CALIBRATION_PAIRS = 400

_SEED = 42
_BATCH_TOKENS = 512  # all activations of a batch are in memory at once
_COPIED = {".json", ".md", ".model", ".txt"}
_NOT_COPIED = (".", "checkpoint", "onnx", "openvino")  # so they begin
_ON_CPU = {"compute.device": "cpu", "compute.precision": "fp32", "rerank.calibrate": False}


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
    """Write a bi- or cross-encoder as an ONNX graph, with its tokenizer and configuration beside it.

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
    model = load_model(name, settings)
    _require_token_ids(name, model)
    with replacing(out, (), overwrite=False) as folder:
        _write(name, model, folder, pairs if plan.int8 else None, settings.corpus.max_tokens, progress)
        models = model, with_graph(model, folder / GRAPH)
        before, after = (
            score_with_loaded(each, pairs, settings.corpus.max_tokens, progress) for each in models
        )
        check = compare(pairs, before, after)
        if check.loss > plan.max_loss:
            raise ModelError(_refusal(name, plan, check))
        write_json(
            folder / EXPORT_RECORD,
            {
                "exported_from": name,
                "kind": "cross-encoder" if isinstance(model, CrossEncoder) else "bi-encoder",
                "weights": "int8" if plan.int8 else "fp32",
                "max_length": model.model.max_length,
                "check": check.to_dict(),
            },
        )
    return check


def _require_token_ids(name: str, model: BiEncoder | CrossEncoder) -> None:
    if model.tokenizer is None:
        raise ModelError(
            f"model {name} cannot be exported: it takes texts, not token ids (it has no transformer with a "
            "fast tokenizer, or it has a prompt)"
        )


def _write(
    name: str,
    model: BiEncoder | CrossEncoder,
    out: Path,
    calibration: LabelledPairs | None,
    longest: int,
    progress: Progress,
) -> None:
    """Write a model's graph, in int8 where there are pairs to calibrate it with, and its other files."""
    tokenizer = model.tokenizer
    assert tokenizer is not None
    graph = trace(name, model.model)
    if calibration is not None:
        drawn = _drawn(calibration, CALIBRATION_PAIRS)
        tokens = tokenise([*drawn.left, *drawn.right], tokenizer, max_tokens=longest, progress=progress)
        graph = quantise(graph, _ranges(graph, _inputs(model.model, tokens)))
    _copy_files(model.folder, out)
    (out / GRAPH).write_bytes(graph.SerializeToString())
    tokenizer.save(str(out / "tokenizer.json"))


def _inputs(model: TokenModel, tokens: TokenStore) -> Iterator[tuple[Ids, Ids]]:
    """Yield batches of ids and token types: of pairs for a cross-encoder, else of each text alone.

    `tokens` has the left texts of all pairs and behind them the right ones.
    """
    rows = np.split(np.arange(len(tokens.lengths)), model.texts_per_input)
    return input_batches(model, tokens, tuple(rows), _BATCH_TOKENS)


def _ranges(graph: ModelProto, inputs: Iterator[tuple[Ids, Ids]]) -> dict[str, Range]:
    """Return the range of every activation that enters a linear layer."""
    activations = linear_inputs(graph)
    session = open_session(exposing(graph, activations))
    names = [tensor.name for tensor in session.get_inputs()]
    ranges = dict.fromkeys(activations, NOTHING)
    for batch in inputs:
        values = session.run(activations, dict(zip(names, batch, strict=False)))
        ranges = {each: widened(ranges[each], seen) for each, seen in zip(activations, values, strict=True)}
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

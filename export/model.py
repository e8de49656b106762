"""The export of a model: trace it, quantise it on request, and check it against the original."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..disk.folder import check_target, replacing, write_json
from ..errors import ModelError
from ..evaluation.model import EvaluateSettings, load_model, require_labels, score_with_loaded
from ..inference.model_files import EXPORT_RECORD, NOT_SCORING
from ..inference.token_model import input_batches
from ..inference.tokens import tokenise
from ..progress import Progress
from ..rerank.scorer import CrossEncoder
from ..retrieval.encoder import BiEncoder
from ..schema import LabelledPairs
from .check import ExportCheck, compare_scores
from .graph import trace
from .int8 import write_quantised
from .session import with_graph

GRAPH = "model.onnx"
CALIBRATION_PAIRS = 400

_SEED = 42
_BATCH_TOKENS = 512  # all activations of a batch are in memory at once
_COPIED_SUFFIXES = {".json", ".md", ".model", ".txt"}
_NOT_COPIED = (".", "checkpoint", "onnx", "openvino")  # prefixes
_ON_CPU = {"compute.device": "cpu", "compute.precision": "fp32", "rerank.calibrate": False}


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Whether linear layers become int8, and how the export is checked.

    `max_pairs` of the labelled pairs are drawn for the check. `max_loss` is the accepted loss of F1 or, with
    continuous labels, of Spearman's correlation.
    """

    int8: bool = False
    max_loss: float = 0.005
    max_pairs: int = 6000


def export_model(
    name: str,
    pairs: LabelledPairs,
    out: Path,
    options: ExportOptions,
    settings: EvaluateSettings,
    progress: Progress,
) -> ExportCheck:
    """Write a bi- or cross-encoder as an ONNX graph, with its tokenizer and configuration beside it.

    `out` is new or empty, and stays so if the export fails.

    Raises:
        InputError: all pairs have the same label.
        ModelError: the model cannot be loaded or traced, or the export loses more than `options.max_loss`.
        OutputError: `out` cannot be written.
    """
    check_target(out, (), overwrite=False)
    require_labels(pairs)
    pairs = _drawn(pairs, options.max_pairs)
    settings = settings.changed(_ON_CPU)
    model = load_model(name, settings)
    with replacing(out, (), overwrite=False) as folder:
        _write(name, model, folder, pairs if options.int8 else None, settings.corpus.max_tokens, progress)
        original, exported = (
            score_with_loaded(each, pairs, settings.corpus.max_tokens, progress)
            for each in (model, with_graph(model, folder / GRAPH))
        )
        check = compare_scores(pairs, original, exported)
        if check.loss > options.max_loss:
            raise ModelError(_refusal(name, options, check))
        record = {
            "exported_from": name,
            "kind": "cross-encoder" if isinstance(model, CrossEncoder) else "bi-encoder",
            "weights": "int8" if options.int8 else "fp32",
            "max_length": model.model.max_length,
            "check": check.to_dict(),
        }
        write_json(folder / EXPORT_RECORD, record)
    return check


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
    if tokenizer is None:
        raise ModelError(
            f"model {name} cannot be exported: it reads texts instead of token ids (it has no transformer "
            "with a fast tokenizer, or it has a prompt)"
        )
    graph = trace(name, model.model)
    _copy_files(model.folder, out)
    tokenizer.save(str(out / "tokenizer.json"))
    if calibration is None:
        (out / GRAPH).write_bytes(graph.SerializeToString())
        return
    drawn = _drawn(calibration, CALIBRATION_PAIRS)
    tokens = tokenise([*drawn.left, *drawn.right], tokenizer, max_tokens=longest, progress=progress)
    names = [tensor.name for tensor in graph.graph.input]
    # Rows of the left texts of all pairs, then of the right ones; a bi-encoder reads each text alone.
    rows = np.split(np.arange(len(tokens.lengths)), model.model.texts_per_input)
    batches = input_batches(model.model, tokens, tuple(rows), _BATCH_TOKENS)
    write_quantised(graph, (dict(zip(names, batch, strict=False)) for batch in batches), out / GRAPH)


def _copy_files(folder: Path, out: Path) -> None:
    """Copy the files of a model except its weights."""
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        wanted = path.suffix in _COPIED_SUFFIXES and not path.name.endswith(".index.json")
        wanted &= place.name not in NOT_SCORING and not place.parts[0].startswith(_NOT_COPIED)
        if wanted and path.is_file():
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / place)


def _drawn(pairs: LabelledPairs, most: int) -> LabelledPairs:
    if len(pairs) <= most:
        return pairs
    return pairs.take(np.sort(np.random.default_rng(_SEED).choice(len(pairs), most, replace=False)))


def _refusal(name: str, options: ExportOptions, check: ExportCheck) -> str:
    remedy = "export it without --int8, or" if options.int8 else "you can"
    return (
        f"model {name} is not exported: its {check.measure} on {check.pairs:,} pairs would fall from "
        f"{check.original:.4f} to {check.exported:.4f}, by more than {options.max_loss:g}; {remedy} allow "
        "more with --max-loss"
    )

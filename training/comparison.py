"""Train and test several approaches on one split; models of an earlier comparison are kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..corpus.labelled import pairs_sha256, read_pairs
from ..disk.files import digest, output_errors, require_local
from ..disk.folder import check_target, replacing, write_json, write_table
from ..disk.lock import LOCK, WRITER, lock
from ..errors import InputError, ModelError, SettingsError
from ..evaluation.classification import ClassificationMetrics
from ..evaluation.model import EvaluateSettings, evaluate_model
from ..evaluation.splits import split_file
from ..inference.locate import fingerprint, is_bi_encoder, locate_model, read_config
from ..progress import Progress
from ..schema import LabelledPairs
from ..settings import PairSettings
from .comparison_report import FILES, Comparison, Row
from .comparison_settings import Approach, CompareSettings, read_approaches
from .folder import RECORD, Target
from .plan import describe_changes, effective_settings
from .run import train_model

log = logging.getLogger(__name__)

SPLIT = "split"
MODELS = "models"
SETS = ("train", "valid", "test")

_SPLIT_RECORD = "split.json"


def compare(settings: CompareSettings, out: Path, progress: Progress, *, command: str) -> Comparison:
    """Train each approach on one split, test it, and write the results after each.

    `out` holds the split, the trained models and `FILES`. The split and the models that an interrupted
    comparison with the same settings left there are kept.

    Raises:
        DupmineError: the pairs, the settings, a base model or a folder do not fit; see its subclasses.
    """
    approaches = read_approaches(settings)
    bases = {approach.name: _locate_base(approach) for approach in approaches}
    require_local(out)
    out = out.expanduser().absolute()
    temporary = {path.name for path in out.glob(".*")}
    check_target(out, {SPLIT, MODELS, LOCK, WRITER, *FILES, *temporary}, overwrite=True)
    facts, sets = _split_pairs(settings, out / SPLIT)
    comparison = Comparison(settings.model_dump(), facts, [])
    with lock(out):
        for approach in approaches:
            _require_same(out / MODELS / approach.folder, approach, bases[approach.name], sets)
        for approach in approaches:
            model = bases[approach.name]
            if approach.trained:
                model = out / MODELS / approach.folder
                _train(approach, model, out / SPLIT, command, progress)
            comparison.rows.append(_evaluate(approach, model, sets, progress))
            with output_errors(out):
                comparison.write(out)
    return comparison


def _locate_base(approach: Approach) -> Path:
    """Find an approach's base and check its kind, before anything is trained."""
    try:
        folder = locate_model(approach.base)
    except ModelError as error:
        raise ModelError(
            f"approach {approach.name}: {error}; without the hub use configs/compare-quora-offline.yaml"
        ) from None
    if approach.kind == "bi-encoder" and not is_bi_encoder(folder):
        raise ModelError(
            f"approach {approach.name}: model {approach.base} is not a sentence-transformers bi-encoder; set "
            "its base to one such as all-MiniLM-L6-v2"
        )
    if approach.kind == "cross-encoder" and not approach.trained and is_bi_encoder(folder):
        raise ModelError(
            f"approach {approach.name}: model {approach.base} is a bi-encoder; set its base to a "
            "cross-encoder such as quora-minilm-l6, or let it be trained"
        )
    return folder


def _split_pairs(settings: CompareSettings, folder: Path) -> tuple[dict[str, Any], dict[str, LabelledPairs]]:
    """Split the pairs, or read the split that was made before with the same settings.

    Returns how it was made and its sets by name.
    """
    if settings.split.file is None:
        raise SettingsError("setting split.file: set it to a file of labelled pairs, or give --pairs")
    path = Path(settings.split.file).expanduser()
    basis = {
        **settings.split.model_dump(exclude={"file"}),
        **settings.pairs.model_dump(),
        "file": path.name,
        "sha256": digest(path) if path.is_file() else None,
    }
    if folder.exists():
        facts = read_config(folder, _SPLIT_RECORD)
        before = {name: facts.get(name) for name in basis}
        _require_equal(before, basis, f"{folder} holds another split")
        return facts, _read_sets(folder, settings.pairs)
    files = [_SPLIT_RECORD, *(f"{name}.parquet" for name in SETS)]
    split = settings.split
    tables, leaks = split_file(
        path, settings.pairs, shares=split.shares, by=split.by, sample=split.sample, seed=split.seed
    )
    facts = {**basis, "splits": {name: asdict(leak) for name, leak in leaks.items()}}
    with replacing(folder, files, overwrite=False) as staging:
        for name, table in tables.items():
            write_table(staging / f"{name}.parquet", table)
        write_json(staging / _SPLIT_RECORD, facts)
        sets = _read_sets(staging, settings.pairs)
        if not all(pairs.is_binary for pairs in sets.values()):
            raise InputError(f"{path}: a comparison needs labels 0 and 1, and there are others between them")
    sizes = ", ".join(f"{name} {len(pairs):,}" for name, pairs in sets.items())
    log.info("divided %s into %s", path, sizes)
    return facts, sets


def _read_sets(folder: Path, settings: PairSettings) -> dict[str, LabelledPairs]:
    return {name: read_pairs(folder / f"{name}.parquet", settings) for name in SETS}


def _require_same(folder: Path, approach: Approach, base: Path, sets: Mapping[str, LabelledPairs]) -> None:
    """Check that a model trained before is the one that would be trained now."""
    record = read_config(folder, RECORD)
    if not (approach.trained and record):
        return
    before = effective_settings(record.get("settings", {})) | {"base model": record.get("base_sha256")}
    now = effective_settings(approach.settings.model_dump()) | {"base model": fingerprint(base)}
    for name in ("train", "valid"):
        before[f"{name} pairs"] = record.get("data", {}).get(name, {}).get("sha256")
        now[f"{name} pairs"] = pairs_sha256(sets[name])
    _require_equal(before, now, f"{folder} holds approach {approach.name} trained differently")


def _require_equal(before: dict[str, Any], now: dict[str, Any], fact: str) -> None:
    if changes := describe_changes(before, now):
        raise SettingsError(
            f"{fact} ({changes}): use the same settings, remove that folder, or give another --out"
        )


def _train(approach: Approach, folder: Path, split: Path, command: str, progress: Progress) -> None:
    if (folder / RECORD).is_file():
        log.info("%s is trained already: %s", approach.name, folder)
        return
    log.info("train %s", approach.name)
    target = Target(folder, resume=True, command=command)
    train_model(split / "train.parquet", split / "valid.parquet", approach.settings, target, progress)


def _evaluate(approach: Approach, model: Path, sets: Mapping[str, LabelledPairs], progress: Progress) -> Row:
    settings = EvaluateSettings(pairs=approach.settings.pairs, compute=approach.settings.compute)
    valid = evaluate_model(str(model), sets["valid"], None, settings, progress)
    test = evaluate_model(str(model), sets["test"], sets["valid"], settings, progress)
    assert isinstance(valid.result, ClassificationMetrics), "the labels are 0 and 1"
    assert isinstance(test.result, ClassificationMetrics), "the labels are 0 and 1"
    return Row(
        name=approach.name,
        kind=approach.kind,
        base=approach.base,
        objective=approach.objective,
        training_seconds=read_config(model, RECORD).get("seconds") if approach.trained else None,
        scoring_seconds=test.scores.seconds,
        valid=valid.result,
        test=test.result,
    )

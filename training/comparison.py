"""Approaches trained and tested on one split: what is done already is not done again."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..corpus.labelled import pairs_sha256, read_pairs
from ..corpus.questions import question_components
from ..disk.files import digest, output_errors
from ..disk.folder import replacing, write_json, write_table
from ..disk.lock import LOCK, WRITER, lock
from ..errors import InputError, ModelError, OutputError, SettingsError
from ..evaluation.classification import evaluate_scores
from ..evaluation.model import EvaluateSettings, score_with_model
from ..evaluation.splits import split_file
from ..evaluation.thresholds import best_f1_threshold
from ..inference.locate import fingerprint, is_bi_encoder, locate_model, read_config
from ..progress import Progress
from ..schema import LabelledPairs
from ..settings import PairSettings
from .comparison_report import FILES, Comparison, Row, read_rows
from .comparison_settings import Approach, CompareSettings, read_approaches
from .compose import train_bi_encoder, train_cross_encoder
from .folder import RECORD
from .run import Target
from .settings import BiEncoderTraining

log = logging.getLogger(__name__)

SPLIT = "split"
MODELS = "models"
SETS = ("train", "valid", "test")

_MADE = "split.json"
_SHOWN = 3
_NO_MATTER = {"device", "threads", "batch_tokens", "keep_checkpoints"}


@dataclass(frozen=True, slots=True)
class _Split:
    """The split of a comparison: its folder, how it was made, and its sets by name."""

    folder: Path
    facts: dict[str, Any]
    sets: dict[str, LabelledPairs]

    def fingerprints(self, *names: str) -> dict[str, str]:
        return {f"{name} pairs": pairs_sha256(self.sets[name]) for name in names}


def compare(settings: CompareSettings, out: Path, progress: Progress, *, command: str) -> Comparison:
    """Train each approach on one split, test it, and write what was found after each.

    In `out` are the split, the trained models and `FILES`; of an earlier, interrupted comparison with the
    same settings everything is kept.

    Raises:
        DupmineError: pairs, settings, a base model or a folder that do not fit; see its subclasses.
    """
    approaches = read_approaches(settings)
    bases = {approach.name: _locate(approach) for approach in approaches}
    out = out.expanduser().absolute()
    _check_target(out)
    division = _divide(settings, out / SPLIT)
    comparison = Comparison(settings.model_dump(), division.facts, [])
    with lock(out):
        for approach in approaches:
            _require_same(out / MODELS / approach.folder, approach, bases[approach.name], division)
        earlier = read_rows(out)
        for approach in approaches:
            model = bases[approach.name]
            if approach.trained:
                model = out / MODELS / approach.folder
                _train(approach, model, division, command, progress)
            comparison.rows.append(_judge(approach, model, division, earlier, progress))
            with output_errors(out):
                comparison.write(out)
    return comparison


def _locate(approach: Approach) -> Path:
    """Find an approach's base before anything is trained, and whether it is of its kind."""
    try:
        folder = locate_model(approach.base)
    except ModelError as error:
        raise ModelError(
            f"approach {approach.name}: {error}; without the hub take configs/compare-quora-offline.yaml"
        ) from None
    if approach.kind == "bi-encoder" and not is_bi_encoder(folder):
        raise ModelError(
            f"approach {approach.name}: model {approach.base} is no sentence-transformers bi-encoder; set "
            "its base to one, as all-MiniLM-L6-v2"
        )
    if approach.kind == "cross-encoder" and not approach.trained and is_bi_encoder(folder):
        raise ModelError(
            f"approach {approach.name}: model {approach.base} is a bi-encoder; set its base to a "
            "cross-encoder, as quora-minilm-l6, or let it be trained"
        )
    return folder


def _check_target(out: Path) -> None:
    with output_errors(out):
        if not out.exists():
            return
        if not out.is_dir():
            raise OutputError(f"{out} exists and is not a folder; give another --out")
        ours = {SPLIT, MODELS, LOCK, WRITER, *FILES}
        strange = sorted(p.name for p in out.iterdir() if p.name not in ours and not p.name.startswith("."))
    if strange:
        raise OutputError(f"{out} holds {strange[0]}, which no comparison writes; give another --out")


def _divide(settings: CompareSettings, folder: Path) -> _Split:
    """Make the split or, where it was made already in this way, read it."""
    if settings.split.file is None:
        raise SettingsError(
            "setting split.file: name a file of labelled pairs there, or give one with --pairs"
        )
    path = Path(settings.split.file).expanduser()
    made = {
        **settings.split.model_dump(exclude={"file"}),
        **settings.pairs.model_dump(),
        "file": path.name,
        "sha256": digest(path) if path.is_file() else None,
    }
    if folder.exists():
        before = read_config(folder, _MADE)
        _require_equal({name: before.get(name) for name in made}, made, f"{folder} was made otherwise")
        return _Split(folder, before, _read_sets(folder, settings.pairs))
    files = [_MADE, *(f"{name}.parquet" for name in SETS)]
    tables, leaks = split_file(path, settings.pairs, settings.split.plan())
    facts = {**made, "splits": {name: asdict(leak) for name, leak in leaks.items()}}
    with replacing(folder, files, overwrite=False) as staging:
        for name, table in tables.items():
            write_table(staging / f"{name}.parquet", table)
        write_json(staging / _MADE, facts)
        sets = _read_sets(staging, settings.pairs)
        if not all(pairs.is_binary for pairs in sets.values()):
            raise InputError(f"{path}: a comparison needs labels 0 and 1, and there are others between them")
    log.info("divided %s into %s", path, ", ".join(f"{name} {len(of):,}" for name, of in sets.items()))
    return _Split(folder, facts, sets)


def _read_sets(folder: Path, settings: PairSettings) -> dict[str, LabelledPairs]:
    return {name: read_pairs(folder / f"{name}.parquet", settings) for name in SETS}


def _require_same(folder: Path, approach: Approach, base: Path, division: _Split) -> None:
    """Check that a model that is there already is the one that would be trained."""
    record = read_config(folder, RECORD)
    if not (approach.trained and record):
        return
    data = record.get("data", {})
    before = _flat(record.get("settings", {})) | {
        "base model": record.get("base_sha256"),
        **{f"{name} pairs": data.get(name, {}).get("sha256") for name in ("train", "valid")},
    }
    now = _flat(approach.settings.model_dump()) | {"base model": fingerprint(base)}
    now |= division.fingerprints("train", "valid")
    _require_equal(before, now, f"{folder} holds approach {approach.name} trained otherwise")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{stage}.{key}": value
        for stage, of in settings.items()
        for key, value in of.items()
        if key not in _NO_MATTER
    }


def _require_equal(before: dict[str, Any], now: dict[str, Any], fact: str) -> None:
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        shown = [f"{name} was {before.get(name)}, is {now.get(name)}" for name in changed[:_SHOWN]]
        raise SettingsError(
            f"{fact} ({'; '.join(shown)}): go on as it began, remove that folder, or give another --out"
        )


def _train(approach: Approach, folder: Path, division: _Split, command: str, progress: Progress) -> None:
    if (folder / RECORD).is_file():
        log.info("%s is trained already: %s", approach.name, folder)
        return
    log.info("train %s", approach.name)
    train, valid = division.folder / "train.parquet", division.folder / "valid.parquet"
    request = Target(folder, resume=True, command=command)
    if isinstance(approach.settings, BiEncoderTraining):
        train_bi_encoder(train, valid, approach.settings, request, progress)
    else:
        train_cross_encoder(train, valid, approach.settings, request, progress)


def _judge(approach: Approach, model: Path, division: _Split, earlier: list[Row], progress: Progress) -> Row:
    """Return an approach's row, the earlier one where nothing changed since."""
    compute = approach.settings.compute
    basis = {
        "model": fingerprint(model),
        "compute": f"{compute.device} {compute.precision} {compute.threads}",
    }
    basis |= division.fingerprints("valid", "test")
    for row in earlier:
        if (row.name, row.basis) == (approach.name, basis):
            return row
    judging = EvaluateSettings(pairs=approach.settings.pairs, compute=compute)
    valid, test = division.sets["valid"], division.sets["test"]
    on_valid = score_with_model(str(model), valid, judging, progress)
    on_test = score_with_model(str(model), test, judging, progress)
    threshold = best_f1_threshold(valid.label > 0.5, on_valid.decision)
    seconds = read_config(model, RECORD).get("seconds") if approach.trained else None
    return Row(
        name=approach.name,
        kind=approach.kind,
        base=approach.base,
        objective=approach.objective,
        training_seconds=seconds,
        scoring_seconds=on_test.seconds,
        valid=evaluate_scores(valid.label > 0.5, on_valid, None, group=question_components(valid)),
        test=evaluate_scores(test.label > 0.5, on_test, threshold, group=question_components(test)),
        basis=basis,
    )

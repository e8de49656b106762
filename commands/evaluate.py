"""`dupmine evaluate` and `dupmine evaluate-run`: metrics of a model or a run on labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from ..formats import PAIR_TITLES
from ..messages import escape
from . import options


def evaluate(
    model: options.Model,
    pairs: options.Pairs,
    *,
    out: Annotated[
        Path | None,
        options.output_option("--out", "-o", help="Folder for JSON, plots and the worst mistakes."),
    ] = None,
    overwrite: options.Overwrite = False,
    split: options.Split = None,
    valid: Annotated[
        Path | None,
        options.input_option(metavar="PAIRS", help="Other pairs, to choose the threshold on."),
    ] = None,
    valid_split: Annotated[
        str | None,
        options.input_option(help="Choose it on the rows with this split, of --valid or of PAIRS."),
    ] = None,
    reading: options.PairOptions,
    head: options.Head = None,
    symmetric: options.Symmetric = None,
    config: options.ConfigOptions,
    compute: options.ComputeOptions,
    log: options.LogOptions,
) -> None:
    """Evaluate a model on labelled pairs.

    The threshold is the one with the best F1 on other pairs, if there are any.
    """
    from ..corpus.labelled import read_pairs
    from ..evaluation.model import FILES, EvaluateSettings, evaluate_model, write_evaluation

    settings = config.build(
        EvaluateSettings, reading, {"rerank.head": head, "rerank.symmetric": symmetric}, compute
    )
    sources = {"test": (pairs, split)}
    if valid is not None or valid_split is not None:
        sources["valid"] = (valid or pairs, valid_split)
    if sources.get("valid") == sources["test"]:
        raise SettingsError(
            "--valid: these are the test pairs; choose the threshold on other pairs, else it is optimistic"
        )
    if out is not None:
        from ..disk.folder import check_target
        from ..evaluation import plots  # noqa: F401 - missing packages are reported before hours of work

        check_target(out, FILES, overwrite=overwrite)
    read = {name: read_pairs(path, settings.pairs, split=split) for name, (path, split) in sources.items()}
    evaluation = evaluate_model(model, read["test"], read.get("valid"), settings, log.progress)
    if out is not None:
        write_evaluation(evaluation, out, overwrite=overwrite)
    from .evaluate_view import model_lines

    log.report([*model_lines(evaluation), *([] if out is None else ["", f"written to {escape(str(out))}"])])


def evaluate_run(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS",
            help=f"Gold clusters (id, cluster) or labelled pairs (qid1, qid2, is_duplicate): {PAIR_TITLES}.",
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Evaluate a run against gold clusters or labelled pairs."""
    from ..evaluation.run import evaluate_run as evaluate_stages
    from .evaluate_view import run_lines

    stages = evaluate_stages(run, labels)
    typer.echo(json.dumps(stages, indent=2) if as_json else "\n".join(run_lines(stages)))

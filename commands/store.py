"""`dupmine store …`: a corpus that is updated, and its clusters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..disk.interrupts import end_with_commit
from ..errors import CorruptStoreError, InputError
from ..messages import escape, to_json
from ..settings import MiningSettings
from . import options
from .help import App

if TYPE_CHECKING:
    from ..store.history import UpdateReport
    from ..store.store import Store

_EPILOG = """\b
Exit codes:
  0    success, also if there was nothing to do
  1    an error of dupmine itself
  2    an error in the input, the settings, a model or a folder
  3    another process writes to the store: try again, or use --wait
  4    the store is damaged: use dupmine store verify --repair
  5    no space on the disk, or not enough memory
  130  stopped by SIGINT (143 by SIGTERM, 129 by SIGHUP)
After every code but 0 the store is unchanged.
"""

store = App(name="store", help="Keep a corpus and its clusters in a folder, and update them.", epilog=_EPILOG)

Folder = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store.")]
Wait = Annotated[
    float, options.run_option(metavar="SECONDS", min=0.0, help="Seconds to wait for another writer.")
]


def _write(
    folder: Path,
    write: Callable[[Store], UpdateReport],
    wait: float,
    log: options.LogOptions,
    metrics: options.MetricsOptions | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Open the store with some settings, make a generation, and print the report."""
    from .prometheus import gauges_of_update, metrics_of_run
    from .store_view import update_lines

    metrics = metrics or options.MetricsOptions()
    end_with_commit()
    with metrics_of_run(metrics.metrics, metrics.metrics_label) as report:
        update_report = write(_open(folder, log, wait, settings))
        report(gauges_of_update(update_report), update_report.seconds)
    log.report(update_lines(update_report))


@store.command()
def init(folder: Folder, *, config: options.ConfigOptions, wait: Wait = 0.0, log: options.LogOptions) -> None:
    """Make an empty store. Its settings stay until rebuild changes them."""
    settings = config.build(MiningSettings)
    end_with_commit()
    from ..store.store import Store

    Store.create(folder, settings, progress=log.bars, wait=wait)
    name = escape(str(folder))
    log.report([f"made {name}; add documents: dupmine store update {name} FILES"])


@store.command()
def update(
    folder: Folder,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="New and edited documents: files, folders or globs, as for mine; - is standard input.",
        ),
    ],
    *,
    corpus: options.CorpusOptions,
    compute: options.ComputeOptions,
    wait: Wait = 0.0,
    metrics: options.MetricsOptions,
    log: options.LogOptions,
) -> None:
    """Add new documents and replace edited ones, by id."""
    settings = corpus.settings() | compute.settings()
    _write(folder, lambda opened: opened.update_files(inputs), wait, log, metrics, settings)


@store.command()
def delete(
    folder: Folder,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of documents; put -- before ids like -7.")
    ] = None,
    ids_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="File with one id per line; - is standard input.")
    ] = None,
    *,
    compute: options.ComputeOptions,
    wait: Wait = 0.0,
    metrics: options.MetricsOptions,
    log: options.LogOptions,
) -> None:
    """Delete documents by id. If an id is unknown, none is deleted."""
    if not ids and ids_from is None:
        raise typer.BadParameter("name at least one id, or a file with --ids-from", param_hint="ID")

    def delete_documents(opened: Store) -> UpdateReport:
        listed = [line for line in _lines(ids_from) if line] if ids_from is not None else []
        return opened.delete([*(ids or []), *listed])

    _write(folder, delete_documents, wait, log, metrics, compute.settings())


@store.command()
def rebuild(
    folder: Folder,
    *,
    config: options.ConfigOptions,
    wait: Wait = 0.0,
    metrics: options.MetricsOptions,
    log: options.LogOptions,
) -> None:
    """Recompute the clusters with other settings or models."""
    _write(folder, lambda opened: opened.rebuild(config.config, **config.overrides), wait, log, metrics)


@store.command()
def compact(
    folder: Folder, *, wait: Wait = 0.0, metrics: options.MetricsOptions, log: options.LogOptions
) -> None:
    """Merge all segments and free the space of deleted documents."""
    _write(folder, lambda opened: opened.compact(), wait, log, metrics)


@store.command()
def rollback(
    folder: Folder,
    generation: Annotated[int, typer.Argument(metavar="GENERATION", help="Number of a kept generation.")],
    *,
    wait: Wait = 0.0,
    log: options.LogOptions,
) -> None:
    """Restore an earlier generation."""
    _write(folder, lambda opened: opened.rollback(generation), wait, log)


@store.command()
def verify(
    folder: Folder,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Restore or recompute damaged files.")] = False,
    wait: Wait = 0.0,
    log: options.LogOptions,
) -> None:
    """Check every file of the store against its checksum."""
    from ..store.store import Store

    opened = Store.open_damaged(folder, progress=log.bars, wait=wait)
    damages = opened.verify(repair=repair)
    for damage in damages:
        typer.echo(escape(f"{damage.outcome}: {damage.file}: {damage.problem}"))
    if not log.quiet:
        for name in opened.unknown_files():
            typer.echo(escape(f"unknown: {name}: not written by dupmine, left alone"))
    left = sum(damage.outcome in {"damaged", "lost"} for damage in damages)
    if left and repair:
        raise CorruptStoreError(f"{folder}: {left} losses could not be repaired, see above")
    if left:
        raise CorruptStoreError(f"{folder}: {left} files are damaged: use --repair")
    if not log.quiet:
        typer.echo(f"intact, at generation {opened.generation}")


@store.command()
def status(folder: Folder, *, as_json: options.Json = False, log: options.LogOptions) -> None:
    """Show what the store holds and who writes to it."""
    from .store_view import status_lines

    facts = _open(folder, log).status()
    options.print_utf8([to_json(facts)] if as_json else status_lines(facts))


@store.command()
def changes(
    folder: Folder,
    *,
    since: Annotated[int, typer.Option(min=0, metavar="GENERATION", help="Only later changes.")] = 0,
    as_json: options.Json = False,
    log: options.LogOptions,
) -> None:
    """Show the changes of the clusters, by generation."""
    from .store_view import change_lines, records

    events = _open(folder, log).changes(since)
    options.print_utf8([to_json(records(events))] if as_json else change_lines(events))


@store.command()
def query(
    folder: Folder,
    *,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts to look up.")] = None,
    file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File with one text per line; - is standard input.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Documents for each text.")] = 10,
    duplicates_only: Annotated[
        bool, typer.Option("--duplicates-only", help="Only documents that ask the same.")
    ] = False,
    compute: options.ComputeOptions,
    as_json: options.Json = False,
    log: options.LogOptions,
) -> None:
    """Find the documents that ask the same as a text."""
    queries = [*(texts or []), *(_lines(file) if file is not None else [])]
    if not queries and file is None:
        raise typer.BadParameter("give at least one text, or a file with --file", param_hint="TEXT")
    from ..corpus.values import encodes
    from .store_view import query_lines, records

    for position, text in enumerate(queries):
        if not encodes(text):
            raise InputError(f"text {position} (counted from 0) is not valid UTF-8: {text!r:.80}")
    answers = _open(folder, log, settings=compute.settings()).query(queries, top)
    if duplicates_only:
        answers = answers[answers["is_duplicate"]]
    options.print_utf8([to_json(records(answers))] if as_json else query_lines(answers, queries))


@store.command()
def export(
    folder: Folder,
    *,
    out: Annotated[Path, options.output_option("--out", "-o", help="Folder for the tables.")],
    overwrite: options.Overwrite = False,
    log: options.LogOptions,
) -> None:
    """Write the tables that `dupmine mine` writes."""
    from .summary import next_commands, summarise

    result = _open(folder, log).export(out, overwrite=overwrite)
    log.report([summarise(result), "", f"written to {escape(str(out))}", next_commands(out)])


def _open(
    folder: Path, log: options.LogOptions, wait: float = 0.0, settings: Mapping[str, Any] | None = None
) -> Store:
    from ..store.store import Store

    return Store.open(folder, progress=log.bars, wait=wait, **(settings or {}))


def _lines(file: str) -> list[str]:
    """Return the lines of a file or of standard input, including empty lines."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}): check the name and the permissions"
        ) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{file}, line {line}: invalid UTF-8: convert the file to UTF-8") from None
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]

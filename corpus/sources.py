"""Which files an input stands for, and what format and compression their names say."""

from __future__ import annotations

import difflib
import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ..disk.folder import is_run
from ..errors import InputError, SettingsError
from .parts import encodes, one_line, shown

logger = logging.getLogger(__name__)

STDIN = "-"
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".xml": "stackexchange",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read: `path` is as the user gave it, `label` names it in ids made as `file:row`."""

    path: str
    label: str
    format: str
    compression: str | None

    @property
    def is_stdin(self) -> bool:
        """Return whether this is standard input."""
        return self.path == STDIN


def find_sources(inputs: Sequence[str | Path], format: str) -> list[Source]:
    """Find the files that paths, folders, globs and "-" stand for, each once, in the order given.

    A folder stands for every file below it with a known ending (of `format`, where that is not "auto"),
    sorted, hidden ones and what dupmine wrote left out; a glob for what it matches, sorted. Raises
    `InputError` for a missing file, an empty glob or folder, one that the system does not give, a name
    that is no UTF-8 and an unknown ending, `SettingsError` for "-" without a format.
    """
    sources: dict[str, Source] = {}
    for given in [inputs] if isinstance(inputs, str | Path) else inputs:
        for path in _found(os.fspath(given), format):
            # Folders and globs may overlap; a document must not be read twice because of it.
            key = path if path == STDIN else os.path.realpath(path)
            if key in sources:
                logger.info("%s was named twice and is read once", path)
                continue
            sources[key] = _source(path, format)
    if not sources:
        raise InputError("no input: name a file, a folder, a glob or - for standard input")
    return _labelled(list(sources.values()))


def _found(given: str, format: str) -> list[str]:
    try:
        paths = list(_expand(os.path.expanduser(given), format))  # noqa: PTH111  (Path() drops "./")
    except OSError as error:
        raise InputError(unreadable(shown(error.filename or given), error)) from None
    for path in paths:
        if not encodes(path):
            raise InputError(f"{shown(path)}: the name is no UTF-8: rename the file or its folder")
    return paths


def unreadable(path: str, error: OSError) -> str:
    """Return the message for a file the system does not give."""
    return (
        f"{path}: cannot be opened ({error.strerror or one_line(error)}): check the file and its permissions"
    )


def _expand(given: str, format: str) -> Iterator[str]:
    path = Path(given)
    if given == STDIN:
        yield STDIN
    elif path.is_dir():
        yield from _below(path, format)
    elif path.exists():
        yield given
    elif any(sign in given for sign in "*?["):
        yield from _matching(given, format)
    else:
        raise InputError(_missing(path))


def _below(folder: Path, format: str) -> list[str]:
    wanted = {format} if format != "auto" else set(FORMATS.values())
    found = [str(path) for path in sorted(_files(folder)) if _split_ending(path.name)[0] in wanted]
    if not found:
        endings = ", ".join(ending for ending, known in FORMATS.items() if known in wanted)
        raise InputError(f"{folder}: the folder has no file to read: expected names ending in {endings}")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder. Raises `OSError` for a folder that cannot be listed."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if is_run(folder):
        logger.warning("%s is a result of dupmine and is left out", folder)
        return
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _files(path)


def _matching(pattern: str, format: str) -> list[str]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (a pattern may be absolute)
    if not matches:
        raise InputError(f"{pattern}: no file matches: check the pattern and the current folder")
    files = [path for path in matches if not Path(path).is_dir()]
    # A pattern like data/** matches folders too, whose files it has matched already.
    return files or [path for folder in matches for path in _below(Path(folder), format)]


def _missing(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path}: no such file: the folder {folder} does not exist"
    try:
        names = [other.name for other in folder.iterdir()]
        near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    except OSError:
        near = []
    hint = f"did you mean {folder / near[0]}?" if near else "check the path"
    return f"{path}: no such file: {hint}"


def _source(path: str, format: str) -> Source:
    if path == STDIN:
        if format == "auto":
            formats = ", ".join(dict.fromkeys(FORMATS.values()))
            raise SettingsError(
                f"standard input has no file name to tell its format: add --format ({formats})"
            )
        return Source(STDIN, "stdin", format, None)
    by_name, compression = _split_ending(Path(path).name)
    chosen = by_name if format == "auto" else format
    if chosen is None:
        known = ", ".join(FORMATS)
        raise InputError(
            f"{path}: unknown ending: known are {known}, also with .gz or .zst; for another name add --format"
        )
    if chosen == "parquet" and compression:
        raise InputError(f"{path}: Parquet is compressed inside: decompress the file first")
    return Source(path, Path(path).name, chosen, compression)


def _split_ending(name: str) -> tuple[str | None, str | None]:
    """Return the format and the compression that a file name says."""
    path = PurePath(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    if compression:
        path = path.with_suffix("")
    return FORMATS.get(path.suffix), compression


def _labelled(sources: list[Source]) -> list[Source]:
    """Label each file by its base name, or by its path where two have one base name."""
    times = Counter(source.label for source in sources)
    return [
        source if times[source.label] == 1 else replace(source, label=Path(source.path).as_posix())
        for source in sources
    ]

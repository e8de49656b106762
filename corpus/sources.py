"""Which files an input stands for, and their format and compression by name."""

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
from ..formats import BY_ENDING, COMPRESSIONS, ENDINGS, FORMATS, NAMES, PACKED_ENDINGS
from .messages import display, explain_unreadable
from .values import encodes

logger = logging.getLogger(__name__)

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read: `path` is as the user named it, `label` names it in ids made as `file:row`."""

    path: str
    label: str
    format: str
    compression: str | None

    @property
    def is_stdin(self) -> bool:
        """Return whether this is standard input."""
        return self.path == STDIN


def find_sources(inputs: Sequence[str | Path], format: str) -> list[Source]:
    """Find the files that paths, folders, globs and "-" stand for, each once, in the order of the inputs.

    A folder stands for every file below it with a known ending (of `format`, where that is not "auto"),
    sorted, without hidden files and results of dupmine; a glob for what it matches, sorted. Raises
    `InputError` for a missing file, an empty glob or folder, one that the system cannot open, a name that
    is not UTF-8 and an unknown ending, `SettingsError` for "-" without a format.
    """
    sources: dict[str, Source] = {}
    for item in [inputs] if isinstance(inputs, str | Path) else inputs:
        for path in _find_paths(os.fspath(item), format):
            # Folders and globs may overlap; each document is read once.
            key = path if path == STDIN else os.path.realpath(path)
            if key in sources:
                logger.info("%s was named twice and is read once", path)
                continue
            sources[key] = _make_source(path, format)
    if not sources:
        raise InputError("no input: name a file, a folder, a glob or - for standard input")
    return _label(list(sources.values()))


def _find_paths(text: str, format: str) -> list[str]:
    try:
        paths = list(_expand(os.path.expanduser(text), format))  # noqa: PTH111  (Path() drops "./")
    except OSError as error:
        raise InputError(explain_unreadable(display(error.filename or text), error)) from None
    for path in paths:
        if not encodes(path):
            raise InputError(f"{display(path)}: the name is not UTF-8: rename the file or its folder")
    return paths


def _expand(text: str, format: str) -> Iterator[str]:
    path = Path(text)
    if text == STDIN:
        yield STDIN
    elif path.is_dir():
        yield from _list_folder(path, format)
    elif path.exists():
        yield text
    elif any(char in text for char in "*?["):
        yield from _match(text, format)
    else:
        raise InputError(_explain_missing(path))


def _list_folder(folder: Path, format: str) -> list[str]:
    formats = {format} if format != "auto" else FORMATS.keys()
    files = [str(path) for path in sorted(_walk(folder)) if _split_ending(path.name)[0] in formats]
    if not files:
        endings = ", ".join(ending for ending, name in BY_ENDING.items() if name in formats)
        raise InputError(f"{folder}: the folder has no file to read: expected names ending in {endings}")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder. Raises `OSError` for a folder that cannot be listed."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if is_run(folder):
        logger.warning("%s is a result of dupmine and is left out", folder)
        return
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _match(pattern: str, format: str) -> list[str]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (a pattern may be absolute)
    if not matches:
        raise InputError(f"{pattern}: no file matches: check the pattern and the current folder")
    files = [path for path in matches if not Path(path).is_dir()]
    # A pattern like data/** matches folders too, but also their files.
    return files or [path for folder in matches for path in _list_folder(Path(folder), format)]


def _explain_missing(path: Path) -> str:
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


def _make_source(path: str, format: str) -> Source:
    if path == STDIN:
        if format == "auto":
            raise SettingsError(f"standard input has no file name to tell its format: add --format ({NAMES})")
        return Source(STDIN, "stdin", format, None)
    format_of_name, compression = _split_ending(Path(path).name)
    name = format_of_name if format == "auto" else format
    if name is None:
        raise InputError(
            f"{path}: unknown ending: known are {ENDINGS}, also with {PACKED_ENDINGS}; "
            "for another name add --format"
        )
    if compression and not FORMATS[name].compressible:
        raise InputError(f"{path}: {FORMATS[name].title} is compressed inside: decompress the file first")
    return Source(path, Path(path).name, name, compression)


def _split_ending(name: str) -> tuple[str | None, str | None]:
    """Return the format and the compression that the ending of a file name stands for."""
    path = PurePath(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    if compression:
        path = path.with_suffix("")
    return BY_ENDING.get(path.suffix), compression


def _label(sources: list[Source]) -> list[Source]:
    """Label each file by its base name, or by its path where two share one."""
    counts = Counter(source.label for source in sources)
    return [
        source if counts[source.label] == 1 else replace(source, label=Path(source.path).as_posix())
        for source in sources
    ]

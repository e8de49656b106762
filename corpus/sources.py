"""Which files an input stands for, and their format and compression by name."""

from __future__ import annotations

import difflib
import glob
import logging
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ..disk.files import find_url
from ..disk.folder import is_run, is_store
from ..errors import InputError, SettingsError
from ..formats import ARCHIVE, BY_ENDING, COMPRESSIONS, ENDINGS, FORMATS, NAMES, PACKED_ENDINGS
from ..messages import describe_error, display, display_all, explain_unreadable
from .contents import check_contents
from .values import encodes

logger = logging.getLogger(__name__)

STDIN = "-"
_HIDDEN = (".", "__MACOSX")


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read.

    `path` is as the user named it, `label` names the file in ids made as `file:row`. A `member` of a zip
    archive has the path `archive/member`, and `archive` is the path of the archive.
    """

    path: str
    label: str
    format: str
    compression: str | None
    archive: str | None = None
    member: str | None = None

    @property
    def is_stdin(self) -> bool:
        """Return whether this is standard input."""
        return self.path == STDIN

    @property
    def title(self) -> str:
        """Return what messages call the format."""
        return FORMATS[self.format].title


def find_sources(inputs: Sequence[str | Path], format: str) -> list[Source]:
    """Find the files that paths, folders, globs and "-" stand for, each once, in the order of the inputs.

    A folder stands for every file below it with a known ending (of `format`, where that is not "auto"),
    sorted, without hidden files and results and stores of dupmine; links are followed. A glob stands for
    what it matches, sorted, and a zip archive for its files with a known ending.

    Raises `InputError` for a missing file, an empty glob, folder or archive, one that the system cannot
    open, a URL, a name that is not UTF-8 and an unknown ending, `SettingsError` for "-" without a format.
    """
    sources: dict[str, Source] = {}
    for item in [inputs] if isinstance(inputs, str | Path) else inputs:
        for path in _find_paths(item, format):
            # Folders and globs may overlap; each document is read once.
            key = path if path == STDIN else os.path.realpath(path)
            if key in sources or f"{key}/0" in sources:
                logger.info("%s was named twice and is read once", path)
                continue
            if path.lower().endswith(ARCHIVE):
                sources |= {f"{key}/{i}": source for i, source in enumerate(_open_archive(path, format))}
            else:
                sources[key] = _make_source(path, format)
    if not sources:
        raise InputError("no input: name a file, a folder, a glob or - for standard input")
    return _label(list(sources.values()))


def _find_paths(item: str | Path, format: str) -> list[str]:
    text = os.fspath(item)
    if not text.strip():
        raise InputError("an input is an empty name: name a file, a folder (. is the current one) or a glob")
    if url := find_url(text):
        raise InputError(f"{url}: only local files are read: download it and name the file")
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
    elif path.is_symlink():
        raise InputError(_explain_dangling(path))
    elif any(char in text for char in "*?["):
        yield from _match(text, format)
    else:
        raise InputError(_explain_missing(path))


def _list_folder(folder: Path, format: str) -> list[str]:
    formats = {format} if format != "auto" else set(FORMATS)
    files = [path for path in sorted(_walk(folder, set())) if _is_named_as(path.name, formats)]
    if not files:
        endings = ", ".join(ending for ending, name in BY_ENDING.items() if name in formats)
        raise InputError(f"{folder}: the folder has no file to read: expected names ending in {endings}")
    if dangling := next((path for path in files if not path.exists()), None):
        raise InputError(_explain_dangling(dangling))
    return _leave_out(folder, list(map(str, files)), format)


def _leave_out(place: str | Path, names: list[str], format: str) -> list[str]:
    """Return the names of files without those that are not read beside others; a warning counts these."""
    others = [name for name in names if not _is_from_folders(name)]
    if format != "auto" or len(others) in (0, len(names)):
        return names
    logger.warning(
        "%s: %d files such as %s are not read beside data of other formats: name them to read them",
        place, len(others), display(PurePath(others[0]).name),
    )  # fmt: skip
    return [name for name in names if _is_from_folders(name)]


def _is_named_as(name: str, formats: set[str]) -> bool:
    return _split_ending(name)[0] in formats or name.lower().endswith(ARCHIVE)


def _is_from_folders(name: str) -> bool:
    format = _split_ending(name)[0]
    return format is None or FORMATS[format].from_folders


def _walk(folder: Path, above: set[str]) -> Iterator[Path]:
    """Yield the files below a folder. Raises `OSError` for a folder that cannot be listed."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    real = os.path.realpath(folder)
    if real in above:
        logger.info("%s leads back to a folder above it and is skipped", folder)
        return
    for kind, is_own in (("result", is_run), ("store", is_store)):
        if is_own(folder):
            logger.warning("%s is a %s of dupmine and is left out", folder, kind)
            return
    for path in paths:
        if path.is_dir():
            yield from _walk(path, above | {real})
        elif path.is_file() or path.is_symlink():
            yield path


def _match(pattern: str, format: str) -> list[str]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (a pattern may be absolute)
    if not matches:
        raise InputError(f"{pattern}: no file matches: check the pattern and the current folder")
    files = [path for path in matches if not Path(path).is_dir()]
    if dangling := next((path for path in files if not Path(path).exists()), None):
        raise InputError(_explain_dangling(Path(dangling)))
    # A pattern like data/** matches folders too, but also their files.
    return files or [path for folder in matches for path in _list_folder(Path(folder), format)]


def _explain_dangling(path: Path) -> str:
    return f"{path}: no such file: it is a link to {path.readlink()}, which does not exist"


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


def _open_archive(path: str, format: str) -> list[Source]:
    """Return the files of a zip archive that can be read, sorted."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        with Path(path).open("rb") as file:
            head = file.read(4096)
        if not head.startswith(b"PK"):
            check_contents(head, path, "zip", "a zip archive")
        problem = f"{path}: broken zip archive ({describe_error(error)}): make or download it again"
        raise InputError(problem) from None
    except OSError as error:
        raise InputError(explain_unreadable(path, error)) from None
    names = [name for name in names if not any(part.startswith(_HIDDEN) for part in PurePath(name).parts)]
    if "[Content_Types].xml" in names:
        raise InputError(f"{path}: not an archive of data but an Office document: rename it to end in .xlsx")
    known = _leave_out(path, [name for name in names if _split_ending(name)[0] is not None], format)
    if not known and format != "auto":
        known = names
    if not known:
        raise InputError(
            f"{path}: the archive has no file to read: expected names ending in {ENDINGS}, "
            f"found {display_all(names) or 'none'}"
        )
    if others := [name for name in names if _split_ending(name)[0] is None and name not in known]:
        logger.warning(
            "%s: %d files such as %s are not read: their endings are unknown",
            path, len(others), display(others[0]),
        )  # fmt: skip
    sources = [_make_source(f"{path}/{name}", format) for name in known]
    return [replace(source, archive=path, member=name) for source, name in zip(sources, known, strict=True)]


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

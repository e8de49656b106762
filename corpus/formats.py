"""One reader per format: a source becomes a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # its error class; what parses is defusedxml

import defusedxml
import defusedxml.ElementTree
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError
from .delimited import read_delimited
from .parts import Part, check_names, check_utf8, make_column, one_line
from .sources import Source, unreadable
from .streams import TextStream, open_text, standard_input

QUESTION = "1"  # PostTypeId of a question in a Stack Exchange dump
OTHER_POSTS = "posts_not_questions"


def read_part(source: Source, errors: str) -> Part:
    """Read one source. Raises `InputError` where it cannot be opened or parsed."""
    if source.format == "parquet":
        return _read_parquet(source, errors)
    counts: dict[str, int] = {}
    mixed: dict[str, int] = {}
    with open_text(source, errors) as stream:
        if source.format == "jsonl":
            table, mixed = _read_jsonl(stream)
        elif source.format == "stackexchange":
            table, counts = _read_posts(stream)
        else:
            table = read_delimited(stream, "\t" if source.format == "tsv" else ",")
        sha256 = stream.sha256()
        counts["invalid_utf8_replaced"] = stream.replaced
    return Part(table, source.path, source.label, source.format, sha256, mixed, counts)


def _read_parquet(source: Source, errors: str) -> Part:
    try:
        # Mapped, so that a large file is summed and decoded without a copy of it in memory.
        regular = not source.is_stdin and Path(source.path).is_file() and Path(source.path).stat().st_size
        data = _mapped(source.path) if regular else pa.py_buffer(_all_bytes(source))
    except OSError as error:
        raise InputError(unreadable(source.path, error)) from None
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read().replace_schema_metadata(None)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{source.path}: broken Parquet file ({one_line(error)}): make or download it again"
        ) from None
    check_names(table.column_names, source.path)
    part = Part(table, source.path, source.label, source.format, hashlib.sha256(data).hexdigest())
    return check_utf8(part, errors)


def _mapped(path: str) -> pa.Buffer:
    with pa.memory_map(path) as file:
        return file.read_buffer()


def _all_bytes(source: Source) -> bytes:
    return standard_input().read() if source.is_stdin else Path(source.path).read_bytes()


def _read_jsonl(stream: TextStream) -> tuple[pa.Table, dict[str, int]]:
    """Return a table of all keys, and the columns of mixed type with their first row that is no string."""
    path = stream.source.path
    columns: dict[str, list[Any]] = {}
    rows = 0
    for number, line in enumerate(_lines(stream), start=1):
        if not line.strip():
            continue
        for name, value in _json_object(line, f"{path}, line {number}").items():
            column = columns.setdefault(name, [])
            column.extend([None] * (rows - len(column)))
            column.append(value)
        rows += 1
    mixed: dict[str, int] = {}
    arrays = {}
    for name in list(columns):
        values = columns.pop(name)
        arrays[name], first = make_column(values + [None] * (rows - len(values)))
        if first is not None:
            mixed[name] = first
    if rows and not arrays:
        raise InputError(f"{path}: every line is an empty object: expected one with the text of a question")
    return pa.table(arrays), mixed


def _lines(stream: TextStream) -> Iterator[bytes]:
    rest = b""
    while piece := stream.read(1 << 20):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest


def _json_object(line: bytes, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{place}: half of a surrogate pair (\\ud800 to \\udfff) is no text: remove it"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{place}: invalid JSON ({error.msg}, column {error.colno}): expected one object per line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: invalid JSON ({one_line(error)}): expected one object per line") from None
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected a JSON object, found {type(value).__name__}")
    return value


def _read_posts(stream: TextStream) -> tuple[pa.Table, dict[str, int]]:
    """Read the questions of a Stack Exchange dump: every attribute but Body, as strings, as they stand."""
    path = stream.source.path
    columns: dict[str, list[str | None]] = {"Id": [], "Title": []}
    rows = others = 0
    for attributes in _posts(stream, path):
        if attributes.get("PostTypeId") != QUESTION:
            others += 1
            continue
        for name, value in attributes.items():
            if name != "Body":
                column = columns.setdefault(name, [])
                column.extend([None] * (rows - len(column)))
                column.append(value)
        rows += 1
    arrays = {}
    for name in list(columns):
        values = columns.pop(name)
        arrays[name] = pa.array(values + [None] * (rows - len(values)), pa.string())
    return pa.table(arrays), {OTHER_POSTS: others}


def _posts(stream: TextStream, path: str) -> Iterator[dict[str, str]]:
    root: Any = None
    try:
        for event, element in defusedxml.ElementTree.iterparse(stream, ("start", "end"), forbid_dtd=True):
            if root is None:
                root = element
                if root.tag != "posts":
                    raise InputError(
                        f"{path}: expected a Stack Exchange Posts.xml with root posts, found {root.tag}"
                    )
            elif event == "end" and element is not root:
                if element.tag == "row":
                    yield dict(element.attrib)
                root.clear()  # a dump is larger than memory: what was read is let go
    except defusedxml.DefusedXmlException as error:
        raise InputError(
            f"{path}: the XML declares a DTD or entities ({type(error).__name__}): "
            "refused as unsafe, remove the declaration"
        ) from None
    except ElementTree.ParseError as error:
        raise InputError(f"{path}, line {error.position[0]}: broken XML ({one_line(error)})") from None
    except InputError:
        raise
    except (LookupError, ValueError) as error:
        raise InputError(f"{path}: XML that cannot be read ({one_line(error)})") from None

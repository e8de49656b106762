"""Files that are not what their name says, recognised by their first bytes."""

from __future__ import annotations

import re

from ..errors import InputError
from .sources import Source

COMPRESSED = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_BINARY = {
    b"PAR1": "a Parquet file: read it with --format parquet",
    b"ARROW1": "an Arrow file: convert it to Parquet",
    b"\xff\xff\xff\xff": "an Arrow stream: convert it to Parquet",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office document: save it as .xlsx or as CSV",
    b"%PDF-": "a PDF: extract its text first",
    b"SQLite format 3\x00": "an SQLite database: export the table as CSV",
    b"\x89HDF\r\n": "an HDF5 file: convert it to Parquet",
    b"Obj\x01": "an Avro file: convert it to Parquet",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: extract it first",
    b"Rar!\x1a\x07": "a RAR archive: extract it first",
}
_TEXT = {
    rb"\s*<(!doctype\s+html|html[\s>])": "a web page, perhaps of a failed download: download the file itself",
    rb"version https://git-lfs\.github\.com/spec/": "a pointer of Git LFS: run git lfs pull",
}
_JSON = re.compile(rb'\s*(\{\s*"|\[\s*\{\s*"|\[\s*\])')
_TABLES = ("csv", "tsv")


def find_compression(head: bytes) -> str | None:
    """Return how a file that starts with `head` is compressed, None where it is not."""
    return next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None)


def check_contents(head: bytes, source: Source) -> None:
    """Raise `InputError` where a file that should be text starts as something else, and say what it is."""
    content = _recognise(head, source.format)
    if content is not None:
        raise InputError(f"{source.path}: not {source.title} but {content}")


def _recognise(head: bytes, format: str) -> str | None:
    for magic, content in _BINARY.items():
        if head.startswith(magic):
            return content
    if head.startswith(b"PK\x03\x04"):
        return _recognise_zip(head)
    if head[257:262] == b"ustar":
        return "a tar archive: extract it first"
    return _recognise_text(head, format)


def _recognise_text(head: bytes, format: str) -> str | None:
    for pattern, content in _TEXT.items():
        if re.match(pattern, head, re.IGNORECASE):
            return content
    if format in _TABLES and head.startswith(b"<?xml"):
        return "XML: convert it to CSV; Posts.xml of Stack Exchange is read with --format stackexchange"
    if format in _TABLES and _JSON.match(head):
        return "JSON: read it with --format json"
    return None


def _recognise_zip(head: bytes) -> str:
    if b"[Content_Types].xml" in head or b"_rels/" in head:
        if b"word/" in head:
            return "a Word document: save its table as CSV"
        return "an Excel workbook: read it with --format xlsx"
    if b"mimetypeapplication/vnd.oasis.opendocument" in head:
        return "an OpenDocument file: save it as .xlsx or as CSV"
    return "a zip archive: rename it to end in .zip"

"""Files that are not what their name says, recognised by their first bytes."""

from __future__ import annotations

import re
from codecs import BOM_UTF8

from ..errors import InputError
from ..formats import FORMATS

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
    b"\x93NUMPY": "a NumPy file: save it as CSV",
    b"FEA1": "a Feather file: convert it to Parquet",
    b"ORC\x08": "an ORC file: convert it to Parquet",
    b"{\\rtf": "a rich text document: save it as text",
    b"\0\0\0\0\0\0\0\0": "NUL bytes, as of a copy that was not finished: copy it again",
}
_TEXT = {
    rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html[\s>]|head[\s>]|body[\s>])": (
        "a web page, perhaps of a failed download: download the file itself"
    ),
    rb"version https://git-lfs\.github\.com/spec/": "a pointer of Git LFS: run git lfs pull",
    rb"[./]*(git/)?annex/objects/": "a pointer of git-annex: run git annex get",
}
_JSON = re.compile(rb'\s*(\{\s*"|\[\s*\{\s*"|\[\s*\])')
_XML = re.compile(rb"\s*<(\?xml\s|(\w+)[^>]*>.*</\2\s*>)", re.DOTALL)
_TABLES = ("csv", "tsv")


def find_compression(head: bytes) -> str | None:
    """Return how a file that starts with `head` is compressed, None where it is not."""
    return next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None)


def check_contents(head: bytes, path: str, format: str, title: str | None = None) -> None:
    """Raise `InputError` where a file of a format, or a `title`, starts as something else, and name that."""
    content = _recognise(head, format)
    if content is not None:
        raise InputError(f"{path}: not {title or FORMATS[format].title} but {content}")


def _recognise(head: bytes, format: str) -> str | None:
    head = head.removeprefix(BOM_UTF8)
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
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return content
    if format in _TABLES and _XML.match(head):
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

"""The Posts.xml of a Stack Exchange dump."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree  # its error class; what parses is defusedxml

import defusedxml
import defusedxml.ElementTree
import pyarrow as pa

from ..errors import InputError
from .parts import one_line, shown
from .rows import RowColumns
from .streams import PIECE, TextStream

QUESTION = "1"  # PostTypeId
OTHER_POSTS = "posts_not_questions"
LONGEST_TAG = 1 << 24  # bytes; expat before 2.6 begins a tag anew with every piece that lacks its end


def read_posts(stream: TextStream, max_columns: int) -> tuple[pa.Table, dict[str, int]]:
    """Read the questions of a Stack Exchange dump: every attribute but Body, as strings, as they stand."""
    columns = RowColumns(stream.source.path, max_columns, "Id", "Title")
    others = 0
    for attributes in _posts(stream):
        if attributes.get("PostTypeId") == QUESTION:
            attributes.pop("Body", None)
            columns.add(attributes)
        else:
            others += 1
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.take()})
    return table, {OTHER_POSTS: others}


class _Rows:
    """What the parser calls: keeps the attributes of the rows that were not taken yet, and no tree."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rows: list[dict[str, str]] = []
        self.tags = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.tags and tag != "posts":
            raise InputError(
                f"{self._path}: expected a Stack Exchange Posts.xml with root posts, found {shown(tag)}"
            )
        self.tags += 1
        if tag == "row":
            self._rows.append(attributes)

    def close(self) -> None:
        """Do nothing: the parser asks for this method."""

    def take(self) -> list[dict[str, str]]:
        rows, self._rows = self._rows, []
        return rows


def _posts(stream: TextStream) -> Iterator[dict[str, str]]:
    path = stream.source.path
    try:
        yield from _parsed(stream, path)
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


def _parsed(stream: TextStream, path: str) -> Iterator[dict[str, str]]:
    rows = _Rows(path)
    parser: Any = defusedxml.ElementTree.DefusedXMLParser(target=rows, forbid_dtd=True)
    tags = unbroken = 0
    while data := stream.read(PIECE):
        parser.feed(data)
        yield from rows.take()
        unbroken = 0 if rows.tags > tags else unbroken + len(data)
        tags = rows.tags
        if unbroken > LONGEST_TAG:
            raise InputError(
                f"{path}: no tag in {unbroken >> 20} MiB: expected a Stack Exchange Posts.xml, whose rows "
                "are far shorter: check the file"
            )
    parser.close()
    yield from rows.take()

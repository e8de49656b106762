"""The Posts.xml of a Stack Exchange dump."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree  # its error class; what parses is defusedxml

import defusedxml
import defusedxml.ElementTree
import pyarrow as pa

from ..errors import InputError
from ..messages import describe_error, display
from ..settings import CorpusSettings
from .parts import Part
from .rows import RowColumns
from .sources import Source
from .streams import PIECE, TextStream, open_text

QUESTION = "1"  # PostTypeId
OTHER_POSTS = "posts_not_questions"
LONGEST_TAG = 1 << 24  # bytes; expat before 2.6 parses a tag again with every piece until its end


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read the questions of a dump: every attribute but Body, as strings without any change.

    Raises `InputError` where the file cannot be opened or parsed.
    """
    columns = RowColumns(source.path, settings.max_columns, "Id", "Title")
    others = 0
    with open_text(source, settings) as stream:
        for attributes in _posts(stream):
            if attributes.get("PostTypeId") == QUESTION:
                attributes.pop("Body", None)
                columns.add(attributes)
            else:
                others += 1
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.take()})
        return stream.make_part(table, counts={OTHER_POSTS: others})


class _Rows:
    """The parser's target: keeps the attributes of the rows until `take`, and builds no tree."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rows: list[dict[str, str]] = []
        self.tags = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.tags and tag != "posts":
            raise InputError(
                f"{self._path}: expected a Stack Exchange Posts.xml with root posts, found {display(tag)}"
            )
        self.tags += 1
        if tag == "row":
            self._rows.append(attributes)

    def close(self) -> None:
        """Do nothing: the parser requires this method."""

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
        raise InputError(f"{path}, line {error.position[0]}: broken XML ({describe_error(error)})") from None
    except InputError:
        raise
    except (LookupError, ValueError) as error:
        raise InputError(f"{path}: the XML cannot be read ({describe_error(error)})") from None


def _parsed(stream: TextStream, path: str) -> Iterator[dict[str, str]]:
    rows = _Rows(path)
    # The stream is UTF-8, whatever the declaration says.
    parser: Any = defusedxml.ElementTree.DefusedXMLParser(target=rows, encoding="utf-8", forbid_dtd=True)
    tags = size = 0  # tags so far, and bytes since the last one
    while data := stream.read(PIECE):
        parser.feed(data)
        yield from rows.take()
        size = 0 if rows.tags > tags else size + len(data)
        tags = rows.tags
        if size > LONGEST_TAG:
            raise InputError(
                f"{path}: no tag in {size >> 20} MiB: expected a Stack Exchange Posts.xml, whose rows "
                "are far shorter: check the file"
            )
    parser.close()
    yield from rows.take()

"""Excel workbooks: the first sheet with rows, under a row of column names."""

from __future__ import annotations

import datetime
import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator
from typing import Any

from ..errors import InputError, needs_extra
from ..messages import describe_error, display
from ..settings import CorpusSettings
from .contents import check_contents
from .objects import make_table
from .opening import open_bytes
from .parts import Part, check_expansion, check_names, check_width
from .rows import RowColumns
from .sources import Source

logger = logging.getLogger(__name__)


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read a workbook: whole numbers are integers, dates ISO text; empty rows are skipped.

    Raises `InputError` where it cannot be opened or expands too far, `SettingsError` without openpyxl.
    """
    with needs_extra(source.path, "excel"):
        import openpyxl
    with open_bytes(source) as (file, _):
        data = file.read()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            expanded = sum(info.file_size for info in archive.infolist())
        check_expansion(source.path, len(data), expanded, settings.max_expansion)
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        columns = RowColumns(source.path, settings.max_columns)
        for row in _rows(book, source.path, settings):
            columns.add(row)
    except InputError:
        raise
    except Exception as error:  # openpyxl raises whatever a damaged file leads to
        if not data.startswith(b"PK"):
            check_contents(data[:4096], source.path, source.format)
        raise InputError(
            f"{source.path}: broken Excel file ({describe_error(error)}): open it and save it again"
        ) from None
    table, mixed = make_table(columns, source.path, settings.max_columns)
    return Part(table, source.path, source.label, source.format, hashlib.sha256(data).hexdigest(), mixed)


def _rows(book: Any, path: str, settings: CorpusSettings) -> Iterator[dict[str, Any]]:
    sheets = [(sheet, rows) for sheet in book.worksheets if (rows := list(_filled_rows(sheet)))]
    if not sheets:
        raise InputError(f"{path}: the workbook has no rows: expected a sheet with a row of column names")
    sheet, rows = sheets[0]
    if len(sheets) > 1:
        logger.warning(
            "%s: only the first of %d sheets is read, %s: save another one as a file of its own",
            path, len(sheets), display(sheet.title),
        )  # fmt: skip
    width = max(map(len, rows))
    check_width(path, width, settings.max_columns)
    names = list(settings.column_names or ())
    if not names and settings.header:
        if width > 1 and sum(value is not None for value in rows[0]) == 1:
            raise InputError(
                f"{path}: the first row has one cell, {display(rows[0][-1])}, and others up to {width}: "
                "remove what stands above the names of the columns, or set --columns"
            )
        names = ["" if value is None else str(value) for value in rows.pop(0)]
    names += [""] * (width - len(names))
    names = [name or f"column{i}" for i, name in enumerate(names, start=1)]
    check_names(path, names)
    for row in rows:
        yield dict(zip(names, [*row, *([None] * (width - len(row)))], strict=True))


def _filled_rows(sheet: Any) -> Iterator[list[Any]]:
    from openpyxl.utils.escape import unescape  # Excel writes control characters as _x000D_

    for cells in sheet.iter_rows(values_only=True):
        values = [unescape(value) if isinstance(value, str) else _plain(value) for value in cells]
        while values and values[-1] is None:
            values.pop()
        if values:
            yield values


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    if isinstance(value, datetime.date | datetime.time):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | float | bool | None) else str(value)

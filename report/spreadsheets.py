"""Clusters and pairs for people without Parquet: CSV files, or one Excel workbook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ..disk.files import make_folder, output_errors, write_atomically
from ..disk.folder import check_file
from ..errors import OutputError, needs_extra
from ..schema import TEXT
from .source import positions

if TYPE_CHECKING:
    from .source import Mined

_BOM = b"\xef\xbb\xbf"  # has Excel read UTF-8
_EXCEL_ROWS = 1_048_576
_EXCEL_SIGNS = 32_767


def export_tables(mined: Mined, pairs: pa.Table) -> dict[str, pa.Table]:
    """Return `clusters` as it is, and `pairs` with both texts beside their ids."""
    documents = mined.corpus.documents[TEXT]
    at = 1
    for side in ("left", "right"):
        column = documents.take(pa.array(positions(mined, pairs[f"{side}_id"])))
        pairs = pairs.add_column(at, f"{side}_text", column)
        at += 2
    return {"clusters": mined.clusters_table, "pairs": pairs}


def write_csv(tables: dict[str, pa.Table], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write each table as UTF-8 CSV into a folder; return the files.

    Raises:
        OutputError: a file exists, or cannot be written.
    """
    paths = [folder / f"{name}.csv" for name in tables]
    for path in paths:
        check_file(path, overwrite=overwrite)
    with output_errors(folder):
        make_folder(folder)
        for path, table in zip(paths, tables.values(), strict=True):
            write_atomically(path, lambda file, table=table: _write_rows(file, table))  # type: ignore[misc]
    return paths


def _write_rows(file: BinaryIO, table: pa.Table) -> None:
    file.write(_BOM)
    pyarrow.csv.write_csv(table, file)


def write_xlsx(tables: dict[str, pa.Table], path: Path, *, overwrite: bool = False) -> None:
    """Write the tables as sheets of one Excel workbook; texts stay texts, whatever they begin with.

    Raises:
        OutputError: the file exists or cannot be written, or a table has more rows than a sheet.
        SettingsError: XlsxWriter is not installed.
    """
    with needs_extra("--xlsx", "report"):
        import xlsxwriter
    check_file(path, overwrite=overwrite)
    for name, table in tables.items():
        if len(table) >= _EXCEL_ROWS:
            raise OutputError(f"{path}: {name} has {len(table):,} rows, more than an Excel sheet: use --csv")

    def write(file: BinaryIO) -> None:
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        with xlsxwriter.Workbook(file, options) as book:
            for name, table in tables.items():
                sheet = book.add_worksheet(name)
                sheet.freeze_panes(1, 0)
                sheet.write_row(0, 0, table.column_names, book.add_format({"bold": True}))
                for i, row in enumerate(_rows(table), 1):
                    sheet.write_row(i, 0, row)

    with output_errors(path):
        make_folder(path.absolute().parent)
        write_atomically(path, write)


def _rows(table: pa.Table) -> Iterator[list[Any]]:
    """Yield the rows of a table as Excel can hold them."""
    kept = [_short(column) if pa.types.is_string(column.type) else column for column in table.columns]
    for batch in pa.table(kept, names=table.column_names).to_batches(max_chunksize=10_000):
        yield from map(list, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _short(column: pa.ChunkedArray) -> pa.ChunkedArray:
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(column, 0, _EXCEL_SIGNS // 2), "…", "")
    return pc.if_else(pc.greater(pc.utf8_length(column), _EXCEL_SIGNS // 2), cut, column)

"""The formats of input files. A new one is an entry here and the module of `corpus` that the entry names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """One input format.

    `name` is the value of `corpus.format`, `title` what help and messages call the format. `reader` is the
    module of `dupmine.corpus` whose `read(source, settings)` returns the `Part` of a file. `has_pairs` says
    whether such a file can hold labelled pairs, `compressible` whether it may be compressed as a whole, and
    `from_folders` whether a folder with files of other formats is read with those of this one.
    """

    name: str
    title: str
    endings: tuple[str, ...]
    reader: str
    has_pairs: bool = True
    compressible: bool = True
    from_folders: bool = True


FORMATS = {
    entry.name: entry
    for entry in (
        Format("csv", "CSV", (".csv",), "delimited"),
        Format("tsv", "TSV", (".tsv", ".tab"), "delimited"),
        Format("jsonl", "JSON lines", (".jsonl", ".ndjson"), "objects"),
        Format("json", "JSON", (".json",), "objects"),
        Format("txt", "text lines", (".txt",), "lines", has_pairs=False, from_folders=False),
        Format("parquet", "Parquet", (".parquet",), "parquet", compressible=False),
        Format("xlsx", "Excel", (".xlsx", ".xlsm"), "excel", compressible=False),
        Format("stackexchange", "Stack Exchange Posts.xml", (".xml",), "posts", has_pairs=False),
    )
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
ARCHIVE = ".zip"
BY_ENDING = {ending: entry.name for entry in FORMATS.values() for ending in entry.endings}

NAMES = ", ".join(FORMATS)
ENDINGS = ", ".join(BY_ENDING)
PACKED_ENDINGS = ", ".join([*COMPRESSIONS, ARCHIVE])
TITLES = ", ".join(entry.title for entry in FORMATS.values())
PAIR_TITLES = ", ".join(entry.title for entry in FORMATS.values() if entry.has_pairs)

"""The formats of input files. A new one is an entry here and the module of `corpus` that the entry names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """One input format.

    `name` is the value of `corpus.format`, `title` what help and messages call the format. `reader` is the
    module of `dupmine.corpus` whose `read(source, settings)` returns the `Part` of a file. `has_pairs` says
    whether such a file can hold labelled pairs, `compressible` whether it may be compressed as a whole.
    """

    name: str
    title: str
    endings: tuple[str, ...]
    reader: str
    has_pairs: bool = True
    compressible: bool = True


FORMATS = {
    entry.name: entry
    for entry in (
        Format("csv", "CSV", (".csv",), "delimited"),
        Format("tsv", "TSV", (".tsv",), "delimited"),
        Format("jsonl", "JSON lines", (".jsonl", ".ndjson"), "jsonl"),
        Format("parquet", "Parquet", (".parquet",), "parquet", compressible=False),
        Format("stackexchange", "Stack Exchange Posts.xml", (".xml",), "posts", has_pairs=False),
    )
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BY_ENDING = {ending: entry.name for entry in FORMATS.values() for ending in entry.endings}

NAMES = ", ".join(FORMATS)
ENDINGS = ", ".join(BY_ENDING)
PACKED_ENDINGS = " or ".join(COMPRESSIONS)
TITLES = ", ".join(entry.title for entry in FORMATS.values())
PAIR_TITLES = ", ".join(entry.title for entry in FORMATS.values() if entry.has_pairs)

"""How much a file may ask for: what a small one must not do to the memory of the machine."""

from __future__ import annotations

from ..errors import InputError

FREE = 64 << 20  # bytes that any file may expand to


def check_expansion(path: str, packed: int, expanded: int, most: int) -> None:
    """Raise `InputError` where `packed` bytes of a file become more than `most` times as many, and `FREE`."""
    allowed = max(FREE, packed * most)
    if expanded > allowed:
        raise InputError(
            f"{path}: {packed:,} bytes of it expand to more than {allowed >> 20:,} MiB, expected at most "
            f"{most:,} times as much: if it is no decompression bomb, set corpus.max_expansion higher"
        )


def check_width(name: str, columns: int, most: int) -> None:
    """Raise `InputError` where a table has more than `most` columns."""
    if columns > most:
        raise InputError(
            f"{name}: expected at most {most:,} columns, found {columns:,}: "
            "leave out what is not needed, or set corpus.max_columns higher"
        )

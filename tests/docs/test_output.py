"""docs/output.md lists the columns of the tables as the schemas have them."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from dupmine.schema import CLUSTERS, LINKS, PAIRS

OUTPUT = Path(__file__).parents[2] / "docs" / "output.md"


def listed(table: str) -> list[tuple[str, str]]:
    """Return the names and types in a section's table."""
    section = re.search(rf"^###? {table}\.parquet.*?(?=^##)", OUTPUT.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    lines = re.findall(r"^\| (`.+?`) \| (\w+) \|", section[0], re.MULTILINE)
    return [(name, kind) for names, kind in lines for name in re.findall(r"`(\w+)`", names)]


@pytest.mark.parametrize(("table", "schema"), [("clusters", CLUSTERS), ("pairs", PAIRS), ("links", LINKS)])
def test_every_column_is_listed(table: str, schema: pa.Schema) -> None:
    assert listed(table) == [(field.name, str(field.type).replace("float", "float32")) for field in schema]

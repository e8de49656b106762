"""Files that change while they are read: an error of one line, never a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SCRIPT = """
import os, sys
from dupmine.corpus import parquet, read_corpus
from dupmine.errors import InputError
from dupmine.settings import CorpusSettings

path, change, real = sys.argv[1], sys.argv[2], parquet._size_bounds

def disturb(*args):
    yield from real(*args)
    if change == "truncate":
        os.truncate(path, os.path.getsize(path) // 2)
    elif change == "empty":
        os.truncate(path, 0)
    else:
        with open(path, "r+b") as file:
            file.seek(1000)
            file.write(b"other")

parquet._size_bounds = disturb
try:
    read_corpus([path], CorpusSettings())
except InputError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [("truncate", "broken Parquet file ("), ("empty", "broken Parquet file ("), ("rewrite", "")],
)
def test_a_parquet_file_that_changes_while_it_is_read(change: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    texts = [os.urandom(200).hex() for _ in range(20_000)]
    pq.write_table(pa.table({"text": texts}), path, compression="none", use_dictionary=False)
    command = [sys.executable, "-c", SCRIPT, str(path), change]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout.startswith(f"{path}: {message}")
    assert ended.stdout.count("\n") == 1
    if change == "rewrite":
        assert (
            ended.stdout == f"{path}: the file changed while it was read: read it again when it is complete\n"
        )

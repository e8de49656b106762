"""Writers that are killed: a few of them here, hundreds with `make chaos`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dupmine.store.store import Store

from ..helpers.small_store import Kit, documents, files_in, leftovers
from ..helpers.tiny_models import TinyModels

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def kit(tiny: TinyModels) -> Kit:
    return Kit.make(tiny.folder)


def test_five_kills(tmp_path: Path) -> None:
    out = tmp_path / "chaos.json"
    scenes = ["update", "mine --overwrite", "delete", "compact"]
    command = [
        sys.executable,
        "-m",
        "tests.helpers.chaos",
        "--kills",
        "5",
        "--out",
        str(out),
        "--scenes",
        *scenes,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(out.read_bytes())
    assert figures["kills"] >= 5
    assert (figures["mismatches"], figures["problems"]) == (0, [])
    assert figures["kills_by_phase"].keys() >= {"lock", "shards", "segment", "state", "commit"}


@pytest.mark.parametrize(
    "left",
    [
        ".writer.json.tmp-0a1b2c3d",
        ".work/basis.json",
        ".work/.scores-0.shard.tmp-0a1b2c3d",
        "generations/.00000003.json.tmp-0a1b2c3d",
        "generations/.00000002.copy.json.tmp-0a1b2c3d",
        "generations/00000001.copy.json",
        "segments/00000003/texts.parquet",
        "states/.00000003.parquet.tmp-0a1b2c3d",
    ],
)
def test_the_next_writer_removes_what_a_killed_one_left(left: str, kit: Kit, tmp_path: Path) -> None:
    store = tmp_path / "store"
    kit.make_store(store)
    Store.open(store, progress=False, keep_generations=1).update(documents(0, 0))
    before = files_in(store)
    (store / left).parent.mkdir(parents=True, exist_ok=True)
    (store / left).write_bytes(b"half")
    Store.open(store, progress=False, keep_generations=1).update(documents(0, 0))
    assert leftovers(store) == set()
    assert files_in(store) == before

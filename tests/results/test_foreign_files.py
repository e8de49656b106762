"""Files of others in and beside the folder of a run: none of them is removed, renamed or overwritten."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dupmine import OutputError
from dupmine.disk.folder import RUN_FILES
from dupmine.results.run_folder import RunFolder, open_run


def write(run: RunFolder, content: str = "{}") -> None:
    """Write the files of a run."""
    for name in RUN_FILES:
        (run.staging / name).write_text(content)


def make_run(folder: Path, content: str = "{}", *, overwrite: bool = False) -> None:
    with open_run(folder, overwrite=overwrite) as run:
        run.work.array("a", lambda: np.arange(3))
        write(run, content)


def files_in(folder: Path) -> dict[str, str]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(errors="replace") for path in paths}


@pytest.mark.parametrize("name", [".res.old-2024", ".res.old-0123456789abcdef", ".res.partial-01234567"])
def test_a_neighbour_with_a_similar_name_is_left_alone(name: str, tmp_path: Path) -> None:
    """Without a folder `res` it is not put back; with one it is not removed."""
    neighbour = tmp_path / name
    neighbour.mkdir()
    (neighbour / "notes.txt").write_text("mine")
    make_run(tmp_path / "res")
    make_run(tmp_path / "res", overwrite=True)
    assert files_in(neighbour) == {"notes.txt": "mine"}


def test_a_copy_of_a_run_is_left_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "res", "old")
    shutil.copytree(tmp_path / "res", tmp_path / ".res.old-backup")
    make_run(tmp_path / "res", "new", overwrite=True)
    assert set(files_in(tmp_path / ".res.old-backup").values()) == {"old"}


def test_runs_to_folders_of_crossing_names_do_not_meet(tmp_path: Path) -> None:
    with open_run(tmp_path / "x.old-2026") as first:
        write(first)
        make_run(tmp_path / "x")
        make_run(tmp_path / "x", overwrite=True)
        with open_run(tmp_path / "x.partial-2026") as second:
            write(second)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["x", "x.old-2026", "x.partial-2026"]
    assert {len(files_in(tmp_path / name)) for name in names} == {len(RUN_FILES)}


@pytest.mark.parametrize("linked", [False, True])
def test_a_work_folder_of_others_is_not_taken(linked: bool, tmp_path: Path) -> None:
    folder, work = tmp_path / "out", tmp_path / "elsewhere" if linked else tmp_path / "out" / ".work"
    work.mkdir(parents=True)
    (work / "thesis.tex").write_text("mine")
    if linked:
        folder.mkdir()
        (folder / ".work").symlink_to(work)
    with pytest.raises(
        OutputError, match=r"out holds \.work.*, which dupmine did not write; give another --out"
    ):
        make_run(folder)
    assert files_in(work) == {"thesis.tex": "mine"}
    assert [path.name for path in folder.iterdir()] == [".work"]


@pytest.mark.parametrize("left", [".scores-0.shard.tmp-01234567", "result/.pairs.parquet.tmp-01234567"])
def test_what_a_killed_writer_left_half_written_is_removed(left: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    make_run(folder)
    with suppress(ZeroDivisionError), open_run(folder, overwrite=True) as run:
        run.work.array("a", lambda: np.arange(3))
        raise ZeroDivisionError
    (folder / ".work" / left).parent.mkdir(exist_ok=True)
    (folder / ".work" / left).write_text("half")
    make_run(folder, "new", overwrite=True)
    assert files_in(tmp_path) == {f"out/{name}": "new" for name in RUN_FILES}


def test_a_file_put_into_the_work_folder_of_a_run_outlives_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def disturb() -> None:
        with open_run(folder) as run:
            write(run)
            (folder / ".work" / "notes.txt").write_text("mine")

    with pytest.raises(OutputError, match=r"holds \.work/notes\.txt, which dupmine did not write"):
        disturb()
    assert files_in(folder)[".work/notes.txt"] == "mine"


PLACES = (".", "out", "out/.work", "out/.work/result", "out/deep")
NAMES = (
    ".out.old-1",
    ".out.old-0123456789abcdef",
    ".out.partial-01234567",
    ".out.stale-0123456789abcdef",
    ".x.tmp-01234567",
    "clusters.csv",
    "data.npy",
    "notes",
    "pairs.parquet.bak",
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    planted=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(NAMES)), max_size=4, unique=True),
    steps=st.lists(st.sampled_from(["run", "fail", "plant"]), min_size=2, max_size=4),
)
def test_no_file_of_others_vanishes(
    planted: list[tuple[str, str]], steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Files are planted before, during or between runs, which succeed, fail or are refused."""
    tmp_path = tmp_path_factory.mktemp("any")
    folder, waiting, expected = tmp_path / "out", list(planted), 0

    def plant() -> None:
        nonlocal expected
        if waiting:
            place, name = waiting.pop()
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_text(f"mine {name}")
            expected += 1

    for step in steps:
        with suppress(OutputError, ZeroDivisionError):
            if step == "plant":
                plant()
                continue
            with open_run(folder, overwrite=True) as run:
                run.work.array("a", lambda: np.arange(3))
                write(run)
                plant()
                1 // (step == "run")
        assert sum(content.startswith("mine") for content in files_in(tmp_path).values()) == expected

"""A run that is killed before any call that changes the disk, among folders of similar names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dupmine.disk.folder import RUN_FILES
from dupmine.results.run_folder import open_run

from ..helpers.killed import NEVER, Death, in_process

FOREIGN = (".x.old-2026/notes", ".x.partial-0123456789abcdef/notes", ".x.stale-2026/notes", "x.old/data.npy")


def write(folder: Path, content: str) -> None:
    with open_run(folder, overwrite=True) as run:
        run.work.array("a", lambda: np.arange(3))
        for name in RUN_FILES:
            (run.staging / name).write_text(content)


def set_up(folder: Path) -> None:
    """Write a run, runs to crossing names beside it, and files of others."""
    for name in ("x", "x.old-2026", ".x.partial-1"):
        write(folder / name, "old")
    for name in FOREIGN:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")


def files_in(folder: Path) -> dict[str, str]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(errors="replace") for path in paths}


def runs_in(folder: Path) -> list[set[str]]:
    """Return the contents of each whole run: that of the name, or those renamed for a successor."""
    places = [folder / "x"] if (folder / "x").exists() else sorted(folder.glob(".x.old-????????????????"))
    whole = [place for place in places if all((place / name).is_file() for name in RUN_FILES)]
    return [{(place / name).read_text() for name in RUN_FILES} for place in whole]


def test_a_run_killed_before_any_of_its_calls(tmp_path: Path) -> None:
    """At any time there is one whole run, and the next writer leaves nothing but its own behind."""
    set_up(tmp_path / "twin")
    beside = {name: content for name, content in files_in(tmp_path / "twin").items() if name[:2] != "x/"}
    calls = in_process(lambda: write(tmp_path / "twin" / "x", "new"), tmp_path / "twin", NEVER).calls
    expected = files_in(tmp_path / "twin")
    assert expected == beside | {f"x/{name}": "new" for name in RUN_FILES}
    seen = []
    for call in range(1, calls + 1):
        folder = tmp_path / f"killed-{call}"
        set_up(folder)
        end = in_process(lambda to=folder / "x": write(to, "new"), folder, Death(call=call))  # type: ignore[misc]
        assert end.killed, end.result
        [content] = runs_in(folder)
        seen.append(content)
        assert files_in(folder).items() >= beside.items(), end.last
        write(folder / "x", "new")
        assert files_in(folder) == expected, end.last
    published = seen.index({"new"})
    assert 0 < published < len(seen) - 1
    assert seen == [{"old"}] * published + [{"new"}] * (len(seen) - published)

"""A disk that refuses any one call: the message, the exit code, the files, and the next attempt."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dupmine.errors import DupmineError, OutputError, SpaceError
from dupmine.pipeline import Models
from dupmine.rerank import scorer
from dupmine.retrieval import encoder
from dupmine.schema import ScoredPairs, TokenStore
from dupmine.store.segments import write_segment

from ..helpers.disk import largest_file
from ..helpers.disk_calls import seen_calls
from ..helpers.small_store import SCENES, Act, Kit, Scene, files_in, leftovers, may_mount
from ..helpers.tiny_models import TinyModels

ERRORS = {errno.ENOSPC: (SpaceError, 5), errno.EIO: (OutputError, 2)}


class Refusal:
    """Fail the n-th call that changes the disk."""

    def __init__(self, number: int, code: int) -> None:
        self.number, self.code, self.calls = number, code, list[str]()

    def __call__(self, call: str, path: str) -> None:
        self.calls.append(f"{call} {path}")
        if len(self.calls) == self.number:
            raise OSError(self.code, os.strerror(self.code), path)


class Stage:
    """A scene in a folder, before and after, to be played again and again."""

    def __init__(self, scene: Scene, kit: Kit, folder: Path) -> None:
        self.scene, self.kit, self.folder = scene, kit, folder
        base, twin = folder / "base", folder / "twin"
        base.mkdir()
        scene.before(kit, base / "out")
        shutil.copytree(base, twin)
        scene.act(kit, twin / "out")
        self.before, self.after = scene.state(base / "out"), scene.state(twin / "out")
        self.old_files, self.files = files_in(base), files_in(twin)

    def set_up(self) -> Path:
        """Return a folder that is as before."""
        here = self.folder / "here"
        shutil.rmtree(here, ignore_errors=True)
        return shutil.copytree(self.folder / "base", here)

    def play(self, refusal: Refusal) -> list[str]:
        """Act on a disk that refuses a call, then on one that does not; return what is wrong."""
        here = self.set_up()
        error = self._act(self.scene.act, here, refusal)
        if len(refusal.calls) < refusal.number:
            return []
        state = self.scene.state(here / "out")
        wrong = self._wrong_in(error, state, refusal.code)
        again = self._act(self.scene.tidy if state == self.after else self.scene.act, here, None)
        wrong += [f"it cannot continue: {again!r}"] if again else []
        wrong += [f"{name} is left" for name in sorted(leftovers(here))]
        wrong += [] if files_in(here) == self.files else ["the files are not those of the twin"]
        refused = refusal.calls[refusal.number - 1].replace(str(here), "")
        return [f"{refused} ({refusal.number}): {what}" for what in wrong]

    def _act(self, act: Act, here: Path, refusal: Refusal | None) -> Exception | None:
        try:
            with seen_calls(here, refusal or (lambda call, path: None), sync=False):
                act(self.kit, here / "out")
        except Exception as error:
            return error
        return None

    def _wrong_in(self, error: Exception | None, state: str, code: int) -> list[str]:
        """Tell what is wrong after a refusal: an error says that nothing was changed, so nothing may be."""
        if error is None:
            return [] if state == self.after else ["it failed without an error"]
        kind, exit_code = ERRORS[code]
        wrong = [] if state == self.before else ["the error says that nothing was changed"]
        if not isinstance(error, DupmineError) or (type(error), error.exit_code) != (kind, exit_code):
            wrong.append(f"{error!r} is not a {kind.__name__}")
        return wrong


@pytest.fixture(scope="session")
def kit(tiny: TinyModels) -> Kit:
    return Kit.make(tiny.folder)


@pytest.fixture(autouse=True)
def _fast(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards in a small corpus, and models that are loaded once."""
    monkeypatch.setattr(encoder, "SHARD", 8)
    monkeypatch.setattr(scorer, "SHARD", 64)
    models = kit.miner.models
    monkeypatch.setattr(Models, "load", lambda settings: models)


FULL, BROKEN = ERRORS
SOME = [
    ("init", FULL),
    ("init", BROKEN),
    ("update", FULL),
    ("rollback", BROKEN),
    ("compact", FULL),
    ("mine --overwrite", BROKEN),
]
EVERY = [(name, code) for name in SCENES for code in ERRORS]


@pytest.mark.parametrize(("scene", "code"), EVERY if os.environ.get("DUPMINE_EVERY_FAULT") else SOME)
def test_any_one_call_refused(scene: str, code: int, kit: Kit, tmp_path: Path) -> None:
    stage, wrong = Stage(SCENES[scene], kit, tmp_path), list[str]()
    for number in itertools.count(1):
        refusal = Refusal(number, code)
        wrong += stage.play(refusal)
        if len(refusal.calls) < number:
            break
    assert wrong == []
    assert number > 40


@pytest.mark.parametrize("scene", ["update", "mine"])
def test_any_file_a_byte_too_long(scene: str, kit: Kit, tmp_path: Path) -> None:
    """The system itself refuses to write, as on a full disk; nothing is simulated."""
    stage = Stage(SCENES[scene], kit, tmp_path)
    sizes = {len(content) for name, content in stage.files.items() if name not in stage.old_files}
    for size in sorted(sizes):
        here = stage.set_up()
        with largest_file(size - 1), pytest.raises(SpaceError):
            stage.scene.act(kit, here / "out")
        assert stage.scene.state(here / "out") == stage.before
        stage.scene.act(kit, here / "out")
        assert files_in(here) == stage.files
    assert len(sizes) > 3


def test_an_array_is_whole_or_not_there(tmp_path: Path) -> None:
    with largest_file(62_000), pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as caught:
        write_segment(
            tmp_path,
            1,
            documents=pa.table({"doc_id": ["a"]}),
            texts=[],
            tokens=TokenStore(np.empty(0, np.int32), np.zeros(1, np.int64), 0),
            embeddings=np.ones((1000, 32), np.float16),  # 64,128 bytes with the header
            pairs=ScoredPairs.none(),
        )
    assert caught.value.errno == errno.EFBIG
    assert not (tmp_path / "segments" / "00000001" / "embeddings.npy").exists()


@pytest.mark.parametrize("scene", ["init", "update"])
def test_all_is_on_the_disk_before_the_commit(scene: str, kit: Kit, tmp_path: Path) -> None:
    """Power may fail at any time. A name is on the disk once its folder was synced after it was made."""
    stage, calls = Stage(SCENES[scene], kit, tmp_path), list[str]()
    here = stage.set_up()
    with seen_calls(here, lambda call, path: calls.append(f"{call} {path}"), sync=False):
        stage.scene.act(kit, here / "out")
    commit = next(i for i, call in enumerate(calls) if re.search(r"replace .*/generations/\.\d+\.", call))
    before = {path.relative_to(tmp_path / "base") for path in (tmp_path / "base").rglob("*")}
    after = {path.relative_to(here) for path in here.rglob("*")} - before
    made = {
        path for path in after if (here / path).is_dir() or path.parts[1] in {"segments", "states", "changes"}
    }
    lost = set()
    for path in made:
        named = next(i for i, call in enumerate(calls) if _names(call, here / path))
        if f"fsync {(here / path).parent}" not in calls[named:commit]:
            lost.add(str(path))
    assert lost == set()
    assert calls[commit + 2] == f"fsync {here / 'out' / 'generations'}" or calls[commit + 1].startswith(
        "fsync"
    )
    assert len(made) > 3


def _names(call: str, path: Path) -> bool:
    """Whether a call gives a file or folder its name."""
    temporary = rf"replace {re.escape(str(path.parent))}/\.{re.escape(path.name)}\.tmp-\w+"
    return call == f"mkdir {path}" or re.fullmatch(temporary, call) is not None


SMALL_DISK = """
import sys, os
from pathlib import Path
from dupmine.errors import SpaceError
from tests.helpers.small_store import SCENES, Kit, files_in
models, disk, name, step = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
kit, scene, out, filler = Kit.make(models), SCENES[name], disk / "out", disk / "filler"
scene.before(kit, out)
before = scene.state(out)
for free in range(0, 1000, step):  # pages
    with filler.open("wb") as file:
        file.write(bytes(max(0, os.statvfs(disk).f_bavail - free) * 4096))
    try:
        scene.act(kit, out)
        print("written with", free)
        break
    except SpaceError as error:
        assert error.exit_code == 5
    assert scene.state(out) == before
    filler.unlink()
filler.unlink()
alone = models / f"alone-{name}" / "out"
alone.parent.mkdir()
scene.before(kit, alone)
scene.act(kit, alone)
assert files_in(out) == files_in(alone)
print("as on a large disk")
"""


@pytest.mark.skipif(not may_mount(), reason="mounting a small disk is not permitted here")
@pytest.mark.parametrize("scene", ["update", "mine"])
def test_a_disk_that_is_really_full(scene: str, tiny: TinyModels, tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=2m none {tmp_path} && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, "-c", SMALL_DISK]
    ended = subprocess.run(
        [*command, str(tiny.folder), str(tmp_path), scene, "6"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == 0, ended.stderr
    free, same = ended.stdout.splitlines()
    assert int(free.removeprefix("written with ")) >= 12
    assert same == "as on a large disk"

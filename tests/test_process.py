"""What the Python API does to its process, and in forks of it: threads, pickles, bars, words of errors."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import dupmine
from dupmine import InputError, Miner
from dupmine.disk.folder import MANIFEST
from dupmine.errors import OutputError
from dupmine.inference.device import DeviceConfig
from dupmine.inference.threads import using_threads
from dupmine.progress import Progress

TEXTS = ["How do I learn Python?", "how do I learn  Python?", "How can I learn Python?", "Where is Paris?"]
LABELS = [0, 0, 0, -1]
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

_miners: list[Miner] = []  # what forked children find


def _mine(_: int) -> tuple[list[int], bool, int]:
    found = _miners[0].mine(TEXTS)
    same = _miners[0].score_pairs([(TEXTS[0], TEXTS[2])])[0] > 0.5
    return found.labels_.tolist(), bool(same), torch.get_num_threads()


@FORK
def test_a_forked_child_mines(miner: Miner) -> None:
    _miners[:] = [miner]
    with using_threads(2):
        miner.mine(TEXTS)  # starts the threads that a fork lacks
        child = os.fork()
        if child == 0:
            os._exit(0 if _mine(0) == (LABELS, True, 1) else 1)
        assert _wait(child, seconds=120) == 0
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(_mine, range(3)).get(120) == [(LABELS, True, 1)] * 3
        assert torch.get_num_threads() == 2


def _wait(child: int, seconds: float) -> int:
    """Return the exit code of a child; a child that hangs is killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_gpu_of_the_parent_is_refused_in_a_fork() -> None:
    used = DeviceConfig(torch.device("cuda"), torch.float32, 4096, process=os.getpid() + 1)
    with pytest.raises(dupmine.SettingsError, match=r"^cuda cannot be used in a forked process .*spawn"):
        used.require_same_process()
    DeviceConfig(torch.device("cuda"), torch.float32, 4096).require_same_process()
    DeviceConfig(torch.device("cpu"), torch.float32, 4096, process=os.getpid() + 1).require_same_process()


def test_threads_of_a_call_end_with_it() -> None:
    with using_threads(3):
        one = Miner(threads=1, progress=False)
        one.mine(TEXTS)
        assert torch.get_num_threads() == 3
        one.score_pairs([("a", "b")])
        assert torch.get_num_threads() == 3
        with pytest.raises(InputError):
            one.mine([1])
        assert torch.get_num_threads() == 3


def test_a_used_miner_is_pickled_without_its_models(miner: Miner) -> None:
    miner.mine(TEXTS)
    again = pickle.loads(pickle.dumps(miner))
    assert (repr(miner), repr(again)) == (
        "Miner(device='cpu', precision='fp32', loaded)",
        "Miner(device='cpu', precision='fp32', not loaded)",
    )
    assert again.settings == miner.settings
    error = pickle.loads(pickle.dumps(InputError("set --nulls to drop")))
    assert (type(error), str(error), error.message) == (InputError, *["set --nulls to drop"] * 2)


def test_errors_speak_python(miner: Miner, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("text\nHow?\nWhy?\n")
    miner.mine_files([tmp_path / "q.csv"], tmp_path / "out")
    with pytest.raises(OutputError, match=r"give overwrite=True or another folder$") as again:
        miner.mine_files([tmp_path / "q.csv"], tmp_path / "out")
    assert again.value.message.endswith("give --overwrite or another --out")
    with pytest.raises(OutputError, match=r"give overwrite=True or another folder$"):
        miner.mine(TEXTS).save(tmp_path / "out")
    with pytest.raises(InputError, match=r"is null: fill it, or set nulls to drop or empty$"):
        miner.mine(["a", None])


def test_a_new_threshold_is_saved(miner: Miner, tmp_path: Path) -> None:
    miner.mine(TEXTS).rethreshold(0.91).save(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["threshold"] == {"value": 0.91, "by": "rethreshold"}
    assert manifest["settings"]["rerank"]["threshold"] == 0.91


def test_a_notebook_without_ipywidgets_shows_bars_of_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress().bar("embed", 2, "texts") as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""  # no terminal
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # importing it fails
    with Progress().bar("embed", 2, "texts") as bar:
        bar.update(2)
    assert "embed: 100%" in capsys.readouterr().err
    with Progress(enabled=False).bar("embed", 2, "texts") as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""

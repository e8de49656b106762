"""The Python API: settings, errors before models load, and models that stay loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dupmine
from dupmine import InputError, Miner, SettingsError
from dupmine.corpus.unique import normalised_key
from dupmine.keywords import SettingKeywords
from dupmine.pipeline import Models
from dupmine.settings import MiningSettings

from .helpers.tiny_models import TinyModels

PAIR = [("how do I learn python?", "how can I learn python?")]


def test_score_pairs(miner: Miner) -> None:
    pairs = [("How do I learn Python?", "What is the best way to learn Python?"), ("Hi?", "Where is Paris?")]
    found = miner.score_pairs(pairs)
    assert found.dtype == np.float32
    assert found.shape == (2,)
    assert found[0] > 0.5 > found[1]
    np.testing.assert_allclose(miner.score_pairs(pairs[::-1]), found[::-1], atol=1e-6)
    assert miner.score_pairs([]).shape == (0,)
    equal = [("How old are you?", " how OLD are you?"), ("", ""), ("", "How old are you?")]
    assert miner.score_pairs(equal).tolist() == [1.0, 0.0, 0.0]


def test_rank(miner: Miner) -> None:
    asked = "How do I learn Python?"
    others = [f"Where is the city number {i}?" for i in range(150)]
    same = ["What is the best way to learn Python?", "How can I learn Python?"]
    texts = [*others[:100], same[0], "", *others[100:], " how do i LEARN python?", same[1]]
    found = miner.rank(asked, iter(texts), top=5)
    assert found.columns.tolist() == ["rank", "position", "text", "cosine", "probability"]
    assert found["rank"].tolist() == [1, 2, 3, 4, 5]
    assert found["text"].tolist()[0] == " how do i LEARN python?"
    assert set(found["text"][1:3]) == set(same)
    assert [texts[i] for i in found["position"]] == found["text"].tolist()
    assert found["probability"][0] == 1.0
    assert (found["cosine"] + found["probability"]).is_monotonic_decreasing
    for text, probability in zip(found["text"][1:], found["probability"][1:], strict=True):
        pair = sorted([asked, text], key=normalised_key)
        assert miner.score_pairs([tuple(pair)])[0] == pytest.approx(probability, abs=1e-3)
    assert len(miner.rank(asked, texts, top=1000)) == len(texts) - 1
    assert miner.rank(asked, []).empty
    assert miner.rank(" ", same).empty
    assert miner.rank(asked, [""]).columns.tolist() == found.columns.tolist()


def test_rank_names_what_is_no_text(miner: Miner) -> None:
    with pytest.raises(InputError, match=r"^text 1 \(counted from 0\): expected a string, found 3$"):
        miner.rank("a", ["b", 3])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"^the query: expected a string, found None$"):
        miner.rank(None, ["b"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pair", "shown"), [(("a",), r"\('a',\)"), ("ab", "'ab'"), (("a", 1), r"\('a', 1\)"), (None, "None")]
)
def test_score_pairs_names_what_is_no_pair(miner: Miner, pair: Any, shown: str) -> None:
    with pytest.raises(
        InputError, match=rf"^pair 1 \(counted from 0\): expected two strings, found {shown}$"
    ):
        miner.score_pairs([("a", "b"), pair])


def test_module_functions_take_settings(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("output: {singletons: true}\n")
    found = dupmine.mine(
        ["Hi?", "hi?", "Where is Mars?"], config=config, rerank={"threshold": 0.7}, progress=False
    )
    assert found.clusters["text"].tolist() == ["Hi?", "hi?", "Where is Mars?"]
    assert found.settings.rerank.threshold == 0.7


@pytest.mark.parametrize("call", [dupmine.mine, dupmine.score_pairs])
def test_unknown_setting(call: Callable[..., object]) -> None:
    with pytest.raises(SettingsError, match=r"^unknown setting treshold: did you mean rerank\.threshold\?$"):
        call([], treshold=0.5)


def test_miner_changes_the_settings_it_is_given() -> None:
    settings = dupmine.load_settings(overrides={"max_k": 3, "floor": 0.3})
    miner = Miner(settings, retrieval={"max_k": 4})
    assert (miner.settings.retrieval.max_k, miner.settings.retrieval.floor) == (4, 0.3)
    with pytest.raises(
        SettingsError, match=r"^config x\.yaml: there are settings already; give one of the two$"
    ):
        Miner(settings, config="x.yaml")


def test_import_is_fast_and_light() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import dupmine; print(time.perf_counter() - t); "
        "print([m for m in ('torch', 'faiss', 'pandas', 'pyarrow', 'transformers') if m in sys.modules])"
    )
    seconds, loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert loaded == "[]"
    assert float(seconds) < 0.5


def test_bad_data_is_told_before_models_load() -> None:
    started = time.monotonic()
    with pytest.raises(InputError, match=r"^row 1 \(counted from 0\): the text \(column text\) is null"):
        Miner(progress=False, bi_encoder="./no/such/model").mine(["a", None])
    assert time.monotonic() - started < 5


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Models]:
    """The models that are loaded while a test runs."""
    from dupmine import miner

    real, loaded = miner._load_models, []

    def load(settings: MiningSettings) -> Models:
        loaded.append(real(settings))
        return loaded[-1]

    monkeypatch.setattr(miner, "_load_models", load)
    dupmine.clear_models()
    return loaded


def test_models_stay_loaded_while_settings_are_the_same(tiny: TinyModels, loads: list[Models]) -> None:
    settings: SettingKeywords = {"bi_encoder": tiny["bi-encoder"], "cross_encoder": tiny["sigmoid"]}
    first = dupmine.score_pairs(PAIR, progress=False, **settings)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        again = dupmine.score_pairs(PAIR, progress=False, **settings)
        seconds.append(time.perf_counter() - started)
    np.testing.assert_array_equal(again, first)
    assert min(seconds) < 0.05
    not_of_models: SettingKeywords = {**settings, "floor": 0.1, "singletons": True}
    dupmine.mine([*PAIR[0]], progress=False, **not_of_models)
    assert len(loads) == 1
    of_models: SettingKeywords = {**settings, "symmetric": True}
    dupmine.score_pairs(PAIR, progress=False, **of_models)
    assert len(loads) == 2


def test_a_model_that_changed_on_disk_is_loaded(
    tiny: TinyModels, tmp_path: Path, loads: list[Models]
) -> None:
    folder = tmp_path / "model"
    settings: SettingKeywords = {"bi_encoder": tiny["bi-encoder"], "cross_encoder": str(folder)}
    scores = []
    for name in ("sigmoid", "softmax"):
        shutil.copytree(tiny[name], folder, dirs_exist_ok=True)
        scores += [dupmine.score_pairs(PAIR, progress=False, **settings) for _ in range(2)]
    assert len(loads) == 2
    assert scores[0] == scores[1] != scores[2] == scores[3]


def test_clear_models_frees_them(tiny: TinyModels, loads: list[Models]) -> None:
    settings: SettingKeywords = {"bi_encoder": tiny["bi-encoder"], "cross_encoder": tiny["sigmoid"]}
    before = dupmine.score_pairs(PAIR, progress=False, **settings)
    scorer = weakref.ref(loads.pop().scorer)
    assert scorer() is not None
    dupmine.clear_models()
    assert scorer() is None
    np.testing.assert_array_equal(dupmine.score_pairs(PAIR, progress=False, **settings), before)
    assert len(loads) == 1


def test_threads_share_one_load(tiny: TinyModels, loads: list[Models]) -> None:
    settings: SettingKeywords = {"bi_encoder": tiny["bi-encoder"], "cross_encoder": tiny["sigmoid"]}
    with ThreadPoolExecutor(8) as pool:
        scores = pool.map(lambda _: dupmine.score_pairs(PAIR, progress=False, **settings).item(), range(24))
    assert len(set(scores)) == 1
    assert len(loads) == 1


def test_a_miner_keeps_its_own_models(tiny: TinyModels, loads: list[Models]) -> None:
    settings: SettingKeywords = {"bi_encoder": tiny["bi-encoder"], "cross_encoder": tiny["sigmoid"]}
    miners = [Miner(progress=False, **settings) for _ in range(2)]
    assert miners[0].score_pairs(PAIR) == miners[1].score_pairs(PAIR) == miners[0].score_pairs(PAIR)
    assert len(loads) == 2
    dupmine.clear_models()
    miners[0].score_pairs(PAIR)
    assert len(loads) == 2

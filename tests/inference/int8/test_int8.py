"""Models in int8: near fp32, the same in any batch, and their cache entries."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from dupmine.errors import SettingsError
from dupmine.inference.device import DeviceConfig, multiplies_int8, resolve_device
from dupmine.inference.int8.layers import quantise_layers
from dupmine.inference.int8.linear import Quantisation, to_bytes
from dupmine.inference.int8.quantise import sample_texts
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.scorer import CrossEncoder
from dupmine.retrieval.encoder import BiEncoder
from dupmine.schema import Floats
from dupmine.settings import ComputeSettings, RerankSettings

from ...helpers import shell
from ...helpers.sentences import QUESTIONS
from ...helpers.tiny_models import SIZES, TinyModels, bert_tokenizer

CPU = torch.device("cpu")
FP32 = DeviceConfig(CPU, torch.float32, 4096)
INT8 = DeviceConfig(CPU, torch.float32, 4096, int8="always")
HALVES = replace(INT8, attention_dtype=torch.bfloat16)
AUTO = DeviceConfig(CPU, torch.float32, 4096, int8="auto")
HERE = {torch.float32: "int8", torch.bfloat16: "int8+bf16"}[resolve_device(ComputeSettings()).attention_dtype]
TEXTS = [text for text in QUESTIONS if text.isascii()]
N = len(TEXTS)
LEFT, RIGHT = np.concatenate([np.arange(N)] * 3), (np.arange(3 * N) * 3 + 1) % N

pytestmark = pytest.mark.skipif(not multiplies_int8(CPU), reason="no VNNI here")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUPMINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def cross_encoder(name: str | Path, device: DeviceConfig = INT8) -> CrossEncoder:
    return CrossEncoder(RerankSettings(cross_encoder=str(name), calibrate=False), device)


def logits(model: CrossEncoder, rows: slice = slice(None)) -> Floats:
    tokens = tokenise(TEXTS, model.tokenizer, max_tokens=128, progress=SILENT)
    return model.score(tokens, LEFT[rows], RIGHT[rows], SILENT)


def vectors(model: BiEncoder, texts: list[str] = TEXTS) -> Floats:
    assert model.tokenizer is not None
    tokens = tokenise(texts, model.tokenizer, max_tokens=128, progress=SILENT)
    return model.encode(texts, tokens, SILENT).astype(np.float32)


@pytest.fixture(scope="module")
def deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cross-encoder whose linear layers are converted one by one."""
    torch.manual_seed(0)
    folder, tokenizer = tmp_path_factory.mktemp("deberta"), bert_tokenizer()
    config = DebertaV2Config(
        vocab_size=len(tokenizer), max_position_embeddings=32, id2label={0: "duplicate"}, **SIZES
    )
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=[INT8, HALVES], ids=["int8", "int8+bf16"])
def int8(request: pytest.FixtureRequest) -> DeviceConfig:
    """Return a config for each number format of attention, whichever is faster on this machine."""
    device: DeviceConfig = request.param
    return device


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "roberta"])
def test_logits_are_almost_the_same(tiny: TinyModels, name: str, int8: DeviceConfig) -> None:
    before, model = logits(cross_encoder(tiny[name], FP32)), cross_encoder(tiny[name], int8)
    assert model.precision == ("int8" if int8 is INT8 else "int8+bf16")
    after = logits(model)
    assert np.corrcoef(before, after)[0, 1] > 0.99
    assert 0 < np.abs(after - before).mean() < 0.05 * np.ptp(before)


@pytest.mark.parametrize("name", ["bi-encoder", "bi-encoder-roberta"])
def test_vectors_are_almost_the_same(tiny: TinyModels, name: str, int8: DeviceConfig) -> None:
    cosines = (vectors(BiEncoder(tiny[name], FP32)) * vectors(BiEncoder(tiny[name], int8))).sum(axis=1)
    assert 0.97 < cosines.min() < 0.99999
    assert cosines.mean() > 0.99


def test_any_other_architecture(deberta: Path) -> None:
    before, after = logits(cross_encoder(deberta, FP32)), logits(cross_encoder(deberta))
    assert np.corrcoef(before, after)[0, 1] > 0.98
    assert 0 < np.abs(after - before).mean() < 0.05 * np.ptp(before)


@pytest.mark.usefixtures("_threads_restored")
def test_a_score_does_not_depend_on_its_batch(tiny: TinyModels, deberta: Path, int8: DeviceConfig) -> None:
    for name in (tiny["sigmoid"], tiny["roberta"], tiny["nli-cen"], deberta):
        model = cross_encoder(name, int8)
        expected = logits(model).tolist()
        assert [logits(model, slice(i, i + 1))[0] for i in range(0, 3 * N, 5)] == expected[::5]
        few = cross_encoder(name, replace(int8, batch_tokens=64))
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert logits(few).tolist() == expected
            assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("_threads_restored")
def test_a_vector_does_not_depend_on_its_batch(tiny: TinyModels, int8: DeviceConfig) -> None:
    for name in (tiny["bi-encoder"], tiny["bi-encoder-roberta"]):
        model = BiEncoder(name, int8)
        expected = vectors(model).tolist()
        assert [vectors(model, [text])[0].tolist() for text in TEXTS[::9]] == expected[::9]
        few = BiEncoder(name, replace(int8, batch_tokens=64))
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert vectors(few).tolist() == expected


def test_the_shipped_models(miner: object, int8: DeviceConfig) -> None:
    model, encoder = cross_encoder("quora-minilm-l6", int8), BiEncoder("all-MiniLM-L6-v2", int8)
    before, after = logits(cross_encoder("quora-minilm-l6", FP32)), logits(model)
    assert np.corrcoef(before, after)[0, 1] > 0.99
    assert [logits(model, slice(i, i + 1))[0] for i in range(0, 3 * N, 19)] == after[::19].tolist()
    cosines = (vectors(BiEncoder("all-MiniLM-L6-v2", FP32)) * vectors(encoder)).sum(axis=1)
    assert cosines.mean() > 0.985


def test_ranges_are_cached(tiny: TinyModels, cache: Path) -> None:
    expected = logits(cross_encoder(tiny["sigmoid"]))
    [entry] = (cache / "int8").iterdir()
    text = entry.read_text(encoding="utf-8")
    content = json.loads(text)["content"]
    assert 0.98 < content["agreement"] <= 1
    assert len(content["ranges"]) == 2 * 6  # layers, and linear layers in each
    changed = entry.stat().st_mtime_ns
    assert logits(cross_encoder(tiny["sigmoid"])).tolist() == expected.tolist()
    assert entry.stat().st_mtime_ns == changed
    entry.unlink()
    assert logits(cross_encoder(tiny["sigmoid"])).tolist() == expected.tolist()
    assert entry.read_text(encoding="utf-8") == text


def test_cached_ranges_are_used(tiny: TinyModels, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        cross_encoder(tiny["sigmoid"])
        cross_encoder(tiny["sigmoid"])
    assert caplog.text.count("measuring the ranges") == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"content": {}, "sha256": "0"}'])
def test_a_damaged_entry_is_made_again(
    tiny: TinyModels, cache: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    expected = logits(cross_encoder(tiny["sigmoid"]))
    [entry] = (cache / "int8").iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert logits(cross_encoder(tiny["sigmoid"])).tolist() == expected.tolist()
    assert entry.read_bytes() == whole
    assert f"{entry} is damaged and is computed again" in caplog.text


def test_a_changed_number_in_an_entry_is_noticed(tiny: TinyModels, cache: Path) -> None:
    expected = logits(cross_encoder(tiny["sigmoid"]))
    [entry] = (cache / "int8").iterdir()
    content = json.loads(entry.read_text(encoding="utf-8"))
    name = next(iter(content["content"]["ranges"]))
    content["content"]["ranges"][name] = [-100.0, 100.0]
    entry.write_text(json.dumps(content), encoding="utf-8")
    assert logits(cross_encoder(tiny["sigmoid"])).tolist() == expected.tolist()


def test_a_cache_that_cannot_be_written(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(cross_encoder(tiny["sigmoid"]))
    (tmp_path / "file").touch()
    monkeypatch.setenv("DUPMINE_CACHE", str(tmp_path / "file" / "cache"))
    assert logits(cross_encoder(tiny["sigmoid"])).tolist() == expected.tolist()
    assert "cannot be written (Not a directory), so every run computes it again" in caplog.text


def test_two_at_once(tiny: TinyModels, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "questions.csv").write_text(shell.QUESTIONS, encoding="utf-8")
    models = ["--bi-encoder", tiny["bi-encoder"], "--cross-encoder", tiny["sigmoid"], "--threshold", "0.5"]
    outs = [tmp_path / "a", tmp_path / "b"]
    started = [
        shell.start_process("mine", tmp_path / "questions.csv", "--out", out, *models, "--floor", "-1")
        for out in outs
    ]
    for process in started:
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
    assert len(list((cache / "int8").iterdir())) == 2  # one per model, and no unfinished file
    first, second = (pq.read_table(out / "pairs.parquet") for out in outs)
    assert first.equals(second)
    assert [
        json.loads((out / "manifest.json").read_text())["models"]["bi_encoder"]["precision"] for out in outs
    ] == [HERE] * 2


@pytest.mark.usefixtures("_threads_restored")
def test_mine_in_int8(tiny: TinyModels, tmp_path: Path) -> None:
    (tmp_path / "questions.csv").write_text(shell.QUESTIONS, encoding="utf-8")
    models = ["--bi-encoder", tiny["bi-encoder"], "--cross-encoder", tiny["sigmoid"], "--threshold", "0.5"]
    tables = []
    for tokens, threads, precision in ((4096, 2, "auto"), (64, 1, "int8"), (64, 2, "fp32")):
        out = tmp_path / f"{precision}-{threads}"
        sets = [
            f"compute.batch_tokens={tokens}",
            f"compute.threads={threads}",
            f"compute.precision={precision}",
        ]
        settings = [word for each in sets for word in ("--set", each)]
        ended = shell.dupmine(
            "mine", tmp_path / "questions.csv", "--out", out, *models, "--floor", "-1", *settings
        )
        assert (ended.code, ended.err) == (0, "")
        made = {"auto": HERE, "int8": HERE}.get(precision, precision)
        described = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["models"]
        assert [described[kind]["precision"] for kind in ("bi_encoder", "cross_encoder")] == [made, made]
        tables.append(pq.read_table(out / "pairs.parquet"))
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


def test_a_model_that_reads_texts(tiny: TinyModels, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert BiEncoder(tiny["static"], AUTO).precision == "fp32"
    assert f"model {tiny['static']} does not run in int8: it reads texts instead of token ids" in caplog.text
    with pytest.raises(SettingsError) as caught:
        BiEncoder(tiny["static"], INT8)
    assert str(caught.value) == (
        f"setting compute.precision: model {tiny['static']} cannot run in int8: it reads texts instead of "
        "token ids; use auto or fp32"
    )


def test_a_model_that_disagrees_in_int8(
    tiny: TinyModels, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dupmine.inference.int8.quantise._MIN_AGREEMENT", {2: 1.01})
    expected = logits(cross_encoder(tiny["sigmoid"], FP32))
    for _ in range(2):  # measured, and from the cache
        with caplog.at_level(logging.INFO):
            model = cross_encoder(tiny["sigmoid"], AUTO)
        assert model.precision == "fp32"
        assert logits(model).tolist() == expected.tolist()
    assert caplog.text.count("does not run in int8: its agreement with fp32 on sample texts is 0.9") == 2
    assert caplog.text.count("measuring the ranges") == 1
    with pytest.raises(
        SettingsError, match=r"^setting compute\.precision: model \S+ cannot run in int8: its"
    ):
        cross_encoder(tiny["sigmoid"])


def test_rounding_to_bytes_and_clamping() -> None:
    rounding = Quantisation.of_range((-1.0, 4.1))
    assert rounding == Quantisation(5.1 / 255, 50)
    values = torch.tensor([-2.0, -1.0, 0.0, 0.009, 0.011, 4.1, 9.0])
    assert to_bytes(values / rounding.scale + rounding.offset).tolist() == [0, 0, 50, 50, 51, 255, 255]


def test_linear_layers_of_any_kind() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 48, bias=False), nn.ReLU(), nn.Linear(48, 8))
    values = torch.randn(5, 7, 32)
    expected = model(values).detach()
    quantise_layers(model, {"0": (-4.5, 4.5), "2": (0.0, 3.0)})
    torch.testing.assert_close(model(values), expected, atol=0.05, rtol=0)
    assert not torch.equal(model(values), expected)


def test_the_sample_is_long_and_short() -> None:
    lengths = [len(text) for text in sample_texts()]
    assert len(lengths) == 252
    assert min(lengths) < 30
    assert max(lengths) > 800

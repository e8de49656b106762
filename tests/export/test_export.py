"""Exported models against the originals, and exports that are refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from dupmine.errors import InputError, ModelError, OutputError
from dupmine.evaluation.model import EvaluateSettings
from dupmine.export.check import ExportCheck
from dupmine.export.int8 import write_quantised
from dupmine.export.model import GRAPH, ExportOptions, export_model
from dupmine.export.session import GraphModel, with_graph
from dupmine.inference.device import DeviceConfig
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.scorer import CrossEncoder
from dupmine.retrieval.encoder import BiEncoder
from dupmine.schema import Floats, LabelledPairs
from dupmine.settings import RerankSettings

from ..helpers import shell
from ..helpers.sentences import QUESTIONS
from ..helpers.tiny_models import SIZES, TinyModels, bert_tokenizer

FP32 = DeviceConfig(torch.device("cpu"), torch.float32, 4096)
TEXTS = [text for text in QUESTIONS if text.isascii()]
N = len(TEXTS)
LEFT, RIGHT = np.concatenate([np.arange(N)] * 2), (np.arange(2 * N) * 3 + 1) % N
ANY_LOSS = ExportOptions(max_loss=1.0)
INT8 = ExportOptions(int8=True, max_loss=1.0)


def labelled(labels: npt.NDArray[Any]) -> LabelledPairs:
    left, right = ([TEXTS[i] for i in rows] for rows in (LEFT, RIGHT))
    return LabelledPairs(left, right, labels.astype(np.float32), source="pairs.csv")


PAIRS = labelled(np.arange(2 * N, dtype=np.float32) % 2)


def exported(
    name: str, out: Path, plan: ExportOptions = ANY_LOSS, pairs: LabelledPairs = PAIRS
) -> ExportCheck:
    return export_model(name, pairs, out, plan, EvaluateSettings(), SILENT)


def cross_encoder(name: str | Path, **values: object) -> CrossEncoder:
    return CrossEncoder(RerankSettings.model_validate({"cross_encoder": str(name), **values}), FP32)


def exported_cross_encoder(name: str | Path, folder: Path) -> CrossEncoder:
    return with_graph(cross_encoder(name), folder / GRAPH)


def logits(model: CrossEncoder, rows: slice = slice(None)) -> Floats:
    tokens = tokenise(TEXTS, model.tokenizer, max_tokens=128, progress=SILENT)
    return model.score(tokens, LEFT[rows], RIGHT[rows], SILENT)


def vectors(model: BiEncoder, texts: list[str] = TEXTS) -> Floats:
    assert model.tokenizer is not None
    tokens = tokenise(texts, model.tokenizer, max_tokens=128, progress=SILENT)
    return model.encode(texts, tokens, SILENT).astype(np.float32)


@pytest.fixture(scope="session")
def deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DeBERTa-v2 with two labels, random weights and the attention of deberta-v3-large."""
    folder = tmp_path_factory.mktemp("deberta") / "model"
    tokenizer = bert_tokenizer()
    torch.manual_seed(0)
    attention: dict[str, Any] = {
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
    }
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=32,
        type_vocab_size=0,
        id2label={0: "different", 1: "duplicate"},
        **attention,
        **SIZES,
    )
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def exports(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model of each kind in int8, and a cross-encoder in fp32."""
    folder = tmp_path_factory.mktemp("exports")
    for name in ("sigmoid", "bi-encoder"):
        exported(tiny[name], folder / name, INT8)
    exported(tiny["sigmoid"], folder / "sigmoid-fp32")
    return folder


@pytest.mark.parametrize("name", ["sigmoid", "regression", "softmax", "nli-enc", "roberta"])
def test_an_exported_cross_encoder_equals_the_original(tiny: TinyModels, tmp_path: Path, name: str) -> None:
    check = exported(tiny[name], tmp_path / "out")
    expected = logits(cross_encoder(tiny[name]))
    actual = logits(exported_cross_encoder(tiny[name], tmp_path / "out"))
    np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=1e-4)
    assert not np.array_equal(actual, expected)  # it is another engine
    assert np.ptp(expected) > 0.5
    assert check.max_difference < 1e-4 * max(1.0, np.abs(expected).max())
    assert (check.pairs, check.scores, check.measure) == (2 * N, "logit", "F1")
    assert check.loss == pytest.approx(0, abs=0.02)


def test_an_exported_deberta_equals_the_original(deberta: Path, tmp_path: Path) -> None:
    exported(str(deberta), tmp_path / "out")
    expected = logits(cross_encoder(deberta))
    actual = logits(exported_cross_encoder(deberta, tmp_path / "out"))
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert np.ptp(expected) > 0.5


@pytest.mark.parametrize("name", ["bi-encoder", "bi-encoder-roberta"])
def test_an_exported_bi_encoder_equals_the_original(tiny: TinyModels, tmp_path: Path, name: str) -> None:
    check = exported(tiny[name], tmp_path / "out")
    original = BiEncoder(tiny[name], FP32)
    exported_vectors = vectors(with_graph(original, tmp_path / "out" / GRAPH))
    np.testing.assert_allclose(exported_vectors, vectors(original), atol=1e-3)
    assert check.scores == "cosine"
    assert check.max_difference < 1e-3


def test_int8_changes_little(tiny: TinyModels, exports: Path) -> None:
    before = logits(cross_encoder(tiny["sigmoid"]))
    after = logits(exported_cross_encoder(tiny["sigmoid"], exports / "sigmoid"))
    assert 0 < np.abs(after - before).mean() < 0.05 * np.ptp(before)
    assert np.corrcoef(before, after)[0, 1] > 0.99
    original = BiEncoder(tiny["bi-encoder"], FP32)
    cosines = (vectors(original) * vectors(with_graph(original, exports / "bi-encoder" / GRAPH))).sum(axis=1)
    assert 0.98 < cosines.min() < 0.99999


def test_int8_is_in_eight_bits_but_for_the_head(exports: Path) -> None:
    graph = onnx.load(exports / "sigmoid" / "model.onnx").graph
    producers = {name: node for node in graph.node for name in node.output}
    in_eight_bits = [
        node
        for node in graph.node
        if node.op_type == "MatMul"
        and all(name in producers and producers[name].op_type == "DequantizeLinear" for name in node.input)
    ]
    assert len(in_eight_bits) == 2 * 6  # layers, and linear layers in each
    assert sum(node.op_type == "MatMul" for node in graph.node) == 2 * 6 + 2 * 2  # and the attention itself
    eight = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.dims) == 2 for tensor in eight) == 2 * 6  # tiny embeddings stay as they are


def test_a_large_embedding_is_looked_up_in_eight_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {
        "table": rng.normal(size=(2000, 8)),
        "weight": rng.normal(size=(8, 4)),
        "bias": rng.normal(size=4) * 10,
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "look up"),
        helper.make_node("MatMul", ["rows", "weight"], ["product"], "multiply"),
        helper.make_node("Add", ["bias", "product"], ["sum"], "add"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, ["batch", "length", 4])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    ids = np.arange(60).reshape(20, 3) * 31
    write_quantised(model, iter([{"ids": ids}]), tmp_path / GRAPH)
    small = onnx.load(tmp_path / GRAPH).graph
    dtypes = {tensor.name: tensor.data_type for tensor in small.initializer if len(tensor.dims) == 2}
    assert sorted(dtypes.values()) == [onnx.TensorProto.UINT8, onnx.TensorProto.INT8]
    expected = weights["table"][ids] @ weights["weight"] + weights["bias"]
    result = GraphModel(tmp_path / GRAPH).session.run(None, {"ids": ids})[0]
    np.testing.assert_allclose(result, expected, atol=0.25)
    assert np.ptp(expected) > 20
    assert not np.allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["sigmoid", "sigmoid-fp32"])
def test_a_score_does_not_depend_on_its_batch(tiny: TinyModels, exports: Path, name: str) -> None:
    model = exported_cross_encoder(tiny["sigmoid"], exports / name)
    alone = [logits(model, slice(i, i + 1))[0] for i in range(0, 2 * N, 5)]
    np.testing.assert_allclose(alone, logits(model)[::5], atol=1e-5)


def test_continuous_labels_are_checked_by_rank(tiny: TinyModels, tmp_path: Path) -> None:
    check = exported(tiny["regression"], tmp_path / "out", pairs=labelled(np.linspace(0, 1, 2 * N)))
    assert check.measure == "Spearman"
    assert check.loss == pytest.approx(0, abs=1e-3)


def test_a_model_that_loses_too_much_is_refused(tiny: TinyModels, exports: Path, tmp_path: Path) -> None:
    own = logits(cross_encoder(tiny["sigmoid"]))
    order = np.argsort(own)
    swapped = np.diff(logits(exported_cross_encoder(tiny["sigmoid"], exports / "sigmoid"))[order]) < 0
    pairs = labelled(own > own[order[np.flatnonzero(swapped)[0]]])  # the original is right about each
    with pytest.raises(ModelError) as caught:
        exported(tiny["sigmoid"], tmp_path / "deep" / "out", ExportOptions(int8=True, max_loss=0), pairs)
    message = str(caught.value)
    assert message.startswith(f"model {tiny['sigmoid']} is not exported: its F1 on {2 * N} pairs would fall ")
    assert " from 1.0000 to 0." in message
    assert message.endswith("by more than 0; export it without --int8, or allow more with --max-loss")
    assert list(tmp_path.iterdir()) == []


def test_the_record(tiny: TinyModels, exports: Path, tmp_path: Path) -> None:
    record = json.loads((exports / "sigmoid" / "onnx.json").read_text(encoding="utf-8"))
    check = record.pop("check")
    assert record == {
        "exported_from": tiny["sigmoid"],
        "kind": "cross-encoder",
        "weights": "int8",
        "max_length": 32,
    }
    assert {"pairs", "max_difference", "original", "exported"} < set(check)
    exported(tiny["sigmoid"], tmp_path / "again", INT8)
    for name in (GRAPH, "onnx.json", "tokenizer.json", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (exports / "sigmoid" / name).read_bytes(), name


@pytest.mark.parametrize(("flag", "name"), [("--bi-encoder", "bi-encoder"), ("--cross-encoder", "sigmoid")])
def test_an_export_is_not_a_model_to_mine_with(
    tiny: TinyModels, exports: Path, tmp_path: Path, flag: str, name: str
) -> None:
    (tmp_path / "questions.csv").write_text(shell.QUESTIONS, encoding="utf-8")
    out = tmp_path / "out"
    ended = shell.dupmine("mine", tmp_path / "questions.csv", "--out", out, flag, exports / name)
    assert (ended.code, ended.err) == (
        2,
        f"dupmine: model {exports / name} is an ONNX export, for other engines; give the model that it was "
        f"made from: {tiny[name]}\n",
    )
    assert not out.exists()


def test_the_command(tiny: TinyModels, tmp_path: Path) -> None:
    lines = ["question1,question2,is_duplicate"]
    lines += [f'"{a}","{b}",{i % 2}' for i, (a, b) in enumerate(zip(PAIRS.left, PAIRS.right, strict=True))]
    (tmp_path / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    asked: list[str | Path] = [
        "export",
        tiny["softmax"],
        "--pairs",
        tmp_path / "pairs.csv",
        "--out",
        tmp_path / "out",
    ]
    ended = shell.dupmine(*asked, "--format", "onnx", "--int8", "--max-loss", "1", "--sample", "20")
    assert (ended.code, ended.err) == (0, "")
    assert f"checked on 20 of {2 * N} pairs" in ended.out
    for row in ("F1", "pairs per second", "greatest logit change"):
        assert row in ended.out
    again = shell.dupmine(*asked)
    assert again.code == 2
    assert again.err == f"dupmine: {tmp_path / 'out'} exists and is not empty; give another --out\n"
    assert shell.dupmine(*asked, "--format", "tflite").code == 2


def test_what_cannot_be_exported(tiny: TinyModels, exports: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ModelError, match=r"static cannot be exported: it reads texts instead of token ids"):
        exported(tiny["static"], out)
    with pytest.raises(ModelError, match=r"sigmoid is an ONNX export, for other engines; give the model"):
        exported(str(exports / "sigmoid"), out)
    with pytest.raises(ModelError, match=r"bert is not a cross-encoder: "):
        exported(tiny["bert"], out)
    with pytest.raises(InputError, match=rf"^pairs.csv: all {2 * N} pairs have the label 1"):
        exported(tiny["sigmoid"], out, pairs=labelled(np.ones(2 * N)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="exists and is not empty"):
        exported(tiny["sigmoid"], exports)


@pytest.mark.parametrize("record", [b"{}", b"[]"])
def test_an_export_with_a_damaged_record(exports: Path, tmp_path: Path, record: bytes) -> None:
    folder = TinyModels(exports).broken("sigmoid", tmp_path / "model", {"onnx.json": record})
    with pytest.raises(ModelError, match=r"; give the model that it was made from$"):
        cross_encoder(folder)


def test_a_broken_graph(tmp_path: Path) -> None:
    (tmp_path / GRAPH).write_bytes(b"garbage")
    with pytest.raises(ModelError, match=r"^the exported graph cannot be loaded: ") as caught:
        GraphModel(tmp_path / GRAPH)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pairs.csv").write_text("text1,text2,label\na,b,0\nc,d,1\n", encoding="utf-8")
    for name in [name for name in sys.modules if name.startswith("dupmine.export.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    ended = shell.dupmine("export", "m", "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "out")
    assert (ended.code, ended.err) == (
        2,
        f"dupmine: an export needs {package}, which is not installed: pip install 'dupmine[onnx]'\n",
    )
    assert not (tmp_path / "out").exists()

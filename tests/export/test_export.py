"""Exported models against the originals, and exports that are refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow.parquet as pq
import pytest
import torch
from onnx import helper, numpy_helper
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from dupmine.errors import InputError, ModelError, OutputError
from dupmine.evaluation.model import EvaluateSettings
from dupmine.export.check import Check
from dupmine.export.int8 import quantise
from dupmine.export.run import ExportPlan, export_model
from dupmine.inference.device import DeviceConfig
from dupmine.inference.locate import fingerprint
from dupmine.inference.onnx import OnnxModel, open_session
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
ANY_LOSS = ExportPlan(max_loss=1.0)
INT8 = ExportPlan(int8=True, max_loss=1.0)


def labelled(labels: npt.NDArray[Any]) -> LabelledPairs:
    left, right = ([TEXTS[i] for i in rows] for rows in (LEFT, RIGHT))
    return LabelledPairs(left, right, labels.astype(np.float32), source="pairs.csv")


PAIRS = labelled(np.arange(2 * N, dtype=np.float32) % 2)


def exported(name: str, out: Path, plan: ExportPlan = ANY_LOSS, pairs: LabelledPairs = PAIRS) -> Check:
    return export_model(name, pairs, out, plan, EvaluateSettings(), SILENT)


def cross_encoder(name: str | Path, **values: object) -> CrossEncoder:
    return CrossEncoder(RerankSettings.model_validate({"cross_encoder": str(name), **values}), FP32)


def logits(model: CrossEncoder, rows: slice = slice(None)) -> Floats:
    tokens = tokenise(TEXTS, model.tokenizer, max_tokens=128, progress=SILENT)
    return model.score(tokens, LEFT[rows], RIGHT[rows], SILENT)


def vectors(name: str | Path, texts: list[str] = TEXTS) -> Floats:
    model = BiEncoder(str(name), FP32)
    assert model.tokenizer is not None
    out = np.empty((len(texts), model.dim), np.float16)
    model.encode(texts, tokenise(texts, model.tokenizer, max_tokens=128, progress=SILENT), out, SILENT)
    return out.astype(np.float32)


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
    original, other = cross_encoder(tiny[name]), cross_encoder(tmp_path / "out")
    assert (other.head, other.max_tokens) == (original.head, original.max_tokens)
    expected = logits(original)
    np.testing.assert_allclose(logits(other), expected, atol=1e-4, rtol=1e-4)
    assert np.ptp(expected) > 0.5
    assert check.max_difference < 1e-4 * max(1.0, np.abs(expected).max())
    assert (check.pairs, check.scores, check.measure) == (2 * N, "logit", "F1")
    assert check.loss == pytest.approx(0, abs=0.02)


def test_an_exported_deberta_equals_the_original(deberta: Path, tmp_path: Path) -> None:
    exported(str(deberta), tmp_path / "out")
    expected = logits(cross_encoder(deberta))
    np.testing.assert_allclose(logits(cross_encoder(tmp_path / "out")), expected, atol=1e-4)
    assert np.ptp(expected) > 0.5


@pytest.mark.parametrize("name", ["bi-encoder", "bi-encoder-roberta"])
def test_an_exported_bi_encoder_equals_the_original(tiny: TinyModels, tmp_path: Path, name: str) -> None:
    check = exported(tiny[name], tmp_path / "out")
    np.testing.assert_allclose(vectors(tmp_path / "out"), vectors(tiny[name]), atol=1e-3)
    assert check.scores == "cosine"
    assert check.max_difference < 1e-3


def test_int8_changes_little(tiny: TinyModels, exports: Path) -> None:
    before, after = logits(cross_encoder(tiny["sigmoid"])), logits(cross_encoder(exports / "sigmoid"))
    assert 0 < np.abs(after - before).mean() < 0.05 * np.ptp(before)
    assert np.corrcoef(before, after)[0, 1] > 0.99
    cosines = (vectors(tiny["bi-encoder"]) * vectors(exports / "bi-encoder")).sum(axis=1)
    assert 0.98 < cosines.min() < 0.99999


def test_int8_is_in_eight_bits_but_for_the_head(exports: Path) -> None:
    graph = onnx.load(exports / "sigmoid" / "model.onnx").graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("MatMulIntegerToFloat") == 2 * 6  # layers, and linear layers in each
    assert operators.count("MatMul") == 2 * 2  # the attention itself
    eight = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.dims) == 2 for tensor in eight) == 2 * 6  # tiny embeddings stay as they are


def test_a_large_embedding_is_looked_up_in_eight_bits() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "table": rng.normal(size=(2000, 8)),
        "weight": rng.normal(size=(8, 4)),
        "bias": rng.normal(size=4) * 10,
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["product"]),
        helper.make_node("Add", ["bias", "product"], ["sum"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, ["batch", "length", 4])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    small = quantise(model, {"rows": (-4.0, 4.0)})
    assert [node.op_type for node in small.graph.node] == [
        "Gather",
        "DequantizeLinear",
        "QuantizeLinear",
        "MatMulIntegerToFloat",
    ]
    ids = np.arange(60).reshape(20, 3) * 31
    session = open_session("tiny", small.SerializeToString(), torch.device("cpu"))
    expected = weights["table"][ids] @ weights["weight"] + weights["bias"]
    np.testing.assert_allclose(session.run(None, {"ids": ids})[0], expected, atol=0.25)
    assert np.ptp(expected) > 20


@pytest.mark.parametrize("name", ["sigmoid", "sigmoid-fp32"])
def test_a_score_does_not_depend_on_its_batch(exports: Path, name: str) -> None:
    model = cross_encoder(exports / name)
    alone = [logits(model, slice(i, i + 1))[0] for i in range(0, 2 * N, 5)]
    assert alone == logits(model)[::5].tolist()


def test_a_vector_does_not_depend_on_its_batch(exports: Path) -> None:
    alone = [vectors(exports / "bi-encoder", [text])[0].tolist() for text in TEXTS[::9]]
    assert alone == vectors(exports / "bi-encoder")[::9].tolist()


def test_continuous_labels_are_checked_by_rank(tiny: TinyModels, tmp_path: Path) -> None:
    check = exported(tiny["regression"], tmp_path / "out", pairs=labelled(np.linspace(0, 1, 2 * N)))
    assert check.measure == "Spearman"
    assert check.loss == pytest.approx(0, abs=1e-3)


def test_a_model_that_loses_too_much_is_refused(tiny: TinyModels, tmp_path: Path) -> None:
    own = logits(cross_encoder(tiny["sigmoid"]))
    pairs = labelled(own > np.median(own))  # the original is right about each
    with pytest.raises(ModelError) as caught:
        exported(tiny["sigmoid"], tmp_path / "deep" / "out", ExportPlan(int8=True, max_loss=0), pairs)
    message = str(caught.value)
    assert message.startswith(f"model {tiny['sigmoid']} is not exported: its F1 on {2 * N} pairs would fall ")
    assert " from 1.0000 to 0." in message
    assert message.endswith("by more than 0; export it without --int8, or allow more with --max-loss")
    assert list(tmp_path.iterdir()) == []


def test_the_record(tiny: TinyModels, exports: Path, tmp_path: Path) -> None:
    record = json.loads((exports / "sigmoid" / "onnx.json").read_text(encoding="utf-8"))
    check = record.pop("check")
    assert record == {"kind": "cross-encoder", "weights": "int8", "max_length": 32}
    assert {"pairs", "max_difference", "before", "after"} < set(check)
    exported(tiny["sigmoid"], tmp_path / "again", INT8)
    assert fingerprint(tmp_path / "again") == fingerprint(exports / "sigmoid")
    graph = tmp_path / "again" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert fingerprint(tmp_path / "again") != fingerprint(exports / "sigmoid")


def test_mine_with_exported_models(exports: Path, tmp_path: Path) -> None:
    (tmp_path / "questions.csv").write_text(shell.QUESTIONS, encoding="utf-8")
    models: list[str | Path] = [
        "--bi-encoder",
        exports / "bi-encoder",
        "--cross-encoder",
        exports / "sigmoid",
    ]
    outs = [tmp_path / "first", tmp_path / "second"]
    for out, tokens in zip(outs, (4096, 64), strict=True):
        settings = ["--set", f"compute.batch_tokens={tokens}", "--floor", "-1", "--threshold", "0"]
        ended = shell.dupmine("mine", tmp_path / "questions.csv", "--out", out, *models, *settings)
        assert (ended.code, ended.err) == (0, "")
    pairs = [pq.read_table(out / "pairs.parquet").to_pandas() for out in outs]
    assert pairs[0]["probability"].nunique() > 10
    np.testing.assert_allclose(pairs[0]["probability"], pairs[1]["probability"], atol=1e-5)


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
    assert (
        again.err
        == f"dupmine: {tmp_path / 'out'} exists and is not empty; give --overwrite or another --out\n"
    )
    assert shell.dupmine(*asked, "--format", "tflite").code == 2


def test_what_cannot_be_exported(tiny: TinyModels, exports: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ModelError, match=r"static cannot be exported: it takes texts, not token ids"):
        exported(tiny["static"], out)
    with pytest.raises(ModelError, match=r"sigmoid is an export itself; export the model it was made from$"):
        exported(str(exports / "sigmoid"), out)
    with pytest.raises(ModelError, match=r"bert is no cross-encoder: "):
        exported(tiny["bert"], out)
    with pytest.raises(InputError, match=rf"^pairs.csv: all {2 * N} pairs have one label"):
        exported(tiny["sigmoid"], out, pairs=labelled(np.ones(2 * N)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="exists and is not empty"):
        exported(tiny["sigmoid"], exports)


def test_an_export_of_the_other_kind(exports: Path) -> None:
    with pytest.raises(ModelError, match=r"bi-encoder is no cross-encoder: its onnx.json says bi-encoder$"):
        OnnxModel("bi-encoder", exports / "bi-encoder", FP32, kind="cross-encoder")
    with pytest.raises(ModelError, match=r"is no bi-encoder: its onnx.json says cross-encoder$"):
        BiEncoder(str(exports / "sigmoid"), FP32)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("model.onnx", b"garbage", "model.onnx cannot be loaded: "),
        ("model.onnx", None, "model.onnx cannot be loaded: "),
        ("tokenizer.json", b"{", "its tokenizer.json cannot be loaded: "),
        ("onnx.json", b"{", "onnx.json cannot be read"),
        ("onnx.json", b"{}", "is no cross-encoder: its onnx.json says None"),
    ],
)
def test_a_broken_export(
    exports: Path, tmp_path: Path, file: str, content: bytes | None, problem: str
) -> None:
    folder = TinyModels(exports).broken("sigmoid", tmp_path / "model", {file: content})
    with pytest.raises(ModelError) as caught:
        cross_encoder(folder)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_onnxruntime(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"needs onnxruntime: pip install 'dupmine\[onnx\]'$"):
        cross_encoder(exports / "sigmoid")

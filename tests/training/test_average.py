"""The mean of models: each weight, in the format of the first, and nothing that belongs to one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from dupmine import Miner
from dupmine.errors import ModelError, OutputError, SettingsError
from dupmine.training.average import average_models

from ..helpers.shell import dupmine
from ..helpers.tiny_models import TinyModels

PAIRS = [("how cat", "how dog"), ("why red sea", "the old sky")]


@pytest.fixture
def moved(tiny: TinyModels, tmp_path: Path) -> str:
    """Return a model whose weights are other ones, in half precision, with what was fitted to it."""
    made = tiny.broken("sigmoid", tmp_path / "moved", {"dupmine.json": b"{", "decision.json": b"{"})
    path = tmp_path / "moved" / "model.safetensors"
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: (of + 0.1 * torch.randn(of.shape, generator=generator)).half()
        for name, of in load_file(path).items()
    }
    save_file(tensors, path, {"format": "pt"})
    (tmp_path / "moved" / "onnx").mkdir()
    (tmp_path / "moved" / "onnx" / "model.onnx").touch()
    (tmp_path / "moved" / "student").mkdir()
    (tmp_path / "moved" / "student" / "config.json").write_text("{}")
    return made


def test_weights_are_means_in_the_format_of_the_first(tiny: TinyModels, moved: str, tmp_path: Path) -> None:
    out = tmp_path / "mean"
    ended = dupmine("train", "average", moved, tiny["sigmoid"], tiny["sigmoid"], "--out", out)
    assert (ended.code, ended.out) == (0, f"written to {out}; calibrate it before you mine with it\n")
    found, first, second = (
        load_file(Path(folder) / "model.safetensors") for folder in (out, moved, tiny["sigmoid"])
    )
    for name, tensor in found.items():
        assert tensor.dtype == torch.float16
        expected = (first[name].double() + 2 * second[name].double()) / 3
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-3, atol=1e-4)
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert f"| {moved} | `" in (out / "README.md").read_text(encoding="utf-8")
    mined = Miner(cross_encoder=str(out), precision="fp32", progress=False).score_pairs(PAIRS)
    alone = Miner(cross_encoder=tiny["sigmoid"], precision="fp32", progress=False).score_pairs(PAIRS)
    assert np.abs(np.subtract(mined, alone)).max() > 1e-6


def test_a_bi_encoder_keeps_its_pooling(tiny: TinyModels, tmp_path: Path) -> None:
    average_models([tiny["bi-encoder"]] * 2, tmp_path / "mean")
    mean, one = (SentenceTransformer(str(f)) for f in (tmp_path / "mean", tiny["bi-encoder"]))
    np.testing.assert_allclose(mean.encode(["how cat"]), one.encode(["how cat"]), atol=1e-6)


def test_what_has_no_mean(tiny: TinyModels, tmp_path: Path) -> None:
    out = tmp_path / "mean"
    with pytest.raises(SettingsError, match="a mean takes two models or more"):
        average_models([tiny["sigmoid"]], out)
    with pytest.raises(ModelError, match=r"softmax and .*sigmoid have no mean: they differ in classifier"):
        average_models([tiny["sigmoid"], tiny["softmax"]], out)
    nested = tiny.broken("sigmoid", tmp_path / "nested", {})
    (tmp_path / "nested" / "2_Dense").mkdir()
    (tmp_path / "nested" / "2_Dense" / "model.safetensors").touch()
    with pytest.raises(ModelError, match="nested has weights in more than one folder"):
        average_models([nested, tiny["sigmoid"]], out)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").touch()
    with pytest.raises(OutputError, match=r"holds mine\.txt, which this command does not write"):
        average_models([tiny["sigmoid"]] * 2, out, overwrite=True)

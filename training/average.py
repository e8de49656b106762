"""The mean of the weights of models that were trained on from one another (Wortsman et al., ICML 2022)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..disk.files import share_weights
from ..disk.folder import replacing
from ..errors import ModelError, SettingsError
from ..inference.locate import fingerprint, locate_model, scoring_files
from ..rerank.student import read_tensors

WEIGHTS = "model.safetensors"
CARD = "README.md"

_WEIGHTS = (".safetensors", ".onnx")
_OF_WEIGHTS = {"training.json", "dupmine.json"}  # and not of their mean

Tensors = dict[str, torch.Tensor]


def average_models(names: Sequence[str], out: Path, *, overwrite: bool = False) -> None:
    """Write a model whose weights are the mean of those of others, in the number format of the first.

    What else a model needs is copied from the first. Calibration, decision and cascade are not: they belong
    to other weights.

    Raises:
        ModelError: a model cannot be found, or is not built as the first.
        OutputError: `out` is there, or cannot be written.
        SettingsError: there are fewer than two models.
    """
    if len(names) < 2:
        raise SettingsError("a mean takes two models or more: name them one behind the other")
    folders = [locate_model(name) for name in names]
    weights = mean_of([read_tensors(folder) for folder in folders], names)
    copied = _other_files(names[0], folders[0])
    written = {WEIGHTS, CARD, *(file.parts[0] for file in copied)}
    with replacing(out, written, overwrite=overwrite) as staging:
        for file in copied:
            (staging / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folders[0] / file, staging / file)
        save_file(weights, staging / WEIGHTS, {"format": "pt"})
        share_weights(staging)
        (staging / CARD).write_text(_card(names, folders), encoding="utf-8")


def mean_of(models: Sequence[Tensors], names: Sequence[str]) -> Tensors:
    """Return the mean of each tensor, computed in double precision.

    Raises:
        ModelError: a model has other tensors than the first.
    """
    first = models[0]
    for name, tensors in zip(names[1:], models[1:], strict=True):
        shapes = [{key: tensor.shape for key, tensor in of.items()} for of in (first, tensors)]
        if shapes[0] != shapes[1]:
            strange = min(key for key, _ in shapes[0].items() ^ shapes[1].items())
            raise ModelError(
                f"{name} and {names[0]} have no mean: they differ in {strange}; give models that were "
                "trained on from the same"
            )
    return {
        key: torch.stack([of[key].double() for of in models]).mean(0).to(tensor.dtype)
        for key, tensor in first.items()
    }


def _other_files(name: str, folder: Path) -> list[Path]:
    """Return what a model needs beside its weights, relative to its folder."""
    files = [path.relative_to(folder) for path in scoring_files(folder) if path.name not in _OF_WEIGHTS]
    if any(file.suffix == ".safetensors" and len(file.parts) > 1 for file in files):
        raise ModelError(f"{name} has weights in more than one folder, and of such models no mean is made")
    return [file for file in files if file.suffix not in _WEIGHTS and ".index." not in file.name]


def _card(names: Sequence[str], folders: Sequence[Path]) -> str:
    rows = [
        f"| {name} | `{fingerprint(folder)[:16]}…` |" for name, folder in zip(names, folders, strict=True)
    ]
    return (
        "\n".join(
            [
                "# A mean of models",
                "",
                "The weights are the mean of:",
                "",
                "| model | SHA-256 |",
                "|---|---|",
                *rows,
            ]
        )
        + "\n"
    )

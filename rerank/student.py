"""The student: a cross-encoder's own embeddings and first layers, trained to say what all layers say.

Beside its cross-encoder lies only what differs, in `student/`; to be loaded, both are put together.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ..disk.files import digest, share_weights
from ..errors import ModelError
from ..inference.device import DeviceConfig
from ..inference.locate import first_line, load_tokenizer
from ..settings import RerankSettings
from .classifier import Borrowed
from .scorer import CrossEncoder

FOLDER = "student"
WEIGHTS = "model.safetensors"

_SHARED = "shared"  # in the file's metadata: the tensors to take from the cross-encoder
_ANEW = "train it anew with `dupmine train student`, or set rerank.student: off"


def put_student(student: Path, teacher: Path, out: Path) -> None:
    """Write what of a trained student differs from its cross-encoder to the folder `out`, in half precision.

    Raises:
        ModelError: it was not distilled from this cross-encoder, or is no folder of a model in safetensors.
    """
    own, known = read_tensors(student), read_tensors(teacher)
    shared = [name for name, tensor in own.items() if _equal(tensor, known.get(name))]
    largest = max(own, key=lambda name: own[name].numel())  # the vocabulary's embeddings
    if largest not in shared or not _same_tokens(student, teacher):
        raise ModelError(
            f"model {student} is no student of {teacher}: they have other embeddings or tokens; "
            "make one with `dupmine train student`"
        )
    out.mkdir(exist_ok=True)
    kept = {name: tensor.half().contiguous() for name, tensor in own.items() if name not in shared}
    save_file(kept, out / WEIGHTS, {"format": "pt", _SHARED: json.dumps(sorted(shared))})
    shutil.copyfile(student / "config.json", out / "config.json")
    share_weights(out)


def student_sha256(student: Path) -> str | None:
    """Return the SHA-256 of the student in a folder, None where there is none."""
    return digest(student / WEIGHTS) if (student / WEIGHTS).is_file() else None


def load_student(student: Path, teacher: Path, compute: DeviceConfig) -> CrossEncoder:
    """Load a student that `put_student` wrote, put together with what it shares with its cross-encoder.

    Raises:
        ModelError: it cannot be read or loaded.
    """
    borrowed = Borrowed(teacher, _put_together(student, teacher))
    return CrossEncoder(RerankSettings(cross_encoder=str(student)), compute, borrowed, bar="student")


def _put_together(student: Path, teacher: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a student."""
    path = student / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            shared = json.loads(file.metadata()[_SHARED])
        own, known = load_file(path), read_tensors(teacher)
        return own | {name: known[name].half() for name in shared}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path} cannot be read ({first_line(error)}): {_ANEW}") from None


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return a model's weights by name.

    Raises:
        ModelError: it has none in safetensors.
    """
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    if not tensors:
        raise ModelError(f"model {folder} has no weights in safetensors; save it with them")
    return tensors


def _equal(first: torch.Tensor, second: torch.Tensor | None) -> bool:
    """Whether two tensors are equal in the precision of the second."""
    return second is not None and first.shape == second.shape and torch.equal(first.to(second.dtype), second)


def _same_tokens(first: Path, second: Path) -> bool:
    return load_tokenizer(first).get_vocab() == load_tokenizer(second).get_vocab()

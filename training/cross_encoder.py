"""Training a cross-encoder: base model, head, loss and batches."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.base.modules import Transformer
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, CrossEntropyLoss
from tokenizers import Tokenizer
from torch import nn
from transformers import set_seed

from ..errors import ModelError, SettingsError
from ..inference.device import DeviceConfig
from ..inference.first_token import first_token_only
from ..inference.layout import LONGEST_INPUT, require_vocabulary
from ..inference.locate import first_line, locate_model, read_config
from ..rerank.heads import Head, find_head
from ..schema import Floats, LabelledPairs
from ..settings import HeadKind, RerankSettings
from .sampler import LengthGroupedSampler, input_lengths
from .settings import ClassifierSettings, CrossEncoderTraining
from .trainer import TrainingTask, attend_quickly, in_precision

log = logging.getLogger(__name__)

_BATCH = 64  # pairs
_NLI = ("contradiction", "entailment", "neutral")
_LABELS: dict[HeadKind, tuple[str, ...]] = {
    "sigmoid": ("duplicate",),
    "score": ("similarity",),
    "softmax": ("different", "duplicate"),
    "nli": _NLI,
}
_ADVICE = "set model.base to a transformer such as BERT"
_HIDDEN_DROPOUT = ("hidden_dropout_prob", "dropout", "hidden_dropout", "resid_pdrop")
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


class SwappedPairs(nn.Module):
    """A loss over pairs that shows each in either order, at random.

    It draws when the loss is computed, not when a batch is prepared ahead: a resumed training then draws the
    same.
    """

    def __init__(self, loss: nn.Module) -> None:
        """Take the loss of the pairs as they are shown."""
        super().__init__()
        self.loss = loss

    def forward(
        self,
        inputs: list[list[str]],
        labels: torch.Tensor,
        prompt: str | None = None,
        task: str | None = None,
    ) -> torch.Tensor:
        """Return the loss of a batch, each pair in its own order or turned."""
        turned = (torch.rand(len(inputs[0])) < 0.5).tolist()
        ends = list(zip(*inputs, strict=True))
        shown = [(b, a) if turn else (a, b) for (a, b), turn in zip(ends, turned, strict=True)]
        loss: torch.Tensor = self.loss([list(side) for side in zip(*shown, strict=True)], labels)
        return loss


def prepare_cross_encoder(
    pairs: LabelledPairs, settings: CrossEncoderTraining, compute: DeviceConfig
) -> TrainingTask:
    """Load the base model and make what a training on `pairs` needs.

    Raises:
        ModelError: the base cannot be found, or is no model that can become a classifier of pairs.
        SettingsError: a dropout that the base does not have.
    """
    training = settings.training
    set_seed(training.seed)  # for a fresh head
    model = load_base(settings.model, compute)
    config = model.model.config  # type: ignore[union-attr] # it is a transformer, not a chain of modules
    head = find_head(settings.model.base, config.to_dict(), model.num_labels, RerankSettings())
    hard = np.isin(pairs.label, (0.0, 1.0)) | (settings.model.head == "score")  # pseudo-labels are smooth
    loss, labels = _loss(model, head, pairs, training.label_smoothing * hard)
    ends = (pairs.left, pairs.right)
    lengths = input_lengths(ends, model.tokenizer.backend_tokenizer, model.max_seq_length or LONGEST_INPUT)
    attend_quickly(model.model, compute, model.max_seq_length)
    if settings.model.freeze_embeddings:
        _freeze_embeddings(settings.model.base, model.model)  # type: ignore[arg-type] # as above
    return TrainingTask(
        model=model,
        trainer=CrossEncoderTrainer,
        arguments=CrossEncoderTrainingArguments,
        columns={"left": pairs.left, "right": pairs.right, "label": labels},
        loss=SwappedPairs(loss) if training.swap else loss,
        sampler=partial(LengthGroupedSampler, lengths=lengths),
        n_batches=-(-len(pairs) // training.batch_size),
        metric="spearman" if settings.model.head == "score" else "average_precision",
        score=_scorer(model, head, compute),
        scale="logit",
        compute=compute,
        around=first_token_only(model.model),  # type: ignore[arg-type] # as above
    )


def _freeze_embeddings(name: str, model: nn.Module) -> None:
    embeddings = getattr(model.base_model, "embeddings", None)
    if not isinstance(embeddings, nn.Module):
        raise ModelError(
            f"model {name} has no embeddings to freeze: take a base such as BERT, or set "
            "model.freeze_embeddings: false"
        )
    embeddings.requires_grad_(False)


def load_base(settings: ClassifierSettings, compute: DeviceConfig) -> CrossEncoder:
    """Load a base model in fp32, with the labels of the head; a head that does not fit becomes a fresh one.

    A head `score` is trained and read as a logit, so the model's configuration does not call it a regression.

    Raises:
        ModelError: it cannot be found or loaded, or is no transformer that can be a sequence classifier.
        SettingsError: a dropout that it does not have.
    """
    name, folder = settings.base, _body(settings.base)
    config = read_config(folder)
    labels = _label_names(config, settings.head)
    architecture = str((config.get("architectures") or ["?"])[0])
    kept = architecture.endswith("ForSequenceClassification") and _n_labels(config) == len(labels)
    log.info("base %s (%s): %s", name, architecture, "keeps its head" if kept else "gets a fresh head")
    changes = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": None,
        **_dropouts(name, config, settings),
    }
    try:
        body = _load(folder, changes, compute, kept=kept)
        body.max_seq_length = min(settings.max_tokens, _longest(body))
        model: CrossEncoder = CrossEncoder(
            modules=[body],
            device=str(compute.device),
            activation_fn=nn.Sigmoid() if len(labels) == 1 else nn.Identity(),
            local_files_only=True,
        )
    except Exception as error:
        raise ModelError(
            f"model {name} ({architecture}) can become no cross-encoder: {first_line(error)}; {_ADVICE}"
        ) from error
    _require_tokens(name, model)
    return model


def _load(folder: Path, changes: dict[str, Any], compute: DeviceConfig, *, kept: bool) -> Transformer:
    options = {"local_files_only": True, "trust_remote_code": compute.trust_remote_code}
    loading = {"dtype": torch.float32, "ignore_mismatched_sizes": not kept, "use_safetensors": True}
    body: Transformer = Transformer(
        str(folder),
        transformer_task="sequence-classification",
        model_kwargs={**options, **loading},
        processor_kwargs=dict(options),
        config_kwargs={**options, **changes},
    )
    return body


def _body(name: str) -> Path:
    """Return the folder of a model's transformer: of a chain of modules it is the first."""
    folder = locate_model(name)
    path = folder / "modules.json"
    if not path.is_file():
        return folder
    try:
        first = json.loads(path.read_text(encoding="utf-8"))[0]
        kind, place = str(first["type"]), str(first.get("path", ""))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"model {name}: modules.json cannot be read ({first_line(error)})") from None
    if not kind.endswith("Transformer"):
        raise ModelError(
            f"model {name} can become no cross-encoder: it begins with {kind.rpartition('.')[2]}; {_ADVICE}"
        )
    return folder / place


def _n_labels(config: dict[str, Any]) -> int:
    return len(config.get("id2label") or ()) or int(config.get("num_labels", 2))


def _label_names(config: dict[str, Any], head: HeadKind) -> tuple[str, ...]:
    """Return the labels of a head by number: for NLI in the order of a base that was trained for it."""
    there = {int(i): str(label).lower() for i, label in dict(config.get("id2label") or {}).items()}
    if head == "nli" and sorted(there.values()) == sorted(_NLI):
        return tuple(there[i] for i in sorted(there))
    return _LABELS[head]


def _dropouts(name: str, config: dict[str, Any], settings: ClassifierSettings) -> dict[str, float]:
    wanted = {
        "hidden_dropout": (settings.hidden_dropout, _HIDDEN_DROPOUT),
        "attention_dropout": (settings.attention_dropout, _ATTENTION_DROPOUT),
    }
    found: dict[str, float] = {}
    for setting, (share, keys) in wanted.items():
        if share is None:
            continue
        key = next((key for key in keys if key in config), None)
        if key is None:
            raise SettingsError(f"setting model.{setting}: {name} has no such dropout; set it to null")
        found[key] = share
    return found


def _longest(body: Transformer) -> int:
    """Return the longest input of a transformer; RoBERTa's kin count positions from behind the padding id."""
    embeddings = getattr(getattr(body.model, "base_model", None), "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    positions = getattr(body.model.config, "max_position_embeddings", None) or LONGEST_INPUT
    unused = 0 if padding is None else padding + 1
    return int(min(body.max_seq_length or LONGEST_INPUT, positions - unused))


def _require_tokens(name: str, model: CrossEncoder) -> None:
    tokenizer = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelError(f"model {name} has no fast tokenizer; save it with its tokenizer.json")
    require_vocabulary(name, backend)
    if tokenizer.pad_token_id is None:
        raise ModelError(f"model {name} has no padding token, so its pairs make no batches; {_ADVICE}")
    model.model.config.pad_token_id = tokenizer.pad_token_id  # type: ignore[union-attr] # a transformer


def _loss(
    model: CrossEncoder, head: Head, pairs: LabelledPairs, smoothing: Floats
) -> tuple[nn.Module, list[float] | list[int]]:
    """Return the loss and the targets: for NLI a duplicate entails, and a different pair is neutral."""
    if head.kind == "sigmoid":
        targets = pairs.label.astype(np.float64) * (1 - smoothing) + smoothing / 2
        return BinaryCrossEntropyLoss(model), targets.tolist()
    names: Any = model.model.config.id2label  # type: ignore[union-attr] # a transformer
    others = ("neutral",) if head.kind == "nli" else ("different",)
    negative = next(i for i, label in names.items() if label.lower() in others)
    classes = np.where(pairs.label > 0.5, head.positive, negative)
    return CrossEntropyLoss(model, label_smoothing=float(smoothing.max())), classes.tolist()


def _scorer(model: CrossEncoder, head: Head, compute: DeviceConfig) -> Callable[[LabelledPairs], Floats]:
    """Return what gives pairs their logits as the scorer does, 64 at a time."""

    def one_order(left: list[str], right: list[str]) -> Floats:
        with in_precision(compute):
            raw = model.predict(
                list(zip(left, right, strict=True)),
                batch_size=_BATCH,
                show_progress_bar=False,
                activation_fn=nn.Identity(),
            )
        return head.logits(np.asarray(raw, np.float32).reshape(len(left), -1))

    def score(pairs: LabelledPairs) -> Floats:
        forward = one_order(pairs.left, pairs.right)
        return head.combine(forward, one_order(pairs.right, pairs.left)) if head.both_orders else forward

    return score

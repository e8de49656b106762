"""Prepare the training of a cross-encoder: base model, head, loss and batches."""

from __future__ import annotations

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

from ..disk.json_text import parse_json
from ..errors import ModelError, SettingsError
from ..inference.device import DeviceConfig
from ..inference.first_token import first_token_only
from ..inference.layout import LONGEST_INPUT, require_vocabulary
from ..inference.locate import first_line, locate_model, read_config
from ..inference.tables import count_positions
from ..rerank.heads import Head, find_head
from ..schema import Floats, LabelledPairs
from ..settings import HeadKind, RerankSettings
from .sampler import input_lengths, length_grouped_batches
from .settings import ClassifierSettings, CrossEncoderTraining
from .trainer import TrainingTask, choose_attention, in_precision

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
    """A loss over pairs, each in random order.

    The order is drawn when the loss is computed, not when a batch is prepared: a resumed training then draws
    the same.
    """

    def __init__(self, loss: nn.Module) -> None:
        """Take the loss of the pairs in the order drawn."""
        super().__init__()
        self.loss = loss

    def forward(
        self,
        inputs: list[list[str]],
        labels: torch.Tensor,
        prompt: str | None = None,
        task: str | None = None,
    ) -> torch.Tensor:
        """Return the loss of a batch, each pair in its own order or swapped."""
        swaps = (torch.rand(len(inputs[0])) < 0.5).tolist()
        pairs = zip(*inputs, swaps, strict=True)
        drawn = [(right, left) if swap else (left, right) for left, right, swap in pairs]
        loss: torch.Tensor = self.loss([list(side) for side in zip(*drawn, strict=True)], labels)
        return loss


def prepare_cross_encoder(
    pairs: LabelledPairs, settings: CrossEncoderTraining, device: DeviceConfig
) -> TrainingTask:
    """Load the base model and prepare its training on `pairs`.

    Raises:
        ModelError: the base cannot be found, or cannot become a classifier of pairs.
        SettingsError: the base does not have a dropout that is set.
    """
    training = settings.training
    set_seed(training.seed)  # for a new head
    model = load_base(settings.model, device)
    config = model.model.config  # type: ignore[union-attr] # a transformer, not a chain of modules
    head = find_head(settings.model.base, config.to_dict(), model.num_labels, RerankSettings())
    hard = np.isin(pairs.label, (0.0, 1.0)) | (
        settings.model.head == "score"
    )  # pseudo-labels are already smooth
    loss, labels = _loss(model, head, pairs, training.label_smoothing * hard)
    tokenizer, longest = model.tokenizer.backend_tokenizer, model.max_seq_length or LONGEST_INPUT
    lengths = input_lengths(pairs, tokenizer, longest)
    choose_attention(model.model, device, model.max_seq_length)
    freeze(settings.model, model.model)  # type: ignore[arg-type] # as above
    return TrainingTask(
        model=model,
        trainer=CrossEncoderTrainer,
        arguments=CrossEncoderTrainingArguments,
        columns={"left": pairs.left, "right": pairs.right, "label": labels},
        loss=SwappedPairs(loss) if training.swap else loss,
        make_batches=partial(length_grouped_batches, lengths),
        metric="spearman" if settings.model.head == "score" else "average_precision",
        score=_scorer(model, head, device),
        scale="logit",
        device=device,
        around=first_token_only(model.model),  # type: ignore[arg-type] # as above
    )


def freeze(settings: ClassifierSettings, model: nn.Module) -> None:
    """Exclude the embeddings and the lowest layers from the training, as the settings say."""
    if settings.freeze_embeddings or settings.freeze_layers:
        embeddings = getattr(model.base_model, "embeddings", None)
        if not isinstance(embeddings, nn.Module):
            raise ModelError(
                f"model {settings.base} has no embeddings to freeze: use a base such as BERT, or set "
                "model.freeze_embeddings: false and model.freeze_layers: 0"
            )
        embeddings.requires_grad_(False)
    if settings.freeze_layers:
        stack, layers = _layers(settings.base, model)
        if settings.freeze_layers > len(layers):
            raise SettingsError(
                f"setting model.freeze_layers: {settings.base} has {len(layers)} layers; set it to at most "
                "that"
            )
        stack.requires_grad_(False)  # with what all layers share, such as the biases of relative positions
        layers[settings.freeze_layers :].requires_grad_(True)


def _layers(name: str, model: nn.Module) -> tuple[nn.Module, nn.ModuleList]:
    """Return the module that holds a transformer's layers, and the layers."""
    for module in model.base_model.modules():  # type: ignore[union-attr] # a transformer
        for child in module.children():
            if isinstance(child, nn.ModuleList):
                return module, child
    raise ModelError(f"model {name} has no layers to freeze; set model.freeze_layers: 0")


def load_base(settings: ClassifierSettings, device: DeviceConfig) -> CrossEncoder:
    """Load a base model in fp32, with the labels of the head; a head that does not fit is replaced.

    A head `score` is trained and read as a logit, so the model's configuration does not call it a regression.

    Raises:
        ModelError: it cannot be found or loaded, or is not a transformer for sequence classification.
        SettingsError: it does not have a dropout that is set.
    """
    name, folder = settings.base, _transformer_folder(settings.base)
    config = read_config(folder)
    labels = _label_names(config, settings.head)
    architecture = str((config.get("architectures") or ["?"])[0])
    kept = architecture.endswith("ForSequenceClassification") and _n_labels(config) == len(labels)
    log.info("base %s (%s): %s", name, architecture, "keeps its head" if kept else "gets a new head")
    changes = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": None,
        **_dropouts(name, config, settings),
    }
    try:
        body = _load(folder, changes, device, kept=kept)
        body.max_seq_length = min(settings.max_tokens, _longest(body))
        model: CrossEncoder = CrossEncoder(
            modules=[body],
            device=str(device.device),
            activation_fn=nn.Sigmoid() if len(labels) == 1 else nn.Identity(),
            local_files_only=True,
        )
    except Exception as error:
        raise ModelError(
            f"model {name} ({architecture}) cannot become a cross-encoder: {first_line(error)}; {_ADVICE}"
        ) from error
    _require_tokens(name, model)
    return model


def _load(folder: Path, changes: dict[str, Any], device: DeviceConfig, *, kept: bool) -> Transformer:
    options = {"local_files_only": True, "trust_remote_code": device.trust_remote_code}
    loading = {"dtype": torch.float32, "ignore_mismatched_sizes": not kept, "use_safetensors": True}
    body: Transformer = Transformer(
        str(folder),
        transformer_task="sequence-classification",
        model_kwargs={**options, **loading},
        processor_kwargs=dict(options),
        config_kwargs={**options, **changes},
    )
    return body


def _transformer_folder(name: str) -> Path:
    """Return the folder of a model's transformer, which is the first of a chain of modules."""
    folder = locate_model(name)
    path = folder / "modules.json"
    if not path.is_file():
        return folder
    try:
        first = parse_json(path.read_text(encoding="utf-8"))[0]
        kind, subfolder = str(first["type"]), str(first.get("path", ""))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"model {name}: modules.json cannot be read ({first_line(error)})") from None
    if not kind.endswith("Transformer"):
        raise ModelError(
            f"model {name} cannot become a cross-encoder: it begins with {kind.rpartition('.')[2]}; {_ADVICE}"
        )
    return folder / subfolder


def _n_labels(config: dict[str, Any]) -> int:
    return len(config.get("id2label") or ()) or int(config.get("num_labels", 2))


def _label_names(config: dict[str, Any], head: HeadKind) -> tuple[str, ...]:
    """Return the labels of a head by number; for NLI in the order of a base that was trained for it."""
    label_of = {int(i): str(label).lower() for i, label in dict(config.get("id2label") or {}).items()}
    if head == "nli" and sorted(label_of.values()) == sorted(_NLI):
        return tuple(label_of[i] for i in sorted(label_of))
    return _LABELS[head]


def _dropouts(name: str, config: dict[str, Any], settings: ClassifierSettings) -> dict[str, float]:
    options = {
        "hidden_dropout": (settings.hidden_dropout, _HIDDEN_DROPOUT),
        "attention_dropout": (settings.attention_dropout, _ATTENTION_DROPOUT),
    }
    dropouts: dict[str, float] = {}
    for setting, (share, keys) in options.items():
        if share is None:
            continue
        key = next((key for key in keys if key in config), None)
        if key is None:
            raise SettingsError(f"setting model.{setting}: {name} has no such dropout; set it to null")
        dropouts[key] = share
    return dropouts


def _longest(body: Transformer) -> int:
    positions = getattr(body.model.config, "max_position_embeddings", None) or LONGEST_INPUT
    return int(min(body.max_seq_length or LONGEST_INPUT, count_positions(body.model) or positions))


def _require_tokens(name: str, model: CrossEncoder) -> None:
    tokenizer = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelError(f"model {name} has no fast tokenizer; save it with its tokenizer.json")
    require_vocabulary(name, backend)
    if tokenizer.pad_token_id is None:
        raise ModelError(f"model {name} has no padding token, so pairs cannot be batched; {_ADVICE}")
    model.model.config.pad_token_id = tokenizer.pad_token_id  # type: ignore[union-attr] # a transformer


def _loss(
    model: CrossEncoder, head: Head, pairs: LabelledPairs, smoothing: Floats
) -> tuple[nn.Module, list[float] | list[int]]:
    """Return the loss and the targets; for NLI a duplicate is an entailment, a different pair neutral."""
    if head.kind == "sigmoid":
        targets = pairs.label.astype(np.float64) * (1 - smoothing) + smoothing / 2
        return BinaryCrossEntropyLoss(model), targets.tolist()
    names: Any = model.model.config.id2label  # type: ignore[union-attr] # a transformer
    others = ("neutral",) if head.kind == "nli" else ("different",)
    negative = next(i for i, label in names.items() if label.lower() in others)
    classes = np.where(pairs.label > 0.5, head.positive, negative)
    return CrossEntropyLoss(model, label_smoothing=float(smoothing.max())), classes.tolist()


def _scorer(model: CrossEncoder, head: Head, device: DeviceConfig) -> Callable[[LabelledPairs], Floats]:
    """Return a function from pairs to logits, which reads the head as `rerank` does."""

    def one_order(left: list[str], right: list[str]) -> Floats:
        with in_precision(device):
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

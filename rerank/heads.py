"""From a classifier's raw outputs to one logit per pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SettingsError
from ..schema import Floats
from ..settings import HeadKind, RerankSettings

_EDGE = 1e-6
_DUPLICATE_NAMES = {"duplicate", "entailment", "equivalent", "is_duplicate", "paraphrase"}


@dataclass(frozen=True, slots=True)
class Head:
    """How to read a model's `n_labels` outputs as the logit of "these two are duplicates".

    `positive` is the label that says so (duplicate or entailment).
    """

    kind: HeadKind
    positive: int
    score_max: float
    symmetric: bool

    @property
    def both_orders(self) -> bool:
        """Whether a pair is scored in both orders: when asked for, and always for NLI."""
        return self.symmetric or self.kind == "nli"

    def logits(self, raw: Floats) -> Floats:
        """Return the logit of each row of `raw`, `(n_pairs, n_labels)`.

        sigmoid: the output itself. softmax, nli: the log-odds of the positive label. score: the log-odds
        of output / score_max, clipped to (0, 1).
        """
        if self.kind == "sigmoid":
            return raw[:, 0]
        if self.kind == "score":
            share = np.clip(raw[:, 0].astype(np.float64) / self.score_max, _EDGE, 1 - _EDGE)
            return np.asarray(np.log(share / (1 - share)), np.float32)
        others = np.delete(raw, self.positive, axis=1)
        return np.asarray(raw[:, self.positive] - np.logaddexp.reduce(others, axis=1), np.float32)

    def combine(self, forward: Floats, backward: Floats) -> Floats:
        """Return one logit from both orders: their mean, for NLI the lesser (both must entail)."""
        if self.kind == "nli":
            return np.minimum(forward, backward)
        return np.asarray((forward + backward) / 2, np.float32)


def find_head(name: str, config: Mapping[str, Any], n_labels: int, settings: RerankSettings) -> Head:
    """Return the head of a model from the settings or, with `auto`, from its configuration.

    Raises:
        SettingsError: the model's number or names of labels do not fit the head.
    """
    kind = settings.head
    if kind == "auto":
        regression = n_labels == 1 and config.get("problem_type") == "regression"
        kinds: dict[int, Any] = {1: "score" if regression else "sigmoid", 2: "softmax", 3: "nli"}
        kind = kinds.get(n_labels, "auto")
    expected = {"sigmoid": 1, "score": 1, "softmax": 2, "nli": 3}.get(kind)
    if kind == "auto" or expected != n_labels:
        raise SettingsError(
            f"model {name} has {n_labels} labels; setting rerank.head: {settings.head} needs "
            f"{expected or '1 (a logit or a score), 2 (different, duplicate) or 3 (NLI)'}"
        )
    labels = {int(i): str(label).lower() for i, label in dict(config.get("id2label") or {}).items()}
    positive = _entailment(name, labels) if kind == "nli" else _duplicate(labels, n_labels)
    return Head(kind, positive, settings.score_max, settings.symmetric)


def _duplicate(labels: Mapping[int, str], n_labels: int) -> int:
    """Return the label that its name says is the duplicate one, else the last."""
    named = [i for i, label in labels.items() if label in _DUPLICATE_NAMES]
    return named[0] if len(named) == 1 else n_labels - 1


def _entailment(name: str, labels: Mapping[int, str]) -> int:
    found = [i for i, label in labels.items() if label.startswith("entail")]
    if len(found) != 1:
        raise SettingsError(
            f"model {name} has three labels but none is named entailment ({', '.join(labels.values())}); "
            "name them in id2label of its config.json"
        )
    return found[0]

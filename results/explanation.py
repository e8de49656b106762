"""How a pair of documents was decided, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..clustering.paths import strongest_path
from ..corpus.ids import id_text
from ..errors import ModelError
from ..inference.locate import load_tokenizer, locate_model
from ..inference.tokens import tokenise
from ..messages import escape
from ..progress import SILENT
from ..schema import CORPUS, CROSS_ENCODER, DECIDERS, DOC_ID, EXACT, TEXT, probabilities

if TYPE_CHECKING:
    from .result import MiningResult

_SHOWN = 8  # shares in the text

Shares = tuple[tuple[str, float | None, float], ...]
Path = tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a pair of documents was decided; `print` shows it in words.

    Args:
        decided_by: the step that decided the pair, or why no step did.
        cosine: similarity of the two texts; None if the pair was not a candidate.
        probability: that the two are duplicates; None if the pair was never scored.
        path: the most probable pairs that connect the two inside their cluster, each with its probability.
        pair_probability: where the corpus decided, the probability by the pair alone, computed by the step
            `scored_by`.
        shares: where the corpus decided, each feature with its value and what it adds to the log-odds, the
            largest first; `base` is the average pair's.
    """

    left_id: str
    right_id: str
    left_text: str
    right_text: str
    same_cluster: bool
    decided_by: str
    cosine: float | None
    probability: float | None
    path: Path
    pair_probability: float | None = None
    scored_by: str = CROSS_ENCODER
    shares: Shares = ()

    def __str__(self) -> str:
        """Return the explanation in words."""
        verdict = "in one cluster" if self.same_cluster else "in different clusters"
        sides = ((self.left_id, self.left_text), (self.right_id, self.right_text))
        lines = [*(escape(f"{doc_id}: {text}") for doc_id, text in sides), verdict]
        if self.probability is None:
            lines.append(f"never scored: {self.decided_by}")
        else:
            cosine = "" if self.cosine is None else f"cosine {self.cosine:.3f}, "
            lines.append(f"decided by {self.decided_by}: {cosine}probability {self.probability:.3f}")
        if self.shares:
            lines.append(f"  the {self.scored_by} alone: probability {self.pair_probability:.3f}")
            lines += [
                f"  {share:+.2f} {name} = {_shown(value)}" for name, value, share in self.shares[:_SHOWN]
            ]
        lines += [f"  {escape(f'{a} - {b}')}: probability {p:.3f}" for a, b, p in self.path]
        return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


class Explainer:
    """Explains the pairs of a result."""

    def __init__(self, result: MiningResult) -> None:
        """Take the result."""
        self._result = result

    def explain(self, left: object, right: object) -> Explanation:
        """Explain a pair of documents by their ids.

        Raises:
            InputError: there is no such document.
        """
        result = self._result
        positions = (result.position(left), result.position(right))
        texts = [result.corpus.documents[TEXT][position].as_py() for position in positions]
        rows = [int(result.row_of[position]) for position in positions]
        path = self._path(rows) if min(rows) >= 0 else None
        cosine, probability, decided_by = self.scores(rows)
        at = self._position_of_pair(rows) if decided_by == CORPUS else None
        pairs = result.scored_pairs
        return Explanation(
            left_id=id_text(left),
            right_id=id_text(right),
            left_text=texts[0],
            right_text=texts[1],
            same_cluster=positions[0] == positions[1] or path is not None,
            decided_by=decided_by,
            cosine=cosine,
            probability=probability,
            path=path or (),
            pair_probability=None if at is None else float(probabilities(pairs.pair_logit[at])),
            scored_by=CROSS_ENCODER if at is None else DECIDERS[pairs.scored_by[at]],
            shares=() if at is None else self._shares(at, texts),
        )

    def scores(self, rows: list[int]) -> tuple[float | None, float | None, str]:
        """Return cosine and probability of a pair of rows and the step that decided it, or why none did."""
        if min(rows) < 0:
            return None, None, "an empty text is compared with nothing"
        if rows[0] == rows[1]:
            return 1.0, 1.0, EXACT
        pairs, at = self._result.scored_pairs, self._position_of_pair(rows)
        if at is None:
            probability = self._to_representatives.get((min(rows), max(rows)))
            if probability is None:
                return None, None, "the bi-encoder did not propose the pair"
            return None, probability, CROSS_ENCODER
        return float(pairs.cosine[at]), float(pairs.probability[at]), DECIDERS[pairs.decided_by[at]]

    def _position_of_pair(self, rows: list[int]) -> int | None:
        [at] = self._result.scored_pairs.positions(np.array(rows[:1]), np.array(rows[1:])).tolist()
        return None if at < 0 else int(at)

    @cached_property
    def _to_representatives(self) -> dict[tuple[int, int], float]:
        """The probabilities in the clusters table by the two rows, the lower one first."""
        result, table = self._result, self._result.clusters_table
        rows = result.row_of[result.positions(table[DOC_ID])].tolist()
        columns = [table[name].to_pylist() for name in ("cluster_id", "is_representative", "probability")]
        heads = {cluster: row for row, cluster, is_head, _ in zip(rows, *columns, strict=True) if is_head}
        return {
            (min(row, heads[cluster]), max(row, heads[cluster])): probability
            for row, cluster, _, probability in zip(rows, *columns, strict=True)
            if probability is not None
        }

    def _path(self, rows: list[int]) -> Path | None:
        """Return the strongest path between two rows inside one cluster, None across clusters."""
        result = self._result
        labels, pairs = result.row_labels, result.scored_pairs
        if labels[rows[0]] != labels[rows[1]]:
            return None
        members = labels == labels[rows[0]]
        steps = strongest_path(pairs.where(members[pairs.left] & members[pairs.right]), *rows)
        ids = result.corpus.documents[DOC_ID]
        names = [ids[int(result.anchors[row])].as_py() for row in steps.rows]
        return tuple(zip(names[:-1], names[1:], steps.probability, strict=True))

    def _shares(self, at: int, texts: list[str]) -> Shares:
        """Return what each feature added to the corpus-aware decision of a pair, the largest first.

        Nothing if the model that decided is no longer there.
        """
        from ..rerank.decision import Decision

        result = self._result
        try:
            folder = locate_model(result.settings.rerank.cross_encoder)
            decision = Decision.load(folder)
            tokenizer = load_tokenizer(folder)
        except ModelError:
            return ()
        if decision is None or decision.sha256 != result.manifest["models"]["decision"]["sha256"]:
            return ()
        tokens = tokenise(texts, tokenizer, max_tokens=result.settings.corpus.max_tokens, progress=SILENT)
        shares = decision.contributions(result.scored_pairs, result.n_rows, at, tokens)
        ordered = sorted(shares.items(), key=lambda item: -abs(item[1][1]))
        return tuple((name, value, share) for name, (value, share) in ordered)

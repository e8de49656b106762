"""A mined run with labelled pairs of its texts: what the decision and the cascade are fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..corpus.questions import number_components, question_components
from ..rerank.decision import PairFeatures
from ..rerank.lexical import compute_idf
from ..results.result import MiningResult
from ..schema import DOC_ID, Flags, Floats, LabelledPairs, Rows, ScoredPairs, TokenStore
from .probabilities import CalibrationSettings


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """The candidates of a run in which the cross-encoder scored every pair, and labelled pairs.

    `bi_encoder` and `cross_encoder` are the fingerprints of the models, `tokens` the cross-encoder's of all
    rows, `idf` that of its vocabulary. `rows` are the rows of the labelled pairs' texts, -1 where the run
    lacks them, `positions` the places of the labelled pairs among the candidates, -1 where they are none.
    Pairs of one `question_group` share questions; pairs of one `cluster_group` have texts in one cluster too.
    `settings` has the folds and the seed.
    """

    bi_encoder: str
    cross_encoder: str
    floor: float
    candidates: ScoredPairs
    tokens: TokenStore
    idf: Floats
    pairs: LabelledPairs
    rows: tuple[Rows, Rows]
    positions: Rows
    question_group: Rows
    cluster_group: Rows
    settings: CalibrationSettings

    @property
    def actual(self) -> Flags:
        """Which of the labelled pairs are duplicates."""
        return self.pairs.label > 0.5

    @property
    def is_candidate(self) -> Flags:
        """Which of the labelled pairs are candidates."""
        return self.positions >= 0

    def labelled_features(self, logit: Floats | None = None) -> Floats:
        """Return the decision's features of the labelled candidates.

        With `logit`, `(n_candidates,)`, they are those if the cross-encoder had given the candidates these.
        """
        scored = self.candidates
        if logit is not None:
            scored = ScoredPairs.from_logits(scored.left, scored.right, scored.cosine, logit)
        labelled = scored.where(self.positions[self.is_candidate])
        return PairFeatures(scored, self.tokens, self.floor, self.idf).table(labelled)


def label_run(
    result: MiningResult,
    pairs: LabelledPairs,
    tokens: TokenStore,
    settings: CalibrationSettings,
    *,
    cross_encoder: str,
    n_tokens: int,
) -> LabelledRun:
    """Find labelled pairs in a run.

    `tokens` are the cross-encoder's of the run's rows, `cross_encoder` is the fingerprint of its logits,
    `n_tokens` the size of its vocabulary.
    """
    floor = result.settings.retrieval.floor
    candidates = result.scored_pairs.where(result.scored_pairs.cosine >= floor)
    left, right = np.split(result.find_rows([*pairs.left, *pairs.right]), 2)
    question_group = question_components(pairs)
    return LabelledRun(
        bi_encoder=result.manifest["models"]["bi_encoder"]["sha256"],
        cross_encoder=cross_encoder,
        floor=floor,
        candidates=candidates,
        tokens=tokens,
        idf=compute_idf(tokens, n_tokens),
        pairs=pairs,
        rows=(left, right),
        positions=candidates.positions(left, right),
        question_group=question_group,
        cluster_group=join_groups_by_cluster(question_group, (left, right), result),
        settings=settings,
    )


def join_groups_by_cluster(group: Rows, rows: tuple[Rows, Rows], result: MiningResult) -> Rows:
    """Return the group of each labelled pair after joining the groups that share a cluster.

    The decision uses the texts of a cluster for each other, and is right or wrong about them together. Folds
    that divide them would leak, and intervals that take them for independent would be too narrow. `rows` are
    the rows of the pairs' texts, -1 for none.
    """
    names = result.clusters.set_index(DOC_ID)["cluster_id"]
    of_document, clusters = pd.factorize(names.reindex(result.corpus.documents[DOC_ID].to_pandas()))
    cluster = np.full(int(result.row_of.max(initial=-1)) + 2, -1, np.int64)  # the last one is row -1
    cluster[result.row_of] = of_document
    first = int(group.max(initial=-1)) + 1
    edges = [(group[cluster[side] >= 0], first + cluster[side][cluster[side] >= 0]) for side in rows]
    left, right = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    return number_components(first + len(clusters), left, right)[group]

"""Results with made-up probabilities, so that tests of what shows them load no model."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dupmine.clustering import cluster_pairs
from dupmine.corpus.unique import collapse_exact_duplicates
from dupmine.results.manifest import RunRecord
from dupmine.results.result import MiningResult
from dupmine.schema import POSITION, Corpus, Flags, ScoredPairs
from dupmine.settings import load_settings

HOSTILE = (
    "<script>document.title = 'owned'</script> asks what?",
    "</script><script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title = \'owned\'">',
    "right to left \u202egnitirw and \u2066isolated\u2069 \u200fmarks",
    "a line\u2028separator and a paragraph\u2029separator, {{ 7 * 7 }} {% raw %}",
    "emoji 👩\u200d💻 🇩🇪 and control \x07 \x1b[31m signs",
    "long " + "word " * 20_000,
    "<!-- <script> --> ]]> &amp; &lt;b&gt; \\u003cscript\\u003e $x^2$",
    '=HYPERLINK("http://evil.example","click") +1 @SUM(A1)',
)


def make_result(
    n_groups: int = 80,
    *,
    hostile: bool = False,
    method: str = "guarded",
    threshold: float = 0.5,
    seed: int = 0,
) -> MiningResult:
    """Return a result: groups of two to nine texts, the hostile ones first, some with copies.

    Pairs inside a group are mostly probable, chains to the next group mostly not.
    """
    generator = np.random.default_rng(seed)
    sizes = generator.integers(2, 10, n_groups)
    texts = [
        f"question {group} asked in wording {i} of {size}"
        for group, size in enumerate(sizes)
        for i in range(size)
    ]
    if hostile:
        texts[: len(HOSTILE)] = HOSTILE
        sizes = np.append([len(HOSTILE)], sizes[np.cumsum(sizes) > len(HOSTILE)])
        sizes[1] += len(texts) - sizes.sum()
    copies = [texts[i].upper() for i in generator.permutation(np.arange(len(HOSTILE), len(texts)))[:20]]
    ids = [f"d{i}" for i in range(len(texts) + len(copies))]
    documents = pa.table({"doc_id": ids, "text": texts + copies})
    unique = collapse_exact_duplicates(documents["text"])
    group_of = np.full(len(unique), -1)
    group_of[unique.row_of[: len(texts)]] = np.repeat(np.arange(len(sizes)), sizes)
    pairs = _score(group_of, generator)
    settings = load_settings(overrides={"threshold": threshold, "method": method})
    partition = cluster_pairs(len(unique), pairs, threshold=threshold, settings=settings.clustering)
    corpus = Corpus(documents, "text", "doc_id")
    record = RunRecord(settings, corpus, {"read": 0.5, "embed": 2.0})
    record.count(candidates=len(pairs), **partition.counts)
    record.describe(threshold={"value": threshold, "by": "rerank.threshold"})
    return MiningResult.build(
        corpus=corpus,
        row_of=unique.row_of,
        pairs=pairs,
        labels=partition.labels,
        settings=settings,
        manifest=record.manifest,
    )


def _score(group_of: np.ndarray, generator: np.random.Generator) -> ScoredPairs:
    n = len(group_of)
    left, right = np.triu_indices(n, 1)
    near = (np.abs(group_of[left] - group_of[right]) <= 1) & (generator.random(len(left)) < 0.7)
    same = group_of[left] == group_of[right]
    kept = same | (near & (generator.random(len(left)) < 0.3))
    left, right, same = left[kept], right[kept], same[kept]
    logit = np.where(same, generator.normal(1.8, 1.5, len(left)), generator.normal(-2.2, 1.3, len(left)))
    cosine = generator.uniform(0.6, 1, len(left))
    return ScoredPairs.from_logits(left, right, cosine.astype(np.float32), logit.astype(np.float32))


def removed(result: MiningResult) -> Flags:
    """Return which documents could go, `(n_documents,)`."""
    return np.isin(np.arange(len(result.row_of)), result.removed_table[POSITION].to_numpy())

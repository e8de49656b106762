"""Pictures of a result for notebooks, with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, needs_extra
from .health import examine
from .source import Mined
from .thresholds import choose_thresholds, measure_thresholds
from .words import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 50
_MOST_TEXTS = 40  # of a cluster that a picture can show
_GOOD, _FAINT, _ACCENT = "#12734a", "#9aa3af", "#2456c4"


class Plots:
    """The pictures of a result; each returns the matplotlib axes it drew on, `axes` or new ones."""

    def __init__(self, mined: Mined) -> None:
        """Hold the result to draw."""
        self._mined = mined

    def scores(self, axes: Axes | None = None) -> Axes:
        """Draw how many pairs have which probability, and the threshold."""
        axes = axes or _new_axes()
        probability = self._mined.scored_pairs.probability
        threshold = self._mined.settings.rerank.accepts_from
        accepted = probability >= threshold
        axes.hist(
            [probability[~accepted], probability[accepted]],
            bins=_BINS,
            range=(0, 1),
            stacked=True,
            color=[_FAINT, _GOOD],
            label=["rejected", "accepted"],
        )
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
        axes.set(xlabel="probability", ylabel="scored pairs", yscale="symlog")
        axes.legend(frameon=False)
        return axes

    def thresholds(self, thresholds: Sequence[float] | None = None, axes: Axes | None = None) -> Axes:
        """Draw how many documents could go with other thresholds; each is clustered again."""
        axes = axes or _new_axes()
        points = measure_thresholds(self._mined, sorted(thresholds or choose_thresholds(self._mined)))
        at = [point.threshold for point in points]
        axes.plot(at, [point.removed_documents for point in points], "o-", color=_ACCENT, markersize=3)
        axes.axvline(self._mined.settings.rerank.accepts_from, color="black", linestyle="--", linewidth=1)
        axes.set(xlabel="threshold", ylabel="documents that could go")
        axes.set_ylim(bottom=0)
        return axes

    def cluster_sizes(self, axes: Axes | None = None) -> Axes:
        """Draw how many clusters have how many documents."""
        axes = axes or _new_axes()
        size, count = np.unique(examine(self._mined).members.size, return_counts=True)
        axes.stem(size, count, basefmt=" ", linefmt=_ACCENT)
        axes.set(xlabel="documents in the cluster", ylabel="clusters", xscale="log", yscale="log")
        return axes

    def cluster(self, cluster_id: int, axes: Axes | None = None) -> Axes:
        """Draw the probability of each pair of a cluster's texts; pairs that were never scored stay blank.

        Raises:
            InputError: there is no such cluster, or it has more than 40 texts.
        """
        health = examine(self._mined)
        place = health.place_of(cluster_id)
        if place is None:
            raise InputError(f"there is no cluster {cluster_id}")
        rows, first = np.unique(health.members.row[health.members.lines(place)], return_index=True)
        rows = rows[np.argsort(first)]
        if len(rows) > _MOST_TEXTS:
            raise InputError(
                f"cluster {cluster_id} has {len(rows)} texts and a picture shows {_MOST_TEXTS}: "
                "see result.report()"
            )
        number = {row: i for i, row in enumerate(rows.tolist())}
        matrix = np.full((len(rows), len(rows)), np.nan)
        pairs = health.pairs_of(place)
        for left, right, value in zip(pairs.left, pairs.right, pairs.probability, strict=True):
            i, j = number[int(left)], number[int(right)]
            matrix[i, j] = matrix[j, i] = value
        axes = axes or _new_axes()
        image = axes.imshow(matrix, vmin=0, vmax=1, cmap="RdYlGn")
        axes.figure.colorbar(image, ax=axes, label="probability")
        documents = self._mined.corpus.documents["text"]
        names = [shorten(documents[int(self._mined.anchors[row])].as_py(), 50) for row in rows]
        axes.set_yticks(range(len(rows)), names, parse_math=False)
        axes.set_xticks(range(len(rows)), [str(i + 1) for i in range(len(rows))])
        return axes


def _new_axes() -> Axes:
    with needs_extra("result.plot", "report"):
        import matplotlib.pyplot as plt
    return plt.subplots()[1]

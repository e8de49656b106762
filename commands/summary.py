"""Summarise a result for the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..messages import escape
from ..report.health import examine
from ..report.listing import cluster_lines
from ..report.selection import Strategy, select_clusters
from ..results.result import MiningResult

_LINES = (
    ("documents", "documents"),
    ("exact_duplicates", "exact duplicates"),
    ("texts_truncated", "texts cut before the models read them"),
    ("texts_foreign", "texts in a language that the cross-encoder does not know"),
    ("texts_unreadable", "texts of mostly unknown words"),
    ("candidates", "candidate pairs"),
    ("pairs_by_bands", "decided by bands of cosine and lexical features"),
    ("pairs_unread", "refused, as the models cannot tell their texts apart"),
    ("accepted_pairs", "accepted pairs"),
    ("clusters", "clusters"),
    ("removed_documents", "documents that could go"),
)
_IF_ANY = {"texts_foreign", "texts_truncated", "texts_unreadable", "pairs_unread"}
_MEMBERS = 4


def summarise(result: MiningResult) -> str:
    """Return counts, seconds by stage, and the largest, the most doubtful and a random cluster."""
    counts, seconds = result.manifest["counts"], result.manifest["seconds"]
    shown = [(key, label) for key, label in _LINES if counts.get(key) or key in counts.keys() - _IF_ANY]
    lines = [f"{counts[key]:>12,} {label}" for key, label in shown]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items() if value >= 0.05)
    lines.append(f"{sum(seconds.values()):>12,.1f} seconds: {stages or 'none'}")
    reused, made = (result.manifest.get("shards", {}).get(key, 0) for key in ("found", "made"))
    if reused:
        lines.append(f"continued: {reused:,} of {reused + made:,} shards are from an interrupted run")
    return "\n".join([*lines, *_examples(result)])


def _examples(result: MiningResult) -> list[str]:
    health = examine(result)
    doubtful = [Strategy.suspicious, Strategy.borderline]  # the weakest link where nothing is suspicious
    examples = {
        "the largest": [Strategy.largest],
        "the most doubtful": doubtful,
        "one at random": [Strategy.random],
    }
    lines, shown = [], set()
    for name, strategies in examples.items():
        places = [place for by in strategies for place in select_clusters(health, by, 3).tolist()]
        place = next((place for place in places if place not in shown), None)
        if place is not None:
            shown.add(place)
            lines += [f"\n{name}:", *cluster_lines(result, health, place, most=_MEMBERS)]
    return lines


def next_commands(folder: Path) -> str:
    """Return what to type to look at a result."""
    name = escape(shlex.quote(str(folder)))
    return f"look at it: dupmine show {name} --suspicious\n        or: dupmine report {name} --open"

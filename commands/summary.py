"""Summarise a result for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..messages import escape
from ..report.health import examine
from ..report.listing import cluster_lines
from ..report.selection import Strategy, select_clusters
from ..report.words import shorten
from ..results.links import LinkResult
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
_LINK_LINES = (
    ("documents", "new documents"),
    ("reference_documents", "documents in the reference"),
    *_LINES[2:8],
    ("known_documents", "new documents with a duplicate in the reference"),
    ("new_documents", "without"),
    ("removed_documents", "of these could go, as duplicates of each other"),
)
_MATCHES = 3
_SHOWN = ["text", "reference_text", "probability"]
_IF_ANY = {"texts_foreign", "texts_truncated", "texts_unreadable", "pairs_unread"}
_MEMBERS = 4


def summarise(result: MiningResult) -> str:
    """Return counts, seconds by stage, and the largest, the most doubtful and a random cluster."""
    return "\n".join([*_count_lines(result.manifest, _LINES), *_examples(result)])


def summarise_links(result: LinkResult) -> str:
    """Return counts, seconds by stage, and a few matches: the least probable, and some at random."""
    return "\n".join([*_count_lines(result.manifest, _LINK_LINES), *_example_links(result)])


def _count_lines(manifest: Mapping[str, Any], names: Iterable[tuple[str, str]]) -> list[str]:
    counts, seconds = manifest["counts"], manifest["seconds"]
    shown = [(key, label) for key, label in names if counts.get(key) or key in counts.keys() - _IF_ANY]
    lines = [f"{counts[key]:>12,} {label}" for key, label in shown]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items() if value >= 0.05)
    lines.append(f"{sum(seconds.values()):>12,.1f} seconds: {stages or 'none'}")
    reused, made = (manifest.get("shards", {}).get(key, 0) for key in ("found", "made"))
    if reused:
        lines.append(f"continued: {reused:,} of {reused + made:,} shards are from an interrupted run")
    return lines


def _example_links(result: LinkResult) -> list[str]:
    known = result.known()
    known = known[known["probability"] < 1].sort_values("probability", kind="stable")
    examples = {
        "the most doubtful": known[:_MATCHES],
        "some at random": known[_MATCHES:].sample(min(_MATCHES, len(known[_MATCHES:])), random_state=0),
    }
    lines = []
    for name, matches in examples.items():
        lines += [f"\n{name}:"] if len(matches) else []
        for text, reference, probability in matches[_SHOWN].itertuples(index=False):
            lines += [f"  {probability:.2f}  {shorten(text)}", f"        {shorten(reference)}"]
    return lines


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

"""Summarise a result for the terminal."""

from __future__ import annotations

from ..results.result import MiningResult

_LINES = (
    ("documents", "documents"),
    ("exact_duplicates", "exact duplicates"),
    ("candidates", "candidate pairs"),
    ("pairs_by_bands", "decided by bands of cosine and lexical features"),
    ("accepted_pairs", "accepted pairs"),
    ("clusters", "clusters"),
    ("removed_documents", "documents that could go"),
)
_EXAMPLES = 3
_MEMBERS = 4
_TYPICAL = 6
_WIDTH = 100


def summarise(result: MiningResult) -> str:
    """Return counts, seconds by stage and three example clusters."""
    counts, seconds = result.manifest["counts"], result.manifest["seconds"]
    lines = [f"{counts[key]:>12,} {label}" for key, label in _LINES if key in counts]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items() if value >= 0.05)
    lines.append(f"{sum(seconds.values()):>12,.1f} seconds: {stages or 'none'}")
    reused, made = (result.manifest.get("shards", {}).get(key, 0) for key in ("found", "made"))
    if reused:
        lines.append(f"continued: {reused:,} of {reused + made:,} shards are from an interrupted run")
    return "\n".join([*lines, *_examples(result)])


def _examples(result: MiningResult) -> list[str]:
    """Show clusters of up to six documents, large before small, then the smallest of the larger ones."""
    frame = result.clusters
    heads = frame[frame["is_representative"] & (frame["cluster_size"] > 1)]
    distance = heads["cluster_size"].sub(_TYPICAL).abs().where(heads["cluster_size"] > _TYPICAL)
    heads = heads.assign(distance=distance.fillna(0)).sort_values(
        ["distance", "cluster_size", "weakest_link", "cluster_id"], ascending=[True, False, False, True]
    )
    lines = []
    for cluster_id in heads["cluster_id"].head(_EXAMPLES):
        members = frame[frame["cluster_id"] == cluster_id]
        lines.append(f"\ncluster {cluster_id}, {len(members)} documents")
        shown = members.head(_MEMBERS)
        lines += [
            f"  {p:.2f}  {_line(text)}" for p, text in zip(shown["probability"], shown["text"], strict=True)
        ]
        if len(members) > _MEMBERS:
            lines.append(f"        and {len(members) - _MEMBERS} more")
    return lines


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"

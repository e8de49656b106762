"""A result in a few lines for the screen."""

from __future__ import annotations

from .result import MiningResult

_LINES = (
    ("documents", "documents"),
    ("exact_duplicates", "exact duplicates"),
    ("candidates", "candidate pairs"),
    ("accepted_pairs", "accepted pairs"),
    ("clusters", "clusters"),
    ("removed_documents", "documents that could go"),
)
_EXAMPLES = 3
_MEMBERS = 4


def summarise(result: MiningResult) -> str:
    """Return counts, seconds by stage and three example clusters."""
    counts, seconds = result.manifest["counts"], result.manifest["seconds"]
    lines = [f"{counts[key]:>12,} {label}" for key, label in _LINES]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
    lines.append(f"{sum(seconds.values()):>12.1f} seconds: {stages}")
    return "\n".join([*lines, *_examples(result)])


def _examples(result: MiningResult) -> list[str]:
    """Show the clusters from the middle of the size range: neither pairs only nor the largest."""
    frame = result.clusters
    frame = frame[frame["cluster_size"].between(2, 6)]
    heads = frame[frame["is_representative"]].sort_values(
        ["cluster_size", "weakest_link", "cluster_id"], ascending=[False, False, True]
    )
    lines = []
    for cluster_id in heads["cluster_id"].head(_EXAMPLES):
        members = frame[frame["cluster_id"] == cluster_id]
        lines.append(f"\ncluster {cluster_id}, {len(members)} documents")
        lines += [f"  {row.probability:.2f}  {row.text:.100}" for row in members.head(_MEMBERS).itertuples()]
        if len(members) > _MEMBERS:
            lines.append(f"        and {len(members) - _MEMBERS} more")
    return lines

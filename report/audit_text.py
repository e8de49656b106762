"""An audit in words, and as an object."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .audit import Audit, Share
from .labels import AuditLabels

_NOT_COVERED = "not covered: duplicates that the bi-encoder never proposed, so that nobody scored them"


def audit_lines(found: Audit, labels: AuditLabels) -> list[str]:
    """Return what an audit found, in words."""
    lines = [
        f"{found.n_labels} labels by {', '.join(labels.reviewers) or 'nobody'}, {found.n_unsure} unsure "
        "(95% intervals)",
        f"  {_share(found.removed)}  of the {found.removed.population:,} documents that could go are "
        "duplicates of the one that stays",
        f"  {_share(found.accepted)}  of the {found.accepted.population:,} accepted pairs are duplicates",
        f"  {_share(found.missed)}  of the {found.missed.population:,} scored but rejected pairs are "
        f"duplicates: about {round(found.missed.value * found.missed.population):,} missed",
        f"  {_share(found.recall)}  of the duplicates among scored pairs are accepted (recall)",
        f"  {_NOT_COVERED}",
    ]
    if found.n_unsure:
        low, high = found.unsure["removed"]
        lines.append(
            f"  if all unsure pairs were different, {low:.1%} of the documents that could go would be "
            f"duplicates; if all were duplicates, {high:.1%}"
        )
    if labels.kappa is not None:
        lines.append(
            f"  {len(labels.reviewers)} reviewers agree with Cohen's kappa {labels.kappa:.2f}; "
            f"{len(labels.disagreements)} disagreements"
        )
        lines += [f"    {left} and {right}" for left, right in labels.disagreements]
    lines += [f"refused {count:,} labels: {reason}" for reason, count in labels.refused.items()]
    return lines


def _share(share: Share) -> str:
    return f"{share.value:6.1%} ({share.low:.1%} to {share.high:.1%})"


def audit_object(found: Audit, labels: AuditLabels) -> dict[str, Any]:
    """Return what an audit found as JSON."""
    shares = {name: getattr(found, name) for name in ("removed", "accepted", "missed", "recall")}
    return {
        **{name: asdict(share) for name, share in shares.items()},
        "labels": found.n_labels,
        "unsure": found.n_unsure,
        "if_unsure_are_different_or_duplicates": found.unsure,
        "reviewers": labels.reviewers,
        "kappa": labels.kappa,
        "disagreements": labels.disagreements,
        "refused": labels.refused,
        "not_covered": _NOT_COVERED,
    }

"""How two documents stand to each other, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass

from ..schema import CROSS_ENCODER

_SHOWN = 8  # shares in words


@dataclass(frozen=True, slots=True)
class Explanation:
    """How two documents stand to each other.

    `cosine` and `probability` are None where the pair was never scored, and `cosine` alone where it was no
    candidate and scored only to tell a member's probability to its representative. `path` leads from one to
    the other through their cluster along the most probable pairs, each with its probability.

    Where the corpus decided, `pair_probability` is the probability by the pair alone, computed by the step
    that `scored_by` names, and `shares` names each feature with its value and what it adds to the log-odds,
    the weightiest first; `base` is the average pair's.
    """

    left_id: str
    right_id: str
    left_text: str
    right_text: str
    same_cluster: bool
    decided_by: str
    cosine: float | None
    probability: float | None
    path: tuple[tuple[str, str, float], ...]
    pair_probability: float | None = None
    scored_by: str = CROSS_ENCODER
    shares: tuple[tuple[str, float | None, float], ...] = ()

    def __str__(self) -> str:
        """Return the explanation in words."""
        verdict = "in one cluster" if self.same_cluster else "in different clusters"
        lines = [f"{self.left_id}: {self.left_text}", f"{self.right_id}: {self.right_text}", verdict]
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
        lines += [f"  {a} - {b}: probability {p:.3f}" for a, b, p in self.path]
        return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"

"""How two documents stand to each other, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """How two documents stand to each other.

    `cosine` and `probability` are None where the pair was never scored, and `cosine` alone where it was no
    candidate and scored only to tell a member's probability to its representative. `path` leads from one to
    the other through their cluster along the most probable pairs, each with its probability.
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

    def __str__(self) -> str:
        """Return the explanation in words."""
        verdict = "in one cluster" if self.same_cluster else "in different clusters"
        lines = [f"{self.left_id}: {self.left_text}", f"{self.right_id}: {self.right_text}", verdict]
        if self.probability is None:
            lines.append(f"never scored: {self.decided_by}")
        else:
            cosine = "" if self.cosine is None else f"cosine {self.cosine:.3f}, "
            lines.append(f"decided by {self.decided_by}: {cosine}probability {self.probability:.3f}")
        lines += [f"  {a} - {b}: probability {p:.3f}" for a, b, p in self.path]
        return "\n".join(lines)

"""A result in a notebook: a summary, and the whole report in a frame."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from .health import examine
from .page import write_report
from .selection import Strategy, select_clusters
from .source import Mined, texts
from .words import shorten

_COUNTS = (
    ("documents", "documents"),
    ("accepted_pairs", "accepted pairs"),
    ("clusters", "clusters"),
    ("removed_documents", "could go"),
)
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Report:
    """A report as HTML; a notebook shows it in a frame."""

    html: str

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the report to a file.

        Raises:
            OutputError: the file exists, or cannot be written.
        """
        write_report(Path(path), self.html, overwrite=overwrite)

    def _repr_html_(self) -> str:
        source = html.escape(self.html, quote=True)
        return (
            f'<iframe srcdoc="{source}" sandbox="allow-scripts" title="dupmine report" '
            'style="width:100%;height:40rem;border:1px solid #999"></iframe>'
        )


def summary_html(mined: Mined) -> str:
    """Return counts and the largest clusters as a small table."""
    counts = mined.manifest["counts"]
    head = "".join(f"<th>{name}</th>" for _, name in _COUNTS)
    values = "".join(f"<td>{counts[key]:,}</td>" for key, _ in _COUNTS)
    health = examine(mined)
    places = select_clusters(health, Strategy.largest, _EXAMPLES).tolist()
    heads = texts(mined, health.members.document[health.members.start[places]]) if places else []
    lines = [
        f"<li>cluster {health.members.cluster_id[place]}, {health.members.size[place]} documents: "
        f"<bdi>{html.escape(shorten(text))}</bdi></li>"
        for place, text in zip(places, heads, strict=True)
    ]
    largest = f"<p>The largest clusters:</p><ul>{''.join(lines)}</ul>" if lines else ""
    return f"<table><tr>{head}</tr><tr>{values}</tr></table>{largest}<p>See <code>result.report()</code>.</p>"

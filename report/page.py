"""The report: one HTML file that needs nothing else, and lets nothing else in."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shlex
from collections.abc import Sequence
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..disk.files import make_folder, output_errors, write_atomically
from ..disk.folder import check_file
from .audit import Audit, Point, at_thresholds, audit
from .health import Health, examine
from .imported import measure_imported
from .labels import AuditLabels, labels_for_audit
from .payload import Json, page_data
from .source import Mined
from .strata import audit_frame
from .targets import target_thresholds
from .thresholds import choose_thresholds, measure_thresholds

_LIBRARIES = ("vendor/d3.min.js", "vendor/plot.umd.min.js")
_SCRIPTS = ("text.js", "charts.js", "decide.js", "clusters.js", "main.js")


def render_report(
    mined: Mined,
    *,
    name: str,
    command: str = "RUN",
    cache: Path | None = None,
    labels: pa.Table | None = None,
) -> str:
    """Return the report of a result as HTML.

    `command` names the run in commands to type, `cache` is the file that keeps the thresholds; `labels` is a
    table of labels, as `labels.LABELS`. Precision and recall are those of the audit, else of imported labels.
    """
    targets = target_thresholds(mined)
    points = measure_thresholds(mined, choose_thresholds(mined, targets.values()), cache=cache)
    health = examine(mined)
    quality, measured, origin = _measure(mined, labels, [point.threshold for point in points])
    data = page_data(mined, health, points, measured) | {"measured_by": origin}
    names = {threshold: f"target precision {target:g}" for target, threshold in targets.items()}
    own = mined.settings.rerank.accepts_from
    names[own] = "the result's" + (f", {names[own]}" if own in names else "")
    for point in data["points"]:
        point["name"] = names.get(point["threshold"], "")
    return _html(mined, health, data, name=name, command=command, quality=quality)


def _measure(
    mined: Mined, table: pa.Table | None, thresholds: Sequence[float]
) -> tuple[Json | None, list[Point], str]:
    """Return what an audit says, precision and recall at thresholds, and by which labels."""
    if table is None or not len(table):
        return None, [], ""
    frame = audit_frame(mined)
    labels = labels_for_audit(mined, frame, table)
    if len(labels.labelled.at):
        measured = at_thresholds(frame, labels.labelled, thresholds)
        return _quality(audit(frame, labels.labelled), labels), measured, "by the audit"
    measured = measure_imported(mined, table, thresholds)
    return None, measured, "on the imported labels, which are no random sample of the result"


def write_report(path: Path, html: str, *, overwrite: bool = False) -> None:
    """Write a report, whole or not at all.

    Raises:
        OutputError: the file exists, is inside a store, or cannot be written.
    """
    check_file(path, overwrite=overwrite)
    with output_errors(path.parent):
        make_folder(path.absolute().parent)
        write_atomically(path, lambda file: file.write(html.encode()))


def _html(mined: Mined, health: Health, data: Json, *, name: str, command: str, quality: Json | None) -> str:
    import jinja2
    from markupsafe import Markup

    scripts = [*map(_asset, _LIBRARIES), "\n".join(map(_asset, _SCRIPTS))]
    style = _asset("page.css")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_asset("page.html.j2")).render(
        policy=content_policy(scripts, [style, _asset("vendor/plot-style.css")]),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        data=Markup(_packed(data)),
        name=name,
        command=shlex.quote(command),
        sentence=_sentence(mined, quality),
        sample=_sample(health, data["clusters"]["size"]),
        funnel=_funnel(mined),
        basis=mined.manifest.get("threshold", {}).get("by", "the store's setting"),
        quality=quality,
        made=_made(mined),
        version=metadata.version("dupmine"),
    )


def content_policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Return a content security policy that allows these inline scripts and styles and nothing else."""
    script, style = (" ".join(f"'sha256-{_digest(text)}'" for text in texts) for texts in (scripts, styles))
    return f"default-src 'none'; script-src {script}; style-src {style}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return files(f"{__package__}.assets").joinpath(name).read_text(encoding="utf-8")


def _packed(data: Json) -> str:
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _sentence(mined: Mined, quality: Json | None) -> str:
    counts = mined.manifest["counts"]
    documents, gone, clusters = (counts[key] for key in ("documents", "removed_documents", "clusters"))
    share = gone / max(documents, 1)
    sentence = (
        f"{gone:,} of {documents:,} documents ({share:.1%}) could go. They are in {clusters:,} clusters of "
        "documents that ask the same; one of each cluster stays."
    )
    return sentence + (f" {quality['sentence']}" if quality else "")


def _sample(health: Health, sizes: Sequence[int]) -> str:
    """Return what to say where the page lists a sample of the clusters, of these sizes."""
    total, documents = len(health.members), int(health.members.size.sum())
    if len(sizes) == total:
        return ""
    return (
        f"This page lists a sample of {len(sizes):,} of the {total:,} clusters ({sum(sizes):,} of "
        f"{documents:,} documents): the most suspicious, the largest, those with the weakest links, and "
        "others at random. All counts and the pictures are of the whole result."
    )


def _funnel(mined: Mined) -> list[dict[str, str]]:
    counts = mined.manifest["counts"]
    steps = (
        ("documents", counts["documents"], "as read"),
        ("unique texts", int(mined.row_of.max(initial=-1)) + 1, "equal ones made one"),
        ("candidates", counts.get("candidates"), "pairs near enough"),
        ("scored pairs", len(mined.scored_pairs), "each with a probability"),
        ("accepted pairs", counts["accepted_pairs"], f"from {mined.settings.rerank.accepts_from:g} on"),
        ("clusters", counts["clusters"], "that hold together"),
        ("could go", counts["removed_documents"], "one of each cluster stays"),
    )
    return [{"name": name, "count": f"{n:,}", "what": what} for name, n, what in steps if n is not None]


def _quality(found: Audit, labels: AuditLabels) -> Json:
    rows = (
        (f"the {found.removed.population:,} documents that could go", found.removed),
        (f"the {found.accepted.population:,} accepted pairs", found.accepted),
        (f"the {found.missed.population:,} scored but rejected pairs (missed)", found.missed),
        ("accepted pairs, of all duplicates that were scored (recall)", found.recall),
    )
    remarks = ["Not covered: duplicates that were never proposed as candidates."]
    if found.n_unsure:
        low, high = found.unsure["removed"]
        remarks.append(
            f"{found.n_unsure} pairs were unsure and do not count. If all were different, {low:.1%} of "
            f"the documents that could go would be duplicates; if all were duplicates, {high:.1%}."
        )
    if labels.kappa is not None:
        remarks.append(
            f"{len(labels.reviewers)} reviewers agree with Cohen's kappa {labels.kappa:.2f}; they disagree "
            f"on {len(labels.disagreements)} pairs."
        )
    wrong = 1 - found.removed.value
    return {
        "sentence": (
            f"By {found.n_labels} labels, about {wrong:.1%} of the documents that could go are wrong (95% "
            f"interval: {1 - found.removed.high:.1%} to {1 - found.removed.low:.1%})."
        ),
        "rows": [
            {
                "name": name,
                "value": f"{share.value:.1%}",
                "interval": f"{share.low:.1%} to {share.high:.1%}",
                "n": share.n,
            }
            for name, share in rows
        ],
        "remarks": remarks,
    }


def _made(mined: Mined) -> list[Json]:
    """Return tables of what the manifest says."""
    manifest = mined.manifest
    seconds = [(stage, f"{value:,.1f} s") for stage, value in manifest.get("seconds", {}).items()]
    settings = mined.settings.model_dump()
    tables = {
        "Input": [(file["path"], f"{file['documents']:,} documents") for file in manifest.get("inputs", [])],
        "Seconds": [*seconds, ("all", f"{sum(manifest.get('seconds', {}).values()):,.1f} s")]
        if seconds
        else [],
        "Models": [
            (f"{name} {key}", str(value)[:16])
            for name, facts in manifest.get("models", {}).items()
            for key, value in facts.items()
        ],
        "Counts": [(name.replace("_", " "), f"{value:,}") for name, value in manifest["counts"].items()],
        "Versions": list(manifest.get("versions", {}).items()),
        "Settings": [
            (f"{stage}.{key}", _plain(value))
            for stage, keys in settings.items()
            for key, value in keys.items()
        ],
    }
    return [{"title": title, "rows": rows} for title, rows in tables.items() if rows]


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)

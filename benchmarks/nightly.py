"""Keep a store of real questions up to date for a month of nights, and compare it with a full run.

    python benchmarks/nightly.py DATA [--run out/quora] [--nights 30] [--new 1000] [--out FILE]

DATA is a folder with `questions-eval.csv` (qid, question) and, for questions nobody has seen,
`questions.csv.gz`. The store begins with the first questions. Every night brings new ones, edits some and
deletes others; what was edited or deleted comes back as it was the night after. Then the store holds all
questions but the last, which one more update adds, in a process of its own. A full run over all questions,
mined by `dupmine mine` if it is not there yet, must have found the same. At last the store is asked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from prometheus_client.parser import text_string_to_metric_families

from dupmine import MiningResult, Store, UpdateReport
from dupmine.benchmarks import machine
from dupmine.rerank.scorer import CrossEncoder
from dupmine.retrieval.encoder import BiEncoder
from dupmine.retrieval.index import Index
from dupmine.store import query_index

QUERIES = 200
WARM_UP = 20
COMPACT_EVERY = 10
SEED = 0
QUERY_PARTS = {
    "tokenise": (query_index, "tokenise_texts"),
    "embed": (BiEncoder, "encode"),
    "search": (Index, "nearest"),
    "rerank": (CrossEncoder, "score"),
}

Figures = dict[str, Any]


def main() -> None:
    """Run the benchmark and write its figures."""
    arguments = parse_arguments()
    for left in ("store", "new.csv"):
        remove(arguments.work / left)
    arguments.work.mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine.describe(), **measure(arguments)}
    print(json.dumps({name: value for name, value in figures.items() if name != "nights"}, indent=2))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    root = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with questions-eval.csv and questions.csv.gz")
    parser.add_argument(
        "--run", type=Path, default=root.parent / "out" / "quora", help="folder of the full run"
    )
    parser.add_argument("--nights", type=int, default=30, help="nights of the month")
    parser.add_argument("--new", type=int, default=1000, help="new questions a night")
    parser.add_argument("--config", type=Path, default=root.parent / "configs" / "quora.yaml")
    parser.add_argument("--work", type=Path, default=root.parent / "out" / "nightly", help="for the store")
    parser.add_argument("--out", type=Path, default=root / "results" / "nightly.json")
    return parser.parse_args()


def remove(path: Path) -> None:
    """Remove a file or folder that may not be there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def measure(arguments: argparse.Namespace) -> Figures:
    """Fill the store, live through the month, add the last questions, compare and ask."""
    file = arguments.data / "questions-eval.csv"
    questions = read_questions(file)
    if not arguments.run.exists():
        command("mine", file, "--out", arguments.run, "--config", arguments.config, "--quiet")
    run = MiningResult.load(arguments.run)
    folder = arguments.work / "store"
    store = Store.create(folder, config=arguments.config, progress=False)
    nights = list(month(store, questions[: -arguments.new], arguments))
    documents = store.status()["documents"]
    questions[-arguments.new :].to_csv(arguments.work / "new.csv", index=False)
    wall, stages = update_in_a_process(folder, arguments.work / "new.csv")
    return {
        "nights": nights,
        "last_update": {
            "documents_before": documents,
            "new": arguments.new,
            "seconds_with_process_start": wall,
            "seconds": stages,
        },
        "equal": compare(store.clusters(), run.clusters),
        "damaged_files": len(store.verify()),
        "bytes": store.status()["bytes"],
        "query": query_latency(store, unseen_questions(arguments, questions, QUERIES + WARM_UP)),
    }


def read_questions(path: Path) -> pd.DataFrame:
    """Read qid and question as text, exactly as written."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def unseen_questions(arguments: argparse.Namespace, questions: pd.DataFrame, n: int) -> list[str]:
    """Draw real questions that the corpus does not hold."""
    dump = read_questions(arguments.data / "questions.csv.gz")
    unseen = dump.loc[~dump["qid"].isin(questions["qid"]) & (dump["question"] != ""), "question"]
    return [str(question) for question in unseen.sample(n, random_state=SEED)]


def command(*words: str | Path) -> float:
    """Run a command of dupmine in a fresh process; return its wall seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dupmine", *map(str, words)], check=True)
    return round(time.perf_counter() - start, 2)


def update_in_a_process(store: Path, new: Path) -> tuple[float, dict[str, float]]:
    """Update a store by the command line; return its wall seconds and those by stage."""
    metrics = new.with_suffix(".prom")
    wall = command("store", "update", store, new, "--quiet", "--metrics", metrics)
    families = text_string_to_metric_families(metrics.read_text(encoding="utf-8"))
    samples = (sample for family in families for sample in family.samples)
    stages = {s.labels["stage"]: s.value for s in samples if s.name == "dupmine_stage_seconds"}
    return wall, rounded(stages)


def told(report: UpdateReport) -> Figures:
    """Return what a writer's report says."""
    return {
        "seconds_total": round(sum(report.seconds.values()), 2),
        "seconds": rounded(report.seconds),
        "counts": report.counts,
        "events": report.events,
    }


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """Round to hundredths."""
    return {stage: round(value, 2) for stage, value in seconds.items()}


def compare(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, bool]:
    """Tell whether two tables of clusters say the same, numbers of clusters aside."""
    left, right = by_document(ours), by_document(theirs)
    if not left.index.equals(right.index):
        return dict.fromkeys(("members", *left.columns), False)
    # Representatives tell clusters apart within one table, the lowest id does so across tables.
    groups = [frame.groupby("representative").ngroup().to_numpy() for frame in (left, right)]
    firsts = [pd.Series(left.index).groupby(group).transform("min") for group in groups]
    return {
        "members": firsts[0].equals(firsts[1]),
        **{str(name): left[name].equals(right[name]) for name in left.columns},
    }


def by_document(clusters: pd.DataFrame) -> pd.DataFrame:
    """Return each document's representative, probability and weakest link, sorted by document."""
    standing = clusters[clusters["is_representative"]].set_index("cluster_id")["doc_id"]
    named = clusters.assign(representative=clusters["cluster_id"].map(standing))
    columns = ["representative", "probability", "weakest_link"]
    return named.set_index("doc_id")[columns].sort_index()


def query_latency(store: Store, texts: list[str]) -> Figures:
    """Ask for one text at a time, warm; return milliseconds, in all and by part."""
    for text in texts[:WARM_UP]:
        store.query(text)
    spent: dict[str, list[float]] = {"all": []}
    with ExitStack() as stack:
        for part, (owner, name) in QUERY_PARTS.items():
            timed_call = with_seconds(getattr(owner, name), spent.setdefault(part, []))
            stack.enter_context(patch.object(owner, name, timed_call))
        ask = with_seconds(store.query, spent["all"])
        for text in texts[WARM_UP:]:
            ask(text)
    return {"queries": len(spent["all"]), "milliseconds": {part: quantiles(s) for part, s in spent.items()}}


def with_seconds(call: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Return a function that does the same and notes the seconds it took."""

    def timed_call(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            spent.append(time.perf_counter() - start)

    return timed_call


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Return median and 95th percentile in milliseconds."""
    return {
        "median": round(1000 * statistics.median(seconds), 1),
        "p95": round(1000 * float(np.quantile(seconds, 0.95)), 1),
    }


def month(store: Store, questions: pd.DataFrame, arguments: argparse.Namespace) -> Iterator[Figures]:
    """Fill the store, then let documents come, change and go for many nights; yield each night's figures.

    At the end the store holds `questions` as they are.
    """
    split = len(questions) - arguments.nights * arguments.new
    yield {"night": 0, "update": told(store.update(questions[:split])), "bytes": store.status()["bytes"]}
    rng = np.random.default_rng(SEED)
    restored = questions[:0]
    for number in range(arguments.nights):
        start = split + number * arguments.new
        last = number == arguments.nights - 1
        chosen = rng.choice(start, 0 if last else arguments.new // 20, replace=False)
        edited, deleted = np.split(chosen, [2 * len(chosen) // 5])
        edits = questions.iloc[edited].assign(
            question=[shorter(q, rng) for q in questions["question"].iloc[edited]]
        )
        back = restored[~restored["qid"].isin(edits["qid"])]
        update = store.update(pd.concat([questions[start : start + arguments.new], edits, back]))
        line = {"night": number + 1, "update": told(update)}
        if len(deleted):
            line["delete"] = told(store.delete(questions["qid"].iloc[deleted]))
        if (number + 1) % COMPACT_EVERY == 0:
            line["compact"] = told(store.compact())
        restored = questions.iloc[chosen]
        yield {**line, "bytes": store.status()["bytes"], "on_disk": on_disk(store.path)}
        print(json.dumps(line), flush=True)


def shorter(text: str, rng: np.random.Generator) -> str:
    """Edit a text as people do: a word is gone."""
    words = text.split()
    place = int(rng.integers(max(len(words), 1)))
    return " ".join(words[:place] + words[place + 1 :])


def on_disk(folder: Path) -> int:
    """Return the bytes of all files of a folder, those of kept generations included."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()

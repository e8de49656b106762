"""Change files at random, and see what reads them end: with a result or a message, never by a signal.

    OMP_NUM_THREADS=1 python -m tests.helpers.mutations --each 1000 --out FILE.json

Commits of a store, a decision, a cascade and the files of models are changed, as a failing disk or somebody
hostile would: bytes, numbers in the text, values of the JSON. Where a file has a checksum, it is corrected in
half of the trials. Each trial is a fork of this process, so that no end of it is missed; after 10 seconds it
is killed. Files of the store that were not changed must stay as they are, to the byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dupmine import Store
from dupmine.errors import DupmineError
from dupmine.inference.device import DeviceConfig
from dupmine.inference.model_files import CASCADE, DECISION
from dupmine.progress import SILENT
from dupmine.rerank.cascade import FittedCascade
from dupmine.rerank.decision import Decision
from dupmine.rerank.scorer import CrossEncoder
from dupmine.retrieval.encoder import BiEncoder, encode_texts
from dupmine.schema import CandidatePairs, ScoredPairs, TokenStore
from dupmine.settings import RerankSettings, load_settings
from dupmine.store.commits import _with_checksum
from dupmine.store.layout import commit_file, copy_of

from .cascades import bands_by_cosine, fitted_cascade
from .decisions import feature, fitted_to
from .tiny_models import TinyModels, make_tiny_models

SECONDS = 10
KINDS = ("commit", "decision", "cascade", "bi-encoder", "cross-encoder")
FP32 = DeviceConfig(torch.device("cpu"), torch.float32, 1024)
ENDS = {0: "read", 1: "other error", 2: "refused"}
QUESTIONS = [
    f"How do I {verb} a {thing}?" for verb in ("draw", "bake", "fix") for thing in ("dog", "car", "song")
]
NUMBER = re.compile(rb"\d+")
EXTREMES: tuple[Any, ...] = (
    0,
    -1,
    1,
    2,
    255,
    1 << 15,
    (1 << 31) - 1,
    1 << 31,
    1 << 62,
    10**30,
    0.5,
    -1e308,
    None,
    "",
    [],
    {},
    "x" * 99,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Files that are changed in a copy of `folder`, and what reads that copy."""

    folder: Path
    files: tuple[str, ...]
    read: Callable[[Path], object]
    watched: tuple[str, ...] = ()  # folders whose files no reader may change


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or remove bytes in one to three places."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, size = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 8, 100))
        piece = bytes(rng.randrange(256) for _ in range(size))
        changed[at : at + rng.choice((0, size))] = rng.choice(
            (piece, b"", bytes(changed[at : at + size]) * 2)
        )
    return bytes(changed) if rng.random() < 0.9 else bytes(changed[: rng.randrange(len(changed) + 1)])


def change_number(content: bytes, rng: random.Random) -> bytes:
    """Replace a number in a text."""
    found = list(NUMBER.finditer(content))
    if not found:
        return change_bytes(content, rng)
    match = rng.choice(found)
    by = rng.choice((b"0", b"1", b"-1", b"7", b"99", b"65536", b"2147483648", b"9" * 30, b"1e9", b"nan", b""))
    return content[: match.start()] + by + content[match.end() :]


def change_value(content: bytes, rng: random.Random) -> bytes:
    """Replace, remove or add a value of a JSON object."""
    try:
        values = json.loads(content)
    except ValueError:
        return change_bytes(content, rng)
    place = values
    while isinstance(place, dict) and place and rng.random() < 0.7:
        inner = [value for value in place.values() if isinstance(value, dict) and value]
        if not inner:
            break
        place = rng.choice(inner)
    key = rng.choice(list(place)) if rng.random() < 0.9 else "more"
    if rng.random() < 0.2:
        place.pop(key, None)
    else:
        place[key] = rng.choice(EXTREMES)
    return json.dumps(values, ensure_ascii=False, indent=1).encode()


def correct_checksum(name: str, content: bytes) -> bytes:
    """Make a checksum fit its content, or remove it, as somebody hostile does."""
    if name.startswith("generations/"):
        try:
            return _with_checksum(json.loads(content))
        except (ValueError, AttributeError, TypeError):
            return content
    return re.sub(rb'^\{\s*"sha256": "[^"]*",', b"{", content, count=1)


def mutate(folder: Path, subject: Subject, rng: random.Random) -> str:
    """Change one of the files; return its name."""
    name = rng.choice(subject.files)
    content = (folder / name).read_bytes()
    start = len(content) if content[:1] == b"{" else min(len(content), 4096)  # the header of weights
    change = rng.choice((change_bytes, change_number, change_value))
    head = change(content[:start], rng) if content[:1] == b"{" else change_bytes(content[:start], rng)
    changed = head + content[start:]
    if rng.random() < 0.5:
        changed = correct_checksum(name, changed)
    names = [name, copy_of(name)] if name.startswith("generations/") and rng.random() < 0.7 else [name]
    for each in names:
        (folder / each).write_bytes(changed)
    return name


def end_of(read: Callable[[], object]) -> str:
    """Read in a fork of this process; return how that ends."""
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            return "hang" if name == "SIGALRM" else name
        return ENDS[os.WEXITSTATUS(status)]
    signal.alarm(SECONDS)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    code = 0
    try:
        read()
    except DupmineError:
        code = 2
    except BaseException:
        code = 1
    os._exit(code)


def update_store(folder: Path) -> None:
    """Do all that a night does."""
    store = Store.open(folder, progress=False)
    store.status()
    store.verify()
    store.update(pd.DataFrame({"id": ["n1", "n2"], "text": ["How do I draw a cat?", "How do I draw a dog"]}))
    store.changes()


def decide(folder: Path) -> None:
    """Decide pairs with the decision in a folder."""
    if (decision := Decision.load(folder)) is not None:
        tokens, pairs = _pairs(len(decision.idf))
        scored = ScoredPairs.from_logits(pairs.left, pairs.right, pairs.cosine, 4 * pairs.cosine - 2)
        decision.decide(scored, tokens, SILENT)


def band(folder: Path) -> None:
    """Decide pairs with the cascade in a folder."""
    if (cascade := FittedCascade.load(folder)) is not None:
        cascade.bands.bounds.decide(cascade.bands.log_odds(*_pairs(len(cascade.bands.idf))))


def _pairs(n_tokens: int) -> tuple[TokenStore, CandidatePairs]:
    rng = np.random.default_rng(1)
    ids = rng.integers(0, min(n_tokens, 30), 60).astype(np.int32)
    left, right = np.triu_indices(20, 1)
    tokens = TokenStore(ids, np.arange(0, 61, 3), 0)
    return tokens, CandidatePairs(left, right, rng.uniform(0.6, 1, len(left)).astype(np.float32))


def encode(folder: Path) -> None:
    """Encode texts with the bi-encoder in a folder."""
    encode_texts(BiEncoder(str(folder), FP32), QUESTIONS, SILENT)


def score(folder: Path) -> None:
    """Score pairs with the cross-encoder in a folder."""
    from dupmine.inference.tokens import tokenise

    model = CrossEncoder(RerankSettings(cross_encoder=str(folder)), FP32)
    tokens = tokenise(QUESTIONS, model.tokenizer, max_tokens=16, progress=SILENT)
    model.score(tokens, np.zeros(8, np.int64), np.arange(1, 9), SILENT)


def make_subjects(root: Path) -> dict[str, Subject]:
    """Make a small store, a decision, a cascade and models."""
    tiny = make_tiny_models(root / "models")
    commits = tuple(each for number in (1, 2) for each in (commit_file(number), copy_of(commit_file(number))))
    fitted_to(lambda table: feature(table, "logit") > 0.5, n_tokens=30, floor=0.6).write(
        _made(root / "decision")
    )
    fitted_cascade(bands_by_cosine(0.8, -1.0, 1.0, n_tokens=30), floor=0.6).write(_made(root / "cascade"))
    small = ("config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json")
    return {
        "commit": Subject(
            _fill(root / "store", tiny), commits, update_store, ("segments", "states", "changes")
        ),
        "decision": Subject(root / "decision", (DECISION,), decide),
        "cascade": Subject(root / "cascade", (CASCADE,), band),
        "bi-encoder": Subject(Path(tiny["bi-encoder"]), (*small, "modules.json"), encode),
        "cross-encoder": Subject(Path(tiny["sigmoid"]), small, score),
    }


def _commits(generation: int) -> tuple[str, str]:
    return commit_file(generation), copy_of(commit_file(generation))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _fill(folder: Path, tiny: TinyModels) -> Path:
    """Make a store of two generations in a process of its own, since torch may start threads."""

    def fill() -> None:
        models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
        given = {"floor": 0.65, "threshold": 0.6, "threads": 1, "device": "cpu", "keep_generations": 9}
        store = Store.create(folder, load_settings(overrides={**models, **given}), progress=False)
        frame = pd.DataFrame({"id": list(map(str, range(len(QUESTIONS)))), "text": QUESTIONS})
        store.update(frame)
        store.delete(["3"])

    assert end_of(fill) == "read"
    return folder


def run_trials(name: str, subject: Subject, each: int, seed: int, root: Path) -> dict[str, Any]:
    """Change the files so often; return how the readers ended, and what went wrong."""
    ends, problems = Counter[str](), list[str]()
    started, slowest = time.monotonic(), 0.0
    for number in range(each):
        folder, rng = root / "trial", random.Random(f"{seed} {name} {number}")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(subject.folder, folder)
        changed = mutate(folder, subject, rng)
        before = _watched(folder, subject)
        at = time.monotonic()
        end = end_of(lambda folder=folder: subject.read(folder))  # type: ignore[misc]
        slowest = max(slowest, time.monotonic() - at)
        ends[end] += 1
        after = _watched(folder, subject)
        lost = [path for path, content in before.items() if after.get(path) != content]
        problems += [f"trial {number}, {changed}: {end}"] if end not in ENDS.values() else []
        problems += [f"trial {number}, {changed}: {path} changed" for path in lost]
    seconds = {"seconds": round(time.monotonic() - started, 1), "slowest": round(slowest, 1)}
    return {"trials": each, "ends": dict(ends.most_common()), **seconds, "problems": problems}


def _watched(folder: Path, subject: Subject) -> dict[str, bytes]:
    files = (path for name in subject.watched for path in (folder / name).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main() -> int:
    """Run the trials, and print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--each", type=int, default=1000, help="trials with each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="which kinds of file")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dupmine-mutations-") as folder:
        root = Path(folder).resolve()
        subjects = make_subjects(root)
        figures = {
            name: run_trials(name, subject, arguments.each, arguments.seed, root)
            for name, subject in subjects.items()
            if name in arguments.kinds
        }
    print(json.dumps(figures, indent=1))
    if arguments.out:
        if arguments.out.exists():  # with the figures of other kinds
            figures = json.loads(arguments.out.read_text(encoding="utf-8")) | figures
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if any(figure["problems"] for figure in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

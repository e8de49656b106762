"""Stage 1 by kind of index: seconds, memory, pairs found, and labelled duplicates proposed.

    python benchmarks/stage1.py questions-eval.csv --pairs pairs.parquet --index flat ivf HNSW32 [--other DIR]

The texts are embedded once, into `--vectors`; each kind is searched in a process of its own. `--other` is a
checkout of another version, in a folder named dupmine, whose search is measured on the same vectors. Without
`flat` among the kinds it is not known how many pairs there are. OPENBLAS_CORETYPE in the environment would
choose FAISS's kernels: unset it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dupmine import Miner
from dupmine.benchmarks import machine
from dupmine.benchmarks.labelled import write_figures
from dupmine.corpus import read_corpus
from dupmine.corpus.unique import collapse_exact_duplicates
from dupmine.progress import SILENT
from dupmine.retrieval.encoder import encode_texts
from dupmine.schema import DOC_ID, TEXT, Rows, find_keys, pair_keys

ROOT = Path(__file__).parent
Figures = dict[str, Any]

# It runs in another version, too.
SEARCH = """
import json, resource, sys, time
import numpy as np
import torch
from dupmine.progress import SILENT
from dupmine.retrieval.candidates import find_candidates
from dupmine.settings import RetrievalSettings
vectors, pairs, settings = sys.argv[1:]
embeddings, settings = np.load(vectors, mmap_mode="r"), RetrievalSettings(**json.loads(settings))
seconds, cpu = time.perf_counter(), time.process_time()
found, facts = find_candidates(embeddings, settings, torch.device("cpu"), SILENT)
seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
np.save(pairs, np.stack([found.left, found.right]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
print(json.dumps({"index": facts.description, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2),
                  "peak_memory_gib": round(peak, 2), "pairs": len(found), "queries_capped": facts.capped}))
"""


def main() -> None:
    """Measure every kind and write the figures."""
    arguments = parse_arguments()
    arguments.vectors.mkdir(parents=True, exist_ok=True)
    vectors, row_of = embed(arguments.corpus, arguments.vectors)
    kinds: dict[str, tuple[Figures, Path]] = {
        kind: ({"index": kind, **limits(arguments)}, ROOT.parents[1]) for kind in arguments.index
    }
    if arguments.other is not None:
        kinds["other"] = limits(arguments), arguments.other.parent
    duplicates = labelled_rows(arguments.pairs, row_of) if arguments.pairs else {}
    searched = {}
    exact: Rows | None = None
    for name, (settings, path) in kinds.items():
        searched[name], keys = search(vectors, settings, path)
        exact = keys if name == "flat" else exact
        if exact is not None:
            searched[name]["share_of_pairs"] = round(float((find_keys(keys, exact) >= 0).mean()), 4)
        for split, wanted in duplicates.items():
            share = float((find_keys(keys, wanted) >= 0).mean())
            searched[name][f"labelled_duplicates_{split}"] = round(share, 4)
    figures = {
        "machine": machine.describe(),
        "corpus": arguments.corpus.name,
        "texts": int(row_of.max()) + 1,
        "max_k": arguments.max_k,
        "searches": searched,
    }
    print(json.dumps(figures, indent=2))
    write_figures(arguments.json, figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pairs", type=Path, help="labelled pairs: qid1, qid2, is_duplicate, split")
    parser.add_argument("--index", nargs="+", default=["flat", "ivf"], help="as in retrieval.index")
    parser.add_argument("--max-k", type=int, default=1000)
    parser.add_argument("--other", type=Path, help="checkout of another version")
    parser.add_argument("--vectors", type=Path, default=ROOT.parent / "out" / "stage1", help="folder")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "stage1.json")
    return parser.parse_args()


def limits(arguments: argparse.Namespace) -> Figures:
    """Return the settings that all searches share."""
    return {"max_k": arguments.max_k}


def embed(corpus: Path, folder: Path) -> tuple[Path, pd.Series]:
    """Embed the texts of a corpus, unless that is done; return the file of vectors, and the rows by id."""
    miner = Miner(progress=False)
    documents = read_corpus([corpus], miner.settings.corpus).documents
    unique = collapse_exact_duplicates(documents[TEXT])
    vectors = folder / f"{corpus.name.partition('.')[0]}.npy"
    if not vectors.exists():
        encoder = miner.models.encoder
        longest = miner.settings.corpus.max_tokens
        np.save(vectors, encode_texts(encoder, unique.texts, SILENT, max_tokens=longest))
    return vectors, pd.Series(unique.row_of, index=documents[DOC_ID].to_pylist())


def labelled_rows(file: Path, row_of: pd.Series) -> dict[str, Rows]:
    """Return, by split, the keys of labelled duplicates with different texts that are in the corpus."""
    pairs = pd.read_parquet(file, columns=["qid1", "qid2", "is_duplicate", "split"])
    ends = [row_of.reindex(pairs[name].astype(str)).to_numpy() for name in ("qid1", "qid2")]
    there = (pairs["is_duplicate"] == 1).to_numpy() & ~np.isnan(ends[0]) & ~np.isnan(ends[1])
    n = int(row_of.max()) + 1
    keys: dict[str, Rows] = {}
    for split in ("valid", "test"):
        mask = there & (pairs["split"] == split).to_numpy() & (ends[0] != ends[1])
        keys[split] = pair_keys(ends[0][mask].astype(np.int64), ends[1][mask].astype(np.int64), n)
    return keys


def search(vectors: Path, settings: Figures, path: Path) -> tuple[Figures, Rows]:
    """Search with the dupmine in a folder; return what it took, and the keys of the pairs, ascending."""
    pairs = vectors.with_suffix(".pairs.npy")
    command = [sys.executable, "-c", SEARCH, str(vectors), str(pairs), json.dumps(settings)]
    shown = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(path)}
    )
    figures: Figures = json.loads(shown.stdout.splitlines()[-1])
    left, right = np.load(pairs)
    pairs.unlink()
    return figures, np.sort(pair_keys(left, right, len(np.load(vectors, mmap_mode="r"))))


if __name__ == "__main__":
    main()

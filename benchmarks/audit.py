"""Whether an audit's intervals hold on real labels.

    python benchmarks/audit.py DATA RUN

The population are the labelled pairs that a run has scored.

DATA is a folder with `pairs.parquet` (qid1, qid2, is_duplicate, split), RUN one over `questions-eval.csv`.
Samples are drawn with 1,000 seeds, "labelled" from the file, and compared with the truth.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dupmine import MiningResult
from dupmine.benchmarks.labelled import read_pairs
from dupmine.report.audit import Labelled, audit, parts_of
from dupmine.report.strata import Frame, allocate, audit_frame, divide, draw

SEEDS = range(1000)
FIRST = 20
SIZES = (100, 200, 400)


def labelled_frame(result: MiningResult, data: Path) -> tuple[Frame, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the audit's frame cut down to labelled pairs, and their labels."""
    frame, pairs = audit_frame(result), read_pairs(data)
    position = {doc_id: i for i, doc_id in enumerate(result.corpus.documents["doc_id"].to_pylist())}
    known = pairs[pairs["qid1"].isin(position) & pairs["qid2"].isin(position)]
    rows = np.array([[result.row_of[position[i]] for i in known[name]] for name in ("qid1", "qid2")])
    n = int(result.row_of.max()) + 1
    label = dict(zip((rows.min(0) * n + rows.max(0)).tolist(), known["is_duplicate"].tolist(), strict=True))
    keys = frame.left * n + frame.right
    at = np.array([i for i, key in enumerate(keys.tolist()) if key in label])
    duplicate = np.array([label[int(keys[i])] == 1 for i in at])
    cut = {
        name: getattr(frame, name)[at]
        for name in ("left", "right", "probability", "scored", "accepted", "removes")
    }
    stratum, names = divide(cut["accepted"], cut["removes"], cut["probability"])
    return replace(frame, **cut, stratum=stratum, names=names, certain=0), duplicate


def main() -> None:
    """Draw, compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "audit.json")
    arguments = parser.parse_args()
    frame, duplicate = labelled_frame(MiningResult.load(arguments.run), arguments.data)
    true = {name: float(duplicate @ w / w.sum()) for name, (w, _) in parts_of(frame).items()}
    found: dict[str, Any] = {
        "pairs": len(frame),
        "true": true,
        "covered_of_1000": {},
        "covered_of_first_20": {},
        "half_width": {},
    }
    for size in SIZES:
        audits = []
        for seed in SEEDS:
            at, _ = draw(frame, allocate(frame, size), seed)
            audits.append(audit(frame, Labelled(at, duplicate[at])))
        shares = {name: [getattr(one, name) for one in audits] for name in true}
        covered = {
            name: [share.low <= true[name] <= share.high for share in of] for name, of in shares.items()
        }
        found["covered_of_1000"][size] = {name: int(sum(hits)) for name, hits in covered.items()}
        found["covered_of_first_20"][size] = {name: int(sum(hits[:FIRST])) for name, hits in covered.items()}
        found["half_width"][size] = {
            name: round(float(np.mean([share.half_width for share in of])), 4) for name, of in shares.items()
        }
    arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

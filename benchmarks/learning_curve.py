"""Judge versions of a cross-encoder by how many pairs they have seen, and say how noisy the labels are.

    python benchmarks/learning_curve.py DATA/pairs.parquet 190=FOLDER 510=FOLDER [--out FILE] [--add]

Each version is named by the thousands of pairs it was trained on; a name that is no number is judged and not
drawn. With --add the versions stay that were judged into the file before. Thresholds are chosen on split
`valid`, the figures are those of `test` and `valid`. As a bound on what any model can reach, the script
counts the pairs made of the very same words, by their labels.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from dupmine.benchmarks import machine
from dupmine.benchmarks.labelled import write_figures
from dupmine.corpus.labelled import read_pairs
from dupmine.evaluation.model import EvaluateSettings, evaluate_model
from dupmine.progress import Progress
from dupmine.schema import LabelledPairs
from dupmine.settings import PairSettings

SETTINGS = EvaluateSettings().changed({"rerank.calibrate": False, "compute.device": "cpu"})
Figures = dict[str, Any]


def main() -> None:
    """Judge each version and write the figures and the curve."""
    arguments = parse_arguments()
    splits = {
        name: read_pairs(arguments.pairs_file, PairSettings(), split=name) for name in ("valid", "test")
    }
    known = arguments.out.with_suffix(".json")
    versions = json.loads(known.read_text(encoding="utf-8"))["versions"] if arguments.add else {}
    for version in arguments.versions:
        seen, _, folder = version.partition("=")
        versions[seen] = judged(folder, splits)
    noise = {name: same_words(pairs) for name, pairs in splits.items()}
    figures = {"machine": machine.describe(), "versions": versions, "pairs_of_the_same_words": noise}
    write_figures(known, figures)
    draw(
        {int(seen): of for seen, of in versions.items() if seen.isdigit()}, arguments.out.with_suffix(".svg")
    )


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs_file", type=Path, metavar="PAIRS", help="labelled pairs with a column split")
    parser.add_argument("versions", nargs="+", metavar="SEEN=MODEL", help="thousands of pairs, and a model")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "learning-curve", help=".json and .svg")
    parser.add_argument("--add", action="store_true", help="keep the versions that the file has")
    return parser.parse_args()


def judged(model: str, splits: dict[str, LabelledPairs]) -> Figures:
    """Return F1 at the threshold of `valid`, and average precision with its interval, on both splits."""
    found = {}
    for name, pairs in splits.items():
        result = evaluate_model(model, pairs, splits["valid"], SETTINGS, Progress()).to_dict()
        metrics = {key: result["validated"][key] for key in ("f1", "accuracy")}
        found[name] = {"average_precision": result["average_precision"], **metrics}
    return found


def same_words(pairs: LabelledPairs) -> Figures:
    """Count pairs whose texts have the same set of words, and the share of them labelled different."""
    sets = (
        (frozenset(re.findall(r"\w+", text.lower())) for text in side) for side in (pairs.left, pairs.right)
    )
    labels = [label for label, *both in zip(pairs.label, *sets, strict=True) if both[0] == both[1]]
    return {"pairs": len(labels), "labelled_different": float(1 - sum(labels) / max(len(labels), 1))}


def draw(versions: dict[int, Figures], path: Path) -> None:
    """Draw average precision and F1 over the pairs seen."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "dupmine"
    figure, axes = pyplot.subplots(figsize=(7, 4))
    seen = sorted(versions)
    for split, style in (("valid", "--o"), ("test", "-o")):
        for key, colour in (("average_precision", "C0"), ("f1", "C1")):
            values = [versions[at][split][key]["value"] for at in seen]
            axes.plot(seen, values, style, color=colour, label=f"{key.replace('_', ' ')}, {split}")
    axes.set(xlabel="thousands of pairs seen", ylim=(0.74, 0.91))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=2, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()

"""Mine families of near-identical texts of growing size: seconds, memory, candidates and clusters.

    python benchmarks/templates.py --sizes 1k,10k,100k

The texts are "item 1" to "item n", and letters that differ in a name.
"""

from __future__ import annotations

import argparse
from itertools import islice, product
from pathlib import Path
from typing import Any

from dupmine.benchmarks import machine, processes
from dupmine.benchmarks.growth import exponents, parse_sizes
from dupmine.benchmarks.labelled import write_figures

ROOT = Path(__file__).parent
LETTER = "Dear {}, thank you for your order, which we have sent to you today"
Figures = dict[str, Any]


def main() -> None:
    """Mine every size of both kinds and write the figures."""
    arguments = parse_arguments()
    kinds = {}
    for kind in ("numbers", "names"):
        sizes = [mine_size(kind, size, arguments.work) for size in arguments.sizes]
        kinds[kind] = {"sizes": sizes, "exponents": exponents(sizes)}
    write_figures(arguments.out, {"machine": machine.describe(), **kinds})


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=parse_sizes, default=parse_sizes("1k,10k,100k"), help="1k,10k,100k")
    parser.add_argument("--work", type=Path, default=ROOT.parent / "out" / "templates", help="for the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "templates.json")
    return parser.parse_args()


def make_texts(kind: str, size: int) -> list[str]:
    """Return the texts of a family."""
    if kind == "numbers":
        return [f"item {i}" for i in range(1, size + 1)]
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    names = ("".join(parts).title() for parts in product(syllables, repeat=3))
    return [LETTER.format(name) for name in islice(names, size)]


def mine_size(kind: str, size: int, work: Path) -> Figures:
    """Mine a family."""
    folder = work / f"{kind}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.txt").write_text("\n".join(make_texts(kind, size)) + "\n", encoding="utf-8")
    manifest, cost = processes.mine(folder / "texts.txt", folder / "run", [])
    counts = manifest["counts"]
    return {
        "texts": size,
        "seconds": processes.by_stage(manifest["seconds"]),
        "seconds_total": cost.seconds,
        "cpu_seconds_total": cost.cpu_seconds,
        "peak_memory_gib": cost.peak_memory_gib,
        **{name: counts[name] for name in ("template_families", "candidates", "clusters")},
    }


if __name__ == "__main__":
    main()

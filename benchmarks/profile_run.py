"""Print where the seconds of a run go: by stage, from its manifest, and by function, from py-spy.

    python benchmarks/profile_run.py RUN
    python benchmarks/profile_run.py questions.csv --config configs/quora.yaml --json profile.json

RUN is the folder of a run. Given a file of questions instead, that is mined under py-spy (pip install
py-spy), which looks 20 times a second at what every thread does. The functions printed are the innermost
ones of dupmine; what they call, native code among it, counts for them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import dupmine
from dupmine.benchmarks.labelled import write_figures

PACKAGE = Path(dupmine.__file__).resolve().parent
MOST = 15
Figures = dict[str, Any]


def main() -> None:
    """Profile or read a run, and print and write the figures."""
    arguments = parse_arguments()
    if (arguments.run / "manifest.json").is_file():
        figures = stages(arguments.run)
    else:
        with tempfile.TemporaryDirectory() as folder:
            samples = record(arguments.run, arguments.config, Path(folder))
            figures = {**stages(Path(folder) / "run"), "functions": functions(samples)}
    print_table(figures)
    if arguments.json is not None:
        write_figures(arguments.json, figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run, or a file to mine")
    parser.add_argument("--config", type=Path, default=PACKAGE / "configs" / "quickstart.yaml")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def stages(run: Path) -> Figures:
    """Return the seconds of a run's stages, what was computed in, and the counts."""
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    return {name: manifest[name] for name in ("compute", "seconds", "counts", "peak_memory_gib")}


def record(corpus: Path, config: Path, folder: Path) -> str:
    """Mine a file under py-spy; return its samples: a stack and a count a line."""
    out = folder / "stacks.txt"
    mine = [sys.executable, "-m", "dupmine", "mine", corpus, "--config", config, "--out", folder / "run"]
    watch = ["py-spy", "record", "--format", "raw", "--rate", "20", "--threads", "--full-filenames"]
    watch += ["--output", str(out), "--"]
    subprocess.run([*map(str, watch), *map(str, mine)], check=True, stdout=subprocess.DEVNULL)
    return out.read_text(encoding="utf-8")


def functions(samples: str) -> dict[str, float]:
    """Return the share of samples by the innermost function of dupmine's own, the largest first."""
    counts: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        own = [name for frame in stack.split(";") if (name := own_name(frame))]
        counts[own[-1] if own else "elsewhere"] += int(count)
    total = max(counts.total(), 1)
    return {name: round(n / total, 4) for name, n in counts.most_common(MOST)}


def own_name(frame: str) -> str | None:
    """Return "function (file)" for py-spy's "function (path:line)" where it lies in dupmine, else None."""
    function, _, place = frame.partition(" (")
    path = Path(place.partition(":")[0])
    return f"{function} ({path.relative_to(PACKAGE)})" if path.is_relative_to(PACKAGE) else None


def print_table(figures: Figures) -> None:
    """Print stages and functions with their shares."""
    total = sum(figures["seconds"].values())
    for name, seconds in figures["seconds"].items():
        print(f"{name:<12}{seconds:>10.1f} s{seconds / total:>9.1%}")
    print(f"{'total':<12}{total:>10.1f} s")
    for name, share in figures.get("functions", {}).items():
        print(f"{share:>8.1%}  {name}")


if __name__ == "__main__":
    main()

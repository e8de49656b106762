"""`python -m dupmine.report.worker`: cluster a result again with some thresholds, for `thresholds`."""

from __future__ import annotations

import pickle
import sys

from .thresholds import measure_threshold


def main() -> None:
    """Read a result and thresholds from standard input, and write the points to standard output."""
    mined = pickle.load(sys.stdin.buffer)
    points = [measure_threshold(mined, threshold) for threshold in pickle.load(sys.stdin.buffer)]
    sys.stdout.buffer.write(pickle.dumps(points, protocol=5))


if __name__ == "__main__":
    main()

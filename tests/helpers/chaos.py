"""Kill writers at random points and start them again.

    python -m tests.helpers.chaos --kills 100 --out FILE.json

Each trial copies a store or a run, has a process of its own write to it, kills that with SIGKILL before a
random call that changes the disk (a write is torn), or after a random time, reads what is there, starts the
writer again until it ends, and compares every byte with an uninterrupted twin. The processes are
forked from this one, which has imported everything and computed nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dupmine.disk.work import Work

from .killed import NEVER, Death, End, in_process
from .small_store import SCENES, Act, Kit, Scene, files_in, leftovers, make_shards_small
from .tiny_models import make_tiny_models

_AGAIN = 0.3  # how often the continuing writer is killed as well
PHASES = {  # by what the path of the last call holds: the first that fits
    "start": (),
    "lock": ("lock", "writer.json"),
    "tables": (".work/result",),
    "shards": (".work",),
    "segment": ("segments/",),
    "state": ("states/", "changes/"),
    "commit": ("generations/",),
    "after the commit": (),
}
_TARGET = "target"
_TOTALS = ("writers", "kills", "killed_more_than_once", "went_on_with_finished_shards", "mismatches")


@dataclass(slots=True)
class Trial:
    """One writer, its deaths and the outcome."""

    scene: str
    kind: str
    deaths: list[str] = field(default_factory=list)
    committed: int = 0
    shards_found: int = 0
    problems: list[str] = field(default_factory=list)


os.environ.setdefault("DUPMINE_NOW", "1700000000")  # commits of twins differ in nothing


def phase_of(last: str, *, done: bool) -> str:
    """Name what a process did last, from the last call it made."""
    if not last:
        return "start"
    if done:
        return "after the commit"
    fits = (name for name, parts in PHASES.items() if any(part in last for part in parts))
    return next(fits, "shards")


@dataclass(frozen=True, slots=True)
class Ground:
    """A scene set up: the folder to begin with, what a reader sees then and after, and its writer's life."""

    name: str
    scene: Scene
    base: Path
    before: str
    after: str
    twin: dict[str, bytes]
    calls: int
    seconds: float

    @classmethod
    def prepare(cls, name: str, kit: Kit, root: Path) -> Ground:
        """Set a scene up and let an uninterrupted twin run through."""
        scene, base, twin = SCENES[name], root / name / "base", root / name / "twin"
        base.mkdir(parents=True)
        _expect(in_process(partial(_write, scene.before, kit, base / _TARGET), base, NEVER))
        shutil.copytree(base, twin)
        end = _expect(in_process(partial(_write, scene.act, kit, twin / _TARGET), twin, NEVER))
        before, after = (
            _expect(in_process(partial(scene.state, at / _TARGET), at, NEVER)) for at in (base, twin)
        )
        assert before.result != after.result, name
        assert leftovers(twin) == set(), name
        files = files_in(twin)
        return cls(name, scene, base, before.result, after.result, files, end.calls, end.seconds)

    def run(self, kit: Kit, folder: Path, kind: str, deaths: Iterator[Death]) -> Trial:
        """Write, die and continue until a writer ends; check the files in between and at the end."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.base, folder)
        trial, act, target = Trial(self.name, kind), self.scene.act, folder / _TARGET
        while True:
            end = in_process(partial(_write, act, kit, target), folder, next(deaths))
            if not end.killed:
                break
            state = str(in_process(partial(self.scene.state, target), folder, NEVER).result)
            trial.deaths.append(phase_of(end.last, done=state == self.after))
            if state not in {self.before, self.after}:
                trial.problems.append(f"after {end.last} a reader sees {state}")
            act = self.scene.tidy if state == self.after else self.scene.act
        trial.shards_found = end.result.get("found", 0)
        trial.problems += [f"it cannot continue: {end.result['error']}"] if "error" in end.result else []
        trial.problems += self._differences(folder)
        return trial

    def _differences(self, folder: Path) -> list[str]:
        files, left = files_in(folder), leftovers(folder)
        names = sorted(files.keys() | self.twin.keys() - left)
        other = [name for name in names if files.get(name) != self.twin.get(name) and name not in left]
        return [f"{name} is not as in the twin" for name in other] + [
            f"{name} is left" for name in sorted(left)
        ]


def _write(act: Act, kit: Kit, target: Path) -> dict[str, int]:
    """Do what a writer does; return how many shards it found finished."""
    works, opened = [], Work.__init__

    def noted(work: Work, folder: Path) -> None:
        opened(work, folder)
        works.append(work)

    Work.__init__ = noted  # type: ignore[method-assign, assignment] # in a process that ends with this
    act(kit, target)
    return {"found": sum(work.found for work in works)}


def _expect(end: End) -> End:
    assert not end.killed
    if isinstance(end.result, dict) and "error" in end.result:
        raise RuntimeError(end.result["error"])
    return end


def deaths_of(ground: Ground, kind: str, at: float, rng: random.Random) -> Iterator[Death]:
    """Yield when to die: first at the fraction `at` of the writer's life, then perhaps again, then never."""
    while True:
        by_call = Death(call=1 + int(at * ground.calls))
        yield by_call if kind == "call" else Death(seconds=at * ground.seconds)
        if rng.random() >= _AGAIN:
            break
        at = rng.random()
    while True:
        yield NEVER


def run_trials(names: list[str], kills: int, seed: int, root: Path) -> list[Trial]:
    """Run trials in turn, first deaths spread evenly over lives, until so many writers were killed."""
    models = in_process(lambda: str(make_tiny_models(root / "models").folder), root, NEVER)
    kit = Kit.make(Path(_expect(models).result))
    make_shards_small()
    grounds = [Ground.prepare(name, kit, root) for name in names]
    rng, trials = random.Random(seed), list[Trial]()
    offset = rng.random()
    for number in itertools.count():
        turn, ground = divmod(number, len(grounds))
        kind = ("call", "call", "clock")[(turn + ground) % 3]
        at = (offset + turn * 0.6180339887 + ground / len(grounds)) % 1  # golden: even for any number
        deaths = deaths_of(grounds[ground], kind, at, rng)
        trials.append(grounds[ground].run(kit, root / "trial", kind, deaths))
        _tell(trials[-1])
        if sum(len(trial.deaths) for trial in trials) >= kills or number > 10 * kills:
            return trials
    raise AssertionError


def summarise(trials: list[Trial], seed: int, seconds: float) -> dict[str, Any]:
    """Return the figures of trials: what was killed, when, and what went wrong."""
    deaths = Counter(death for trial in trials for death in trial.deaths)
    killed = [trial for trial in trials if trial.deaths]
    return {
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        },
        "seed": seed,
        "seconds": round(seconds, 1),
        "writers": len(trials),
        "kills": sum(deaths.values()),
        "kills_by_scene": dict(Counter(trial.scene for trial in trials for _ in trial.deaths)),
        "kills_by_phase": {phase: deaths[phase] for phase in PHASES},
        "kills_by_clock": sum(len(trial.deaths) for trial in trials if trial.kind == "clock"),
        "killed_more_than_once": sum(len(trial.deaths) > 1 for trial in trials),
        "went_on_with_finished_shards": sum(trial.shards_found > 0 for trial in killed),
        "mismatches": sum(bool(trial.problems) for trial in trials),
        "problems": [asdict(trial) for trial in trials if trial.problems],
    }


def main() -> int:
    """Run the trials, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many writers to kill at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    unsafe = sorted(threads)[1:] if "jemalloc_bg_thd" not in threads else sorted(threads)[2:]
    assert not unsafe, f"threads {unsafe} would not survive a fork: set OMP_NUM_THREADS=1"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dupmine-chaos-") as folder:
        trials = run_trials(arguments.scenes, arguments.kills, arguments.seed, Path(folder).resolve())
    figures = summarise(trials, arguments.seed, time.monotonic() - started)
    for title in ("kills_by_scene", "kills_by_phase"):
        print(f"\n{title.replace('_', ' ')}")
        print("\n".join(f"{count:>8} {name}" for name, count in figures[title].items()))
    print("\n" + "\n".join(f"{figures[name]:>8} {name.replace('_', ' ')}" for name in _TOTALS))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if figures["mismatches"] else 0


def _tell(trial: Trial) -> None:
    deaths = ", then ".join(trial.deaths) or "outlived it"
    print(
        f"{trial.scene:>16} by {trial.kind:<5} {deaths}; {trial.shards_found} shards were there", flush=True
    )
    for problem in trial.problems:
        print(f"                 {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

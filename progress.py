"""Progress bars: one per stage, on standard error, gone where that is no terminal."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from tqdm.auto import tqdm

# Quoted: tqdm is generic to the type checker only.
Bar: TypeAlias = "tqdm[NoReturn]"


@dataclass(frozen=True, slots=True)
class Progress:
    """Whether stages show bars. `None` shows them where standard error is a terminal or a notebook."""

    enabled: bool | None = None
    shared: Bar | None = None

    def within(self, bar: Bar) -> Progress:
        """Return a progress whose stages move `bar` on and show none of their own."""
        return Progress(self.enabled, bar)

    def bar(self, stage: str, total: int, unit: str) -> AbstractContextManager[Bar]:
        """Return a bar for `total` units of a stage's work, with its rate and the time left."""
        if self.shared is not None:
            return nullcontext(self.shared)
        disable = True if total == 0 else None if self.enabled is None else not self.enabled
        return tqdm(total=total, desc=f"{stage:>9}", unit=f" {unit}", disable=disable, mininterval=0.2)


SILENT = Progress(enabled=False)
